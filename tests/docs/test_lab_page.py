"""docs/lab.md tells what there is."""

import re
from pathlib import Path

from mx10.config import ZoneSettings
from mx10.lab import ZONES
from mx10.lab.guide import KINDS, examples
from mx10.lab.plan import make_plan
from mx10.lab.server import DELIBERATE
from mx10.zones.folder import ZoneFolder

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
