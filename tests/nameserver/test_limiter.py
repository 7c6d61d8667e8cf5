"""The rate limit: never more than is allowed, in bounded memory; by kind of response and network."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mx10.config import NameserverSettings
from mx10.dns import message as m
from mx10.dns import rrtypes as rr
from mx10.dns.question import Query, read_question
from mx10.dns.wirename import from_text
from mx10.nameserver.limiter import Limiter
from mx10.nameserver.responder import Responder
from mx10.nameserver.shield import Shield, kind_of
from tests.nameserver.asking import Asker

Serving = Callable[..., Asker]
ZONE = "www A 192.0.2.1\nwww AAAA 2001:db8::1\n* MX 10 www\nsub NS ns.sub\nns.sub A 192.0.2.9\n"

gaps = st.lists(st.floats(0, 3, allow_nan=False), min_size=1, max_size=300)


@given(gaps, st.integers(1, 50), st.integers(1, 20))
def test_never_more_than_allowed_in_any_window(waits: list[float], rate: int, window: int) -> None:
    limiter = Limiter(rate, window, 1000)
    now, sent = 1000.0, []
    for wait in waits:
        now += wait / rate
        if limiter.admits(b"a", now):
            sent.append(now)
    for first in range(len(sent)):
        for last in range(first, len(sent)):
            assert last - first + 1 <= rate * (sent[last] - sent[first] + 1) + 1e-3


@given(gaps, st.integers(1, 50))
def test_who_keeps_to_the_rate_is_never_limited(waits: list[float], rate: int) -> None:
    limiter = Limiter(rate, 15, 1000)
    now = 1000.0
    for wait in waits:
        now += 1 / rate + wait
        assert limiter.admits(b"a", now)


def test_who_asks_on_and_on_gets_nothing_and_who_stops_does_again() -> None:
    limiter = Limiter(10, 5, 1000)
    admitted = [limiter.admits(b"a", 100 + i / 1000) for i in range(20_000)]
    assert sum(admitted[:1000]) == 10
    assert not any(admitted[1000:])  # it asked all the time, so it stays in debt
    assert not limiter.admits(b"a", 124.0)
    assert limiter.admits(b"a", 126.0)


@given(st.lists(st.tuples(st.integers(0, 400), st.floats(0, 0.1)), max_size=600), st.integers(2, 50))
def test_memory_is_bounded(asked: list[tuple[int, float]], entries: int) -> None:
    limiter = Limiter(5, 15, entries)
    now = 0.0
    for key, wait in asked:
        now += wait
        limiter.admits(key.to_bytes(2, "big"), now)
        assert len(limiter) <= entries + 1


@given(st.integers(1, 60))
def test_who_floods_is_not_forgotten_for_others(others: int) -> None:
    limiter = Limiter(5, 15, 200)
    for i in range(100):
        limiter.admits(b"flood", 50 + i / 1000)
    for i in range(others):
        limiter.admits(i.to_bytes(2, "big"), 50.2)
        assert not limiter.admits(b"flood", 50.2)


# ---------------------------------------------------------------- kinds


def kind(asker: Asker, name: str, rrtype: str, **query: Any) -> bytes:
    packet = m.make_query(from_text(name), rr.type_from_text(rrtype), id=1, **query)
    response = asker.responder.udp(packet)
    read = read_question(packet)
    assert response is not None
    assert isinstance(read, Query)
    return kind_of(asker.responder.table, read, response[2:])


def test_kinds(serving: Serving) -> None:
    asker = serving({"example": ZONE})
    answer = kind(asker, "www.example.", "A")
    assert answer == kind(asker, "WWW.example.", "A") == kind(asker, "www.example.", "A", do=True, payload=4096)
    assert answer != kind(asker, "www.example.", "AAAA")
    wild = kind(asker, "a.example.", "MX")
    assert wild == kind(asker, "b.example.", "MX")
    assert wild != answer
    nothing = kind(asker, "www.example.", "TXT")
    assert nothing == kind(asker, "ns1.example.", "MX")
    referral = kind(asker, "a.sub.example.", "A")
    assert referral == kind(asker, "b.c.sub.example.", "A")
    absent = kind(asker, "x.www.example.", "A")
    assert absent == kind(asker, "y.www.example.", "TXT")
    refused = kind(asker, "elsewhere.", "A")
    assert refused == kind(asker, "other.test.", "A")
    assert len({answer, wild, nothing, referral, absent, refused}) == 6


# ---------------------------------------------------------------- the shield


class Client:
    """Asks one thing again and again."""

    def __init__(self, serving: Serving, **settings: object) -> None:
        base = replace(NameserverSettings(), responses_per_second=5, **settings)  # type: ignore[arg-type]
        self.responder: Responder = serving({"example": ZONE}).responder
        self.now = 100.0
        self.shield = Shield(self.responder, base, lambda: self.now)
        self.request = m.make_query(from_text("www.example."), rr.A, id=7)

    def ask(self, address: bytes = b"\xc0\0\2\1", request: bytes = b"") -> bytes | None:
        request = request or self.request
        response = self.responder.udp(request, address)
        assert response is not None
        judged = self.shield.judge(request, response[2:], address, self.now)
        return None if judged is None else request[:2] + judged


def test_beyond_the_limit_one_of_two_is_short_and_the_other_dropped(serving: Serving) -> None:
    client = Client(serving)
    got = [client.ask() for _ in range(15)]
    assert all(each is not None and m.parse(each).answer for each in got[:5])
    assert got[5::2] == [None] * 5
    for each in got[6::2]:
        assert each is not None
        short = m.parse(each)
        assert (short.tc, short.answer, short.question) == (True, (), m.parse(client.request).question)
        assert len(each) <= len(client.request)
    assert client.responder.counters.dropped == 5
    assert client.responder.counters.slipped == 5
    # Another network, and another answer, are not limited; others of the network are.
    assert client.ask(b"\xc0\0\3\1") is not None
    assert client.ask(request=m.make_query(from_text("www.example."), rr.AAAA, id=7)) is not None
    assert client.ask(b"\xc0\0\2\xfe") in (None, got[6])


@pytest.mark.parametrize(("slip", "short"), [(0, 0), (1, 10), (5, 2)])
def test_slip(serving: Serving, slip: int, short: int) -> None:
    client = Client(serving, rate_limit_slip=slip)
    assert sum(client.ask() is not None for _ in range(15)) == 5 + short


def test_ipv6_is_limited_by_56(serving: Serving) -> None:
    client = Client(serving, rate_limit_slip=0)
    near = [bytes.fromhex("20010db8000000") + bytes((i,)) + bytes(8) for i in range(10)]
    assert sum(client.ask(each) is not None for each in near) == 5
    assert client.ask(bytes.fromhex("20010db8000001") + bytes(9)) is not None


def test_exempt_networks_and_trying_out(serving: Serving) -> None:
    client = Client(serving, rate_limit_exempt=("192.0.2.0/28", "2001:db8::/32"))
    assert all(client.ask() is not None for _ in range(20))
    assert None in [client.ask(b"\xc0\0\2\x20") for _ in range(20)]
    trying = Client(serving, rate_limit_log_only=True)
    answers = {trying.ask() for _ in range(20)}
    assert len(answers) == 1
    assert trying.responder.counters.dropped + trying.responder.counters.slipped == 15


def test_all_workers_together_keep_the_limit(serving: Serving) -> None:
    client = Client(serving, workers=5, rate_limit_slip=0)
    assert sum(client.ask() is not None for _ in range(20)) == 1


@given(st.binary(max_size=80))
def test_any_request_is_judged(packet: bytes) -> None:
    from mx10.nameserver.table import ZoneTable

    responder = Responder(ZoneTable({}), NameserverSettings())
    shield = Shield(responder, replace(NameserverSettings(), responses_per_second=1, rate_limit_slip=1), lambda: 9.0)
    for _ in range(3):
        response = responder.udp(packet, b"\x7f\0\0\1")
        if response is not None:
            shield.judge(packet, response[2:], b"\x7f\0\0\1", 9.0)
