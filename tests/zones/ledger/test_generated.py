"""What mx10 itself writes into zones that it signs: only it may, and it goes along with every change."""

from collections.abc import Mapping, Sequence

import pytest
from sqlalchemy import Connection, update

from mx10.config import ZoneSettings
from mx10.dns import rrtypes as rr
from mx10.store.connect import Store
from mx10.store.tables import zones
from mx10.zones.ledger import (
    ConflictError,
    Edit,
    GeneratedRecordError,
    Ledger,
    RevertError,
    SignerMissingError,
    ZoneInfo,
)
from mx10.zones.ledger.rows import node as node_of
from mx10.zones.ledger.serials import serial_of
from mx10.zones.zone import RRset, Zone
from tests.zones.ledger.making import ANN, Clock, edit, name, no, plain
from tests.zones.reading import ORIGIN, zone_of

WWW = edit("www 60 A 192.0.2.7")
DNSKEY = Edit(ORIGIN, rr.DNSKEY, (60, (b"\1\0\3\x0d" + bytes(64),)))


class Marks:
    """Keeps an RRSIG record at each owner that says the serial: a signer that is easy to check."""

    def __init__(self) -> None:
        self.asked: list[set[tuple[bytes, int]]] = []

    def resign(
        self,
        connection: Connection,
        info: ZoneInfo,
        changed: Mapping[tuple[bytes, int], RRset | None],
        soa: RRset,
        now: int,
    ) -> Sequence[Edit]:
        self.asked.append(set(changed))
        assert changed[info.apex, rr.SOA] == soa
        assert node_of(connection, info.id, b"")[rr.SOA] == soa  # the tables hold it already
        mark: RRset = 60, (serial_of(soa[1][0]).to_bytes(4, "big"),)
        owners = {owner: rrset is not None for (owner, _), rrset in changed.items()}
        return [Edit(owner, rr.RRSIG, mark if there else None) for owner, there in owners.items()]


def _sign(connection: Connection, info: ZoneInfo) -> list[Edit]:
    connection.execute(update(zones).where(zones.c.id == info.id).values(signing='{"policy": {}}'))
    return [DNSKEY]


@pytest.fixture
def marks() -> Marks:
    return Marks()


@pytest.fixture
def signed(store: Store, clock: Clock, marks: Marks) -> Ledger:
    ledger = Ledger(store, ZoneSettings(), signer=marks, clock=clock)
    ledger.create(zone_of(""), ANN)
    made = ledger.generated(ORIGIN, _sign, ANN)
    assert made
    assert (made.kind, made.serial_after) == ("sign", 2026112301)
    return ledger


def test_signing(signed: Ledger, marks: Marks) -> None:
    assert signed.info(ORIGIN).signed
    assert marks.asked == [{(ORIGIN, rr.SOA), (ORIGIN, rr.DNSKEY)}]
    node = signed.node(ORIGIN, ORIGIN)
    assert node[rr.RRSIG] == (60, ((2026112301).to_bytes(4, "big"),))
    assert signed.info(ORIGIN).rrsets == 5
    assert plain(signed.zone(ORIGIN, generated=False)).keys() == plain(zone_of("")).keys()
    assert rr.RRSIG not in signed.zone(ORIGIN, generated=False).nodes[ORIGIN]
    assert rr.RRSIG not in [each[1] for each in signed.iterate(ORIGIN, generated=False)]
    assert rr.RRSIG in [each[1] for each in signed.iterate(ORIGIN)]


def test_a_change_is_signed_with_it(signed: Ledger, marks: Marks) -> None:
    made = signed.change(ORIGIN, [WWW], ANN)
    assert made
    assert marks.asked[-1] == {(ORIGIN, rr.SOA), (name("www"), rr.A)}
    assert made.changes
    assert [(each.owner, each.type) for each in made.changes] == [
        (ORIGIN, rr.SOA),
        (ORIGIN, rr.RRSIG),
        (name("www"), rr.A),
        (name("www"), rr.RRSIG),
    ]
    found = signed.since(ORIGIN, 2026112301)
    assert found
    assert found[-1].changes == made.changes
    assert signed.change(ORIGIN, [no("www", rr.A)], ANN)
    assert signed.node(ORIGIN, name("www")) == {}


def test_signing_anew_by_edits(signed: Ledger) -> None:
    made = signed.generated(ORIGIN, [Edit(name("ns1"), rr.RRSIG, (60, (b"new",)))], ANN)
    assert made
    assert made.serial_after == 2026112302
    assert signed.node(ORIGIN, name("ns1"))[rr.RRSIG] == (60, (b"new",))
    assert signed.node(ORIGIN, ORIGIN)[rr.RRSIG] == (60, ((2026112302).to_bytes(4, "big"),))
    assert signed.generated(ORIGIN, [], ANN) is None


def test_what_signing_makes_is_not_for_people(signed: Ledger) -> None:
    for rrtype in (rr.RRSIG, rr.NSEC, rr.NSEC3, rr.NSEC3PARAM, rr.DNSKEY, rr.CDS, rr.CDNSKEY):
        with pytest.raises(GeneratedRecordError, match="made by mx10, which signs it"):
            signed.change(ORIGIN, [Edit(name("x"), rrtype, None)], ANN)
    made = signed.history(ORIGIN, limit=1)[0]
    with pytest.raises(RevertError, match="made by signing"):
        signed.revert(ORIGIN, made.id, ANN)


def test_an_import_leaves_it_alone(signed: Ledger) -> None:
    before = signed.node(ORIGIN, ORIGIN)[rr.DNSKEY]
    zone = zone_of("www 60 A 192.0.2.7")
    zone.nodes[name("www")][rr.RRSIG] = (60, (b"of another signer",))
    assert signed.replace(ORIGIN, zone, ANN)
    assert signed.node(ORIGIN, ORIGIN)[rr.DNSKEY] == before
    assert signed.node(ORIGIN, name("www"))[rr.RRSIG] == (60, ((2026112302).to_bytes(4, "big"),))
    assert signed.replace(ORIGIN, zone, ANN) is None


def test_signing_is_no_conflict(signed: Ledger) -> None:
    """Nobody edited anything: whoever read the zone before it was signed anew may go on."""
    signed.generated(ORIGIN, [Edit(name("ns1"), rr.RRSIG, (60, (b"new",)))], ANN)
    assert signed.change(ORIGIN, [WWW], ANN, expected_serial=2026112301)
    with pytest.raises(ConflictError):
        signed.change(ORIGIN, [WWW], ANN, expected_serial=2026112301)


def test_without_a_way_to_the_keys(signed: Ledger) -> None:
    other = Ledger(signed.store, ZoneSettings())
    with pytest.raises(SignerMissingError, match="its keys cannot be read here"):
        other.change(ORIGIN, [WWW], ANN)
    assert signed.node(ORIGIN, name("www")) == {}


def test_unsigning(signed: Ledger) -> None:
    signed.change(ORIGIN, [WWW], ANN)

    def unsign(connection: Connection, info: ZoneInfo) -> list[Edit]:
        connection.execute(update(zones).where(zones.c.id == info.id).values(signing=""))
        found = [(ORIGIN, rr.RRSIG), (ORIGIN, rr.DNSKEY), (name("www"), rr.RRSIG)]
        return [Edit(owner, rrtype, None) for owner, rrtype in found]

    made = signed.generated(ORIGIN, unsign, ANN)
    assert made
    assert not signed.info(ORIGIN).signed
    assert plain(signed.zone(ORIGIN))[name("www")] == {rr.A: WWW.rrset}
    assert plain(Zone(ORIGIN, {})) == {}
    assert rr.RRSIG in signed.zone(ORIGIN, at=2026112302).nodes[name("www")]
    assert rr.RRSIG not in signed.zone(ORIGIN, at=2026112302, generated=False).nodes[name("www")]


def test_what_fails_in_the_middle_leaves_nothing(signed: Ledger) -> None:
    def fail(connection: Connection, info: ZoneInfo) -> list[Edit]:
        _sign(connection, info)
        raise RuntimeError("in the middle")

    before = signed.history(ORIGIN, limit=9)
    with pytest.raises(RuntimeError, match="in the middle"):
        signed.generated(ORIGIN, fail, ANN)
    assert signed.history(ORIGIN, limit=9) == before
    # A function that has nothing to change still writes what it wrote beside.
    assert signed.generated(ORIGIN, lambda connection, info: _sign(connection, info)[:0], ANN) is None
