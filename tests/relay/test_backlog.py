"""What waits in the database is read as its next hops can take it: all of it, none twice, whatever is down."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from mx10.config import Config
from mx10.relay.basics import spool_of
from mx10.relay.queue import DOWN_LOADED, LOADED
from mx10.relay.spool.opening import open_spool
from mx10.relay.spool.writing import Work, Writer
from mx10.relay.values import Envelope, NewRecipient
from tests.relay.running import Client, empty, relay_config, relaying, spooled
from tests.relay.talker import Talker

MESSAGES = 1500


async def fill(config: Config, addresses: list[str]) -> None:
    """A message for each of some addresses, as an earlier relay left them."""
    opened = open_spool(config, create=True)
    writer = Writer(opened.store, asyncio.get_running_loop())
    spool = spool_of(config, opened, 0, writer)
    work, together = Work(), Work()
    messages: list[tuple[object, ...]] = []
    recipients: list[tuple[object, ...]] = []
    for address in addresses:
        spool.begin(Envelope("ann@client.example")).rows(work, b"", b"Subject: old\r\n\r\n", [NewRecipient(address)])
        messages += work.messages
        recipients += work.recipients
    together.messages, together.recipients = messages, recipients
    await spool.write(together)
    writer.close()
    opened.store.close()


def taken(talker: Talker) -> Counter[str]:
    """How often each recipient of a backlog was asked for."""
    asked = (line.partition("<")[2].partition(">")[0] for line in talker.heard if line.startswith("RCPT"))
    return Counter(each for each in asked if not each.endswith("@ours.example"))


@pytest.mark.parametrize("domains", [1, 7, MESSAGES], ids=["one domain", "seven", "a domain each"])
async def test_a_backlog_goes_whole(tmp_path: Path, domains: int) -> None:
    async with Talker().listening() as talker:
        config = relay_config(tmp_path, transports=(f"* smtp://127.0.0.1:{talker.port} tls=never",))
        addresses = [f"u{number}@d{number % domains}.example" for number in range(MESSAGES)]
        await fill(config, addresses)
        async with relaying(config):
            await empty(config, 60)
        assert taken(talker) == Counter(addresses)


async def test_hosts_that_are_down_keep_no_memory_from_others(tmp_path: Path) -> None:
    async with Talker().listening() as talker:
        down = [f"down{number}.example" for number in range(40)]
        config = relay_config(
            tmp_path,
            loaded=200,
            transports=(
                f"* smtp://127.0.0.1:{talker.port} tls=never",
                *(f"{each} smtp://127.0.0.1:{1 + number} tls=never" for number, each in enumerate(down)),
            ),
        )
        waiting = [f"u{number}@{each}" for each in down for number in range(20)]
        going = [f"u{number}@d{number % 11}.example" for number in range(300)]
        # Those that cannot go came first.
        await fill(config, [*waiting, *going])
        async with relaying(config) as (relay, port):
            async with asyncio.timeout(60):
                while sum(taken(talker).values()) < len(going):  # noqa: ASYNC110  # another's list
                    await asyncio.sleep(0.05)
            assert all(len(hop.jobs) <= DOWN_LOADED for hop in relay.dispatcher.hops.values() if hop.down_since)
            # And there is room for what comes.
            async with Client.to(port) as client:
                assert (await client.send(b"Subject: new\r\n", "new@ours.example")).startswith("250")
            async with asyncio.timeout(20):
                while len(talker.messages) < len(going) + 1:  # noqa: ASYNC110  # another's list
                    await asyncio.sleep(0.05)
        assert taken(talker) == Counter(going)
        assert spooled(config, "SELECT COUNT(*) FROM recipients") == [(len(waiting),)]


async def test_a_backlog_goes_when_its_host_is_back(tmp_path: Path) -> None:
    async with Talker().listening() as talker:
        port = talker.port
    config = relay_config(
        tmp_path,
        probe_seconds=1,
        probe_longest_seconds=1,
        transports=(f"* smtp://127.0.0.1:{port} tls=never",),
    )
    addresses = [f"u{number}@d{number % 5}.example" for number in range(2 * LOADED)]
    await fill(config, addresses)
    async with relaying(config) as (relay, _):
        async with asyncio.timeout(20):
            while not any(hop.down_since for hop in relay.dispatcher.hops.values()):  # noqa: ASYNC110  # it has no event
                await asyncio.sleep(0.05)
        async with Talker(port=port).listening() as talker:
            await empty(config, 60)
            assert taken(talker) == Counter(addresses)
