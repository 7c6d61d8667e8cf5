"""Secondary zones as the one who follows primaries needs them; the state itself (JSON) is theirs to read."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import bindparam, select, update

from mx10.dns.wirename import from_order_key, order_key
from mx10.store.tables import zones
from mx10.zones.ledger import rows
from mx10.zones.ledger.ledger import Ledger
from mx10.zones.ledger.values import Author, Edit
from mx10.zones.zone import Node, Zone

_SAVE = (
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
    """

    apex: bytes
    primaries: tuple[str, ...]
    allow_notify: tuple[str, ...]
    served: bool
    state: str
    soa: bytes | None


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
            return Followed(apex, options.primaries, options.allow_notify, info.served, info.following, data)

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
