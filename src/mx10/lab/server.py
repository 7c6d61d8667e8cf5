"""The running lab: a nameserver at every address of the plan, the forwarder in front and the exchangers that take mail,
in one process; and what to do when a zone is edited.

A change to the folder is read, a new plan made, and only what differs is done: a zone replaced in its servers, a server
started, stopped, or made to misbehave. Then the forwarder forgets what it knew, so that the next answer shows the edit.
"""

import asyncio
import errno
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol

from mx10.config import Config, NameserverSettings, ResolverSettings
from mx10.dns.wirename import to_text
from mx10.lab import ZONES
from mx10.lab.control import Control, FolderError
from mx10.lab.exchangers import Exchangers
from mx10.lab.forwarder import Forwarder, is_lab, servfail
from mx10.lab.places import folder_of, tls_folder_of
from mx10.lab.plan import ANSWER, Manner, Place, Plan, all_addresses, make_plan
from mx10.lab.sockets import Handler, Waiter
from mx10.logs import get_logger
from mx10.nameserver.listeners import Address, ListenError, Sockets, bind, format_address, listen
from mx10.nameserver.responder import Responder
from mx10.nameserver.table import ZoneTable
from mx10.nameserver.watch import FolderWatch, watch_folder
from mx10.resolver.iterate import Budget, Iterator
from mx10.zones.folder import ZoneFolder
from mx10.zones.problems import Problem

BUDGET: Final = Budget(seconds=2.0, query_seconds=0.4)
"""Everything is near here: a server that has not answered by then will not. A client's own patience (3 s) lasts
longer."""
DELIBERATE: Final = ("null-mx-not-alone", "target-is-address")
"""Rules that the lab's zones break to show what comes of it: they are warnings here, and those of the lab's own zones
are not told."""
_SETTLE_SECONDS: Final = 0.02
"""An editor's several steps of saving a file are one change."""

log = get_logger("lab")


class LabError(Exception):
    """The lab cannot start: why, and what to do."""


class RunningAlreadyError(LabError):
    """Another lab has the address."""


class _Closable(Protocol):
    def close(self) -> None: ...


@dataclass(slots=True)
class _Server:
    """What stands at one address: the place it was made for, its zones, and the sockets that are open."""

    place: Place
    responder: Responder
    sockets: _Closable


class Lab:
    """The lab, to be started once.

    Args:
        config: ``lab`` says where; ``zones`` and ``nameserver`` hold for the lab's zones and servers as for others.
    """

    def __init__(self, config: Config) -> None:
        self.folder = config.lab.zone_dir or ZONES
        self.port = config.lab.port
        self.address: Address = (config.lab.address, self.port)
        self._settings = replace(config.nameserver, answer_cache_mb=1)
        self._zones = ZoneFolder(self.folder, replace(config.zones, tolerate=(*config.zones.tolerate, *DELIBERATE)))
        self._plan = Plan()
        self._servers: dict[str, _Server] = {}
        self._forwarder: Forwarder | None = None
        self._front: Waiter | None = None
        self.exchangers = Exchangers(config, tls_folder_of(folder_of(*self.address)))
        self._control: Control | None = None
        self._watch: FolderWatch | None = None
        self._pending: set[Path] | None = set()
        self._settling: asyncio.TimerHandle | None = None
        self._updating = asyncio.Lock()
        self._updates: set[asyncio.Task[None]] = set()

    @property
    def zones(self) -> int:
        """Zones that are served."""
        return len(self._zones.zones)

    @property
    def servers(self) -> int:
        """Addresses at which somebody listens, the forwarder's not counted."""
        return sum(server.place.manner.name != "off" for server in self._servers.values())

    async def start(self) -> None:
        """Read the zones and open every server.

        Raises:
            LabError: no zones, or an address cannot be had; nothing is left open.
        """
        if not self.folder.is_dir():
            raise LabError(f"{self.folder} is not a folder: make one with `mx10 lab copy DIR`")
        if not _is_loopback(self.address[0]):
            raise LabError(
                f"lab.address is {self.address[0]}: the lab stays on this machine, choose one of 127.0.0.0/8"
            )
        try:
            await self._open()
        except BaseException as error:
            await self.close()
            if isinstance(error, FolderError):
                raise LabError(str(error)) from error
            if not isinstance(error, ListenError):
                raise
            if await is_lab(self.address):
                where = format_address(self.address)
                what = f"the lab runs already, at {where}; end it with Ctrl-C where it was started"
                raise RunningAlreadyError(what) from error
            raise LabError(_explain(error)) from error

    async def _open(self) -> None:
        self._watch = watch_folder(self.folder)
        # Where the lab's zones are wrong, they are so on purpose: warnings are for what is edited later.
        self._report([problem for problem in self._zones.load() if problem.severity == "error"])
        self._plan = make_plan(self._zones.zones)
        if not self._plan.root:
            raise LabError(f"{self.folder} has no root zone: `mx10 lab copy DIR` makes a folder with all the lab needs")
        # The front first: if another lab runs, this is where it shows.
        self._forwarder = Forwarder(self._iterator())
        self._front = await Waiter.start(self.address, self._forwarder.answer)
        # Its folder is also where the relay has its spool.
        self._control = await Control.start(folder_of(*self.address), self.exchangers.order)
        await self._follow(self._plan)
        asyncio.get_running_loop().add_reader(self._watch, self._on_change)
        self._tell_remarks(Plan())

    async def close(self) -> None:
        """Close everything."""
        loop = asyncio.get_running_loop()
        if self._watch is not None:
            loop.remove_reader(self._watch)
            self._watch.close()
            self._watch = None
        if self._settling is not None:
            self._settling.cancel()
        for task in self._updates:
            task.cancel()
        for server in self._servers.values():
            server.sockets.close()
        self._servers.clear()
        if self._control is not None:
            self._control.close()
        await self.exchangers.close()
        if self._control is not None:
            self._control.remove()
        if self._front is not None:
            self._front.close()
        # Transports close on the loop's next turn.
        await asyncio.sleep(0)

    def _iterator(self) -> Iterator:
        # Only IPv4: the lab must work where there is no IPv6, and its nameservers have no such addresses.
        settings = ResolverSettings(port=self.port, attempts=2)
        return Iterator(self._plan.root, self.port, settings, BUDGET, ipv6=False)

    # -- changes -------------------------------------------------------------------------------------------------

    def _on_change(self) -> None:
        if self._watch is None:
            return
        paths = self._watch.changed()
        if paths is not None and not paths:
            return
        self._pending = None if paths is None or self._pending is None else self._pending | paths
        if self._settling is None:
            self._settling = asyncio.get_running_loop().call_later(_SETTLE_SECONDS, self._settled)

    def _settled(self) -> None:
        self._settling = None
        task = asyncio.ensure_future(self.reload())
        self._updates.add(task)
        task.add_done_callback(self._updates.discard)

    async def reload(self) -> None:
        """Take over what changed in the folder."""
        async with self._updating:
            paths, self._pending = self._pending, set()
            changes = self._zones.reload(paths or None)
            self._report(changes.problems)
            if not changes.changed:
                return
            for apex, packed in changes.changed.items():
                log.info("zone removed" if packed is None else "zone loaded", zone=to_text(apex))
                for server in self._servers.values():
                    if packed is not None and apex in server.place.zones:
                        server.responder.put_zone(apex, packed)
            before, self._plan = self._plan, make_plan(self._zones.zones)
            await self._follow(self._plan)
            self._tell_remarks(before)
            if self._forwarder is not None:
                if self._plan.root and self._plan.root != before.root:
                    self._forwarder.iterator = self._iterator()
                self._forwarder.iterator.forget()

    async def _follow(self, plan: Plan) -> None:
        """Start, change and stop servers and exchangers until they are as planned.

        Raises:
            ListenError: at the start, for an address that cannot be had; later that is logged.
        """
        starting = not self._servers
        for address in all_addresses(self._servers.keys() - plan.places.keys()):
            self._servers.pop(address).sockets.close()
            log.info("nameserver removed", address=address)
        for address in all_addresses(plan.places):
            place = plan.places[address]
            server = self._servers.get(address)
            if server is None or server.place.manner != place.manner:
                try:
                    await self._place(address, place, announce=not starting)
                except ListenError as error:
                    if starting:
                        raise
                    log.error(_explain(error))
                continue
            for apex in server.place.zones - place.zones:
                server.responder.remove_zone(apex)
            for apex in place.zones - server.place.zones:
                server.responder.put_zone(apex, self._zones.zones[apex])
            server.place = place
        await self.exchangers.follow(plan.exchangers)

    async def _place(self, address: str, place: Place, announce: bool) -> None:
        """Put a server at an address, in the place of the one that may be there."""
        old = self._servers.pop(address, None)
        if old is not None:
            old.sockets.close()
            await asyncio.sleep(0)
        table = ZoneTable({apex: self._zones.zones[apex] for apex in place.zones})
        responder = Responder(table, self._settings)
        sockets = await _open((address, self.port), responder, place.manner, self._settings)
        self._servers[address] = _Server(place, responder, sockets)
        if announce:
            manner = place.manner.name + (f" {place.manner.seconds:g} s" if place.manner.seconds else "")
            log.info("nameserver", address=address, zones=len(place.zones), manner=manner)

    # -- telling -------------------------------------------------------------------------------------------------

    def _report(self, problems: Sequence[Problem]) -> None:
        for problem in problems:
            (log.error if problem.severity == "error" else log.warning)(str(problem))

    def _tell_remarks(self, before: Plan) -> None:
        for remark in self._plan.remarks:
            if remark not in before.remarks:
                log.warning(remark)


class _Nothing:
    def close(self) -> None:
        """There is nothing to close."""


async def _open(address: Address, responder: Responder, manner: Manner, settings: NameserverSettings) -> _Closable:
    """Open a server that behaves as it should."""
    if manner == ANSWER:
        return await listen(responder, [address], settings)
    if manner.name == "off":
        return _Nothing()
    if manner.name == "silent":
        return _Silent(bind(address))
    return await Waiter.start(address, servfail() if manner.name == "servfail" else _slowly(responder, manner.seconds))


class _Silent:
    """A server that takes questions and never answers: its sockets are open, and nobody reads."""

    def __init__(self, sockets: Sockets) -> None:
        self._sockets = sockets

    def close(self) -> None:
        self._sockets.close()


def _slowly(responder: Responder, seconds: float) -> Handler:
    async def answer(packet: bytes, udp: bool) -> bytes | None:
        await asyncio.sleep(seconds)
        return responder.udp(packet) if udp else responder.tcp(packet)

    return answer


def _is_loopback(address: str) -> bool:
    from ipaddress import IPv4Address

    try:
        return IPv4Address(address).is_loopback
    except ValueError:
        return False


def _explain(error: ListenError) -> str:
    """Why the lab cannot have an address, with the mend for the lab."""
    cause = error.__cause__
    number = cause.errno if isinstance(cause, OSError) else None
    if number == errno.EADDRNOTAVAIL and sys.platform == "darwin":
        return (
            f"{error}\nmacOS has 127.0.0.1 only, and the lab needs more of 127.0.0.0/8. "
            "Until the next restart it has them with:\n"
            "  for i in 0.1 0.2 0.53 $(seq -f 1.%g 1 12) $(seq -f 2.%g 1 30); do"
            " sudo ifconfig lo0 alias 127.53.$i; done"
        )
    if number == errno.EADDRINUSE:
        return f"{error}; for the lab: `mx10 lab up --port PORT`, or lab.port in mx10.toml"
    return str(error)
