"""Short ways to read a zone from a text, for the tests of this folder."""

from pathlib import Path

from mx10.config import ZoneSettings
from mx10.dns import rdata, wirename
from mx10.dns import rrtypes as rr
from mx10.zones.build import Loaded, build
from mx10.zones.folder import load_file
from mx10.zones.master import read_text
from mx10.zones.problems import Problem
from mx10.zones.zone import Zone

ORIGIN = wirename.from_text("example.com.")
HEAD = """\
$TTL 1h
@ SOA ns1 hostmaster 1 2h 30m 2w 1h
@ NS ns1
@ NS ns2.example.net.
ns1 A 192.0.2.1
"""
HEAD_LINES = 5


def load(text: str, settings: ZoneSettings | None = None, origin: bytes | None = ORIGIN) -> Loaded:
    """Read a whole zone from a text."""
    settings = settings or ZoneSettings()
    return build(read_text(text, origin, settings, path="test.zone"), settings)


def load_from(folder: Path, name: str, settings: ZoneSettings | None = None) -> Loaded:
    """Read a file of a folder."""
    return load_file(str(folder), name, settings or ZoneSettings())


def zone_of(text: str) -> Zone:
    """The zone of ``HEAD`` and a text; the text must be without error."""
    loaded = load(HEAD + text)
    assert loaded.zone is not None, list(map(str, loaded.problems))
    return loaded.zone


def records(zone: Zone) -> set[tuple[str, int, str, str]]:
    """Owner, TTL, type and data of each record, as text; what ``HEAD`` holds is left out where it came from there."""
    return {
        (wirename.to_text(owner), ttl, rr.type_to_text(rrtype), rdata.to_text(rrtype, data))
        for owner, rrtype, ttl, data in zone.records()
    }


def added(text: str) -> list[str]:
    """The records a text adds to ``HEAD``, each as ``owner ttl type data``, sorted."""
    new = records(zone_of(text)) - records(zone_of(""))
    return sorted(" ".join(map(str, record)) for record in new)


def told(text: str, settings: ZoneSettings | None = None) -> list[str]:
    """Problems of ``HEAD`` and a text: ``line:column code``, lines counted from the text's first."""
    return [brief(problem) for problem in load(HEAD + text, settings).problems]


def brief(problem: Problem) -> str:
    """A problem as ``line:column code``."""
    return f"{problem.line - HEAD_LINES}:{problem.column} {problem.code}"
