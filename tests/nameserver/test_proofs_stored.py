"""Proofs out of the store are those out of memory, whether a zone is read whole or name by name."""

import shutil
from pathlib import Path

import pytest

from mx10.config import NameserverSettings, ZoneSettings
from mx10.dns import rrtypes as rr
from mx10.dns.message import make_query, parse
from mx10.dns.wirename import from_text
from mx10.nameserver import stored
from mx10.nameserver.responder import Responder
from mx10.nameserver.snapshot import StoreView
from mx10.nameserver.stored import StoredTable
from mx10.nameserver.table import ZoneTable
from mx10.store.connect import open_store
from mx10.zones.dnssec.whole import sign_zone
from mx10.zones.ledger import Author, Ledger
from mx10.zones.zone import Zone
from tests.nameserver.test_proofs import APEX, CASES, DENIALS
from tests.zones.dnssec.shapes import NOW, SHAPES, arrangement, steady, zone_from

ME = Author("test")


def stored_in(path: Path, template: Path, zones: list[Zone]) -> Ledger:
    shutil.copy(template, path)
    ledger = Ledger(open_store(f"sqlite:///{path}"), ZoneSettings())
    for zone in zones:
        ledger.create(zone, ME)
    return ledger


@pytest.fixture(scope="session")
def template(request: pytest.FixtureRequest) -> Path:
    """The file of an empty store."""
    path: Path = request.getfixturevalue("_sqlite_template")
    return path


@pytest.mark.parametrize("most", [0, 2000], ids=["by the name", "whole"])
def test_the_same_proofs_as_from_memory(
    tmp_path: Path, template: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(stored, "WHOLE", most)
    for denial in DENIALS:
        for shape in sorted({case[0] for case in CASES}):
            zone = sign_zone(zone_from(SHAPES[shape]), arrangement(13, "csk", denial), NOW, steady().random)
            path = tmp_path / f"{denial}-{shape}.db"
            stored_in(path, template, [zone]).store.close()
            view = StoreView(path)
            responder = Responder(StoredTable({}, view), NameserverSettings())
            memory = Responder(ZoneTable({APEX: zone.pack()}), NameserverSettings())
            for name in ("@", *(case[1] for case in CASES), "zz.zz", "0", "\\000"):
                for rrtype in (rr.A, rr.DS, rr.MX):
                    query = make_query(from_text(name, APEX), rrtype, id=1, do=True)
                    ours, theirs = (parse(each.tcp(query) or b"") for each in (responder, memory))
                    assert (ours.rcode, ours.flags) == (theirs.rcode, theirs.flags)
                    # Records of a set stand in the store in their own order.
                    assert set(ours.answer) == set(theirs.answer), (shape, denial, name, rrtype)
                    assert set(ours.authority) == set(theirs.authority), (shape, denial, name, rrtype)
            view.close()


def test_a_chain_ends_before_a_zone_that_is_not_served(tmp_path: Path, template: Path) -> None:
    other = zone_from("www A 192.0.2.1\n", "example.net.")
    path = tmp_path / "mx10.db"
    ledger = stored_in(path, template, [zone_from("away CNAME www.example.net.\n"), other])
    view = StoreView(path)
    table = StoredTable({}, view)
    responder = Responder(table, NameserverSettings())

    def types() -> list[int]:
        moved = view.move()
        if moved is not None:
            table.moved(moved.apexes)
            responder.store_moved(moved.apexes, moved.new)
        answer = parse(responder.udp(make_query(from_text("away", APEX), rr.A, id=1)) or b"")
        assert answer.rcode == rr.Rcode.NOERROR
        return [record.type for record in answer.answer]

    assert types() == [rr.CNAME, rr.A]
    ledger.set_served(other.apex, False)
    assert types() == [rr.CNAME]
    ledger.set_served(other.apex, True)
    assert types() == [rr.CNAME, rr.A]
    view.close()
    ledger.store.close()
