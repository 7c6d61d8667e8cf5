"""From a question to an answer over the zones we serve: the algorithm of RFC 1034 section 4.3.2, as later RFCs
completed it.

Wildcards by RFC 4592, DNAME by RFC 6672, negative answers by RFC 2308, ANY by RFC 8482, glue by RFC 9471; to those who
ask for them (DO bit) signatures and proofs by RFC 4035 section 3.1 and RFC 5155 section 7.2, which ``proofs`` looks up.
No packet is read or written here: a ``Reply`` says which record sets stand in which section, and ``compiled`` writes
them down.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from struct import Struct
from typing import Final

from mx10.dns import rrtypes as rr
from mx10.dns.wirename import MAX_NAME, is_under, parent
from mx10.nameserver.proofs import Proofs, proofs_of, signatures
from mx10.nameserver.table import NotServedError, ZoneTable
from mx10.zones.zone import Node, RRset, ZoneData

CHAIN_LIMIT: Final = 16
"""CNAME and DNAME steps followed within one answer; a resolver asks on from where the answer ends."""

Entry = tuple[bytes, int, RRset]
"""Owner, type, record set: one line of a section."""

_U32: Final = Struct("!I")
_WILDCARD: Final = b"\1*"
# At which octet of the data the host name stands whose addresses are worth adding (RFC 1035 section 3.3, RFC 2782).
_TARGET_AT: Final = {rr.MX: 2, rr.NS: 0, rr.SRV: 6}
# Types that live beside a CNAME and are asked for themselves (RFC 4034 section 3, RFC 2181 section 10.1).
_BESIDE_CNAME: Final = frozenset({rr.CNAME, rr.ANY, rr.RRSIG, rr.NSEC, rr.SIG, rr.KEY})
_OF_A_HASH: Final = frozenset({rr.NSEC3, rr.RRSIG})
_FOR_ALL: Final = (rr.CNAME, rr.MX, rr.A, rr.AAAA, rr.NS, rr.SOA)
# What belongs to other record sets, and says nothing by itself.
_GENERATED: Final = frozenset({rr.RRSIG, rr.NSEC, rr.NSEC3})


@dataclass(slots=True)
class Reply:
    """An answer before it is bytes.

    ``dnssec`` and ``whole`` are how it was asked for: see ``answer``.
    ``required`` are additional records without which the answer is of no use (glue: RFC 9471); ``extra`` may be left
    out for want of room. A record set's signatures follow it at once. ``apexes`` are the zones the answer was made
    from: when one of them changes, it is stale. ``b""`` among them says that it also depends on a zone we do not have.
    """

    dnssec: bool = False
    whole: bool = False
    rcode: rr.Rcode = rr.Rcode.NOERROR
    authoritative: bool = True
    answer: list[Entry] = field(default_factory=list)
    authority: list[Entry] = field(default_factory=list)
    required: list[Entry] = field(default_factory=list)
    extra: list[Entry] = field(default_factory=list)
    apexes: set[bytes] = field(default_factory=set)


def answer(table: ZoneTable, name: bytes, rrtype: int, *, dnssec: bool = False, whole: bool = False) -> Reply | None:
    """The answer for a folded name and a type of class IN.

    Args:
        dnssec: the client set the DO bit, and gets signatures and proofs out of zones that are signed.
        whole: give every record set to an ANY question, and every signature to one for RRSIG; without it, one is
            chosen (RFC 8482 section 4.1), which keeps answers over UDP small.

    Returns:
        None where no zone of ours holds the name: the question is to be refused.
    """
    zone = _zone_for(table, name, rrtype)
    if zone is None:
        return None
    reply = Reply(dnssec=dnssec, whole=whole)
    seen = {name}
    for _ in range(CHAIN_LIMIT):
        reply.apexes.add(zone.apex)
        if rrtype == rr.DS and zone.apex == name:
            # The upper zone, to which this question belongs, is not ours yet.
            reply.apexes.add(b"")
        target = _Visit(zone, reply).answer(name, rrtype)
        if target is None or target in seen:
            break
        seen.add(target)
        name = target
        try:
            onward = _zone_for(table, name, rrtype)
        except NotServedError:
            # What we have of the chain is good; the client asks on, and hears SERVFAIL here until the zone is back.
            onward = None
            reply.apexes.add(table.apex_of(name if rrtype != rr.DS else parent(name)) or b"")
        if onward is None:
            reply.apexes.add(b"")
            break
        zone = onward
    return reply


def _zone_for(table: ZoneTable, name: bytes, rrtype: int) -> ZoneData | None:
    zone = table.find(name)
    if rrtype == rr.DS and zone is not None and zone.apex == name:
        # A DS set belongs to the upper side of a cut. Where we do not have that side, the lower one says that it has no
        # such data.
        return table.find_above(name) or zone
    return zone


class _Visit:
    """What one zone adds to a reply; ``proofs`` is None where the zone is not signed, or nobody asked for proofs."""

    __slots__ = ("_zone", "proofs", "reply")

    def __init__(self, zone: ZoneData, reply: Reply) -> None:
        self._zone = zone
        self.reply = reply
        self.proofs: Proofs | None = proofs_of(zone) if reply.dnssec else None

    def answer(self, name: bytes, rrtype: int) -> bytes | None:
        """Fill the reply; the name to go on with where a CNAME or DNAME leads away."""
        zone = self._zone
        nodes = zone.nodes
        node = nodes[zone.apex]
        path = []
        above = name
        while above != zone.apex:
            path.append(above)
            above = parent(above)
        for below in reversed(path):
            if rr.DNAME in node:
                return self._follow_dname(above, node, name, rrtype)
            found = nodes.get(below)
            # A hash that owns an NSEC3 record is no name that exists (RFC 5155 section 7.2.8).
            if found is None or (rr.NSEC3 in found and found.keys() <= _OF_A_HASH):
                wildcard = nodes.get(_WILDCARD + above)
                if wildcard is None:
                    self._deny(rr.Rcode.NXDOMAIN, name, above)
                    return None
                return self._answer_from_node(name, wildcard, rrtype, above)
            node, above = found, below
            if rr.NS in node and not (rrtype == rr.DS and below == name):
                self._refer(below, node)
                return None
        return self._answer_from_node(name, node, rrtype, None)

    def _answer_from_node(self, name: bytes, node: Node, rrtype: int, encloser: bytes | None) -> bytes | None:
        """The answer from the node of a name or, below ``encloser``, from the wildcard that stands for it."""
        reply = self.reply
        alias = node.get(rr.CNAME)
        # Where such a type is not there the alias is the answer: a proof of absence that speaks of a CNAME proves
        # nothing (RFC 6840 section 4.3).
        if alias is not None and (rrtype not in _BESIDE_CNAME or (rrtype not in node and rrtype != rr.ANY)):
            chosen, target = [rr.CNAME], alias[1][0].lower()
        else:
            chosen, target = self._chosen(node, rrtype), None
        if rrtype == rr.RRSIG and target is None:
            reply.answer += [
                (name, rr.RRSIG, (_ttl_of_signatures(node, each), signatures(node, each))) for each in chosen
            ]
        else:
            for each in chosen:
                self._put(reply.answer, name, each, node[each], node)
        if not chosen:
            self._deny(rr.Rcode.NOERROR, name, encloser)
        elif encloser is not None and self.proofs is not None:
            self._prove(self.proofs, self.proofs.expanded(name, encloser))
        if rrtype in _TARGET_AT and rrtype in chosen:
            self._add_addresses(rrtype, node[rrtype])
        return target

    def _chosen(self, node: Node, rrtype: int) -> list[int]:
        """Which types of a node answer a question; for RRSIG, of which types the signatures do."""
        if rrtype == rr.ANY:
            types = set(node) - {rr.NSEC3}
            if self.proofs is not None:
                # Each signature comes with its set.
                types -= {rr.RRSIG}
        elif rrtype == rr.RRSIG:
            types = {int.from_bytes(data[:2], "big") for data in node.get(rr.RRSIG, (0, ()))[1]} - {rr.NSEC3}
        else:
            # An NSEC3 record belongs to a hash, and is never what was asked for (RFC 5155 section 7.2.8).
            return [rrtype] if rrtype in node and rrtype != rr.NSEC3 else []
        if not types:
            return []
        return sorted(types) if self.reply.whole else [_pick(types)]

    def _put(self, section: list[Entry], owner: bytes, rrtype: int, rrset: RRset, node: Node) -> None:
        """Add a record set of a node and, if asked for, its signatures, whose TTL is that of the set (RFC 4034 section
        3).
        """
        section.append((owner, rrtype, rrset))
        if self.proofs is not None and (signed := signatures(node, rrtype)):
            section.append((owner, rr.RRSIG, (rrset[0], signed)))

    def _prove(self, proofs: Proofs, owners: Iterable[bytes]) -> None:
        """Add the NSEC or NSEC3 records of some owners, each once."""
        authority = self.reply.authority
        for owner in owners:
            if not any(entry[0] == owner and entry[1] == proofs.rrtype for entry in authority):
                node = self._zone.nodes[owner]
                self._put(authority, owner, proofs.rrtype, node[proofs.rrtype], node)

    def _deny(self, rcode: rr.Rcode, name: bytes, encloser: bytes | None) -> None:
        """No such name, or no such data: the SOA says for how long that may be believed (RFC 2308 section 3).

        Args:
            encloser: the closest existing name above, where the name itself does not exist.
        """
        self.reply.rcode = rcode
        apex = self._zone.apex
        node = self._zone.nodes[apex]
        ttl, rdatas = node[rr.SOA]
        minimum: int = _U32.unpack_from(rdatas[0], len(rdatas[0]) - 4)[0]
        self._put(self.reply.authority, apex, rr.SOA, (min(ttl, minimum), rdatas), node)
        if self.proofs is not None:
            proof = self.proofs.no_data(name) if encloser is None else self.proofs.no_name(name, encloser)
            self._prove(self.proofs, proof)

    def _follow_dname(self, owner: bytes, node: Node, name: bytes, rrtype: int) -> bytes | None:
        """A DNAME above the name: the CNAME it stands for is made here, and has no signature (RFC 6672 sections 3.1 and
        5.3.1).
        """
        reply = self.reply
        dname = node[rr.DNAME]
        # A chain may come by more than once; a record stands in a section once (RFC 2181 section 5).
        if (owner, rr.DNAME, dname) not in reply.answer:
            self._put(reply.answer, owner, rr.DNAME, dname, node)
        target = name[: len(name) - len(owner)] + dname[1][0]
        if len(target) > MAX_NAME:
            reply.rcode = rr.Rcode.YXDOMAIN
            return None
        reply.answer.append((name, rr.CNAME, (dname[0], (target,))))
        return None if rrtype in (rr.CNAME, rr.ANY) else target.lower()

    def _refer(self, cut: bytes, node: Node) -> None:
        """Point to the nameservers of a delegated zone, with the addresses that lie in our data."""
        reply = self.reply
        # What stands in the answer already was ours, and the AA bit speaks of its first owner name (RFC 1034 section
        # 6.2.7).
        reply.authoritative = bool(reply.answer)
        # The NS set is the delegated zone's own, so it has no signature here (RFC 4035 section 2.2).
        reply.authority.append((cut, rr.NS, node[rr.NS]))
        # The DS set, or the proof that there is none (RFC 4035 section 3.1.4). In a zone that is not signed nobody can
        # believe it; other servers leave it out too.
        if self.proofs is not None:
            if rr.DS in node:
                self._put(reply.authority, cut, rr.DS, node[rr.DS], node)
            else:
                self._prove(self.proofs, self.proofs.no_data(cut))
        for target in node[rr.NS][1]:
            host = target.lower()
            # Without the address of a server inside the delegated zone nobody can reach it; one beside it saves a
            # question only.
            section = reply.required if is_under(host, cut) else reply.extra
            self._add_host(target, self._zone.nodes.get(host), section)

    def _add_addresses(self, rrtype: int, rrset: RRset) -> None:
        """The addresses of the hosts that records name, where this zone is their authority (RFC 1035 section 3.3)."""
        at = _TARGET_AT[rrtype]
        done = set()
        for rdata in rrset[1]:
            target = rdata[at:]
            host = target.lower()
            if host not in done and is_under(host, self._zone.apex):
                done.add(host)
                self._add_host(target, self._authoritative_node(host), self.reply.extra)

    def _authoritative_node(self, host: bytes) -> Node | None:
        """The node of a host, unless a delegation or DNAME above it (or at it) makes its data another's."""
        name = host
        nodes = self._zone.nodes
        found = nodes.get(host)
        if found is None:
            return None
        while name != self._zone.apex:
            node = nodes.get(name) or {}
            if rr.NS in node or (rr.DNAME in node and name != host):
                return None
            name = parent(name)
        return None if rr.DNAME in nodes[name] and name != host else found

    def _add_host(self, owner: bytes, node: Node | None, section: list[Entry]) -> None:
        if node:
            for rrtype in (rr.A, rr.AAAA):
                if rrtype in node:
                    self._put(section, owner, rrtype, node[rrtype], node)


def _pick(types: set[int]) -> int:
    """The type that stands for all in a minimal answer: what the name is most likely asked for."""
    return next((rrtype for rrtype in _FOR_ALL if rrtype in types), min(types - _GENERATED or types))


def _ttl_of_signatures(node: Node, rrtype: int) -> int:
    return node[rrtype if rrtype in node else rr.RRSIG][0]
