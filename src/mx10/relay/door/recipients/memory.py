"""What primaries said about recipients, in the table ``known_recipients``, and the part of it that is asked for in
memory.

Looking there is a dictionary's work; what is not there is read from the store in a thread. What is learned is written
once a second, many rows at a time: to lose a second of it costs a question to a primary. Several relays, and commands,
share the table: what one of them writes the others see within ``TRUSTED_MS``.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any, Final

from sqlalchemy import Row, bindparam, text

from mx10.relay.door.recipients.values import Known, Source
from mx10.store.connect import Store
from mx10.store.errors import StoreError

CACHED: Final = 100_000
"""Rows that are kept in memory, also those that say that the table has none; some 400 octets each."""
TRUSTED_MS: Final = 60_000
"""How long one of them counts before the table is looked at again."""
UNWRITTEN: Final = 10_000
"""Rows that wait to be written; beyond it what is learned is forgotten. Nobody waits for the disk because of them."""
MAX_UNKNOWN: Final = 200_000
"""Rows of recipients that do not exist: strangers choose them, so there is an end to it. Beyond, they are remembered in
memory alone."""
PIECE: Final = 500
"""Rows of one statement."""
TIDIED: Final = 20_000
"""Rows that are removed at one time."""
_REPLY: Final = 300
"""Characters of a reply that are kept."""

_COLUMNS: Final = "domain, local, known, reply, source, at, expires_at"
_READ: Final = text(f"SELECT {_COLUMNS} FROM known_recipients WHERE domain = :domain AND local IN :locals").bindparams(
    bindparam("locals", expanding=True)
)
_WRITE: Final = text(
    f"INSERT INTO known_recipients ({_COLUMNS}) VALUES (:domain, :local, :known, :reply, :source, :at, :expires_at)"
    " ON CONFLICT (domain, local) DO UPDATE SET known = excluded.known, reply = excluded.reply,"
    " source = excluded.source, at = excluded.at, expires_at = excluded.expires_at"
    " WHERE excluded.at >= known_recipients.at"
)
_OLD: Final = text(
    f"SELECT {_COLUMNS} FROM known_recipients WHERE (domain > :domain OR (domain = :domain AND local > :local))"
    " AND known = 1 AND at < :before AND expires_at > :now ORDER BY domain, local LIMIT :limit"
)

_REMOVE: Final = text(
    "DELETE FROM known_recipients WHERE (domain, local) IN"
    " (SELECT domain, local FROM known_recipients WHERE expires_at <= :now LIMIT :limit)"
)
_UNKNOWN: Final = "SELECT count(*) FROM known_recipients WHERE known = 0"

_Key = tuple[str, str]


class Memory:
    """The table, and what of it is in memory. For one thread; statements run in others."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rows: OrderedDict[_Key, tuple[Known | None, int]] = OrderedDict()
        self._unwritten: dict[_Key, Known] = {}
        self._unknown_is_full = False

    def __len__(self) -> int:
        """Rows in memory."""
        return len(self._rows)

    # ---------------------------------------------------------------- looking

    def cached(self, domain: str, local: str, now: int) -> tuple[Known | None] | None:
        """What is in memory about a recipient: one row, or that there is none; None: the table has to be asked."""
        found = self._rows.get((domain, local))
        if found is None or not 0 <= now - found[1] < TRUSTED_MS:
            return None
        self._rows.move_to_end((domain, local))
        row = found[0]
        return (row if row is not None and row.expires_at > now else None,)

    def latest(self, domain: str, local: str, now: int) -> Known | None:
        """What was last seen of a recipient here, though the table may say something newer."""
        row = self._rows.get((domain, local), (None, 0))[0]
        return row if row is not None and row.expires_at > now else None

    async def find(self, domain: str, locals_: Sequence[str], now: int) -> dict[str, Known]:
        """What is known of some recipients of a domain, and did not expire. Where the table cannot be read, what is in
        memory counts, however old."""
        wanted = [local for local in locals_ if self.cached(domain, local, now) is None]
        if wanted:
            try:
                rows = await asyncio.to_thread(self._read, domain, wanted)
            except StoreError:
                pass
            else:
                for local in wanted:
                    # What was learned meanwhile, and is not written yet, is newer than the table.
                    row = self._unwritten.get((domain, local)) or rows.get(local)
                    self._keep((domain, local), row, now)
        found = {local: self.latest(domain, local, now) for local in locals_}
        return {local: row for local, row in found.items() if row is not None}

    def _read(self, domain: str, locals_: Sequence[str]) -> dict[str, Known]:
        found: dict[str, Known] = {}
        with self._store.read() as connection:
            for at in range(0, len(locals_), PIECE):
                rows = connection.execute(_READ, {"domain": domain, "locals": list(locals_[at : at + PIECE])})
                found.update((row.local, _known(row)) for row in rows)
        return found

    def _keep(self, key: _Key, row: Known | None, now: int) -> None:
        self._rows[key] = row, now
        self._rows.move_to_end(key)
        if len(self._rows) > CACHED:
            self._rows.popitem(last=False)

    # ---------------------------------------------------------------- learning

    def learn(self, row: Known) -> None:
        """Something was said about a recipient, or a domain."""
        key = row.domain, row.local
        self._keep(key, row, row.at)
        if len(self._unwritten) >= UNWRITTEN and key not in self._unwritten:
            return
        if not row.known and row.local and self._unknown_is_full:
            return
        self._unwritten[key] = row

    @property
    def unwritten(self) -> int:
        """Rows that wait to be written."""
        return len(self._unwritten)

    async def write(self) -> int:
        """Write what was learned. What could not be written waits for the next time.

        Returns:
            Rows written.

        Raises:
            StoreError: the store takes nothing now.
        """
        rows = list(self._unwritten.values())
        if rows:
            await asyncio.to_thread(self.write_now, rows)
        for row in rows:
            key = row.domain, row.local
            if self._unwritten.get(key) is row:
                del self._unwritten[key]
        return len(rows)

    def write_now(self, rows: Iterable[Known]) -> None:
        """Write some rows, in pieces, so that nobody waits long for the store. For commands, and threads.

        Raises:
            StoreError: the store takes nothing now.
        """
        values = [
            {
                "domain": row.domain,
                "local": row.local,
                "known": int(row.known),
                "reply": row.reply[:_REPLY],
                "source": str(row.source),
                "at": row.at,
                "expires_at": row.expires_at,
            }
            for row in rows
        ]
        for at in range(0, len(values), PIECE):
            with self._store.begin() as connection:
                connection.execute(_WRITE, values[at : at + PIECE])

    # ---------------------------------------------------------------- keeping in order

    async def old(self, after: _Key, before: int, now: int, limit: int) -> list[Known]:
        """Known recipients, and domains, that were last heard of before a time; in the table's order.

        Args:
            after: the last one of the time before; ``("", "")``: from the beginning.

        Raises:
            StoreError: the store cannot be read.
        """

        def read() -> list[Known]:
            values = {"domain": after[0], "local": after[1], "before": before, "now": now, "limit": limit}
            with self._store.read() as connection:
                return [_known(row) for row in connection.execute(_OLD, values)]

        return await asyncio.to_thread(read)

    async def tidy(self, now: int) -> int:
        """Remove what expired, ``TIDIED`` rows at most, and see how much room strangers have left.

        Returns:
            Rows removed.

        Raises:
            StoreError: the store takes nothing now.
        """

        def clean() -> tuple[int, int]:
            removed = 0
            # In pieces: mail that is being taken waits for each.
            while removed < TIDIED:
                with self._store.begin() as connection:
                    gone = connection.execute(_REMOVE, {"now": now, "limit": PIECE}).rowcount
                removed += gone
                if gone < PIECE:
                    break
            with self._store.read() as connection:
                return removed, connection.execute(text(_UNKNOWN)).scalar_one()

        removed, unknown = await asyncio.to_thread(clean)
        self._unknown_is_full = unknown >= MAX_UNKNOWN
        return removed


def forget_domain(store: Store, domain: str) -> int:
    """Remove all that is known of the recipients of a domain. Returns how many rows that were.

    Raises:
        StoreError: the store takes nothing now.
    """
    with store.begin() as connection:
        return connection.execute(
            text("DELETE FROM known_recipients WHERE domain = :domain"), {"domain": domain}
        ).rowcount


def count_known(store: Store, now: int) -> dict[str, int]:
    """How many recipients are known, by domain.

    Raises:
        StoreError: the store cannot be read.
    """
    statement = text(
        "SELECT domain, count(*) FROM known_recipients WHERE known = 1 AND local <> '' AND expires_at > :now"
        " GROUP BY domain"
    )
    with store.read() as connection:
        return {row[0]: row[1] for row in connection.execute(statement, {"now": now})}


def _known(row: Row[Any]) -> Known:
    return Known(row.domain, row.local, bool(row.known), row.reply, Source(row.source), row.at, row.expires_at)
