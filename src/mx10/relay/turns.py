"""What is said at the end of a turn of the loop, when all that came in it was heard.

Each write wakes whoever has the other end, and its system before that. Where one process has many connections to us, or
we have many to one, it is woken once for what all of them are told, and does not wait for each anew.
"""

import asyncio
from collections.abc import Callable

from mx10.logs import get_logger

log = get_logger("relay")


class TurnEnd:
    """Calls, at the end of a turn, what was handed in during it."""

    def __init__(self) -> None:
        self._calls: list[Callable[[], None]] = []

    def then(self, call: Callable[[], None]) -> None:
        """Call it when this turn ends, once for each time it is handed in."""
        self._calls.append(call)
        if len(self._calls) == 1:
            asyncio.get_running_loop().call_soon(self._run)

    def _run(self) -> None:
        calls, self._calls = self._calls, []
        for call in calls:
            try:
                call()
            except Exception:  # a fault of ours with one of them is not the others'
                log.exception("what was to be said could not be")
