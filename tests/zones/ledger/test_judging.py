"""The rules on every change: in small zones on all of it, in large ones on the part that matters."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mx10.config import ZoneSettings
from mx10.dns import rrtypes as rr
from mx10.store.connect import Store, open_store
from mx10.zones.ledger import Author, Edit, Ledger, RuleError, judging
from tests.zones.ledger.making import ANN, BOB, Clock, edit, name, no
from tests.zones.reading import HEAD, ORIGIN, load, zone_of

DS = b"\0\1\x0d\2" + bytes(32)
FORCED = Author("ann", "a mistake on purpose")


@pytest.fixture(params=["whole", "part"])
def ledger(
    request: pytest.FixtureRequest, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Ledger]:
    """A ledger for which every zone is small, and one for which none is."""
    if request.param == "part":
        monkeypatch.setattr(judging, "WHOLE", 2)
    store = open_store(f"sqlite:///{tmp_path}/mx10.db", create=True)
    yield Ledger(store, ZoneSettings(), clock=clock)
    store.close()


@pytest.mark.parametrize(
    ("zone", "edits", "code"),
    [
        ("x A 192.0.2.7", [edit("x CNAME ns1")], "cname-not-alone"),
        ("x CNAME ns1", [edit("x TXT y")], "cname-not-alone"),
        ("", [no("@", rr.NS)], "no-ns"),
        ("", [Edit(name("x"), rr.CNAME, (60, (name("a"), name("b"))))], "several-cname"),
        ("a.x A 192.0.2.7", [edit("x DNAME example.net.")], "below-dname"),
        ("x DNAME example.net.", [edit("b.a.x A 192.0.2.7")], "below-dname"),
        ("", [no("ns1", rr.A), edit("ns1 CNAME x")], "ns-to-alias"),
        ("x CNAME y", [Edit(ORIGIN, rr.NS, (60, (name("x"),)))], "ns-to-alias"),
        ("*.w CNAME y", [Edit(ORIGIN, rr.NS, (60, (name("a.w"),)))], "ns-to-alias"),
        ("a.b.w A 192.0.2.7\n*.w CNAME y\n@ NS x.b.w", [no("a.b.w", rr.A)], "ns-to-alias"),
        ("sub NS ns.sub\nns.sub A 192.0.2.7", [no("ns.sub", rr.A)], "no-glue"),
        ("", [Edit(name("sub"), rr.NS, (60, (name("ns.sub"),)))], "no-glue"),
        ("", [edit("x MX 10 192.0.2.1")], "target-is-address"),
        ("", [Edit(name("*"), rr.NS, (60, (name("ns1"),)))], "wildcard-ns"),
        ("", [Edit(ORIGIN, rr.DS, (60, (DS,)))], "ds-at-apex"),
        ("@ MX 10 ns1", [edit("@ MX 10 ns1\n@ MX 0 .")], "null-mx-not-alone"),
    ],
)
def test_an_error_stops_a_change(ledger: Ledger, zone: str, edits: list[Edit], code: str) -> None:
    made = ledger.create(zone_of(zone), ANN)
    with pytest.raises(RuleError) as caught:
        ledger.change(ORIGIN, edits, ANN)
    assert [each.code for each in caught.value.problems if each.severity == "error"] == [code]
    assert f"[{code}]" in str(caught.value)
    assert ledger.zone(ORIGIN) == zone_of(zone)
    # Force overrides it, and what follows is not held up by it any more.
    assert ledger.change(ORIGIN, edits, FORCED, force=True)
    assert code in [each.code for each in ledger.problems]
    assert ledger.change(ORIGIN, [edit("other TXT x")], ANN)
    assert ledger.problems == ()
    assert made.serial_after == 1


def test_what_is_tolerated(store: Store, clock: Clock) -> None:
    ledger = Ledger(store, ZoneSettings(tolerate=("cname-not-alone",)), clock=clock)
    ledger.create(zone_of("x A 192.0.2.7"), ANN)
    assert ledger.change(ORIGIN, [edit("x CNAME ns1")], ANN)
    assert [each.code for each in ledger.problems] == ["cname-not-alone"]


def test_warnings_are_told_and_stop_nothing(ledger: Ledger) -> None:
    ledger.create(zone_of(""), ANN)
    assert ledger.change(ORIGIN, [edit("@ MX 10 nobody")], ANN)
    (problem,) = ledger.problems
    assert (problem.code, problem.severity, problem.path) == ("target-without-address", "warning", "example.com")
    assert str(problem).startswith("example.com: warning: nobody.example.com.")
    # It is nothing new when the next change comes.
    assert ledger.change(ORIGIN, [edit("@ TXT x")], ANN)
    assert ledger.problems == ()


def test_a_set_that_fits_into_no_message(ledger: Ledger) -> None:
    ledger.create(zone_of(""), ANN)
    datas = tuple(b"\xff" + bytes([number]) * 255 for number in range(250))
    assert ledger.change(ORIGIN, [Edit(name("x"), rr.TXT, (60, datas))], ANN)
    assert [each.code for each in ledger.problems] == ["rrset-too-big"]


def test_an_import_is_held_to_all_rules(ledger: Ledger) -> None:
    ledger.create(zone_of(""), ANN)
    wrong = load(HEAD + "x CNAME y\nx A 192.0.2.7", ZoneSettings(tolerate=("cname-not-alone",))).zone
    assert wrong
    with pytest.raises(RuleError, match="cname-not-alone"):
        ledger.replace(ORIGIN, wrong, ANN)
    assert ledger.replace(ORIGIN, wrong, BOB, force=True)


_NAMES = ["@", "a", "b.a", "c.b.a", "*", "*.a", "ns1", "d"]
_DATA = [
    (rr.A, bytes(4)),
    (rr.CNAME, name("a")),
    (rr.CNAME, name("d")),
    (rr.DNAME, name("example.net.")),
    (rr.NS, name("a")),
    (rr.NS, name("c.b.a")),
    (rr.NS, name("x.d")),
    (rr.MX, b"\0\1" + name("d")),
    (rr.DS, DS),
    (rr.TXT, b"\1x"),
]
_records = st.tuples(st.sampled_from(_NAMES), st.sampled_from(_DATA))


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(_records, max_size=8), st.lists(st.tuples(_records, st.booleans()), min_size=1, max_size=3))
def test_a_part_shows_every_error_that_the_whole_shows(
    store: Store,
    before: list[tuple[str, tuple[int, bytes]]],
    steps: list[tuple[tuple[str, tuple[int, bytes]], bool]],
) -> None:
    zone = zone_of("")
    for owner, (rrtype, data) in before:
        node = zone.nodes.setdefault(name(owner), {})
        datas = node.get(rrtype, (60, ()))[1]
        node[rrtype] = (60, tuple(dict.fromkeys((*datas, data))))
    edits = {
        (name(owner), rrtype): Edit(name(owner), rrtype, (60, (data,)) if put else None)
        for (owner, (rrtype, data)), put in steps
    }
    large = Ledger(store, ZoneSettings())
    if large.count():
        large.delete(ORIGIN, ANN)
    large.create(zone, FORCED, force=True)
    said: list[set[tuple[str, str]]] = []
    for whole in (1000, 0):
        judging.WHOLE, usual = whole, judging.WHOLE  # type: ignore[misc]
        try:
            large.change(ORIGIN, list(edits.values()), ANN, dry_run=True)
            said.append(set())
        except RuleError as error:
            said.append({(each.code, each.what) for each in error.problems if each.severity == "error"})
        finally:
            judging.WHOLE = usual  # type: ignore[misc]
    assert said[0] == said[1]
