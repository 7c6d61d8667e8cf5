"""When a message is tried, and how much a next hop gets at once. Pure: time and chance are arguments.

A *next hop* is where the mail of one or many domains goes: the same exchangers, or the same transport. It learns how
many messages it may get at the same time (as Postfix does): one more for each round that went well, half where it could
not be reached, and no more than are on their way where it turned one away (421) while it served the others. While it is
down nothing is read and nothing is written for what waits for it, however much that is: one message at a time finds out
whether it is back, and then the rest goes, slowly at first.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from mx10.relay.courier.ways import Way
from mx10.values import value_class

FIRST_WINDOW: Final = 2.0
LOADED: Final = 500
"""Jobs of one next hop that are in memory."""
DOWN_LOADED: Final = 2
"""The same while it is down: one is tried now and then, and many hosts may be down."""
CEILING_MS: Final = 60_000
"""After so long, a next hop that said that it takes no more at once is tried with one more."""
SLOW_MS: Final = 5000
"""A message that is on its way for longer takes nobody's place any more: its host may be silent for minutes."""
SLOW_TIMES: Final = 4
"""So many times as many as may be on their way may be slow."""
LOW: Final = 50
"""A next hop with fewer jobs gets more from the database."""
_JITTER: Final = 0.1

JobT = TypeVar("JobT")


@value_class
class Schedule:
    """How long to wait, in milliseconds: to the second attempt, and between two at most."""

    first: int
    longest: int

    def next_at(self, attempts: int, now: int, random: float) -> int:
        """When the next attempt is due.

        Args:
            attempts: that there were, from 1.
            random: from 0 to 1: spreads what came together.
        """
        wait = pause(attempts, self.first, self.longest)
        return now + int(wait * (1 - _JITTER + 2 * _JITTER * random))


@value_class
class Pace:
    """How much goes at once.

    Attributes:
        deliveries: messages on their way at the same time.
        per_hop: the same to one next hop.
        per_minute: messages to one next hop; 0: any number.
        probe: milliseconds to the first look at a next hop that is down, and between two at most.
    """

    deliveries: int
    per_hop: int
    per_minute: int
    probe: tuple[int, int]


def pause(failures: int, first: int, longest: int) -> int:
    """Twice as long after each failure, from 1; never longer than ``longest``."""
    return int(min(longest, first << min(failures - 1, 40)))


@dataclass(slots=True)
class Hop(Generic[JobT]):
    """A next hop.

    Attributes:
        way: as it was looked up last.
        asks: domains of which more is in the database than in memory; the next to be read is the first.
        jobs: that are in memory; the next is on the left.
        reading: how many pages are being read for it.
        in_flight: how many are on their way now.
        window: how many may be.
        ceiling: how many it takes at once, by its own words; 0: it did not say.
        ceiling_at: since when.
        failures: in a row, since it was reached last.
        down_since: milliseconds since 1970; 0: it is up.
        probe_at: while it is down: when somebody looks.
        reason: why it is down.
        ready_at: not before; for a limit of messages a minute.
    """

    key: str
    way: Way
    asks: dict[str, None] = field(default_factory=dict)
    jobs: deque[JobT] = field(default_factory=deque)
    reading: int = 0
    in_flight: int = 0
    window: float = FIRST_WINDOW
    ceiling: int = 0
    ceiling_at: int = 0
    failures: int = 0
    down_since: int = 0
    probe_at: int = 0
    reason: str = ""
    ready_at: int = 0
    waits: bool = False
    """Something will look at it at ``probe_at`` or ``ready_at``."""

    def may_start(self, now: int, most: int) -> bool:
        """Whether one more may go there now."""
        if self.down_since:
            return self.in_flight == 0 and now >= self.probe_at
        return self.in_flight < min(self.window, most) and now >= self.ready_at

    def has_room(self) -> bool:
        """Whether it may have one more in memory. One that is down shall not keep others out."""
        return len(self.jobs) < (DOWN_LOADED if self.down_since else LOADED)

    def wants_more(self) -> bool:
        """Whether more should be read from the database now."""
        return bool(self.asks) and not self.has_enough()

    def has_enough(self) -> bool:
        """Whether it has enough to do, or gets it just now."""
        return self.reading > 0 or len(self.jobs) >= (1 if self.down_since else LOW)

    def worked(self, most: int, now: int) -> None:
        """It took, or refused, a message: it is there."""
        if self.down_since:
            self.down_since, self.window = 0, FIRST_WINDOW
        self.failures = 0
        if self.ceiling and now - self.ceiling_at >= CEILING_MS:
            self.ceiling, self.ceiling_at = self.ceiling + 1, now
        if self.ceiling >= most:
            self.ceiling = 0
        self.window = min(float(self.ceiling or most), self.window + 1 / self.window)

    def crowded(self, now: int) -> None:
        """It turned one away while it serves others: those on their way are as many as it takes."""
        self.ceiling, self.ceiling_at = max(1, self.in_flight), now
        self.window = float(self.ceiling)

    def failed(self, now: int, reason: str, first: int, longest: int) -> None:
        """It could not be reached. What was on its way at the same time says nothing new."""
        self.reason = reason
        if self.down_since and now < self.probe_at:
            return
        self.failures += 1
        self.window = max(1.0, self.window / 2)
        self.down_since = self.down_since or now
        self.probe_at = now + pause(self.failures, first, longest)
