"""Zones for secondaries: AXFR (RFC 5936) and IXFR (RFC 1995), from the store and from files.

What is sent is one version of a zone, whatever happens to it meanwhile. A small zone is read at once; of a large one
the next messages are read when the client has taken those before, from one snapshot of the store. How many there are at
once is limited in all and for each address; who finds no place waits, and in the end tries again.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import islice
from typing import Final, TypeVar
from weakref import WeakValueDictionary

from mx10.config import NameserverSettings
from mx10.dns import rrtypes as rr
from mx10.dns.message import HEADER, QR, RD, TYPE_CLASS, Edns, Message, encode_opt
from mx10.dns.packing import TooLargeError, WireRecord, incremental, messages, records, whole
from mx10.dns.wirename import fold, to_text
from mx10.logs import get_logger
from mx10.nameserver.access import AccessError, Entry, admits, entry_from_text
from mx10.nameserver.condensing import condensed
from mx10.nameserver.desk import Operation
from mx10.nameserver.rate import Rate, Seldom
from mx10.nameserver.steward import Steward
from mx10.store.errors import StoreError
from mx10.zones.ledger import Ledger, NoSuchZoneError, ZoneInfo
from mx10.zones.ledger.serials import is_newer, serial_of
from mx10.zones.zone import RRset, Zone

WAIT_SECONDS: Final = 10.0
"""How long a transfer waits for its place."""
SMALL: Final = 2000
"""Record sets of a zone up to which it is read at once."""
LARGE_AT_ONCE: Final = 8
"""Larger zones that are read at the same time: each of the store holds a snapshot."""
_THREADS: Final = 4
_AHEAD: Final = 16
"""Messages that are read at once of a large zone: a quarter of a MiB."""
_TSIG_ROOM: Final = 400
"""Octets a signature takes of a datagram: two names of 120 octets, and a MAC of 64."""
_LEAST_SOA: Final = 22
_LOGGED: Final = 20
"""Refusals a second that are logged; of one client, one. Also transfers that fail."""
_LOGGED_GOOD: Final = 200
"""Transfers a second that are logged: an address that may fetch can be forged over UDP."""

_T = TypeVar("_T")

log = get_logger("transfers")


class _RefusedError(Exception):
    """The answer is a response code; why, for the log."""

    def __init__(self, rcode: rr.Rcode, why: str) -> None:
        super().__init__(why)
        self.rcode = rcode


@dataclass(frozen=True, slots=True)
class _Source:
    """A version of a zone to send.

    Attributes:
        allowed: who may fetch it beside those of the configuration.
        size: record sets, more or less.
        rest: reads all records but the SOA.
        info: of a zone in the store; None for one from a file.
    """

    apex: bytes
    soa: RRset
    allowed: tuple[str, ...]
    size: int
    info: ZoneInfo | None
    rest: Callable[[], Iterator[WireRecord]]


@dataclass(slots=True)
class Counts:
    """Transfers since the start, for those who ask how we are."""

    running: int = 0
    axfr: int = 0
    ixfr: int = 0
    up_to_date: int = 0
    refused: int = 0
    failed: int = 0
    octets: int = 0


@dataclass(slots=True)
class _Places:
    """How many transfers there may be at once."""

    in_all: asyncio.Semaphore
    per_client: int
    clients: dict[str, asyncio.Semaphore] = field(default_factory=dict)
    waiting: dict[str, int] = field(default_factory=dict)

    @asynccontextmanager
    async def one(self, client: str) -> AsyncIterator[None]:
        mine = self.clients.setdefault(client, asyncio.Semaphore(self.per_client))
        self.waiting[client] = self.waiting.get(client, 0) + 1
        try:
            try:
                async with asyncio.timeout(WAIT_SECONDS):
                    await mine.acquire()
                    try:
                        await self.in_all.acquire()
                    except BaseException:
                        mine.release()
                        raise
            except TimeoutError:
                raise _RefusedError(rr.Rcode.SERVFAIL, "too many transfers at once") from None
            try:
                yield
            finally:
                self.in_all.release()
                mine.release()
        finally:
            self.waiting[client] -= 1
            if not self.waiting[client]:
                del self.waiting[client], self.clients[client]


class Transfers:
    """Answers AXFR and IXFR questions.

    Args:
        files: apex to packed zone, of the zones from files.
    """

    def __init__(self, ledger: Ledger, files: Mapping[bytes, bytes], settings: NameserverSettings) -> None:
        self._ledger = ledger
        self._files = files
        self._opened = _FileZones()
        self._settings = settings
        self._entries = _entries(settings.allow_transfer)
        self._places = _Places(asyncio.Semaphore(settings.transfers_at_once), settings.transfers_per_client)
        self._large = asyncio.Semaphore(LARGE_AT_ONCE)
        self._threads = ThreadPoolExecutor(_THREADS, "transfer")
        self._logged, self._logged_in_all = Rate(1), Rate(_LOGGED)
        self._seldom, self._seldom_good = Seldom(_LOGGED), Seldom(_LOGGED_GOOD)
        self.counts = Counts()

    async def answer(self, operation: Operation) -> AsyncGenerator[bytes, None]:
        """The messages of a transfer; the last of them ends it."""
        query = operation.parsed
        began = asyncio.get_running_loop().time()
        sent = octets = 0
        kind = "transfer"
        try:
            source = await self._find(operation)
            async with self._places.one(operation.client):
                self.counts.running += 1
                try:
                    kind, found = await self._choose(source, operation)
                    async for message in self._in_pieces(source, query, found):
                        yield message
                        sent += 1
                        octets += len(message)
                finally:
                    self.counts.running -= 1
                    self.counts.octets += octets
        except _RefusedError as refused:
            self.counts.refused += 1
            if self._may_log(operation.client):
                log.warning("no transfer", **_who(operation), rcode=refused.rcode.name, why=str(refused))
            yield _code(query, refused.rcode, self._settings.edns_payload)
            return
        except (StoreError, NoSuchZoneError, TooLargeError) as error:
            self.counts.failed += 1
            self._seldom.tell(log.error, "a transfer failed", **_who(operation), messages=sent, why=str(error))
            if not sent:
                yield _code(query, rr.Rcode.SERVFAIL, self._settings.edns_payload)
            return
        except (GeneratorExit, asyncio.CancelledError):
            self.counts.failed += 1
            what = "a client left in the middle of a transfer"
            self._seldom.tell(log.warning, what, **_who(operation), messages=sent)
            raise
        setattr(self.counts, kind, getattr(self.counts, kind) + 1)
        seconds = round(asyncio.get_running_loop().time() - began, 3)
        serial = serial_of(source.soa[1][0])
        said = {"kind": kind, "serial": serial, "messages": sent, "octets": octets, "seconds": seconds}
        self._seldom_good.tell(log.info, "transferred", **_who(operation), **said)

    def _may_log(self, client: str) -> bool:
        now = asyncio.get_running_loop().time()
        return self._logged.admits(client, now) and self._logged_in_all.admits("0.0.0.0", now)

    # ---------------------------------------------------------------- which zone, and for whom

    async def _find(self, operation: Operation) -> _Source:
        question = operation.parsed.question
        if question is None or question.klass != rr.IN:
            raise _RefusedError(rr.Rcode.REFUSED, "the class is not IN")
        apex = fold(question.name)
        packed = self._files.get(apex)
        if packed is not None:
            # Before it is opened: that takes a second for a large one, and strangers may ask.
            self._see_admitted(operation, ())
            return await self._in_thread(self._opened.source, apex, packed)
        source = await self._in_thread(self._of_store, apex)
        self._see_admitted(operation, source.allowed)
        if source.info is not None and not source.info.served:
            raise _RefusedError(rr.Rcode.SERVFAIL, "the zone is expired, or was not fetched yet")
        return source

    def _see_admitted(self, operation: Operation, of_zone: tuple[str, ...]) -> None:
        tls = operation.transport == "tls"
        if not admits(self._entries + _entries(of_zone), operation.client, operation.key_name, tls=tls):
            raise _RefusedError(rr.Rcode.REFUSED, "not in allow_transfer")

    def _of_store(self, apex: bytes) -> _Source:
        try:
            info = self._ledger.info(apex)
            soa = self._ledger.rrset(apex, apex, rr.SOA)
        except NoSuchZoneError:
            raise _RefusedError(rr.Rcode.NOTAUTH, "there is no such zone") from None

        def rest() -> Iterator[WireRecord]:
            for owner, rrtype, rrset in self._ledger.iterate(apex):
                yield from records(owner, rrtype, rrset)

        # A zone that was not fetched yet has none; it is not sent either.
        return _Source(apex, soa or (0, (bytes(22),)), info.options.allow_transfer, info.rrsets, info, rest)

    # ---------------------------------------------------------------- what of it

    async def _choose(self, source: _Source, operation: Operation) -> tuple[str, Iterable[WireRecord]]:
        """What to send: ``up_to_date``, ``ixfr`` or ``axfr``, and its records."""
        question = operation.parsed.question
        assert question is not None
        soa = next(records(source.apex, rr.SOA, source.soa))
        if question.type == rr.AXFR:
            if operation.transport == "udp":
                raise _RefusedError(rr.Rcode.FORMERR, "AXFR over UDP is not defined (RFC 5936 section 4.2)")
            return "axfr", self._whole(source, soa)
        theirs = _serial_asked(operation.parsed, source.apex)
        if not is_newer(serial_of(soa[3]), theirs):
            return "up_to_date", (soa,)
        found = await self._in_thread(self._changes, source, theirs)
        udp = operation.transport == "udp"
        if found is None:
            # Over UDP the SOA record alone says: come by TCP (RFC 1995 section 2).
            return ("up_to_date", (soa,)) if udp else ("axfr", self._whole(source, soa))
        if udp:
            edns = operation.parsed.edns
            room = min(max(edns.payload, 512), self._settings.edns_payload) if edns is not None else 512
            room -= _TSIG_ROOM if operation.key is not None else 0
            made = list(islice(messages(operation.parsed, self._settings.edns_payload, found), 2))
            if len(made) > 1 or len(made[0]) > room:
                return "up_to_date", (found[0],)
        return "ixfr", found

    def _whole(self, source: _Source, soa: WireRecord) -> Iterable[WireRecord]:
        return whole(soa, source.rest()) if source.info is None else _from_snapshot(source.rest())

    def _changes(self, source: _Source, theirs: int) -> list[WireRecord] | None:
        """The changes since a serial; None where they are not known, or more than the zone has."""
        if source.info is None:
            return None
        most = max(source.size, 100)
        steps = self._ledger.since(source.apex, theirs, most=4 * most)
        delta = condensed(source.apex, steps) if steps else None
        return list(incremental(delta)) if delta is not None and len(delta) <= most else None

    # ---------------------------------------------------------------- how

    async def _in_pieces(self, source: _Source, query: Message, found: Iterable[WireRecord]) -> AsyncIterator[bytes]:
        """The messages, read in a thread: all at once, or those of a large zone as they are taken."""
        reading = _Reading(messages(query, self._settings.edns_payload, found), found)
        if source.size <= SMALL or isinstance(found, Sequence):
            for message in await self._in_thread(reading.all):
                yield message
            return
        async with self._large:
            try:
                while piece := await self._in_thread(reading.piece):
                    for message in piece:
                        yield message
            finally:
                await asyncio.shield(self._in_thread(reading.close))

    async def _in_thread(self, function: Callable[..., _T], *arguments: object) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, partial(function, *arguments))


class _Reading:
    """Messages that are made in threads, piece after piece; ``close`` ends the snapshot of the store they come from.

    A thread cannot be stopped: its transfer may end while it reads, so that the lock is needed.
    """

    def __init__(self, made: Generator[bytes, None, None], found: Iterable[WireRecord]) -> None:
        self._made = made
        self._found = found
        self._lock = threading.Lock()

    def all(self) -> list[bytes]:
        with self._lock:
            return list(self._made)

    def piece(self) -> list[bytes]:
        with self._lock:
            return list(islice(self._made, _AHEAD))

    def close(self) -> None:
        with self._lock:
            self._made.close()
            if isinstance(self._found, Generator):
                self._found.close()


def _from_snapshot(rest: Iterator[WireRecord]) -> Iterator[WireRecord]:
    """A whole zone, its SOA record from the same snapshot as the others."""
    soa = next(rest)
    yield from whole(soa, rest)


class _Opened:
    """A zone from a file, unpacked."""

    __slots__ = ("__weakref__", "packed", "zone")

    def __init__(self, packed: bytes) -> None:
        self.packed = packed
        self.zone = Zone.unpack(packed)


class _FileZones:
    """The zones from files as sources: unpacked when their records are wanted, once for all transfers that go on at the
    same time, and forgotten after the last. Called in threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: WeakValueDictionary[bytes, _Opened] = WeakValueDictionary()
        self._known: dict[bytes, tuple[int, RRset, int]] = {}
        """Of zones asked for: a hash of the packed zone, its SOA record, how many record sets it has."""

    def source(self, apex: bytes, packed: bytes) -> _Source:
        """A zone to send."""
        opened: _Opened | None = None
        known = self._known.get(apex)
        if known is None or known[0] != hash(packed):
            opened = self._unpacked(apex, packed)
            nodes = opened.zone.nodes
            known = self._known[apex] = hash(packed), nodes[apex][rr.SOA], sum(map(len, nodes.values()))

        def rest() -> Iterator[WireRecord]:
            held = opened if opened is not None else self._unpacked(apex, packed)
            for owner, node in held.zone.nodes.items():
                for rrtype, rrset in node.items():
                    if rrtype != rr.SOA:
                        yield from records(owner, rrtype, rrset)

        return _Source(apex, known[1], (), known[2], None, rest)

    def _unpacked(self, apex: bytes, packed: bytes) -> _Opened:
        with self._lock:
            found = self._open.get(apex)
            if found is None or found.packed is not packed:
                found = self._open[apex] = _Opened(packed)
            return found


def _serial_asked(query: Message, apex: bytes) -> int:
    """The serial the client has: in the SOA record it sends along (RFC 1995 section 3)."""
    soas = [each for each in query.authority if each.type == rr.SOA and fold(each.name) == apex]
    if len(soas) != 1 or len(soas[0].rdata) < _LEAST_SOA:
        raise _RefusedError(rr.Rcode.FORMERR, "an IXFR question without the SOA record of the version there is")
    return serial_of(soas[0].rdata)


@lru_cache(maxsize=1000)
def _entries(texts: tuple[str, ...]) -> tuple[Entry, ...]:
    found = []
    for text in texts:
        try:
            found.append(entry_from_text(text))
        except AccessError as error:
            log.error("an entry of allow_transfer admits nobody", why=str(error))
    return tuple(found)


def _who(operation: Operation) -> dict[str, str]:
    """Whose operation it is, for the log."""
    question = operation.parsed.question
    said = {"zone": to_text(question.name) if question is not None else "", "client": operation.client}
    if operation.key is not None:
        said["key"] = to_text(operation.key.name)
    return said | {"transport": operation.transport}


def _code(query: Message, rcode: rr.Rcode, payload: int) -> bytes:
    """A response code alone."""
    opt = encode_opt(Edns(payload)) if query.edns is not None else b""
    question = query.question
    asked = question.name + TYPE_CLASS.pack(question.type, question.klass) if question is not None else b""
    return HEADER.pack(query.id, QR | query.flags & RD | rcode, bool(asked), 0, 0, bool(opt)) + asked + opt


def plug_in(steward: Steward) -> Transfers:
    """Have the steward send zones."""
    made = Transfers(steward.ledger, steward.files, steward.config.nameserver)
    steward.desk.for_type(rr.AXFR, made.answer)
    steward.desk.for_type(rr.IXFR, made.answer)
    return made
