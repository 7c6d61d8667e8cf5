"""What a server makes of a packet: RFC 1035, RFC 6891, RFC 8906, RFC 9619."""

import time

from hypothesis import given
from hypothesis import strategies as st

from mx10.dns import message as m
from mx10.dns import rrtypes as rr
from mx10.dns.question import Query, Refused, read_question
from mx10.dns.wirename import from_text

NAME = from_text("WWW.Example.")
PLAIN = m.make_query(NAME, rr.MX, id=9, edns=False)


def refused(packet: bytes) -> Refused:
    result = read_question(packet)
    assert isinstance(result, Refused)
    return result


def test_a_question() -> None:
    assert read_question(PLAIN) == Query(9, m.RD, NAME.lower(), rr.MX, rr.IN, NAME + b"\0\x0f\0\1")


def test_rfc6891_6_2_3_what_the_opt_record_says() -> None:
    query = read_question(m.make_query(NAME, rr.A, id=1, do=True, payload=1400, options=((3, b""), (10, b"abcdefgh"))))
    assert isinstance(query, Query)
    assert (query.edns, query.do, query.payload) == (True, True, 1400)
    assert query.options == ((3, b""), (10, b"abcdefgh"))


def test_rfc6891_6_2_5_a_payload_below_512_means_512() -> None:
    query = read_question(m.make_query(NAME, rr.A, id=1, payload=5))
    assert isinstance(query, Query)
    assert query.payload == 512


def test_responses_and_half_headers_are_met_with_silence() -> None:
    assert read_question(m.encode(m.Message(1, m.QR, m.Question(NAME, rr.A)))) is None
    assert read_question(PLAIN[:11]) is None
    assert read_question(b"") is None


def test_rfc8906_3_1_4_an_unknown_opcode_is_not_implemented() -> None:
    for opcode in (1, 2, 3, 4, 5, 6, 15):
        packet = PLAIN[:2] + (opcode << 11).to_bytes(2, "big") + PLAIN[4:]
        assert refused(packet).rcode == rr.Rcode.NOTIMP


def test_rfc9619_exactly_one_question() -> None:
    for count in (0, 2, 65535):
        assert refused(PLAIN[:4] + count.to_bytes(2, "big") + PLAIN[6:]).rcode == rr.Rcode.FORMERR


def test_rfc6891_6_1_3_an_unknown_version_is_badvers() -> None:
    packet = bytearray(m.make_query(NAME, rr.A, id=1))
    packet[-5] = 1
    result = refused(bytes(packet))
    assert (result.rcode, result.edns) == (rr.Rcode.BADVERS, True)


def test_rfc6891_6_1_1_two_opt_records_are_an_error() -> None:
    packet = PLAIN[:10] + b"\0\2" + PLAIN[12:] + m.encode_opt(m.Edns()) * 2
    assert refused(packet).rcode == rr.Rcode.FORMERR


def test_malformed_packets_are_format_errors() -> None:
    opt = m.encode_opt(m.Edns(options=((3, b"abc"),)))
    one_more = PLAIN[:10] + b"\0\1" + PLAIN[12:]
    for packet in (
        PLAIN + b"\0",  # octets behind the end
        PLAIN[:-1],  # a question cut off
        PLAIN[:14],
        one_more,  # a record promised and missing
        one_more + opt[:-1],  # an option cut off
        one_more + b"\1x" + opt,  # the OPT record of another name than the root
        PLAIN[:12] + b"\xc0\x0c" + PLAIN[-4:],  # a pointer where none can be
        PLAIN[:12] + b"\x40" + b"a" * 64 + b"\0" + PLAIN[-4:],  # a label of 64 octets
        PLAIN[:12] + (b"\x3f" + b"a" * 63) * 4 + b"\0" + PLAIN[-4:],  # a name of 257
        PLAIN[:7] + b"\1" + PLAIN[8:],  # an answer in a question
        PLAIN[:9] + b"\1" + PLAIN[10:],
    ):
        assert refused(packet).rcode == rr.Rcode.FORMERR


def test_names_in_the_additional_section_cost_no_more_than_their_octets() -> None:
    # Thousands of names, each a pointer to the end of a chain of thousands: 64 KiB that would take seconds to follow.
    start = len(PLAIN) + 11
    chain = b"\0\0" + b"".join((0xC000 | start + 2 * i).to_bytes(2, "big") for i in range(7000))
    first = b"\0" + m.RR_FIXED.pack(rr.A, rr.IN, 0, len(chain)) + chain
    other = (0xC000 | start + 14_000).to_bytes(2, "big") + m.RR_FIXED.pack(rr.A, rr.IN, 0, 0)
    packet = PLAIN[:10] + (4001).to_bytes(2, "big") + PLAIN[12:] + first + other * 4000
    before = time.process_time()
    assert isinstance(read_question(packet), Query)
    assert time.process_time() - before < 1


@given(st.binary(max_size=120) | st.binary(max_size=80).map(lambda tail: PLAIN[:10] + b"\0\1" + PLAIN[12:] + tail))
def test_no_packet_raises(packet: bytes) -> None:
    result = read_question(packet)
    assert result is None or isinstance(result, Query | Refused)
