"""The changes of an IXFR as edits of the zone we have: a pure function.

They are applied to the letter. A record to remove that is not there, or one to add that is there already, shows that
our zone is not the one the primary made its changes to; then the whole zone is fetched.
"""

from collections.abc import Mapping

from mx10.dns import rrtypes as rr
from mx10.dns.transfer import Deltas
from mx10.dns.wirename import to_text
from mx10.nameserver.updating import Look, Updated
from mx10.zones.build import canonical
from mx10.zones.zone import RRset


class NotOurZoneError(Exception):
    """The changes are not changes of the zone we have: what shows it."""


def edits_of(deltas: Deltas, look: Look) -> Updated:
    """What the changes make of a zone, taken together.

    Args:
        look: the zone as we have it.

    Raises:
        NotOurZoneError: they do not fit it.
    """
    before: dict[tuple[bytes, int], RRset | None] = {}
    after: dict[tuple[bytes, int], tuple[int, dict[bytes, bytes]]] = {}
    nodes: dict[bytes, Mapping[int, RRset]] = {}

    def present(owner: bytes, rrtype: int) -> tuple[int, dict[bytes, bytes]]:
        key = owner, rrtype
        if key not in after:
            if owner not in nodes:
                nodes[owner] = look(owner)
            before[key] = rrset = nodes[owner].get(rrtype)
            ttl, datas = rrset if rrset is not None else (0, ())
            after[key] = ttl, {canonical(rrtype, data): data for data in datas}
        return after[key]

    for delta in deltas.deltas:
        for owner, rrtype, _, data in delta.removed:
            if present(owner, rrtype)[1].pop(canonical(rrtype, data), None) is None:
                raise NotOurZoneError(
                    f"they remove a {rr.type_to_text(rrtype)} record of {to_text(owner)} we do not have"
                )
        for owner, rrtype, ttl, data in delta.added:
            datas = present(owner, rrtype)[1]
            if canonical(rrtype, data) in datas:
                raise NotOurZoneError(
                    f"they add a {rr.type_to_text(rrtype)} record of {to_text(owner)} we already have"
                )
            datas[canonical(rrtype, data)] = data
            after[owner, rrtype] = ttl, datas
    edits: Updated = {}
    for key, (ttl, datas) in after.items():
        made = (ttl, tuple(datas.values())) if datas else None
        if made != before[key]:
            edits[key] = made
    return edits
