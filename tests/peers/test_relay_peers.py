"""The relay between other people's servers: Exim, OpenSMTPD, swaks and smtplib send to it, and it hands on to Exim and
OpenSMTPD."""

import asyncio
import smtplib
import ssl
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from mx10.relay.door.users import to_line
from mx10.relay.door.values import Kind
from mx10.smtp.auth import ScramKeys
from peers.exim import Exim
from peers.opensmtpd import OpenSmtpd
from peers.server import MissingPeerError, find_program
from peers.unpacked import DOMAIN, MailServer
from tests.conftest import cannot_run
from tests.nameserver.test_tls import write_certificate
from tests.relay.running import empty, relay_config, relaying, spooled

pytestmark = pytest.mark.peers

BODIES = (
    "\r\n",
    ".\r\n..\r\n.a\r\n",
    "a\r\n.\r\nMAIL FROM:<eve@x.test>\r\n.\r\n",
    "x" * 900 + "\r\n",
    "grüße\r\n" * 20_000,
)
SOON = {"retry_seconds": 1, "retry_longest_seconds": 1, "probe_seconds": 1, "probe_longest_seconds": 1}


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    # Not pytest's folder: the servers' own users must be able to walk to it.
    with tempfile.TemporaryDirectory(prefix="mx10-relay-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def started(kind: Any, folder: Path, **settings: Any) -> MailServer:
    """One of them, not begun."""
    work = Path(tempfile.mkdtemp(dir=folder))
    work.chmod(0o755)
    try:
        server: MailServer = kind(work, *write_certificate(work, "localhost"), **settings)
    except MissingPeerError as error:
        cannot_run(str(error))
    return server


@asynccontextmanager
async def relay(folder: Path, onward: int, kind: Kind = "mx", **more: Any) -> AsyncIterator[tuple[Any, int]]:
    """A relay with TLS and a user, which passes all on to a port of this host."""
    certificate, key = write_certificate(folder, "mx.mx10.test")
    users = folder / "users"
    users.write_text(to_line("ada", ScramKeys.of("secret", b"0123456789abcdef")) + "\n")
    settings = {
        **SOON,
        "tls_certificate": certificate,
        "tls_key": key,
        "users": users,
        "domains": (DOMAIN,),
        "trusted": ("127.0.0.0/8",),
        "transports": (f"* smtp://127.0.0.1:{onward} tls=opportunistic",),
        **more,
    }
    config = relay_config(folder, **settings)
    async with relaying(config, kind) as (_, port):
        yield config, port


def submit(port: int, body: str, *, sender: str = "ann@sender.test", to: str = f"bob@{DOMAIN}") -> None:
    """By smtplib, with all that the server offers."""
    with smtplib.SMTP("127.0.0.1", port, "client.test", timeout=20) as client:
        client.ehlo()
        how = ["BODY=8BITMIME"] if client.has_extn("8bitmime") else []
        content = f"Subject: x\r\nFrom: {sender}\r\nTo: {to}\r\n\r\n{body}".encode()
        client.sendmail(sender, [to], content, mail_options=how)


def body(message: bytes) -> str:
    return message.partition(b"\n\n")[2].decode()


# ---------------------------------------------------------------- from them to us, and on to them


@pytest.mark.parametrize("chunking", [True, False])
async def test_exim_sends_to_us_and_opensmtpd_takes(tmp_path: Path, folder: Path, chunking: bool) -> None:
    taking = started(OpenSmtpd, folder)
    with taking:
        async with relay(tmp_path, taking.port) as (config, port):
            # For Exim, the domain is somebody else's.
            with started(Exim, folder, onward=port, chunking=chunking, ours="exim.test") as sending:
                for number, each in enumerate(BODIES, 1):
                    await asyncio.to_thread(submit, sending.port, each)
                    arrived = await asyncio.to_thread(taking.messages, number)
                    assert body(arrived[-1]) == each.replace("\r\n", "\n")
            await empty(config)
        # Exim said so: the relay took it over TLS, and by BDAT where that was wanted.
        log = sending.said()
        assert log.count('C="250') == len(BODIES)
        assert ('K C="250' in log) is chunking
        assert "X=TLS1.3" in log
    assert len(arrived) == len(BODIES)
    assert b"Received: from mx.exim.test" in arrived[-1]


@pytest.mark.parametrize("scheme", ["smtp+notls", "smtp"])
async def test_opensmtpd_sends_to_us_and_exim_takes(tmp_path: Path, folder: Path, scheme: str) -> None:
    taking = started(Exim, folder)
    with taking:
        async with relay(tmp_path, taking.port) as (config, port):
            with started(OpenSmtpd, folder, onward=port, scheme=scheme, ours="opensmtpd.test") as sending:
                for number, each in enumerate(BODIES, 1):
                    await asyncio.to_thread(submit, sending.port, each)
                    arrived = await asyncio.to_thread(taking.messages, number)
                    assert body(arrived[-1]) == each.replace("\r\n", "\n")
            await empty(config)
    assert len(arrived) == len(BODIES)
    assert (b"with ESMTPS id" in arrived[-1]) is (scheme == "smtp")


async def test_a_refusal_further_on_comes_back(tmp_path: Path, folder: Path) -> None:
    """Exim behind us does not know the recipient; the sender, whom it knows, gets the report from nobody (<>)."""
    taking = started(Exim, folder)
    with taking:
        async with relay(tmp_path, taking.port) as (config, port):
            await asyncio.to_thread(submit, port, "x\r\n", to=f"nobody@{DOMAIN}", sender=f"bob@{DOMAIN}")
            (report,) = await asyncio.to_thread(taking.messages, 1)
            await empty(config)
        assert "<= <> " in taking.said()
    assert b"Action: failed" in report
    assert b"5.1.1 nobody of that name" in report


# ---------------------------------------------------------------- smtplib


async def test_smtplib(tmp_path: Path, folder: Path) -> None:
    def send(port: int) -> None:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with smtplib.SMTP("127.0.0.1", port, "client.test", timeout=20) as client:
            client.ehlo()
            assert set(client.esmtp_features) >= {
                *("pipelining", "8bitmime", "smtputf8", "chunking", "binarymime", "enhancedstatuscodes", "dsn"),
                *("size", "limits", "mt-priority", "starttls"),
            }
            client.starttls(context=context)
            client.ehlo()
            assert client.has_extn("requiretls")
            message = EmailMessage()
            message["Subject"], message["From"], message["To"] = "grüße", "ann@sender.test", f"bob@{DOMAIN}"
            message.set_content("grüße\n")
            client.send_message(message)
            options = ["SMTPUTF8", "BODY=8BITMIME", "RET=HDRS", "ENVID=a+2Bb", "MT-PRIORITY=3"]
            content = "Subject: grüße\r\n\r\ngrüße\r\n".encode()
            notify = ["NOTIFY=FAILURE,DELAY", f"ORCPT=rfc822;bob@{DOMAIN}"]
            client.sendmail("ann@sender.test", [f"bob@{DOMAIN}"], content, options, notify)
            assert client.mail("ann@sender.test", ["SIZE=999999999"])[0] == 552
            assert client.verify("bob")[0] == 252
            assert client.noop()[0] == 250

    taking = started(Exim, folder)
    with taking:
        async with relay(tmp_path, taking.port) as (config, port):
            await asyncio.to_thread(send, port)
            arrived = await asyncio.to_thread(taking.messages, 2)
            await empty(config)
    assert any("Subject: grüße".encode() in each for each in arrived)


# ---------------------------------------------------------------- swaks


def swaks(port: int, *arguments: str) -> tuple[int, str]:
    """Its exit code, and what was said."""
    try:
        program = find_program("swaks", "swaks")
    except MissingPeerError as error:
        cannot_run(str(error))
    command = [
        program,
        "--server",
        "127.0.0.1",
        "--port",
        str(port),
        "--ehlo",
        "client.test",
        "--from",
        "ann@sender.test",
    ]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


LOGIN = ("--auth-user", "ada", "--auth-password", "secret")
"""Exit codes are those of its manual: 0 is well, 24 no recipient, 28 AUTH failed."""


@pytest.mark.parametrize(
    ("kind", "arguments", "code", "words"),
    [
        ("mx", ("--pipeline",), 0, "250 2.0.0 kept as"),
        ("mx", ("--tls", "--tls-protocol", "tlsv1_2"), 0, "TLSv1.2"),
        ("mx", ("--tls", "--tls-protocol", "tlsv1_3"), 0, "TLSv1.3"),
        ("mx", ("--tls", "--pipeline"), 0, "250 2.0.0 kept as"),
        ("mx", ("--protocol", "SMTP"), 0, "HELO client.test"),
        ("mx", ("--body", ".\n..\nMAIL FROM:<eve@x.test>\n.\nend\n"), 0, "250 2.0.0"),
        ("mx", ("--from", "<>"), 0, "250 2.1.0"),
        ("submission", ("--tls", "--auth", "PLAIN", *LOGIN), 0, "235 2.7.0"),
        ("submission", ("--tls", "--auth", "LOGIN", *LOGIN), 0, "235 2.7.0"),
        ("submissions", ("--tls-on-connect", "--auth", "PLAIN", *LOGIN), 0, "235 2.7.0"),
        ("submission", ("--tls", "--auth", "PLAIN", *LOGIN[:3], "wrong"), 28, "535 5.7.8"),
        ("submission", ("--auth", "PLAIN", *LOGIN), 28, "did not advertise"),
    ],
)
async def test_swaks(tmp_path: Path, kind: Kind, arguments: tuple[str, ...], code: int, words: str) -> None:
    async with relay(tmp_path, 1, kind, trusted=()) as (config, port):
        # A domain that is ours to take mail for; where it is to go, nobody listens.
        result, said = await asyncio.to_thread(swaks, port, "--to", f"bob@{DOMAIN}", *arguments)
        assert result == code, said
        assert words in said
        kept = spooled(config, "SELECT COUNT(*) FROM recipients")
        assert kept == [(1 if code == 0 else 0,)]


async def test_swaks_is_no_friend(tmp_path: Path) -> None:
    """Nobody who is not trusted sends elsewhere."""
    async with relay(tmp_path, 1, trusted=()) as (config, port):
        result, said = await asyncio.to_thread(swaks, port, "--to", "victim@elsewhere.test")
        assert result == 24
        assert "550 5.7.1" in said
        assert spooled(config, "SELECT COUNT(*) FROM recipients") == [(0,)]
