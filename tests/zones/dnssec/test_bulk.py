"""Many zones signed at once are signed as each would be alone."""

from pathlib import Path

import pytest
from sqlalchemy import select

from mx10.config import ZoneSettings
from mx10.config.settings import DnssecSettings
from mx10.dns import rrtypes as rr
from mx10.dns.wirename import from_text
from mx10.store.connect import Store
from mx10.store.tables import keys, zones
from mx10.zones.dnssec import vault
from mx10.zones.dnssec.bulk import sign_many
from mx10.zones.dnssec.keeping import Keeper
from mx10.zones.dnssec.kept import KeysError, arrange
from mx10.zones.dnssec.signer import ZoneSigner
from mx10.zones.dnssec.verify import faults
from mx10.zones.ledger import Author, Edit, Ledger, LedgerError
from tests.zones.dnssec.shapes import NOW, SHAPES, zone_from
from tests.zones.dnssec.signed_store import ANN, unsigned


@pytest.fixture
def keeper(store: Store, tmp_path: Path) -> Keeper:
    settings = DnssecSettings()
    safe = vault.from_file(tmp_path / "key", make=True)
    ledger = Ledger(store, ZoneSettings(), signer=ZoneSigner(arrange(settings, safe)), clock=lambda: NOW * 1000)
    return Keeper(ledger, settings, safe)


@pytest.mark.parametrize("said", [{}, {"keys": "ksk+zsk", "denial": "nsec3", "algorithm": 15}])
def test_as_each_would_be_alone(keeper: Keeper, said: dict[str, object]) -> None:
    ledger = keeper.ledger
    shapes = {from_text(f"z{number}.example."): shape for number, shape in enumerate(SHAPES)}
    for apex, shape in shapes.items():
        origin = f"z{list(shapes).index(apex)}.example."
        ledger.create(zone_from(SHAPES[shape], origin), ANN, force=False)
    alone, *others = shapes
    keeper.sign(alone, ANN, said)
    told: list[bytes] = []
    edited = others[0]
    ledger.change(edited, [Edit(edited, rr.TXT, (60, (b"\1x",)))], ANN)
    assert sign_many(keeper, others, Author("bob", "all"), said, progress=told.append, processes=1) == len(others)
    assert sorted(told) == sorted(others)
    for apex in others:
        zone = ledger.zone(apex)
        assert list(map(str, faults(zone, NOW))) == []
        status = keeper.status(apex)
        assert status.plan.steps == ()
        (last,) = ledger.history(apex, limit=1, with_changes=True)
        assert (last.kind, last.author, last.serial_after) == ("sign", "bob", zone.serial)
        assert last.changes
        before = ledger.zone(apex, at=last.serial_before)
        assert unsigned(before) == unsigned(ledger.zone(apex, generated=False)) | {
            apex: unsigned(before)[apex],
        }
        # And it stays signed when it is changed.
        ledger.change(apex, [Edit(apex, rr.TXT, (61, (b"\1y",)))], ANN)
        assert list(map(str, faults(ledger.zone(apex), NOW))) == []
    # What the columns say is what they say of the one signed alone.
    with ledger.store.read() as connection:
        counted = {row.apex: row for row in connection.execute(select(zones))}
        numbers = list(connection.execute(select(keys.c.id)).scalars())
    assert len({row.keys_at for row in counted.values()}) == 1
    for apex, row in counted.items():
        assert row.rrsets == sum(len(node) for node in ledger.zone(apex).nodes.values())
    assert len(numbers) == len(set(numbers)) == len(shapes) * (2 if said else 1)


def test_those_that_cannot_be_are_told(keeper: Keeper) -> None:
    refused: dict[bytes, LedgerError] = {}
    apex = from_text("nowhere.example.")
    assert sign_many(keeper, [apex], ANN, refused=refused.__setitem__, processes=1) == 0
    assert "no zone nowhere.example" in str(refused[apex])
    with pytest.raises(KeysError, match="algorithm"):
        sign_many(keeper, [apex], ANN, {"algorithm": 5})
