"""NOTIFY to secondaries (RFC 1996): whoever is to know of a change is told until he acknowledges it.

Each secondary has a queue of its own, so that one that is silent holds up no other. A zone stands in it once: what
changed again meanwhile is told once more afterwards, and not for each change.
"""

import asyncio
import secrets
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from ipaddress import ip_address
from typing import Any, Final, cast

from sqlalchemy import select

from mx10.config import NameserverSettings
from mx10.dns import rrtypes as rr
from mx10.dns.message import AA, QR, Message, Question, Record, encode, parse
from mx10.dns.tsig import Asker, TsigError, TsigKey
from mx10.dns.wirename import NameSyntaxError, WireError, fold, from_text, to_text
from mx10.logs import get_logger
from mx10.nameserver.desk import DeskError
from mx10.nameserver.listeners import Address, ListenError, format_address, parse_address
from mx10.nameserver.primaries import PrimaryError, primary_from_text
from mx10.nameserver.signing import InStore
from mx10.nameserver.steward import Steward
from mx10.store.tables import change_sets
from mx10.zones.ledger import Ledger, rows
from mx10.zones.ledger.serials import serial_of
from mx10.zones.zone import RRset, Zone

LONGEST_PAUSE: Final = 300.0
"""Seconds between two messages of the same NOTIFY at most."""
SETTLED_SECONDS: Final = 0.2
"""Until every worker answers with what changed, a mirror's too: a secondary that asks for the serial before that would
hear the old one, and not ask again for hours."""
RECENT_MS: Final = 3_600_000
"""What changed so long before the start is told then: nobody knows whether it was told already."""
RECENT: Final = 10_000
"""The same, in change sets."""
_OVERTAKEN_SECONDS: Final = 0.25
"""How long the NOTIFY of one version waits for its answer when there is a newer one."""
CATALOG: Final = "catalog"
"""The kind of our catalog zone."""
_BATCH: Final = 500
"""Zones looked up in the store at once."""

log = get_logger("notify")


@dataclass(frozen=True, slots=True)
class Target:
    """A secondary: where it listens, and the name of the key that signs both ways."""

    address: Address
    key: bytes | None

    def __str__(self) -> str:
        return format_address(self.address) + (f"#{to_text(self.key, final_dot=False)}" if self.key else "")


@dataclass(frozen=True, slots=True)
class News:
    """What is told of a zone."""

    soa: RRset
    targets: tuple[Target, ...]
    first: bool = False
    """Before others: a catalog, without which a secondary does not know them."""


class Notifier:
    """Tells secondaries what changed, for as long as ``run`` runs.

    Args:
        in_store: runs a function in the thread of the store.
        keys: the TSIG keys there are just now.
        files: apex to packed zone, of the zones from files; they go before those of the store.
    """

    def __init__(
        self,
        ledger: Ledger,
        in_store: InStore,
        settings: NameserverSettings,
        keys: Callable[[], Mapping[bytes, TsigKey]],
        files: Mapping[bytes, bytes],
    ) -> None:
        self._ledger = ledger
        self._in_store = in_store
        self.settings = settings
        self._keys = keys
        self._queues: dict[Target, _Queue] = {}
        self._sockets: dict[int, _Socket] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._files = files
        self.acknowledged = 0
        self.refused = 0
        self.given_up = 0

    async def run(self) -> None:
        """Tell first what changed before the start; then whatever is told to us, until cancelled."""
        try:
            await self.changed(await self._in_store(self._recent))
            await asyncio.Event().wait()
        finally:
            for queue in self._queues.values():
                queue.close()
            for each in self._sockets.values():
                each.transport.close()
            self._sockets.clear()

    def _recent(self) -> list[bytes]:
        query = select(change_sets.c.apex, change_sets.c.at).order_by(change_sets.c.id.desc()).limit(RECENT)
        since = time.time() * 1000 - RECENT_MS
        with self._ledger.store.read() as connection:
            found = dict.fromkeys(row.apex for row in connection.execute(query) if row.at > since)
        # An empty list would mean: everything.
        return list(found) or [b""]

    # ---------------------------------------------------------------- what changed

    async def changed(self, apexes: Sequence[bytes]) -> None:
        """Told of changes in the store.

        Args:
            apexes: none: nobody knows which, so all are told.
        """
        if not apexes:
            last: bytes | None = None
            while page := await self._in_store(self._page, last):
                await self.changed(page)
                last = page[-1]
            return
        for at in range(0, len(apexes), _BATCH):
            part = [apex for apex in apexes[at : at + _BATCH] if apex not in self._files]
            for apex, news in (await self._in_store(self._news, part)).items():
                await self.tell(apex, news)

    def _page(self, after: bytes | None) -> list[bytes]:
        return [info.apex for info in self._ledger.infos(after, _BATCH)]

    def _news(self, apexes: Iterable[bytes]) -> dict[bytes, News]:
        found = {}
        with self._ledger.store.read() as connection:
            for apex in apexes:
                info = rows.find_zone(connection, apex)
                if info is None or not info.served:
                    continue
                targets = targets_of(self.settings.notify + info.options.notify)
                soa = rows.soa_of(connection, info.id) if targets else None
                if soa is not None:
                    found[apex] = News(soa, targets, info.kind == CATALOG)
        return found

    def file_changed(self, apex: bytes, packed: bytes | None) -> None:
        """Told of a change of a zone from a file."""
        targets = targets_of(self.settings.notify)
        if packed is not None and targets:
            soa = Zone.unpack(packed).nodes[apex][rr.SOA]
            task = asyncio.ensure_future(self.tell(apex, News(soa, targets)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def order(self, order: Mapping[str, Any]) -> Mapping[str, Any]:
        """Tell of a zone although it did not change, as a command orders.

        Raises:
            DeskError: there is no such zone, or nobody to tell.
        """
        try:
            apex = fold(from_text(order["zone"]))
        except NameSyntaxError as error:
            raise DeskError(f"{order['zone']!r} is no zone: {error}") from None
        news = (await self._in_store(self._news, [apex])).get(apex)
        if news is None:
            raise DeskError(
                f"{order['zone']} is no zone of the store that is served, or nobody is to be told of it;"
                " set nameserver.notify, or notify of the zone"
            )
        await self.tell(apex, news)
        return {"told": [str(target) for target in news.targets], "serial": serial_of(news.soa[1][0])}

    # ---------------------------------------------------------------- telling

    async def tell(self, apex: bytes, news: News) -> None:
        """Tell of one zone."""
        for target in news.targets:
            queue = self._queues.get(target)
            if queue is None:
                try:
                    sock = await self._socket(target)
                except OSError as error:
                    log.error("nobody can be told from here", secondary=str(target), cause=str(error))
                    continue
                queue = self._queues[target] = _Queue(target, self, sock)
            loop = asyncio.get_running_loop()
            loop.call_later(SETTLED_SECONDS, partial(queue.add, apex, news.soa, first=news.first))

    async def _socket(self, target: Target) -> "_Socket":
        family = socket.AF_INET6 if ":" in target.address[0] else socket.AF_INET
        if family not in self._sockets:
            _, made = await asyncio.get_running_loop().create_datagram_endpoint(
                _Socket, local_addr=(source_address(self.settings.listen, family), 0), family=family
            )
            self._sockets[family] = made
        return self._sockets[family]

    async def once(self, target: Target, sock: "_Socket", apex: bytes, soa: RRset, number: int) -> bool:
        """Tell one secondary of one zone, for the ``number``-th time (from 0); whether that was the last."""
        said = {"zone": to_text(apex), "serial": serial_of(soa[1][0]), "secondary": str(target)}
        asker = None
        if target.key is not None:
            key = self._keys().get(target.key)
            if key is None:
                log.error("no NOTIFY: there is no such key in nameserver.tsig_keys", **said)
                self.given_up += 1
                return True
            asker = Asker(key, time.time)
        rcode = await sock.ask(target, apex, soa, asker, self.settings.notify_seconds)
        if rcode == rr.Rcode.NOERROR:
            self.acknowledged += 1
            log.info("NOTIFY acknowledged", **said, attempts=number + 1)
        elif rcode is not None:
            # It will not say otherwise when asked again; often it does not have the zone yet.
            self.refused += 1
            log.info("NOTIFY refused", **said, rcode=rr.rcode_to_text(rcode))
        elif number + 1 >= self.settings.notify_attempts:
            self.given_up += 1
            log.warning("NOTIFY given up", **said, attempts=number + 1)
        else:
            return False
        return True


class _Queue:
    """What one secondary is to be told, and is being told. Whoever does not answer is told again after a pause, in
    which others get their turn."""

    def __init__(self, target: Target, notifier: Notifier, sock: "_Socket") -> None:
        self._target = target
        self._notifier = notifier
        self._socket = sock
        self._waiting: dict[bytes, tuple[RRset, int]] = {}
        self._telling: dict[bytes, tuple[asyncio.Task[bool], RRset]] = {}
        self._pausing: dict[bytes, asyncio.TimerHandle] = {}
        self._closed = False

    def add(self, apex: bytes, soa: RRset, *, first: bool) -> None:
        """Tell of a zone, or of a newer version of it.

        Args:
            first: before all others.
        """
        if self._closed:
            return
        task, told = self._telling.get(apex, (None, None))
        if soa == told and apex not in self._waiting:
            # The look back at the start may find what we are told of at that very time.
            return
        if (timer := self._pausing.pop(apex, None)) is not None:
            timer.cancel()
        if task is not None and apex not in self._waiting:
            # It is silent about the version before: the new one need not wait for the end of that.
            asyncio.get_running_loop().call_later(_OVERTAKEN_SECONDS, self._overtake, apex, task)
        self._waiting[apex] = soa, 0
        if first:
            self._waiting = {apex: (soa, 0), **self._waiting}
        self._go_on()

    def _overtake(self, apex: bytes, task: asyncio.Task[bool]) -> None:
        if apex in self._waiting and apex in self._telling and self._telling[apex][0] is task:
            task.cancel()

    def _go_on(self) -> None:
        while len(self._telling) < self._notifier.settings.notify_at_once:
            # Those being told just now are told again afterwards.
            apex = next((each for each in self._waiting if each not in self._telling), None)
            if apex is None:
                return
            soa, number = self._waiting.pop(apex)
            task = asyncio.ensure_future(self._notifier.once(self._target, self._socket, apex, soa, number))
            self._telling[apex] = task, soa
            task.add_done_callback(partial(self._done, apex, soa, number))

    def _done(self, apex: bytes, soa: RRset, number: int, task: asyncio.Task[bool]) -> None:
        self._telling.pop(apex, None)
        if task.cancelled():
            self._go_on()
            return
        if (error := task.exception()) is not None:
            log.error("a NOTIFY failed", zone=to_text(apex), secondary=str(self._target), cause=repr(error))
        elif not task.result() and apex not in self._waiting:
            pause = min(self._notifier.settings.notify_seconds * 2**number, LONGEST_PAUSE)
            loop = asyncio.get_running_loop()
            self._pausing[apex] = loop.call_later(pause, self._again, apex, soa, number + 1)
        self._go_on()

    def _again(self, apex: bytes, soa: RRset, number: int) -> None:
        del self._pausing[apex]
        self._waiting.setdefault(apex, (soa, number))
        self._go_on()

    def close(self) -> None:
        self._closed = True
        self._waiting.clear()
        for timer in self._pausing.values():
            timer.cancel()
        for task, _ in self._telling.values():
            task.cancel()


class _Socket(asyncio.DatagramProtocol):
    """Asks over UDP, and knows which answer belongs to what."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, int, int], tuple[asyncio.Future[int], bytes, Asker | None]] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # asyncio's own datagram transport is no subclass of it in Python 3.11.
        self.transport = cast(asyncio.DatagramTransport, transport)

    async def ask(self, target: Target, apex: bytes, soa: RRset, asker: Asker | None, seconds: float) -> int | None:
        """Send once; the response code, None where no answer comes in time."""
        host, port = target.address
        while (key := (host, port, secrets.randbelow(1 << 16))) in self._open:
            pass
        hint = Record(apex, rr.SOA, rr.IN, soa[0], soa[1][0])
        flags = rr.Opcode.NOTIFY << 11 | AA
        message = encode(Message(key[2], flags, Question(apex, rr.SOA), answer=(hint,)))
        answered: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._open[key] = answered, apex, asker
        try:
            self.transport.sendto(asker.sign(message) if asker is not None else message, target.address)
            async with asyncio.timeout(seconds):
                return await answered
        except TimeoutError:
            return None
        finally:
            del self._open[key]

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        waiting = self._open.get((addr[0], addr[1], int.from_bytes(data[:2], "big")))
        if waiting is None:
            return
        answered, apex, asker = waiting
        try:
            response = parse(data)
            # Who does not know the zone, or the key, says so unsigned. That is believed from whoever knows our port and
            # id; an acknowledgement is not.
            if asker is not None and not response.rcode:
                response = parse(asker.verify(data))
        except (TsigError, WireError) as error:
            log.warning("an answer to NOTIFY is not believed", zone=to_text(apex), client=addr[0], cause=str(error))
            return
        question = response.question
        if not response.flags & QR or response.opcode != rr.Opcode.NOTIFY:
            return
        if question is not None and fold(question.name) != apex:
            return
        if not answered.done():
            answered.set_result(response.rcode)

    def error_received(self, exc: Exception) -> None:
        """Nobody listens there just now: the next message may find somebody."""


@lru_cache(maxsize=1000)
def targets_of(texts: tuple[str, ...]) -> tuple[Target, ...]:
    """The secondaries a list names, each once; what is none is logged and left out."""
    found: dict[Target, None] = {}
    for text in texts:
        try:
            primary = primary_from_text(text)
            if primary.tls:
                raise PrimaryError(f"{text!r}: NOTIFY is not sent over TLS")
        except PrimaryError as error:
            log.error("an entry of notify tells nobody", cause=str(error))
            continue
        found[Target((primary.address, primary.port), primary.key)] = None
    return tuple(found)


def source_address(listen: Iterable[str], family: int) -> str:
    """The address to send from: the first one we answer at, as secondaries know us by it; any where that is said."""
    for text in listen:
        try:
            host = parse_address(text)[0]
        except ListenError:
            continue
        address = ip_address(host)
        if (address.version == 6) == (family == socket.AF_INET6):
            return host
    return "::" if family == socket.AF_INET6 else "0.0.0.0"


def plug_in(steward: Steward) -> Notifier:
    """Have the steward tell of changes."""
    made = Notifier(steward.ledger, steward.in_store, steward.config.nameserver, steward.keys, steward.files)
    steward.services.append(made)
    steward.on_feed(made.changed)
    steward.on_file(made.file_changed)
    steward.desk.for_order("notify", made.order)
    return made
