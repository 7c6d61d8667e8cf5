"""A host on a loopback address that speaks SMTP as it is told to, over a real socket."""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Self

from peers import free_port
from tests.streams import Begin, serving

STALL, CLOSE, RESET, DRIP, ENDLESS_LINE, ENDLESS_REPLY = (
    b"(stall)",
    b"(close)",
    b"(reset)",
    b"(drip)",
    b"(endless line)",
    b"(endless reply)",
)
"""What a host may do instead of a reply."""

OFFERS = ("PIPELINING", "8BITMIME", "SIZE 1000000", "DSN", "SMTPUTF8", "ENHANCEDSTATUSCODES")


@dataclass
class Talker:
    """``says``: what is answered to a command, by its verb, or ``GREETING`` and ``END``; else it goes well."""

    says: Mapping[str, bytes] = field(default_factory=dict)
    offers: tuple[str, ...] = OFFERS
    context: ssl.SSLContext | None = None
    implicit: bool = False
    deaf: bool = False
    """It asks for content and then reads none."""
    address: str = "127.0.0.1"
    port: int = 0
    path: str = ""
    """A Unix socket instead."""
    heard: list[str] = field(default_factory=list)
    messages: list[bytes] = field(default_factory=list)
    connections: int = 0
    clients: list[str] = field(default_factory=list)
    open: int = 0
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    """Conversations; one that is cancelled has its connection cut off."""

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[Self]:
        # Nobody else gets the port while this host is away.
        self.port = self.port or (0 if self.path else free_port(self.address))
        context = self.context if self.implicit else None

        def start(begin: Begin) -> Awaitable[asyncio.Server]:
            if self.path:
                return asyncio.start_unix_server(begin, self.path, limit=1 << 20)
            return asyncio.start_server(begin, self.address, self.port, ssl=context, limit=1 << 20)

        async with serving(self._serve, start):
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        self.clients.append((writer.get_extra_info("peername") or ("",))[0])
        try:
            await self._talk(reader, writer)
        except (OSError, asyncio.CancelledError, EOFError):
            pass
        finally:
            self.open -= 1
            writer.transport.abort()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._say(writer, "GREETING", b"220 talker.test ESMTP\r\n")
        encrypted = self.implicit
        while line := await reader.readline():
            command = line.decode("utf-8", "replace").removesuffix("\r\n")
            verb = command.partition(" ")[0].upper()
            self.heard.append(command)
            if verb in ("EHLO", "LHLO"):
                more = ("STARTTLS",) if self.context is not None and not encrypted else ()
                lines = ["talker.test", *self.offers, *more]
                marks = ["-"] * (len(lines) - 1) + [" "]
                reply = "".join(f"250{mark}{text}\r\n" for mark, text in zip(marks, lines, strict=True))
                await self._say(writer, verb, reply.encode())
            elif verb == "STARTTLS":
                await self._say(writer, verb, b"220 2.0.0 go\r\n")
                assert self.context is not None
                await writer.start_tls(self.context)
                encrypted = True
            elif verb == "DATA":
                await self._say(writer, verb, b"354 go\r\n")
                if not self.says.get(verb, b"354").startswith(b"354"):
                    continue
                if self.deaf:
                    await asyncio.Event().wait()
                content = []
                while (line := await reader.readline()) != b".\r\n":
                    if not line:
                        return
                    content.append(line.removeprefix(b"."))
                self.messages.append(b"".join(content))
                await self._say(writer, "END", b"250 2.0.0 taken\r\n")
            elif verb == "BDAT":
                self.messages.append(await reader.readexactly(int(command.split()[1])))
                await self._say(writer, "END" if command.endswith("LAST") else "BDAT", b"250 2.0.0 taken\r\n")
            elif verb == "QUIT":
                await self._say(writer, verb, b"221 2.0.0 bye\r\n")
                return
            else:
                await self._say(writer, verb, b"250 2.0.0 fine\r\n")
        writer.close()

    async def _say(self, writer: asyncio.StreamWriter, what: str, usual: bytes) -> None:
        says = self.says.get(what, usual)
        if says == STALL:
            await asyncio.Event().wait()
        elif says == CLOSE:
            raise EOFError
        elif says == RESET:
            sock: socket.socket = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            raise EOFError
        elif says == DRIP:
            # Always alive, and never done.
            while True:
                writer.write(b"2")
                await writer.drain()
                await asyncio.sleep(0.02)
        elif says in (ENDLESS_LINE, ENDLESS_REPLY):
            while True:
                writer.write(b"x" * 1000 if says == ENDLESS_LINE else b"250-more\r\n" * 100)
                await writer.drain()
        else:
            writer.write(says)
            await writer.drain()


async def until(condition: Callable[[], object]) -> None:
    """Wait for what comes within a moment."""
    for _ in range(5000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise TimeoutError
