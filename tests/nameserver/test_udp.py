"""Datagrams through real sockets: by the batch and one at a time, IPv4 and IPv6, one address and all of them."""

import asyncio
import socket
from collections.abc import Callable

import pytest

from mx10.config import NameserverSettings
from mx10.dns import message as m
from mx10.dns import rrtypes as rr
from mx10.dns.wirename import from_text
from mx10.nameserver import batch, listeners
from tests.conftest import cannot_run
from tests.nameserver.asking import Asker

Serving = Callable[..., Asker]


@pytest.fixture(params=["batch", "plain"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "plain":
        monkeypatch.setattr(batch, "available", lambda: False)
    elif not batch.available():
        cannot_run("this system has no recvmmsg; the plain way is tested")
    return str(request.param)


def has(host: str) -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.bind((host, 0))
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    ("bound", "asked"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.9.8.7"), ("::1", "::1"), ("::", "::1")]
)
async def test_every_question_gets_its_answer_from_the_address_it_went_to(
    serving: Serving, kind: str, bound: str, asked: str
) -> None:
    if ":" in bound and not has(asked):
        cannot_run("no IPv6 on this machine")
    responder = serving({"example": "\n".join(f"h{i} A 192.0.2.{i}" for i in range(200))}).responder
    serving_here = await listeners.listen(responder, [(bound, 0)], NameserverSettings())
    try:
        with socket.socket(socket.AF_INET6 if ":" in bound else socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            # Connected: the kernel gives us only what comes from the address we asked.
            sock.connect((asked, serving_here.addresses[0][1]))
            loop = asyncio.get_running_loop()
            for start in range(0, 200, 20):
                expected = {i: bytes((192, 0, 2, i)) for i in range(start, start + 20)}
                for i in expected:
                    # Between the questions, packets that get no answer or another one: the batch has gaps, and the
                    # others must still get theirs.
                    sock.send(b"" if i % 3 == 0 else bytes(12) if i % 3 == 1 else b"\0\0\x80" + bytes(20))
                    sock.send(m.make_query(from_text(f"h{i}.example."), rr.A, id=i))
                while expected:
                    response = m.parse(await asyncio.wait_for(loop.sock_recv(sock, 4096), 5))
                    if response.question is not None:
                        assert response.answer[0].rdata == expected.pop(response.id)
    finally:
        serving_here.close()


@pytest.mark.parametrize(("host", "offset"), [("0.0.0.0", 16), ("::", 32)])
def test_the_way_of_a_response_is_left_to_the_routes(serving: Serving, host: str, offset: int) -> None:
    if not batch.available() or not has("::1"):
        cannot_run("no recvmmsg or no IPv6 here")
    here = listeners.bind((host, 0))
    client = socket.socket(here.udp.family, socket.SOCK_DGRAM)
    try:
        responder = serving({"example": ""}).responder
        answering = batch.BatchSocket(here.udp, responder, 1232)
        client.settimeout(5)
        client.connect(("::1" if ":" in host else "127.0.0.1", here.udp.getsockname()[1]))
        client.send(m.make_query(from_text("example."), rr.SOA, id=1))
        answering.on_readable()
        assert m.parse(client.recv(4096)).answer
        # The kernel named the loopback interface there: 1 on Linux, in all network namespaces.
        assert bytes(answering._controls)[offset : offset + 4] == bytes(4)
        assert any(bytes(answering._controls)[:offset])
    finally:
        client.close()
        here.close()


async def test_a_datagram_larger_than_any_question_is_survived(serving: Serving, kind: str) -> None:
    serving_here = await listeners.listen(serving({"example": ""}).responder, [("127.0.0.1", 0)], NameserverSettings())
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.connect(serving_here.addresses[0])
            sock.send(m.make_query(from_text("example."), rr.SOA, id=1) + bytes(60_000))
            sock.send(m.make_query(from_text("example."), rr.SOA, id=2))
            loop = asyncio.get_running_loop()
            first = m.parse(await asyncio.wait_for(loop.sock_recv(sock, 4096), 5))
            second = m.parse(await asyncio.wait_for(loop.sock_recv(sock, 4096), 5))
        assert (first.id, first.rcode) == (1, rr.Rcode.FORMERR)
        assert (second.id, second.rcode) == (2, rr.Rcode.NOERROR)
    finally:
        serving_here.close()


async def test_a_fault_of_ours_costs_one_question_its_answer_and_no_other(
    serving: Serving, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    responder = serving({"example": "www A 192.0.2.1"}).responder

    def fails(*args: object, **options: object) -> None:
        raise IndexError

    monkeypatch.setattr("mx10.nameserver.responder.answer", fails)
    whole = [m.make_query(from_text("example."), rr.SOA, id=i, klass=rr.CH) for i in range(2)]
    serving_here = await listeners.listen(responder, [("127.0.0.1", 0)], NameserverSettings())
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.connect(serving_here.addresses[0])
            for packet in (whole[0], m.make_query(from_text("www.example."), rr.A, id=7), whole[1]):
                sock.send(packet)
            loop = asyncio.get_running_loop()
            responses = [m.parse(await asyncio.wait_for(loop.sock_recv(sock, 4096), 5)) for _ in range(3)]
        assert [(each.id, each.rcode) for each in responses] == [
            (0, rr.Rcode.REFUSED),
            (7, rr.Rcode.SERVFAIL),
            (1, rr.Rcode.REFUSED),
        ]
    finally:
        serving_here.close()


@pytest.mark.parametrize("text", ["localhost:53", "127.0.0.1:99999", "[::1", "[::1]53", "127.0.0.1:x", ""])
def test_addresses_that_are_none(text: str) -> None:
    with pytest.raises(listeners.ListenError):
        listeners.parse_address(text)


def test_addresses_that_are() -> None:
    assert listeners.parse_address("127.0.0.1") == ("127.0.0.1", 53)
    assert listeners.parse_address("[::1]:5353") == ("::1", 5353)
    assert listeners.parse_address("2001:db8::1") == ("2001:db8::1", 53)


def test_an_address_in_use_says_so() -> None:
    taken = listeners.bind(("127.0.0.1", 0))
    try:
        with pytest.raises(listeners.ListenError, match="another program has it"):
            listeners.bind(taken.udp.getsockname())
    finally:
        taken.close()
