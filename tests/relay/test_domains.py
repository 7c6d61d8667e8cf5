"""Which domains we take mail for, without being told of them one by one."""

from dataclasses import replace
from pathlib import Path

import pytest

from mx10.relay.courier.transports import parse_transports
from mx10.relay.domains import REMEMBERED_MS, OurDomains
from mx10.relay.spool.opening import open_spool
from tests.relay.running import Client, relay_config, relaying
from tests.routing.dns_world import World, name, serving

PUBLISHED = """
ours.example MX 10 mx1.ours.example.
ours.example MX 20 MX.mx10.test.
sub.ours.example MX 10 mx1.ours.example.
sub.ours.example MX 10 mx2.ours.example.
sub.ours.example MX 30 mx.mx10.test.
alone.example MX 10 mx.mx10.test.
first.example MX 5 mx.mx10.test.
first.example MX 10 mx1.ours.example.
equal.example MX 10 mx.mx10.test.
equal.example MX 10 mx1.ours.example.
others.example MX 10 mx1.ours.example.
none.example TXT x
slow.example ! timeout
broken.example ! SERVFAIL from 192.0.2.53
"""


@pytest.fixture
def published(tmp_path: Path) -> tuple[OurDomains, World, list[int]]:
    world, now = World(PUBLISHED), [0]
    store = open_spool(relay_config(tmp_path), create=True).store
    names = frozenset({name("mx.mx10.test")})
    return OurDomains((), parse_transports(()), names, store, world, lambda: now[0]), world, now


@pytest.mark.parametrize(
    ("domain", "ours"),
    [
        ("ours.example", True),
        ("sub.ours.example", True),
        ("alone.example", False),
        ("first.example", False),
        ("equal.example", False),
        ("others.example", False),
        ("none.example", False),
        ("elsewhere.example", False),
        ("ours.example.elsewhere.example", False),
    ],
)
async def test_what_we_publish_behind_a_better_exchanger_is_ours(
    published: tuple[OurDomains, World, list[int]], domain: str, ours: bool
) -> None:
    domains, _, _ = published
    assert domains(domain) is None
    assert await domains.ask(domain) is ours
    assert domains(domain) is ours


async def test_what_is_published_is_asked_for_again(published: tuple[OurDomains, World, list[int]]) -> None:
    domains, world, now = published
    assert await domains.ask("ours.example")
    del world.records[name("ours.example"), 15]
    assert domains("ours.example") is True
    now[0] += REMEMBERED_MS + 1
    assert domains("ours.example") is None
    assert await domains.ask("ours.example") is False


async def test_a_relay_that_is_told_of_no_domain(tmp_path: Path) -> None:
    with serving(World(PUBLISHED)) as address:
        config = relay_config(tmp_path, domains=(), backup_published=True)
        config = replace(config, nameserver=replace(config.nameserver, listen=(address,)))
        async with relaying(config) as (_, port), Client.to(port) as client:
            await client.ask("MAIL FROM:<ann@client.example>")
            assert (await client.ask("RCPT TO:<ada@OURS.example>")).startswith("250 2.1.5")
            for refused in ("alone", "first", "equal", "others", "none", "elsewhere"):
                assert (await client.ask(f"RCPT TO:<ada@{refused}.example>")).startswith("550 5.7.1"), refused
            # Our own nameserver says nothing: that is no refusal.
            assert (await client.ask("RCPT TO:<ada@slow.example>")).startswith("451 4.4.3")
