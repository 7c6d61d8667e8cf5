"""What differs between two states of a zone."""

from collections.abc import Iterable, Iterator
from typing import Final

from mx10.dns.wirename import order_key
from mx10.zones.ledger.values import Change
from mx10.zones.zone import RRset, Zone

Keyed = tuple[bytes, int, RRset]
"""Order key of the owner, type, and record set."""

_END: Final = None


def same(one: RRset | None, other: RRset | None) -> bool:
    """Whether two record sets are the same; the order of their records does not count (RFC 2181 section 5)."""
    if one is None or other is None:
        return one is other
    return one == other or (one[0] == other[0] and sorted(one[1]) == sorted(other[1]))


def differences(
    before: Iterable[Keyed], after: Iterable[Keyed]
) -> Iterator[tuple[bytes, int, RRset | None, RRset | None]]:
    """What differs, as order key, type, and the record set before and after; in the order of both.

    Args:
        before: sorted by order key and type, and so is ``after``. Neither is held in memory.
    """
    older, newer = iter(before), iter(after)
    one, other = next(older, _END), next(newer, _END)
    while one or other:
        if other is _END or (one is not _END and one[:2] < other[:2]):
            assert one is not _END
            yield one[0], one[1], one[2], None
            one = next(older, _END)
        elif one is _END or other[:2] < one[:2]:
            yield other[0], other[1], None, other[2]
            other = next(newer, _END)
        else:
            if not same(one[2], other[2]):
                yield one[0], one[1], one[2], other[2]
            one, other = next(older, _END), next(newer, _END)


def keyed(zone: Zone) -> Iterator[Keyed]:
    """The record sets of a zone in the order of the database."""
    apex = zone.apex
    for key, owner in sorted((order_key(owner, apex), owner) for owner in zone.nodes):
        node = zone.nodes[owner]
        for rrtype in sorted(node):
            yield key, rrtype, node[rrtype]


def changes_between(older: Zone, newer: Zone) -> list[Change]:
    """What differs between two states of a zone, in canonical order."""
    owners = {order_key(owner, older.apex): owner for zone in (older, newer) for owner in zone.nodes}
    return [
        Change(owners[key], rrtype, before, after)
        for key, rrtype, before, after in differences(keyed(older), keyed(newer))
    ]
