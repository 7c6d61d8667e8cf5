"""docs/lab.md tells what there is."""

import re
import subprocess
import sys
import time
from pathlib import Path

from mx10.config import ZoneSettings
from mx10.lab import ZONES
from mx10.lab.guide import KINDS, examples
from mx10.lab.plan import make_plan
from mx10.lab.server import DELIBERATE
from mx10.zones.folder import ZoneFolder
from tests.cli.test_lab import environment, running
from tests.lab.conftest import free_port

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "lab.md").read_text(encoding="utf-8")


def test_every_domain_is_told_of_as_on_the_list() -> None:
    told = re.findall(
        r"^\| `(.+)` \| (.+) \|$", TEXT.partition("## The domains")[2].partition("## Changing it")[0], re.MULTILINE
    )
    assert told == [(each.domain, each.shows) for each in examples(ZONES)]
    assert re.findall("^### (.+)$", TEXT, re.MULTILINE) == [kind[0].upper() + kind[1:] for kind in KINDS.values()]


def test_every_address_is_on_the_map() -> None:
    folder = ZoneFolder(ZONES, ZoneSettings(tolerate=DELIBERATE))
    folder.load()
    told = set()
    for first, rest in re.findall(r"^\| `(127\.53\.[0-9.]+)`(.*?)\|", TEXT, re.MULTILINE):
        told.add(first)
        base, _, number = first.rpartition(".")
        last = re.findall(r"`\.(\d+)`", rest)
        numbers = range(int(number), int(last[0]) + 1) if "to" in rest else map(int, last)
        told |= {f"{base}.{each}" for each in numbers}
    assert told - {"127.53.0.53"} == make_plan(folder.zones).places.keys()


def test_every_exchanger_that_runs_is_told_of() -> None:
    folder = ZoneFolder(ZONES, ZoneSettings(tolerate=DELIBERATE))
    folder.load()
    table = TEXT.partition("## Mail")[2].partition("| Command |")[0]
    rows = [row.split("|")[1:-1] for row in table.splitlines() if row.startswith("| `")]
    exchangers = make_plan(folder.zones).exchangers
    told = set()
    for names, domains, is_what in rows:
        words = re.findall(r"`([a-z0-9.-]+)`", names)
        for word in words:
            # `mx-a` and others "of `equal.example`".
            name = word if word in exchangers else f"{word}.{words[-1]}"
            if name not in exchangers:
                assert word == words[-1]
                continue
            told.add(name)
            place = exchangers[name]
            assert place.relay == ("relay" in is_what)
            shown = set(re.findall(r"`([a-z0-9.-]+)`", domains))
            assert place.people <= shown
            assert (shown - place.people - {"postmaster"}) <= place.domains
    assert told == exchangers.keys()


def test_the_example_of_a_backup_is_as_shown() -> None:
    block = TEXT.partition("## Mail")[2].partition("```console\n")[2].partition("```")[0]
    steps = re.findall(r"^\$ (.*)\n((?:[^$].*\n)*)", block, re.MULTILINE)
    assert len(steps) == 7
    port = free_port()
    with running(port):
        for command, shown in steps:
            deadline = time.monotonic() + 30
            while True:
                result = subprocess.run(
                    command.replace("mx10 ", f"{sys.executable} -m mx10 "),
                    shell=True,
                    env=environment(port),
                    capture_output=True,
                    text=True,
                    encoding="utf-8",
                    timeout=20,
                )
                assert result.returncode == 0, result
                # It arrives when the relay looks again.
                if not shown or _same(shown, result.stdout, port):
                    break
                assert time.monotonic() < deadline, (shown, result.stdout)
                time.sleep(0.2)


def _same(shown: str, printed: str, port: int) -> bool:
    def words(text: str) -> list[str]:
        return re.sub(r"\d\d:\d\d:\d\d", "TIME", text.replace(f"port {port}", "port 2525")).split()

    return words(printed)[-len(words(shown)) :] == words(shown)
