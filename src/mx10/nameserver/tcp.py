"""DNS over TCP (RFC 7766): many questions on one connection, answered in the order they came, within limits that no
client can talk us out of.

- At most ``tcp_connections`` in all; one more takes the place of the one idle for longest.
- At most ``tcp_connections_per_client`` from one address (IPv6: one /64 network, which is what one client has); one
  more is closed at once.
- However many questions a client sends ahead, ``tcp_questions_at_once`` of them are answered before others get their
  turn.
- A connection that sends no whole message for ``tcp_idle_seconds`` is closed, whether it is silent or sends an octet at
  a time.
- A client that asks and does not read is not read from either, until it is idle too long and closed.
"""

import asyncio
import errno
import socket
from collections import Counter
from collections.abc import Callable
from contextlib import aclosing, suppress
from typing import Any, Final, Literal, Protocol

from mx10.config import NameserverSettings
from mx10.logs import get_logger
from mx10.nameserver.padding import asks_for_padding, padded
from mx10.nameserver.query_log import QueryLog
from mx10.nameserver.rate import Seldom
from mx10.nameserver.relay import Relay, is_operation
from mx10.nameserver.responder import Responder

_HIGH_WATER: Final = 256 * 1024
"""Octets of responses that may wait for one client; more, and no further question of it is read."""
_SWEEP_SECONDS: Final = 0.5
"""How often idle connections are looked for."""
_ACCEPTED_AT_ONCE: Final = 64
_FULL_SECONDS: Final = 0.1
"""How long nobody is accepted when no descriptor is left."""
_SELDOM: Final = Seldom(1)

log = get_logger("nameserver")


def whose(host: str) -> str:
    """The client a connection counts for: an address of IPv4, a /64 network of IPv6."""
    if ":" not in host:
        return host
    return socket.inet_pton(socket.AF_INET6, host.partition("%")[0])[:8].hex()


class Held(Protocol):
    """A connection that takes up a place."""

    def is_served(self, now: float, stall_seconds: float, /) -> bool:
        """Whether it is at work though it brings no questions."""

    def abort(self) -> None:
        """Close it at once."""


class Connections:
    """The open connections of one worker, over TCP, TLS and QUIC, and the limits on them.

    Args:
        query_log: writes some questions down.
    """

    def __init__(self, responder: Responder, settings: NameserverSettings, query_log: QueryLog | None = None) -> None:
        self.responder = responder
        self.query_log = query_log
        self.questions_at_once = settings.tcp_questions_at_once
        self._settings = settings
        # In the order of last activity: the first is the one idle for longest.
        self._open: dict[Held, float] = {}
        self._clients: Counter[str] = Counter()
        self._sweeper: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._open)

    def admit(self, connection: Held, client: str) -> bool:
        """Whether a new connection may stay; makes room for it where that is possible."""
        if self._clients[client] >= self._settings.tcp_connections_per_client:
            self.responder.counters.connections_refused += 1
            return False
        if len(self._open) >= self._settings.tcp_connections:
            self.responder.counters.connections_ended += 1
            next(iter(self._open)).abort()
        self._clients[client] += 1
        self.touch(connection)
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(_SWEEP_SECONDS, self._sweep)
        return True

    def touch(self, connection: Held) -> None:
        """Note that a connection sent a whole message."""
        self._open.pop(connection, None)
        self._open[connection] = asyncio.get_running_loop().time()

    def forget(self, connection: Held, client: str) -> None:
        """Note that a connection is gone."""
        if self._open.pop(connection, None) is None:
            return
        self._clients[client] -= 1
        if not self._clients[client]:
            del self._clients[client]

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        oldest = loop.time() - self._settings.tcp_idle_seconds
        for connection, last in list(self._open.items()):
            if last > oldest:
                break
            if not connection.is_served(loop.time(), self._settings.transfer_stall_seconds):
                self.responder.counters.connections_ended += 1
                connection.abort()
        self._sweeper = loop.call_later(_SWEEP_SECONDS, self._sweep) if self._open else None

    def close(self) -> None:
        """Close every connection."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for connection in list(self._open):
            connection.abort()


class Connection(asyncio.Protocol):
    """One client: length-prefixed messages in, length-prefixed messages out."""

    __slots__ = (
        "_address",
        "_behind",
        "_buffer",
        "_client",
        "_connections",
        "_encrypted",
        "_operation",
        "_queued",
        "_queued_since",
        "_stalled",
        "_transport",
        "_writable",
    )

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._buffer = bytearray()
        self._address = b""
        self._client = ""
        self._encrypted = False
        self._operation: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._stalled = False
        self._behind = False
        self._queued = 0
        self._queued_since = 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._encrypted = transport.get_extra_info("ssl_object") is not None
        host = (transport.get_extra_info("peername") or ("",))[0].partition("%")[0]
        self._client = whose(host)
        if host:
            self._address = socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
        transport.set_write_buffer_limits(high=_HIGH_WATER)
        if not self._connections.admit(self, self._client):
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.forget(self, self._client)
        self._transport = None
        if self._operation is not None:
            self._operation.cancel()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._answer_whole_messages()

    def _answer_whole_messages(self) -> None:
        if self._operation is not None:
            return  # answers come in the order of the questions: these wait
        buffer = self._buffer
        responder = self._connections.responder
        at = 0
        responses: list[bytes] = []
        waiting = 0
        left = self._connections.questions_at_once
        while len(buffer) - at >= 2 and waiting < _HIGH_WATER and left:
            end = at + 2 + (buffer[at] << 8 | buffer[at + 1])
            if end > len(buffer):
                break
            message = bytes(buffer[at + 2 : end])
            at = end
            if responder.relay is not None and is_operation(message):
                self._hand_in(responder.relay, message)
                break
            left -= 1
            response = responder.tcp(message, self._address)
            if response is None:
                # Not a request: nothing sensible will follow on this stream.
                self.abort()
                return
            if (query_log := self._connections.query_log) is not None and query_log.chosen(1):
                query_log.write(message, response, self._address, self._kind)
            if self._encrypted and asks_for_padding(message):
                response = padded(response)
            responses += (len(response).to_bytes(2, "big"), response)
            waiting += len(response)
        del buffer[:at]
        if not at or self._transport is None:
            return
        self._connections.touch(self)
        if (waiting >= _HIGH_WATER or not left) and not self._behind:
            # A long burst of questions: the rest is answered in later turns, so that other clients get theirs. Until
            # then nothing more is read, or questions would pile up here.
            self._behind = True
            self._transport.pause_reading()
            asyncio.get_running_loop().call_soon(self._go_on)
        self._transport.write(b"".join(responses))

    def _hand_in(self, relay: Relay, message: bytes) -> None:
        """Have the steward answer; until he has, nothing more is read, and so nothing can pile up here."""
        if self._transport is not None:
            self._queued_since = 0.0
            self._operation = asyncio.ensure_future(self._pass_on(relay, message, self._transport))
            self._transport.pause_reading()

    async def _pass_on(self, relay: Relay, message: bytes, transport: asyncio.Transport) -> None:
        client = transport.get_extra_info("peername") or ("0.0.0.0", 0)  # gone already
        try:
            async with aclosing(relay.stream(message, client, self._kind)) as responses:
                async for response in responses:
                    if transport.is_closing():
                        break  # the client is gone, and we are about to be told
                    transport.write(len(response).to_bytes(2, "big") + response)
                    if self._stalled:
                        self._writable.clear()
                        await self._writable.wait()
                    # A transfer that goes on is no idle connection.
                    self._connections.touch(self)
        finally:
            self._operation = None
        self._go_on()

    @property
    def _kind(self) -> Literal["tcp", "tls"]:
        return "tls" if self._encrypted else "tcp"

    def _go_on(self) -> None:
        self._behind = False
        if self._transport is not None and not self._stalled:
            self._answer_whole_messages()
            self._read_on()

    def _read_on(self) -> None:
        if self._transport is not None and not self._stalled and not self._behind and self._operation is None:
            self._transport.resume_reading()

    def is_served(self, now: float, stall_seconds: float) -> bool:
        """Whether an operation goes on for the client: the steward is at it, or the client takes what it brings,
        however slowly.
        """
        if self._operation is None or self._transport is None:
            return False
        queued = self._transport.get_write_buffer_size()
        if queued != self._queued or not self._queued_since:
            self._queued, self._queued_since = queued, now
        return now - self._queued_since < stall_seconds

    def pause_writing(self) -> None:
        self._stalled = True
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._stalled = False
        self._writable.set()
        if self._transport is not None and not self._behind:
            self._answer_whole_messages()
            self._read_on()

    def abort(self) -> None:
        """Close at once; what was not sent yet is lost."""
        if self._transport is not None:
            self._transport.abort()
            self._connections.forget(self, self._client)


class Acceptor:
    """Accepts connections on a listening socket. Not asyncio's own server: where no descriptor is left, that tries a
    thousand times a second, logs each with a traceback, and more with each second.

    Args:
        take: gets each socket, non-blocking, and the client's address.
    """

    def __init__(self, sock: socket.socket, take: Callable[[socket.socket, tuple[Any, ...]], None]) -> None:
        self._socket = sock
        self._take = take
        asyncio.get_running_loop().add_reader(sock, self._accept)

    def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                sock, address = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    raise
                # They wait in the kernel until something is closed; to look without end would only keep us busy.
                _SELDOM.tell(log.error, "no connection can be accepted", cause=error.strerror)
                loop.remove_reader(self._socket)
                loop.call_later(_FULL_SECONDS, self._resume)
                return
            sock.setblocking(False)
            self._take(sock, address)

    def _resume(self) -> None:
        if self._socket.fileno() >= 0:
            asyncio.get_running_loop().add_reader(self._socket, self._accept)

    def close(self) -> None:
        """Accept nothing more."""
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()


class TcpListener:
    """Accepts connections on one listening socket."""

    def __init__(self, sock: socket.socket, connections: Connections) -> None:
        self._connections = connections
        self._beginning: set[asyncio.Task[None]] = set()
        self._acceptor = Acceptor(sock, self._take)

    def _take(self, sock: socket.socket, _address: tuple[Any, ...]) -> None:
        task = asyncio.get_running_loop().create_task(self._begin(sock))
        self._beginning.add(task)
        task.add_done_callback(self._beginning.discard)

    async def _begin(self, sock: socket.socket) -> None:
        with suppress(OSError):
            await asyncio.get_running_loop().connect_accepted_socket(lambda: Connection(self._connections), sock)

    def close(self) -> None:
        """Accept nothing more."""
        self._acceptor.close()
