"""Sockets for a responder: the same addresses over UDP and TCP (RFC 7766 section 5), on the running event loop."""

import asyncio
import errno
import ipaddress
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mx10.config import NameserverSettings
from mx10.nameserver.batch import attach
from mx10.nameserver.query_log import QueryLog
from mx10.nameserver.responder import Responder
from mx10.nameserver.shield import Shield
from mx10.nameserver.tcp import Connections, TcpListener
from mx10.nameserver.tls import TlsListener, TlsSockets

if TYPE_CHECKING:
    from aioquic.asyncio.server import QuicServer

    from mx10.nameserver.quic import QuicSockets

UDP_BUFFER: Final = 4 << 20
"""Octets of requests the kernel may hold for a socket while we are busy; it grants as much as net.core.rmem_max allows.
"""

_IP_MTU_DISCOVER: Final = 10
_IP_PMTUDISC_PROBE: Final = 3

Address = tuple[str, int]
"""An IP address and a port."""


class ListenError(OSError):
    """An address we cannot listen on: which, why, and what to do."""


@dataclass(frozen=True, slots=True)
class Sockets:
    """One address, bound for UDP and for TCP."""

    udp: socket.socket
    tcp: socket.socket

    def close(self) -> None:
        self.udp.close()
        self.tcp.close()


@dataclass(frozen=True, slots=True)
class WorkerSockets:
    """What one worker answers on.

    Attributes:
        plain: for UDP and TCP.
        tls: for TLS.
        quic: for QUIC.
    """

    plain: Sequence[Sockets]
    tls: Sequence[socket.socket]
    quic: Sequence[socket.socket]

    def close(self) -> None:
        for both in self.plain:
            both.close()
        for each in (*self.tls, *self.quic):
            each.close()


def parse_address(text: str, default_port: int = 53) -> Address:
    """An address to listen on: ``192.0.2.1``, ``192.0.2.1:53``, ``[2001:db8::1]:53`` or ``2001:db8::1``.

    Raises:
        ListenError: it is none of these.
    """
    host, port = text, str(default_port)
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        port = rest[1:] if rest.startswith(":") else port
        if not closed or (rest and not rest.startswith(":")):
            raise ListenError(f"{text!r} is not an address: write [ADDRESS]:PORT")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        raise ListenError(
            f"{text!r}: {host!r} is not an IP address; write for example 127.0.0.1:5353 or [::1]:5353"
        ) from None
    if not (port.isascii() and port.isdigit() and int(port) <= 0xFFFF):
        raise ListenError(f"{text!r}: {port!r} is not a port; write a number from 0 to 65535")
    return host, int(port)


def format_address(address: Address) -> str:
    """``127.0.0.1:5353`` or ``[::1]:5353``."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def bind(address: Address, *, shared: bool = False) -> Sockets:
    """Bind an address for UDP and TCP; port 0 takes any port that is free for both.

    Args:
        shared: with SO_REUSEPORT, so that each worker has a socket of its own and the kernel spreads the clients over
            them.

    Raises:
        ListenError: in use, not ours, or not allowed.
    """
    host, port = address
    for _ in range(16):
        udp = _bind(host, port, socket.SOCK_DGRAM, shared)
        try:
            # With port 0 the kernel chose one for UDP; somebody may have it for TCP, and then another is tried.
            return Sockets(udp, _bind(host, udp.getsockname()[1], socket.SOCK_STREAM, shared))
        except ListenError:
            udp.close()
            if port:
                raise
    raise ListenError(f"no port of {host} is free for both UDP and TCP")


def bind_stream(address: Address, *, shared: bool = False) -> socket.socket:
    """Bind an address for TCP alone, and listen on it.

    Raises:
        ListenError: in use, not ours, or not allowed.
    """
    return _bind(*address, socket.SOCK_STREAM, shared)


def bind_datagrams(address: Address, *, shared: bool = False) -> socket.socket:
    """Bind an address for UDP alone.

    Raises:
        ListenError: in use, not ours, or not allowed.
    """
    return _bind(*address, socket.SOCK_DGRAM, shared)


def _bind(host: str, port: int, kind: socket.SocketKind, shared: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        sock = socket.socket(family, kind)
    except OSError as error:
        raise ListenError(f"cannot listen on {format_address((host, port))}: {error.strerror}") from error
    try:
        sock.setblocking(False)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, UDP_BUFFER)
            _forbid_fragments(sock)
        sock.bind((host, port))
        if kind == socket.SOCK_STREAM:
            sock.listen(1024)
    except OSError as error:
        sock.close()
        raise ListenError(
            f"cannot listen on {format_address((host, port))}: {error.strerror}; {_mend(error)}"
        ) from error
    return sock


def _forbid_fragments(sock: socket.socket) -> None:
    """Set the DF bit, and believe nobody who says that the path is narrow: an answer in fragments can be forged in part
    (RFC 9715 section 3.1), and those of 1232 octets need none."""
    if sys.platform == "linux" and sock.family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_PROBE)


def _mend(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return (
            "ports below 1024 need root or CAP_NET_BIND_SERVICE: choose another port, or start as root"
            " (mx10 gives the rights up after binding)"
        )
    if error.errno == errno.EADDRINUSE:
        return "another program has it: stop that one, or choose another port"
    return "choose an address of this machine"


def bind_for_workers(settings: NameserverSettings) -> list[WorkerSockets]:
    """Bind the addresses of the settings, once for each worker.

    Raises:
        ListenError: there is none, or one of them cannot be bound.
    """
    workers = range(settings.workers)
    addresses = [parse_address(text) for text in settings.listen]
    if not addresses:
        raise ListenError("no address to listen on: give --listen ADDRESS:PORT")
    # Bound without SO_REUSEPORT first: with it, a second mx10 would silently take half of the questions of the first.
    for address in addresses:
        bind(address).close()
    first = [bind(address, shared=True) for address in addresses]
    addresses = [each.udp.getsockname()[:2] for each in first]
    plain = [first, *([bind(address, shared=True) for address in addresses] for _ in workers[1:])]
    encrypted = [parse_address(text, 853) for text in settings.tls_listen]
    for address in encrypted:
        bind_stream(address).close()
    tls = [[bind_stream(address, shared=True) for address in encrypted] for _ in workers]
    over_quic = [parse_address(text, 853) for text in settings.quic_listen]
    for address in over_quic:
        bind_datagrams(address).close()
    quic = [[bind_datagrams(address, shared=True) for address in over_quic] for _ in workers]
    return [WorkerSockets(one, two, three) for one, two, three in zip(plain, tls, quic, strict=True)]


class Listeners:
    """Open sockets being answered on; ``close`` ends it."""

    def __init__(
        self,
        sockets: Sequence[Sockets],
        connections: Connections,
        servers: Sequence[TcpListener],
        encrypted: "Sequence[TlsListener | QuicServer]" = (),
    ) -> None:
        self._sockets = sockets
        self._connections = connections
        self._servers = servers
        self._encrypted = encrypted
        self.addresses: tuple[Address, ...] = tuple(each.udp.getsockname()[:2] for each in sockets)

    @property
    def connections(self) -> int:
        """Connections open now, over TCP, TLS and QUIC."""
        return len(self._connections)

    def close(self) -> None:
        """Stop answering and close the sockets."""
        loop = asyncio.get_running_loop()
        for each in self._sockets:
            loop.remove_reader(each.udp)
        for server in self._servers:
            server.close()
        for listener in self._encrypted:
            listener.close()
        self._connections.close()
        for each in self._sockets:
            with suppress(OSError):
                each.close()


async def serve_on(
    responder: Responder,
    sockets: Sequence[Sockets],
    settings: NameserverSettings,
    tls: TlsSockets | None = None,
    query_log: QueryLog | None = None,
    quic: "QuicSockets | None" = None,
) -> Listeners:
    """Answer on sockets that are bound already.

    Args:
        tls: those on which TLS is spoken.
        query_log: writes some questions down.
        quic: those on which QUIC is spoken.
    """
    loop = asyncio.get_running_loop()
    connections = Connections(responder, settings, query_log)
    shield = Shield(responder, settings) if settings.responses_per_second else None
    servers = []
    for each in sockets:
        loop.add_reader(each.udp, attach(each.udp, responder, settings.edns_payload, shield, query_log))
        servers.append(TcpListener(each.tcp, connections))
    encrypted: list[TlsListener | QuicServer] = []
    if tls is not None:
        encrypted += (TlsListener(each, tls.context, connections, settings) for each in tls.sockets)
    if quic is not None:
        # Only here: it takes a sixth of a second to import.
        from mx10.nameserver.quic import listen_quic

        for sock in quic.sockets:
            encrypted.append(await listen_quic(sock, quic.configuration, connections))
    return Listeners(sockets, connections, servers, encrypted)


async def listen(responder: Responder, addresses: Sequence[Address], settings: NameserverSettings) -> Listeners:
    """Bind addresses and answer on them.

    Raises:
        ListenError: one of them cannot be bound; none is left open.
    """
    sockets: list[Sockets] = []
    try:
        # From a generator, so that those bound before one fails are in the list, and can be closed.
        sockets.extend(bind(address) for address in addresses)
    except ListenError:
        for each in sockets:
            each.close()
        raise
    return await serve_on(responder, sockets, settings)
