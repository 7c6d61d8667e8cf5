"""Whole attempts over real sockets on loopback addresses: hosts that answer 4xx and 5xx, leave, stall, reset and talk
nonsense at every stage; two address families; LMTP."""

import asyncio
import socket
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from ipaddress import ip_address

import pytest

from mx10.relay.courier.connection import LinkOptions, Links
from mx10.relay.courier.delivery import Plan, deliver
from mx10.relay.courier.reports import Issuer, copy_of, orders, write_report
from mx10.relay.courier.values import Addressee, End, Fate, Letter, Step, Target, TlsPolicy
from mx10.relay.courier.wire import Timeouts
from tests.relay.scripted import Net, Octets, addressees, letter
from tests.relay.talker import CLOSE, DRIP, RESET, STALL, Talker

SHORT = Timeouts().at_most(1.5)
"""Long enough for a loaded machine to answer, short enough to wait for those that never do."""
STAGES = ("GREETING", "EHLO", "MAIL", "RCPT", "DATA", "END")
ANSWERS = {
    "4xx": b"451 4.3.0 not now\r\n",
    "5xx": b"550 5.1.0 never\r\n",
    "421": b"421 4.3.2 closing\r\n",
    "stall": STALL,
    "drip": DRIP,
    "reset": RESET,
    "close": CLOSE,
    "garbage": b"\x00\xffHTTP/1.1 400 Bad Request\r\n\r\n",
}


def target(host: Talker, name: str, *, tls: TlsPolicy = TlsPolicy.OPPORTUNISTIC, lmtp: bool = False) -> Target:
    return Target(name, ip_address(host.address).packed, host.port, tls=tls, lmtp=lmtp)


async def attempt(
    targets: Sequence[Target],
    who: Sequence[Addressee] = addressees("bob"),
    timeouts: Timeouts = SHORT,
    message: Letter | None = None,
) -> tuple[list[Fate], Net]:
    net = Net({})
    links = Links(LinkOptions("client.test", timeouts, idle=0))
    steps: list[Step] = []
    try:
        fates = await deliver(
            Plan(tuple(targets)),
            message or letter(),
            who,
            connect=links,
            hosts=net,
            clock=net.clock,
            listener=steps.append,
        )
    finally:
        await links.close()
    assert steps[-1].text.startswith(fates[-1].end.value)
    return fates, net


def expected(stage: str, answer: str) -> tuple[End, str]:
    """What is to become of it, and by whose word, where the first of two hosts answers so and the second is well."""
    if stage == "END" and answer not in ("4xx", "5xx", "421"):
        # RFC 1047: it may have the message.
        return End.LATER, "mx1"
    if answer == "5xx" and stage in ("MAIL", "RCPT", "DATA", "END"):
        return End.FAILED, "mx1"
    if (stage, answer) == ("EHLO", "5xx"):
        # RFC 5321 section 3.2: then it is HELO.
        return End.DELIVERED, "mx1"
    return End.DELIVERED, "mx2"


async def test_every_answer_at_every_stage() -> None:
    cases = [(stage, answer) for stage in STAGES for answer in ANSWERS]
    async with AsyncExitStack() as stack:
        pairs = []
        for stage, answer in cases:
            bad = await stack.enter_async_context(Talker({stage: ANSWERS[answer]}).listening())
            pairs.append((bad, await stack.enter_async_context(Talker().listening())))
        # All at once, so that those who never answer are waited for once.
        attempts = (attempt([target(bad, "mx1"), target(good, "mx2")]) for bad, good in pairs)
        results = await asyncio.gather(*attempts)
    found = {case: (fates[0].end, fates[0].host) for case, (fates, _) in zip(cases, results, strict=True)}
    assert found == {case: expected(*case) for case in cases}
    for (_, good), (end, host) in zip(pairs, found.values(), strict=True):
        assert len(good.messages) == (end is End.DELIVERED and host == "mx2"), "the second host has it or was not asked"


async def test_accepted_and_dropped_before_the_final_reply_comes_again() -> None:
    """Documented in docs/courier.md: the message arrives twice, and is never lost."""
    async with Talker({"END": CLOSE}).listening() as host:
        (fate,), net = await attempt([target(host, "mx1")])
        assert (fate.end, len(host.messages), net.dead) == (End.LATER, 1, {})
        host.says = {}
        (fate,), _ = await attempt([target(host, "mx1")])
        assert (fate.end, len(host.messages)) == (End.DELIVERED, 2)
        assert host.messages[0] == host.messages[1]


async def test_both_address_families() -> None:
    """IPv6 refuses for want of a name of our address; IPv4 of the same host takes it, in the same attempt."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 on loopback here")
    for says in ({"MAIL": b"550 5.7.25 no reverse DNS\r\n"}, {"GREETING": b"554 no\r\n"}, {"RCPT": b"450 wait\r\n"}):
        async with Talker(says, address="::1").listening() as six, Talker().listening() as four:
            (fate,), _ = await attempt([target(six, "mx1"), target(four, "mx1")])
        assert (fate.end, fate.address) == (End.DELIVERED, "127.0.0.1")
        assert (six.connections, four.connections) == (1, 1)


async def test_nobody_listens_anywhere() -> None:
    ports: list[int] = []
    async with AsyncExitStack() as stack:
        for _ in range(3):
            host = await stack.enter_async_context(Talker().listening())
            ports.append(host.port)
    targets = [Target(f"mx{port}", b"\x7f\0\0\1", port) for port in ports]
    (fate,), net = await attempt(targets)
    assert (fate.end, fate.enhanced, fate.reached) == (End.LATER, "4.4.1", False)
    assert net.dead


async def test_recipients_part_ways() -> None:
    async with Talker({"RCPT": b"550 5.1.1 nobody\r\n"}).listening() as host:
        fates, _ = await attempt([target(host, "mx1")], addressees("a", "b"))
    assert [(fate.end, fate.enhanced) for fate in fates] == [(End.FAILED, "5.1.1")] * 2
    assert not any(host.messages)


async def test_lmtp_has_a_reply_for_each_recipient() -> None:
    """RFC 2033 section 4.2: one is in the mailbox, one has to come again, one is refused."""
    three = b"250 2.0.0 stored\r\n452 4.2.2 full\r\n550 5.2.1 closed\r\n"
    async with Talker({"END": three}).listening() as host:
        host_target = target(host, "lmtp.test", tls=TlsPolicy.NEVER, lmtp=True)
        fates, _ = await attempt([host_target], addressees("a", "b", "c"))
    assert host.heard[0].startswith("LHLO ")
    assert [(fate.end, fate.enhanced, fate.final) for fate in fates] == [
        (End.DELIVERED, "2.0.0", True),
        (End.LATER, "4.2.2", False),
        (End.FAILED, "5.2.1", False),
    ]


async def test_lmtp_that_breaks_off_between_the_replies() -> None:
    """Who has a reply is settled; who has none is tried again."""
    async with Talker({"END": b"250 2.0.0 stored\r\nnonsense\r\n"}).listening() as host:
        host_target = target(host, "lmtp.test", tls=TlsPolicy.NEVER, lmtp=True)
        fates, _ = await attempt([host_target], addressees("a", "b"))
    assert fates[1].end is End.LATER


@pytest.mark.parametrize("sender", ["alice@example.com", "дарья@example.com"])
async def test_a_refusal_comes_back_to_the_sender(sender: str) -> None:
    """From the refusal of one host to the report at another, over the wire (RFC 3461 section 6)."""
    async with Talker({"RCPT": b"550 5.1.1 nobody of that name\r\n"}).listening() as theirs:
        (fate,), _ = await attempt([target(theirs, "mx1")])
    refused = replace(letter(b"Subject: x\r\n\r\n.dot\r\nGr\xc3\xbc\xc3\x9fe\r\n"), reverse_path=sender)
    us = Issuer("relay.example.net", "postmaster@example.net")
    (order,) = orders(refused, [fate], us)
    copy = await copy_of(refused.content, order, refused)
    made = write_report(order, refused, copy, us, arrived=0, expires=0, now=0, token="0123456789abcdefghij")
    returned = Letter("AAAAAAAAAAAAA", "", Octets(made.content), body=made.body, smtputf8=made.smtputf8)
    async with Talker().listening() as home:
        (fate,), _ = await attempt([target(home, "mx.example.com")], [Addressee(made.to)], message=returned)
    assert fate.end is End.DELIVERED
    assert [line.partition(" ")[2].partition(">")[0] for line in home.heard[1:3]] == ["FROM:<", f"TO:<{sender}"]
    (received,) = home.messages
    assert received == made.content
    assert b"nobody of that name" in received
