"""SPF: the examples of RFC 7208, its limits, and whatever else stands in records. The suite of its authors is run by
tests/peers/test_spf_suite.py."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mx10.mailauth.spf import Spf, SpfResult, check_host
from mx10.mailauth.spf_record import Macros, SpfSyntaxError, check_domain_spec, expand, parse_record, shortened
from tests.mailauth.zones import Zones

# RFC 7208 appendix A.
ZONE = """
example.com              MX   10 mail-a.example.com
example.com              MX   20 mail-b.example.com
example.com              A    192.0.2.10
example.com              A    192.0.2.11
amy.example.com          A    192.0.2.65
bob.example.com          A    192.0.2.66
mail-a.example.com       A    192.0.2.129
mail-b.example.com       A    192.0.2.130
mail-c.example.org       A    192.0.2.140
example.org              MX   10 mail-c.example.org
10.2.0.192.in-addr.arpa  PTR  example.com
65.2.0.192.in-addr.arpa  PTR  amy.example.com
130.2.0.192.in-addr.arpa PTR  mail-b.example.com
140.2.0.192.in-addr.arpa PTR  mail-c.example.org
20.1.168.192.in-addr.arpa PTR example.com
"""


async def check(
    record: str,
    address: str = "192.0.2.65",
    zone: str = "",
    *,
    sender: str = "strong-bad@example.com",
    seconds: float = 5,
) -> Spf:
    domain = sender.rpartition("@")[2]
    zones = Zones(f"{ZONE}\n{domain} TXT {record}\n{zone}")
    return await check_host(ip_address(address).packed, domain, sender, "mx.example.org", zones, seconds=seconds)


@pytest.mark.parametrize(
    ("record", "address", "result"),
    [
        ("v=spf1 +all", "192.0.2.1", "pass"),
        ("v=spf1 a -all", "192.0.2.10", "pass"),
        ("v=spf1 a -all", "192.0.2.65", "fail"),
        ("v=spf1 a:example.org -all", "192.0.2.10", "fail"),
        ("v=spf1 mx -all", "192.0.2.129", "pass"),
        ("v=spf1 mx -all", "192.0.2.131", "fail"),
        ("v=spf1 mx:example.org -all", "192.0.2.140", "pass"),
        ("v=spf1 mx/30 mx:example.org/30 -all", "192.0.2.131", "pass"),
        ("v=spf1 mx/30 mx:example.org/30 -all", "192.0.2.143", "pass"),
        ("v=spf1 mx/30 mx:example.org/30 -all", "192.0.2.144", "fail"),
        ("v=spf1 ptr -all", "192.0.2.65", "pass"),
        ("v=spf1 ptr -all", "192.0.2.140", "fail"),
        ("v=spf1 ip4:192.0.2.128/28 -all", "192.0.2.65", "fail"),
        ("v=spf1 ip4:192.0.2.128/28 -all", "192.0.2.129", "pass"),
        ("v=spf1 ip4:192.0.2.128/28 -all", "::ffff:192.0.2.129", "pass"),
        ("v=spf1 ip6:2001:db8::/32 ~all", "2001:db8::1", "pass"),
        ("v=spf1 ip6:2001:db8::/32 ~all", "2001:db9::1", "softfail"),
        ("v=spf1 ?ip4:192.0.2.0/24", "192.0.2.1", "neutral"),
        ("v=spf1", "192.0.2.1", "neutral"),
        ("v=spf10 +all", "192.0.2.1", "none"),
        ("V=SPF1 A:AMY.example.com -ALL", "192.0.2.65", "pass"),
        ("v=spf1 exists:%{ir}.list.example -all", "192.0.2.65", "fail"),
        ("v=spf1 redirect=_spf.example.com", "192.0.2.65", "permerror"),
        ("v=spf1 include:none.example -all", "192.0.2.65", "permerror"),
        ("v=spf1 a:broken.example -all", "192.0.2.65", "temperror"),
        ("v=spf1 ip4:192.0.2.300 +all", "192.0.2.1", "permerror"),
        ("v=spf1 +all nonsense", "192.0.2.1", "permerror"),
        ("v=spf1 all:example.com", "192.0.2.1", "permerror"),
        ("v=spf1 a/33 +all", "192.0.2.1", "permerror"),
        ("v=spf1 redirect=a.example redirect=b.example", "192.0.2.1", "permerror"),
        ("v=spf1 unknown=%{d} +all", "192.0.2.1", "pass"),
        ("v=spf1 unknown=%{x} +all", "192.0.2.1", "permerror"),
    ],
)
async def test_records(record: str, address: str, result: str) -> None:
    assert (await check(record, address, "broken.example A !")).result == result


async def test_macros_lead_to_names() -> None:
    # RFC 7208 appendix A.3 and D.1.
    zone = "strong-bad._spf.example.com A 127.0.0.2\n65.2.0.192._spf.example.com A 127.0.0.2"
    assert (await check("v=spf1 exists:%{l1r-}.%{l}._spf.%{d} -all", zone=zone)).result == "fail"
    assert (await check("v=spf1 exists:%{l}._spf.%{d} -all", zone=zone)).result == "pass"
    assert (await check("v=spf1 exists:%{ir}._spf.%{d} -all", zone=zone)).result == "pass"
    assert (await check("v=spf1 a:%{p} -all")).result == "pass"


async def test_an_explanation() -> None:
    zone = "why.example.com TXT %{i} is not one of %{d}'s hosts, says %{r}; see http://x.example/%{S}"
    found = await check("v=spf1 -all exp=why.%{d}", zone=zone)
    assert found.result is SpfResult.FAIL
    assert found.explanation == (
        "192.0.2.65 is not one of example.com's hosts, says unknown; see http://x.example/strong-bad%40example.com"
    )
    for wrong in ("%{x}", "grüße", "50% of all"):
        assert (await check("v=spf1 -all exp=why.%{d}", zone=f"why.example.com TXT {wrong}")).explanation == ""


async def test_more_records_than_one() -> None:
    found = await check("v=spf1 +all", zone="example.com TXT v=spf1 -all")
    assert (found.result, found.reason) == (SpfResult.PERMERROR, "example.com has 2 records; one is allowed")


async def test_look_ups_are_counted() -> None:
    assert (await check(f"v=spf1 {'a:bob.example.com ' * 10} +all")).result == "pass"
    assert (await check(f"v=spf1 {'a:bob.example.com ' * 11} +all")).result == "permerror"
    assert (await check("v=spf1 a:x1.example a:x2.example +all")).result == "pass"
    found = await check("v=spf1 a:x1.example a:x2.example a:x3.example +all")
    assert (found.result, found.reason) == (SpfResult.PERMERROR, "more than 2 look-ups find nothing")
    loop = await check("v=spf1 include:example.com -all")
    assert (loop.result, loop.reason) == (SpfResult.PERMERROR, "more than 10 terms ask the DNS")
    assert (await check("v=spf1 redirect=example.com")).result == "permerror"
    many = "\n".join(f"many.example MX {number} bob.example.com" for number in range(11))
    assert (await check("v=spf1 mx:many.example +all", zone=many)).result == "permerror"


async def test_no_answer_has_an_end() -> None:
    found = await check("v=spf1 a:slow.example -all", zone="slow.example A ?", seconds=0.05)
    assert (found.result, found.reason) == (SpfResult.TEMPERROR, "the DNS did not answer within 0.05 s")


@pytest.mark.parametrize("domain", ["", "localhost", "a..b", "x" * 64 + ".example", "[192.0.2.1]"])
async def test_what_is_no_domain(domain: str) -> None:
    found = await check_host(b"\xc0\0\2\1", domain, f"a@{domain}", "x", Zones(""))
    assert found.result is SpfResult.NONE


# RFC 7208 section 7.4.
MACROS = Macros("strong-bad@email.example.com", "email.example.com", "mx.example.org", b"\xc0\0\2\3", now=5)


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("%{s}", "strong-bad@email.example.com"),
        ("%{o}", "email.example.com"),
        ("%{d4}", "email.example.com"),
        ("%{d2}", "example.com"),
        ("%{d1}", "com"),
        ("%{dr}", "com.example.email"),
        ("%{d2r}", "example.email"),
        ("%{l-}", "strong.bad"),
        ("%{lr-}", "bad.strong"),
        ("%{l1r-}", "strong"),
        ("%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"),
        ("%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com"),
        ("%{d2}.trusted-domains.example.net", "example.com.trusted-domains.example.net"),
        ("%%%_%-", "% %20"),
        ("%{t}%{c}%{h}", "5192.0.2.3mx.example.org"),
    ],
)
def test_macros(text: str, expanded: str) -> None:
    assert expand(text, MACROS) == expanded


def test_macros_of_ipv6() -> None:
    six = Macros("a@b.example", "b.example", "x", ip_address("2001:db8::cb01").packed)
    reversed_nibbles = "1.0.B.C.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.B.D.0.1.0.0.2"
    assert expand("%{ir}.%{v}._spf.%{d2}", six) == f"{reversed_nibbles}.ip6._spf.b.example"


def test_long_names_lose_labels_at_the_left() -> None:
    assert shortened(".".join(["a" * 60] * 5)) == ".".join(["a" * 60] * 4)
    assert shortened("a" * 300) == ""


@given(st.text("v=spf1 all+-~?include:redirect=exp%{}sdliphcrtv/0123456789.ab_", max_size=80))
async def test_whatever_stands_in_a_record(text: str) -> None:
    found = await check_host(b"\xc0\0\2\1", "a.example", "x@a.example", "h", Zones(f"a.example TXT v=spf1 {text}."))
    assert found.result in SpfResult


@given(st.binary(max_size=100))
def test_whatever_octets(data: bytes) -> None:
    try:
        parse_record(b"v=spf1 " + data)
    except SpfSyntaxError as error:
        assert len(str(error)) < 300


@given(st.text("%{}sdlr0123.-+,/_=a", max_size=30))
def test_what_is_checked_can_be_expanded(text: str) -> None:
    try:
        check_domain_spec(text, text)
    except SpfSyntaxError:
        return
    expand(text, MACROS)
