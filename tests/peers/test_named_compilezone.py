"""Zone files against BIND's own reader: what ``named-compilezone`` makes of a file is what we make of it, and each
reads what the other writes."""

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from mx10.config import ZoneSettings
from mx10.zones.build import Loaded
from mx10.zones.folder import load_file
from mx10.zones.text import to_text
from mx10.zones.zone import Zone
from tests.conftest import cannot_run
from tests.zones.generating import zone_texts
from tests.zones.reading import HEAD, load

pytestmark = pytest.mark.peers

ZONE = "example.com"
# What BIND checks beyond the format is not the question here.
LENIENT = ["-i", "none", "-k", "ignore", "-m", "ignore", "-n", "ignore", "-M", "ignore", "-S", "ignore", "-r", "ignore"]


@pytest.fixture(scope="module")
def compile_zone() -> str:
    found = shutil.which("named-compilezone", path="/usr/bin:/usr/sbin:/bin:/sbin")
    if not found:
        cannot_run("named-compilezone is missing: install the package bind9-utils")
    return found


def compiled(program: str, folder: Path, text: str) -> str | None:
    """The zone as BIND writes it; None where it refuses it."""
    (folder / f"{ZONE}.zone").write_bytes(text.encode("utf-8", "surrogateescape"))
    run = subprocess.run(
        [program, *LENIENT, "-o", "-", ZONE, f"{ZONE}.zone"], cwd=folder, capture_output=True, timeout=30, check=False
    )
    return run.stdout.decode() if run.returncode == 0 else None


def ours(folder: Path) -> Loaded:
    return load_file(str(folder), f"{ZONE}.zone", ZoneSettings())


def as_set(zone: Zone) -> set[tuple[bytes, int, int, bytes]]:
    return {(owner, rrtype, ttl, data.lower()) for owner, rrtype, ttl, data in zone.records()}


def assert_same(program: str, folder: Path, text: str) -> None:
    theirs = compiled(program, folder, text)
    mine = ours(folder)
    if mine.zone is None:
        assert theirs is None, (text, list(map(str, mine.problems)))
        return
    assert theirs is not None, text
    read = load("".join(line + "\n" for line in theirs.split("\n") if not line.startswith("zone ")), origin=None)
    assert read.zone is not None, (theirs, list(map(str, read.problems)))
    assert as_set(read.zone) == as_set(mine.zone), text


@given(text=zone_texts())
@settings(
    max_examples=40,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_generated_zones(compile_zone: str, tmp_path: Path, text: str) -> None:
    assert_same(compile_zone, tmp_path, text)
    zone = ours(tmp_path).zone
    assert zone is not None
    assert_same(compile_zone, tmp_path, to_text(zone))


@pytest.mark.parametrize(
    "text",
    [
        # $GENERATE
        "$GENERATE 1-3 a$ A 192.0.2.$",
        "$GENERATE 1-9/4 a$ 60 IN A 192.0.2.$",
        "$GENERATE 1-2 a$ IN 60 A 192.0.2.$",
        "$GENERATE 0-20 a${-5} A 192.0.2.1",
        "$GENERATE 0-20 a${5,3} A 192.0.2.1",
        "$GENERATE 5-20 a${-5,3,d}.${0,0,x}.${0,4,X}.${0,3,o} A 192.0.2.1",
        "$GENERATE 0-300/7 ${0,0,n} PTR a${0,0,N}",
        "$GENERATE 0-300/7 ${0,1,n}x PTR a",
        "$GENERATE 0-300/7 ${0,2,n}x PTR a",
        "$GENERATE 0-300/7 ${0,5,n}x PTR a",
        "$GENERATE 0-300/7 ${0,2,N} PTR a",
        "$GENERATE 1-2 a$$$ CNAME x\\$y$$",
        "$GENERATE 1-2 \\$$ CNAME x",
        '$GENERATE 1-2 a MX "1$ m$"',
        '$GENERATE 1-2 a$ TXT "x y$"',
        "$GENERATE 1-2 a$ TXT x$",
        '$GENERATE 1-2 a$ TXT "\\"x y$\\""',
        "$GENERATE 1-2 a$.example.com. A 192.0.2.$ ; and so on",
        "$GENERATE 1-2 @ A 192.0.2.$",
        "$GENERATE 1-1 a$ A 192.0.2.$\n  AAAA ::1",
        "$GENERATE 2-1 a$ A 192.0.2.$",
        "$GENERATE 1-2/0 a$ A 192.0.2.$",
        "$GENERATE 1 a$ A 192.0.2.$",
        "$GENERATE 1-2 a${1 A 192.0.2.$",
        "$GENERATE 1-2 a${} A 192.0.2.$",
        "$GENERATE 1-2 a${1,} A 192.0.2.$",
        "$GENERATE 1-2 a${1,2,z} A 192.0.2.$",
        "$GENERATE 1-2 a$ A 192.0.2.${0,3}",
        "$GENERATE 254-256 a$ A 192.0.2.$",
        # $INCLUDE
        "x A 192.0.2.7\n$INCLUDE more.inc sub\n  AAAA ::1\ny A 192.0.2.8",
        "x A 192.0.2.7\n$INCLUDE more.inc\n  AAAA ::1\ny A 192.0.2.8",
        "$ORIGIN sub\n$INCLUDE more.inc other.example.com.\ny A 192.0.2.8",
        '$INCLUDE "more.inc" ; said so',
        "$INCLUDE missing.inc",
        "$INCLUDE bad.inc",
        "$INCLUDE open.inc\n )",
        # TTLs and classes
        "$TTL 1h30m\nx A 192.0.2.7\ny 1W2D A 192.0.2.7\nz IN 5 A 192.0.2.7\nw 5 IN A 192.0.2.7",
        "x 1h30 A 192.0.2.7",
        "x 5 5 A 192.0.2.7",
        "x IN IN A 192.0.2.7",
        "x CH A 192.0.2.7",
        "x CLASS1 5 A 192.0.2.7",
        # Words
        'x TXT "a""b"c"d"',
        'x TXT "a;(" ; b',
        "x TXT a\\;b\\(c\\ d",
        'x TXT "\\000\\255\\""',
        'x TXT "a\\256"',
        'x TXT "abc',
        "x TXT (\n a ; (\n\n b )",
        "x TXT ( a ( b ) c )",
        "( x TXT a )",
        "x TXT a )",
        "x ( A\n192.0.2.7\n)",
        "x\\.y A 192.0.2.7\n\\120 TXT a\n*.x TXT a",
        "x TYPE1 \\# 4 c0000207\ny A \\# 4 ( c000\n0207 )\nz TYPE65280 \\# 3 a bc de f",
        "x TYPE65280 abc",
        "x TYPE65280 \\# 3 abcd",
        "x MX 10 a..b",
        "x MX 010 b",
        "x MX +1 b",
        "x A 192.0.2.07",
        "x A 192.0.2",
        "x AAAA ::ffff:192.0.2.1",
        "x AAAA 1::2::3",
        "x",
        "x A",
        "$ORIGIN",
        "$FOO bar",
        "$TTL",
        'x CAA 0 issue "a;b"\nx CAA 128 TBS Unknown',
        "x CAA 0 is-sue a",
        'x HINFO a "b c"',
        "x SRV 1 2 3 .",
        "x TLSA 3 1 1 " + "ab" * 16 + " " + "cd" * 16,
        "x SSHFP 4 2 " + "ab" * 32,
        'x SVCB 1 . alpn="h2,h3" port=443 ipv4hint=192.0.2.7',
        'x NAPTR 100 10 "u" "E2U+sip" "!^.*$!sip:a@b!" .',
        "x DS 1 RSASHA256 2 " + "ab" * 32,
        "x LOC 52 22 23.000 N 4 53 32.000 E -2.00m 0.00m 10000m 10m",
        "x.example.net. A 192.0.2.7",
        f"{'x' * 63} A 192.0.2.7",
        f"{'x' * 64} A 192.0.2.7",
        f"{'x.' * 121}ab A 192.0.2.7",
        f"{'x.' * 121}abc A 192.0.2.7",
    ],
)  # fmt: skip
def test_corners(compile_zone: str, tmp_path: Path, text: str) -> None:
    (tmp_path / "more.inc").write_text("a A 192.0.2.7\n$TTL 5\n$ORIGIN zz\nb A 192.0.2.8\n")
    (tmp_path / "bad.inc").write_text("a A nonsense\n")
    (tmp_path / "open.inc").write_text("a TXT (\n")
    assert_same(compile_zone, tmp_path, HEAD + text + "\n")


@pytest.mark.parametrize(
    "text",
    [
        "@ 500 SOA ns1 host 1 1h 15m 1w 1h\n@ NS ns1\nns1 300 A 192.0.2.1\n AAAA ::1\nx TXT a\n$TTL 9\ny TXT a\n",
        "@ SOA ns1 host 1 1h 15m 1w 777\n@ NS ns1\nns1 300 A 192.0.2.1\n AAAA ::1\nx TXT a\n",
        "@ NS ns1\n@ 5 SOA ns1 host 1 1h 15m 1w 777\nns1 300 A 192.0.2.1\n",
    ],
)
def test_ttls_where_none_is_said(compile_zone: str, tmp_path: Path, text: str) -> None:
    assert_same(compile_zone, tmp_path, text)
