"""What of a response is believed: the records that belong to the question, by way of its aliases, and what their
absence means.

A response may carry anything; only a record set of the name asked for, or of a name that CNAME records lead to from
there, counts (RFC 1034 section 4.3.2, RFC 2181 section 5.4.1). That a name or type does not exist is believed only
where the response says so in the way of RFC 2308; everything else is a failure. Mail goes to the domain's own host
where there is no MX record, so a damaged one must never look like none.
"""

from dataclasses import dataclass, replace
from typing import Final

from mx10.dns import rrtypes as rr
from mx10.dns.message import NAMES_IN_RDATA, Message, Record
from mx10.dns.rrtypes import Rcode, rcode_to_text, type_to_text
from mx10.dns.wirename import MAX_NAME, fold, is_under
from mx10.resolver.answer import Status

CHAIN_LIMIT: Final = 16
"""CNAME records followed from one name."""
MAX_TTL: Final = 7 * 86400
"""Seconds for which anything is believed at most, whatever its TTL (RFC 8767 section 4 suggests a bound of this
size)."""
MAX_NEGATIVE_TTL: Final = 3 * 3600
"""Seconds for which an absence is believed at most (RFC 2308 section 5)."""

_EXTENDED_ERROR: Final = 15
_ADDRESS_OCTETS: Final = {rr.A: 4, rr.AAAA: 16}


@dataclass(frozen=True, slots=True)
class Reading:
    """What a response says of a question; see ``Answer`` for the fields. A status of ok without records: it ends with
    an alias, and the name at the end of the chain has to be asked for."""

    status: Status
    records: tuple[Record, ...] = ()
    chain: tuple[bytes, ...] = ()
    ttl: int = 0
    reason: str = ""
    section: tuple[Record, ...] = ()
    denial: tuple[Record, ...] = ()


def read(message: Message, name: bytes, rrtype: int) -> Reading:
    """Read a response to the question for a folded name and a type of class IN."""
    if any(record.type == rr.DNAME for record in message.answer):
        message = replace(message, answer=_with_own_letters(message.answer))
    found = _follow(message, name, rrtype)
    if found.status is Status.FAILURE:
        return found
    return replace(
        found,
        section=_belonging(message.answer, (name, *found.chain), rrtype),
        denial=() if found.status is Status.OK else _denial(message, found.chain[-1] if found.chain else name),
    )


def _follow(message: Message, name: bytes, rrtype: int) -> Reading:
    """The record set asked for, by way of the aliases; what else belongs to it is left out."""
    if message.rcode not in (Rcode.NOERROR, Rcode.NXDOMAIN):
        return Reading(Status.FAILURE, reason=f"{rcode_to_text(message.rcode)}{_extended(message)}")
    if broken := damage(message):
        return Reading(Status.FAILURE, reason=broken)
    at = name
    chain: list[bytes] = []
    ttl = MAX_TTL
    while True:
        found = _set_of(message.answer, at, rrtype)
        if found:
            ttl = min(ttl, *(record.ttl for record in found))
            return Reading(Status.OK, found, tuple(chain), ttl)
        alias = None if rrtype in (rr.CNAME, rr.ANY) else _alias(message.answer, at)
        if alias is None:
            break
        target, seconds = alias
        ttl = min(ttl, seconds)
        at = fold(target)
        if len(at) > MAX_NAME:
            return Reading(Status.FAILURE, chain=tuple(chain), reason="an alias (DNAME) that makes the name too long")
        if at == name or at in chain:
            return Reading(Status.FAILURE, chain=tuple(chain), reason="the aliases (CNAME) lead in a circle")
        chain.append(at)
        if len(chain) > CHAIN_LIMIT:
            return Reading(
                Status.FAILURE, chain=tuple(chain), reason=f"more than {CHAIN_LIMIT} aliases (CNAME) in a row"
            )
    return _absent(message, at, tuple(chain), ttl)


def damage(message: Message) -> str:
    """Why a response cannot be believed at all, for people: it is cut short, though any transport but UDP has room for
    all of it, or a record in its answer or authority section has data that no record of its type can have. Left out,
    these would look like an absence. Empty where nothing is wrong."""
    if message.tc:
        return "a truncated response"
    for record in (*message.answer, *message.authority):
        if record.klass == rr.IN and not is_sound(record):
            return f"a damaged {type_to_text(record.type)} record"
    return ""


def _alias(records: tuple[Record, ...], name: bytes) -> tuple[bytes, int] | None:
    """Where a name leads, and for how many seconds: by its CNAME record, or by the DNAME record of a name above it
    whose CNAME the server left out (RFC 6672 section 3.4.1)."""
    for record in records:
        if record.klass == rr.IN and record.type == rr.CNAME and fold(record.name) == name:
            return record.rdata, record.ttl
    for record in records:
        owner = fold(record.name)
        if record.klass == rr.IN and record.type == rr.DNAME and owner != name and is_under(name, owner):
            return name[: len(name) - len(owner)] + record.rdata, record.ttl
    return None


def _set_of(records: tuple[Record, ...], name: bytes, rrtype: int) -> tuple[Record, ...]:
    """The records of a name and type, each once; ANY takes all types."""
    found = {
        (record.type, record.rdata): record
        for record in records
        if rrtype in (record.type, rr.ANY) and record.klass == rr.IN and fold(record.name) == name
    }
    return tuple(found.values())


def is_sound(record: Record) -> bool:
    """Whether what is read from a record's data later on is there: an address is whole, names are not missing. That
    they are names was seen when the message was parsed, unless there is no data at all."""
    octets = _ADDRESS_OCTETS.get(record.type)
    if octets is not None and len(record.rdata) != octets:
        return False
    return bool(record.rdata) or record.type not in NAMES_IN_RDATA


def _belonging(records: tuple[Record, ...], names: tuple[bytes, ...], rrtype: int) -> tuple[Record, ...]:
    """What of an answer section is about these names: the records asked for and the aliases that lead to them, those
    of whole subtrees (DNAME, RFC 6672) among them, with their signatures."""
    known = set(names)
    kinds = {rrtype, rr.CNAME}
    found: dict[tuple[bytes, int, bytes], Record] = {}
    for record in records:
        kind = _covered(record) if record.type == rr.RRSIG and rrtype != rr.RRSIG else record.type
        owner = fold(record.name)
        if kind == rr.DNAME:
            belongs = any(is_under(name, owner) for name in names)
        else:
            belongs = owner in known and (kind in kinds or rrtype == rr.ANY)
        if belongs and record.klass == rr.IN:
            found[owner, record.type, record.rdata] = record
    return tuple(found.values())


def _with_own_letters(records: tuple[Record, ...]) -> tuple[Record, ...]:
    """The same records, but an alias that a server made from a DNAME has the letters of its owner again: it was made
    from the name in the question, whose letters were mixed (see ``transports``)."""
    subtrees = [record for record in records if record.type == rr.DNAME and record.rdata]

    def own(record: Record) -> Record:
        for subtree in subtrees if record.type == rr.CNAME else ():
            before = len(record.name) - len(subtree.name)
            made = record.name[: max(before, 0)] + subtree.rdata
            if is_under(fold(record.name), fold(subtree.name)) and fold(made) == fold(record.rdata):
                return replace(record, rdata=made)
        return record

    return tuple(map(own, records))


def _covered(signature: Record) -> int:
    """The type that a signature is of (RFC 4034 section 3.1.1)."""
    return int.from_bytes(signature.rdata[:2], "big")


def _denial(message: Message, name: bytes) -> tuple[Record, ...]:
    """What the authority section says of an absence."""
    kinds = (rr.SOA, rr.NSEC, rr.NSEC3)
    return tuple(
        record
        for record in message.authority
        if record.klass == rr.IN
        and (_covered(record) if record.type == rr.RRSIG else record.type) in kinds
        and (record.type != rr.SOA or is_under(name, fold(record.name)))
    )


def _absent(message: Message, name: bytes, chain: tuple[bytes, ...], ttl: int) -> Reading:
    """No such record at the end of the chain: why not, and for how long (RFC 2308 sections 2 and 5)."""
    negative = _negative_ttl(message, name)
    absent = message.rcode == Rcode.NXDOMAIN
    if negative is None and (absent or not chain) and not message.aa and not message.ra:
        # Who neither has the zone nor looks names up for others ("lame") knows of no absence.
        referred = any(record.type == rr.NS for record in message.authority)
        what = "a referral" if referred else "an empty response"
        return Reading(Status.FAILURE, reason=f"{what} without authority or recursion")
    if absent:
        # The code speaks of the end of the chain (RFC 6604 section 3).
        return Reading(Status.NXDOMAIN, (), chain, min(ttl, negative or 0))
    if negative is not None:
        return Reading(Status.NODATA, (), chain, min(ttl, negative))
    if chain:
        return Reading(Status.OK, (), chain, ttl)
    if not message.aa and any(record.type == rr.NS for record in message.authority):
        return Reading(Status.FAILURE, reason="a referral instead of an answer")
    if message.answer:
        return Reading(Status.FAILURE, reason="an answer to another question")
    # NODATA without an SOA record (RFC 2308 section 2.2, type 3): true for now, and not to be remembered.
    return Reading(Status.NODATA)


def _negative_ttl(message: Message, name: bytes) -> int | None:
    """Seconds for which an absence may be believed; None where no SOA record of a zone around the name says so."""
    for record in message.authority:
        if (
            record.type == rr.SOA
            and record.klass == rr.IN
            and is_under(name, fold(record.name))
            and len(record.rdata) >= 22
        ):
            minimum = int.from_bytes(record.rdata[-4:], "big")
            return min(record.ttl, minimum, MAX_NEGATIVE_TTL)
    return None


def _extended(message: Message) -> str:
    """The server's own words for an error (RFC 8914), if it has any; they are a stranger's."""
    for code, data in message.edns.options if message.edns is not None else ():
        if code == _EXTENDED_ERROR and len(data) > 2:
            text = data[2:].decode("utf-8", "replace")[:200]
            return f" ({''.join(char if char.isprintable() else '?' for char in text)})"
    return ""
