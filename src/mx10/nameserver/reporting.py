"""How a worker tells the steward what it counted: once a second, over a connection of its own to the desk."""

import asyncio
import json
from contextlib import suppress
from struct import Struct
from typing import Final

from mx10.nameserver.desk import COUNTERS
from mx10.nameserver.listeners import Listeners
from mx10.nameserver.responder import Responder

REPORT_SECONDS: Final = 1.0
_FRAME: Final = Struct("!IB")


async def report_for_ever(path: str, worker: int, responder: Responder, listeners: Listeners) -> None:
    """Report until cancelled. Where nobody is at the desk, the next report says it all: they are sums since the start.

    Args:
        path: of the desk's socket.
        worker: our number.
    """
    writer: asyncio.StreamWriter | None = None
    try:
        while True:
            cache = responder.cache
            report = responder.counters.report(worker, (len(cache), cache.size), listeners.connections)
            body = json.dumps(report).encode()
            try:
                if writer is None or writer.is_closing():
                    _, writer = await asyncio.open_unix_connection(path)
                writer.write(_FRAME.pack(len(body), COUNTERS) + body)
                await writer.drain()
            except OSError:
                _close(writer)
                writer = None
            await asyncio.sleep(REPORT_SECONDS)
    finally:
        _close(writer)


def _close(writer: asyncio.StreamWriter | None) -> None:
    if writer is not None:
        with suppress(OSError):
            writer.transport.abort()
