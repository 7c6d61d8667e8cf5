"""Zones written as files for people: the same records give the same octets, whatever file they came from."""

import random

from hypothesis import given
from hypothesis import strategies as st

from mx10.config import ZoneSettings
from mx10.zones.build import TOLERABLE
from mx10.zones.text import in_order, stable_lines
from mx10.zones.zone import Zone
from tests.zones.generating import zone_texts
from tests.zones.reading import load

SETTINGS = ZoneSettings(tolerate=tuple(TOLERABLE))


def _written(zone: Zone) -> str:
    return "".join(f"{line}\n" for line in stable_lines(zone.apex, in_order(zone)))


@given(zone_texts(), st.randoms(use_true_random=False))
def test_what_is_written_is_read_back_and_written_the_same(text: str, chance: random.Random) -> None:
    zone = load(text, SETTINGS).zone
    if zone is None:
        return
    written = _written(zone)
    head, *lines = written.splitlines()
    chance.shuffle(lines)  # whatever order a person puts them in
    again = load("\n".join((head, *lines)), SETTINGS, origin=None).zone
    assert again is not None
    assert _written(again) == written
    assert _sets(again) == _sets(zone)


def _sets(zone: Zone) -> dict[bytes, dict[int, tuple[int, list[bytes]]]]:
    return {
        owner: {rrtype: (ttl, sorted(datas)) for rrtype, (ttl, datas) in node.items()}
        for owner, node in zone.nodes.items()
    }
