"""Our catalog zone: what is in it, and that it stays what the store is."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mx10.config import ZoneSettings
from mx10.dns import rrtypes as rr
from mx10.dns.wirename import from_text, to_text
from mx10.nameserver import catalog
from mx10.nameserver.catalog import CatalogKeeper, CatalogNameError, catalog_name, owner_of
from mx10.nameserver.catalog_in import members_of
from mx10.nameserver.condensing import condensed
from mx10.store.connect import Store
from mx10.zones.ledger import Author, Ledger, ZoneOptions
from mx10.zones.zone import Zone
from tests.nameserver.test_transfers import APEX, a_zone

ME = Author("test")
CATALOG = from_text("catalog.test.")


def named(name: str) -> Zone:
    apex = from_text(name)
    return Zone(apex, {apex: a_zone().nodes[APEX]})


class World:
    """A catalog over a store, told of changes as the steward tells."""

    def __init__(self, store: Store) -> None:
        self.ledger = Ledger(store, ZoneSettings())
        self.keeper = CatalogKeeper(self.ledger, asyncio.to_thread, CATALOG)
        self._position = 0

    async def tell(self) -> None:
        found = self.ledger.feed_since(self._position)
        assert found is not None
        self._position = found[0]
        await self.keeper.changed(found[1])

    def members(self) -> set[str]:
        return {to_text(each) for each in members_of(CATALOG, self.ledger.iterate(CATALOG))}


@pytest.fixture
def world(store: Store) -> World:
    return World(store)


async def test_zones_come_and_go(world: World) -> None:
    world.ledger.create(named("before.test."), ME)
    await world.keeper.run()
    assert world.members() == {"before.test."}
    world.ledger.create(named("one.test."), ME)
    world.ledger.create(named("two.test."), ME)
    await world.tell()
    assert world.members() == {"before.test.", "one.test.", "two.test."}
    world.ledger.delete(from_text("one.test."), ME)
    await world.tell()
    assert world.members() == {"before.test.", "two.test."}
    # A catalog is what RFC 9432 section 4 says.
    records = {(owner, rrtype): rrset[1] for owner, rrtype, rrset in world.ledger.iterate(CATALOG)}
    assert records[CATALOG, rr.NS] == (from_text("invalid."),)
    assert records[from_text("version", CATALOG), rr.TXT] == (b"\0012",)


async def test_one_zone_more_is_a_small_change(world: World) -> None:
    world.ledger.create_many((named(f"z{number}.test.") for number in range(1000)), ME)
    await world.keeper.run()
    before = world.ledger.info(CATALOG).serial
    await world.tell()
    assert world.ledger.info(CATALOG).serial == before
    world.ledger.create(named("more.test."), ME)
    await world.tell()
    steps = world.ledger.since(CATALOG, before)
    assert steps
    delta = condensed(CATALOG, steps)
    assert delta is not None
    assert (len(delta.removed), len(delta.added), len(world.members())) == (0, 1, 1001)


async def test_who_is_no_member(world: World) -> None:
    world.ledger.create(named("left.out.test."), ME, options=ZoneOptions(catalog=False))
    world.ledger.follow(from_text("followed.test."), ME, ZoneOptions(primaries=("192.0.2.1",)))
    world.ledger.create(named("in.test."), ME)
    await world.keeper.run()
    assert world.members() == {"in.test."}
    world.ledger.set_options(from_text("in.test."), ZoneOptions(catalog=False), ME)
    world.ledger.set_options(from_text("left.out.test."), ZoneOptions(), ME)
    await world.tell()
    assert world.members() == {"left.out.test."}


async def test_after_a_restart_it_is_compared(world: World, store: Store) -> None:
    world.ledger.create_many((named(f"z{number}.test.") for number in range(20)), ME)
    await world.keeper.run()
    serial = world.ledger.info(CATALOG).serial
    again = World(store)
    await again.keeper.run()
    assert world.ledger.info(CATALOG).serial == serial
    world.ledger.delete(from_text("z3.test."), ME)
    world.ledger.create(named("new.test."), ME)
    # Told before it is ready: nothing is lost.
    last = World(store)
    await last.keeper.changed([from_text("new.test.")])
    await last.keeper.run()
    assert last.members() == {f"z{number}.test." for number in range(20) if number != 3} | {"new.test."}
    # Nobody knows what changed.
    world.ledger.delete(from_text("z4.test."), ME)
    await last.keeper.changed(())
    assert "z4.test." not in last.members()


async def test_a_catalog_that_is_deleted_begins_again(world: World) -> None:
    world.ledger.create(named("one.test."), ME)
    await world.keeper.run()
    await world.tell()
    former = world.ledger.info(CATALOG).serial
    world.ledger.delete(CATALOG, ME)
    world.ledger.create(named("two.test."), ME)
    await world.tell()
    assert world.members() == {"one.test.", "two.test."}
    assert world.ledger.info(CATALOG).serial >= former


async def test_a_zone_of_that_name_is_left_alone(world: World) -> None:
    world.ledger.create(named("catalog.test."), ME)
    await world.keeper.run()
    world.ledger.create(named("one.test."), ME)
    await world.tell()
    assert [owner for owner, _, _ in world.ledger.iterate(CATALOG)] == [CATALOG, CATALOG]


async def test_very_many_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "AT_ONCE", 7)
    await world.keeper.run()
    world.ledger.create_many((named(f"z{number}.test.") for number in range(30)), ME)
    await world.tell()
    assert len(world.members()) == 30
    assert len(world.ledger.history(CATALOG, limit=20)) == 6


def test_the_name_of_a_member_is_made_from_its_own() -> None:
    one, two = owner_of(APEX, CATALOG), owner_of(from_text("two.test."), CATALOG)
    assert one != two
    assert one.endswith(b"\5zones" + CATALOG)
    assert one == owner_of(APEX, CATALOG)


@given(st.binary(min_size=1, max_size=20))
def test_any_name_has_one_in_the_catalog(label: bytes) -> None:
    assert len(owner_of(bytes((len(label),)) + label + b"\0", CATALOG)) == 33 + 6 + len(CATALOG)


@pytest.mark.parametrize(("text", "name"), [("", None), ("Catalog.Test", CATALOG), ("catalog.test.", CATALOG)])
def test_the_name_as_it_is_set(text: str, name: bytes | None) -> None:
    assert catalog_name(text) == name


@pytest.mark.parametrize("text", [".", "a..b", ".".join(["x" * 60] * 4)])
def test_what_is_no_name_for_a_catalog(text: str) -> None:
    with pytest.raises(CatalogNameError, match=r"nameserver\.catalog"):
        catalog_name(text)
