"""DNS over QUIC (RFC 9250): each question has a stream of its own, so that none waits for another.

aioquic does QUIC itself; it is imported where this is configured, and nowhere else. Every client proves its address
first (RETRY, RFC 9000 section 8.1.2), so nobody can have us send anything worth mentioning to somebody else. The limits
of TCP hold: connections in all, for each client, and idle time. Beyond them, a connection brings and takes
``MOST_IN`` and ``MOST_OUT`` octets, and is closed then: QUIC's flow control lets a client make us hold as much as it
likes otherwise, in gaps it never fills and in answers it never acknowledges.

Resumption, and questions before the handshake has ended (0-RTT), are not offered. A connection belongs to a worker: a
client whose address changes may reach another one, and has to begin anew. Zone transfers go over TCP and TLS.
"""

import asyncio
import socket
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Final

from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import QuicServer
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, QuicEvent, StreamDataReceived, StreamReset

from mx10.config import NameserverSettings
from mx10.dns.message import parse
from mx10.dns.wirename import WireError
from mx10.nameserver.padding import padded
from mx10.nameserver.relay import Relay, is_operation, is_transfer
from mx10.nameserver.tcp import Connections, whose
from mx10.nameserver.tls import TlsError, load_certificate

ALPN: Final = ("doq",)
MOST_IN: Final = 128 << 10
"""Octets that one connection may bring; some thousand questions."""
MOST_OUT: Final = 512 << 10
"""Octets of answers that one connection may take."""

NO_ERROR: Final = 0
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
    _, server = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: QuicServer(
            configuration=configuration, create_protocol=partial(Connection, connections=connections), retry=True
        ),
        sock=sock,
    )
    return server


class Connection(QuicConnectionProtocol):
    """One client."""

    def __init__(self, quic: QuicConnection, stream_handler: None = None, *, connections: Connections) -> None:
        super().__init__(quic, stream_handler)
        self._connections = connections
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
            if not self._connections.admit(self, self._client):
                # Not a word: the server forgets it as if it had ended.
                self._connection_terminated_handler()
                return
        super().datagram_received(data, addr)
        # Gaps count: what is held is what the highest offsets of the streams say, not what has come.
        if self._quic._local_max_data.used > MOST_IN or self._sent > MOST_OUT:
            self._end(NO_ERROR)

    def quic_event_received(self, event: QuicEvent) -> None:
        """What aioquic found in a datagram."""
        if isinstance(event, StreamDataReceived):
            self._take(event.stream_id, event.data, event.end_stream)
        elif isinstance(event, StreamReset):
            self._streams.pop(event.stream_id, None)
        elif isinstance(event, ConnectionTerminated):
            self._gone()

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
        self.transmit()

    def _answer(self, stream: int, response: bytes) -> None:
        self._sent += len(response)
        self._quic.send_stream_data(stream, len(response).to_bytes(2, "big") + response, end_stream=True)

    def is_served(self, _now: float, _stall_seconds: float) -> bool:
        """Whether an operation goes on for the client."""
        return bool(self._operations)

    def abort(self) -> None:
        """Close: somebody else needs the place, or nothing came for too long."""
        self._end(EXCESSIVE_LOAD if self._streams else NO_ERROR)
        self._gone()

    def _end(self, code: int) -> None:
        self.close(error_code=code)

    def _gone(self) -> None:
        self._streams.clear()
        for task in self._operations:
            task.cancel()
        self._connections.forget(self, self._client)


def _has_keepalive(message: bytes) -> bool:
    if message[10:12] == b"\0\0":
        return False
    try:
        edns = parse(message).edns
    except WireError:
        return False  # it is told so by the response
    return edns is not None and any(code == _KEEPALIVE for code, _ in edns.options)
