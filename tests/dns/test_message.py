"""Whole messages: RFC 1035 section 4, RFC 6891. dnspython is the second opinion."""

import dns.flags
import dns.message
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mx10.dns import message as m
from mx10.dns import rrtypes as rr
from mx10.dns.wirename import WireError, from_text

NAME = from_text("www.example.")


def test_a_query_reads_back() -> None:
    parsed = m.parse(m.make_query(NAME, rr.MX, id=77, do=True, ad=True, payload=1400, options=((10, b"12345678"),)))
    assert (parsed.id, parsed.rd, parsed.ad, parsed.cd, parsed.qr, parsed.opcode) == (77, True, True, False, False, 0)
    assert parsed.question == m.Question(NAME, rr.MX)
    assert parsed.edns == m.Edns(1400, 0, True, ((10, b"12345678"),))


def test_dnspython_reads_what_we_write() -> None:
    mx = b"\0\x0a" + from_text("mx.example.")
    soa = from_text("ns.example.") + from_text("hostmaster.example.") + bytes(20)
    written = m.encode(
        m.Message(
            1,
            m.QR | m.AA,
            m.Question(NAME, rr.MX),
            answer=(m.Record(NAME, rr.MX, rr.IN, 300, mx),),
            authority=(m.Record(from_text("example."), rr.SOA, rr.IN, 60, soa),),
            edns=m.Edns(),
            rcode=rr.Rcode.BADVERS,
        )
    )
    theirs = dns.message.from_wire(written)
    assert theirs.answer[0].to_text() == "www.example. 300 IN MX 10 mx.example."
    assert theirs.authority[0].to_text() == "example. 60 IN SOA ns.example. hostmaster.example. 0 0 0 0 0"
    assert int(theirs.rcode()) == rr.Rcode.BADVERS
    assert m.encode(m.parse(written)) == written
    # "example." stands once; every other occurrence is a pointer to it.
    assert written.count(b"\7example") == 1


def test_we_read_what_dnspython_writes() -> None:
    theirs = dns.message.make_response(dns.message.make_query("a.example", "SRV"))
    theirs.answer.append(dns.rrset.from_text("a.example.", 60, "IN", "SRV", "1 2 3 host.a.example."))
    theirs.answer.append(dns.rrset.from_text("a.example.", 60, "IN", "TXT", '"x" "y"'))
    ours = m.parse(theirs.to_wire())
    assert [record.rdata for record in ours.answer] == [b"\0\1\0\2\0\3" + from_text("host.a.example."), b"\1x\1y"]


def test_rfc3597_4_names_in_new_types_are_not_compressed() -> None:
    srv = m.Record(NAME, rr.SRV, rr.IN, 1, b"\0\0\0\0\0\0" + NAME)
    assert m.encode(m.Message(1, m.QR, m.Question(NAME, rr.SRV), answer=(srv,))).count(NAME) == 2


def test_rfc2181_8_a_ttl_with_the_top_bit_set_is_zero() -> None:
    record = m.Record(NAME, rr.A, rr.IN, 0x80000001, b"\1\2\3\4")
    assert m.parse(m.encode(m.Message(1, 0, None, answer=(record,)))).answer[0].ttl == 0


@given(st.binary(max_size=200))
def test_any_octets_are_a_message_or_a_clear_error(data: bytes) -> None:
    try:
        m.parse(data)
    except WireError:
        return


@given(st.data())
def test_mutated_messages_are_messages_or_clear_errors(data: st.DataObject) -> None:
    mx = b"\0\x0a" + from_text("mx.example.")
    whole = bytearray(
        m.encode(
            m.Message(
                1,
                m.QR,
                m.Question(NAME, rr.MX),
                (m.Record(NAME, rr.MX, 1, 3, mx),) * 2,
                edns=m.Edns(options=((3, b"x"),)),
            )
        )
    )
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        m.parse(bytes(whole[: data.draw(st.integers(0, len(whole)))]))
    except WireError:
        return


@pytest.mark.parametrize(
    ("wire", "what"),
    [
        (b"\0" * 11, "shorter than its header"),
        (m.HEADER.pack(0, 0, 2, 0, 0, 0), "2 questions"),
        (m.HEADER.pack(0, 0, 1, 0, 0, 0) + b"\0\0\1", "question runs past"),
        (m.HEADER.pack(0, 0, 0, 1, 0, 0) + b"\0\0\1\0\1", "record at octet 13"),
        (m.HEADER.pack(0, 0, 0, 0, 0, 0) + b"x", "1 octets stand behind"),
        (m.HEADER.pack(0, 0, 0, 0, 0, 2) + m.encode_opt(m.Edns()) * 2, "one OPT"),
        (m.HEADER.pack(0, 0, 0, 0, 0, 1) + m.encode_opt(m.Edns(options=((3, b"abc"),)))[:-1] + b"", "runs past"),
    ],
)
def test_errors_say_what_and_where(wire: bytes, what: str) -> None:
    with pytest.raises(WireError, match=what):
        m.parse(wire)


def test_every_type_number_has_a_text_that_reads_back() -> None:
    for number in range(0x10000):
        assert rr.type_from_text(rr.type_to_text(number).lower()) == number
    for wrong in ("", "TYPE", "TYPE65536", "TYPE-1", "TYPE１", "MXX"):
        with pytest.raises(ValueError, match="not a record type"):
            rr.type_from_text(wrong)
