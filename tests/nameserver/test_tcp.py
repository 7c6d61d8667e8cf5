"""DNS over TCP: RFC 7766, and clients that mean no good."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

from mx10.config import NameserverSettings
from mx10.dns import message as m
from mx10.dns import rrtypes as rr
from mx10.dns.wirename import from_text
from mx10.nameserver.listeners import Listeners, listen
from tests.nameserver.asking import Asker, words

Serving = Callable[..., Asker]
ZONE = {"example": "www A 192.0.2.1\n" + "\n".join(f'big TXT "{"x" * 200}{i}"' for i in range(200))}


@asynccontextmanager
async def listening(serving: Serving, **settings: object) -> AsyncIterator[tuple[Listeners, int]]:
    listeners = await listen(
        serving(ZONE).responder,
        [("127.0.0.1", 0)],
        replace(NameserverSettings(), **settings),  # type: ignore[arg-type]
    )
    try:
        yield listeners, listeners.addresses[0][1]
    finally:
        listeners.close()


def question(name: str, rrtype: int, ident: int) -> bytes:
    packet = m.make_query(from_text(name), rrtype, id=ident)
    return len(packet).to_bytes(2, "big") + packet


async def read_message(reader: asyncio.StreamReader) -> m.Message:
    length = int.from_bytes(await asyncio.wait_for(reader.readexactly(2), 5), "big")
    return m.parse(await asyncio.wait_for(reader.readexactly(length), 5))


async def test_rfc7766_6_2_1_1_questions_can_be_pipelined(serving: Serving) -> None:
    async with listening(serving) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"".join(question("www.example.", rr.A, ident) for ident in range(500)))
        assert [(await read_message(reader)).id for _ in range(500)] == list(range(500))
        writer.close()


async def test_rfc7766_8_a_message_may_come_in_any_pieces(serving: Serving) -> None:
    async with listening(serving) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for octet in question("www.example.", rr.A, 7):
            writer.write(bytes((octet,)))
            await writer.drain()
        assert words((await read_message(reader)).answer) == ["www.example. A 192.0.2.1"]
        writer.close()


async def test_large_answers_come_whole(serving: Serving) -> None:
    async with listening(serving) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(question("big.example.", rr.TXT, 7))
        assert len((await read_message(reader)).answer) == 200
        writer.close()


async def test_silent_and_slow_clients_are_closed(serving: Serving) -> None:
    async with listening(serving, tcp_idle_seconds=0.3) as (listeners, port):
        silent, _ = await asyncio.open_connection("127.0.0.1", port)
        slow, writer = await asyncio.open_connection("127.0.0.1", port)
        dripping = asyncio.create_task(_drip(writer, question("www.example.", rr.A, 1) * 50))
        for reader in (silent, slow):
            assert await asyncio.wait_for(_until_end(reader), 10) == b""
        dripping.cancel()
        assert listeners.connections == 0


async def _drip(writer: asyncio.StreamWriter, data: bytes) -> None:
    """An octet every tenth of a second: the whole message never comes within the time allowed."""
    for octet in data:
        writer.write(bytes((octet,)))
        await asyncio.sleep(0.1)


async def _until_end(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionError:
        return b""


async def test_a_client_that_does_not_read_is_not_read_from(serving: Serving) -> None:
    async with listening(serving, tcp_idle_seconds=0.5) as (listeners, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        # 40 octets ask for 40,000: a thousand times what it sends would have to wait for it somewhere.
        for ident in range(2000):
            writer.write(question("big.example.", rr.TXT, ident))
        other, ask = await asyncio.open_connection("127.0.0.1", port)
        ask.write(question("www.example.", rr.A, 1))
        assert (await read_message(other)).answer
        while listeners.connections:
            await asyncio.sleep(0.05)
        writer.close()
        ask.close()
        del reader


async def test_one_client_cannot_take_all_connections(serving: Serving) -> None:
    async with listening(serving, tcp_connections_per_client=3) as (listeners, port):
        streams = [await asyncio.open_connection("127.0.0.1", port) for _ in range(5)]
        assert await asyncio.wait_for(_until_end(streams[4][0]), 5) == b""
        assert listeners.connections == 3
        for _, writer in streams:
            writer.close()


async def test_beyond_the_limit_the_one_idle_for_longest_makes_room(serving: Serving) -> None:
    async with listening(serving, tcp_connections=2) as (listeners, port):
        first = await asyncio.open_connection("127.0.0.1", port)
        second = await asyncio.open_connection("127.0.0.1", port)
        first[1].write(question("www.example.", rr.A, 1))
        await read_message(first[0])
        third = await asyncio.open_connection("127.0.0.1", port)
        third[1].write(question("www.example.", rr.A, 3))
        assert (await read_message(third[0])).id == 3
        assert await asyncio.wait_for(_until_end(second[0]), 5) == b""
        assert listeners.connections == 2
        for _, writer in (first, third):
            writer.close()


async def test_garbage_ends_the_connection_and_nothing_else(serving: Serving) -> None:
    async with listening(serving) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"\0\5hello")
        assert await asyncio.wait_for(_until_end(reader), 5) == b""
        again, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(question("www.example.", rr.A, 1))
        assert (await read_message(again)).answer
        writer.close()
