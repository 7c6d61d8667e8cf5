"""A transfer is read as it was sent, however it is cut into messages; anything else is refused with a word."""

from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mx10.dns import message as m
from mx10.dns import rrtypes as rr
from mx10.dns.message import Message, Question, Record, encode
from mx10.dns.transfer import (
    Deltas,
    Outcome,
    TransferError,
    TransferLimits,
    TransferReader,
    TransferRefusedError,
    TransferTooBigError,
    UpToDate,
    WholeZone,
)
from mx10.dns.wirename import from_text

APEX = from_text("example.com.")
LIMITS = TransferLimits(1000, 1 << 20)


def soa(serial: int, apex: bytes = APEX) -> Record:
    data = b"\2ns" + apex + b"\4post" + apex + serial.to_bytes(4, "big") + bytes(16)
    return Record(apex, rr.SOA, rr.IN, 3600, data)


def a(name: str, number: int, ttl: int = 60) -> Record:
    return Record(from_text(name, APEX), rr.A, rr.IN, ttl, bytes((192, 0, 2, number)))


def message(records: Iterable[Record], *, qtype: int = rr.AXFR, ident: int = 7, flags: int = m.QR | m.AA) -> bytes:
    return encode(Message(ident, flags, Question(APEX, qtype), tuple(records), rcode=flags & 0xF))


def read(messages: Sequence[bytes], serial: int | None = None, limits: TransferLimits = LIMITS) -> Outcome:
    reader = TransferReader(APEX, ident=7, serial=serial, limits=limits)
    for number, each in enumerate(messages, 1):
        assert reader.feed(each) == (number == len(messages))
    return reader.outcome()


WHOLE = [soa(3), a("www", 1), a("WWW", 2, 30), a("mail.host", 3), soa(3)]
CHANGES = [soa(3), soa(1), a("old", 1), soa(2), a("new", 2), a("new", 3), soa(2), a("new", 3), soa(3), soa(3)]


@given(st.lists(st.integers(1, 4), min_size=5, max_size=5), st.sampled_from([None, 1]))
def test_a_whole_zone_in_any_number_of_messages(sizes: list[int], serial: int | None) -> None:
    found = read(pieces(WHOLE, sizes), serial)
    assert isinstance(found, WholeZone)
    assert found.serial == 3
    assert found.nodes == {
        APEX: {rr.SOA: (3600, (soa(3).rdata,))},
        from_text("www", APEX): {rr.A: (30, (a("www", 1).rdata, a("www", 2).rdata))},
        from_text("mail.host", APEX): {rr.A: (60, (a("www", 3).rdata,))},
    }


def pieces(records: list[Record], sizes: list[int]) -> list[bytes]:
    found = []
    at = 0
    for size in sizes:
        if at < len(records):
            found.append(message(records[at : at + size]))
        at += size
    return found if at >= len(records) else [*found, message(records[at:])]


@given(st.lists(st.integers(1, 4), min_size=10, max_size=10))
def test_changes_in_any_number_of_messages(sizes: list[int]) -> None:
    """RFC 1995 section 4."""
    found = read(pieces(CHANGES, sizes), 1)
    assert isinstance(found, Deltas)
    first, second = found.deltas
    assert [record[0][1:4] for record in first.removed] == [b"exa", b"old"]
    assert [record[3][-1] for record in first.added[1:]] == [2, 3]
    assert [record[3][-1] for record in second.removed[1:]] == [3]
    assert second.added == ((APEX, rr.SOA, 3600, soa(3).rdata),)


def test_nothing_new() -> None:
    assert read([message([soa(3)])], 3) == UpToDate(soa(3).rdata)
    # A primary that lost its history may be behind us; that is nothing new either.
    assert read([message([soa(2)])], 3) == UpToDate(soa(2).rdata)


def test_a_zone_of_nothing_but_its_soa() -> None:
    found = read([message([soa(3), soa(3)])], 2)
    assert isinstance(found, WholeZone)
    assert list(found.nodes) == [APEX]


def test_serials_wrap() -> None:
    """RFC 1982."""
    top = 0xFFFFFFFF
    found = read([message([soa(1), soa(top), soa(1), a("www", 1), soa(1)])], top)
    assert isinstance(found, Deltas)


OUT_OF_ORDER = {
    "first is no SOA": ([a("www", 1), soa(3)], None),
    "closing SOA differs": ([soa(3), a("www", 1), soa(4)], None),
    "records behind the end": ([soa(3), a("www", 1), soa(3), a("www", 2)], None),
    "SOA behind the end": ([soa(3), a("www", 1), soa(3), soa(3)], None),
    "changes where the zone was asked for": ([soa(3), soa(1), soa(3), soa(3)], None),
    "changes from a serial we do not have": ([soa(3), soa(2), a("www", 1), soa(3), soa(3)], 1),
    "changes with a gap": ([soa(4), soa(1), soa(2), soa(3), soa(4), soa(4)], 1),
    "changes that lead back": ([soa(4), soa(2), soa(1), soa(4), soa(4)], 2),
    "changes that stand still": ([soa(4), soa(2), soa(2), soa(4), soa(4)], 2),
    "SOA of another zone": ([soa(3), soa(3, from_text("example.net."))], None),
    "record of another zone": ([soa(3), Record(from_text("a.example.net."), rr.A, rr.IN, 1, bytes(4)), soa(3)], None),
    "a name that only ends alike": ([soa(3), Record(from_text("myexample.com."), rr.A, rr.IN, 1, bytes(4))], None),
    "another class": ([soa(3), Record(APEX, rr.TXT, rr.CH, 1, b"\1a")], None),
    "a type of questions": ([soa(3), Record(APEX, rr.ANY, rr.IN, 1, b"")], None),
    "an address of three octets": ([soa(3), Record(APEX, rr.A, rr.IN, 1, bytes(3))], None),
    "a TXT that runs over": ([soa(3), Record(APEX, rr.TXT, rr.IN, 1, b"\7a")], None),
    "a signature without signer": ([soa(3), Record(APEX, rr.RRSIG, rr.IN, 1, bytes(18))], None),
    "an NSEC3 cut off": ([soa(3), Record(APEX, rr.NSEC3, rr.IN, 1, bytes((1, 0, 0, 0, 9, 1)))], None),
    "an NSEC with a bad bitmap": ([soa(3), Record(APEX, rr.NSEC, rr.IN, 1, b"\0\0\0")], None),
    "no records": ([], None),
}


@pytest.mark.parametrize(("records", "serial"), OUT_OF_ORDER.values(), ids=OUT_OF_ORDER)
def test_what_is_no_transfer_of_this_zone(records: list[Record], serial: int | None) -> None:
    reader = TransferReader(APEX, ident=7, serial=serial, limits=LIMITS)
    with pytest.raises(TransferError):
        reader.feed(message(records))


@pytest.mark.parametrize(
    ("wire", "said"),
    [
        (message(WHOLE, ident=8), "no response to our request"),
        (message(WHOLE, flags=0), "no response to our request"),
        (message(WHOLE, flags=m.QR | m.TC), "cut off"),
        (encode(Message(7, m.QR, Question(from_text("example.net."), rr.AXFR), tuple(WHOLE))), "another question"),
        (message(WHOLE)[:-1], "does not parse"),
        (message(WHOLE) + b"x", "behind the end"),
        (b"", "shorter than its header"),
    ],
)
def test_messages_that_do_not_belong(wire: bytes, said: str) -> None:
    with pytest.raises(TransferError, match=said):
        TransferReader(APEX, ident=7, serial=None, limits=LIMITS).feed(wire)


def test_a_response_code_is_told() -> None:
    with pytest.raises(TransferRefusedError, match="NOTAUTH"):
        TransferReader(APEX, ident=7, serial=None, limits=LIMITS).feed(message([], flags=m.QR | rr.Rcode.NOTAUTH))


@pytest.mark.parametrize("limits", [TransferLimits(50, 1 << 20), TransferLimits(1 << 20, 1000)])
@pytest.mark.parametrize("serial", [None, 1])
def test_a_stream_without_end_is_ended(limits: TransferLimits, serial: int | None) -> None:
    reader = TransferReader(APEX, ident=7, serial=serial, limits=limits)
    reader.feed(message([soa(3)]))
    stream = [message([a(f"host{number}", 1)]) for number in range(1000)]
    with pytest.raises(TransferTooBigError):
        list(map(reader.feed, stream))


def test_an_end_before_the_end() -> None:
    reader = TransferReader(APEX, ident=7, serial=None, limits=LIMITS)
    assert not reader.feed(message(WHOLE[:-1]))
    with pytest.raises(TransferError, match="before its end"):
        reader.outcome()


@given(st.binary(max_size=300), st.sampled_from([None, 1]))
def test_garbage_is_refused(noise: bytes, serial: int | None) -> None:
    reader = TransferReader(APEX, ident=7, serial=serial, limits=LIMITS)
    with pytest.raises(TransferError):
        reader.feed(bytes((0, 7)) + noise)


@given(st.data())
def test_a_damaged_transfer_never_raises_anything_else(data: st.DataObject) -> None:
    wire = bytearray(message(CHANGES))
    for _ in range(data.draw(st.integers(1, 5))):
        wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    reader = TransferReader(APEX, ident=7, serial=1, limits=LIMITS)
    try:
        reader.feed(bytes(wire))
        reader.outcome()
    except TransferError:
        pass
