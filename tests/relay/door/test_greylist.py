"""Greylisting: pure judgements, the table on each database, and the check of the door over both."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text as sql

from mx10.config.settings import DoorSettings
from mx10.relay.door import greylist as module
from mx10.relay.door.greylist import (
    DAY_MS,
    ENOUGH,
    FRESH_MS,
    HOUR_MS,
    Grey,
    Greylist,
    Judgement,
    StoredGreyTable,
    Times,
    judge,
    keys_of,
)
from mx10.relay.door.values import Decision, Refused, Visitor
from mx10.routing.addresses import from_text
from mx10.smtp.syntax import MailParameters
from mx10.store.connect import Store
from mx10.store.errors import StoreUnreachableError

NOW = 1_800_000_000_000
TIMES = Times(60_000, 24 * HOUR_MS, 36 * DAY_MS)
KEYS = ("192.0.2.0/24", "digest")
MAIL = MailParameters("a@example.com")


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        return self.now


class Broken:
    """A table that is not there."""

    def find(self, keys: Sequence[str]) -> Mapping[str, Grey]:
        raise StoreUnreachableError("the store is gone")

    def write(self, rows: Iterable[Grey]) -> None:
        raise StoreUnreachableError("the store is gone")

    def tidy(self, passed_before: int, others_before: int) -> tuple[int, int]:
        raise StoreUnreachableError("the store is gone")


def visitor(address: str = "192.0.2.1", *, user: str = "", trusted: bool = False) -> Visitor:
    octets = from_text(address)
    assert octets is not None
    return Visitor(octets, 4711, "192.0.2.25:25", "mx", user=user, trusted=trusted)


async def said(decision: Decision) -> str:
    refused = decision if decision is None or isinstance(decision, Refused) else await decision
    return "" if refused is None else str(refused.reply)


async def tried(
    grey: Greylist, address: str = "192.0.2.1", sender: str = "a@example.com", to: str = "x@b.example"
) -> str:
    return (await said(grey.recipient(visitor(address), MailParameters(sender), to)))[:10].strip()


def later(clock: Clock, ms: int) -> None:
    clock.now += ms


# Judgements


def test_what_is_remembered_together() -> None:
    def same(one: tuple[str, str, str], other: tuple[str, str, str]) -> bool:
        (a, *rest), (b, *others) = one, other
        return keys_of(from_text(a) or b"", *rest)[1] == keys_of(from_text(b) or b"", *others)[1]

    assert same(("192.0.2.1", "a@x", "b@y"), ("192.0.2.254", "A@X", "b@Y"))
    assert not same(("192.0.2.1", "a@x", "b@y"), ("192.0.3.1", "a@x", "b@y"))
    assert same(("2001:db8::1", "", "b@y"), ("2001:db8::ffff", "", "b@y"))
    assert not same(("2001:db8::1", "", "b@y"), ("2001:db8:0:1::1", "", "b@y"))
    assert not same(("192.0.2.1", "a", "b"), ("192.0.2.1", "", "a\0b"))


def test_what_comes_for_the_first_time_waits() -> None:
    assert judge(None, None, KEYS, TIMES, NOW) == Judgement(60_000, (Grey("digest", NOW, NOW, 0),))


def test_it_may_come_again_when_it_waited() -> None:
    row = Grey("digest", NOW, NOW, 0)
    assert judge(None, row, KEYS, TIMES, NOW + 1) == Judgement(59_999)
    assert judge(None, row, KEYS, TIMES, NOW + 59_999) == Judgement(1)
    at = NOW + 60_000
    assert judge(None, row, KEYS, TIMES, at) == Judgement(
        0, (Grey("digest", NOW, at, 1), Grey("192.0.2.0/24", at, at, 1))
    )


def test_after_the_window_it_is_new() -> None:
    row, at = Grey("digest", NOW, NOW, 0), NOW + 24 * HOUR_MS
    assert judge(None, row, KEYS, TIMES, at - 1).wait == 0
    assert judge(None, row, KEYS, TIMES, at) == Judgement(60_000, (Grey("digest", at, at, 0),))


def test_what_came_again_is_remembered_since_it_last_came() -> None:
    row = Grey("digest", NOW, NOW, 1)
    assert judge(None, row, KEYS, TIMES, NOW + FRESH_MS - 1) == Judgement(0)
    at = NOW + 36 * DAY_MS - 1
    assert judge(None, row, KEYS, TIMES, at) == Judgement(0, (Grey("digest", NOW, at, 1),))
    assert judge(None, row, KEYS, TIMES, at + 1).wait == 60_000


def test_a_network_is_known_when_enough_came_again() -> None:
    network = Grey(KEYS[0], NOW, NOW, ENOUGH - 1)
    assert judge(network, None, KEYS, TIMES, NOW).wait == 60_000
    network = Grey(KEYS[0], NOW, NOW, ENOUGH)
    assert judge(network, None, KEYS, TIMES, NOW) == Judgement(0)
    assert judge(network, None, KEYS, TIMES, NOW + 36 * DAY_MS).wait == 60_000


def test_a_clock_that_was_set_back_makes_nobody_wait_long() -> None:
    row = Grey("digest", NOW, NOW, 0)
    assert judge(None, row, KEYS, TIMES, NOW - 1000 * DAY_MS).wait == 60_000
    assert judge(None, Grey("digest", NOW, NOW, 1), KEYS, TIMES, NOW - 1000 * DAY_MS).wait == 0


@given(st.lists(st.integers(0, 3 * 24 * HOUR_MS), min_size=1, max_size=30))
def test_whoever_comes_again_after_the_wait_and_within_the_window_gets_through(pauses: list[int]) -> None:
    rows: dict[str, Grey] = {}
    now, first = NOW, -1
    for pause in pauses:
        now += pause
        found = judge(rows.get(KEYS[0]), rows.get(KEYS[1]), KEYS, TIMES, now)
        rows.update((row.key, row) for row in found.learned)
        assert 0 <= found.wait <= TIMES.wait
        if rows[KEYS[1]].passed:
            assert found.wait == 0
        elif first < 0 or now - first >= TIMES.window:
            first = now
            assert found.wait == TIMES.wait
        else:
            assert now - first < TIMES.wait


# The check


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def grey(store: Store, clock: Clock) -> Greylist:
    return Greylist(DoorSettings(greylist=True), StoredGreyTable(store), clock)


async def test_refused_told_when_and_taken_the_second_time(grey: Greylist, clock: Clock) -> None:
    assert await said(grey.recipient(visitor(), MAIL, "x@b.example")) == (
        "451 4.7.1 this host does not know you yet (greylisting): send it again, in 60 s or later"
    )
    later(clock, 59_000)
    assert (await said(grey.recipient(visitor(), MAIL, "x@b.example"))).endswith("in 1 s or later")
    later(clock, 1000)
    assert await tried(grey) == ""
    # From memory, at once.
    assert grey.recipient(visitor(), MAIL, "x@b.example") is None
    assert await tried(grey, to="y@b.example") == "451 4.7.1"
    assert await tried(grey, "192.0.2.99") == ""
    assert await tried(grey, "192.0.3.1") == "451 4.7.1"


async def test_what_was_learned_is_in_the_table(grey: Greylist, store: Store, clock: Clock) -> None:
    assert await tried(grey) == "451 4.7.1"
    assert await grey.write() == 1
    assert grey.unwritten == 0
    later(clock, 60_000)
    another = Greylist(DoorSettings(greylist=True), StoredGreyTable(store), clock)
    assert await tried(another) == ""
    assert await another.write() == 2
    again = Greylist(DoorSettings(greylist=True), StoredGreyTable(store), clock)
    assert await tried(again) == ""
    assert again.recipient(visitor(), MAIL, "x@b.example") is None
    with store.read() as connection:
        assert not any("@" in row.key for row in connection.execute(sql("SELECT key FROM greylist")))


async def test_a_network_from_which_enough_came_again_is_known(grey: Greylist, store: Store, clock: Clock) -> None:
    for number in range(ENOUGH):
        assert await tried(grey, to=f"{number}@b.example") == "451 4.7.1"
        await grey.write()
    later(clock, 60_000)
    for number in range(ENOUGH):
        assert await tried(grey, to=f"{number}@b.example") == ""
    assert grey.recipient(visitor("192.0.2.200"), MailParameters(""), "new@b.example") is None
    await grey.write()
    another = Greylist(DoorSettings(greylist=True), StoredGreyTable(store), clock)
    assert await tried(another, to="newer@b.example") == ""
    assert another.recipient(visitor("192.0.2.200"), MailParameters(""), "new@b.example") is None


async def test_users_trusted_networks_and_postmasters_are_not_asked(grey: Greylist) -> None:
    assert grey.recipient(visitor(user="ann"), MAIL, "x@b.example") is None
    assert grey.recipient(visitor(trusted=True), MAIL, "x@b.example") is None
    assert grey.recipient(visitor(), MAIL, "postmaster@b.example") is None
    assert grey.unwritten == 0


async def test_what_is_too_old_is_removed(grey: Greylist, store: Store, clock: Clock) -> None:
    def left() -> int:
        with store.read() as connection:
            return int(connection.execute(sql("SELECT count(*) FROM greylist")).scalar_one())

    await tried(grey, to="passes@b.example")
    for number in range(1200):
        await tried(grey, to=f"{number}@b.example") if number < 20 else None
        grey._unwritten[f"k{number}"] = Grey(f"k{number}", NOW, NOW, 0)
    later(clock, 60_000)
    assert await tried(grey, to="passes@b.example") == ""
    await grey.write()
    assert left() == 1222
    assert await grey.tidy() == 0
    later(clock, 24 * HOUR_MS + 1)
    assert await grey.tidy() == 1220
    assert left() == 2
    assert await tried(grey, to="passes@b.example") == ""
    await grey.write()
    later(clock, 35 * DAY_MS)
    assert await grey.tidy() == 1  # the network; what passed came again a day later
    later(clock, DAY_MS + 1)
    assert await grey.tidy() == 1
    assert left() == 0


async def test_a_table_that_is_full_refuses_nobody(
    grey: Greylist, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_ROWS", 3)
    for number in range(3):
        assert await tried(grey, to=f"{number}@b.example") == "451 4.7.1"
    await grey.write()
    await grey.tidy()
    assert await tried(grey, to="new@b.example") == ""
    assert grey.let_in == 1
    later(clock, 25 * HOUR_MS)
    await grey.tidy()
    assert await tried(grey, to="newer@b.example") == "451 4.7.1"


async def test_more_strangers_at_once_than_can_wait_to_be_written_are_taken(
    grey: Greylist, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "UNWRITTEN", 2)
    assert [await tried(grey, to=f"{number}@b.example") for number in range(4)] == ["451 4.7.1", "451 4.7.1", "", ""]
    assert grey.unwritten == 2


async def test_memory_has_an_end(grey: Greylist, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KNOWN", 10)
    for number in range(100):
        grey._keep(Grey(str(number), NOW, NOW, 1))
    assert len(grey._known) == 10


async def test_without_a_store_nobody_is_refused_and_nothing_breaks(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WRITE_SECONDS", 0.01)
    grey = Greylist(DoorSettings(greylist=True), Broken(), clock)
    assert await tried(grey) == ""
    grey._unwritten["x"] = Grey("x", NOW, NOW, 1)
    running = asyncio.create_task(grey.run())
    await asyncio.sleep(0.1)
    assert not running.done()
    assert grey.unwritten == 1
    running.cancel()


async def test_it_writes_by_itself(grey: Greylist, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WRITE_SECONDS", 0.01)
    await tried(grey)
    running = asyncio.create_task(grey.run())
    for _ in range(1000):
        await asyncio.sleep(0.01)
        if not grey.unwritten:
            break
    running.cancel()
    assert StoredGreyTable(store).find([keys_of(visitor().address, "a@example.com", "x@b.example")[1]])


async def test_many_relays_write_the_same_rows(store: Store) -> None:
    tables = [StoredGreyTable(store) for _ in range(4)]
    rows = [Grey(f"k{number}", NOW, NOW + number, number % 2) for number in range(600)]
    await asyncio.gather(*(asyncio.to_thread(table.write, rows) for table in tables))
    assert tables[0].find(["k0", "k599", "none"]) == {"k0": rows[0], "k599": rows[599]}
    # One who came again is not made a stranger by a writer that is behind.
    tables[0].write([Grey("k599", NOW - 5, NOW - 5, 0)])
    assert tables[0].find(["k599"])["k599"].passed == 1
