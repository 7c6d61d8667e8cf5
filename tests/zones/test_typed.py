"""Record sets as people type them."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mx10.dns import rdata
from mx10.dns import rrtypes as rr
from mx10.dns.fields import Token
from mx10.dns.wirename import from_text, to_text
from mx10.zones.tokens import scan
from mx10.zones.typed import MAX_TEXT, TypedError, owner_name, record_data, record_type, ttl, zone_name
from tests.zones.generating import data

APEX = from_text("example.com.")


def scanned(text: str) -> list[Token]:
    def fail(*problem: object) -> None:
        raise AssertionError(problem)

    return scan([text], 1, iter(()), MAX_TEXT, fail).tokens


@pytest.mark.parametrize(
    ("typed", "rrtype", "shown"),
    [
        ("10 mail.example.net.", rr.MX, "10 mail.example.net."),
        ("10 mail", rr.MX, "10 mail.example.com."),
        ("10 @", rr.MX, "10 example.com."),
        ("0 .", rr.MX, "0 ."),
        (" 10   mail ", rr.MX, "10 mail.example.com."),
        ("192.0.2.1", rr.A, "192.0.2.1"),
        ("2001:DB8::1", rr.AAAA, "2001:db8::1"),
        ("v=spf1 mx -all", rr.TXT, '"v=spf1 mx -all"'),
        ('"v=spf1" " mx -all"', rr.TXT, '"v=spf1" " mx -all"'),
        ('say "hello"', rr.TXT, '"say \\"hello\\""'),
        ("a;b(c", rr.TXT, '"a;b(c"'),
        ("", rr.TXT, '""'),
        ("å", rr.TXT, '"\\195\\165"'),
        ("back\\\\slash \\226", rr.TXT, '"back\\\\slash \\226"'),
        ("\\# 4 c0000201", rr.A, "192.0.2.1"),
        ("\\# 2 abcd", 65280, "\\# 2 ABCD"),
        ("ns1.example.com. host 1 2h 30m 2w 1h", rr.SOA, "ns1.example.com. host.example.com. 1 7200 1800 1209600 3600"),
        ('0 issue "ca.example"', rr.CAA, '0 issue "ca.example"'),
    ],
)
def test_what_is_meant(typed: str, rrtype: int, shown: str) -> None:
    assert rdata.to_text(rrtype, record_data(typed, rrtype, APEX)) == shown


@pytest.mark.parametrize(
    ("typed", "rrtype", "why"),
    [
        ("10 mail.example.net", rr.MX, "without a final dot: write mail.example.net. for the host of that name"),
        ("10 mail.example.net", rr.MX, "or mail.example.net.example.com. for the one in this zone"),
        ("mail", rr.MX, "MX 'mail'"),
        ("10", rr.MX, "MX '10'"),
        ("70000 mail", rr.MX, "70000"),
        ("10 mail extra", rr.MX, "extra"),
        ("192.0.2.256", rr.A, "192.0.2.256"),
        ("192.0.2.1", rr.AAAA, "192.0.2.1"),
        (f"10 {'a' * 64}.", rr.MX, "63"),
        ('"not closed', rr.TXT, "character 1"),
        ("(10 mail", rr.MX, "character 1"),
        ("\\# 4 c00002", rr.A, "4"),
        ("x" * 70_000, rr.TXT, "65535"),
        ("x" * (MAX_TEXT + 1), rr.TXT, f"at most {MAX_TEXT}"),
    ],
)
def test_what_means_nothing(typed: str, rrtype: int, why: str) -> None:
    with pytest.raises(TypedError) as raised:
        record_data(typed, rrtype, APEX)
    assert why in str(raised.value)
    assert len(str(raised.value)) < 400
    assert "\n" not in str(raised.value)


@given(st.binary(max_size=2000))
def test_text_of_any_length_comes_out_as_it_went_in(octets: bytes) -> None:
    text = "".join(chr(octet) if 32 < octet < 127 and octet not in b'"\\' else f"\\{octet:03d}" for octet in octets)
    if text.startswith("\\"):
        text = f"x{text}"
        octets = b"x" + octets
    data = record_data(text, rr.TXT, APEX)
    joined = b""
    while data:
        joined, data = joined + data[1 : 1 + data[0]], data[1 + data[0] :]
    assert joined == octets


@given(data())
def test_what_is_printed_can_be_typed(words: tuple[str, list[str]]) -> None:
    rrtype = record_type(words[0])
    try:
        octets = rdata.from_text(rrtype, scanned(" ".join(words[1])), APEX)
    except rdata.RdataSyntaxError:
        return
    assert record_data(rdata.to_text(rrtype, octets), rrtype, APEX) == octets


@given(st.text(max_size=80), st.sampled_from([rr.A, rr.MX, rr.TXT, rr.SOA, rr.CAA, rr.SRV, rr.TLSA, 65280]))
def test_whatever_is_typed_is_taken_or_refused(text: str, rrtype: int) -> None:
    with contextlib.suppress(TypedError):
        record_data(text, rrtype, APEX)
    for read in (zone_name, record_type, ttl):
        with contextlib.suppress(TypedError):
            read(text)
    with contextlib.suppress(TypedError):
        assert owner_name(text, APEX).endswith(APEX)


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("@", "example.com."),
        ("www", "www.example.com."),
        ("a.b", "a.b.example.com."),
        ("WWW.Example.com", "www.example.com."),
        ("www.example.com.", "www.example.com."),
        ("*", "*.example.com."),
        ("_25._tcp.mail", "_25._tcp.mail.example.com."),
        ("bücher", "xn--bcher-kva.example.com."),
        ("example.net", "example.net.example.com."),
    ],
)
def test_owners(typed: str, name: str) -> None:
    assert to_text(owner_name(typed, APEX)) == name


@pytest.mark.parametrize("typed", ["example.net.", ".", "", "a..b", "a" * 64, f"{'a.' * 124}a"])
def test_no_owners(typed: str) -> None:
    with pytest.raises(TypedError):
        owner_name(typed, APEX)


@pytest.mark.parametrize(("typed", "number"), [("MX", 15), ("mx", 15), ("TYPE65280", 65280)])
def test_types(typed: str, number: int) -> None:
    assert record_type(typed) == number


@pytest.mark.parametrize("typed", ["ANY", "AXFR", "OPT", "TYPE0", "TYPE65536", "MXX", ""])
def test_no_types(typed: str) -> None:
    with pytest.raises(TypedError):
        record_type(typed)


@pytest.mark.parametrize(("typed", "seconds"), [("3600", 3600), ("1h30m", 5400), ("2w", 1209600), ("0", 0)])
def test_times_to_live(typed: str, seconds: int) -> None:
    assert ttl(typed) == seconds


@pytest.mark.parametrize("typed", ["", "-1", "1x", "2147483648", "1e3", "99999999999999999999"])
def test_no_times_to_live(typed: str) -> None:
    with pytest.raises(TypedError):
        ttl(typed)
