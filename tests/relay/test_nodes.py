"""Several relays that share a spool in PostgreSQL: what one takes is delivered once, by whichever of them is there."""

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from mx10.config import Config
from mx10.relay import nodes
from mx10.relay.nodes import Nodes
from mx10.relay.process import Relay
from mx10.relay.spool.opening import open_spool
from mx10.relay.values import NODES
from mx10.store.errors import StoreError
from tests.relay.running import Client, empty, relay_config, relaying, spooled, until
from tests.relay.talker import Talker

MESSAGE = b"Subject: hello\r\n\r\nline"


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "BEAT_SECONDS", 0.2)
    monkeypatch.setattr(nodes, "LEASE_SECONDS", 1.0)
    monkeypatch.setattr(nodes, "DEAD_SECONDS", 2.0)


@pytest.fixture
async def down() -> Talker:
    """A host that is down; its port is free."""
    async with Talker().listening() as host:
        pass
    return host


def to(host: Talker, folder: Path, url: str) -> Config:
    transports = (f"* smtp://127.0.0.1:{host.port} tls=never",)
    soon = {"retry_seconds": 1, "retry_longest_seconds": 1, "probe_seconds": 1, "probe_longest_seconds": 1}
    more: dict[str, Any] = {**soon, "transports": transports, "trusted": ("127.0.0.0/8",)}
    return relay_config(folder, url=url, **more)


async def send(port: int, count: int) -> None:
    async with Client.to(port) as client:
        for number in range(count):
            await client.send(MESSAGE, f"u{number}@ours.example")


def heard(host: Talker) -> list[str]:
    return sorted(line for line in host.heard if line.startswith("RCPT"))


async def test_the_others_deliver_what_one_that_was_killed_took(
    tmp_path: Path, postgresql_url: str, down: Talker, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = to(down, tmp_path, postgresql_url)
    monkeypatch.setattr(socket, "gethostname", lambda: "one")
    with monkeypatch.context() as killed:
        killed.setattr(Nodes, "leave", lambda _: None)
        async with relaying(config) as (_, port):
            await send(port, 5)
    monkeypatch.setattr(socket, "gethostname", lambda: "two")
    async with Talker(port=down.port).listening() as host, relaying(config):
        await empty(config)
        assert heard(host) == [f"RCPT TO:<u{number}@ours.example>" for number in range(5)]
    assert spooled(config, "SELECT name FROM nodes ORDER BY id") == [("one",), ("two",)]


async def test_two_of_one_name_share_nothing(tmp_path: Path, postgresql_url: str, down: Talker) -> None:
    config = to(down, tmp_path, postgresql_url)
    async with relaying(config) as (_, port), relaying(config) as (_, other):
        await send(port, 5)
        await send(other, 5)
        async with Talker(port=down.port).listening() as host:
            await empty(config)
            assert len(heard(host)) == 10
    # Who left has its place again.
    async with relaying(config):
        assert spooled(config, "SELECT COUNT(*) FROM nodes") == [(2,)]


async def test_one_without_a_sign_of_life_delivers_nothing(
    tmp_path: Path, postgresql_url: str, down: Talker, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = to(down, tmp_path, postgresql_url)
    beat = Nodes.beat
    cut_off: set[int] = set()

    def beat_or_not(self: Nodes) -> int:
        if self._node in cut_off:
            raise StoreError("cut off")
        return beat(self)

    monkeypatch.setattr(Nodes, "beat", beat_or_not)
    async with relaying(config) as (one, port):
        await send(port, 5)
        cut_off.add(one.spool.node)
        await asyncio.sleep(nodes.LEASE_SECONDS)
        async with Talker(port=down.port).listening() as host:
            # It is back, and nobody may deliver until the other has taken over.
            async with relaying(config):
                await empty(config)
                assert len(heard(host)) == 5
                assert one.dispatcher.counts["delivered"] == 0
            # Heard of again, it delivers what comes.
            cut_off.clear()
            await send(port, 1)
            await until(config, "SELECT COUNT(*) FROM messages", [(0,)])
            assert one.dispatcher.counts["delivered"] == 1
        assert len(host.messages) == 6


async def test_one_whose_number_is_anothers_ends(tmp_path: Path, postgresql_url: str, down: Talker) -> None:
    relay = Relay(to(down, tmp_path, postgresql_url), [])
    control, ours = socket.socketpair()
    task = asyncio.create_task(relay.run(control))
    await asyncio.wait_for(relay.ready.wait(), 20)
    with relay.spool.store.begin() as connection:
        connection.exec_driver_sql("UPDATE nodes SET seen_at = seen_at + 1")
    # Whoever looks after the process begins it again.
    await asyncio.wait_for(task, 20)
    ours.close()
    control.close()


async def test_places_of_hosts_that_are_gone_are_given_again(tmp_path: Path, postgresql_url: str) -> None:
    config = relay_config(tmp_path, url=postgresql_url)
    opened = open_spool(config, create=True)
    with opened.store.begin() as connection:
        values = [{"id": number, "name": f"pod-{number}", "seen": 10 * number} for number in range(1, NODES)]
        connection.execute(text("INSERT INTO nodes (id, name, seen_at) VALUES (:id, :name, :seen)"), values)
        # The first has mail that nobody took over yet.
        connection.execute(
            text(
                "INSERT INTO recipients"
                " (message, number, address, domain, node, state, due_at, attempts, options, last)"
                " VALUES (1, 0, 'a@ours.example', 'ours.example', 1, 'queued', 0, 0, '', '')"
            )
        )
    place = nodes.register(opened.store)
    opened.store.close()
    assert place.node == 2
    assert spooled(config, "SELECT COUNT(*), MAX(name) FROM nodes WHERE id = 2") == [(1, socket.gethostname())]
