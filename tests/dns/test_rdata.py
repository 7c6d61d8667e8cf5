"""Record data: text to wire and back, for every form, and what is said about data that cannot be."""

import dns.rdata
import dns.rdataclass
import dns.rdatatype
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mx10.dns import rdata, wirename
from mx10.dns import rrtypes as rr
from mx10.dns.rdata import RdataSyntaxError, Token

ORIGIN = wirename.from_text("example.com.")


def tokens(text: str) -> list[Token]:
    """Words of a line without white space inside quotes."""
    found = []
    at = 0
    for word in text.split():
        quoted = len(word) > 1 and word[0] == word[-1] == '"'
        found.append(Token(word[1:-1] if quoted else word, quoted, 1, text.index(word, at) + 1))
        at = text.index(word, at) + len(word)
    return found


def read(rrtype: str, text: str) -> bytes:
    return rdata.from_text(rr.type_from_text(rrtype), tokens(text), ORIGIN)


@pytest.mark.parametrize(
    ("rrtype", "text", "printed"),
    [
        ("A", "192.0.2.1", "192.0.2.1"),
        ("AAAA", "2001:DB8:0::1", "2001:db8::1"),
        ("NS", "ns1", "ns1.example.com."),
        ("MX", "10 Mail", "10 Mail.example.com."),
        ("MX", "0 .", "0 ."),
        ("SOA", "@ host 1 2h 30M 2w 1h30m", "example.com. host.example.com. 1 7200 1800 1209600 5400"),
        ("TXT", 'plain "quoted" "" \\065\\"', '"plain" "quoted" "" "A\\""'),
        ("SRV", "1 2 25 mail", "1 2 25 mail.example.com."),
        ("CAA", '0 issue "ca.example;x=1"', '0 issue "ca.example;x=1"'),
        ("TLSA", "3 1 1 ABcd 01", "3 1 1 ABCD01"),
        ("HINFO", '"a" b', '"a" "b"'),
        ("DS", "60485 5 1 " + "2BB183AF5F" * 4, "60485 5 1 " + "2bb183af5f" * 4),
        ("SVCB", "1 . alpn=h2", '1 . alpn="h2"'),
        ("TYPE65280", "\\# 3 ab cd ef", "\\# 3 ABCDEF"),
        ("TYPE65280", "\\# 0", "\\# 0"),
        ("MX", "\\# 3 000a00", "10 ."),
        ("TYPE15", "10 mail", "10 mail.example.com."),
    ],
)  # fmt: skip
def test_reads_and_prints(rrtype: str, text: str, printed: str) -> None:
    wire = read(rrtype, text)
    number = rr.type_from_text(rrtype)
    assert rdata.to_text(number, wire) == printed
    rdata.check(number, wire)


@pytest.mark.parametrize(
    ("rrtype", "text", "column", "what"),
    [
        ("A", "192.0.2", 1, "not an IPv4 address"),
        ("A", "192.0.2.01", 1, "not an IPv4 address"),
        ("A", "192.0.2.1 x", 11, "more than the data of A has"),
        ("AAAA", "192.0.2.1", 1, "not an IPv6 address"),
        ("MX", "mail", 1, "not a number"),
        ("MX", "65536 mail", 1, "not a number"),
        ("MX", "10", None, "ends where a name should stand"),
        ("MX", "10 a..b", 4, "empty"),
        ("MX", '10 "mail"', 4, "in quotes"),
        ("NS", "x" * 64, 1, "at most 63"),
        ("SOA", "a b -1 2 3 4 5", 5, "not a number"),
        ("SOA", "a b 1 2x 3 4 5", 7, "not a time"),
        ("SOA", "a b 1 4294967296 3 4 5", 7, "not a time"),
        ("TXT", "a" * 256, 1, "at most 255"),
        ("TXT", "\\256", 1, "escape"),
        ("CAA", "0 is-sue x", 3, "CAA tag"),
        ("TLSA", "3 1 1 abc", 7, "hexadecimal"),
        ("TYPE65280", "abc", 1, "no form"),
        ("TYPE65280", "\\#", 1, "without a length"),
        ("TYPE65280", "\\# 2 ab", 4, "says 2 octets and 1 follow"),
        ("A", "\\# 3 010203", 1, "not the data of A"),
        ("TXT", "\\# 0", 1, "not the data of TXT"),
        ("MX", "\\# 4 000a0161", 1, "not the data of MX"),
        ("DS", "1 2", 1, "not the data of DS"),
    ],
)
def test_says_what_is_wrong(rrtype: str, text: str, column: int | None, what: str) -> None:
    with pytest.raises(RdataSyntaxError) as caught:
        read(rrtype, text)
    assert what in caught.value.what
    assert caught.value.mend
    assert (caught.value.token and caught.value.token.column) == column


def test_data_over_65535_octets_is_refused() -> None:
    many = [Token("x" * 255)] * 257
    with pytest.raises(RdataSyntaxError, match="at most 65535"):
        rdata.from_text(rr.TXT, many)


def test_mx_gives_preference_and_exchanger() -> None:
    assert rdata.mx(read("MX", "258 Mail")) == (258, b"\4Mail\7example\3com\0")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("1h", 3600), ("1H30M", 5400), ("1w1d1s", 691201), ("1h30", None), ("h", None), ("-1", None), ("", None),
     ("1y", None), ("٣", None), ("²", None), ("99999999999", None)],
)  # fmt: skip
def test_times_as_bind_writes_them(text: str, seconds: int | None) -> None:
    assert rdata.seconds_from_text(text) == seconds


@given(st.integers(0, 65535), st.binary(max_size=300))
def test_any_octets_print_and_read_back(rrtype: int, octets: bytes) -> None:
    """RFC 3597 section 5: data of every type can be written, even what is not of its type."""
    text = rdata.to_text(rrtype, octets)
    if text.startswith("\\# "):
        digits = text.split()[2] if octets else ""
        assert bytes.fromhex(digits) == octets


@given(st.lists(st.binary(max_size=255), min_size=1, max_size=5))
def test_strings_of_any_octets_survive(strings: list[bytes]) -> None:
    wire = b"".join(bytes((len(string),)) + string for string in strings)
    words = [Token(rdata.octets_to_text(string)[1:-1], True) for string in strings]
    assert rdata.from_text(rr.TXT, words) == wire


@given(
    st.sampled_from([rr.A, rr.NS, rr.SOA, rr.MX, rr.TXT, rr.AAAA, rr.SRV, rr.CAA, rr.TLSA, rr.HINFO, rr.DS]),
    st.lists(st.text(alphabet='ab019.\\"#:é-', max_size=8), max_size=8),
)
def test_bad_words_raise_one_kind_of_error(rrtype: int, words: list[str]) -> None:
    try:
        wire = rdata.from_text(rrtype, [Token(word) for word in words], ORIGIN)
    except RdataSyntaxError:
        return
    rdata.check(rrtype, wire)


@pytest.mark.parametrize(
    ("rrtype", "text"),
    [("A", "192.0.2.1"), ("MX", "10 Mail.example.net."), ("SOA", "a. b. 1 2 3 4 5"), ("TXT", '"a" "b\\"\\000"'),
     ("SRV", "0 1 2 x.y."), ("CAA", '128 issuewild ";"'), ("TLSA", "3 1 1 " + "ab" * 32),
     ("SSHFP", "1 1 " + "ab" * 20)],
)  # fmt: skip
def test_agrees_with_dnspython(rrtype: str, text: str) -> None:
    theirs = dns.rdata.from_text(dns.rdataclass.IN, dns.rdatatype.from_text(rrtype), text)
    assert read(rrtype, text) == theirs.to_wire()
