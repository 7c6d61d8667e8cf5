"""RFC 2136 section 3, against a model that is its pseudocode word for word."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mx10.dns import message as m
from mx10.dns import rrtypes as rr
from mx10.dns.message import Message, Question, Record
from mx10.dns.rrtypes import Rcode
from mx10.dns.wirename import WireError, from_text
from mx10.nameserver.updating import Updated, UpdateError, check_prerequisites, check_updates, updated, zone_of
from mx10.zones.zone import Node

APEX = from_text("example.com.")


def name(text: str) -> bytes:
    return from_text(text, APEX)


def soa(serial: int) -> bytes:
    return b"\2ns\0\4post\0" + serial.to_bytes(4, "big") + bytes(16)


ZONE: dict[bytes, Node] = {
    APEX: {
        rr.SOA: (60, (soa(10),)),
        rr.NS: (60, (name("ns1"), name("ns2"))),
        rr.MX: (60, (b"\0\1" + name("mail"),)),
    },
    name("www"): {rr.A: (60, (bytes((192, 0, 2, 1)), bytes((192, 0, 2, 2)))), rr.TXT: (30, (b"\1x",))},
    name("alias"): {rr.CNAME: (60, (name("www"),))},
}


def look(owner: bytes) -> Node:
    return ZONE.get(owner, {})


def record(owner: str, rrtype: int, data: bytes = b"", klass: int = rr.IN, ttl: int = 0) -> Record:
    return Record(name(owner), rrtype, klass, ttl, data)


ANY, NONE = rr.CLASS_ANY, rr.CLASS_NONE
A1, A2, A3 = (bytes((192, 0, 2, number)) for number in (1, 2, 3))

# All five kinds of RFC 2136 section 2.4, met and not met.
PREREQUISITES: list[tuple[list[Record], Rcode]] = [
    ([record("www", rr.ANY, klass=ANY)], Rcode.NOERROR),
    ([record("nowhere", rr.ANY, klass=ANY)], Rcode.NXDOMAIN),
    ([record("www", rr.A, klass=ANY)], Rcode.NOERROR),
    ([record("www", rr.MX, klass=ANY)], Rcode.NXRRSET),
    ([record("nowhere", rr.ANY, klass=NONE)], Rcode.NOERROR),
    ([record("www", rr.ANY, klass=NONE)], Rcode.YXDOMAIN),
    ([record("www", rr.MX, klass=NONE)], Rcode.NOERROR),
    ([record("www", rr.A, klass=NONE)], Rcode.YXRRSET),
    ([record("www", rr.A, A2), record("WWW", rr.A, A1)], Rcode.NOERROR),
    ([record("www", rr.A, A1)], Rcode.NXRRSET),
    ([record("www", rr.A, A1), record("www", rr.A, A2), record("www", rr.A, A3)], Rcode.NXRRSET),
    ([record("alias", rr.CNAME, name("WWW"))], Rcode.NOERROR),
    ([record("www", rr.A, klass=ANY, ttl=1)], Rcode.FORMERR),
    ([record("www", rr.A, A1, klass=ANY)], Rcode.FORMERR),
    ([record("www", rr.A, A1, klass=NONE)], Rcode.FORMERR),
    ([record("www", rr.A, klass=rr.CH)], Rcode.FORMERR),
    ([Record(from_text("example.net."), rr.A, ANY, 0, b"")], Rcode.NOTZONE),
]


@pytest.mark.parametrize(("records", "rcode"), PREREQUISITES)
def test_prerequisites(records: list[Record], rcode: Rcode) -> None:
    assert outcome(lambda: check_prerequisites(records, APEX, look)) == rcode


def outcome(call: object) -> Rcode:
    try:
        call()  # type: ignore[operator]
    except UpdateError as error:
        assert str(error)
        return error.rcode
    return Rcode.NOERROR


# Section 3.4.1.
FORMS: list[tuple[Record, Rcode]] = [
    (record("www", rr.A, A1, ttl=5), Rcode.NOERROR),
    (record("www", rr.A, A1[:3], ttl=5), Rcode.FORMERR),
    (record("www", rr.ANY, ttl=5), Rcode.FORMERR),
    (record("www", rr.AXFR, A1), Rcode.FORMERR),
    (record("www", rr.OPT, b""), Rcode.FORMERR),
    (record("www", rr.TXT, b"\5ab"), Rcode.FORMERR),
    (record("www", rr.MX, b""), Rcode.FORMERR),
    (record("www", rr.ANY, klass=ANY), Rcode.NOERROR),
    (record("www", rr.A, klass=ANY), Rcode.NOERROR),
    (record("www", rr.A, klass=ANY, ttl=1), Rcode.FORMERR),
    (record("www", rr.A, A1, klass=ANY), Rcode.FORMERR),
    (record("www", rr.IXFR, klass=ANY), Rcode.FORMERR),
    (record("www", rr.A, A1, klass=NONE), Rcode.NOERROR),
    (record("www", rr.ANY, klass=NONE), Rcode.FORMERR),
    (record("www", rr.A, A1, klass=NONE, ttl=1), Rcode.FORMERR),
    (record("www", rr.A, A1, klass=rr.CH), Rcode.FORMERR),
    (Record(from_text("xexample.com."), rr.A, rr.IN, 0, A1), Rcode.NOTZONE),
]


@pytest.mark.parametrize(("asked", "rcode"), FORMS)
def test_forms(asked: Record, rcode: Rcode) -> None:
    assert outcome(lambda: check_updates([asked], APEX)) == rcode


def update(*records: Record, generated: frozenset[int] = frozenset()) -> Updated:
    check_updates(records, APEX)
    return updated(records, APEX, look, generated)


def test_the_apex_keeps_soa_and_its_nameservers() -> None:
    assert update(record("@", rr.ANY, klass=ANY)) == {(APEX, rr.MX): None}
    assert update(record("@", rr.NS, klass=ANY)) == {}
    assert update(record("@", rr.SOA, klass=ANY)) == {}
    assert update(record("@", rr.SOA, soa(10), klass=NONE)) == {}
    one = record("@", rr.NS, name("ns1"), klass=NONE)
    other = record("@", rr.NS, name("NS2"), klass=NONE)
    assert update(one, other) == {(APEX, rr.NS): (60, (name("ns2"),))}


def test_a_soa_replaces_an_older_one() -> None:
    assert update(record("@", rr.SOA, soa(11), ttl=9)) == {(APEX, rr.SOA): (9, (soa(11),))}
    assert update(record("@", rr.SOA, soa(10))) == {}
    assert update(record("@", rr.SOA, soa(9))) == {}
    assert update(record("www", rr.SOA, soa(11))) == {}


def test_an_alias_stands_alone() -> None:
    assert update(record("www", rr.CNAME, name("@"))) == {}
    assert update(record("alias", rr.A, A1)) == {}
    changed = update(record("www", rr.ANY, klass=ANY), record("www", rr.CNAME, name("@"), ttl=5))
    assert changed == {
        (name("www"), rr.A): None,
        (name("www"), rr.TXT): None,
        (name("www"), rr.CNAME): (5, (name("@"),)),
    }
    assert update(record("alias", rr.CNAME, name("mail"), ttl=5)) == {
        (name("alias"), rr.CNAME): (5, (name("mail"),)),
    }


def test_a_set_has_the_ttl_of_its_newest_record() -> None:
    assert update(record("www", rr.A, A1, ttl=5)) == {(name("www"), rr.A): (5, (A1, A2))}
    assert update(record("www", rr.A, A1, ttl=60)) == {}


def test_what_is_undone_within_the_update_is_no_change() -> None:
    assert update(record("new", rr.A, A1, ttl=5), record("new", rr.ANY, klass=ANY)) == {}


def test_what_signing_makes_is_left_to_it() -> None:
    generated = frozenset({rr.TXT})
    with pytest.raises(UpdateError, match="made by signing"):
        update(record("www", rr.TXT, b"\1y"), generated=generated)
    with pytest.raises(UpdateError, match="made by signing"):
        update(record("www", rr.TXT, klass=ANY), generated=generated)
    assert update(record("www", rr.ANY, klass=ANY), generated=generated) == {(name("www"), rr.A): None}


@pytest.mark.parametrize(
    ("zone", "rcode"),
    [
        (Question(name("@"), rr.SOA), Rcode.NOERROR),
        (Question(name("@"), rr.A), Rcode.FORMERR),
        (Question(name("@"), rr.SOA, rr.CH), Rcode.NOTAUTH),
        (None, Rcode.FORMERR),
    ],
)
def test_the_zone_section(zone: Question | None, rcode: Rcode) -> None:
    assert outcome(lambda: zone_of(Message(1, 5 << 11, zone))) == rcode


# ---------------------------------------------------------------- the model

Model = dict[tuple[bytes, int, bytes], int]
"""Owner, type and data of each record to its TTL."""

OWNERS = [name(text) for text in ("@", "www", "alias", "new", "a.new")]
DATAS = {
    rr.A: [A1, A2, A3],
    rr.NS: [name("ns1"), name("ns2"), name("ns3")],
    rr.CNAME: [name("www"), name("@")],
    rr.TXT: [b"\1x", b"\1y"],
    rr.SOA: [soa(9), soa(11), soa(12)],
    rr.RRSIG: [bytes(18) + name("@") + b"s"],
}


def by_the_book(zone: Model, records: Iterable[Record]) -> Model:
    """RFC 2136 section 3.4.2.7. It speaks of records, not of sets; that a set has one TTL is RFC 2181."""
    for each in records:
        owner, rrtype = each.name, each.type
        here = {key for key in zone if key[0] == owner}
        same = {key for key in here if key[1] == rrtype}
        if each.klass == rr.IN:
            if rrtype == rr.CNAME and any(key[1] not in (rr.CNAME, rr.RRSIG) for key in here):
                continue
            if rrtype not in (rr.CNAME, rr.RRSIG) and any(key[1] == rr.CNAME for key in here):
                continue
            if rrtype == rr.SOA and (not same or serial(next(iter(same))[2]) >= serial(each.rdata)):
                continue
            if rrtype in (rr.CNAME, rr.SOA):
                for key in same:
                    del zone[key]
                same = set()
            zone[owner, rrtype, each.rdata] = each.ttl
            for key in same:
                zone[key] = each.ttl
        elif each.klass == rr.CLASS_ANY:
            for key in here if rrtype == rr.ANY else same:
                if owner != APEX or key[1] not in (rr.SOA, rr.NS):
                    del zone[key]
        else:
            if rrtype == rr.SOA or (rrtype == rr.NS and owner == APEX and len(same) == 1):
                continue
            zone.pop((owner, rrtype, each.rdata), None)
    return zone


def serial(data: bytes) -> int:
    return int.from_bytes(data[-20:-16], "big")


def flat(nodes: dict[bytes, Node]) -> Model:
    return {
        (owner, rrtype, data): ttl
        for owner, node in nodes.items()
        for rrtype, (ttl, datas) in node.items()
        for data in datas
    }


@st.composite
def changes(draw: st.DrawFn) -> Record:
    owner = draw(st.sampled_from(OWNERS))
    klass = draw(st.sampled_from([rr.IN, rr.IN, rr.CLASS_ANY, rr.CLASS_NONE]))
    if klass == rr.CLASS_ANY:
        return Record(owner, draw(st.sampled_from([rr.ANY, *DATAS])), klass, 0, b"")
    rrtype = draw(st.sampled_from(list(DATAS)))
    ttl = draw(st.integers(0, 3)) if klass == rr.IN else 0
    return Record(owner, rrtype, klass, ttl, draw(st.sampled_from(DATAS[rrtype])))


@given(st.lists(st.lists(changes(), max_size=6), max_size=8))
def test_any_sequence_of_updates_does_what_the_book_says(updates: list[list[Record]]) -> None:
    zone = {owner: dict(node) for owner, node in ZONE.items()}
    model = flat(zone)
    for records in updates:
        check_updates(records, APEX)
        for (owner, rrtype), rrset in updated(records, APEX, lambda owner: zone.get(owner, {})).items():
            node = zone.setdefault(owner, {})
            if rrset is None:
                del node[rrtype]
            else:
                node[rrtype] = rrset
        model = by_the_book(model, records)
        assert flat(zone) == model
    assert rr.SOA in zone[APEX]
    assert rr.NS in zone[APEX]


@given(st.binary(max_size=200))
def test_garbage_is_an_update_error(noise: bytes) -> None:
    try:
        message = m.parse(b"\0\1\x28\0\0\1\0\1\0\1\0\0" + APEX + b"\0\6\0\1" + noise)
    except WireError:
        return
    outcome(lambda: check_prerequisites(message.answer, zone_of(message), look))
    outcome(lambda: check_updates(message.authority, zone_of(message)))
