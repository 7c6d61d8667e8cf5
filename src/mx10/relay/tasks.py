"""Work of the queue that is under way: nothing of it is forgotten by the loop, and none ends with a fault unheard."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from mx10.logs import get_logger

log = get_logger("relay")


class Tasks:
    """The tasks of one part of the queue, on the running loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._running: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin it; nobody waits for its end."""
        task = self._loop.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a task of the queue failed", cause=repr(error))

    async def stop(self, seconds: float) -> None:
        """Let them end, for some seconds; cancel those that are late."""
        if self._running:
            _, late = await asyncio.wait(self._running, timeout=seconds)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=1.0)
