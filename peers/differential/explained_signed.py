"""The table of ``explained``, continued: differences that only signed zones show.

Every proof we give was also judged by the validator in ``tests/nameserver/validating.py``; where one of ours and one of
theirs differ, both may be right.
"""

import dns.name

from peers.differential.answers import FIELDS, Rec
from peers.differential.explained import ALL, DS, NSEC, RRSIG, Case, Explained
from peers.differential.world import AAAA, CNAME, NS, SOA, A, chain

NSEC3 = 50
_PROOFS = (NSEC, NSEC3)


def _covered(rec: Rec) -> int:
    """The type of a record, for a signature the type it signs."""
    return int.from_bytes(rec.rdata[:2], "big") if rec.rrtype == RRSIG else rec.rrtype


def _all_true(case: Case) -> bool:
    return all(case.world.is_true(rec) for rec in case.only_ours | case.only_theirs)


def _signatures_asked_for(case: Case) -> bool:
    """Signatures of other sets of the name than ours, or of more, all of them true."""
    return case.asked.rrtype == RRSIG and all(
        rec.rrtype == RRSIG and case.world.is_true(rec) for rec in case.only_ours | case.only_theirs
    )


def _signed_servers(case: Case) -> bool:
    """Beside an answer they put the NS set of a zone of ours with its signature."""
    return (
        bool(case.theirs.answer)
        and not case.only_ours
        and all(
            _covered(rec) == NS and rec.owner in case.world.zones and case.world.is_true(rec)
            for rec in case.only_theirs
        )
    )


def _stays_at_alias(case: Case) -> bool:
    """NSEC or RRSIG of an alias that has none: we follow the alias, they say that there is no such data."""
    if case.asked.rrtype not in (NSEC, RRSIG) or case.theirs.tc:
        return False
    return case.theirs.records("answer", CNAME) < case.whole.records("answer", CNAME)


def _nsec_at_cut(case: Case) -> bool:
    """NSEC of a delegation: they give the upper side's, we point to the lower side."""
    return case.asked.rrtype == NSEC and case.world.has(case.asked.name, NSEC) and not case.ours.aa and case.theirs.aa


def _no_nsec(case: Case) -> bool:
    return case.asked.rrtype == NSEC and not case.theirs.records("answer", NSEC)


def _signed_soa_ttl_zero(case: Case) -> bool:
    """The same SOA record and signature with a TTL of zero."""
    ours, theirs = case.only_ours, case.only_theirs
    return (
        case.asked.rrtype == SOA
        and all(_covered(rec) == SOA and rec.ttl == 0 for rec in theirs)
        and {rec.rdata for rec in ours} == {rec.rdata for rec in theirs}
    )


def _only_our_proofs(case: Case) -> bool:
    """Records of ours that prove something, and none of theirs, but for the TTL of the SOA record."""
    return all(_covered(rec) == SOA for rec in case.only_theirs) and all(
        _covered(rec) in (SOA, *_PROOFS) for rec in case.only_ours
    )


def _star_without_records(case: Case) -> bool:
    """The wildcard that could stand for the name has no records, only names below it."""
    if not _only_our_proofs(case):
        return False
    name = chain(case.whole, case.asked.name)[-1]
    stars = []
    while name != dns.name.root:
        name = name.parent()
        stars.append(dns.name.Name((b"*", *name.labels)))
    return any(not case.world.has_any(star) and case.world.has_below(star) for star in stars)


def _star_out_of_a_star(case: Case) -> bool:
    """A name that begins with a star, made of a wildcard further up."""
    names = chain(case.whole, case.asked.name)
    return _only_our_proofs(case) and any(name.is_wild() and not case.world.has_any(name) for name in names)


def _unsigned_addresses(case: Case) -> bool:
    """No room for all addresses with their signatures: they send some without, or others than we."""
    limit = max(512, min(case.asked.payload or 512, 1232))
    return (
        all(_covered(rec) in (A, AAAA) and case.world.is_true(rec) for rec in case.only_ours | case.only_theirs)
        and len(case.ours.wire) + 140 > limit
    )


def _other_proofs(case: Case) -> bool:
    """Other NSEC or NSEC3 records of the zone than ours, or more or fewer; with the same code and answer."""
    return (
        case.ours.rcode == case.theirs.rcode
        and all(_covered(rec) in _PROOFS for rec in case.only_ours)
        and all(_covered(rec) in (NS, *_PROOFS) for rec in case.only_theirs)
        and all(case.world.is_true(rec) for rec in case.only_theirs)
        and bool(case.theirs.records("authority", NSEC, NSEC3) or case.theirs.answer)
    )


def _glue_left_out(case: Case) -> bool:
    """The glue that does not fit is left out of their referral; ours comes empty, with TC."""
    return (
        case.ours.tc
        and not case.theirs.tc
        and bool(case.theirs.records("authority", NS))
        and case.theirs.answer == case.whole.answer
        and case.theirs.additional <= case.whole.additional
    )


def _beside_fits(case: Case) -> bool:
    """With NS records, signatures or addresses left out or in, one answer fits and the other does not."""
    limit = max(512, min(case.asked.payload or 512, 1232))
    if case.theirs.tc and not case.ours.tc:
        return case.asked.rrtype in (RRSIG, CNAME) or len(case.ours.wire) + 140 > limit
    return case.ours.tc and not case.theirs.tc and len(case.whole.wire) > limit


def _unasked_ds(case: Case) -> bool:
    return not case.only_ours and _all_true(case) and all(rec.rrtype == DS for rec in case.only_theirs)


def _ds_of_a_zone(case: Case) -> bool:
    """DS of a zone that the zone above does not know of."""
    return case.asked.rrtype == DS and case.asked.name.canonicalize() in case.world.zones


def _type_zero_for_any(case: Case) -> bool:
    """ANY of a name without records is answered with a record of type 0."""
    return case.asked.rrtype == 255 and bool(case.theirs.records("answer", 0))


SIGNED: tuple[Explained, ...] = (
    Explained(
        "signatures-asked-for",
        ALL,
        ("answer",),
        "RFC 8482 section 7",
        "Over UDP a question for RRSIG gets the signatures of one set from us and Knot, all of them from BIND and NSD.",
        _signatures_asked_for,
    ),
    Explained(
        "signed-ns-beside-answers",
        ("NSD",),
        ("authority",),
        "RFC 1034 section 4.3.2 step 6; RFC 4035 section 3.1.1",
        "As without signatures: the NS records of the zone may stand beside any answer.",
        _signed_servers,
    ),
    Explained(
        "no-nsec-beside-cname",
        ("BIND", "Knot"),
        FIELDS,
        "RFC 1034 section 3.6.2; RFC 6840 section 4.3",
        "An alias without NSEC or RRSIG is followed for these types too: a proof of their absence would speak of the "
        "CNAME, and validators take no such proof. BIND and Knot say that there is no such data.",
        _stays_at_alias,
    ),
    Explained(
        "nsec-at-cut",
        ("BIND",),
        FIELDS,
        "RFC 4035 section 2.3; RFC 1034 section 4.3.2 step 3b",
        "Both sides of a cut have an NSEC record. Only DS is the upper side's alone, so we refer to the lower side, as "
        "all but BIND do.",
        _nsec_at_cut,
    ),
    Explained(
        "nsec-not-given",
        ("PowerDNS",),
        FIELDS,
        "RFC 4035 section 3.2.1",
        "NSEC records are given to whoever asks for the type; PowerDNS gives them with the DO bit and at existing "
        "names only.",
        _no_nsec,
    ),
    Explained(
        "signed-zero-ttl-of-soa",
        ("BIND",),
        ("authority",),
        "RFC 2308 sections 3 and 5",
        "As without signatures: zero-no-soa-ttl.",
        _signed_soa_ttl_zero,
    ),
    Explained(
        "star-without-records",
        ("BIND", "Knot"),
        ("authority",),
        "RFC 4035 section 3.1.3.4; RFC 4592 section 4.9",
        "Where the wildcard exists by names below it only, that it has no data has to be proved like that of any other;"
        " BIND and Knot prove only that the name itself does not exist.",
        _star_without_records,
    ),
    Explained(
        "star-out-of-a-star",
        ("Knot",),
        ("authority",),
        "RFC 4035 section 3.1.3.3; RFC 4592 section 2.2",
        "A name whose first label is a star is made of a wildcard further up like any other; Knot gives no proof.",
        _star_out_of_a_star,
    ),
    Explained(
        "addresses-without-signatures",
        ("NSD", "Knot", "PowerDNS"),
        ("additional",),
        "RFC 4035 section 3.1.1",
        "Where there is no room for an address and its signatures, the address may be sent alone or not at all.",
        _unsigned_addresses,
    ),
    Explained(
        "other-proofs",
        ("NSD", "PowerDNS"),
        ("authority",),
        "RFC 4035 section 3.1.3; RFC 5155 section 7.2",
        "NSD adds proofs that validators do without (of a wildcard asked for by its name, of each step of a chain) and "
        "leaves one out where opt-out covers all; PowerDNS chooses others within what opt-out left out.",
        _other_proofs,
    ),
    Explained(
        "glue-left-out",
        ("NSD", "PowerDNS"),
        ("tc",),
        "RFC 9471 section 3",
        "A referral without all glue of the servers within the delegated zone has TC; NSD sends it without.",
        _glue_left_out,
    ),
    Explained(
        "signed-answer-fits",
        ALL,
        ("tc",),
        "RFC 2181 section 9; RFC 4035 section 3.1",
        "What one of these differences adds or leaves out decides whether the rest fits.",
        _beside_fits,
    ),
    Explained(
        "ds-not-asked-for",
        ("PowerDNS",),
        ("authority",),
        "RFC 4035 section 3.1.4",
        "DS sets go into referrals for those who set DO; PowerDNS gives them to all.",
        _unasked_ds,
    ),
    Explained(
        "signed-ds-where-no-delegation-is",
        ("NSD",),
        ("authority",),
        "RFC 4035 section 3.1.4.1",
        "As without signatures: the zone above denies a name that it does not have; NSD answers from the lower one.",
        _ds_of_a_zone,
    ),
    Explained(
        "type-zero-for-any",
        ("PowerDNS",),
        FIELDS,
        "RFC 6895 section 3.1; RFC 4592 section 2.2.2",
        "A name without records has none of type 0 either.",
        _type_zero_for_any,
    ),
)
