"""The spool: what is durable, what is not, in one thread and with large bodies; on both databases."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from mx10.relay.spool import bodies
from mx10.relay.spool.files import remove_strays
from mx10.relay.spool.spool import Incoming, Spool, Taken, Times, remove_stray_parts
from mx10.relay.spool.writing import Work, Writer
from mx10.relay.values import Envelope, Ids, NewRecipient, Waiting, id_of, name_of
from mx10.store.connect import Store
from mx10.store.errors import StoreError
from tests.relay.talker import until

HOUR = 3_600_000


def now() -> int:
    return time.time_ns() // 1_000_000


@pytest.fixture
async def spool(store: Store, tmp_path: Path) -> AsyncIterator[Spool]:
    folder = None
    if store.is_sqlite:
        folder = tmp_path / "bodies"
        folder.mkdir()
    made = Spool(
        store,
        folder,
        Writer(store, asyncio.get_running_loop()),
        node=3,
        ids=3,
        clock=now,
        times=Times(100 * HOUR, 10 * HOUR, 4 * HOUR),
        body_in_database=1000,
    )
    yield made
    made.close()


async def commit(incoming: Incoming, *recipients: NewRecipient, head: bytes = b"") -> Taken | StoreError:
    future: asyncio.Future[Taken | StoreError] = asyncio.get_running_loop().create_future()
    incoming.commit(head, recipients or (NewRecipient("ada@ours.example"),), future.set_result)
    return await asyncio.wait_for(future, 20)


def rows(store: Store, what: str) -> list[tuple[object, ...]]:
    with store.read() as connection:
        return [tuple(row) for row in connection.execute(text(what))]


async def whole(taken: Taken) -> bytes:
    return b"".join([chunk async for chunk in taken.content.chunks()])


async def test_a_message(spool: Spool, store: Store) -> None:
    envelope = Envelope("ann@client.example", "8BITMIME", priority=2, client="192.0.2.1", vouched=("client.example",))
    incoming = spool.begin(envelope)
    incoming.write(b"Subject: x\r\n\r\n")
    incoming.write(b"body\r\n")
    apart = NewRecipient("bob@ours.example", frozenset({"FAILURE", "DELAY"}), "rfc822;bob@x", apart=True)
    before = now()
    taken = await commit(incoming, NewRecipient("ada@ours.example"), apart, head=b"Received: x\r\n")
    assert isinstance(taken, Taken)
    assert await whole(taken) == b"Received: x\r\nSubject: x\r\n\r\nbody\r\n"
    assert rows(store, "SELECT id, reverse_path, size FROM messages") == [
        (taken.message, "ann@client.example", taken.content.size)
    ]
    ((arrived, expires, remind, found),) = rows(
        store, "SELECT arrived_at, expires_at, remind_at, envelope FROM messages"
    )
    assert isinstance(arrived, int)
    assert before <= arrived <= now()
    assert (expires, remind) == (arrived + 100 * HOUR, arrived + 4 * HOUR)
    assert Envelope.from_json("ann@client.example", str(found)) == envelope
    columns = "message, number, address, domain, node, state, due_at, attempts, options, last"
    found_rows = [Waiting(*row) for row in rows(store, f"SELECT {columns} FROM recipients ORDER BY number")]  # type: ignore[arg-type]
    assert found_rows == taken.recipients()
    first, second = found_rows
    # Priority counts as waiting; those of whom nobody knows come before all.
    assert (first.state, first.due_at, first.node) == ("queued", arrived - 2 * 600_000, 3)
    assert (second.state, second.due_at) == ("apart", 0)
    assert (second.notify, second.orcpt) == (frozenset({"FAILURE", "DELAY"}), "rfc822;bob@x")
    assert (first.notify, first.orcpt) == (None, None)


async def test_reports_end_sooner_and_warn_nobody(spool: Spool, store: Store) -> None:
    await spool.take(Envelope(""), b"x\r\n", [NewRecipient("ann@client.example")])
    ((arrived, expires, remind),) = rows(store, "SELECT arrived_at, expires_at, remind_at FROM messages")
    assert isinstance(arrived, int)
    assert expires == remind == arrived + 10 * HOUR


@pytest.mark.parametrize("size", [0, 999, 1000, 1001, 300_000, 700_001])
@pytest.mark.parametrize("at_hand", [True, False])
async def test_bodies_of_every_size(
    spool: Spool, store: Store, size: int, at_hand: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not at_hand:  # as on systems that cannot tell what is in memory
        monkeypatch.setattr(bodies, "_NO_DISK", None)
    data = bytes(number % 251 for number in range(size))
    incoming = spool.begin(Envelope("a@b.example"))
    for at in range(0, size, 65536):
        incoming.write(data[at : at + 65536])
    assert incoming.size == size
    judged = b"".join([chunk async for chunk in (await incoming.so_far()).chunks()])
    taken = await commit(incoming, head=b"Received: x\r\n")
    assert isinstance(taken, Taken)
    assert judged == data
    assert await whole(taken) == b"Received: x\r\n" + data
    elsewhere = rows(store, "SELECT COUNT(*) FROM messages WHERE body IS NULL") == [(1,)]
    assert elsewhere == (size > 1000 if spool.files is not None else size >= 1 << 18)


async def test_what_is_given_up(spool: Spool, store: Store) -> None:
    for size in (10, 600_000):
        incoming = spool.begin(Envelope("a@b.example"))
        incoming.write(b"x" * size)
        incoming.abandon()
    await spool.write(Work())
    assert rows(store, "SELECT COUNT(*) FROM messages") == rows(store, "SELECT COUNT(*) FROM body_parts") == [(0,)]
    if spool.files is not None:
        folder = spool.files.folder
        await until(lambda: not list(folder.iterdir()))


def test_an_envelope_of_a_later_version_is_read() -> None:
    envelope = Envelope("ann@client.example", priority=2, whole_lines=True)
    text = f'{{"later":1,{envelope.to_json()[1:]}'
    assert Envelope.from_json("ann@client.example", text) == envelope


def test_tls_that_is_optional_is_remembered() -> None:
    """By the spool, and on the way from a door in another process; an envelope of before does not know of it."""
    envelope = Envelope("ann@client.example", "8BITMIME", client="192.0.2.1", whole_lines=True, tls_optional=True)
    assert Envelope.from_json("ann@client.example", envelope.to_json()) == envelope
    assert Envelope(*envelope.fields()) == envelope
    before = '{"body":"8BITMIME","client":"192.0.2.1","whole_lines":true}'
    assert Envelope.from_json("ann@client.example", before) == replace(envelope, tls_optional=False)


async def test_one_fault_is_not_anothers(spool: Spool, store: Store) -> None:
    twice = spool.begin(Envelope("a@b.example"))
    twice.write(b"x\r\n")
    assert isinstance(await commit(twice), Taken)
    again = spool.begin(Envelope("evil@b.example"))
    again.message = twice.message  # as it never happens: the number of another
    others = [spool.begin(Envelope("a@b.example")) for _ in range(20)]
    found = await asyncio.gather(*(commit(each) for each in (*others[:10], again, *others[10:])))
    assert [isinstance(each, StoreError) for each in found] == [False] * 10 + [True] + [False] * 10
    assert rows(store, "SELECT COUNT(*), COUNT(DISTINCT reverse_path) FROM messages") == [(21, 1)]


async def test_settled_together_with_what_is_told(spool: Spool, store: Store) -> None:
    taken = await spool.take(
        Envelope("a@b.example"), b"x\r\n", [NewRecipient("u@c.example"), NewRecipient("v@c.example")]
    )
    id_ = taken.message
    work = Work(settled=[(id_, 0)], later=[(5, 1, "{}", id_, 1)], attempts=[(id_, 1, 7, "{}")], reminded=[(9, id_)])
    await spool.take(Envelope(""), b"report\r\n", [NewRecipient("a@b.example")], together=work)
    assert rows(store, "SELECT number, due_at, attempts, last FROM recipients WHERE domain = 'c.example'") == [
        (1, 5, 1, "{}")
    ]
    assert rows(store, f"SELECT remind_at FROM messages WHERE id = {id_}") == [(9,)]
    await spool.write(Work(gone=[id_], histories=[id_]))
    assert rows(store, "SELECT COUNT(*) FROM attempts") == [(0,)]
    assert rows(store, "SELECT reverse_path FROM messages") == [("",)]


async def test_what_nobody_was_promised_goes_at_the_start(spool: Spool, store: Store) -> None:
    kept = spool.begin(Envelope("a@b.example"))
    kept.write(b"x" * 600_000)
    assert isinstance(await commit(kept), Taken)
    lost = spool.begin(Envelope("a@b.example"))
    lost.write(b"x" * 600_000)
    await spool.write(Work())
    if spool.files is not None:
        folder = spool.files.folder
        assert len(list(folder.iterdir())) == 2
        assert remove_strays(store, folder, time.time() - 60) == 0
        assert remove_strays(store, folder, time.time() + 1, ids=4) == 0
        assert remove_strays(store, folder, time.time() + 1) == 1
        assert [each.name for each in folder.iterdir()] == [kept.name]
    else:
        assert remove_stray_parts(store, 4) == 0
        assert remove_stray_parts(store, 3) == 3
        assert rows(store, "SELECT DISTINCT message FROM body_parts") == [(kept.message,)]


async def test_many_at_once_share_a_transaction(spool: Spool, store: Store) -> None:
    async def one(number: int) -> None:
        incoming = spool.begin(Envelope("a@b.example"))
        incoming.write(b"%d" % number)
        assert isinstance(await commit(incoming), Taken)

    await asyncio.gather(*map(one, range(1500)))
    assert rows(store, "SELECT COUNT(*) FROM recipients") == [(1500,)]


# ---------------------------------------------------------------- numbers


@given(st.lists(st.integers(0, 1 << 41), min_size=1, max_size=50), st.integers(0, 255))
def test_numbers_rise_whatever_the_clock_does(times: list[int], node: int) -> None:
    moments = iter(times)
    ids = Ids(node, lambda: next(moments))
    found = [ids() for _ in times]
    assert found == sorted(set(found))
    assert all(each >> 13 & 255 == node and 0 <= each < 1 << 63 for each in found)


def test_more_in_a_millisecond_than_it_has_numbers() -> None:
    ids = Ids(1, lambda: 1000)
    found = [ids() for _ in range(20_000)]
    assert found == sorted(set(found))


@given(st.integers(0, (1 << 63) - 1))
def test_names(number: int) -> None:
    name = name_of(number)
    assert len(name) == 13
    assert id_of(name) == id_of(name.upper()) == number


@pytest.mark.parametrize("wrong", ["", "a", "a" * 12, "a" * 14, "l" * 13, "9" * 13, "ä" * 13, "a b" + "a" * 10])
def test_what_is_no_name(wrong: str) -> None:
    with pytest.raises(ValueError, match="no name of a message"):
        id_of(wrong)
