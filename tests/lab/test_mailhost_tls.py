"""STARTTLS of the lab's exchangers, with clients that are quicker than asyncio says that TLS is there."""

import asyncio
from pathlib import Path

import pytest

from mx10.config import Config, LabSettings
from mx10.lab.exchangers import Exchangers
from mx10.lab.plan import MailPlace
from tests.lab.conftest import free_port
from tests.lab.test_exchangers import connected
from tests.relay.encrypted import Encrypted


async def test_words_that_come_with_the_end_of_the_handshake(tmp_path: Path) -> None:
    exchangers = Exchangers(Config(lab=LabSettings(mail_port=free_port())), tmp_path / "tls")
    await exchangers.follow({"mail.one.example": MailPlace(("127.25.1.1",), frozenset({"one.example"}))})
    async with connected("127.25.1.1", exchangers.port) as client:
        await client.hear()
        await client.say("EHLO x.example")
        assert (await client.say("STARTTLS")).startswith("220 ")
        tls = Encrypted(client.reader, client.writer)
        await tls.handshake(b"EHLO y.example\r\nMAIL FROM:<>\r\nRCPT TO:<b@one.example>\r\n")
        said = await tls.hear(b"250 2.1.5 recipient ok\r\n")
        assert said.startswith(b"250-mail.one.example\r\n")
        assert b"STARTTLS" not in said
    await exchangers.close()


@pytest.mark.parametrize("together", [True, False])
async def test_words_in_the_clear_behind_starttls_are_never_commands(tmp_path: Path, together: bool) -> None:
    exchangers = Exchangers(Config(lab=LabSettings(mail_port=free_port())), tmp_path / "tls")
    await exchangers.follow({"mail.one.example": MailPlace(("127.25.1.1",), frozenset({"one.example"}))})
    async with connected("127.25.1.1", exchangers.port) as client:
        await client.hear()
        await client.say("EHLO x.example")
        if together:
            client.writer.write(b"STARTTLS\r\nMAIL FROM:<evil@x.example>\r\n")
            await client.hear()
            tls = Encrypted(client.reader, client.writer)
            await tls.handshake(b"EHLO y.example\r\nRCPT TO:<b@one.example>\r\n")
            assert b"503 5.5.1 MAIL comes first" in await tls.hear(b"first\r\n")
        else:
            client.writer.write(b"STARTTLS\r\n")
            client.writer.write(b"MAIL FROM:<evil@x.example>\r\n")
            await asyncio.sleep(0.05)
            client.writer.write(b"RCPT TO:<b@one.example>\r\n")
            assert (await client.hear()).startswith("220 ")
            assert b"250 2.1" not in await client.reader.read()
    await exchangers.close()
