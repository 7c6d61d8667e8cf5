"""Names on the wire: RFC 1035 sections 2.3.4, 3.1, 4.1.4 and 5.1."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mx10.dns import wirename
from mx10.dns.wirename import NameSyntaxError, WireError

labels = st.lists(st.binary(min_size=1, max_size=63), max_size=8)


@given(labels)
def test_text_and_wire_are_two_forms_of_one_name(parts: list[bytes]) -> None:
    try:
        wire = wirename.from_labels(parts)
    except NameSyntaxError:
        assert sum(map(len, parts)) + len(parts) + 1 > 255
        return
    assert wirename.labels(wire) == parts
    assert wirename.from_text(wirename.to_text(wire)) == wire
    assert wirename.read(wire, 0) == (wire, len(wire))


@given(st.text(max_size=300))
def test_any_text_is_a_name_or_a_clear_error(text: str) -> None:
    try:
        wire = wirename.from_text(text)
    except NameSyntaxError:
        return
    assert len(wire) <= 255


@given(st.binary(max_size=600), st.integers(0, 600))
def test_any_octets_are_a_name_or_a_clear_error(data: bytes, offset: int) -> None:
    try:
        name, after = wirename.read(data, offset)
    except WireError:
        return
    assert len(name) <= 255
    assert offset < after <= len(data)


def test_rfc1035_2_3_4_a_label_of_63_octets_is_the_longest() -> None:
    assert wirename.from_text("a" * 63 + ".")[0] == 63
    with pytest.raises(NameSyntaxError, match="64 octets"):
        wirename.from_text("a" * 64 + ".")


def test_rfc1035_2_3_4_a_name_of_255_octets_is_the_longest() -> None:
    longest = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61])
    assert len(wirename.from_text(longest)) == 255
    with pytest.raises(NameSyntaxError, match="256 octets"):
        wirename.from_text(longest + "d")
    with pytest.raises(NameSyntaxError, match="origin"):
        wirename.from_text("x", wirename.from_text(longest))


def test_rfc1035_4_1_4_pointers_lead_backwards_only() -> None:
    assert wirename.read(b"\2eu\0\3www\xc0\0", 4) == (b"\3www\2eu\0", 10)
    for loop in (b"\xc0\0", b"\1a\xc0\0", b"\xc0\2\xc0\0", b"\1a\xc0\2"):
        with pytest.raises(WireError, match="backwards"):
            wirename.read(loop, 0)
    with pytest.raises(WireError, match="backwards"):
        wirename.read(b"\xc0\2\xc0\0", 2)


def test_rfc1035_4_1_4_pointers_cannot_make_a_name_longer_than_255_octets() -> None:
    message = (b"\x3f" + b"a" * 63) * 3 + b"\x3d" + b"b" * 61 + b"\0"
    assert wirename.read(message, 0) == (message, 255)
    with pytest.raises(WireError, match="longer than 255"):
        wirename.read(message + b"\x01c\xc0\x00", len(message))


def test_rfc1035_4_1_4_a_chain_of_pointers_is_not_walked_for_ever() -> None:
    labels = b"".join(b"\1a" + (0xC000 | max(0, 4 * i - 4)).to_bytes(2, "big") for i in range(1, 126))
    assert wirename.read(b"\1z\0\0" + labels, 4 + 4 * 124)[0].count(b"\1a") == 125
    chain = b"\0\0" + b"".join((0xC000 | 2 * i).to_bytes(2, "big") for i in range(200))
    assert wirename.read(chain, 2 * 127)[0] == b"\0"
    with pytest.raises(WireError, match="more than 127"):
        wirename.read(chain, 2 * 128)


@pytest.mark.parametrize("octet", [0x40, 0x7F, 0x80, 0xBF])
def test_label_types_nobody_uses_are_errors(octet: int) -> None:
    with pytest.raises(WireError, match="unknown type"):
        wirename.read(bytes([octet, 0]), 0)


def test_rfc1035_5_1_escapes() -> None:
    assert wirename.from_text(r"a\.b.c\255\"\\.") == b'\3a.b\4c\xff"\\\0'
    assert wirename.to_text(b'\3a.b\4c\xff"\\\0') == r"a\.b.c\255\"\\."
    for bad in (r"a\25", r"a\256", "a\\", r"\2x5"):
        with pytest.raises(NameSyntaxError):
            wirename.from_text(bad)


@pytest.mark.parametrize("text", ["", "..", "a..b", ".a", "ü.example."])
def test_texts_that_are_no_name(text: str) -> None:
    with pytest.raises(NameSyntaxError):
        wirename.from_text(text)


def test_under_means_whole_labels() -> None:
    apex = wirename.from_text("example.")
    assert wirename.is_under(apex, apex)
    assert wirename.is_under(wirename.from_text("a.example."), apex)
    assert not wirename.is_under(wirename.from_text("myexample."), apex)
    # The octets of one label can look like the end of another name; the cut falls inside it.
    assert not wirename.is_under(b"\x0aa\7example\0"[:1] + b"aa\7example" + b"\0", apex)
    assert wirename.is_under(apex, wirename.ROOT)


names_of_any_octets = st.lists(st.binary(min_size=1, max_size=12), max_size=6).map(
    lambda parts: wirename.fold(wirename.from_labels(parts))
)


@given(names_of_any_octets, names_of_any_octets)
def test_order_keys_sort_as_dnssec_sorts_names(one: bytes, other: bytes) -> None:
    def canonical(name: bytes) -> list[bytes]:  # RFC 4034 section 6.1
        return wirename.labels(name)[::-1]

    assert (wirename.order_key(one) < wirename.order_key(other)) == (canonical(one) < canonical(other))
    assert wirename.order_key(one).startswith(wirename.order_key(other)) == wirename.is_under(one, other)


@given(names_of_any_octets, names_of_any_octets)
def test_an_order_key_is_turned_back(relative: bytes, apex: bytes) -> None:
    name = relative[:-1] + apex
    key = wirename.order_key(name, apex)
    assert wirename.from_order_key(key, apex) == name
    assert wirename.order_key(apex, apex) == b""
