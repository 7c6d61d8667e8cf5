"""The file of the store as a worker reads it: SQLite, read only, through the one snapshot that all answers come from
until something was committed.

Two connections take turns. One holds the snapshot; the other is asked, fifty times a second, whether anything was
committed since (``PRAGMA data_version``: it looks at a number in shared memory). If so it opens the next snapshot,
reads in ``feed`` which zones changed, and takes over. Nothing here waits for a writer. Once a second they change places
in any case: a snapshot that is held on and on would keep SQLite from ever beginning its write-ahead log anew.

Whatever happens to the file, nothing here ends a worker. Where it is missing, damaged, or of a newer version, that is
logged once, the snapshot there is stays, and the file is tried again every second. No SQLAlchemy: a worker needs a few
statements, and each answer counts.
"""

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from mx10.dns import rrtypes as rr
from mx10.logs import get_logger
from mx10.nameserver.table import NotServedError
from mx10.store.versions import CURRENT

LOOK_SECONDS: Final = 0.02
"""Between two looks whether anything was committed."""
RENEW_SECONDS: Final = 1.0
"""Between two snapshots where nothing was committed, two looks whether the file was replaced, and two trials after a
failure."""
MOST_CHANGED: Final = 5000
"""Zones that change at once up to which their answers are dropped one by one; beyond it all are."""
_BUSY_SECONDS: Final = 0.05
"""How long reading may wait where the file is locked (while it is recovered after a crash): questions wait too."""
_CACHE_KIB: Final = 16 << 10

_VERSION: Final = "SELECT version_num FROM alembic_version"
_ZONE: Final = "SELECT id, rrsets, served FROM zones WHERE apex = ?"
_SETS: Final = "SELECT owner, type, ttl, data FROM rrsets WHERE zone = ?"
_NODE: Final = "SELECT type, ttl, data FROM rrsets WHERE zone = ? AND owner = ?"
_BELOW: Final = "SELECT 1 FROM rrsets WHERE zone = ? AND owner > ? AND owner < ? LIMIT 1"
# The type stands in the statement itself: only so the index on NSEC3 records is used.
_BEFORE: Final = {
    rrtype: (
        f"SELECT owner FROM rrsets WHERE zone = ? AND owner <= ? AND type = {rrtype} ORDER BY owner DESC LIMIT 1",
        f"SELECT owner FROM rrsets WHERE zone = ? AND type = {rrtype} ORDER BY owner DESC LIMIT 1",
    )
    for rrtype in (int(rr.NSEC), int(rr.NSEC3))
}
# Asked for together, SQLite would read the whole feed for them.
_POSITION: Final = "SELECT (SELECT min(seq) FROM feed), (SELECT max(seq) FROM feed)"
_FEED: Final = "SELECT DISTINCT apex FROM feed WHERE seq > ? LIMIT ?"

log = get_logger("nameserver")


class ZoneRow(NamedTuple):
    """A row of ``zones``: its number, how many record sets it has, whether it is answered."""

    id: int
    rrsets: int
    served: int


class Moved(NamedTuple):
    """What changed from one snapshot to the next: the zones (None: too many, or nobody knows), and which of them were
    not there before."""

    apexes: tuple[bytes, ...] | None
    new: frozenset[bytes]


class _UnfitError(Exception):
    """The file is no store of this version: why, and what to do."""


class StoreView:
    """The store in one snapshot.

    Args:
        path: of the file; it need not be there yet.
        clock: seconds that only go on.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._snapshot: sqlite3.Connection | None = None
        self._other: sqlite3.Connection | None = None
        self._versions: dict[int, int] = {}
        self._identity: tuple[int, int] | None = None
        """Device and inode of the file that is open. While it is, no other file can have the same."""
        self._position = 0
        self._renewed = float("-inf")
        self._complaint = ""
        self.move()

    def close(self) -> None:
        """Close the file."""
        for connection in (self._snapshot, self._other):
            if connection is not None:
                connection.close()
        self._snapshot = self._other = None

    # ---------------------------------------------------------------- moving on

    def move(self) -> Moved | None:
        """Go on to what is committed now. Where that cannot be read the snapshot stays, and it is logged, once.

        Returns:
            What changed; None where nothing did that changes any answer.
        """
        now = self._clock()
        turn = now - self._renewed >= RENEW_SECONDS
        try:
            if turn:
                self._renewed = now
                found = self._path.stat()
                if (found.st_dev, found.st_ino) != self._identity:
                    self._reopen((found.st_dev, found.st_ino))
                    self._complaint = ""
                    return Moved(None, frozenset())
            if self._other is None or not (turn or (not self._complaint and self._changed(self._other))):
                return None
            moved = self._go_on(self._other)
        except FileNotFoundError:
            self._complain("the file is not there (yet)")
        except (sqlite3.Error, OSError, _UnfitError) as error:
            self._complain(str(error))
        else:
            self._complaint = ""
            return moved
        return None

    def _reopen(self, identity: tuple[int, int]) -> None:
        snapshot = _open(self._path)
        other = None
        try:
            other = _open(self._path)
            snapshot.execute("BEGIN")
            position = _check(snapshot)[1]
            self._changed(other)
        except BaseException:
            for connection in (snapshot, other):
                if connection is not None:
                    connection.close()
            raise
        self.close()
        self._snapshot, self._other, self._identity, self._position = snapshot, other, identity, position

    def _changed(self, connection: sqlite3.Connection) -> bool:
        """Whether anything was committed since this was last asked on this connection."""
        version: int = connection.execute("PRAGMA data_version").fetchone()[0]
        same = self._versions.get(id(connection)) == version
        self._versions[id(connection)] = version
        return not same

    def _go_on(self, other: sqlite3.Connection) -> Moved | None:
        idle = other
        other.execute("BEGIN")
        try:
            first, last = _check(other)
            moved = None
            if last != self._position:
                known = first - 1 <= self._position <= last
                apexes = [row[0] for row in other.execute(_FEED, (self._position, MOST_CHANGED + 1))] if known else []
                if not known or len(apexes) > MOST_CHANGED:
                    moved = Moved(None, frozenset())
                else:
                    # Those that the snapshot from before does not have.
                    moved = Moved(tuple(apexes), frozenset(apex for apex in apexes if self.row(apex) is None))
            assert self._snapshot is not None
            idle, self._snapshot, self._other, self._position = self._snapshot, other, self._snapshot, last
            return moved
        finally:
            # The one that is not needed now must not hold back the writers' log.
            idle.execute("ROLLBACK")

    def _complain(self, cause: str) -> None:
        if cause != self._complaint:
            self._complaint = cause
            log.error("the store cannot be read; answers stay as they were", store=str(self._path), cause=cause)

    # ---------------------------------------------------------------- reading

    def damaged(self, apex: bytes, error: Exception) -> NotServedError:
        """What is raised for a zone whose rows make no sense."""
        self._complain(f"the rows of zone {apex!r} are damaged ({type(error).__name__}: {error})")
        return NotServedError()

    def _read(self, statement: str, *arguments: object) -> list[Any]:
        if self._snapshot is None:
            raise NotServedError
        try:
            return self._snapshot.execute(statement, arguments).fetchall()
        except sqlite3.Error as error:
            self._complain(str(error))
            raise NotServedError from error

    def row(self, apex: bytes) -> ZoneRow | None:
        """What is said of a zone; None where it is not there.

        Raises:
            NotServedError: the store cannot be read; as of all that follow.
        """
        found = self._read(_ZONE, apex)
        return ZoneRow(*found[0]) if found else None

    def sets(self, zone: int) -> list[tuple[bytes, int, int, bytes]]:
        """Key, type, TTL and data of all record sets of a zone, in canonical order."""
        return self._read(_SETS, zone)

    def node(self, zone: int, key: bytes) -> list[tuple[int, int, bytes]]:
        """Type, TTL and data of the record sets of a name."""
        return self._read(_NODE, zone, key)

    def has_below(self, zone: int, key: bytes) -> bool:
        """Whether there are names below the one with this key."""
        # A key ends in a zero, and those of the names below begin with it.
        return not key or bool(self._read(_BELOW, zone, key, key[:-1] + b"\1"))

    def at_or_before(self, zone: int, key: bytes, rrtype: int) -> bytes | None:
        """The key of the last owner of such a set at or before a key; else of the last of all."""
        before, last = _BEFORE[rrtype]
        found = self._read(before, zone, key) or self._read(last, zone)
        return bytes(found[0][0]) if found else None


def _check(connection: sqlite3.Connection) -> tuple[int, int]:
    """The first and last number in the feed, in a store of our version.

    Raises:
        _UnfitError: it is of another version.
    """
    found = connection.execute(_VERSION).fetchone()
    version = found[0] if found else None
    if version != CURRENT:
        raise _UnfitError(
            f"it has version {version}, and this program reads {CURRENT};"
            " start the mx10 that belongs to it, or run `mx10 store upgrade`"
        )
    first, last = connection.execute(_POSITION).fetchone()
    return first or 0, last or 0


def _open(path: Path) -> sqlite3.Connection:
    url = f"file:{quote(str(path))}?mode="
    connection = sqlite3.connect(url + "ro", uri=True, isolation_level=None, timeout=_BUSY_SECONDS)
    try:
        if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
            # A backup put in its place. Without a write-ahead log the snapshots held here would keep all from writing.
            writer = sqlite3.connect(url + "rw", uri=True, isolation_level=None, timeout=_BUSY_SECONDS)
            try:
                writer.execute("PRAGMA journal_mode = WAL")
            finally:
                writer.close()
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    except BaseException:
        connection.close()
        raise
    return connection
