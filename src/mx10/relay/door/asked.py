"""What is asked about clients in the DNS: once for many connections of the same one, remembered for a while, and never
waited for longer than it may take."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

from mx10.dns import wirename
from mx10.logs import get_logger
from mx10.resolver.expiring import Expiring

REMEMBERED: Final = 10_000
"""Clients about whom one kind of answer is kept."""
UNDER_WAY: Final = 1_000
"""Clients about whom one kind of question is open; about more nothing is asked, until one of these is answered."""
SHORTEST_SECONDS: Final = 60
LONGEST_SECONDS: Final = 3600
"""How long an answer is kept at least and at most, whatever the DNS says."""

K = TypeVar("K")
V = TypeVar("V")

log = get_logger("relay")


class Asked(Generic[K, V]):
    """Answers to one kind of question.

    Args:
        ask: gives the answer, and for how many seconds it holds.
        instead: what counts where it does not come in time.
        seconds: that it may take.
        clock: milliseconds.
    """

    def __init__(
        self, ask: Callable[[K], Awaitable[tuple[V, float]]], instead: V, seconds: float, clock: Callable[[], int]
    ) -> None:
        self._ask = ask
        self._instead = instead
        self._seconds = seconds
        self._known: Expiring[K, V] = Expiring(REMEMBERED, lambda: clock() / 1000)
        self._open: dict[K, asyncio.Task[V]] = {}

    @property
    def open(self) -> int:
        """Questions that are open."""
        return len(self._open)

    def known(self, key: K) -> V | None:
        """The answer, where it is here."""
        return self._known.get(key)

    def begin(self, key: K) -> "asyncio.Task[V] | None":
        """Begin to ask, where nobody did, so that the answer is here when it is wanted. None: it is here, or too much
        is asked."""
        task = self._open.get(key)
        if task is None and self._known.get(key) is None and len(self._open) < UNDER_WAY:
            task = self._open[key] = asyncio.get_running_loop().create_task(self._answer(key))
            task.add_done_callback(lambda _: self._open.pop(key, None))
        return task

    async def find(self, key: K) -> V:
        """The answer; waits for it."""
        known = self._known.get(key)
        if known is not None:
            return known
        task = self.begin(key)
        # Others may wait for it: whoever leaves does not end it.
        return self._instead if task is None else await asyncio.shield(task)

    def close(self) -> None:
        """Ask no more; whoever waits hears nothing."""
        for task in list(self._open.values()):
            task.cancel()

    async def _answer(self, key: K) -> V:
        try:
            async with asyncio.timeout(self._seconds):
                answer, seconds = await self._ask(key)
        except TimeoutError:
            answer, seconds = self._instead, float(SHORTEST_SECONDS)
        except Exception:
            log.exception("a question about a client failed")
            answer, seconds = self._instead, float(SHORTEST_SECONDS)
        self._known.put(key, answer, min(max(seconds, SHORTEST_SECONDS), LONGEST_SECONDS))
        return answer


def reverse_name(address: bytes, zone: bytes) -> bytes:
    """The name that stands for an address below a zone (RFC 1035 section 3.5, RFC 3596 section 2.5, RFC 5782).

    Args:
        address: 4 or 16 octets.
        zone: a wire name, not longer than 190 octets.
    """
    if len(address) == 4:
        parts = [b"%d" % octet for octet in reversed(address)]
    else:
        parts = [b"%x" % half for octet in reversed(address) for half in (octet & 15, octet >> 4)]
    return wirename.from_labels(parts)[:-1] + zone
