"""Secondary zones: asked for when their time has come or a primary says that something changed, fetched, stored, and
given up when no primary was heard for too long (RFC 1034 section 4.3.5, RFC 1996).

In memory is only when each zone is due (a heap); everything else is read from the store when it is, so that a hundred
thousand zones need some ten megabytes. Where a zone stands is written back for many zones at once.
"""

import asyncio
import heapq
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Final, Protocol, TypeVar

from mx10.config import FollowingSettings, ZoneSettings
from mx10.dns.transfer import (
    Deltas,
    Outcome,
    TransferError,
    TransferLimits,
    TransferTooBigError,
    UpToDate,
    WholeZone,
    serial_of,
)
from mx10.dns.wirename import to_text
from mx10.logs import get_logger
from mx10.nameserver.catalog_in import CatalogError, consume
from mx10.nameserver.deltas import NotOurZoneError, edits_of
from mx10.nameserver.primaries import Primary, PrimaryError, primary_from_text
from mx10.nameserver.rate import Seldom
from mx10.nameserver.timers import Following, after_failure, after_success, expired
from mx10.nameserver.transfer_in import PrimaryTroubleError, Seal, ask_soa, fetch
from mx10.store.errors import StoreError
from mx10.zones.ledger import Author, Edit, LedgerError
from mx10.zones.ledger.followed import Followed, FollowedZones
from mx10.zones.ledger.serials import is_newer

_SAVE_SECONDS: Final = 1.0
"""How long what is learnt of zones may wait to be written: a second's worth is one transaction."""
_PROMISE_SECONDS: Final = 0.02
"""The same for a zone of which we acknowledge that it changed."""
_NOTIFIED_MILLISECONDS: Final = 1000
"""A zone is not asked for more often than this, however often its primaries say that it changed."""
_STORE_RETRY_SECONDS: Final = 10
_QUEUEING: Final = 1000
"""Zones that may wait for a transfer beside those that are being asked for."""
_LINES: Final = 50
"""Lines a second about zones that cannot be had: all zones of a primary fail at the same time."""
_T = TypeVar("_T")

log = get_logger("following")


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What came of asking for a zone: whether a primary was of help, and in words."""

    helped: bool
    said: str


class InStore(Protocol):
    """Runs a function of the store in the thread for it."""

    def __call__(self, function: Callable[..., _T], /, *arguments: object) -> Awaitable[_T]: ...


class Follower:
    """Keeps the secondary zones of a store up to date.

    Args:
        zones: the secondary zones of the store; called in the thread for it.
        in_store: runs a function in that thread.
        seal: makes what signs and verifies a conversation with a key; KeyError where there is no such key.
        clock: milliseconds since 1970.
        chance: a number from 0 to 1.
    """

    def __init__(
        self,
        zones: FollowedZones,
        in_store: InStore,
        settings: FollowingSettings,
        zone_settings: ZoneSettings,
        seal: Callable[[bytes | None], Seal],
        *,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._zones = zones
        self._in_store = in_store
        self._settings = settings
        self._limits = TransferLimits(zone_settings.max_records, settings.transfer_mb << 20)
        self._seal = seal
        self._clock = clock
        self._chance = chance
        self._heap: list[tuple[int, bytes]] = []
        self._due: dict[bytes, int] = {}
        self._asked: dict[bytes, int] = {}
        self._preferred: dict[bytes, str] = {}
        self._again: set[bytes] = set()
        self._running: dict[bytes, asyncio.Task[None]] = {}
        self._unsaved: dict[bytes, Following] = {}
        self._waiting: dict[bytes, list[asyncio.Future[Refreshed]]] = {}
        self._consumed: dict[bytes, int] = {}
        self._wake = asyncio.Event()
        self._loaded = asyncio.Event()
        self._promised = asyncio.Event()
        self._saved = asyncio.Event()
        self._transfers = asyncio.Semaphore(settings.transfers_at_once)
        self._of_primary: dict[str, asyncio.Semaphore] = {}
        self._queueing = 0
        self._seldom = Seldom(_LINES)
        self._large = asyncio.Lock()
        self.counts = {"checks": 0, "axfr": 0, "ixfr": 0, "failures": 0, "expired": 0}
        """What was done since the start, for the metrics."""

    def __len__(self) -> int:
        return len(self._due)

    async def follows(self, apex: bytes) -> bool:
        """Whether a zone is known to be followed; asked too early, that waits until it is known."""
        await self._loaded.wait()
        return apex in self._due

    # ---------------------------------------------------------------- when

    async def run(self) -> None:
        """Follow until cancelled."""
        saving = asyncio.create_task(self._keep_saving())
        try:
            await self.load()
            while True:
                self._start_what_is_due()
                self._wake.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._seconds_to_wait()):
                        await self._wake.wait()
        finally:
            saving.cancel()
            for task in self._running.values():
                task.cancel()
            await asyncio.gather(saving, *self._running.values(), return_exceptions=True)
            with suppress(StoreError):
                await self._save()

    async def load(self) -> None:
        """Read which zones are followed, and when they are due."""
        for apex, state in await self._until_done(self._zones.states):
            self._schedule(apex, Following.from_json(state).due)
        if self._due:
            log.info("following", zones=len(self._due))
        self._loaded.set()

    async def _until_done(self, function: Callable[[], _T]) -> _T:
        while True:
            try:
                return await self._in_store(function)
            except StoreError as error:
                log.error("the secondary zones cannot be read; tried again soon", cause=str(error))
                await asyncio.sleep(_STORE_RETRY_SECONDS)

    def _seconds_to_wait(self) -> float | None:
        if not self._heap or not self._has_room():
            return None
        return max(0.0, (self._heap[0][0] - self._clock()) / 1000)

    def _has_room(self) -> bool:
        """Whether one more zone may be asked for; those that wait for the transfers of others take no place from it."""
        asking = len(self._running) - min(self._queueing, _QUEUEING)
        return asking < self._settings.checks_at_once

    def _schedule(self, apex: bytes, due: int) -> None:
        self._due[apex] = due
        heapq.heappush(self._heap, (due, apex))
        self._wake.set()

    def _start_what_is_due(self) -> None:
        now = self._clock()
        while self._heap and self._has_room():
            due, apex = self._heap[0]
            if self._due.get(apex) != due or apex in self._running:
                heapq.heappop(self._heap)  # it was put elsewhere, or will be
                continue
            if due > now:
                return
            heapq.heappop(self._heap)
            self._asked[apex] = now
            self._running[apex] = asyncio.create_task(self._attend(apex))

    def notified(self, apex: bytes, source: str) -> None:
        """A primary says that a zone changed: it is asked for soon, that primary first.

        Args:
            source: its IP address.
        """
        self._preferred[apex] = source
        self._hurry(apex)

    def _hurry(self, apex: bytes) -> None:
        if apex in self._running:
            self._again.add(apex)
            return
        due = max(self._clock(), self._asked.get(apex, 0) + _NOTIFIED_MILLISECONDS)
        if due < self._due.get(apex, due + 1):
            self._schedule(apex, due)

    async def refresh(self, apex: bytes) -> Refreshed:
        """Ask for a zone now; what came of it."""
        done: asyncio.Future[Refreshed] = asyncio.get_running_loop().create_future()
        if apex in self._running:
            self._again.add(apex)
        else:
            self._schedule(apex, self._clock())
        self._waiting.setdefault(apex, []).append(done)
        return await done

    async def changed(self, apexes: Iterable[bytes]) -> None:
        """Something in the store changed: zones that are followed from now on may be among these; where there are none,
        anything may have."""
        some = list(apexes)
        unknown = [apex for apex in some if apex not in self._due]
        if unknown or not some:
            for apex, state in await self._until_done(lambda: self._zones.states(unknown or None)):
                if apex not in self._due:
                    self._schedule(apex, Following.from_json(state).due)

    # ---------------------------------------------------------------- one zone

    async def _attend(self, apex: bytes) -> None:
        """Ask for a zone, and note when to do so again."""
        helped, said = False, "it could not be asked for"
        due = self._clock() + _STORE_RETRY_SECONDS * 1000
        gone = False
        waiting = self._waiting.pop(apex, [])
        try:
            followed = await self._in_store(self._zones.find, apex)
            gone = followed is None
            if followed is not None:
                before = self._unsaved.get(apex) or Following.from_json(followed.state)
                state, said = await self._check(followed, before)
                helped = not state.failures
                self._unsaved[apex] = state
                due = state.due
        except (StoreError, LedgerError) as error:
            said = str(error)
            self._seldom.tell(log.error, "zone not followed: the store", zone=to_text(apex), cause=said)
        except Exception:
            # A fault of ours in one zone must not end the following of all.
            log.exception("zone not followed", zone=to_text(apex))
        finally:
            self._running.pop(apex, None)
            again = apex in self._again
            self._again.discard(apex)
            if gone:
                said = "it is no secondary zone of the store"
                for table in (self._due, self._asked, self._preferred, self._unsaved, self._consumed):
                    table.pop(apex, None)
            if again and apex in self._waiting:
                self._schedule(apex, self._clock())
            elif again and not gone:
                self._schedule(apex, min(due, self._clock() + _NOTIFIED_MILLISECONDS))
            elif not gone:
                self._schedule(apex, due)
            for each in waiting:
                if not each.done():
                    each.set_result(Refreshed(helped, said))
            self._wake.set()

    async def _check(self, followed: Followed, before: Following) -> tuple[Following, str]:
        """Ask the primaries of a zone in turn, until one is of help.

        Returns:
            Where the zone stands now, and what was done, in words.
        """
        apex = followed.apex
        self.counts["checks"] += 1
        troubles = []
        for text in self._in_turn(followed):
            try:
                primary = primary_from_text(text)
                soa, said = await self._ask(primary, followed)
            except (PrimaryError, PrimaryTroubleError, TransferError, LedgerError, StoreError) as error:
                words = str(error)
                troubles.append(words if words.startswith(text) else f"{text}: {words}")
                continue
            if not followed.served and followed.soa is not None:
                await self._in_store(self._zones.set_served, apex, True)
                log.info("zone served again", zone=to_text(apex), serial=serial_of(soa), primary=text)
            if followed.catalog:
                await self._consume(followed, serial_of(soa))
            return after_success(before, soa, self._clock(), self._chance(), text, self._settings), said
        trouble = "; ".join(troubles) or "no primary is set"
        now = self._clock()
        state = after_failure(before, followed.soa, now, self._chance(), trouble, self._settings)
        self.counts["failures"] += 1
        if expired(state, now) and followed.served:
            await self._in_store(self._zones.set_served, apex, False)
            self.counts["expired"] += 1
            what = "zone expired: no primary was heard for too long; SERVFAIL until one is"
            self._seldom.tell(log.error, what, zone=to_text(apex), cause=trouble)
        elif trouble[:500] != before.trouble:
            seconds = max(0, state.due - now) // 1000
            what = "zone not refreshed"
            self._seldom.tell(log.warning, what, zone=to_text(apex), cause=trouble, again_in_seconds=seconds)
        return state, trouble

    async def _consume(self, catalog: Followed, serial: int) -> None:
        """Follow the members of a catalog; each version of it is read once."""
        if self._consumed.get(catalog.apex) == serial:
            return
        try:
            added = await self._in_store(consume, self._zones, catalog)
        except CatalogError as error:
            log.error(
                "catalog not followed; its zones stay as they are", catalog=to_text(catalog.apex), cause=str(error)
            )
        else:
            for apex in added:
                self._schedule(apex, self._clock())
        self._consumed[catalog.apex] = serial

    def _in_turn(self, followed: Followed) -> list[str]:
        """The primaries as they are set; one that said that the zone changed comes first."""
        preferred = self._preferred.pop(followed.apex, None)
        texts = list(followed.primaries)
        if preferred is not None:
            texts.sort(key=lambda text: not _is_at(text, preferred))
        return texts

    async def _ask(self, primary: Primary, followed: Followed) -> tuple[bytes, str]:
        """See whether a primary has something newer, and fetch it.

        Returns:
            The data of the zone's SOA record as it is now, and what was done.

        Raises:
            PrimaryTroubleError, TransferError: it was of no help.
        """
        ours = followed.soa
        if ours is not None:
            theirs = await ask_soa(primary, followed.apex, self._sealed(primary), self._settings)
            if not is_newer(serial_of(theirs), serial_of(ours)):
                if theirs != ours and serial_of(theirs) != serial_of(ours):
                    what = "primary has an older serial; the zone stays as it is"
                    serials = {"theirs": serial_of(theirs), "ours": serial_of(ours)}
                    self._seldom.tell(log.warning, what, zone=to_text(followed.apex), **serials)
                return ours, f"serial {serial_of(ours)} is the newest"
        async with self._place(primary):
            return await self._transfer(primary, followed)

    @asynccontextmanager
    async def _place(self, primary: Primary) -> AsyncIterator[None]:
        """A place for a transfer. However slow a primary is, and however many zones it has, it never takes up all."""
        most = max(1, self._settings.transfers_at_once * 3 // 4)
        mine = self._of_primary.setdefault(primary.address, asyncio.Semaphore(most))
        async with AsyncExitStack() as place:
            self._queueing += 1
            self._wake.set()
            try:
                await place.enter_async_context(mine)
                await place.enter_async_context(self._transfers)
            finally:
                self._queueing -= 1
            yield

    def _sealed(self, primary: Primary) -> Seal:
        try:
            return self._seal(primary.key)
        except KeyError:
            name = to_text(primary.key or b"\0", final_dot=False)
            raise PrimaryTroubleError(f"there is no key {name}; put it into nameserver.tsig_keys") from None

    async def _transfer(self, primary: Primary, followed: Followed) -> tuple[bytes, str]:
        """Fetch the changes, or where that does not work, the whole zone (RFC 1995 section 4)."""
        if followed.soa is not None:
            try:
                return await self._store(primary, followed, followed.soa)
            except TransferTooBigError:
                raise
            except (TransferError, NotOurZoneError) as error:
                # An older server that does not know IXFR may also just close the connection: then the next
                # attempt for the whole zone says so.
                what = "no changes to be had; the whole zone is fetched"
                self._seldom.tell(log.info, what, zone=to_text(followed.apex), cause=str(error))
        return await self._store(primary, followed, None)

    async def _store(self, primary: Primary, followed: Followed, ours: bytes | None) -> tuple[bytes, str]:
        apex = followed.apex
        started = time.monotonic()
        async with AsyncExitStack() as room:
            outcome: Outcome = await fetch(
                primary, apex, ours, self._sealed(primary), self._settings, self._limits, self._large, room
            )
            if isinstance(outcome, UpToDate):
                if ours is None:
                    raise TransferError("the primary sent one SOA record and no zone")
                return ours, f"serial {serial_of(ours)} is the newest"
            source = str(primary)
            if isinstance(outcome, WholeZone):
                self._see_newer(outcome, ours or followed.soa)
                author = Author(source, f"AXFR, {outcome.records} records")
                await self._in_store(self._zones.replace, apex, outcome.nodes, author)
                kind = "AXFR"
            else:
                author = Author(source, f"IXFR, {len(outcome.deltas)} changes, {outcome.records} records")
                await self._in_store(self._apply, apex, outcome, ours or b"", author)
                kind = "IXFR"
        self.counts[kind.lower()] += 1
        seconds = round(time.monotonic() - started, 3)
        log.info(
            "zone transferred", zone=to_text(apex), serial=outcome.serial, how=kind, records=outcome.records,
            seconds=seconds, primary=source,
        )  # fmt: skip
        return outcome.soa, f"serial {outcome.serial} came by {kind} from {source}: {outcome.records} records"

    def _see_newer(self, outcome: WholeZone, ours: bytes | None) -> None:
        if ours is not None and not is_newer(outcome.serial, serial_of(ours)):
            raise TransferError(f"the zone came with serial {outcome.serial}, and ours is {serial_of(ours)}")

    def _apply(self, apex: bytes, deltas: Deltas, ours: bytes, author: Author) -> None:
        """Store changes; in the thread of the store."""
        owners = {record[0] for delta in deltas.deltas for record in (*delta.removed, *delta.added)}
        nodes = self._zones.nodes(apex, owners)
        edits = edits_of(deltas, lambda owner: nodes.get(owner, {}))
        changed = [Edit(owner, rrtype, rrset) for (owner, rrtype), rrset in edits.items()]
        self._zones.change(apex, changed, serial_of(ours), author)

    # ---------------------------------------------------------------- where they stand

    async def promise(self, followed: Followed) -> None:
        """Write that a zone is due, so that a restart right now does not forget what its primary said. A store that
        takes no writes now is no reason not to ask."""
        apex = followed.apex
        before = self._unsaved.get(apex) or Following.from_json(followed.state)
        if before.due <= self._clock() and apex not in self._unsaved:
            return  # it is written already: a flood of NOTIFY is no flood of transactions
        self._unsaved[apex] = replace(before, due=min(before.due, self._clock()))
        self._promised.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(2 * _SAVE_SECONDS):
                await self._saved.wait()

    async def _keep_saving(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_SAVE_SECONDS):
                    await self._promised.wait()
                    # Others that are notified at the same moment come along.
                    await asyncio.sleep(_PROMISE_SECONDS)
            self._promised.clear()
            saved, self._saved = self._saved, asyncio.Event()
            try:
                await self._save()
            except StoreError as error:
                log.error("where secondary zones stand was not written; tried again", cause=str(error))
            saved.set()

    async def _save(self) -> None:
        if not self._unsaved:
            return
        saving = dict(self._unsaved)
        await self._in_store(self._zones.save, {apex: state.to_json() for apex, state in saving.items()})
        for apex, state in saving.items():
            if self._unsaved.get(apex) is state:
                del self._unsaved[apex]


def _is_at(text: str, address: str) -> bool:
    try:
        return primary_from_text(text).address == address
    except PrimaryError:
        return False
