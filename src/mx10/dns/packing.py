"""Records into the messages of a zone transfer (RFC 5936 section 2.2), and the changes of a zone into those of an
incremental one (RFC 1995). No I/O: whoever sends takes the messages one after the other, and makes no more than that.
"""

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from mx10.dns import rrtypes as rr
from mx10.dns.message import AA, HEADER, QR, RD, TYPE_CLASS, Edns, Message, encode_opt, write_record
from mx10.dns.wirename import WireError

RRset = tuple[int, tuple[bytes, ...]]
"""TTL in seconds and the data of each record, as zones keep them."""

MESSAGE: Final = 0x4000
"""Octets of a message: as far as compression can point back (RFC 1035 section 4.1.4). One large record makes a larger
message."""
MOST: Final = 0xFFFF - 512
"""Octets of the largest message; the rest is for a signature (RFC 8945)."""
_RECORD: Final = 10
"""Octets of a record beside its owner and data."""
_ORIGINAL_TTL: Final = slice(4, 8)

WireRecord = tuple[bytes, int, int, bytes]
"""Owner, type, TTL and data."""


class TooLargeError(WireError):
    """A record that no message can hold."""


@dataclass(frozen=True, slots=True)
class Delta:
    """What leads from one version of a zone to another: their SOA records, and the records to remove and to add."""

    before: WireRecord
    after: WireRecord
    removed: tuple[WireRecord, ...]
    added: tuple[WireRecord, ...]

    def __len__(self) -> int:
        return len(self.removed) + len(self.added)


def records(owner: bytes, rrtype: int, rrset: RRset) -> Iterator[WireRecord]:
    """The records of a set. The signatures of a name are one set for us although each has the TTL of what it covers:
    the original TTL in its data (RFC 4034 section 3)."""
    ttl, datas = rrset
    for data in datas:
        yield owner, rrtype, int.from_bytes(data[_ORIGINAL_TTL], "big") if rrtype == rr.RRSIG else ttl, data


def changed(owner: bytes, rrtype: int, before: RRset | None, after: RRset | None) -> tuple[list[WireRecord], ...]:
    """The records to remove and to add when a set changes; what is in both stays."""
    old = list(records(owner, rrtype, before)) if before else []
    new = list(records(owner, rrtype, after)) if after else []
    in_both = set(old) & set(new)
    return [each for each in old if each not in in_both], [each for each in new if each not in in_both]


def whole(soa: WireRecord, rest: Iterable[WireRecord]) -> Iterator[WireRecord]:
    """A whole zone: its SOA record first and last (RFC 5936 section 2.2)."""
    yield soa
    yield from rest
    yield soa


def incremental(delta: Delta) -> Iterator[WireRecord]:
    """Changes of a zone, in one step (RFC 1995 sections 4 and 5)."""
    yield delta.after
    yield delta.before
    yield from delta.removed
    yield delta.after
    yield from delta.added
    yield delta.after


def messages(query: Message, payload: int, found: Iterable[WireRecord]) -> Generator[bytes, None, None]:
    """The messages that answer a query with these records; each is made when it is asked for.

    The question stands in the first one alone, and so does the OPT record, if the query had one.

    Args:
        payload: octets of UDP answers we take, for the OPT record.

    Raises:
        TooLargeError: a record is larger than any message.
    """
    packer = _Packer(query, payload)
    for record in found:
        bound = len(record[0]) + _RECORD + len(record[3])
        if packer.count and len(packer.wire) + len(packer.opt) + bound > MESSAGE:
            yield packer.take()
        if len(packer.wire) + len(packer.opt) + bound > MOST:
            what = f"a {rr.type_to_text(record[1])} record has {len(record[3])} octets"
            raise TooLargeError(f"{what}, too many for one message beside its question")
        packer.add(record)
    yield packer.take()


class _Packer:
    """The message being filled."""

    __slots__ = ("_flags", "_id", "_questions", "count", "offsets", "opt", "wire")

    def __init__(self, query: Message, payload: int) -> None:
        self._id = query.id
        self._flags = QR | AA | query.flags & RD
        self.opt = encode_opt(Edns(payload)) if query.edns is not None else b""
        self._begin()
        self._questions = 0
        if (question := query.question) is not None:
            self._questions = 1
            at = HEADER.size
            while question.name[at - HEADER.size]:
                self.offsets[question.name[at - HEADER.size :].lower()] = at
                at += question.name[at - HEADER.size] + 1
            self.wire += question.name + TYPE_CLASS.pack(question.type, question.klass)

    def _begin(self) -> None:
        self.wire = bytearray(HEADER.size)
        self.offsets: dict[bytes, int] = {}
        self.count = 0
        self._questions = 0

    def add(self, record: WireRecord) -> None:
        owner, rrtype, ttl, data = record
        write_record(self.wire, owner, rrtype, rr.IN, ttl, data, self.offsets)
        self.count += 1

    def take(self) -> bytes:
        """The message as it is; the next one begins."""
        HEADER.pack_into(self.wire, 0, self._id, self._flags, self._questions, self.count, 0, bool(self.opt))
        made = bytes(self.wire + self.opt)
        self.opt = b""
        self._begin()
        return made
