"""The active queue: what is in memory, and goes to its next hops as they can take it.

It begins deliveries, hears what became of them, and keeps next hops that are down from all but one message at a time.
The rules (when, how much at once) are in ``queue``; what becomes of recipients is written by ``settling``; what waits
in the database is in ``backlog``.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from mx10.logs import get_logger
from mx10.relay.backlog import AGAIN_MS, Backlog
from mx10.relay.courier.values import Addressee, End, Fate, Letter, Stage, Step, Target, TlsPolicy, nobody
from mx10.relay.courier.ways import Way, Ways
from mx10.relay.hosts import HostMemory
from mx10.relay.jobs import Job, Memory
from mx10.relay.loading import Message
from mx10.relay.metrics import Tallies
from mx10.relay.queue import DOWN_LOADED, SLOW_MS, SLOW_TIMES, Hop, Pace
from mx10.relay.settling import Settler
from mx10.relay.tasks import Tasks
from mx10.relay.values import Waiting, name_of

_EARLY: Final = frozenset({Stage.ROUTE, Stage.CONNECT, Stage.GREETING, Stage.HELLO, Stage.TLS, Stage.AUTH})
"""What fails here is about the host, and not about a message."""
_EARLY_BUT_TLS: Final = _EARLY - {Stage.TLS}

log = get_logger("relay")


class ActiveQueue:
    """See the module.

    Args:
        backlog: has what was read taken in here from now on.
        tasks: deliveries run among them.
        may_begin: whether a delivery may begin now. None: always.
    """

    def __init__(
        self,
        ways: Ways,
        settler: Settler,
        hosts: HostMemory,
        clock: Callable[[], int],
        pace: Pace,
        memory: Memory,
        backlog: Backlog,
        tasks: Tasks,
        may_begin: Callable[[], bool] | None,
    ) -> None:
        self._ways = ways
        self._settler = settler
        self._hosts = hosts
        self._clock = clock
        self._deliveries = pace.deliveries
        self._per_hop = pace.per_hop
        self._per_minute = pace.per_minute
        self._probe = pace.probe
        self._memory = memory
        self._backlog = backlog
        self._tasks = tasks
        self._may_begin = may_begin
        self._hops = backlog.hops
        self._loop = asyncio.get_running_loop()
        self._flying: dict[int, Job] = {}
        """Messages on their way, by the identity of the job; the one that began first is the first."""
        self._slow: set[int] = set()
        """Those of them that do not count."""
        self._in_flight = 0
        self._blocked: dict[str, None] = {}
        """Next hops that wait because too many messages are on their way in all, in order."""
        self.stopped = False
        """Nothing more begins."""
        self.counts: Counter[str] = Counter()
        """What became of recipients."""
        self.tallies = Tallies()
        hosts.back = self._back
        backlog.add, backlog.run = self.add, self._run

    @property
    def in_flight(self) -> int:
        """Messages on their way."""
        return len(self._flying)

    # ---------------------------------------------------------------- going there

    def add(
        self, way: Way, message: Message, letter: Letter, recipients: Sequence[Waiting], whole: bool, size: int
    ) -> None:
        """Take some recipients of a message to memory, if there is room for them at their next hop.

        Args:
            whole: they are all that it has.
            size: octets of content that are kept in memory with it.
        """
        hop = self._backlog.hop_of(way)
        here = self._memory.recipients
        mine = {each.number: each for each in recipients if (message.id, each.number) not in here}
        if not mine:
            return
        if not hop.has_room() or self.stopped:
            for each in mine.values():
                self._backlog.again(each)
            return
        for each in mine.values():
            here.add((message.id, each.number))
        self._memory.content += size
        job = Job(message, letter, mine, whole and len(mine) == len(recipients), size)
        rank = _rank(job)
        if rank:
            # Behind those that are as urgent.
            hop.jobs.insert(next((at for at, each in enumerate(hop.jobs) if _rank(each) < rank), len(hop.jobs)), job)
        else:
            hop.jobs.append(job)
        self._run(hop)

    def _run(self, hop: Hop[Job]) -> None:
        """Start what may go to a next hop now."""
        now = self._clock()
        while (job := self._next(hop, now)) is not None:
            self._tasks.start(self._deliver(hop, job))
        if hop.key in self._blocked:
            return
        if hop.jobs and not hop.in_flight and not self.stopped:
            at = hop.probe_at if hop.down_since else hop.ready_at
            if at > now and not hop.waits:
                hop.waits = True
                self._loop.call_later((at - now) / 1000 + 0.01, self._look_again, hop)
        elif hop.ready_at > now and hop.jobs and not hop.waits:
            hop.waits = True
            self._loop.call_later((hop.ready_at - now) / 1000 + 0.001, self._look_again, hop)
        if hop.wants_more():
            self._backlog.refill(hop, now)

    def _next(self, hop: Hop[Job], now: int) -> Job | None:
        """The next message that may go to a next hop now; it counts as on its way."""
        if not hop.jobs or self.stopped or not hop.may_start(now, self._per_hop):
            return None
        if self._may_begin is not None and not self._may_begin():
            return None
        if self._in_flight >= self._deliveries:
            self._blocked[hop.key] = None
            return None
        hop.in_flight += 1
        self._in_flight += 1
        if self._per_minute:
            hop.ready_at = max(now, hop.ready_at) + 60_000 // self._per_minute
        job = hop.jobs.popleft()
        job.began = now
        self._flying[id(job)] = job
        return job

    def look_at_slow(self, now: int) -> None:
        """Let others have the places of those that are on their way for long."""
        for key, job in self._flying.items():
            if now - job.began < SLOW_MS or len(self._slow) >= SLOW_TIMES * self._deliveries:
                break
            if key not in self._slow:
                self._slow.add(key)
                self._in_flight -= 1
        self._unblock()

    def _look_again(self, hop: Hop[Job]) -> None:
        hop.waits = False
        self._run(hop)

    async def _deliver(self, hop: Hop[Job], job: Job) -> None:
        """Take a message to a next hop, and then the next one: a task for each would cost more than it does."""
        following: Job | None = job
        while following is not None:
            await self._attempt(hop, following)
            # Others that wait for their turn come first.
            following = None if self._blocked else self._next(hop, self._clock())
            self._run(hop)
            self._unblock()

    async def _attempt(self, hop: Hop[Job], job: Job) -> None:
        steps: list[Step] = []
        # Steps cost as much as the delivery itself: they are watched where something went wrong before.
        watched = hop.failures > 0 or any(each.attempts for each in job.recipients.values())
        fates: list[Fate] = []
        try:
            way = hop.way
            if hop.down_since:
                # A probe: its exchangers may be others by now.
                way = await self._ways.of(next(iter(job.recipients.values())).domain)
                if way.key != hop.key:
                    self._moved(hop, job)
                    return
                hop.way = way
            addressees = [
                Addressee(each.address, each.number, each.notify, each.orcpt) for each in job.recipients.values()
            ]
            fates = await self._ways.deliver(
                way,
                job.letter,
                addressees,
                arrived=job.message.arrived_at,
                listener=steps.append if watched else nobody,
            )
        except asyncio.CancelledError:
            self._memory.drop(job)
            raise
        except Exception:
            log.exception("a delivery failed", message=name_of(job.message.id))
        finally:
            hop.in_flight -= 1
            if id(job) in self._slow:
                self._slow.remove(id(job))
            else:
                self._in_flight -= 1
            del self._flying[id(job)]
        self._told(hop, job, fates, steps)

    def _unblock(self) -> None:
        while self._blocked and self._in_flight < self._deliveries:
            key = next(iter(self._blocked))
            del self._blocked[key]
            if key in self._hops:
                self._run(self._hops[key])

    # ---------------------------------------------------------------- what became of it

    def _told(self, hop: Hop[Job], job: Job, fates: list[Fate], steps: list[Step]) -> None:
        """What an attempt came to."""
        now = self._clock()
        if not fates:  # a fault of ours: all is as it was, and tried again after a while
            self._memory.drop(job)
            for each in job.recipients.values():
                self._backlog.anew(each.domain, now + AGAIN_MS)
            return
        early = _EARLY_BUT_TLS if _asks_for_more(job, hop.way) else _EARLY
        away = [fate for fate in fates if fate.end is End.LATER and (not fate.reached or fate.stage in early)]
        if len(away) == len(fates):
            # It speaks, and serves others meanwhile.
            crowded = bool(hop.in_flight) and not hop.down_since and any(fate.reply is not None for fate in fates)
            if crowded:
                hop.crowded(now)
                log.info(
                    "next hop takes no more at once", hop=hop.key, messages=hop.ceiling, cause=fates[0].reason[:300]
                )
            else:
                if not hop.down_since:
                    log.warning("next hop down", hop=hop.key, cause=fates[0].reason[:300])
                hop.failed(now, fates[0].reason, *self._probe)
            for fate in fates:
                self.tallies.told(fate)
            self.counts["deferred"] += len(fates)
            self._settler.not_reached(job, fates, steps, hop, now)
            if job.changed:
                self._give_back(job)
                return
            # It stays due: when its next hop is back it goes at once.
            hop.jobs.appendleft(job)
            job.recipients = {number: _tried(each) for number, each in job.recipients.items()}
            if not crowded:
                self._shed(hop)
            return
        if hop.down_since:
            log.info("next hop back", hop=hop.key, seconds=(now - hop.down_since) // 1000)
        hop.worked(self._per_hop, now)
        again = [fate for fate in fates if fate.now and fate.end is End.LATER]
        if again and len(again) < len(fates):
            # The host takes them with another message (RFC 5321 section 4.5.3.1.10).
            numbers = {fate.recipient.key for fate in again}
            rest = {number: each for number, each in job.recipients.items() if number in numbers}
            others = Job(job.message, job.letter, rest, False)
            if job.changed:
                self._give_back(others)
            else:
                hop.jobs.appendleft(others)
            fates = [fate for fate in fates if fate not in again]
            job.recipients = {number: each for number, each in job.recipients.items() if number not in numbers}
            job.whole = False
        self._settler.settle(job, fates, steps, hop, now, self._memory.drop, self._backlog.again)
        for fate in fates:
            self.tallies.told(fate)
            if fate.end is End.DELIVERED:
                self.counts["delivered"] += 1
                self.tallies.delivered((now - job.message.arrived_at) / 1000)
            elif fate.end is End.LATER:
                self.counts["deferred"] += 1
                hop.window = max(1.0, hop.window - 0.25)
            else:
                self.counts["failed"] += 1

    def _shed(self, hop: Hop[Job]) -> None:
        """A next hop that is down keeps few jobs in memory; the others wait in the database."""
        while len(hop.jobs) > DOWN_LOADED:
            job = hop.jobs.pop()
            self._memory.drop(job)
            for each in job.recipients.values():
                self._backlog.again(each)

    def _give_back(self, job: Job) -> None:
        """A command changed something about it while it was on its way: the database says what."""
        self._memory.drop(job)
        for each in job.recipients.values():
            self._backlog.anew(each.domain, each.due_at)

    def _moved(self, hop: Hop[Job], job: Job) -> None:
        """The way of a domain is another one now: so may be those of all that wait there."""
        log.info("the way of a domain changed", hop=hop.key)
        waiting = [job, *hop.jobs]
        hop.jobs.clear()
        hop.down_since, hop.failures = 0, 0
        self._backlog.moved(hop)
        for each in waiting:
            self._memory.drop(each)
            for name in {recipient.domain for recipient in each.recipients.values()}:
                self._backlog.anew(name, self._clock())

    # ---------------------------------------------------------------- what others say

    def forget(self, messages: set[int] | None) -> None:
        """Take messages out of memory, those that are on their way just now as soon as they have been tried; None:
        all."""
        for job in self._flying.values():
            if messages is None or job.message.id in messages:
                job.changed = True
        for hop in list(self._hops.values()):
            stay = []
            for job in hop.jobs:
                if messages is None or job.message.id in messages:
                    self._memory.drop(job)
                else:
                    stay.append(job)
            hop.jobs.clear()
            hop.jobs.extend(stay)
            if hop.wants_more():
                self._run(hop)

    def probe_now(self, hop: Hop[Job]) -> None:
        """Somebody says that it is worth trying."""
        if hop.down_since:
            hop.probe_at = 0
            self._hosts.forgive()
            self._run(hop)

    def _back(self, target: Target) -> None:
        # Whoever found out is in the middle of a delivery.
        self._loop.call_soon(self._host_back, target.host)

    def _host_back(self, host: str) -> None:
        """A host works again: other next hops that have it, too, need not find out for themselves."""
        for hop in list(self._hops.values()):
            if hop.down_since and host in hop.key:
                hop.probe_at = 0
                self._run(hop)


def _rank(job: Job) -> int:
    """What goes first: mail of which it is to be found out whether its recipient exists, then the more urgent."""
    if any(each.state == "apart" for each in job.recipients.values()):
        return 10
    return max(0, job.message.envelope.priority or 0)


def _asks_for_more(job: Job, way: Way) -> bool:
    """Whether a message demands of TLS what its way does not (REQUIRETLS): that it does not get it says nothing of the
    host, and keeps no other mail waiting."""
    return job.letter.requiretls and (way.transport is None or way.transport.tls is not TlsPolicy.VERIFIED)


def _tried(each: Waiting) -> Waiting:
    return replace(each, attempts=each.attempts + 1)
