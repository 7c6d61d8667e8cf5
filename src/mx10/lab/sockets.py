"""UDP and TCP for answers that take time: the forwarder's, and those of servers that misbehave on purpose.

The nameserver's own listeners answer on the spot and cannot wait; here every question is a task, and their number is
bounded.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from mx10.nameserver.listeners import Address, Sockets, bind

MAX_QUESTIONS: Final = 1000
"""Questions being answered at one address. One more is dropped, as by a full receive buffer: the client asks again."""
MAX_CONNECTIONS: Final = 200
"""Open TCP connections to one address. One more is closed at once."""
_PIPELINED: Final = 32
"""Questions of one connection answered at a time (RFC 7766 section 6.2.1.1); more wait in the connection."""
_IDLE_SECONDS: Final = 10.0
"""For a whole question to come, and for a client to take its answer (RFC 7766 section 6.2.3)."""
_BUFFER: Final = 64 * 1024

Handler = Callable[[bytes, bool], Awaitable[bytes | None]]
"""From a request, and whether it came over UDP, to the response; None for no response."""


class Waiter:
    """One address answered by an asynchronous function. Made by ``start``."""

    def __init__(self, handler: Handler, sockets: Sockets) -> None:
        self._handler = handler
        self._sockets = sockets
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._transport: asyncio.DatagramTransport | None = None

    @classmethod
    async def start(cls, address: Address, handler: Handler) -> "Waiter":
        """Answer at an address.

        Raises:
            mx10.nameserver.listeners.ListenError: it cannot be bound.
        """
        waiter = cls(handler, bind(address))
        loop = asyncio.get_running_loop()
        waiter._transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(waiter), sock=waiter._sockets.udp)
        waiter._server = await asyncio.start_server(waiter._accept, sock=waiter._sockets.tcp, limit=_BUFFER)
        return waiter

    def close(self) -> None:
        """Stop; questions under way get no answer."""
        if self._server is not None:
            self._server.close()
        if self._transport is not None:
            self._transport.close()
        for task in (*self._tasks, *self._connections):
            task.cancel()
        self._sockets.close()

    def take_datagram(self, packet: bytes, client: Address) -> None:
        """A request has come over UDP."""
        self._spawn(self._answer_datagram(packet, client))

    def _spawn(self, work: Awaitable[None]) -> "asyncio.Task[None] | None":
        if len(self._tasks) >= MAX_QUESTIONS:
            work.close()  # type: ignore[attr-defined]  # a coroutine that was never started says so otherwise
            return None
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _answer_datagram(self, packet: bytes, client: Address) -> None:
        response = await self._handler(packet, True)
        if response is not None and self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(response, client)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._connections) >= MAX_CONNECTIONS:
            writer.transport.abort()
            return
        self._connections.add(task)
        try:
            await self._talk(reader, writer)
        except (OSError, EOFError, TimeoutError):
            pass  # the client went away, or was too slow
        except asyncio.CancelledError:
            pass  # the lab ends; asyncio would print it as an error of the connection
        finally:
            self._connections.discard(task)
            writer.transport.abort()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        free = asyncio.Semaphore(_PIPELINED)
        under_way: set[asyncio.Task[None]] = set()

        async def answer(request: bytes) -> None:
            try:
                response = await self._handler(request, False)
                if response is not None and not writer.is_closing():
                    writer.write(len(response).to_bytes(2, "big") + response)
                    async with asyncio.timeout(_IDLE_SECONDS):
                        await writer.drain()
            except (OSError, TimeoutError):
                writer.transport.abort()
            finally:
                free.release()

        try:
            while True:
                async with asyncio.timeout(_IDLE_SECONDS):
                    length = int.from_bytes(await reader.readexactly(2), "big")
                    request = await reader.readexactly(length)
                await free.acquire()
                task = self._spawn(answer(request))
                if task is None:
                    return
                under_way.add(task)
                task.add_done_callback(under_way.discard)
        except (TimeoutError, asyncio.IncompleteReadError):
            # A client may close its side after its last question and still wait for the answers.
            if under_way:
                await asyncio.wait(list(under_way), timeout=_IDLE_SECONDS)
        finally:
            for task in under_way:
                task.cancel()
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(1.0):
                    writer.close()
                    await writer.wait_closed()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, waiter: Waiter) -> None:
        self._waiter = waiter

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self._waiter.take_datagram(data, addr)
