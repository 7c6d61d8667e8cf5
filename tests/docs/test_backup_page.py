"""What docs/backup.md shows is what the command prints, and its rules are rules."""

import re
import tomllib
from pathlib import Path

import pytest

from mx10.cli import main
from mx10.relay.door.recipients import parse_rules
from mx10.relay.door.recipients.asking import _CODES_OF_UNKNOWN, _ENDS_OF_UNKNOWN
from tests.cli.test_send import hosts
from tests.relay.primary import Primary
from tests.routing.dns_world import World, serving

PAGE = (Path(__file__).parents[2] / "docs" / "backup.md").read_text(encoding="utf-8")
WORLD = """
example.com MX 10 mx1.example.com.
example.com MX 20 backup.example.net.
example.org MX 10 mx1.example.com.
mx1.example.com A 127.9.0.1
backup.example.net A 127.9.0.2
"""


def test_the_output_shown_is_that_of_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MX10_STORE__URL", f"sqlite:///{tmp_path}/mx10.db")
    monkeypatch.setenv("MX10_RELAY__HOSTNAME", "backup.example.net")
    monkeypatch.setenv("MX10_RELAY__LISTEN", "127.9.0.2:25")
    monkeypatch.setenv("MX10_ROUTING__PUBLIC_NETWORKS", "127.0.0.0/8")
    Path("people.txt").write_text("ada@example.com\nbob@example.com\ncarol@example.com\n", encoding="utf-8")
    primary = Primary(address="127.9.0.1", known={"ada@example.com", "bob@example.com"})
    consoles = re.findall(r"```console\n\$ mx10 (.*?)\n(.*?)```", PAGE, re.DOTALL)
    assert len(consoles) == 2
    with serving(World(WORLD)) as address, hosts(primary) as port:
        monkeypatch.setenv("MX10_RESOLVER__SERVERS", address)
        monkeypatch.setenv("MX10_RELAY__PORT", str(port))
        for command, shown in consoles:
            main(command.split())
            assert capsys.readouterr().out.replace("127.9.0.1", "192.0.2.1") == shown


def test_the_rules_are_rules() -> None:
    example = re.search(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert example is not None
    rules = parse_rules(tomllib.loads(example[1])["recipients"]["rules"])
    assert [each.text for each in rules.of("example.org").patterns] == ["sales-*"]
    assert rules.of("elsewhere.example").ask


def test_the_codes_are_those_of_the_code() -> None:
    line = next(line for line in PAGE.splitlines() if "550, 551, 553" in line)
    assert {code[2:] for code in re.findall(r"\b5\.\d+\.\d+", line)} == _ENDS_OF_UNKNOWN
    assert {int(code) for code in re.findall(r"\b55\d\b", line)} == _CODES_OF_UNKNOWN
