"""The zones a nameserver answers for, by apex.

A zone lives packed (a few hundred octets for a small one) until a question needs it; the opened ones are kept within a
budget, and the least recently used half goes when it is full. So a hundred thousand zones cost what their data costs,
and a big zone is opened once.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from mx10.dns.wirename import ancestors, parent
from mx10.zones.zone import Zone, ZoneData

OPEN_BUDGET: Final = 16 << 20
"""Octets of packed zones that are kept open, in each of two generations. An opened zone takes about ten times its
packed size.
"""
LARGE: Final = 256 << 10
"""Octets packed from which on a zone stays open once it was opened: unpacking a zone of 5 MB takes some 80 ms, and
whoever asked in turn for several such zones could otherwise have it done for every question.
"""
_FORGOTTEN_AT_ONCE: Final = 4
"""Zones let go each time one is opened. To free a whole generation in one go would hold up every question for half a
second; so it is emptied bit by bit, which is done long before the next one is full.
"""


class NotServedError(Exception):
    """A zone is there and is not to be answered for: it expired, or was not fetched yet. SERVFAIL."""


class ZoneTable:
    """Apex to zone; the longest matching apex answers.

    Args:
        packed: apex (folded wire name) to packed zone. The mapping is copied shallowly: the packed octets stay shared
            with whoever loaded them.
    """

    __slots__ = ("_dying", "_large", "_old", "_packed", "_size", "_young")

    def __init__(self, packed: Mapping[bytes, bytes] | None = None) -> None:
        self._packed: dict[bytes, bytes] = dict(packed or {})
        self._young: dict[bytes, Zone] = {}
        self._old: dict[bytes, Zone] = {}
        self._dying: dict[bytes, Zone] = {}
        self._large: dict[bytes, Zone] = {}
        self._size = 0

    def __len__(self) -> int:
        return len(self._packed)

    def __contains__(self, apex: object) -> bool:
        return apex in self._packed

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._packed)

    def put(self, apex: bytes, packed: bytes) -> None:
        """Add a zone or replace it."""
        self._packed[apex] = packed
        self._forget(apex)

    def remove(self, apex: bytes) -> None:
        """Take a zone away; one that is not there is no error."""
        self._packed.pop(apex, None)
        self._forget(apex)

    def _forget(self, apex: bytes) -> None:
        for opened in (self._young, self._old, self._large):
            opened.pop(apex, None)

    def apex_of(self, name: bytes) -> bytes | None:
        """The apex of the zone a folded name belongs to: the longest that is the name or above it."""
        packed = self._packed
        for candidate in ancestors(name):
            if candidate in packed:
                return candidate
        return None

    def find(self, name: bytes) -> ZoneData | None:
        """The zone that a folded name belongs to, opened.

        Raises:
            NotServedError: it is not to be answered for.
        """
        apex = self.apex_of(name)
        return None if apex is None else self.open(apex)

    def find_above(self, apex: bytes) -> ZoneData | None:
        """The zone that holds the delegation of ``apex``, if we have it: the one that answers for its DS (RFC 4035
        section 3.1.4.1).
        """
        return None if apex == b"\0" else self.find(parent(apex))

    def open(self, apex: bytes) -> Zone:
        """The zone of that apex.

        Raises:
            KeyError: there is none.
        """
        zone = self._young.get(apex) or self._large.get(apex)
        if zone is not None:
            return zone
        packed = self._packed[apex]
        if len(packed) >= LARGE:
            zone = self._large[apex] = Zone.unpack(packed)
            return zone
        zone = self._old.pop(apex, None) or Zone.unpack(packed)
        for _ in range(min(_FORGOTTEN_AT_ONCE, len(self._dying))):
            self._dying.popitem()
        if self._size + len(packed) > OPEN_BUDGET:
            self._dying, self._old, self._young, self._size = self._old, self._young, {}, 0
        self._young[apex] = zone
        self._size += len(packed)
        return zone
