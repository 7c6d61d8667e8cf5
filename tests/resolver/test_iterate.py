"""The walk from the root: referrals, servers without addresses, aliases across zones, memory, and limits."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from mx10.dns import rrtypes as rr
from mx10.dns.message import Message, Record
from mx10.resolver.answer import Status
from mx10.resolver.iterate import NO_REACHABLE_AUTHORITY, Budget, Iterator
from mx10.resolver.memory import FAILURE_SECONDS
from tests.resolver.internet import Internet, name, record, words

ROOT = (
    "@ NS ns.root.\nns.root. A 192.0.2.1\n"
    "example. NS ns.example.\nns.example. A 192.0.2.2\n"
    "test. NS ns.test.\nns.test. A 192.0.2.3\n"
)
EXAMPLE = "@ NS ns\nns A 192.0.2.2\na NS ns.a\nns.a A 192.0.2.10\nb NS ns.b\nns.b A 192.0.2.11\nfar NS ns.a.test.\n"
TEST = "@ NS ns\nns A 192.0.2.3\na NS ns.a\nns.a A 192.0.2.20\n"
A = "@ NS ns\nns A 192.0.2.10\n@ MX 10 mail\nmail A 198.51.100.1\nalias CNAME target.b\n"


@pytest.fixture
def net(tmp_path: Path) -> Internet:
    """The root, two top-level domains, a.example, b.example, a.test, and far.example, delegated without glue."""
    net = Internet(tmp_path / "net")
    net.serve("192.0.2.1", root=ROOT)
    net.serve("192.0.2.2", example=EXAMPLE)
    net.serve("192.0.2.3", test=TEST)
    net.serve("192.0.2.10", a_example=A.replace("target.b", "target.b.example."))
    net.serve(
        "192.0.2.11", b_example="@ NS ns\nns A 192.0.2.11\ntarget MX 5 mail.a.example.\nback CNAME alias.a.example."
    )
    net.serve(
        "192.0.2.20",
        a_test="@ NS ns\nns A 192.0.2.20\n@ MX 1 ns",
        far_example="@ NS ns.a.test.\n@ MX 7 mail.far.example.\nmail A 198.51.100.7",
    )
    return net


async def test_rfc1034_5_3_3_from_the_root_down_and_once_only(net: Internet) -> None:
    iterator = net.iterator()
    found = await iterator.find(name("a.example."), rr.MX)
    assert words(found) == ["a.example. MX 10 mail.a.example."]
    assert (found.status, found.server, found.ttl) == (Status.OK, "192.0.2.10", 3600)
    asked = ["192.0.2.1 a.example. MX", "192.0.2.2 a.example. MX", "192.0.2.10 a.example. MX"]
    assert net.asked == asked
    await iterator.find(name("A.example."), rr.MX)
    assert net.asked == asked
    # The zone's servers are known now: its other names need one question each.
    await iterator.find(name("mail.a.example."), rr.A)
    assert net.asked == [*asked, "192.0.2.10 mail.a.example. A"]


async def test_the_answer_says_the_same(net: Internet) -> None:
    answer = await net.iterator().resolve(name("alias.a.example."), rr.MX)
    assert (answer.status, answer.rcode, answer.server) == (Status.OK, 0, "192.0.2.11")
    assert answer.chain == (name("target.b.example."),)
    assert [record.rdata[:2] for record in answer.records] == [b"\0\5"]
    assert not answer.authenticated


async def test_a_nameserver_without_glue_is_looked_up(net: Internet) -> None:
    found = await net.iterator().find(name("far.example."), rr.MX)
    assert words(found) == ["far.example. MX 7 mail.far.example."]
    assert "192.0.2.20 ns.a.test. A" in net.asked


async def test_absences_are_told_apart_and_remembered(net: Internet) -> None:
    iterator = net.iterator()
    nodata = await iterator.find(name("mail.a.example."), rr.MX)
    assert (nodata.status, nodata.rcode, nodata.ttl) == (Status.NODATA, 0, 300)
    missing = await iterator.find(name("no.a.example."), rr.MX)
    assert (missing.status, missing.rcode, missing.ttl) == (Status.NXDOMAIN, 3, 300)
    count = len(net.asked)
    # The name does not exist, so it has no data of any type.
    assert (await iterator.find(name("no.a.example."), rr.A)).status == Status.NXDOMAIN
    assert len(net.asked) == count


async def test_a_zone_that_moved_is_found_again(net: Internet) -> None:
    iterator = net.iterator()
    await iterator.find(name("a.example."), rr.MX)
    net.serve("192.0.2.2", example=EXAMPLE.replace("192.0.2.10", "192.0.2.12"))
    net.servers["192.0.2.12"] = net.servers.pop("192.0.2.10")
    assert (await iterator.find(name("mail.a.example."), rr.A)).status == Status.FAILURE
    net.now += FAILURE_SECONDS
    assert (await iterator.find(name("mail.a.example."), rr.A)).status == Status.OK


async def test_rfc2308_ttls_count_down_and_end(net: Internet) -> None:
    iterator = net.iterator()
    await iterator.find(name("a.example."), rr.MX)
    await iterator.find(name("no.a.example."), rr.MX)
    net.now += 100
    assert (await iterator.find(name("a.example."), rr.MX)).ttl == 3500
    assert (await iterator.find(name("no.a.example."), rr.MX)).ttl == 200
    count = len(net.asked)
    net.now += 201
    await iterator.find(name("no.a.example."), rr.MX)
    assert len(net.asked) == count + 1


async def test_forget_takes_nothing_along(net: Internet) -> None:
    iterator = net.iterator()
    under_way = asyncio.ensure_future(iterator.find(name("a.example."), rr.MX))
    for _ in range(3):
        await asyncio.sleep(0)
    assert 0 < len(net.asked) < 3
    iterator.forget()
    await under_way
    count = len(net.asked)
    await iterator.find(name("a.example."), rr.MX)
    assert len(net.asked) == count + 3


async def test_equal_questions_at_a_time_are_asked_once(net: Internet) -> None:
    iterator = net.iterator()
    found = await asyncio.gather(*(iterator.find(name("a.example."), rr.MX) for _ in range(50)))
    assert all(each == found[0] for each in found)
    assert len(net.asked) == 3


async def test_memory_is_bounded(net: Internet) -> None:
    iterator = net.iterator(cache=20)
    for number in range(200):
        await iterator.find(name(f"n{number}.a.example."), rr.A)
    assert 20 <= len(iterator._memory) <= 60


async def test_no_memory_still_answers(net: Internet) -> None:
    assert (await net.iterator(cache=0).find(name("alias.a.example."), rr.MX)).status == Status.OK


# -- aliases ---------------------------------------------------------------------------------------------------------


async def test_aliases_in_a_circle_over_two_zones(net: Internet) -> None:
    net.serve("192.0.2.10", a_example="@ NS ns\nns A 192.0.2.10\nalias CNAME back.b.example.")
    found = await net.iterator().find(name("alias.a.example."), rr.MX)
    assert found.status == Status.FAILURE
    assert "circle" in found.reason
    assert found.chain == (name("back.b.example."), name("alias.a.example."))


@pytest.mark.parametrize(("length", "status"), [(16, Status.OK), (17, Status.FAILURE)])
async def test_the_limit_of_aliases(net: Internet, length: int, status: Status) -> None:
    lines = [f"c{number} CNAME c{number + 1}" for number in range(length)]
    net.serve("192.0.2.10", a_example="\n".join(["@ NS ns", "ns A 192.0.2.10", *lines, f"c{length} MX 1 ns"]))
    found = await net.iterator().find(name("c0.a.example."), rr.MX)
    assert found.status == status
    assert status == Status.OK or "more than 16 aliases" in found.reason


async def test_rfc6672_dname_and_the_cname_it_stands_for(net: Internet) -> None:
    net.serve("192.0.2.10", a_example="@ NS ns\nns A 192.0.2.10\nold DNAME b.example.")
    found = await net.iterator().find(name("target.old.a.example."), rr.MX)
    assert words(found) == ["target.b.example. MX 5 mail.a.example."]
    assert [alias.type for alias in found.aliases] == [rr.DNAME, rr.CNAME]


async def test_the_alias_itself_can_be_asked_for(net: Internet) -> None:
    found = await net.iterator().find(name("alias.a.example."), rr.CNAME)
    assert words(found) == ["alias.a.example. CNAME target.b.example."]
    assert not found.chain


async def test_an_absence_at_the_end_of_an_alias(net: Internet) -> None:
    found = await net.iterator().find(name("alias.a.example."), rr.AAAA)
    assert (found.status, found.end) == (Status.NODATA, name("target.b.example."))


# -- servers that fail -----------------------------------------------------------------------------------------------


def two_servers(net: Internet, first: str, second: str) -> None:
    net.serve(
        "192.0.2.2",
        example=f"@ NS ns\nns A 192.0.2.2\na NS ns1.a\na NS ns2.a\nns1.a A {first}\nns2.a A {second}",
    )


@pytest.mark.parametrize("rcode", [rr.Rcode.SERVFAIL, rr.Rcode.REFUSED, rr.Rcode.FORMERR, rr.Rcode.NOTIMP])
async def test_a_lame_server_is_passed_over(net: Internet, rcode: int) -> None:
    two_servers(net, "192.0.2.10", "192.0.2.66")
    net.serve("192.0.2.66", a_example=A)
    net.lies["192.0.2.66"] = lambda message: Message(message.id, message.flags, message.question, rcode=rcode)
    for _ in range(8):
        found = await net.iterator().find(name("a.example."), rr.MX)
        assert (found.status, found.server) == (Status.OK, "192.0.2.10")


async def test_a_silent_server_is_asked_again_and_then_avoided(net: Internet) -> None:
    net.silent.add("192.0.2.10")
    iterator = net.iterator()
    found = await iterator.find(name("a.example."), rr.MX)
    assert (found.status, found.rcode) == (Status.FAILURE, None)
    assert found.error == NO_REACHABLE_AUTHORITY
    assert found.reason == "no nameserver of a.example answers: 192.0.2.10 did not answer within 2 s"
    assert net.asked.count("192.0.2.10 a.example. MX") == 2
    assert (await iterator.find(name("mail.a.example."), rr.A)).status == Status.FAILURE
    assert net.asked.count("192.0.2.10 mail.a.example. A") == 0
    # RFC 9520: not for ever.
    net.silent.clear()
    net.now += FAILURE_SECONDS
    assert (await iterator.find(name("a.example."), rr.MX)).status == Status.OK


async def test_a_slow_server_is_given_twice_the_time_when_it_is_asked_again(net: Internet) -> None:
    net.slow["192.0.2.10"] = 1.9
    found = await net.iterator().find(name("a.example."), rr.MX)
    assert words(found) == ["a.example. MX 10 mail.a.example."]
    assert net.asked.count("192.0.2.10 a.example. MX") == 2


async def test_a_server_that_drops_one_question_is_asked_all_others(net: Internet) -> None:
    iterator = net.iterator()
    assert words(await iterator.find(name("mail.a.example."), rr.A)) == ["mail.a.example. A 198.51.100.1"]
    net.silent.add("192.0.2.10")
    assert (await iterator.find(name("a.example."), rr.MX)).status == Status.FAILURE
    net.silent.clear()
    assert (await iterator.find(name("alias.a.example."), rr.A)).status == Status.NODATA
    # RFC 9520: the question itself is not asked again so soon.
    assert (await iterator.find(name("a.example."), rr.MX)).status == Status.FAILURE


async def test_a_failure_is_never_an_absence(net: Internet) -> None:
    net.silent |= {"192.0.2.1"}
    for rrtype in (rr.MX, rr.A, rr.AAAA):
        assert (await net.iterator().find(name("a.example."), rrtype)).status == Status.FAILURE


async def test_a_referral_upwards_or_to_the_same_zone_is_lame(net: Internet) -> None:
    for owner in (".", "example.", "a.example."):
        delegation = record(f"{owner} NS ns.example.")
        net.lies["192.0.2.10"] = lambda message, delegation=delegation: replace(  # type: ignore[misc]
            message, flags=0x8000, answer=(), authority=(delegation,), additional=()
        )
        found = await net.iterator().find(name("a.example."), rr.MX)
        assert found.status == Status.FAILURE
        assert "without authority" in found.reason


async def test_nameservers_that_need_each_other(net: Internet) -> None:
    net.serve("192.0.2.2", example="@ NS ns\nns A 192.0.2.2\none NS ns.two\ntwo NS ns.one")
    found = await net.iterator().find(name("one.example."), rr.MX)
    assert found.status == Status.FAILURE
    assert "ns.two.example" in found.reason
    assert len(net.asked) < 10


async def test_the_name_of_the_nameserver_does_not_exist(net: Internet) -> None:
    net.serve("192.0.2.2", example="@ NS ns\nns A 192.0.2.2\none NS ns.missing.test.")
    found = await net.iterator().find(name("one.example."), rr.MX)
    assert found.reason.endswith("the name of its nameserver ns.missing.test does not exist")


async def test_rfc6761_localhost_is_never_asked_for(net: Internet) -> None:
    iterator = net.iterator()
    assert words(await iterator.find(name("localhost."), rr.A)) == ["localhost. A 127.0.0.1"]
    assert words(await iterator.find(name("x.localhost."), rr.AAAA)) == ["x.localhost. AAAA ::1"]
    assert (await iterator.find(name("localhost."), rr.MX)).status == Status.NODATA
    assert not net.asked


async def test_ds_is_asked_of_the_upper_side(net: Internet) -> None:
    iterator = net.iterator()
    await iterator.find(name("a.example."), rr.MX)
    found = await iterator.find(name("a.example."), rr.DS)
    assert (found.status, found.server) == (Status.NODATA, "192.0.2.2")


# -- strangers who want more than an answer --------------------------------------------------------------------------


async def test_cve_2020_8616_many_nameservers_without_glue_cost_little(net: Internet) -> None:
    lines = "\n".join(f"one NS ns{number}.victim.test." for number in range(100))
    net.serve("192.0.2.2", example=f"@ NS ns\nns A 192.0.2.2\n{lines}")
    found = await net.iterator().find(name("one.example."), rr.MX)
    assert found.status == Status.FAILURE
    assert len(net.asked) <= 12


async def test_the_budget_of_questions(net: Internet) -> None:
    net.lies["192.0.2.10"] = lambda message: replace(
        message,
        answer=(Record(message.question.name, rr.CNAME, rr.IN, 0, b"\1x" + message.question.name),),  # type: ignore[union-attr]
        authority=(),
        additional=(),
        rcode=0,
    )
    found = await net.iterator(Budget(queries=7)).find(name("a.example."), rr.MX)
    assert (found.status, found.reason) == (Status.FAILURE, "no answer within 7 questions")
    assert len(net.asked) == 7


async def test_the_budget_of_time(net: Internet) -> None:
    two_servers(net, "192.0.2.66", "192.0.2.67")
    began = net.now
    found = await net.iterator(Budget(seconds=2.5, query_seconds=1.0), attempts=10).find(name("a.example."), rr.MX)
    assert (found.status, found.reason) == (Status.FAILURE, "no answer within 2.5 s")
    assert net.now - began == 2.5


async def test_ipv6_servers_are_asked_after_ipv4_and_only_if_wanted(net: Internet) -> None:
    net.serve(
        "192.0.2.2",
        example="@ NS ns\nns A 192.0.2.2\n"
        "a NS ns1.a\nns1.a AAAA 2001:db8::1\nns1.a A 192.0.2.10\n"
        "six NS ns.six\nns.six AAAA 2001:db8::2",
    )
    net.serve("2001:db8::2", six_example="@ NS ns\nns AAAA 2001:db8::2\n@ MX 6 ns")
    assert (await net.iterator().find(name("a.example."), rr.MX)).server == "192.0.2.10"
    assert (await net.iterator().find(name("six.example."), rr.MX)).server == "2001:db8::2"
    without = Iterator(["192.0.2.1"], ask=net.ask, clock=lambda: net.now, ipv6=False)
    assert (await without.find(name("six.example."), rr.MX)).status == Status.FAILURE


async def test_an_asker_who_gives_up_leaves_the_others_their_answer(net: Internet) -> None:
    iterator = net.iterator()
    first = asyncio.ensure_future(iterator.find(name("a.example."), rr.MX))
    second = asyncio.ensure_future(iterator.find(name("a.example."), rr.MX))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).status == Status.OK
