"""A backup MX as a whole: the relay takes mail while the primary is down, knows who exists, and hands over."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from mx10.config import Config, RecipientSettings, RelaySettings, ResolverSettings, RoutingSettings, StoreSettings
from mx10.config.settings import NameserverSettings
from mx10.relay.backing import BackedUp, set_up
from mx10.relay.basics import Listening, RelayError, check
from mx10.relay.door.recipients import verify as verify_module
from mx10.relay.metrics import Meter
from mx10.relay.process import Relay
from mx10.relay.spool.opening import open_spool
from peers import free_port
from tests.relay.door.test_vouch import add_text
from tests.relay.primary import Primary
from tests.relay.talker import Talker, until
from tests.routing.dns_world import World, serving

WORLD = """
example.org MX 10 mx1.example.org.
example.org MX 20 backup.example.net.
mx1.example.org A 127.9.3.1
example.net MX 10 mx.example.net.
example.com MX 10 mx.example.net.
mx.example.net A 127.9.3.3
backup.example.net A 127.9.3.2
"""


@pytest.fixture
def port() -> int:
    return free_port("127.9.3.1")


@pytest.fixture
def config(tmp_path: Path, port: int) -> Iterator[Config]:
    world = World(WORLD)
    # The tests' clients come from there.
    add_text(world, "example.net", "v=spf1 ip4:127.0.0.0/8 -all")
    add_text(world, "example.com", "v=spf1 -all")
    with serving(world) as address:
        yield Config(
            nameserver=NameserverSettings(listen=()),
            store=StoreSettings(url=f"sqlite:///{tmp_path}/mx10.db"),
            relay=RelaySettings(
                hostname="backup.example.net", port=port, probe_seconds=1, probe_longest_seconds=1, retry_seconds=1
            ),
            recipients=RecipientSettings(ask_seconds=2.0),
            resolver=ResolverSettings(servers=(address,), attempts=1),
            routing=RoutingSettings(public_networks=("127.0.0.0/8",)),
        )


@contextlib.asynccontextmanager
async def relaying(config: Config) -> AsyncIterator[tuple[Relay, int]]:
    """A relay, and its port."""
    listening = socket.create_server(("127.9.3.2", 0))
    listening.setblocking(False)
    relay = Relay(config, [Listening(listening, "mx")])
    control, ours = socket.socketpair()
    task = asyncio.create_task(relay.run(control))
    try:
        ready = asyncio.create_task(relay.ready.wait())
        await asyncio.wait([task, ready], return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if task.done():
            await task
        yield relay, listening.getsockname()[1]
    finally:
        ours.close()
        with contextlib.suppress(RelayError):
            await task
        control.close()
        listening.close()


async def said(port: int, *recipients: str, sender: str = "stranger@example.com") -> list[str]:
    """What the relay says to each recipient, and at last to the message."""
    reader, writer = await asyncio.open_connection("127.9.3.2", port)

    async def ask(line: str) -> str:
        writer.write(f"{line}\r\n".encode())
        while (reply := (await reader.readline()).decode().rstrip())[3:4] == "-":
            pass
        return reply

    await reader.readline()
    await ask("EHLO client.example")
    await ask(f"MAIL FROM:<{sender}>")
    replies = [await ask(f"RCPT TO:<{each}>") for each in recipients]
    if any(reply.startswith("250") for reply in replies):
        await ask("DATA")
        replies.append(await ask("Subject: hello\r\n\r\nworld\r\n."))
    await ask("QUIT")
    writer.close()
    return [reply[:9] if reply.startswith("250") else reply for reply in replies]


def states(config: Config) -> dict[str, str]:
    with open_spool(config).store.read() as connection:
        return dict(connection.execute(text("SELECT address, state FROM recipients")).all())


async def test_an_outage_from_beginning_to_end(config: Config, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify_module, "WRITE_SECONDS", 0.05)
    store = open_spool(config, create=True).store
    set_up(store, BackedUp("example.org", 0))
    store.close()
    people = {"ada@example.org", "carol@example.org"}
    async with relaying(config) as (relay, at):
        async with Primary(address="127.9.3.1", port=port, known=people).listening() as primary:
            assert await said(at, "ada@example.org", "bob@example.org", "x@example.com") == [
                "250 2.1.5",
                "550 5.1.1 <bob@example.org> is not known here: mx1.example.org said “550 5.1.1 no such user”; check"
                " how it is written, or ask its owner another way",
                "550 5.7.1 we do not pass mail on to this domain: log in first, or send it to its MX records",
                "250 2.0.0",
            ]
            await until(lambda: primary.messages)
        # The primary is down.
        replies = await said(at, "ada@example.org", "bob@example.org", "carol@example.org", "dave@example.org")
        assert [reply[:9] for reply in replies] == ["250 2.1.5", "550 5.1.1", "250 2.1.5", "250 2.1.5", "250 2.0.0"]
        assert states(config) == {
            "ada@example.org": "queued",
            "carol@example.org": "apart",
            "dave@example.org": "apart",
        }
        # It is back, and takes those who exist.
        async with Primary(address="127.9.3.1", port=port, known=people).listening() as primary:
            await asyncio.wait_for(empty(config), 20)
            taken = [line for line in primary.heard if line.startswith("RCPT") and "no-such-user" not in line]
            assert sorted(line[9:].partition(">")[0] for line in taken) == [
                "ada@example.org",
                "carol@example.org",
                "dave@example.org",
            ]
            assert primary.messages
        # Nobody vouched for the sender: it gets no bounce.
        assert relay.dispatcher.in_memory == 0


async def test_only_those_that_somebody_vouches_for_hear_of_it(
    config: Config, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_spool(config, create=True).store
    set_up(store, BackedUp("example.org", 0))
    store.close()
    async with relaying(config) as (relay, at):
        # Nobody knows of anybody, as the primary is down.
        for sender in ("ann@example.net", "forged@example.com"):
            assert await said(at, "nobody@example.org", sender=sender) == ["250 2.1.5", "250 2.0.0"]
        assert states(config) == {"nobody@example.org": "apart"}
        senders = Talker(address="127.9.3.3", port=port)
        async with (
            Primary(address="127.9.3.1", port=port).listening() as primary,
            senders.listening(),
        ):
            await asyncio.wait_for(empty(config), 20)
            assert primary.refused == [2]
            assert [line for line in senders.heard if line.startswith("RCPT")] == [
                "RCPT TO:<ann@example.net> NOTIFY=NEVER"
            ]
            (report,) = senders.messages
            assert b"550 5.1.1 no such user" in report
        page = Meter(relay).page().decode()
        assert 'mx10_relay_recipients_total{source="call",verdict="unsure"} 2.0\n' in page
        assert 'mx10_relay_senders_total{outcome="nobody"} 1.0\n' in page
        assert 'mx10_relay_senders_total{outcome="vouched"} 1.0\n' in page


async def empty(config: Config) -> None:
    while states(config):  # noqa: ASYNC110  # the spool says it to nobody
        await asyncio.sleep(0.05)


async def test_a_rule_that_is_wrong_is_told_at_the_start(config: Config, tmp_path: Path) -> None:
    from dataclasses import replace

    wrong = replace(config, recipients=RecipientSettings(rules=("* nonsense",)))
    with pytest.raises(RelayError, match=r"recipients.rules: '\* nonsense': 'nonsense' is no source"):
        check(wrong)
    missing = replace(config, recipients=RecipientSettings(rules=(f"* list:{tmp_path}/none",)))
    with pytest.raises(RelayError, match="none cannot be read: No such file"):
        check(missing)
