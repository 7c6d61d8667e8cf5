"""Answers out of signed zones: for zones and questions at random, each answer proves what it says; and what the RFCs
say of single cases.
"""

from functools import cache

import dns.message
import dns.name
import dns.rdatatype as t
import dns.rrset
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from mx10.config import NameserverSettings
from mx10.dns import rrtypes as rr
from mx10.dns.message import make_query
from mx10.dns.wirename import ROOT, from_text, parent, to_text
from mx10.nameserver.responder import Responder
from mx10.nameserver.table import ZoneTable
from mx10.zones.dnssec.policy import Denial
from mx10.zones.dnssec.whole import sign_zone
from mx10.zones.zone import Node, Zone, add_empty_nonterminals
from tests.nameserver.validating import Validator
from tests.zones.dnssec.shapes import NOW, SHAPES, arrangement, steady, zone_from

APEX = from_text("example.com.")
DENIALS: list[Denial] = ["nsec", "nsec3", "nsec3-opt-out"]
SOA = from_text("ns.") + from_text("host.") + b"".join(each.to_bytes(4, "big") for each in (1, 7200, 1800, 99999, 300))

LABELS = st.sampled_from([b"a", b"b", b"*", b"m", b"zz", b"\0", b"_t"])
NAMES = st.lists(LABELS, min_size=1, max_size=3).map(
    lambda parts: b"".join(bytes((len(part),)) + part for part in parts) + APEX
)
KINDS = st.sampled_from(["data", "data", "data", "alias", "cut", "secure cut", "dname"])
TYPES = [rr.A, rr.TXT, rr.MX, rr.DS, rr.NS, rr.NSEC, rr.NSEC3, rr.RRSIG, rr.ANY, rr.CNAME, rr.DNSKEY]


def node_of(kind: str) -> Node:
    """The record sets of a name."""
    cut: Node = {rr.NS: (60, (from_text("ns.a.example.com."),))}
    nodes: dict[str, Node] = {
        "data": {rr.A: (3600, (b"\xc0\0\2\1",)), rr.MX: (60, (b"\0\1" + from_text("a.example.com."),))},
        "alias": {rr.CNAME: (60, (from_text("b.example.com."),))},
        "cut": cut,
        "secure cut": {**cut, rr.DS: (60, (b"\0\1\x0d\2" + bytes(32),))},
        "dname": {rr.DNAME: (60, (from_text("m.example.com."),))},
    }
    return nodes[kind]


def zone_of(names: dict[bytes, str]) -> Zone:
    """A zone that could be: nothing below a DNAME, nothing but glue below a cut, and no wildcard delegated."""
    nodes: dict[bytes, Node] = {APEX: {rr.SOA: (3600, (SOA,)), rr.NS: (60, (from_text("ns.example.net."),))}}
    kinds = {owner: "data" if owner[:2] == b"\1*" and kind != "alias" else kind for owner, kind in names.items()}
    for owner, kind in kinds.items():
        above: list[bytes] = []
        while (name := parent(above[-1] if above else owner)) != APEX:
            above.append(name)
        if any(kinds.get(each) == "dname" for each in above):
            continue
        below_cut = any(kinds.get(each) in ("cut", "secure cut") for each in above)
        nodes[owner] = {rr.A: (60, (b"\xc0\0\2\2",))} if below_cut else node_of(kind)
    add_empty_nonterminals(APEX, nodes, 1000)
    return Zone(APEX, nodes)


def serving(zone: Zone) -> tuple[Responder, Validator]:
    """A server of a signed zone, and a validator that knows its keys."""
    responder = Responder(ZoneTable({zone.apex: zone.pack()}), NameserverSettings())
    name = dns.name.from_text(to_text(zone.apex))
    packet = make_query(zone.apex, rr.DNSKEY, id=1, do=True)
    keys = next(
        rrset for rrset in dns.message.from_wire(responder.tcp(packet) or b"").answer if rrset.rdtype == t.DNSKEY
    )
    return responder, Validator(name, keys, NOW)


def proved(responder: Responder, validator: Validator, owner: bytes, rrtype: int) -> str:
    """What the answer to a question proves. The answer without proofs says the same."""
    wire = responder.tcp(make_query(owner, rrtype, id=7, do=True)) or b""
    plain = dns.message.from_wire(responder.tcp(make_query(owner, rrtype, id=7)) or b"")
    message = dns.message.from_wire(wire)
    assert message.rcode() == plain.rcode()
    if rrtype not in (rr.ANY, rr.RRSIG):
        kept = {(rrset.name, rrset.rdtype) for rrset in message.answer if rrset.rdtype != t.RRSIG}
        assert kept == {(rrset.name, rrset.rdtype) for rrset in plain.answer}
    name = dns.name.from_wire(owner, 0)[0]
    return validator.validate(wire, name, rrtype)


@pytest.mark.parametrize("denial", DENIALS)
@settings(max_examples=40, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(
    names=st.dictionaries(NAMES, KINDS, max_size=10),
    asked=st.lists(st.tuples(NAMES, st.sampled_from(TYPES)), min_size=8, max_size=8),
)
def test_every_answer_proves_what_it_says(
    denial: Denial, names: dict[bytes, str], asked: list[tuple[bytes, int]]
) -> None:
    signed = sign_zone(zone_of(names), arrangement(15, "csk", denial), NOW, steady().random)
    responder, validator = serving(signed)
    for owner, rrtype in [*asked, *((name, rr.TXT) for name in names), *((name, rr.DS) for name in names)]:
        proved(responder, validator, owner, rrtype)


@cache
def shaped(shape: str, denial: Denial) -> tuple[Responder, Validator]:
    return serving(sign_zone(zone_from(SHAPES[shape]), arrangement(13, "csk", denial), NOW, steady().random))


CASES = [
    ("plain", "www", rr.A, "answer"),
    ("plain", "www", rr.MX, "nodata"),
    ("plain", "nope", rr.A, "nxdomain"),
    ("plain", "a.b.nope", rr.A, "nxdomain"),
    ("plain", "@", rr.DNSKEY, "answer"),
    ("plain", "@", rr.DS, "nodata"),
    ("plain", "@", rr.ANY, "answer"),
    ("plain", "www", rr.RRSIG, "answer"),
    ("empty non-terminals", "c.d", rr.A, "nodata"),
    ("empty non-terminals", "x.b.c.d", rr.A, "nxdomain"),
    ("wildcards", "x", rr.A, "answer"),
    ("wildcards", "x.y.z", rr.A, "answer"),
    ("wildcards", "x", rr.MX, "nodata"),
    ("wildcards", "x.sub", rr.TXT, "answer"),
    ("wildcards", "x.sub.sub", rr.TXT, "nxdomain"),
    ("wildcards", "x.deep", rr.A, "nodata"),
    ("wildcards", "x.foo.*.deep", rr.A, "nxdomain"),
    ("wildcards", "x.y.two", rr.MX, "nodata"),
    ("delegations", "sub", rr.DS, "answer"),
    ("delegations", "x.sub", rr.A, "secure referral"),
    ("delegations", "x.insecure", rr.A, "insecure referral"),
    ("delegations", "x.zz", rr.A, "insecure referral"),
    ("redirected", "x.d", rr.A, "answer"),
    ("redirected", "d", rr.MX, "nodata"),
    ("redirected", "alias", rr.A, "answer"),
]


@pytest.mark.parametrize("denial", DENIALS)
@pytest.mark.parametrize(("shape", "owner", "rrtype", "what"), CASES)
def test_each_kind_of_answer(denial: Denial, shape: str, owner: str, rrtype: int, what: str) -> None:
    found = proved(*shaped(shape, denial), from_text(owner, APEX), rrtype)
    # Under opt-out an absence is proved but for insecure delegations.
    assert found == what or (denial == "nsec3-opt-out" and what in ("nxdomain", "nodata") and found == "opted out")


def ask(responder: Responder, owner: str, rrtype: int, *, udp: bool = False, **query: object) -> dns.message.Message:
    packet = make_query(from_text(owner, APEX), rrtype, id=7, **{"do": True, **query})  # type: ignore[arg-type]
    return dns.message.from_wire((responder.udp(packet) if udp else responder.tcp(packet)) or b"")


def sets(section: list[dns.rrset.RRset]) -> list[str]:
    return [
        f"{rrset.name.relativize(dns.name.from_text('example.com.'))} {t.to_text(rrset.rdtype)}"
        + (f" {t.to_text(rrset.covers)}" if rrset.rdtype == t.RRSIG else "")
        for rrset in section
    ]


def test_rfc4035_3_1_without_do_nothing_changes() -> None:
    responder, _ = shaped("plain", "nsec")
    for owner, rrtype in (("www", rr.A), ("nope", rr.A), ("www", rr.MX)):
        answer = ask(responder, owner, rrtype, do=False)
        assert not {t.RRSIG, t.NSEC} & {rrset.rdtype for rrset in [*answer.answer, *answer.authority]}


def test_rfc4034_3_signatures_have_the_ttl_of_what_they_sign() -> None:
    answer = ask(shaped("plain", "nsec")[0], "nope", rr.A)
    soa = answer.authority[0]
    assert (soa.ttl, answer.authority[1].ttl) == (300, 300)
    # The SOA has 3600 in the zone; the signature says so, or nobody could check it.
    assert answer.authority[1][0].original_ttl == 3600


def test_rfc8482_any_and_rrsig_bring_one_set_over_udp() -> None:
    responder, _ = shaped("plain", "nsec")
    assert sets(ask(responder, "@", rr.ANY, udp=True).answer) == ["@ MX", "@ RRSIG MX"]
    assert sets(ask(responder, "@", rr.RRSIG, udp=True).answer) == ["@ RRSIG MX"]
    assert sets(ask(responder, "@", rr.RRSIG, do=False, udp=True).answer) == ["@ RRSIG MX"]
    everything = sets(ask(responder, "@", rr.RRSIG).answer)
    assert len(everything) == 6
    assert "@ RRSIG DNSKEY" in everything


def test_rfc5155_7_2_8_a_hash_is_no_name_that_exists() -> None:
    responder, _ = shaped("plain", "nsec3")
    denied = ask(responder, "nope", rr.A)
    owner = next(rrset.name for rrset in denied.authority if rrset.rdtype == t.NSEC3).relativize(
        dns.name.from_text("example.com.")
    )
    for rrtype in (rr.NSEC3, rr.A, rr.ANY, rr.RRSIG):
        assert ask(responder, str(owner), rrtype).rcode() == 3
    assert ask(responder, f"x.{owner}", rr.A).rcode() == 3
    # With a wildcard above, that answers.
    responder, validator = shaped("wildcards", "nsec3")
    denied = ask(responder, "x", rr.A)
    owner = next(rrset.name for rrset in denied.authority if rrset.rdtype == t.NSEC3)
    assert proved(responder, validator, from_text(str(owner)), rr.A) == "answer"


@cache
def signed_at_length() -> Responder:
    """A zone whose signatures have 256 octets."""
    return serving(sign_zone(zone_from(SHAPES["plain"]), arrangement(8, "csk", "nsec3"), NOW, steady().random))[0]


def test_rfc4035_3_1_1_an_address_beside_the_answer_goes_with_its_signature_or_not_at_all() -> None:
    responder = signed_at_length()
    whole = ask(responder, "@", rr.MX, udp=True)
    assert sets(whole.additional) == ["mail A", "mail RRSIG A"]
    length = len(responder.udp(make_query(APEX, rr.MX, id=7, do=True)) or b"")
    short = ask(responder, "@", rr.MX, udp=True, payload=length - 1)
    assert not short.flags & dns.flags.TC
    assert sets(short.additional) == []
    assert sets(short.answer) == sets(whole.answer)


def test_a_proof_is_never_cut_in_two() -> None:
    responder = signed_at_length()
    whole = responder.udp(make_query(from_text("a.b.nope", APEX), rr.A, id=7, do=True)) or b""
    for payload in range(512, len(whole), 50):
        short = ask(responder, "a.b.nope", rr.A, udp=True, payload=payload)
        assert short.flags & dns.flags.TC
        assert not short.authority


def test_a_chain_of_other_parameters_is_passed_by() -> None:
    """While a zone changes its salt it holds two chains (RFC 5155 section 10.4)."""
    zone = sign_zone(zone_from(SHAPES["plain"]), arrangement(13, "csk", "nsec3"), NOW, steady().random)
    nodes = dict(zone.nodes)
    for number in range(40):
        label = "".join("0123456789abcdefghijklmnopqrstuv"[(number * 7 + at) % 32] for at in range(32))
        nodes[from_text(label, APEX)] = {rr.NSEC3: (300, (b"\1\0\0\0\1\xab\x14" + bytes(20),))}
    responder, validator = serving(Zone(zone.apex, nodes))
    for owner in ("nope", "www", "a.b.nope", "zzz"):
        assert proved(responder, validator, from_text(owner, APEX), rr.TXT) in ("nxdomain", "nodata")


def test_from_a_signed_zone_into_one_that_is_not() -> None:
    signed = sign_zone(
        zone_from("away CNAME www.example.net.\nd DNAME example.net.\n"), arrangement(), NOW, steady().random
    )
    plain = zone_from("www A 192.0.2.1\n", "example.net.")
    responder = Responder(ZoneTable({zone.apex: zone.pack() for zone in (signed, plain)}), NameserverSettings())
    assert [str(rrset.name) + t.to_text(rrset.rdtype) for rrset in ask(responder, "away", rr.A).answer] == [
        "away.example.com.CNAME",
        "away.example.com.RRSIG",
        "www.example.net.A",
    ]
    answer = ask(responder, "nope.d", rr.A)
    assert sets(answer.answer) == ["d DNAME", "d RRSIG DNAME", "nope.d CNAME"]
    assert [t.to_text(rrset.rdtype) for rrset in answer.authority] == ["SOA"]


def test_the_root_may_be_signed() -> None:
    zone = zone_from("com NS ns1\nnet NS ns1\nnet DS 1 13 2 " + "ab" * 32 + "\n", ".")
    for denial in DENIALS:
        responder, validator = serving(sign_zone(zone, arrangement(13, "csk", denial), NOW, steady().random))
        assert proved(responder, validator, from_text("x.com."), rr.A) == "insecure referral"
        assert proved(responder, validator, from_text("x.net."), rr.A) == "secure referral"
        assert proved(responder, validator, ROOT, rr.MX) == "nodata"
