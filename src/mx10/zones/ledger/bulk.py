"""Many new zones at once: as fast as the database takes rows, in transactions of limited size."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from sqlalchemy import Connection, bindparam, func, select

from mx10.config import ZoneSettings
from mx10.dns import rrtypes as rr
from mx10.dns.wirename import order_key, to_text
from mx10.store import datas
from mx10.store.bulk import insert_rows, reserve_ids
from mx10.store.connect import Store
from mx10.store.tables import change_sets, feed, rrsets, zones
from mx10.zones.ledger import judging, rows
from mx10.zones.ledger.errors import InvalidEditError, LedgerError, ZoneExistsError
from mx10.zones.ledger.options import ZoneOptions
from mx10.zones.ledger.serials import first_serial, serial_of, with_serial
from mx10.zones.ledger.values import Author
from mx10.zones.zone import RRset, Zone

_ZONES: Final = 20_000
_RRSETS: Final = 150_000
"""Zones, and names in them, of one transaction; a single larger zone has one to itself."""

_PRESENT: Final = select(zones.c.apex).where(zones.c.apex.in_(bindparam("apexes", expanding=True)))
_LAST: Final = select(change_sets.c.apex, change_sets.c.serial_before, change_sets.c.serial_after).where(
    change_sets.c.id.in_(
        select(func.max(change_sets.c.id))
        .where(change_sets.c.apex.in_(bindparam("apexes", expanding=True)))
        .group_by(change_sets.c.apex)
    )
)


def create_many(
    store: Store,
    found: Iterable[Zone],
    author: Author,
    *,
    settings: ZoneSettings,
    options: ZoneOptions,
    force: bool,
    clock: Callable[[], int],
    progress: Callable[[int], None],
    refused: Callable[[bytes, LedgerError], None],
) -> int:
    """See ``Ledger.create_many``."""
    with store.read() as connection:
        untouched = connection.execute(select(change_sets.c.id).limit(1)).first() is None
    count = 0
    for batch in _batches(found):
        with store.begin() as connection:
            accepted = list(_acceptable(connection, batch, settings, force=force, refused=refused))
            # By name: the indexes of names are written page after page then, and not here and there.
            accepted.sort(key=lambda zone: zone.apex)
            # A store without history has no earlier zones either, but for those of this very call.
            formers = {} if untouched else _former_serials(connection, [zone.apex for zone in accepted])
            _insert(connection, accepted, formers, author, options, clock())
        count += len(accepted)
        progress(count)
    return count


def _batches(found: Iterable[Zone]) -> Iterator[list[Zone]]:
    batch: list[Zone] = []
    size = 0
    for zone in found:
        batch.append(zone)
        size += len(zone.nodes)
        if len(batch) == _ZONES or size >= _RRSETS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _acceptable(
    connection: Connection,
    batch: Sequence[Zone],
    settings: ZoneSettings,
    *,
    force: bool,
    refused: Callable[[bytes, LedgerError], None],
) -> Iterator[Zone]:
    """The zones that are new, and that the rules let pass."""
    present = _known(connection, [zone.apex for zone in batch])
    for zone in batch:
        try:
            if zone.apex in present:
                raise ZoneExistsError(zone.apex)
            if rr.SOA not in zone.nodes.get(zone.apex, ()):
                raise InvalidEditError(f"{to_text(zone.apex)} has no SOA record; write it first")
            if findings := judging.of_zone(zone):
                judging.refuse_or_tell(zone.apex, findings, settings, force=force)
        except LedgerError as error:
            refused(zone.apex, error)
        else:
            present.add(zone.apex)
            yield zone


def _known(connection: Connection, apexes: Sequence[bytes]) -> set[bytes]:
    found: set[bytes] = set()
    for start in range(0, len(apexes), rows.CHUNK):
        found.update(connection.execute(_PRESENT, {"apexes": apexes[start : start + rows.CHUNK]}).scalars())
    return found


def _former_serials(connection: Connection, apexes: Sequence[bytes]) -> dict[bytes, int]:
    """The last serial of zones that were there before, and are gone."""
    found: dict[bytes, int] = {}
    for start in range(0, len(apexes), rows.CHUNK):
        for apex, before, after in connection.execute(_LAST, {"apexes": apexes[start : start + rows.CHUNK]}):
            serial = before if after is None else after
            if serial is not None:
                found[apex] = serial
    return found


def _insert(
    connection: Connection,
    accepted: Sequence[Zone],
    formers: dict[bytes, int],
    author: Author,
    options: ZoneOptions,
    now: int,
) -> None:
    """Write the zones; driver's own statements, since this is where the time goes."""
    if not accepted:
        return
    name, message = rows.clean(author.name, rows.MAX_AUTHOR), rows.clean(author.message, rows.MAX_MESSAGE)
    said = options.to_json()
    of_zones: list[tuple[object, ...]] = []
    of_sets: list[tuple[object, ...]] = []
    of_records: list[tuple[object, ...]] = []
    pack = datas.pack
    for number, zone in enumerate(accepted, reserve_ids(connection, zones, len(accepted))):
        apex = zone.apex
        soa = zone.nodes[apex][rr.SOA]
        serial = first_serial(serial_of(soa[1][0]), formers.get(apex), options.serial_style, now)
        renewed: RRset = soa[0], (with_serial(soa[1][0], serial),)
        count = 0
        keyed = [(order_key(owner, apex), node) for owner, node in zone.nodes.items()]
        keyed.sort(key=_first)
        for key, node in keyed:
            count += len(node)
            for rrtype in sorted(node) if len(node) > 1 else node:
                ttl, records = renewed if rrtype == rr.SOA else node[rrtype]
                of_records.append((number, key, rrtype, ttl, pack(records)))
        of_zones.append((number, apex, "primary", serial, count, 1, said, "", ""))
        of_sets.append((apex, "create", serial, name, message, now))
    columns = ("id", "apex", "kind", "serial", "rrsets", "served", "options", "signing", "following")
    insert_rows(connection, zones, columns, of_zones)
    insert_rows(connection, rrsets, ("zone", "owner", "type", "ttl", "data"), of_records)
    insert_rows(connection, change_sets, ("apex", "kind", "serial_after", "author", "message", "at"), of_sets)
    insert_rows(connection, feed, ("apex", "at"), [(zone.apex, now) for zone in accepted])


def _first(pair: tuple[bytes, object]) -> bytes:
    return pair[0]
