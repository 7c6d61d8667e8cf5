"""Names and addresses as people type them, and as they are shown."""

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mx10.dns.wirename import ROOT, from_labels, from_text, to_text
from mx10.names import (
    AddressError,
    DomainError,
    MailAddress,
    ascii_text,
    display,
    domain_from_text,
    parse_address,
    parse_destination,
    show_destination,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("example.com", "example.com."),
        ("  Example.COM. ", "example.com."),
        (".", "."),
        ("_dmarc.example.com", "_dmarc.example.com."),
        ("bücher.example", "xn--bcher-kva.example."),
        ("BÜCHER.Example", "xn--bcher-kva.example."),
        ("xn--bcher-kva.example", "xn--bcher-kva.example."),
        ("XN--BCHER-KVA.example", "xn--bcher-kva.example."),
        ("例え。テスト", "xn--r8jz45g.xn--zckzah."),
        ("例え．テスト｡", "xn--r8jz45g.xn--zckzah."),
        ("faß.example", "xn--fa-hia.example."),
        ("ｅｘａｍｐｌｅ．com", "example.com."),
        ("a\\.b.example", "a\\.b.example."),
        ("a\\032b.example", "a\\032b.example."),
        ("-x-.example", "-x-.example."),
        ("x" * 63 + ".example", "x" * 63 + ".example."),
        (".".join(["x" * 61] * 4) + ".example"[:5], ".".join(["x" * 61] * 4) + ".exam."),
    ],
)
def test_domains(text: str, expected: str) -> None:
    assert to_text(domain_from_text(text)) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("a..b", "label is empty"),
        (".a", "label is empty"),
        ("a..", "label is empty"),
        ("x" * 64, "63"),
        (".".join(["x" * 63] * 4), "255"),
        ("a@b", "a mail address"),
        ("https://example.com/", "a URL"),
        ("two words", "two words"),
        ("xn--.example", "stands for nothing"),
        ("xn--a.example", "stands for nothing"),
        ("\u0300a.example", "internationalised label"),
        ("a\u2603\u200d.example", "internationalised label"),
        ("x" * 2000, "2000 characters"),
        ("ü" * 60 + ".example", "internationalised label"),
        ("\\999.example", "escape"),
        ("\ud800.example", "no domain name: it is not UTF-8"),
    ],
)
def test_what_is_no_domain(text: str, words: str) -> None:
    with pytest.raises(DomainError, match=words) as caught:
        domain_from_text(text)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("wire", "shown"),
    [
        (ROOT, "."),
        (from_text("xn--bcher-kva.example"), "bücher.example"),
        (from_text("XN--BCHER-KVA.Example"), "bücher.Example"),
        (from_text("xn--nothing-.example"), "xn--nothing-.example"),
        (from_text("a\\.xn--bcher-kva.example"), "a\\.xn--bcher-kva.example"),
        (from_text("a\\.b.xn--bcher-kva.example"), "a\\.b.bücher.example"),
        (from_labels([b"\x1b[31m", b"example"]), "\\027[31m.example"),
        (from_labels([b"xn--\xff", b"example"]), "xn--\\255.example"),
    ],
)
def test_display(wire: bytes, shown: str) -> None:
    assert display(wire) == shown


@given(st.text(max_size=80))
def test_any_text_is_a_domain_or_an_error(text: str) -> None:
    try:
        wire = domain_from_text(text)
    except DomainError:
        return
    assert len(wire) <= 255
    assert wire == wire.lower()
    assert domain_from_text(ascii_text(wire)) == wire
    assert display(wire).isprintable()


@given(st.lists(st.binary(min_size=1, max_size=20), max_size=6))
def test_any_wire_name_can_be_shown(labels: list[bytes]) -> None:
    wire = from_labels(labels)
    assert display(wire).isprintable()
    assert from_text(ascii_text(wire)) == wire


EXAMPLE = from_text("example.com")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("user@example.com", MailAddress("user", EXAMPLE)),
        ("User.Name+tag@EXAMPLE.com", MailAddress("User.Name+tag", EXAMPLE)),
        ("!#$%&'*+-/=?^_`{|}~@example.com", MailAddress("!#$%&'*+-/=?^_`{|}~", EXAMPLE)),
        ('"a b"@example.com', MailAddress("a b", EXAMPLE)),
        ('"a\\"b\\\\c@d"@example.com', MailAddress('a"b\\c@d', EXAMPLE)),
        ('""@example.com', MailAddress("", EXAMPLE)),
        ("user@[192.0.2.1]", MailAddress("user", literal=IPv4Address("192.0.2.1"))),
        ("user@[IPv6:2001:db8::1]", MailAddress("user", literal=IPv6Address("2001:db8::1"))),
        ("user@[ipv6:::1]", MailAddress("user", literal=IPv6Address("::1"))),
        ("用户@例え.テスト", MailAddress("用户", from_text("xn--r8jz45g.xn--zckzah"))),
        ("user@under_score.example", MailAddress("user", from_text("under_score.example"))),
        ("user@Example.com.", MailAddress("user", EXAMPLE)),
        ("x" * 64 + "@example.com", MailAddress("x" * 64, EXAMPLE)),
    ],
)
def test_addresses(text: str, expected: MailAddress) -> None:
    """RFC 5321 section 4.1.2, RFC 6531 section 3.3."""
    assert parse_address(text) == expected
    assert parse_address(str(expected)) == expected


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("", 0),
        ("@example.com", 0),
        ("user", 4),
        ("user@", 5),
        (".user@example.com", 0),
        ("user.@example.com", 5),
        ("us..er@example.com", 3),
        ("us er@example.com", 2),
        ("us,er@example.com", 2),
        ('"user@example.com', 16),
        ('"us\ner"@example.com', 3),
        ('"user"x@example.com', 6),
        ("user@a@b", 5),
        ("user@example..com", 5),
        ("user@.", 5),
        ("user@192.0.2.1", 5),
        ("user@2001:db8::1", 5),
        ("user@a,b.example", 5),
        ("user@a\\.b.example", 5),
        ("user@a\\032b.example", 5),
        ('user@a"b.example', 5),
        ("user@*.example", 5),
        ("us\x9ber@example.com", 2),
        ("us\u2028er@example.com", 2),
        ("\udcffuser@example.com", 0),
        ('"us\x9ber"@example.com', 3),
        ('"us\\\x9ber"@example.com', 4),
        ('"us\udcffer"@example.com', 3),
        ('"user\\', 5),
        ("user@[192.0.2.1", 14),
        ("user@[192.0.2.256]", 5),
        ("user@[2001:db8::1]", 5),
        ("user@[IPv6:fe80::1%eth0]", 5),
        ("user@[]", 5),
        ("x" * 65 + "@example.com", 64),
        ("ü" * 33 + "@example.com", 64),
        ("user@" + ".".join(["x" * 62] * 4), 254),
        ("x" * 5000 + "@example.com", 1024),
    ],
)
def test_what_is_no_address(text: str, position: int) -> None:
    with pytest.raises(AddressError) as caught:
        parse_address(text)
    assert caught.value.position == position
    assert f"at character {position + 1}" in str(caught.value)
    assert len(str(caught.value)) < 500


@given(st.text(max_size=40) | st.text(alphabet='a@.[]"\\:1 ü%', max_size=20))
def test_any_text_is_an_address_or_an_error(text: str) -> None:
    try:
        address = parse_address(text)
    except AddressError as error:
        assert 0 <= error.position <= len(text)
        assert str(error).isprintable()
        return
    assert str(address).encode(), "no halves of characters"
    assert (address.domain is None) != (address.literal is None)
    assert parse_address(str(address)) == address


def test_destinations() -> None:
    assert parse_destination(" example.com ") == EXAMPLE
    assert parse_destination("user@example.com") == MailAddress("user", EXAMPLE)
    assert parse_destination("[192.0.2.1]") == IPv4Address("192.0.2.1")
    assert parse_destination("[IPv6:::1]") == IPv6Address("::1")
    for text in ("192.0.2.1", "2001:db8::1"):
        with pytest.raises(AddressError, match="stands in brackets, as \\["):
            parse_destination(text)
    for text in ("[192.0.2.1", "[x]", "a..b", ""):
        with pytest.raises(ValueError, match=r"is no|empty"):
            parse_destination(text)
    assert show_destination(IPv6Address("::1")) == "[IPv6:::1]"
    assert show_destination(IPv4Address("192.0.2.1")) == "[192.0.2.1]"
    assert show_destination(from_text("xn--bcher-kva.example")) == "bücher.example"
    assert show_destination(None) == "."
