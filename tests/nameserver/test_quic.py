"""DNS over QUIC: questions, and clients that break the rules."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.quic.configuration import SMALLEST_MAX_DATAGRAM_SIZE, QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, QuicEvent, StreamDataReceived, StreamReset

from mx10.config import NameserverSettings
from mx10.dns import rrtypes as rr
from mx10.dns.message import Message, make_query, parse
from mx10.dns.rrtypes import Rcode
from mx10.dns.wirename import from_text
from mx10.nameserver.listeners import Listeners, bind_datagrams, serve_on
from mx10.nameserver.padding import BLOCK
from mx10.nameserver.quic import (
    EXCESSIVE_LOAD,
    HANDSHAKES,
    HANDSHAKES_PER_CLIENT,
    INTERNAL_ERROR,
    MOST_IN,
    NO_ERROR,
    PROTOCOL_ERROR,
    Connection,
    Handshakes,
    QuicSockets,
    make_configuration,
)
from mx10.nameserver.relay import Relay
from mx10.nameserver.responder import Responder
from mx10.nameserver.table import ZoneTable
from mx10.nameserver.tls import TlsError
from tests.nameserver.test_tls import settings_of, write_certificate
from tests.nameserver.test_transfers import APEX, a, a_zone

NAME = from_text("www.one.example.")
QUERY = make_query(NAME, rr.A, id=0)
NOTIFY = b"\0\0\x20" + make_query(APEX, rr.SOA, id=0)[3:]


def framed(message: bytes) -> bytes:
    return len(message).to_bytes(2, "big") + message


class Client(QuicConnectionProtocol):
    """A client that does what a test wants."""

    def __init__(self, quic: QuicConnection, stream_handler: None = None) -> None:
        super().__init__(quic, stream_handler)
        self.received: dict[int, bytes] = {}
        self.ended: dict[int, asyncio.Event] = {}
        self.reset: dict[int, int] = {}
        self.terminated: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, StreamDataReceived):
            self.received[event.stream_id] = self.received.get(event.stream_id, b"") + event.data
            if event.end_stream:
                self.ended.setdefault(event.stream_id, asyncio.Event()).set()
        elif isinstance(event, StreamReset):
            self.reset[event.stream_id] = event.error_code
            self.ended.setdefault(event.stream_id, asyncio.Event()).set()
        elif isinstance(event, ConnectionTerminated) and not self.terminated.done():
            self.terminated.set_result(event.error_code)

    def send(self, octets: bytes, *, end: bool = True, stream: int | None = None, one_way: bool = False) -> int:
        """Send on a stream; a new one if none is named."""
        number = self._quic.get_next_available_stream_id(is_unidirectional=one_way) if stream is None else stream
        self._quic.send_stream_data(number, octets, end_stream=end)
        self.transmit()
        return number

    async def answer(self, stream: int) -> Message:
        """What came on a stream."""
        async with asyncio.timeout(10):
            await self.ended.setdefault(stream, asyncio.Event()).wait()
        octets = self.received[stream]
        assert int.from_bytes(octets[:2], "big") == len(octets) - 2
        return parse(octets[2:])

    async def end(self) -> int:
        """The code the server closes with."""
        async with asyncio.timeout(10):
            return await self.terminated


class Serving:
    """A listener for QUIC."""

    def __init__(self, listeners: Listeners, port: int, settings: NameserverSettings) -> None:
        self.listeners = listeners
        self.port = port
        self.settings = settings

    @asynccontextmanager
    async def client(self, alpn: str = "doq") -> AsyncIterator[Client]:
        """Somebody who trusts us."""
        configuration = QuicConfiguration(alpn_protocols=[alpn], server_name="one.test", idle_timeout=5.0)
        configuration.load_verify_locations(str(self.settings.tls_certificate))
        async with connect("127.0.0.1", self.port, configuration=configuration, create_protocol=Client) as client:
            assert isinstance(client, Client)
            yield client


@asynccontextmanager
async def serve(folder: Path, desk: Path | None = None, **limits: float) -> AsyncIterator[Serving]:
    settings = settings_of(folder, **limits)
    sock = bind_datagrams(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    relay = Relay(str(desk)) if desk is not None else None
    responder = Responder(ZoneTable({APEX: a_zone(www=a(7)).pack()}), settings, relay)
    listeners = await serve_on(responder, [], settings, quic=QuicSockets([sock], make_configuration(settings)))
    try:
        yield Serving(listeners, port, settings)
    finally:
        listeners.close()


@pytest.fixture
async def serving(tmp_path: Path) -> AsyncIterator[Serving]:
    async with serve(tmp_path) as serving:
        yield serving


async def test_questions(serving: Serving) -> None:
    async with serving.client() as client:
        streams = [client.send(framed(QUERY)) for _ in range(50)]
        for stream in streams:
            response = await client.answer(stream)
            assert response.id == 0
            assert response.answer[0].rdata[-1] == 7
            # Every response is padded (RFC 9250 section 5.4).
            assert len(client.received[stream]) - 2 == BLOCK
        # In pieces, too.
        stream = client.send(framed(QUERY)[:1], end=False)
        for octet in framed(QUERY)[1:-1]:
            client.send(bytes((octet,)), end=False, stream=stream)
        client.send(framed(QUERY)[-1:], stream=stream)
        assert (await client.answer(stream)).rcode == Rcode.NOERROR


async def test_a_transfer_is_refused(serving: Serving) -> None:
    async with serving.client() as client:
        response = await client.answer(client.send(framed(make_query(APEX, rr.AXFR, id=0))))
        assert response.rcode == Rcode.REFUSED


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"\0",
        framed(QUERY)[:-1],
        framed(QUERY) + b"\0",
        framed(QUERY) * 2,
        framed(make_query(NAME, rr.A, id=1)),
        framed(make_query(NAME, rr.A, id=0, options=((11, b""),))),
        framed(b"\0\0\x80\0" + QUERY[4:]),
        framed(b"\0\0"),
    ],
)
async def test_who_breaks_the_rules_is_sent_away(octets: bytes, serving: Serving) -> None:
    async with serving.client() as client:
        client.send(octets)
        assert await client.end() == PROTOCOL_ERROR
    # Others are answered.
    async with serving.client() as client:
        assert (await client.answer(client.send(framed(QUERY)))).rcode == Rcode.NOERROR


async def test_nothing_is_done_for_what_comes_with_a_broken_question(tmp_path: Path) -> None:
    asked: list[object] = []

    async def take(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(writer)
        writer.close()

    async with (
        await asyncio.start_unix_server(take, tmp_path / "desk"),
        serve(tmp_path, tmp_path / "desk") as serving,
        serving.client() as client,
    ):
        quic = client._quic
        quic.send_stream_data(quic.get_next_available_stream_id(), b"\0", end_stream=True)
        client.send(framed(NOTIFY))
        assert await client.end() == PROTOCOL_ERROR
        assert asked == []


async def test_an_answer_that_is_no_longer_wanted(serving: Serving) -> None:
    """STOP_SENDING may come with the question; the others of the same packet are answered (RFC 9250 section 4.3.1)."""
    broken: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: broken.append(context))
    async with serving.client() as client:
        quic = client._quic
        unwanted = quic.get_next_available_stream_id()
        quic.send_stream_data(unwanted, framed(QUERY), end_stream=True)
        quic.stop_stream(unwanted, 3)
        wanted = client.send(framed(QUERY))
        assert (await client.answer(wanted)).rcode == Rcode.NOERROR
        assert client.received.get(unwanted, b"") == b""
    assert broken == []


async def test_a_steward_who_has_nothing_to_say(tmp_path: Path) -> None:
    """The client is told that nothing will come (DOQ_INTERNAL_ERROR), and need not wait."""

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        writer.close()

    desk = tmp_path / "desk"
    async with (
        await asyncio.start_unix_server(take, desk),
        serve(tmp_path, desk) as serving,
        serving.client() as client,
    ):
        stream = client.send(framed(NOTIFY))
        async with asyncio.timeout(10):
            await client.ended.setdefault(stream, asyncio.Event()).wait()
        assert client.reset == {stream: INTERNAL_ERROR}


async def test_nothing_stays_of_connections_that_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker's garbage collector looks at nothing that has lived for a while, so there must be no circles."""
    server: Serving
    made: weakref.WeakSet[object] = weakref.WeakSet()
    turned_away = asyncio.Event()
    begin = Connection.__init__

    def noted(self: Connection, *arguments: Any, **named: Any) -> None:
        begin(self, *arguments, **named)
        if server.listeners.connections == 2:
            turned_away.set()
        made.update((self, self._quic))

    async def ask() -> None:
        async with server.client() as client:
            await client.answer(client.send(framed(QUERY)))

    monkeypatch.setattr(Connection, "__init__", noted)
    async with serve(tmp_path, tcp_connections_per_client=2) as server, asyncio.timeout(20):
        gc.disable()
        try:
            async with server.client() as first, server.client() as second:
                await first.answer(first.send(framed(QUERY)))
                third = asyncio.ensure_future(ask())
                await turned_away.wait()  # there is no place for a third; it tries again, and gets one later
                second.send(b"\0")  # it is sent away
                assert await second.end() == PROTOCOL_ERROR
                assert made
            await third
            while made:  # noqa: ASYNC110  # nobody says that it is so
                await asyncio.sleep(0.01)
        finally:
            gc.enable()
        assert server.listeners.connections == 0


async def test_who_begins_too_many_connections_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mx10.nameserver.quic.HANDSHAKES_PER_CLIENT", 2)
    loop = asyncio.get_running_loop()
    async with serve(tmp_path) as serving:
        begun = loop.time()
        for _ in range(3):
            async with serving.client() as client:
                assert (await client.answer(client.send(framed(QUERY)))).rcode == Rcode.NOERROR
        # The third was heard when it sent again.
        assert loop.time() - begun > 0.4


def test_how_many_connections_may_begin() -> None:
    handshakes = Handshakes()
    assert sum(handshakes.admits("192.0.2.1", 0.0) for _ in range(1000)) == HANDSHAKES_PER_CLIENT
    # One network of IPv6 is one client, and whoever has had enough takes nothing from others.
    assert sum(handshakes.admits(f"2001:db8::{each:x}", 0.0) for each in range(1000)) == HANDSHAKES_PER_CLIENT
    others = sum(handshakes.admits(f"198.51.100.{each}", 0.0) for each in range(256))
    assert others == HANDSHAKES - 2 * HANDSHAKES_PER_CLIENT
    assert handshakes.admits("192.0.2.1", 1.0)


@pytest.mark.parametrize("size", [7, SMALLEST_MAX_DATAGRAM_SIZE - 1, SMALLEST_MAX_DATAGRAM_SIZE])
async def test_who_may_have_forged_an_address_gets_no_more_than_he_sent(size: int, serving: Serving) -> None:
    """Our versions are told only where a connection could have begun (RFC 9000 sections 5.2.2 and 6)."""
    received: asyncio.Queue[bytes] = asyncio.Queue()

    class Receiver(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: object) -> None:
            received.put_nowait(data)

    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        Receiver, remote_addr=("127.0.0.1", serving.port)
    )
    transport.sendto((b"\xc0" + b"\x1a\x2a\x3a\x4a" + bytes(size))[:size])
    async with serving.client() as client:  # it came later, so that one is done with
        await client.answer(client.send(framed(QUERY)))
    transport.close()
    assert received.qsize() == (size >= SMALLEST_MAX_DATAGRAM_SIZE)


async def test_streams_for_one_direction_have_no_place(serving: Serving) -> None:
    async with serving.client() as client:
        client.send(framed(QUERY), one_way=True)
        assert await client.end() == PROTOCOL_ERROR


async def test_another_protocol_is_none_of_ours(serving: Serving) -> None:
    with pytest.raises(ConnectionError):
        async with serving.client("h3") as client:
            await client.wait_connected()


async def test_questions_that_are_never_ended(serving: Serving) -> None:
    async with serving.client() as client:
        for _ in range(serving.settings.tcp_questions_at_once + 1):
            client.send(framed(QUERY)[:-1], end=False)
        assert await client.end() == EXCESSIVE_LOAD


async def test_a_gap_that_is_never_filled(serving: Serving) -> None:
    """What a client has us hold is bounded, also where it leaves out the beginning."""
    async with serving.client() as client:
        stream = client.send(b"", end=False)
        sender = client._quic._streams[stream].sender
        sender._buffer_start = sender._buffer_stop = MOST_IN + 1
        sender._pending.add(MOST_IN + 1, MOST_IN + 2)
        sender._buffer_stop += 1
        sender._buffer += b"x"
        sender.buffer_is_empty = False
        client.transmit()
        assert await client.end() == NO_ERROR


async def test_idle_connections_end(tmp_path: Path) -> None:
    async with serve(tmp_path, tcp_idle_seconds=0.5) as serving, serving.client() as client:
        await client.answer(client.send(framed(QUERY)))
        assert serving.listeners.connections == 1
        await client.end()
        # Its own clock ended it, or ours did; ours is as fast but for a few milliseconds.
        async with asyncio.timeout(10):
            while serving.listeners.connections:  # noqa: ASYNC110  # nobody says that it is so
                await asyncio.sleep(0)


async def test_one_client_gets_so_many_connections(tmp_path: Path) -> None:
    async with (
        serve(tmp_path, tcp_connections_per_client=2) as serving,
        serving.client(),
        serving.client() as last,
    ):
        assert serving.listeners.connections == 2
        with pytest.raises((ConnectionError, TimeoutError)):
            async with asyncio.timeout(0.2), serving.client():
                pass
        assert serving.listeners.connections == 2
        assert (await last.answer(last.send(framed(QUERY)))).rcode == Rcode.NOERROR


async def test_one_more_takes_the_place_of_the_one_idle_for_longest(tmp_path: Path) -> None:
    async with (
        serve(tmp_path, tcp_connections=2) as serving,
        serving.client() as first,
        serving.client() as second,
    ):
        await first.answer(first.send(framed(QUERY)))
        async with serving.client() as third:
            assert await second.end() == NO_ERROR
            for each in (first, third):
                assert (await each.answer(each.send(framed(QUERY)))).rcode == Rcode.NOERROR


async def test_a_connection_takes_so_much_and_no_more(tmp_path: Path) -> None:
    async with serve(tmp_path, tcp_questions_at_once=5000) as serving, serving.client() as client:
        count = 0
        while not client.terminated.done():
            either: list[asyncio.Future[Any]] = [client.terminated, answered(client)]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            count += 1
            assert count < 5000
        assert await client.end() == NO_ERROR
        assert count > 500


def answered(client: Client) -> asyncio.Task[Message]:
    return asyncio.ensure_future(client.answer(client.send(framed(QUERY))))


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\xc0\0\0\0\1" + bytes(1200),
        b"\xc0\0\0\0\1\x08" + bytes(8) + b"\x08" + bytes(8) + b"\0\x44\xd0" + bytes(1232),
        b"\xff" * 1300,
        bytes(range(256)) * 5,
    ],
)
async def test_packets_that_are_none(packet: bytes, serving: Serving) -> None:
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        asyncio.DatagramProtocol, remote_addr=("127.0.0.1", serving.port)
    )
    transport.sendto(packet)
    transport.close()
    async with serving.client() as client:
        assert (await client.answer(client.send(framed(QUERY)))).rcode == Rcode.NOERROR
        assert serving.listeners.connections == 1


def test_a_certificate_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(TlsError, match=r"need nameserver\.tls_certificate"):
        make_configuration(NameserverSettings())
    settings = settings_of(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    _, key = write_certificate(other, "two.test")
    assert settings.tls_key is not None
    settings.tls_key.write_bytes(key.read_bytes())
    with pytest.raises(TlsError, match="no certificate"):
        make_configuration(settings)
