"""A relay in the test's own loop, on loopback, with a spool of its own."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from sqlalchemy import text

from mx10.config import Config, RelaySettings, StoreSettings
from mx10.config.settings import NameserverSettings, ResolverSettings
from mx10.relay.basics import Listening, RelayError
from mx10.relay.door.values import Kind
from mx10.relay.process import Relay
from mx10.relay.spool.opening import open_spool


def relay_config(folder: Path, *, url: str = "", **settings: Any) -> Config:
    """A configuration whose relay passes everything to a port where nobody listens, unless told otherwise."""
    usual: dict[str, Any] = {
        "hostname": "mx.mx10.test",
        "transports": ("* smtp://127.0.0.1:1 tls=never",),
        "domains": ("ours.example",),
        "backup_published": False,
    }
    return Config(
        nameserver=NameserverSettings(listen=()),
        store=StoreSettings(url=url or f"sqlite:///{folder}/mx10.db"),
        relay=RelaySettings(**{**usual, **settings}),
        # Nobody is asked: there is no DNS at this address.
        resolver=ResolverSettings(servers=("127.0.0.1:1",), attempts=1, timeout_seconds=0.2),
    )


@contextlib.asynccontextmanager
async def relaying(config: Config, kind: Kind = "mx") -> AsyncIterator[tuple[Relay, int]]:
    """A relay that takes mail, and its port."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setblocking(False)
    relay = Relay(config, [Listening(listening, kind)])
    control, ours = socket.socketpair()
    task = asyncio.create_task(relay.run(control))
    ready = asyncio.create_task(relay.ready.wait())
    try:
        await asyncio.wait((task, ready), return_when=asyncio.FIRST_COMPLETED, timeout=20)
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


class Client:
    """Speaks SMTP a line at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    @contextlib.asynccontextmanager
    async def to(cls, port: int, *, ehlo: str = "client.example") -> AsyncIterator["Client"]:
        """Greeted, and with EHLO said."""
        client = cls(*await asyncio.open_connection("127.0.0.1", port))
        try:
            await client.reply()
            if ehlo:
                await client.ask(f"EHLO {ehlo}")
            yield client
        finally:
            client.writer.close()
            with contextlib.suppress(OSError):
                await client.writer.wait_closed()

    async def reply(self) -> str:
        """The last line of a reply; empty where the connection has ended."""
        while True:
            line = (await asyncio.wait_for(self.reader.readline(), 20)).decode().rstrip()
            if line[3:4] != "-":
                return line

    async def ask(self, line: str | bytes) -> str:
        """Say a line; the reply to it."""
        self.writer.write(line + b"\r\n" if isinstance(line, bytes) else f"{line}\r\n".encode())
        return await self.reply()

    async def send(self, content: bytes, *recipients: str, sender: str = "ann@client.example", extra: str = "") -> str:
        """A whole message; the reply to its end."""
        await self.ask(f"MAIL FROM:<{sender}>{extra}")
        for each in recipients:
            await self.ask(f"RCPT TO:<{each}>")
        begun = await self.ask("DATA")
        if not begun.startswith("354"):
            return begun
        return await self.ask(content.replace(b"\r\n.", b"\r\n..") + b"\r\n.")


def spooled(config: Config, what: str) -> list[Any]:
    """Rows of the spool's database."""
    opened = open_spool(config)
    try:
        with opened.store.read() as connection:
            return [tuple(row) for row in connection.execute(text(what))]
    finally:
        opened.store.close()


async def empty(config: Config, seconds: float = 20.0) -> None:
    """Wait until nothing is in the spool."""
    async with asyncio.timeout(seconds):
        while spooled(config, "SELECT COUNT(*) FROM messages") != [(0,)]:  # noqa: ASYNC110  # another's database
            await asyncio.sleep(0.05)


async def until(config: Config, what: str, wanted: list[Any], seconds: float = 20.0) -> None:
    """Wait until a look at the spool shows something."""
    found = spooled(config, what)
    deadline = asyncio.get_running_loop().time() + seconds
    while found != wanted:
        assert asyncio.get_running_loop().time() < deadline, found
        await asyncio.sleep(0.05)
        found = spooled(config, what)
