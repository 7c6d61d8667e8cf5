"""``mx10 lab`` as people call it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mx10.cli import main
from mx10.lab import ZONES
from tests.lab.conftest import free_port

MX10 = (sys.executable, "-m", "mx10")


def environment(port: int) -> dict[str, str]:
    ports = {"MX10_LAB__PORT": str(port), "MX10_LAB__MAIL_PORT": str(port)}
    return {**os.environ, **ports, "PYTHONDEVMODE": "1"}


@contextmanager
def running(port: int, *arguments: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """A lab in a process of its own, and what it printed as it started."""
    lab = subprocess.Popen(
        [*MX10, "lab", "up", *arguments],
        env=environment(port),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    try:
        assert lab.stdout is not None
        said = ""
        for line in lab.stdout:
            said += line
            if line.startswith("Ctrl-C"):
                break
        yield lab, said
    finally:
        if lab.poll() is None:
            lab.terminate()
        try:
            lab.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            lab.kill()
            lab.communicate()
            raise


def complaints(errors: str) -> str:
    """What a program said, without what asyncio finds slow in development mode: that is about the machine."""
    return re.sub(r"(\{[^\n]*\"part\": \"asyncio\"[^\n]*|Executing <[^\n]* took [0-9.]+ seconds)\r?\n", "", errors)


def mx10(port: int, *arguments: str, text: str = "") -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        [*MX10, *arguments],
        env=environment(port),
        input=text,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=20,
    )
    done.stderr = complaints(done.stderr)
    return done


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_up_tells_what_to_try_and_ends_cleanly(number: signal.Signals) -> None:
    port = free_port()
    with running(port) as (lab, said):
        assert re.search(r"The lab is up: \d+ zones on \d+ nameservers", said)
        assert f"Ask 127.53.0.53, port {port}." in said
        lab.send_signal(number)
        rest, errors = lab.communicate(timeout=20)
        assert (lab.returncode, rest.strip()) == (0, "The lab has ended.")
        events = [json.loads(line) for line in complaints(errors).splitlines()]
        assert [each["event"] for each in events] == ["relay ready", "relay stops"]


def test_every_command_of_the_tour_works() -> None:
    port = free_port()
    with running(port) as (_, said):
        commands = [line.strip() for line in said.splitlines() if line.startswith("  ") and "#" not in line]
        assert len(commands) >= 6
        for command in commands:
            result = subprocess.run(
                command, shell=True, capture_output=True, text=True, encoding="utf-8", timeout=20, cwd=Path.cwd()
            )
            # A route may be none, or have to wait: that is what some of them show.
            assert result.returncode in ((0, 1, 3) if " route " in command else (0,)), (command, result)
            assert "Traceback" not in result.stderr
            assert result.stdout


def test_a_second_one_says_that_it_runs_already() -> None:
    port = free_port()
    with running(port):
        result = mx10(port, "lab", "up")
        assert result.returncode == 3
        assert result.stderr == (
            f"mx10 lab: the lab runs already, at 127.53.0.53:{port}; end it with Ctrl-C where it was started\n"
        )


def test_a_folder_of_ones_own(tmp_path: Path) -> None:
    port = free_port()
    copied = mx10(port, "lab", "copy", str(tmp_path / "my lab"))
    assert copied.returncode == 0
    assert f"lab up --zone-dir '{tmp_path}/my lab'" in copied.stdout
    with running(port, "--zone-dir", str(tmp_path / "my lab")):
        zone = tmp_path / "my lab" / "single.example.zone"
        zone.write_text(zone.read_text().replace("MX   10 mail", "MX   9 mail"))
        # An edit needs less than a second; each command that looks may need two where all processors are busy.
        deadline = time.monotonic() + 20
        while (
            "9 mail.single.example." not in (found := mx10(port, "--lab", "lookup", "--short", "single.example")).stdout
        ):
            assert time.monotonic() < deadline, found


def test_the_port_can_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    port = free_port()
    with running(free_port(), "--port", str(port)) as (_, said):
        assert f"port {port}." in said
        assert f"MX10_LAB__PORT={port} " in said


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lab", "list"]) == 0
    out = capsys.readouterr().out
    assert "  single.example          one exchanger\n" in out
    assert "wrong on purpose\n  duplicates.test" in out
    assert main(["lab", "list", "DNAME"]) == 0
    assert capsys.readouterr().out.count("\n") == 3
    assert main(["lab", "list", "nothing like it"]) == 1
    assert "no domain of the lab is about 'nothing like it'" in capsys.readouterr().err


def test_switching_an_exchanger_off_and_seeing_where_mail_goes() -> None:
    port = free_port()
    send = ("--lab", "send", "--from", "ann@single.example", "--to", "sales@backup.example", "-")
    message = "Subject: \x1b[31mred\n\nHello.\n"

    def mail() -> list[list[str]]:
        listed = json.loads(mx10(port, "lab", "mail", "--json").stdout)
        return [[each["host"], *each["recipients"]] for each in listed["messages"]]

    with running(port) as (lab, _):
        assert mx10(port, "lab", "mail").stdout == "no exchanger has a message\n"
        down = mx10(port, "lab", "down", "primary.backup.example")
        assert down.returncode == 0
        assert down.stdout.startswith("primary.backup.example is down: connections are refused")
        assert mx10(port, "lab", "down", "--how", "busy", "mail.single.example", "mx-a.equal.example").returncode == 0
        assert mx10(port, *send, text=message).returncode == 0
        assert mail() == [["secondary.backup.example", "sales@backup.example"]]
        listed = mx10(port, "lab", "list", "backup.example").stdout
        assert "exchangers that take mail at port" in listed
        assert re.search(r"primary.backup.example +down +0 taken +backup.example, primary.backup.example\n", listed)
        assert re.search(r"secondary.backup.example +up +1 taken +backup.example, secondary.backup.example\n", listed)
        back = mx10(port, "lab", "back", "primary.backup.example")
        assert (back.returncode, back.stdout) == (0, f"primary.backup.example is up again, at port {port}\n")
        assert len(json.loads(mx10(port, "lab", "back", "--json").stdout)["hosts"]) == 2
        assert mx10(port, "lab", "back").stdout == "all exchangers are up\n"
        assert mx10(port, *send, text=message).returncode == 0
        assert mail()[1:] == [["primary.backup.example", "sales@backup.example"]]
        shown = mx10(port, "lab", "mail", "2").stdout
        assert "Return-Path: <ann@single.example>\n" in shown
        assert "Subject: \\x1b[31mred\n" in shown
        assert "\x1b" not in shown + mx10(port, "lab", "mail").stdout
        assert "Hello." in json.loads(mx10(port, "lab", "mail", "2", "--json").stdout)["text"]
        unknown = mx10(port, "lab", "down", "nope.example")
        assert unknown.returncode == 1
        assert unknown.stderr.startswith(
            "mx10 lab: nope.example is no exchanger that runs in the lab; those are: mail."
        )
        lab.send_signal(signal.SIGTERM)
        lab.wait(10)
    ended = mx10(port, "lab", "mail")
    assert ended.returncode == 3
    assert f"no lab of this user runs at 127.53.0.53:{port}: start one with `mx10 lab up`" in ended.stderr


def test_zones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lab", "zones"]) == 0
    assert capsys.readouterr().out == f"{ZONES}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["up", "--port", "0"], "'0' is not a port; write a number from 1 to 65535"),
        (["up", "--zone-dir", "/nonexistent"], "/nonexistent is not a folder: make one with `mx10 lab copy DIR`"),
        (["list", "--zone-dir", "/nonexistent"], "/nonexistent is not a folder"),
        (["copy", "/dev/null"], "cannot write to /dev/null"),
        (["copy"], "DIR"),
        (["copy", ""], "the folder's name is empty"),
        (["down"], "HOST"),
        (["down", "--how", "away", "x.example"], "invalid choice"),
        (["dance"], "invalid choice"),
        ([], "ACTION"),
    ],
)
def test_wrong_usage(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lab", *arguments]) == 2
    assert message in capsys.readouterr().err
