"""From the domain of a recipient to its next hop: MX records, and what somebody chose instead."""

import random
from dataclasses import replace
from pathlib import Path

from mx10.relay.courier.delivery import Limits
from mx10.relay.courier.splitting import domain_of, split
from mx10.relay.courier.transports import parse_transports
from mx10.relay.courier.values import Addressee, End, Fate, Step, TlsPolicy
from mx10.relay.courier.ways import Surroundings, Ways
from tests.relay.scripted import Host, Net, letter
from tests.routing.dns_world import SETTINGS, World

WORLD = """
one.example            MX 10 mx1.host.example.
one.example            MX 20 mx2.host.example.
two.example            MX 5  mx1.host.example.
two.example            MX 6  mx2.host.example.
three.example          MX 10 mx2.host.example.
mx1.host.example       A  192.0.2.1
mx2.host.example       A  192.0.2.2
smarthost.example      A  192.0.2.3
backed.example         MX 10 primary.example.
backed.example         MX 20 relay.example.
primary.example        A  192.0.2.4
relay.example          A  192.0.2.9
loop.example           MX 10 relay.example.
null.example           MX 0  .
broken.example         !  SERVFAIL
"""


def ways(net: Net, *transports: str, tls: TlsPolicy = TlsPolicy.OPPORTUNISTIC) -> Ways:
    return Ways(
        Surroundings(
            "relay.example",
            World(WORLD),
            net.connect,
            net,
            net.clock,
            random.Random(1),
            parse_transports(transports),
            SETTINGS,
            this_host=("relay.example",),
            tls=tls,
            limits=Limits(own_names=frozenset({"relay.example"})),
        )
    )


async def carried(found: Ways, net: Net, *texts: str) -> dict[str, Fate]:
    """A message to some recipients, by way and not by domain."""
    recipients = [Addressee(text, key) for key, text in enumerate(texts)]
    by_domain = await found.all_of(recipients)
    fates: dict[str, Fate] = {}
    for part in split(recipients, lambda each: by_domain[domain_of(each.address)].key):
        way = by_domain[domain_of(part.recipients[0].address)]
        for fate in await found.deliver(way, letter(), part.recipients, arrived=0, listener=net.listen):
            fates[fate.recipient.address] = fate
    return fates


async def test_two_domains_with_the_same_exchangers_are_one_transaction() -> None:
    net = Net({"192.0.2.1": Host(), "192.0.2.2": Host()})
    fates = await carried(ways(net), net, "a@one.example", "b@two.example", "c@three.example")
    assert {fate.end for fate in fates.values()} == {End.DELIVERED}
    assert net.hosts["192.0.2.1"].transactions == [("a", "b")]
    assert net.hosts["192.0.2.2"].transactions == [("c",)]


async def test_this_host_is_left_out() -> None:
    """RFC 5321 section 5.1: a backup hands over to what is better than itself, and never to itself."""
    net = Net({"192.0.2.4": Host()})
    fates = await carried(ways(net), net, "a@backed.example", "b@loop.example")
    assert (fates["a@backed.example"].end, fates["a@backed.example"].host) == (End.DELIVERED, "primary.example")
    assert (fates["b@loop.example"].end, fates["b@loop.example"].enhanced) == (End.FAILED, "5.4.6")


async def test_the_primary_is_down_and_mail_waits() -> None:
    net = Net({})
    fates = await carried(ways(net), net, "a@backed.example")
    assert fates["a@backed.example"].end is End.LATER
    assert net.tried == ["192.0.2.4"]


async def test_what_the_dns_says_of_domains_without_exchangers() -> None:
    net = Net({})
    fates = await carried(ways(net), net, "a@null.example", "b@nowhere.example", "c@broken.example")
    assert [(fate.end, fate.enhanced) for fate in fates.values()] == [
        (End.FAILED, "5.1.10"),
        (End.FAILED, "5.1.2"),
        (End.LATER, "4.4.3"),
    ]


async def test_a_smarthost_for_all_but_one() -> None:
    net = Net({"192.0.2.1": Host(), "192.0.2.3": Host()})
    found = ways(net, "* smtp://smarthost.example:587", "one.example mx:")
    fates = await carried(found, net, "a@one.example", "b@two.example", "c@nowhere.example")
    assert [fate.host for fate in fates.values()] == ["mx1.host.example", "smarthost.example", "smarthost.example"]
    assert net.hosts["192.0.2.3"].transactions == [("b", "c")]


async def test_the_records_of_another_domain() -> None:
    net = Net({"192.0.2.2": Host()})
    fates = await carried(ways(net, "nowhere.example mx:three.example"), net, "a@nowhere.example")
    assert fates["a@nowhere.example"].host == "mx2.host.example"


async def test_a_stricter_policy_is_another_way() -> None:
    net = Net({"192.0.2.1": Host(), "192.0.2.2": Host()})
    found = ways(net, "two.example mx: tls=encrypted")
    assert (await found.of("one.example")).key != (await found.of("two.example")).key
    await carried(found, net, "a@one.example", "b@two.example")
    assert net.hosts["192.0.2.1"].opened == [TlsPolicy.OPPORTUNISTIC, TlsPolicy.ENCRYPTED]


async def test_a_maildir_by_domain(tmp_path: Path) -> None:
    (tmp_path / "home.example" / "bob").mkdir(parents=True)
    net = Net({})
    found = ways(net, f"home.example maildir:{tmp_path}/{{domain}}/{{local}}")
    fates = await carried(found, net, "bob@home.example", "eve@home.example")
    assert [(fate.end, fate.final) for fate in fates.values()] == [(End.DELIVERED, True), (End.FAILED, False)]
    assert [step.text.partition(":")[0] for step in net.steps] == ["delivered", "failed"]


async def test_an_address_without_a_domain_is_kept() -> None:
    net = Net({})
    fates = await carried(ways(net), net, "postmaster")
    assert fates["postmaster"].end is End.LATER


async def test_an_address_literal() -> None:
    net = Net({"192.0.2.2": Host()})
    fates = await carried(ways(net), net, "a@[192.0.2.2]")
    assert (fates["a@[192.0.2.2]"].end, fates["a@[192.0.2.2]"].host) == (End.DELIVERED, "[192.0.2.2]")


async def test_a_route_that_is_old_is_shuffled_anew() -> None:
    net = Net({"192.0.2.1": Host(), "192.0.2.2": Host()})
    found = ways(net)
    way = await found.of("one.example")
    assert way.route is not None
    both = tuple(one for group in way.route.groups for one in group.exchangers)
    way = replace(way, route=replace(way.route, groups=(replace(way.route.groups[0], exchangers=both),)))
    steps: list[Step] = []
    for number in range(40):
        await found.deliver(way, letter(), [Addressee(f"u{number}@one.example")], arrived=0, listener=steps.append)
    assert 8 < len(net.hosts["192.0.2.1"].transactions) < 32
