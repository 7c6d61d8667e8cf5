"""The forwarding resolver: which answers settle a question, and for how long they are remembered."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from mx10.config import ResolverSettings
from mx10.dns import message as m
from mx10.dns import rrtypes as rr
from mx10.dns.message import Edns, Message, Record
from mx10.dns.wirename import fold, from_text
from mx10.resolver.answer import Answer, Status
from mx10.resolver.asking import Server, Transport
from mx10.resolver.forwarder import Forwarder
from mx10.resolver.resolvconf import ResolvConf
from tests.resolver.hostile import (
    SHORT,
    Behaviour,
    Hostile,
    Reply,
    code,
    forwarder,
    records,
    response,
    silent,
    unused_port,
)
from tests.resolver.internet import name, record

NAME = name("mail.example.")
RIGHT = record("mail.example. A 192.0.2.1")


def soa(owner: str, ttl: int = 600, minimum: int = 300) -> Record:
    data = from_text("ns.example.") + from_text("root.example.") + bytes(16) + minimum.to_bytes(4, "big")
    return Record(from_text(owner), rr.SOA, rr.IN, ttl, data)


def cname(owner: str, target: str, ttl: int = 3600) -> Record:
    return Record(from_text(owner), rr.CNAME, rr.IN, ttl, from_text(target))


async def answer_of(behaviour: Behaviour, *, rrtype: int = rr.A) -> Answer:
    async with Hostile(behaviour) as hostile, forwarder(hostile) as resolver:
        return await resolver.resolve(NAME, rrtype)


async def test_an_answer() -> None:
    async with Hostile(records(RIGHT)) as hostile, forwarder(hostile) as resolver:
        answer = await resolver.resolve(NAME, rr.A)
    assert (answer.status, answer.records, answer.ttl) == (Status.OK, (RIGHT,), 3600)
    assert answer.server == f"127.0.0.1:{hostile.port}"
    assert answer.section == (RIGHT,)
    assert hostile.asked[0].rd
    assert hostile.asked[0].ad


# -- which server --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "first",
    [
        code(rr.Rcode.SERVFAIL),
        code(rr.Rcode.REFUSED),
        code(rr.Rcode.NOTAUTH),
        code(23),
        silent,
        lambda query: b"\0" * 12,
    ],
    ids=["SERVFAIL", "REFUSED", "NOTAUTH", "BADCOOKIE", "silent", "garbage"],
)
async def test_the_next_server_is_asked(first: Behaviour) -> None:
    settings = replace(SHORT, timeout_seconds=1)
    async with (
        Hostile(first) as one,
        Hostile(records(RIGHT)) as two,
        forwarder(one, two, settings=settings) as resolver,
    ):
        answer = await resolver.resolve(NAME, rr.A)
    assert answer.status is Status.OK
    assert answer.server == f"127.0.0.1:{two.port}"


@pytest.mark.parametrize("rcode", [rr.Rcode.NXDOMAIN, rr.Rcode.NOERROR])
async def test_an_absence_settles_the_question(rcode: int) -> None:
    first = records(rcode=rcode, authority=[soa("example.")])
    async with Hostile(first) as one, Hostile(records(RIGHT)) as two, forwarder(one, two) as resolver:
        answer = await resolver.resolve(NAME, rr.A)
    assert answer.status is (Status.NXDOMAIN if rcode else Status.NODATA)
    assert not two.asked


async def test_nobody_answers() -> None:
    settings = replace(SHORT, attempts=2)
    closed = Server("127.0.0.1", unused_port())
    async with Hostile(silent) as one, Hostile(code(rr.Rcode.SERVFAIL)) as two:
        resolver = Forwarder(settings, servers=[one.server, two.server, closed])
        answer = await resolver.resolve(NAME, rr.A)
        await resolver.close()
    assert answer.status is Status.FAILURE
    assert answer.rcode == rr.Rcode.SERVFAIL
    assert answer.reason == (
        f"no answer from {one.server} in 0.2 s; SERVFAIL from {two.server}; {closed}: Connection refused"
    )
    assert (len(one.asked), len(two.asked)) == (2, 2)
    assert answer.ttl == 0


async def test_the_servers_words_for_a_failure() -> None:
    def failing(query: Message) -> Message:
        said = ((15, (22).to_bytes(2, "big") + b"nobody\x1b[31m home"),)
        return replace(response(query, rcode=rr.Rcode.SERVFAIL), edns=Edns(options=said))

    assert (await answer_of(failing)).reason.startswith("SERVFAIL (nobody?[31m home) from 127.0.0.1")


async def test_a_referral_is_no_answer() -> None:
    ns = Record(from_text("example."), rr.NS, rr.IN, 60, from_text("ns.example."))
    answer = await answer_of(records(authority=[ns], flags=m.QR))
    assert answer.status is Status.FAILURE
    assert "referral" in answer.reason


# -- what belongs to the question ------------------------------------------------------------------------------------


async def test_records_of_other_names_are_left_lying() -> None:
    other = record("other.example. A 192.0.2.66")
    answer = await answer_of(records(other, RIGHT))
    assert answer.records == answer.section == (RIGHT,)
    # And where there is nothing else, the question was not answered: to take that for an absence would be to guess.
    answer = await answer_of(records(other))
    assert (answer.status, answer.records) == (Status.FAILURE, ())
    assert answer.reason.startswith("an answer to another question from 127.0.0.1")
    # With the SOA record that vouches for it, it is an absence.
    assert (await answer_of(records(other, authority=[soa("example.")]))).status is Status.NODATA


async def test_a_record_that_stands_twice_counts_once() -> None:
    assert (await answer_of(records(RIGHT, RIGHT))).records == (RIGHT,)


@pytest.mark.parametrize(
    "broken",
    [
        Record(NAME, rr.A, rr.IN, 60, b"\1\2\3"),
        Record(NAME, rr.A, rr.CH, 60, b"\1\2\3\4"),
        Record(NAME, rr.A, rr.IN, 60, b""),
        Record(NAME, rr.CNAME, rr.IN, 60, b""),
        Record(from_text("example."), rr.DNAME, rr.IN, 60, b""),
    ],
)
async def test_data_that_cannot_be_is_not_believed(broken: Record) -> None:
    answer = await answer_of(records(broken))
    assert (answer.status, answer.chain) == (Status.FAILURE, ())


@pytest.mark.parametrize("authority", [[], [soa("example.")]], ids=["bare", "with SOA"])
@pytest.mark.parametrize("rrtype", [rr.MX, rr.NS, rr.SRV, rr.SOA])
async def test_a_damaged_record_is_a_failure_and_no_absence(rrtype: int, authority: list[Record]) -> None:
    """Without its MX records a domain would take its mail itself (RFC 5321 section 5.1)."""
    answer = await answer_of(records(Record(NAME, rrtype, rr.IN, 60, b""), authority=authority), rrtype=rrtype)
    assert answer.status is Status.FAILURE
    assert answer.reason.startswith(f"a damaged {rr.type_to_text(rrtype)} record from 127.0.0.1")


@pytest.mark.parametrize("answer", [[], [RIGHT]], ids=["nothing", "a part"])
async def test_what_is_truncated_over_tcp_is_no_answer(answer: list[Record]) -> None:
    """Nothing in it would be an absence, and a part of it all there is."""
    found = await answer_of(records(*answer, flags=m.QR | m.TC | m.RA))
    assert (found.status, found.records) == (Status.FAILURE, ())
    assert found.reason.startswith("a truncated response from 127.0.0.1")


async def test_a_damaged_address_beside_the_answer_is_left_lying() -> None:
    beside = (Record(NAME, rr.AAAA, rr.IN, 60, b"\1"), Record(NAME, rr.AAAA, rr.IN, 60, bytes(16)))
    answer = await answer_of(lambda query: replace(response(query, [RIGHT]), additional=beside))
    assert (answer.records, answer.additional) == ((RIGHT,), beside[1:])


@pytest.mark.parametrize("rcode", [rr.Rcode.NOERROR, rr.Rcode.NXDOMAIN])
async def test_a_lame_server_knows_of_no_absence(rcode: int) -> None:
    """It neither has the zone (AA) nor looks names up for others (RA); the next one is asked."""
    lame = records(rcode=rcode, flags=m.QR | m.RD)
    answer = await answer_of(lame)
    assert answer.status is Status.FAILURE
    assert "an empty response without authority or recursion from" in answer.reason
    async with Hostile(lame) as one, Hostile(records(RIGHT)) as two, forwarder(one, two) as resolver:
        assert (await resolver.resolve(NAME, rr.A)).records == (RIGHT,)
    for knowing in (m.AA, m.RA):
        status = (await answer_of(records(rcode=rcode, flags=m.QR | knowing))).status
        assert status is (Status.NXDOMAIN if rcode else Status.NODATA)


async def test_a_subtrees_alias_without_the_cname_that_belongs_to_it() -> None:
    """RFC 6672 section 3.4.1: a resolver can make it itself."""
    dname = Record(from_text("example."), rr.DNAME, rr.IN, 60, from_text("Moved.test."))
    target = Record(from_text("mail.moved.test."), rr.A, rr.IN, 90, bytes(4))
    answer = await answer_of(records(dname, target))
    assert (answer.status, answer.chain) == (Status.OK, (name("mail.moved.test."),))
    assert (answer.records, answer.ttl, answer.section) == ((target,), 60, (dname, target))
    long = Record(from_text("example."), rr.DNAME, rr.IN, 60, from_text(".".join(["x" * 62] * 4)))
    assert "too long" in (await answer_of(records(long))).reason
    circle = Record(from_text("example."), rr.DNAME, rr.IN, 60, from_text("a.example."))
    assert "aliases" in (await answer_of(records(circle))).reason


async def test_aliases() -> None:
    chain = [
        cname("MAIL.example.", "a.example.", 50),
        cname("a.example.", "B.example."),
        record("b.example. A 192.0.2.1"),
    ]
    answer = await answer_of(records(*reversed(chain)))
    assert answer.status is Status.OK
    assert answer.chain == (name("a.example."), name("b.example."))
    assert answer.canonical == name("b.example.")
    assert answer.ttl == 50
    assert len(answer.section) == 3


@pytest.mark.parametrize(
    "circle",
    [
        [cname("mail.example.", "mail.example.")],
        [cname("mail.example.", "a.example."), cname("a.example.", "mail.example.")],
        [cname("mail.example.", "a.example."), cname("a.example.", "b.example."), cname("b.example.", "a.example.")],
    ],
)
async def test_aliases_in_a_circle(circle: list[Record]) -> None:
    answer = await answer_of(records(*circle))
    assert answer.status is Status.FAILURE
    assert "circle" in answer.reason


async def test_aliases_without_end() -> None:
    answer = await answer_of(
        records(cname("mail.example.", "0.example."), *(cname(f"{i}.example.", f"{i + 1}.example.") for i in range(40)))
    )
    assert answer.status is Status.FAILURE
    assert "aliases" in answer.reason


async def test_a_server_that_stops_at_an_alias_is_asked_on() -> None:
    def step(query: Message) -> Message:
        assert query.question
        asked = fold(query.question.name)
        known = {
            NAME: cname("mail.example.", "a.example.", 70),
            name("a.example."): cname("a.example.", "b.example.", 60),
            name("b.example."): record("b.example. A 192.0.2.9"),
        }
        return response(query, [known[asked]])

    async with Hostile(step) as hostile, forwarder(hostile) as resolver:
        answer = await resolver.resolve(NAME, rr.A)
    assert answer.name == NAME
    assert answer.chain == (name("a.example."), name("b.example."))
    assert [one.rdata for one in answer.records] == [bytes((192, 0, 2, 9))]
    assert answer.ttl == 60
    assert [one.type for one in answer.section] == [rr.CNAME, rr.CNAME, rr.A]
    assert len(hostile.asked) == 3


async def test_a_server_that_stops_in_a_circle_or_never() -> None:
    def circle(query: Message) -> Message:
        assert query.question
        asked = fold(query.question.name)
        return response(
            query, [Record(asked, rr.CNAME, rr.IN, 60, name("a.example." if asked == NAME else "mail.example."))]
        )

    def endless(query: Message) -> Message:
        assert query.question
        return response(query, [Record(query.question.name, rr.CNAME, rr.IN, 60, b"\1x" + fold(query.question.name))])

    for behaviour, words in ((circle, "circle"), (endless, "too many aliases")):
        answer = await answer_of(behaviour)
        assert answer.status is Status.FAILURE
        assert words in answer.reason


async def test_the_end_of_the_chain_is_absent() -> None:
    def dangling(query: Message) -> Message:
        return response(
            query, [cname("mail.example.", "a.example.")], rcode=rr.Rcode.NXDOMAIN, authority=[soa("example.")]
        )

    answer = await answer_of(dangling)
    assert (answer.status, answer.chain) == (Status.NXDOMAIN, (name("a.example."),))
    assert [one.type for one in answer.denial] == [rr.SOA]


async def test_a_name_made_from_a_subtrees_alias_has_its_own_letters() -> None:
    """The server makes it from the question, whose letters are mixed (RFC 6672 section 3.1)."""

    def moved(query: Message) -> Message:
        assert query.question
        asked = query.question.name
        target = asked[: asked[0] + 1] + from_text("Moved.test.")
        dname = Record(from_text("example."), rr.DNAME, rr.IN, 60, from_text("Moved.test."))
        alias = Record(asked, rr.CNAME, rr.IN, 60, target)
        return response(query, [dname, alias, Record(target, rr.A, rr.IN, 60, bytes(4))])

    for _ in range(10):
        answer = await answer_of(moved)
        assert answer.status is Status.OK
        assert [one.rdata for one in answer.section[:2]] == [from_text("Moved.test."), from_text("mail.Moved.test.")]


async def test_signatures() -> None:
    def signed(query: Message) -> Message:
        signature = Record(
            NAME, rr.RRSIG, rr.IN, 60, rr.A.to_bytes(2, "big") + bytes(16) + from_text("example.") + b"x"
        )
        foreign = replace(signature, rdata=rr.TXT.to_bytes(2, "big") + signature.rdata[2:])
        return replace(response(query, [RIGHT, signature, foreign]), flags=m.QR | m.AD)

    async with Hostile(signed) as hostile, forwarder(hostile, dnssec=True) as resolver:
        answer = await resolver.resolve(NAME, rr.A)
    assert hostile.asked[0].edns == Edns(do=True)
    assert len(answer.signatures) == 1
    assert answer.ad
    assert answer.authenticated, "the server is on this machine"


# -- how it is asked --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("server", "system", "believed"),
    [
        (Server("127.0.0.53"), None, True),
        (Server("::1"), None, True),
        (Server("192.0.2.1"), None, False),
        (Server("192.0.2.1", 853, Transport.TLS), None, True),
        (Server("192.0.2.1", 853, Transport.TLS, verify=False), None, False),
        (Server("192.0.2.1", 443, Transport.HTTPS), None, True),
        (None, ResolvConf(("192.0.2.1",), trust_ad=True), True),
        (None, ResolvConf(("192.0.2.1",)), False),
    ],
)
def test_whose_ad_bit_is_believed(server: Server | None, system: ResolvConf | None, believed: bool) -> None:
    """RFC 6840 section 5.8."""
    resolver = Forwarder(servers=[server] if server else None, system=system)
    assert resolver._believes(resolver.servers[0]) is believed


def test_the_systems_servers() -> None:
    system = ResolvConf(("192.0.2.1", "2001:db8::1"), timeout=1, attempts=3, use_vc=True)
    resolver = Forwarder(ResolverSettings(port=5300), system=system)
    assert [str(one) for one in resolver.servers] == ["192.0.2.1:5300", "[2001:db8::1]:5300"]
    assert {one.transport for one in resolver.servers} == {Transport.TCP}
    assert resolver.system is system


@pytest.mark.parametrize(
    ("options", "seconds", "rounds"),
    [({"timeout": 0.05, "attempts": 3}, 0.05, 3), ({}, 0.1, 2), ({"timeout": 0.3, "attempts": 1}, 0.3, 1)],
)
async def test_the_systems_times(options: dict[str, Any], seconds: float, rounds: int) -> None:
    """What resolv.conf says counts, shorter or longer; where it says nothing, the settings."""
    async with Hostile(silent) as hostile:
        settings = ResolverSettings(port=hostile.port, timeout_seconds=0.1, attempts=2)
        async with Forwarder(settings, system=ResolvConf(("127.0.0.1",), **options)) as resolver:
            answer = await resolver.resolve(NAME, rr.A)
    assert answer.reason == f"no answer from 127.0.0.1:{hostile.port} in {seconds:g} s"
    assert len(hostile.asked) == rounds


async def test_one_question_about_a_name_at_a_time_where_the_system_wants_it() -> None:
    """``options single-request``; other names do not wait."""
    open_now: list[bytes] = []
    together: set[bytes] = set()

    async def slow(query: Message) -> Message:
        assert query.question
        asked = fold(query.question.name)
        together.update(open_now)
        assert asked not in open_now
        open_now.append(asked)
        await asyncio.sleep(0.02)
        open_now.remove(asked)
        return response(query)

    other = name("other.example.")
    async with Hostile(slow) as hostile:
        system = ResolvConf(("127.0.0.1",), single_request=True)
        async with Forwarder(replace(SHORT, port=hostile.port), system=system) as resolver:
            questions = [(one, rrtype) for one in (NAME, other) for rrtype in (rr.A, rr.AAAA, rr.MX)]
            answers = await asyncio.gather(*(resolver.resolve(*question) for question in questions))
    assert {answer.status for answer in answers} == {Status.NODATA}
    assert len(hostile.asked) == 6
    assert together, "different names are asked about at the same time"


def test_the_servers_of_the_settings() -> None:
    resolver = Forwarder(ResolverSettings(servers=("192.0.2.1", "192.0.2.2:53", "[2001:db8::1]:5301", "2001:db8::2")))
    assert [(one.address, one.port) for one in resolver.servers] == [
        ("192.0.2.1", 53), ("192.0.2.2", 53), ("2001:db8::1", 5301), ("2001:db8::2", 53),
    ]  # fmt: skip
    assert resolver.system is None


async def test_rotate_begins_with_each_server() -> None:
    async with Hostile(records(RIGHT)) as hostile:
        system = ResolvConf(("127.0.0.1", "127.0.0.2", "127.0.0.3"), rotate=True)
        resolver = Forwarder(replace(SHORT, port=hostile.port, cache_entries=0), system=system)
        for _ in range(40):
            assert (await resolver.resolve(NAME, rr.A)).status is Status.OK
        assert len(hostile.asked) == 40


# -- memory -----------------------------------------------------------------------------------------------------------


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_an_answer_is_remembered_as_long_as_it_holds() -> None:
    clock = Clock()
    async with (
        Hostile(records(replace(RIGHT, ttl=100), cname("x.example.", "y.example."))) as hostile,
        forwarder(hostile, clock=clock) as resolver,
    ):
        assert (await resolver.resolve(NAME, rr.A)).ttl == 100
        clock.now += 60
        again = await resolver.resolve(NAME, rr.A)
        assert (again.ttl, again.records[0].ttl, again.section[0].ttl, again.elapsed) == (40, 40, 40, 0)
        assert len(hostile.asked) == 1
        clock.now += 41
        assert (await resolver.resolve(NAME, rr.A)).ttl == 100
        assert len(hostile.asked) == 2


@pytest.mark.parametrize(
    ("ttl", "minimum", "seconds"), [(600, 300, 300), (200, 300, 200), (10**6, 10**6, 3 * 3600), (600, 0, 0)]
)
async def test_an_absence_is_remembered_as_long_as_its_soa_says(ttl: int, minimum: int, seconds: int) -> None:
    """RFC 2308 section 5: the lesser of TTL and last field, and three hours at most."""
    clock = Clock()
    absent = records(rcode=rr.Rcode.NXDOMAIN, authority=[soa("example.", ttl, minimum)])
    async with Hostile(absent) as hostile, forwarder(hostile, clock=clock) as resolver:
        assert (await resolver.resolve(NAME, rr.A)).ttl == seconds
        clock.now += max(seconds - 1, 0)
        await resolver.resolve(NAME, rr.A)
        assert len(hostile.asked) == (1 if seconds else 2)
        clock.now += 1
        await resolver.resolve(NAME, rr.A)
        assert len(hostile.asked) == (2 if seconds else 3)


@pytest.mark.parametrize("authority", [[], [soa("elsewhere.test.")]])
async def test_an_absence_without_its_soa_is_not_remembered(authority: list[Record]) -> None:
    async with Hostile(records(authority=authority)) as hostile, forwarder(hostile) as resolver:
        for _ in range(2):
            assert (await resolver.resolve(NAME, rr.A)).status is Status.NODATA
        assert len(hostile.asked) == 2


async def test_a_failure_is_not_remembered() -> None:
    async with Hostile(code(rr.Rcode.SERVFAIL)) as hostile, forwarder(hostile) as resolver:
        for _ in range(2):
            await resolver.resolve(NAME, rr.A)
        assert len(hostile.asked) == 2


async def test_memory_is_bounded() -> None:
    def any_name(query: Message) -> Message:
        assert query.question
        return response(query, [Record(query.question.name, rr.A, rr.IN, 60, b"\1\2\3\4")])

    async with Hostile(any_name) as hostile, forwarder(hostile, settings=replace(SHORT, cache_entries=3)) as resolver:
        for number in range(6):
            await resolver.resolve(name(f"{number}.example."), rr.A)
        assert len(resolver._cache) == 3
        await resolver.resolve(name("0.example."), rr.A)
        assert len(hostile.asked) == 7


async def test_ttls_are_bounded() -> None:
    assert (await answer_of(records(replace(RIGHT, ttl=2**31 - 1)))).ttl == 7 * 86400


async def test_the_same_question_goes_out_once() -> None:
    async def slow(query: Message) -> Reply:
        await asyncio.sleep(0.02)
        return response(query, [replace(RIGHT, ttl=0)])

    async with Hostile(slow) as hostile, forwarder(hostile) as resolver:
        impatient = asyncio.ensure_future(resolver.resolve(NAME, rr.A))
        others = [asyncio.ensure_future(resolver.resolve(NAME, rr.A)) for _ in range(5)]
        await asyncio.sleep(0)
        impatient.cancel()
        answers = await asyncio.gather(*others)
        assert [one.status for one in answers] == [Status.OK] * 5
        assert len(hostile.asked) == 1
        assert impatient.cancelled()


async def test_closing_ends_what_is_under_way() -> None:
    async with Hostile(silent) as hostile:
        resolver = forwarder(hostile, settings=replace(SHORT, timeout_seconds=30))
        waiting = asyncio.ensure_future(resolver.resolve(NAME, rr.A))
        await asyncio.sleep(0.01)
        await resolver.close()
        with pytest.raises(asyncio.CancelledError):
            await waiting
