"""Several relays that share a spool in PostgreSQL: each says that it is there, and takes over what belongs to one that
no longer does. Rows are claimed with SKIP LOCKED, so that two that notice at once share them.

A relay that could not say so for a while (it was stopped, the database could not be reached) has to take it that others
deliver its mail: it begins no delivery until it has said so again, and looks at its rows anew. Each sign of life names
the one before, so that one whose number went to another relay meanwhile notices, and ends.
"""

import asyncio
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Final

from sqlalchemy import text

from mx10.logs import get_logger
from mx10.relay.values import NODES
from mx10.store.connect import Store
from mx10.store.errors import StoreError
from mx10.values import value_class

BEAT_SECONDS: Final = 3.0
"""Between two signs of life."""
DEAD_SECONDS: Final = 15.0
"""A relay without a sign of life for so long is taken for dead. By the database's clock."""
LEASE_SECONDS: Final = 10.0
"""So long after its last sign of life a relay may begin to deliver. The rest of the time until it is taken for dead is
for what is on its way then."""
CLAIMED: Final = 1000
"""Recipients that are claimed in one transaction."""

_NOW: Final = "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)"
_BEAT: Final = text(f"UPDATE nodes SET seen_at = {_NOW} WHERE id = :mine AND seen_at = :before RETURNING seen_at")
_CLAIM: Final = text(
    "UPDATE recipients SET node = :mine WHERE (message, number) IN (SELECT message, number FROM recipients"
    f" WHERE node IN (SELECT id FROM nodes WHERE id <> :mine AND seen_at < {_NOW} - :dead)"
    " LIMIT :most FOR UPDATE SKIP LOCKED)"
)
_MAIL_OF: Final = text("SELECT 1 FROM recipients WHERE node = :node LIMIT 1")

log = get_logger("relay")


@value_class
class Place:
    """A relay among those that share a spool. ``seen_at``: its last sign of life, as the database has it."""

    node: int
    seen_at: int = 0


def register(store: Store) -> Place:
    """Our place among the relays that share a spool: the same each time, by the name of this host, unless somebody of
    that name is there (another host, or we before we were killed, until that is known).

    Raises:
        StoreError: there are 255 others that are alive, or have mail that nobody took over.
    """
    if store.is_sqlite:
        return Place(0)
    name = socket.gethostname()
    with store.begin() as connection:
        now = connection.execute(text(f"SELECT {_NOW}")).scalar_one()
        rows = connection.execute(text("SELECT id, name, seen_at FROM nodes ORDER BY id")).all()
        ours = [row for row in rows if row[1] == name or row[1].startswith(f"{name}#")]
        gone = [row[0] for row in rows if row[2] < now - int(DEAD_SECONDS * 1000)]
        node = next((row[0] for row in ours if row[0] in gone), None)
        if node is not None:
            connection.execute(text("UPDATE nodes SET seen_at = :now WHERE id = :id"), {"now": now, "id": node})
            return Place(int(node), int(now))
        taken = {row[0] for row in rows}
        node = next((number for number in range(1, NODES) if number not in taken), None)
        if node is None:
            # Hosts that have another name each time they start leave their places behind.
            node = next((each for each in gone if connection.execute(_MAIL_OF, {"node": each}).first() is None), None)
            if node is None:
                raise StoreError(f"the spool {store.place}: {NODES - 1} relays share it already; remove one from nodes")
            connection.execute(text("DELETE FROM nodes WHERE id = :id"), {"id": node})
        called = f"{name}#{node}" if ours else name
        statement = text("INSERT INTO nodes (id, name, seen_at) VALUES (:id, :name, :now)")
        connection.execute(statement, {"id": node, "name": called, "now": now})
    return Place(int(node), int(now))


class Nodes:
    """One relay among others.

    Args:
        place: ours, as of just now.
        anew: called when there is more to deliver than before, or perhaps less: all has to be read again.
    """

    def __init__(self, store: Store, place: Place, anew: Callable[[], Awaitable[None]]) -> None:
        self._store, self._node, self._anew = store, place.node, anew
        self._seen_at = place.seen_at
        self._writing = threading.Lock()
        self._until = time.monotonic() + LEASE_SECONDS
        self.evicted = asyncio.Event()
        """Set when our number is another's."""

    def holds(self) -> bool:
        """Whether what is ours is nobody else's, as far as we know."""
        return time.monotonic() < self._until

    async def run(self) -> None:
        """Be alive, and look after the others, until cancelled."""
        complaint = ""
        while not self.evicted.is_set():
            began = time.monotonic()
            try:
                claimed = await asyncio.to_thread(self.beat)
                complaint = ""
                lapsed = not self.holds()
                if self._seen_at:
                    self._until = began + LEASE_SECONDS
                    if claimed:
                        log.warning("messages of a relay that is gone are ours now", recipients=claimed)
                    if lapsed:
                        log.warning("no sign of life from here for a while: others may have taken our messages")
                    if claimed or lapsed:
                        await self._anew()
                else:
                    log.error("another relay has our number in the spool; this one begins again", node=self._node)
                    self.evicted.set()
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
        with self._writing:
            return self._beat()

    def _beat(self) -> int:
        with self._store.begin() as connection:
            values = {"mine": self._node, "before": self._seen_at}
            found = connection.execute(_BEAT, values).scalar()
        self._seen_at = int(found) if found is not None else 0
        if not self._seen_at:
            return 0
        claimed, began = 0, time.monotonic()
        while True:
            with self._store.begin() as connection:
                values = {"mine": self._node, "dead": int(DEAD_SECONDS * 1000), "most": CLAIMED}
                rows = connection.execute(_CLAIM, values).rowcount
            claimed += rows
            # Of very many the rest comes after the next sign of life.
            if rows < CLAIMED or time.monotonic() - began > BEAT_SECONDS:
                return claimed

    def leave(self) -> None:
        """Say that we are gone: others need not wait to find out."""
        try:
            # A sign of life that is being written comes first.
            with self._writing, self._store.begin() as connection:
                values = {"mine": self._node, "before": self._seen_at}
                connection.execute(text("UPDATE nodes SET seen_at = 0 WHERE id = :mine AND seen_at = :before"), values)
        except StoreError as error:
            log.warning("the spool cannot be reached", cause=str(error))
