"""Whole DNS messages: bytes to values and back (RFC 1035 section 4, RFC 6891 for EDNS).

For everyone who asks, and for tests. The nameserver's own hot path does not come through here: see
``mx10.nameserver.responder``.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from struct import Struct
from typing import Final

from mx10.dns import rrtypes as rr
from mx10.dns.wirename import ROOT, WireError, read

QR: Final = 0x8000
AA: Final = 0x0400
TC: Final = 0x0200
RD: Final = 0x0100
RA: Final = 0x0080
AD: Final = 0x0020
CD: Final = 0x0010
DO: Final = 0x8000
"""The DNSSEC OK bit, in the flags of the OPT record (RFC 3225)."""

HEADER: Final = Struct("!6H")
RR_FIXED: Final = Struct("!HHIH")
TYPE_CLASS: Final = Struct("!HH")

# Where names stand inside the data of the types whose names may be compressed (RFC 3597 section 4 lists them: those of
# RFC 1035) or must be understood all the same, because senders of old compressed them: fixed octets before the first
# name, number of names, fixed octets after the last.
NAMES_IN_RDATA: Final[dict[int, tuple[int, int, int]]] = {
    rr.NS: (0, 1, 0),
    3: (0, 1, 0),
    4: (0, 1, 0),
    rr.CNAME: (0, 1, 0),
    rr.SOA: (0, 2, 20),
    7: (0, 1, 0),
    8: (0, 1, 0),
    9: (0, 1, 0),
    rr.PTR: (0, 1, 0),
    14: (0, 2, 0),
    rr.MX: (2, 1, 0),
    rr.RP: (0, 2, 0),
    rr.AFSDB: (2, 1, 0),
    21: (2, 1, 0),
    26: (2, 2, 0),
    rr.SRV: (6, 1, 0),
    rr.DNAME: (0, 1, 0),
}
COMPRESSIBLE: Final = frozenset({rr.NS, 3, 4, rr.CNAME, rr.SOA, 7, 8, 9, rr.PTR, 14, rr.MX})
"""The types of RFC 1035: only in their data may names be written compressed (RFC 3597 section 4)."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: name (wire, case kept), type and class."""

    name: bytes
    type: int
    klass: int = rr.IN


@dataclass(frozen=True, slots=True)
class Record:
    """One resource record; ``rdata`` with its names uncompressed, ``ttl`` in seconds (RFC 2181 section 8: 0 where the
    top bit is set).
    """

    name: bytes
    type: int
    klass: int
    ttl: int
    rdata: bytes


@dataclass(frozen=True, slots=True)
class Edns:
    """What the OPT record says (RFC 6891 section 6.1): ``payload`` in octets, ``options`` as pairs of code and data."""

    payload: int = 1232
    version: int = 0
    do: bool = False
    options: tuple[tuple[int, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Message:
    """A DNS message. ``flags`` is the header's second word; ``rcode`` includes the upper bits that EDNS carries."""

    id: int
    flags: int
    question: Question | None = None
    answer: tuple[Record, ...] = ()
    authority: tuple[Record, ...] = ()
    additional: tuple[Record, ...] = ()
    edns: Edns | None = None
    rcode: int = 0

    @property
    def qr(self) -> bool:
        return bool(self.flags & QR)

    @property
    def aa(self) -> bool:
        return bool(self.flags & AA)

    @property
    def tc(self) -> bool:
        return bool(self.flags & TC)

    @property
    def rd(self) -> bool:
        return bool(self.flags & RD)

    @property
    def ra(self) -> bool:
        return bool(self.flags & RA)

    @property
    def ad(self) -> bool:
        return bool(self.flags & AD)

    @property
    def cd(self) -> bool:
        return bool(self.flags & CD)

    @property
    def opcode(self) -> int:
        return self.flags >> 11 & 0xF


def parse(wire: bytes) -> Message:
    """A message from its bytes.

    Raises:
        WireError: it is cut off, has more than one question or OPT record, a bad name, or octets behind its end.
    """
    if len(wire) < HEADER.size:
        raise WireError(f"a message of {len(wire)} octets is shorter than its header of 12")
    ident, flags, questions, *counts = HEADER.unpack_from(wire)
    if questions > 1:
        raise WireError(f"the message asks {questions} questions; one is allowed (RFC 9619)")
    at = HEADER.size
    question = None
    if questions:
        name, at = read(wire, at)
        if at + 4 > len(wire):
            raise WireError("the question runs past the end of the message")
        question = Question(name, *TYPE_CLASS.unpack_from(wire, at))
        at += 4
    sections: list[tuple[Record, ...]] = []
    for count in counts:
        records = []
        for _ in range(count):
            record, at = _read_record(wire, at)
            records.append(record)
        sections.append(tuple(records))
    if at != len(wire):
        raise WireError(f"{len(wire) - at} octets stand behind the end of the message")
    answer, authority, additional = sections
    edns, upper = _take_opt(additional)
    return Message(
        id=ident,
        flags=flags,
        question=question,
        answer=answer,
        authority=authority,
        additional=tuple(record for record in additional if record.type != rr.OPT),
        edns=edns,
        rcode=upper << 4 | flags & 0xF,
    )


def _read_record(wire: bytes, at: int) -> tuple[Record, int]:
    name, at = read(wire, at)
    if at + RR_FIXED.size > len(wire):
        raise WireError(f"the record at octet {at} runs past the end of the message")
    rrtype, klass, ttl, length = RR_FIXED.unpack_from(wire, at)
    at += RR_FIXED.size
    end = at + length
    if end > len(wire):
        raise WireError(f"the record data at octet {at} runs past the end of the message")
    layout = NAMES_IN_RDATA.get(rrtype)
    rdata = wire[at:end] if layout is None else expand_rdata(wire, at, end, layout)
    if rrtype != rr.OPT and ttl > 0x7FFFFFFF:
        ttl = 0
    return Record(name, rrtype, klass, ttl, rdata), end


def expand_rdata(wire: bytes, at: int, end: int, layout: tuple[int, int, int]) -> bytes:
    """Record data with the names in it uncompressed; empty data is left alone (it occurs in updates, RFC 2136).

    Args:
        layout: where its names stand, from ``NAMES_IN_RDATA``.

    Raises:
        WireError: the names do not end where the data should.
    """
    if at == end:
        return b""
    before, names, after = layout
    start = at
    pieces = [wire[at : at + before]]
    at += before
    for _ in range(names):
        name, at = read(wire, at)
        pieces.append(name)
    pieces.append(wire[at:end])
    if end - at != after:
        raise WireError(f"the record data at octet {start} does not end where its names do")
    return b"".join(pieces)


def _take_opt(additional: tuple[Record, ...]) -> tuple[Edns | None, int]:
    opts = [record for record in additional if record.type == rr.OPT]
    if not opts:
        return None, 0
    if len(opts) > 1 or opts[0].name != ROOT:
        raise WireError("a message has one OPT record at most, and its name is the root (RFC 6891 section 6.1.1)")
    opt = opts[0]
    return (
        Edns(opt.klass, opt.ttl >> 16 & 0xFF, bool(opt.ttl & DO), tuple(read_options(opt.rdata))),
        opt.ttl >> 24,
    )


def read_options(rdata: bytes) -> Iterable[tuple[int, bytes]]:
    """The options in an OPT record's data.

    Raises:
        WireError: an option runs past the end.
    """
    at = 0
    while at < len(rdata):
        if at + 4 > len(rdata):
            raise WireError("an EDNS option is cut off")
        code, length = TYPE_CLASS.unpack_from(rdata, at)
        at += 4
        if at + length > len(rdata):
            raise WireError(f"the EDNS option {code} runs past the end of its record")
        yield code, rdata[at : at + length]
        at += length


def encode_opt(edns: Edns, rcode: int = 0) -> bytes:
    """The OPT record on the wire; ``rcode`` is the whole response code, of which this record carries the upper eight
    bits.
    """
    data = b"".join(TYPE_CLASS.pack(code, len(value)) + value for code, value in edns.options)
    ttl = rcode >> 4 << 24 | edns.version << 16 | (DO if edns.do else 0)
    return ROOT + RR_FIXED.pack(rr.OPT, edns.payload, ttl, len(data)) + data


def make_query(
    name: bytes,
    rrtype: int,
    *,
    id: int,  # noqa: A002  # the header field's name
    klass: int = rr.IN,
    rd: bool = True,
    ad: bool = False,
    cd: bool = False,
    do: bool = False,
    payload: int = 1232,
    edns: bool = True,
    options: tuple[tuple[int, bytes], ...] = (),
) -> bytes:
    """A question on the wire.

    Args:
        name: wire name, its case kept (so a caller can mix it).
        id: 0 to 65535; from a source that cannot be guessed (RFC 5452 section 9).
        payload: octets of UDP answer we can take, in the OPT record (RFC 6891 section 6.2.3).
        edns: whether an OPT record goes along at all.
    """
    flags = (RD if rd else 0) | (AD if ad else 0) | (CD if cd else 0)
    query = HEADER.pack(id, flags, 1, 0, 0, 1 if edns else 0) + name + TYPE_CLASS.pack(rrtype, klass)
    return query + encode_opt(Edns(payload, 0, do, options)) if edns else query


def encode(message: Message) -> bytes:
    """A message as bytes, names compressed where that is allowed.

    Raises:
        WireError: it would be longer than 65535 octets.
    """
    question = message.question
    sections = (message.answer, message.authority, message.additional)
    counts = [len(section) for section in sections]
    if message.edns is not None:
        counts[2] += 1
    wire = bytearray(
        HEADER.pack(message.id, message.flags & 0xFFF0 | message.rcode & 0xF, 0 if question is None else 1, *counts)
    )
    offsets: dict[bytes, int] = {}
    if question is not None:
        write_name(wire, question.name, offsets)
        wire += TYPE_CLASS.pack(question.type, question.klass)
    for section in sections:
        for record in section:
            write_record(wire, record.name, record.type, record.klass, record.ttl, record.rdata, offsets)
    if message.edns is not None:
        wire += encode_opt(message.edns, message.rcode)
    if len(wire) > 0xFFFF:
        raise WireError(f"the message has {len(wire)} octets; at most 65535 are allowed")
    return bytes(wire)


def write_name(wire: bytearray, name: bytes, offsets: dict[bytes, int]) -> None:
    """Append a name, compressed against the names written before.

    Args:
        offsets: folded name to its offset in ``wire``; this call adds to it.
    """
    folded = name.lower()
    at = 0
    while name[at]:
        known = offsets.get(folded[at:])
        if known is not None:
            wire += (0xC000 | known).to_bytes(2, "big")
            return
        if len(wire) < 0x4000:
            offsets[folded[at:]] = len(wire)
        end = at + name[at] + 1
        wire += name[at:end]
        at = end
    wire.append(0)


def write_record(
    wire: bytearray, name: bytes, rrtype: int, klass: int, ttl: int, rdata: bytes, offsets: dict[bytes, int]
) -> None:
    """Append one record, its owner compressed, and the names in its data where RFC 3597 section 4 allows it."""
    write_name(wire, name, offsets)
    if rrtype not in COMPRESSIBLE or not rdata:
        wire += RR_FIXED.pack(rrtype, klass, ttl, len(rdata))
        wire += rdata
        return
    wire += RR_FIXED.pack(rrtype, klass, ttl, 0)
    start = len(wire)
    before, names, _ = NAMES_IN_RDATA[rrtype]
    wire += rdata[:before]
    at = before
    for _ in range(names):
        end = name_end(rdata, at)
        write_name(wire, rdata[at:end], offsets)
        at = end
    wire += rdata[at:]
    wire[start - 2 : start] = (len(wire) - start).to_bytes(2, "big")


def name_end(data: bytes, at: int) -> int:
    """The offset behind the uncompressed name that starts at ``at``."""
    while length := data[at]:
        at += length + 1
    return at + 1
