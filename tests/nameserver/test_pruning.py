"""What the store needs no more goes while the steward runs."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from mx10.config import ZoneSettings
from mx10.dns import rrtypes as rr
from mx10.nameserver.pruning import Pruning
from mx10.store.connect import Store
from mx10.zones.ledger import Author, Edit, Ledger
from tests.zones.reading import ORIGIN, zone_of

T = TypeVar("T")


async def test_details_of_signing_go(store: Store) -> None:
    now = [10**12]
    ledger = Ledger(store, ZoneSettings(), clock=lambda: now[0])
    ledger.create(zone_of(""), Author("ann"))
    ledger.generated(ORIGIN, [Edit(ORIGIN, rr.DNSKEY, (60, (b"\1\0\3\x0d" + bytes(64),)))], Author("mx10"))
    assert ledger.since(ORIGIN, 1)
    done = asyncio.Event()

    async def in_store(function: Callable[..., T], /, *args: object) -> T:
        try:
            return await asyncio.to_thread(function, *args)
        finally:
            done.set()

    pruning = asyncio.create_task(Pruning(ledger, in_store, 1, every=0.01).run())
    for days, left in ((0, True), (2, False)):
        now[0] += days * 86_400_000
        for _ in range(2):  # one may have begun before the clock moved
            done.clear()
            await done.wait()
        assert bool(ledger.since(ORIGIN, 1)) is left
    pruning.cancel()
