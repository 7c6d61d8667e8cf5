"""What is forgotten is freed bit by bit: no question waits while thousands of zones or answers are let go."""

import gc
import itertools
from collections.abc import Iterator

import pytest

from mx10.dns import rrtypes as rr
from mx10.dns.wirename import from_text
from mx10.nameserver import compiled, table
from mx10.nameserver.compiled import AnswerCache, Compiled
from mx10.nameserver.table import ZoneTable
from mx10.nameserver.worker import collect_only_what_is_young
from mx10.zones.zone import Node, Zone

freed: list[bytes] = []


class Counted(Zone):
    """A zone that says when it is freed."""

    __slots__ = ()

    def __del__(self) -> None:
        freed.append(self.apex)


def test_opening_a_zone_frees_few_others(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = {}
    for number in range(400):
        apex = from_text(f"zone{number}.example.")
        packed[apex] = Zone(apex, {apex: {rr.A: (60, (b"\xc0\0\2\1",))}}).pack()
    monkeypatch.setattr(table, "OPEN_BUDGET", 100 * len(packed[apex]))
    monkeypatch.setattr(table, "Zone", Counted)
    zones = ZoneTable(packed)
    freed.clear()
    most = 0
    for apex in packed:
        before = len(freed)
        assert zones.open(apex).apex == apex
        most = max(most, len(freed) - before)
    assert most <= 8
    # Two generations are kept, and what was older is gone for good.
    assert 150 <= len(freed) <= 300


def test_a_large_zone_is_opened_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "OPEN_BUDGET", 1000)
    packed = {}
    for number in range(10):
        apex = from_text(f"zone{number}.example.")
        nodes: dict[bytes, Node] = {apex: {rr.TXT: (60, (bytes(1 if number else table.LARGE),))}}
        packed[apex] = Zone(apex, nodes).pack()
    zones = ZoneTable(packed)
    large = from_text("zone0.example.")
    first = zones.open(large)
    for _ in range(3):
        for apex in packed:
            zones.open(apex)
    assert zones.open(large) is first
    zones.put(large, Zone(large, {large: {}}).pack())
    assert zones.open(large).nodes == {large: {}}


def test_a_new_answer_frees_few_others() -> None:
    cache = AnswerCache(1 << 17)
    answer = Compiled(0x8400, rr.Rcode.NOERROR, 1, 0, b"x" * 100, ((0, 100),), frozenset({b"\0"}))
    sizes = []
    for number in range(2000):
        cache.keep_compiled(b"%d" % number, answer)
        sizes.append(len(cache._dying.compiled))
    shrunk = [before - after for before, after in itertools.pairwise(sizes) if after < before]
    assert shrunk
    assert max(shrunk) <= compiled._FREED_AT_ONCE
    assert sizes.count(0) > 500
    assert cache.size <= 1 << 17


@pytest.fixture
def _own_collector() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)
    gc.unfreeze()


@pytest.mark.usefixtures("_own_collector")
def test_the_garbage_collector_never_walks_all_that_is_kept() -> None:
    seen: list[int] = []

    def look(phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            seen.append(info["generation"])

    collect_only_what_is_young()
    gc.callbacks.append(look)
    try:
        kept = [[number] for number in range(200_000)]
    finally:
        gc.callbacks.remove(look)
    assert len(kept) == 200_000
    assert len(seen) >= 15
    assert set(seen) == {0}
