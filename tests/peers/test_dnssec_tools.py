"""Zones that we sign, before the judges others use: dnssec-verify and named-checkzone of BIND, ldns-verify-zone, and
kzonecheck of Knot."""

import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from mx10.dns import rrtypes as rr
from mx10.zones.dnssec.policy import Denial, KeyStyle
from mx10.zones.dnssec.whole import sign_zone
from mx10.zones.text import to_text
from mx10.zones.zone import Zone
from tests.conftest import cannot_run
from tests.zones.dnssec.shapes import SHAPES, arrangement, steady, zone_from, zone_named

pytestmark = pytest.mark.peers

PATH = "/usr/bin:/usr/sbin:/bin:/sbin"
STYLES: list[Denial] = ["nsec", "nsec3", "nsec3-opt-out"]


@pytest.fixture(scope="module", autouse=True)
def _tools() -> None:
    for program, package in [
        ("dnssec-verify", "bind9-utils"),
        ("named-checkzone", "bind9-utils"),
        ("ldns-verify-zone", "ldnsutils"),
        ("kzonecheck", "knot-dnsutils"),
    ]:
        if not shutil.which(program, path=PATH):
            cannot_run(f"{program} is missing: install the package {package}")


def judged(folder: Path, zone: Zone, name: str = "example.com.") -> dict[str, str]:
    """What each judge has against a zone; empty where all take it."""
    file = folder / "zone"
    file.write_text(to_text(zone))
    # Of a zone with one key BIND has to be told that this may sign all.
    single = ["-z"] if len(zone.nodes[zone.apex][rr.DNSKEY][1]) == 1 else []
    found = {}
    for command in (
        ["dnssec-verify", "-q", *single, "-o", name, str(file)],
        ["ldns-verify-zone", str(file)],
        ["kzonecheck", "-d", "on", "-o", name, str(file)],
        ["named-checkzone", "-q", "-i", "none", "-k", "ignore", name, str(file)],
    ):
        run = subprocess.run(command, capture_output=True, text=True, timeout=60, env={"PATH": PATH}, check=False)
        if run.returncode:
            found[command[0]] = run.stdout + run.stderr
    return found


@pytest.mark.parametrize("denial", STYLES)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape(tmp_path: Path, shape: str, denial: Denial) -> None:
    signed = sign_zone(zone_named(shape), arrangement(13, "csk", denial), int(time.time()), steady().random)
    found = judged(tmp_path, signed)
    if shape == "an at sign":
        # ldns reads \\@ in data as the origin.
        found.pop("ldns-verify-zone", None)
    assert found == {}


@pytest.mark.parametrize("algorithm", [8, 13, 15])
@pytest.mark.parametrize("keys", ["csk", "ksk+zsk"])
def test_every_kind_of_key(tmp_path: Path, algorithm: int, keys: KeyStyle) -> None:
    zone = zone_from("".join(SHAPES[shape] for shape in ("plain", "delegations", "wildcards")))
    for denial in STYLES:
        signed = sign_zone(zone, arrangement(algorithm, keys, denial), int(time.time()), steady().random)
        assert judged(tmp_path, signed) == {}, denial


@pytest.mark.parametrize("denial", STYLES)
@pytest.mark.parametrize("origin", [".", "com.", "a.very.deep.zone.example.org."])
def test_zones_elsewhere(tmp_path: Path, origin: str, denial: Denial) -> None:
    text = SHAPES["delegations"] + SHAPES["plain"]
    if origin == ".":
        # To the root all addresses are glue, and some judges want to see it.
        text = re.sub(r"\S+\.example\.(org|net)\.", "ns1", text, flags=re.IGNORECASE) + "example.net NS ns1\n"
    zone = zone_from(text, origin)
    signed = sign_zone(zone, arrangement(13, "csk", denial), int(time.time()), steady().random)
    assert judged(tmp_path, signed, origin) == {}
