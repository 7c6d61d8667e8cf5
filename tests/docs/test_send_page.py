"""docs/send.md says what ``mx10 send`` does."""

import json
import re
import shlex
from pathlib import Path

import pytest

from mx10.cli import main, send
from mx10.cli.arguments import Parser
from mx10.relay.courier.values import StepKind, Trouble
from mx10.relay.courier.wire import Timeouts
from mx10.smtp.replies import MAX_LINE, MAX_LINES
from tests.cli.test_send import hosts
from tests.relay.talker import Talker
from tests.routing.dns_world import World, serving

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "send.md").read_text(encoding="utf-8")
WORLD = """
example.org MX 10 mx1.example.org.
example.org MX 20 mx2.example.org.
mx1.example.org A 127.25.5.1
mx2.example.org A 127.25.5.2
"""


class Exchanger(Talker):
    """mx2.example.org of the page: one recipient is not known there."""

    async def _say(self, writer: object, what: str, usual: bytes) -> None:
        if what == "RCPT" and self.heard[-1] == "RCPT TO:<nobody@example.org>":
            usual = b"550 5.1.1 nobody of that name\r\n"
        elif what == "RCPT":
            usual = b"250 2.1.5 fine\r\n"
        await super()._say(writer, what, usual.replace(b"talker.test", b"mx2.example.org"))  # type: ignore[arg-type]


def test_the_examples_are_what_it_prints(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("hello.eml").write_text("Subject: hello\n\nworld\n")
    says = {"MAIL": b"250 2.1.0 fine\r\n", "DATA": b"354 go on\r\n"}
    host = Exchanger(says, offers=("PIPELINING", "8BITMIME", "SIZE 1000000"), address="127.25.5.2")
    examples = re.findall(r"```console\n\$ mx10 (.*?)\n(.*?)```", TEXT, re.DOTALL)
    assert len(examples) == 2
    with serving(World(WORLD)) as server, hosts(host) as port:
        monkeypatch.setenv("MX10_RESOLVER__SERVERS", server)
        monkeypatch.setenv("MX10_ROUTING__PUBLIC_NETWORKS", "127.0.0.0/8")
        for command, output in examples:
            main([*shlex.split(command), "--port", str(port), "--hello", "client.example.net"])
            assert capsys.readouterr().out.replace(f":{port}\n", ":25\n") == output


def test_every_option_is_told_of() -> None:
    parser = Parser(prog="mx10 send")
    send.configure(parser)
    options = set(
        re.findall(r"^  (?:-h, )?(--[a-z-]+)", parser.format_help().partition("global options")[0], re.MULTILINE)
    )
    assert options - {"--help"} <= set(re.findall(r"`(--[a-z-]+)", TEXT))
    assert set(re.findall(r"`(--[a-z-]+)", TEXT)) <= options | {"--lab"}


def test_every_json_key_is_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    main(["send", "--json", "--dry-run", "--from", "", "--to", "b@x.example", "--server", "127.25.5.9:1"])
    *steps, outcome = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for shown, heading in ((steps[0], "Key of a step"), (outcome, "Key of a recipient")):
        rows = TEXT.partition(f"| {heading} |")[2].partition("\n\n")[0].splitlines()[2:]
        told = [key for row in rows for key in re.findall(r"`(\w+)`", row.split("|")[1])]
        assert told == list(shown)
    for word in (*StepKind, *Trouble):
        assert f"`{word}`" in TEXT


def test_figures() -> None:
    times = Timeouts()
    assert f"greeting and commands {times.greeting:g} s, DATA {times.data:g} s" in TEXT
    assert (times.greeting, times.block, times.end) == (times.command, 180, 600)
    assert f"{times.connect:g} s to connect and {times.handshake:g} s" in TEXT
    assert f"{MAX_LINE:,} octets, a reply {MAX_LINES} lines" in TEXT
    assert f"({send.MAX_RECIPIENTS:,} at most)" in TEXT


def test_exit_codes_are_those_of_the_help() -> None:
    rows = re.findall(r"^\| (\d) \| (.*) \|$", TEXT, re.MULTILINE)
    assert len(rows) == 4
    for code, meaning in rows:
        assert f"  {code}  {meaning.replace('`', '')}" in send.EPILOG
