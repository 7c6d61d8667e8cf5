"""Any response at all is read without an error, and nothing is believed that is not in it."""

from hypothesis import given
from hypothesis import strategies as st

from mx10.dns import message as m
from mx10.dns import rrtypes as rr
from mx10.dns.message import Edns, Message, Question, Record
from mx10.dns.wirename import ROOT, fold, is_under
from mx10.names import ascii_text
from mx10.resolver.answer import Answer, Status
from mx10.resolver.lookup import Lookup
from mx10.resolver.reading import read
from tests.resolver.internet import name

NAMES = [name(text) for text in ("mail.example.", "a.example.", "example.", "A.EXAMPLE.", "b.test.")] + [ROOT]
TYPES = [rr.A, rr.AAAA, rr.MX, rr.CNAME, rr.DNAME, rr.SOA, rr.NS, rr.RRSIG, rr.NSEC, rr.TXT, 65280]

names = st.sampled_from(NAMES)
datas = st.one_of(names, st.binary(max_size=30), names.map(lambda wire: b"\0\x0a" + wire))
records = st.builds(
    Record, names, st.sampled_from(TYPES), st.sampled_from([rr.IN, rr.CH]), st.integers(0, 2**31 - 1), datas
)
sections = st.lists(records, max_size=8).map(tuple)
messages = st.builds(
    Message,
    id=st.just(1),
    flags=st.sampled_from([m.QR, m.QR | m.AA, m.QR | m.RA]),
    question=st.none(),
    answer=sections,
    authority=sections,
    additional=sections,
    edns=st.one_of(
        st.none(), st.builds(Edns, options=st.lists(st.tuples(st.just(15), st.binary(max_size=9))).map(tuple))
    ),
    rcode=st.integers(0, 24),
)


@given(messages, names.map(fold), st.sampled_from([*TYPES, rr.ANY]))
def test_any_response(message: Message, asked: bytes, rrtype: int) -> None:
    # As it comes from the wire: a name in data is one, or there is no data.
    try:
        message = m.parse(m.encode(message))
    except (ValueError, IndexError):
        return
    found = read(message, asked, rrtype)
    owners = {asked, *found.chain}
    for record in found.records:
        assert record in message.answer
        assert rrtype in (record.type, rr.ANY)
        assert record.klass == rr.IN
        assert fold(record.name) == (found.chain[-1] if found.chain else asked)
    for record in found.section:
        assert record in message.answer
        assert fold(record.name) in owners or (
            record.type in (rr.DNAME, rr.RRSIG) and any(is_under(one, fold(record.name)) for one in owners)
        )
    assert set(found.denial) <= set(message.authority)
    assert bool(found.reason) is (found.status is Status.FAILURE)
    assert found.ttl >= 0
    if found.status is Status.FAILURE:
        assert not found.records
    if found.status is Status.NXDOMAIN:
        assert message.rcode == rr.Rcode.NXDOMAIN
    # And whatever it says can be written down.
    answer = Answer(
        asked, rrtype, found.status, found.records, found.chain, found.ttl, section=found.section, denial=found.denial
    )
    shown = Lookup("x", answer).to_json()
    assert shown["name"] == ascii_text(asked)


def test_the_question_does_not_matter_here() -> None:
    """That it is the right one was seen by the transport."""
    message = Message(1, m.QR, Question(name("x."), rr.A), (Record(name("y."), rr.A, rr.IN, 5, bytes(4)),))
    assert read(message, name("y."), rr.A).status is Status.OK
