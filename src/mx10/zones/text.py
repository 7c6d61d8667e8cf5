"""A zone as a master file: every name absolute, one record a line, as ``named-compilezone`` writes it."""

from mx10.dns import rdata, wirename
from mx10.dns import rrtypes as rr
from mx10.zones.zone import Zone


def to_text(zone: Zone) -> str:
    """The zone's records, the SOA first, then by owner from the apex down (RFC 4034 section 6.1) and by type."""
    lines: list[str] = []
    for owner in sorted(zone.nodes, key=_canonical_order):
        node = zone.nodes[owner]
        name = wirename.to_text(owner)
        for rrtype in sorted(node, key=lambda rrtype: (rrtype != rr.SOA, rrtype)):
            ttl, datas = node[rrtype]
            word = rr.type_to_text(rrtype)
            lines.extend(f"{name}\t{ttl}\tIN\t{word}\t{rdata.to_text(rrtype, data)}\n" for data in datas)
    return "".join(lines)


def _canonical_order(name: bytes) -> list[bytes]:
    return wirename.labels(name)[::-1]
