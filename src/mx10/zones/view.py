"""A zone as the rules look at it, and what they find.

The questions several rules ask are answered once here: which owners have a type, which records name a host, what the
zone itself says about a name.
"""

from dataclasses import dataclass
from typing import Final

from mx10.dns import rrtypes as rr
from mx10.dns.wirename import ROOT, is_under, parent
from mx10.zones.problems import Kind
from mx10.zones.zone import Node, Zone

_NONE: Final[frozenset[bytes]] = frozenset()
_TARGET_AT: Final = ((rr.NS, 0), (rr.MX, 2), (rr.SRV, 6))
"""The types that name hosts, and at which octet of the data the name begins."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule found, and the record it stands at: ``field`` names the word meant (``owner``, ``ttl``, ``type``,
    ``data``, ``target``)."""

    kind: Kind
    owner: bytes
    rrtype: int
    data: bytes | None
    field: str
    what: str
    mend: str = ""
    nth: int = 1
    """Which of several equal records."""


class View:
    """A zone as the rules look at it."""

    __slots__ = ("apex", "by_type", "cuts", "dnames", "nodes", "targets")

    def __init__(self, zone: Zone) -> None:
        self.apex = zone.apex
        self.nodes = zone.nodes
        by_type: dict[int, list[bytes]] = {}
        for owner, node in zone.nodes.items():
            for rrtype in node:
                if rrtype in by_type:
                    by_type[rrtype].append(owner)
                else:
                    by_type[rrtype] = [owner]
        self.by_type = by_type
        """Owners by the types they have."""
        servers = by_type.get(rr.NS, ())
        self.cuts = frozenset(servers) - {zone.apex} if servers else _NONE
        """Where zones are delegated away."""
        self.dnames = frozenset(by_type[rr.DNAME]) if rr.DNAME in by_type else _NONE
        self.targets = [
            (owner, rrtype, data, data[at:].lower())
            for rrtype, at in _TARGET_AT
            for owner in by_type.get(rrtype, ())
            for data in zone.nodes[owner][rrtype][1]
            if len(data) > at + 1
        ]
        """Owner, type, data and folded target of the records that name a host; those that name none (``.``) are left
        out."""

    def above(self, name: bytes, among: frozenset[bytes]) -> bytes | None:
        """The highest of some names that is above ``name`` within the zone, not ``name`` itself."""
        found = None
        if among:
            while name != self.apex and name != ROOT:
                name = parent(name)
                if name in among:
                    found = name
        return found

    def own_node(self, name: bytes) -> Node | None:
        """What the zone itself says about a folded name, by a wildcard if need be (RFC 4592); empty where there is no
        such name.

        Returns:
            None where somebody else has to be asked: the name is outside the zone, delegated away, or below a DNAME.
        """
        node = self.nodes.get(name)
        if node is not None and not self.cuts and not self.dnames:
            return node  # as in nearly every zone
        if not is_under(name, self.apex):
            return None
        if name in self.cuts or self.above(name, self.cuts) or self.above(name, self.dnames):
            return None
        if node is not None:
            return node
        while name not in self.nodes:
            name = parent(name)
        return self.nodes.get(b"\1*" + name, {})
