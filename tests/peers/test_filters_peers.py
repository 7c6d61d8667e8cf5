"""The door asks filters of others: OpenDKIM signs, Rspamd finds what it is told to find, over HTTP and as a milter."""

import asyncio
import contextlib
import smtplib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from mx10.config.settings import DoorSettings
from mx10.mailauth.asking import ABSENT, Found, Kind, Status
from mx10.mailauth.dkim import Verifier, passing
from peers.filtering import opendkim, rspamd
from peers.server import MissingPeerError
from tests.conftest import cannot_run
from tests.relay.running import Client, relay_config, relaying, spooled

pytestmark = pytest.mark.peers

GTUBE = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
"""A line that every spam filter takes for spam."""


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    # Not pytest's folder: the path of a Unix socket has 107 octets at most.
    with TemporaryDirectory(prefix="mx10-filters-") as name:
        yield Path(name)


@pytest.fixture(scope="module")
def spam_filter(folder: Path) -> Iterator[tuple[int, int]]:
    with contextlib.ExitStack() as stack:
        try:
            ports = stack.enter_context(rspamd(folder))
        except MissingPeerError as missing:
            cannot_run(str(missing))
        yield ports


async def test_opendkim_signs_what_users_send(folder: Path, tmp_path: Path) -> None:
    key = rsa.generate_private_key(65537, 2048)
    pem, raw = serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL
    (folder / "key.pem").write_bytes(key.private_bytes(pem, raw, serialization.NoEncryption()))
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    record = b"v=DKIM1; k=rsa; p=" + b"".join(public.splitlines()[1:-1])
    asked: list[str] = []

    async def ask(name: str, kind: Kind) -> Found:
        asked.append(name)
        return Found(Status.FOUND, texts=(record,)) if name == "sel._domainkey.ours.example" else ABSENT

    body = "From: ada@ours.example\nSubject: signed\n and folded\n\nhello  \n.\n..\n\n" + "x" * 200 + "\n"

    def send(port: int) -> None:
        with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
            client.sendmail("ada@ours.example", ["bob@elsewhere.example"], body)

    with contextlib.ExitStack() as stack:
        try:
            place = stack.enter_context(opendkim(folder, "ours.example"))
        except MissingPeerError as missing:
            cannot_run(str(missing))
        config = replace(
            relay_config(tmp_path, trusted=("127.0.0.0/8",)), door=DoorSettings(filters=(f"milter:{place}",))
        )
        async with relaying(config) as (_, port):
            for _ in range(3):
                await asyncio.to_thread(send, port)
    messages = spooled(config, "SELECT body FROM messages")
    assert len(messages) == 3
    for (message,) in messages:
        assert message.startswith(b"DKIM-Signature: v=1;")
        head, _, text = message.partition(b"\r\n\r\n")
        assert text.startswith(b"hello  \r\n.\r\n..\r\n\r\nxxx")
        verifier = Verifier(head + b"\r\n", 1_800_000_000)
        verifier.feed(text)
        assert passing(await verifier.finish(ask)) == ("ours.example",)
    assert asked


@pytest.mark.parametrize("how", ["http", "milter"])
async def test_rspamd_refuses_what_it_takes_for_spam(tmp_path: Path, spam_filter: tuple[int, int], how: str) -> None:
    http, milter = spam_filter
    line = f"rspamd:http://127.0.0.1:{http}" if how == "http" else f"milter:127.0.0.1:{milter}"
    config = replace(relay_config(tmp_path), door=DoorSettings(filters=(line,)))
    good = b"From: ann@client.example\r\nSubject: hello\r\n\r\nworld"
    async with relaying(config) as (relay, port), Client.to(port) as client:
        assert (await client.send(good, "ada@ours.example")).startswith("250 2.0.0")
        bad = await client.send(good + b"\r\n" + GTUBE.encode(), "ada@ours.example")
        assert bad[:3] in ("550", "554")
        assert bad[3:] == " 5.7.1 Gtube pattern"
        # A large one, and the connection to the filter goes on.
        assert (await client.send(good + (b"\r\n" + b"y" * 70) * 40_000, "ada@ours.example")).startswith("250 2.0.0")
        assert relay.entrance.door.counts["refused", "filter"] == 1
        assert not any(what == "filter-failed" for what, _ in relay.entrance.door.counts)
    assert len(spooled(config, "SELECT id FROM messages")) == 2


async def test_mail_waits_at_its_senders_while_rspamd_is_away(tmp_path: Path, folder: Path) -> None:
    own = folder / "own"
    own.mkdir(exist_ok=True)
    good = b"From: ann@client.example\r\nSubject: hello\r\n\r\nworld"
    with contextlib.ExitStack() as stack:
        try:
            http, _ = stack.enter_context(rspamd(own))
        except MissingPeerError as missing:
            cannot_run(str(missing))
        line = f"rspamd:http://127.0.0.1:{http}"
        config = replace(relay_config(tmp_path), door=DoorSettings(filters=(line,)))
        async with relaying(config) as (_, port), Client.to(port) as client:
            assert (await client.send(good, "ada@ours.example")).startswith("250 2.0.0")
            await asyncio.to_thread(stack.close)
            assert (await client.send(good, "ada@ours.example")).startswith("451 4.7.1 a filter here is out of order")
