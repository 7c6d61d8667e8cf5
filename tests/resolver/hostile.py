"""A nameserver on loopback that does what a test tells it: answer, lie, be silent, cut its answers short."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Self, cast

from mx10.config import ResolverSettings
from mx10.dns import message as m
from mx10.dns import rrtypes as rr
from mx10.dns.message import Edns, Message, Record
from mx10.resolver.asking import Server, Transport
from mx10.resolver.forwarder import Forwarder
from peers import free_port
from tests.streams import serving

Reply = bytes | Message | None
Behaviour = Callable[[Message], "Reply | Iterable[Reply] | Awaitable[Reply]"]

SHORT = ResolverSettings(timeout_seconds=0.2, attempts=1)
"""For servers that are silent: times that keep tests short."""
PATIENT = ResolverSettings(timeout_seconds=5, attempts=1)
"""For servers that answer, however busy the machine is."""


def silent(query: Message) -> Reply:
    return None


def response(
    query: Message,
    answer: Iterable[Record] = (),
    *,
    rcode: int = 0,
    authority: Iterable[Record] = (),
    flags: int = m.QR | m.RD | m.RA,
) -> Message:
    """A response to a query, as a resolver would give it."""
    edns = None if query.edns is None else Edns()
    return Message(query.id, flags, query.question, tuple(answer), tuple(authority), (), edns, rcode)


def code(rcode: int) -> Behaviour:
    """Answers everything with that code."""
    return lambda query: response(query, rcode=rcode)


def records(*known: Record, **also: object) -> Behaviour:
    """Answers with all of these records, whatever was asked."""
    return lambda query: response(query, known, **also)  # type: ignore[arg-type]


@dataclass
class Hostile:
    """A server over UDP and TCP, on a port of its own. Both behave as ``udp`` says, unless ``tcp`` says otherwise."""

    udp: Behaviour
    tcp: Behaviour | None = None
    asked: list[Message] = field(default_factory=list)
    """The questions, with ``transports`` beside them."""
    transports: list[str] = field(default_factory=list)
    sources: list[int] = field(default_factory=list)
    """The ports that questions over UDP came from."""
    port: int = 0
    host: str = "127.0.0.1"

    @property
    def server(self) -> Server:
        return Server(self.host, self.port)

    def over(self, transport: Transport) -> Server:
        return replace(self.server, transport=transport)

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = contextlib.AsyncExitStack()
        tcp = await self._open.enter_async_context(
            serving(self._stream, lambda begin: asyncio.start_server(begin, self.host, 0))
        )
        self.port = tcp.sockets[0].getsockname()[1]
        self._udp, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), (self.host, self.port))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._udp.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._open.aclose()

    def begin(self, work: Awaitable[None]) -> None:
        task: asyncio.Task[None] = asyncio.ensure_future(work)
        self._tasks.add(task)

    async def replies(self, packet: bytes, transport: str) -> list[bytes]:
        query = m.parse(packet)
        self.asked.append(query)
        self.transports.append(transport)
        said = (self.tcp if self.tcp is not None and transport == "tcp" else self.udp)(query)
        if isinstance(said, Awaitable):
            said = await said
        each = [said] if said is None or isinstance(said, bytes | Message) else list(said)
        return [one if isinstance(one, bytes) else m.encode(one) for one in each if one is not None]

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                packet = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
                for reply in await self.replies(packet, "tcp"):
                    if reply == b"":
                        return
                    writer.write(len(reply).to_bytes(2, "big") + reply)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, hostile: Hostile) -> None:
        self.hostile = hostile

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.hostile.begin(self._answer(data, addr))

    async def _answer(self, data: bytes, addr: tuple[str, int]) -> None:
        self.hostile.sources.append(addr[1])
        for reply in await self.hostile.replies(data, "udp"):
            self.transport.sendto(reply, addr)


def forwarder(*hostiles: Hostile, settings: ResolverSettings = PATIENT, **options: object) -> Forwarder:
    """A resolver that asks these servers, in order."""
    return Forwarder(settings, servers=[one.server for one in hostiles], **options)  # type: ignore[arg-type]


def unused_port() -> int:
    """A port of 127.0.0.1 at which nobody listens."""
    return free_port()


__all__ = ["Hostile", "code", "forwarder", "records", "response", "rr", "silent", "unused_port"]
