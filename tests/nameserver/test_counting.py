"""What workers count, the query log, the metrics page and the status order."""

import asyncio
import json
import os
import socket
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from mx10.config import Config, NameserverSettings
from mx10.dns import message as m
from mx10.dns import rrtypes as rr
from mx10.dns.wirename import from_text
from mx10.nameserver import batch, listeners, overview
from mx10.nameserver.cookies import Cookies
from mx10.nameserver.counters import FULL_EVERY, TIMES, Counters
from mx10.nameserver.desk import Desk, order
from mx10.nameserver.metrics import exposition
from mx10.nameserver.metrics_page import MetricsPage
from mx10.nameserver.query_log import QueryLog
from mx10.nameserver.reporting import report_for_ever
from mx10.nameserver.responder import EDNS_COOKIE
from mx10.nameserver.shield import Shield
from mx10.nameserver.steward import Household
from mx10.nameserver.tally import Tally
from tests.conftest import cannot_run
from tests.nameserver.asking import Asker

Serving = Callable[..., Asker]
WWW = from_text("www.example.")


@pytest.fixture(params=["batch", "plain"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "plain":
        monkeypatch.setattr(batch, "available", lambda: False)
    elif not batch.available():
        cannot_run("this system has no recvmmsg; the plain way is tested")
    return str(request.param)


def query(rrtype: int = rr.A, ident: int = 1, name: str = "www.example.") -> bytes:
    return m.make_query(from_text(name), rrtype, id=ident)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that happens in this loop."""
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it did not happen")


async def gathered(sock: socket.socket, seconds: float = 0.3) -> list[m.Message]:
    """What comes until it is quiet."""
    found = []
    loop = asyncio.get_running_loop()
    while True:
        try:
            found.append(m.parse(await asyncio.wait_for(loop.sock_recv(sock, 4096), seconds)))
        except TimeoutError:
            return found


# ---------------------------------------------------------------- over sockets


async def test_answers_are_counted_limited_and_logged_over_sockets(serving: Serving, kind: str) -> None:
    responder = serving({"example": "www A 192.0.2.1"}).responder
    settings = replace(NameserverSettings(), responses_per_second=10, rate_limit_slip=2)
    reading, writing = os.pipe()
    log = QueryLog(4, 3, responder.counters, writing)
    here = listeners.bind(("127.0.0.1", 0))
    serving_here = await listeners.serve_on(responder, [here], settings, query_log=log)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.connect(serving_here.addresses[0])
            for ident in range(20):
                sock.send(query(ident=ident))
            messages = await gathered(sock)
    finally:
        serving_here.close()
        os.close(writing)
    assert [len([each for each in messages if each.tc == tc]) for tc in (False, True)] == [10, 5]
    counters = responder.counters
    report = counters.report(3, (0, 0), 0)
    assert (counters.udp, counters.dropped, counters.slipped) == (20, 5, 5)
    assert {each for each, _ in counters.answers} == {"A"}
    assert sum(report["times"]) == 20
    with os.fdopen(reading, encoding="ascii") as lines:
        logged = [json.loads(line) for line in lines]
    assert len(logged) == 5 == counters.logged
    assert logged[0] | {"time": 0} == {
        "time": 0,
        "worker": 3,
        "client": "127.0.0.1",
        "transport": "udp",
        "name": "www.example.",
        "type": "A",
        "edns": True,
        "do": False,
        "cookie": False,
        "request_octets": len(query()),
        "rcode": "NOERROR",
        "octets": len(query()) + 16,
        "flags": ["aa", "rd"],
    }


async def test_over_ipv6_clients_are_told_apart(serving: Serving, kind: str) -> None:
    responder = serving({"example": "www A 192.0.2.1"}).responder
    settings = replace(NameserverSettings(), responses_per_second=3, rate_limit_slip=0, rate_limit_exempt=("::2/128",))
    try:
        serving_here = await listeners.listen(responder, [("::1", 0)], settings)
    except listeners.ListenError:
        cannot_run("no IPv6 on this machine")
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.connect(serving_here.addresses[0])
            for ident in range(10):
                sock.send(query(ident=ident))
            assert len(await gathered(sock)) == 3
    finally:
        serving_here.close()


def test_a_good_cookie_is_not_limited(serving: Serving) -> None:
    if not batch.available():
        cannot_run("no recvmmsg here")
    responder = serving({"example": "www A 192.0.2.1"}).responder
    responder.cookies = Cookies((bytes(16),))
    settings = replace(NameserverSettings(), responses_per_second=1)
    here = listeners.bind(("127.0.0.1", 0))
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.settimeout(5)
    try:
        answering = batch.BatchSocket(here.udp, responder, 1232, Shield(responder, settings))
        client.connect(here.udp.getsockname())
        cookie = b"chocolat"
        for _ in range(30):
            client.send(m.make_query(WWW, rr.A, id=1, options=((EDNS_COOKIE, cookie),)))
            answering.on_readable()
            answered = m.parse(client.recv(4096))
            assert answered.answer
            assert answered.edns is not None
            cookie = dict(answered.edns.options)[EDNS_COOKIE]
        assert responder.counters.proven == 29
    finally:
        client.close()
        here.close()


# ---------------------------------------------------------------- counters


def test_hits_of_full_batches_count_for_the_others() -> None:
    counters = Counters()
    response = query(rr.MX)[2:]
    counters.hits([response, None, response], full=False)
    counters.hits([response], full=True)
    counters.count(0xFF00, rr.Rcode.REFUSED)
    counters.fold()
    assert counters.answers == {("MX", 0): 2 + FULL_EVERY, ("other", 5): 1}


@given(st.lists(st.integers(0, 1 << 60)))
def test_times_are_counted_whatever_they_are(times: list[int]) -> None:
    counters = Counters()
    for each in times:
        counters.took(each, 2)
    assert len(counters.times) == TIMES
    assert sum(counters.times) == 2 * len(times)


@given(st.integers(1, 50), st.lists(st.integers(1, 32), max_size=50))
def test_one_question_in_so_many_is_logged(every: int, batches: list[int]) -> None:
    reading, writing = os.pipe()
    log = QueryLog(every, 0, Counters(), writing)
    os.close(reading)
    os.close(writing)
    chosen, before = [], 0
    for count in batches:
        chosen += [before + each for each in log.chosen(count)]
        before += count
    assert chosen == list(range(every - 1, before, every))


def test_a_query_log_that_nobody_reads_holds_nothing_up() -> None:
    reading, writing = os.pipe()
    counters = Counters()
    log = QueryLog(1, 0, counters, writing)
    try:
        for _ in range(2000):
            log.write(query(), None, b"\x7f\0\0\1", "udp")
    finally:
        os.close(reading)
    assert counters.log_lost > 0
    assert counters.logged + counters.log_lost == 2000
    log.write(query(), None, b"\x7f\0\0\1", "udp")  # and now it is gone altogether
    os.close(writing)


@given(st.binary(max_size=300))
def test_whatever_comes_is_a_line_of_json(packet: bytes) -> None:
    log = QueryLog(1, 0, Counters(), 1)
    assert json.loads(json.dumps(log._line(packet, None, b"", "udp")))["request_octets"] == len(packet)


# ---------------------------------------------------------------- shown


def families(text: bytes) -> dict[str, dict[tuple[str, ...], float]]:
    """Sample name to the values of its labels to its value, read by Prometheus' own parser."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.values()))] = sample.value
    return found


def test_the_text_for_prometheus() -> None:
    counters = Counters()
    counters.udp = 3
    counters.count(rr.A, rr.Rcode.NOERROR)
    counters.count(rr.MX, rr.Rcode.BADCOOKIE)
    counters.took(5_000, 3)
    tally = Tally()
    tally.sums("transfers_out", "x", "outcome", lambda: {"axfr": 2, "ixfr": 1})
    tally.level("zones_followed", "x", lambda: 7)
    seen = families(exposition([counters.report(0, (4, 100), 1)], tally.figures()))
    assert seen["mx10_udp_requests_total"] == {("0",): 3}
    assert seen["mx10_responses_total"] == {("0", "A", "NOERROR"): 1, ("0", "BADCOOKIE", "MX"): 1}
    assert seen["mx10_answer_seconds_bucket"]["+Inf", "0"] == 3
    assert seen["mx10_answer_seconds_bucket"]["0", "8.192e-06"] == 3
    assert seen["mx10_answer_seconds_bucket"]["0", "4.096e-06"] == 0
    assert seen["mx10_cache_bytes"] == {("0",): 100}
    assert seen["mx10_transfers_out_total"] == {("axfr",): 2, ("ixfr",): 1}
    assert seen["mx10_zones_followed"] == {(): 7}


async def test_the_page_serves_metrics_and_nothing_else() -> None:
    page = MetricsPage(["127.0.0.1:0"], lambda: b"mx10_up 1\n")
    running = asyncio.create_task(page.run())
    try:
        await until(lambda: bool(page.ports))

        async def ask(request: bytes) -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", page.ports[0])
            writer.write(request)
            answer = await asyncio.wait_for(reader.read(), 5)
            writer.close()
            return answer

        good = await ask(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        assert good.startswith(b"HTTP/1.1 200 ")
        assert good.endswith(b"\r\n\r\nmx10_up 1\n")
        assert (await ask(b"HEAD /metrics HTTP/1.1\r\n\r\n")).endswith(b"\r\n\r\n")
        assert (await ask(b"GET /etc/passwd HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 404 ")
        assert (await ask(b"POST /metrics HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 405 ")
        assert (await ask(b"\0\1\2\r\n\r\n")).startswith(b"HTTP/1.1 400 ")
        assert await ask(b"GET /" + b"x" * 20_000 + b"\r\n\r\n") == b""
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_status_and_metrics_of_a_server_without_a_store(serving: Serving, tmp_path: Path) -> None:
    responder = serving({"example": "www A 192.0.2.1"}).responder
    config = Config(nameserver=replace(NameserverSettings(), metrics_listen=("127.0.0.1:0",)))
    household = Household(config, Desk(dict), {b"\7example\0": b"packed"})
    seen = overview.plug_in(household)
    page = household.services[-1]
    assert isinstance(page, MetricsPage)
    done = asyncio.Event()
    path = tmp_path / "mx10.sock"
    running = asyncio.create_task(household.run(path, done.wait()))
    serving_here = await listeners.listen(responder, [("127.0.0.1", 0)], config.nameserver)
    await until(lambda: path.exists() and bool(page.ports))
    reports = asyncio.create_task(report_for_ever(str(path), 0, responder, serving_here))
    try:
        responder.udp(query())
        await until(lambda: bool(seen._workers))
        status = await asyncio.to_thread(order, path, "status", seconds=5)
        assert status["zones_from_files"] == 1
        assert status["zones_in_store"] is None
        assert [each["worker"] for each in status["workers"]] == [0]
        url = f"http://127.0.0.1:{page.ports[0]}/metrics"
        text = await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=5).read())
        assert families(text)["mx10_zones"] == {("files",): 1, ("store",): 0}
        assert families(text)["mx10_responses_total"] == {("0", "A", "NOERROR"): 1}
    finally:
        reports.cancel()
        serving_here.close()
        done.set()
        await asyncio.gather(running, reports, return_exceptions=True)


def test_a_worker_that_was_replaced_begins_anew_and_a_silent_one_is_left_out() -> None:
    now = 100.0
    seen = overview.Overview(Household(Config(), Desk(dict)), lambda: now)
    for pid, asked in ((10, 0), (10, 500), (11, 3)):
        report = Counters().report(0, (0, 0), 0) | {"pid": pid, "udp": asked}
        seen.take(json.dumps(report).encode())
        now += 1
    (current,) = seen._current()
    assert current.rate() == 0
    seen.take(json.dumps(Counters().report(0, (0, 0), 0) | {"pid": 11, "udp": 103}).encode())
    assert current.rate() == 100
    now += 60
    assert seen._current() == []
