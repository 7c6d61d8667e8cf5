"""The rules a zone is held to when it is loaded: one small function a rule, each with its code, its severity, the mend and the source.

A rule sees the zone through a ``View`` and yields findings; it is called only where the zone has a record of the types it is about. What is a mistake beyond doubt, or cannot
be answered from, is an error; what works but hurts somebody is a warning. Rules that need the order of the records (duplicates, TTLs) are in ``build``.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from mx10.dns import rrtypes as rr
from mx10.dns.rdata import mx
from mx10.dns.wirename import ROOT, is_under, labels, parent, to_text
from mx10.zones.problems import Kind, Severity, kind
from mx10.zones.zone import Node, Zone


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule found, and the record it stands at: ``field`` names the word meant (``owner``, ``ttl``, ``type``, ``data``, ``target``)."""

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

    __slots__ = ("apex", "by_type", "cuts", "dnames", "nodes")

    def __init__(self, zone: Zone) -> None:
        self.apex = zone.apex
        self.nodes = zone.nodes
        self.by_type: dict[int, list[bytes]] = {}
        """Owners by the types they have."""
        for owner, node in zone.nodes.items():
            for rrtype in node:
                owners = self.by_type.get(rrtype)
                if owners is None:
                    self.by_type[rrtype] = [owner]
                else:
                    owners.append(owner)
        self.cuts = frozenset(self.by_type.get(rr.NS, ())) - {zone.apex}
        """Where zones are delegated away."""
        self.dnames = frozenset(self.by_type.get(rr.DNAME, ()))

    def records(self, rrtype: int) -> Iterator[tuple[bytes, bytes]]:
        """Owner and data of every record of a type."""
        for owner in self.by_type.get(rrtype, ()):
            for data in self.nodes[owner][rrtype][1]:
                yield owner, data

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
        """What the zone itself says about a folded name, by a wildcard if need be (RFC 4592); empty where there is no such name.

        Returns:
            None where somebody else has to be asked: the name is outside the zone, delegated away, or below a DNAME.
        """
        if not is_under(name, self.apex):
            return None
        if name in self.cuts or self.above(name, self.cuts) or self.above(name, self.dnames):
            return None
        node = self.nodes.get(name)
        if node is not None:
            return node
        while name not in self.nodes:
            name = parent(name)
        return self.nodes.get(b"\1*" + name, {})


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule: it is asked where the zone has one of the types; where ``types`` is empty, always."""

    kind: Kind
    types: tuple[int, ...]
    find: Callable[[View, Kind], Iterable[Finding]]


RULES: Final[list[Rule]] = []


def rule(
    code: str, severity: Severity, mend: str, source: str, *types: int
) -> Callable[[Callable[[View, Kind], Iterable[Finding]]], Callable[[View, Kind], Iterable[Finding]]]:
    """Declare a function as a rule."""
    declared = kind(code, severity, mend, source)

    def register(find: Callable[[View, Kind], Iterable[Finding]]) -> Callable[[View, Kind], Iterable[Finding]]:
        RULES.append(Rule(declared, types, find))
        return find

    return register


def judge(view: View) -> Iterator[Finding]:
    """What all rules find in a zone."""
    has = view.by_type
    for each in RULES:
        types = each.types
        if not types or types[0] in has or (len(types) > 1 and any(rrtype in has for rrtype in types)):
            yield from each.find(view, each.kind)


# ---------------------------------------------------------------- the apex


@rule("no-ns", "error", "write an NS record for each nameserver of the zone", "RFC 1034 section 4.2.1")
def no_ns(view: View, kind: Kind) -> Iterable[Finding]:
    """A zone names its own servers."""
    if rr.NS not in view.nodes[view.apex]:
        return [Finding(kind, view.apex, rr.SOA, None, "owner", "the zone has no NS record at its apex")]
    return ()


@rule("single-ns", "warning", "add a second nameserver", "RFC 2182 section 5", rr.NS)
def single_ns(view: View, kind: Kind) -> Iterable[Finding]:
    """One server that fails takes the domain with it."""
    rrset = view.nodes[view.apex].get(rr.NS)
    if rrset and len(rrset[1]) == 1:
        return [Finding(kind, view.apex, rr.NS, rrset[1][0], "target", "the zone has only one nameserver")]
    return ()


@rule(
    "soa-times", "warning", "a good start is: refresh 2h, retry 30m, expire 2w, negative answers 1h", "RFC 1912 section 2.2", rr.SOA
)  # fmt: skip
def soa_times(view: View, kind: Kind) -> Iterable[Finding]:
    """Secondaries ask again after refresh, after retry if that failed, and give up after expire; the last field is for negative answers."""
    data = view.nodes[view.apex][rr.SOA][1][0]
    refresh, retry, expire, minimum = (int.from_bytes(data[at : at + 4 or None], "big") for at in (-16, -12, -8, -4))
    said = []
    if retry > refresh:
        said.append(f"retry ({retry} s) is longer than refresh ({refresh} s)")
    if expire < refresh + retry:
        said.append(f"expire ({expire} s) comes before a failed refresh is retried ({refresh} s + {retry} s)")
    if minimum > 86400:
        said.append(f"negative answers are kept for {minimum} s, more than a day")
    return [Finding(kind, view.apex, rr.SOA, data, "data", what) for what in said]


@rule("soa-mailbox", "warning", "write hostmaster.example.com. for hostmaster@example.com", "RFC 1035 section 8", rr.SOA)
def soa_mailbox(view: View, kind: Kind) -> Iterable[Finding]:
    """The mailbox is written as a name; a real @ in it is nobody's address."""
    data = view.nodes[view.apex][rr.SOA][1][0]
    mailbox = labels(data)  # the first name of the data
    second = data[sum(map(len, mailbox)) + len(mailbox) + 1 :]
    if any(b"@" in label for label in labels(second)):
        return [Finding(kind, view.apex, rr.SOA, data, "data", "the SOA's mailbox has an @ in it")]
    return ()


# ---------------------------------------------------------------- aliases


_BESIDE_CNAME: Final = frozenset({rr.CNAME, rr.RRSIG, rr.NSEC, rr.SIG, rr.KEY, 30})
"""What may stand beside a CNAME: the records of DNSSEC (RFC 4034 section 2.5 and section 4; RFC 2535 for 30, NXT)."""


@rule("cname-not-alone", "error", "remove the CNAME, or everything else of that name", "RFC 2181 section 10.1", rr.CNAME)
def cname_not_alone(view: View, kind: Kind) -> Iterable[Finding]:
    """A name that is an alias has no data of its own."""
    for owner in view.by_type[rr.CNAME]:
        others = [rr.type_to_text(rrtype) for rrtype in view.nodes[owner] if rrtype not in _BESIDE_CNAME]
        if others:
            what = f"{to_text(owner)} has a CNAME and other data: {', '.join(others)}"
            yield Finding(kind, owner, rr.CNAME, None, "type", what)


@rule("several-cname", "error", "keep one of them", "RFC 2181 section 10.1", rr.CNAME)
def several_cname(view: View, kind: Kind) -> Iterable[Finding]:
    """An alias has one target."""
    return _singleton(view, kind, rr.CNAME)


@rule("several-dname", "error", "keep one of them", "RFC 6672 section 2.4", rr.DNAME)
def several_dname(view: View, kind: Kind) -> Iterable[Finding]:
    """A DNAME has one target."""
    return _singleton(view, kind, rr.DNAME)


def _singleton(view: View, kind: Kind, rrtype: int) -> Iterator[Finding]:
    for owner in view.by_type[rrtype]:
        datas = view.nodes[owner][rrtype][1]
        if len(datas) > 1:
            what = f"{to_text(owner)} has {len(datas)} {rr.type_to_text(rrtype)} records"
            yield Finding(kind, owner, rrtype, datas[1], "data", what)


@rule("below-dname", "error", "remove what is below, or the DNAME", "RFC 6672 section 2.4", rr.DNAME)
def below_dname(view: View, kind: Kind) -> Iterable[Finding]:
    """A DNAME stands for everything below it, so nothing else can."""
    for owner, node in view.nodes.items():
        if node and (above := view.above(owner, view.dnames)):
            what = f"{to_text(owner)} is below the DNAME of {to_text(above)}"
            yield Finding(kind, owner, next(iter(node)), None, "owner", what)


@rule("dname-at-delegation", "error", "keep either the DNAME or the NS records", "RFC 6672 section 2.3", rr.DNAME)
def dname_at_delegation(view: View, kind: Kind) -> Iterable[Finding]:
    """A name is delegated or redirected, not both."""
    for owner in view.dnames & view.cuts:
        what = f"{to_text(owner)} has a DNAME and is delegated by NS records"
        yield Finding(kind, owner, rr.DNAME, None, "type", what)


@rule("dname-wildcard", "warning", "name the owner of the DNAME outright", "RFC 4592 section 4.4", rr.DNAME)
def dname_wildcard(view: View, kind: Kind) -> Iterable[Finding]:
    """What a wildcard DNAME does depends on who answers."""
    for owner in view.dnames:
        if owner.startswith(b"\1*"):
            yield Finding(kind, owner, rr.DNAME, None, "owner", f"{to_text(owner)} is a wildcard with a DNAME")


# ---------------------------------------------------------------- targets


def _targets(view: View, *rrtypes: int) -> Iterator[tuple[bytes, int, bytes, bytes]]:
    """Owner, type, data and folded target of records that name a host; those that name none (``.``) left out."""
    for rrtype in rrtypes:
        at = _TARGET_AT[rrtype]
        for owner, data in view.records(rrtype):
            target = data[at:].lower()
            if target != ROOT:
                yield owner, rrtype, data, target


_TARGET_AT: Final = {rr.NS: 0, rr.MX: 2, rr.SRV: 6}


@rule("target-is-address", "error", "write the name of a host; its address goes into an A or AAAA record", "RFC 1035 section 3.3.9", rr.MX, rr.NS, rr.SRV)  # fmt: skip
def target_is_address(view: View, kind: Kind) -> Iterable[Finding]:
    """MX, NS and SRV name hosts; an address written there is taken for a name, and nobody finds it."""
    for owner, rrtype, data, target in _targets(view, rr.MX, rr.NS, rr.SRV):
        inside = target[: -len(view.apex)] if target.endswith(view.apex) else target[:-1]
        if inside[:1].isdigit() or b"\0" not in inside and inside[1:2].isdigit():
            parts = labels(inside + b"\0")
            if len(parts) == 4 and all(len(part) < 4 and part.isdigit() and int(part) < 256 for part in parts):
                if not view.apex.endswith(b"\4arpa\0"):
                    shown = ".".join(part.decode() for part in parts)
                    what = f"the {rr.type_to_text(rrtype)} record of {to_text(owner)} points to the address {shown}"
                    yield Finding(kind, owner, rrtype, data, "target", what)


@rule("mx-to-alias", "warning", "write the name the CNAME points to", "RFC 2181 section 10.3", rr.MX, rr.SRV)
def mx_to_alias(view: View, kind: Kind) -> Iterable[Finding]:
    """Some senders do not follow an alias there. BIND warns too (check-mx-cname, check-srv-cname)."""
    yield from _to_alias(view, kind, _targets(view, rr.MX, rr.SRV))


@rule("ns-to-alias", "error", "write the name the CNAME points to", "RFC 2181 section 10.3", rr.NS)
def ns_to_alias(view: View, kind: Kind) -> Iterable[Finding]:
    """Resolvers do not follow an alias to a nameserver, so the zone loses it. BIND refuses such a zone."""
    yield from _to_alias(view, kind, (each for each in _targets(view, rr.NS) if each[0] == view.apex))


@rule("delegation-to-alias", "warning", "write the name the CNAME points to", "RFC 2181 section 10.3", rr.NS)
def delegation_to_alias(view: View, kind: Kind) -> Iterable[Finding]:
    """The same for a delegation; it harms the zone below, so this zone is served."""
    if view.cuts:
        yield from _to_alias(view, kind, (each for each in _targets(view, rr.NS) if each[0] != view.apex))


def _to_alias(view: View, kind: Kind, targets: Iterable[tuple[bytes, int, bytes, bytes]]) -> Iterator[Finding]:
    if rr.CNAME not in view.by_type:
        return
    for owner, rrtype, data, target in targets:
        node = view.own_node(target)
        if node and rr.CNAME in node:
            what = f"the {rr.type_to_text(rrtype)} record of {to_text(owner)} points to the alias {to_text(target)}"
            yield Finding(kind, owner, rrtype, data, "target", what)


@rule("target-without-address", "warning", "add an A or AAAA record for it", "RFC 5321 section 5.1", rr.MX, rr.NS, rr.SRV)
def target_without_address(view: View, kind: Kind) -> Iterable[Finding]:
    """A host of this zone that has no address is no help to anybody."""
    for owner, rrtype, data, target in _targets(view, rr.MX, rr.NS, rr.SRV):
        if not target.endswith(view.apex):
            continue
        node = view.own_node(target)
        if node is not None and rr.A not in node and rr.AAAA not in node and rr.CNAME not in node:
            what = f"{to_text(target)}, named by the {rr.type_to_text(rrtype)} record of {to_text(owner)}, has no address"
            yield Finding(kind, owner, rrtype, data, "target", what)


@rule("not-a-hostname", "warning", "use letters, digits and hyphens only, no hyphen first or last", "RFC 1123 section 2.1", rr.MX, rr.NS)
def not_a_hostname(view: View, kind: Kind) -> Iterable[Finding]:
    """Hosts that take mail or answer questions have host names; others are refused by some programs."""
    for owner, rrtype, data, target in _targets(view, rr.MX, rr.NS):
        for label in labels(target):
            if not label.replace(b"-", b"").isalnum() or label[0] == 45 or label[-1] == 45:
                what = f"{to_text(target)}, named by the {rr.type_to_text(rrtype)} record of {to_text(owner)}, is not a host name"
                yield Finding(kind, owner, rrtype, data, "target", what)
                break


# ---------------------------------------------------------------- delegations


@rule("no-glue", "error", "add an A or AAAA record for it to this zone", "RFC 1034 section 4.2.1", rr.NS)
def no_glue(view: View, kind: Kind) -> Iterable[Finding]:
    """A nameserver inside the zone it serves is only found with the address given along."""
    if not view.cuts:
        return
    for owner, _, data, target in _targets(view, rr.NS):
        if owner in view.cuts and is_under(target, owner):
            node = view.nodes.get(target, {})
            if rr.A not in node and rr.AAAA not in node:
                what = f"{to_text(target)} serves the delegated zone {to_text(owner)} and has no glue here"
                yield Finding(kind, owner, rr.NS, data, "target", what)


@rule("below-delegation", "warning", "move it into the delegated zone", "RFC 1034 section 4.2.1", rr.NS)
def below_delegation(view: View, kind: Kind) -> Iterable[Finding]:
    """Whatever is at or below a delegation is the other zone's; only addresses are given out, as glue."""
    if not view.cuts:
        return
    for owner, node in view.nodes.items():
        if owner in view.cuts:
            hidden = [rrtype for rrtype in node if rrtype not in _AT_CUT]
        elif node and view.above(owner, view.cuts):
            hidden = [rrtype for rrtype in node if rrtype not in _GLUE]
        else:
            continue
        for rrtype in hidden:
            what = f"the {rr.type_to_text(rrtype)} record of {to_text(owner)} is never answered: the name is delegated"
            yield Finding(kind, owner, rrtype, None, "owner", what)


_GLUE: Final = frozenset({rr.A, rr.AAAA, rr.RRSIG})
_AT_CUT: Final = _GLUE | {rr.NS, rr.DS, rr.NSEC}


@rule("wildcard-ns", "error", "name the delegated zone outright", "RFC 4592 section 4.2", rr.NS)
def wildcard_ns(view: View, kind: Kind) -> Iterable[Finding]:
    """What a wildcard delegates is not defined. BIND refuses it too."""
    for owner in view.cuts:
        if owner.startswith(b"\1*"):
            yield Finding(kind, owner, rr.NS, None, "owner", f"{to_text(owner)} is a wildcard with NS records")


@rule("ds-without-ns", "warning", "put the DS record where the NS records of the child zone are", "RFC 4035 section 2.4", rr.DS)
def ds_without_ns(view: View, kind: Kind) -> Iterable[Finding]:
    """A DS record speaks of a delegation, and belongs to the parent's side of it."""
    for owner in view.by_type[rr.DS]:
        if owner not in view.cuts:
            yield Finding(kind, owner, rr.DS, None, "type", f"{to_text(owner)} has a DS record and is not delegated")


# ---------------------------------------------------------------- mail


@rule("null-mx-not-alone", "error", "remove the null MX, or the others", "RFC 7505 section 3", rr.MX)
def null_mx_not_alone(view: View, kind: Kind) -> Iterable[Finding]:
    """A null MX says that the domain takes no mail; beside others it says nothing."""
    for owner in view.by_type[rr.MX]:
        datas = view.nodes[owner][rr.MX][1]
        if len(datas) > 1:
            for data in datas:
                if data[2:] == ROOT:
                    what = f"{to_text(owner)} has a null MX and other MX records"
                    yield Finding(kind, owner, rr.MX, data, "target", what)
                    break


@rule("null-mx-preference", "warning", "write: MX 0 .", "RFC 7505 section 3", rr.MX)
def null_mx_preference(view: View, kind: Kind) -> Iterable[Finding]:
    """The preference of a null MX is 0."""
    for owner, data in view.records(rr.MX):
        preference, exchanger = mx(data)
        if exchanger == ROOT and preference:
            what = f"the null MX of {to_text(owner)} has the preference {preference}"
            yield Finding(kind, owner, rr.MX, data, "data", what)


# ---------------------------------------------------------------- size


@rule("rrset-too-big", "warning", "remove records until the set fits", "RFC 1035 section 4.2.2")
def rrset_too_big(view: View, kind: Kind) -> Iterable[Finding]:
    """A set that fits into no message can never be answered."""
    for owner, node in view.nodes.items():
        for rrtype, (_, datas) in node.items():
            # Owner (compressed), type, class, TTL and length take 12 octets a record; the header and question some more.
            if len(datas) > 1 and sum(map(len, datas)) + 12 * len(datas) > 65535 - 12 - 4 - len(owner):
                what = f"the {len(datas)} {rr.type_to_text(rrtype)} records of {to_text(owner)} do not fit into a message"
                yield Finding(kind, owner, rrtype, None, "owner", what)
