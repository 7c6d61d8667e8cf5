"""The signing service: it looks when something is due, asks the parent, and one zone's trouble is no other's."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import update

from mx10.config import ZoneSettings
from mx10.config.settings import DnssecSettings
from mx10.dns import rrtypes as rr
from mx10.dns.wirename import from_text
from mx10.nameserver import signing
from mx10.nameserver.signing import Signing
from mx10.store.connect import open_store
from mx10.store.tables import zones
from mx10.zones.build import TOLERABLE
from mx10.zones.dnssec.keeping import Keeper
from mx10.zones.dnssec.kept import ParentSaid, arrange
from mx10.zones.dnssec.signer import ZoneSigner
from mx10.zones.dnssec.vault import from_file
from mx10.zones.ledger import Author, Ledger
from tests.zones.dnssec.shapes import NOW, zone_from

APEX, OTHER = from_text("example.com."), from_text("example.net.")
ANN = Author("ann")


class Willing:
    """A parent that has done what it was asked for, or does not answer."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.silent = False
        self.asked = 0

    async def look(self, apex: bytes) -> ParentSaid:
        self.asked += 1
        if self.silent:
            await asyncio.sleep(3600)
        cds = self.world.ledger.rrset(apex, apex, rr.CDS)
        return ParentSaid(frozenset({frozenset(cds[1] if cds else ())}), True, 3600, "1 of 1 nameservers answered")


class World:
    def __init__(self, folder: Path, settings: DnssecSettings) -> None:
        self.now = float(NOW)
        self.steady = 0.0
        vault = from_file(folder / "mx10.key", make=True)
        store = open_store(f"sqlite:///{folder}/mx10.db", create=True)
        self.ledger = Ledger(
            store,
            ZoneSettings(tolerate=tuple(TOLERABLE)),
            signer=ZoneSigner(arrange(settings, vault)),
            clock=lambda: int(self.now * 1000),
        )
        self.keeper = Keeper(self.ledger, settings, vault)
        self.parent = Willing(self)
        self.service = Signing(
            self.keeper, asyncio.to_thread, self.parent, wall=lambda: self.now, steady=lambda: self.steady
        )
        for name in ("example.com.", "example.net."):
            self.ledger.create(zone_from("www A 192.0.2.1\n", name), ANN)

    def later(self, seconds: float) -> None:
        self.now += seconds
        self.steady += seconds

    async def until(self, reached: Callable[[], bool]) -> None:
        """Let the service run until something is so; ten seconds at most."""
        task = asyncio.ensure_future(self.service.run())
        try:
            async with asyncio.timeout(10):
                while not await asyncio.to_thread(reached):
                    assert not task.done()
                    self.service.zones_changed([])
                    await asyncio.sleep(0.01)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def has(self, apex: bytes, rrtype: int) -> bool:
        return self.ledger.rrset(apex, apex, rrtype) is not None


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, DnssecSettings())


async def test_steps_are_taken_when_they_are_due(world: World) -> None:
    world.keeper.sign(APEX, ANN)
    world.later(3 * 3600)
    await world.until(lambda: world.has(APEX, rr.CDS))
    world.later(3600)
    await world.until(lambda: bool(world.keeper.status(APEX).kept.zone.caches.ds[0].keys))
    assert world.keeper.status(APEX).kept.zone.parent == "1 of 1 nameservers answered"


async def test_signatures_are_made_anew_before_they_end(world: World) -> None:
    world.keeper.sign(APEX, ANN)
    before = world.ledger.rrset(APEX, APEX, rr.RRSIG)
    world.later(10 * 86400)
    await world.until(lambda: world.ledger.rrset(APEX, APEX, rr.RRSIG) != before)


async def test_new_zones_are_signed_those_from_before_too(tmp_path: Path) -> None:
    world = World(tmp_path, DnssecSettings(sign_new_zones=True))
    await world.until(lambda: world.has(APEX, rr.DNSKEY) and world.has(OTHER, rr.DNSKEY))


async def test_new_zones_stay_as_they_are_by_default(world: World) -> None:
    world.service.zones_changed([APEX])
    await world.until(lambda: True)
    assert not world.has(APEX, rr.DNSKEY)


async def test_one_zones_trouble_is_no_others(world: World) -> None:
    for apex in (APEX, OTHER):
        world.keeper.sign(apex, ANN)
    with world.ledger.store.begin() as connection:
        connection.execute(update(zones).where(zones.c.apex == APEX).values(signing="{}"))
    world.later(3 * 3600)
    await world.until(lambda: world.has(OTHER, rr.CDS))


async def test_a_parent_that_does_not_answer_holds_up_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signing, "LOOK_SECONDS", 0.05)
    world.parent.silent = True
    world.keeper.sign(APEX, ANN)
    world.later(3 * 3600)
    await world.until(lambda: world.has(APEX, rr.CDS))
    assert "did not all answer" in world.keeper.status(APEX).kept.zone.parent


async def test_nobody_is_asked_while_nothing_is_due(world: World) -> None:
    world.keeper.sign(APEX, ANN)
    await world.until(lambda: True)
    assert world.parent.asked == 0


async def test_a_clock_set_forward_ends_no_wait(world: World) -> None:
    world.keeper.sign(APEX, ANN)
    world.now += 3 * 3600  # and no second has passed

    def moved() -> bool:
        until = world.keeper.status(APEX).plan.waits[0].until if world.keeper.status(APEX).plan.waits else 0
        return (until or 0) > world.now

    await world.until(moved)
    assert not world.has(APEX, rr.CDS)
