"""The checks of the door in a relay that runs, with clients that come over sockets from several addresses."""

import asyncio
import base64
import contextlib
import socket
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from mx10.config import Config, RecipientSettings, RelaySettings, ResolverSettings, RoutingSettings, StoreSettings
from mx10.config.settings import DoorSettings, NameserverSettings
from mx10.relay.basics import Listening, RelayError, check
from mx10.relay.door import greylist as greylist_module
from mx10.relay.door.limits import Limits
from mx10.relay.door.users import to_line
from mx10.relay.door.values import Kind
from mx10.relay.process import Relay
from mx10.relay.spool.opening import open_spool
from mx10.smtp.auth import ScramKeys
from tests.nameserver.test_tls import write_certificate
from tests.relay.talker import until
from tests.routing.dns_world import World, serving

HERE = "127.9.4.25"
WORLD = """
example.org MX 10 mx1.example.org.
mx1.example.org A 127.9.4.24
1.4.9.127.in-addr.arpa PTR one.example.net.
one.example.net A 127.9.4.1
2.4.9.127.in-addr.arpa PTR claims.example.net.
3.4.9.127.zen.example A 127.0.0.2
3.4.9.127.zen.example TXT https://zen.example/3
4.4.9.127.zen.example ! timeout
"""


@pytest.fixture
def config(tmp_path: Path) -> Iterator[Config]:
    with serving(World(WORLD)) as address:
        yield Config(
            nameserver=NameserverSettings(listen=()),
            store=StoreSettings(url=f"sqlite:///{tmp_path}/mx10.db"),
            # Nobody listens where messages are to go: they wait in the spool.
            relay=RelaySettings(hostname="relay.example.net", domains=("example.org",), port=9, listen=(f"{HERE}:25",)),
            recipients=RecipientSettings(rules=("* any",)),
            resolver=ResolverSettings(servers=(address,), attempts=1, timeout_seconds=1.0),
            routing=RoutingSettings(public_networks=("127.0.0.0/8",)),
        )


@contextlib.asynccontextmanager
async def relaying(config: Config, kind: Kind = "mx", **door: Any) -> AsyncIterator[tuple[Relay, int]]:
    """A relay, and its port."""
    listening = socket.create_server((HERE, 0))
    listening.setblocking(False)
    relay = Relay(replace(config, door=DoorSettings(**door)), [Listening(listening, kind)])
    control, ours = socket.socketpair()
    task = asyncio.create_task(relay.run(control))
    ready = asyncio.create_task(relay.ready.wait())
    try:
        await asyncio.wait([task, ready], return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await task
        yield relay, listening.getsockname()[1]
    finally:
        ready.cancel()
        ours.close()
        await task
        control.close()
        listening.close()


class Client:
    """Speaks SMTP a line at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def read(self) -> str:
        async with asyncio.timeout(20):
            while (line := (await self.reader.readline()).decode())[3:4] == "-":
                pass
        return line.rstrip()

    async def ask(self, line: str) -> str:
        self.writer.write(f"{line}\r\n".encode())
        return await self.read()

    async def send(self, *recipients: str, sender: str = "ann@example.net", helo: str = "one.example.net") -> list[str]:
        """All of a message; what was said from RCPT on."""
        await self.ask(f"EHLO {helo}")
        await self.ask(f"MAIL FROM:<{sender}>")
        replies = [await self.ask(f"RCPT TO:<{each}>") for each in recipients]
        if any(each.startswith("250") for each in replies):
            await self.ask("DATA")
            replies.append(await self.ask("Subject: hello\r\n\r\nworld\r\n."))
        return [each[:9] if each.startswith("250") else each for each in replies]


@contextlib.asynccontextmanager
async def client(port: int, address: str = "127.9.4.1") -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection(HERE, port, local_addr=(address, 0))
    try:
        yield Client(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def refusals(relay: Relay) -> dict[str, int]:
    return {why: count for (what, why), count in relay.entrance.door.counts.items() if what == "refused"}


def heads(config: Config) -> list[str]:
    with open_spool(config).store.read() as connection:
        return [bytes(row[0]).decode() for row in connection.execute(text("SELECT head FROM messages"))]


async def test_connections_at_once_and_again_when_one_left(config: Config) -> None:
    async with relaying(config, connections_per_network=2) as (relay, port):
        async with client(port) as a, client(port) as b:
            assert (await a.read())[:4] == (await b.read())[:4] == "220 "
            async with client(port) as c:
                assert (await c.read()).startswith("421 4.7.0 your address 127.9.4.1 has 2 connections open here")
                assert await c.read() == ""
            async with client(port, "127.9.4.2") as other:
                assert (await other.read()).startswith("220 ")
            assert await a.send("x@example.org") == ["250 2.1.5", "250 2.0.0"]
        await until(lambda: not relay.entrance.connections)
        async with client(port) as c:
            assert (await c.read()).startswith("220 ")
        assert refusals(relay) == {"connections-at-once": 1}


async def test_who_speaks_before_the_greeting_is_turned_away(config: Config) -> None:
    async with relaying(config, greet_delay_seconds=0.4) as (_, port):
        async with client(port) as quick, client(port) as patient:
            started = time.monotonic()
            assert (await quick.ask("EHLO one.example.net")).startswith("554 5.5.1 you speak before the greeting")
            assert (await patient.read()).startswith("220 ")
            assert time.monotonic() - started > 0.3
            assert await patient.send("x@example.org") == ["250 2.1.5", "250 2.0.0"]
        async with client(port):
            pass  # gone before it was greeted
        async with client(port) as another:
            assert (await another.read()).startswith("220 ")


async def test_names_lists_and_rules(config: Config) -> None:
    settings: dict[str, Any] = {
        "helo": "resolves",
        "ptr": "confirmed",
        "dnsbl": ("zen.example",),
        "dnsbl_seconds": 0.5,
    }
    async with relaying(config, **settings) as (relay, port):
        async with client(port, "127.9.4.1") as one:
            await one.read()
            assert await one.send("x@example.org") == ["250 2.1.5", "250 2.0.0"]
            assert await one.send("x@example.org", helo="none.example.net") == [
                "550 5.7.1 you call yourself none.example.net (HELO or EHLO), which has neither addresses nor MX"
                " records: give the name of your host as the DNS has it"
            ]
            assert (await one.send("x@example.org", helo=f"[{HERE}]"))[0].endswith("which is our own address")
            assert (await one.send("x@example.org", helo="RELAY.example.net"))[0].endswith("which is our own name")
        async with client(port, "127.9.4.2") as two:
            await two.read()
            assert (await two.send("x@example.org"))[0].startswith(
                "550 5.7.25 your address 127.9.4.2 is called claims.example.net (PTR), but that name does not have"
            )
        assert refusals(relay) == {"helo-unknown": 1, "helo-syntax": 2, "ptr-unconfirmed": 1}
        assert [head.split("\r\n")[:2] for head in heads(config)] == [
            [
                "Authentication-Results: relay.example.net; none",
                "Received: from one.example.net (one.example.net [127.9.4.1])",
            ]
        ]
    async with relaying(config, dnsbl=("zen.example",), dnsbl_seconds=0.5) as (relay, port):
        async with client(port, "127.9.4.3") as three:
            await three.read()
            assert await three.send("x@example.org") == [
                '550 5.7.1 your address 127.9.4.3 is on the list zen.example ("https://zen.example/3"): ask there to be'
                " taken off, or write to postmaster"
            ]
            assert await three.send("postmaster@example.org") == ["250 2.1.5", "250 2.0.0"]
        async with client(port, "127.9.4.4") as four:
            await four.read()
            assert await four.send("x@example.org") == ["250 2.1.5", "250 2.0.0"]
        assert refusals(relay) == {"dnsbl": 1}


async def test_our_own_postmaster_hears_of_everybody(config: Config) -> None:
    config = replace(config, relay=replace(config.relay, postmaster="ada@example.org"))
    rules: dict[str, Any] = {"ptr": "exists", "dnsbl": ("zen.example",), "helo": "syntax", "greylist": True}
    async with relaying(config, **rules) as (relay, port), client(port, "127.9.4.3") as listed:
        await listed.read()
        for name in ("postmaster", "Postmaster@relay.example.net"):
            assert await listed.send(name, helo="localhost") == ["250 2.1.5", "250 2.0.0"]
        assert (await listed.send("ada@example.org", helo="localhost"))[0].startswith("550 5.7.1 ")
        assert refusals(relay) == {"helo-syntax": 1}


async def test_a_client_that_leaves_while_it_is_asked_about(config: Config) -> None:
    async with relaying(config, dnsbl=("zen.example",), dnsbl_seconds=0.5) as (relay, port):
        for _ in range(3):
            async with client(port, "127.9.4.4") as gone:
                await gone.read()
                await gone.ask("EHLO one.example.net")
                await gone.ask("MAIL FROM:<>")
                gone.writer.write(b"RCPT TO:<x@example.org>\r\n")
                await gone.writer.drain()
        await until(lambda: not relay.entrance.connections)
        async with client(port, "127.9.4.4") as four:
            await four.read()
            assert await four.send("x@example.org") == ["250 2.1.5", "250 2.0.0"]


async def test_greylisting_outlives_the_relay(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(greylist_module, "WRITE_SECONDS", 0.05)
    async with relaying(config, greylist=True, greylist_seconds=1) as (relay, port), client(port) as one:
        await one.read()
        assert (await one.send("x@example.org", "y@example.org"))[1].startswith(
            "451 4.7.1 this host does not know you yet (greylisting): send it again, in 1 s or later"
        )
        await asyncio.sleep(0.3)
        assert refusals(relay) == {"greylist": 2}
    await asyncio.sleep(0.9)
    async with relaying(config, greylist=True, greylist_seconds=1) as (_, port), client(port) as one:
        await one.read()
        assert [each[:9] for each in await one.send("x@example.org", "new@example.org")] == [
            "250 2.1.5",
            "451 4.7.1",
            "250 2.0.0",
        ]


async def test_mistakes_close_the_door(config: Config) -> None:
    async with relaying(config, mistakes=3) as (_, port):
        async with client(port) as one:
            await one.read()
            replies = await one.send(*["x@elsewhere.example"] * 4)
            assert [each[:9] for each in replies] == ["550 5.7.1"] * 3 + ["421 4.7.0"]
            assert await one.read() == ""
        async with client(port) as again:
            assert (await again.read()).startswith("421 4.7.0 your address 127.9.4.1 made 3 mistakes")
        async with client(port, "127.9.4.2") as other:
            await other.read()
            assert await other.send("x@example.org") == ["250 2.1.5", "250 2.0.0"]


async def test_rates(config: Config) -> None:
    limits: dict[str, Any] = {"messages_per_minute": 2, "recipient_messages_per_minute": 1}
    async with relaying(config, **limits) as (_, port), client(port) as one:
        await one.read()
        assert await one.send("x@example.org") == ["250 2.1.5", "250 2.0.0"]
        assert (await one.send("x@example.org"))[0].startswith("450 4.2.1 <x@example.org> gets more than 1")
        await one.ask("RSET")
        assert (await one.ask("MAIL FROM:<ann@example.net>")).startswith(
            "450 4.7.1 your address 127.9.4.1 sends more than 2 messages a minute"
        )


async def test_one_sender_from_many_networks(config: Config) -> None:
    async with relaying(config, stranger_sender_messages_per_hour=1) as (relay, port):
        async with client(port) as one:
            await one.read()
            assert await one.send("x@example.org") == ["250 2.1.5", "250 2.0.0"]
        async with client(port, "127.9.4.2") as other:
            await other.read()
            await other.ask("EHLO one.example.net")
            said = await other.ask("MAIL FROM:<ANN@example.net>")
            assert said.startswith("450 4.7.1 more than 1 messages an hour come here from <ANN@example.net>: send it")
            assert await other.send("x@example.org", sender="bob@example.net") == ["250 2.1.5", "250 2.0.0"]
            assert await other.send("x@example.org", sender="") == ["250 2.1.5", "250 2.0.0"]
        assert refusals(relay) == {"stranger-sender": 1}


async def test_trusted_networks_meet_the_limits_of_senders(config: Config) -> None:
    trusting = replace(config, relay=replace(config.relay, trusted=("127.9.4.1/32",)))
    limits: dict[str, Any] = {"messages_per_minute": 1, "sender_messages_per_hour": 2}
    async with relaying(trusting, **limits) as (_, port), client(port) as one:
        await one.read()
        assert [await one.send("x@example.org") for _ in range(2)] == [["250 2.1.5", "250 2.0.0"]] * 2
        await one.ask("EHLO one.example.net")
        assert (await one.ask("MAIL FROM:<ann@example.net>")).startswith("450 4.7.1 you may send 2 messages an hour")
        assert (await one.ask("MAIL FROM:<bob@example.net>")).startswith("250 ")


async def test_slow_talkers_have_no_more_time_than_others(config: Config) -> None:
    hurried = replace(config, relay=replace(config.relay, command_seconds=1.0))
    async with relaying(hurried) as (_, port), client(port) as one:
        await one.read()
        reading = asyncio.create_task(one.read())
        started = time.monotonic()
        for octet in b"EHLO one.example.net" * 3:
            one.writer.write(bytes([octet]))
            await asyncio.wait([reading], timeout=0.2)
            if reading.done():
                break
        assert (await reading).startswith("421 4.4.2 ")
        assert time.monotonic() - started < 6


async def test_a_connection_without_messages_ends_however_busy_it_looks(config: Config) -> None:
    hurried = replace(config, relay=replace(config.relay, message_seconds=1.5))
    async with relaying(hurried) as (_, port), client(port) as one, client(port) as other:
        await one.read()
        await other.read()
        started, said = time.monotonic(), ""
        while not said.startswith("421") and time.monotonic() - started < 10:
            said = await one.ask("NOOP")
            if time.monotonic() - started < 4:
                assert await other.send("x@example.org") == ["250 2.1.5", "250 2.0.0"]
            await asyncio.sleep(0.1)
        assert said.startswith("421 4.4.2 ")
        assert (await other.ask("NOOP")).startswith("250 ")


# TLS before anything else


@pytest.fixture
def secured(config: Config, tmp_path: Path) -> Config:
    certificate, key = write_certificate(tmp_path, "relay.example.net")
    users = tmp_path / "users"
    users.write_text(to_line("ada", ScramKeys.of("s3cret", b"0123456789abcdef")) + "\n")
    return replace(config, relay=replace(config.relay, tls_certificate=certificate, tls_key=key, users=users))


def anything() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


async def test_users_over_tls_from_the_first_octet_are_asked_for_no_names(secured: Config) -> None:
    rules: dict[str, Any] = {"helo": "resolves", "ptr": "confirmed", "dnsbl": ("zen.example",), "greylist": True}
    async with relaying(secured, "submissions", greet_delay_seconds=9, **rules) as (relay, port):
        reader, writer = await asyncio.open_connection(HERE, port, ssl=anything(), local_addr=("127.9.4.3", 0))
        ada = Client(reader, writer)
        assert (await ada.read()).startswith("220 ")
        await ada.ask("EHLO laptop")
        assert (await ada.ask("MAIL FROM:<ada@example.org>")).startswith("530 ")
        credentials = base64.b64encode(b"\0ada\0s3cret").decode()
        assert (await ada.ask(f"AUTH PLAIN {credentials}")).startswith("235 ")
        await ada.ask("MAIL FROM:<ada@example.org>")
        assert (await ada.ask("RCPT TO:<somebody@elsewhere.example>")).startswith("250 ")
        await ada.ask("DATA")
        assert (await ada.ask("Subject: hello\r\n\r\nworld\r\n.")).startswith("250 2.0.0 ")
        assert "with ESMTPSA id" in heads(secured)[0]
        writer.close()
        await until(lambda: not relay.entrance.connections)


async def test_connections_count_before_they_are_encrypted(secured: Config) -> None:
    async with relaying(secured, "submissions", connections_per_network=2) as (relay, port):
        async with client(port) as silent, client(port) as wrong:
            await until(lambda: relay.entrance.connections == 2)
            with pytest.raises((ssl.SSLError, OSError)):
                await asyncio.open_connection(HERE, port, ssl=anything(), local_addr=("127.9.4.1", 0))
            wrong.writer.write(b"EHLO one.example.net\r\n")
            with contextlib.suppress(ConnectionError):
                assert b"220" not in await wrong.reader.read()
            await until(lambda: relay.entrance.connections == 1)
            _, writer = await asyncio.open_connection(HERE, port, ssl=anything(), local_addr=("127.9.4.1", 0))
            writer.close()
            silent.writer.transport.abort()
        await until(lambda: not relay.entrance.connections)
        assert refusals(relay) == {"connections-at-once": 1, "tls": 2}


async def test_a_new_certificate_is_used_without_a_new_start(secured: Config, tmp_path: Path) -> None:
    async def shown(port: int) -> bytes:
        _, writer = await asyncio.open_connection(HERE, port, ssl=anything())
        found: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        return found

    async with relaying(secured, "submissions") as (_, port):
        before = await shown(port)
        assert await shown(port) == before
        await asyncio.to_thread(write_certificate, tmp_path, "relay.example.net")
        assert await shown(port) != before


async def test_nothing_stays_of_clients_that_leave_within_the_handshake(secured: Config) -> None:
    async with relaying(secured) as (relay, port):
        for sent in (b"", b"\x16\x03\x01\x02", b"garbage\r\n"):
            for _ in range(3):
                async with client(port) as one:
                    await one.read()
                    await one.ask("EHLO one.example.net")
                    assert (await one.ask("STARTTLS")).startswith("220 ")
                    one.writer.write(sent)
                    await one.writer.drain()
        await until(lambda: not relay.entrance.connections)
        limits = relay.entrance.checks.checks[0]
        assert isinstance(limits, Limits)
        assert limits.open == 0


async def test_a_list_that_cannot_be_one_is_told_at_the_start(config: Config) -> None:
    with pytest.raises(RelayError, match=r"door.dnsbl: 'zen.example=x': write LIST"):
        check(replace(config, door=DoorSettings(dnsbl=("zen.example=x",))))
