"""Takes what is in the spool to its next hops: what just came, and what the database says is due.

Memory holds some of it, never more than ``relay.loaded`` recipients; where a message just taken finds room there, its
content is not read again. Everything else waits in the database and is read by domain, a page at a time, when its next
hop has nothing to do. The rules (when, how much at once) are in ``queue``; what becomes of recipients is written by
``settling``.
"""

import asyncio
import heapq
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from mx10.logs import get_logger
from mx10.relay import loading
from mx10.relay.courier.values import Addressee, Content, End, Fate, Letter, Stage, Step, Target, TlsPolicy, nobody
from mx10.relay.courier.ways import Way, Ways
from mx10.relay.hosts import HostMemory
from mx10.relay.jobs import FromSpool, Job, letter_of
from mx10.relay.loading import Message, Page, Pages
from mx10.relay.metrics import Tallies
from mx10.relay.queue import DOWN_LOADED, SLOW_MS, SLOW_TIMES, Hop
from mx10.relay.settling import Settler
from mx10.relay.spool.opening import Opened
from mx10.relay.spool.spool import Taken
from mx10.relay.spool.steering import take_orders
from mx10.relay.values import Waiting, name_of
from mx10.store.errors import StoreError

CONTENT_BYTES: Final = 64 << 20
"""Octets of contents that are kept in memory from when they came."""
WAY_MS: Final = 60_000
"""How long the way of a domain is used before it is looked up again."""
LOOKUPS: Final = 64
"""Ways that are looked up at the same time."""
TOGETHER: Final = 64
"""Domains that are read in one transaction."""
RECIPIENTS: Final = 400
"""Recipients that are read in one transaction."""
_FEW: Final = 20
"""The same where memory is full: a next hop that has nothing to do gets some nevertheless."""
_START: Final = (-(1 << 62), 0, -1)
_AGAIN_MS: Final = 5000
"""When the database could not be read: how long to wait."""
_EARLY: Final = frozenset({Stage.ROUTE, Stage.CONNECT, Stage.GREETING, Stage.HELLO, Stage.TLS, Stage.AUTH})
"""What fails here is about the host, and not about a message."""
_EARLY_BUT_TLS: Final = _EARLY - {Stage.TLS}

log = get_logger("relay")


@dataclass(slots=True)
class _Domain:
    """What is known of a domain with mail.

    Attributes:
        due_at: when the next of what is not in memory is due; None: there is nothing.
        cursor: how far it was read.
        heap_at: where it is in the heap of what is due; None: it is not.
        asked: it is among those that its next hop asks for when it can.
        missed: something became due at that time while it was being read.
    """

    name: str
    due_at: int | None = None
    cursor: tuple[int, int, int] = _START
    way: Way | None = None
    looked_at: int = 0
    loading: bool = False
    pending: list[Callable[[Way], None]] = field(default_factory=list)
    hop: str = ""
    heap_at: int | None = None
    asked: bool = False
    missed: int | None = None


class Dispatcher:
    """See the module.

    Args:
        most: recipients in memory.
        deliveries: messages on their way at the same time.
        per_hop: the same to one next hop.
        per_minute: messages to one next hop; 0: any number.
        probe: milliseconds to the first look at a next hop that is down, and between two at most.
        may_begin: whether a delivery may begin now; when it may again after it might not, all is read anew. None:
            always.
    """

    def __init__(
        self,
        opened: Opened,
        node: int,
        ways: Ways,
        settler: Settler,
        hosts: HostMemory,
        clock: Callable[[], int],
        *,
        most: int,
        deliveries: int,
        per_hop: int,
        per_minute: int,
        probe: tuple[int, int],
        may_begin: Callable[[], bool] | None = None,
    ) -> None:
        self._opened = opened
        self._node = node
        self._ways = ways
        self._settler = settler
        self._hosts = hosts
        self._clock = clock
        self._most = most
        self._deliveries = deliveries
        self._per_hop = per_hop
        self._per_minute = per_minute
        self._probe = probe
        self._may_begin = may_begin
        self._loop = asyncio.get_running_loop()
        hosts.back = self._back
        self.hops: dict[str, Hop[Job]] = {}
        self._domains: dict[str, _Domain] = {}
        self._due: list[tuple[int, str]] = []
        self._here: set[tuple[int, int]] = set()
        """Recipients (message, number) in memory."""
        self._reads: list[set[tuple[int, int]]] = []
        """For each page that is being read: which recipients left memory meanwhile. It may still show them."""
        self._flying: dict[int, Job] = {}
        """Messages on their way, by the identity of the job; the one that began first is the first."""
        self._slow: set[int] = set()
        """Those of them that do not count."""
        self._content = 0
        self._pending = 0
        """Messages whose way is being looked up."""
        self._in_flight = 0
        self._blocked: dict[str, None] = {}
        """Next hops that wait because too many messages are on their way in all, in order."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._lookups = asyncio.Semaphore(LOOKUPS)
        self._stopped = False
        self._more_domains = False
        self._wake = asyncio.Event()
        self._change = 0
        self._ordered = True
        """Commands may have done what the log does not know of."""
        self.counts: Counter[str] = Counter()
        self.tallies = Tallies()

    # ---------------------------------------------------------------- what came

    def taken(self, taken: Taken) -> None:
        """A message is in the spool: deliver it, if there is room in memory; else it is found there."""
        envelope = taken.envelope
        waiting = taken.recipients()
        by_domain: dict[str, list[Waiting]] = {}
        for each in waiting:
            if each.state != "held":
                by_domain.setdefault(each.domain, []).append(each)
        message = Message(taken.message, taken.arrived_at, taken.expires_at, taken.content.size, envelope)
        if len(self._here) + self._pending + len(waiting) > self._most or self._stopped:
            for name, members in by_domain.items():
                self._left_there(self._domain(name), min(each.due_at for each in members))
            return
        content: Content = taken.content
        size = content.size if hasattr(content, "data") else 0
        if size and self._content + size > CONTENT_BYTES:
            content, size = FromSpool(self._opened, message), 0
        letter = letter_of(message, content)
        if len(by_domain) == 1:
            ((name, members),) = by_domain.items()
            self._route(name, lambda way: self._add(way, message, letter, members, len(members) == len(waiting), size))
            return
        # Split by next hop, and not by domain: the ways are all looked up before the first is taken.
        found: dict[str, tuple[Way, list[Waiting]]] = {}
        left = len(by_domain)

        def routed(way: Way, members: Iterable[Waiting]) -> None:
            nonlocal left
            found.setdefault(way.key, (way, []))[1].extend(members)
            left -= 1
            if left == 0:
                for each_way, mine in found.values():
                    self._add(each_way, message, letter, mine, len(mine) == len(waiting), size)

        for name, members in by_domain.items():
            self._route(name, lambda way, members=members: routed(way, members))  # type: ignore[misc]

    def _add(
        self, way: Way, message: Message, letter: Letter, recipients: Sequence[Waiting], whole: bool, size: int
    ) -> None:
        hop = self._hop(way)
        mine = {each.number: each for each in recipients if (message.id, each.number) not in self._here}
        if not mine:
            return
        if not hop.has_room() or self._stopped:
            for each in mine.values():
                self._left_there(self._domain(each.domain), each.due_at)
            return
        for each in mine.values():
            self._here.add((message.id, each.number))
        self._content += size
        job = Job(message, letter, mine, whole and len(mine) == len(recipients), size)
        rank = _rank(job)
        if rank:
            # Behind those that are as urgent.
            hop.jobs.insert(next((at for at, each in enumerate(hop.jobs) if _rank(each) < rank), len(hop.jobs)), job)
        else:
            hop.jobs.append(job)
        self._run(hop)

    def _left_there(self, domain: _Domain, due_at: int) -> None:
        """Something of a domain is in the database alone."""
        if domain.loading:
            # What is being read now may not hold it.
            domain.missed = due_at if domain.missed is None else min(domain.missed, due_at)
            return
        if domain.due_at is None or due_at < domain.due_at:
            domain.due_at = due_at
        if (due_at, 0, -1) < domain.cursor:
            domain.cursor = _START
        self._line_up(domain)

    def _line_up(self, domain: _Domain) -> None:
        """See to it that a domain is read when it is due: its next hop asks for it, or time does."""
        if domain.asked or domain.due_at is None:
            return
        hop = self.hops.get(domain.hop)
        if hop is not None and domain.due_at <= self._clock() and hop.has_enough():
            self._ask(hop, domain)
        elif domain.heap_at is None or domain.due_at < domain.heap_at:
            domain.heap_at = domain.due_at
            heapq.heappush(self._due, (domain.due_at, domain.name))
            self._wake.set()

    def _ask(self, hop: Hop[Job], domain: _Domain) -> None:
        """Let a next hop ask for a domain when it has few jobs."""
        hop.asks[domain.name] = None
        domain.asked = True

    # ---------------------------------------------------------------- ways

    def _domain(self, name: str) -> _Domain:
        found = self._domains.get(name)
        if found is None:
            found = self._domains[name] = _Domain(name)
        return found

    def _hop(self, way: Way) -> Hop[Job]:
        hop = self.hops.get(way.key)
        if hop is None:
            hop = self.hops[way.key] = Hop(way.key, way)
        else:
            hop.way = way
        return hop

    def _route(self, name: str, then: Callable[[Way], None]) -> None:
        """Look up the way of a domain, unless it is known."""
        domain = self._domain(name)
        if domain.way is not None and self._clock() - domain.looked_at < WAY_MS:
            then(domain.way)
            return
        domain.pending.append(then)
        self._pending += 1
        if len(domain.pending) == 1:
            self._start(self._look_up(domain))

    async def _look_up(self, domain: _Domain) -> None:
        try:
            async with self._lookups:
                way = await self._ways.of(domain.name)
        except Exception:
            log.exception("a way could not be found", domain=domain.name)
            pending, domain.pending = domain.pending, []
            self._pending -= len(pending)
            domain.cursor, domain.due_at = _START, None
            self._left_there(domain, self._clock() + _AGAIN_MS)
            self.counts["way_failures"] += len(pending)
            return
        domain.way, domain.looked_at = way, self._clock()
        self._hop(way)
        if domain.hop != way.key:
            if domain.asked:
                self.hops[domain.hop].asks.pop(domain.name, None)
                domain.asked = False
            domain.hop = way.key
        pending, domain.pending = domain.pending, []
        self._pending -= len(pending)
        for then in pending:
            then(way)
        self._line_up(domain)

    # ---------------------------------------------------------------- going there

    def _run(self, hop: Hop[Job]) -> None:
        """Start what may go to a next hop now."""
        now = self._clock()
        while (job := self._next(hop, now)) is not None:
            self._start(self._deliver(hop, job))
        if hop.key in self._blocked:
            return
        if hop.jobs and not hop.in_flight and not self._stopped:
            at = hop.probe_at if hop.down_since else hop.ready_at
            if at > now and not hop.waits:
                hop.waits = True
                self._loop.call_later((at - now) / 1000 + 0.01, self._look_again, hop)
        elif hop.ready_at > now and hop.jobs and not hop.waits:
            hop.waits = True
            self._loop.call_later((hop.ready_at - now) / 1000 + 0.001, self._look_again, hop)
        if hop.wants_more():
            self._refill(hop, now)

    def _next(self, hop: Hop[Job], now: int) -> Job | None:
        """The next message that may go to a next hop now; it counts as on its way."""
        if not hop.jobs or self._stopped or not hop.may_start(now, self._per_hop):
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

    def _look_at_slow(self, now: int) -> None:
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
            self._drop(job)
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

    def _told(self, hop: Hop[Job], job: Job, fates: list[Fate], steps: list[Step]) -> None:
        """What an attempt came to."""
        now = self._clock()
        if not fates:  # a fault of ours: all is as it was, and tried again after a while
            self._drop(job)
            for each in job.recipients.values():
                self._left_there(self._domain(each.domain), now + _AGAIN_MS)
                self._domain(each.domain).cursor = _START
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
        self._settler.settle(job, fates, steps, hop, now, self._drop, self._again)
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

    def _again(self, each: Waiting) -> None:
        """A recipient is to be tried later."""
        self._left_there(self._domain(each.domain), each.due_at)

    def _shed(self, hop: Hop[Job]) -> None:
        """A next hop that is down keeps few jobs in memory; the others wait in the database."""
        while len(hop.jobs) > DOWN_LOADED:
            job = hop.jobs.pop()
            self._drop(job)
            for each in job.recipients.values():
                self._left_there(self._domain(each.domain), each.due_at)

    def _drop(self, job: Job) -> None:
        """It is no longer in memory."""
        if len(self._here) >= self._most:
            self._wake.set()
        keys = [(job.message.id, number) for number in job.recipients]
        self._here.difference_update(keys)
        for left in self._reads:
            left.update(keys)
        self._content -= job.size
        job.size = 0

    def _give_back(self, job: Job) -> None:
        """A command changed something about it while it was on its way: the database says what."""
        self._drop(job)
        for each in job.recipients.values():
            domain = self._domain(each.domain)
            domain.cursor = _START
            self._left_there(domain, each.due_at)

    def _moved(self, hop: Hop[Job], job: Job) -> None:
        """The way of a domain is another one now: so may be those of all that wait there."""
        log.info("the way of a domain changed", hop=hop.key)
        waiting = [job, *hop.jobs]
        hop.jobs.clear()
        for domain in self._domains.values():
            if domain.hop == hop.key:
                domain.looked_at, domain.hop, domain.asked = 0, "", False
                domain.way = None
        asked, hop.asks = hop.asks, {}
        hop.down_since, hop.failures = 0, 0
        for each in waiting:
            self._drop(each)
            for name in {recipient.domain for recipient in each.recipients.values()}:
                domain = self._domain(name)
                domain.cursor = _START
                self._left_there(domain, self._clock())
        for name in asked:
            self._left_there(self._domain(name), self._clock())

    def _unblock(self) -> None:
        while self._blocked and self._in_flight < self._deliveries:
            key = next(iter(self._blocked))
            del self._blocked[key]
            if key in self.hops:
                self._run(self.hops[key])

    # ---------------------------------------------------------------- what is in the database

    def _refill(self, hop: Hop[Job], now: int) -> None:
        """Read more for a next hop that has few jobs."""
        if len(self._here) >= self._most and hop.jobs:
            return
        domains: list[_Domain] = []
        while hop.asks and len(domains) < TOGETHER:
            name = next(iter(hop.asks))
            del hop.asks[name]
            domain = self._domain(name)
            domain.asked = False
            if domain.due_at is not None and domain.due_at <= now and not domain.loading and not domain.pending:
                domains.append(domain)
            else:
                self._line_up(domain)
        if domains:
            self._load(domains)

    def _load(self, domains: list[_Domain]) -> None:
        """Read what is due of some domains."""
        for domain in domains:
            domain.loading = True
        hops = [self.hops[key] for key in {domain.hop for domain in domains} if key in self.hops]
        for hop in hops:
            hop.reading += 1
        self._start(self._read(domains, hops))

    async def _read(self, domains: list[_Domain], hops: list[Hop[Job]]) -> None:
        left: set[tuple[int, int]] = set()
        self._reads.append(left)
        try:
            await self._read_pages(domains, left)
        finally:
            self._reads = [each for each in self._reads if each is not left]
            for hop in hops:
                hop.reading -= 1
        for hop in hops:
            self._run(hop)

    async def _read_pages(self, domains: list[_Domain], left: set[tuple[int, int]]) -> None:
        now = self._clock()
        most = RECIPIENTS if len(self._here) < self._most else _FEW
        wanted = [(domain.name, domain.cursor) for domain in domains]
        room = max(0, CONTENT_BYTES - self._content)
        try:
            found = await loading.in_thread(loading.pages, self._opened, self._node, wanted, now, most, room)
        except StoreError as error:
            log.error("the spool cannot be read", cause=str(error))
            for domain in domains:
                domain.loading, domain.missed = False, None
                domain.due_at = None
                domain.cursor = _START
                self._left_there(domain, now + _AGAIN_MS)
            return
        for domain in domains:
            domain.loading = False
            page = found.pages.get(domain.name)
            if page is not None:
                domain.due_at = page.later if page.whole else domain.due_at
                domain.cursor = _START if page.whole else page.cursor
                self._add_page(domain, page, found, left)
            missed, domain.missed = domain.missed, None
            if missed is not None:
                self._left_there(domain, missed)
            if page is None or not page.whole:
                # The others of its next hop come first.
                hop = self.hops.get(domain.hop)
                if hop is not None and not domain.asked:
                    self._ask(hop, domain)
            self._line_up(domain)

    def _add_page(self, domain: _Domain, page: Page, found: Pages, left: set[tuple[int, int]]) -> None:
        by_message: dict[int, list[Waiting]] = {}
        for each in page.recipients:
            key = (each.message, each.number)
            if key not in self._here and key not in left:
                by_message.setdefault(each.message, []).append(each)
        for id_, members in by_message.items():
            message = found.messages.get(id_)
            if message is None:
                continue
            content = found.contents.get(id_)
            letter = letter_of(message, content if content is not None else FromSpool(self._opened, message))
            whole = found.counts.get(id_) == len(members)
            size = content.size if content is not None else 0

            def add(
                way: Way,
                message: Message = message,
                letter: Letter = letter,
                members: list[Waiting] = members,
                whole: bool = whole,
                size: int = size,
            ) -> None:
                self._add(way, message, letter, members, whole, size)

            self._route(domain.name, add)

    async def run(self) -> None:
        """Look for what becomes due, until cancelled."""
        self._change = await loading.in_thread(loading.last_change, self._opened)
        await self._scan()
        looked = self._clock()
        while True:
            now = self._clock()
            if now - looked >= 1000 or now < looked:
                looked = now
                await self._look_for_changes()
                self._look_at_slow(now)
            if self._more_domains and not self._due:
                await self._scan()
            self._look_at_due(now)
            self._forget_idle()
            timeout = 1.0
            if self._due and len(self._here) < self._most:
                timeout = min(1.0, max(0.01, (self._due[0][0] - self._clock()) / 1000))
            self._wake.clear()
            try:
                # Not wait_for: that of Python 3.11 forgets to end when it is woken at the same moment.
                async with asyncio.timeout(timeout):
                    await self._wake.wait()
            except TimeoutError:
                continue
            await asyncio.sleep(0.01)  # several at once

    def _look_at_due(self, now: int) -> None:
        """Read domains that are due, unless their next hop has enough to do."""
        domains: list[_Domain] = []
        looked_up = 0
        while (
            self._due
            and self._due[0][0] <= now
            and len(self._here) < self._most
            and len(domains) < TOGETHER
            and looked_up < TOGETHER
        ):
            at, name = heapq.heappop(self._due)
            domain = self._domains.get(name)
            if domain is None or domain.heap_at != at:
                continue  # it was put elsewhere since
            domain.heap_at = None
            if domain.due_at is None or domain.asked or domain.loading or domain.pending:
                continue  # who reads it, or looks its way up, goes on with it
            hop = self.hops.get(domain.hop)
            if hop is None and domain.way is not None:
                hop = self._hop(domain.way)
            if domain.due_at > now:
                self._line_up(domain)
            elif hop is None:
                # Not before it is known who wants it: one read would follow the other for nothing.
                self._route(name, lambda _way: None)
                looked_up += 1
            elif hop.has_enough():
                self._ask(hop, domain)
            else:
                domains.append(domain)
        if domains:
            self._load(domains)

    async def rescan(self) -> None:
        """Look at all that is in the database anew."""
        for domain in self._domains.values():
            domain.cursor = _START
        await self._scan()

    def is_here(self, message: int, number: int) -> bool:
        """Whether a recipient is in memory."""
        return (message, number) in self._here

    async def _scan(self) -> None:
        try:
            found = await loading.in_thread(loading.domains, self._opened, self._node)
        except StoreError as error:
            log.error("the spool cannot be read", cause=str(error))
            self._more_domains = True
            await asyncio.sleep(_AGAIN_MS / 1000)
            return
        self._more_domains = len(found) >= loading.DOMAINS
        for name, due_at in found:
            self._left_there(self._domain(name), due_at)

    async def _look_for_changes(self) -> None:
        try:
            self._change, ids, everything = await loading.in_thread(loading.changes, self._opened, self._change)
        except StoreError:
            return
        self._ordered = self._ordered or everything or bool(ids)
        if everything:
            self.forget(None)
            await self._scan()
            for each_hop in list(self.hops.values()):
                self._probe_now(each_hop)
            self._settler.look_now()
        elif ids:
            self.forget(set(ids))
            recipients, _ = await loading.in_thread(loading.of_messages, self._opened, ids)
            for each in recipients:
                if each.node == self._node and each.state in ("queued", "apart"):
                    domain = self._domain(each.domain)
                    domain.cursor = _START
                    self._left_there(domain, each.due_at)
                    hop = self.hops.get(domain.hop)
                    if hop is not None and each.due_at <= self._clock():
                        self._probe_now(hop)
            if any(each.state == "return" for each in recipients):
                self._settler.look_now()
        if self._ordered:
            await self._tell_orders()

    async def _tell_orders(self) -> None:
        """Write into the log what commands did, also while no relay ran."""
        try:
            while orders := await loading.in_thread(take_orders, self._opened):
                for event, values in orders:
                    log.info(event, **values)
        except StoreError:
            return  # the next look tries again
        self._ordered = False

    def forget(self, messages: set[int] | None) -> None:
        """Take messages out of memory, those that are on their way just now as soon as they have been tried; None:
        all."""
        for job in self._flying.values():
            if messages is None or job.message.id in messages:
                job.changed = True
        for hop in list(self.hops.values()):
            stay = []
            for job in hop.jobs:
                if messages is None or job.message.id in messages:
                    self._drop(job)
                else:
                    stay.append(job)
            hop.jobs.clear()
            hop.jobs.extend(stay)
            if hop.wants_more():
                self._run(hop)

    def _probe_now(self, hop: Hop[Job]) -> None:
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
        for hop in list(self.hops.values()):
            if hop.down_since and host in hop.key:
                hop.probe_at = 0
                self._run(hop)

    def _forget_idle(self) -> None:
        """Next hops and domains that have nothing to do leave memory, when there are many."""
        if len(self._domains) + len(self.hops) < 20_000:
            return
        for key in [
            key
            for key, hop in self.hops.items()
            if not hop.jobs and not hop.in_flight and not hop.down_since and not hop.asks and not hop.reading
        ]:
            del self.hops[key]
        idle = [
            name
            for name, domain in self._domains.items()
            if domain.due_at is None
            and not domain.asked
            and not domain.pending
            and not domain.loading
            and domain.hop not in self.hops
        ]
        for name in idle:
            del self._domains[name]

    # ---------------------------------------------------------------- beginning and end

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a task of the dispatcher failed", cause=repr(error))

    async def stop(self, seconds: float) -> None:
        """Begin nothing more; let what is on its way end, for some seconds."""
        self._stopped = True
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=seconds)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=1.0)

    @property
    def in_flight(self) -> int:
        """Messages on their way."""
        return len(self._flying)

    @property
    def hops_down(self) -> int:
        """Next hops that are down."""
        return sum(1 for hop in self.hops.values() if hop.down_since)

    @property
    def in_memory(self) -> int:
        """Recipients in memory."""
        return len(self._here)


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
