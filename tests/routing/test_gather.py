"""What is asked, and how much at once."""

import asyncio
from dataclasses import replace

import pytest

from mx10.routing import route, route_sync
from mx10.routing.gather import Questions, gather
from mx10.routing.hosts import HostSyntaxError, hosts_from_text
from mx10.routing.values import Result
from tests.routing.dns_world import SETTINGS, World, destination, found

HUNDRED = "\n".join(f"example.org MX 10 mx{at}.example.org.\nmx{at}.example.org A 192.0.2.{at}" for at in range(100))


def asked(world: str, to: str = "example.org", also: tuple[str, ...] = ()) -> set[tuple[str, str]]:
    dns = World(world)
    asyncio.run(gather(destination(to), Questions(dns, 64), SETTINGS, hosts_from_text(also).names))
    assert len(dns.asked) == len(set(dns.asked)), "nothing twice"
    return set(dns.asked)


def both(*names: str) -> set[tuple[str, str]]:
    return {(name, rrtype) for name in names for rrtype in ("A", "AAAA")}


MX = ("example.org", "MX")


def test_the_addresses_of_every_exchanger_and_not_of_the_domain() -> None:
    world = "example.org MX 1 a.example.org.\nexample.org MX 2 b.example.org.\nexample.org MX 2 A.EXAMPLE.org."
    assert asked(world) == {MX} | both("a.example.org", "b.example.org")


def test_the_domain_itself_only_where_there_is_no_mx() -> None:
    assert asked("example.org A 192.0.2.1") == {MX} | both("example.org")
    assert asked("example.org CNAME x.example.org.\nx.example.org A 192.0.2.1") == {MX} | both("x.example.org")


@pytest.mark.parametrize("records", ["example.org MX 0 .", "example.net A 192.0.2.1", "example.org ! SERVFAIL"])
def test_nothing_more_where_it_would_not_help(records: str) -> None:
    assert asked(records) == {MX}


def test_no_name_that_cannot_have_addresses() -> None:
    world = (
        "example.org MX 1 192.0.2.1.\nexample.org MX 2 localhost.\nexample.org MX 3 .\nexample.org MX 4 a.example.org."
    )
    assert asked(world) == {MX} | both("a.example.org")


def test_hosts_that_matter_besides() -> None:
    world = "example.org MX 1 a.example.org."
    assert asked(world, also=("b.example.net", "192.0.2.1", "a.example.org")) == {MX} | both(
        "a.example.org", "b.example.net"
    )
    assert asked(world, "[192.0.2.1]", also=("b.example.net",)) == both("b.example.net")


def test_all_addresses_at_once_and_no_more_than_allowed() -> None:
    for at_once in (1, 7, 64, 1000):
        dns = World(HUNDRED)
        asyncio.run(gather(destination("example.org"), Questions(dns, at_once), SETTINGS))
        assert len(dns.asked) == 201
        assert dns.most == min(at_once, 200)


def test_no_more_exchangers_than_the_limit() -> None:
    findings = found(HUNDRED, settings=replace(SETTINGS, exchanger_limit=5))
    assert len(findings.hosts) == 5


async def test_route_for_programs() -> None:
    world = World("example.org MX 10 mx.example.org.\nmx.example.org A 192.0.2.1")
    found = await route("Ada@Example.ORG", resolver=world, settings=SETTINGS)
    assert found.result is Result.ROUTABLE
    assert [address.text for _, address in found.attempts()] == ["192.0.2.1"]
    assert str(found) == "Ada@Example.ORG: mx.example.org[192.0.2.1]"
    gone = await route("example.net", resolver=world, settings=SETTINGS)
    assert str(gone) == "example.net: 5.1.2 example.net does not exist"


def test_route_sync_for_programs() -> None:
    world = World("example.org MX 10 mx.example.org.\nmx.example.org A 192.0.2.1")
    found = route_sync(
        "ada@example.org", resolver=world, settings=SETTINGS, down=["mx.example.org"], this_host=["x.test"]
    )
    assert found.verdict.code == "4.4.1"
    assert found.down == ("mx.example.org",)


@pytest.mark.parametrize(
    "text", ["", "@", "a@", "@example.org", "exa mple.org", "a@[192.0.2]", "a..b@example.org", "x" * 70]
)
def test_what_is_no_destination(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no |is empty"):
        route_sync(text, resolver=World(""))


@pytest.mark.parametrize("text", ["", "192.0.2.0/33", "192.0.2.1/24", "a b", "/"])
def test_what_is_no_host(text: str) -> None:
    with pytest.raises(HostSyntaxError):
        hosts_from_text([text])
