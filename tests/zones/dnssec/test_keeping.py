"""Keys of zones in the store: states, keys and records are one, on both databases; years of them on simulated time."""

from pathlib import Path

import pytest
from sqlalchemy import select, update

from mx10.config import ZoneSettings
from mx10.config.settings import DnssecSettings
from mx10.dns import rrtypes as rr
from mx10.dns.wirename import from_text
from mx10.store.connect import Store
from mx10.store.tables import keys, zones
from mx10.zones.build import TOLERABLE
from mx10.zones.dnssec.keeping import Keeper
from mx10.zones.dnssec.kept import KeysError, ParentSaid, arrange
from mx10.zones.dnssec.keys import DELETE_CDNSKEY, DELETE_CDS, SigningKey, ds
from mx10.zones.dnssec.signer import ZoneSigner
from mx10.zones.dnssec.vault import from_file
from mx10.zones.dnssec.verify import faults
from mx10.zones.ledger import Author, Edit, GeneratedRecordError, Ledger
from tests.zones.dnssec.shapes import NOW, steady, zone_from

APEX = from_text("example.com.")
ANN = Author("ann")
HOUR, DAY = 3600, 86400


class Kept:
    """A signed zone and its keeper; time stands still unless ``now`` is set."""

    def __init__(self, store: Store, folder: Path, settings: DnssecSettings) -> None:
        self.now = NOW
        vault = from_file(folder / "mx10.key", make=True)
        signer = ZoneSigner(arrange(settings, vault), chance=steady().random)
        limits = ZoneSettings(tolerate=tuple(TOLERABLE))
        self.ledger = Ledger(store, limits, signer=signer, clock=lambda: self.now * 1000)
        self.keeper = Keeper(self.ledger, settings, vault)
        self.ledger.create(zone_from("www A 192.0.2.1\n"), ANN)

    def pass_time(self, seconds: int, *, said: ParentSaid | None = None) -> list[str]:
        """Let time pass, looking when something is due; the steps taken."""
        end = self.now + seconds
        steps: list[str] = []
        while self.now < end:
            due = self.keeper.next_due()
            self.now = min(end, max(self.now + 1, end if due is None else due))
            steps += self.look(said)
        return steps

    def look(self, said: ParentSaid | None = None) -> list[str]:
        if not self.ledger.info(APEX).signing:
            return []
        steps = self.keeper.advance(APEX, ANN, said).plan.steps
        if self.ledger.info(APEX).signing:
            assert isinstance(self.ledger.signer, ZoneSigner)
            self.ledger.signer.refresh(self.ledger, APEX, self.now * 1000)
        self.check()
        return list(steps)

    def check(self) -> None:
        """The zone is signed as its keys say, without a fault."""
        zone = self.ledger.zone(APEX)
        if rr.DNSKEY in zone.nodes[APEX]:
            assert list(map(str, faults(zone, self.now))) == []

    def asked(self) -> ParentSaid:
        """A parent that has done what CDS asks for."""
        cds = self.ledger.rrset(APEX, APEX, rr.CDS)
        datas = frozenset(cds[1]) if cds and cds[1] != (DELETE_CDS,) else frozenset[bytes]()
        return ParentSaid(frozenset({datas}), True, HOUR, "2 of 2 nameservers answered")

    def rows(self) -> list[int]:
        with self.ledger.store.read() as connection:
            return list(connection.execute(select(keys.c.id).order_by(keys.c.id)).scalars())


@pytest.fixture
def kept(store: Store, tmp_path: Path) -> Kept:
    return Kept(store, tmp_path, DnssecSettings())


def test_a_zones_life_from_signing_to_unsigning(kept: Kept) -> None:
    outcome = kept.keeper.sign(APEX, ANN, {"keys": "ksk+zsk"})
    assert outcome.change is not None
    kept.check()
    assert kept.ledger.rrset(APEX, APEX, rr.CDS) is None
    kept.pass_time(3 * HOUR)
    cds = kept.ledger.rrset(APEX, APEX, rr.CDS)
    ksk, zsk = kept.keeper.status(APEX).kept.rows.values()
    assert cds == (HOUR, (ds(APEX, ksk.dnskey),))
    assert kept.ledger.rrset(APEX, APEX, rr.CDNSKEY) == (HOUR, (ksk.dnskey,))
    kept.look(kept.asked())
    kept.pass_time(5 * HOUR)
    kept.keeper.roll(APEX, "ksk", ANN)
    kept.keeper.roll(APEX, "zsk", ANN)
    assert len(kept.rows()) == 4
    kept.pass_time(3 * HOUR)
    kept.look(kept.asked())
    kept.pass_time(5 * HOUR)
    left = {row.dnskey for row in kept.keeper.status(APEX).kept.rows.values()}
    assert len(left) == len(kept.rows()) == 2
    assert not left & {ksk.dnskey, zsk.dnskey}
    dnskeys = kept.ledger.rrset(APEX, APEX, rr.DNSKEY)
    assert dnskeys is not None
    assert set(dnskeys[1]) == left
    kept.keeper.unsign(APEX, ANN)
    assert kept.ledger.rrset(APEX, APEX, rr.CDS) == (HOUR, (DELETE_CDS,))
    assert kept.ledger.rrset(APEX, APEX, rr.CDNSKEY) == (HOUR, (DELETE_CDNSKEY,))
    kept.look(kept.asked())
    kept.pass_time(5 * HOUR)
    assert kept.ledger.zone(APEX) == kept.ledger.zone(APEX, generated=False)
    assert kept.rows() == []
    assert kept.keeper.next_due() is None
    assert not kept.ledger.info(APEX).signing


def test_keys_are_replaced_by_themselves(store: Store, tmp_path: Path) -> None:
    kept = Kept(store, tmp_path, DnssecSettings(keys="ksk+zsk", zsk_days=30))
    kept.keeper.sign(APEX, ANN)
    kept.pass_time(3 * HOUR)
    kept.look(kept.asked())
    steps = kept.pass_time(65 * DAY)
    assert sum("in place of" in step for step in steps) == 2
    assert len(kept.rows()) == 2


def test_a_step_without_other_records_makes_no_change_set(kept: Kept) -> None:
    kept.keeper.sign(APEX, ANN)
    serial = kept.ledger.info(APEX).serial
    outcome = kept.keeper.pause(APEX, ANN, True)
    assert outcome.change is None
    assert kept.keeper.status(APEX).kept.zone.paused
    assert kept.ledger.info(APEX).serial == serial


def test_another_way_to_prove_absence_is_taken_on_at_once(kept: Kept) -> None:
    kept.keeper.sign(APEX, ANN)
    kept.keeper.sign(APEX, ANN, {"denial": "nsec3"})
    kept.check()
    zone = kept.ledger.zone(APEX)
    assert rr.NSEC3PARAM in zone.nodes[APEX]
    assert not any(rr.NSEC in node for node in zone.nodes.values())


def test_what_had_a_longer_ttl_is_waited_for(kept: Kept) -> None:
    kept.ledger.change(APEX, [Edit(b"\4long" + APEX, rr.TXT, (2 * DAY, (b"\1x",)))], ANN)
    kept.keeper.sign(APEX, ANN, {"keys": "ksk+zsk"})
    kept.pass_time(4 * DAY)
    kept.keeper.roll(APEX, "zsk", ANN)
    kept.ledger.change(APEX, [Edit(b"\4long" + APEX, rr.TXT, None)], ANN)
    begun = kept.now
    kept.pass_time(3 * HOUR)
    (wait,) = kept.keeper.status(APEX).plan.waits
    assert wait.step.startswith("take zsk")
    # A cache may have got it, signed by the old key, up to when it was taken away.
    assert wait.until == begun + 2 * DAY + HOUR + 1


def test_people_cannot_write_what_is_generated(kept: Kept) -> None:
    kept.keeper.sign(APEX, ANN)
    with pytest.raises(GeneratedRecordError):
        kept.ledger.change(APEX, [Edit(APEX, rr.CDS, (60, (DELETE_CDS,)))], ANN)


def test_new_zones_are_signed_if_the_configuration_wants_it(store: Store, tmp_path: Path) -> None:
    plain = Kept(store, tmp_path, DnssecSettings())
    assert plain.keeper.sign_if_new(APEX, ANN) is None
    wanting = Keeper(plain.ledger, DnssecSettings(sign_new_zones=True), plain.keeper.vault)
    assert wanting.unsigned(b"", 10) == [APEX]
    assert wanting.sign_if_new(APEX, ANN) is not None
    assert wanting.sign_if_new(APEX, ANN) is None
    wanting.unsign(APEX, ANN, at_once=True)
    assert wanting.sign_if_new(APEX, ANN) is None, "somebody unsigned it"
    plain.ledger.delete(APEX, ANN)
    plain.ledger.create(zone_from("www A 192.0.2.1\n"), ANN)
    assert wanting.sign_if_new(APEX, ANN) is not None, "another zone of that name"


def test_keys_brought_along_are_those_the_zone_is_signed_with(kept: Kept) -> None:
    key = SigningKey.generate(15, "csk")
    kept.keeper.sign(APEX, ANN, {"algorithm": 15, "keys": "csk"}, [key])
    assert [row.dnskey for row in kept.keeper.status(APEX).kept.rows.values()] == [key.dnskey]
    assert kept.keeper.secret(APEX, *kept.keeper.status(APEX).kept.rows.values()) == key
    kept.check()
    # The parent may have its DS record all along.
    assert any(one.keys for one in kept.keeper.status(APEX).kept.zone.caches.ds)
    with pytest.raises(KeysError, match="already"):
        kept.keeper.sign(APEX, ANN, {}, [key])


def test_a_clock_set_forward_moves_what_is_waited_for(kept: Kept) -> None:
    kept.keeper.sign(APEX, ANN)
    before = kept.keeper.status(APEX).plan.waits[0].until
    assert before is not None
    kept.now += 30 * DAY
    kept.keeper.clock_set_forward(APEX, 30 * DAY)
    assert kept.keeper.status(APEX).plan.waits[0].until == before + 30 * DAY
    assert kept.keeper.signed(b"", 10) == [APEX]


def test_ds_records_of_others_are_known_as_such(kept: Kept) -> None:
    kept.keeper.sign(APEX, ANN)
    said = ParentSaid(frozenset({frozenset({b"\x12\x34\x08\x02" + bytes(32), b"x"})}), True, HOUR, "asked")
    kept.keeper.advance(APEX, ANN, said)
    assert all(number < 0 for number in kept.keeper.status(APEX).kept.zone.caches.ds[0].keys)


def test_what_a_newer_version_wrote_is_refused(kept: Kept) -> None:
    kept.keeper.sign(APEX, ANN)
    with kept.ledger.store.begin() as connection:
        signing = kept.ledger.info(APEX).signing.replace('"format":1', '"format":2')
        connection.execute(update(zones).values(signing=signing))
    for act in (kept.keeper.status, lambda apex: kept.keeper.advance(apex, ANN)):
        with pytest.raises(KeysError, match="use the version that wrote it"):
            act(APEX)


def test_a_zone_from_elsewhere_is_not_signed(kept: Kept) -> None:
    zone = zone_from("", "example.net.")
    kept.ledger.create(zone, ANN, kind="secondary")
    with pytest.raises(KeysError, match="comes from another server"):
        kept.keeper.sign(zone.apex, ANN)
