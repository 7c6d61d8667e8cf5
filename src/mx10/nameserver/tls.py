"""DNS over TLS (RFC 7858) and zone transfers over it (RFC 9103): the certificate, and accepting connections.

A handshake costs more than a question, and whoever never ends one holds a place: so those under way count as
connections do, in all and for each address.
"""

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from mx10.config import NameserverSettings
from mx10.logs import get_logger
from mx10.nameserver.tcp import Acceptor, Connection, Connections, whose

ALPN: Final = ("dot",)
"""What a transfer over TLS has to agree on (RFC 9103 section 7.1)."""

log = get_logger("nameserver")


class TlsError(Exception):
    """The certificate or its key cannot be used: why, and what to do."""


def make_context(settings: NameserverSettings) -> ssl.SSLContext:
    """TLS 1.3 alone, as RFC 9103 section 7.1 wants it for transfers.

    Raises:
        TlsError: the files cannot be read, or do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(list(ALPN))
    load_certificate(context, settings)
    return context


def load_certificate(context: ssl.SSLContext, settings: NameserverSettings) -> None:
    """Read certificate and key; connections from now on get them.

    Raises:
        TlsError: the files cannot be read, or do not belong together; nothing is changed.
    """
    certificate, key = settings.tls_certificate, settings.tls_key
    if certificate is None or key is None:
        raise TlsError("TLS and QUIC need nameserver.tls_certificate and nameserver.tls_key")
    for path in (certificate, key):
        try:
            path.open("rb").close()
        except OSError as error:
            raise TlsError(f"{path} cannot be read: {error.strerror}; let the server's user read it") from None
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (ssl.SSLError, ValueError, OSError) as error:
        raise TlsError(f"{certificate} and {key} are no certificate (PEM) with its key: {error}") from None


def _no_password() -> str:
    raise ValueError("the key is encrypted; store it without a passphrase")


@dataclass(frozen=True, slots=True)
class TlsSockets:
    """What TLS is spoken on: bound and listening sockets, and the context with the certificate."""

    sockets: Sequence[socket.socket]
    context: ssl.SSLContext

    def close(self) -> None:
        for each in self.sockets:
            each.close()


class TlsListener:
    """Accepts connections on one bound socket.

    Args:
        connections: those of the worker, over TCP and TLS; their limits hold for handshakes as well.
    """

    def __init__(
        self,
        sock: socket.socket,
        context: ssl.SSLContext,
        connections: Connections,
        settings: NameserverSettings,
    ) -> None:
        self._context = context
        self._connections = connections
        self._settings = settings
        self._shaking: dict[asyncio.Task[None], str] = {}
        self._clients: Counter[str] = Counter()
        self._acceptor = Acceptor(sock, self._take)

    def _take(self, sock: socket.socket, address: tuple[Any, ...]) -> None:
        client = whose(address[0])
        if (
            len(self._shaking) >= self._settings.tcp_connections
            or self._clients[client] >= self._settings.tcp_connections_per_client
        ):
            sock.close()
            return
        task = asyncio.get_running_loop().create_task(self._shake(sock))
        self._shaking[task] = client
        self._clients[client] += 1
        task.add_done_callback(self._shaken)

    def _shaken(self, task: asyncio.Task[None]) -> None:
        client = self._shaking.pop(task)
        self._clients[client] -= 1
        if not self._clients[client]:
            del self._clients[client]

    async def _shake(self, sock: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: Connection(self._connections),
                sock,
                ssl=self._context,
                ssl_handshake_timeout=self._settings.tcp_idle_seconds,
                ssl_shutdown_timeout=1.0,
            )
        except (OSError, ssl.SSLError, asyncio.CancelledError):
            # A client that speaks no TLS, or none of ours; there are always some.
            with suppress(OSError):
                sock.close()

    def close(self) -> None:
        """Accept nothing more, and end handshakes."""
        self._acceptor.close()
        for task in self._shaking:
            task.cancel()
