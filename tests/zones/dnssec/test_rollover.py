"""What is done in which rollover, and when.

TTLs are an hour, propagation is one, the parent acts after one, and its second nameserver is ten minutes late.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest

from mx10.zones.dnssec.caches import Caches, Version, foreign, foreign_parts, obstacles
from mx10.zones.dnssec.explain import does, duration, moment, reason, stages, to_json, when
from mx10.zones.dnssec.keystates import (
    Key,
    RolloverError,
    Seen,
    Timing,
    pause,
    roll,
    sign_on,
    start,
    unsign,
    unsign_now,
)
from mx10.zones.dnssec.policy import Policy, PolicyError
from mx10.zones.dnssec.remembered import Signing, StateError, key_from_json, signing_from_json, signing_to_json
from mx10.zones.dnssec.rollover import advance, moved
from tests.zones.dnssec.simulated import BEGIN, DAY, HOUR, World

Act = Callable[[World], None]
TIMING = Timing(HOUR, 300)


def settled(**policy: object) -> World:
    """A zone that has been signed for ten days."""
    world = World(policy=Policy(**policy))  # type: ignore[arg-type]  # values by name
    world.tick()
    world.run_to(BEGIN + 10 * DAY)
    assert world.settled()
    return world


def told(world: World, act: Act, days: int = 3) -> list[tuple[float, str]]:
    """What was done after something happened, with hours since then."""
    world.log.clear()
    begin = world.now
    act(world)
    world.tick()
    world.run_to(begin + days * DAY)
    return [(round((at - begin) / HOUR, 2), step) for at, step in world.log]


def rolled(role: str, *, compromised: bool = False) -> Act:
    def act(world: World) -> None:
        world.zone = roll(world.zone, role, world.now, "asked for", compromised=compromised)

    return act


def wants(**changes: object) -> Act:
    def act(world: World) -> None:
        world.policy = world.policy.with_changes(changes)

    return act


def stop(world: World) -> None:
    world.zone = unsign(world.zone, world.now)


def test_a_new_zone_asks_for_its_ds_record_when_everybody_knows_its_keys() -> None:
    world = World()
    assert told(world, lambda world: None, 1) == [
        (0.0, "publish csk 1001 in the DNSKEY set"),
        (0.0, "sign the zone with csk 1001"),
        (2.0, "ask the parent by CDS for the DS record of csk 1001"),
    ]
    assert world.settled()


ROLLOVERS = {
    # RFC 6781 section 4.1.1.1: pre-publish.
    "zsk": (
        {"keys": "ksk+zsk"},
        rolled("zsk"),
        [
            (0.0, "publish zsk 1003 in the DNSKEY set"),
            (2.0, "sign the zone with zsk 1003 in place of zsk 1002"),
            (4.0, "take zsk 1002 out of the DNSKEY set"),
        ],
    ),
    # RFC 6781 section 4.1.2: double signature, and the parent's DS record by CDS (RFC 7344).
    "ksk": (
        {"keys": "ksk+zsk"},
        rolled("ksk"),
        [
            (0.0, "publish ksk 1003 in the DNSKEY set"),
            (2.0, "ask the parent by CDS for the DS record of ksk 1003"),
            (5.17, "take ksk 1001 out of the DNSKEY set"),
        ],
    ),
    # RFC 6781 section 4.1.3.
    "csk": (
        {},
        rolled("csk"),
        [
            (0.0, "publish csk 1002 in the DNSKEY set"),
            (2.0, "sign the zone with csk 1002 in place of csk 1001"),
            (2.0, "ask the parent by CDS for the DS record of csk 1002"),
            (5.17, "take csk 1001 out of the DNSKEY set"),
        ],
    ),
    # RFC 6781 section 4.1.4: signatures first and last.
    "another algorithm": (
        {},
        wants(algorithm=15),
        [
            (0.0, "csk 1001 shall go: the policy wants algorithm 15"),
            (0.0, "sign the zone with csk 1002"),
            (2.0, "publish csk 1002 in the DNSKEY set"),
            (4.0, "ask the parent by CDS for the DS record of csk 1002"),
            (7.17, "take csk 1001 out of the DNSKEY set"),
            (9.17, "stop signing the zone with csk 1001"),
        ],
    ),
    "one key in place of two": (
        {"keys": "ksk+zsk"},
        wants(keys="csk"),
        [
            (0.0, "ksk 1001 shall go: the policy wants csk"),
            (0.0, "zsk 1002 shall go: the policy wants csk"),
            (0.0, "publish csk 1003 in the DNSKEY set"),
            (2.0, "sign the zone with csk 1003 in place of zsk 1002"),
            (2.0, "ask the parent by CDS for the DS record of csk 1003"),
            (4.0, "take zsk 1002 out of the DNSKEY set"),
            (5.17, "take ksk 1001 out of the DNSKEY set"),
        ],
    ),
    # RFC 8078 section 4.
    "signed no more": (
        {},
        stop,
        [
            (0.0, "ask the parent by CDS to remove all DS records"),
            (3.17, "take all keys and signatures out of the zone"),
        ],
    ),
}


@pytest.mark.parametrize("name", ROLLOVERS)
def test_the_steps_of_a_rollover(name: str) -> None:
    policy, act, steps = ROLLOVERS[name]
    world = settled(**policy)
    assert told(world, act) == steps
    assert world.zone.mode == ("unsigned" if act is stop else "sign")


@pytest.mark.parametrize(
    ("role", "policy", "hours"), [("zsk", "ksk+zsk", 0.0), ("ksk", "ksk+zsk", 1.17), ("csk", "csk", 1.17)]
)
def test_a_key_that_others_may_have_goes_without_waiting_for_caches(role: str, policy: str, hours: float) -> None:
    world = settled(keys=policy)
    world.check = lambda: None  # type: ignore[method-assign]  # some outage is meant here
    steps = told(world, rolled(role, compromised=True))
    assert steps[-1][0] == hours
    assert "out of the DNSKEY set" in steps[-1][1]
    # But for caches it is right at every moment: what can be fetched fits together.
    assert world.settled()


def test_a_key_that_others_may_have_stays_as_long_as_the_parent_has_only_its_ds_record() -> None:
    world = settled()
    world.parent_delay = 30 * DAY
    world.check = lambda: None  # type: ignore[method-assign]
    steps = told(world, rolled("csk", compromised=True), days=20)
    assert steps[-1] == (0.0, "ask the parent by CDS for the DS record of csk 1002")
    assert 1 in world.zone.publish


def test_a_parent_that_never_acts_is_waited_for_without_end() -> None:
    world = settled()
    world.parent_delay = 10**9
    told(world, rolled("csk"), days=100)
    assert world.zone.publish == {1, 2}
    assert world.plan is not None
    assert world.plan.ask_parent
    (wait,) = world.plan.waits
    assert wait.until is None
    assert reason(world.zone, wait) == ("the parent still has the DS record of csk 1001; CDS asks for that of csk 1002")
    assert when(wait, world.now) == "no time can be given"


def test_the_slowest_of_the_parents_nameservers_counts() -> None:
    world = settled()
    world.parent_spread = 5 * DAY
    steps = told(world, rolled("csk"), days=9)
    assert steps[-1] == (2 + 1 + 120 + 2.0, "take csk 1001 out of the DNSKEY set")


def test_nothing_is_done_while_paused_and_all_afterwards() -> None:
    world = settled()
    world.zone = pause(world.zone, True)
    assert told(world, rolled("csk"), days=30) == []

    def go_on(world: World) -> None:
        world.zone = pause(world.zone, False)

    assert [step for _, step in told(world, go_on)] == [step for _, step in ROLLOVERS["csk"][2]]


def test_a_zone_that_is_to_be_signed_after_all_keeps_its_keys() -> None:
    world = settled()
    world.parent_delay = 12 * HOUR
    told(world, stop, days=0)

    def sign(world: World) -> None:
        world.zone = sign_on(world.zone, world.now)

    assert told(world, sign, days=5) == [(0.0, "ask the parent by CDS for the DS record of csk 1001")]
    assert world.settled()
    assert world.made == 1


def test_unsigned_at_once_is_unsigned() -> None:
    world = settled()
    zone = unsign_now(world.zone, world.now)
    assert not zone.publish | zone.sign_zone
    assert zone.cds is None


def test_a_zone_without_ds_record_is_unsigned_once_the_parent_was_asked() -> None:
    world = World(parent_delay=10**9)
    world.tick()
    world.now += 1
    world.zone = unsign(world.zone, world.now)
    world.tick(look=False)
    assert world.plan is not None
    assert world.plan.ask_parent
    assert reason(world.zone, world.plan.waits[0]).startswith("the parent's nameservers have to be asked")
    world.tick()
    assert world.zone.mode == "unsigned"


def test_keys_are_replaced_when_their_days_are_over() -> None:
    world = settled(keys="ksk+zsk", zsk_days=30, ksk_days=0)
    steps = told(world, lambda world: None, days=25)
    assert steps[0] == (480.0, "zsk 1002 shall go: its 30 days are over")
    assert steps[1] == (480.0, "publish zsk 1003 in the DNSKEY set")
    assert world.settled()


def test_a_zone_signed_in_pieces_keeps_a_key_until_the_last_signature_is_replaced() -> None:
    world = settled(keys="ksk+zsk")
    world.gradual, world.resign_seconds = True, 5 * DAY
    steps = told(world, rolled("zsk"), days=9)
    assert steps[1:] == [
        (2.0, "sign the zone with zsk 1003 in place of zsk 1002"),
        (2 + 120 + 2.0, "take zsk 1002 out of the DNSKEY set"),
    ]


def test_keys_from_another_signer_go_on_and_their_ds_records_are_reckoned_with() -> None:
    world = World()
    world.algorithms, world.made = {1: 13}, 1
    world.zone = start(BEGIN, [Key(1, "csk", 13, 1001)], trusted=True)
    steps = told(world, lambda world: None, 1)
    assert steps == [
        (0.0, "publish csk 1001 in the DNSKEY set"),
        (0.0, "sign the zone with csk 1001"),
        (2.0, "ask the parent by CDS for the DS record of csk 1001"),
    ]
    assert world.made == 1


def test_a_ds_record_of_a_key_that_is_not_here_does_not_stop_the_zone_from_being_mended() -> None:
    zone = start(BEGIN)
    stranger = foreign(4711, 8)
    assert foreign_parts(stranger) == (4711, 8)
    seen = Seen(frozenset({frozenset({stranger})}), True, HOUR, "asked")
    plan = advance(zone, Policy(), TIMING, BEGIN, seen)
    zone = plan.zone.with_key(Key(1, "csk", 13, 1001), BEGIN)
    plan = advance(zone, Policy(), TIMING, BEGIN, seen)
    assert plan.zone.publish == plan.zone.sign_zone == {1}
    assert plan.zone.cds == frozenset({1}), "the sooner the better: nothing validates as it is"


def test_what_is_asked_for_wrongly_is_refused() -> None:
    world = settled(keys="ksk+zsk")
    with pytest.raises(RolloverError, match="has no csk: its keys are ksk and zsk"):
        roll(world.zone, "csk", world.now, "")
    world.zone = roll(world.zone, "zsk", world.now, "")
    with pytest.raises(RolloverError, match="zsk 1002 is being replaced already"):
        roll(world.zone, "zsk", world.now, "")
    with pytest.raises(RolloverError, match="on its way to being unsigned"):
        roll(unsign(world.zone, world.now), "zsk", world.now, "")


def test_a_clock_that_was_years_ahead_does_not_make_waits_of_years() -> None:
    world = settled(keys="ksk+zsk")
    ahead = world.now + 4000 * DAY
    plan = advance(roll(world.zone, "ksk", ahead, ""), world.policy, TIMING, ahead)
    zone = plan.zone.with_key(Key(9, "ksk", 13, 1009), ahead)
    zone = advance(zone, world.policy, TIMING, ahead).zone
    plan = advance(zone, world.policy, TIMING, world.now)
    assert plan.next is not None
    assert plan.next <= world.now + 2 * DAY


def test_a_clock_set_back_a_little_only_makes_waits_longer() -> None:
    world = settled(keys="ksk+zsk")
    world.zone = roll(world.zone, "zsk", world.now, "")
    world.tick()
    assert world.plan is not None
    before = world.plan.waits[0].until
    world.now -= 1800
    world.tick()
    assert world.plan.waits[0].until == before


def test_a_clock_set_forward_does_not_make_waits_shorter() -> None:
    world = settled(keys="ksk+zsk")
    world.zone = roll(world.zone, "zsk", world.now, "")
    world.tick()
    year = 365 * DAY
    zone = moved(world.zone, world.policy, TIMING, year, world.now + year)
    plan = advance(zone, world.policy, TIMING, world.now + year)
    assert not plan.steps
    assert plan.next == world.now + year + 2 * HOUR


def test_what_a_key_does_in_words() -> None:
    world = settled()
    (key,) = world.zone.keys
    assert does(world.zone, key) == (
        "is in the DNSKEY set",
        "signs the keys",
        "signs the zone",
        "CDS asks for its DS record",
        "the parent has its DS record",
    )
    assert [stage.reached for stage in stages(world.zone, key)] == ["done"] * 4
    world.zone = roll(world.zone, "csk", world.now, "")
    world.tick()
    assert world.plan is not None
    old, new = world.zone.keys
    assert [(stage.name, stage.reached) for stage in stages(world.zone, old)][-4:] == [
        ("to go", "done"),
        ("stopped signing", "now"),
        ("out", "later"),
        ("forgotten", "later"),
    ]
    assert [(stage.name, stage.reached) for stage in stages(world.zone, new)] == [
        ("published", "done"),
        ("signs all", "now"),
        ("DS asked for", "later"),
        ("DS seen", "later"),
    ]
    wait = world.plan.waits[0]
    assert reason(world.zone, wait) == "resolvers may have the DNSKEY set with csk 1001 until then"
    assert when(wait, world.now).endswith("in 2 h")
    found = to_json(world.zone, world.policy, world.plan, world.now)
    assert found["waits"][0]["until"] == world.now + 2 * HOUR
    assert [one["tag"] for one in found["keys"]] == [1001, 1002]


def test_times_and_lengths_for_people() -> None:
    assert moment(0) == "1970-01-01 00:00 UTC"
    assert moment(10**17) == f"second {10**17} since 1970"
    assert duration(93784) == "1 d 2 h"
    assert duration(-5) == "0 s"


def test_obstacles_name_what_has_to_go_first() -> None:
    old, new = frozenset({1}), frozenset({2})
    caches = Caches(
        ds=(Version(old),),
        dnskey=(Version(old | new, old | new), Version(old, old, until=500)),
        signatures=(Version(old),),
    )
    (found,) = obstacles(caches, {1: 13, 2: 13}, ds=Version(new))
    assert (found.part, found.until) == ("dnskey", 500)
    assert not obstacles(replace(caches, dnskey=caches.dnskey[:1]), {1: 13, 2: 13}, ds=Version(new))


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"format":2}', '{"format":1}', "[" * 100_000],
)
def test_a_state_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(StateError):
        signing_from_json(text, ())
    with pytest.raises(StateError):
        key_from_json(1, "csk", 13, text)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"mode":"sign"', '"mode":"x"'),
        ('"keys":[1]', '"keys":[77]'),
        ('"keys":[1]', '"keys":[true]'),
        ('"until":null', '"until":"soon"'),
        ('"paused":false', '"paused":0'),
        ('"policy":{}', '"policy":{"algorithm":5}'),
        ('"policy":{}', '"policy":{"colour":"red"}'),
        ('"ds":[', '"ds":[7,'),
        ('"next":null', '"next":1e400'),
    ],
)
def test_a_state_with_something_wrong_in_it_is_refused(old: str, new: str) -> None:
    zone = settled().zone
    text = signing_to_json(Signing({}, zone))
    assert signing_from_json(text, zone.keys).zone == zone
    assert old in text
    with pytest.raises(StateError):
        signing_from_json(text.replace(old, new), zone.keys)


def test_policies_that_cannot_be() -> None:
    with pytest.raises(PolicyError, match="should be more than refresh_days"):
        Policy(signature_days=3, refresh_days=3)
    with pytest.raises(PolicyError, match=r"algorithm should be one of 8, 13, 15, not 5"):
        Policy().with_changes({"algorithm": 5})
    with pytest.raises(PolicyError, match=r"keys should be one of csk, ksk\+zsk, not 'zsk'"):
        Policy().with_changes({"keys": "zsk"})
    with pytest.raises(PolicyError, match="whole number"):
        Policy().with_changes({"zsk_days": "90"})
    with pytest.raises(PolicyError, match="has no 'colour'"):
        Policy().with_changes({"colour": 1})
