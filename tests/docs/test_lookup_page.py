"""docs/lookup.md says what the command does."""

import argparse
import re
import shlex
from pathlib import Path

import pytest

from mx10.cli import lookup as verb
from mx10.cli import main
from mx10.dns import rrtypes as rr
from mx10.resolver.answer import Answer, Status
from mx10.resolver.lookup import Lookup, MailHost, lookup_sync
from tests.cli.test_lab import running
from tests.lab.conftest import free_port
from tests.resolver.internet import name, record
from tests.resolver.test_lookup import WORLD, World

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "lookup.md").read_text(encoding="utf-8")


def keys(title: str) -> list[str]:
    """The keys of the table below a title."""
    return re.findall(
        r"^\| `(\w+)` \|", TEXT.partition(f"**{title}**")[2].partition("\n\n**")[0].partition("\n## ")[0], re.MULTILINE
    )


def test_json_keys() -> None:
    found = Lookup(
        "x",
        Answer(name("x."), rr.MX, Status.OK, (record("x. MX 10 mx.x."),)),
        (MailHost(10, name("mx.x."), ("192.0.2.1",), Status.OK),),
    ).to_json()
    assert list(found) == keys("A look-up")
    assert list(found["records"][0]) == keys("A record")
    assert list(found["exchangers"][0]) == keys("An exchanger")
    assert set(re.findall("`(ok|nodata|nxdomain|failure)`", TEXT)) == set(Status)


def test_exit_codes() -> None:
    told = re.findall(r"^\| (\d) \| (.+) \|$", TEXT, re.MULTILINE)
    assert [f"  {code}  {meaning}" for code, meaning in told] == re.findall(r"^  \d  .+$", verb.EPILOG, re.MULTILINE)


def test_options() -> None:
    parser = argparse.ArgumentParser(add_help=False)
    verb.configure(parser)
    there = {option for action in parser._actions for option in action.option_strings}
    assert set(re.findall(r"^\| `(--[\w-]+)", TEXT, re.MULTILINE)) == there


def test_the_output_shown_is_that_of_the_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command, shown = re.findall(r"```console\n\$ mx10 ([^\n]*)\n(.*?)```", TEXT, re.DOTALL)[0]
    port = free_port()
    monkeypatch.setenv("MX10_LAB__PORT", str(port))
    with running(port):
        assert main(shlex.split(command)) == 0
    said = re.sub(r"in \d+ ms", "in 3 ms", capsys.readouterr().out.replace(str(port), "5300"))
    assert said == shown


def test_commands_shown_can_be_read() -> None:
    for command in re.findall(r"^\$ mx10 lookup (.*?)(?: <.*)?$", TEXT, re.MULTILINE):
        parser = argparse.ArgumentParser()
        verb.configure(parser)
        args = parser.parse_args(shlex.split(command))
        verb._check(args)
        verb._sort(args.words)


def test_the_program_shown_runs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    program = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)[0].replace("example.org", "example")
    monkeypatch.setattr("mx10.lookup_sync", lambda names: lookup_sync(names, resolver=World(*WORLD)))
    exec(compile(program, "docs/lookup.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert lines[0].startswith("example MX ok ")
    assert lines[1] == "10 mx1.example ('192.0.2.1', '2001:db8::1')"
