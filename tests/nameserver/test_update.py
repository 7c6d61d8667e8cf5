"""Updates that come in: done as one change set, or refused with a code and a word."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

import pytest

from mx10.config import UpdateSettings, ZoneSettings
from mx10.dns import message as m
from mx10.dns import rrtypes as rr
from mx10.dns.message import Edns, Message, Question, Record
from mx10.dns.rrtypes import Opcode, Rcode
from mx10.dns.wirename import from_text
from mx10.nameserver.rate import Rate, Seldom
from mx10.nameserver.update import Updater
from mx10.nameserver.update_policy import Client
from mx10.store.connect import open_store
from mx10.zones.dnssec.policy import Denial
from mx10.zones.dnssec.verify import faults
from mx10.zones.ledger import Author, Edit, Ledger, ZoneOptions
from mx10.zones.zone import Node, Zone
from tests.zones.dnssec.shapes import arrangement
from tests.zones.dnssec.signed_store import SignedStore

T = TypeVar("T")
APEX = from_text("example.com.")
KEY = from_text("laptop.example.")
WWW = from_text("www", APEX)
A1, A2 = (bytes((192, 0, 2, number)) for number in (1, 2))
POLICY = ("key:laptop.example grant zonesub ANY",)


def soa(serial: int) -> bytes:
    return b"\2ns" + APEX + b"\4post" + APEX + serial.to_bytes(4, "big") + bytes((0, 0, 28, 32) * 4)


ZONE = Zone(
    APEX,
    {
        APEX: {rr.SOA: (60, (soa(10),)), rr.NS: (60, (b"\2ns" + APEX,))},
        from_text("ns", APEX): {rr.A: (60, (A1,))},
        WWW: {rr.A: (60, (A1,))},
    },
)


def inline(function: Callable[..., T], /, *arguments: object) -> Awaitable[T]:
    async def run() -> T:
        await asyncio.sleep(0)
        return function(*arguments)

    return run()


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    made = Ledger(open_store(f"sqlite:///{tmp_path}/mx10.db", create=True), ZoneSettings())
    made.create(ZONE, Author("test"), options=ZoneOptions(update_policy=POLICY, serial_style="counter"))
    return made


def update(*records: Record, needs: Sequence[Record] = (), zone: bytes = APEX, edns: Edns | None = None) -> Message:
    return Message(7, Opcode.UPDATE << 11, Question(zone, rr.SOA), tuple(needs), tuple(records), edns=edns)


def add(owner: bytes, rrtype: int, data: bytes, ttl: int = 60) -> Record:
    return Record(owner, rrtype, rr.IN, ttl, data)


async def told(updater: Updater, message: Message, key: bytes | None = KEY, client: str = "192.0.2.9") -> Rcode:
    response = m.parse(await updater.answer(message, Client(client, key)))
    assert (response.id, response.opcode, response.qr) == (7, Opcode.UPDATE, True)
    assert response.question == message.question
    return Rcode(response.rcode)


def updater_of(ledger: Ledger, **settings: int) -> Updater:
    return Updater(ledger, inline, UpdateSettings(**settings))


async def test_an_update_is_a_change_set(ledger: Ledger) -> None:
    updater = updater_of(ledger)
    assert await told(updater, update(add(WWW, rr.A, A2, 30), add(WWW, rr.TXT, b"\1x"))) == Rcode.NOERROR
    assert ledger.node(APEX, WWW) == {rr.A: (30, (A1, A2)), rr.TXT: (60, (b"\1x",))}
    newest = ledger.history(APEX, limit=1)[0]
    assert (newest.kind, newest.author) == ("update", "key laptop.example from 192.0.2.9")
    assert (newest.serial_before, newest.serial_after) == (10, 11)
    assert updater.counts == {"NOERROR": 1}


async def test_nothing_to_do_leaves_no_trace(ledger: Ledger) -> None:
    assert await told(updater_of(ledger), update(add(WWW, rr.A, A1))) == Rcode.NOERROR
    assert await told(updater_of(ledger), update(add(APEX, rr.SOA, soa(9)))) == Rcode.NOERROR
    assert ledger.info(APEX).serial == 10
    assert len(ledger.history(APEX, limit=5)) == 1


async def test_a_serial_of_the_client_is_kept(ledger: Ledger) -> None:
    """RFC 2136 section 3.6."""
    assert await told(updater_of(ledger), update(add(APEX, rr.SOA, soa(77)))) == Rcode.NOERROR
    assert ledger.info(APEX).serial == 77


@pytest.mark.parametrize(
    ("message", "key", "rcode"),
    [
        (update(add(WWW, rr.A, A2)), None, Rcode.REFUSED),
        (update(add(WWW, rr.A, A2)), from_text("other."), Rcode.REFUSED),
        (update(add(WWW, rr.A, A2), zone=from_text("example.net.")), KEY, Rcode.NOTAUTH),
        (update(add(from_text("example.net."), rr.A, A2)), KEY, Rcode.NOTZONE),
        (update(add(WWW, rr.A, b"xx")), KEY, Rcode.FORMERR),
        (update(add(WWW, rr.A, A2), needs=[Record(WWW, rr.MX, rr.CLASS_ANY, 0, b"")]), KEY, Rcode.NXRRSET),
        # Whoever may not change anything learns nothing of what is there.
        (update(add(WWW, rr.A, A2), needs=[Record(WWW, rr.MX, rr.CLASS_ANY, 0, b"")]), None, Rcode.REFUSED),
        (Message(7, Opcode.UPDATE << 11), KEY, Rcode.FORMERR),
        # A rule of zones: a DNAME and data below it.
        (update(add(APEX, rr.DNAME, from_text("example.net."))), KEY, Rcode.REFUSED),
        (update(*[add(WWW, rr.A, bytes((10, 0, 0, number))) for number in range(50)]), KEY, Rcode.REFUSED),
    ],
)
async def test_updates_that_are_not_done(message: Message, key: bytes | None, rcode: Rcode, ledger: Ledger) -> None:
    before = ledger.zone(APEX)
    assert await told(updater_of(ledger, max_records=40), message, key) == rcode
    assert ledger.zone(APEX) == before
    assert len(ledger.history(APEX, limit=5)) == 1


async def test_why_is_said_where_the_client_speaks_edns(ledger: Ledger) -> None:
    message = update(add(WWW, rr.A, A2), edns=Edns())
    response = m.parse(await updater_of(ledger).answer(message, Client("192.0.2.9")))
    assert response.edns is not None
    assert response.edns.options == ((15, b"\0\x12no rule of the zone's update policy is for this client"),)


async def test_zones_that_are_not_ours_to_change(ledger: Ledger) -> None:
    other = from_text("example.net.")
    ledger.follow(other, Author("test"), ZoneOptions(update_policy=POLICY, primaries=("192.0.2.1",)))
    assert await told(updater_of(ledger), update(zone=other)) == Rcode.REFUSED
    updater = Updater(ledger, inline, UpdateSettings(), elsewhere=lambda apex: True)
    assert await told(updater, update(zone=from_text("file.example."))) == Rcode.REFUSED


async def test_a_policy_that_cannot_be_read_lets_nobody_in(ledger: Ledger) -> None:
    ledger.set_options(APEX, ZoneOptions(update_policy=(*POLICY, "key:x forbid everything")), Author("test"))
    assert await told(updater_of(ledger), update(add(WWW, rr.A, A2))) == Rcode.REFUSED


async def test_what_others_change_meanwhile_is_not_lost(tmp_path: Path) -> None:
    class Interrupted(Ledger):
        left = 2

        def node(self, apex: bytes, owner: bytes) -> Node:
            found = super().node(apex, owner)
            if self.left:
                self.left -= 1
                data = bytes((b"ab"[self.left], 0, 0, 1))
                self.change(APEX, [Edit(WWW, rr.A, (60, (data, *found[rr.A][1])))], Author("somebody"))
            return found

    ledger = Interrupted(open_store(f"sqlite:///{tmp_path}/mx10.db", create=True), ZoneSettings())
    ledger.create(ZONE, Author("test"), options=ZoneOptions(update_policy=POLICY))
    assert await told(updater_of(ledger), update(add(WWW, rr.A, A2))) == Rcode.NOERROR
    assert set(ledger.node(APEX, WWW)[rr.A][1]) == {A1, A2, b"a\0\0\1", b"b\0\0\1"}


@pytest.mark.parametrize("denial", ["nsec", "nsec3", "nsec3-opt-out"])
async def test_a_signed_zone_is_signed_anew(denial: Denial, tmp_path: Path) -> None:
    signed = SignedStore(open_store(f"sqlite:///{tmp_path}/mx10.db", create=True))
    ledger = signed.ledger
    ledger.create(ZONE, Author("test"), options=ZoneOptions(update_policy=POLICY, serial_style="counter"))
    signed.sign(APEX, arrangement(13, "csk", denial))
    updater = updater_of(ledger)
    deep = from_text("a.b.deep", APEX)
    for message in (
        update(add(deep, rr.A, A1), add(WWW, rr.TXT, b"\1x")),
        update(add(from_text("sub", APEX), rr.NS, from_text("ns.elsewhere.example.")), add(WWW, rr.A, A2, 5)),
        update(Record(deep, rr.ANY, rr.CLASS_ANY, 0, b"")),
        update(Record(WWW, rr.ANY, rr.CLASS_ANY, 0, b""), add(WWW, rr.CNAME, APEX)),
        update(Record(APEX, rr.ANY, rr.CLASS_ANY, 0, b"")),
    ):
        serial = ledger.info(APEX).serial
        assert await told(updater, message) == Rcode.NOERROR
        assert list(faults(ledger.zone(APEX), signed.now)) == []
        assert ledger.info(APEX).serial == serial + (message.authority[0].name != APEX)
    # What signing makes is not the client's.
    for rrtype in (rr.RRSIG, rr.NSEC, rr.DNSKEY, rr.NSEC3PARAM):
        before = ledger.info(APEX).serial
        assert await told(updater, update(Record(APEX, rrtype, rr.CLASS_ANY, 0, b""))) == Rcode.REFUSED
        assert ledger.info(APEX).serial == before
    assert await told(updater, update(add(WWW, rr.A, A1), needs=[Record(APEX, rr.DNSKEY, rr.CLASS_ANY, 0, b"")])) == 0


async def test_a_flood_is_refused(ledger: Ledger) -> None:
    updater = Updater(ledger, inline, UpdateSettings(rate=3), clock=lambda: 5.0)
    codes = [await told(updater, update()) for _ in range(5)]
    assert codes == [Rcode.NOERROR] * 3 + [Rcode.REFUSED] * 2
    assert await told(updater, update(), client="192.0.2.10") == Rcode.NOERROR


async def test_only_so_many_wait(ledger: Ledger) -> None:
    updater = updater_of(ledger, waiting=3)
    codes = await asyncio.gather(*(told(updater, update()) for _ in range(5)))
    assert sorted(codes) == [Rcode.NOERROR] * 3 + [Rcode.SERVFAIL] * 2


def test_the_rate_of_a_client() -> None:
    rate = Rate(2)
    assert [rate.admits("192.0.2.1", 0.0) for _ in range(3)] == [True, True, False]
    assert [rate.admits("192.0.2.1", 0.5) for _ in range(2)] == [True, False]
    assert [rate.admits(f"2001:db8::{number}", 1.0) for number in range(3)] == [True, True, False]
    assert rate.admits("2001:db8:0:1::1", 1.0)
    for number in range(20_000):
        rate.admits(f"10.0.{number >> 8}.{number & 255}", 2.0)
    assert len(rate._clients) == 10_000


def test_a_flood_does_not_fill_the_log() -> None:
    lines: list[object] = []
    now = 1.0
    seldom = Seldom(2, lambda: now)
    for _ in range(5):
        seldom.tell(lambda event, **values: lines.append(values), "refused", client="x")
    now = 2.0
    seldom.tell(lambda event, **values: lines.append(values), "refused", client="x")
    assert lines == [{"client": "x"}, {"client": "x"}, {"client": "x", "left_out_before": 3}]
