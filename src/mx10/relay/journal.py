"""The log of what happens to messages: some lines for each, thousands of them a second.

The same lines as ``mx10.logs`` writes, made with less ado and written some at a time: a line for each message would
else cost as much as taking it. They come out within ``FLUSH_SECONDS``, and before the process ends.
"""

import asyncio
import json
import time
from json.encoder import encode_basestring_ascii as _quoted
from typing import Any, Final

from mx10.logs import get_logger, lines

FLUSH_SECONDS: Final = 0.05
_MOST: Final = 500
"""Lines that wait."""

_log = get_logger("relay")


class Journal:
    """Writes lines. ``log`` of what happens rarely is ``mx10.logs``' own."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lines: list[str] = []
        self._second = 0
        self._stamp = ""

    def __call__(self, event: str, **values: Any) -> None:
        """One event of everyday weight."""
        write = lines()
        if write is None:
            # For reading on a terminal, or nobody wants it: there is time for that.
            _log.info(event, **values)
            return
        now = time.time()
        second = int(now)
        if second != self._second:
            self._second = second
            self._stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        milliseconds = int((now - second) * 1000)
        # As json.dumps writes it, at a third of the cost.
        rest = "".join([f', "{key}": {_written(value)}' for key, value in values.items()])
        stamp = f"{self._stamp}.{milliseconds:03d}Z"
        line = f'{{"time": "{stamp}", "level": "info", "part": "relay", "event": "{event}"{rest}}}'
        self._lines.append(line)
        if len(self._lines) == 1:
            self._loop.call_later(FLUSH_SECONDS, self.flush)
        elif len(self._lines) >= _MOST:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        waiting, self._lines = self._lines, []
        write = lines()
        if waiting and write is not None:
            write("\n".join(waiting))


def _written(value: Any) -> str:
    if type(value) is str:
        return _quoted(value)
    return repr(value) if type(value) is int or type(value) is float else json.dumps(value)
