"""Addresses, networks and the IANA registries of special ones."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mx10.routing.addresses import AddressSyntaxError, around, from_text, network_from_text, special_purpose, to_text


@pytest.mark.parametrize(
    ("text", "purpose"),
    [
        ("8.8.8.8", ""),
        ("10.1.2.3", "private use, RFC 1918"),
        ("172.31.255.255", "private use, RFC 1918"),
        ("172.32.0.0", ""),
        ("100.127.255.255", "shared by carriers, RFC 6598"),
        ("100.128.0.0", ""),
        ("192.0.0.9", ""),
        ("192.0.0.8", "protocol assignments, RFC 6890"),
        ("224.0.0.1", "multicast, RFC 5771"),
        ("255.255.255.255", "broadcast, RFC 8190"),
        ("2606:4700::1111", ""),
        ("2001:4860:4860::8888", ""),
        ("2001:db8::1", "documentation, RFC 3849"),
        ("::1", "loopback, RFC 4291"),
        ("::", "unspecified, RFC 4291"),
        ("::ffff:8.8.8.8", "IPv4 mapped, RFC 4291"),
        ("fd00::1", "private use (unique local), RFC 4193"),
        ("fe80::1", "link local, RFC 4291"),
        ("ff02::1", "multicast, RFC 4291"),
        ("64:ff9b::808:808", ""),
        ("64:ff9b:1::1", "translation within a site, RFC 8215"),
        ("4000::1", "outside the unicast space handed out, RFC 4291"),
        ("3fff::1", "documentation, RFC 9637"),
    ],
)
def test_rfc6890_special_purpose(text: str, purpose: str) -> None:
    address = from_text(text)
    assert address is not None
    assert special_purpose(address) == purpose


def test_networks_named_public_are() -> None:
    address = from_text("127.25.0.1")
    assert address is not None
    assert special_purpose(address, [network_from_text("127.0.0.0/8")]) == ""
    assert special_purpose(address, [network_from_text("2001:db8::/32")]) != ""


@pytest.mark.parametrize(
    "text", ["192.0.2.1/24", "192.0.2.0/33", "192.0.2.0/", "192.0.2", "::/129", "::/x", "a/8", "192.0.2.0/-1", ""]
)
def test_what_is_no_network(text: str) -> None:
    with pytest.raises(AddressSyntaxError):
        network_from_text(text)


def test_the_mend_names_the_network() -> None:
    with pytest.raises(AddressSyntaxError, match=r"192\.0\.2\.0/24"):
        network_from_text("192.0.2.1/24")


@pytest.mark.parametrize("text", ["192.0.2.1", "[192.0.2.1]", "[IPv6:2001:db8::1]", "2001:DB8::1"])
def test_addresses(text: str) -> None:
    assert from_text(text) is not None


@pytest.mark.parametrize("text", ["", "192.0.2", "192.0.2.256", "192.0.2.01", "mx", "[]", "1.2.3.4\0", "0x7f.1"])
def test_what_is_no_address(text: str) -> None:
    assert from_text(text) is None


@given(st.ip_addresses(), st.integers(0, 128))
def test_networks_agree_with_ipaddress(address: object, length: int) -> None:
    packed = ip_address(str(address)).packed
    length = min(length, len(packed) * 8)
    network = around(packed, length)
    assert ip_network(str(network)) == ip_network(f"{address}/{length}", strict=False)
    assert network.holds(packed)
    assert network_from_text(str(network)) == network
    assert to_text(packed) == str(address) or ":" in to_text(packed)
