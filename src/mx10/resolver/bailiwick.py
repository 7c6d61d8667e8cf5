"""What an authoritative server's response says, and how much of it may be believed.

A server asked about a name of zone Z is believed about names in Z and nothing else: its *bailiwick* (RFC 2181 section
5.4.1, RFC 5452 section 6). Everything else in a response is left lying: an address for somebody else's host, an answer
to another question, the rest of an alias chain that leaves the zone. Pure: a message in, a value out.
"""

from dataclasses import dataclass, field
from typing import Final

from mx10.dns import rrtypes as rr
from mx10.dns.message import Message, Record
from mx10.dns.rrtypes import Rcode, rcode_to_text
from mx10.dns.wirename import MAX_NAME, fold, is_under
from mx10.resolver.reading import damage

MAX_TTL: Final = 86400
"""Seconds for which anything is believed at most, whatever its TTL says (RFC 2181 section 8 allows such a limit)."""
MAX_NEGATIVE_TTL: Final = 10800
"""Seconds for which an absence is believed at most (RFC 2308 section 5)."""
_MAX_STEPS: Final = 32
"""Alias steps read from one response; the chain's own limit is the iterator's."""
_MINIMUM: Final = 4


@dataclass(frozen=True, slots=True)
class Referral:
    """The server points to those of a zone below its own.

    Args:
        cut: the apex of that zone, folded.
        servers: the names of its servers, folded.
        glue: addresses, as text, of those of them that lie in the bailiwick.
        ttl: seconds.
    """

    cut: bytes
    servers: tuple[bytes, ...]
    glue: dict[bytes, tuple[str, ...]]
    ttl: int


@dataclass(frozen=True, slots=True)
class Step:
    """One alias: ``owner`` (folded) stands for ``target`` (folded); ``records`` are the CNAME, or the DNAME and the
    CNAME made from it."""

    owner: bytes
    target: bytes
    records: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class Told:
    """The server answers: alias steps first, then what stands at ``name``, where the chain ended or left the zone.

    ``rcode`` is None where the chain leaves the bailiwick, or this response: then the end is for another question.
    ``soa`` says how long an absence may be believed (RFC 2308 section 5); without it, not beyond this answer.
    """

    name: bytes
    rcode: Rcode | None
    steps: tuple[Step, ...] = ()
    records: tuple[Record, ...] = ()
    soa: Record | None = field(default=None)


@dataclass(frozen=True, slots=True)
class Lame:
    """The server does not do its duty for the zone: why, for people."""

    why: str


def negative_ttl(soa: Record) -> int:
    """Seconds for which an absence may be believed (RFC 2308 section 5)."""
    return min(soa.ttl, int.from_bytes(soa.rdata[-_MINIMUM:], "big"), MAX_NEGATIVE_TTL)


def read_response(message: Message, zone: bytes, name: bytes, rrtype: int) -> Referral | Told | Lame:
    """What a response says about a question.

    Args:
        message: a response whose id and question the transport has compared already.
        zone: the folded apex of the zone its server was asked as an authority for.
        name: the folded name asked for; at or below ``zone``.
    """
    if message.rcode not in (Rcode.NOERROR, Rcode.NXDOMAIN, Rcode.YXDOMAIN):
        return Lame(f"answered {rcode_to_text(message.rcode)}")
    if broken := damage(message):
        return Lame(f"answered with {broken}")
    steps, end, records = _walk(message.answer, zone, name, rrtype)
    if message.rcode == Rcode.YXDOMAIN and message.aa and is_under(end, zone):
        # The name became too long below a DNAME (RFC 6672 section 2.2): a final word, as good as "no such name".
        return Told(end, Rcode.YXDOMAIN, steps)
    if records:
        return Told(end, Rcode.NOERROR, steps, records) if message.aa else Lame("answered without authority")
    if steps:
        return _chain_end(message, zone, end, steps) if message.aa else Lame("answered without authority")
    referral = _referral(message, zone, name)
    soa = _soa(message, zone, name)
    if referral is not None and soa is None:
        return referral
    if not message.aa:
        return Lame("answered without authority, and pointed nowhere")
    if soa is None and message.answer and message.rcode == Rcode.NOERROR:
        # Records, and none of them of this name and type: that is not to say that there are none.
        return Lame("answered another question")
    return Told(name, Rcode(message.rcode), soa=soa)


def _chain_end(message: Message, zone: bytes, end: bytes, steps: tuple[Step, ...]) -> Told:
    """The chain ended without data in this response. Only within the bailiwick, and with the SOA record that belongs to
    an absence, is that the last word: servers stop early for reasons of their own."""
    soa = _soa(message, zone, end) if is_under(end, zone) else None
    return Told(end, None if soa is None else Rcode(message.rcode), steps, (), soa)


def _walk(
    answer: tuple[Record, ...], zone: bytes, name: bytes, rrtype: int
) -> tuple[tuple[Step, ...], bytes, tuple[Record, ...]]:
    """Follow the answer section from the name asked for: alias steps, the name they lead to, and the record set of the
    type there."""
    by_owner: dict[bytes, list[Record]] = {}
    for record in answer:
        if record.klass == rr.IN:
            by_owner.setdefault(fold(record.name), []).append(record)
    steps: list[Step] = []
    seen = {name}
    while len(steps) < _MAX_STEPS and is_under(name, zone):
        here = by_owner.get(name, [])
        records = tuple(record for record in here if rrtype in (record.type, rr.ANY))
        if records:
            return tuple(steps), name, records
        step = None
        if rrtype not in (rr.CNAME, rr.ANY):
            step = _dname_step(by_owner, zone, name) or _cname_step(here, name)
        if step is None:
            break
        steps.append(step)
        name = step.target
        if name in seen:
            break
        seen.add(name)
    return tuple(steps), name, ()


def _cname_step(here: list[Record], name: bytes) -> Step | None:
    for record in here:
        if record.type == rr.CNAME:
            return Step(name, fold(record.rdata), (record,))
    return None


def _dname_step(by_owner: dict[bytes, list[Record]], zone: bytes, name: bytes) -> Step | None:
    """A DNAME above the name, and the CNAME it stands for, made here: the one in the message need not be believed (RFC
    6672 section 3.1)."""
    for owner, records in by_owner.items():
        if owner == name or not is_under(name, owner) or not is_under(owner, zone):
            continue
        for record in records:
            if record.type == rr.DNAME:
                target = name[: len(name) - len(owner)] + record.rdata
                if len(target) > MAX_NAME:
                    return None
                return Step(name, fold(target), (record, Record(name, rr.CNAME, rr.IN, record.ttl, target)))
    return None


def _referral(message: Message, zone: bytes, name: bytes) -> Referral | None:
    """The delegation in the authority section, if it leads further down towards the name; any other leads in
    circles."""
    for first in message.authority:
        cut = fold(first.name)
        if first.type == rr.NS and cut != zone and is_under(cut, zone) and is_under(name, cut):
            break
    else:
        return None
    delegation = [record for record in message.authority if record.type == rr.NS and fold(record.name) == cut]
    servers = tuple(dict.fromkeys(fold(record.rdata) for record in delegation))
    glue: dict[bytes, tuple[str, ...]] = {}
    for record in message.additional:
        host = fold(record.name)
        address = address_of(record)
        if address and host in servers and is_under(host, zone):
            glue[host] = (*glue.get(host, ()), address)
    return Referral(cut, servers, glue, min(record.ttl for record in delegation))


def _soa(message: Message, zone: bytes, name: bytes) -> Record | None:
    """The SOA record that vouches for an absence: of a zone that the name is in and the server may speak for."""
    for record in message.authority:
        owner = fold(record.name)
        if record.type == rr.SOA and is_under(name, owner) and is_under(owner, zone) and len(record.rdata) > 20:
            return record
    return None


def address_of(record: Record) -> str:
    """The address of an A or AAAA record as text; empty for any other, and for data of a wrong length."""
    from ipaddress import IPv4Address, IPv6Address

    if record.klass == rr.IN and record.type == rr.A and len(record.rdata) == 4:
        return str(IPv4Address(record.rdata))
    if record.klass == rr.IN and record.type == rr.AAAA and len(record.rdata) == 16:
        return str(IPv6Address(record.rdata))
    return ""
