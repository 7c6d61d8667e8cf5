"""Rules of the door about clients: names by reverse DNS, what they call themselves, lists in the DNS."""

import asyncio
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mx10.config.settings import DoorSettings
from mx10.dns import rrtypes as rr
from mx10.dns import wirename
from mx10.dns.message import Record
from mx10.relay.door import asked as asked_module
from mx10.relay.door.asked import LONGEST_SECONDS, SHORTEST_SECONDS, Asked, reverse_name
from mx10.relay.door.dnsbl import MAX_LISTS, TEST_MS, DnsblError, DnsLists, is_listing, parse_lists
from mx10.relay.door.hello import HelloRules, fault_of
from mx10.relay.door.reverse import ClientName, ReverseNames, Standing, confirm
from mx10.relay.door.values import Decision, Refused, Visitor
from mx10.resolver.answer import Answer, Status
from mx10.routing.addresses import from_text, network_from_text
from mx10.smtp.syntax import MailParameters
from tests.routing.dns_world import TEST_NETWORKS, World, name

NOW = 1_800_000_000_000
MAIL = MailParameters("a@example.com")
PUBLIC = [network_from_text(each) for each in TEST_NETWORKS]


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        return self.now


class Slow(World):
    """Keeps silent about everything below some names until it is let go."""

    def __init__(self, text: str, *silent: str) -> None:
        super().__init__(text)
        self.silent = tuple(map(name, silent))
        self.go = asyncio.Event()

    async def resolve(self, name: bytes, rrtype: int) -> Answer:
        if any(wirename.is_under(name, each) for each in self.silent):
            await self.go.wait()
        return await super().resolve(name, rrtype)


def octets(text: str) -> bytes:
    found = from_text(text)
    assert found is not None
    return found


def visitor(address: str = "192.0.2.1", helo: str = "client.example.net", **more: Any) -> Visitor:
    return Visitor(octets(address), 4711, "192.0.2.25:25", more.pop("kind", "mx"), helo=helo, **more)


async def said(decision: Decision) -> str:
    refused = decision if decision is None or isinstance(decision, Refused) else await decision
    if refused is None:
        return ""
    assert len(refused.reply.octets()) <= 400
    assert re.fullmatch("dnsbl|helo-(syntax|unknown|unsure)|ptr-(none|unconfirmed|unsure)", refused.what)
    return str(refused.reply)


# Asking


async def test_one_question_for_many_who_wait_and_none_who_leaves_ends_it() -> None:
    count, go = 0, asyncio.Event()

    async def ask(key: str) -> tuple[str, float]:
        nonlocal count
        count += 1
        await go.wait()
        return key.upper(), 300

    clock = Clock()
    asked = Asked(ask, "?", 5.0, clock)
    waiting = [asyncio.create_task(asked.find("a")) for _ in range(10)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    go.set()
    assert await asyncio.gather(*waiting[1:]) == ["A"] * 9
    assert waiting[0].cancelled()
    assert (count, asked.open, asked.known("a")) == (1, 0, "A")
    clock.now += 300_000
    assert asked.known("a") is None


async def test_nobody_waits_longer_than_it_may_take_and_a_fault_counts_as_no_answer() -> None:
    async def never(key: str) -> tuple[str, float]:
        await asyncio.Event().wait()
        return "", 0

    async def fails(key: str) -> tuple[str, float]:
        raise ValueError("nonsense")

    clock = Clock()
    assert await Asked(never, "?", 0.01, clock).find("a") == "?"
    asked = Asked(fails, "?", 1.0, clock)
    assert await asked.find("a") == "?"
    clock.now += SHORTEST_SECONDS * 1000 - 1
    assert asked.known("a") == "?"


async def test_nothing_is_asked_after_the_end() -> None:
    async def never(key: str) -> tuple[str, float]:
        await asyncio.Event().wait()
        return "", 0

    asked = Asked(never, "?", 100.0, Clock())
    waiting = asyncio.create_task(asked.find("a"))
    await asyncio.sleep(0)
    asked.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert asked.open == 0


async def test_no_more_questions_than_there_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asked_module, "UNDER_WAY", 3)
    go = asyncio.Event()

    async def ask(key: int) -> tuple[int, float]:
        await go.wait()
        return key, 300

    asked = Asked(ask, -1, 5.0, Clock())
    begun = [asked.begin(key) for key in range(5)]
    assert [each is not None for each in begun] == [True, True, True, False, False]
    assert await asked.find(4) == -1
    go.set()
    assert await asked.find(1) == 1
    assert await asked.find(4) == 4


async def test_how_long_answers_are_kept() -> None:
    for ttl, kept in ((0, SHORTEST_SECONDS), (300, 300), (1 << 31, LONGEST_SECONDS)):

        async def ask(key: str, ttl: int = ttl) -> tuple[str, float]:
            return "x", ttl

        clock = Clock()
        asked = Asked(ask, "?", 1.0, clock)
        await asked.find("a")
        clock.now += kept * 1000 - 1
        assert asked.known("a") == "x"
        clock.now += 1
        assert asked.known("a") is None


def test_names_of_addresses() -> None:
    zone = name("list.example.")
    assert reverse_name(octets("192.0.2.99"), zone) == name("99.2.0.192.list.example.")
    assert reverse_name(octets("2001:db8::567:89ab"), zone) == name(
        "b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.list.example."
    )


# Reverse DNS

NAMES = """
1.2.0.192.in-addr.arpa  PTR client.example.net.
client.example.net      A 192.0.2.1
2.2.0.192.in-addr.arpa  PTR wrong.example.net.
2.2.0.192.in-addr.arpa  PTR right.example.net.
wrong.example.net       A 192.0.2.77
right.example.net       A 192.0.2.77
right.example.net       A 192.0.2.2
3.2.0.192.in-addr.arpa  PTR claims.example.com.
claims.example.com      A 192.0.2.77
4.2.0.192.in-addr.arpa  PTR gone.example.com.
5.2.0.192.in-addr.arpa  !PTR SERVFAIL
6.2.0.192.in-addr.arpa  PTR broken.example.com.
broken.example.com      !A SERVFAIL
7.2.0.192.in-addr.arpa  PTR broken.example.com.
7.2.0.192.in-addr.arpa  PTR seven.example.com.
seven.example.com       A 192.0.2.7
8.2.0.192.in-addr.arpa  CNAME 8.0/25.2.0.192.in-addr.arpa.
8.0/25.2.0.192.in-addr.arpa PTR eight.example.com.
eight.example.com       A 192.0.2.8
1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa PTR six.example.net.
six.example.net         AAAA 2001:db8::1
six.example.net         A 192.0.2.9
"""


@pytest.mark.parametrize(
    ("address", "standing", "found"),
    [
        ("192.0.2.1", "confirmed", "client.example.net"),
        ("192.0.2.2", "confirmed", "right.example.net"),
        ("192.0.2.3", "unconfirmed", "claims.example.com"),
        ("192.0.2.4", "unconfirmed", "gone.example.com"),
        ("192.0.2.5", "unsure", ""),
        ("192.0.2.6", "unsure", "broken.example.com"),
        ("192.0.2.7", "confirmed", "seven.example.com"),
        ("192.0.2.8", "confirmed", "eight.example.com"),
        ("192.0.2.9", "none", ""),
        ("2001:db8::1", "confirmed", "six.example.net"),
        ("2001:db8::2", "none", ""),
    ],
)
async def test_names_confirmed(address: str, standing: str, found: str) -> None:
    got, seconds = await confirm(octets(address), World(NAMES))
    assert got == ClientName(Standing(standing), found)
    assert seconds >= 0


@pytest.mark.parametrize(
    "odd",
    [
        b"\x0ebad\r\nX-Evil: 1\x03com\x00",
        b"\x04a b)\x03com\x00",
        b"\x03\xc3\xa4b\x03com\x00",
        b"\x09localhost\x00",
        b"\x00",
        b"\x04-x-y\x03com\x00",
    ],
)
async def test_whoever_has_an_address_writes_what_he_likes_into_its_name(odd: bytes) -> None:
    world = World("")
    owner = name("1.2.0.192.in-addr.arpa")
    world.records[owner, rr.PTR] = [Record(owner, rr.PTR, 1, 300, odd)]
    world.records[odd.lower(), rr.A] = [Record(odd, rr.A, 1, 300, octets("192.0.2.1"))]
    got, _ = await confirm(octets("192.0.2.1"), world)
    assert got == ClientName(Standing.UNCONFIRMED)
    client = visitor()
    rules = ReverseNames(DoorSettings(ptr="confirmed"), world, Clock())
    assert await said(rules.recipient(client, MAIL, "x@example.org")) == (
        "550 5.7.25 the PTR record of your address 192.0.2.1 names no host: have it mended"
    )
    assert client.name == ""


async def test_an_address_with_thousands_of_names_is_not_followed_to_all() -> None:
    lines = [f"1.2.0.192.in-addr.arpa PTR host{number}.example.net." for number in range(1000)]
    world = World("\n".join(lines))
    await confirm(octets("192.0.2.1"), world)
    assert len(world.asked) == 11


@pytest.mark.parametrize(
    ("rule", "address", "starts"),
    [
        ("show", "192.0.2.1", ""),
        ("show", "192.0.2.3", ""),
        ("show", "192.0.2.5", ""),
        ("show", "192.0.2.9", ""),
        ("exists", "192.0.2.1", ""),
        ("exists", "192.0.2.3", ""),
        ("exists", "192.0.2.6", ""),
        ("exists", "192.0.2.5", "450 4.7.25 the name of your address 192.0.2.5 cannot be looked up now"),
        ("exists", "192.0.2.9", "550 5.7.25 your address 192.0.2.9 has no name: have whoever runs the network set a"),
        ("confirmed", "192.0.2.1", ""),
        (
            "confirmed",
            "192.0.2.3",
            "550 5.7.25 your address 192.0.2.3 is called claims.example.com (PTR), but that name does not have this"
            " address: let its A records name it",
        ),
        ("confirmed", "192.0.2.6", "450 4.7.25 "),
        ("confirmed", "192.0.2.9", "550 5.7.25 "),
    ],
)
async def test_rules_for_names(rule: Any, address: str, starts: str) -> None:
    rules = ReverseNames(DoorSettings(ptr=rule), World(NAMES), Clock())
    client = visitor(address)
    rules.connect(client)
    got = await said(rules.recipient(client, MAIL, "x@example.org"))
    assert got.startswith(starts)
    assert bool(got) == bool(starts)
    assert client.name == ("client.example.net" if address == "192.0.2.1" else "")
    # Known by now; and postmasters hear of everybody.
    again = rules.recipient(visitor(address), MAIL, "x@example.org")
    assert await said(again) == got
    assert isinstance(again, Refused | None)
    assert rules.recipient(visitor(address), MAIL, "Postmaster@example.org") is None


async def test_users_and_trusted_networks_are_not_asked_about() -> None:
    world = World(NAMES)
    rules = ReverseNames(DoorSettings(ptr="confirmed"), world, Clock())
    for client in (visitor("192.0.2.9", trusted=True), visitor("192.0.2.9", kind="submission", user="ann")):
        rules.connect(client)
        assert rules.recipient(client, MAIL, "x@example.org") is None
    assert world.asked == []


# HELO

OWN = {"mx.example.org", "192.0.2.25", "2001:db8::25"}


@pytest.mark.parametrize(
    ("helo", "fault"),
    [
        ("client.example.net", ""),
        ("client.example.net.", ""),
        ("my_pc.example.net", ""),
        ("xn--mnchen-3ya.example", ""),
        ("1.example", ""),
        ("[192.0.2.1]", ""),
        ("[192.0.2.2]", "which is not the address that you come from"),
        ("[192.0.2.25]", "which is our own address"),
        ("[IPv6:2001:db8::25]", "which is our own address"),
        ("[IPv6:::ffff:192.0.2.1]", ""),
        ("[192.0.2.1", "which is no address literal"),
        ("[nonsense]", "which is no address literal"),
        ("192.0.2.1", "which is an address: addresses stand in brackets"),
        ("2001:db8::1", "which is an address"),
        ("mx.example.org", "which is our own name"),
        ("MX.Example.ORG.", "which is our own name"),
        ("localhost", "which has no dot"),
        ("-x.example", "which is no name of a host"),
        ("a..example", "which is no name of a host"),
        ("a.example..", "which is no name of a host"),
        (".example.net", "which is no name of a host"),
        ("a;b.example", "which is no name of a host"),
        ("x" * 64 + ".example", "which is no name of a host"),
        ("x." * 127 + "example", "which is no name of a host"),
        ("", "which has no dot"),
    ],
)
def test_what_clients_call_themselves(helo: str, fault: str) -> None:
    found = fault_of(helo, octets("192.0.2.1"), OWN)
    assert found.startswith(fault)
    assert bool(found) == bool(fault)


def test_ipv6_literals() -> None:
    assert fault_of("[IPv6:2001:DB8::1]", octets("2001:db8::1"), OWN) == ""
    assert fault_of("[IPv6:2001:db8::2]", octets("2001:db8::1"), OWN)


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=255))
def test_whatever_clients_call_themselves(helo: str) -> None:
    fault_of(helo, octets("192.0.2.1"), OWN)


HELLO = """
client.example.net  A 192.0.2.77
mail.example.net    MX 10 elsewhere.example.
six.example.net     AAAA 2001:db8::9
text.example.net    TXT nothing
broken.example.net  ! SERVFAIL
half.example.net    A 192.0.2.1
half.example.net    !MX SERVFAIL
"""


@pytest.mark.parametrize(
    ("helo", "starts"),
    [
        ("client.example.net", ""),  # not the client's address: RFC 5321 section 4.1.4
        ("mail.example.net", ""),
        ("six.example.net", ""),
        ("half.example.net", ""),
        ("[192.0.2.1]", ""),
        (
            "text.example.net",
            "550 5.7.1 you call yourself text.example.net (HELO or EHLO), which has neither addresses",
        ),
        ("none.example.net", "550 5.7.1 you call yourself none.example.net"),
        ("broken.example.net", "450 4.7.1 you call yourself broken.example.net (HELO or EHLO), which cannot be looked"),
        ("mx.example.org", "550 5.7.1 you call yourself mx.example.org (HELO or EHLO), which is our own name"),
        ("xn--0.example", "550 5.7.1 "),
        ("x" * 255, "550 5.7.1 "),
    ],
)
async def test_names_have_to_exist_where_that_is_wanted(helo: str, starts: str) -> None:
    rules = HelloRules(DoorSettings(helo="resolves"), OWN, World(HELLO), Clock())
    client = visitor(helo=helo)
    rules.mail(client, MAIL)
    got = await said(rules.recipient(client, MAIL, "x@example.org"))
    assert got.startswith(starts)
    assert bool(got) == bool(starts)
    assert await said(rules.recipient(client, MAIL, "x@example.org")) == got
    assert rules.recipient(client, MAIL, "abuse@example.org") is None
    assert rules.recipient(replace(client, user="ann"), MAIL, "x@example.org") is None


async def test_syntax_alone_asks_nothing() -> None:
    world = World(HELLO)
    rules = HelloRules(DoorSettings(helo="syntax"), OWN, world, Clock())
    client = visitor(helo="none.example.net")
    rules.mail(client, MAIL)
    assert rules.recipient(client, MAIL, "x@example.org") is None
    assert (await said(rules.recipient(visitor(helo="friend"), MAIL, "x@example.org"))).endswith(
        "(RFC 5321 section 2.3.5)"
    )
    assert world.asked == []


# Lists

LISTS = """
1.2.0.192.zen.example     A 127.0.0.2
1.2.0.192.zen.example     A 127.0.0.10
1.2.0.192.zen.example     TXT https://zen.example/192.0.2.1
2.2.0.192.zen.example     A 127.0.0.11
2.2.0.192.good.example    A 127.0.9.1
3.2.0.192.zen.example     A 127.255.255.254
4.2.0.192.zen.example     A 198.51.100.1
5.2.0.192.zen.example     A 127.0.0.1
6.2.0.192.zen.example     ! SERVFAIL
1.2.0.192.all.example     A 127.0.0.2
1.0.0.127.all.example     A 127.0.0.2
1.2.0.192.other.example   A 127.0.0.5
1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.zen.example A 127.0.0.3
"""


def lists(*lines: str, world: World | None = None, clock: Clock | None = None, **settings: Any) -> DnsLists:
    return DnsLists(
        DoorSettings(dnsbl=lines, **settings), parse_lists(lines), world or World(LISTS), clock or Clock(), PUBLIC
    )


def test_lines_of_lists() -> None:
    zen, other = parse_lists(["zen.example=127.0.0.[2,3]=3", "other.example", " ZEN.example.=127.0.0.10-11=-2 "])
    assert (zen.name, other.name) == ("zen.example", "other.example")
    assert [rule.points for rule in zen.rules] == [3, -2]
    answers = [octets(f"127.0.0.{number}") for number in range(13)]
    assert [zen.points([each]) for each in answers] == [0, 0, 3, 3, 0, 0, 0, 0, 0, 0, -2, -2, 0]
    assert zen.points(answers) == 1
    assert other.points(answers) == 1
    assert parse_lists(["x.example=127.0-1.[3].4=2"])[0].points([octets("127.1.3.4")]) == 2


@pytest.mark.parametrize(
    "line",
    [
        "",
        ".",
        "=3",
        "zen.example=",
        "zen.example=0",
        "zen.example=1001",
        "zen.example=-1001",
        "zen.example=x",
        "zen.example=3=127.0.0.2",
        "zen.example=127.0.0.2=3=4",
        "zen.example=128.0.0.2",
        "zen.example=127.0.0",
        "zen.example=127.0.0.256",
        "zen.example=127.0.0.4-2",
        "zen.example=127.0.0.[]",
        "zen.example=127.0.0.[2,",
        "two words",
        "user@zen.example",
        "http://zen.example/",
        ".".join(["x" * 60] * 4),
    ],
)
def test_lines_that_cannot_be_used(line: str) -> None:
    with pytest.raises(DnsblError, match=r"^door\.dnsbl: .{10,}"):
        parse_lists([line])


@given(st.text("zen.example=127[]-,0 \n\u0661", max_size=60))
def test_lines_are_used_or_refused(line: str) -> None:
    try:
        parse_lists([line])
    except DnsblError as error:
        assert len(str(error)) < 600


def test_too_many_lists() -> None:
    with pytest.raises(DnsblError, match="at most 50"):
        parse_lists([f"list{number}.example" for number in range(MAX_LISTS + 1)])


def test_what_is_a_listing() -> None:
    for text, expected in (
        ("127.0.0.2", True),
        ("127.1.2.3", True),
        ("127.0.0.1", False),
        ("127.255.255.252", False),
        ("192.0.2.1", False),
        ("2001:db8::1", False),
    ):
        assert is_listing(octets(text)) == expected


async def test_who_is_on_a_list_hears_on_which_and_why() -> None:
    rules = lists("zen.example")
    client = visitor()
    assert rules.connect(client) is None  # type: ignore[func-returns-value]
    text = await said(rules.recipient(client, MAIL, "x@example.org"))
    assert text == (
        '550 5.7.1 your address 192.0.2.1 is on the list zen.example ("https://zen.example/192.0.2.1"): ask there to be'
        " taken off, or write to postmaster"
    )
    assert isinstance(rules.recipient(client, MAIL, "y@example.org"), Refused)
    assert rules.recipient(client, MAIL, "postmaster@example.org") is None


@pytest.mark.parametrize(
    ("lines", "threshold", "address", "refused"),
    [
        (["zen.example=3"], 3, "192.0.2.1", True),
        (["zen.example=3"], 4, "192.0.2.1", False),
        (["zen.example=3", "other.example"], 4, "192.0.2.1", True),
        (["zen.example=127.0.0.2=3", "zen.example=127.0.0.10=2"], 5, "192.0.2.1", True),
        (["zen.example=127.0.0.4-7=3"], 1, "192.0.2.1", False),
        (["zen.example=2"], 2, "192.0.2.2", True),
        (["zen.example=2", "good.example=127.0.[5-10].[1-3]=-1"], 2, "192.0.2.2", False),
        (["zen.example"], 1, "192.0.2.3", False),
        (["zen.example"], 1, "192.0.2.4", False),
        (["zen.example"], 1, "192.0.2.5", False),
        (["zen.example"], 1, "192.0.2.6", False),
        (["zen.example"], 1, "192.0.2.7", False),
        (["zen.example"], 1, "2001:db8::1", True),
        (["zen.example"], 1, "2001:db8::2", False),
        (["all.example"], 1, "192.0.2.1", False),
        (["all.example=5", "zen.example=1"], 2, "192.0.2.1", False),
        (["all.example=5", "zen.example=2"], 2, "192.0.2.1", True),
    ],
)
async def test_points(lines: list[str], threshold: int, address: str, refused: bool) -> None:
    rules = lists(*lines, dnsbl_threshold=threshold)
    text = await said(rules.recipient(visitor(address), MAIL, "x@example.org"))
    assert text.startswith("550 5.7.1 ") == refused
    assert bool(text) == refused


async def test_lists_that_are_silent_are_not_waited_for() -> None:
    world = Slow(LISTS, "slow.example")
    rules = lists("slow.example=5", "zen.example=2", world=world, dnsbl_seconds=0.1, dnsbl_threshold=2)
    started = asyncio.get_running_loop().time()
    assert await said(rules.recipient(visitor(), MAIL, "x@example.org"))
    assert await said(rules.recipient(visitor("192.0.2.7"), MAIL, "x@example.org")) == ""
    # A tenth of a second for each; the list would say nothing for ever.
    assert asyncio.get_running_loop().time() - started < 10
    world.go.set()


async def test_a_list_is_tested_once_an_hour() -> None:
    clock, world = Clock(), World(LISTS)
    rules = lists("all.example", world=world, clock=clock)

    def tests() -> int:
        return world.asked.count(("1.0.0.127.all.example", "A"))

    found = await asyncio.gather(
        *(said(rules.recipient(visitor(f"192.0.2.{number}"), MAIL, "x@example.org")) for number in range(1, 20))
    )
    assert found == [""] * 19
    assert tests() == 1
    # It is mended.
    del world.records[name("1.0.0.127.all.example"), rr.A]
    clock.now += TEST_MS
    assert await said(rules.recipient(visitor(), MAIL, "x@example.org"))
    assert tests() == 2
    # A list that cannot be tested just now is as it was.
    world.failing[name("1.0.0.127.all.example"), None] = "SERVFAIL"
    clock.now += TEST_MS
    assert await said(rules.recipient(visitor(), MAIL, "x@example.org"))


async def test_what_a_list_writes_about_why_stays_in_one_line() -> None:
    world = World(LISTS)
    owner = name("1.2.0.192.zen.example")
    for strings, shown in (
        ([b'evil\r\n250 2.0.0 ok\r\n\x00\xff\x1b[31m quoted"'], "evil?250 2.0.0 ok?[31m quoted'"),
        ([b"x" * 255, b"y" * 255], "x" * 117 + "..."),
        ([], ""),
        ([b"two ", b"", b"strings"], "two strings"),
    ):
        rdata = b"".join(bytes([len(each)]) + each for each in strings)
        world.records[owner, rr.TXT] = [Record(owner, rr.TXT, 1, 300, rdata)]
        text = await said(lists("zen.example", world=world).recipient(visitor(), MAIL, "x@example.org"))
        assert (f'("{shown}")' if shown else "list zen.example:") in text
        assert text.isprintable()


async def test_lists_are_not_asked_about_users_trusted_networks_and_private_addresses() -> None:
    world = World(LISTS)
    rules = lists("zen.example", world=world)
    for client in (
        visitor(trusted=True),
        visitor(kind="submission", user="ann"),
        visitor("127.0.0.1"),
        visitor("10.1.2.3"),
        visitor("fe80::1"),
    ):
        rules.connect(client)
        assert rules.recipient(client, MAIL, "x@example.org") is None
    assert world.asked == []


async def test_failure_is_what_the_dns_says_where_it_says_nothing() -> None:
    answer = await World("broken.example ! SERVFAIL").resolve(name("broken.example"), rr.A)
    assert answer.status is Status.FAILURE
