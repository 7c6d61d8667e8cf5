"""A milter that does as it is told, and remembers what it heard."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Mapping

from mx10.relay.door.filters.milter_wire import Packets, packet
from tests.streams import Begin, serving

Answer = bytes | str
"""Octets to send, or ``close``, ``stall``."""


def agree(version: int = 6, actions: int = 0xFF, steps: int = 0) -> bytes:
    """Its part of the negotiation."""
    return packet("O", b"".join(number.to_bytes(4, "big") for number in (version, actions, steps)))


CONTINUE = packet("c")


class Server:
    """Ends its conversations with itself."""

    def __init__(self) -> None:
        self.port = 0

    @contextlib.asynccontextmanager
    async def _serving(self, path: str = "") -> AsyncIterator[None]:
        def start(begin: Begin) -> Awaitable[asyncio.Server]:
            return asyncio.start_unix_server(begin, path) if path else asyncio.start_server(begin, "127.0.0.1", 0)

        async with serving(self._talk, start) as server:
            if not path:
                self.port = server.sockets[0].getsockname()[1]
            yield

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self.talk(reader, writer)
        finally:
            writer.close()

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise NotImplementedError


class Milter(Server):
    """Answers each command with what ``script`` says for its letter, else with "go on"."""

    def __init__(self, script: Mapping[str, Answer] | None = None, *, silent: str = "", dribble: bool = False) -> None:
        super().__init__()
        self.script = {"O": agree(), **(script or {})}
        self.silent = silent
        self.dribble = dribble
        self.heard: list[tuple[str, bytes]] = []
        self.conversations = 0

    def said(self, letter: str) -> list[bytes]:
        return [data for each, data in self.heard if each == letter]

    @contextlib.asynccontextmanager
    async def listening(self, path: str = "") -> AsyncIterator["Milter"]:
        async with self._serving(path):
            yield self

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.conversations += 1
        packets = Packets()
        while data := await reader.read(1 << 16):
            for letter, content in packets.feed(data):
                self.heard.append((letter, content))
                answer = self.script.get(letter, b"" if letter in "DQA" + self.silent else CONTINUE)
                if answer == "close":
                    return
                if answer == "stall":
                    await asyncio.Event().wait()
                assert isinstance(answer, bytes)
                await self._send(writer, answer)

    async def _send(self, writer: asyncio.StreamWriter, answer: bytes) -> None:
        for piece in (answer[at : at + 1] for at in range(len(answer))) if self.dribble else [answer]:
            writer.write(piece)
            await writer.drain()


class Http(Server):
    """Answers each request with the same octets."""

    def __init__(self, answer: bytes, *, stall: bool = False) -> None:
        super().__init__()
        self.answer = answer
        self.stall = stall
        self.requests: list[bytes] = []

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator["Http"]:
        async with self._serving():
            yield self

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        size = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line[:15] == b"content-length:"), 0)
        self.requests.append(head + await reader.readexactly(size))
        if self.stall:
            await asyncio.Event().wait()
        writer.write(self.answer)
        await writer.drain()
        writer.close()
        await writer.wait_closed()


def ok(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body
