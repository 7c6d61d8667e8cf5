"""How often a client may do what costs more than a question, and how often that is worth a line in the log."""

import time
from collections.abc import Callable
from ipaddress import ip_address
from typing import Final

_CLIENTS: Final = 10_000
"""Clients whose rate is known; those that were silent for longest are forgotten."""


class Rate:
    """Lets each client do something so many times a second, and as many times at once.

    Args:
        rate: a second.
    """

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._clients: dict[str, tuple[float, float]] = {}

    def admits(self, client: str, now: float) -> bool:
        """Whether one more may come; it counts.

        Args:
            client: an IP address; those of one IPv6 /64 network are one client.
            now: seconds on a clock that does not go back.
        """
        address = ip_address(client.partition("%")[0])
        if address.version == 6:
            client = address.exploded[:19]
        left, since = self._clients.pop(client, (float(self._rate), now))
        left = min(float(self._rate), left + (now - since) * self._rate)
        admitted = left >= 1
        self._clients[client] = (left - 1 if admitted else left), now
        if len(self._clients) > _CLIENTS:
            del self._clients[next(iter(self._clients))]
        return admitted


class Seldom:
    """Keeps a log readable while somebody floods us: so many lines a second, and then how many were left out.

    Args:
        most: lines a second.
        clock: seconds on a clock that does not go back.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._second = 0
        self._told = 0
        self._left_out = 0

    def tell(self, write: Callable[..., object], event: str, **values: object) -> None:
        """Write a line, or count it.

        Args:
            write: a method of a logger.
        """
        second = int(self._clock())
        if second != self._second:
            self._second, self._told = second, 0
            if self._left_out:
                values["left_out_before"] = self._left_out
                self._left_out = 0
        self._told += 1
        if self._told > self._most:
            self._left_out += 1
        else:
            write(event, **values)
