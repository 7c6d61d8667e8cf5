"""The judge that asks who vouches for a message, and the DNS as it asks it."""

import asyncio
from ipaddress import ip_address

import pytest

from mx10.dns import rrtypes as rr
from mx10.dns.message import Record
from mx10.mailauth.asking import ABSENT, FAILED, Found, Status
from mx10.relay.courier.send import Octets
from mx10.relay.door.values import Visitor
from mx10.relay.door.vouch import Voucher, asking
from mx10.relay.values import Envelope, NewRecipient
from mx10.resolver.answer import Answer
from tests.mailauth.signing import rsa_record, signed
from tests.mailauth.test_dkim import BODY, HEADER, NOW
from tests.routing.dns_world import World, name

WORLD = """
example.org A 192.0.2.1
example.org AAAA 2001:db8::1
example.org MX 10 mx.example.org.
null.example MX 0 .
1.2.0.192.in-addr.arpa PTR mx.example.org.
slow.example ! SERVFAIL
"""
APART = (NewRecipient("bob@example.com"), NewRecipient("who@example.com", apart=True))


def add_text(world: World, owner: str, text: str) -> None:
    """A TXT record, in strings of 100 octets."""
    pieces = [text[at : at + 100].encode() for at in range(0, len(text), 100)]
    data = b"".join(bytes([len(piece)]) + piece for piece in pieces)
    world.names.add(name(owner))
    world.records.setdefault((name(owner), rr.TXT), []).append(Record(name(owner), rr.TXT, 1, 300, data))


@pytest.fixture
def world() -> World:
    made = World(WORLD)
    add_text(made, "example.org", "v=spf1 ip4:192.0.2.1 -all")
    add_text(made, "sel._domainkey.example.org", rsa_record())
    return made


def visitor(address: str = "192.0.2.1", **more: object) -> Visitor:
    return Visitor(ip_address(address).packed, 4711, "192.0.2.9:25", "mx", "mx.example.org", **more)  # type: ignore[arg-type]


async def test_the_dns_as_mailauth_asks_it(world: World) -> None:
    ask = asking(world)
    assert await ask("Example.org.", "TXT") == Found(Status.FOUND, (b"v=spf1 ip4:192.0.2.1 -all",))
    assert (await ask("sel._domainkey.example.org", "TXT")).texts == (rsa_record().encode(),)
    assert (await ask("example.org", "A")).addresses == (b"\xc0\0\2\1",)
    assert (await ask("example.org", "AAAA")).addresses == (ip_address("2001:db8::1").packed,)
    assert (await ask("example.org", "MX")).hosts == ((10, "mx.example.org"),)
    assert (await ask("null.example", "MX")).hosts == ((0, ""),)
    assert (await ask("1.2.0.192.in-addr.arpa", "PTR")).texts == (b"mx.example.org",)
    assert await ask("slow.example", "A") == FAILED
    for wrong in ("none.example", "a..b", "x" * 64 + ".example", "", "a\\.b", "é" * 40 + ".example"):
        assert await ask(wrong, "A") == ABSENT


async def test_what_it_finds(world: World) -> None:
    judge = Voucher(world, "mx.example.net", lambda: NOW * 1000, "apart")
    plain = Octets(HEADER.encode() + b"\r\n" + BODY)
    found = await judge(visitor(), Envelope("ann@example.org"), APART, plain)
    assert (found.reply, found.vouched) == (None, ("example.org",))
    assert found.head.startswith(b"Authentication-Results: mx.example.net;\r\n\tspf=pass ")
    found = await judge(visitor("192.0.2.2"), Envelope("ann@example.org"), APART, plain)
    assert found.vouched == ()
    found = await judge(visitor("192.0.2.2"), Envelope("ann@example.org"), APART, Octets(signed(HEADER, BODY)))
    assert found.vouched == ("example.org",)
    assert judge.counts == {("sender", "vouched"): 2, ("sender", "nobody"): 1}


async def test_which_messages_it_looks_at(world: World) -> None:
    known = (NewRecipient("bob@example.com"),)
    envelope, bounce = Envelope("ann@example.org"), Envelope("")
    judge = Voucher(world, "mx.example.net", lambda: 0, "apart")
    assert judge.wants(visitor(), envelope, APART)
    assert not judge.wants(visitor(), envelope, known)
    assert not judge.wants(visitor(), bounce, APART)
    assert not judge.wants(visitor(trusted=True), envelope, APART)
    judge = Voucher(world, "mx.example.net", lambda: 0, "always")
    assert judge.wants(visitor(), envelope, known)
    assert judge.wants(visitor(), bounce, known)
    assert not judge.wants(visitor(user="ann"), envelope, known)


async def test_a_dns_that_is_silent_keeps_no_message_for_ever() -> None:
    class Silent:
        async def resolve(self, name: bytes, rrtype: int) -> Answer:
            await asyncio.Event().wait()
            raise AssertionError

    judge = Voucher(Silent(), "mx.example.net", lambda: 0, "apart", seconds=0.05)
    found = await judge(visitor(), Envelope("ann@example.org"), APART, Octets(b"\r\n"))
    assert (found.reply, found.vouched, found.head) == (None, (), b"")
    assert judge.counts == {("sender", "late"): 1}
