"""Cookies as clients meet them: learning one, coming with it, wrong ones, and being required to have one."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from mx10.config import NameserverSettings
from mx10.dns import cookies as wire
from mx10.dns import message as m
from mx10.dns import rrtypes as rr
from mx10.dns.wirename import from_text
from mx10.nameserver import cookies as remembered
from mx10.nameserver.cookies import Cookies
from mx10.nameserver.responder import EDNS_COOKIE, Responder
from tests.nameserver.asking import Asker

Serving = Callable[..., Asker]
SECRET, OTHER = bytes(range(16)), bytes(16)
ADDRESS = b"\xc0\0\2\1"
CLIENT = b"chocolat"


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def responder(serving: Serving, clock: Clock) -> Responder:
    made = serving({"example": "www A 192.0.2.1"}).responder
    made.cookies = Cookies((SECRET,), clock)
    return made


def ask(responder: Responder, cookie: bytes | None, *, tcp: bool = False, address: bytes = ADDRESS) -> m.Message:
    options = ((EDNS_COOKIE, cookie),) if cookie is not None else ()
    packet = m.make_query(from_text("www.example."), rr.A, id=5, options=options)
    response = responder.tcp(packet, address) if tcp else responder.udp(packet, address)
    assert response is not None
    return m.parse(response)


def cookie_in(message: m.Message) -> bytes:
    assert message.edns is not None
    return dict(message.edns.options).get(EDNS_COOKIE, b"")


@pytest.mark.parametrize("tcp", [False, True])
def test_a_client_learns_a_cookie_and_is_known_by_it(responder: Responder, tcp: bool) -> None:
    first = ask(responder, CLIENT, tcp=tcp)
    learnt = cookie_in(first)
    assert first.answer
    assert learnt[:8] == CLIENT
    assert len(learnt) == 24
    assert not responder.proven
    again = ask(responder, learnt, tcp=tcp)
    assert responder.proven
    assert cookie_in(again) == learnt
    # From another address it is nobody's, and a plain question after it is no proof of anything.
    ask(responder, learnt, address=b"\xc0\0\2\2")
    assert not responder.proven
    assert cookie_in(ask(responder, None)) == b""
    assert not responder.proven


def test_a_cookie_is_renewed_after_half_an_hour_and_dead_after_one(responder: Responder, clock: Clock) -> None:
    learnt = cookie_in(ask(responder, CLIENT))
    clock.now += 1795
    assert cookie_in(ask(responder, learnt)) == learnt
    clock.now += 10
    newer = cookie_in(ask(responder, learnt))
    assert responder.proven
    assert newer != learnt
    clock.now += 1800
    ask(responder, learnt)
    assert not responder.proven
    ask(responder, newer)
    assert responder.proven


def test_a_clock_that_is_set_back_leaves_nobody_with_an_old_verdict(responder: Responder, clock: Clock) -> None:
    learnt = cookie_in(ask(responder, CLIENT))
    clock.now -= 100_000
    ask(responder, learnt)
    assert not responder.proven


def test_secrets_roll_over(responder: Responder) -> None:
    learnt = cookie_in(ask(responder, CLIENT))
    assert responder.cookies is not None
    responder.cookies.use((OTHER, SECRET))
    newer = cookie_in(ask(responder, learnt))
    assert responder.proven
    responder.cookies.use((OTHER,))
    ask(responder, learnt)
    assert not responder.proven
    assert newer == learnt  # it is young; a new one comes with its time


@pytest.mark.parametrize("octets", [0, 1, 7, 9, 15, 41, 100])
def test_a_cookie_of_a_length_there_is_not_is_a_formerr(responder: Responder, octets: int) -> None:
    assert ask(responder, bytes(octets)).rcode == rr.Rcode.FORMERR


@pytest.mark.parametrize("octets", [16, 24, 40])
def test_a_foreign_cookie_is_replaced(responder: Responder, octets: int) -> None:
    answered = ask(responder, CLIENT + bytes(octets - 8))
    assert answered.answer
    assert cookie_in(answered)[:8] == CLIENT
    assert not responder.proven


def test_cookies_can_be_required(serving: Serving, clock: Clock) -> None:
    asker = serving({"example": "www A 192.0.2.1"})
    settings = replace(NameserverSettings(), require_cookies=True)
    responder = Responder(asker.responder.table, settings, None, Cookies((SECRET,), clock))
    sent_away = ask(responder, CLIENT)
    assert (sent_away.rcode, sent_away.answer) == (rr.Rcode.BADCOOKIE, ())
    assert ask(responder, cookie_in(sent_away)).answer
    for _ in range(2):
        plain = ask(responder, None)
        assert (plain.tc, plain.answer) == (True, ())
    assert ask(responder, None, tcp=True).answer


def test_what_is_sent_beyond_the_limit_is_a_cookie_to_those_who_know_them(responder: Responder) -> None:
    packet = m.make_query(from_text("www.example."), rr.A, id=5, options=((EDNS_COOKIE, CLIENT),))
    short = responder.short(packet, ADDRESS)
    assert short is not None
    assert m.parse(short).rcode == rr.Rcode.BADCOOKIE
    assert wire.age((SECRET,), cookie_in(m.parse(short)), ADDRESS, 1_800_000_000) == 0
    assert len(short) == len(packet) + 16


def test_memory_is_bounded(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "_REMEMBERED", 10)
    made = Cookies((SECRET,), clock)
    for i in range(100):
        made.read(i.to_bytes(8, "big"), ADDRESS)
    assert len(made._young) + len(made._old) <= 20
