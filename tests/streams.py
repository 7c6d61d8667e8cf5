"""Servers of tests over streams, which end with all their connections."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Begin = Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]


@contextlib.asynccontextmanager
async def serving(talk: Talk, start: Callable[[Begin], Awaitable[asyncio.Server]]) -> AsyncIterator[asyncio.Server]:
    """A server whose conversations are cut off at the end, those too that had not begun.

    Args:
        talk: one conversation.
        start: starts it, as ``asyncio.start_server`` does.
    """
    talks: list[asyncio.Future[None]] = []
    writers: list[asyncio.StreamWriter] = []

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        talks.append(asyncio.ensure_future(talk(reader, writer)))

    server = await start(begin)
    try:
        yield server
    finally:
        server.close()
        # What was accepted becomes a conversation some turns of the loop later.
        for _ in range(5):
            await asyncio.sleep(0)
        for each in talks:
            each.cancel()
        await asyncio.gather(*talks, return_exceptions=True)
        for writer in writers:
            writer.transport.abort()
        # Sockets are closed in the loop's next turns.
        await asyncio.sleep(0.005)
