"""The recursive address: what a client may ask it, and what it is told."""

import asyncio
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mx10.dns import message as m
from mx10.dns import rrtypes as rr
from mx10.dns.message import parse
from mx10.dns.wirename import from_text
from mx10.lab.forwarder import Forwarder
from mx10.resolver.asking import Transport
from mx10.resolver.iterate import Iterator
from tests.lab.asking import Client, extended_error, words
from tests.lab.conftest import Start


async def test_why_it_failed_is_told(start: Start) -> None:
    client = Client(await start())
    message = await client("lame.test")
    assert message.rcode == rr.Rcode.SERVFAIL
    code, text = extended_error(message)
    assert code == 22
    assert text == "no nameserver of lame.test answers: 127.53.2.20 cannot be asked (Connection refused)"
    message = await client("loop.aliases.test")
    assert extended_error(message) == (0, "the aliases go round in a circle at loop.aliases.test")
    # What was found on the way goes along.
    assert words(message.answer) == [
        "loop.aliases.test. CNAME pool.aliases.test.",
        "pool.aliases.test. CNAME loop.aliases.test.",
    ]


async def test_an_absence_comes_with_the_soa(start: Start) -> None:
    client = Client(await start())
    missing = await client("missing.example")
    assert [record.type for record in missing.authority] == [rr.SOA]
    nothing = await client("nothing.aliases.test")
    assert (nothing.rcode, len(nothing.answer)) == (rr.Rcode.NOERROR, 1)
    assert [record.name for record in nothing.authority] == [from_text("nomail.example.")]


async def test_what_does_not_fit_comes_over_tcp(start: Start) -> None:
    client = Client(await start())
    query = m.make_query(from_text("many.test."), rr.MX, id=7)
    response = parse(await client.packet(query) or b"")
    assert response.tc
    assert not response.answer
    assert len((await client("many.test")).answer) == 40
    assert len((await client("crowd.test", transport=Transport.TCP)).answer) == 120


@pytest.mark.parametrize(
    ("name", "payload", "truncated"),
    [
        ("many.test.", 65535, True),
        ("many.test.", 0, True),
        ("long1.aliases.test.", 512, False),
        ("single.example.", 0, False),
    ],
)
async def test_no_answer_is_larger_than_the_client_takes(
    start: Start, name: str, payload: int, truncated: bool
) -> None:
    client = Client(await start())
    response = await client.packet(m.make_query(from_text(name), rr.MX, id=7, payload=payload)) or b""
    assert len(response) <= min(max(payload, 512), 1232)
    assert parse(response).tc == truncated


async def test_without_recursion_desired_there_is_nothing_to_be_had(start: Start) -> None:
    client = Client(await start())
    for rd, rcode in ((True, rr.Rcode.NOERROR), (False, rr.Rcode.REFUSED)):
        message = parse(await client.packet(m.make_query(from_text("single.example."), rr.MX, id=7, rd=rd)) or b"")
        assert (message.rcode, message.ra, message.rd) == (rcode, True, rd)


async def test_the_case_of_the_question_comes_back(start: Start) -> None:
    client = Client(await start())
    message = parse(await client.packet(m.make_query(from_text("SiNgLe.eXample."), rr.MX, id=7)) or b"")
    assert message.question == m.Question(from_text("SiNgLe.eXample."), rr.MX)
    assert words(message.answer) == ["SiNgLe.eXample. MX 10 mail.SiNgLe.eXample."]


async def test_many_questions_on_one_connection(start: Start) -> None:
    lab = await start()
    reader, writer = await asyncio.open_connection(*lab.address)
    names = ["single.example", "silent.test", "equal.example", "slow.test", *["backup.example"] * 60]
    for number, name in enumerate(names):
        query = m.make_query(from_text(name + "."), rr.MX, id=number)
        writer.write(struct.pack("!H", len(query)) + query)
    # Nothing more is asked; the answers still come, the quick before the slow.
    writer.write_eof()
    order = []
    for _ in names:
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        order.append(parse(await reader.readexactly(length)).id)
    assert sorted(order) == list(range(len(names)))
    assert order[-1] == 1
    assert await reader.read() == b""
    writer.close()


async def test_who_it_is(start: Start) -> None:
    client = Client(await start())
    query = m.make_query(from_text("id.server."), rr.TXT, id=7, klass=rr.CH)
    assert [record.rdata for record in parse(await client.packet(query) or b"").answer] == [b"\x08mx10 lab"]


@pytest.mark.parametrize(
    ("rrtype", "rcode"),
    [
        (rr.AXFR, rr.Rcode.REFUSED),
        (rr.IXFR, rr.Rcode.REFUSED),
        (rr.MAILB, rr.Rcode.NOTIMP),
        (rr.TSIG, rr.Rcode.FORMERR),
    ],
)
async def test_types_that_are_no_data(rrtype: int, rcode: int) -> None:
    forwarder = Forwarder(Iterator(["127.53.0.1"], 1))
    response = await forwarder.answer(m.make_query(from_text("example."), rrtype, id=7), True)
    assert parse(response or b"").rcode == rcode


@given(
    st.binary(max_size=80)
    | st.builds(lambda tail: m.make_query(b"\0", rr.MX, id=1)[:-1] + tail, st.binary(max_size=20))
)
@settings(max_examples=300)
def test_any_octets_get_a_response_that_parses_or_silence(packet: bytes) -> None:
    async def no_server(*_: object) -> m.Message:
        raise TimeoutError

    async def ask() -> None:
        forwarder = Forwarder(Iterator(["127.53.0.1"], 1, ask=no_server))
        for udp in (True, False):
            response = await forwarder.answer(packet, udp)
            if response is not None:
                assert parse(response).id == int.from_bytes(packet[:2], "big")
                assert not udp or len(response) <= 1232

    asyncio.run(ask())
