"""A ledger that signs, for tests: how each zone is signed stands in a dictionary."""

from collections.abc import Iterator

from sqlalchemy import Connection

from mx10.config import ZoneSettings
from mx10.dns import rrtypes as rr
from mx10.store.connect import Store
from mx10.zones.build import TOLERABLE
from mx10.zones.dnssec.signer import ZoneSigner
from mx10.zones.dnssec.verify import faults
from mx10.zones.dnssec.whole import sign_zone
from mx10.zones.dnssec.work import Arrangement
from mx10.zones.ledger import ChangeSet, Edit, Ledger, ZoneInfo, rows
from mx10.zones.ledger.values import Author
from mx10.zones.zone import Node, Zone
from tests.zones.dnssec.shapes import NOW, steady

ANN = Author("ann")


class SignedStore:
    """Zones that are signed as ``arrangements`` says; time stands still unless ``now`` is set."""

    def __init__(self, store: Store) -> None:
        self.now = NOW
        self.arrangements: dict[bytes, Arrangement] = {}
        self.signer = ZoneSigner(lambda _, info: self.arrangements[info.apex], chance=steady().random)
        # What rules are for is not the question here.
        settings = ZoneSettings(tolerate=tuple(TOLERABLE))
        self.ledger = Ledger(store, settings, signer=self.signer, clock=lambda: self.now * 1000)

    def sign(self, apex: bytes, arrangement: Arrangement) -> ChangeSet | None:
        """Have a zone signed in some way from now on."""

        def edits(connection: Connection, info: ZoneInfo) -> list[Edit]:
            self.arrangements[apex] = arrangement
            rows.update_zone(connection, info.id, signing="{}")
            soa = rows.soa_of(connection, info.id)
            assert soa is not None
            # A serial of its own, so that the ledger has something to change.
            serial = (info.serial + 1) % (1 << 32)
            return [Edit(apex, rr.SOA, (soa[0], (soa[1][0][:-20] + serial.to_bytes(4, "big") + soa[1][0][-16:],)))]

        return self.ledger.generated(apex, edits, ANN)

    def unsign(self, apex: bytes) -> ChangeSet | None:
        """Have a zone signed no more."""

        def edits(connection: Connection, info: ZoneInfo) -> Iterator[Edit]:
            yield from self.signer.unsign(connection, info)
            rows.update_zone(connection, info.id, signing="")

        return self.ledger.generated(apex, edits, ANN)

    def zone(self, apex: bytes) -> Zone:
        """A zone as it is."""
        return self.ledger.zone(apex)

    def assert_as_from_scratch(self, apex: bytes) -> Zone:
        """See that a zone is what signing it whole makes of it."""
        zone = self.zone(apex)
        arrangement = self.arrangements[apex]
        plain = self.ledger.zone(apex, generated=False)
        fresh = sign_zone(plain, arrangement, self.now, steady().random)
        assert unsigned(zone) == unsigned(fresh)
        assert covered(zone) == covered(fresh)
        assert list(map(str, faults(zone, self.now))) == []
        return zone


def unsigned(zone: Zone) -> dict[bytes, Node]:
    """All but signatures, to compare."""
    nodes = {
        owner: {rrtype: (ttl, tuple(sorted(datas))) for rrtype, (ttl, datas) in node.items() if rrtype != rr.RRSIG}
        for owner, node in zone.nodes.items()
    }
    return {owner: node for owner, node in nodes.items() if node}


def covered(zone: Zone) -> dict[bytes, tuple[int, list[bytes]]]:
    """Of the signatures: TTL of the set, and for each what it signs and by which key."""
    found = {}
    for owner, node in zone.nodes.items():
        if rr.RRSIG in node:
            ttl, datas = node[rr.RRSIG]
            found[owner] = ttl, sorted(data[:8] + data[16:18] for data in datas)
    return found
