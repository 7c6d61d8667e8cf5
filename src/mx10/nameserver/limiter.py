"""Response rate limiting: how many responses of one kind a network gets a second.

Who forges the address of a victim has us send it answers larger than the questions. A limit for each network of clients
and each kind of response makes that not worth while, and those who ask for themselves do not notice: they ask for a
name once and remember it. As in BIND, a network that goes on gets nothing until it asks less: what is limited counts
as well.

For each network and kind one number is kept: the moment up to which what it got is paid for, at the rate allowed. That
moment may be one second behind the clock (a burst of one second's responses), and up to ``window`` ahead of it.
"""

from typing import Final

BURST_SECONDS: Final = 1.0


class Limiter:
    """Which responses may go out, within a bounded table.

    Args:
        rate: responses a second of one kind to one network.
        window: seconds for which a network that asked too much has to ask less at most.
        entries: pairs of network and kind that are remembered; those that asked for nothing for longest are
            forgotten, and begin anew.
    """

    __slots__ = ("_cost", "_half", "_old", "_window", "_young")

    def __init__(self, rate: float, window: float, entries: int) -> None:
        self._cost = 1.0 / rate
        self._window = window
        self._half = max(1, entries // 2)
        self._young: dict[bytes, float] = {}
        self._old: dict[bytes, float] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def admits(self, key: bytes, now: float) -> bool:
        """Whether one more response may go out; it counts in any case.

        Args:
            key: the network and the kind.
            now: seconds on a clock that does not go back.
        """
        paid = self._young.get(key)
        if paid is None:
            paid = self._old.pop(key, 0.0)
            if len(self._young) >= self._half:
                self._old, self._young = self._young, {}
        # Written out, as this is done for every datagram: max() and min() cost more than all of it.
        if paid < now - BURST_SECONDS:
            paid = now - BURST_SECONDS
        paid += self._cost
        # A hair's breadth, so that sums of fractions do not cost a response.
        if paid <= now + 1e-9:
            self._young[key] = paid
            return True
        self._young[key] = min(now + self._window, paid)
        return False
