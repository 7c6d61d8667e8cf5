"""The reading half of the ledger: zones, their records, their history, and what happened since."""

from collections.abc import Iterable, Iterator
from typing import Final

from sqlalchemy import Connection, func, select

from mx10.config import ZoneSettings
from mx10.dns import rrtypes as rr
from mx10.dns.wirename import from_order_key, order_key
from mx10.store.connect import Store
from mx10.store.tables import feed, zones
from mx10.zones.ledger import history, rows
from mx10.zones.ledger.errors import NoSuchZoneError
from mx10.zones.ledger.values import GENERATED, ChangeSet, ZoneInfo
from mx10.zones.zone import Node, RRset, Zone, add_empty_nonterminals

MOST_SINCE: Final = 200_000
"""Changes up to which ``since`` gives them: a secondary that is further behind fetches the zone whole."""
MOST_FEED: Final = 10_000
"""Rows of the feed that are read at once."""
_PAGE: Final = 1000


class Reader:
    """The zones of a store, to read. Every method sees one consistent state.

    Args:
        settings: limits of zones.
    """

    def __init__(self, store: Store, settings: ZoneSettings) -> None:
        self.store = store
        self.settings = settings

    def info(self, apex: bytes) -> ZoneInfo:
        """What is known of a zone.

        Raises:
            NoSuchZoneError: it is not there.
        """
        with self.store.read() as connection:
            return self._info(connection, apex)

    def infos(self, after: bytes | None = None, limit: int | None = None) -> Iterator[ZoneInfo]:
        """What is known of the zones, by the octets of their names.

        Args:
            after: begin behind this name.
            limit: so many at most.
        """
        left = limit
        while left is None or left > 0:
            size = _PAGE if left is None else min(_PAGE, left)
            query = select(zones).order_by(zones.c.apex).limit(size)
            if after is not None:
                query = query.where(zones.c.apex > after)
            with self.store.read() as connection:
                page = [rows.info(row) for row in connection.execute(query)]
            yield from page
            if len(page) < size:
                return
            after = page[-1].apex
            left = None if left is None else left - size

    def present(self, apexes: Iterable[bytes]) -> set[bytes]:
        """Which of some zones are there; some hundred at a time."""
        with self.store.read() as connection:
            return set(connection.execute(select(zones.c.apex).where(zones.c.apex.in_(list(apexes)))).scalars())

    def count(self) -> int:
        """How many zones there are."""
        with self.store.read() as connection:
            return int(connection.execute(select(func.count()).select_from(zones)).scalar_one())

    def zone(self, apex: bytes, *, at: int | None = None, generated: bool = True) -> Zone:
        """A zone, now or as it was when it had a serial; the latter also of a zone that is gone.

        Args:
            generated: with the records that signing made.

        Raises:
            NoSuchZoneError: it is not there.
            HistoryError: it never had that serial, or what came later is kept no more.
        """
        with self.store.read() as connection:
            info = rows.find_zone(connection, apex)
            most = self.settings.max_records
            if at is not None:
                return history.at_serial(connection, apex, info, at, generated=generated, most_names=most)
            if info is None:
                raise NoSuchZoneError(apex)
            nodes = history.load(connection, info, generated=generated)
        add_empty_nonterminals(apex, nodes, max(most, len(nodes) * 128))
        return Zone(apex, nodes)

    def iterate(self, apex: bytes, *, generated: bool = True) -> Iterator[tuple[bytes, int, RRset]]:
        """The record sets of a zone as owner, type and record set: the SOA first, then in canonical order of owners,
        by type. They are read as they are asked for, from one snapshot that is held until then.

        Raises:
            NoSuchZoneError: it is not there.
        """
        with self.store.read() as connection:
            info = self._info(connection, apex)
            soa = rows.soa_of(connection, info.id)
            if soa is not None:
                yield apex, rr.SOA, soa
            last_key, owner = b"", apex
            for key, rrtype, rrset in rows.iterate(connection, info.id):
                if rrtype == rr.SOA or (not generated and info.signed and rrtype in GENERATED):
                    continue
                if key != last_key:
                    last_key, owner = key, from_order_key(key, apex)
                yield owner, rrtype, rrset

    def node(self, apex: bytes, owner: bytes) -> Node:
        """What a name of a zone has; empty if nothing.

        Raises:
            NoSuchZoneError: the zone is not there.
        """
        with self.store.read() as connection:
            info = self._info(connection, apex)
            return rows.node(connection, info.id, order_key(owner, apex))

    def rrset(self, apex: bytes, owner: bytes, rrtype: int) -> RRset | None:
        """A record set; None if there is none.

        Raises:
            NoSuchZoneError: the zone is not there.
        """
        return self.node(apex, owner).get(rrtype)

    def history(
        self, apex: bytes, *, limit: int, before_id: int | None = None, with_changes: bool = False
    ) -> list[ChangeSet]:
        """Change sets of a zone, the newest first, also of one that is gone.

        Args:
            before_id: begin behind this one.
            with_changes: with what they changed, but those with more than ``history.SHOWN`` changes.
        """
        found: list[ChangeSet] = []
        with self.store.read() as connection:
            for each in history.newest_first(connection, apex, before_id):
                if len(found) == limit:
                    break
                found.append(history.with_changes(connection, each, history.SHOWN) if with_changes else each)
        return found

    def since(self, apex: bytes, serial: int, *, most: int = MOST_SINCE) -> list[ChangeSet] | None:
        """The change sets that led from a serial to the present one, oldest first, with their changes; for IXFR.

        Args:
            most: changes in all of them.

        Returns:
            None where that is not known or too much.

        Raises:
            NoSuchZoneError: the zone is not there.
        """
        with self.store.read() as connection:
            return history.since(connection, self._info(connection, apex), serial, most)

    def feed_since(self, seq: int) -> tuple[int, list[bytes]] | None:
        """What happened since: the new position, and the zones whose answers changed, each once. At most
        ``MOST_FEED`` rows at a time: ask again at the new position until nothing comes.

        Args:
            seq: the position so far; 0 at first.

        Returns:
            None where that is known no more, and everything has to be looked at; ``feed_position`` says where to go on.
        """
        with self.store.read() as connection:
            first, last = rows.feed_ends(connection)
            if not last:
                return (0, []) if seq == 0 else None
            if seq > last or seq < first - 1:
                return None
            query = select(feed.c.seq, feed.c.apex).where(feed.c.seq > seq).order_by(feed.c.seq).limit(MOST_FEED)
            found = connection.execute(query).all()
            return found[-1].seq if found else seq, list(dict.fromkeys(row.apex for row in found))

    def feed_position(self) -> int:
        """The position behind all that has happened; 0 if nothing did."""
        with self.store.read() as connection:
            return rows.feed_ends(connection)[1]

    @staticmethod
    def _info(connection: Connection, apex: bytes) -> ZoneInfo:
        info = rows.find_zone(connection, apex)
        if info is None:
            raise NoSuchZoneError(apex)
        return info
