"""The zones of the store as a worker sees them: a file of SQLite, read only, through the one snapshot that all answers
come from until something was committed.

Two connections take turns. One holds the snapshot; the other is asked, fifty times a second, whether anything was
committed since (``PRAGMA data_version``: it looks at a number in shared memory). If so it opens the next snapshot,
reads in ``feed`` which zones changed, and takes over. Nothing here waits for a writer.

A zone is read when somebody asks for it: a small one whole, of a large one only the names that are asked for. No
SQLAlchemy: a worker needs four statements, and each answer counts.
"""

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote

from mx10.dns import rrtypes as rr
from mx10.dns.wirename import ancestors, from_order_key, order_key, parent
from mx10.logs import get_logger
from mx10.nameserver.table import NotServedError, ZoneTable
from mx10.store.datas import unpack
from mx10.zones.zone import Node, Zone, ZoneData, add_empty_nonterminals

LOOK_SECONDS: Final = 0.02
"""Between two looks whether anything was committed."""
WHOLE: Final = 2000
"""Record sets of a zone up to which it is read whole."""
OPEN_BUDGET: Final = 150_000
"""Record sets of zones that are kept open, in each of two generations; one takes some 300 octets."""
NODE_BUDGET: Final = 50_000
"""Names of large zones that are remembered, in all."""
MOST_CHANGED: Final = 5000
"""Zones that change at once up to which their answers are dropped one by one; beyond it all are."""
_FORGOTTEN_AT_ONCE: Final = 4
_CACHE_KIB: Final = 32 << 10
_MMAP: Final = 1 << 30

_ZONE: Final = "SELECT id, rrsets, served FROM zones WHERE apex = ?"
_SETS: Final = "SELECT owner, type, ttl, data FROM rrsets WHERE zone = ?"
_NODE: Final = "SELECT type, ttl, data FROM rrsets WHERE zone = ? AND owner = ?"
_BELOW: Final = "SELECT 1 FROM rrsets WHERE zone = ? AND owner > ? AND owner < ? LIMIT 1"
# The type stands in the statement itself: only so the index on NSEC3 records is used.
_BEFORE: Final = {
    rrtype: (
        f"SELECT owner FROM rrsets WHERE zone = ? AND owner <= ? AND type = {rrtype} ORDER BY owner DESC LIMIT 1",
        f"SELECT owner FROM rrsets WHERE zone = ? AND type = {rrtype} ORDER BY owner DESC LIMIT 1",
    )
    for rrtype in (int(rr.NSEC), int(rr.NSEC3))
}
_POSITION: Final = "SELECT min(seq), max(seq) FROM feed"
_FEED: Final = "SELECT DISTINCT apex FROM feed WHERE seq > ? LIMIT ?"

log = get_logger("nameserver")


class _Row(NamedTuple):
    """A row of ``zones``."""

    id: int
    rrsets: int
    served: int


class StoreView:
    """The store in one snapshot.

    Args:
        path: of the file; it is there, and of this version.

    Raises:
        sqlite3.Error: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._snapshot, self._other = _open(path), _open(path)
        self._versions: dict[sqlite3.Connection, int] = {}
        self._snapshot.execute("BEGIN")
        self._position = self._read_position(self._snapshot)[1]
        self._version(self._other)

    def close(self) -> None:
        for connection in (self._snapshot, self._other):
            connection.close()

    # ---------------------------------------------------------------- moving on

    def _version(self, connection: sqlite3.Connection) -> bool:
        """Whether anything was committed since this was last asked on this connection."""
        version: int = connection.execute("PRAGMA data_version").fetchone()[0]
        same = self._versions.get(connection) == version
        self._versions[connection] = version
        return not same

    @staticmethod
    def _read_position(connection: sqlite3.Connection) -> tuple[int, int]:
        first, last = connection.execute(_POSITION).fetchone()
        return first or 0, last or 0

    def move(self) -> "Moved | None":
        """Go on to what is committed now, if it changes any answer.

        Returns:
            What changed; None where nothing did.

        Raises:
            sqlite3.Error: the store cannot be read just now; the snapshot stays.
        """
        other = self._other
        if not self._version(other):
            return None
        other.execute("BEGIN")
        try:
            first, last = self._read_position(other)
            if last == self._position:
                return None
            known = first - 1 <= self._position <= last
            apexes = [row[0] for row in other.execute(_FEED, (self._position, MOST_CHANGED + 1))] if known else []
            if not known or len(apexes) > MOST_CHANGED:
                moved = Moved(None, frozenset())
            else:
                moved = Moved(tuple(apexes), frozenset(apex for apex in apexes if self.row(apex) is None))
            self._position = last
            self._snapshot, other = other, self._snapshot
            self._other = other
            return moved
        except BaseException:
            del self._versions[other]
            raise
        finally:
            # The one that is not needed now: it must not hold back the writers' log.
            other.execute("ROLLBACK")

    # ---------------------------------------------------------------- reading

    def row(self, apex: bytes) -> _Row | None:
        """What is said of a zone; None where it is not there."""
        found = self._snapshot.execute(_ZONE, (apex,)).fetchone()
        return None if found is None else _Row(*found)

    def read(self, apex: bytes, row: _Row) -> ZoneData:
        """A zone."""
        if row.rrsets > WHOLE:
            return LargeZone(self, apex, row.id)
        nodes: dict[bytes, Node] = {}
        last: bytes | None = None
        node: Node = {}
        for key, rrtype, ttl, data in self._snapshot.execute(_SETS, (row.id,)):
            if key != last:
                last = key
                node = nodes[from_order_key(key, apex)] = {}
            node[rrtype] = ttl, unpack(data)
        add_empty_nonterminals(apex, nodes, 128 * WHOLE)
        return Zone(apex, nodes)

    def node(self, zone: int, key: bytes) -> Node | None:
        """The record sets of a name; empty where it only has names below, None where it has not even those."""
        found = {rrtype: (ttl, unpack(data)) for rrtype, ttl, data in self._snapshot.execute(_NODE, (zone, key))}
        # A key ends in a zero, and those of the names below begin with it.
        if found or not key or self._snapshot.execute(_BELOW, (zone, key, key[:-1] + b"\1")).fetchone():
            return found
        return None

    def at_or_before(self, zone: int, key: bytes, rrtype: int) -> bytes | None:
        """The key of the last owner of such a set at or before a key; else of the last of all."""
        before, last = _BEFORE[rrtype]
        found = (
            self._snapshot.execute(before, (zone, key)).fetchone() or self._snapshot.execute(last, (zone,)).fetchone()
        )
        return None if found is None else bytes(found[0])


class Moved(NamedTuple):
    """What changed from one snapshot to the next: the zones (None: too many, or nobody knows), and which of them were
    not there before."""

    apexes: tuple[bytes, ...] | None
    new: frozenset[bytes]


class LargeNodes:
    """The names of a large zone; see ``zones.zone.NodeMap``. Those asked for are remembered for a while."""

    __slots__ = ("_apex", "_id", "_known", "_view")

    def __init__(self, view: StoreView, apex: bytes, number: int) -> None:
        self._view = view
        self._apex = apex
        self._id = number
        self._known: dict[bytes, Node | None] = {}

    def get(self, name: bytes, /) -> Node | None:
        """The record sets of a name; None where there is no such name."""
        try:
            return self._known[name]
        except KeyError:
            pass
        if len(self._known) >= NODE_BUDGET:
            self._known.clear()
        node = self._known[name] = self._view.node(self._id, order_key(name, self._apex))
        return node

    def __getitem__(self, name: bytes, /) -> Node:
        node = self.get(name)
        if node is None:
            raise KeyError(name)
        return node


class LargeZone:
    """A zone that stays in the store; see ``zones.zone.ZoneData``. Good for one snapshot, as long as it did not change."""

    __slots__ = ("_id", "_view", "apex", "nodes")

    def __init__(self, view: StoreView, apex: bytes, number: int) -> None:
        self._view = view
        self._id = number
        self.apex = apex
        self.nodes = LargeNodes(view, apex, number)

    def at_or_before(self, name: bytes, rrtype: int) -> bytes | None:
        """See ``ZoneData``."""
        key = self._view.at_or_before(self._id, order_key(name, self.apex), rrtype)
        return None if key is None else from_order_key(key, self.apex)


class StoredTable(ZoneTable):
    """The zones from files, and behind them those of the store.

    Args:
        files: apex to packed zone.
    """

    __slots__ = ("_dying_stored", "_old_stored", "_size_stored", "_view", "_young_stored")

    def __init__(self, files: Mapping[bytes, bytes], view: StoreView) -> None:
        super().__init__(files)
        self._view = view
        self._young_stored: dict[bytes, ZoneData] = {}
        self._old_stored: dict[bytes, ZoneData] = {}
        self._dying_stored: dict[bytes, ZoneData] = {}
        self._size_stored = 0

    def __contains__(self, apex: object) -> bool:
        return apex in self._packed or (isinstance(apex, bytes) and self._view.row(apex) is not None)

    def moved(self, apexes: tuple[bytes, ...] | None) -> None:
        """Forget zones that changed; None: all."""
        if apexes is None:
            self._young_stored, self._old_stored, self._dying_stored, self._size_stored = {}, {}, {}, 0
            return
        for apex in apexes:
            self._young_stored.pop(apex, None)
            self._old_stored.pop(apex, None)
        # A large zone that did not change reads on in the new snapshot; what it remembers is still so.

    def apex_of(self, name: bytes) -> bytes | None:
        """The apex of the zone a folded name belongs to: the longest that is the name or above it."""
        for candidate in ancestors(name):
            if candidate in self._packed or candidate in self._young_stored or self._view.row(candidate) is not None:
                return candidate
        return None

    def find(self, name: bytes) -> ZoneData | None:
        """The zone that a folded name belongs to, opened.

        Raises:
            NotServedError: it is not to be answered for.
        """
        young, packed = self._young_stored, self._packed
        for candidate in ancestors(name):
            if candidate in packed:
                return self.open(candidate)
            zone = young.get(candidate)
            if zone is not None:
                return zone
            row = self._view.row(candidate)
            if row is not None:
                if not row.served:
                    raise NotServedError
                return self._keep(candidate, row)
        return None

    def find_above(self, apex: bytes) -> ZoneData | None:
        """The zone that holds the delegation of ``apex``, if we have it."""
        return None if apex == b"\0" else self.find(parent(apex))

    def _keep(self, apex: bytes, row: _Row) -> ZoneData:
        zone = self._old_stored.pop(apex, None) or self._view.read(apex, row)
        for _ in range(min(_FORGOTTEN_AT_ONCE, len(self._dying_stored))):
            self._dying_stored.popitem()
        size = min(row.rrsets, WHOLE) + 2
        if self._size_stored + size > OPEN_BUDGET:
            self._dying_stored, self._old_stored = self._old_stored, self._young_stored
            self._young_stored, self._size_stored = {}, 0
        self._young_stored[apex] = zone
        self._size_stored += size
        return zone


def _open(path: Path) -> sqlite3.Connection:
    url = f"file:{quote(str(path))}?mode=ro"
    connection = sqlite3.connect(url, uri=True, isolation_level=None, timeout=1.0)
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    connection.execute(f"PRAGMA mmap_size = {_MMAP}")
    return connection
