"""Who vouches for a sender: SPF of its own domain, and signatures of its organization."""

import re
from collections.abc import AsyncIterator
from ipaddress import ip_address

import pytest

from mx10.mailauth.alignment import aligned, organization
from mx10.mailauth.vouching import MAX_HEADER, Vouched, vouched
from tests.mailauth.signing import rsa_record, signed
from tests.mailauth.test_dkim import BODY, HEADER, NOW
from tests.mailauth.zones import Zones

ZONE = f"""
example.org                TXT v=spf1 ip4:192.0.2.0/28 -all
bounces.example.org        TXT v=spf1 -all
sel._domainkey.example.org TXT {rsa_record()}
_dmarc.example.org         TXT v=DMARC1; p=none
mx.sender.example          TXT v=spf1 a -all
mx.sender.example          A   192.0.2.1
"""


async def chunks(data: bytes, size: int) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


async def look(
    sender: str, message: bytes = b"", *, address: str = "192.0.2.1", zone: str = "", size: int = 65536
) -> Vouched:
    data = message or HEADER.encode() + b"\r\n" + BODY
    zones = Zones(ZONE + zone)
    packed = ip_address(address).packed
    return await vouched(
        packed, "mx.sender.example", sender, chunks(data, size), zones, hostname="mx.example.net", now=NOW
    )


def unfolded(found: Vouched) -> str:
    assert found.field.endswith(b"\r\n")
    return re.sub(r"\r\n\t", " ", found.field.decode().removesuffix("\r\n"))


async def test_spf_vouches_for_its_own_domain() -> None:
    found = await look("ann@example.org")
    assert found.domains == ("example.org",)
    assert unfolded(found) == (
        "Authentication-Results: mx.example.net; spf=pass (ip4 of example.org) smtp.mailfrom=example.org; dkim=none"
    )
    assert (await look("ann@example.org", address="192.0.2.99")).domains == ()
    assert (await look("ann@Example.ORG")).domains == ("example.org",)


@pytest.mark.parametrize("size", [1, 7, 65536])
async def test_signatures_vouch_for_their_organization(size: int) -> None:
    message = signed(HEADER, BODY)
    found = await look("x@bounces.example.org", message, size=size)
    assert found.domains == ("example.org",)
    assert "spf=fail (all of bounces.example.org) smtp.mailfrom=bounces.example.org" in unfolded(found)
    assert re.search(r"dkim=pass header\.d=example\.org header\.s=sel header\.b=\"[A-Za-z0-9/+]{8}\"", unfolded(found))
    # Somebody who signs what is his, in the name of somebody else.
    assert (await look("victim@example.com", message)).domains == ()
    assert (await look("victim@example.org", message.replace(b"Hello", b"Buy"), address="192.0.2.99")).domains == ()
    assert (await look("ann@example.org", message)).domains == ("example.org",)


async def test_nobody_is_vouched_for() -> None:
    found = await look("", signed(HEADER, BODY))
    assert found.domains == ()
    assert "spf=pass (a of mx.sender.example) smtp.helo=mx.sender.example" in unfolded(found)
    assert (await look("ann@-bad-.example")).domains == ()


async def test_what_others_wrote_is_harmless_in_the_field() -> None:
    message = signed(HEADER, BODY).replace(b"s=sel", b"s=a)(\x1b;b@c")
    found = await look("x@example.org", message)
    assert found.field.count(b"\r\n") == found.field.count(b"\r\n\t") + 1
    text = unfolded(found)
    assert "\x1b" not in text
    assert text.count("(") == text.count(")")


async def test_a_header_without_an_end() -> None:
    found = await look("ann@example.org", b"X: " + b"a" * (MAX_HEADER + 70_000))
    assert found.dkim == ()
    assert found.domains == ("example.org",)
    assert (await look("ann@example.org", signed(HEADER, b"").removesuffix(b"\r\n"))).dkim[0].result == "pass"


# ---------------------------------------------------------------- organizations


@pytest.mark.parametrize(
    ("domain", "records", "found"),
    [
        ("a.b.example.org", "", "a.b.example.org"),
        ("a.b.example.org", "_dmarc.example.org TXT v=DMARC1; p=reject", "example.org"),
        ("a.b.example.org", "_dmarc.b.example.org TXT v=DMARC1\n_dmarc.example.org TXT v=DMARC1", "example.org"),
        (
            "a.b.example.org",
            "_dmarc.b.example.org TXT v=DMARC1; psd=n\n_dmarc.example.org TXT v=DMARC1",
            "b.example.org",
        ),
        ("a.b.co.example", "_dmarc.co.example TXT v=DMARC1; psd=y", "b.co.example"),
        ("a.example.org", "_dmarc.example.org TXT v=DMARC1\n_dmarc.example.org TXT v=DMARC1", "a.example.org"),
        ("a.example.org", "_dmarc.example.org TXT !", "a.example.org"),
        ("a.example.org", "_dmarc.example.org TXT v=DMARC1; psd", "example.org"),
        ("a.example.org", "_dmarc.example.org TXT something else", "a.example.org"),
    ],
)
async def test_organizations(domain: str, records: str, found: str) -> None:
    assert await organization(domain, Zones(records)) == found


async def test_long_names_are_few_questions() -> None:
    zones = Zones("_dmarc.example.org TXT v=DMARC1")
    assert await organization(".".join("abcdefghijklmnop") + ".example.org", zones) == "example.org"
    assert len(zones.asked) == 8


@pytest.mark.parametrize(
    ("domain", "signer", "together"),
    [
        ("example.org", "example.org", True),
        ("a.example.org", "b.example.org", True),
        ("a.example.org", "example.org", True),
        ("example.org", "a.example.org", True),
        ("example.org", "example.com", False),
        ("xexample.org", "example.org", False),
        ("one.hosting.example", "two.hosting.example", False),
        ("hosting.example", "two.hosting.example", False),
        ("org", "example.org", False),
    ],
)
async def test_alignment(domain: str, signer: str, together: bool) -> None:
    assert await aligned(domain, signer, Zones("_dmarc.example.org TXT v=DMARC1")) is together
