"""Transfers out: what is sent, to whom, and what happens when a client leaves, is slow, or comes with many."""

import asyncio
import time
from contextlib import aclosing
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mx10.config import NameserverSettings, ZoneSettings
from mx10.dns import rrtypes as rr
from mx10.dns.message import Edns, Message, Question, Record, encode, make_query, parse
from mx10.dns.packing import MOST, TooLargeError, incremental, messages, records, whole
from mx10.dns.rrtypes import Rcode
from mx10.dns.transfer import Deltas, Outcome, TransferLimits, TransferReader, UpToDate, WholeZone
from mx10.dns.tsig import Asker
from mx10.dns.wirename import from_text
from mx10.nameserver import transfers
from mx10.nameserver.condensing import condensed
from mx10.nameserver.desk import Desk
from mx10.nameserver.rate import Seldom
from mx10.nameserver.transfers import Transfers
from mx10.store.connect import Store
from mx10.zones.ledger import Author, ChangeSet, Edit, Ledger, ZoneOptions
from mx10.zones.ledger.values import Change
from mx10.zones.zone import Node, RRset, Zone
from tests.dns.test_tsig import KEY, KEYS

APEX = from_text("one.example.")
ME = Author("test")
LIMITS = TransferLimits(1_000_000, 1 << 30)
COUNTER = ZoneOptions(serial_style="counter")
Transport = Literal["udp", "tcp", "tls"]


def soa(serial: int) -> RRset:
    numbers = (serial, 7200, 900, 86400, 60)
    return 60, (b"\3ns1" + APEX + b"\4host" + APEX + b"".join(each.to_bytes(4, "big") for each in numbers),)


def a_zone(serial: int = 1, **more: RRset) -> Zone:
    """A zone with some more owners, each with an A record set."""
    nodes: dict[bytes, Node] = {
        APEX: {rr.SOA: soa(serial), rr.NS: (60, (b"\3ns1" + APEX,))},
        from_text("ns1", APEX): {rr.A: (60, (b"\x7f\0\0\1",))},
    }
    nodes |= {from_text(name, APEX): {rr.A: rrset} for name, rrset in more.items()}
    return Zone(APEX, nodes)


def a(*numbers: int, ttl: int = 60) -> RRset:
    return ttl, tuple(bytes((192, 0, 2, number)) for number in numbers)


class Served:
    """A desk with transfers at it."""

    def __init__(self, store: Store, files: dict[bytes, bytes], **settings: Any) -> None:
        values: dict[str, Any] = {"allow_transfer": ("127.0.0.0/8",), **settings}
        self.ledger = Ledger(store, ZoneSettings())
        self.files = files
        self.transfers = Transfers(self.ledger, files, NameserverSettings(**values))
        self.desk = Desk(lambda: KEYS)
        self.desk.for_type(rr.AXFR, self.transfers.answer)
        self.desk.for_type(rr.IXFR, self.transfers.answer)

    async def asked(self, message: bytes, client: str = "127.0.0.1", transport: Transport = "tcp") -> list[bytes]:
        return [each async for each in self.desk.responses(message, client, 4711, transport)]

    async def fetched(self, serial: int | None = None, **how: Any) -> Outcome:
        """A zone, or what changed since a serial, as a secondary reads it."""
        reader = TransferReader(APEX, ident=7, serial=serial, limits=LIMITS)
        for each in await self.asked(axfr() if serial is None else ixfr(serial), **how):
            reader.feed(each)
        return reader.outcome()

    async def rcode(self, message: bytes, **how: Any) -> int:
        (response,) = await self.asked(message, **how)
        return parse(response).rcode


def axfr(apex: bytes = APEX) -> bytes:
    return make_query(apex, rr.AXFR, id=7, edns=False)


def ixfr(serial: int, *, edns: Edns | None = None) -> bytes:
    theirs = Record(APEX, rr.SOA, rr.IN, 60, soa(serial)[1][0])
    return encode(Message(7, 0, Question(APEX, rr.IXFR), authority=(theirs,), edns=edns))


@pytest.fixture
def served(store: Store) -> Served:
    return Served(store, {})


def nodes_of(ledger: Ledger) -> dict[bytes, Node]:
    return {owner: node for owner, node in ledger.zone(APEX).nodes.items() if node}


async def test_a_whole_zone(served: Served) -> None:
    served.ledger.create(a_zone(www=a(1, 2), mail=a(3)), ME)
    found = await served.fetched()
    assert isinstance(found, WholeZone)
    assert found.nodes == nodes_of(served.ledger)
    assert served.transfers.counts.axfr == 1


async def test_changes_come_in_one_step(served: Served) -> None:
    served.ledger.create(a_zone(www=a(1, 2), mail=a(3)), ME, options=COUNTER)
    www, mail, new = (from_text(name, APEX) for name in ("www", "mail", "new"))
    served.ledger.change(APEX, [Edit(www, rr.A, a(2, 4))], ME)
    served.ledger.change(APEX, [Edit(new, rr.A, a(9)), Edit(mail, rr.A, None)], ME)
    served.ledger.change(APEX, [Edit(new, rr.A, None)], ME)
    found = await served.fetched(1)
    assert isinstance(found, Deltas)
    (delta,) = found.deltas
    assert (found.serial, len(delta.removed), len(delta.added)) == (4, 3, 2)
    assert {(each[0], each[3][-1]) for each in delta.removed if each[1] == rr.A} == {(www, 1), (mail, 3)}
    assert [(each[0], each[3][-1]) for each in delta.added if each[1] == rr.A] == [(www, 4)]
    assert isinstance(await served.fetched(4), UpToDate)
    # One that is ahead of us, too (RFC 1995 section 2).
    assert isinstance(await served.fetched(5), UpToDate)


async def test_what_is_not_known_is_sent_whole(served: Served) -> None:
    served.ledger.create(a_zone(5, www=a(1)), ME, options=COUNTER)
    served.ledger.change(APEX, [Edit(from_text("x", APEX), rr.A, a(1))], ME)
    assert isinstance(await served.fetched(3), WholeZone)
    # More changes than the zone has records.
    many = [Edit(from_text(f"h{number}", APEX), rr.A, a(1)) for number in range(300)]
    served.ledger.change(APEX, many, ME)
    served.ledger.change(APEX, [Edit(each.owner, rr.A, a(2)) for each in many], ME)
    served.ledger.change(APEX, [Edit(each.owner, rr.A, None) for each in many[:299]], ME)
    assert isinstance(await served.fetched(7), WholeZone)


async def test_changes_over_udp(served: Served) -> None:
    served.ledger.create(a_zone(www=a(1)), ME, options=COUNTER)
    served.ledger.change(APEX, [Edit(from_text("x", APEX), rr.A, a(1))], ME)
    assert isinstance(await served.fetched(1, transport="udp"), Deltas)
    served.ledger.change(APEX, [Edit(from_text(f"host-number-{number}", APEX), rr.A, a(1)) for number in range(25)], ME)
    # Too much for a datagram: the new SOA record alone, and the client comes by TCP.
    (short,) = await served.asked(ixfr(1), transport="udp")
    assert [each.rdata for each in parse(short).answer] == [soa(3)[1][0]]
    (whole_step,) = await served.asked(ixfr(1, edns=Edns(1232)), transport="udp")
    assert 512 < len(whole_step) <= 1232
    (unknown,) = await served.asked(ixfr(0, edns=Edns(1232)), transport="udp")
    assert len(parse(unknown).answer) == 1
    assert await served.rcode(axfr(), transport="udp") == Rcode.FORMERR


async def test_zones_from_files(store: Store) -> None:
    served = Served(store, {APEX: a_zone(3, www=a(1)).pack()})
    # A file goes before the store.
    served.ledger.create(a_zone(9), ME)
    found = await served.fetched()
    assert isinstance(found, WholeZone)
    assert (found.serial, found.nodes) == (3, a_zone(3, www=a(1)).nodes)
    assert isinstance(await served.fetched(2), WholeZone)
    assert isinstance(await served.fetched(3), UpToDate)


async def test_strangers_cannot_have_a_zone_from_a_file_opened(store: Store) -> None:
    served = Served(store, {APEX: b"opening this would fail"}, allow_transfer=("127.0.0.2/32",))
    assert await served.rcode(axfr()) == Rcode.REFUSED
    assert await served.rcode(axfr(), transport="udp") == Rcode.REFUSED


async def test_a_large_zone_from_a_file_is_opened_once_and_sent_as_it_is_taken(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfers, "SMALL", 10)
    monkeypatch.setattr(transfers, "_AHEAD", 1)
    opened: list[int] = []
    unpack = Zone.unpack

    def counted(packed: bytes) -> Zone:
        opened.append(1)
        return unpack(packed)

    monkeypatch.setattr(Zone, "unpack", counted)
    zone = a_zone(1, **{f"h{number}": a(1, 2, 3) for number in range(3000)})
    served = Served(store, {APEX: zone.pack()})
    stalled = [served.desk.responses(axfr(), "127.0.0.1", port, "tcp") for port in range(5)]
    for each in stalled:
        await anext(each)
    found = await served.fetched()
    assert isinstance(found, WholeZone)
    assert (found.nodes, len(opened)) == (zone.nodes, 1)
    # The zone changes: who began before gets the old one to its end, who comes now the new one.
    served.files[APEX] = a_zone(2).pack()
    rest = [each async for each in stalled[0]]
    assert len(rest) > 5
    now = await served.fetched()
    assert isinstance(now, WholeZone)
    assert now.nodes == a_zone(2).nodes
    for each in stalled:
        await each.aclose()
    assert isinstance(await served.fetched(2), UpToDate)
    assert len(opened) == 2


async def test_a_flood_of_transfers_does_not_flood_the_log(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr(transfers.log, "info", lambda event, **values: lines.append(event))
    monkeypatch.setattr(Seldom, "tell", lambda self, write, event, **values: lines.append("seldom"))
    served = Served(store, {APEX: a_zone(3).pack()})
    assert isinstance(await served.fetched(3), UpToDate)
    assert lines == ["seldom"]


async def test_who_may(store: Store) -> None:
    served = Served(store, {}, allow_transfer=("127.0.0.2/32", "127.0.0.3/32+tls"))
    served.ledger.create(a_zone(), ME, options=ZoneOptions(allow_transfer=("key:transfer.example", "nonsense")))
    assert await served.rcode(axfr()) == Rcode.REFUSED
    assert isinstance(await served.fetched(client="127.0.0.2"), WholeZone)
    assert await served.rcode(axfr(), client="127.0.0.3") == Rcode.REFUSED
    assert isinstance(await served.fetched(client="127.0.0.3", transport="tls"), WholeZone)
    assert await served.rcode(axfr(from_text("two.example.")), client="127.0.0.2") == Rcode.NOTAUTH
    assert await served.rcode(make_query(APEX, rr.AXFR, id=7, klass=rr.CH), client="127.0.0.2") == Rcode.REFUSED
    no_soa = encode(Message(7, 0, Question(APEX, rr.IXFR)))
    assert await served.rcode(no_soa, client="127.0.0.2") == Rcode.FORMERR
    served.ledger.set_served(APEX, False)
    assert await served.rcode(axfr(), client="127.0.0.2") == Rcode.SERVFAIL


async def test_every_message_is_signed(store: Store) -> None:
    served = Served(store, {}, allow_transfer=("key:transfer.example",))
    zone = a_zone()
    zone.nodes[from_text("text", APEX)] = {rr.TXT: (60, tuple(b"\xff" + bytes([n]) * 255 for n in range(200)))}
    served.ledger.create(zone, ME)
    asker = Asker(KEY, time.time)
    reader = TransferReader(APEX, ident=7, serial=None, limits=LIMITS)
    found = await served.asked(asker.sign(axfr()))
    assert len(found) > 3
    for each in found:
        reader.feed(asker.verify(each))
    asker.finish()
    outcome = reader.outcome()
    assert isinstance(outcome, WholeZone)
    assert outcome.nodes == nodes_of(served.ledger)


async def test_a_large_zone_is_read_as_it_is_taken(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfers, "SMALL", 10)
    monkeypatch.setattr(transfers, "_AHEAD", 1)
    served = Served(store, {})
    zone = a_zone(1)
    for number in range(3000):
        zone.nodes[from_text(f"h{number}", APEX)] = {rr.A: a(1, 2, 3)}
    served.ledger.create(zone, ME, options=COUNTER)
    reader = TransferReader(APEX, ident=7, serial=None, limits=LIMITS)
    count = 0
    async with aclosing(served.desk.responses(axfr(), "127.0.0.1", 1, "tcp")) as responses:
        async for each in responses:
            if not count:
                # What changes now is not in it: it is one version of the zone.
                edits = [Edit(from_text(f"h{number}", APEX), rr.A, a(9)) for number in range(3000)]
                await asyncio.to_thread(served.ledger.change, APEX, edits, ME)
            count += 1
            reader.feed(each)
    outcome = reader.outcome()
    assert isinstance(outcome, WholeZone)
    assert (count > 5, outcome.serial, outcome.nodes) == (True, 1, zone.nodes)
    # A client that leaves ends its snapshot: no connection of the store stays in use.
    for _ in range(30):
        async with aclosing(served.desk.responses(axfr(), "127.0.0.1", 1, "tcp")) as responses:
            await anext(responses)
    assert (served.transfers.counts.failed, served.transfers.counts.running) == (30, 0)
    assert isinstance(await served.fetched(), WholeZone)


async def test_places_are_limited(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfers, "WAIT_SECONDS", 0.05)
    served = Served(store, {}, transfers_at_once=3, transfers_per_client=2)
    served.ledger.create(a_zone(), ME)
    taken = [served.desk.responses(axfr(), "127.0.0.1", port, "tcp") for port in range(2)]
    for each in taken:
        await anext(each)
    assert await served.rcode(axfr()) == Rcode.SERVFAIL
    other = served.desk.responses(axfr(), "127.0.0.2", 1, "tcp")
    await anext(other)
    assert await served.rcode(axfr(), client="127.0.0.3") == Rcode.SERVFAIL
    for each in (*taken, other):
        await each.aclose()
    assert isinstance(await served.fetched(), WholeZone)


async def test_a_zone_that_goes_meanwhile(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    served.ledger.create(a_zone(), ME)
    find = Transfers._find

    async def found(self: Transfers, operation: Any) -> Any:
        source = await find(self, operation)
        self._ledger.delete(APEX, ME)
        return source

    monkeypatch.setattr(Transfers, "_find", found)
    assert await served.rcode(axfr()) == Rcode.SERVFAIL


# ---------------------------------------------------------------- the parts


QUERY = parse(make_query(APEX, rr.AXFR, id=7))


def test_a_record_may_be_as_large_as_a_message() -> None:
    start = (APEX, rr.SOA, 60, soa(1)[1][0])
    largest = MOST - 12 - len(APEX) - 4 - 11 - len(APEX) - 10
    found = list(messages(QUERY, 1232, whole(start, [(APEX, 65400, 60, bytes(largest))])))
    assert len(found) == 3
    reader = TransferReader(APEX, ident=7, serial=None, limits=LIMITS)
    assert [reader.feed(each) for each in found] == [False, False, True]
    with pytest.raises(TooLargeError, match="too many for one message"):
        list(messages(QUERY, 1232, whole(start, [(APEX, 65400, 60, bytes(0xFFFF))])))


def test_signatures_have_the_ttl_of_what_they_cover() -> None:
    signature = (1).to_bytes(2, "big") + b"\x0d\2" + (300).to_bytes(4, "big") + bytes(20)
    assert list(records(APEX, rr.RRSIG, (60, (signature,)))) == [(APEX, rr.RRSIG, 300, signature)]


SETS = st.one_of(
    st.none(),
    st.builds(
        lambda numbers, ttl: a(*numbers, ttl=ttl), st.sets(st.integers(1, 4), min_size=1), st.sampled_from([60, 300])
    ),
)
STEPS = st.lists(st.dictionaries(st.sampled_from([b"\1a" + APEX, b"\1b" + APEX]), SETS), min_size=1, max_size=6)


@given(STEPS)
def test_condensed_changes_lead_to_the_same_zone(steps: list[dict[bytes, RRset | None]]) -> None:
    state: dict[bytes, RRset | None] = {}
    first = dict(state)
    change_sets = []
    for serial, step in enumerate(steps, 1):
        changes = [Change(APEX, rr.SOA, soa(serial), soa(serial + 1))]
        changes += [Change(owner, rr.A, state.get(owner), rrset) for owner, rrset in step.items()]
        state |= step
        change_sets.append(ChangeSet(serial, APEX, "edit", serial, serial + 1, "", "", 0, tuple(changes)))
    delta = condensed(APEX, change_sets)
    assert delta is not None
    present = {each for owner, rrset in first.items() if rrset for each in records(owner, rr.A, rrset)}
    for each in delta.removed:
        present.remove(each)
    for each in delta.added:
        assert each not in present
        present.add(each)
    assert present == {each for owner, rrset in state.items() if rrset for each in records(owner, rr.A, rrset)}
    assert next(iter(incremental(delta))) == (APEX, rr.SOA, 60, soa(len(steps) + 1)[1][0])


def test_changes_that_do_not_say_how_the_soa_changed_are_no_step() -> None:
    assert condensed(APEX, [ChangeSet(1, APEX, "edit", 1, 2, "", "", 0, ())]) is None
