"""The zones of the store as a worker answers from them: a zone is read when somebody asks for it, a small one whole, of
a large one only the names that are asked for.
"""

from collections.abc import Mapping
from typing import Final

from mx10.dns.wirename import ancestors, from_order_key, order_key, parent
from mx10.nameserver.snapshot import StoreView, ZoneRow
from mx10.nameserver.table import NotServedError, ZoneTable
from mx10.store.datas import unpack
from mx10.zones.zone import Node, Zone, ZoneData, add_empty_nonterminals

WHOLE: Final = 2000
"""Record sets of a zone up to which it is read whole."""
OPEN_BUDGET: Final = 150_000
"""Record sets of zones that are kept open, in each of two generations; one takes some 300 octets."""
NODE_BUDGET: Final = 50_000
"""Names of a large zone that are remembered."""
_FORGOTTEN_AT_ONCE: Final = 4

# What rows can raise that mx10 never writes.
_DAMAGE: Final = (IndexError, TypeError, ValueError)


def read_zone(view: StoreView, apex: bytes, row: ZoneRow) -> ZoneData:
    """A zone of the store.

    Raises:
        NotServedError: it cannot be read.
    """
    if row.rrsets > WHOLE:
        return LargeZone(view, apex, row.id)
    nodes: dict[bytes, Node] = {}
    last: bytes | None = None
    node: Node = {}
    sets = view.sets(row.id)
    try:
        for key, rrtype, ttl, data in sets:
            if key != last:
                last = key
                node = nodes[from_order_key(key, apex)] = {}
            node[rrtype] = ttl, unpack(data)
    except _DAMAGE as error:
        raise view.damaged(apex, error) from error
    add_empty_nonterminals(apex, nodes, 128 * WHOLE)
    return Zone(apex, nodes)


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
        node = self._known[name] = self._read(order_key(name, self._apex))
        return node

    def _read(self, key: bytes) -> Node | None:
        """Empty where a name only has names below it, None where it has not even those."""
        sets = self._view.node(self._id, key)
        try:
            node = {rrtype: (ttl, unpack(data)) for rrtype, ttl, data in sets}
        except _DAMAGE as error:
            raise self._view.damaged(self._apex, error) from error
        return node if node or self._view.has_below(self._id, key) else None

    def __getitem__(self, name: bytes, /) -> Node:
        node = self.get(name)
        if node is None:
            raise KeyError(name)
        return node


class LargeZone:
    """A zone that stays in the store; see ``zones.zone.ZoneData``. Good for as long as it did not change."""

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
        try:
            return apex in self._packed or (isinstance(apex, bytes) and self._view.row(apex) is not None)
        except NotServedError:
            return False

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
        """The apex of the zone a folded name belongs to: the longest that is the name or above it. Where the store
        cannot be read, of those from files."""
        try:
            for candidate in ancestors(name):
                if (
                    candidate in self._packed
                    or candidate in self._young_stored
                    or self._view.row(candidate) is not None
                ):
                    return candidate
        except NotServedError:
            return super().apex_of(name)
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
            try:
                row = self._view.row(candidate)
            except NotServedError:
                # What is in the store nobody knows just now; the zones from files are answered all the same.
                apex = super().apex_of(candidate)
                if apex is None:
                    raise
                return self.open(apex)
            if row is not None:
                if not row.served:
                    raise NotServedError
                return self._keep(candidate, row)
        return None

    def find_above(self, apex: bytes) -> ZoneData | None:
        """The zone that holds the delegation of ``apex``, if we have it."""
        return None if apex == b"\0" else self.find(parent(apex))

    def _keep(self, apex: bytes, row: ZoneRow) -> ZoneData:
        zone = self._old_stored.pop(apex, None) or read_zone(self._view, apex, row)
        for _ in range(min(_FORGOTTEN_AT_ONCE, len(self._dying_stored))):
            self._dying_stored.popitem()
        size = min(row.rrsets, WHOLE) + 2
        if self._size_stored + size > OPEN_BUDGET:
            self._dying_stored, self._old_stored = self._old_stored, self._young_stored
            self._young_stored, self._size_stored = {}, 0
        self._young_stored[apex] = zone
        self._size_stored += size
        return zone
