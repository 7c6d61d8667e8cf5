"""A bounded memory for what is true for a while."""

import time
from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Expiring(Generic[K, V]):
    """A mapping whose entries end by themselves; when it is full, the one put in first goes.

    Args:
        limit: entries held at most; 0 remembers nothing.
        clock: seconds that only go forward.
    """

    __slots__ = ("_clock", "_entries", "_limit")

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._entries: dict[K, tuple[float, V]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> V | None:
        """What is remembered and still holds."""
        found = self.get_with_rest(key)
        return None if found is None else found[0]

    def get_with_rest(self, key: K) -> tuple[V, float] | None:
        """What is remembered, and for how many seconds more it holds."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        ends, value = entry
        rest = ends - self._clock()
        if rest <= 0:
            del self._entries[key]
            return None
        return value, rest

    def put(self, key: K, value: V, seconds: float) -> None:
        """Remember something for some seconds; nothing is remembered for none."""
        self._entries.pop(key, None)
        if seconds <= 0 or not self._limit:
            return
        if len(self._entries) >= self._limit:
            del self._entries[next(iter(self._entries))]
        self._entries[key] = (self._clock() + seconds, value)

    def drop(self, key: K) -> None:
        """Forget one thing; one that is not remembered is no error."""
        self._entries.pop(key, None)
