"""What is more than a question goes from a worker's sockets to the desk and back; questions are answered meanwhile."""

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mx10.config import NameserverSettings
from mx10.dns import message as m
from mx10.dns import rrtypes as rr
from mx10.dns.message import Message, Question, encode, make_query
from mx10.dns.rrtypes import Opcode, Rcode
from mx10.dns.tsig import Asker
from mx10.dns.wirename import from_text
from mx10.nameserver import batch
from mx10.nameserver.desk import Desk, Operation
from mx10.nameserver.listeners import Listeners, listen
from mx10.nameserver.relay import MOST_DATAGRAMS, Relay, is_operation
from mx10.nameserver.responder import Responder
from mx10.nameserver.table import ZoneTable
from tests.dns.test_tsig import KEY, KEYS

APEX = from_text("example.com.")
UPDATE = encode(Message(5, Opcode.UPDATE << 11, Question(APEX, rr.SOA)))
QUESTION = make_query(APEX, rr.MX, id=6)
AXFR = make_query(APEX, rr.AXFR, id=7, edns=False)


@pytest.mark.parametrize(
    ("packet", "wanted"),
    [
        (UPDATE, True),
        (encode(Message(5, Opcode.NOTIFY << 11, Question(APEX, rr.SOA))), True),
        (AXFR, True),
        (make_query(APEX, rr.IXFR, id=7), True),
        (Asker(KEY, lambda: 0.0).sign(QUESTION), True),
        (QUESTION, False),
        (make_query(APEX, rr.ANY, id=7), False),
        (encode(Message(5, m.QR | Opcode.UPDATE << 11, Question(APEX, rr.SOA))), False),
        (encode(Message(5, Opcode.STATUS << 11, Question(APEX, rr.SOA))), False),
        (b"", False),
    ],
)
def test_what_is_the_stewards(packet: bytes, wanted: bool) -> None:
    assert is_operation(packet) == wanted


@given(st.binary(max_size=60))
def test_any_packet_is_one_or_the_other(packet: bytes) -> None:
    assert is_operation(packet) in (True, False)


async def echo(operation: Operation) -> AsyncGenerator[bytes, None]:
    count = 200 if operation.parsed.question and operation.parsed.question.type == rr.AXFR else 1
    for _ in range(count):
        text = f"{operation.client} {operation.transport}".encode()
        yield encode(Message(operation.parsed.id, m.QR | operation.parsed.opcode << 11)) + text + bytes(1000)


class Worker:
    def __init__(self, desk: Desk, listeners: Listeners) -> None:
        self.desk = desk
        self.address = listeners.addresses[0]

    async def udp(self, packet: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET6 if ":" in self.address[0] else socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.connect(self.address)
            sock.send(packet)
            async with asyncio.timeout(5):
                return await loop.sock_recv(sock, 4096)

    async def tcp(self, *messages: bytes, answers: int) -> list[bytes]:
        reader, writer = await asyncio.open_connection(*self.address)
        for message in messages:
            writer.write(len(message).to_bytes(2, "big") + message)
        async with asyncio.timeout(5):
            found = [
                await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big")) for _ in range(answers)
            ]
        writer.close()
        return found


async def started(path: Path, host: str = "127.0.0.1") -> tuple[Desk, Listeners]:
    desk = Desk(lambda: KEYS)
    desk.for_opcode(Opcode.UPDATE, echo)
    desk.for_type(rr.AXFR, echo)
    await desk.open(path)
    responder = Responder(ZoneTable({}), NameserverSettings(), Relay(str(path)))
    return desk, await listen(responder, [(host, 0)], NameserverSettings())


@pytest.fixture(params=["batch", "plain"])
async def worker(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Worker]:
    if request.param == "plain":
        monkeypatch.setattr(batch, "available", lambda: False)
    desk, listeners = await started(tmp_path / "mx10.sock")
    yield Worker(desk, listeners)
    listeners.close()
    desk.close()
    await asyncio.sleep(0.01)


async def test_a_datagram(worker: Worker) -> None:
    assert b"127.0.0.1 udp" in await worker.udp(UPDATE)
    assert m.parse(await worker.udp(QUESTION)).rcode == Rcode.REFUSED


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "::1"])
async def test_a_datagram_to_any_address_of_ours(host: str, tmp_path: Path) -> None:
    """The response comes from the address that was asked; a connected socket takes no other."""
    desk, listeners = await started(tmp_path / "mx10.sock", host)
    worker = Worker(desk, listeners)
    worker.address = {"0.0.0.0": "127.7.7.7"}.get(host, "::1"), worker.address[1]
    response = await worker.udp(UPDATE)
    assert (b"::1 udp" if ":" in host else b"127.0.0.1 udp") in response
    listeners.close()
    desk.close()
    await asyncio.sleep(0.01)


async def test_a_stream_keeps_its_order(worker: Worker) -> None:
    found = await worker.tcp(QUESTION, AXFR, QUESTION, UPDATE, QUESTION, answers=204)
    assert [answer[:2] for answer in found] == [
        b"\0\6", *[b"\0\7"] * 200, b"\0\6", b"\0\5", b"\0\6"
    ]  # fmt: skip
    assert b"127.0.0.1 tcp" in found[1]


async def test_questions_are_answered_meanwhile(worker: Worker) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(operation: Operation) -> AsyncGenerator[bytes, None]:
        begun.set()
        await go_on.wait()
        yield UPDATE[:2] + b"\xa8\0" + UPDATE[4:]

    worker.desk.for_opcode(Opcode.UPDATE, slow)
    waiting = asyncio.create_task(worker.udp(UPDATE))
    stream = asyncio.create_task(worker.tcp(UPDATE, QUESTION, answers=2))
    await begun.wait()
    assert m.parse(await worker.udp(QUESTION)).rcode == Rcode.REFUSED
    assert not waiting.done()
    assert not stream.done()
    go_on.set()
    assert (await waiting)[:2] == b"\0\5"
    assert [answer[:2] for answer in await stream] == [b"\0\5", b"\0\6"]


async def test_a_client_that_leaves(worker: Worker) -> None:
    ended = asyncio.Event()

    async def endless(operation: Operation) -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield bytes(60_000)
        finally:
            ended.set()

    worker.desk.for_type(rr.AXFR, endless)
    await worker.tcp(AXFR, answers=3)
    await asyncio.wait_for(ended.wait(), 5)


async def test_nobody_at_the_desk(worker: Worker, tmp_path: Path) -> None:
    path = tmp_path / "mx10.sock"
    path.rename(tmp_path / "away")
    # A NOTIFY waits for the next steward.
    worker.desk.for_opcode(Opcode.NOTIFY, echo)
    waiting = asyncio.create_task(worker.udp(encode(Message(5, Opcode.NOTIFY << 11, Question(APEX, rr.SOA)))))
    assert m.parse(await worker.udp(UPDATE)).rcode == Rcode.SERVFAIL
    (response,) = await worker.tcp(AXFR, answers=1)
    assert m.parse(response).rcode == Rcode.SERVFAIL
    assert not waiting.done()
    (tmp_path / "away").rename(path)
    assert b"127.0.0.1 udp" in await waiting


async def test_a_flood_of_one_client_is_not_handed_in(tmp_path: Path) -> None:
    relay = Relay(str(tmp_path / "nobody"), 5, lambda: 100.0)
    replies: list[bytes] = []
    for _ in range(20):
        relay.datagram(UPDATE, ("2001:db8::1", 5), replies.append)
        relay.datagram(UPDATE, ("2001:db8::2", 5), replies.append)
    assert (relay.counters.operations, relay.counters.operations_refused) == (40, 35)
    over_tcp = [response async for response in relay.stream(UPDATE, ("2001:db8::9", 5), "tcp")]
    assert m.parse(over_tcp[0]).rcode == Rcode.SERVFAIL
    relay.datagram(UPDATE, ("2001:db8:1::1", 5), replies.append)
    assert relay.counters.operations_refused == 36
    await asyncio.gather(*relay._datagrams)
    # Those who were let in found nobody at the desk; the others got nothing at all, as their address may be forged.
    assert len(replies) == 6


async def test_a_flood_of_notify_opens_no_more_connections_than_there_are_places(tmp_path: Path) -> None:
    most = open_now = 0

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal most, open_now
        open_now += 1
        most = max(most, open_now)
        with suppress(OSError):
            await reader.read()
        open_now -= 1
        writer.close()

    path = tmp_path / "mx10.sock"
    server = await asyncio.start_unix_server(silent, str(path), backlog=1000)
    relay = Relay(str(path))
    notify = encode(Message(5, Opcode.NOTIFY << 11, Question(APEX, rr.SOA)))
    for number in range(600):
        relay.datagram(notify, (f"192.0.2.{number % 250}", 5), lambda response: None)
    async with asyncio.timeout(10):
        while most < MOST_DATAGRAMS:  # noqa: ASYNC110  # until no more come
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
    # One more for each that was looked at and is not closed yet.
    assert most <= 2 * MOST_DATAGRAMS
    for task in list(relay._datagrams):
        task.cancel()
    await asyncio.gather(*relay._datagrams, return_exceptions=True)
    server.close()
