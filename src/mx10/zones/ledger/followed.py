"""Secondary zones as the one who follows primaries needs them; the state itself (JSON) is theirs to read."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, bindparam, insert, select, update

from mx10.dns.wirename import from_order_key, order_key
from mx10.store.tables import change_sets, feed, zones
from mx10.zones.ledger import rows
from mx10.zones.ledger.errors import NoSuchZoneError
from mx10.zones.ledger.ledger import Ledger
from mx10.zones.ledger.options import ZoneOptions
from mx10.zones.ledger.values import Author, Edit
from mx10.zones.zone import Node, RRset, Zone

_SAVE: Final = (
    update(zones)
    .where(zones.c.apex == bindparam("name"), zones.c.kind == "secondary")
    .values(following=bindparam("state"))
)


@dataclass(frozen=True, slots=True)
class Followed:
    """A secondary zone.

    Attributes:
        primaries: as they were set; ``allow_notify`` too.
        served: whether it is answered; if not, it expired or was never fetched.
        state: what ``save`` wrote last.
        soa: the data of its SOA record; None if it was never fetched.
        catalog: whether its records list zones that are to be followed too (RFC 9432).
    """

    apex: bytes
    primaries: tuple[str, ...]
    allow_notify: tuple[str, ...]
    served: bool
    state: str
    soa: bytes | None
    catalog: bool


class FollowedZones:
    """The secondary zones of a store. Every method is one transaction.

    Args:
        ledger: of the store.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def states(self, among: Collection[bytes] | None = None) -> list[tuple[bytes, str]]:
        """Names and states of the secondary zones.

        Args:
            among: only these, if they are secondary zones.
        """
        query = select(zones.c.apex, zones.c.following).where(zones.c.kind == "secondary")
        found: list[tuple[bytes, str]] = []
        with self._ledger.store.read() as connection:
            if among is None:
                return [(row.apex, row.following) for row in connection.execute(query)]
            names = list(among)
            for start in range(0, len(names), rows.CHUNK):
                chosen = query.where(zones.c.apex.in_(names[start : start + rows.CHUNK]))
                found += [(row.apex, row.following) for row in connection.execute(chosen)]
        return found

    def find(self, apex: bytes) -> Followed | None:
        """A secondary zone; None if there is none of that name."""
        with self._ledger.store.read() as connection:
            info = rows.find_zone(connection, apex)
            if info is None or info.kind != "secondary":
                return None
            soa = rows.soa_of(connection, info.id)
            data = soa[1][0] if soa is not None else None
            options = info.options
            catalog = options.consume_catalog
            return Followed(apex, options.primaries, options.allow_notify, info.served, info.following, data, catalog)

    def nodes(self, apex: bytes, owners: Iterable[bytes]) -> dict[bytes, Node]:
        """What some names of a zone have.

        Raises:
            NoSuchZoneError: it is not there.
        """
        info = self._ledger.info(apex)
        with self._ledger.store.read() as connection:
            found = rows.nodes(connection, info.id, (order_key(owner, apex) for owner in owners))
        return {from_order_key(key, apex): node for key, node in found.items()}

    def replace(self, apex: bytes, nodes: dict[bytes, Node], author: Author) -> None:
        """Make a zone what a primary says it is.

        Raises:
            LedgerError: it cannot be.
        """
        self._ledger.replace(apex, Zone(apex, nodes), author, kind="transfer")

    def change(self, apex: bytes, edits: list[Edit], serial: int, author: Author) -> None:
        """Make changes that a primary sent.

        Args:
            serial: that they are changes of.

        Raises:
            LedgerError: they cannot be made.
        """
        self._ledger.change(apex, edits, author, expected_serial=serial, kind="transfer")

    def set_served(self, apex: bytes, served: bool) -> None:
        """Whether a zone is answered."""
        self._ledger.set_served(apex, served)

    def save(self, states: Mapping[bytes, str]) -> None:
        """Keep where zones stand; nobody is told, as nothing else is answered. Zones that are gone are passed over."""
        with self._ledger.store.begin() as connection:
            connection.execute(_SAVE, [{"name": apex, "state": state} for apex, state in states.items()])

    # ---------------------------------------------------------------- catalogs

    def records(self, apex: bytes) -> Iterator[tuple[bytes, int, RRset]]:
        """The record sets of a zone."""
        return self._ledger.iterate(apex)

    def members(self, catalog: str) -> dict[bytes, str]:
        """The zones followed by reason of a catalog, and the names that list them in it.

        Args:
            catalog: its name, as in ``ZoneOptions.member_of``.
        """
        query = select(zones.c.apex, zones.c.options).where(
            zones.c.kind == "secondary", zones.c.options.contains("member_of", autoescape=True)
        )
        with self._ledger.store.read() as connection:
            found = [(row.apex, ZoneOptions.from_json(row.options)) for row in connection.execute(query)]
        return {apex: options.member_as for apex, options in found if options.member_of == catalog}

    def follow_many(self, wanted: Mapping[bytes, ZoneOptions], author: Author) -> tuple[list[bytes], list[bytes]]:
        """Follow zones, many in one transaction.

        Returns:
            Those that are followed from now on, and those that are zones of the store already, which stay as they are.
        """
        added: list[bytes] = []
        clashes: list[bytes] = []
        names = list(wanted)
        for start in range(0, len(names), rows.CHUNK):
            some = names[start : start + rows.CHUNK]
            with self._ledger.store.begin() as connection:
                present = set(connection.execute(select(zones.c.apex).where(zones.c.apex.in_(some))).scalars())
                new = [apex for apex in some if apex not in present]
                _add(connection, {apex: wanted[apex] for apex in new}, author, self._ledger.clock())
            added += new
            clashes += [apex for apex in some if apex in present]
        return added, clashes

    def delete_many(self, names: Iterable[bytes], author: Author) -> None:
        """Delete secondary zones; those that are gone are passed over."""
        for apex in names:
            with suppress(NoSuchZoneError):
                self._ledger.delete(apex, author)


def _add(connection: Connection, wanted: Mapping[bytes, ZoneOptions], author: Author, now: int) -> None:
    """Insert secondary zones that have not been fetched yet, as ``Ledger.follow`` does it for one."""
    if not wanted:
        return
    empty = {"kind": "secondary", "serial": 0, "rrsets": 0, "served": 0, "signing": "", "following": ""}
    noted = {"kind": "settings", "serial_before": None, "serial_after": None, "at": now}
    noted |= {
        "author": rows.clean(author.name, rows.MAX_AUTHOR),
        "message": rows.clean(author.message, rows.MAX_MESSAGE),
    }
    connection.execute(
        insert(zones), [{**empty, "apex": apex, "options": options.to_json()} for apex, options in wanted.items()]
    )
    connection.execute(insert(change_sets), [{**noted, "apex": apex} for apex in wanted])
    connection.execute(insert(feed), [{"apex": apex, "at": now} for apex in wanted])
