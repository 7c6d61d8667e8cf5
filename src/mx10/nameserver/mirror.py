"""A copy in SQLite of what is answered from a store in PostgreSQL, kept by the steward of each node: workers read it as
they read a store of SQLite. So no answer waits for the database, and answers go on when it is down.

Only what answers need is copied: zones and their record sets. What changed is read from ``feed``; a small zone is
copied whole, of a large one the record sets that changed since the serial the copy has.
"""

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, func, select

from mx10.config import ZoneSettings
from mx10.dns.wirename import order_key
from mx10.logs import get_logger
from mx10.nameserver.steward import Steward
from mx10.store.connect import Store
from mx10.store.datas import pack
from mx10.store.errors import StoreError
from mx10.store.tables import feed, rrsets, zones
from mx10.store.versions import CURRENT
from mx10.zones.ledger import Ledger, NoSuchZoneError

VERSION: Final = 1
"""Of the tables below; a copy of another version is made anew."""
WHOLE: Final = 2000
"""Record sets of a zone up to which it is copied whole."""
AT_ONCE: Final = 500
"""Zones copied in one transaction."""
RETRY_SECONDS: Final = 2.0
LOOK_SECONDS: Final = 5.0
"""Between two looks whether the copy is still there, where nothing changes."""
_KEPT: Final = 20_000
"""Rows of the copy's own feed that are kept."""
_ROWS: Final = 5000

_TABLES: Final = (
    "CREATE TABLE zones (id INTEGER PRIMARY KEY, apex BLOB NOT NULL UNIQUE, serial INTEGER NOT NULL,"
    " rrsets INTEGER NOT NULL, served INTEGER NOT NULL)",
    "CREATE TABLE rrsets (zone INTEGER NOT NULL, owner BLOB NOT NULL, type INTEGER NOT NULL, ttl INTEGER NOT NULL,"
    " data BLOB NOT NULL, PRIMARY KEY (zone, owner, type)) WITHOUT ROWID",
    "CREATE INDEX rrsets_nsec3 ON rrsets (zone, owner) WHERE type = 50",
    "CREATE TABLE feed (seq INTEGER PRIMARY KEY AUTOINCREMENT, apex BLOB NOT NULL)",
    "CREATE TABLE copied (url TEXT NOT NULL, position INTEGER NOT NULL)",
    "CREATE TABLE alembic_version (version_num TEXT NOT NULL)",
    f"INSERT INTO alembic_version VALUES ('{CURRENT}')",
    f"PRAGMA user_version = {VERSION}",
)
_PUT: Final = "INSERT OR REPLACE INTO rrsets (zone, owner, type, ttl, data) VALUES (?, ?, ?, ?, ?)"

log = get_logger("mirror")


class Mirror:
    """The copy.

    Args:
        path: of its file; made if it is not there, and begun anew if it is a copy of something else.
        store: what is copied.

    Raises:
        sqlite3.Error: the file cannot be written.
        OSError: it cannot be made.
    """

    def __init__(self, path: Path, store: Store, settings: ZoneSettings) -> None:
        self.path = path
        self._store = store
        self._ledger = Ledger(store, settings)
        self._open()

    def _open(self) -> None:
        _make_file(self.path)
        self._identity = _identity(self.path)
        self._copy = sqlite3.connect(self.path, isolation_level=None, timeout=10.0, check_same_thread=False)
        self._copy.execute("PRAGMA journal_mode = WAL")
        self._copy.execute("PRAGMA synchronous = NORMAL")  # it can be made again
        if not self._is_current():
            self._begin_anew()

    def close(self) -> None:
        self._copy.close()

    @property
    def position(self) -> int | None:
        """How far the store's feed was followed; None where nothing was copied yet."""
        row = self._copy.execute("SELECT position FROM copied WHERE url = ?", (self._store.place,)).fetchone()
        return None if row is None else int(row[0])

    def _is_current(self) -> bool:
        if self._copy.execute("PRAGMA user_version").fetchone()[0] != VERSION:
            return False
        row = self._copy.execute("SELECT version_num FROM alembic_version").fetchone()
        return row is not None and row[0] == CURRENT

    def _begin_anew(self) -> None:
        tables = [row[0] for row in self._copy.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        self._copy.execute("BEGIN IMMEDIATE")
        for name in tables:
            if not name.startswith("sqlite_"):
                self._copy.execute(f'DROP TABLE "{name}"')
        for statement in _TABLES:
            self._copy.execute(statement)
        self._copy.execute("COMMIT")

    # ---------------------------------------------------------------- all

    def copy_all(self) -> int:
        """Copy everything, in one transaction; the number of zones.

        Raises:
            StoreError: the store cannot be read; the copy stays as it was.
        """
        self._copy.execute("BEGIN IMMEDIATE")
        try:
            with self._store.read() as connection:
                position = int(connection.execute(select(func.max(feed.c.seq))).scalar() or 0)
                for table in ("rrsets", "zones", "copied"):
                    self._copy.execute(f"DELETE FROM {table}")
                columns = zones.c.id, zones.c.apex, zones.c.serial, zones.c.rrsets, zones.c.served
                count = self._insert(connection, "zones", 5, select(*columns))
                sets = rrsets.c.zone, rrsets.c.owner, rrsets.c.type, rrsets.c.ttl, rrsets.c.data
                self._insert(connection, "rrsets", 5, select(*sets))
            self._copy.execute("INSERT INTO copied VALUES (?, ?)", (self._store.place, position))
            # A gap in the feed: whoever reads it looks at everything anew.
            last = self._copy.execute("SELECT coalesce(max(seq), 0) FROM feed").fetchone()[0]
            self._copy.execute("DELETE FROM feed")
            self._copy.execute("INSERT INTO feed (seq, apex) VALUES (?, ?)", (last + 2, b"\0"))
            self._copy.execute("COMMIT")
        except BaseException:
            self._copy.execute("ROLLBACK")
            raise
        return count

    def _insert(self, connection: Connection, table: str, columns: int, query: object) -> int:
        marks = ", ".join("?" * columns)
        count = 0
        found = connection.execution_options(yield_per=_ROWS).execute(query)  # type: ignore[call-overload]  # a select
        for part in found.partitions(_ROWS):
            self._copy.executemany(f"INSERT INTO {table} VALUES ({marks})", [tuple(row) for row in part])
            count += len(part)
        return count

    # ---------------------------------------------------------------- what changed

    def catch_up(self) -> int:
        """Copy what changed since; the number of zones. Where the file was deleted, one is made anew.

        Raises:
            StoreError: the store cannot be read.
            sqlite3.Error: the file cannot be written.
            OSError: it cannot be made.
        """
        if _identity(self.path) != self._identity:
            log.warning("the mirror was deleted or replaced; it is opened anew", mirror=str(self.path))
            self._copy.close()
            self._open()
        position = self.position
        if position is None:
            return self.copy_all()
        count = 0
        while True:
            found = self._ledger.feed_since(position)
            if found is None:
                return self.copy_all()
            position, apexes = found
            if not apexes:
                return count
            for at in range(0, len(apexes), AT_ONCE):
                part = apexes[at : at + AT_ONCE]
                self._copy_some(part, position if at + AT_ONCE >= len(apexes) else None)
                count += len(part)

    def _copy_some(self, apexes: Sequence[bytes], position: int | None) -> None:
        self._copy.execute("BEGIN IMMEDIATE")
        try:
            for apex in apexes:
                self._copy_zone(apex)
            self._copy.executemany("INSERT INTO feed (apex) VALUES (?)", [(apex,) for apex in apexes])
            self._copy.execute("DELETE FROM feed WHERE seq <= (SELECT max(seq) FROM feed) - ?", (_KEPT,))
            if position is not None:
                self._copy.execute("UPDATE copied SET position = ?", (position,))
            self._copy.execute("COMMIT")
        except BaseException:
            self._copy.execute("ROLLBACK")
            raise

    def _copy_zone(self, apex: bytes) -> None:
        ours = self._copy.execute("SELECT id, serial, rrsets FROM zones WHERE apex = ?", (apex,)).fetchone()
        if ours is not None and ours[2] > WHOLE and self._copy_changes(apex, *ours[:2]):
            return
        if ours is not None:
            self._copy.execute("DELETE FROM rrsets WHERE zone = ?", (ours[0],))
            self._copy.execute("DELETE FROM zones WHERE id = ?", (ours[0],))
        with self._store.read() as connection:
            columns = zones.c.id, zones.c.apex, zones.c.serial, zones.c.rrsets, zones.c.served
            row = connection.execute(select(*columns).where(zones.c.apex == apex)).first()
            if row is None:
                return
            self._copy.execute("INSERT INTO zones VALUES (?, ?, ?, ?, ?)", tuple(row))
            sets = rrsets.c.zone, rrsets.c.owner, rrsets.c.type, rrsets.c.ttl, rrsets.c.data
            self._insert(connection, "rrsets", 5, select(*sets).where(rrsets.c.zone == row.id))

    def _copy_changes(self, apex: bytes, number: int, serial: int) -> bool:
        """Bring a large zone on by its history; whether that was possible."""
        try:
            steps = self._ledger.since(apex, serial)
            info = self._ledger.info(apex)
        except NoSuchZoneError:
            return False
        # Another change came between: it will be in the feed; a zone that began anew is another one.
        reached = steps[-1].serial_after if steps else serial
        if steps is None or info.id != number or info.serial != reached:
            return False
        for step in steps:
            for change in step.changes or ():
                key = number, order_key(change.owner, apex), change.type
                if change.after is None:
                    self._copy.execute("DELETE FROM rrsets WHERE zone = ? AND owner = ? AND type = ?", key)
                else:
                    self._copy.execute(_PUT, (*key, change.after[0], pack(change.after[1])))
        values = info.serial, info.rrsets, int(info.served), number
        self._copy.execute("UPDATE zones SET serial = ?, rrsets = ?, served = ? WHERE id = ?", values)
        return True


class MirrorKeeper:
    """Keeps the copy true, for as long as ``run`` runs; in a thread of its own.

    Args:
        make: makes the mirror, in that thread.
    """

    def __init__(self, make: Callable[[], Mirror]) -> None:
        self._make = make
        self._thread = ThreadPoolExecutor(1, "mirror")
        self._woken = asyncio.Event()

    async def changed(self, _apexes: Sequence[bytes]) -> None:
        """Told of changes in the store."""
        self._woken.set()

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        mirror = await loop.run_in_executor(self._thread, self._make)
        down = False
        while True:
            self._woken.clear()
            began = time.monotonic()
            try:
                count = await loop.run_in_executor(self._thread, mirror.catch_up)
            except (StoreError, sqlite3.Error, OSError) as error:
                if not down:
                    log.error("the mirror stays as it is; answers go on from it", cause=str(error))
                down = True
                await asyncio.sleep(RETRY_SECONDS)
                continue
            if down:
                log.info("the mirror is kept again")
            down = False
            if count >= AT_ONCE:
                log.info("mirrored", zones=count, seconds=round(time.monotonic() - began, 3))
            # Now and then also without a change: somebody may have deleted the file.
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._woken.wait()


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and inode of a file; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _make_file(path: Path) -> None:
    """Make the file, owned by whom its folder belongs to: root makes it for the user whose rights the steward has."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o640)
    try:
        folder = path.parent.stat()
        if os.geteuid() == 0 and (folder.st_uid, folder.st_gid) != (0, 0):
            os.fchown(descriptor, folder.st_uid, folder.st_gid)
    finally:
        os.close(descriptor)


def plug_in(steward: Steward, path: Path) -> None:
    """Have the steward keep a mirror at a path."""
    store = steward.ledger.store
    keeper = MirrorKeeper(lambda: Mirror(path, store, steward.config.zones))
    steward.services.append(keeper)
    steward.on_feed(keeper.changed)
