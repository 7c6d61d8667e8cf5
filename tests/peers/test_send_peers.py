"""``mx10 send`` to Postfix and to its smtp-sink."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mx10.cli import main
from peers.postfix_receiving import DOMAIN, ReceivingPostfix, smtp_sink
from tests.conftest import cannot_run
from tests.nameserver.test_tls import write_certificate

pytestmark = pytest.mark.peers


@pytest.fixture(scope="module", autouse=True)
def _installed() -> None:
    for program in ("postfix", "smtp-sink"):
        if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None:
            cannot_run(f"{program} is not installed: apt-get install postfix")
    if os.geteuid() != 0:
        cannot_run("Postfix starts only as root")


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    # Not pytest's folder: Postfix's own users must be able to walk to it.
    with tempfile.TemporaryDirectory(prefix="mx10-postfix-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="module")
def postfix(folder: Path) -> Iterator[ReceivingPostfix]:
    certificate, key = write_certificate(folder, "localhost")
    work = folder / "postfix"
    work.mkdir()
    with ReceivingPostfix(work, certificate, key) as started:
        yield started


Capture = pytest.CaptureFixture[str]
ENVELOPE = ("send", "--json", "--from", "ann@sender.test", "--hello", "client.test", "--timeout", "20")


def send(capsys: Capture, *arguments: str) -> tuple[list[str], list[dict[str, Any]]]:
    """The texts of the steps, and the outcomes."""
    capsys.readouterr()
    main([*ENVELOPE, *arguments])
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return [each["text"] for each in shown if "step" in each], [each for each in shown if "outcome" in each]


def body(message: bytes) -> bytes:
    return message.partition(b"\n\n")[2]


def test_messages_arrive_as_they_are(postfix: ReceivingPostfix, capsys: Capture, tmp_path: Path) -> None:
    at = f"127.0.0.1:{postfix.port}"
    bodies = [
        b".\r\n..\r\n.a\r\n",
        b"a\r\n.\r\nMAIL FROM:<eve@x.test>\r\n.\r\n",
        b"x" * 70_000 + b"\r\n",
        b"y\r\n" * 200_000,
        "grüße\r\n".encode(),
    ]
    count = len(list((postfix.maildir / "new").glob("*")))
    for number, each in enumerate(bodies):
        file = tmp_path / "message"
        file.write_bytes(b"Subject: x\r\n\r\n" + each)
        how = ("--no-chunking",) if number % 2 else ()
        steps, (outcome,) = send(capsys, "--to", f"bob@{DOMAIN}", "--server", at, *how, str(file))
        assert (outcome["outcome"], outcome["reply"]["code"]) == ("delivered", 250)
        assert any(step.startswith("TLSv1.3") for step in steps)
        assert any(step.startswith("BDAT") for step in steps) is not bool(how)
        arrived = body(postfix.messages(count + number + 1)[-1])
        # Postfix breaks lines of more than line_length_limit in two, and keeps messages with LF.
        assert arrived.replace(b"\n", b"") == each.replace(b"\r\n", b"").replace(b"\n", b"")
    # One each, and none from eve.
    assert len(list((postfix.maildir / "new").glob("*"))) == count + len(bodies)
    assert "eve@" not in postfix.log.read_text()


def test_several_recipients(postfix: ReceivingPostfix, capsys: Capture, tmp_path: Path) -> None:
    file = tmp_path / "message"
    file.write_bytes(b"Subject: x\r\n\r\na\r\n")
    for how in ((), ("--no-pipelining",), ("--no-chunking",), ("--no-pipelining", "--no-chunking")):
        to = [f"--to={each}@{DOMAIN}" for each in ("bob", "nobody", "grüße")]
        steps, outcomes = send(capsys, *to, "--server", f"127.0.0.1:{postfix.port}", *how, str(file))
        assert [(each["outcome"], each["code"]) for each in outcomes] == [
            ("delivered", "2.0.0"),
            ("failed", "5.1.1"),
            ("delivered", "2.0.0"),
        ]
        assert any(step.endswith("SMTPUTF8") for step in steps)


def test_a_trial_delivers_nothing(postfix: ReceivingPostfix, capsys: Capture) -> None:
    at = f"127.0.0.1:{postfix.port}"
    steps, outcomes = send(capsys, "--dry-run", "--server", at, f"--to=bob@{DOMAIN}", f"--to=nobody@{DOMAIN}")
    assert [each["outcome"] for each in outcomes] == ["delivered", "failed"]
    assert not any(step.startswith(("DATA", "BDAT")) for step in steps)
    _, (outcome,) = send(capsys, "--dry-run", "--server", at, "--to=bob@elsewhere.test")
    assert (outcome["outcome"], outcome["reply"]["code"]) == ("later", 454)


def test_too_large_is_known_before(postfix: ReceivingPostfix, capsys: Capture, tmp_path: Path) -> None:
    file = tmp_path / "message"
    file.write_bytes(b"Subject: x\r\n\r\n" + b"a\r\n" * 400_000)
    steps, (outcome,) = send(capsys, f"--to=bob@{DOMAIN}", "--server", f"127.0.0.1:{postfix.port}", str(file))
    assert (outcome["outcome"], outcome["code"]) == ("failed", "5.3.4")
    assert not any(step.startswith("MAIL") for step in steps)


@pytest.mark.parametrize("implicit", [False, True])
def test_verified(postfix: ReceivingPostfix, folder: Path, capsys: Capture, tmp_path: Path, implicit: bool) -> None:
    file = tmp_path / "message"
    file.write_bytes(b"Subject: x\r\n\r\na\r\n")
    port = postfix.implicit_port if implicit else postfix.port
    how = ("--tls", "verified", *(("--implicit-tls",) if implicit else ()), f"--to=bob@{DOMAIN}")
    authority = ("--ca", str(folder / "certificate.pem"))
    steps, (outcome,) = send(capsys, *how, *authority, "--server", f"localhost:{port}", str(file))
    assert outcome["outcome"] == "delivered"
    assert any("certificate verified for localhost" in step for step in steps)
    for wrong in ((*authority, "--server", f"127.0.0.1:{port}"), ("--server", f"localhost:{port}")):
        _, (outcome,) = send(capsys, *how, *wrong, str(file))
        assert (outcome["outcome"], outcome["stage"]) == ("later", "tls")
        assert "certificate" in outcome["reason"]


@pytest.mark.parametrize(
    ("options", "outcome", "stage"),
    [
        ((), "delivered", "final"),
        (("-e",), "delivered", "final"),
        (("-8",), "delivered", "final"),
        (("-p",), "delivered", "final"),
        *((("-r", each), "later", stage) for each, stage in (("mail", "mail"), ("rcpt", "rcpt"), ("data", "data"))),
        *((("-f", each), "failed", stage) for each, stage in (("mail", "mail"), ("rcpt", "rcpt"), ("data", "data"))),
        (("-r", "."), "later", "final"),
        (("-f", "."), "failed", "final"),
        *((("-q", each), "later", stage) for each, stage in (("mail", "mail"), ("rcpt", "rcpt"), (".", "final"))),
        *((("-Q", each), "later", stage) for each, stage in (("mail", "mail"), ("rcpt", "rcpt"), (".", "final"))),
    ],
)
def test_smtp_sink(options: tuple[str, ...], outcome: str, stage: str, capsys: Capture, tmp_path: Path) -> None:
    file = tmp_path / "message"
    file.write_bytes(b"Subject: x\r\n\r\na\r\n")
    with smtp_sink(*options) as port:
        _, (found,) = send(capsys, "--to=bob@x.test", "--server", f"127.0.0.1:{port}", str(file))
    assert found["outcome"] == outcome, found
    assert found["stage"] == stage, found
