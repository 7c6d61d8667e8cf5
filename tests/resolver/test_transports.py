"""What of the packets that come back is believed: only an answer to the question asked."""

import asyncio
import contextlib
import socket
from dataclasses import replace

import pytest

from mx10.dns import message as m
from mx10.dns import rrtypes as rr
from mx10.dns.message import Message, Question
from mx10.dns.wirename import fold
from mx10.resolver.asking import Asking, Server, Transport, TransportError, mixed_case
from mx10.resolver.transports import WRONG_PACKETS, Exchanger, ask_server
from tests.resolver.hostile import SHORT, Behaviour, Hostile, Reply, response, silent, unused_port
from tests.resolver.internet import name, record

NAME = name("mail.example.")
RIGHT = record("mail.example. A 192.0.2.1")


def right(query: Message) -> Message:
    return response(query, [RIGHT])


async def ask(server: Server, seconds: float = 5, asking: Asking | None = None) -> Message:
    exchanger = Exchanger(server)
    try:
        return await exchanger.ask(NAME, rr.A, seconds, asking or Asking())
    finally:
        await exchanger.close()


async def test_a_right_answer_with_the_letters_that_were_asked_for() -> None:
    async with Hostile(right) as hostile:
        answer = await ask(hostile.server)
    assert answer.question == Question(NAME, rr.A)
    assert answer.answer == (RIGHT,)
    assert hostile.transports == ["udp"]
    assert hostile.asked[0].question is not None
    assert fold(hostile.asked[0].question.name) == NAME


def wrong_id(query: Message) -> Message:
    return replace(right(query), id=query.id ^ 1)


def wrong_name(query: Message) -> Message:
    return replace(right(query), question=Question(name("other.example."), rr.A))


def wrong_type(query: Message) -> Message:
    assert query.question
    return replace(right(query), question=replace(query.question, type=rr.AAAA))


def wrong_class(query: Message) -> Message:
    assert query.question
    return replace(right(query), question=replace(query.question, klass=rr.CH))


def no_question(query: Message) -> Message:
    return replace(right(query), question=None)


def a_query(query: Message) -> Message:
    return replace(right(query), flags=m.RD)


def other_opcode(query: Message) -> Message:
    return replace(right(query), flags=m.QR | 4 << 11)


def garbage(query: Message) -> bytes:
    return b"\xff" * 40


def own_id_and_garbage(query: Message) -> bytes:
    return query.id.to_bytes(2, "big") + b"\xff" * 40


def empty(query: Message) -> bytes:
    return b""


def cut_off(query: Message) -> bytes:
    return m.encode(right(query))[:-3]


def with_a_tail(query: Message) -> bytes:
    return m.encode(right(query)) + b"tail"


WRONG = [
    wrong_id, wrong_name, wrong_type, wrong_class, no_question, a_query, other_opcode, garbage, own_id_and_garbage,
    empty, cut_off, with_a_tail,
]  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
async def test_a_wrong_packet_is_passed_over_and_the_right_one_behind_it_taken(wrong: Behaviour) -> None:
    def both(query: Message) -> list[Reply]:
        return [wrong(query), right(query)]  # type: ignore[list-item]  # these give one packet

    async with Hostile(both) as hostile:
        assert (await ask(hostile.server)).answer == (RIGHT,)
    async with Hostile(wrong) as hostile:
        with pytest.raises(TimeoutError):
            await ask(hostile.server, 0.05)


async def test_so_many_wrong_packets_and_no_more() -> None:
    async with Hostile(lambda query: [wrong_id(query)] * (WRONG_PACKETS + 1)) as hostile:
        with pytest.raises(TransportError, match=f"{WRONG_PACKETS} packets"):
            await ask(hostile.server, 5)


async def test_another_source_is_not_heard() -> None:
    """The right answer from another port, or another address, is nobody's (RFC 5452 section 9.1)."""

    async def elsewhere(query: Message) -> None:
        for address in ("127.0.0.1", "127.0.0.2"):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.bind((address, 0))
                sock.sendto(m.encode(right(query)), ("127.0.0.1", hostile.sources[-1]))

    async with Hostile(elsewhere) as hostile:
        with pytest.raises(TimeoutError):
            await ask(hostile.server, 0.1)


async def test_a_server_that_does_not_keep_the_case_is_asked_over_tcp() -> None:
    def lower(query: Message) -> Message:
        assert query.question
        return replace(right(query), question=replace(query.question, name=fold(query.question.name).upper()))

    async with Hostile(lower, right) as hostile:
        assert (await ask(hostile.server)).answer == (RIGHT,)
    assert hostile.transports == ["udp", "tcp"]


async def test_truncated_answers_are_asked_for_over_tcp() -> None:
    async with Hostile(lambda query: replace(response(query), flags=m.QR | m.TC), right) as hostile:
        assert (await ask(hostile.server)).answer == (RIGHT,)
    assert hostile.transports == ["udp", "tcp"]


async def test_truncated_without_tcp() -> None:
    async with Hostile(lambda query: replace(response(query), flags=m.QR | m.TC), lambda query: b"") as hostile:
        with pytest.raises(TransportError, match="closed"):
            await ask(hostile.server)


@pytest.mark.parametrize("rcode", [rr.Rcode.FORMERR, rr.Rcode.NOTIMP])
@pytest.mark.parametrize("with_question", [True, False])
async def test_a_server_from_before_edns_is_asked_plainly(rcode: int, with_question: bool) -> None:
    def old(query: Message) -> Message:
        if query.edns is None:
            return right(query)
        said = replace(response(query, rcode=rcode), edns=None)
        return said if with_question else replace(said, question=None)

    async with Hostile(old) as hostile:
        assert (await ask(hostile.server)).answer == (RIGHT,)
    assert [query.edns is None for query in hostile.asked] == [False, True]


async def test_a_server_that_sends_the_question_back_is_asked_plainly() -> None:
    """With its OPT record, and FORMERR in it: RFC 6891 section 7 would have it without."""

    def echo(query: Message) -> Message:
        return right(query) if query.edns is None else replace(query, flags=query.flags | m.QR, rcode=rr.Rcode.FORMERR)

    async with Hostile(echo) as hostile:
        assert (await ask(hostile.server)).answer == (RIGHT,)
    assert [query.edns is None for query in hostile.asked] == [False, True]


@pytest.mark.parametrize("rcode", [rr.Rcode.REFUSED, rr.Rcode.SERVFAIL, rr.Rcode.NOTIMP])
async def test_a_refusal_with_edns_is_no_reason_to_ask_plainly(rcode: int) -> None:
    async with Hostile(lambda query: response(query, rcode=rcode)) as hostile:
        assert (await ask(hostile.server)).rcode == rcode
    assert len(hostile.asked) == 1


async def test_a_connection_that_died_without_a_word_is_left() -> None:
    """The first one answers once and never again; what is still asked on it has its time, the next question a new
    one."""
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        dying = connections == 1
        answered = False
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                packet = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
                if not (dying and answered):
                    reply = m.encode(right(m.parse(packet)))
                    writer.write(len(reply).to_bytes(2, "big") + reply)
                answered = True
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        exchanger = Exchanger(Server("127.0.0.1", port, Transport.TCP))
        asked = [await exchanger.ask(NAME, rr.A, 5, Asking())]
        with pytest.raises(TimeoutError):
            await exchanger.ask(NAME, rr.A, 0.1, Asking())
        asked += [await exchanger.ask(NAME, rr.A, 5, Asking()) for _ in range(3)]
        await exchanger.close()
    assert [one.answer for one in asked] == [(RIGHT,)] * 4
    assert connections == 2


async def test_an_address_of_a_link() -> None:
    """As routers announce themselves: ``nameserver fe80::1%eth0``."""
    loopback = socket.if_nametoindex("lo")
    for zone in ("lo", str(loopback)):
        # Nobody is there; but it is the net that says so, and not the socket that the address is wrong.
        with pytest.raises(TransportError, match=r"unreachable|refused|assign"):
            await ask(Server(f"fe80::1%{zone}", unused_port()))
    for zone in ("nosuch0", "9" * 30):
        with pytest.raises(TransportError, match="no interface with this name"):
            await ask(Server(f"fe80::1%{zone}", unused_port()))


async def test_nobody_there() -> None:
    for transport in (Transport.UDP, Transport.TCP, Transport.TLS, Transport.HTTPS):
        with pytest.raises(TransportError, match="Connection refused"):
            await ask(Server("127.0.0.1", unused_port(), transport), 3)


async def test_silence_ends_at_the_time_given() -> None:
    async with Hostile(silent) as hostile:
        for transport in (Transport.UDP, Transport.TCP, Transport.TLS, Transport.HTTPS):
            started = asyncio.get_running_loop().time()
            with pytest.raises(TimeoutError):
                await ask(hostile.over(transport), 1)
            assert asyncio.get_running_loop().time() - started < 2


@pytest.mark.parametrize("wrong", [wrong_name, garbage, own_id_and_garbage, cut_off, a_query])
async def test_nonsense_over_tcp(wrong: Behaviour) -> None:
    async with Hostile(wrong) as hostile:
        with pytest.raises((TransportError, TimeoutError)):
            await ask(hostile.over(Transport.TCP), 0.1)


async def test_many_questions_on_one_stream_answered_in_another_order() -> None:
    held: list[Message] = []

    def reversed_order(query: Message) -> list[Reply]:
        held.append(query)
        return [right(one) for one in reversed(held)] if len(held) == 10 else []

    async with Hostile(reversed_order) as hostile:
        exchanger = Exchanger(hostile.over(Transport.TCP))
        answers = await asyncio.gather(*(exchanger.ask(NAME, rr.A, 1, Asking()) for _ in range(10)))
        await exchanger.close()
    assert [answer.answer for answer in answers] == [(RIGHT,)] * 10
    assert len({query.id for query in held}) == 10


async def test_a_stream_that_the_server_closed_is_opened_again() -> None:
    def one_each(query: Message) -> list[Reply]:
        return [right(query), b""]

    async with Hostile(one_each) as hostile:
        exchanger = Exchanger(hostile.over(Transport.TCP))
        for _ in range(3):
            assert (await exchanger.ask(NAME, rr.A, 1, Asking())).answer == (RIGHT,)
        await exchanger.close()


async def test_ids_ports_and_letters_are_drawn_anew() -> None:
    async with Hostile(right) as hostile:
        for _ in range(30):
            await ask(hostile.server)
    assert len({query.id for query in hostile.asked}) > 25
    assert len(set(hostile.sources)) > 25
    assert len({query.question and query.question.name for query in hostile.asked}) > 25


def test_mixed_case_changes_letters_alone() -> None:
    wire = name("a-1_.\\000\\200z\\064\\091.example.")
    for _ in range(50):
        assert fold(mixed_case(wire)) == wire


async def test_an_authoritative_server_is_not_asked_to_recurse() -> None:
    async with Hostile(right) as hostile:
        await ask_server("127.0.0.1", hostile.port, NAME, rr.A, 0.3, SHORT)
    assert not hostile.asked[0].rd


@pytest.mark.parametrize(
    ("server", "text"),
    [
        (Server("192.0.2.1"), "192.0.2.1"),
        (Server("192.0.2.1", 5300), "192.0.2.1:5300"),
        (Server("2001:db8::1", 5300), "[2001:db8::1]:5300"),
        (Server("2001:db8::1", 853, Transport.TLS), "2001:db8::1"),
        (Server("2001:db8::1", 443, Transport.HTTPS), "https://[2001:db8::1]/dns-query"),
        (Server("192.0.2.1", 8443, Transport.HTTPS, "dns.example", "/q"), "https://dns.example:8443/q"),
    ],
)
def test_servers_as_text(server: Server, text: str) -> None:
    assert str(server) == text
