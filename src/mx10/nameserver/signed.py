"""Signed questions (RFC 8945), which workers hand in because only the steward has the keys: answered as workers answer,
but from the store itself. Secondaries ask so for serials; nobody asks so a thousand times a second.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from sqlalchemy import Connection, select

from mx10.config import NameserverSettings
from mx10.dns.message import TC
from mx10.dns.wirename import ancestors, from_order_key, order_key, parent
from mx10.nameserver.desk import Operation
from mx10.nameserver.responder import Responder
from mx10.nameserver.steward import Steward
from mx10.nameserver.table import NotServedError, ZoneTable
from mx10.store.tables import rrsets
from mx10.zones.ledger import Ledger, ZoneInfo, rows
from mx10.zones.zone import Node, Zone, ZoneData

_THREADS: Final = 2
_TSIG_ROOM: Final = 400
"""Octets a signature takes of a datagram: two names of 120 octets, and a MAC of 64."""


class StoredNodes:
    """The names of a zone, each read when it is asked for; see ``zones.zone.NodeMap``."""

    def __init__(self, connection: Connection, info: ZoneInfo) -> None:
        self._connection = connection
        self._info = info

    def get(self, name: bytes, /) -> Node | None:
        key = order_key(name, self._info.apex)
        node = rows.node(self._connection, self._info.id, key)
        return node if node or rows.below(self._connection, self._info.id, key, 1) else None

    def __getitem__(self, name: bytes, /) -> Node:
        node = self.get(name)
        if node is None:
            raise KeyError(name)
        return node


class StoredZone:
    """A zone of the store, within one snapshot; see ``zones.zone.ZoneData``."""

    def __init__(self, connection: Connection, info: ZoneInfo) -> None:
        self._connection = connection
        self._info = info
        self.apex = info.apex
        self.nodes = StoredNodes(connection, info)

    def at_or_before(self, name: bytes, rrtype: int) -> bytes | None:
        """See ``ZoneData``."""
        of_type = select(rrsets.c.owner).where(rrsets.c.zone == self._info.id, rrsets.c.type == rrtype)
        last = of_type.order_by(rrsets.c.owner.desc()).limit(1)
        before = last.where(rrsets.c.owner <= order_key(name, self.apex))
        key = self._connection.execute(before).scalar()
        if key is None:
            key = self._connection.execute(last).scalar()
        return None if key is None else from_order_key(key, self.apex)


class _Files:
    """The zones from files, kept open from one question to the next: to open a large one takes a second. Threads share
    it."""

    def __init__(self, files: Mapping[bytes, bytes]) -> None:
        self._lock = threading.Lock()
        self._table = ZoneTable(files)

    def opened(self, apex: bytes) -> Zone | None:
        with self._lock:
            return self._table.open(apex) if apex in self._table else None

    def changed(self, apex: bytes, packed: bytes | None) -> None:
        with self._lock:
            if packed is None:
                self._table.remove(apex)
            else:
                self._table.put(apex, packed)


class _Table(ZoneTable):
    """The zones from files, and behind them those of the store in one snapshot."""

    __slots__ = ("_connection", "_files")

    def __init__(self, files: "_Files", connection: Connection) -> None:
        super().__init__()
        self._files = files
        self._connection = connection

    def apex_of(self, name: bytes) -> bytes | None:
        zone = self.find(name)
        return None if zone is None else zone.apex

    def find(self, name: bytes) -> ZoneData | None:
        for candidate in ancestors(name):
            zone = self._files.opened(candidate)
            if zone is not None:
                return zone
            info = rows.find_zone(self._connection, candidate)
            if info is not None:
                if not info.served:
                    raise NotServedError
                return StoredZone(self._connection, info)
        return None

    def find_above(self, apex: bytes) -> ZoneData | None:
        return None if apex == b"\0" else self.find(parent(apex))


class SignedQuestions:
    """Answers signed questions.

    Args:
        files: apex to packed zone, of the zones from files.
    """

    def __init__(self, ledger: Ledger, files: Mapping[bytes, bytes], settings: NameserverSettings) -> None:
        self._ledger = ledger
        self._files = _Files(files)
        self._settings = settings
        # Not the thread of the store: a long import in it would hold up every secondary.
        self._threads = ThreadPoolExecutor(_THREADS, "questions")

    def file_changed(self, apex: bytes, packed: bytes | None) -> None:
        """Told of a change of a zone from a file."""
        self._files.changed(apex, packed)

    async def answer(self, operation: Operation) -> AsyncGenerator[bytes, None]:
        """The response, as a worker would give it; cut so that a signature fits beside it."""
        loop = asyncio.get_running_loop()
        response = await loop.run_in_executor(self._threads, self._answer, operation)
        if response is not None:
            yield response

    def _answer(self, operation: Operation) -> bytes | None:
        udp = operation.transport == "udp"
        message = operation.message
        question = operation.parsed.question
        with self._ledger.store.read() as connection:
            table = _Table(self._files, connection)
            # A new one each time, so that no answer is remembered: nobody would tell it what changes.
            responder = Responder(table, self._settings)
            response = responder.udp(message) if udp else responder.tcp(message)
        if response is None or not udp:
            return response
        edns = operation.parsed.edns
        room = min(max(edns.payload, 512), self._settings.edns_payload) if edns is not None else 512
        if len(response) + _TSIG_ROOM <= room or response[2] & TC >> 8:
            return response
        end = 12 + len(question.name) + 4 if question is not None else 12
        flags = int.from_bytes(response[2:4], "big") | TC
        return response[:2] + flags.to_bytes(2, "big") + response[4:6] + bytes(6) + response[12:end]


def plug_in(steward: Steward) -> SignedQuestions:
    """Have the steward answer signed questions."""
    made = SignedQuestions(steward.ledger, steward.files, steward.config.nameserver)
    steward.desk.for_other_questions(made.answer)
    steward.on_file(made.file_changed)
    return made
