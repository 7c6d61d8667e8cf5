"""DNS over TCP: RFC 7766, and clients that mean no good."""

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from mx10.config import NameserverSettings
from mx10.dns import message as m
from mx10.dns import rrtypes as rr
from mx10.dns.wirename import from_text
from mx10.nameserver.listeners import Listeners, listen
from mx10.nameserver.tcp import Connection, whose
from tests.nameserver.asking import Asker, words

Serving = Callable[..., Asker]
ZONE = {"example": "www A 192.0.2.1\n" + "\n".join(f'big TXT "{"x" * 200}{i}"' for i in range(200))}


class Client:
    """A connection that is closed when the test is over."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def connect(cls, port: int) -> "Client":
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=1024))

    def ask(self, name: str, rrtype: int, ident: int) -> None:
        self.writer.write(question(name, rrtype, ident))

    async def answer(self) -> m.Message:
        return await read_message(self.reader)

    async def closed(self, *, anything: bool = False) -> bool:
        """Wait until the server has closed it; whether it had said nothing more, or ``anything``."""
        try:
            return await asyncio.wait_for(self.reader.read(), 10) == b"" or anything
        except ConnectionError:
            return True


def question(name: str, rrtype: int, ident: int) -> bytes:
    packet = m.make_query(from_text(name), rrtype, id=ident)
    return len(packet).to_bytes(2, "big") + packet


async def read_message(reader: asyncio.StreamReader) -> m.Message:
    length = int.from_bytes(await asyncio.wait_for(reader.readexactly(2), 5), "big")
    return m.parse(await asyncio.wait_for(reader.readexactly(length), 5))


class Connect:
    """Opens connections to listeners, and keeps them to be closed."""

    def __init__(self, listeners: Listeners) -> None:
        self.listeners = listeners
        self.clients: list[Client] = []

    async def __call__(self) -> Client:
        self.clients.append(await Client.connect(self.listeners.addresses[0][1]))
        return self.clients[-1]


@asynccontextmanager
async def listening(serving: Serving, **settings: object) -> AsyncIterator[Connect]:
    listeners = await listen(
        serving(ZONE).responder,
        [("127.0.0.1", 0)],
        replace(NameserverSettings(), **settings),  # type: ignore[arg-type]
    )
    connect = Connect(listeners)
    try:
        yield connect
    finally:
        for client in connect.clients:
            client.writer.close()
        listeners.close()


async def test_rfc7766_6_2_1_1_questions_can_be_pipelined(serving: Serving) -> None:
    async with listening(serving) as connect:
        client = await connect()
        for ident in range(500):
            client.ask("www.example.", rr.A, ident)
        assert [(await client.answer()).id for _ in range(500)] == list(range(500))


async def test_rfc7766_8_a_message_may_come_in_any_pieces(serving: Serving) -> None:
    async with listening(serving) as connect:
        client = await connect()
        for octet in question("www.example.", rr.A, 7):
            client.writer.write(bytes((octet,)))
            await client.writer.drain()
        assert words((await client.answer()).answer) == ["www.example. A 192.0.2.1"]


async def test_large_answers_come_whole(serving: Serving) -> None:
    async with listening(serving) as connect:
        client = await connect()
        client.ask("big.example.", rr.TXT, 7)
        assert len((await client.answer()).answer) == 200


async def test_silent_and_slow_clients_are_closed(serving: Serving) -> None:
    async with listening(serving, tcp_idle_seconds=0.3) as connect:
        silent, slow = await connect(), await connect()
        dripping = asyncio.create_task(_drip(slow.writer, question("www.example.", rr.A, 1) * 50))
        assert await silent.closed()
        assert await slow.closed()
        dripping.cancel()
        assert connect.listeners.connections == 0


async def _drip(writer: asyncio.StreamWriter, data: bytes) -> None:
    """An octet every tenth of a second: the whole message never comes within the time allowed."""
    for octet in data:
        writer.write(bytes((octet,)))
        await asyncio.sleep(0.1)


async def test_a_client_that_does_not_read_is_not_read_from(serving: Serving) -> None:
    async with listening(serving, tcp_idle_seconds=0.5) as connect:
        greedy, other = await connect(), await connect()
        # 30 octets ask for 40,000: more than a thousand times what it sends would have to wait for it somewhere.
        for ident in range(2000):
            greedy.ask("big.example.", rr.TXT, ident)
        other.ask("www.example.", rr.A, 1)
        assert (await other.answer()).answer
        assert await other.closed()
        assert await greedy.closed(anything=True)
        assert connect.listeners.connections == 0


async def test_a_client_that_asks_faster_than_it_is_answered_is_read_from_only_as_it_is_answered(
    serving: Serving,
) -> None:
    async with listening(serving) as connect:
        client = await connect()
        questions = question("big.example.", rr.TXT, 7) * 2000
        (connection,) = connect.listeners._connections._open
        assert isinstance(connection, Connection)
        largest = answered = 0
        for _ in range(4):
            client.writer.write(questions)
        while answered < 400:
            assert len((await client.answer()).answer) == 200
            answered += 1
            largest = max(largest, len(connection._buffer))
        # One read of asyncio, and not a read for each turn.
        assert largest <= 256 * 1024 + 65_535


async def test_rfc7766_every_question_is_answered_after_a_client_has_said_its_last(serving: Serving) -> None:
    async with listening(serving) as connect:
        client = await connect()
        for ident in range(60):
            client.ask("big.example.", rr.TXT, ident)
        client.writer.write_eof()
        assert [(await client.answer()).id for _ in range(60)] == list(range(60))
        assert await client.closed()


async def test_one_client_cannot_take_all_connections(serving: Serving) -> None:
    async with listening(serving, tcp_connections_per_client=3) as connect:
        clients = [await connect() for _ in range(5)]
        assert await clients[4].closed()
        assert connect.listeners.connections == 3


async def test_beyond_the_limit_the_one_idle_for_longest_makes_room(serving: Serving) -> None:
    async with listening(serving, tcp_connections=2) as connect:
        first, second = await connect(), await connect()
        first.ask("www.example.", rr.A, 1)
        await first.answer()
        third = await connect()
        third.ask("www.example.", rr.A, 3)
        assert (await third.answer()).id == 3
        assert await second.closed()
        assert connect.listeners.connections == 2


async def test_without_descriptors_clients_wait_and_nothing_spins(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    monkeypatch.setattr("mx10.nameserver.tcp.log.error", lambda event, **values: lines.append(values["cause"]))
    accept, tried = socket.socket.accept, 0

    def full(self: socket.socket) -> tuple[socket.socket, object]:
        nonlocal tried
        tried += 1
        if tried < 4:
            raise OSError(errno.EMFILE, "Too many open files")
        return accept(self)

    monkeypatch.setattr(socket.socket, "accept", full)
    async with listening(serving) as connect:
        client = await connect()
        client.ask("www.example.", rr.A, 1)
        began = asyncio.get_running_loop().time()
        assert (await client.answer()).answer
        assert asyncio.get_running_loop().time() - began > 0.2
        assert tried < 10
        assert lines[:1] == ["Too many open files"]


async def test_garbage_ends_the_connection_and_nothing_else(serving: Serving) -> None:
    async with listening(serving) as connect:
        wrong, right = await connect(), await connect()
        wrong.writer.write(b"\0\5hello")
        assert await wrong.closed()
        right.ask("www.example.", rr.A, 1)
        assert (await right.answer()).answer


def test_clients_of_ipv6_are_counted_by_network() -> None:
    assert whose("192.0.2.1") != whose("192.0.2.2")
    assert whose("2001:db8::1") == whose("2001:db8::2:0:0:1%eth0")
    assert whose("2001:db8::1") != whose("2001:db8:0:1::1")


async def test_a_long_burst_gives_others_their_turn(serving: Serving) -> None:
    async with listening(serving, tcp_questions_at_once=10) as connect:
        greedy, other = await connect(), await connect()
        for ident in range(3000):
            greedy.ask("www.example.", rr.A, ident)
        other.ask("www.example.", rr.A, 1)
        reading = asyncio.create_task(_read(greedy, 3000))
        await other.answer()
        assert not reading.done()
        assert await reading == list(range(3000))


async def _read(client: Client, count: int) -> list[int]:
    return [(await client.answer()).id for _ in range(count)]


async def test_connections_that_are_closed_are_counted(serving: Serving) -> None:
    async with listening(serving, tcp_connections_per_client=1, tcp_idle_seconds=0.3) as connect:
        first, second = await connect(), await connect()
        assert await second.closed()
        assert await first.closed()
        counters = connect.listeners._connections.responder.counters
        assert (counters.connections_refused, counters.connections_ended) == (1, 1)
