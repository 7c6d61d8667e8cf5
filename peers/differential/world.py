"""What is true in the drawn zones: the judge's copy, read by dnspython, that differences are weighed with."""

import dns.name
import dns.rdatatype
import dns.zone

from peers.differential.answers import Rec, Said
from peers.differential.zones import Draft

A, NS, CNAME, SOA, DNAME, AAAA = 1, 2, 5, 6, 39, 28


class World:
    """All zones of a run."""

    def __init__(self, drafts: list[Draft]) -> None:
        self.zones = {
            dns.name.from_text(draft.apex).canonicalize(): dns.zone.from_text(
                draft.signed or draft.text(), origin=draft.apex + ".", relativize=False, check_origin=False
            )
            for draft in drafts
        }
        self._data: dict[tuple[dns.name.Name, int], tuple[int, frozenset[bytes]]] = {}
        for zone in self.zones.values():
            for name, rdataset in zone.iterate_rdatasets():
                key = name.canonicalize(), int(rdataset.rdtype)
                data = frozenset(rdata.to_digestable() for rdata in rdataset)
                if key in self._data:  # above and below a cut between two zones of ours
                    data |= self._data[key][1]
                self._data[key] = rdataset.ttl, data

    def zone_of(self, name: dns.name.Name) -> dns.name.Name | None:
        """The apex of the zone that a name belongs to."""
        while True:
            if name in self.zones:
                return name
            if name == dns.name.root:
                return None
            name = name.parent()

    def has(self, owner: dns.name.Name, *rrtypes: int) -> bool:
        """Whether a name has a record of one of these types."""
        return any((owner, rrtype) in self._data for rrtype in rrtypes)

    def has_any(self, owner: dns.name.Name) -> bool:
        """Whether a name has records, other than those that prove things."""
        return any(name == owner and rrtype not in (46, 47, 50) for name, rrtype in self._data)

    def has_below(self, owner: dns.name.Name) -> bool:
        """Whether there are records below a name."""
        return any(name != owner and name.is_subdomain(owner) for name, _ in self._data)

    def is_true(self, rec: Rec) -> bool:
        """Whether a record stands in a zone as it is, or comes out of a wildcard."""
        name, apex = rec.owner, self.zone_of(rec.owner)
        candidates = [name]
        while name != apex and name != dns.name.root:
            name = name.parent()
            candidates.append(dns.name.Name((b"*", *name.labels)))
        known = (self._data.get((each, rec.rrtype)) for each in candidates)
        return any(found is not None and rec.rdata in found[1] for found in known)

    def is_wild(self, rec: Rec) -> bool:
        """Whether a record's owner exists by a wildcard only."""
        return not any(name == rec.owner for name, _ in self._data)

    def targets(self, said: Said) -> set[dns.name.Name]:
        """The hosts that the records of an answer name, whose addresses may stand beside it: of NS, MX and SRV."""
        skip = {NS: 0, 15: 2, 33: 6}
        return {
            dns.name.from_wire(rec.rdata, skip[rec.rrtype])[0].canonicalize()
            for rec in said.answer | said.authority
            if rec.rrtype in skip
        }


def chain(said: Said, name: dns.name.Name) -> list[dns.name.Name]:
    """The names that the CNAME records of an answer lead through, the name asked for first."""
    if not said.records("answer", CNAME):
        return [name.canonicalize()]
    aliases = {
        rec.owner: dns.name.from_wire(rec.rdata, 0)[0].canonicalize() for rec in said.answer if rec.rrtype == CNAME
    }
    found = [name.canonicalize()]
    while found[-1] in aliases and aliases[found[-1]] not in found:
        found.append(aliases[found[-1]])
    return found
