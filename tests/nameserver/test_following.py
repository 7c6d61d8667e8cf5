"""Secondary zones in a store, and primaries on loopback that do what a test tells them."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import pytest

from mx10.config import FollowingSettings, ZoneSettings
from mx10.dns import message as m
from mx10.dns import rrtypes as rr
from mx10.dns.message import Message, Record
from mx10.dns.wirename import from_text
from mx10.nameserver.following import Follower
from mx10.nameserver.timers import Following
from mx10.nameserver.transfer_in import NoSeal, Seal
from mx10.store.connect import open_store
from mx10.zones.ledger import Author, Ledger, ZoneOptions
from mx10.zones.ledger.followed import FollowedZones
from tests.resolver.hostile import Hostile, Reply, silent, unused_port

APEX = from_text("example.com.")
QUICK = FollowingSettings(
    refresh_min_seconds=1, retry_min_seconds=1, expire_min_seconds=1, answer_seconds=0.3, idle_seconds=0.3
)
T = TypeVar("T")
ME = Author("test")


def soa(serial: int, times: tuple[int, int, int] = (3600, 600, 86400)) -> Record:
    numbers = b"".join(each.to_bytes(4, "big") for each in (serial, *times, 60))
    return Record(APEX, rr.SOA, rr.IN, 60, b"\0\0" + numbers)


def a(number: int) -> Record:
    return Record(from_text(f"host{number}", APEX), rr.A, rr.IN, 60, bytes((192, 0, 2, number & 255)))


@dataclass
class Zone:
    """A zone as its primary has it; behaves as it should unless told otherwise."""

    versions: list[tuple[Record, set[Record]]]
    ixfr: bool = True
    refuse: bool = False
    asked: list[int] = field(default_factory=list)

    def move(self, serial: int, *records: Record, times: tuple[int, int, int] = (3600, 600, 86400)) -> None:
        self.versions.append((soa(serial, times), set(records)))

    def __call__(self, query: Message) -> Reply:
        question = query.question
        assert question is not None
        self.asked.append(question.type)
        if self.refuse:
            return Message(query.id, m.QR, question, rcode=rr.Rcode.REFUSED)
        now, records = self.versions[-1]
        answer = [now]
        if question.type == rr.AXFR:
            answer += [*records, now]
        if question.type == rr.IXFR:
            if not self.ixfr:
                return Message(query.id, m.QR, question, rcode=rr.Rcode.NOTIMP)
            known = [index for index, each in enumerate(self.versions) if each[0].rdata == query.authority[0].rdata]
            steps = list(zip(self.versions[known[0] :], self.versions[known[0] + 1 :], strict=False)) if known else []
            for (old_soa, old), (new_soa, new) in steps:
                answer += [old_soa, *(old - new), new_soa, *(new - old)]
            answer += [now] if known else [*records, now]
        return Message(query.id, m.QR | m.AA, question, tuple(answer))


class World:
    """A store, and a follower at work on it."""

    def __init__(self, ledger: Ledger, settings: FollowingSettings, seal: Callable[[bytes | None], Seal]) -> None:
        self.ledger = ledger
        self.apex = APEX
        # One thread, as the steward has it.
        self.thread = ThreadPoolExecutor(1)
        self.follower = Follower(
            FollowedZones(ledger), self.in_store, settings, ledger.settings, seal, chance=lambda: 0.0
        )

    def in_store(self, function: Callable[..., T], /, *arguments: object) -> Awaitable[T]:
        return asyncio.get_running_loop().run_in_executor(self.thread, lambda: function(*arguments))

    def follow(self, *primaries: str, apex: bytes = APEX) -> None:
        self.apex = apex
        self.ledger.follow(apex, ME, ZoneOptions(primaries=primaries))

    async def refresh(self) -> str:
        """Ask for the zone; what came of it."""
        return (await self.follower.refresh(self.apex)).said

    def names(self) -> set[bytes]:
        return {owner for owner, _, _ in self.ledger.iterate(APEX) if owner != APEX}

    def state(self) -> Following:
        return Following.from_json(self.ledger.info(APEX).following)

    async def until(self, condition: Callable[[], bool]) -> None:
        # Two hundred zones are stored one by one; the machine may have other things to do.
        async with asyncio.timeout(60):
            while not condition():  # noqa: ASYNC110  # the store has no event to wait for
                await asyncio.sleep(0.005)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(open_store(f"sqlite:///{tmp_path}/mx10.db", create=True), ZoneSettings())


@asynccontextmanager
async def working(
    ledger: Ledger, settings: FollowingSettings = QUICK, seal: Callable[[bytes | None], Seal] = lambda key: NoSeal()
) -> AsyncIterator[World]:
    world = World(ledger, settings, seal)
    running = asyncio.create_task(world.follower.run())
    try:
        yield world
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        world.thread.shutdown()
        ledger.store.close()


def at(hostile: Hostile) -> str:
    return f"127.0.0.1:{hostile.port}"


async def test_a_zone_is_fetched_and_its_changes_follow(ledger: Ledger) -> None:
    zone = Zone([(soa(1), {a(1), a(2)})])
    async with working(ledger) as world, Hostile(zone) as primary:
        world.follow(at(primary))
        assert not ledger.info(APEX).served
        assert "by AXFR" in await world.refresh()
        assert world.names() == {a(1).name, a(2).name}
        assert (ledger.info(APEX).served, ledger.info(APEX).serial) == (True, 1)
        assert await world.refresh() == "serial 1 is the newest"

        zone.move(2, a(2), a(3))
        zone.move(5, a(2), a(4))
        assert "by IXFR" in await world.refresh()
        assert world.names() == {a(2).name, a(4).name}
        assert ledger.info(APEX).serial == 5
        newest = ledger.history(APEX, limit=1, with_changes=True)[0]
        assert (newest.kind, newest.serial_before, newest.serial_after, newest.author) == (
            "transfer",
            1,
            5,
            at(primary),
        )
        assert {change.owner for change in newest.changes or ()} == {APEX, a(1).name, a(4).name}
        assert zone.asked == [rr.AXFR, rr.SOA, rr.SOA, rr.IXFR]
        assert world.follower.counts | {"checks": 3, "axfr": 1, "ixfr": 1} == world.follower.counts


async def test_a_zone_that_is_followed_while_we_run_is_seen(ledger: Ledger) -> None:
    async with working(ledger) as world, Hostile(Zone([(soa(1), {a(1)})])) as primary:
        await asyncio.sleep(0.05)
        world.follow(at(primary))
        await world.follower.changed([APEX, from_text("example.net.")])
        await world.until(lambda: ledger.info(APEX).served)
        ledger.delete(APEX, ME)
        assert await world.refresh() == "it is no secondary zone of the store"
        assert len(world.follower) == 0


async def test_a_primary_without_changes_sends_the_whole_zone(ledger: Ledger) -> None:
    zone = Zone([(soa(1), {a(1)})], ixfr=False)
    async with working(ledger) as world, Hostile(zone) as primary:
        world.follow(at(primary))
        await world.refresh()
        zone.move(2, a(2))
        assert "by AXFR" in await world.refresh()
        assert world.names() == {a(2).name}
        assert zone.asked[1:] == [rr.SOA, rr.IXFR, rr.AXFR]


async def test_changes_that_do_not_fit_lead_to_the_whole_zone(ledger: Ledger) -> None:
    zone = Zone([(soa(1), {a(1)})])
    async with working(ledger) as world, Hostile(zone) as primary:
        world.follow(at(primary))
        await world.refresh()
        # The primary forgot what it had, and says that it removed something else.
        zone.versions[0] = (soa(1), {a(9)})
        zone.move(2, a(2))
        assert "by AXFR" in await world.refresh()
        assert world.names() == {a(2).name}


async def test_the_notified_zone_is_asked_for_at_once_and_not_too_often(ledger: Ledger) -> None:
    zone = Zone([(soa(1), {a(1)})])
    settings = FollowingSettings(answer_seconds=0.3, idle_seconds=0.3)
    async with working(ledger, settings) as world, Hostile(silent) as other, Hostile(zone) as primary:
        world.follow(at(other), f"127.0.0.1:{primary.port}")
        await world.refresh()
        zone.move(2, a(2))
        for _ in range(100):
            world.follower.notified(APEX, "127.0.0.1")
        await world.until(lambda: ledger.info(APEX).serial == 2)
        checks = world.follower.counts["checks"]
        assert checks == 2
        for _ in range(100):
            world.follower.notified(APEX, "127.0.0.1")
            await asyncio.sleep(0.001)
        assert world.follower.counts["checks"] == checks


async def test_primaries_are_asked_in_turn(ledger: Ledger) -> None:
    zone = Zone([(soa(1), {a(1)})])
    refusing = Zone([(soa(1), set())], refuse=True)
    async with working(ledger) as world, Hostile(refusing) as first, Hostile(zone) as second:
        world.follow(f"127.0.0.1:{unused_port()}", at(first), "not an address", "127.0.0.1#nokey", at(second))
        assert f"from {at(second)}" in await world.refresh()


async def test_troubles_are_told(ledger: Ledger) -> None:
    def seal(key: bytes | None) -> Seal:
        if key is not None:
            raise KeyError(key)
        return NoSeal()

    refusing = Zone([(soa(1), set())], refuse=True)
    async with working(ledger, seal=seal) as world, Hostile(refusing) as first:
        world.follow(at(first), "127.0.0.1#nokey", "somewhere")
        said = await world.refresh()
        assert f"{at(first)}: the primary answered REFUSED" in said
        assert "there is no key nokey" in said
        assert "'somewhere' is no IP address" in said
        await world.until(lambda: world.state().trouble == said)
        assert world.state().failures >= 1


async def test_a_zone_expires_and_comes_back(ledger: Ledger) -> None:
    zone = Zone([(soa(1, (1, 1, 2)), {a(1)})])
    async with working(ledger) as world, Hostile(zone) as primary:
        world.follow(at(primary))
        await world.refresh()
        zone.refuse = True
        await world.until(lambda: not ledger.info(APEX).served)
        # What it was is still there, and is answered again once a primary confirms it.
        assert world.names() == {a(1).name}
        zone.refuse = False
        await world.until(lambda: ledger.info(APEX).served)
        assert world.follower.counts["expired"] == 1
        assert zone.asked.count(rr.AXFR) == 1


async def test_timers_are_kept_over_a_restart(ledger: Ledger) -> None:
    zone = Zone([(soa(1), {a(1)})])
    async with Hostile(zone) as primary:
        async with working(ledger) as world:
            world.follow(at(primary))
            await world.refresh()
        state = Following.from_json(ledger.info(APEX).following)
        assert state.source == at(primary)
        assert state.due - state.refreshed == 3_600_000
        async with working(ledger) as world:
            await world.until(lambda: len(world.follower) == 1)
            await asyncio.sleep(0.1)
        assert zone.asked == [rr.AXFR]


async def test_what_a_primary_said_is_kept_over_a_restart(ledger: Ledger) -> None:
    zone = Zone([(soa(1), {a(1)})])
    async with Hostile(zone) as primary:
        async with working(ledger) as world:
            world.follow(at(primary))
            await world.refresh()
            zone.move(2, a(2))
            primary.udp = primary.tcp = silent
            followed = FollowedZones(ledger).find(APEX)
            assert followed is not None
            world.follower.notified(APEX, "127.0.0.1")
            await world.follower.promise(followed)
            assert world.state().due <= time.time() * 1000
        primary.udp = primary.tcp = zone
        # Whoever comes after us asks at once, although refresh is an hour.
        async with working(ledger) as world:
            await world.until(lambda: ledger.info(APEX).serial == 2)


async def test_what_is_kept_already_is_not_written_again(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Hostile(Zone([(soa(1), {a(1)})])) as primary, working(ledger) as world:
        world.follow(at(primary))
        await world.refresh()
        primary.udp = primary.tcp = silent
        saved: list[int] = []
        save = FollowedZones.save

        def counted(self: FollowedZones, states: Mapping[bytes, str]) -> None:
            saved.append(1)
            save(self, states)

        monkeypatch.setattr(FollowedZones, "save", counted)
        for _ in range(20):
            followed = FollowedZones(ledger).find(APEX)
            assert followed is not None
            world.follower.notified(APEX, "127.0.0.1")
            await world.follower.promise(followed)
        assert 1 <= len(saved) < 5


async def test_an_older_serial_is_not_taken(ledger: Ledger) -> None:
    zone = Zone([(soa(7), {a(1)})])
    async with working(ledger) as world, Hostile(zone) as primary:
        world.follow(at(primary))
        await world.refresh()
        zone.versions[:] = [(soa(3), {a(2)})]
        assert await world.refresh() == "serial 7 is the newest"
        assert world.names() == {a(1).name}


def cut(query: Message) -> list[Reply]:
    return [Message(query.id, m.QR | m.AA, query.question, (soa(9), a(5))), b""]


def lying(query: Message) -> list[Reply]:
    return [
        Message(query.id, m.QR | m.AA, query.question, (soa(9), soa(1), a(1), soa(2), a(5))),
        Message(query.id, m.QR | m.AA, query.question, (soa(2), a(77), soa(9), soa(9))),
    ]


def foreign(query: Message) -> Reply:
    other = Record(from_text("www.example.net."), rr.A, rr.IN, 1, bytes(4))
    return Message(query.id, m.QR | m.AA, query.question, (soa(9), other, soa(9)))


def endless(query: Message) -> list[Reply]:
    first = Message(query.id, m.QR | m.AA, query.question, (soa(9),))
    return [first, *(Message(query.id, m.QR | m.AA, query.question, (a(number),)) for number in range(300))]


def garbage(query: Message) -> Reply:
    return query.id.to_bytes(2, "big") + b"\x84\0\0\1\0\5\0\0\0\0 whatever this may be"


@pytest.mark.parametrize("behaviour", [cut, lying, foreign, endless, garbage, silent])
async def test_nothing_half_applied(
    behaviour: Callable[[Message], Reply | list[Reply]], ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    ledger.settings = ZoneSettings(max_records=100)
    zone = Zone([(soa(1), {a(1), a(2)})])
    async with working(ledger) as world, Hostile(zone) as primary:
        world.follow(at(primary))
        await world.refresh()
        before = ledger.zone(APEX)
        zone.move(9, a(9))

        def bad(query: Message) -> Reply | list[Reply]:
            return zone(query) if query.question and query.question.type == rr.SOA else behaviour(query)

        primary.udp = bad
        said = await world.refresh()
        assert said.startswith(at(primary))
        assert ledger.zone(APEX) == before
        assert len(ledger.history(APEX, limit=10)) == 2
        assert ledger.info(APEX).served
        primary.udp = zone
        assert "by IXFR" in await world.refresh()
        assert world.names() == {a(9).name}


async def test_many_zones_at_once(ledger: Ledger) -> None:
    apexes = [from_text(f"zone{number}.example.") for number in range(200)]

    def any_zone(query: Message) -> Reply:
        assert query.question is not None
        apex = query.question.name
        begin = Record(apex, rr.SOA, rr.IN, 60, soa(1).rdata)
        ns = Record(apex, rr.NS, rr.IN, 60, b"\2ns" + apex)
        return Message(query.id, m.QR | m.AA, query.question, (begin, ns, begin))

    async with Hostile(any_zone) as primary:
        for apex in apexes:
            ledger.follow(apex, ME, ZoneOptions(primaries=(at(primary),)))
        async with working(ledger) as world:
            await world.until(lambda: world.follower.counts["axfr"] == len(apexes))
    assert all(info.served and info.serial == 1 and info.following for info in ledger.infos())


async def test_a_primary_that_sends_for_ever_holds_up_no_other(ledger: Ledger) -> None:
    settings = replace(QUICK, idle_seconds=60, checks_at_once=10, transfers_at_once=4)
    async with Hostile(silent) as bad, Hostile(Zone([(soa(1), {a(1)})]), host="127.0.0.2") as good:
        for number in range(30):
            ledger.follow(from_text(f"zone{number}.example."), ME, ZoneOptions(primaries=(at(bad),)))
        async with working(ledger, settings) as world:
            await world.until(lambda: len(bad.asked) == 3)
            world.follow(f"127.0.0.2:{good.port}")
            await world.follower.changed([APEX])
            await world.until(lambda: ledger.info(APEX).served)
            assert len(bad.asked) == 3


async def test_all_zones_of_a_primary_that_is_away_do_not_flood_the_log(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[dict[str, object]] = []
    monkeypatch.setattr("mx10.nameserver.following.log.warning", lambda event, **values: lines.append(values))
    for number in range(300):
        ledger.follow(from_text(f"zone{number}.example."), ME, ZoneOptions(primaries=(f"127.0.0.1:{unused_port()}",)))
    async with working(ledger) as world:
        began = time.monotonic()
        await world.until(lambda: world.follower.counts["failures"] >= 300)
        seconds = time.monotonic() - began
    assert 0 < len(lines) <= 50 * (seconds + 2)


async def test_the_members_of_a_catalog_are_followed(ledger: Ledger) -> None:
    """RFC 9432."""
    members = [from_text(f"member{number}.example.") for number in range(4)]

    def listed(number: int, unique: str) -> Record:
        return Record(from_text(f"{unique}.zones", APEX), rr.PTR, rr.IN, 0, members[number])

    version = Record(from_text("version", APEX), rr.TXT, rr.IN, 0, b"\x012")
    catalog = Zone([(soa(1), {version, listed(0, "a"), listed(1, "b")})])

    def any_zone(query: Message) -> Reply:
        assert query.question is not None
        apex = query.question.name
        if apex == APEX:
            return catalog(query)
        begin = Record(apex, rr.SOA, rr.IN, 60, soa(1).rdata)
        return Message(query.id, m.QR | m.AA, query.question, (begin, begin))

    def followed() -> set[bytes]:
        return {info.apex for info in ledger.infos() if info.served} - {APEX}

    async with Hostile(any_zone) as primary, working(ledger) as world:
        ledger.follow(members[3], ME, ZoneOptions(primaries=(at(primary),)))
        ledger.follow(APEX, ME, ZoneOptions(primaries=(at(primary),), consume_catalog=True))
        await world.follower.changed([members[3]])
        await world.refresh()
        await world.until(lambda: followed() == {members[0], members[1], members[3]})
        began = ledger.info(members[1]).id

        # One goes, one begins anew under another label, one comes, and one is a zone of our own already.
        catalog.move(2, version, listed(1, "c"), listed(2, "d"), listed(3, "e"))
        await world.refresh()
        await world.until(lambda: followed() == set(members[1:]))
        assert ledger.info(members[1]).id != began
        assert ledger.info(members[3]).options.member_of == ""

        # A catalog that breaks a rule changes nothing.
        catalog.move(3, listed(2, "d"))
        await world.refresh()
        assert followed() == set(members[1:])
        catalog.move(4, version)
        await world.refresh()
        await world.until(lambda: followed() == {members[3]})
