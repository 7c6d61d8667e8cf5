"""Takes what is in the spool to its next hops: what just came, and what the database says is due.

Memory holds some of it, never more than ``relay.loaded`` recipients; where a message just taken finds room there, its
content is not read again. Everything else waits in the database and is read by domain, a page at a time, when its next
hop has nothing to do. Here is what comes from outside: messages just taken, time, and what commands did. What is in
memory is ``active``, what is in the database ``backlog``.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from mx10.logs import get_logger
from mx10.relay import loading
from mx10.relay.active import ActiveQueue
from mx10.relay.backlog import Backlog
from mx10.relay.courier.values import Content
from mx10.relay.courier.ways import Way, Ways
from mx10.relay.hosts import HostMemory
from mx10.relay.jobs import CONTENT_BYTES, FromSpool, Memory, letter_of
from mx10.relay.loading import Message
from mx10.relay.queue import Pace
from mx10.relay.settling import Settler
from mx10.relay.spool.opening import Opened
from mx10.relay.spool.spool import Taken
from mx10.relay.spool.steering import take_orders
from mx10.relay.tasks import Tasks
from mx10.relay.values import Waiting
from mx10.store.errors import StoreError

LOOK_MS: Final = 1000
"""Between two looks at what commands did."""

log = get_logger("relay")


class Dispatcher:
    """See the module.

    Args:
        most: recipients in memory.
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
        pace: Pace,
        *,
        most: int,
        may_begin: Callable[[], bool] | None = None,
    ) -> None:
        self._opened = opened
        self._node = node
        self._settler = settler
        self._clock = clock
        self._tasks = Tasks()
        self._memory = Memory(most)
        self._backlog = Backlog(opened, node, ways, clock, self._memory, self._tasks)
        self._active = ActiveQueue(
            ways, settler, hosts, clock, pace, self._memory, self._backlog, self._tasks, may_begin
        )
        self.hops = self._backlog.hops
        self.counts = self._active.counts
        self.tallies = self._active.tallies
        self._change = 0
        """How far is known what commands did."""
        self._ordered = True
        """They may have done what the log does not know of."""
        self._telling = False
        """The log is just being told."""

    def taken(self, taken: Taken) -> None:
        """A message is in the spool: deliver it, if there is room in memory; else it is found there."""
        envelope = taken.envelope
        waiting = taken.recipients()
        by_domain: dict[str, list[Waiting]] = {}
        for each in waiting:
            if each.state != "held":
                by_domain.setdefault(each.domain, []).append(each)
        message = Message(taken.message, taken.arrived_at, taken.expires_at, taken.content.size, envelope)
        memory, backlog, active = self._memory, self._backlog, self._active
        if len(memory.recipients) + backlog.pending + len(waiting) > memory.most or active.stopped:
            for name, members in by_domain.items():
                backlog.left(name, min(each.due_at for each in members))
            return
        content: Content = taken.content
        size = content.size if hasattr(content, "data") else 0
        if size and memory.content + size > CONTENT_BYTES:
            content, size = FromSpool(self._opened, message), 0
        letter = letter_of(message, content)
        if len(by_domain) == 1:
            ((name, members),) = by_domain.items()
            backlog.route(
                name, lambda way: active.add(way, message, letter, members, len(members) == len(waiting), size)
            )
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
                    active.add(each_way, message, letter, mine, len(mine) == len(waiting), size)

        for name, members in by_domain.items():
            backlog.route(name, lambda way, members=members: routed(way, members))  # type: ignore[misc]

    async def run(self) -> None:
        """Look for what becomes due, until cancelled."""
        self._change = await loading.in_thread(loading.last_change, self._opened)
        await self._backlog.scan()
        looked = self._clock()
        while True:
            now = self._clock()
            if now - looked >= LOOK_MS or now < looked:
                looked = now
                await self._look_for_changes()
                self._active.look_at_slow(now)
            await self._backlog.look(now)
            timeout, due = 1.0, self._backlog.next_due
            if due is not None and len(self._memory.recipients) < self._memory.most:
                timeout = min(1.0, max(0.01, (due - self._clock()) / 1000))
            self._memory.wake.clear()
            try:
                # Not wait_for: that of Python 3.11 forgets to end when it is woken at the same moment.
                async with asyncio.timeout(timeout):
                    await self._memory.wake.wait()
            except TimeoutError:
                continue
            await asyncio.sleep(0.01)  # several at once

    async def rescan(self) -> None:
        """Look at all that is in the database anew."""
        await self._backlog.rescan()

    async def _look_for_changes(self) -> None:
        try:
            self._change, ids, everything = await loading.in_thread(loading.changes, self._opened, self._change)
        except StoreError:
            return
        self._ordered = self._ordered or everything or bool(ids)
        if everything:
            self.forget(None)
            await self._backlog.scan()
            for each_hop in list(self.hops.values()):
                self._active.probe_now(each_hop)
            self._settler.look_now()
        elif ids:
            self.forget(set(ids))
            recipients, _ = await loading.in_thread(loading.of_messages, self._opened, ids)
            for each in recipients:
                if each.node == self._node and each.state in ("queued", "apart"):
                    self._backlog.anew(each.domain, each.due_at)
                    hop = self._backlog.next_hop(each.domain)
                    if hop is not None and each.due_at <= self._clock():
                        self._active.probe_now(hop)
            if any(each.state == "return" for each in recipients):
                self._settler.look_now()
        if self._ordered and not self._telling and not self._active.stopped:
            # Not here: it may wait for others who write, and no mail for it.
            self._ordered, self._telling = False, True
            self._tasks.start(self._tell_orders())

    async def _tell_orders(self) -> None:
        """Write into the log what commands did, also while no relay ran."""
        try:
            while orders := await loading.in_thread(take_orders, self._opened):
                for event, values in orders:
                    log.info(event, **values)
        except StoreError:
            self._ordered = True  # the next look tries again
        finally:
            self._telling = False

    def forget(self, messages: set[int] | None) -> None:
        """See ``ActiveQueue.forget``."""
        self._active.forget(messages)

    def is_here(self, message: int, number: int) -> bool:
        """Whether a recipient is in memory."""
        return (message, number) in self._memory.recipients

    async def stop(self, seconds: float) -> None:
        """Begin nothing more; let what is on its way end, for some seconds."""
        self._active.stopped = True
        await self._tasks.stop(seconds)

    @property
    def in_flight(self) -> int:
        """Messages on their way."""
        return self._active.in_flight

    @property
    def hops_down(self) -> int:
        """Next hops that are down."""
        return sum(1 for hop in self.hops.values() if hop.down_since)

    @property
    def in_memory(self) -> int:
        """Recipients in memory."""
        return len(self._memory.recipients)
