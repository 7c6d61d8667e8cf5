"""Zones as master files, and record sets as lines.

Two forms. ``to_text`` writes every name absolute, as ``named-compilezone`` does. ``stable_lines`` is for files that
people read and keep in git: owners relative to $ORIGIN, one record a line with nothing lined up with its neighbours,
everything in canonical order. The same records give the same octets, and a change of one record changes one line.
"""

from collections.abc import Iterable, Iterator

from mx10.dns import rdata, wirename
from mx10.dns import rrtypes as rr
from mx10.zones.zone import RRset, Zone


def to_text(zone: Zone) -> str:
    """The zone's records, the SOA first, then by owner from the apex down (RFC 4034 section 6.1) and by type."""
    lines: list[str] = []
    for owner, rrtype, (ttl, datas) in in_order(zone):
        name = wirename.to_text(owner)
        word = rr.type_to_text(rrtype)
        lines.extend(f"{name}\t{ttl}\tIN\t{word}\t{rdata.to_text(rrtype, data)}\n" for data in datas)
    return "".join(lines)


def in_order(zone: Zone) -> Iterator[tuple[bytes, int, RRset]]:
    """Owner, type and record set: the SOA first, then by owner in canonical order (RFC 4034 section 6.1) and by
    type."""
    for owner in sorted(zone.nodes, key=wirename.order_key):
        node = zone.nodes[owner]
        for rrtype in sorted(node, key=lambda rrtype: (rrtype != rr.SOA, rrtype)):
            yield owner, rrtype, node[rrtype]


def stable_lines(apex: bytes, rrsets: Iterable[tuple[bytes, int, RRset]]) -> Iterator[str]:
    """A master file, line by line, for ``mx10 zone export``.

    Args:
        rrsets: of the zone, as ``in_order`` gives them.
    """
    yield f"$ORIGIN {wirename.to_text(apex)}"
    for owner, rrtype, rrset in rrsets:
        yield from record_lines(apex, owner, rrtype, rrset)


def record_lines(apex: bytes, owner: bytes, rrtype: int, rrset: RRset) -> list[str]:
    """The records of a set, a line each, sorted by their data."""
    name = relative(owner, apex)
    word = rr.type_to_text(rrtype)
    ttl, datas = rrset
    return [f"{name} {ttl} {word} {rdata.to_text(rrtype, data)}" for data in sorted(datas)]


def relative(owner: bytes, apex: bytes) -> str:
    """An owner as it stands below $ORIGIN: ``@``, ``www``."""
    if owner == apex:
        return "@"
    # The root has no relative names, and a name that is not in the zone keeps its dot.
    if apex == wirename.ROOT or not wirename.is_under(owner, apex):
        return wirename.to_text(owner)
    return wirename.to_text(owner[: len(owner) - len(apex)] + b"\0", final_dot=False)
