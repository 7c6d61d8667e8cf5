"""What of a response is believed: the records that belong to the question, by way of its aliases, and what their
absence means.

A response may carry anything; only a record set of the name asked for, or of a name that CNAME records lead to from
there, counts (RFC 1034 section 4.3.2, RFC 2181 section 5.4.1). That a name or type does not exist is believed only
where the response says so in the way of RFC 2308; everything else is a failure.
"""

from dataclasses import dataclass
from typing import Final

from mx10.dns import rrtypes as rr
from mx10.dns.message import Message, Record
from mx10.dns.rrtypes import Rcode, rcode_to_text
from mx10.dns.wirename import fold, is_under
from mx10.resolver.answer import Status

CHAIN_LIMIT: Final = 16
"""CNAME records followed from one name."""
MAX_TTL: Final = 7 * 86400
"""Seconds for which anything is believed at most, whatever its TTL (RFC 8767 section 4 suggests a bound of this
size)."""
MAX_NEGATIVE_TTL: Final = 3 * 3600
"""Seconds for which an absence is believed at most (RFC 2308 section 5)."""

_EXTENDED_ERROR: Final = 15


@dataclass(frozen=True, slots=True)
class Reading:
    """What a response says of a question; see ``Answer`` for the fields. ``unfinished``: it ends with an alias, and the
    name at the end of the chain has to be asked for."""

    status: Status
    records: tuple[Record, ...] = ()
    chain: tuple[bytes, ...] = ()
    ttl: int = 0
    reason: str = ""
    unfinished: bool = False


def read(message: Message, name: bytes, rrtype: int) -> Reading:
    """Read a response to the question for a folded name and a type of class IN."""
    if message.rcode not in (Rcode.NOERROR, Rcode.NXDOMAIN):
        return Reading(Status.FAILURE, reason=f"{rcode_to_text(message.rcode)}{_extended(message)}")
    at = name
    chain: list[bytes] = []
    ttl = MAX_TTL
    while True:
        found = _set_of(message.answer, at, rrtype)
        if found:
            ttl = min(ttl, *(record.ttl for record in found))
            return Reading(Status.OK, found, tuple(chain), ttl)
        alias = _set_of(message.answer, at, rr.CNAME)
        if not alias or rrtype == rr.ANY:
            break
        ttl = min(ttl, alias[0].ttl)
        at = fold(alias[0].rdata)
        if at == name or at in chain:
            return Reading(Status.FAILURE, chain=tuple(chain), reason="the aliases (CNAME) lead in a circle")
        chain.append(at)
        if len(chain) > CHAIN_LIMIT:
            return Reading(
                Status.FAILURE, chain=tuple(chain), reason=f"more than {CHAIN_LIMIT} aliases (CNAME) in a row"
            )
    return _absent(message, at, tuple(chain), ttl)


def _set_of(records: tuple[Record, ...], name: bytes, rrtype: int) -> tuple[Record, ...]:
    """The records of a name and type, each once; ANY takes all types."""
    found = {
        record.rdata if rrtype != rr.ANY else (record.type, record.rdata): record
        for record in records
        if (record.type == rrtype or rrtype == rr.ANY) and record.klass == rr.IN and fold(record.name) == name
    }
    return tuple(found.values())


def _absent(message: Message, name: bytes, chain: tuple[bytes, ...], ttl: int) -> Reading:
    """No such record at the end of the chain: why not, and for how long (RFC 2308 sections 2 and 5)."""
    negative = _negative_ttl(message, name)
    if message.rcode == Rcode.NXDOMAIN:
        # The code speaks of the end of the chain (RFC 6604 section 3).
        return Reading(Status.NXDOMAIN, (), chain, min(ttl, negative or 0))
    if negative is not None:
        return Reading(Status.NODATA, (), chain, min(ttl, negative))
    if chain:
        return Reading(Status.OK, (), chain, ttl, unfinished=True)
    if not message.aa and any(record.type == rr.NS for record in message.authority):
        what = "a referral instead of an answer: the server does not look names up for others"
        return Reading(Status.FAILURE, reason=what)
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
