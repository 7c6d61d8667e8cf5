"""What waits in the database, by domain: when the first of it is due, where it goes, and the reading of it.

A domain is read a page at a time, when it is due and its next hop has little to do. What is read, and what just came,
takes the way of its domain, which is looked up now and then. What is in memory, and when it goes, is in ``active``.
"""

import asyncio
import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from mx10.logs import get_logger
from mx10.relay import loading
from mx10.relay.courier.values import Letter
from mx10.relay.courier.ways import Way, Ways
from mx10.relay.jobs import CONTENT_BYTES, FromSpool, Job, Memory, letter_of
from mx10.relay.loading import Message, Page, Pages
from mx10.relay.queue import Hop
from mx10.relay.spool.opening import Opened
from mx10.relay.tasks import Tasks
from mx10.relay.values import Waiting
from mx10.store.errors import StoreError

WAY_MS: Final = 60_000
"""How long the way of a domain is used before it is looked up again."""
LOOKUPS: Final = 64
"""Ways that are looked up at the same time."""
TOGETHER: Final = 64
"""Domains that are read in one transaction."""
RECIPIENTS: Final = 400
"""Recipients that are read in one transaction."""
AGAIN_MS: Final = 5000
"""After a fault, of the database's or ours: how long to wait."""
_FEW: Final = 20
"""Recipients that are read where memory is full: a next hop that has nothing to do gets some nevertheless."""
_START: Final = (-(1 << 62), 0, -1)

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


class Backlog:
    """See the module.

    Args:
        memory: what is there is passed over.
        tasks: what is looked up and read runs among them.

    Attributes:
        hops: next hops, by their keys.
        pending: messages whose way is being looked up.
        add: takes to memory what was read: its way, the message, which of its recipients, whether they are all that it
            has, and the octets of content.
        run: called when something was read for a next hop.
    """

    def __init__(
        self,
        opened: Opened,
        node: int,
        ways: Ways,
        clock: Callable[[], int],
        memory: Memory,
        tasks: Tasks,
    ) -> None:
        self._opened = opened
        self._node = node
        self._ways = ways
        self._clock = clock
        self._memory = memory
        self._tasks = tasks
        self.hops: dict[str, Hop[Job]] = {}
        self.pending = 0
        self.add: Callable[[Way, Message, Letter, Sequence[Waiting], bool, int], None]
        self.run: Callable[[Hop[Job]], None]
        self._domains: dict[str, _Domain] = {}
        self._due: list[tuple[int, str]] = []
        self._more_domains = False
        self._lookups = asyncio.Semaphore(LOOKUPS)

    # ---------------------------------------------------------------- what is there

    def left(self, name: str, due_at: int) -> None:
        """Something of a domain is in the database alone."""
        domain = self._domain(name)
        if domain.loading:
            # What is being read now may not hold it.
            domain.missed = due_at if domain.missed is None else min(domain.missed, due_at)
            return
        if domain.due_at is None or due_at < domain.due_at:
            domain.due_at = due_at
        if (due_at, 0, -1) < domain.cursor:
            domain.cursor = _START
        self._line_up(domain)

    def again(self, each: Waiting) -> None:
        """A recipient is in the database alone."""
        self.left(each.domain, each.due_at)

    def anew(self, name: str, due_at: int) -> None:
        """Something of a domain is in the database alone, and may be due before what was read already."""
        self._domain(name).cursor = _START
        self.left(name, due_at)

    def next_hop(self, name: str) -> Hop[Job] | None:
        """That of a domain, where it is known."""
        return self.hops.get(self._domain(name).hop)

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
            self._memory.wake.set()

    def _ask(self, hop: Hop[Job], domain: _Domain) -> None:
        """Let a next hop ask for a domain when it has few jobs."""
        hop.asks[domain.name] = None
        domain.asked = True

    def _domain(self, name: str) -> _Domain:
        found = self._domains.get(name)
        if found is None:
            found = self._domains[name] = _Domain(name)
        return found

    async def scan(self) -> None:
        """Look which domains have anything there."""
        try:
            found = await loading.in_thread(loading.domains, self._opened, self._node)
        except StoreError as error:
            log.error("the spool cannot be read", cause=str(error))
            self._more_domains = True
            await asyncio.sleep(AGAIN_MS / 1000)
            return
        self._more_domains = len(found) >= loading.DOMAINS
        for name, due_at in found:
            self.left(name, due_at)

    async def rescan(self) -> None:
        """Look at all that is in the database anew."""
        for domain in self._domains.values():
            domain.cursor = _START
        await self.scan()

    # ---------------------------------------------------------------- ways

    def hop_of(self, way: Way) -> Hop[Job]:
        """The next hop of a way; it goes there from now on."""
        hop = self.hops.get(way.key)
        if hop is None:
            hop = self.hops[way.key] = Hop(way.key, way)
        else:
            hop.way = way
        return hop

    def route(self, name: str, then: Callable[[Way], None]) -> None:
        """Go on when the way of a domain is known: at once, if it is."""
        domain = self._domain(name)
        if domain.way is not None and self._clock() - domain.looked_at < WAY_MS:
            then(domain.way)
            return
        domain.pending.append(then)
        self.pending += 1
        if len(domain.pending) == 1:
            self._tasks.start(self._look_up(domain))

    async def _look_up(self, domain: _Domain) -> None:
        try:
            async with self._lookups:
                way = await self._ways.of(domain.name)
        except Exception:
            log.exception("a way could not be found", domain=domain.name)
            pending, domain.pending = domain.pending, []
            self.pending -= len(pending)
            domain.cursor, domain.due_at = _START, None
            self.left(domain.name, self._clock() + AGAIN_MS)
            return
        domain.way, domain.looked_at = way, self._clock()
        self.hop_of(way)
        if domain.hop != way.key:
            if domain.asked:
                self.hops[domain.hop].asks.pop(domain.name, None)
                domain.asked = False
            domain.hop = way.key
        pending, domain.pending = domain.pending, []
        self.pending -= len(pending)
        for then in pending:
            then(way)
        self._line_up(domain)

    def moved(self, hop: Hop[Job]) -> None:
        """The way of a domain is another one now: so may be those of all that wait for the same next hop."""
        for domain in self._domains.values():
            if domain.hop == hop.key:
                domain.looked_at, domain.hop, domain.asked = 0, "", False
                domain.way = None
        asked, hop.asks = hop.asks, {}
        for name in asked:
            self.left(name, self._clock())

    # ---------------------------------------------------------------- reading

    @property
    def next_due(self) -> int | None:
        """When time asks for the next domain."""
        return self._due[0][0] if self._due else None

    async def look(self, now: int) -> None:
        """Read what is due now."""
        if self._more_domains and not self._due:
            await self.scan()
        self._look_at_due(now)
        self._forget_idle()

    def _look_at_due(self, now: int) -> None:
        """Read domains that are due, unless their next hop has enough to do."""
        domains: list[_Domain] = []
        looked_up = 0
        while (
            self._due
            and self._due[0][0] <= now
            and len(self._memory.recipients) < self._memory.most
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
                hop = self.hop_of(domain.way)
            if domain.due_at > now:
                self._line_up(domain)
            elif hop is None:
                # Not before it is known who wants it: one read would follow the other for nothing.
                self.route(name, lambda _way: None)
                looked_up += 1
            elif hop.has_enough():
                self._ask(hop, domain)
            else:
                domains.append(domain)
        if domains:
            self._load(domains)

    def refill(self, hop: Hop[Job], now: int) -> None:
        """Read more for a next hop that has few jobs."""
        if len(self._memory.recipients) >= self._memory.most and hop.jobs:
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
        self._tasks.start(self._read(domains, hops))

    async def _read(self, domains: list[_Domain], hops: list[Hop[Job]]) -> None:
        try:
            with self._memory.reading() as left:
                await self._read_pages(domains, left)
        finally:
            for hop in hops:
                hop.reading -= 1
        for hop in hops:
            self.run(hop)

    async def _read_pages(self, domains: list[_Domain], left: set[tuple[int, int]]) -> None:
        now = self._clock()
        most = RECIPIENTS if len(self._memory.recipients) < self._memory.most else _FEW
        wanted = [(domain.name, domain.cursor) for domain in domains]
        room = max(0, CONTENT_BYTES - self._memory.content)
        try:
            found = await loading.in_thread(loading.pages, self._opened, self._node, wanted, now, most, room)
        except StoreError as error:
            log.error("the spool cannot be read", cause=str(error))
            for domain in domains:
                domain.loading, domain.missed = False, None
                domain.due_at = None
                domain.cursor = _START
                self.left(domain.name, now + AGAIN_MS)
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
                self.left(domain.name, missed)
            if page is None or not page.whole:
                # The others of its next hop come first.
                hop = self.hops.get(domain.hop)
                if hop is not None and not domain.asked:
                    self._ask(hop, domain)
            self._line_up(domain)

    def _add_page(self, domain: _Domain, page: Page, found: Pages, left: set[tuple[int, int]]) -> None:
        here = self._memory.recipients
        by_message: dict[int, list[Waiting]] = {}
        for each in page.recipients:
            key = (each.message, each.number)
            if key not in here and key not in left:
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
                self.add(way, message, letter, members, whole, size)

            self.route(domain.name, add)

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
