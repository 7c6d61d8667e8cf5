"""Filters: what goes over the wire, what comes of it, and what becomes of mail when a filter is out of order."""

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mx10.relay.courier.values import Content
from mx10.relay.door.door import Judged
from mx10.relay.door.filters import Filters, FilterSyntaxError, parse_filters
from mx10.relay.door.filters import milter_wire as wire
from mx10.relay.door.filters.edits import Edited, apply, edit_of, fields_of, split
from mx10.relay.door.filters.milter_wire import Packets, negotiated, packet, refusal
from mx10.relay.door.filters.rspamd import MAX_ANSWER, verdict_of
from mx10.relay.door.filters.values import Edit, FilterError, Verdict
from mx10.relay.door.values import Visitor
from mx10.relay.spool.bodies import InMemory
from mx10.relay.values import Envelope, NewRecipient
from tests.relay.door.filters.scripted import CONTINUE, Http, Milter, agree, ok

MESSAGE = b"From: ann@example.net\r\nSubject: hello\r\n\tfolded\r\nTo: x@example.org\r\n\r\nline one\r\n.line two\r\n"
VISITOR = Visitor(bytes((192, 0, 2, 1)), 4711, "192.0.2.25:25", "mx", helo="client.example.net", esmtp=True)
ENVELOPE = Envelope("ann@example.net", body="8BITMIME", smtputf8=True)
RECIPIENTS = [NewRecipient("x@example.org"), NewRecipient("y@example.org")]


class InPieces:
    """Content that comes in pieces of a size."""

    def __init__(self, data: bytes, size: int) -> None:
        self.data, self.step, self.size = data, size, len(data)

    async def chunks(self) -> AsyncIterator[bytes]:
        for at in range(0, self.size, self.step):
            yield self.data[at : at + self.step]


async def whole(content: Content | None) -> bytes:
    assert content is not None
    data = b"".join([chunk async for chunk in content.chunks()])
    assert len(data) == content.size
    return data


def filters(*lines: str, seconds: float = 5.0, accept: bool = False) -> Filters:
    return Filters(parse_filters(lines, "mx.example.org", seconds), seconds, accept=accept)


async def judged(
    milter: Milter, *, content: Content | None = None, visitor: Visitor = VISITOR, **more: Any
) -> tuple[Judged, Filters]:
    async with milter.listening():
        asked = filters(f"milter:127.0.0.1:{milter.port}", **more)
        return await asked.judge(visitor, ENVELOPE, RECIPIENTS, content or InMemory(MESSAGE)), asked


# Messages


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, 1000])
async def test_headers_are_found_however_they_come(size: int) -> None:
    fields, skip = await split(InPieces(MESSAGE, size))
    assert fields == [b"From: ann@example.net\r\n", b"Subject: hello\r\n\tfolded\r\n", b"To: x@example.org\r\n"]
    assert MESSAGE[skip:] == b"line one\r\n.line two\r\n"
    assert await whole(Edited(fields, InPieces(MESSAGE, size), skip)) == MESSAGE


@pytest.mark.parametrize(
    ("message", "fields", "skip"),
    [
        (b"\r\nbody\r\n", [], 2),
        (b"A: b\r\n", [b"A: b\r\n"], 6),
        (b"A: b\r\n\r\n", [b"A: b\r\n"], 8),
        (b"A: b", [b"A: b"], 4),
        (b"", [], 0),
    ],
)
async def test_odd_messages(message: bytes, fields: list[bytes], skip: int) -> None:
    assert await split(InMemory(message)) == (fields, skip)


async def test_a_header_without_an_end_is_not_read_for_ever() -> None:
    with pytest.raises(FilterError, match="too long"):
        await split(InMemory(b"A: b\r\n" * 100_000))


def edit(kind: Any, index: int, name: str, value: str = "") -> Edit:
    return edit_of(kind, index, name.encode(), value.encode())


@pytest.mark.parametrize(
    ("edits", "expected"),
    [
        ([edit("add", 0, "D", "4")], "A: 1|B: 2|a: 3|D: 4"),
        ([edit("insert", 0, "D", "4")], "D: 4|A: 1|B: 2|a: 3"),
        ([edit("insert", 1, "D", "4")], "A: 1|D: 4|B: 2|a: 3"),
        ([edit("insert", 99, "D", "4")], "A: 1|B: 2|a: 3|D: 4"),
        ([edit("change", 1, "a", "x")], "a: x|B: 2|a: 3"),
        ([edit("change", 2, "A", "x")], "A: 1|B: 2|A: x"),
        ([edit("change", 3, "A", "x")], "A: 1|B: 2|a: 3|A: x"),
        ([edit("change", 1, "A")], "B: 2|a: 3"),
        ([edit("change", 1, "A"), edit("change", 1, "A")], "B: 2"),
        ([edit("change", 1, "Z")], "A: 1|B: 2|a: 3"),
        ([edit("remove", 0, "A")], "B: 2"),
        ([edit("remove", 2, "A")], "A: 1|B: 2"),
        ([edit("remove", -1, "A")], "A: 1|B: 2"),
        ([edit("remove", -9, "Z")], "A: 1|B: 2|a: 3"),
    ],
)
def test_changes_of_the_header(edits: list[Edit], expected: str) -> None:
    fields = fields_of(b"A: 1\r\nB: 2\r\na: 3\r\n")
    assert apply(fields, edits) == [f"{each}\r\n".encode() for each in expected.split("|")]


def test_nobody_writes_a_second_field_or_the_end_of_the_header() -> None:
    assert edit("add", 0, "A", "one\r\nBcc: evil\r\n\r\nbody").value == b"one\r\n\tBcc: evil\r\n\tbody"
    assert edit("add", 0, "A", "one\n two\r\r\nthree").value == b"one\r\n two\r\n\tthree"
    for name, value in ((b"", b"x"), (b"A:", b"x"), (b"A B", b"x"), (b"\xff", b"x"), (b"A\r\n", b"x"), (b"A", b"\0")):
        with pytest.raises(FilterError):
            edit_of("add", 0, name, value)
    with pytest.raises(FilterError):
        edit_of("add", 0, b"A", b"x" * 100_000)


@given(
    st.binary(max_size=200),
    st.lists(
        st.tuples(st.sampled_from(["add", "insert", "change", "remove"]), st.integers(-3, 5), st.binary(max_size=30)),
        max_size=5,
    ),
)
def test_whatever_filters_want_a_header_stays_a_header(head: bytes, wanted: list[tuple[Any, int, bytes]]) -> None:
    fields = fields_of(head.replace(b"\r\n\r\n", b"\r\n").removeprefix(b"\r\n"))
    edits = []
    for kind, index, value in wanted:
        try:
            edits.append(edit_of(kind, max(index, 0) if kind == "insert" else index, b"X-Test", value))
        except FilterError:
            continue
    added = b"".join(each for each in apply(fields, edits) if each.startswith(b"X-Test:"))
    for line in added.split(b"\r\n")[:-1]:
        assert line.startswith((b"X-Test:", b"\t", b" "))
        assert line.strip()
        assert b"\n" not in line
        assert b"\r" not in line


# The milter protocol: octets


@given(st.lists(st.tuples(st.sampled_from("cardty"), st.binary(max_size=50)), max_size=10), st.integers(1, 9))
def test_packets_however_they_come(packets: list[tuple[str, bytes]], step: int) -> None:
    stream = b"".join(packet(letter, data) for letter, data in packets)
    reader, found = Packets(), []
    for at in range(0, len(stream), step):
        found += reader.feed(stream[at : at + step])
    assert found == packets


def test_packets_that_are_none() -> None:
    for wrong in (
        b"\0\0\0\0",
        b"\xff\xff\xff\xff",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"220 mx.example.org ESMTP\r\n",
    ):
        with pytest.raises(FilterError):
            Packets().feed(wrong)


def test_what_can_be_agreed_on() -> None:
    assert negotiated("O", agree(2, 0x3F, 0x7F)[5:]).version == 2
    for letter, data in (
        ("c", b""),
        ("O", b"short"),
        ("O", agree(7)[5:]),
        ("O", agree(1)[5:]),
        ("O", agree(6, 0, 0x800)[5:]),
    ):
        with pytest.raises(FilterError):
            negotiated(letter, data)


@pytest.mark.parametrize(
    ("letter", "data", "reply"),
    [
        ("r", b"", "550 5.7.1 a filter here does not want this message; ask the recipient another way"),
        ("t", b"", "451 4.7.1 a filter here does not want this message now; send it again later"),
        ("y", b"554 5.7.9 virus %%found\0", "554 5.7.9 virus %found"),
        ("y", b"451 greylisted\0", "451 4.7.1 greylisted"),
        ("y", b"550 4.7.1 no\0", "550 5.7.1 no"),
        ("y", b"550-5.7.1 one\r\n550 5.7.1 two\0", "550 5.7.1 one two"),
        ("y", b"550\0", "550 5.7.1 a filter here does not want this message; ask the recipient another way"),
        ("y", b"250 2.0.0 ok\0", "550 5.7.1 a filter here does not want this message; ask the recipient another way"),
        ("y", b"nonsense\0", "550 5.7.1 a filter here does not want this message; ask the recipient another way"),
        ("y", b"", "550 5.7.1 a filter here does not want this message; ask the recipient another way"),
    ],
)
def test_what_clients_are_told(letter: str, data: bytes, reply: str) -> None:
    assert str(refusal(letter, data)) == reply


@given(st.sampled_from("rty"), st.binary(max_size=100))
def test_whatever_a_filter_says_clients_are_told_one_line_of_refusal(letter: str, data: bytes) -> None:
    octets = refusal(letter, data).octets()
    assert octets[:1] in b"45"
    assert octets.count(b"\n") == 1


@given(st.lists(st.tuples(st.sampled_from("himb+2-qecadrtyspfz"), st.binary(max_size=40)), max_size=8))
def test_whatever_a_filter_changes_it_is_done_or_refused(packets: list[tuple[str, bytes]]) -> None:
    changes = wire.Changes()
    with contextlib.suppress(FilterError):
        for letter, data in packets:
            changes.take(letter, data)
    verdict = changes.verdict()
    assert not any("\r" in each or "\n" in each for each in (*verdict.added, *verdict.removed, verdict.sender or ""))
    assert verdict.body is None or b"\n" not in verdict.body.replace(b"\r\n", b"")


async def test_filters_that_talk_nonsense() -> None:
    chance = random.Random(7)
    letters = b"OhimbqeCcadrtysp+-\0\xff"
    for _ in range(150):
        script: dict[str, Any] = {}
        for letter in chance.sample("OCHMRTLNBE", 3):
            said = bytes(chance.choices(letters, k=chance.randrange(1, 30)))
            framed = (len(said)).to_bytes(4, "big") + said
            script[letter] = chance.choice([said, framed, framed + CONTINUE])
        said_, _ = await judged(Milter(script), seconds=0.05)
        assert isinstance(said_, Judged)


# The milter protocol: conversations


async def test_a_filter_hears_all_of_a_message() -> None:
    milter = Milter(dribble=True)
    visitor = Visitor(bytes((192, 0, 2, 1)), 4711, "", "submission", "laptop", tls="TLSv1.3 X", user="ada")
    said, asked = await judged(milter, content=InPieces(MESSAGE, 11), visitor=visitor)
    assert said == Judged()
    assert not asked.counts
    commands = [(letter, data) for letter, data in milter.heard if letter not in "DO"]
    assert commands[:9] == [
        ("C", b"[192.0.2.1]\x004\x12\x67192.0.2.1\0"),
        ("H", b"laptop\0"),
        ("M", b"<ann@example.net>\0BODY=8BITMIME\0SMTPUTF8\0"),
        ("R", b"<x@example.org>\0"),
        ("R", b"<y@example.org>\0"),
        ("T", b""),
        ("L", b"From\0ann@example.net\0"),
        ("L", b"Subject\0hello\n\tfolded\0"),
        ("L", b"To\0x@example.org\0"),
    ]
    assert commands[9] == ("N", b"")
    assert b"".join(milter.said("B")) == b"line one\r\n.line two\r\n"
    assert commands[-1][0] in "EQ"
    macros = b"".join(milter.said("D"))
    for name in (
        b"Cj\0mx.example.org\0",
        b"{auth_authen}\0ada\0",
        b"{tls_version}\0TLSv1.3\0",
        b"{rcpt_addr}\0x@example.org\0",
    ):
        assert name in macros


async def test_a_filter_hears_what_it_wants_and_is_not_waited_for_where_it_is_silent() -> None:
    steps = (
        wire.SKIPS["C"] | wire.SKIPS["H"] | wire.SKIPS["B"] | wire.SILENT["R"] | wire.SILENT["L"] | wire.LEADING_SPACE
    )
    milter = Milter({"O": agree(6, 0xFF, steps)}, silent="RL")
    said, _ = await judged(milter)
    assert said == Judged()
    assert not milter.said("C")
    assert not milter.said("B")
    assert milter.said("L")[0] == b"From\0 ann@example.net\0"


async def test_a_filter_that_saw_enough_gets_no_more_of_the_body() -> None:
    milter = Milter({"B": packet("s")})
    said, _ = await judged(milter, content=InMemory(MESSAGE + b"x" * 1_000_000))
    assert said == Judged()
    assert len(milter.said("B")) == 1


async def test_bodies_come_in_packets_that_a_filter_can_hold() -> None:
    milter = Milter({"O": agree(6, 0, wire.SILENT["B"])}, silent="B")
    body = bytes(range(1, 200)) * 2000
    await judged(milter, content=InPieces(MESSAGE + body, 300_000))
    assert max(map(len, milter.said("B"))) <= wire.CHUNK
    assert b"".join(milter.said("B")).endswith(body)


@pytest.mark.parametrize("letter", "CHMRTLNBE")
@pytest.mark.parametrize(
    ("answer", "reply", "discarded"),
    [
        (packet("r"), "550 5.7.1", False),
        (packet("t"), "451 4.7.1", False),
        (packet("y", b"554 5.6.0 virus\0"), "554 5.6.0 virus", False),
        (packet("d"), "", True),
        (packet("a"), "", False),
    ],
)
async def test_decisions_at_every_step(letter: str, answer: bytes, reply: str, discarded: bool) -> None:
    said, _ = await judged(Milter({letter: answer}))
    assert (str(said.reply).startswith(reply) if reply else said.reply is None) is True
    assert said.discarded == discarded


async def test_changes_at_the_end() -> None:
    changes = (
        packet("h", b"X-Added\0yes\0")
        + packet("p")
        + packet("i", b"\0\0\0\0X-First\0one\n two\0")
        + packet("m", b"\0\0\0\1Subject\0better\0")
        + packet("m", b"\0\0\0\1To\0\0")
        + packet("b", b"new\r\nbo")
        + packet("b", b"dy\n")
        + packet("e", b"<bounce@example.net>\0")
        + packet("+", b"<new@EXAMPLE.org>\0")
        + packet("-", b"<Y@example.org>\0")
        + packet("q", b"looks odd\0")
        + CONTINUE
    )
    for dribble in (False, True):
        said, _ = await judged(Milter({"E": changes}, dribble=dribble))
        assert await whole(said.content) == (
            b"X-First: one\r\n two\r\nFrom: ann@example.net\r\nSubject: better\r\nX-Added: yes\r\n\r\nnew\r\nbody\r\n"
        )
        assert said.reverse_path == "bounce@example.net"
        assert said.recipients is not None
        assert [each.address for each in said.recipients] == ["x@example.org", "new@example.org"]
        assert said.recipients[1].notify == frozenset()
        assert said.held == "looks odd"


async def test_values_with_their_white_space() -> None:
    changes = packet("h", b"A\0  two\0") + packet("h", b"B\0none\0") + CONTINUE
    said, _ = await judged(Milter({"O": agree(6, 0xFF, wire.LEADING_SPACE), "E": changes}))
    assert b"A:  two\r\nB:none\r\n" in await whole(said.content)


async def test_a_message_without_recipients_goes_nowhere() -> None:
    gone = packet("-", b"<x@example.org>\0") + packet("-", b"<y@example.org>\0") + CONTINUE
    said, _ = await judged(Milter({"E": gone}))
    assert said.discarded


async def test_changes_before_a_refusal_are_none() -> None:
    said, _ = await judged(Milter({"E": packet("h", b"A\0b\0") + packet("r")}))
    assert said.content is None
    assert said.reply is not None


OUT_OF_ORDER: list[Any] = [
    {"O": "close"},
    {"O": "stall"},
    {"O": b"220 mx.example.org ESMTP\r\n"},
    {"O": agree(9)},
    {"C": "close"},
    {"L": "stall"},
    {"B": "close"},
    {"E": "close"},
    {"E": "stall"},
    {"E": packet("p") * 50 + b"\0\0"},
    {"E": packet("z")},
    {"M": packet("h", b"A\0b\0")},
    {"E": packet("h", b"A")},
    {"E": packet("m", b"\0\0")},
    {"E": packet("h", b"A B\0x\0")},
    {"E": packet("+", b"<not an address>\0")},
    {"E": packet("+", b"\0")},
    {"E": packet("e", b"<@@>\0")},
    {"E": packet("h", b"A\0b\0") * 10_001},
    {"E": b"\x7f\xff\xff\xffc"},
    {"O": agree(6, 0), "E": packet("h", b"A\0b\0") + CONTINUE},
    {"C": packet("f")},
]


@pytest.mark.parametrize("script", OUT_OF_ORDER)
@pytest.mark.parametrize("accept", [False, True])
async def test_filters_out_of_order_lose_nothing(script: Any, accept: bool) -> None:
    said, asked = await judged(Milter(script), seconds=0.3, accept=accept)
    assert sum(asked.counts.values()) == 1
    if accept:
        assert said == Judged()
    else:
        assert str(said.reply) == "451 4.7.1 a filter here is out of order; send the message again later"


async def test_a_filter_that_is_not_there(tmp_path: Path) -> None:
    for line in ("milter:127.0.0.1:1", f"milter:{tmp_path}/none.sock", "rspamd:http://127.0.0.1:1"):
        asked = filters(line)
        said = await asked.judge(VISITOR, ENVELOPE, RECIPIENTS, InMemory(MESSAGE))
        await asked.close()
        assert said.reply is not None
        assert said.reply.code == 451
        assert asked.counts == {("filter-failed", line): 1}


async def test_one_filter_after_the_other_sees_what_the_one_before_left(tmp_path: Path) -> None:
    first = Milter({"E": packet("h", b"X-One\0 1\0") + packet("-", b"<x@example.org>\0") + CONTINUE})
    second = Milter({"E": packet("m", b"\0\0\0\1X-One\0two\0") + CONTINUE})
    path = str(tmp_path / "second.sock")
    async with first.listening(), second.listening(path):
        asked = filters(f"milter:127.0.0.1:{first.port}", "milter:127.0.0.1:1", f"milter:{path}", accept=True)
        said = await asked.judge(VISITOR, ENVELOPE, RECIPIENTS, InMemory(MESSAGE))
    assert second.said("R") == [b"<y@example.org>\0"]
    assert b"X-One: two\r\n\r\nline one" in await whole(said.content)
    assert asked.counts == {("filter-failed", "milter:127.0.0.1:1"): 1}


async def test_many_messages_at_once() -> None:
    milter = Milter({"E": packet("h", b"A\0b\0") + CONTINUE})
    async with milter.listening():
        asked = filters(f"milter:127.0.0.1:{milter.port}", seconds=20)
        said = await asyncio.gather(
            *(asked.judge(VISITOR, ENVELOPE, RECIPIENTS, InMemory(MESSAGE)) for _ in range(150))
        )
    assert all(each.content is not None for each in said)
    assert milter.conversations == 150


# Rspamd


def answer(**said: Any) -> bytes:
    return json.dumps({"action": "no action", "score": 1.0, **said}).encode()


async def test_rspamd_is_told_everything_and_followed() -> None:
    http = Http(ok(answer(milter={"add_headers": {"X-Spamd-Result": {"value": "one\n two", "order": 0}}})))
    visitor = Visitor(
        bytes((192, 0, 2, 1)), 1, "", "submission", "laptop\n", tls="TLSv1.3 X", user="ada", name="a.example"
    )
    async with http.listening():
        asked = filters(f"rspamd:http://127.0.0.1:{http.port}/")
        said = await asked.judge(visitor, ENVELOPE, RECIPIENTS, InPieces(MESSAGE, 7))
        await asked.close()
    (request,) = http.requests
    head, _, body = request.partition(b"\r\n\r\n")
    assert body == MESSAGE
    assert head.startswith(b"POST /checkv2 HTTP/1.1\r\n")
    for line in (b"IP: 192.0.2.1", b"Helo: laptop?", b"From: ann@example.net", b"Rcpt: y@example.org", b"User: ada"):
        assert line.lower() in head.lower()
    assert (await whole(said.content)).startswith(b"X-Spamd-Result: one\r\n two\r\nFrom: ")


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        ({}, "taken"),
        ({"action": "greylist"}, "taken"),
        (
            {"action": "reject"},
            "550 5.7.1 the spam filter here does not want this message; ask the recipient another way",
        ),
        ({"action": "reject", "messages": {"smtp_message": "Gtube pattern"}}, "550 5.7.1 Gtube pattern"),
        ({"action": "soft reject", "messages": {"smtp_message": "Try again later"}}, "451 4.7.1 Try again later"),
        ({"action": "soft reject", "messages": []}, "451 4.7.1 the spam filter here does not want this message now"),
        ({"action": "discard"}, "discarded"),
        ({"action": "quarantine"}, "held"),
    ],
)
def test_actions_of_rspamd(said: dict[str, Any], verdict: str) -> None:
    found = verdict_of(answer(**said))
    if found.reply is not None:
        assert str(found.reply).startswith(verdict)
    else:
        assert verdict == ("discarded" if found.discarded else "held" if found.held else "taken")


def test_headers_of_rspamd() -> None:
    found = verdict_of(
        answer(
            action="add header",
            milter={
                "add_headers": {"A": "1", "B": {"value": "2", "order": 1}, "C": ["3", {"value": "4"}]},
                "remove_headers": {"From": 0, "To": 1},
            },
            **{"dkim-signature": "v=1; a=b"},
        )
    )
    fields = [each.decode() for each in apply(fields_of(b"From: x\r\nTo: y\r\nFrom: z\r\n"), found.edits)]
    assert fields == ["DKIM-Signature: v=1; a=b\r\n", "X-Spam: Yes\r\n", "B: 2\r\n", "A: 1\r\n", "C: 3\r\n", "C: 4\r\n"]
    subject = verdict_of(answer(action="rewrite subject", subject="*** SPAM *** hello"))
    assert apply([b"Subject: hello\r\n"], subject.edits) == [b"Subject: *** SPAM *** hello\r\n"]


WRONG = [
    b"",
    b"nonsense",
    b"[]",
    b"{}",
    b'{"action": 7}',
    b'{"action": "dance"}',
    b"[" * 100_000,
    answer(milter={"add_headers": {"A": 7}}),
    answer(milter={"add_headers": {"A B": "x"}}),
    answer(milter={"remove_headers": {"A": "x"}}),
    answer(milter={"add_headers": {"A": ["x"] * 1000}}),
]


@pytest.mark.parametrize("said", WRONG)
def test_answers_of_rspamd_that_are_none(said: bytes) -> None:
    with pytest.raises(FilterError):
        verdict_of(said)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "action",
                        "messages",
                        "smtp_message",
                        "milter",
                        "add_headers",
                        "remove_headers",
                        "value",
                        "order",
                        "subject",
                        "dkim-signature",
                        "A",
                    ]
                ),
                inner,
                max_size=4,
            )
        ),
    ),
    st.sampled_from(["reject", "no action", "rewrite subject", "add header"]),
)
def test_whatever_rspamd_says(said: Any, action: str) -> None:
    values = said if isinstance(said, dict) else {"milter": said}
    with contextlib.suppress(FilterError):
        assert isinstance(verdict_of(json.dumps({**values, "action": action}).encode()), Verdict)


@pytest.mark.parametrize(
    "http",
    [
        Http(b"HTTP/1.1 500 Broken\r\nContent-Length: 0\r\n\r\n"),
        Http(b"HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/\r\nContent-Length: 0\r\n\r\n"),
        Http(b"nonsense\r\n\r\n"),
        Http(b""),
        Http(ok(b"{}")),
        Http(ok(b" " * (MAX_ANSWER + 1))),
        Http(b"", stall=True),
    ],
)
async def test_rspamd_out_of_order(http: Http) -> None:
    async with http.listening():
        asked = filters(f"rspamd:http://127.0.0.1:{http.port}", seconds=0.5 if http.stall else 5)
        said = await asked.judge(VISITOR, ENVELOPE, RECIPIENTS, InMemory(MESSAGE))
        await asked.close()
    assert said.reply is not None
    assert said.reply.code == 451
    assert sum(asked.counts.values()) == 1


# Lines


def test_lines_of_filters() -> None:
    good = [
        "milter:127.0.0.1:8891",
        "milter:[::1]:8891",
        "milter:/run/x.sock",
        "rspamd:http://127.0.0.1:11333",
        "rspamd:https://r.example/",
    ]
    assert [each.name for each in parse_filters(good, "mx.example.org", 5)] == good


@pytest.mark.parametrize(
    "line",
    [
        "",
        "milter",
        "milter:",
        "milter:127.0.0.1",
        "milter:127.0.0.1:x",
        "milter:127.0.0.1:99999",
        "milter:relative",
        "milter:u@h:1",
        "rspamd:127.0.0.1:11333",
        "rspamd:ftp://x",
        "rspamd:http://",
        "rspamd:http://x:99999",
        "rspamd:http://x/?q",
        "spamd:127.0.0.1:783",
    ],
)
def test_lines_that_cannot_be_used(line: str) -> None:
    with pytest.raises(FilterSyntaxError, match=r"^door\.filters: .*: write milter:"):
        parse_filters([line], "mx.example.org", 5)


def test_too_many_filters() -> None:
    with pytest.raises(FilterSyntaxError, match="there may be 10"):
        parse_filters(["milter:/x"] * 11, "mx.example.org", 5)
