"""What was: change sets in order, a zone as it was at a serial, and what undoes a change."""

import json
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any, Final

from sqlalchemy import Connection, delete, exists, select

from mx10.dns import rrtypes as rr
from mx10.dns.wirename import from_order_key, order_key, to_text
from mx10.store.connect import Store
from mx10.store.errors import DamagedStoreError
from mx10.store.tables import change_sets, changes, feed
from mx10.zones.ledger import rows
from mx10.zones.ledger.difference import same
from mx10.zones.ledger.errors import HistoryError, RevertError
from mx10.zones.ledger.options import ZoneOptions
from mx10.zones.ledger.serials import serial_of, with_serial
from mx10.zones.ledger.values import GENERATED, ChangeSet, Edit, ZoneInfo
from mx10.zones.zone import Node, Zone, add_empty_nonterminals

SHOWN: Final = 10_000
"""Changes of one change set up to which ``listed`` reads them."""
_PAGE: Final = 100
_FEED_AGE: Final = 600_000
"""Milliseconds for which a row of the feed is kept at least."""
_FEED_ROWS: Final = 10_000
"""The newest rows of the feed are kept however old they are."""
_FEED_AT_ONCE: Final = 20_000
_PRUNED_AT_ONCE: Final = 200
_MOST_ID: Final = (1 << 63) - 1


def newest_first(connection: Connection, apex: bytes, before: int | None = None) -> Iterator[ChangeSet]:
    """The change sets of a zone from the newest on, without their changes."""
    while True:
        query = select(change_sets).where(change_sets.c.apex == apex)
        if before is not None:
            query = query.where(change_sets.c.id < min(before, _MOST_ID))
        page = connection.execute(query.order_by(change_sets.c.id.desc()).limit(_PAGE)).all()
        for row in page:
            yield rows.change_set(row)
            before = row.id
        if len(page) < _PAGE:
            return


def with_changes(connection: Connection, each: ChangeSet, most: int) -> ChangeSet:
    """A change set with its changes; without them where there are more than ``most``."""
    if rows.count_changes(connection, each.id, most) > most:
        return each
    return replace(each, changes=tuple(rows.read_changes(connection, each.apex, each.id)))


def since(connection: Connection, info: ZoneInfo, serial: int, most: int) -> list[ChangeSet] | None:
    """The change sets that led from a serial to the present one, oldest first, with their changes.

    Returns:
        None where that is not known: no such serial since the zone began, changes that are kept no more, or more than
        ``most`` of them.
    """
    if serial == info.serial:
        return []
    steps: list[ChangeSet] = []
    for each in newest_first(connection, info.apex):
        if each.serial_before == each.serial_after:
            continue  # settings
        if each.serial_before is None or each.serial_after is None:
            return None
        steps.append(each)
        if each.serial_before == serial:
            break
    else:
        return None
    found: list[ChangeSet] = []
    left = most
    for each in reversed(steps):
        complete = with_changes(connection, each, left)
        if not complete.changes:
            return None
        left -= len(complete.changes)
        found.append(complete)
    return found


def at_serial(
    connection: Connection, apex: bytes, info: ZoneInfo | None, serial: int, *, generated: bool, most_names: int
) -> Zone:
    """A zone as it was, also one that is gone: what it holds now, with later changes undone.

    Args:
        info: None for a zone that is not there now.
        generated: with the records that signing made.

    Raises:
        HistoryError: it never had that serial, or what came later is kept no more.
    """
    signed = info is not None and info.signed
    nodes = {} if info is None else load(connection, info)
    reached = info.serial if info is not None else None
    if reached != serial:
        for each in newest_first(connection, apex):
            if each.serial_before == each.serial_after:
                continue
            if each.serial_before is None:
                nodes, reached = {}, None
                continue
            signed = signed or each.kind == "sign"
            if not _undo(connection, each, nodes) and (each.kind != "sign" or generated):
                what = f"the changes before change {each.id} of {to_text(apex)} are kept no more"
                raise HistoryError(f"{what}; see store.keep_signing_days")
            reached = each.serial_before
            soa = nodes.get(apex, {}).get(rr.SOA)
            if soa and serial_of(soa[1][0]) != reached:
                nodes[apex][rr.SOA] = soa[0], (with_serial(soa[1][0], reached),)
            if reached == serial:
                break
        else:
            name = to_text(apex, final_dot=False)
            raise HistoryError(f"{name} never had the serial {serial}; `mx10 zone log {name}` shows those it had")
    if signed and not generated:
        nodes = {owner: _plain(node) for owner, node in nodes.items()}
    nodes = {owner: node for owner, node in nodes.items() if node}
    add_empty_nonterminals(apex, nodes, most_names)
    return Zone(apex, nodes)


def load(connection: Connection, info: ZoneInfo, *, generated: bool = True) -> dict[bytes, Node]:
    """All that a zone holds."""
    nodes: dict[bytes, Node] = {}
    last_key, node = None, {}
    for key, rrtype, rrset in rows.iterate(connection, info.id):
        if not generated and info.signed and rrtype in GENERATED:
            continue
        if key != last_key:
            last_key = key
            node = nodes[from_order_key(key, info.apex)] = {}
        node[rrtype] = rrset
    return nodes


def _plain(node: Node) -> Node:
    return {rrtype: rrset for rrtype, rrset in node.items() if rrtype not in GENERATED}


def _undo(connection: Connection, each: ChangeSet, nodes: dict[bytes, Node]) -> bool:
    """Undo a change set; whether its changes are still kept."""
    kept = False
    for change in rows.read_changes(connection, each.apex, each.id):
        kept = True
        node = nodes.setdefault(change.owner, {})
        if change.before is None:
            node.pop(change.type, None)
        else:
            node[change.type] = change.before
    return kept


def find(connection: Connection, apex: bytes, number: int) -> ChangeSet:
    """A change set by its number, without its changes.

    Raises:
        HistoryError: the zone has no such change.
    """
    query = select(change_sets).where(change_sets.c.id == number, change_sets.c.apex == apex)
    row = connection.execute(query).first() if 0 < number <= _MOST_ID else None
    if row is None:
        name = to_text(apex, final_dot=False)
        raise HistoryError(f"{name} has no change {number}; `mx10 zone log {name}` shows those it has")
    return rows.change_set(row)


def was(gone: ChangeSet) -> dict[str, Any]:
    """Kind, options (``before``), and whether mx10 signed it, of the zone that a change set took away."""
    try:
        found: dict[str, Any] = json.loads(gone.settings)
        return {"kind": found["kind"], "signed": found["signed"], "before": found["before"]}
    except (ValueError, KeyError, TypeError):
        raise DamagedStoreError(f"change {gone.id} is damaged; put back a backup") from None


def options_before(info: ZoneInfo, change_set: ChangeSet) -> ZoneOptions:
    """The options of a zone with a change of them undone; what was set otherwise since stays as it is.

    Raises:
        RevertError: what it set was set anew since.
    """
    try:
        found = json.loads(change_set.settings)
        before, after = ZoneOptions.from_dict(found["before"]), ZoneOptions.from_dict(found["after"])
    except (ValueError, KeyError, TypeError):
        raise DamagedStoreError(f"change {change_set.id} is damaged; put back a backup") from None
    undone: dict[str, Any] = {}
    for each in fields(ZoneOptions):
        old, new, now = (getattr(options, each.name) for options in (before, after, info.options))
        if old == new or now == old:
            continue
        if now != new:
            raise RevertError(
                f"change {change_set.id} cannot be undone by itself: {each.name} was set anew since;"
                f" set it as it shall be (`mx10 zone settings`)"
            )
        undone[each.name] = old
    return replace(info.options, **undone)


def undoing(connection: Connection, info: ZoneInfo, change_set: ChangeSet) -> list[Edit]:
    """The edits that undo a change set on the zone as it is now.

    Raises:
        RevertError: what it changed has been changed again since, or it is not for people to undo.
    """
    name = to_text(info.apex, final_dot=False)
    if change_set.serial_before is None:
        raise RevertError(f"change {change_set.id} made the zone; `mx10 zone delete {name}` takes it away")
    if change_set.kind == "sign":
        raise RevertError(f"change {change_set.id} was made by signing, which would make it again; leave it")
    edits: list[Edit] = []
    later: list[str] = []
    changed = list(rows.read_changes(connection, info.apex, change_set.id))
    if not changed:
        raise RevertError(f"change {change_set.id} changed no records, or they are kept no more")
    keys = {each.owner: order_key(each.owner, info.apex) for each in changed}
    present = rows.nodes(connection, info.id, keys.values())
    for change in changed:
        if info.signed and change.type in GENERATED:
            continue
        now = present.get(keys[change.owner], {}).get(change.type)
        before, after = change.before, change.after
        if change.type == rr.SOA and now and before and after:
            # Its serial goes on; the rest of it goes back.
            serial = serial_of(now[1][0])
            before = before[0], (with_serial(before[1][0], serial),)
            after = after[0], (with_serial(after[1][0], serial),)
            if same(before, after):
                continue
        if same(now, before):
            continue
        if not same(now, after):
            later.append(f"{to_text(change.owner, final_dot=False)} {rr.type_to_text(change.type)}")
            continue
        edits.append(Edit(change.owner, change.type, before))
    if later:
        shown = ", ".join(later[:5]) + (f" and {len(later) - 5} more" if len(later) > 5 else "")
        raise RevertError(
            f"change {change_set.id} cannot be undone by itself: {shown} changed again since;"
            f" undo the later changes first (`mx10 zone log {name}`), or set the records as they shall be"
        )
    return edits


def prune(store: Store, now: int, signing_days: int) -> int:
    """See ``Ledger.prune``; in transactions of limited size, so that nobody waits long."""
    while True:
        with store.begin() as connection:
            first, last = rows.feed_ends(connection)
            end = min(first + _FEED_AT_ONCE, last - _FEED_ROWS + 1)
            gone = connection.execute(delete(feed).where(feed.c.seq < end, feed.c.at < now - _FEED_AGE)).rowcount
        if gone < _FEED_AT_ONCE:
            break
    signing = (change_sets.c.kind == "sign") & (change_sets.c.at < now - signing_days * 86_400_000)
    has_changes = exists().where(changes.c.change_set == change_sets.c.id)
    query = select(change_sets.c.id).where(signing & has_changes).order_by(change_sets.c.id).limit(_PRUNED_AT_ONCE)
    count = 0
    while True:
        with store.begin() as connection:
            found = list(connection.execute(query).scalars())
            connection.execute(delete(changes).where(changes.c.change_set.in_(found)))
        count += len(found)
        if len(found) < _PRUNED_AT_ONCE:
            return count
