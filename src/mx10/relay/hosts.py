"""What all messages know of other hosts: which addresses are down, since when, and when somebody may look again.

One attempt at a time is the *probe*; all others pass the address over until it is back. A ``courier.values.Hosts``.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from mx10.relay.courier.values import Target
from mx10.relay.queue import pause

MAX_DOWN: Final = 100_000
"""Addresses that are remembered; the one that failed longest ago is forgotten first."""
MAX_WORKED: Final = 10_000
"""Addresses of which it is remembered when they worked."""
CROWDED_MS: Final = 60_000
"""A host that worked within this time and now says that it takes nothing has too many connections; it is not down."""
PROBE_MS: Final = 60_000
"""A probe of which nothing was heard for so long counts no more: its message may have been cancelled."""


@dataclass(slots=True)
class _Down:
    since: int
    failures: int
    again_at: int
    reason: str
    probed_at: int = 0


class HostMemory:
    """The memory.

    Args:
        first, longest: milliseconds between two probes of one address: the first such pause, and the longest.
    """

    def __init__(self, first: int, longest: int) -> None:
        self._first, self._longest = first, longest
        self._down: OrderedDict[tuple[str, int, str], _Down] = OrderedDict()
        self._worked: OrderedDict[tuple[str, int, str], int] = OrderedDict()
        self.back: Callable[[Target], None] = lambda _: None
        """Told of a target that was down and works again."""

    def passed_over(self, target: Target, now: int) -> str:
        """See ``courier.values.Hosts``."""
        if not self._down:
            return ""
        known = self._down.get(_key(target))
        if known is None:
            return ""
        if now >= known.again_at and now - known.probed_at >= PROBE_MS:
            known.probed_at = now
            return ""
        seconds = max(0, known.again_at - now) // 1000
        return f"down since {(now - known.since) // 1000} s ({known.reason}); asked again in {seconds} s"

    def failed(self, target: Target, now: int, reason: str, *, said: bool = False) -> None:
        """See ``courier.values.Hosts``."""
        key = _key(target)
        if said and now - self._worked.get(key, now - CROWDED_MS) < CROWDED_MS:
            return
        known = self._down.get(key)
        if known is None:
            known = self._down[key] = _Down(now, 0, 0, "")
            if len(self._down) > MAX_DOWN:
                self._down.popitem(last=False)
        known.failures += 1
        known.reason = reason[:200]
        known.again_at = now + pause(known.failures, self._first, self._longest)
        known.probed_at = 0
        self._down.move_to_end(key)

    def worked(self, target: Target, now: int) -> None:
        """See ``courier.values.Hosts``."""
        key = _key(target)
        if self._down.pop(key, None) is not None:
            self.back(target)
        self._worked[key] = now
        self._worked.move_to_end(key)
        if len(self._worked) > MAX_WORKED:
            self._worked.popitem(last=False)

    def forgive(self) -> None:
        """Somebody says that it is worth trying now: the next who comes to any of them is its probe."""
        for known in self._down.values():
            known.again_at, known.probed_at = 0, -PROBE_MS

    def __len__(self) -> int:
        return len(self._down)

    def down(self) -> list[tuple[str, str, int, str]]:
        """Host, address, since when, and why, for people."""
        return [(key[0], key[2], known.since, known.reason) for key, known in self._down.items()]


def _key(target: Target) -> tuple[str, int, str]:
    return target.host, target.port, target.text
