"""What a server said, in a form that can be compared: codes and flags, and each section as a set of records.

Order of records, compression and the case of names are nobody's business (RFC 1035 section 2.3.3, RFC 4343); all else
is compared, TTLs too. Messages are read by dnspython, not by our own codec, so that a fault there shows.
"""

import struct
from dataclasses import dataclass, field

import dns.exception
import dns.message
import dns.name
import dns.rdata
import dns.rdatatype
import dns.rrset

SECTIONS = ("answer", "authority", "additional")
FIELDS = ("rcode", "aa", "tc", *SECTIONS)


@dataclass(frozen=True, slots=True, order=True)
class Rec:
    """One record: folded owner, type, TTL in seconds, folded data on the wire, and the whole as text."""

    owner: dns.name.Name
    rrtype: int
    ttl: int
    rdata: bytes
    text: str = field(compare=False)


@dataclass(frozen=True, slots=True)
class Said:
    """An answer; ``rcode`` is a word, "silence" when nothing came and "malformed" when it could not be read."""

    rcode: str
    aa: bool = False
    tc: bool = False
    answer: frozenset[Rec] = frozenset()
    authority: frozenset[Rec] = frozenset()
    additional: frozenset[Rec] = frozenset()
    edns: bool = False
    flags: int = 0
    wire: bytes = b""

    def records(self, section: str, *rrtypes: int) -> frozenset[Rec]:
        """The records of a section, of some types or all."""
        found: frozenset[Rec] = getattr(self, section)
        return frozenset(rec for rec in found if rec.rrtype in rrtypes) if rrtypes else found

    def show(self) -> str:
        """For reports."""
        lines = [f"{self.rcode}{' aa' * self.aa}{' tc' * self.tc}{' edns' * self.edns} {len(self.wire)} octets"]
        lines += [f"  {section}: {rec.text}" for section in SECTIONS for rec in sorted(getattr(self, section))]
        return "\n".join(lines)


SILENCE = Said("silence")


def understand(wire: bytes | None) -> Said:
    """An answer in comparable form."""
    if wire is None:
        return SILENCE
    try:
        message = dns.message.from_wire(wire, one_rr_per_rrset=True)
    except (dns.exception.DNSException, struct.error, ValueError) as error:
        return Said(f"malformed: {error!r}", wire=wire)
    answer, authority, additional = (
        frozenset(_record(rrset) for rrset in part) for part in (message.answer, message.authority, message.additional)
    )
    return Said(
        message.rcode().name,
        bool(message.flags & 0x0400),
        bool(message.flags & 0x0200),
        answer,
        authority,
        additional,
        edns=message.edns >= 0,
        flags=struct.unpack_from("!H", wire, 2)[0],
        wire=wire,
    )


def _record(rrset: dns.rrset.RRset) -> Rec:
    data: dns.rdata.Rdata = rrset[0]
    return Rec(
        rrset.name.canonicalize(), int(rrset.rdtype), int(rrset.ttl), data.to_digestable(), rrset.to_text()[:200]
    )
