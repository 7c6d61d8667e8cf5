"""Limits of the door: allowances, and who meets which."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mx10.config.settings import DoorSettings
from mx10.relay.door.limits import HOUR_MS, MINUTE_MS, MISTAKES, MISTAKES_MS, Allowances, Limits
from mx10.relay.door.values import Refused, Visitor
from mx10.routing.addresses import from_text
from mx10.smtp.replies import Reply
from mx10.smtp.syntax import MailParameters

NOW = 1_800_000_000_000
NONE = DoorSettings(
    connections_per_network=0,
    connections_per_minute=0,
    messages_per_minute=0,
    recipients_per_minute=0,
    mistakes=0,
    recipient_messages_per_minute=0,
)
MAIL = MailParameters("a@example.com")


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        return self.now


def visitor(address: str = "192.0.2.1", *, user: str = "", trusted: bool = False) -> Visitor:
    octets = from_text(address)
    assert octets is not None
    return Visitor(octets, 4711, "192.0.2.25:25", "mx", user=user, trusted=trusted)


def text(said: Refused | Reply | None) -> str:
    assert said is not None
    reply = said.reply if isinstance(said, Refused) else said
    assert len(reply.octets()) <= 400
    return str(reply)


# Allowances


def test_an_allowance_is_used_at_once_and_comes_back_evenly() -> None:
    allowances = Allowances(3, MINUTE_MS)
    assert [allowances.draw("a", NOW) for _ in range(4)] == [0, 0, 0, 20_000]
    assert allowances.draw("b", NOW) == 0
    assert allowances.draw("a", NOW + 19_999) == 1
    assert allowances.draw("a", NOW + 20_000) == 0
    assert allowances.draw("a", NOW + 20_000) == 20_000
    assert [allowances.draw("a", NOW + 80_000 + MINUTE_MS) for _ in range(4)] == [0, 0, 0, 20_000]


@pytest.mark.parametrize("most", [1, 2, 3, 7, 11, 600, 1200, 6000, 99_991])
def test_just_so_many_are_in_a_full_bucket(most: int) -> None:
    allowances = Allowances(most, MINUTE_MS)
    assert sum(allowances.draw("a", NOW) == 0 for _ in range(most + 10)) == most


def test_no_limit_remembers_nothing() -> None:
    allowances = Allowances(0, MINUTE_MS)
    assert [allowances.draw("a", NOW) for _ in range(1000)] == [0] * 1000
    allowances.charge("a", NOW)
    assert allowances.wait("a", NOW) == 0
    assert len(allowances) == 0


def test_a_charge_takes_from_an_empty_bucket_too_but_makes_it_no_emptier() -> None:
    allowances = Allowances(2, MINUTE_MS)
    for _ in range(1000):
        allowances.charge("a", NOW)
    assert allowances.wait("a", NOW) == 30_000
    assert allowances.wait("a", NOW + 30_000) == 0


def test_a_clock_that_is_set_back_locks_nobody_out() -> None:
    allowances = Allowances(2, MINUTE_MS)
    for _ in range(3):
        allowances.draw("a", NOW)
    back = NOW - 1000 * HOUR_MS
    assert 0 < allowances.draw("a", back) <= 30_000
    assert allowances.draw("a", back + 30_000) == 0


def test_tables_have_an_end_and_forget_who_did_nothing_for_longest() -> None:
    allowances = Allowances(1, MINUTE_MS, entries=100)
    for number in range(1000):
        allowances.draw(number, NOW)
        assert allowances.draw("busy", NOW) == (0 if number == 0 else MINUTE_MS)
    assert len(allowances) == 100
    assert allowances.wait(999, NOW) == MINUTE_MS
    assert allowances.wait(1, NOW) == 0


def test_buckets_that_are_full_again_are_not_kept() -> None:
    allowances = Allowances(1, MINUTE_MS)
    for number in range(1000):
        allowances.draw(number, NOW)
    for number in range(1000):
        allowances.draw(1000 + number, NOW + MINUTE_MS)
    assert len(allowances) == 1000


@given(
    most=st.integers(1, 50),
    steps=st.lists(st.tuples(st.integers(0, 20_000), st.integers(1, 20)), min_size=1, max_size=60),
)
def test_never_more_than_a_bucket_and_what_came_back(most: int, steps: list[tuple[int, int]]) -> None:
    allowances, now, taken = Allowances(most, MINUTE_MS), NOW, []
    for pause, tries in steps:
        now += pause
        for _ in range(tries):
            wait = allowances.draw("a", now)
            assert 0 <= wait <= MINUTE_MS
            if wait:
                # Neither a moment too early nor too late.
                assert allowances.wait("a", now + wait) == 0
                assert wait == 1 or allowances.wait("a", now + wait - 2) > 0
            else:
                taken.append(now)
    for start in {*taken}:
        within = [at for at in taken if start <= at]
        assert len(within) <= most + (within[-1] - start) * most / MINUTE_MS + 0.01


# Who meets which


def test_connections_at_once() -> None:
    limits = Limits(replace(NONE, connections_per_network=2), Clock())
    a, b, c = visitor(), visitor(), visitor()
    assert limits.connect(a) is None
    assert limits.connect(b) is None
    refused = limits.connect(c)
    assert refused is not None
    assert refused.what == "connections-at-once"
    assert text(refused) == (
        "421 4.7.0 your address 192.0.2.1 has 2 connections open here: close some, then come again"
    )
    assert limits.connect(visitor("192.0.2.2")) is None
    limits.left(c)
    limits.left(a)
    assert limits.connect(visitor()) is None


def test_nothing_stays_of_those_who_left() -> None:
    limits = Limits(replace(NONE, connections_per_network=5), Clock())
    chance = random.Random(1)
    here: list[Visitor] = []
    for _ in range(2000):
        if here and chance.random() < 0.5:
            limits.left(here.pop(chance.randrange(len(here))))
        else:
            here.append(visitor(f"192.0.2.{chance.randrange(10)}", trusted=chance.random() < 0.2))
            limits.connect(here[-1])
    for each in here:
        limits.left(each)
    assert limits.open == 0
    limits.left(visitor())  # twice, or never seen
    assert limits.open == 0


def test_connections_a_minute() -> None:
    clock = Clock()
    limits = Limits(replace(NONE, connections_per_minute=2), clock)
    assert limits.connect(visitor()) is None
    assert limits.connect(visitor()) is None
    assert text(limits.connect(visitor())) == (
        "421 4.7.0 your address 192.0.2.1 sends more than 2 connections a minute: go on in 30 s, and slower"
    )
    clock.now += 30_000
    assert limits.connect(visitor()) is None


@pytest.mark.parametrize(
    ("length_4", "length_6", "one", "other", "same"),
    [
        (32, 64, "192.0.2.1", "192.0.2.2", False),
        (24, 64, "192.0.2.1", "192.0.2.2", True),
        (24, 64, "192.0.2.1", "192.0.3.1", False),
        (20, 64, "192.0.16.1", "192.0.31.1", True),
        (20, 64, "192.0.15.1", "192.0.16.1", False),
        (32, 64, "2001:db8::1", "2001:db8::ffff:2", True),
        (32, 64, "2001:db8::1", "2001:db8:0:1::1", False),
        (32, 48, "2001:db8::1", "2001:db8:0:1::1", True),
        (32, 52, "2001:db8:0:fff::1", "2001:db8:0:1000::1", False),
        (32, 128, "2001:db8::1", "2001:db8::2", False),
        # The first 32 bits of both are the same.
        (32, 32, "32.1.13.184", "2001:db8::1", False),
    ],
)
def test_what_one_network_is(length_4: int, length_6: int, one: str, other: str, same: bool) -> None:
    settings = replace(NONE, messages_per_minute=1, network_ipv4=length_4, network_ipv6=length_6)
    limits = Limits(settings, Clock())
    assert limits.mail(visitor(one), MAIL) is None
    assert (limits.mail(visitor(other), MAIL) is not None) == same


def test_messages_a_minute_say_which_network_and_when() -> None:
    limits = Limits(replace(NONE, messages_per_minute=1), Clock())
    assert limits.mail(visitor("2001:db8::1"), MAIL) is None
    assert text(limits.mail(visitor("2001:db8::2"), MAIL)) == (
        "450 4.7.1 your network 2001:db8::/64 sends more than 1 messages a minute: go on in 60 s, and slower"
    )


def test_recipients_a_minute() -> None:
    limits = Limits(replace(NONE, recipients_per_minute=3), Clock())
    said = [limits.recipient(visitor(), MAIL, f"{number}@example.org") for number in range(4)]
    assert said[:3] == [None] * 3
    assert text(said[3]).startswith("450 4.7.1 your address 192.0.2.1 sends more than 3 recipients a minute")


def test_messages_for_one_recipient_whoever_sends_them() -> None:
    limits = Limits(replace(NONE, recipient_messages_per_minute=2), Clock())
    assert limits.recipient(visitor("192.0.2.1"), MAIL, "a@example.org") is None
    assert limits.recipient(visitor("192.0.2.2"), MAIL, "A@example.org") is None
    assert text(limits.recipient(visitor("192.0.2.3"), MAIL, "a@example.org")) == (
        "450 4.2.1 <a@example.org> gets more than 2 messages a minute just now: send it again in 30 s"
    )
    assert limits.recipient(visitor("192.0.2.3"), MAIL, "b@example.org") is None
    assert limits.recipient(visitor("192.0.2.4", trusted=True), MAIL, "a@example.org") is None
    long = "x" * 60 + "\u00fc" * 200 + "@example.org"
    for _ in range(3):
        said = limits.recipient(visitor(), MAIL, long)
    assert "..." in text(said)


def test_messages_of_one_sender_whoever_brings_them() -> None:
    limits = Limits(replace(NONE, stranger_sender_messages_per_hour=2), clock := Clock())
    ann, reports = MailParameters("Ann@example.com"), MailParameters("")
    assert limits.mail(visitor("192.0.2.1"), MailParameters("ann@example.com")) is None
    assert limits.mail(visitor("198.51.100.1"), ann) is None
    said = limits.mail(visitor("203.0.113.1"), ann)
    assert text(said) == (
        "450 4.7.1 more than 2 messages an hour come here from <Ann@example.com>: send it again in 30 minutes"
    )
    assert said is not None
    assert said.what == "stranger-sender"
    # Others, those who are known to be who they say, and reports, which are of everybody, go on.
    assert limits.mail(visitor(), MAIL) is None
    assert limits.mail(visitor(user="ann"), ann) is None
    assert limits.mail(visitor(trusted=True), ann) is None
    assert [limits.mail(visitor(), reports) for _ in range(10)] == [None] * 10
    clock.now += HOUR_MS // 2
    assert limits.mail(visitor(), ann) is None
    # Off by default: anybody can name a sender.
    limits = Limits(NONE, clock)
    assert [limits.mail(visitor(), ann) for _ in range(100)] == [None] * 100
    long = MailParameters(f"{'x' * 64}@{'y' * 180}.example")
    limits = Limits(replace(NONE, stranger_sender_messages_per_hour=1), clock)
    assert limits.mail(visitor(), long) is None
    assert "y...>" in text(limits.mail(visitor(), long))


def test_mistakes_close_the_door_for_a_while() -> None:
    clock = Clock()
    limits = Limits(replace(NONE, mistakes=3), clock)
    for _ in range(3):
        assert limits.recipient(visitor(), MAIL, "x@example.org") is None
        limits.failed(visitor(), "recipient-unknown")
    said = text(limits.recipient(visitor(), MAIL, "x@example.org"))
    assert said.startswith("421 4.7.0 your address 192.0.2.1 made 3 mistakes in ten minutes")
    assert said.endswith("come again in 4 minutes")
    assert limits.mail(visitor(), MAIL) is not None
    assert limits.connect(visitor()) is not None
    assert limits.connect(visitor("192.0.2.2")) is None
    # To be turned away is no further mistake.
    limits.failed(visitor(), "connections")
    clock.now += MISTAKES_MS // 3
    assert limits.connect(visitor()) is None


def test_one_mistake_too_many_is_answered_with_that() -> None:
    limits = Limits(replace(NONE, mistakes=2), Clock())
    assert [limits.failed(visitor(), "relay") for _ in range(2)] == [None, None]
    assert text(limits.failed(visitor(), "relay")).startswith("421 4.7.0 your address 192.0.2.1 made 2 mistakes")
    assert limits.failed(visitor(), "dnsbl") is None
    assert limits.failed(visitor(trusted=True), "relay") is None


def test_being_told_to_come_later_is_no_mistake() -> None:
    limits = Limits(replace(NONE, mistakes=1), Clock())
    for what in ("connections", "mistakes", "greylist", "login", "unsure", "recipient-unsure", "slow", "spool", "tls"):
        assert what not in MISTAKES
        limits.failed(visitor(), what)
    limits.failed(visitor(trusted=True), "relay")
    limits.failed(visitor(user="ann"), "password")
    assert limits.mail(visitor(), MAIL) is None


def test_users_and_trusted_networks_meet_the_limits_of_senders_only() -> None:
    clock = Clock()
    settings = DoorSettings(
        connections_per_network=1,
        connections_per_minute=1,
        messages_per_minute=1,
        recipients_per_minute=1,
        recipient_messages_per_minute=1,
        mistakes=1,
        sender_messages_per_hour=2,
        sender_recipients_per_hour=4,
    )
    limits = Limits(settings, clock)
    for each in (visitor(trusted=True), visitor(user="ann")):
        for _ in range(2):
            if each.trusted:
                assert limits.connect(each) is None
            assert limits.mail(each, MAIL) is None
            assert limits.recipient(each, MAIL, "x@example.org") is None
            assert limits.recipient(each, MAIL, "x@example.org") is None
        assert text(limits.mail(each, MAIL)) == (
            "450 4.7.1 you may send 2 messages an hour: go on in 30 minutes, or ask the postmaster here for more"
        )
        assert "4 recipients an hour" in text(limits.recipient(each, MAIL, "x@example.org"))
    # Another address of the same network, another user at the same address; the same user elsewhere.
    assert limits.mail(visitor(trusted=True), MailParameters("b@example.com")) is None
    assert limits.mail(visitor(user="bob"), MAIL) is None
    assert limits.mail(visitor("198.51.100.1", user="ann"), MailParameters("other@example.com")) is not None
    clock.now += HOUR_MS
    assert limits.mail(visitor(user="ann"), MAIL) is None
