"""Looking up for programs: names as typed, values that can be read, and never more questions at once than allowed."""

import asyncio
import json
from dataclasses import FrozenInstanceError

import pytest

import mx10
from mx10.dns import rrtypes as rr
from mx10.dns.message import Record
from mx10.dns.wirename import ROOT, fold, from_text, to_text
from mx10.names import DomainError
from mx10.resolver.answer import Answer, Status
from mx10.resolver.asking import Server, Transport
from mx10.resolver.lookup import (
    EXCHANGERS,
    Looker,
    Lookup,
    RecordTypeError,
    candidates,
    lookup,
    lookup_sync,
    record_type,
    wanted_from_text,
)
from mx10.resolver.resolvconf import ResolvConf
from mx10.resolver.servers import Named, ServerError, ServerNotFoundError, find, server_from_text
from tests.resolver.internet import name, record


class World:
    """A resolver that knows some records, and fails for some names."""

    def __init__(self, *known: str, failing: tuple[str, ...] = ()) -> None:
        self.known = [record(text) for text in known]
        self.failing = {name(text) for text in failing}
        self.asked: list[str] = []
        self.open = self.most = 0

    async def resolve(self, wire: bytes, rrtype: int) -> Answer:
        self.asked.append(f"{to_text(wire)} {rr.type_to_text(rrtype)}")
        self.open += 1
        self.most = max(self.most, self.open)
        await asyncio.sleep(0)
        self.open -= 1
        if wire in self.failing:
            return Answer(wire, rrtype, Status.FAILURE, reason="no answer from 192.0.2.53 in 3 s")
        at = [one for one in self.known if fold(one.name) == wire]
        found = tuple(one for one in at if one.type == rrtype)
        if found:
            return Answer(wire, rrtype, Status.OK, found, ttl=3600, server="192.0.2.53", rcode=0, section=found)
        return Answer(wire, rrtype, Status.NODATA if at else Status.NXDOMAIN, ttl=300, server="192.0.2.53")


WORLD = (
    "example. MX 20 mx2.example.",
    "example. MX 10 MX1.example.",
    "example. MX 30 gone.example.",
    "mx1.example. A 192.0.2.1",
    "mx1.example. AAAA 2001:db8::1",
    "mx2.example. AAAA 2001:db8::2",
)


async def test_mx_with_addresses_in_order_of_preference() -> None:
    (found,) = await lookup("Example", resolver=World(*WORLD))
    assert (found.asked, found.name, found.type, found.status) == ("Example", "example", "MX", Status.OK)
    assert found.data == ("20 mx2.example.", "10 MX1.example.", "30 gone.example.")
    assert [(one.preference, one.name, one.addresses, one.status) for one in found.exchangers] == [
        (10, from_text("MX1.example"), ("192.0.2.1", "2001:db8::1"), Status.OK),
        (20, from_text("mx2.example"), ("2001:db8::2",), Status.OK),
        (30, from_text("gone.example"), (), Status.NXDOMAIN),
    ]
    assert str(found) == "example MX: 20 mx2.example., 10 MX1.example., 30 gone.example."


async def test_a_failure_is_never_an_absence() -> None:
    world = World("example. MX 10 mx.example.", "mx.example. TXT x", failing=("mx.example.", "lame."))
    here, lame = await lookup(["example", "lame"], resolver=world)
    assert here.exchangers[0].status is Status.FAILURE
    assert here.exchangers[0].reason == "no answer from 192.0.2.53 in 3 s"
    assert lame.status is Status.FAILURE
    assert str(lame) == "lame MX: no answer from 192.0.2.53 in 3 s"


async def test_a_null_mx_is_asked_nothing() -> None:
    world = World("example. MX 0 .")
    (found,) = await lookup("example", resolver=world)
    assert (found.exchangers[0].name, found.exchangers[0].status) == (ROOT, None)
    assert world.asked == ["example. MX"]


async def test_every_name_and_type_in_order() -> None:
    found = await lookup(["example", "mx1.example."], ["AAAA", "a", "TYPE1"], resolver=World(*WORLD))
    assert [(one.name, one.type, one.status) for one in found] == [
        ("example", "AAAA", Status.NODATA),
        ("example", "A", Status.NODATA),
        ("mx1.example", "AAAA", Status.OK),
        ("mx1.example", "A", Status.OK),
    ]


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("192.0.2.1", "1.2.0.192.in-addr.arpa. PTR"),
        ("[192.0.2.1]", "1.2.0.192.in-addr.arpa. PTR"),
        ("2001:DB8::1", f"1.{'0.' * 23}8.b.d.0.1.0.0.2.ip6.arpa. PTR"),
        ("[::1]", f"1.{'0.' * 31}ip6.arpa. PTR"),
        ("1.2.0.192.in-addr.arpa", "1.2.0.192.in-addr.arpa. PTR"),
    ],
)
async def test_addresses_have_names(text: str, asked: str) -> None:
    world = World()
    await lookup(text, reverse=True, resolver=world)
    assert world.asked == [asked]


@pytest.mark.parametrize("text", ["example.org", "192.0.2", "fe80::1%eth0", "192.0.2.256", ""])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(DomainError):
        wanted_from_text(text, reverse=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("host", ["host.corp.example.", "host.example.", "host."]),
        ("host.", ["host."]),
        ("host\u3002", ["host."]),
        ("a.host", ["a.host."]),
        ("192.0.2.1", ["1.2.0.192.in-addr.arpa."]),
    ],
)
def test_short_names_and_the_search_list(text: str, expected: list[str]) -> None:
    system = ResolvConf(search=("corp.example", "bad..domain", "x" * 64, "example", "example."))
    assert [to_text(one) for one in candidates(wanted_from_text(text), system)] == expected
    assert len(candidates(wanted_from_text(text), None)) == 1


def test_ndots() -> None:
    system = ResolvConf(search=("example",), ndots=2)
    assert len(candidates(wanted_from_text("a.b"), system)) == 2
    assert len(candidates(wanted_from_text("a.b.c"), system)) == 1
    assert len(candidates(wanted_from_text("a"), ResolvConf(search=("example",), ndots=0))) == 1


async def test_the_search_ends_at_the_first_name_there_is() -> None:
    system = ResolvConf(search=("a.example", "b.example"))
    world = World("host.b.example. A 192.0.2.1")
    (found,) = await Looker(world, system=system).look_up(wanted_from_text("host"))
    assert (found.name, found.status) == ("host.b.example", Status.NODATA)
    assert world.asked == ["host.a.example. MX", "host.b.example. MX"]
    (found,) = await Looker(World(), system=system).look_up(wanted_from_text("host"))
    assert (found.name, found.status) == ("host", Status.NXDOMAIN)


async def test_the_search_ends_at_a_failure() -> None:
    """What stands behind it would be the answer to another question."""
    system = ResolvConf(search=("a.example", "b.example"))
    world = World("host.b.example. MX 10 mx.b.example.", failing=("host.a.example.",))
    (found,) = await Looker(world, system=system).look_up(wanted_from_text("host"))
    assert (found.name, found.status) == ("host.a.example", Status.FAILURE)


async def test_so_many_questions_at_once_and_no_more() -> None:
    world = World(*(f"{n}.example. MX 10 mx{n}.example." for n in range(100)))
    found = await Looker(world, at_once=7).look_up(wanted_from_text("1.example"))
    assert found
    world.most = 0
    await asyncio.gather(
        *(
            Looker.look_up(looker, wanted_from_text(f"{n}.example"))
            for looker in [Looker(world, at_once=7)]
            for n in range(100)
        )
    )
    assert world.most == 7


async def test_a_crowd_of_exchangers_is_not_asked_for_them_all() -> None:
    world = World(*(f"example. MX {n} mx{n}.example." for n in range(3 * EXCHANGERS)))
    (found,) = await lookup("example", resolver=world)
    assert len(found.exchangers) == 3 * EXCHANGERS
    assert len(world.asked) == 1 + 2 * EXCHANGERS
    assert found.exchangers[-1].status is None
    assert "only those of the first" in found.exchangers[-1].reason


async def test_values_are_frozen_and_json_is_text() -> None:
    (found,) = await lookup(
        "bücher.example", "NS", resolver=World("xn--bcher-kva.example. NS ns.xn--bcher-kva.example.")
    )
    with pytest.raises(FrozenInstanceError):
        found.asked = "x"  # type: ignore[misc]
    shown = json.loads(json.dumps(found.to_json()))
    assert (shown["asked"], shown["name"], shown["unicode"]) == (
        "bücher.example",
        "xn--bcher-kva.example",
        "bücher.example",
    )
    assert shown["records"] == [
        {"name": "xn--bcher-kva.example", "type": "NS", "ttl": 3600, "data": "ns.xn--bcher-kva.example."}
    ]


def test_blocking() -> None:
    (found,) = lookup_sync("example", resolver=World(*WORLD))
    assert isinstance(found, Lookup)
    assert mx10.lookup is lookup
    assert mx10.lookup_sync is lookup_sync


@pytest.mark.parametrize("text", ["", "MXX", "TYPE65536", "AXFR", "OPT", "TSIG", "ixfr", "TYPE252"])
def test_types_that_cannot_be(text: str) -> None:
    with pytest.raises(RecordTypeError):
        record_type(text)


def test_errors_come_before_any_question() -> None:
    world = World()
    for names, types in ((["ok", "bad..name"], ()), (["ok"], ("NOTYPE",))):
        with pytest.raises(ValueError, match="is no"):
            lookup_sync(names, types, resolver=world)
    assert not world.asked


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.1", Named("192.0.2.1", None, None)),
        ("192.0.2.1:5300", Named("192.0.2.1", None, 5300)),
        ("2001:db8::1", Named("2001:db8::1", None, None)),
        ("[2001:DB8::1]", Named("2001:db8::1", None, None)),
        ("[::1]:53", Named("::1", None, 53)),
        ("[192.0.2.1]:53", Named("192.0.2.1", None, 53)),
        ("NS1.example", Named(None, name("ns1.example."), None)),
        ("ns1.bücher.example:53", Named(None, name("ns1.xn--bcher-kva.example."), 53)),
    ],
)
def test_servers_as_people_write_them(text: str, expected: Named) -> None:
    assert server_from_text(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":53",
        "192.0.2.1:",
        "192.0.2.1:0",
        "192.0.2.1:65536",
        "192.0.2.1:x",
        "[::1]x",
        "[::1",
        "[ns1.example]",
        "a b",
        "1:2:x",
    ],
)
def test_what_is_no_server(text: str) -> None:
    with pytest.raises(ServerError):
        server_from_text(text)


async def test_a_server_by_name() -> None:
    world = World("ns.example. A 192.0.2.1", "ns.example. AAAA 2001:db8::1", "none.example. MX 0 .", failing=("lame.",))
    found = await find(server_from_text("ns.example"), Transport.TLS, world)
    assert found == [
        Server("192.0.2.1", 853, Transport.TLS, "ns.example"),
        Server("2001:db8::1", 853, Transport.TLS, "ns.example"),
    ]
    assert (await find(server_from_text("ns.example"), Transport.TCP, world, 5300))[0].port == 5300
    assert (await find(server_from_text("ns.example:9"), Transport.HTTPS, world))[0].port == 9
    for text, reason in (("none.example", "no address"), ("gone.example", "no such name"), ("lame", "no answer from")):
        with pytest.raises(ServerNotFoundError, match=reason):
            await find(server_from_text(text), Transport.UDP, world)


def test_any_record_can_be_shown() -> None:
    """Data that is not of its type is written as RFC 3597 has it."""
    odd = Record(name("x."), rr.SRV, rr.IN, 5, b"\1")
    assert Lookup("x", Answer(name("x."), rr.SRV, Status.OK, (odd,))).data == ("\\# 1 01",)
