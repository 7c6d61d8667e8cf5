"""The rules a zone is held to when it is loaded: one small function a rule, each with its code, its severity, the mend
and the source.

A rule sees the zone through a ``View`` and yields findings; it is called only where the zone has records of the types
it is about. What is a mistake beyond doubt, or cannot be answered from, is an error; what works but hurts somebody is a
warning. Rules that need the records one by one (duplicates, TTLs) are in ``build``.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from struct import Struct
from typing import Final

from mx10.dns import rrtypes as rr
from mx10.dns.rdata import mx
from mx10.dns.wirename import ROOT, is_under, labels, to_text
from mx10.zones.problems import Kind, Severity, kind
from mx10.zones.view import Finding, View

_TIMES: Final = Struct("!4I")
_CUT: Final = -1
"""Stands among the types of a zone that delegates a part of itself."""

Find = Callable[[View, Kind], Iterable[Finding]]


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule. It is asked where the zone has every type of ``needs``; a tuple there means one of them."""

    kind: Kind
    needs: tuple[int | tuple[int, ...], ...]
    find: Find

    def concerns(self, types: frozenset[int]) -> bool:
        """Whether a zone with these types may break it."""
        return all(need in types if isinstance(need, int) else not types.isdisjoint(need) for need in self.needs)


RULES: Final[list[Rule]] = []


def rule(
    code: str, severity: Severity, mend: str, source: str, *needs: int | tuple[int, ...]
) -> Callable[[Find], Find]:
    """Declare a function as a rule."""
    declared = kind(code, severity, mend, source)

    def register(find: Find) -> Find:
        RULES.append(Rule(declared, needs, find))
        return find

    return register


def judge(view: View) -> Iterator[Finding]:
    """What all rules find in a zone."""
    for each in _concerned(frozenset((*view.by_type, _CUT) if view.cuts else view.by_type)):
        yield from each.find(view, each.kind)


@lru_cache(maxsize=1024)
def _concerned(types: frozenset[int]) -> tuple[Rule, ...]:
    """The rules to ask; zones with the same types are many."""
    return tuple(each for each in RULES if each.concerns(types))


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
    "soa-times",
    "warning",
    "a good start is: refresh 2h, retry 30m, expire 2w, negative answers 1h",
    "RFC 1912 section 2.2",
    rr.SOA,
)
def soa_times(view: View, kind: Kind) -> Iterable[Finding]:
    """Secondaries ask again after refresh, after retry if that failed, and give up after expire; the last field is for
    negative answers."""
    data = view.nodes[view.apex][rr.SOA][1][0]
    refresh, retry, expire, minimum = _TIMES.unpack_from(data, len(data) - 16)
    said = []
    if retry > refresh:
        said.append(f"retry ({retry} s) is longer than refresh ({refresh} s)")
    if expire < refresh + retry:
        said.append(f"expire ({expire} s) comes before a failed refresh is retried ({refresh} s + {retry} s)")
    if minimum > 86400:
        said.append(f"negative answers are kept for {minimum} s, more than a day")
    return [Finding(kind, view.apex, rr.SOA, data, "data", what) for what in said]


@rule(
    "soa-mailbox", "warning", "write hostmaster.example.com. for hostmaster@example.com", "RFC 1035 section 8", rr.SOA
)
def soa_mailbox(view: View, kind: Kind) -> Iterable[Finding]:
    """The mailbox is written as a name; a real @ in it is nobody's address."""
    data = view.nodes[view.apex][rr.SOA][1][0]
    # A look at all of the data first: hardly any zone gets further.
    if b"@" in data:
        primary = labels(data)
        mailbox = data[sum(map(len, primary)) + len(primary) + 1 :]
        if any(b"@" in label for label in labels(mailbox)):
            return [Finding(kind, view.apex, rr.SOA, data, "data", "the SOA's mailbox has an @ in it")]
    return ()


# ---------------------------------------------------------------- aliases


BESIDE_CNAME: Final = frozenset({rr.CNAME, rr.RRSIG, rr.NSEC, rr.SIG, rr.KEY, 30})
"""What may stand beside a CNAME: the records of DNSSEC (RFC 4034 section 2.5 and section 4; RFC 2535 for 30, NXT)."""


@rule(
    "cname-not-alone", "error", "remove the CNAME, or everything else of that name", "RFC 2181 section 10.1", rr.CNAME
)
def cname_not_alone(view: View, kind: Kind) -> Iterable[Finding]:
    """A name that is an alias has no data of its own."""
    for owner in view.by_type[rr.CNAME]:
        others = [rr.type_to_text(rrtype) for rrtype in view.nodes[owner] if rrtype not in BESIDE_CNAME]
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


@rule(
    "target-is-address",
    "error",
    "write the name of a host; its address goes into an A or AAAA record",
    "RFC 1035 section 3.3.9",
    (rr.MX, rr.NS, rr.SRV),
)
def target_is_address(view: View, kind: Kind) -> Iterable[Finding]:
    """MX, NS and SRV name hosts; an address written there is taken for a name, and nobody finds it."""
    if view.apex.endswith(_REVERSE):
        return
    for owner, rrtype, data, target in view.targets:
        # Written with a final dot it is a name of its own, and without one it is completed with the origin.
        if target[1:2].isdigit():
            shown = _address_in(target, view.apex)
            if shown:
                what = f"the {rr.type_to_text(rrtype)} record of {to_text(owner)} points to the address {shown}"
                yield Finding(kind, owner, rrtype, data, "target", what)


_REVERSE: Final = b"\4arpa\0"
"""Names made of an address's numbers are in order here."""


def _address_in(target: bytes, apex: bytes) -> str:
    """The IPv4 address a name was meant to be; empty where it is none."""
    parts = labels(target)
    if len(parts) > 4 and is_under(target, apex):
        parts = parts[: -len(labels(apex)) or None]
    if len(parts) == 4 and all(len(part) < 4 and part.isdigit() and int(part) < 256 for part in parts):
        return ".".join(part.decode("ascii") for part in parts)
    return ""


@rule(
    "mx-to-alias", "warning", "write the name the CNAME points to", "RFC 2181 section 10.3", rr.CNAME, (rr.MX, rr.SRV)
)
def mx_to_alias(view: View, kind: Kind) -> Iterable[Finding]:
    """Some senders do not follow an alias there. BIND warns too (check-mx-cname, check-srv-cname)."""
    return _to_alias(view, kind, [each for each in view.targets if each[1] != rr.NS])


@rule("ns-to-alias", "error", "write the name the CNAME points to", "RFC 2181 section 10.3", rr.CNAME, rr.NS)
def ns_to_alias(view: View, kind: Kind) -> Iterable[Finding]:
    """Resolvers do not follow an alias to a nameserver, so the zone loses it. BIND refuses such a zone."""
    return _to_alias(view, kind, [each for each in view.targets if each[1] == rr.NS and each[0] == view.apex])


@rule("delegation-to-alias", "warning", "write the name the CNAME points to", "RFC 2181 section 10.3", rr.CNAME, _CUT)
def delegation_to_alias(view: View, kind: Kind) -> Iterable[Finding]:
    """The same for a delegation; it harms the zone below, so this zone is served."""
    return _to_alias(view, kind, [each for each in view.targets if each[1] == rr.NS and each[0] != view.apex])


def _to_alias(view: View, kind: Kind, targets: Iterable[tuple[bytes, int, bytes, bytes]]) -> Iterator[Finding]:
    for owner, rrtype, data, target in targets:
        node = view.own_node(target)
        if node and rr.CNAME in node:
            what = f"the {rr.type_to_text(rrtype)} record of {to_text(owner)} points to the alias {to_text(target)}"
            yield Finding(kind, owner, rrtype, data, "target", what)


@rule(
    "target-without-address",
    "warning",
    "add an A or AAAA record for it",
    "RFC 5321 section 5.1",
    (rr.MX, rr.NS, rr.SRV),
)
def target_without_address(view: View, kind: Kind) -> Iterable[Finding]:
    """A host of this zone that has no address is no help to anybody."""
    for owner, rrtype, data, target in view.targets:
        if not target.endswith(view.apex):
            continue
        node = view.own_node(target)
        if node is not None and node.keys().isdisjoint(_ADDRESS_OR_ALIAS) and not _address_in(target, view.apex):
            what = (
                f"{to_text(target)}, named by the {rr.type_to_text(rrtype)} record of {to_text(owner)}, has no address"
            )
            yield Finding(kind, owner, rrtype, data, "target", what)


_ADDRESS_OR_ALIAS: Final = frozenset({rr.A, rr.AAAA, rr.CNAME})


@rule(
    "not-a-hostname",
    "warning",
    "use letters, digits and hyphens only, no hyphen first or last",
    "RFC 1123 section 2.1",
    (rr.MX, rr.NS),
)
def not_a_hostname(view: View, kind: Kind) -> Iterable[Finding]:
    """Hosts that take mail or answer questions have host names; others are refused by some programs."""
    for owner, rrtype, data, target in view.targets:
        if rrtype != rr.SRV and not _is_hostname(target):
            what = f"{to_text(target)}, named by the {rr.type_to_text(rrtype)} record of {to_text(owner)}, "
            yield Finding(kind, owner, rrtype, data, "target", what + "is not a host name")


@lru_cache(maxsize=4096)
def _is_hostname(name: bytes) -> bool:
    """Whether a folded name is one a host may have. Remembered, since the same few hosts serve zone after zone."""
    for label in labels(name):
        if not label.replace(b"-", b"").isalnum() or label.startswith(b"-") or label.endswith(b"-"):
            return False
    return True


# ---------------------------------------------------------------- delegations


@rule("no-glue", "error", "add an A or AAAA record for it to this zone", "RFC 1034 section 4.2.1", _CUT)
def no_glue(view: View, kind: Kind) -> Iterable[Finding]:
    """A nameserver inside the zone it serves is only found with the address given along."""
    for owner, rrtype, data, target in view.targets:
        if rrtype != rr.NS or owner not in view.cuts or not is_under(target, owner):
            continue
        if view.nodes.get(target, {}).keys().isdisjoint((rr.A, rr.AAAA)):
            what = f"{to_text(target)} serves the delegated zone {to_text(owner)} and has no glue here"
            yield Finding(kind, owner, rr.NS, data, "target", what)


@rule("below-delegation", "warning", "move it into the delegated zone", "RFC 1034 section 4.2.1", _CUT)
def below_delegation(view: View, kind: Kind) -> Iterable[Finding]:
    """Whatever is at or below a delegation is the other zone's; only addresses are given out, as glue."""
    for owner, node in view.nodes.items():
        if owner in view.cuts:
            stays = _AT_CUT
        elif node and view.above(owner, view.cuts):
            stays = _GLUE
        else:
            continue
        for rrtype in node.keys() - stays:
            what = f"the {rr.type_to_text(rrtype)} record of {to_text(owner)} is never answered: the name is delegated"
            yield Finding(kind, owner, rrtype, None, "owner", what)


_GLUE: Final = frozenset({rr.A, rr.AAAA, rr.RRSIG})
_AT_CUT: Final = _GLUE | {rr.NS, rr.DS, rr.NSEC, rr.DNAME}  # a DNAME there breaks a rule of its own


@rule("wildcard-ns", "error", "name the delegated zone outright", "RFC 4592 section 4.2", _CUT)
def wildcard_ns(view: View, kind: Kind) -> Iterable[Finding]:
    """What a wildcard delegates is not defined. BIND refuses it too."""
    for owner in view.cuts:
        if owner.startswith(b"\1*"):
            yield Finding(kind, owner, rr.NS, None, "owner", f"{to_text(owner)} is a wildcard with NS records")


@rule(
    "ds-without-ns",
    "warning",
    "put the DS record where the NS records of the child zone are",
    "RFC 4035 section 2.4",
    rr.DS,
)
def ds_without_ns(view: View, kind: Kind) -> Iterable[Finding]:
    """A DS record speaks of a delegation, and belongs to the parent's side of it."""
    for owner in view.by_type[rr.DS]:
        if owner not in view.cuts and owner != view.apex:
            yield Finding(kind, owner, rr.DS, None, "type", f"{to_text(owner)} has a DS record and is not delegated")


@rule("ds-at-apex", "error", "put the DS record into the zone above", "RFC 4035 section 2.4", rr.DS)
def ds_at_apex(view: View, kind: Kind) -> Iterable[Finding]:
    """The DS record of a zone is its parent's to give. BIND refuses such a zone."""
    if rr.DS in view.nodes[view.apex]:
        what = f"{to_text(view.apex)} has a DS record in its own zone"
        yield Finding(kind, view.apex, rr.DS, None, "type", what)


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
    for owner in view.by_type[rr.MX]:
        for data in view.nodes[owner][rr.MX][1]:
            preference, exchanger = mx(data)
            if exchanger == ROOT and preference:
                what = f"the null MX of {to_text(owner)} has the preference {preference}"
                yield Finding(kind, owner, rr.MX, data, "data", what)


# ---------------------------------------------------------------- proofs of absence


NSEC3_ITERATIONS: Final = 100
"""Further iterations of the NSEC3 hash that answers are computed for. Above these validators take no proof (RFC 9276
section 3.2), and each would be paid for with every negative answer.
"""


@rule("hash-too-slow", "error", "sign the zone anew with 0 iterations", "RFC 9276 section 3.2", rr.NSEC3PARAM)
def hash_too_slow(view: View, kind: Kind) -> Iterable[Finding]:
    """Who asks for names that are not there makes server and resolver compute them all."""
    for data, iterations in _nsec3_iterations(view):
        if iterations > NSEC3_ITERATIONS:
            what = f"NSEC3 with {iterations} further iterations; at most {NSEC3_ITERATIONS} are answered for"
            yield Finding(kind, view.apex, rr.NSEC3PARAM, data, "data", what)


@rule("hash-iterated", "warning", "sign the zone anew with 0 iterations", "RFC 9276 section 3.1", rr.NSEC3PARAM)
def hash_iterated(view: View, kind: Kind) -> Iterable[Finding]:
    """Iterations hide nothing, and some resolvers believe no answer that needs them."""
    for data, iterations in _nsec3_iterations(view):
        if 0 < iterations <= NSEC3_ITERATIONS:
            what = f"NSEC3 with {iterations} further iterations, which hide nothing and slow down everybody"
            yield Finding(kind, view.apex, rr.NSEC3PARAM, data, "data", what)


def _nsec3_iterations(view: View) -> Iterator[tuple[bytes, int]]:
    for data in view.nodes[view.apex].get(rr.NSEC3PARAM, (0, ()))[1]:
        yield data, int.from_bytes(data[2:4], "big")
