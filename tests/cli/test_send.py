"""``mx10 send``: steps, outcomes, exit codes, and what is wrong on the command line."""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mx10.cli import main
from peers import free_port
from tests.relay.talker import CLOSE, OFFERS, Talker
from tests.routing.dns_world import World, serving

WORLD = """
example.org MX 10 mx1.example.org.
example.org MX 20 mx2.example.org.
example.com MX 10 mx1.example.org.
example.com MX 20 mx2.example.org.
example.net MX 5 mx2.example.org.
xn--bcher-kva.example MX 10 mx2.example.org.
mx1.example.org A 127.9.0.1
mx2.example.org A 127.9.0.2
null.example MX 0 .
far.example MX 10 mx.far.example.
mx.far.example A 192.0.2.1
slow.example ! SERVFAIL
"""

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def nameserver() -> Iterator[str]:
    with serving(World(WORLD)) as address:
        yield address


@pytest.fixture(autouse=True)
def settings(nameserver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MX10_RESOLVER__SERVERS", nameserver)
    monkeypatch.setenv("MX10_RESOLVER__ATTEMPTS", "1")
    monkeypatch.setenv("MX10_ROUTING__PUBLIC_NETWORKS", "127.0.0.0/8")


@contextlib.contextmanager
def hosts(*wanted: Talker) -> Iterator[int]:
    """Hosts on one port, in a thread of their own: the command has a loop of its own. Yields the port."""
    port = free_port("127.9.0.1")
    started, ended = threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        async with contextlib.AsyncExitStack() as opened:
            for each in wanted:
                each.port = port
                await opened.enter_async_context(each.listening())
            loops.append(asyncio.get_running_loop())
            started.set()
            await ended.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield port
    finally:
        loops[0].call_soon_threadsafe(ended.set)
        thread.join(10)


@pytest.fixture
def message(tmp_path: Path) -> str:
    file = tmp_path / "message.eml"
    file.write_bytes(b"Subject: hello\n\n.a dot\nand no end")
    return str(file)


ENVELOPE = ("--from", "ann@example.net", "--hello", "client.example")


def send(message: str, port: int, *arguments: str) -> int:
    return main(["send", *ENVELOPE, "--port", str(port), *arguments, message])


def first(**more: Any) -> Talker:
    return Talker(address="127.9.0.1", **more)


def second(**more: Any) -> Talker:
    return Talker(address="127.9.0.2", **more)


def test_a_message_that_does_not_insist_on_tls(tmp_path: Path, capsys: Capture) -> None:
    """RFC 8689 section 4.2.2; --requiretls is heard before the header (section 4.1)."""
    file = tmp_path / "message.eml"
    file.write_bytes(b"Subject: hello\nTLS-Required: no\n\nworld\n")
    host = first()
    with hosts(host, second()) as port:
        assert send(str(file), port, "--to", "bob@example.org") == 0
        assert "\n  the message says TLS-Required: No; it may go without TLS\n" in capsys.readouterr().out
        assert send(str(file), port, "--to", "bob@example.org", "--tls", "encrypted") == 3
        said = "the message says TLS-Required: No, but tls=encrypted was chosen here, and holds"
        assert capsys.readouterr().out.count(said) == 2
        assert send(str(file), port, "--to", "bob@example.org", "--requiretls") != 0
        assert "TLS-Required" not in capsys.readouterr().out
    assert host.messages == [b"Subject: hello\r\nTLS-Required: no\r\n\r\nworld\r\n"]


def test_each_step_is_shown(message: str, capsys: Capture) -> None:
    host = first()
    with hosts(host) as port:
        assert send(message, port, "--to", "bob@example.org") == 0
    assert host.messages == [b"Subject: hello\r\n\r\n.a dot\r\nand no end\r\n"]
    out = capsys.readouterr().out.splitlines()
    assert out[:5] == [
        "bob@example.org",
        "  route: mx1.example.org [127.9.0.1], then mx2.example.org [127.9.0.2]",
        f"  connecting to mx1.example.org[127.9.0.1]:{port}",
        "    ← 220 talker.test ESMTP",
        "    → EHLO client.example",
    ]
    assert "    → MAIL FROM:<ann@example.net> SIZE=38" in out
    assert "    → (38 octets of the message)" in out
    assert out[-2] == "    ← 221 2.0.0 bye"
    assert out[-1].startswith("bob@example.org: delivered (2.0.0): mx1.example.org [127.9.0.1] took it")


def test_recipients_with_one_way_travel_together(message: str, capsys: Capture) -> None:
    one, two = first(), second()
    with hosts(one, two) as port:
        to = [
            f"--to={each}" for each in ("bob@example.org", "cat@example.com", "dan@example.net", "eve@bücher.example")
        ]
        assert send(message, port, *to) == 0
    assert (one.connections, two.connections) == (1, 1)
    assert [each for each in one.heard if each.startswith("RCPT")] == [
        "RCPT TO:<bob@example.org>",
        "RCPT TO:<cat@example.com>",
    ]
    assert "RCPT TO:<eve@xn--bcher-kva.example>" in two.heard
    assert capsys.readouterr().out.count("delivered (2.0.0)") == 4


def test_the_next_host_is_tried(message: str, capsys: Capture) -> None:
    two = second()
    with hosts(two) as port:
        assert send(message, port, "--to", "bob@example.org") == 0
    assert len(two.messages) == 1
    assert "  failed: connection refused" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("says", "code", "words"),
    [
        ({"RCPT": b"550 5.1.1 nobody of that name\r\n"}, 1, "refused (5.1.1)"),
        ({"MAIL": b"451 4.7.1 later\r\n"}, 3, "not now (4.7.1)"),
        ({"END": b"554 5.6.0 no\r\n"}, 1, "refused (5.6.0)"),
        ({"END": CLOSE}, 3, "not now"),
        ({"GREETING": b"554 5.3.2 no mail here\r\n"}, 3, ""),
    ],
)
def test_what_goes_wrong(says: dict[str, bytes], code: int, words: str, message: str, capsys: Capture) -> None:
    with hosts(first(says=says)) as port:
        arguments = ("--server", f"127.9.0.1:{port}", "--to", "bob@example.org")
        assert main(["send", *ENVELOPE, *arguments, message]) in ((code,) if words else (1, 3))
    assert words in capsys.readouterr().out


@pytest.mark.parametrize(
    ("domain", "code", "words"),
    [("null.example", 1, "refused (5.1.10)"), ("gone.example", 1, "refused (5.1.2)"), ("slow.example", 3, "(4.4.3)")],
)
def test_no_route(domain: str, code: int, words: str, message: str, capsys: Capture) -> None:
    assert send(message, 25, "--to", f"bob@{domain}") == code
    assert words in capsys.readouterr().out


def test_a_trial(message: str, capsys: Capture) -> None:
    host = first(says={"RCPT": b"550 5.1.1 nobody\r\n"})
    with hosts(host, second()) as port:
        arguments = ["send", *ENVELOPE, "--dry-run", "--port", str(port)]
        assert main([*arguments, "--to", "bob@example.net"]) == 0
        assert "bob@example.net: would be taken (2.0.0)" in capsys.readouterr().out
        assert main([*arguments, "--to", "bob@example.org", message]) == 1
    assert host.messages == []
    assert "SIZE=38" in "".join(host.heard)


def test_json(message: str, capsys: Capture) -> None:
    with hosts(first(says={"RCPT": b"550 5.1.1 nobody\r\n"})) as port:
        assert send(message, port, "--to", "bob@example.org", "--json") == 1
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["text"] for each in shown if each.get("step") == "command"][:2] == [
        "EHLO client.example",
        "MAIL FROM:<ann@example.net> SIZE=38",
    ]
    last = shown[-1]
    assert (last["recipient"], last["outcome"], last["code"], last["stage"]) == (
        "bob@example.org",
        "failed",
        "5.1.1",
        "rcpt",
    )
    assert last["reply"] == {"code": 550, "enhanced": "5.1.1", "lines": ["nobody"]}


def test_parameters(message: str) -> None:
    host = first(offers=(*OFFERS, "MT-PRIORITY"))
    with hosts(host) as port:
        arguments = ("--ret", "hdrs", "--envid", "a b", "--notify", "failure,delay", "--priority", "3")
        assert send(message, port, "--to", "bob@example.org", *arguments) == 0
    assert "MAIL FROM:<ann@example.net> SIZE=38 RET=HDRS ENVID=a+20b MT-PRIORITY=3" in host.heard
    assert "RCPT TO:<bob@example.org> NOTIFY=DELAY,FAILURE" in host.heard


def test_letters_beyond_ascii(tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "message.eml"
    file.write_text("Subject: grüße\n\nå\n")
    old, new = first(offers=("8BITMIME",)), second()
    with hosts(old, new) as port:
        assert send(str(file), port, "--to", "bob@example.net") == 0
        assert "MAIL FROM:<ann@example.net> SIZE=24 BODY=8BITMIME SMTPUTF8" in new.heard
        assert main(["send", *ENVELOPE, "--server", f"127.9.0.1:{port}", "--to", "b@x.example", str(file)]) == 1
    assert "(5.6.7)" in capsys.readouterr().out
    assert old.messages == []


def test_the_password_comes_from_a_file_or_the_environment(
    message: str, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("open sesame\n")
    monkeypatch.setenv("WORD", "open sesame")
    host = first(says={"AUTH": b"235 2.7.0 welcome\r\n"}, offers=("AUTH PLAIN",))
    with hosts(host) as port:
        for source in (("--auth-password-file", str(secret)), ("--auth-password-env", "WORD")):
            arguments = ("--to", "bob@example.org", "--auth-user", "ann", *source)
            assert send(message, port, *arguments, "--auth-without-tls") == 0
            assert host.heard[-5] == "AUTH PLAIN AGFubgBvcGVuIHNlc2FtZQ=="
            # Without TLS it stays here, unless that is wanted.
            assert send(message, port, *arguments) == 3
    out = capsys.readouterr().out
    assert "AGFub" not in out
    assert "sesame" not in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--to", "b@x.example"), "the sender is missing"),
        (("--from", "a@x.example"), "a recipient is missing"),
        (("--from", "a", "--to", "b@x.example"), "--from: 'a' is no mail address"),
        (("--from", "", "--to", "b@x.example\r\nRSET"), "--to:"),
        (("--from", "", "--to", "b@x.example", "/nonexistent"), "No such file"),
        (("--from", "", "--to", "b@x.example", "/dev/null"), "is empty"),
        (("--from", "", "--to", "b@x.example", "--port", "0"), "no port 0"),
        (("--from", "", "--to", "b@x.example", "--server", "a b"), "--server"),
        (("--from", "", "--to", "b@x.example", "--server", "mx.example:99999"), "no port 99999"),
        (("--from", "", "--to", "b@x.example", "--server", "mx.example:26", "--port", "27"), "say one of them"),
        (("--from", "", "--to", "b@x.example", "--lmtp"), "--lmtp needs --server"),
        (("--from", "", "--to", "b@x.example", "--hello", "a b"), "--hello"),
        (("--from", "", "--to", "b@x.example", "--local-address", "x"), "no IP address"),
        (("--from", "", "--to", "b@x.example", "--timeout", "0"), "more than 0"),
        (("--from", "", "--to", "b@x.example", "--timeout", "nan"), "more than 0"),
        (("--from", "", "--to", "b@x.example", "--ca", "/nonexistent"), "--ca"),
        (("--from", "", "--to", "b@x.example", "--auth-user", "x"), "the password is missing"),
        (("--from", "", "--to", "b@x.example", "--auth-password-env", "X"), "--auth-user is missing"),
        (("--from", "", "--to", "b@x.example", "--auth-user", "x", "--auth-password-env", "NOT_SET"), "is empty"),
        (("--from", "", "--to", "b@x.example", "--auth-user", "x", "--auth-password-file", "/nonexistent"), "No such"),
        (("--from", "", "--to", "b@x.example", "--notify", "now"), "--notify"),
        (("--from", "", "--to", "b@x.example", "--priority", "10"), "--priority"),
        (("--from", "", "--to", "b@x.example", "--envid", "å"), "--envid"),
        (("--from", "", "--to", "b@x.example", "--implicit-tls", "--tls", "never"), "contradict"),
    ],
)
def test_what_is_wrong_on_the_command_line(arguments: tuple[str, ...], words: str, capsys: Capture) -> None:
    assert main(["send", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("mx10: send: ")
    assert words in error


def test_standard_input() -> None:
    host = second()
    with hosts(host) as port:
        command = [sys.executable, "-m", "mx10", "send", "--from", "", "--to", "bob@example.net", f"--port={port}"]
        done = subprocess.run(command, input=b"a\n.\nb\n", capture_output=True, timeout=60, check=False, env=os.environ)
    assert (done.returncode, done.stderr) == (0, b"")
    assert host.messages == [b"a\r\n.\r\nb\r\n"]
    assert "MAIL FROM:<> SIZE=9" in host.heard


def test_in_the_lab_nothing_leaves_the_machine(
    nameserver: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """Some hosts of the lab have addresses of documentation, which would be asked for on the network."""
    with socket.socket() as lab:
        # Whether a lab runs is seen at its address; this one answers nothing but connections.
        lab.bind(("127.0.0.1", 0))
        lab.listen()
        monkeypatch.setenv("MX10_LAB__ADDRESS", "127.0.0.1")
        monkeypatch.setenv("MX10_LAB__PORT", str(lab.getsockname()[1]))
        code = main(["--lab", "send", "--from", "", "--to", "b@x.example", "--server", "192.0.2.1", message])
    assert code == 3
    assert "which the lab does not reach" in capsys.readouterr().out
