"""Differences between record sets, as lines people know from ``diff``: ``-`` for what goes, ``+`` for what comes."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from mx10.cli.text import Style
from mx10.dns import rdata
from mx10.dns import rrtypes as rr
from mx10.names import ascii_text
from mx10.zones.text import record_lines

if TYPE_CHECKING:
    from mx10.zones.ledger import Change, ChangeSet
    from mx10.zones.zone import RRset


def lines(apex: bytes, changes: "Iterable[Change]", style: Style, *, generated: bool = False) -> Iterator[str]:
    """Each record that goes or comes, in canonical order of owners. An SOA record of which nothing but the serial
    moved is left out: every change moves it, and whoever shows a change shows its serials.

    Args:
        generated: also the records that signing made.
    """
    from mx10.zones.ledger import GENERATED

    left_out = 0
    for change in changes:
        if change.type in GENERATED and not generated:
            left_out += 1
            continue
        if change.type == rr.SOA and _moves_serial_alone(change):
            continue
        before = record_lines(apex, change.owner, change.type, change.before) if change.before else []
        after = record_lines(apex, change.owner, change.type, change.after) if change.after else []
        for line in before:
            if line not in after:
                yield style.paint(f"-{line}", "red")
        for line in after:
            if line not in before:
                yield style.paint(f"+{line}", "green")
    if left_out:
        yield style.paint(f"({left_out} record set{'' if left_out == 1 else 's'} of DNSSEC too)", "dim")


def _moves_serial_alone(change: "Change") -> bool:
    from mx10.zones.ledger.serials import with_serial

    if change.before is None or change.after is None:
        return False
    (ttl_before, (before, *_)), (ttl_after, (after, *_)) = change.before, change.after
    return ttl_before == ttl_after and with_serial(before, 0) == with_serial(after, 0)


def change_as_json(change: "Change") -> dict[str, object]:
    """A change of a record set for programs."""
    return {
        "owner": ascii_text(change.owner),
        "type": rr.type_to_text(change.type),
        "before": _rrset_as_json(change.type, change.before),
        "after": _rrset_as_json(change.type, change.after),
    }


def as_json(change_set: "ChangeSet") -> dict[str, object]:
    """A change set for programs; times in milliseconds since 1970 (UTC)."""
    row: dict[str, object] = {
        "change": change_set.id,
        "zone": ascii_text(change_set.apex),
        "kind": change_set.kind,
        "serial_before": change_set.serial_before,
        "serial_after": change_set.serial_after,
        "author": change_set.author,
        "message": change_set.message,
        "at": change_set.at,
    }
    if change_set.changes is not None:
        row["changes"] = [change_as_json(change) for change in change_set.changes]
    return row


def _rrset_as_json(rrtype: int, rrset: "RRset | None") -> dict[str, object] | None:
    if rrset is None:
        return None
    return {"ttl": rrset[0], "data": [rdata.to_text(rrtype, data) for data in sorted(rrset[1])]}
