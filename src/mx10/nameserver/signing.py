"""The steward's care for signed zones: steps in the life of keys, and signatures made anew before they end.

Decisions are made elsewhere: ``zones.dnssec.keeping`` takes the steps that are due, ``zones.dnssec.signer`` makes
signatures. Here is only when to look, whom to ask about DS records, and the log. The columns ``zones.keys_at`` and
``zones.resign_at`` say what is due, so nothing is lost when the process ends, and a million zones cost nothing while
nothing is due.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final, Protocol, TypeVar

from mx10.logs import get_logger
from mx10.names import display
from mx10.nameserver.parents import Parents
from mx10.nameserver.steward import Steward
from mx10.resolver import Forwarder, Resolver
from mx10.store.errors import StoreError
from mx10.zones.dnssec.keeping import Keeper
from mx10.zones.dnssec.kept import ParentSaid
from mx10.zones.dnssec.keys import BadKeyError
from mx10.zones.dnssec.opening import keeper_of
from mx10.zones.dnssec.signer import ZoneSigner
from mx10.zones.dnssec.stored import due_zones
from mx10.zones.ledger import Author, LedgerError, NoSuchZoneError

log = get_logger("signing")

AT_ONCE: Final = 32
"""Zones whose keys are looked at in one go, their parents' nameservers asked at the same time."""
LOOK_SECONDS: Final = 20.0
"""For all the questions about one zone's DS records; after that they are taken as unanswered."""
REST_SECONDS: Final = 1.0
"""Between two looks at what is due. One costs two index look-ups."""
FAILED_SECONDS: Final = 300
"""A zone with which something went wrong is left alone for so long."""
CLOCK_SECONDS: Final = 300
"""By how much the clock may get ahead of the time that passed before it is taken as set forward."""
_PAGE: Final = 500

AUTHOR: Final = Author("mx10", "keys")

T = TypeVar("T")


class InStore(Protocol):
    """How work with the store is done without holding up the event loop."""

    def __call__(self, function: Callable[..., T], /, *args: object) -> Awaitable[T]:
        """Call a function in another thread."""
        ...


class Looker(Protocol):
    """Who looks up DS records; see ``parents.Parents``."""

    async def look(self, apex: bytes) -> ParentSaid:
        """What the parent's nameservers have for a zone."""
        ...


def plug_in(steward: Steward, resolver: Resolver | None = None) -> "Signing":
    """Have the steward keep signed zones signed.

    Args:
        resolver: finds the nameservers of parent zones; by default as the configuration's ``[resolver]`` says.
    """
    config = steward.config
    parents = Parents(resolver or Forwarder(config.resolver), config.dnssec.parent_servers, config.resolver)
    # A thread of its own: to make a large zone's signatures anew takes a while, though no transaction does.
    service = Signing(keeper_of(steward.ledger, config), asyncio.to_thread, parents)
    steward.services.append(service)
    steward.on_feed(service.zones_changed)
    return service


class Signing:
    """Keeps signed zones signed, for as long as ``run`` runs.

    Args:
        looker: None: nobody is asked about DS records, and no step that needs them is taken.
        wall: seconds since 1970.
        steady: seconds that pass whatever the clock is set to.
    """

    def __init__(
        self,
        keeper: Keeper,
        in_store: InStore,
        looker: Looker | None,
        *,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
    ) -> None:
        self._keeper = keeper
        self._in_store = in_store
        self._looker = looker
        self._wall = wall
        self._steady = steady
        self._ahead = wall() - steady()
        self._changed: set[bytes] = set()
        self._all = True
        self._failed: dict[bytes, float] = {}
        self._woken = asyncio.Event()
        self.counts = {"zones": 0, "names": 0, "key_steps": 0, "failures": 0}
        """What was done since the start: zones whose signatures were made anew, and names in them; steps of keys;
        zones that could not be kept signed."""

    def zones_changed(self, apexes: Sequence[bytes]) -> None:
        """Told of every change in the store: a new zone may have to be signed, keys may have been replaced.

        Args:
            apexes: none: nobody knows which.
        """
        self._changed.update(apexes)
        self._all = self._all or not apexes
        self._woken.set()

    async def run(self) -> None:
        """Look at what is due, again and again, until cancelled."""
        complaint = ""
        while True:
            busy = False
            try:
                await self._watch_clock()
                await self._sign_new_zones()
                busy = await self._keys() or busy
                busy = await self._signatures() or busy
                complaint = ""
            except StoreError as error:
                if str(error) != complaint:
                    complaint = str(error)
                    log.warning("signing waits for the store", reason=complaint)
                await asyncio.sleep(REST_SECONDS)
            if not busy:
                self._woken.clear()
                # Not wait_for: in Python 3.11 it may swallow being cancelled when it is woken at that moment.
                with suppress(TimeoutError):
                    async with asyncio.timeout(REST_SECONDS):
                        await self._woken.wait()

    # ------------------------------------------------------------ clock

    async def _watch_clock(self) -> None:
        """Where the clock was set forward, waits are not over for that."""
        ahead = self._wall() - self._steady()
        jump = int(ahead - self._ahead)
        self._ahead = ahead
        if jump < CLOCK_SECONDS:
            return
        log.warning("the clock was set forward; what keys wait for is moved along", seconds=jump)
        after = b""
        while page := await self._in_store(self._keeper.signed, after, _PAGE):
            for apex in page:
                await self._guarded(apex, self._keeper.clock_set_forward, apex, jump)
            after = page[-1]

    # ------------------------------------------------------------ keys

    async def _sign_new_zones(self) -> None:
        if not self._keeper.settings.sign_new_zones:
            self._changed.clear()
            return
        if self._all:
            # At the start, too: zones may have been made while nobody was here.
            self._all = False
            after = b""
            while page := await self._in_store(self._keeper.unsigned, after, _PAGE):
                for apex in page:
                    await self._sign_if_new(apex)
                after = page[-1]
        while self._changed:
            await self._sign_if_new(self._changed.pop())

    async def _sign_if_new(self, apex: bytes) -> None:
        outcome = await self._guarded(apex, self._keeper.sign_if_new, apex, AUTHOR)
        if outcome is not None:
            log.info("a new zone is signed", zone=display(apex))

    async def _keys(self) -> bool:
        """Look at the zones whose keys are due; whether there were any."""
        now = self._wall()
        self._failed = {apex: until for apex, until in self._failed.items() if until > now}
        due = await self._in_store(self._keeper.due, int(now), AT_ONCE + len(self._failed))
        due = [apex for apex in due if apex not in self._failed][:AT_ONCE]
        said = await asyncio.gather(*(self._look(apex) for apex in due))
        for apex, answer in zip(due, said, strict=True):
            outcome = await self._guarded(apex, self._keeper.advance, apex, AUTHOR, answer)
            if outcome is None:
                continue
            for step in outcome.plan.steps:
                self.counts["key_steps"] += 1
                log.info("keys", zone=display(apex), step=step)
            for key in outcome.plan.gone:
                log.info("a key is forgotten", zone=display(apex), role=key.role, tag=key.tag)
        return bool(due)

    async def _look(self, apex: bytes) -> ParentSaid | None:
        if self._looker is None:
            return None
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                return await self._looker.look(apex)
        except TimeoutError:
            text = f"the parent's nameservers did not all answer in {LOOK_SECONDS:g} s"
            return ParentSaid(frozenset(), False, 0, text)

    # ------------------------------------------------------------ signatures

    async def _signatures(self) -> bool:
        """Make signatures anew where they are due; whether there were any."""
        ledger = self._keeper.ledger
        signer = ledger.signer
        if not isinstance(signer, ZoneSigner):
            return False
        now = self._wall()

        def find() -> list[bytes]:
            with ledger.store.read() as connection:
                return due_zones(connection, int(now), AT_ONCE + len(self._failed))

        due = [apex for apex in await self._in_store(find) if apex not in self._failed][:AT_ONCE]
        for apex in due:
            # One call at a time: between two of them others get at the store.
            done = await self._guarded(apex, signer.refresh, ledger, apex, int(now * 1000))
            if done is not None and done.names:
                self.counts["zones"] += 1
                self.counts["names"] += done.names
                log.info("signatures made anew", zone=display(apex), names=done.names, more=done.more)
        return bool(due)

    async def _guarded(self, apex: bytes, function: Callable[..., T], *args: object) -> T | None:
        """Call something for one zone; what goes wrong with that zone is logged and stops no other."""
        try:
            return await self._in_store(function, *args)
        except NoSuchZoneError:
            return None
        except (LedgerError, BadKeyError) as error:
            self._failed[apex] = self._wall() + FAILED_SECONDS
            self.counts["failures"] += 1
            log.error("a zone cannot be kept signed", zone=display(apex), reason=str(error))
            return None
