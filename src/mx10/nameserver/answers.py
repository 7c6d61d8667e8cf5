"""From a question to an answer over the zones we serve: the algorithm of RFC 1034 section 4.3.2, as later RFCs
completed it.

Wildcards by RFC 4592, DNAME by RFC 6672, negative answers by RFC 2308, ANY by RFC 8482, glue by RFC 9471. No packet is
read or written here: a ``Reply`` says which record sets stand in which section, and ``compiled`` writes them down.
"""

from dataclasses import dataclass, field
from struct import Struct
from typing import Final

from mx10.dns import rrtypes as rr
from mx10.dns.wirename import MAX_NAME, is_under, parent
from mx10.nameserver.table import ZoneTable
from mx10.zones.zone import Node, RRset, Zone

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


@dataclass(slots=True)
class Reply:
    """An answer before it is bytes.

    ``dnssec`` and ``whole_any`` are how it was asked for: see ``answer``.
    ``required`` are additional records without which the answer is of no use (glue: RFC 9471); ``extra`` may be left
    out for want of room. ``apexes`` are the zones the answer was made from: when one of them changes, it is stale.
    ``b""`` among them says that it also depends on a zone we do not have.
    """

    dnssec: bool = False
    whole_any: bool = False
    rcode: rr.Rcode = rr.Rcode.NOERROR
    authoritative: bool = True
    answer: list[Entry] = field(default_factory=list)
    authority: list[Entry] = field(default_factory=list)
    required: list[Entry] = field(default_factory=list)
    extra: list[Entry] = field(default_factory=list)
    apexes: set[bytes] = field(default_factory=set)


def answer(
    table: ZoneTable, name: bytes, rrtype: int, *, dnssec: bool = False, whole_any: bool = False
) -> Reply | None:
    """The answer for a folded name and a type of class IN.

    Args:
        dnssec: the client set the DO bit, and gets the DS sets of delegations (RFC 4035 section 3.1.4).
        whole_any: give every record set to an ANY question; without it, one is chosen (RFC 8482 section 4.1), which
            keeps answers over UDP small.

    Returns:
        None where no zone of ours holds the name: the question is to be refused.
    """
    zone = _zone_for(table, name, rrtype)
    if zone is None:
        return None
    reply = Reply(dnssec=dnssec, whole_any=whole_any)
    seen = {name}
    for _ in range(CHAIN_LIMIT):
        reply.apexes.add(zone.apex)
        if rrtype == rr.DS and zone.apex == name:
            # The upper zone, to which this question belongs, is not ours yet.
            reply.apexes.add(b"")
        target = _answer_in_zone(zone, name, rrtype, reply)
        if target is None or target in seen:
            break
        seen.add(target)
        name = target
        onward = _zone_for(table, name, rrtype)
        if onward is None:
            reply.apexes.add(b"")
            break
        zone = onward
    return reply


def _zone_for(table: ZoneTable, name: bytes, rrtype: int) -> Zone | None:
    zone = table.find(name)
    if rrtype == rr.DS and zone is not None and zone.apex == name:
        # A DS set belongs to the upper side of a cut. Where we do not have that side, the lower one says that it has no
        # such data.
        return table.find_above(name) or zone
    return zone


def _answer_in_zone(zone: Zone, name: bytes, rrtype: int, reply: Reply) -> bytes | None:
    """Fill the reply from one zone; the name to go on with where a CNAME or DNAME leads away."""
    nodes = zone.nodes
    node = nodes[zone.apex]
    path = []
    above = name
    while above != zone.apex:
        path.append(above)
        above = parent(above)
    for below in reversed(path):
        if rr.DNAME in node:
            return _follow_dname(above, node[rr.DNAME], name, rrtype, reply)
        found = nodes.get(below)
        if found is None:
            wildcard = nodes.get(_WILDCARD + above)
            if wildcard is None:
                _deny(zone, reply, rr.Rcode.NXDOMAIN)
                return None
            node = wildcard
            break
        node, above = found, below
        if rr.NS in node and not (rrtype == rr.DS and below == name):
            _refer(zone, below, node, reply)
            return None
    return _answer_from_node(zone, name, node, rrtype, reply)


def _answer_from_node(zone: Zone, name: bytes, node: Node, rrtype: int, reply: Reply) -> bytes | None:
    alias = node.get(rr.CNAME)
    if alias is not None and rrtype not in _BESIDE_CNAME:
        reply.answer.append((name, rr.CNAME, alias))
        return alias[1][0].lower()
    if rrtype == rr.ANY and node:
        for each in sorted(node) if reply.whole_any else [_pick_for_any(node)]:
            reply.answer.append((name, each, node[each]))
        return None
    rrset = node.get(rrtype)
    if rrset is None:
        _deny(zone, reply, rr.Rcode.NOERROR)
        return None
    reply.answer.append((name, rrtype, rrset))
    if rrtype in _TARGET_AT:
        _add_addresses(zone, rrtype, rrset, reply)
    return None


def _pick_for_any(node: Node) -> int:
    """The record set that stands for all in a minimal ANY answer: what the name is most likely asked for."""
    return next((rrtype for rrtype in (rr.CNAME, rr.MX, rr.A, rr.AAAA, rr.NS, rr.SOA) if rrtype in node), min(node))


def _deny(zone: Zone, reply: Reply, rcode: rr.Rcode) -> None:
    """No such name, or no such data: the SOA says for how long that may be believed (RFC 2308 section 3)."""
    reply.rcode = rcode
    ttl, rdatas = zone.nodes[zone.apex][rr.SOA]
    minimum: int = _U32.unpack_from(rdatas[0], len(rdatas[0]) - 4)[0]
    reply.authority.append((zone.apex, rr.SOA, (min(ttl, minimum), rdatas)))


def _follow_dname(owner: bytes, dname: RRset, name: bytes, rrtype: int, reply: Reply) -> bytes | None:
    """A DNAME above the name: the CNAME it stands for is made here (RFC 6672 section 3.1)."""
    # A chain may come by more than once; a record stands in a section once (RFC 2181 section 5).
    if (owner, rr.DNAME, dname) not in reply.answer:
        reply.answer.append((owner, rr.DNAME, dname))
    target = name[: len(name) - len(owner)] + dname[1][0]
    if len(target) > MAX_NAME:
        reply.rcode = rr.Rcode.YXDOMAIN
        return None
    reply.answer.append((name, rr.CNAME, (dname[0], (target,))))
    return None if rrtype in (rr.CNAME, rr.ANY) else target.lower()


def _refer(zone: Zone, cut: bytes, node: Node, reply: Reply) -> None:
    """Point to the nameservers of a delegated zone, with the addresses that lie in our data."""
    # What stands in the answer already was ours, and the AA bit speaks of its first owner name (RFC 1034 section
    # 6.2.7).
    reply.authoritative = bool(reply.answer)
    reply.authority.append((cut, rr.NS, node[rr.NS]))
    # In a zone that is not signed nobody can believe the DS set; other servers leave it out too (RFC 4035 section 3.1).
    if reply.dnssec and rr.DS in node and rr.DNSKEY in zone.nodes[zone.apex]:
        reply.authority.append((cut, rr.DS, node[rr.DS]))
    for target in node[rr.NS][1]:
        host = target.lower()
        # Without the address of a server inside the delegated zone nobody can reach it; one beside it saves a question
        # only.
        section = reply.required if is_under(host, cut) else reply.extra
        _add_host(target, zone.nodes.get(host), section)


def _add_addresses(zone: Zone, rrtype: int, rrset: RRset, reply: Reply) -> None:
    """The addresses of the hosts that records name, where this zone is their authority (RFC 1035 section 3.3)."""
    at = _TARGET_AT[rrtype]
    done = set()
    for rdata in rrset[1]:
        target = rdata[at:]
        host = target.lower()
        if host not in done and is_under(host, zone.apex):
            done.add(host)
            _add_host(target, _authoritative_node(zone, host), reply.extra)


def _authoritative_node(zone: Zone, host: bytes) -> Node | None:
    """The node of a host, unless a delegation or DNAME above it (or at it) makes its data another's."""
    name = host
    nodes = zone.nodes
    found = nodes.get(host)
    if found is None:
        return None
    while name != zone.apex:
        node = nodes.get(name, {})
        if rr.NS in node or (rr.DNAME in node and name != host):
            return None
        name = parent(name)
    return None if rr.DNAME in nodes[name] and name != host else found


def _add_host(owner: bytes, node: Node | None, section: list[Entry]) -> None:
    if node:
        section.extend((owner, rrtype, node[rrtype]) for rrtype in (rr.A, rr.AAAA) if rrtype in node)
