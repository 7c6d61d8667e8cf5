"""What commands do to mail while the relay works on it: all that is meant and nothing else, on both databases."""

import asyncio
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from mx10 import logs
from mx10.config import Config
from mx10.relay.basics import clock
from mx10.relay.spool import steering
from mx10.relay.spool.opening import Opened, open_spool
from mx10.relay.spool.reading import totals
from mx10.relay.spool.selection import Selection
from mx10.relay.values import APART, NewRecipient, State, Waiting, id_of, name_of
from tests.relay.running import Client, empty, relay_config, relaying, spooled, until
from tests.relay.talker import STALL, Talker

MESSAGE = b"From: ann@client.example\r\nSubject: hello\r\n\r\nline"
STATES = "SELECT message, number, state FROM recipients ORDER BY message, number"
LATE = {"retry_seconds": 3600, "retry_longest_seconds": 3600, "probe_seconds": 3600, "probe_longest_seconds": 3600}
"""Nothing happens by itself."""


def to(port: int, folder: Path, url: str = "", **settings: Any) -> Config:
    """A relay that passes all on to a port."""
    transports = (f"* smtp://127.0.0.1:{port} tls=never",)
    return relay_config(folder, url=url, **{**LATE, "transports": transports, "trusted": ("127.0.0.0/8",), **settings})


def steer(config: Config, how: Any, selection: Selection = Selection()) -> int:  # noqa: B008  # it is frozen
    """As a command does it, from another process."""
    opened = open_spool(config)
    try:
        count: int = how(opened, selection, clock(), "ann")
        return count
    finally:
        opened.store.close()


def fill(config: Config, messages: int, recipients: int = 1, state: State = "queued", options: str = "") -> None:
    """Put messages into a spool, numbered from 1."""
    opened = open_spool(config, create=True)
    at = clock()
    later = at + 86_400_000
    ids = range(1, messages + 1)
    pairs = [{"message": message, "number": number} for message in ids for number in range(recipients)]
    try:
        with opened.store.begin() as connection:
            connection.execute(
                text(
                    f"INSERT INTO messages VALUES (:message, {at}, {later}, {later}, 'ann@client.example', 19, '{{}}',"
                    " :head, :body)"
                ),
                [{"message": message, "head": b"Subject: a\r\n", "body": b"\r\nbody\r\n"} for message in ids],
            )
            connection.execute(
                text(
                    "INSERT INTO recipients VALUES (:message, :number, 'u' || CAST(:number AS TEXT) || '@ours.example',"
                    f" 'ours.example', 0, '{state}', {at}, 0, :options, '')"
                ),
                [{**pair, "options": options} for pair in pairs],
            )
            connection.execute(
                text(f"INSERT INTO attempts (message, number, at, outcome) VALUES (:message, :number, {at}, '{{}}')"),
                pairs,
            )
    finally:
        opened.store.close()


def test_pieces(tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steering, "PIECE", 10)
    config = to(1, tmp_path, store_url)
    # The ends of pieces and of messages are not the same.
    fill(config, 12, 3)
    assert steer(config, steering.hold, Selection(recipient="u1@ours.example")) == 12
    assert {tuple(row) for row in spooled(config, "SELECT number, state FROM recipients")} == {
        (0, "queued"),
        (1, "held"),
        (2, "queued"),
    }
    assert steer(config, steering.delete, Selection(states=("held",))) == 12
    assert spooled(config, "SELECT COUNT(*) FROM messages") == [(12,)]
    assert spooled(config, "SELECT COUNT(*) FROM attempts") == [(24,)]
    assert steer(config, steering.bounce, Selection(messages=(3, 4))) == 4
    assert steer(config, steering.retry) == 20
    assert steer(config, steering.delete) == 24
    for table in ("messages", "recipients", "attempts"):
        assert spooled(config, f"SELECT COUNT(*) FROM {table}") == [(0,)]
    # Each message at least once, and in order: the relay reads on from where it was.
    noted = [row[0] for row in spooled(config, "SELECT message FROM spool_changes ORDER BY id")]
    assert set(noted) == set(range(1, 13))


@pytest.fixture
def logged() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """What the log has of commands."""
    stream = io.StringIO()
    logs.configure("info", "json", stream)
    yield lambda: [
        each for each in map(json.loads, stream.getvalue().splitlines()) if each["event"].startswith("queue ")
    ]
    logs.configure()


async def eventually(found: Callable[[], list[dict[str, Any]]], count: int) -> list[dict[str, Any]]:
    async with asyncio.timeout(20):
        while len(found()) < count:  # noqa: ASYNC110  # a log tells nobody
            await asyncio.sleep(0.02)
    return found()


async def test_the_log_tells_what_became_of_a_message(
    tmp_path: Path, store_url: str, logged: Callable[[], list[dict[str, Any]]]
) -> None:
    config = to(1, tmp_path, store_url)
    async with relaying(config) as (_, port):
        async with Client.to(port) as client:
            named = (await client.send(MESSAGE, "ada@ours.example", "bob@ours.example")).split()[-1]
        await until(config, "SELECT COUNT(*) FROM attempts", [(2,)])
        one = Selection(messages=(id_of(named),))
        before = clock()
        for count, how in enumerate((steering.retry, steering.hold, steering.release), 1):
            assert steer(config, how, one) == 2
            await eventually(logged, count)
        # Nothing is told of what was not done.
        assert steer(config, steering.hold, Selection(domain="elsewhere.example")) == 0
        chosen = Selection(sender="@client.example", recipient="bob@ours.example", states=("queued",), before=clock())
        assert steer(config, steering.delete, chosen) == 1
        assert steer(config, steering.bounce) == 1
        told = await eventually(logged, 5)
    assert [(each["event"], each["messages"], each["recipients"]) for each in told] == [
        ("queue retry", [named], 2),
        ("queue hold", [named], 2),
        ("queue release", [named], 2),
        ("queue delete", [named], 1),
        ("queue bounce", [named], 1),
    ]
    assert {(each["level"], each["part"], each["by"]) for each in told} == {("info", "relay", "ann")}
    assert all(before <= each["at"] <= clock() for each in told)
    assert [each.get("selection") for each in told[:3]] == [None] * 3
    said = {"sender": "@client.example", "recipient": "bob@ours.example", "states": ["queued"], "before": chosen.before}
    assert [each["selection"] for each in told[3:]] == [said, {"all": True}]
    assert spooled(config, "SELECT COUNT(*) FROM spool_orders") == [(0,)]


async def test_the_log_tells_what_was_done_while_no_relay_ran(
    tmp_path: Path, store_url: str, logged: Callable[[], list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each message once, a hundred in a line, and whoever gives commands for ever fills no disk."""
    monkeypatch.setattr(steering, "_KEPT", 5)
    config = to(1, tmp_path, store_url)
    fill(config, 250, 2)
    assert steer(config, steering.hold) == 500
    assert steer(config, steering.delete, Selection(sender="")) == 0
    assert steer(config, steering.delete) == 500
    assert logged() == []
    async with relaying(config):
        told = await eventually(logged, 5)
    assert [(each["event"], len(each["messages"]), each["recipients"]) for each in told] == [
        ("queue hold", 100, 200),
        ("queue hold", 50, 100),
        *[("queue delete", 100, 200)] * 2,
        ("queue delete", 50, 100),
    ]
    deleted = [name for each in told[2:] for name in each["messages"]]
    assert deleted == [name_of(message) for message in range(1, 251)]
    # The next one has nothing to tell.
    async with relaying(config) as (_, port):
        async with Client.to(port) as client:
            named = (await client.send(MESSAGE, "ada@ours.example")).split()[-1]
        assert steer(config, steering.hold) == 1
        assert (await eventually(logged, 6))[5:] == [{**logged()[-1], "event": "queue hold", "messages": [named]}]


def test_one_of_several_relays_tells_what_was_done(tmp_path: Path, store_url: str) -> None:
    config = to(1, tmp_path, store_url)
    fill(config, 1)
    opened = [open_spool(config) for _ in range(3)]
    with opened[0].store.begin() as connection:
        connection.execute(
            text('INSERT INTO spool_orders (at, line) VALUES (:at, \'{"event": "queue hold"}\')'),
            [{"at": at} for at in range(3000)],
        )

    def take(mine: Opened) -> list[int]:
        told = []
        while orders := steering.take_orders(mine):
            told += [values["at"] for _, values in orders]
        return told

    with ThreadPoolExecutor() as threads:
        told = [at for each in threads.map(take, opened) for at in each]
    assert sorted(told) == list(range(3000))
    for each in opened:
        each.store.close()


async def test_mail_goes_while_the_log_waits_for_the_database(
    tmp_path: Path, logged: Callable[[], list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else may write for long: with PostgreSQL whoever changes zones. What is done meanwhile is told once."""
    taken, may_end, calls = steering.take_orders, threading.Event(), []

    def late(opened: Opened) -> list[tuple[str, dict[str, Any]]]:
        calls.append(opened)
        may_end.wait(30)
        return taken(opened)

    monkeypatch.setattr("mx10.relay.dispatcher.take_orders", late)
    async with Talker().listening() as host:
        config = to(host.port, tmp_path)
        fill(config, 2, state="held")
        async with relaying(config):
            try:
                for message in (1, 2):
                    assert steer(config, steering.release, Selection(messages=(message,))) == 1
                    await until(config, "SELECT COUNT(*) FROM recipients", [(2 - message,)])
                assert (len(host.messages), len(calls), logged()) == (2, 1, [])
            finally:
                may_end.set()
            told = await eventually(logged, 2)
    assert [each["messages"] for each in told] == [[name_of(1)], [name_of(2)]]


async def test_a_relay_that_ends_tells_what_it_took(
    tmp_path: Path, logged: Callable[[], list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, begun, may_end = steering.take_orders, threading.Event(), threading.Event()

    def late(opened: Opened) -> list[tuple[str, dict[str, Any]]]:
        orders = taken(opened)
        begun.set()
        may_end.wait(30)
        return orders

    monkeypatch.setattr("mx10.relay.dispatcher.take_orders", late)
    config = to(1, tmp_path)
    fill(config, 1)
    assert steer(config, steering.hold) == 1
    async with relaying(config):
        await asyncio.to_thread(begun.wait, 20)
        asyncio.get_running_loop().call_later(0.2, may_end.set)
    assert [each["event"] for each in logged()] == ["queue hold"]


def test_mail_comes_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steering, "PIECE", 5)
    config = to(1, tmp_path)
    fill(config, 20)
    opened = open_spool(config)
    came = iter(range(100, 200))

    def comes(_seconds: float) -> None:
        with opened.store.begin() as connection:
            connection.exec_driver_sql(
                f"INSERT INTO messages SELECT {next(came)}, arrived_at, expires_at, remind_at, reverse_path, size,"
                " envelope, head, body FROM messages WHERE id = 20"
            )
            connection.exec_driver_sql(
                "INSERT INTO recipients SELECT (SELECT MAX(id) FROM messages), number, address, domain, node, 'queued',"
                " due_at, attempts, options, last FROM recipients WHERE message = 20"
            )

    monkeypatch.setattr(time, "sleep", comes)
    # A command ends, whatever comes, and what comes later is not meant.
    assert steer(config, steering.hold) == 20
    assert spooled(config, "SELECT COUNT(*) FROM recipients WHERE state = 'queued'") == [(4,)]
    opened.store.close()


def test_apart_stays_apart(tmp_path: Path, store_url: str) -> None:
    config = to(1, tmp_path, store_url)
    fill(config, 1, state="apart", options=NewRecipient("a@ours.example", apart=True).options())
    assert steer(config, steering.hold) == 1
    assert steer(config, steering.release, Selection(states=("held",))) == 1
    assert spooled(config, STATES) == [(1, 0, "apart")]
    # Also where it was held by a filter, and never in another state.
    fill_more = "UPDATE recipients SET state = 'held'"
    opened = open_spool(config)
    with opened.store.begin() as connection:
        connection.exec_driver_sql(fill_more)
    opened.store.close()
    assert steer(config, steering.release) == 1
    assert spooled(config, STATES) == [(1, 0, "apart")]


@given(
    notify=st.none() | st.frozensets(st.sampled_from(("SUCCESS", "FAILURE", "DELAY")), min_size=1),
    orcpt=st.none() | st.text() | st.just(f"rfc822;{APART}"),
    apart=st.booleans(),
)
def test_options(notify: frozenset[str] | None, orcpt: str | None, apart: bool) -> None:
    new = NewRecipient("a@b.example", notify, orcpt, apart)
    held = Waiting(1, 0, "a@b.example", "b.example", 0, "held", 0, 0, new.options(), "")
    assert (held.notify, held.orcpt, held.apart) == (notify, orcpt, apart)


def test_a_body_that_cannot_be_removed(tmp_path: Path) -> None:
    config = to(1, tmp_path)
    fill(config, 2)
    opened = open_spool(config)
    assert opened.folder is not None
    # A folder is no file.
    (opened.folder / name_of(1)).mkdir()
    (opened.folder / name_of(2)).write_bytes(b"x")
    opened.store.close()
    assert steer(config, steering.delete) == 2
    assert [each.name for each in opened.folder.iterdir()] == [name_of(1)]


def test_addresses_beyond_ascii(tmp_path: Path, store_url: str) -> None:
    config = to(1, tmp_path, store_url)
    fill(config, 2)
    opened = open_spool(config)
    with opened.store.begin() as connection:
        connection.exec_driver_sql("UPDATE recipients SET address = 'Ädä@ours.example' WHERE message = 1")
        connection.exec_driver_sql("UPDATE messages SET reverse_path = 'ÄNN@client.example' WHERE id = 1")
    opened.store.close()
    assert steer(config, steering.retry, Selection(recipient="Ädä@OURS.example")) == 1
    assert steer(config, steering.retry, Selection(sender="ÄNN@client.example")) == 1
    assert steer(config, steering.retry, Selection(sender="@client.example")) == 2
    assert steer(config, steering.retry, Selection(recipient="Ãdä@ours.example")) == 0


def test_totals_of_what_is_meant(tmp_path: Path, store_url: str) -> None:
    config = to(1, tmp_path, store_url)
    fill(config, 4, 2)
    steer(config, steering.hold, Selection(messages=(2,)))
    opened = open_spool(config)
    (all_of_it,) = totals(opened.store, Selection(), 10)
    assert (all_of_it.domain, all_of_it.recipients, all_of_it.held) == ("ours.example", 8, 2)
    (some,) = totals(opened.store, Selection(messages=(1, 2), recipient="u1@ours.example"), 10)
    assert (some.recipients, some.held) == (2, 1)
    assert totals(opened.store, Selection(sender=""), 10) == []
    opened.store.close()


@pytest.mark.parametrize("how", [steering.hold, steering.delete])
async def test_what_is_on_its_way_to_a_host_that_is_down(tmp_path: Path, how: Any) -> None:
    """The message that looks whether a host is back is on its way most of the time; a command holds for it too."""
    async with Talker({"GREETING": STALL}).listening() as host:
        config = to(host.port, tmp_path)
        async with relaying(config) as (relay, port):
            async with Client.to(port) as client:
                await client.send(MESSAGE, "ada@ours.example")
            async with asyncio.timeout(20):
                while not host.connections:  # noqa: ASYNC110  # it tells nobody
                    await asyncio.sleep(0.01)
            assert relay.dispatcher.in_flight == 1
            assert steer(config, how) == 1
            async with asyncio.timeout(20):
                while relay.dispatcher._change == 0:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            for task in list(host.tasks):
                task.cancel()
            async with asyncio.timeout(20):
                while relay.dispatcher.in_flight:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            host.says = {}
            async with Client.to(port) as client:
                await client.send(MESSAGE, "bob@ours.example")
            # Whatever wakes it now takes only the other one along.
            assert steer(config, steering.retry) == 1
            left = [("ada@ours.example",)] if how is steering.hold else []
            await until(config, "SELECT address FROM recipients", left)
            await asyncio.sleep(0.3)
    assert [line for line in host.heard if line.startswith("RCPT")] == ["RCPT TO:<bob@ours.example>"]


async def test_many_are_tried_at_once(tmp_path: Path) -> None:
    """Beyond some number the relay is not told which: hosts that are down are looked at all the same."""
    many = steering.ALL_AT_ONCE + 100
    async with Talker().listening() as host:
        pass
    config = to(host.port, tmp_path)
    fill(config, many)
    async with relaying(config) as (relay, _):
        await until(config, "SELECT COUNT(*) > 0 FROM recipients WHERE attempts > 0", [(1,)])
        async with Talker(port=host.port).listening() as back:
            assert steer(config, steering.retry) == many
            await empty(config, 60)
        assert relay.dispatcher.counts["delivered"] == many
        assert len(back.messages) == many


async def test_many_are_returned_at_once(tmp_path: Path) -> None:
    async with Talker().listening() as home:
        config = to(
            1,
            tmp_path,
            transports=("ours.example smtp://127.0.0.1:1 tls=never", f"* smtp://127.0.0.1:{home.port} tls=never"),
        )
        fill(config, 700)
        async with relaying(config):
            assert steer(config, steering.bounce) == 700
            # Not 200 each time somebody looks.
            await empty(config, 30)
    assert len(home.messages) == 700
