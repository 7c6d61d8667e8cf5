"""``mx10 send`` to Exim and OpenSMTPD: other people's readers of BDAT, DATA, sizes, dots, and TLS of every kind."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mx10.cli import main
from peers.exim import Exim
from peers.opensmtpd import OpenSmtpd
from peers.server import MissingPeerError
from peers.unpacked import DOMAIN, MailServer
from tests.conftest import cannot_run
from tests.nameserver.test_tls import write_certificate
from tests.relay.test_connection import contexts

pytestmark = pytest.mark.peers

Capture = pytest.CaptureFixture[str]
ENVELOPE = ("send", "--json", "--from", "ann@sender.test", "--hello", "client.test", "--timeout", "20")
BOB = f"--to=bob@{DOMAIN}"


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    # Not pytest's folder: the servers' own users must be able to walk to it.
    with tempfile.TemporaryDirectory(prefix="mx10-receiving-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="module", params=[Exim, OpenSmtpd], ids=["exim", "opensmtpd"])
def server(request: pytest.FixtureRequest, folder: Path) -> Iterator[MailServer]:
    yield from _started(request.param, folder)


def _started(kind: Any, folder: Path, **settings: Any) -> Iterator[MailServer]:
    work = Path(tempfile.mkdtemp(dir=folder))
    work.chmod(0o755)
    certificate, key = write_certificate(work, "localhost")
    try:
        started = kind(work, certificate, key, **settings)
    except MissingPeerError as error:
        cannot_run(str(error))
    with started:
        yield started


def send(capsys: Capture, *arguments: str) -> tuple[list[str], list[dict[str, Any]]]:
    """The texts of the steps, and the outcomes."""
    capsys.readouterr()
    main([*ENVELOPE, *arguments])
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return [each["text"] for each in shown if "step" in each], [each for each in shown if "outcome" in each]


def body(message: bytes) -> bytes:
    return message.partition(b"\n\n")[2]


def test_messages_arrive_as_they_are(server: MailServer, capsys: Capture, tmp_path: Path) -> None:
    bodies = [
        b".\r\n..\r\n.a\r\n",
        b"a\r\n.\r\nMAIL FROM:<eve@x.test>\r\n.\r\n",
        b"x" * 900 + b"\r\n",
        b"y\r\n" * 200_000,
        "grüße\r\n".encode(),
        b"",
    ]
    for how in ((), ("--no-chunking",), ("--no-pipelining",), ("--no-chunking", "--no-pipelining", "--tls", "never")):
        for each in bodies:
            before = server.count
            file = tmp_path / "message"
            file.write_bytes(b"Subject: x\r\n\r\n" + each)
            steps, (outcome,) = send(capsys, BOB, "--server", f"127.0.0.1:{server.port}", *how, str(file))
            assert (outcome["outcome"], outcome["reply"]["code"]) == ("delivered", 250)
            if isinstance(server, Exim):
                assert any(step.startswith("BDAT") for step in steps) is ("--no-chunking" not in how)
            assert body(server.messages(before + 1)[-1]) == each.replace(b"\r\n", b"\n")
            assert server.count == before + 1
    assert "eve@" not in server.said()


def test_several_recipients(server: MailServer, capsys: Capture, tmp_path: Path) -> None:
    file = tmp_path / "message"
    file.write_bytes(b"Subject: x\r\n\r\na\r\n")
    before = server.count
    for how in ((), ("--no-pipelining",), ("--no-chunking",), ("--no-pipelining", "--no-chunking")):
        to = (f"--to=nobody@{DOMAIN}", BOB)
        _, outcomes = send(capsys, *to, "--server", f"127.0.0.1:{server.port}", *how, str(file))
        assert [(each["outcome"], each["reply"]["code"] // 100) for each in outcomes] == [
            ("failed", 5),
            ("delivered", 2),
        ]
        _, (outcome,) = send(capsys, to[0], "--server", f"127.0.0.1:{server.port}", *how, str(file))
        assert (outcome["outcome"], outcome["stage"]) == ("failed", "rcpt")
        server.messages(before := before + 1)


def test_extensions_are_said_as_they_are_heard(server: MailServer, capsys: Capture, tmp_path: Path) -> None:
    file = tmp_path / "message"
    file.write_bytes("Subject: grüße\r\n\r\ngrüße\r\n".encode())
    before = server.count
    dsn = ("--ret", "hdrs", "--envid", "a+b=c", "--notify", "failure,delay")
    steps, (outcome,) = send(capsys, BOB, "--server", f"127.0.0.1:{server.port}", *dsn, str(file))
    if isinstance(server, Exim):
        assert outcome["outcome"] == "delivered", outcome
        assert any(step.endswith("NOTIFY=DELAY,FAILURE") for step in steps)
        assert any("BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=a+2Bb+3Dc" in step for step in steps)
        assert "Subject: grüße".encode() in server.messages(before + 1)[-1]
    else:
        # It knows no SMTPUTF8, and the header is in UTF-8.
        assert (outcome["outcome"], outcome["code"]) == ("failed", "5.6.7")
        assert server.count == before


def test_a_trial_delivers_nothing(server: MailServer, capsys: Capture) -> None:
    before = server.count
    at = f"127.0.0.1:{server.port}"
    steps, outcomes = send(capsys, "--dry-run", "--server", at, BOB, f"--to=nobody@{DOMAIN}")
    assert [each["outcome"] for each in outcomes] == ["delivered", "failed"]
    assert not any(step.startswith(("DATA", "BDAT")) for step in steps)
    assert server.count == before


def test_too_large_is_known_before(server: MailServer, capsys: Capture, tmp_path: Path) -> None:
    file = tmp_path / "message"
    file.write_bytes(b"Subject: x\r\n\r\n" + b"a\r\n" * 400_000)
    steps, (outcome,) = send(capsys, BOB, "--server", f"127.0.0.1:{server.port}", str(file))
    assert (outcome["outcome"], outcome["code"]) == ("failed", "5.3.4")
    assert not any(step.startswith("MAIL") for step in steps)


# ---------------------------------------------------------------- TLS


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_versions_of_tls(folder: Path, capsys: Capture, tmp_path: Path, version: str) -> None:
    file = tmp_path / "message"
    file.write_bytes(b"Subject: x\r\n\r\na\r\n")
    for server in _started(Exim, folder, ciphers=f"NORMAL:-VERS-ALL:+VERS-{version.replace('v', '')}"):
        authority = ("--tls", "verified", "--ca", str(server.work / "certificate.pem"))
        for port, how in ((server.port, ()), (server.implicit_port, ("--implicit-tls",))):
            steps, (outcome,) = send(capsys, BOB, *authority, *how, "--server", f"localhost:{port}", str(file))
            assert outcome["outcome"] == "delivered"
            assert any(step.startswith(version) and "verified for localhost" in step for step in steps)
        assert b"TLS" in server.messages(2)[-1]


@pytest.mark.parametrize(
    ("name", "expired", "known", "words"),
    [
        ("localhost", False, True, ""),
        ("localhost", True, True, "expired"),
        ("other.test", False, True, "localhost"),
        ("localhost", False, False, "certificate"),
    ],
)
def test_certificates(
    folder: Path, capsys: Capture, tmp_path: Path, name: str, expired: bool, known: bool, words: str
) -> None:
    file = tmp_path / "message"
    file.write_bytes(b"Subject: x\r\n\r\na\r\n")
    work = Path(tempfile.mkdtemp(dir=folder))
    work.chmod(0o755)
    _, authority = contexts(work, name, expired=expired)
    (work / "exim").mkdir()
    try:
        exim = Exim(work / "exim", authority, work / f"{name}.key")
    except MissingPeerError as error:
        cannot_run(str(error))
    with exim:
        at = ("--server", f"localhost:{exim.port}", *(("--ca", str(authority)) if known else ()))
        steps, (outcome,) = send(capsys, BOB, *at, "--tls", "verified", str(file))
        if not words:
            assert outcome["outcome"] == "delivered"
            assert any("verified for localhost" in step for step in steps)
            return
        assert (outcome["outcome"], outcome["stage"]) == ("later", "tls")
        assert words in outcome["reason"]
        assert not any(step.startswith("MAIL") for step in steps)
        # Where nobody asked for more than encryption, any certificate is better than none (RFC 7435).
        for how in ("opportunistic", "encrypted"):
            steps, (outcome,) = send(capsys, BOB, *at, "--tls", how, str(file))
            assert outcome["outcome"] == "delivered"
            assert any("not verified" in step for step in steps)
        exim.messages(2)


def test_a_server_whose_tls_does_not_work(folder: Path, capsys: Capture, tmp_path: Path) -> None:
    """OpenSMTPD of Debian 12 offers STARTTLS, and its handshake always fails (it cannot use a key with OpenSSL 3)."""
    file = tmp_path / "message"
    file.write_bytes(b"Subject: x\r\n\r\na\r\n")
    for server in _started(OpenSmtpd, folder):
        at = ("--server", f"127.0.0.1:{server.port}")
        steps, (outcome,) = send(capsys, BOB, *at, "--tls", "encrypted", str(file))
        if outcome["outcome"] == "delivered":
            return  # this one works
        assert (outcome["outcome"], outcome["stage"]) == ("later", "tls")
        steps, (outcome,) = send(capsys, BOB, *at, str(file))
        assert outcome["outcome"] == "delivered"
        assert any("once more without" in step for step in steps)
        assert body(server.messages(1)[-1]) == b"a\n"
        # RFC 8689 section 4.2.2: it is delivered all the same, with the field; who chose a policy is obeyed.
        file.write_bytes(b"Subject: x\r\nTLS-Required: No\r\n\r\nb\r\n")
        _, (outcome,) = send(capsys, BOB, *at, "--tls", "verified", str(file))
        assert (outcome["outcome"], outcome["stage"]) == ("later", "tls")
        steps, (outcome,) = send(capsys, BOB, *at, str(file))
        assert outcome["outcome"] == "delivered"
        assert any("TLS-Required: No" in step for step in steps)
        assert b"\nTLS-Required: No\n" in server.messages(2)[-1]
