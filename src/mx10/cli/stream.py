"""Many things at once, in order: lines from standard input as they come, work on several of them together, results in
the order of the lines.

A program may hold the other end of the pipe, write one line and wait for its result; so a result is out as soon as
those before it are.
"""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from concurrent.futures import CancelledError
from typing import Final, TypeVar

MAX_LINE: Final = 4096
"""Octets of a line; longer ones are cut there: no address or name is as long."""

_CHUNK: Final = 65536

T = TypeVar("T")
R = TypeVar("R")


async def given(lines: Iterable[str]) -> AsyncIterator[str]:
    """Lines that are there already, from the command line, in the same form as ``standard_input``."""
    for line in lines:
        yield line


async def standard_input(descriptor: int = 0) -> AsyncIterator[str]:
    """The lines of standard input without white space around them; empty ones, and those that begin with ``#``, are
    left out.

    A thread reads, because a terminal, a pipe and a file need no telling apart so; it reads from the descriptor itself,
    and so holds no lock that would keep the program from ending.
    """
    loop = asyncio.get_running_loop()
    waiting: asyncio.Queue[list[bytes] | None] = asyncio.Queue(maxsize=2)

    def put(lines: list[bytes] | None) -> None:
        putting = waiting.put(lines)
        try:
            asyncio.run_coroutine_threadsafe(putting, loop).result()
        except RuntimeError:
            # The loop is closed, and will not do it.
            putting.close()
            raise

    def read() -> None:
        rest = b""
        try:
            while chunk := os.read(descriptor, _CHUNK):
                *lines, rest = (rest + chunk).split(b"\n")
                rest = rest[: MAX_LINE + 1]
                if lines:
                    put(lines)
            put([rest])
            put(None)
        except (OSError, RuntimeError, CancelledError):
            # The loop is gone, or going: the command was interrupted.
            return

    threading.Thread(target=read, name="standard input", daemon=True).start()
    while (lines := await waiting.get()) is not None:
        for line in lines:
            text = line[:MAX_LINE].decode("utf-8", "surrogateescape").strip()
            if text and not text.startswith("#"):
                yield text


async def in_order(items: AsyncIterator[T], work: Callable[[T], Awaitable[R]], at_once: int) -> AsyncIterator[R]:
    """The results of ``work`` on every item, in the order of the items, with ``at_once`` of them under way at most."""
    under_way: asyncio.Queue[asyncio.Task[R] | None] = asyncio.Queue(maxsize=at_once)

    async def begin() -> None:
        try:
            async for item in items:
                await under_way.put(asyncio.ensure_future(work(item)))
        finally:
            await under_way.put(None)

    beginning = asyncio.ensure_future(begin())
    try:
        while (task := await under_way.get()) is not None:
            yield await task
        await beginning
    finally:
        beginning.cancel()
        while not under_way.empty():
            if (task := under_way.get_nowait()) is not None:
                task.cancel()
