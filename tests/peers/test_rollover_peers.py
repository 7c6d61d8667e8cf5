"""Every rollover in real time, before a validator of others: Unbound is asked all along and must never fail.

The parent zone is served by Knot and changes its DS records when it sees CDS records, as registries do; the child is
served by mx10. TTLs are of a second, so that what takes days takes half a minute.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mx10.config import ResolverSettings, ZoneSettings
from mx10.config.settings import DnssecSettings
from mx10.dns import rdata
from mx10.dns import rrtypes as rr
from mx10.dns.message import AD, RD, parse
from mx10.dns.rrtypes import Rcode
from mx10.dns.wirename import from_text
from mx10.nameserver.parents import Parents
from mx10.nameserver.signing import Signing
from mx10.resolver import Answer, Status
from mx10.store.connect import open_store
from mx10.zones.build import TOLERABLE
from mx10.zones.dnssec.keeping import Keeper
from mx10.zones.dnssec.kept import arrange
from mx10.zones.dnssec.keys import DELETE_CDS
from mx10.zones.dnssec.signer import ZoneSigner
from mx10.zones.dnssec.vault import from_file
from mx10.zones.ledger import Author, Edit, Ledger
from mx10.zones.text import to_text
from mx10.zones.zone import Zone
from peers import Knot, MissingPeerError, Mx10, PeerError, ask, question
from peers.validating import Validating
from tests.conftest import cannot_run
from tests.zones.reading import load

pytestmark = [pytest.mark.peers, pytest.mark.long, pytest.mark.timeout(180)]

PARENT = from_text("parent.example.")
CHILD = from_text("child.parent.example.")
ANN = Author("ann")
QUICK = DnssecSettings(
    keys="ksk+zsk",
    dnskey_ttl=1,
    propagation_seconds=1,
    parent_propagation_seconds=1,
    parent_check_seconds=1,
)
PATIENCE = 30.0
"""Seconds for one rollover; they take some eight."""


def zone_of(text: str, apex: bytes) -> Zone:
    """A zone with a TTL of a second."""
    loaded = load("$TTL 1\n@ SOA ns1 hostmaster 1 3600 900 86400 1\n@ NS ns1\nns1 A 127.0.0.1\n" + text, origin=apex)
    assert loaded.zone is not None, loaded.problems
    return loaded.zone


class Nobody:
    """A resolver that knows nothing: the parent's servers are told."""

    async def resolve(self, name: bytes, rrtype: int) -> Answer:
        return Answer(name, rrtype, Status.FAILURE, reason="nobody was to be asked")


class World:
    """The two zones in a store, their files for the servers, and what is done with them."""

    def __init__(self, folder: Path) -> None:
        self.folders = {apex: folder / name for apex, name in ((PARENT, "parent"), (CHILD, "child"))}
        self.written: dict[bytes, int] = {}
        store = open_store(f"sqlite:///{folder}/mx10.db", create=True)
        vault = from_file(folder / "mx10.key", make=True)
        settings = ZoneSettings(tolerate=tuple(TOLERABLE))
        self.ledger = Ledger(store, settings, signer=ZoneSigner(arrange(QUICK, vault)))
        self.keeper = Keeper(self.ledger, QUICK, vault)
        self.ledger.create(zone_of("child NS ns1.child\nns1.child A 127.0.0.1\n", PARENT), ANN)
        self.ledger.create(zone_of("@ MX 10 ns1\n", CHILD), ANN)
        self.keeper.sign(PARENT, ANN)
        for each in self.folders.values():
            each.mkdir()
        self.write()

    def write(self) -> list[bytes]:
        """Write the files of zones that changed; which."""
        changed = []
        for apex, folder in self.folders.items():
            zone = self.ledger.zone(apex)
            if self.written.get(apex) == zone.serial:
                continue
            self.written[apex] = zone.serial
            name = "parent.example.zone" if apex == PARENT else "child.parent.example.zone"
            beside = folder.parent / name
            beside.write_text(to_text(zone))
            beside.rename(folder / name)
            changed.append(apex)
        return changed

    def registry(self) -> None:
        """Do what a parent does: DS records as CDS records ask for (RFC 7344 section 6, RFC 8078 section 4)."""
        cds = self.ledger.rrset(CHILD, CHILD, rr.CDS)
        if cds is None:
            return
        datas = () if cds[1] == (DELETE_CDS,) else cds[1]
        present = self.ledger.rrset(PARENT, CHILD, rr.DS)
        if set(datas) != set(present[1] if present else ()):
            self.ledger.change(PARENT, [Edit(CHILD, rr.DS, (1, datas) if datas else None)], Author("registry"))

    def anchor(self) -> str:
        """The DNSKEY record to trust."""
        keys = self.keeper.status(PARENT).kept.rows.values()
        (dnskey,) = (row.dnskey for row in keys if row.role == "ksk")
        return f"parent.example. DNSKEY {rdata.to_text(rr.DNSKEY, dnskey)}"

    def settled(self) -> bool:
        status = self.keeper.status(CHILD)
        zone = status.kept.zone
        return not status.plan.waits and not status.plan.steps and zone.caches.ds[0].keys == zone.cds


class Watch:
    """Asks Unbound all along, for what is there and for what is not."""

    def __init__(self, unbound: Validating) -> None:
        self._unbound = unbound
        self.secure = self.insecure = 0
        self.failures: list[str] = []

    def look(self) -> bool:
        """One look; whether all was secure."""
        secure = []
        for name, rrtype in (("child.parent.example", "MX"), ("no.child.parent.example", "A")):
            wire = question(name, rrtype, flags=RD, payload=1232, do=True)
            response = parse(ask(self._unbound.address, self._unbound.port, wire, timeout=5))
            if response.rcode not in (Rcode.NOERROR, Rcode.NXDOMAIN):
                self.failures.append(f"{time.time():.1f}: {name} {rrtype}: {rr.rcode_to_text(response.rcode)}")
            secure.append(bool(response.flags & AD))
        self.secure += all(secure)
        self.insecure += not all(secure)
        return all(secure)

    async def run(self) -> None:
        while True:
            await asyncio.to_thread(self.look)
            await asyncio.sleep(0.05)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    found = World(tmp_path)
    yield found
    found.ledger.store.close()


async def test_every_rollover_before_unbound(world: World) -> None:
    with contextlib.ExitStack() as stack:
        try:
            parent = stack.enter_context(Knot(world.folders[PARENT], wait_for=["parent.example"]))
            child = stack.enter_context(Mx10(world.folders[CHILD], wait_for=["child.parent.example"]))
            unbound = stack.enter_context(
                Validating(
                    world.folders[CHILD],
                    anchors=[world.anchor()],
                    stubs={
                        "parent.example.": [f"{parent.address}@{parent.port}"],
                        "child.parent.example.": [f"{child.address}@{child.port}"],
                    },
                    ready="child.parent.example",
                )
            )
        except (MissingPeerError, PeerError) as error:
            cannot_run(str(error))

        def served() -> None:
            world.registry()
            if PARENT in world.write():
                parent.reload("parent.example")

        async def serving() -> None:
            while True:
                await asyncio.to_thread(served)
                await asyncio.sleep(0.05)

        parents = Parents(Nobody(), [f"{parent.address}:{parent.port}"], ResolverSettings(timeout_seconds=1.0))
        service = Signing(world.keeper, asyncio.to_thread, parents)
        watch = Watch(unbound)
        tasks = [asyncio.ensure_future(each) for each in (serving(), service.run(), watch.run())]
        try:
            await _rollovers(world, service, watch, tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _rollovers(world: World, service: Signing, watch: Watch, tasks: "list[asyncio.Task[None]]") -> None:
    async def until(reached: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not await asyncio.to_thread(reached):
            assert not [task for task in tasks if task.done()], "somebody ended"
            assert not watch.failures, f"{what}: {watch.failures[:5]}"
            assert time.monotonic() < deadline, f"{what}: {world.keeper.status(CHILD)}"
            await asyncio.sleep(0.1)

    async def changed(act: Callable[[], object], what: str) -> None:
        before = {row.dnskey for row in world.keeper.status(CHILD).kept.rows.values()}
        await asyncio.to_thread(act)
        service.zones_changed([CHILD])
        assert not world.settled()
        seen = watch.secure
        await until(world.settled, what)
        assert watch.secure > seen
        assert watch.insecure == 0, what
        assert {row.dnskey for row in world.keeper.status(CHILD).kept.rows.values()} != before

    await asyncio.to_thread(world.keeper.sign, CHILD, ANN)
    service.zones_changed([CHILD])
    await until(world.settled, "signing")
    await until(watch.look, "secure")
    watch.insecure = 0
    await changed(lambda: world.keeper.roll(CHILD, "zsk", ANN), "zsk")
    await changed(lambda: world.keeper.roll(CHILD, "ksk", ANN), "ksk")
    await changed(
        lambda: world.keeper.sign(CHILD, ANN, {"algorithm": 15, "keys": "csk", "denial": "nsec3"}), "to ed25519"
    )
    await asyncio.to_thread(world.keeper.unsign, CHILD, ANN)
    service.zones_changed([CHILD])
    await until(lambda: not world.ledger.info(CHILD).signing, "unsigning")
    await until(lambda: not watch.look(), "insecure")
    assert not watch.failures
