"""How far a long command is: one line on standard error, written over again and again, where somebody watches."""

import sys
import time
from typing import Final

_EVERY: Final = 0.1
_CLEAR: Final = "\r\x1b[K"
_WIDTH: Final = 30


class Progress:
    """A counter for people. Says nothing where standard error is no terminal, or the results themselves can be watched.

    Args:
        what: of which there are so many, as ``names``.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._count = 0
        self._shown = 0.0
        self._wanted = sys.stderr.isatty() and not sys.stdout.isatty()

    def step(self) -> None:
        """One more is done."""
        self._count += 1
        now = time.monotonic()
        if self._wanted and now - self._shown >= _EVERY:
            self._shown = now
            sys.stderr.write(f"{_CLEAR}{self._count} {self._what}")
            sys.stderr.flush()

    def clear(self) -> None:
        """Take the line away: before a message, and at the end."""
        if self._shown:
            self._shown = 0.0
            sys.stderr.write(_CLEAR)
            sys.stderr.flush()


class Bar:
    """How much of a known amount is done, where somebody watches.

    Args:
        what: what is being done, as ``writing``.
        total: of which there are so many ``things``.
    """

    def __init__(self, what: str, total: int, things: str) -> None:
        self._what = what
        self._total = total
        self._things = things
        self._shown = 0.0
        self._wanted = sys.stderr.isatty()

    def reach(self, count: int) -> None:
        """So many are done."""
        now = time.monotonic()
        if self._wanted and now - self._shown >= _EVERY:
            self._shown = now
            share = min(count / self._total, 1.0) if self._total else 1.0
            bar = ("━" * round(share * _WIDTH)).ljust(_WIDTH, "╌")
            sys.stderr.write(f"{_CLEAR}{self._what} {bar} {share:4.0%}  {count:,} of {self._total:,} {self._things}")
            sys.stderr.flush()

    def clear(self) -> None:
        """Take the line away: before a message, and at the end."""
        if self._shown:
            self._shown = 0.0
            sys.stderr.write(_CLEAR)
            sys.stderr.flush()
