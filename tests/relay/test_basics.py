"""What every process of the relay begins with."""

import asyncio
import resource
import socket
from pathlib import Path

import pytest

from mx10.config import RelaySettings
from mx10.relay import nodes as nodes_module
from mx10.relay.basics import SteadyClock, allowed_connections
from mx10.relay.spool.opening import open_spool
from tests.relay.running import Client, empty, relay_config, relaying, spooled, until
from tests.relay.talker import Talker


def test_a_clock_that_jumps() -> None:
    wall, monotonic = 1000.0, 50.0
    clock = SteadyClock(lambda: wall, lambda: monotonic)
    assert clock() == 1_000_000
    wall, monotonic = wall + 10.5, monotonic + 10  # somebody corrected it by half a second
    assert clock() == 1_010_500
    wall -= 3600  # somebody set it back
    before = clock()
    seen = [before]
    for _ in range(100):
        wall, monotonic = wall + 10, monotonic + 10
        seen.append(clock())
    # It goes on, a little slower, and never back.
    assert seen == sorted(seen)
    assert seen[-1] - before == pytest.approx(900_000, abs=1)
    for _ in range(10):
        wall, monotonic = wall + 3600, monotonic + 3600
        clock()
    assert clock() == int(wall * 1000)
    wall += 10 * 365 * 86400  # and to a time of which it was never told
    monotonic, wall = monotonic + 1, wall + 1
    assert clock() < int((wall - 9 * 365 * 86400) * 1000)


def test_connections_that_the_system_has_no_descriptors_for() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert allowed_connections(RelaySettings(connections=100)) == 100
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1000, before[1]))
        assert allowed_connections(RelaySettings(connections=1000, deliveries=100)) == 1000
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 2700
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_a_relay_that_is_gone_leaves_its_mail_to_another(
    tmp_path: Path, postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes_module, "BEAT_SECONDS", 0.1)
    monkeypatch.setattr(nodes_module, "DEAD_SECONDS", 1.0)
    async with Talker().listening() as host:
        port = host.port
    settings = {
        "transports": (f"* smtp://127.0.0.1:{port} tls=never",),
        "probe_seconds": 1,
        "probe_longest_seconds": 1,
        "trusted": ("127.0.0.0/8",),
    }
    config = relay_config(tmp_path, url=postgresql_url, **settings)
    monkeypatch.setattr(socket, "gethostname", lambda: "first")
    async with relaying(config) as (_, at), Client.to(at) as client:
        for number in range(20):
            assert (await client.send(b"Subject: x\r\n\r\nx", f"u{number}@ours.example")).startswith("250")
    assert spooled(config, "SELECT node, COUNT(*) FROM recipients GROUP BY node") == [(1, 20)]
    monkeypatch.setattr(socket, "gethostname", lambda: "second")
    async with Talker(port=port).listening() as back, relaying(config):
        await empty(config)
        assert len(back.messages) == 20
    assert spooled(config, "SELECT id, name FROM nodes ORDER BY id") == [(1, "first"), (2, "second")]


async def test_two_relays_share_a_spool(tmp_path: Path, postgresql_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Talker().listening() as host:
        transports = (f"* smtp://127.0.0.1:{host.port} tls=never",)
        config = relay_config(tmp_path, url=postgresql_url, transports=transports, trusted=("127.0.0.0/8",))
        open_spool(config, create=True).store.close()
        monkeypatch.setattr(socket, "gethostname", lambda: "first")
        async with relaying(config) as (one, first):
            monkeypatch.setattr(socket, "gethostname", lambda: "second")
            async with relaying(config) as (other, second), Client.to(first) as a, Client.to(second) as b:
                for number in range(20):
                    await asyncio.gather(
                        *(each.send(b"Subject: x\r\n\r\nx", f"u{number}@ours.example") for each in (a, b))
                    )
                await empty(config)
                assert (one.dispatcher.counts["delivered"], other.dispatcher.counts["delivered"]) == (20, 20)
        assert len(host.messages) == 40
        await until(config, "SELECT COUNT(*) FROM recipients", [(0,)])
