"""When something is tried, and how much at once: pure rules, by property."""

from hypothesis import given
from hypothesis import strategies as st

from mx10.relay.courier.values import Target
from mx10.relay.courier.ways import Way
from mx10.relay.hosts import CROWDED_MS, MAX_DOWN, MAX_WORKED, PROBE_MS, HostMemory
from mx10.relay.queue import CEILING_MS, FIRST_WINDOW, Hop, Schedule, pause

FIRST, LONGEST = 300_000, 14_400_000


@given(st.integers(1, 10_000), st.integers(0, 1 << 42), st.floats(0, 1))
def test_the_next_attempt(attempts: int, now: int, chance: float) -> None:
    due = Schedule(FIRST, LONGEST).next_at(attempts, now, chance)
    wanted = min(LONGEST, FIRST * 2 ** (attempts - 1))
    assert now + wanted * 0.89 <= due <= now + wanted * 1.11


def test_pauses_double() -> None:
    assert [pause(count, 10, 100) for count in range(1, 7)] == [10, 20, 40, 80, 100, 100]


def hop() -> Hop[str]:
    return Hop("key", Way("key"))


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 50))
def test_a_next_hop_learns_within_bounds(went_well: list[bool], most: int) -> None:
    here, now = hop(), 1000
    for well in went_well:
        if well:
            here.worked(most, now)
        else:
            here.failed(now, "refused", 10, 100)
        assert 1.0 <= here.window <= max(FIRST_WINDOW, most)
        assert bool(here.down_since) == (not well)
        # One probe at a time, and not before its moment.
        if here.down_since:
            assert not here.may_start(here.probe_at - 1, most)
            here.in_flight = 1
            assert not here.may_start(here.probe_at, most)
            here.in_flight = 0
            assert here.may_start(here.probe_at, most)
            now = here.probe_at
        now += 1


def test_those_on_their_way_together_count_as_one_failure() -> None:
    here = hop()
    for _ in range(20):
        here.failed(1000, "refused", 10, 100)
    assert (here.failures, here.probe_at) == (1, 1010)


def test_back_it_begins_slowly() -> None:
    here = hop()
    for _ in range(100):
        here.worked(20, 1000)
    assert here.window > 10
    here.failed(1000, "refused", 10, 100)
    here.worked(20, 1000)
    assert FIRST_WINDOW <= here.window < 3


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 50))
def test_a_next_hop_that_takes_so_many_at_once_gets_no_more(went_well: list[bool], most: int) -> None:
    here, now = hop(), 1000
    for well in went_well:
        here.in_flight = max(0, min(int(here.window), most) - 1)
        if well:
            here.worked(most, now)
        else:
            here.crowded(now)
            # Nobody is sent instead of the one that was turned away; the next goes when another is done.
            assert not here.may_start(now, most) or here.in_flight == 0
            assert not here.down_since
        assert 1.0 <= here.window <= max(FIRST_WINDOW, most)
        assert not here.ceiling or here.window <= here.ceiling


def test_one_more_is_tried_each_minute() -> None:
    here = hop()
    here.in_flight = 5
    here.crowded(1000)
    for _ in range(100):
        here.worked(20, 1000 + CEILING_MS - 1)
    assert here.window == 5
    for minute in range(1, 30):
        for _ in range(100):
            here.worked(20, 1000 + minute * CEILING_MS)
        assert here.window == min(20, 5 + minute)


TARGET = Target("mx.example", b"\x7f\0\0\1")


def test_one_probe_at_a_time() -> None:
    hosts = HostMemory(10_000, 100_000)
    assert hosts.passed_over(TARGET, 0) == ""
    hosts.failed(TARGET, 0, "connection refused")
    assert hosts.passed_over(TARGET, 9_999) == "down since 9 s (connection refused); asked again in 0 s"
    later = 10_000 + PROBE_MS
    assert hosts.passed_over(TARGET, later) == ""
    assert hosts.passed_over(TARGET, later + 1) != ""
    # A probe that says nothing lapses.
    assert hosts.passed_over(TARGET, later + PROBE_MS) == ""
    hosts.worked(TARGET, later)
    assert len(hosts) == 0
    assert hosts.passed_over(TARGET, later) == ""


def test_a_host_that_worked_just_now_and_turns_us_away_is_not_down() -> None:
    hosts = HostMemory(10_000, 100_000)
    hosts.worked(TARGET, 1000)
    hosts.failed(TARGET, 1000 + CROWDED_MS - 1, "421 too many connections", said=True)
    assert hosts.passed_over(TARGET, 1000 + CROWDED_MS) == ""
    hosts.failed(TARGET, 1000 + CROWDED_MS, "421 not now", said=True)
    assert hosts.passed_over(TARGET, 1000 + CROWDED_MS) != ""
    hosts.worked(TARGET, 200_000)
    hosts.failed(TARGET, 200_000, "connection refused")
    assert hosts.passed_over(TARGET, 200_000) != ""


def test_another_port_or_address_is_another_host() -> None:
    hosts = HostMemory(10_000, 100_000)
    hosts.failed(TARGET, 0, "x")
    assert hosts.passed_over(Target("mx.example", b"\x7f\0\0\1", port=587), 1) == ""
    assert hosts.passed_over(Target("mx.example", b"\x7f\0\0\2"), 1) == ""


def test_the_memory_of_hosts_is_bounded() -> None:
    hosts = HostMemory(10_000, 100_000)
    for number in range(MAX_DOWN + 10):
        hosts.failed(Target("mx.example", number.to_bytes(4, "big")), 0, "x")
    assert len(hosts) == MAX_DOWN
    for number in range(MAX_WORKED + 10):
        hosts.worked(Target("mx.example", number.to_bytes(4, "big")), 0)
    assert len(hosts._worked) == MAX_WORKED
