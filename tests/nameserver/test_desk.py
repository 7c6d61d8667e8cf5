"""The desk: operations and orders, signed and unsigned, and what goes wrong at it."""

import asyncio
import socket
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mx10.dns import message as m
from mx10.dns import rrtypes as rr
from mx10.dns.message import Message, Question, encode, make_query
from mx10.dns.rrtypes import Opcode, Rcode
from mx10.dns.tsig import Asker, TsigError, TsigKey
from mx10.dns.wirename import from_text
from mx10.nameserver.desk import COUNTERS, Desk, DeskError, Operation, hand_in, order
from mx10.store.errors import StoreError
from tests.dns.test_tsig import KEY, KEYS

APEX = from_text("example.com.")
NOTIFY = encode(Message(5, Opcode.NOTIFY << 11, Question(APEX, rr.SOA)))


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    desk = Desk(lambda: KEYS)
    await desk.open(tmp_path / "run" / "mx10.sock")
    yield desk
    desk.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "mx10.sock"


async def asked(path: Path, message: bytes, client: str = "192.0.2.1") -> list[bytes]:
    return [response async for response in hand_in(str(path), message, client, 4711, "tcp")]


async def three(operation: Operation) -> AsyncGenerator[bytes, None]:
    name = operation.key_name or b"\0"
    for number in range(3):
        text = f"{operation.client} {operation.port} {operation.transport} {number}".encode()
        question = Question(name, number + 1)
        yield encode(Message(operation.parsed.id, m.QR, question)) + text


async def test_an_operation(desk: Desk, path: Path) -> None:
    desk.for_opcode(Opcode.NOTIFY, three)
    responses = await asked(path, NOTIFY)
    assert [response[-20:] for response in responses] == [b" 192.0.2.1 4711 tcp "[1:] + b"%d" % i for i in range(3)]


def test_only_our_user_and_group_may_come(tmp_path: Path) -> None:
    async def opened() -> None:
        desk = Desk(dict)
        await desk.open(tmp_path / "mx10.sock")
        desk.close()

    asyncio.run(opened())
    assert (tmp_path / "mx10.sock").stat().st_mode & 0o777 == 0o660


async def test_a_signed_operation(desk: Desk, path: Path) -> None:
    async def plain(operation: Operation) -> AsyncGenerator[bytes, None]:
        async for response in three(operation):
            yield response[: response.index(b"192.0.2")]

    desk.for_type(rr.AXFR, plain)
    asker = Asker(KEY, time.time)
    query = asker.sign(make_query(APEX, rr.AXFR, id=5, edns=False))
    stripped = [asker.verify(response) for response in await asked(path, query)]
    asker.finish()
    assert [response[12 : 12 + len(KEY.name)] for response in stripped] == [KEY.name] * 3


async def test_a_wrong_signature_is_told(desk: Desk, path: Path) -> None:
    desk.for_opcode(Opcode.NOTIFY, three)
    asker = Asker(TsigKey(KEY.name, KEY.algorithm, b"another"), time.time)
    (response,) = await asked(path, asker.sign(NOTIFY))
    with pytest.raises(TsigError, match="BADSIG"):
        asker.verify(response)


async def test_a_flood_of_wrong_signatures_does_not_flood_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[dict[str, object]] = []
    monkeypatch.setattr("mx10.nameserver.desk.log.warning", lambda event, **values: lines.append(values))
    desk = Desk(lambda: KEYS)
    wrong = Asker(TsigKey(KEY.name, KEY.algorithm, b"another"), time.time).sign(NOTIFY)
    began = time.monotonic()
    answers = 0
    while len(lines) < 21:
        answers += len([each async for each in desk.responses(wrong, "192.0.2.1", 4711, "udp")])
        assert time.monotonic() - began < 20
    # All are answered; the first line of the next second says how many were left out.
    assert answers > len(lines) or "left_out_before" not in lines[-1]
    assert all("left_out_before" not in line for line in lines[:20])


@pytest.mark.parametrize(
    ("message", "rcode"),
    [
        (NOTIFY, Rcode.NOTIMP),
        (make_query(APEX, rr.AXFR, id=1), Rcode.REFUSED),
        (NOTIFY[:12] + b"\x7f", Rcode.FORMERR),
        (NOTIFY[:-1], Rcode.FORMERR),
    ],
)
async def test_what_nobody_does(message: bytes, rcode: Rcode, desk: Desk, path: Path) -> None:
    (response,) = await asked(path, message)
    assert m.parse(response).rcode == rcode
    assert response[:2] == message[:2]


@pytest.mark.parametrize("message", [b"", b"short", NOTIFY[:2] + b"\xa0\0" + NOTIFY[4:]])
async def test_what_deserves_no_answer(message: bytes, desk: Desk, path: Path) -> None:
    desk.for_opcode(Opcode.NOTIFY, three)
    assert await asked(path, message) == []


async def test_a_handler_that_fails_ends_its_operation_alone(desk: Desk, path: Path) -> None:
    async def fails(operation: Operation) -> AsyncGenerator[bytes, None]:
        yield b"one"
        raise RuntimeError("a fault")

    desk.for_opcode(Opcode.NOTIFY, fails)
    assert await asked(path, NOTIFY) == [b"one"]
    assert await asked(path, NOTIFY) == [b"one"]


async def test_a_store_that_is_away_is_no_traceback(desk: Desk, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr("mx10.nameserver.desk.log.error", lambda event, **values: lines.append(values["cause"]))

    async def fails(operation: Operation) -> AsyncGenerator[bytes, None]:
        raise StoreError("it is away")
        yield b""

    desk.for_opcode(Opcode.NOTIFY, fails)
    (response,) = await asked(path, NOTIFY)
    assert m.parse(response).rcode == Rcode.SERVFAIL
    assert lines == ["it is away"]


async def test_a_client_that_leaves_ends_its_operation(desk: Desk, path: Path) -> None:
    ended = asyncio.Event()

    async def endless(operation: Operation) -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield bytes(60_000)
        finally:
            ended.set()

    desk.for_opcode(Opcode.NOTIFY, endless)
    responses = hand_in(str(path), NOTIFY, "::1", 1, "udp")
    await anext(responses)
    await responses.aclose()
    await asyncio.wait_for(ended.wait(), 5)


async def test_orders(desk: Desk, path: Path) -> None:
    async def double(values: Mapping[str, Any]) -> Mapping[str, Any]:
        if values["number"] < 0:
            raise DeskError("no negative numbers")
        return {"is": values["number"] * 2}

    desk.for_order("double", double)
    assert await asyncio.to_thread(order, path, "double", number=21) == {"is": 42}
    with pytest.raises(DeskError, match="no negative"):
        await asyncio.to_thread(order, path, "double", number=-1)
    with pytest.raises(DeskError, match="does not know"):
        await asyncio.to_thread(order, path, "triple")
    with pytest.raises(DeskError, match="cannot be read"):
        await asyncio.to_thread(order, path, "double")


async def test_counters_of_workers(desk: Desk, path: Path) -> None:
    heard: list[bytes] = []
    done = asyncio.Event()

    def on_counters(body: bytes) -> None:
        heard.append(body)
        if len(heard) == 2:
            done.set()

    desk.on_counters = on_counters
    _, writer = await asyncio.open_unix_connection(str(path))
    for body in (b"one", b"two"):
        writer.write(len(body).to_bytes(4, "big") + bytes((COUNTERS,)) + body)
    await asyncio.wait_for(done.wait(), 5)
    writer.close()
    assert heard == [b"one", b"two"]


def test_nobody_at_the_desk(tmp_path: Path) -> None:
    with pytest.raises(DeskError, match="start `mx10 serve`"):
        order(tmp_path / "mx10.sock", "status")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "mx10.sock"))
        with pytest.raises(DeskError, match="start `mx10 serve`"):
            order(tmp_path / "mx10.sock", "status")


async def test_a_new_steward_takes_the_place_of_the_old_one(desk: Desk, path: Path) -> None:
    other = Desk(dict)
    other.for_opcode(Opcode.NOTIFY, three)
    await other.open(path)
    assert len(await asked(path, NOTIFY)) == 3
    other.close()


@given(st.binary(max_size=100))
def test_any_message_has_an_end(message: bytes) -> None:
    async def run() -> list[bytes]:
        desk = Desk(lambda: KEYS)
        desk.for_opcode(Opcode.NOTIFY, three)
        return [response async for response in desk.responses(message, "192.0.2.1", 1, "udp")]

    assert isinstance(asyncio.run(run()), list)
