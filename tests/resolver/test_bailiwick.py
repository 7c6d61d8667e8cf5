"""What a response is believed, and above all what not."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mx10.dns import message as m
from mx10.dns import rrtypes as rr
from mx10.dns.message import Message, Record
from mx10.dns.wirename import is_under
from mx10.resolver.bailiwick import Lame, Referral, Told, negative_ttl, read_response
from tests.resolver.internet import name, record

ZONE = name("example.")
NAME = name("www.example.")
SOA = Record(ZONE, rr.SOA, rr.IN, 900, name("ns.") + name("h.") + bytes(16) + (600).to_bytes(4, "big"))


def response(
    answer: str = "",
    authority: str = "",
    additional: str = "",
    *,
    soa: bool = False,
    aa: bool = True,
    rcode: int = 0,
) -> Message:
    return Message(
        1,
        m.QR | (m.AA if aa else 0),
        m.Question(NAME, rr.MX),
        answer=records(answer),
        authority=(SOA, *records(authority)) if soa else records(authority),
        additional=records(additional),
        rcode=rcode,
    )


def records(text: str) -> tuple[Record, ...]:
    return tuple(map(record, filter(None, text.split("; "))))


def read(message: Message, rrtype: int = rr.MX) -> Referral | Told | Lame:
    return read_response(message, ZONE, NAME, rrtype)


def test_the_answer_and_nothing_but_the_answer() -> None:
    said = read(response("www.example. MX 10 a.example.; other.example. MX 1 evil.test.; www.example. A 192.0.2.1"))
    assert isinstance(said, Told)
    assert said.records == (record("www.example. MX 10 a.example."),)


def test_an_alias_out_of_the_zone_is_followed_elsewhere() -> None:
    said = read(response("www.example. CNAME www.bank.test.; www.bank.test. MX 1 evil.example."))
    assert isinstance(said, Told)
    assert (said.name, said.rcode, said.records) == (name("www.bank.test."), None, ())


def test_an_absence_behind_an_alias_out_of_the_zone_is_not_believed() -> None:
    said = read(response("www.example. CNAME www.bank.test.", soa=True, rcode=3))
    assert isinstance(said, Told)
    assert said.rcode is None


def test_an_absence_behind_an_alias_within_the_zone_is() -> None:
    said = read(response("www.example. CNAME x.example.", soa=True, rcode=3))
    assert isinstance(said, Told)
    assert (said.name, said.rcode, said.soa) == (name("x.example."), 3, SOA)


def test_only_the_authority_answers() -> None:
    assert isinstance(read(response("www.example. MX 10 a.example.", aa=False)), Lame)
    assert isinstance(read(response(soa=True, aa=False)), Lame)
    assert isinstance(read(response(soa=True, aa=False, rcode=3)), Lame)


def test_a_referral_takes_glue_from_the_bailiwick_only() -> None:
    said = read(
        response(
            authority="www.example. NS ns.www.example.; www.example. NS ns.bank.test.; bank.test. NS evil.example.",
            additional="ns.www.example. A 192.0.2.1; ns.bank.test. A 192.0.2.66; other.example. A 192.0.2.67",
            aa=False,
        )
    )
    assert isinstance(said, Referral)
    assert said.cut == NAME
    assert said.servers == (name("ns.www.example."), name("ns.bank.test."))
    assert said.glue == {name("ns.www.example."): ("192.0.2.1",)}


def test_a_referral_has_to_lead_towards_the_name() -> None:
    for elsewhere in (".", "example.", "other.example.", "bank.test.", "x.www.example."):
        assert isinstance(read(response(authority=f"{elsewhere} NS ns.example.", aa=False)), Lame)


def test_rfc2308_an_absence_needs_the_soa_of_a_zone_around_the_name() -> None:
    assert read(response(soa=True)) == Told(NAME, rr.Rcode.NOERROR, soa=SOA)
    assert read(response(soa=True, rcode=3)) == Told(NAME, rr.Rcode.NXDOMAIN, soa=SOA)
    assert negative_ttl(SOA) == 600
    # Without one it holds, but is not to be remembered.
    assert read(response()) == Told(NAME, rr.Rcode.NOERROR)


def test_the_cname_of_a_dname_is_made_here() -> None:
    said = read_response(
        response("d.example. DNAME e.example.; a.d.example. CNAME evil.example.; a.e.example. MX 1 x."),
        ZONE,
        name("a.d.example."),
        rr.MX,
    )
    assert isinstance(said, Told)
    assert [step.target for step in said.steps] == [name("a.e.example.")]
    assert said.records == (record("a.e.example. MX 1 x."),)


NAMES = st.sampled_from(["example.", "www.example.", "a.example.", "b.www.example.", "test.", "www.test.", "."])
RECORDS = st.lists(
    st.one_of(
        st.builds("{} CNAME {}".format, NAMES, NAMES),
        st.builds("{} DNAME {}".format, NAMES, NAMES),
        st.builds("{} NS {}".format, NAMES, NAMES),
        st.builds("{} MX 10 {}".format, NAMES, NAMES),
        st.builds("{} A 192.0.2.1".format, NAMES),
    ),
    max_size=8,
).map("; ".join)


@given(RECORDS, RECORDS, RECORDS, st.booleans(), st.booleans(), st.sampled_from([0, 2, 3, 5, 6]))
def test_whatever_is_said_nothing_outside_the_zone_is_believed(
    answer: str, authority: str, additional: str, soa: bool, aa: bool, rcode: int
) -> None:
    said = read(response(answer, authority, additional, soa=soa, aa=aa, rcode=rcode))
    match said:
        case Referral():
            assert said.cut != ZONE
            assert is_under(said.cut, ZONE)
            assert is_under(NAME, said.cut)
            assert all(is_under(host, ZONE) for host in said.glue)
        case Told():
            assert all(is_under(step.owner, ZONE) for step in said.steps)
            assert all(is_under(each.name.lower(), ZONE) for each in said.records)
            assert not said.rcode or is_under(said.name, ZONE)


@pytest.mark.parametrize("rrtype", [rr.MX, rr.A, rr.CNAME, rr.NS, rr.SOA])
def test_a_damaged_record_is_no_absence(rrtype: int) -> None:
    """Without its MX records a domain would take its mail itself (RFC 5321 section 5.1)."""
    damaged = replace(response(), answer=(Record(NAME, rrtype, rr.IN, 60, b""),))
    assert read(damaged) == Lame(f"answered with a damaged {rr.type_to_text(rrtype)} record")
    assert read(replace(damaged, answer=(), authority=damaged.answer)) == read(damaged)


def test_a_truncated_response_is_no_absence() -> None:
    assert read(replace(response(), flags=m.QR | m.AA | m.TC)) == Lame("answered with a truncated response")


def test_an_answer_to_another_question_is_no_absence() -> None:
    for other in ("b.www.example. MX 10 x.example.", "www.example. A 192.0.2.1"):
        assert read(response(other)) == Lame("answered another question")
        assert read(response(other, soa=True)) == Told(NAME, rr.Rcode.NOERROR, soa=SOA)
