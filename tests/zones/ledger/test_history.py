"""What was: zones at earlier serials, the way from one serial to another, and changes undone."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mx10.config import ZoneSettings
from mx10.dns import rrtypes as rr
from mx10.store.connect import Store
from mx10.zones.ledger import (
    Author,
    Change,
    Edit,
    HistoryError,
    Ledger,
    NoSuchZoneError,
    RevertError,
    RuleError,
    ZoneExistsError,
    ZoneOptions,
    same,
)
from mx10.zones.zone import RRset, Zone
from tests.zones.ledger.making import ANN, BOB, Clock, edit, name, no, plain, without_soa
from tests.zones.reading import ORIGIN, zone_of

WWW = edit("www 60 A 192.0.2.7")
ADDRESSES = [f"192.0.2.{number}" for number in range(4)]


def _edits() -> st.SearchStrategy[list[Edit]]:
    owner = st.sampled_from(["a", "b", "c.a", "d.e.f", "*", "\\000.a"])
    addresses = st.lists(st.sampled_from(ADDRESSES), min_size=0, max_size=3, unique=True)

    def made(each: tuple[str, list[str], int]) -> Edit:
        where, found, ttl = each
        if not found:
            return no(where, rr.A)
        return edit("\n".join(f"{where} {ttl} A {address}" for address in found))

    one = st.tuples(owner, addresses, st.sampled_from([60, 61])).map(made)
    return st.lists(one, min_size=1, max_size=4, unique_by=lambda each: each.owner)


steps = st.lists(
    st.one_of(
        _edits().map(lambda found: ("change", found)),
        _edits().map(lambda found: ("replace", found)),
        st.just(("delete", [])),
        st.just(("revert", [])),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(steps)
def test_a_zone_as_it_was(ledger: Ledger, steps: list[tuple[str, list[Edit]]]) -> None:
    """Whatever happened to a zone, each of its states is still there, and IXFR leads from one to the next."""
    _clear(ledger)
    ledger.create(zone_of(""), ANN)
    states: dict[int, Zone] = {1: ledger.zone(ORIGIN)}
    lives: dict[int, int] = {1: 0}
    life = 0
    for verb, edits in steps:
        last = ledger.history(ORIGIN, limit=1)[0]
        if last.kind == "delete":
            made = ledger.revert(ORIGIN, last.id, ANN)
            life += 1
        elif verb == "delete":
            made = ledger.delete(ORIGIN, ANN)
            continue
        elif verb == "change":
            made = ledger.change(ORIGIN, edits, ANN)
        elif verb == "replace":
            whole = zone_of("")
            whole.nodes.update({each.owner: {each.type: each.rrset} for each in edits if each.rrset})
            made = ledger.replace(ORIGIN, whole, ANN)
        elif last.serial_before is None:
            continue
        else:
            made = ledger.revert(ORIGIN, last.id, ANN)
        if made and made.serial_after:
            states[made.serial_after] = ledger.zone(ORIGIN)
            lives[made.serial_after] = life
    for serial, zone in states.items():
        assert plain(ledger.zone(ORIGIN, at=serial)) == plain(zone)
    if ledger.history(ORIGIN, limit=1)[0].kind == "delete":
        return
    now = ledger.zone(ORIGIN)
    for serial, zone in states.items():
        found = ledger.since(ORIGIN, serial)
        if lives[serial] != life:
            assert found is None
            continue
        assert found is not None
        assert [each.serial_before for each in found] == [serial, *(each.serial_after for each in found)][: len(found)]
        state = {owner: dict(node) for owner, node in zone.nodes.items()}
        for each in found:
            for change in each.changes or ():
                _apply(state, change)
        assert plain(Zone(ORIGIN, state)) == plain(now)


def _apply(state: dict[bytes, dict[int, RRset]], change: Change) -> None:
    node = state.setdefault(change.owner, {})
    assert same(node.get(change.type), change.before)
    if change.after is None:
        del node[change.type]
    else:
        node[change.type] = change.after


def _clear(ledger: Ledger) -> None:
    with ledger.store.begin() as connection:
        for table in ("changes", "change_sets", "zones", "feed"):
            connection.exec_driver_sql(f"DELETE FROM {table}")


def test_the_log(ledger: Ledger, clock: Clock) -> None:
    ledger.create(zone_of(""), ANN)
    for number in range(6):
        clock.now += 1000
        ledger.change(ORIGIN, [edit(f"www 60 A 192.0.2.{number}")], Author("ann", f"change {number}"))
    found = ledger.history(ORIGIN, limit=3)
    assert [each.message for each in found] == ["change 5", "change 4", "change 3"]
    assert found[0].changes is None
    assert found[0].at == clock.now
    found = ledger.history(ORIGIN, limit=10, before_id=found[-1].id, with_changes=True)
    assert [each.message for each in found] == ["change 2", "change 1", "change 0", ""]
    assert found[0].changes
    assert found[0].changes[1].before == edit("www 60 A 192.0.2.1").rrset
    assert found[-1].changes == ()
    assert ledger.history(name("nobody."), limit=5) == []


def test_a_serial_nobody_knows(ledger: Ledger) -> None:
    ledger.create(zone_of(""), ANN)
    with pytest.raises(HistoryError, match="never had the serial 5"):
        ledger.zone(ORIGIN, at=5)
    assert ledger.since(ORIGIN, 5) is None
    assert ledger.since(ORIGIN, 1) == []
    with pytest.raises(HistoryError):
        ledger.zone(name("nobody."), at=1)
    with pytest.raises(NoSuchZoneError):
        ledger.since(name("nobody."), 1)


def test_too_much_for_ixfr(ledger: Ledger) -> None:
    ledger.create(zone_of(""), ANN)
    ledger.change(ORIGIN, [WWW], ANN)
    ledger.change(ORIGIN, [no("www", rr.A)], ANN)
    assert ledger.since(ORIGIN, 1, most=4)
    assert ledger.since(ORIGIN, 1, most=3) is None


def test_settings_are_on_record_and_move_no_serial(ledger: Ledger) -> None:
    ledger.create(zone_of(""), ANN)
    ledger.change(ORIGIN, [WWW], ANN)
    assert ledger.set_options(ORIGIN, ZoneOptions(notify=("127.0.0.1",)), BOB)
    assert ledger.set_options(ORIGIN, ZoneOptions(notify=("127.0.0.1",)), BOB) is None
    ledger.change(ORIGIN, [no("www", rr.A)], ANN)
    assert [each.kind for each in ledger.history(ORIGIN, limit=9)] == ["edit", "settings", "edit", "create"]
    found = ledger.since(ORIGIN, 1)
    assert found
    assert [each.kind for each in found] == ["edit", "edit"]
    assert plain(ledger.zone(ORIGIN, at=1)) == plain(zone_of(""))


def test_reverting(ledger: Ledger) -> None:
    ledger.create(zone_of("www 60 A 192.0.2.1"), ANN)
    before = ledger.zone(ORIGIN)
    made = ledger.change(ORIGIN, [WWW, edit("b A 192.0.2.9")], ANN)
    ledger.change(ORIGIN, [edit("c A 192.0.2.9")], ANN)
    assert made
    undone = ledger.revert(ORIGIN, made.id, ANN)
    assert undone
    assert (undone.kind, undone.message) == ("revert", f"change {made.id} undone")
    assert without_soa(ledger.zone(ORIGIN)) == without_soa(before) | {name("c"): {rr.A: (3600, (b"\xc0\0\2\x09",))}}
    assert ledger.revert(ORIGIN, made.id, ANN) is None
    # A revert is a change, and can be undone too.
    assert ledger.revert(ORIGIN, undone.id, ANN)
    assert ledger.rrset(ORIGIN, name("www"), rr.A) == WWW.rrset


def test_reverting_the_soa_keeps_the_serial_going(ledger: Ledger) -> None:
    zone = zone_of("")
    ledger.create(zone, ANN)
    ttl, (data,) = zone.nodes[ORIGIN][rr.SOA]
    made = ledger.change(ORIGIN, [Edit(ORIGIN, rr.SOA, (ttl + 1, (data[:-1] + b"\7",)))], ANN)
    ledger.change(ORIGIN, [WWW], ANN)
    assert made
    undone = ledger.revert(ORIGIN, made.id, ANN)
    assert undone
    assert undone.serial_after == 2026112303
    assert ledger.rrset(ORIGIN, ORIGIN, rr.SOA) == (ttl, (data[:-20] + (2026112303).to_bytes(4, "big") + data[-16:],))


def test_what_cannot_be_reverted(ledger: Ledger) -> None:
    first = ledger.create(zone_of("ns3 A 192.0.2.3"), ANN)
    made = ledger.change(ORIGIN, [WWW], ANN)
    ledger.change(ORIGIN, [edit("www 60 A 192.0.2.8")], BOB)
    assert made
    with pytest.raises(RevertError, match=r"www\.example\.com A changed again since"):
        ledger.revert(ORIGIN, made.id, ANN)
    with pytest.raises(RevertError, match="made the zone"):
        ledger.revert(ORIGIN, first.id, ANN)
    for number in (999, 0, -1, 1 << 63, 10**100):
        with pytest.raises(HistoryError, match=f"has no change {number}"):
            ledger.revert(ORIGIN, number, ANN)


def test_the_rules_hold_for_a_revert(ledger: Ledger) -> None:
    ledger.create(zone_of("x A 192.0.2.3"), ANN)
    made = ledger.change(ORIGIN, [no("x", rr.A)], ANN)
    ledger.change(ORIGIN, [edit("x CNAME ns1")], ANN)
    assert made
    with pytest.raises(RuleError, match="cname-not-alone"):
        ledger.revert(ORIGIN, made.id, ANN)
    assert ledger.revert(ORIGIN, made.id, BOB, force=True)


def test_a_zone_comes_back(ledger: Ledger) -> None:
    ledger.create(zone_of("www 60 A 192.0.2.1"), ANN)
    before = ledger.zone(ORIGIN)
    gone = ledger.delete(ORIGIN, ANN)
    back = ledger.revert(ORIGIN, gone.id, BOB)
    assert back
    assert (back.kind, back.serial_before, back.serial_after) == ("revert", None, 2026112301)
    assert without_soa(ledger.zone(ORIGIN)) == without_soa(before)
    assert ledger.info(ORIGIN).rrsets == 4
    with pytest.raises(ZoneExistsError):
        ledger.revert(ORIGIN, gone.id, BOB)
    again = ledger.delete(ORIGIN, ANN)
    with pytest.raises(RevertError, match=f"undo change {again.id} instead"):
        ledger.revert(ORIGIN, gone.id, BOB)


def test_reverting_settings(ledger: Ledger) -> None:
    ledger.create(zone_of(""), ANN, options=ZoneOptions(catalog=False))
    made = ledger.set_options(ORIGIN, ZoneOptions(catalog=False, notify=("127.0.0.1",), serial_style="counter"), BOB)
    assert made
    assert made.settings == ledger.history(ORIGIN, limit=1)[0].settings
    ledger.set_options(ORIGIN, ZoneOptions(catalog=True, notify=("127.0.0.1",), serial_style="counter"), BOB)
    undone = ledger.revert(ORIGIN, made.id, ANN)
    assert undone
    assert undone.kind == "revert"
    assert ledger.info(ORIGIN).options == ZoneOptions(catalog=True)
    assert ledger.revert(ORIGIN, made.id, ANN) is None
    ledger.set_options(ORIGIN, ZoneOptions(notify=("::1",)), BOB)
    with pytest.raises(RevertError, match="notify was set anew since"):
        ledger.revert(ORIGIN, made.id, ANN)


def test_a_zone_comes_back_with_its_options(ledger: Ledger) -> None:
    options = ZoneOptions(serial_style="counter", notify=("127.0.0.1",))
    ledger.create(zone_of(""), ANN, options=options)
    ledger.revert(ORIGIN, ledger.delete(ORIGIN, ANN).id, BOB)
    assert ledger.info(ORIGIN).options == options
    assert ledger.info(ORIGIN).serial == 2


def test_a_followed_zone_comes_back_as_it_was(ledger: Ledger) -> None:
    """Signatures too, which are its primary's, and the serial."""
    options = ZoneOptions(primaries=("127.0.0.1",))
    ledger.follow(ORIGIN, ANN, options)
    zone = zone_of("")
    zone.nodes[ORIGIN][rr.DNSKEY] = (60, (b"\1\0\3\x0d" + bytes(64),))
    ledger.replace(ORIGIN, zone, ANN, kind="transfer")
    ledger.revert(ORIGIN, ledger.delete(ORIGIN, ANN).id, BOB)
    assert plain(ledger.zone(ORIGIN)) == plain(zone)
    info = ledger.info(ORIGIN)
    assert (info.kind, info.options, info.serial) == ("secondary", options, 1)


def test_pruning(store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mx10.zones.ledger.history._FEED_ROWS", 3)
    monkeypatch.setattr("mx10.zones.ledger.history._FEED_AT_ONCE", 2)
    ledger = Ledger(store, ZoneSettings(), clock=clock)
    ledger.create(zone_of(""), ANN)
    signed = ledger.generated(ORIGIN, [Edit(ORIGIN, rr.DNSKEY, (60, (b"\1\0\3\x0d" + bytes(64),)))], ANN)
    ledger.change(ORIGIN, [WWW], ANN)
    for number in range(4):
        ledger.change(ORIGIN, [edit(f"www 60 A 192.0.2.{number}")], ANN)
    position = ledger.feed_position()
    assert signed
    assert ledger.prune(30) == 0
    assert ledger.feed_since(0)
    clock.now += 31 * 86_400_000
    assert ledger.prune(30) == 1
    assert ledger.feed_since(0) is None
    assert ledger.feed_since(position - 3) == (position, [ORIGIN])
    # That it was signed stays on record; what was signed does not, so a secondary gets the whole zone.
    assert [each.kind for each in ledger.history(ORIGIN, limit=9)][-2:] == ["sign", "create"]
    assert ledger.since(ORIGIN, 1) is None
    assert ledger.since(ORIGIN, signed.serial_after or 0)
    with pytest.raises(HistoryError, match="kept no more"):
        ledger.zone(ORIGIN, at=1)
    assert plain(ledger.zone(ORIGIN, at=1, generated=False)) == plain(zone_of(""))
