"""The table of differences between nameservers that an RFC allows, each with its source and as narrow as we know how.

An entry covers a difference in some fields of the answers of some peers when its predicate says so. Differences that
nothing here covers are faults, of ours until shown otherwise.
"""

from collections.abc import Callable
from dataclasses import dataclass

import dns.name

from peers.differential.answers import FIELDS, Rec, Said
from peers.differential.questions import Asked
from peers.differential.world import AAAA, CNAME, DNAME, NS, SOA, A, World, chain
from peers.differential.zones import on_wire

ANY, RRSIG, NSEC, DS, NAPTR = 255, 46, 47, 43, 35
ALL = ("NSD", "Knot", "PowerDNS", "BIND")


@dataclass(frozen=True, slots=True)
class Case:
    """One difference: in ``field`` of the answers to ``asked`` between ours and that of ``peer``."""

    asked: Asked
    peer: str
    field: str
    ours: Said
    theirs: Said
    whole: Said
    """Our answer over TCP where that over UDP was cut off, otherwise ours."""
    tcp: bool
    world: World

    @property
    def only_ours(self) -> frozenset[Rec]:
        """Records that only our answer has, in the section that differs."""
        return self.ours.records(self.field) - self.theirs.records(self.field)

    @property
    def only_theirs(self) -> frozenset[Rec]:
        """Records that only theirs has."""
        return self.theirs.records(self.field) - self.ours.records(self.field)

    @property
    def dressed(self) -> str:
        """How the question was dressed, in words."""
        return self.asked.dress


@dataclass(frozen=True, slots=True)
class Explained:
    """An entry of the table.

    ``alone`` says that mx10 may be the only one to do so: only where an RFC asks for what we do.
    """

    name: str
    peers: tuple[str, ...]
    fields: tuple[str, ...]
    source: str
    why: str
    when: Callable[[Case], bool]
    alone: bool = False

    def covers(self, case: Case) -> bool:
        """Whether this explains the difference."""
        return case.peer in self.peers and case.field in self.fields and self.when(case)


# Chains of CNAME and DNAME


def _chains(case: Case) -> tuple[list[dns.name.Name], list[dns.name.Name]]:
    return chain(case.whole, case.asked.name), chain(case.theirs, case.asked.name)


def _stops_at_border(case: Case) -> bool:
    """They stop where the chain leaves the zone that the last alias stands in.

    They do it without an error, or with NXDOMAIN where the next zone lies below that zone and is not delegated.
    """
    ours, theirs = _chains(case)
    if len(theirs) < 2 or ours[: len(theirs)] != theirs or not case.theirs.answer <= case.whole.answer:
        return False
    last, before = theirs[-1], theirs[-2]
    apex = case.world.zone_of(before)
    inside = apex is not None and last.is_subdomain(apex) and {rec.owner for rec in case.theirs.authority} == {apex}
    stopped = case.theirs.rcode == "NOERROR" or (case.theirs.rcode == "NXDOMAIN" and inside)
    return stopped and case.world.zone_of(last) not in (None, apex)


def _gives_up(case: Case) -> bool:
    """They stop in the middle of a long chain, five steps or more, with SERVFAIL or without an error."""
    ours, theirs = _chains(case)
    return (
        case.theirs.rcode in ("NOERROR", "SERVFAIL")
        and 5 < len(theirs) < len(ours)
        and ours[: len(theirs)] == theirs
        and case.theirs.answer <= case.whole.answer
    )


def _goes_on(case: Case) -> bool:
    """We stopped after our sixteen steps; they went on."""
    ours, theirs = _chains(case)
    return len(ours) > 16 and (
        case.theirs.tc or (theirs[: len(ours)] == ours and case.whole.answer <= case.theirs.answer)
    )


def _is_long_or_loops(case: Case) -> bool:
    """The chain loops, or has ten steps and more; they say SERVFAIL, with what they had of it or with nothing."""
    ours, _ = _chains(case)
    aliases = {rec.owner for rec in case.whole.answer if rec.rrtype == CNAME}
    loops = any(chain(case.whole, owner)[-1] in aliases for owner in aliases)
    return case.theirs.rcode == "SERVFAIL" and (loops or len(ours) > 10) and case.theirs.answer <= case.whole.answer


def _into_itself(case: Case) -> bool:
    """A DNAME whose target lies below its owner; they stop after one turn."""
    turns = [rec for rec in case.whole.answer if rec.rrtype == DNAME]
    return case.theirs.answer <= case.whole.answer and any(
        dns.name.from_wire(rec.rdata, 0)[0].is_subdomain(rec.owner) for rec in turns
    )


# Sections


def _true_extra(case: Case) -> bool:
    """They leave out additional records; those we give stand in our zones and belong to a host that is named."""
    hosts = case.world.targets(case.ours)
    return not case.only_theirs and all(
        rec.rrtype in (A, AAAA) and rec.owner in hosts and case.world.is_true(rec) for rec in case.only_ours
    )


def _apex_servers(case: Case) -> bool:
    """Beside a positive answer they put the NS records of a zone of ours."""
    return (
        bool(case.theirs.answer)
        and not case.only_ours
        and all(
            rec.rrtype == NS and rec.owner in case.world.zones and case.world.is_true(rec) for rec in case.only_theirs
        )
    )


def _other_extra(case: Case) -> bool:
    """They add true addresses of hosts that the answer names and we do not, each for one of four reasons.

    The host is a server of NS records that they put beside the answer, lies in another zone of ours, exists by a
    wildcard only, or lies below a cut.
    """
    hosts = case.world.targets(case.theirs)
    extra_servers = case.theirs.records("authority", NS) - case.ours.records("authority", NS)
    servers = case.world.targets(Said("", authority=extra_servers)) if case.theirs.answer else set()
    mine = case.world.zone_of(case.asked.name)
    return all(case.world.is_true(rec) for rec in case.only_ours | case.only_theirs) and all(
        rec.owner in servers
        or (
            rec.owner in hosts
            and (case.world.zone_of(rec.owner) != mine or case.world.is_wild(rec) or _below_cut(case.world, rec))
        )
        for rec in case.only_theirs
    )


def _below_cut(world: World, rec: Rec) -> bool:
    name, apex = rec.owner, world.zone_of(rec.owner)
    while name != apex:
        if world.has(name, NS):
            return True
        name = name.parent()
    return False


def _just_fits(case: Case) -> bool:
    """One of us was cut off at a limit near to which the other's, with the same answer, just came."""
    limit = max(512, min(case.asked.payload or 512, 1232))
    if case.theirs.tc:
        # Whoever compresses by case writes a name out once more if the question spelled it in another (RFC 4343).
        return not case.ours.tc and len(case.ours.wire) + len(on_wire(case.asked.name)) > limit * 0.95
    return (
        case.ours.tc
        and case.theirs.answer == case.whole.answer
        and len(case.whole.wire) > limit
        and len(case.theirs.wire) > limit * 0.6
    )


# Codes and types


def _any(case: Case) -> bool:
    """ANY: both give sets of the name that are true, if not the same; or they send the client to TCP."""
    if case.asked.rrtype != ANY or case.asked.klass != 1:
        return False
    if case.theirs.tc:
        return case.peer in ("PowerDNS", "BIND") and not case.tcp
    mine, theirs = ({rec for rec in said.answer if rec.rrtype != CNAME} for said in (case.ours, case.theirs))
    return case.ours.rcode == case.theirs.rcode and all(case.world.is_true(rec) for rec in mine | theirs)


def _any_under_dname(case: Case) -> bool:
    """ANY of a name below a DNAME: they follow the CNAME made for it, we take it for the answer."""
    ours, theirs = _chains(case)
    return case.asked.rrtype == ANY and bool(case.ours.records("answer", DNAME)) and theirs[: len(ours)] == ours


def _cname_asked_for(case: Case) -> bool:
    """CNAME of a name that has one, or is under a DNAME: they follow it beyond, and say what they find at its end."""
    ours, theirs = _chains(case)
    on_the_way = case.whole.answer <= case.theirs.answer and theirs[: len(ours)] == ours
    return case.asked.rrtype == CNAME and len(ours) > 1 and (on_the_way or case.theirs.rcode == "SERVFAIL")


def _ds_behind_alias(case: Case) -> bool:
    """DS of an alias that leads to the apex of one of our zones."""
    ours, _ = _chains(case)
    return case.asked.rrtype == DS and len(ours) > 1 and ours[-1] in case.world.zones


def _at_alias(case: Case) -> bool:
    """NSEC or RRSIG of a name that has a CNAME: they follow it, we do not."""
    ours, theirs = _chains(case)
    further = theirs[: len(ours)] == ours and case.theirs.records("answer", CNAME) > case.ours.records("answer", CNAME)
    return case.asked.rrtype in (NSEC, RRSIG) and (
        further or (case.theirs.rcode == "SERVFAIL" and case.world.has(ours[-1], CNAME))
    )


def _soa_ttl_zero(case: Case) -> bool:
    """The same SOA record with a TTL of zero, to a question for SOA."""
    ours, theirs = case.only_ours, case.only_theirs
    return (
        case.asked.rrtype == SOA
        and len(ours) == len(theirs) == 1
        and all(rec.ttl == 0 for rec in theirs)
        and {rec.rdata for rec in ours} == {rec.rdata for rec in theirs}
    )


def _odd_octets(case: Case) -> bool:
    """A label with octets outside ASCII, NUL among them, somewhere in the name."""
    return case.theirs.rcode == "SERVFAIL" and any(
        not 32 <= octet < 127 for label in case.asked.name.labels for octet in label
    )


_MALFORMED = {
    "no question", "two questions", "one octet short", "header alone", "trailing octets", "two OPT records",
    "OPT cut off", "OPT not at the root", "option longer than OPT", "answer in the question", "name loops",
    "label of 64", "name of 256",
}  # fmt: skip
_ODD_FLAGS = {"TC bit", "all but QR", "rcode in the question"}


def _says(ours: str, *theirs: str) -> Callable[[Case], bool]:
    return lambda case: case.ours.rcode == ours and case.theirs.rcode in theirs and not case.ours.answer


def _dress(start: str, when: Callable[[Case], bool]) -> Callable[[Case], bool]:
    return lambda case: case.dressed.startswith(start) and when(case)


def _meta(*rrtypes: int) -> Callable[[Case], bool]:
    return lambda case: case.asked.rrtype in rrtypes and not case.ours.answer


def _empty_aa(case: Case) -> bool:
    return case.theirs.aa and not case.theirs.answer and case.ours.rcode == case.theirs.rcode


TABLE: tuple[Explained, ...] = (
    Explained(
        "any",
        ALL,
        FIELDS,
        "RFC 8482 sections 4.1 and 4.4",
        "Over UDP we give one of the sets, as NSD and Knot do, each its own choice; BIND gives all, PowerDNS "
        "sends the client to TCP.",
        _any,
    ),
    Explained(
        "any-under-dname",
        ("NSD", "Knot"),
        FIELDS,
        "RFC 1034 section 4.3.2 step 3a; RFC 6672 section 3.2",
        "A CNAME matches ANY, so the one made from a DNAME is an answer; NSD and Knot follow it all the same.",
        _any_under_dname,
    ),
    Explained(
        "malformed",
        ALL,
        FIELDS,
        "RFC 8906 section 3.1; RFC 9619; RFC 6891 section 6.1.1",
        "What cannot be read gets FORMERR; some say nothing, some overlook the fault and answer.",
        lambda case: case.dressed in _MALFORMED and case.ours.rcode == "FORMERR",
    ),
    Explained(
        "flags-without-meaning",
        ("NSD", "PowerDNS"),
        FIELDS,
        "RFC 1035 section 4.1.1; RFC 8906 section 3.1.4",
        "TC, AA, RA and a response code mean nothing in a question and are overlooked; NSD and PowerDNS take "
        "offence at some.",
        lambda case: case.dressed in _ODD_FLAGS and case.ours.rcode == "NOERROR" and not case.theirs.answer,
    ),
    Explained(
        "type-zero",
        ("Knot",),
        FIELDS,
        "RFC 6895 section 3.1",
        "Type 0 is reserved and no data has it: no data. Knot calls it not implemented.",
        lambda case: case.asked.rrtype == 0 and case.theirs.rcode == "NOTIMP",
    ),
    Explained(
        "known-type-in-unknown-form",
        ("PowerDNS",),
        FIELDS,
        "RFC 3597 section 5",
        "A record of a known type may be written in the form for unknown types; PowerDNS loads it and then cannot "
        "read it.",
        lambda case: b"known-as-unknown" in case.asked.name.labels and case.theirs.rcode == "SERVFAIL",
    ),
    Explained(
        "rrsig-is-like-any",
        ("PowerDNS",),
        FIELDS,
        "RFC 8482 section 7",
        "Questions for RRSIG may be treated like ANY; PowerDNS refuses them in a zone that is not signed.",
        lambda case: case.asked.rrtype == RRSIG and case.theirs.rcode == "REFUSED",
    ),
    Explained(
        "cname-asked-for",
        ("PowerDNS",),
        FIELDS,
        "RFC 1034 section 4.3.2 step 3a",
        "Who asks for CNAME has the answer when it is found; PowerDNS follows one made from a DNAME or a wildcard.",
        _cname_asked_for,
    ),
    Explained(
        "ds-where-no-delegation-is",
        ("NSD",),
        ("rcode",),
        "RFC 4035 section 3.1.4.1; RFC 8020",
        "The DS set belongs to the upper zone; where that does not have the name at all, it says so. NSD says no data.",
        lambda case: case.asked.rrtype == DS and _chains(case)[0][-1] in case.world.zones,
    ),
    Explained(
        "ds-behind-an-alias",
        ("Knot", "BIND"),
        ("rcode", "answer", "authority", "additional"),
        "RFC 4035 section 3.1.4.1; RFC 1034 section 4.3.2 step 3a",
        "Where an alias leads to the apex of a zone, the DS set there is still the upper zone's; these look below.",
        _ds_behind_alias,
    ),
    Explained(
        "naptr-brings-more",
        ("BIND",),
        ("additional",),
        "RFC 3403 section 4.2",
        "What a NAPTR record leads to may stand beside it.",
        lambda case: case.asked.rrtype == NAPTR and all(case.world.is_true(rec) for rec in case.only_theirs),
    ),
    Explained(
        "nsec-and-rrsig-beside-cname",
        ("NSD", "Knot", "PowerDNS"),
        FIELDS,
        "RFC 4035 section 2.5; RFC 2181 section 10.1",
        "These types stand beside a CNAME, so a question for them is about the name itself and is not led away.",
        _at_alias,
    ),
    Explained(
        "zero-ttl-of-soa",
        ("BIND",),
        ("authority",),
        "RFC 2308 sections 3 and 5",
        "Asked for SOA where none is, BIND forbids to keep the denial (zero-no-soa-ttl); RFC 2308 knows no such "
        "exception.",
        _soa_ttl_zero,
    ),
    Explained(
        "octets-outside-ascii",
        ("PowerDNS",),
        FIELDS,
        "RFC 2181 section 11",
        "Any octet may stand in a label; PowerDNS cannot ask its backend for such a name.",
        _odd_octets,
    ),
    Explained(
        "too-long-dname-target",
        ("Knot",),
        FIELDS,
        "RFC 6672 section 2.2",
        "Where the target of a DNAME gets too long the code is YXDOMAIN.",
        lambda case: case.ours.rcode == "YXDOMAIN" and bool(case.ours.records("answer", DNAME)),
    ),
    Explained(
        "opcodes",
        ALL,
        ("rcode", "aa"),
        "RFC 8906 section 3.1.4; RFC 1996; RFC 2136",
        "An operation we do not offer is NOTIMP; the others offer NOTIFY and UPDATE and refuse them, or answer "
        "FORMERR or nothing.",
        _dress("opcode", _says("NOTIMP", "silence", "NOTAUTH", "REFUSED", "FORMERR", "NOERROR")),
    ),
    Explained(
        "classes",
        ALL,
        FIELDS,
        "RFC 1035 section 3.2.4; RFC 8906 section 3.1.3",
        "We have zones of class IN only and refuse all else. Others call unknown classes FORMERR or NOTIMP, or "
        "answer ANY from IN.",
        lambda case: case.asked.klass != 1 and case.ours.rcode == "REFUSED" and not case.ours.answer,
    ),
    Explained(
        "aa-without-an-answer",
        ("PowerDNS",),
        ("aa",),
        "RFC 1035 section 4.1.1",
        "AA speaks of data in the answer; PowerDNS sets it in errors too.",
        _empty_aa,
    ),
    Explained(
        "meta-types",
        ALL,
        ("rcode", "aa", "authority", "answer", "additional"),
        "RFC 6895 section 3.1; RFC 5936 section 2; RFC 1995 section 4",
        "OPT, TSIG, TKEY, transfers, MAILA and MAILB are no data and get an error; each server has its own idea "
        "of which.",
        _dress("meta type", _meta(41, 249, 250, 251, 252, 253, 254)),
    ),
    Explained(
        "chain-stops-at-zone-border",
        ("NSD", "Knot", "BIND"),
        FIELDS,
        "RFC 1034 section 4.3.2 step 3a; RFC 2181 section 5.4.1",
        "RFC 1034 goes back to step 1 after an alias, which finds the other zone on the same server, and so do we."
        " Resolvers trust such data less and ask again, so these servers leave it out, or look in the first zone only.",
        _stops_at_border,
    ),
    Explained(
        "long-chain-cut-short",
        ("Knot", "BIND", "PowerDNS"),
        FIELDS,
        "RFC 1034 section 3.6.2",
        "Nobody says how long a chain a server must follow; the client goes on from where the answer ends.",
        _gives_up,
    ),
    Explained(
        "longer-chain-followed",
        ("NSD",),
        FIELDS,
        "RFC 1034 section 3.6.2",
        "We follow sixteen steps within an answer, NSD more.",
        _goes_on,
    ),
    Explained(
        "loop-or-long-chain-is-servfail",
        ("PowerDNS", "BIND"),
        FIELDS,
        "RFC 1034 section 3.6.2",
        "Loops are to be signalled as an error to whoever asked; we leave that to the resolver, as NSD and Knot "
        "do, and give what there is.",
        _is_long_or_loops,
    ),
    Explained(
        "ns-beside-answers",
        ("NSD",),
        ("authority",),
        "RFC 1034 section 4.3.2 step 6; RFC 2308 section 3",
        "The NS records of the zone may stand beside any answer; we save the octets.",
        _apex_servers,
    ),
    Explained(
        "additional-left-out",
        ALL,
        ("additional",),
        "RFC 1034 section 4.3.2 step 6",
        "What else is useful is the server's judgement; what we give is true and belongs to a host that is named.",
        _true_extra,
    ),
    Explained(
        "additional-from-elsewhere",
        ALL,
        ("additional",),
        "RFC 1034 section 4.3.2 step 6; RFC 2181 section 5.4.1",
        "NSD adds the addresses of the NS records beside its answers. Others add addresses out of other zones, from"
        " wildcards or below cuts, which resolvers do not trust.",
        _other_extra,
    ),
    Explained(
        "dname-into-itself",
        ("NSD", "Knot"),
        FIELDS,
        "RFC 1034 section 3.6.2",
        "A DNAME into itself makes a name longer for ever: how many turns stand in the answer is nobody's rule.",
        _into_itself,
    ),
    Explained(
        "compressed-more",
        ("BIND", "Knot", "PowerDNS"),
        ("tc",),
        "RFC 1035 section 4.1.4; RFC 2308 section 3",
        "Compression is the server's choice, and so is the SOA record of a denial that does not fit: theirs still "
        "has room.",
        _just_fits,
    ),
    Explained(
        "code-of-an-answer-cut-off",
        ALL,
        ("rcode",),
        "RFC 2181 section 9",
        "Both answers say TC: the client asks again over TCP, and there the codes are compared.",
        lambda case: case.ours.tc and case.theirs.tc,
    ),
)
