"""Several at once: threads here, as processes do the same to the database."""

import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest

from mx10.config import ZoneSettings
from mx10.dns import rrtypes as rr
from mx10.store.connect import Store, open_store
from mx10.store.errors import StoreBusyError
from mx10.zones.ledger import Author, ConflictError, Edit, Ledger
from tests.zones.ledger.making import ANN, edit, name
from tests.zones.reading import ORIGIN, zone_of


def test_changes_of_several_come_one_after_the_other(ledger: Ledger) -> None:
    ledger.create(zone_of(""), ANN)

    def work(number: int) -> None:
        mine = Ledger(ledger.store, ZoneSettings())
        for turn in range(10):
            mine.change(ORIGIN, [edit(f"h{number} {turn + 1} A 192.0.2.{number}")], Author(f"worker {number}"))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    steps = list(reversed(ledger.history(ORIGIN, limit=100)))
    assert len(steps) == 41
    for one, following in pairwise(steps):
        assert one.serial_after == following.serial_before
    position = ledger.feed_position()
    assert ledger.feed_since(position - 41) == (position, [ORIGIN])
    for number in range(4):
        assert ledger.rrset(ORIGIN, name(f"h{number}"), rr.A) == (10, (bytes((192, 0, 2, number)),))


def test_of_several_with_one_serial_one_wins(ledger: Ledger) -> None:
    ledger.create(zone_of(""), ANN)
    start = threading.Barrier(4)

    def work(number: int) -> bool:
        mine = Ledger(ledger.store, ZoneSettings())
        start.wait()
        try:
            mine.change(ORIGIN, [edit(f"www A 192.0.2.{number}")], ANN, expected_serial=1)
        except ConflictError as error:
            assert error.both == ((name("www"), rr.A),)
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(work, range(4))) == [False, False, False, True]


def test_readers_see_one_state(ledger: Ledger) -> None:
    """What is read while others write is a state that was: never half a change."""
    ledger.create(zone_of("a A 192.0.2.0\nb A 192.0.2.0"), ANN)
    done = threading.Event()

    def write() -> None:
        for turn in range(1, 40):
            data = (60, (bytes((192, 0, 2, turn)),))
            ledger.change(ORIGIN, [Edit(name(owner), rr.A, data) for owner in "ab"], ANN)
        done.set()

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        while not done.is_set() and not writing.done():
            zone = ledger.zone(ORIGIN)
            assert zone.nodes[name("a")][rr.A][1] == zone.nodes[name("b")][rr.A][1]
            found = list(ledger.iterate(ORIGIN))
            assert len({rrset for owner, _, rrset in found if owner in (name("a"), name("b"))}) == 1
        writing.result()


def test_who_waits_too_long_is_told(store: Store) -> None:
    impatient = open_store(store.url, wait_seconds=0.2)
    with store.begin(), pytest.raises(StoreBusyError, match="try again"), impatient.begin():
        raise AssertionError("two writers")
    with store.begin(), impatient.read():
        pass
    with impatient.begin():
        pass
    impatient.close()
