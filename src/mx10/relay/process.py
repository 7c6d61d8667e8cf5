"""The relay's process: puts spool, queue, courier and door together, and keeps them until it is told to stop.

One asyncio loop (uvloop's, where it is there: chosen because the loop is half of what a small message costs) and the
one thread that writes the spool. Where ``relay.door_processes`` says so, the door is in processes of its own
(``doors``), and this one keeps and delivers.
"""

import asyncio
import gc
import os
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Any, Final

from mx10.config import Config
from mx10.logs import get_logger
from mx10.relay.basics import (
    Listening,
    check,
    clock,
    descriptors_to_deliver,
    get_descriptors,
    hostname_of,
    links_of,
    spool_of,
    surroundings,
)
from mx10.relay.courier.reports import Issuer
from mx10.relay.courier.values import Connector, Fate
from mx10.relay.courier.ways import Ways
from mx10.relay.dispatcher import Dispatcher
from mx10.relay.door.service import DoorService
from mx10.relay.hosts import HostMemory
from mx10.relay.journal import Journal
from mx10.relay.metrics import Meter
from mx10.relay.nodes import Nodes, register
from mx10.relay.queue import Pace, Schedule
from mx10.relay.settling import Settler
from mx10.relay.spool.files import remove_strays
from mx10.relay.spool.opening import alone, open_spool
from mx10.relay.spool.spool import Spool, Taken, remove_stray_parts
from mx10.relay.spool.writing import Writer
from mx10.relay.values import name_of
from mx10.resolver import Forwarder

if TYPE_CHECKING:
    from mx10.relay.doors import DoorDesk

ServePage = Callable[[Callable[[], bytes]], Callable[[], Awaitable[None]]]
"""Given what makes a text, what serves it until cancelled."""
STOP_SECONDS: Final = 5.0
"""How long what is on its way may take when we are told to stop."""

log = get_logger("relay")


def live(config: Config, listening: Sequence[Listening], control: socket.socket, page: ServePage | None = None) -> None:
    """The life of the process: until ``control`` ends."""

    async def life() -> None:
        # Made within the loop that it belongs to.
        await Relay(config, listening, page=page).run(control)

    run(life())


def run(life: Coroutine[Any, Any, None]) -> None:
    """Run a whole process of the relay."""
    with suppress(ImportError):
        import uvloop

        uvloop.install()
    # A message is a hundred small objects, hardly any of them in a circle: looking for circles rarely is enough.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    asyncio.run(life)


class Relay:
    """The relay.

    Args:
        listening: bound sockets; without any, the door is elsewhere.
        reach: what stands before the connections to other hosts: the lab lets none leave the machine.
        page: serves the text of metrics; None: there are none to be seen.
    """

    def __init__(
        self,
        config: Config,
        listening: Sequence[Listening],
        *,
        reach: Callable[[Connector], Connector] | None = None,
        page: ServePage | None = None,
    ) -> None:
        self._config = config
        self._settings = config.relay
        self._listening = listening
        self._reach = reach
        self._page = page
        self.ready = asyncio.Event()
        """Set when mail is taken."""
        self.entrance: DoorService
        self.dispatcher: Dispatcher
        self.settler: Settler
        self.spool: Spool
        self.hosts: HostMemory
        self.journal: Journal
        self.desk: DoorDesk | None = None
        """Where doors in other processes hand in; None: the door is here."""
        self.started = time.time()

    @property
    def connections(self) -> int:
        """Clients that are connected, in whatever process."""
        return self.entrance.connections + (self.desk.connections if self.desk is not None else 0)

    @property
    def counts(self) -> Counter[tuple[str, str]]:
        """Of all doors, as ``Door.counts``."""
        return self.entrance.door.counts + (self.desk.counts if self.desk is not None else Counter())

    async def run(self, control: socket.socket | None = None) -> None:
        """Serve until ``control`` ends, or until cancelled.

        Raises:
            RelayError: it cannot start.
            StoreError: the spool cannot be used.
        """
        settings, config = self._settings, self._config
        loop = asyncio.get_running_loop()
        transports = check(config)
        get_descriptors(descriptors_to_deliver(settings))
        hostname = hostname_of(settings)
        if "." not in hostname:
            log.warning(
                "this host has no name with a dot: set relay.hostname to the one in MX records", hostname=hostname
            )
        async with AsyncExitStack() as stack:
            opened = open_spool(config, create=True)
            stack.callback(opened.store.close)
            if opened.folder is not None:
                stack.callback(os.close, alone(opened.folder))
            place = register(opened.store)
            node = place.node
            if opened.folder is not None:
                # Doors in other processes may be writing some just now.
                age = 0.0 if self._listening else settings.message_seconds + 60
                strays = await asyncio.to_thread(remove_strays, opened.store, opened.folder, time.time() - age)
                if strays:
                    log.info("bodies of messages that were never promised are removed", files=strays)
            else:
                await asyncio.to_thread(remove_stray_parts, opened.store, node)
            nodes = None
            if not opened.store.is_sqlite:
                nodes = Nodes(opened.store, place, self._anew)
                stack.callback(nodes.leave)
            self.spool = spool_of(config, opened, node, Writer(opened.store, loop))
            stack.callback(self.spool.close)
            self.journal = Journal(loop)
            stack.callback(self.journal.flush)
            resolver = await stack.enter_async_context(Forwarder(config.resolver))
            links = links_of(config, hostname)
            stack.push_async_callback(links.close)
            connect = links if self._reach is None else self._reach(links)
            around, self.hosts = surroundings(config, hostname, transports, resolver, connect)
            self.entrance = DoorService(config, self.spool, around, opened.store, self._taken, reach=self._reach)
            await self.entrance.prepare(stack)
            services = self.entrance.services
            if not self._listening and opened.folder is not None:
                from mx10.relay.doors import DoorDesk

                self.desk = await stack.enter_async_context(DoorDesk(self.spool, opened.folder, self._taken))
                services.learned.append(self.desk.learned)
            postmaster = settings.postmaster or f"postmaster@{hostname}"
            self.settler = Settler(
                opened,
                self.spool,
                Schedule(settings.retry_seconds * 1000, settings.retry_longest_seconds * 1000),
                Issuer(hostname, postmaster, double_bounces=bool(settings.postmaster)),
                clock,
                self._taken,
                self.journal,
                learned=_all_of(services.learned),
            )
            self.dispatcher = Dispatcher(
                opened,
                node,
                Ways(around),
                self.settler,
                self.hosts,
                clock,
                Pace(
                    deliveries=settings.deliveries,
                    per_hop=settings.deliveries_per_hop,
                    per_minute=settings.messages_per_minute_per_hop,
                    probe=(settings.probe_seconds * 1000, settings.probe_longest_seconds * 1000),
                ),
                most=settings.loaded,
                may_begin=nodes.holds if nodes is not None else None,
            )
            self.settler.forget = self.dispatcher.forget
            self.settler.is_here = self.dispatcher.is_here
            services.running += [self.dispatcher.run, self.settler.run]
            if nodes is not None:
                services.running.append(nodes.run)
            if self._page is not None:
                meter = Meter(self)
                services.running += [meter.run, self._page(meter.page)]
            tasks = [loop.create_task(forever(each)) for each in services.running]
            await self.entrance.listen(self._listening)
            where = ", ".join(each.address for each in self._listening)
            log.info("relay ready", listening=where or "elsewhere", hostname=hostname, spool=opened.store.place)
            self.ready.set()
            try:
                await _first_of(end_of(control), *([nodes.evicted.wait()] if nodes is not None else []))
            finally:
                log.info("relay stops", connections=self.connections)
                deadline = loop.time() + STOP_SECONDS
                await self.entrance.stop(deadline)
                await self.dispatcher.stop(max(0.1, deadline - loop.time()))
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks, timeout=1.0)

    def _taken(self, taken: Taken) -> None:
        envelope = taken.envelope
        self.journal(
            "accepted",
            message=name_of(taken.message),
            sender=envelope.reverse_path,
            to=taken.address,
            recipients=len(taken.rows),
            size=taken.content.size,
            client=envelope.client,
        )
        self.dispatcher.taken(taken)

    async def _anew(self) -> None:
        self.dispatcher.forget(None)
        await self.dispatcher.rescan()


def _all_of(calls: Sequence[Callable[[Fate], None]]) -> Callable[[Fate], None] | None:
    if not calls:
        return None

    def tell(fate: Fate) -> None:
        for call in calls:
            call(fate)

    return tell


async def forever(work: Callable[[], Awaitable[None]]) -> None:
    """Run something; after a fault of ours, begin it again."""
    while True:
        try:
            await work()
            return
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("a service of the relay failed; it begins again")
            await asyncio.sleep(1.0)


async def _first_of(*works: Coroutine[Any, Any, Any]) -> None:
    """Wait until one of several comes to its end."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


async def end_of(control: socket.socket | None) -> None:
    """Wait until the supervisor wants us to stop."""
    loop = asyncio.get_running_loop()
    if control is None:
        await loop.create_future()
        return
    control.setblocking(False)
    while await loop.sock_recv(control, 64):
        pass
