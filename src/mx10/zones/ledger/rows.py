"""Rows of the database to values and back. Statements only: what may be changed, and when, is decided elsewhere."""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, delete, func, insert, literal, select, text, update

from mx10.dns import rrtypes as rr
from mx10.dns.wirename import from_order_key
from mx10.store import datas
from mx10.store.bulk import insert_rows
from mx10.store.errors import DamagedStoreError
from mx10.store.tables import change_sets, changes, feed, rrsets, zones
from mx10.zones.ledger.options import ZoneOptions
from mx10.zones.ledger.values import Author, Change, ChangeSet, ZoneInfo
from mx10.zones.zone import Node, RRset

CHUNK: Final = 500
"""Values in one IN (…), and rows fetched at once."""
MAX_MESSAGE: Final = 10_000
"""Characters of a change's message."""
MAX_AUTHOR: Final = 255
"""Characters of an author's name."""

_STREAMED: Final = {"yield_per": CHUNK * 4}

_ZONE: Final = select(zones).where(zones.c.apex == bindparam("apex"))
_NODE: Final = select(rrsets.c.type, rrsets.c.ttl, rrsets.c.data).where(
    rrsets.c.zone == bindparam("zone"), rrsets.c.owner == bindparam("owner")
)
_NODES: Final = select(rrsets.c.owner, rrsets.c.type, rrsets.c.ttl, rrsets.c.data).where(
    rrsets.c.zone == bindparam("zone"), rrsets.c.owner.in_(bindparam("owners", expanding=True))
)
_ALL: Final = (
    select(rrsets.c.owner, rrsets.c.type, rrsets.c.ttl, rrsets.c.data)
    .where(rrsets.c.zone == bindparam("zone"))
    .order_by(rrsets.c.owner, rrsets.c.type)
)
_BELOW: Final = (
    select(rrsets.c.owner)
    .where(rrsets.c.zone == bindparam("zone"), rrsets.c.owner > bindparam("key"), rrsets.c.owner < bindparam("end"))
    .distinct()
    .order_by(rrsets.c.owner)
    .limit(bindparam("most"))
)
_PUT: Final = text(
    "INSERT INTO rrsets (zone, owner, type, ttl, data) VALUES (:zone, :owner, :type, :ttl, :data)"
    " ON CONFLICT (zone, owner, type) DO UPDATE SET ttl = excluded.ttl, data = excluded.data"
)
_TAKE: Final = text("DELETE FROM rrsets WHERE zone = :zone AND owner = :owner AND type = :type")
_RECORD: Final = text(
    "INSERT INTO changes (change_set, owner, type, ttl_before, data_before, ttl_after, data_after)"
    " VALUES (:change_set, :owner, :type, :ttl_before, :data_before, :ttl_after, :data_after)"
    " ON CONFLICT (change_set, owner, type) DO UPDATE SET ttl_after = excluded.ttl_after,"
    " data_after = excluded.data_after"
)
# Fifty times a second. Asked for together in one SELECT, SQLite would read the whole feed for them.
_FEED_ENDS: Final = text("SELECT (SELECT min(seq) FROM feed), (SELECT max(seq) FROM feed)")


def clean(value: str, most: int) -> str:
    """A text that both databases take: without what is no character, or is the end of a text in C."""
    return value.encode("utf-8", "replace").decode().replace("\0", "")[:most]


def rrset(ttl: int, data: bytes) -> RRset:
    """A record set from its columns.

    Raises:
        DamagedStoreError: mx10 never wrote such data.
    """
    try:
        return ttl, datas.unpack(data)
    except IndexError:
        raise DamagedStoreError("a record set of the store is damaged; put back a backup") from None


# ---------------------------------------------------------------- zones


def info(row: Row[Any]) -> ZoneInfo:
    """A row of ``zones``."""
    return ZoneInfo(
        row.id,
        row.apex,
        row.kind,
        row.serial,
        row.rrsets,
        bool(row.served),
        ZoneOptions.from_json(row.options),
        row.signing,
        row.following,
    )


def find_zone(connection: Connection, apex: bytes) -> ZoneInfo | None:
    """What is known of a zone."""
    row = connection.execute(_ZONE, {"apex": apex}).first()
    return None if row is None else info(row)


def add_zone(
    connection: Connection, apex: bytes, kind: str, serial: int, count: int, served: bool, options: ZoneOptions
) -> int:
    """Insert a zone; its id."""
    values = {
        "apex": apex,
        "kind": kind,
        "serial": serial,
        "rrsets": count,
        "served": int(served),
        "options": options.to_json(),
        "signing": "",
        "following": "",
    }
    return int(connection.execute(insert(zones).values(values).returning(zones.c.id)).scalar_one())


def update_zone(connection: Connection, zone: int, **values: object) -> None:
    """Set columns of a zone."""
    connection.execute(update(zones).where(zones.c.id == zone).values(values))


def remove_zone(connection: Connection, zone: int) -> None:
    """Take a zone and its record sets and keys away."""
    connection.execute(delete(zones).where(zones.c.id == zone))


# ---------------------------------------------------------------- record sets


def node(connection: Connection, zone: int, key: bytes) -> Node:
    """What an owner has; empty where it has nothing."""
    rows = connection.execute(_NODE, {"zone": zone, "owner": key})
    return {rrtype: rrset(ttl, data) for rrtype, ttl, data in rows}


def nodes(connection: Connection, zone: int, keys: Iterable[bytes]) -> dict[bytes, Node]:
    """What some owners have, by their keys; those that have nothing are left out."""
    found: dict[bytes, Node] = {}
    for chunk in _batched(dict.fromkeys(keys), CHUNK):
        for owner, rrtype, ttl, data in connection.execute(_NODES, {"zone": zone, "owners": chunk}):
            found.setdefault(owner, {})[rrtype] = rrset(ttl, data)
    return found


def iterate(connection: Connection, zone: int) -> Iterator[tuple[bytes, int, RRset]]:
    """Every record set of a zone by key and type, read as it is asked for."""
    with closing(connection.execute(_ALL, {"zone": zone}, execution_options=_STREAMED)) as found:
        for owner, rrtype, ttl, data in found:
            yield owner, rrtype, rrset(ttl, data)


def below(connection: Connection, zone: int, key: bytes, most: int) -> list[bytes]:
    """The first keys below one."""
    parameters = {"zone": zone, "key": key, "end": key + b"\xff" * 256, "most": most}
    return list(connection.execute(_BELOW, parameters).scalars())


def write(
    connection: Connection, zone: int, states: Sequence[tuple[bytes, int, RRset | None]], *, fresh: bool = False
) -> None:
    """Write record sets, by key and type; None takes one away.

    Args:
        fresh: none of them is there yet, which is faster.
    """
    if fresh:
        columns = ("zone", "owner", "type", "ttl", "data")
        made = [(zone, key, rrtype, state[0], datas.pack(state[1])) for key, rrtype, state in states if state]
        insert_rows(connection, rrsets, columns, made)
        return
    gone = [{"zone": zone, "owner": key, "type": rrtype} for key, rrtype, state in states if state is None]
    put = [
        {"zone": zone, "owner": key, "type": rrtype, "ttl": state[0], "data": datas.pack(state[1])}
        for key, rrtype, state in states
        if state is not None
    ]
    if gone:
        connection.execute(_TAKE, gone)
    if put:
        connection.execute(_PUT, put)


# ---------------------------------------------------------------- history


def add_change_set(
    connection: Connection,
    apex: bytes,
    kind: str,
    before: int | None,
    after: int | None,
    author: Author,
    at: int,
    settings: dict[str, Any] | None = None,
) -> int:
    """Insert a change set; its id."""
    values = {
        "apex": apex,
        "kind": kind,
        "serial_before": before,
        "serial_after": after,
        "author": clean(author.name, MAX_AUTHOR),
        "message": clean(author.message, MAX_MESSAGE),
        "at": at,
        "settings": settings and json.dumps(settings),
    }
    return int(connection.execute(insert(change_sets).values(values).returning(change_sets.c.id)).scalar_one())


def set_serial_after(connection: Connection, number: int, serial: int) -> None:
    """Write which serial a change set led to."""
    connection.execute(update(change_sets).where(change_sets.c.id == number).values(serial_after=serial))


def add_changes(
    connection: Connection, change_set: int, found: Sequence[tuple[bytes, int, RRset | None, RRset | None]]
) -> None:
    """Note changes, by key and type, before and after. One noted already keeps what was before it."""
    if found:
        values = [
            {
                "change_set": change_set,
                "owner": key,
                "type": rrtype,
                "ttl_before": before and before[0],
                "data_before": before and datas.pack(before[1]),
                "ttl_after": after and after[0],
                "data_after": after and datas.pack(after[1]),
            }
            for key, rrtype, before, after in found
        ]
        connection.execute(_RECORD, values)


def change_set(row: Row[Any], found: tuple[Change, ...] | None = None) -> ChangeSet:
    """A row of ``change_sets``."""
    return ChangeSet(
        row.id,
        row.apex,
        row.kind,
        row.serial_before,
        row.serial_after,
        row.author,
        row.message,
        row.at,
        found,
        row.settings or "",
    )


def read_changes(connection: Connection, apex: bytes, number: int) -> Iterator[Change]:
    """The changes of a change set in canonical order, read as they are asked for."""
    query = select(changes).where(changes.c.change_set == number).order_by(changes.c.owner, changes.c.type)
    with closing(connection.execute(query, execution_options=_STREAMED)) as found:
        for _, owner, rrtype, ttl_before, data_before, ttl_after, data_after in found:
            before = None if ttl_before is None else rrset(ttl_before, data_before)
            after = None if ttl_after is None else rrset(ttl_after, data_after)
            yield Change(from_order_key(owner, apex), rrtype, before, after)


def count_changes(connection: Connection, number: int, most: int) -> int:
    """How many changes a change set has; counting ends behind ``most``."""
    rows = select(changes.c.type).where(changes.c.change_set == number).limit(most + 1).subquery()
    return int(connection.execute(select(func.count()).select_from(rows)).scalar_one())


def feed_ends(connection: Connection) -> tuple[int, int]:
    """The numbers of the first and the last row of the feed; both 0 where it has none."""
    first, last = connection.execute(_FEED_ENDS).one()
    return first or 0, last or 0


def tell(connection: Connection, apex: bytes, at: int) -> None:
    """Let nameservers know that what they answer of a zone has changed."""
    connection.execute(insert(feed).values(apex=apex, at=at))


def note_all_gone(connection: Connection, number: int, zone: int) -> None:
    """Note in a change set that everything a zone holds goes away."""
    columns = ["change_set", "owner", "type", "ttl_before", "data_before"]
    gone = select(literal(number), rrsets.c.owner, rrsets.c.type, rrsets.c.ttl, rrsets.c.data)
    connection.execute(insert(changes).from_select(columns, gone.where(rrsets.c.zone == zone)))


def soa_of(connection: Connection, zone: int) -> RRset | None:
    """The SOA record set of a zone; None for a secondary that has not been fetched yet."""
    return node(connection, zone, b"").get(rr.SOA)


def _batched(values: Iterable[bytes], size: int) -> Iterator[list[bytes]]:
    found = list(values)
    for start in range(0, len(found), size):
        yield found[start : start + size]
