"""Change sets of a zone as one step for secondaries: what was before all of them, and what is now (RFC 1995 section 5).

A record that came and went between is in neither; so a secondary that was away for a thousand changes gets little more
than what differs.
"""

from collections.abc import Sequence

from mx10.dns import rrtypes as rr
from mx10.dns.packing import Delta, WireRecord, changed
from mx10.zones.ledger import ChangeSet
from mx10.zones.zone import RRset


def condensed(apex: bytes, change_sets: Sequence[ChangeSet]) -> Delta | None:
    """The change sets as one.

    Args:
        change_sets: oldest first, each with its changes.

    Returns:
        None where they do not say how the SOA record changed.
    """
    first: dict[tuple[bytes, int], RRset | None] = {}
    last: dict[tuple[bytes, int], RRset | None] = {}
    for change_set in change_sets:
        for change in change_set.changes or ():
            key = change.owner, change.type
            first.setdefault(key, change.before)
            last[key] = change.after
    before, after = first.pop((apex, rr.SOA), None), last.pop((apex, rr.SOA), None)
    if before is None or after is None:
        return None
    removed: list[WireRecord] = []
    added: list[WireRecord] = []
    for (owner, rrtype), old in first.items():
        gone, come = changed(owner, rrtype, old, last[owner, rrtype])
        removed += gone
        added += come
    return Delta(_soa(apex, before), _soa(apex, after), tuple(removed), tuple(added))


def _soa(apex: bytes, rrset: RRset) -> WireRecord:
    return apex, rr.SOA, rrset[0], rrset[1][0]
