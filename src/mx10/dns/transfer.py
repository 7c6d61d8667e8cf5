"""Reading a zone transfer: message after message in, and in the end a zone, its changes, or "nothing is new".

AXFR (RFC 5936) and IXFR (RFC 1995) as a state machine without I/O; whoever holds the connection feeds it. Which of the
two a primary chose to send is seen by the second record: a SOA begins changes, anything else (or the first SOA again)
is the whole zone (RFC 1995 section 4).

A primary is believed in what the zone says and in nothing else: records of other names, of other classes, data that is
not of its type, a transfer out of order, without end or larger than the limits are errors, and what was read until then
is dropped by the caller.
"""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from mx10.dns import rrtypes as rr
from mx10.dns.message import HEADER, NAMES_IN_RDATA, QR, RR_FIXED, TC, TYPE_CLASS, expand_rdata
from mx10.dns.rdata import MAX_TTL, check
from mx10.dns.wirename import MAX_LABEL, MAX_NAME, WireError, is_under, read, to_text

RRset = tuple[int, tuple[bytes, ...]]
"""TTL in seconds and the data of each record, as zones keep them."""

SOA_TAIL: Final = 20
"""Octets of a SOA's five numbers; the serial is the first of them (RFC 1035 section 3.3.13)."""

# The types for questions and for the protocol itself stand in no zone (RFC 6895 section 3.1).
_META: Final = frozenset({0, rr.OPT, *range(128, 256)}) - {rr.SPF}


class TransferError(Exception):
    """What came is no transfer of the zone asked for: why, in words for a log."""


class TransferRefusedError(TransferError):
    """The primary answered with a response code instead.

    Attributes:
        rcode: the code.
    """

    def __init__(self, rcode: int) -> None:
        super().__init__(f"the primary answered {rr.rcode_to_text(rcode)}")
        self.rcode = rcode


class TransferTooBigError(TransferError):
    """The transfer has more records or octets than may be."""


@dataclass(frozen=True, slots=True)
class UpToDate:
    """The primary has nothing newer; ``soa`` is the data of its SOA record."""

    soa: bytes

    @property
    def serial(self) -> int:
        return serial_of(self.soa)


@dataclass(frozen=True, slots=True)
class WholeZone:
    """The zone as it is: owner (folded) to its record sets by type; SOA included. The TTL of a set whose records differ
    in theirs is the lowest."""

    soa: bytes
    nodes: dict[bytes, dict[int, RRset]]
    records: int

    @property
    def serial(self) -> int:
        return serial_of(self.soa)


@dataclass(frozen=True, slots=True)
class Delta:
    """From one version of a zone to the next: the records to remove and to add, each owner, type, TTL and data; the
    SOA records are among them."""

    removed: tuple[tuple[bytes, int, int, bytes], ...]
    added: tuple[tuple[bytes, int, int, bytes], ...]


@dataclass(frozen=True, slots=True)
class Deltas:
    """The changes since the serial asked for, oldest first."""

    soa: bytes
    deltas: tuple[Delta, ...]
    records: int

    @property
    def serial(self) -> int:
        return serial_of(self.soa)


Outcome = UpToDate | WholeZone | Deltas


@dataclass(frozen=True, slots=True)
class TransferLimits:
    """How much one transfer may bring: records (the removed ones of an IXFR count too), and octets of messages."""

    records: int
    octets: int


class _State(Enum):
    FIRST = auto()
    """Nothing came yet: a SOA has to."""
    SECOND = auto()
    """It shows which kind of transfer this is."""
    WHOLE = auto()
    REMOVING = auto()
    ADDING = auto()
    DONE = auto()


def serial_of(soa: bytes) -> int:
    """The serial in the data of a SOA record."""
    return int.from_bytes(soa[-SOA_TAIL : 4 - SOA_TAIL], "big")


class TransferReader:
    """Reads one transfer.

    Args:
        apex: the zone, folded.
        ident: the id of the request; every message bears it.
        serial: that of the zone we have, if changes were asked for; None if the whole zone was.
        limits: how much it may bring.
    """

    def __init__(self, apex: bytes, *, ident: int, serial: int | None, limits: TransferLimits) -> None:
        self._apex = apex
        self._ident = ident
        self._serial = serial
        self._limits = limits
        self._state = _State.FIRST
        self._soa = b""
        self._soa_ttl = 0
        self._nodes: dict[bytes, dict[int, tuple[int, list[bytes]]]] = {}
        self._deltas: list[Delta] = []
        self._removed: list[tuple[bytes, int, int, bytes]] = []
        self._added: list[tuple[bytes, int, int, bytes]] = []
        self._reached = serial
        self._in_zone: dict[bytes, None] = {}
        self.records = 0
        self.octets = 0
        self.messages = 0

    @property
    def done(self) -> bool:
        """Whether the transfer is whole."""
        return self._state is _State.DONE

    def feed(self, wire: bytes) -> bool:
        """Read one message.

        Args:
            wire: as it came, without its TSIG record.

        Returns:
            Whether it was the last.

        Raises:
            TransferRefusedError: it bears a response code.
            TransferError: it is no part of the transfer asked for.
        """
        if self.done:
            raise TransferError("a message follows the end of the transfer")
        self.messages += 1
        self.octets += len(wire)
        if self.octets > self._limits.octets:
            raise TransferTooBigError(f"the transfer has more than {self._limits.octets >> 20} MiB")
        try:
            self._read(wire)
        except WireError as error:
            raise TransferError(f"message {self.messages} does not parse: {error}") from None
        # A single SOA says "nothing new" (RFC 1995 section 2); with a newer serial it is a beginning.
        if self._state is _State.SECOND and self._serial is not None and not _newer(serial_of(self._soa), self._serial):
            self._state = _State.DONE
        return self.done

    def outcome(self) -> Outcome:
        """What the transfer brought, once it is done."""
        if self._state is not _State.DONE:
            raise TransferError("the transfer ended before its end")
        if self._deltas:
            return Deltas(self._soa, tuple(self._deltas), self.records)
        if not self._nodes:
            return UpToDate(self._soa)
        return WholeZone(self._soa, _record_sets(self._nodes), self.records)

    def _read(self, wire: bytes) -> None:
        at, answers, authorities, additionals = self._header(wire)
        size = len(wire)
        names: dict[int, bytes] = {}
        take = self._take
        for section, count in enumerate((answers, authorities, additionals)):
            for _ in range(count):
                # Nearly every owner is a name that was in the message before: then it is read only once.
                length = wire[at] if at < size else 0
                if length >= 0xC0 and at + 1 < size and (known := names.get((length & 0x3F) << 8 | wire[at + 1])):
                    owner, at = known, at + 2
                else:
                    start = at
                    name, at = read(wire, at)
                    owner = names[start] = name.lower()
                if at + 10 > size:
                    raise WireError(f"the record at octet {at} runs past the end of the message")
                rrtype, klass, ttl, length = RR_FIXED.unpack_from(wire, at)
                at += 10
                end = at + length
                if end > size:
                    raise WireError(f"the record data at octet {at} runs past the end of the message")
                if section == 0:
                    layout = NAMES_IN_RDATA.get(rrtype)
                    data = wire[at:end] if layout is None else expand_rdata(wire, at, end, layout)
                    if klass != rr.IN:
                        raise TransferError(f"a record of {to_text(owner)} has the class {klass} and not IN")
                    take(owner, rrtype, ttl if ttl <= MAX_TTL else 0, data)
                at = end
        if at != size:
            raise WireError(f"{size - at} octets stand behind the end of the message")

    def _header(self, wire: bytes) -> tuple[int, int, int, int]:
        """See that the message belongs to our request (RFC 5936 section 2.2); where its records begin, and their
        counts."""
        if len(wire) < HEADER.size:
            raise WireError(f"a message of {len(wire)} octets is shorter than its header of 12")
        ident, flags, questions, answers, authorities, additionals = HEADER.unpack_from(wire)
        if ident != self._ident or not flags & QR or flags >> 11 & 0xF != rr.Opcode.QUERY:
            raise TransferError(f"message {self.messages} is no response to our request")
        if flags & 0xF:
            raise TransferRefusedError(flags & 0xF)
        if flags & TC:
            raise TransferError(f"message {self.messages} says that it is cut off (TC)")
        if questions > 1:
            raise TransferError(f"message {self.messages} has {questions} questions")
        at = HEADER.size
        if questions:
            name, at = read(wire, at)
            if at + 4 > len(wire):
                raise WireError("the question runs past the end of the message")
            rrtype, klass = TYPE_CLASS.unpack_from(wire, at)
            at += 4
            if name.lower() != self._apex or klass != rr.IN or rrtype not in (rr.AXFR, rr.IXFR):
                raise TransferError(f"message {self.messages} answers another question: {to_text(name)}")
        if not answers:
            raise TransferError(f"message {self.messages} has no records")
        return at, answers, authorities, additionals

    def _take(self, owner: bytes, rrtype: int, ttl: int, data: bytes) -> None:
        """The next record of the stream."""
        self.records += 1
        if self.records > self._limits.records + 2:
            raise TransferTooBigError(f"the transfer has more than {self._limits.records} records")
        if rrtype == rr.SOA:
            if owner != self._apex:
                raise TransferError(f"it has a SOA record of {to_text(owner)}, which is another zone")
            if len(data) < SOA_TAIL + 2:
                raise TransferError("the data of its SOA record is too short")
            self._take_soa(ttl, data)
            return
        if self._state is _State.SECOND:
            self._begin_whole()
        self._examine(owner, rrtype, data)
        if self._state is _State.WHOLE:
            self._add_to_zone(owner, rrtype, ttl, data)
        elif self._state is _State.REMOVING:
            self._removed.append((owner, rrtype, ttl, data))
        elif self._state is _State.ADDING:
            self._added.append((owner, rrtype, ttl, data))
        elif self._state is _State.FIRST:
            raise TransferError("its first record is no SOA")
        else:
            raise TransferError("records follow its closing SOA")

    def _take_soa(self, ttl: int, data: bytes) -> None:
        serial = serial_of(data)
        record = (self._apex, rr.SOA, ttl, data)
        match self._state:
            case _State.FIRST:
                self._soa, self._soa_ttl = data, ttl
                self._state = _State.SECOND
            case _State.SECOND:
                if data == self._soa:
                    # A zone of nothing but its SOA.
                    self._begin_whole()
                    self._state = _State.DONE
                else:
                    self._begin_delta(serial, record)
            case _State.WHOLE:
                if data != self._soa:
                    raise TransferError(
                        "its closing SOA differs from that at its beginning: the zone changed meanwhile"
                    )
                self._state = _State.DONE
            case _State.REMOVING:
                if self._reached is None or not _newer(serial, self._reached):
                    raise TransferError(f"its changes lead from serial {self._reached} back to {serial}")
                self._reached = serial
                self._added.append(record)
                self._state = _State.ADDING
            case _State.ADDING:
                self._deltas.append(Delta(tuple(self._removed), tuple(self._added)))
                self._removed, self._added = [], []
                if self._reached != serial_of(self._soa):
                    self._begin_delta(serial, record)
                elif data == self._soa:
                    self._state = _State.DONE
                else:
                    raise TransferError("its closing SOA differs from the first")
            case _State.DONE:
                raise TransferError("records follow its closing SOA")

    def _begin_whole(self) -> None:
        self._state = _State.WHOLE
        self._add_to_zone(self._apex, rr.SOA, self._soa_ttl, self._soa)

    def _begin_delta(self, serial: int, record: tuple[bytes, int, int, bytes]) -> None:
        if self._serial is None:
            raise TransferError("the whole zone was asked for, and changes came")
        if serial != self._reached:
            raise TransferError(f"its changes begin at serial {serial}, and {self._reached} was reached")
        self._removed.append(record)
        self._state = _State.REMOVING

    def _examine(self, owner: bytes, rrtype: int, data: bytes) -> None:
        """See that a record can stand in the zone, and that its data is of its type: what answers from it later relies
        on that."""
        if owner not in self._in_zone:
            if not is_under(owner, self._apex):
                raise TransferError(f"it has a record of {to_text(owner)}, which is not in the zone")
            if len(self._in_zone) < 1 << 12:
                self._in_zone[owner] = None
        if rrtype in _META:
            raise TransferError(f"it has a record of type {rr.type_to_text(rrtype)}, which stands in no zone")
        if not is_sound(rrtype, data):
            raise TransferError(f"the data of the {rr.type_to_text(rrtype)} record of {to_text(owner)} is no such data")

    def _add_to_zone(self, owner: bytes, rrtype: int, ttl: int, data: bytes) -> None:
        node = self._nodes.get(owner)
        if node is None:
            self._nodes[owner] = {rrtype: (ttl, [data])}
            return
        rrset = node.get(rrtype)
        if rrset is None:
            node[rrtype] = (ttl, [data])
            return
        rrset[1].append(data)
        if ttl < rrset[0]:
            node[rrtype] = (ttl, rrset[1])


def is_sound(rrtype: int, data: bytes) -> bool:
    """Whether octets are data of their type. The types that make up large zones are examined here, quickly."""
    if rrtype == rr.A:
        return len(data) == 4
    if rrtype == rr.AAAA:
        return len(data) == 16
    if rrtype in NAMES_IN_RDATA:
        return bool(data)  # its names were read
    if rrtype == rr.RRSIG:
        return 18 < (end := _name_end(data, 18)) < len(data)
    if rrtype == rr.NSEC:
        return 0 < (end := _name_end(data, 0)) <= len(data) and _is_bitmap(data, end)
    if rrtype == rr.NSEC3:
        return _is_nsec3(data)
    try:
        check(rrtype, data)
    except ValueError:
        return False
    return True


def _is_nsec3(data: bytes) -> bool:
    """RFC 5155 section 3.2."""
    if len(data) < 6:
        return False
    at = 5 + data[4]
    if at >= len(data) or not data[at]:
        return False
    at += 1 + data[at]
    return at <= len(data) and _is_bitmap(data, at)


def _is_bitmap(data: bytes, at: int) -> bool:
    """Whether a type bitmap stands from there to the end (RFC 4034 section 4.1.2)."""
    last = -1
    while at < len(data):
        if at + 2 > len(data) or data[at] <= last or not 0 < data[at + 1] <= 32:
            return False
        last = data[at]
        at += 2 + data[at + 1]
    return at == len(data)


def _name_end(data: bytes, at: int) -> int:
    """The offset behind an uncompressed name; -1 where none stands there."""
    start = at
    while at < len(data) and (length := data[at]):
        if length > MAX_LABEL:
            return -1
        at += length + 1
    return at + 1 if at < len(data) and at - start < MAX_NAME else -1


def _record_sets(nodes: dict[bytes, dict[int, tuple[int, list[bytes]]]]) -> dict[bytes, dict[int, RRset]]:
    """Record sets as zones keep them, each record once (RFC 2181 section 5)."""
    return {
        owner: {rrtype: (ttl, tuple(dict.fromkeys(datas))) for rrtype, (ttl, datas) in node.items()}
        for owner, node in nodes.items()
    }


def _newer(serial: int, than: int) -> bool:
    """Whether a serial is newer by the arithmetic of RFC 1982 section 3.2."""
    return serial != than and (serial - than) & 0xFFFFFFFF < 1 << 31
