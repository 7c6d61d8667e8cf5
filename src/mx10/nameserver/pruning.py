"""The steward's care for the store: what is needed no more goes, before it fills the disk."""

import asyncio
import time
from typing import Final

from mx10.logs import get_logger
from mx10.nameserver.signing import InStore
from mx10.nameserver.steward import Steward
from mx10.store.errors import StoreError
from mx10.zones.ledger import Ledger

log = get_logger("store")

EVERY_SECONDS: Final = 600.0


class Pruning:
    """Takes old rows of the feed, and old details of signing, out of the store, for as long as ``run`` runs.

    Args:
        days: for which details of signing are kept.
        every: seconds between two times.
    """

    def __init__(self, ledger: Ledger, in_store: InStore, days: int, *, every: float = EVERY_SECONDS) -> None:
        self._ledger = ledger
        self._in_store = in_store
        self._days = days
        self._every = every

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(self._every)
            began = time.monotonic()
            try:
                count = await self._in_store(self._ledger.prune, self._days)
            except StoreError as error:
                log.warning("old rows stay in the store until the next time", cause=str(error))
                continue
            if count:
                seconds = round(time.monotonic() - began, 3)
                log.info("details of signing forgotten", change_sets=count, days=self._days, seconds=seconds)


def plug_in(steward: Steward) -> None:
    """Have the steward do this."""
    days = steward.config.store.keep_signing_days
    steward.services.append(Pruning(steward.ledger, steward.in_store, days))
