"""Looking at a zone in the store as signing needs it: by keys, in order, a page at a time.

Every range is one of the primary key. What is read is held no longer than a page, so record sets may be written while
names are walked.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from sqlalchemy import Connection, bindparam, literal_column, select, update

from mx10.dns import rrtypes as rr
from mx10.store.tables import rrsets, zones
from mx10.zones.dnssec.chain import GENERATED_HERE
from mx10.zones.ledger import rows
from mx10.zones.zone import Node

PAGE: Final = 4000
"""Record sets read at once."""

_ZONE: Final = rrsets.c.zone == bindparam("zone")
_PAGE: Final = (
    select(rrsets.c.owner, rrsets.c.type, rrsets.c.ttl, rrsets.c.data)
    .where(_ZONE, rrsets.c.owner > bindparam("after"))
    .order_by(rrsets.c.owner, rrsets.c.type)
    .limit(PAGE)
)
_PAGE_BELOW: Final = _PAGE.where(rrsets.c.owner < bindparam("end"))
_SIGNATURES: Final = (
    select(rrsets.c.owner, rrsets.c.ttl, rrsets.c.data)
    .where(_ZONE, rrsets.c.owner > bindparam("after"), rrsets.c.type == rr.RRSIG)
    .order_by(rrsets.c.owner)
    .limit(PAGE)
)
_BELOW: Final = (
    select(rrsets.c.type)
    .where(_ZONE, rrsets.c.owner > bindparam("after"), rrsets.c.owner < bindparam("end"))
    .where(rrsets.c.type.not_in(sorted(GENERATED_HERE)))
    .limit(1)
)
# The types stand in the text of the statements: only so does the database see that an index of NSEC3 records serves.
_LAST: Final = {
    rrtype: select(rrsets.c.owner)
    .where(_ZONE, rrsets.c.type == literal_column(str(rrtype)))
    .order_by(rrsets.c.owner.desc())
    .limit(1)
    for rrtype in (rr.NSEC, rr.NSEC3)
}
_BEFORE: Final = {rrtype: query.where(rrsets.c.owner < bindparam("key")) for rrtype, query in _LAST.items()}
_RESIGN_AT: Final = select(zones.c.resign_at).where(zones.c.id == bindparam("zone"))


class StoredZone:
    """A zone in the store.

    Args:
        zone: its id.
    """

    def __init__(self, connection: Connection, zone: int) -> None:
        self._connection = connection
        self._zone = zone

    def node(self, key: bytes) -> Node:
        """What a name has; empty where it has nothing."""
        return rows.node(self._connection, self._zone, key)

    def nodes(self, keys: Iterable[bytes]) -> dict[bytes, Node]:
        """What some names have; those that have nothing are left out."""
        return rows.nodes(self._connection, self._zone, keys)

    def names(self, above: bytes = b"") -> Iterator[tuple[bytes, Node]]:
        """Every name in order.

        Args:
            above: only those below this name; by default the whole zone, its apex first.
        """
        parameters: dict[str, object] = {"zone": self._zone, "after": above}
        query = _PAGE
        if above:
            query = _PAGE_BELOW
            parameters["end"] = _end_of(above)
        else:
            # The apex has the empty key, which nothing is smaller than.
            yield b"", self.node(b"")
        while True:
            page = self._connection.execute(query, parameters).all()
            found: dict[bytes, Node] = {}
            for owner, rrtype, ttl, data in page:
                found.setdefault(owner, {})[rrtype] = rows.rrset(ttl, data)
            complete = len(page) < PAGE
            if not complete:
                # The last name of a full page may go on in the next one.
                last, _ = found.popitem()
                if not found:
                    # A name with more types than a page has room for.
                    found[last] = self.node(last)
            yield from found.items()
            if complete:
                return
            parameters["after"] = next(reversed(found))

    def signatures(self) -> Iterator[tuple[bytes, tuple[bytes, ...]]]:
        """The data of each name's RRSIG records, in order."""
        apex = self.node(b"").get(rr.RRSIG)
        if apex is not None:
            yield b"", apex[1]
        after = b""
        while True:
            page = self._connection.execute(_SIGNATURES, {"zone": self._zone, "after": after}).all()
            for owner, ttl, data in page:
                yield owner, rows.rrset(ttl, data)[1]
            if len(page) < PAGE:
                return
            after = page[-1].owner

    def has_below(self, key: bytes) -> bool:
        """Whether there is a name below a name, by record sets of its own."""
        parameters = {"zone": self._zone, "after": key, "end": _end_of(key)}
        return self._connection.execute(_BELOW, parameters).first() is not None

    def member_before(self, key: bytes, rrtype: int) -> bytes | None:
        """The last name before a name that has an NSEC or NSEC3 record; before the first one, the last of all.

        Returns:
            None where there is none.
        """
        found = self._connection.execute(_BEFORE[rrtype], {"zone": self._zone, "key": key}).scalar()
        if found is None:
            found = self._connection.execute(_LAST[rrtype], {"zone": self._zone}).scalar()
        return found

    @property
    def resign_at(self) -> int | None:
        """When signatures want to be made anew, in seconds since 1970; None: mx10 has not signed the zone."""
        found = self._connection.execute(_RESIGN_AT, {"zone": self._zone}).scalar()
        return None if found is None else int(found)

    @resign_at.setter
    def resign_at(self, value: int | None) -> None:
        self._connection.execute(update(zones).where(zones.c.id == self._zone).values(resign_at=value))


def due_zones(connection: Connection, now: int, most: int) -> list[bytes]:
    """The zones that have signatures to be made anew, the most urgent first.

    Args:
        now: seconds since 1970.
    """
    query = select(zones.c.apex).where(zones.c.resign_at <= now).order_by(zones.c.resign_at).limit(most)
    return list(connection.execute(query).scalars())


def next_due(connection: Connection) -> int | None:
    """When the next zone is due, in seconds since 1970; None: no zone is signed."""
    query = select(zones.c.resign_at).where(zones.c.resign_at.is_not(None)).order_by(zones.c.resign_at).limit(1)
    found = connection.execute(query).scalar()
    return None if found is None else int(found)


def _end_of(key: bytes) -> bytes:
    """The first octets that are behind everything that begins with a key: a key ends with a zero."""
    return key[:-1] + b"\1"
