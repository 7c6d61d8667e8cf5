"""docs/route.md says what ``mx10 route`` does."""

import json
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mx10.cli import main
from mx10.routing.notes import kinds
from mx10.routing.to_json import to_json
from mx10.routing.values import ExchangerStatus, Kind
from mx10.routing.whatif import all_down
from tests.routing.dns_world import TEST_NETWORKS, World, routed, serving

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "route.md").read_text(encoding="utf-8")

WORLD = """
example.org MX 10 mx1.example.org.
example.org MX 10 mx2.example.org.
example.org MX 20 backup.example.net.
mx1.example.org A 192.0.2.1
mx1.example.org AAAA 2001:db8::1
mx2.example.org A 192.0.2.2
backup.example.net A 203.0.113.1
"""


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with serving(World(WORLD)) as server:
        monkeypatch.setenv("MX10_RESOLVER__SERVERS", server)
        monkeypatch.setenv("MX10_ROUTING__PUBLIC_NETWORKS", ",".join(TEST_NETWORKS))
        yield


def table(heading: str) -> list[list[str]]:
    """The rows of the first table behind a line."""
    behind = TEXT.partition(f"\n{heading}\n")[2]
    assert behind, heading
    rows = []
    for line in behind.split("\n"):
        if line.startswith("|"):
            rows.append([cell.strip().strip("`") for cell in line.strip("|").split(" | ")])
        elif rows:
            break
    return rows[2:]


@pytest.mark.usefixtures("settings")
def test_the_examples_are_what_it_prints(capsys: pytest.CaptureFixture[str]) -> None:
    examples = re.findall(r"```console\n\$ mx10 (.*?)\n(.*?)```", TEXT, re.DOTALL)
    assert len(examples) == 3
    for command, output in examples:
        assert main(shlex.split(command)) == 0
        assert capsys.readouterr().out == output


def test_every_note_is_told_of() -> None:
    told = [(row[0], row[1], row[3].strip("| ")) for row in table("### Notes")]
    assert told == [(code, severity, source) for code, (severity, source) in kinds().items()]


def test_every_json_key_is_told_of() -> None:
    world = WORLD + "example.org MX 30 gone.example.org."
    route = routed(world, down=("mx1.example.org",), this_host=("backup.example.net",))
    shown: dict[str, Any] = json.loads(json.dumps(to_json(route, all_down(route))))
    group = shown["groups"][0]
    exchanger = group["exchangers"][0]
    gone = shown["groups"][-1]["exchangers"][0]
    objects = {
        "The route": shown,
        "A group": group,
        "An exchanger": exchanger,
        "An address": exchanger["addresses"][0],
        "A note": gone["notes"][0],
        "A question": shown["questions"][0],
        "All down": shown["all_down"],
        "A failure": shown["all_down"]["combinations"][0][0],
    }
    for heading, found in objects.items():
        assert [row[0] for row in table(f"**{heading}**")] == list(found), heading
    for key in shown["if_all_fail"]:
        assert f"`{key}`" in TEXT.partition("| `if_all_fail` |")[2].partition("\n")[0]


def test_every_status_and_kind_is_told_of() -> None:
    for row, values in ((("**An exchanger**", "status"), ExchangerStatus), (("**The route**", "kind"), Kind)):
        heading, key = row
        (told,) = (cells[1] for cells in table(heading) if cells[0] == key)
        for value in values:
            assert str(value) in told


def test_the_program_runs(settings: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert len([line for line in program.splitlines() if line]) <= 10
    # The program asks the system's nameservers; here they are those of the test.
    from mx10.config import ResolverSettings
    from mx10.routing import api
    from tests.routing.dns_world import SETTINGS

    server = os.environ["MX10_RESOLVER__SERVERS"]
    monkeypatch.setattr(api, "ResolverSettings", lambda: ResolverSettings(servers=(server,)))
    monkeypatch.setattr(api, "RoutingSettings", lambda: SETTINGS)
    exec(compile(program, "docs/route.md", "exec"), {})
    assert capsys.readouterr().out == (
        "10 50% 2001:db8::1\n10 50% 192.0.2.1\n10 50% 192.0.2.2\n20 0% 203.0.113.1\nNone\n"
    )


def test_the_exit_codes_are_those_of_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["route", "--help"])
    out = capsys.readouterr().out
    for code, meaning in table("## Exit codes"):
        assert f"  {code}  {meaning}" in out
