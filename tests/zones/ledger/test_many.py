"""Many zones at once, and one large one."""

from collections.abc import Iterator

import pytest

from mx10.config import ZoneSettings
from mx10.dns import rrtypes as rr
from mx10.store.connect import Store
from mx10.zones.ledger import Edit, Ledger, LedgerError, RuleError, ZoneExistsError, bulk
from mx10.zones.zone import Zone
from tests.zones.ledger.making import ANN, BOB, Clock, name
from tests.zones.reading import ORIGIN, zone_of


def _zones(count: int, *, start: int = 0) -> Iterator[Zone]:
    model = zone_of("www A 192.0.2.7\n@ MX 10 mail\nmail A 192.0.2.8\nx.y TXT x")
    for number in range(start, start + count):
        apex = name(f"customer{number}.")
        yield Zone(apex, {owner[: -len(ORIGIN)] + apex: dict(node) for owner, node in model.nodes.items()})


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "_ZONES", 7)


def test_many_are_as_one_by_one(ledger: Ledger) -> None:
    told: list[int] = []
    assert ledger.create_many(_zones(20), BOB, progress=told.append) == 20
    assert told == [7, 14, 20]
    one = next(_zones(1, start=99))
    ledger.create(one, BOB)
    for zone in _zones(20):
        info = ledger.info(zone.apex)
        assert (info.serial, info.rrsets, info.kind, info.served) == (1, 7, "primary", True)
        assert ledger.zone(zone.apex) == zone
        (made,) = ledger.history(zone.apex, limit=5, with_changes=True)
        assert (made.kind, made.serial_before, made.serial_after, made.author) == ("create", None, 1, "bob")
        assert made.changes == ()
    found = ledger.feed_since(0)
    assert found
    assert sorted(found[1]) == sorted([*(zone.apex for zone in _zones(20)), one.apex])


def test_those_that_are_refused_are_left_out(ledger: Ledger) -> None:
    ledger.create(next(_zones(1, start=3)), ANN)
    zones = list(_zones(10))
    del zones[5].nodes[zones[5].apex][rr.NS]
    del zones[8].nodes[zones[8].apex][rr.SOA]
    zones.append(zones[0])
    refused: dict[bytes, LedgerError] = {}
    assert ledger.create_many(iter(zones), ANN, refused=refused.__setitem__) == 7
    assert list(refused) == [zones[number].apex for number in (3, 5, 8, 0)]
    assert [type(error).__name__ for error in refused.values()] == [
        "ZoneExistsError",
        "RuleError",
        "InvalidEditError",
        "ZoneExistsError",
    ]
    assert ledger.count() == 8


def test_without_a_list_for_them_the_first_one_ends_it(ledger: Ledger) -> None:
    zones = list(_zones(20))
    del zones[10].nodes[zones[10].apex][rr.NS]
    with pytest.raises(RuleError, match="no-ns"):
        ledger.create_many(zones, ANN)
    assert ledger.count() == 7  # the first transaction
    with pytest.raises(ZoneExistsError):
        ledger.create_many(zones, ANN)
    assert ledger.create_many(zones[7:], BOB, force=True) == 13


def test_zones_made_anew_have_newer_serials(ledger: Ledger) -> None:
    (zone, other) = _zones(2)
    ledger.create(zone, ANN)
    ledger.change(zone.apex, [Edit(zone.apex, rr.TXT, (60, (b"\1x",)))], ANN)
    ledger.delete(zone.apex, ANN)
    assert ledger.create_many([zone, other], ANN) == 2
    assert ledger.info(zone.apex).serial == 2026112302
    assert ledger.info(other.apex).serial == 1


def test_a_large_zone(store: Store, clock: Clock) -> None:
    """More record sets than one statement takes, than are kept in memory, and than rules look at whole."""
    ledger = Ledger(store, ZoneSettings(), clock=clock)
    zone = zone_of("".join(f"h{number} A 192.0.2.{number % 250}\n" for number in range(5000)))
    ledger.create(zone, ANN)
    assert ledger.info(ORIGIN).rrsets == 5003
    assert ledger.zone(ORIGIN) == zone
    assert sum(1 for _ in ledger.iterate(ORIGIN)) == 5003
    for number in range(0, 5000, 2):
        del zone.nodes[name(f"h{number}")]
        zone.nodes[name(f"new{number}")] = {rr.A: (60, (bytes(4),))}
    made = ledger.replace(ORIGIN, zone, ANN)
    assert made
    assert made.changes
    assert len(made.changes) == 5001
    assert ledger.zone(ORIGIN, at=made.serial_after) == ledger.zone(ORIGIN)
    assert len(ledger.zone(ORIGIN, at=1).nodes) == 5002
    edits = [Edit(name(f"n{number}"), rr.A, (60, (bytes(4),))) for number in range(3000)]
    assert ledger.change(ORIGIN, edits, ANN)
    assert ledger.info(ORIGIN).rrsets == 8003
    gone = ledger.delete(ORIGIN, ANN)
    assert ledger.revert(ORIGIN, gone.id, ANN)
    assert ledger.info(ORIGIN).rrsets == 8003
