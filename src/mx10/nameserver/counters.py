"""What a worker counts, at hardly any cost: nothing for a datagram, a little for a batch.

Answers out of the table of compiled answers are counted by the batch, as the objects they are; what they say (type,
response code) is read once a second. Where batches are full, which is where time is short, one in ``FULL_EVERY`` is
looked at and counts for all of them: types and codes are estimates then, to about one in a hundred. Everything else is
exact: the number of questions, and every answer that was not in the table.
"""

import os
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

from mx10.dns import rrtypes as rr

FULL_EVERY: Final = 32
"""Of batches that are full, one in so many is looked at."""
_MOST_PENDING: Final = 20_000
"""Different responses counted before they are read, should a second bring more."""
OTHER: Final = "other"
"""The type of a question that has no mnemonic, and of what is no question: anybody may ask for 65536 of them."""
TIMES: Final = 40
"""Classes of the histogram: the one with number n holds what took less than 2**n nanoseconds."""


class Counters:
    """The counters of one worker, since it started."""

    def __init__(self) -> None:
        self.started = time.time()
        self.udp = 0
        """Datagrams that came in."""
        self.tcp = 0
        """Messages that came in over TCP and TLS."""
        self.misses = 0
        """Questions that were not in the table of whole responses."""
        self.answers: Counter[tuple[str, int]] = Counter()
        """Responses by type and response code."""
        self.truncated = 0
        self.operations = 0
        """Messages handed in to the steward."""
        self.operations_refused = 0
        """Messages that were not handed in: too many of one client."""
        self.dropped = 0
        """Responses that the rate limit held back."""
        self.slipped = 0
        """Responses that the rate limit replaced by a short one."""
        self.bad_cookies = 0
        self.proven = 0
        """Questions with a good cookie."""
        self.connections_refused = 0
        """Connections closed because their client had too many."""
        self.connections_ended = 0
        """Connections closed because they were idle, or others needed the room."""
        self.logged = 0
        self.log_lost = 0
        """Lines of the query log that nobody took."""
        self.times = [0] * TIMES
        """Questions by the time that their batch took."""
        self.seconds = 0.0
        """What those took together."""
        self._pending: Counter[bytes | None] = Counter()
        self._pending_full: Counter[bytes | None] = Counter()

    def count(self, rrtype: int, rcode: int) -> None:
        """Note a response."""
        self.answers[_TYPES.get(rrtype, OTHER), rcode] += 1

    def hits(self, responses: Iterable[bytes | None], *, full: bool) -> None:
        """Note responses out of the table, without their id; None for what was not in it.

        Args:
            full: their batch was, so they count for others as well.
        """
        pending = self._pending_full if full else self._pending
        pending.update(responses)  # a loop in C
        if len(pending) > _MOST_PENDING:
            self.fold()

    def took(self, nanoseconds: int, count: int) -> None:
        """Note how long a batch took, from its arrival until it was sent."""
        self.times[min(nanoseconds.bit_length(), TIMES - 1)] += count
        self.seconds += nanoseconds * count / 1e9

    def fold(self) -> None:
        """Read the responses that were only counted so far."""
        for pending, weight in ((self._pending, 1), (self._pending_full, FULL_EVERY)):
            pending.pop(None, None)
            for response, number in pending.items():
                if response is not None:
                    self.answers[_TYPES.get(_type_of(response), OTHER), response[1] & 0xF] += number * weight
                    if response[0] & 2:
                        self.truncated += number * weight
            pending.clear()

    def report(self, worker: int, cache: tuple[int, int], connections: int) -> dict[str, Any]:
        """Everything, as JSON takes it.

        Args:
            worker: its number.
            cache: entries and octets of the compiled answers.
            connections: that are open.
        """
        self.fold()
        numbers = {name: value for name, value in vars(self).items() if isinstance(value, int | float)}
        return {
            **numbers,
            "worker": worker,
            "pid": os.getpid(),
            "memory": memory("self"),
            "answers": [[rrtype, rcode, number] for (rrtype, rcode), number in self.answers.items()],
            "times": self.times,
            "cache_entries": cache[0],
            "cache_octets": cache[1],
            "connections": connections,
        }


def memory(pid: int | str) -> int:
    """Octets of a process that are in memory; 0 where the system does not tell."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0


def _type_of(response: bytes) -> int:
    """The type asked for in a response of ours, without its id."""
    at = 10
    while response[at]:
        at += response[at] + 1
    return response[at + 1] << 8 | response[at + 2]


def _known_types() -> dict[int, str]:
    """Number to mnemonic of the types that are counted by name."""
    texts = {number: rr.type_to_text(number) for number in range(1, 0x10000)}
    return {number: text for number, text in texts.items() if not text.startswith("TYPE")}


_TYPES: Final = _known_types()
