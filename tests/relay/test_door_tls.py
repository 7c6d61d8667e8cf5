"""TLS at the door, with clients that do not wait until it is there."""

import asyncio
import contextlib
import importlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from mx10.relay.door.users import to_line
from mx10.smtp.auth import ScramKeys
from tests.nameserver.test_tls import write_certificate
from tests.relay.encrypted import Encrypted
from tests.relay.running import relay_config, relaying


@pytest.fixture
def secured(tmp_path: Path) -> dict[str, Any]:
    certificate, key = write_certificate(tmp_path, "mx.mx10.test")
    users = tmp_path / "users"
    users.write_text(to_line("ada", ScramKeys.of("s3cret", b"0123456789abcdef")) + "\n")
    return {"tls_certificate": certificate, "tls_key": key, "users": users}


@contextlib.asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def quick_client(folder: Path, settings: dict[str, Any]) -> None:
    async with relaying(relay_config(folder, **settings)) as (_, port), connected(port) as (reader, writer):
        await reader.readuntil(b"\n")
        writer.write(b"EHLO x.example\r\n")
        await reader.readuntil(b"250 ")
        # In the same segment, and so never believed.
        writer.write(b"STARTTLS\r\nMAIL FROM:<evil@x.example>\r\n")
        await reader.readuntil(b"220 2.0.0 go on with TLS\r\n")
        tls = Encrypted(reader, writer)
        words = b"RCPT TO:<ada@ours.example>\r\nEHLO y.example\r\nMAIL FROM:<>\r\nRCPT TO:<ada@ours.example>\r\n"
        await tls.handshake(words)
        said = await tls.hear(b"250 2.1.5 recipient ok\r\n")
        assert said.startswith(b"503 5.5.1 MAIL comes first\r\n250-mx.mx10.test\r\n")
        assert b"STARTTLS" not in said


async def test_words_that_come_with_the_end_of_the_handshake(tmp_path: Path, secured: dict[str, Any]) -> None:
    await quick_client(tmp_path, secured)


def test_the_same_with_the_loop_of_mx10_serve(tmp_path: Path, secured: dict[str, Any]) -> None:
    uvloop: Any = importlib.import_module("uvloop")
    uvloop.run(quick_client(tmp_path, secured))


async def test_tls_from_the_first_octet_and_words_before_the_greeting(tmp_path: Path, secured: dict[str, Any]) -> None:
    config = relay_config(tmp_path, **secured)
    async with relaying(config, "submissions") as (_, port):
        async with connected(port) as (reader, writer):
            tls = Encrypted(reader, writer)
            await tls.handshake(b"")
            assert (await tls.hear(b"\r\n")).startswith(b"220 ")
        async with connected(port) as (reader, writer):
            tls = Encrypted(reader, writer)
            await tls.handshake(b"EHLO y.example\r\n")
            assert (await tls.hear(b"\r\n")).startswith(b"554 5.5.1 you speak before the greeting")


async def hasty_client(folder: Path, settings: dict[str, Any]) -> None:
    async with relaying(relay_config(folder, **settings), "submissions") as (_, port):
        for first in (1, 40, 1000):
            client = socket.create_connection(("127.0.0.1", port))
            tls = Encrypted()
            hello = tls.hello()
            # Nothing of ours has run since it connected: its first words are there before anybody listens.
            client.send(hello[:first])
            tls.over(*await asyncio.open_connection(sock=client))
            await asyncio.sleep(0.1)
            client.send(hello[first:])
            await tls.handshake(b"")
            assert (await tls.hear(b"\r\n")).startswith(b"220 ")
            tls.close()


async def test_a_handshake_that_begins_before_anybody_listens(tmp_path: Path, secured: dict[str, Any]) -> None:
    await hasty_client(tmp_path, secured)


def test_the_same_haste_with_the_loop_of_mx10_serve(tmp_path: Path, secured: dict[str, Any]) -> None:
    uvloop: Any = importlib.import_module("uvloop")
    uvloop.run(hasty_client(tmp_path, secured))


async def test_words_in_the_clear_in_place_of_a_handshake(tmp_path: Path, secured: dict[str, Any]) -> None:
    async with relaying(relay_config(tmp_path, **secured)) as (_, port), connected(port) as (reader, writer):
        await reader.readuntil(b"\n")
        writer.write(b"EHLO x.example\r\n")
        await reader.readuntil(b"250 ")
        writer.write(b"STARTTLS\r\n")
        await reader.readuntil(b"220 2.0.0 go on with TLS\r\n")
        writer.write(b"EHLO x.example\r\nMAIL FROM:<>\r\n" * 10)
        async with asyncio.timeout(10):
            with contextlib.suppress(ConnectionError):
                assert b"250" not in await reader.read()
