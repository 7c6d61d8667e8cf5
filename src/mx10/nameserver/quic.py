"""DNS over QUIC (RFC 9250): each question has a stream of its own, so that none waits for another.

aioquic does QUIC itself; it is imported where this is configured, and nowhere else. Every client proves its address
first (RETRY, RFC 9000 section 8.1.2), so nobody can have us send anything worth mentioning to somebody else. The limits
of TCP hold: connections in all, for each client, and idle time. Beyond them, a connection brings and takes
``MOST_IN`` and ``MOST_OUT`` octets, and is closed then: QUIC's flow control lets a client make us hold as much as it
likes otherwise, in gaps it never fills and in answers it never acknowledges. And a handshake, in Python, costs some
milliseconds: each client has so many a second (``HANDSHAKES_PER_CLIENT``), and all have (``HANDSHAKES``), so that
questions by other ways get their turn.

Resumption, and questions before the handshake has ended (0-RTT), are not offered. A connection belongs to a worker: a
client whose address changes may reach another one, and has to begin anew. Zone transfers go over TCP and TLS.
"""

import asyncio
import socket
from collections.abc import Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import QuicServer
from aioquic.quic.configuration import SMALLEST_MAX_DATAGRAM_SIZE, QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, QuicEvent, StreamDataReceived, StreamReset

from mx10.config import NameserverSettings
from mx10.dns.message import parse
from mx10.dns.wirename import WireError
from mx10.nameserver.padding import padded
from mx10.nameserver.rate import Rate
from mx10.nameserver.relay import Relay, is_operation, is_transfer
from mx10.nameserver.tcp import Connections, whose
from mx10.nameserver.tls import TlsError, load_certificate

ALPN: Final = ("doq",)
MOST_IN: Final = 128 << 10
"""Octets that one connection may bring; some thousand questions."""
MOST_OUT: Final = 512 << 10
"""Octets of answers that one connection may take."""

HANDSHAKES_PER_CLIENT: Final = 25
"""Connections that one client may begin in a second at one socket. More are not heard; a client that sends again, as
all do, gets its turn then."""
HANDSHAKES: Final = 100
"""The same for all clients together: less than half of a worker's time."""

NO_ERROR: Final = 0
INTERNAL_ERROR: Final = 1
PROTOCOL_ERROR: Final = 2
EXCESSIVE_LOAD: Final = 4
"""Error codes of RFC 9250 section 4.3."""
_KEEPALIVE: Final = 11
"""Option code of edns-tcp-keepalive (RFC 7828), which has no place here."""


def make_configuration(settings: NameserverSettings) -> QuicConfiguration:
    """What all connections have in common, with the certificate.

    Raises:
        TlsError: the files cannot be read, or do not belong together.
    """
    configuration = QuicConfiguration(
        is_client=False,
        alpn_protocols=list(ALPN),
        idle_timeout=settings.tcp_idle_seconds,
        # aioquic doubles these when half of them is used; a connection is closed before.
        max_data=2 * MOST_IN,
        max_stream_data=2 * MOST_IN,
    )
    load_quic_certificate(configuration, settings)
    return configuration


def load_quic_certificate(configuration: QuicConfiguration, settings: NameserverSettings) -> None:
    """Read certificate and key; connections from now on get them.

    Raises:
        TlsError: the files cannot be read, or do not belong together; nothing is changed.
    """
    import ssl

    # The same words for the same mistakes.
    load_certificate(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), settings)
    assert settings.tls_certificate is not None
    try:
        configuration.load_cert_chain(settings.tls_certificate, settings.tls_key)
    except (ValueError, TypeError, OSError) as error:
        raise TlsError(f"{settings.tls_certificate} and {settings.tls_key} cannot be used for QUIC: {error}") from None


@dataclass(frozen=True, slots=True)
class QuicSockets:
    """What QUIC is spoken on: bound sockets, and the configuration with the certificate."""

    sockets: Sequence[socket.socket]
    configuration: QuicConfiguration


async def listen_quic(sock: socket.socket, configuration: QuicConfiguration, connections: Connections) -> QuicServer:
    """Answer on a bound socket.

    Args:
        connections: those of the worker, over TCP, TLS and QUIC.
    """
    create = partial(Connection, connections=connections, handshakes=Handshakes())
    _, server = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: Server(configuration=configuration, create_protocol=create, retry=True), sock=sock
    )
    return server


class Handshakes:
    """How many connections may begin."""

    def __init__(self) -> None:
        self._each = Rate(HANDSHAKES_PER_CLIENT)
        self._all = Rate(HANDSHAKES)

    def admits(self, host: str, now: float) -> bool:
        """Whether one more may begin; it counts.

        Args:
            host: an IP address.
            now: seconds on a clock that does not go back.
        """
        # Who has had enough takes nothing from the others.
        return self._each.admits(host, now) and self._all.admits("::", now)


class Server(QuicServer):
    """One socket."""

    def datagram_received(self, data: bytes | str, addr: tuple[str, int]) -> None:
        """A datagram; it may be anything."""
        assert isinstance(data, bytes)
        if len(data) < SMALLEST_MAX_DATAGRAM_SIZE and data[:1] >= b"\x80" and data[1:5] not in self._versions:
            # Too short to begin a connection of any version: it is not told ours (RFC 9000 section 5.2.2), as who
            # forges addresses would have us send more than was sent to us.
            return
        super().datagram_received(data, addr)

    @property
    def _versions(self) -> list[bytes]:
        return [each.to_bytes(4, "big") for each in self._configuration.supported_versions]


class Connection(QuicConnectionProtocol):
    """One client."""

    def __init__(
        self,
        quic: QuicConnection,
        stream_handler: None = None,
        *,
        connections: Connections,
        handshakes: Handshakes,
    ) -> None:
        super().__init__(quic, stream_handler)
        self._connections = connections
        self._handshakes = handshakes
        self._ending = False
        self._streams: dict[int, bytearray] = {}
        self._operations: set[asyncio.Task[None]] = set()
        self._peer: tuple[str, int] | None = None
        self._address = b""
        self._client = ""
        self._sent = 0

    def datagram_received(self, data: bytes | str, addr: tuple[str, int]) -> None:
        """A datagram of this connection; the first one says whose it is."""
        if self._peer is None:
            host = addr[0].partition("%")[0]
            self._peer, self._client = (host, addr[1]), whose(host)
            self._address = socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
            if not (self._handshakes.admits(host, self._loop.time()) and self._connections.admit(self, self._client)):
                # Not a word: the server forgets it as if it had ended.
                self._connection_terminated_handler()
                self._dissolve()
                return
        super().datagram_received(data, addr)
        if self._ending:
            return
        # Gaps count: what is held is what the highest offsets of the streams say, not what has come.
        if self._quic._local_max_data.used > MOST_IN or self._sent > MOST_OUT:
            self._end(NO_ERROR)

    def quic_event_received(self, event: QuicEvent) -> None:
        """What aioquic found in a datagram."""
        if isinstance(event, ConnectionTerminated):
            self._ending = True
            self._gone()
            # aioquic is still at it.
            self._loop.call_soon(self._dissolve)
        elif self._ending:
            return  # what came in the same packet as what ended it
        elif isinstance(event, StreamDataReceived):
            self._take(event.stream_id, event.data, event.end_stream)
        elif isinstance(event, StreamReset):
            self._streams.pop(event.stream_id, None)

    def _take(self, stream: int, data: bytes, ended: bool) -> None:
        # Clients open streams for both directions, and those alone (RFC 9250 section 4.2).
        if stream % 4:
            self._end(PROTOCOL_ERROR)
            return
        buffer = self._streams.setdefault(stream, bytearray())
        buffer += data
        size = 2 + int.from_bytes(buffer[:2], "big")
        if len(buffer) > max(size, 2) or (ended and (len(buffer) < 2 or len(buffer) != size)):
            self._end(PROTOCOL_ERROR)  # more than one message, or less
        elif ended:
            del self._streams[stream]
            self._ask(stream, bytes(buffer[2:]))
        elif len(self._streams) > self._connections.questions_at_once:
            self._end(EXCESSIVE_LOAD)

    def _ask(self, stream: int, message: bytes) -> None:
        if message[:2] != b"\0\0" or _has_keepalive(message):
            self._end(PROTOCOL_ERROR)  # RFC 9250 section 4.2.1, section 5.5.2
            return
        self._connections.touch(self)
        responder = self._connections.responder
        if responder.relay is not None and is_operation(message) and not is_transfer(message):
            if len(self._operations) >= self._connections.questions_at_once:
                self._end(EXCESSIVE_LOAD)
                return
            task = asyncio.ensure_future(self._hand_in(responder.relay, stream, message))
            self._operations.add(task)
            task.add_done_callback(self._operations.discard)
            return
        response = responder.tcp(message, self._address)
        if response is None:
            self._end(PROTOCOL_ERROR)  # no request at all
            return
        if (query_log := self._connections.query_log) is not None and query_log.chosen(1):
            query_log.write(message, response, self._address, "quic")
        # Traffic is to tell as little as may be: RFC 9250 section 5.4 wants padding, asked for or not.
        self._answer(stream, padded(response))

    async def _hand_in(self, relay: Relay, stream: int, message: bytes) -> None:
        assert self._peer is not None
        async with aclosing(relay.stream(message, self._peer, "tls")) as responses:
            async for response in responses:
                self._answer(stream, response)
                break  # transfers alone have more
            else:
                # The steward has nothing to say; the client need not wait for it.
                self._quic.reset_stream(stream, INTERNAL_ERROR)
        self.transmit()

    def _answer(self, stream: int, response: bytes) -> None:
        self._sent += len(response)
        # A client that no longer wants the answer said so (STOP_SENDING, RFC 9250 section 4.3.1).
        with suppress(RuntimeError, ValueError):
            self._quic.send_stream_data(stream, len(response).to_bytes(2, "big") + response, end_stream=True)

    def is_served(self, _now: float, _stall_seconds: float) -> bool:
        """Whether an operation goes on for the client."""
        return bool(self._operations)

    def abort(self) -> None:
        """Close: somebody else needs the place, or nothing came for too long."""
        self._end(EXCESSIVE_LOAD if self._streams else NO_ERROR)
        self._gone()

    def _end(self, code: int) -> None:
        if not self._ending:
            self._ending = True
            self.close(error_code=code)

    def _gone(self) -> None:
        self._streams.clear()
        for task in self._operations:
            task.cancel()
        self._connections.forget(self, self._client)

    def _dissolve(self) -> None:
        """Take apart what has ended. aioquic's objects know each other in circles, and a worker's garbage collector
        looks at what is young alone: connections that lived for a while would stay for ever."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        vars(self._quic).clear()
        self._connection_id_issued_handler = self._connection_id_retired_handler = _nothing
        self._connection_terminated_handler = _nothing


def _nothing(*_: object) -> None:
    """In the place of what the server wanted to be told."""


def _has_keepalive(message: bytes) -> bool:
    if message[10:12] == b"\0\0":
        return False
    try:
        edns = parse(message).edns
    except WireError:
        return False  # it is told so by the response
    return edns is not None and any(code == _KEEPALIVE for code, _ in edns.options)
