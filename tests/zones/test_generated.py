"""Zones at random: they are read back, dnspython reads the same, both ways of reading agree, and nothing breaks the
reader."""

import dns.name
import dns.rdataclass
import dns.zone
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from mx10.config import ZoneSettings
from mx10.dns import wirename
from mx10.zones import master
from mx10.zones.problems import Problem
from mx10.zones.text import to_text
from mx10.zones.zone import Zone
from tests.zones.generating import zone_texts
from tests.zones.reading import HEAD, ORIGIN, load

# Without hypothesis' search for an explanation: on Python 3.11 it traces every line, and takes minutes where a failure
# is.
quickly = settings(
    max_examples=30,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow],
)
_KNOWN = {
    "target-without-address",
    "below-delegation",
    "ds-without-ns",
    "duplicate-record",
    "mx-to-alias",
    "not-a-hostname",
}


def good(text: str) -> Zone:
    loaded = load(text)
    assert loaded.zone is not None, (text, list(map(str, loaded.problems)))
    assert {problem.code for problem in loaded.problems} <= _KNOWN, list(map(str, loaded.problems))
    return loaded.zone


@quickly
@given(zone_texts())
@example(HEAD + "x A 192.0.2.7 (\n;)\n)\n" * 2)
def test_packed_and_written_zones_are_read_back(text: str) -> None:
    zone = good(text)
    assert Zone.unpack(zone.pack()) == zone
    again = load(to_text(zone), origin=None).zone
    assert again is not None
    assert again == zone
    for owner in zone.nodes:
        if owner != zone.apex:
            assert wirename.parent(owner) in zone.nodes


@quickly
@given(zone_texts())
def test_dnspython_reads_the_same(text: str) -> None:
    ours = {(owner, rrtype, ttl, data.lower()) for owner, rrtype, ttl, data in good(text).records()}
    theirs = set()
    zone = dns.zone.from_text(text, "example.com.", relativize=False)
    for name, rdataset in zone.iterate_rdatasets():
        for each in rdataset:
            wire = each.to_wire() or b""
            theirs.add(((name.to_wire() or b"").lower(), int(rdataset.rdtype), rdataset.ttl, wire.lower()))
    assert ours == theirs


@quickly
@given(zone_texts())
def test_the_quick_way_and_the_exact_way_agree(text: str) -> None:
    """A NUL in a comment at the end makes every line be looked at; without the quick reader all go the exact way."""
    quick = master.read_text(text, ORIGIN, ZoneSettings())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(master, "read_plain", lambda *_: False)
        exact = master.read_text(text + "; \0", ORIGIN, ZoneSettings())
    assert quick.records == exact.records
    assert quick.problems.found == exact.problems.found == []


_PIECES = st.sampled_from(
    ["(", ")", '"', "\\", ";", "\n", "\r", "\0", " ", "\t", "$", "$INCLUDE x", "$GENERATE 1-3 ", "${0,3,x}", "@", "..",
     "\\#", "\\300", "é", "\udcff", "\u2028", "²", "9" * 12, "x" * 64, "IN", "CH", "SOA", "MX", "TYPE0", "-1", "\x0c"]
)  # fmt: skip


@quickly
@given(zone_texts(), st.lists(st.tuples(st.floats(0, 1), st.floats(0, 0.1), _PIECES), max_size=6))
def test_a_mutated_file_is_a_zone_or_problems(text: str, changes: list[tuple[float, float, str]]) -> None:
    for where, length, piece in changes:
        at = int(where * len(text))
        text = text[:at] + piece + text[at + int(length * len(text)) :]
    check(text)


@quickly
@given(st.text(max_size=300) | st.binary(max_size=300).map(lambda octets: octets.decode("utf-8", "surrogateescape")))
def test_any_text_is_a_zone_or_problems(text: str) -> None:
    check(text)
    check(HEAD + text)


def check(text: str) -> None:
    loaded = load(text)
    errors = [problem for problem in loaded.problems if problem.severity == "error"]
    assert (loaded.zone is None) == bool(errors)
    assert len(errors) <= 21
    for problem in loaded.problems:
        check_place(problem, text)
    if loaded.zone:
        assert Zone.unpack(loaded.zone.pack()) == loaded.zone


def check_place(problem: Problem, text: str) -> None:
    lines = text.split("\n")
    assert 0 <= problem.line <= len(lines), problem
    assert problem.column <= len(lines[problem.line - 1]) + 2, problem
    assert problem.what
    assert problem.mend
    assert str(problem).isprintable(), problem


def test_dnspython_is_compared_by_wire_form() -> None:
    """Both sides of the comparison above see case and order the same way."""
    assert (dns.name.from_text("A.example.").to_wire() or b"").lower() == wirename.from_text("a.example.")
