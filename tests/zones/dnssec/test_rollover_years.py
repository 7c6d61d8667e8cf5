"""Years of a zone's keys in seconds: whatever is done to them and whenever, no validator ever finds the zone bogus, and
left alone everything ends well."""

from collections.abc import Callable

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mx10.zones.dnssec.keystates import RolloverError, pause, roll, sign_on, unsign
from mx10.zones.dnssec.policy import Policy
from tests.zones.dnssec.simulated import BEGIN, DAY, HOUR, World

Act = Callable[[World], None]


def _roll(role: str) -> Act:
    def act(world: World) -> None:
        try:
            world.zone = roll(world.zone, role, world.now, "asked for")
        except RolloverError:
            return

    return act


def _policy(**changes: object) -> Act:
    def act(world: World) -> None:
        world.policy = world.policy.with_changes(changes)

    return act


def _stop(world: World) -> None:
    if world.zone.mode == "sign":
        world.zone = unsign(world.zone, world.now)


def _go_on(world: World) -> None:
    if world.zone.mode == "unsign":
        world.zone = sign_on(world.zone, world.now)


def _pause(paused: bool) -> Act:
    def act(world: World) -> None:
        world.zone = pause(world.zone, paused)

    return act


def _slow_parent(seconds: int) -> Act:
    def act(world: World) -> None:
        world.parent_delay = seconds

    return act


def _ttl(seconds: int) -> Act:
    return lambda world: world.set_zone_ttl(seconds)


ACTS: list[Act] = [
    _roll("zsk"),
    _roll("ksk"),
    _roll("csk"),
    _policy(algorithm=15),
    _policy(algorithm=13),
    _policy(algorithm=8),
    _policy(keys="csk"),
    _policy(keys="ksk+zsk"),
    _policy(dnskey_ttl=2 * DAY),
    _policy(dnskey_ttl=60),
    _policy(ksk_days=30),
    _policy(ksk_days=0),
    _stop,
    _go_on,
    _pause(True),
    _pause(False),
    _slow_parent(60),
    _slow_parent(20 * DAY),
    _ttl(2 * DAY),
    _ttl(60),
]


@st.composite
def stories(draw: st.DrawFn) -> tuple[World, list[tuple[Act, int]]]:
    world = World(
        policy=Policy(keys=draw(st.sampled_from(["csk", "ksk+zsk"])), propagation_seconds=HOUR),
        zone_ttl=draw(st.sampled_from([60, HOUR, 2 * DAY])),
        ds_ttl=draw(st.sampled_from([60, HOUR, 2 * DAY])),
        parent_spread=draw(st.sampled_from([0, 600, 3 * DAY])),
        gradual=draw(st.booleans()),
        resign_seconds=draw(st.sampled_from([0, 600, 5 * DAY])),
        lag=draw(st.sampled_from([0, HOUR])),
    )
    waits = st.sampled_from([0, 1, 60, HOUR, HOUR + 1, 5 * HOUR, DAY, 3 * DAY, 40 * DAY, 200 * DAY])
    return world, draw(st.lists(st.tuples(st.sampled_from(ACTS), waits), max_size=25))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stories())
def test_no_validator_ever_finds_the_zone_bogus_and_everything_ends_well(
    story: tuple[World, list[tuple[Act, int]]],
) -> None:
    world, acts = story
    world.tick()
    for act, seconds in acts:
        act(world)
        world.tick()
        world.run_to(world.now + seconds)
    # Left alone with a parent that does as it is asked, all ends well.
    world.zone = pause(world.zone, False)
    world.policy = world.policy.with_changes({"ksk_days": 0, "zsk_days": 0})
    world.tick()
    mode = world.zone.mode
    world.run_to(world.now + 200 * DAY)
    if mode != "sign":
        assert world.zone.mode == "unsigned", world.story()
        assert not world.zone.publish | world.zone.sign_zone
    else:
        assert world.settled(), f"{world.story()}\n{world.plan}"
        assert sorted(key.role for key in world.zone.keys) == sorted(world.policy.roles)
        assert {key.algorithm for key in world.zone.keys} == {world.policy.algorithm}


def test_thirty_years_by_themselves() -> None:
    world = World(policy=Policy(keys="ksk+zsk", zsk_days=30, ksk_days=365))
    world.tick()
    world.run_to(BEGIN + 30 * 365 * DAY)
    assert world.made > 350 + 25
    assert len(world.zone.keys) <= 4
