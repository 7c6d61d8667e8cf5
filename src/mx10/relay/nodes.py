"""Several relays that share a spool in PostgreSQL: each says that it is there, and takes over what belongs to one that
no longer does. Rows are claimed with SKIP LOCKED, so that two that notice at once share them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from sqlalchemy import text

from mx10.logs import get_logger
from mx10.store.connect import Store
from mx10.store.errors import StoreError

BEAT_SECONDS: Final = 3.0
"""Between two signs of life."""
DEAD_SECONDS: Final = 15.0
"""A relay without a sign of life for so long is taken for dead. By the database's clock."""
CLAIMED: Final = 1000
"""Recipients that are claimed in one transaction."""

_NOW: Final = "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)"
_CLAIM: Final = text(
    "UPDATE recipients SET node = :mine WHERE (message, number) IN (SELECT message, number FROM recipients"
    f" WHERE node IN (SELECT id FROM nodes WHERE id <> :mine AND seen_at < {_NOW} - :dead)"
    " LIMIT :most FOR UPDATE SKIP LOCKED)"
)

log = get_logger("relay")


class Nodes:
    """One relay among others.

    Args:
        node: its number.
        rescan: called when there is more to deliver than before.
    """

    def __init__(
        self, store: Store, node: int, clock: Callable[[], int], rescan: Callable[[], Awaitable[None]]
    ) -> None:
        self._store, self._node, self._rescan = store, node, rescan
        self._clock = clock

    async def run(self) -> None:
        """Be alive, and look after the others, until cancelled."""
        complaint = ""
        while True:
            try:
                claimed = await asyncio.to_thread(self.beat)
                complaint = ""
                if claimed:
                    log.warning("messages of a relay that is gone are ours now", recipients=claimed)
                    await self._rescan()
            except StoreError as error:
                if str(error) != complaint:
                    complaint = str(error)
                    log.error("the spool cannot be reached", cause=complaint)
            await asyncio.sleep(BEAT_SECONDS)

    def beat(self) -> int:
        """Say that we are here, and claim what belongs to the dead; how many recipients that were.

        Raises:
            StoreError: the database cannot be reached.
        """
        with self._store.begin() as connection:
            connection.execute(text(f"UPDATE nodes SET seen_at = {_NOW} WHERE id = :mine"), {"mine": self._node})
        claimed = 0
        while True:
            with self._store.begin() as connection:
                values = {"mine": self._node, "dead": int(DEAD_SECONDS * 1000), "most": CLAIMED}
                found = connection.execute(_CLAIM, values).rowcount
            claimed += found
            if found < CLAIMED:
                return claimed
