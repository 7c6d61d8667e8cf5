"""The metrics page: as much of HTTP as Prometheus needs, within limits.

No framework and no thread for one page. Whoever asks gets one answer and the connection is closed.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Final

from mx10.logs import get_logger
from mx10.nameserver.listeners import ListenError, bind_stream, format_address, parse_address
from mx10.nameserver.metrics import CONTENT_TYPE

DEFAULT_PORT: Final = 9953
_MOST_OPEN: Final = 20
"""Requests at the same time; more are closed at once."""
_SECONDS: Final = 10.0
"""How long one may take, from its first octet until the page was taken."""
_LONGEST: Final = 8192
"""Octets of a request's head."""

log = get_logger("steward")


class MetricsPage:
    """Serves a text at ``/metrics``.

    Args:
        addresses: where, as ``127.0.0.1:9953``.
        text: makes it.
    """

    def __init__(self, addresses: Sequence[str], text: Callable[[], bytes]) -> None:
        self._addresses = addresses
        self._text = text
        self._open = 0
        self._servers: list[asyncio.Server] = []
        self.ports: list[int] = []

    async def run(self) -> None:
        """Serve until cancelled. An address that is not free is tried again and again."""
        complaint = ""
        while True:
            try:
                await self._serve_all()
            except ListenError as error:
                if str(error) != complaint:
                    complaint = str(error)
                    log.error("no metrics; tried again", cause=complaint)
            await asyncio.sleep(_SECONDS)

    async def _serve_all(self) -> None:
        try:
            for text in self._addresses:
                sock = bind_stream(parse_address(text, DEFAULT_PORT))
                self.ports.append(sock.getsockname()[1])
                self._servers.append(await asyncio.start_server(self._serve, sock=sock, limit=_LONGEST))
                log.info("metrics", url=f"http://{format_address(sock.getsockname()[:2])}/metrics")
            await asyncio.get_running_loop().create_future()
        finally:
            for server in self._servers:
                server.close()
            self._servers.clear()
            self.ports.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._open >= _MOST_OPEN:
            writer.transport.abort()
            return
        self._open += 1
        try:
            with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                async with asyncio.timeout(_SECONDS):
                    head = await reader.readuntil(b"\r\n\r\n")
                    writer.write(self._response(head))
                    await writer.drain()
                    writer.close()
                    await writer.wait_closed()
        finally:
            self._open -= 1
            writer.transport.abort()

    def _response(self, head: bytes) -> bytes:
        words = head.split(b"\r\n", 1)[0].split()
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return _http("400 Bad Request", b"this is no HTTP/1 request\n")
        if words[0] not in (b"GET", b"HEAD"):
            return _http("405 Method Not Allowed", b"only GET and HEAD\n", "Allow: GET, HEAD\r\n")
        if words[1].partition(b"?")[0] != b"/metrics":
            return _http("404 Not Found", b"the page is /metrics\n")
        response = _http("200 OK", self._text(), kind=CONTENT_TYPE)
        return response if words[0] == b"GET" else response.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"


def _http(status: str, body: bytes, header: str = "", kind: str = "text/plain; charset=utf-8") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Connection: close\r\n{header}\r\n".encode("ascii") + body
