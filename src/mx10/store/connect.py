"""Connections to the store, for SQLite and PostgreSQL alike; the only module that knows SQLAlchemy's engines.

A commit is durable when it returns (SQLite: WAL with synchronous=FULL; PostgreSQL: synchronous_commit=on), and writers
come one after the other on both: SQLite has one writer by nature, on PostgreSQL they take one lock. So what one of them
reads is what it changes, and numbers given by the database (of the feed, of change sets) are in the order of commits.

SQLAlchemy was chosen for one set of statements on two databases; psycopg 3 beneath it for PostgreSQL; the sqlite3 of
Python's library for SQLite.
"""

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from sqlalchemy import URL, Connection, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from mx10.store import versions
from mx10.store.errors import (
    NoStoreError,
    NotAStoreError,
    StoreBusyError,
    StoreError,
    StoreReadOnlyError,
    StoreUnreachableError,
    store_error,
)

BUSY_SECONDS: Final = 10
"""How long to wait for another writer."""
CONNECT_SECONDS: Final = 5
"""How long to wait for PostgreSQL to answer when connecting."""
WRITER_LOCK: Final = 0x6D783130
"""The advisory lock of writers on PostgreSQL ("mx10")."""
APPLICATION_ID: Final = 0x6D783130
"""In the head of a SQLite file, so that file(1) and others can tell whose it is."""
_WAL_BYTES: Final = 64 << 20
"""What SQLite leaves of its write-ahead log after a large transaction."""
_FILE_MODE: Final = 0o640
_FOLDER_MODE: Final = 0o750
_DRIVERS: Final = {"sqlite": "sqlite+pysqlite", "postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}
_WRITE: Final = "mx10_write"


def default_url(environ: Mapping[str, str], euid: int) -> str:
    """Where the store is when nobody said: a SQLite file in the folder for state.

    Args:
        environ: of the process; systemd names the folder of a service in STATE_DIRECTORY.
        euid: the user's number; 0 is root.
    """
    if folder := environ.get("STATE_DIRECTORY", "").partition(":")[0]:
        return f"sqlite:///{folder}/mx10.db"
    if euid == 0:
        return "sqlite:////var/lib/mx10/mx10.db"
    state = environ.get("XDG_STATE_HOME") or f"{environ.get('HOME', '')}/.local/state"
    return f"sqlite:///{state}/mx10/mx10.db"


def open_store(
    url: str,
    *,
    create: bool = False,
    check: bool = True,
    wait_seconds: float = BUSY_SECONDS,
    progress: Callable[[str], None] = lambda _: None,
) -> "Store":
    """The store at a URL.

    Args:
        url: ``sqlite:///path`` or ``postgresql://…``.
        create: make it where there is none or where it is empty (a database of PostgreSQL itself has to be there).
        check: see that it has the version of this program; not wanted before ``upgrade``.
        wait_seconds: how long to wait for another writer.
        progress: told, in words, of what is done to set it up.

    Raises:
        NoStoreError: there is none, or it is empty.
        OlderStoreError: it has to be upgraded.
        NewerStoreError: this program is too old for it.
        NotAStoreError: something else is there.
        StoreError: the URL is wrong, or it cannot be reached.
    """
    store = Store(_parsed(url), wait_seconds)
    try:
        if create and store.path:
            _make_file(store.path)
        elif store.path:
            _find_file(store.path)
        if create:
            with store.read() as connection, _placed(store.place):
                empty = versions.version(connection) is None
            if empty:
                from mx10.store.upgrade import upgrade

                upgrade(store, progress)
        if check:
            with store.read() as connection, _placed(store.place):
                if wrong := versions.wrong_version(versions.version(connection)):
                    raise wrong
            store.must_be_current = True
    except BaseException:
        store.close()
        raise
    return store


class Store:
    """A store; use ``open_store``. Threads may share it; after a fork the child calls ``dispose_after_fork``."""

    def __init__(self, url: URL, wait_seconds: float) -> None:
        self.is_sqlite = url.drivername.startswith("sqlite")
        self.url = url.set(drivername=url.get_backend_name()).render_as_string(hide_password=False)
        self.path = Path(url.database or "").absolute() if self.is_sqlite else None
        """The file of a SQLite store."""
        self.place = (
            str(self.path)
            if self.path
            else url.set(drivername="postgresql", query={}).render_as_string(hide_password=True)
        )
        """Which store this is, for messages: without a password."""
        self._wait_ms = int(wait_seconds * 1000)
        self.must_be_current = False
        """Whether a file that takes the place of this one has to be a store of our version, too."""
        self._identity: tuple[int, int] | None = None
        """Device and inode of the file that connections have open."""
        self._looking = threading.Lock()
        if self.is_sqlite:
            self._engine = create_engine(url, connect_args={"timeout": wait_seconds}, pool_timeout=wait_seconds)
            event.listen(self._engine, "connect", _prepare_sqlite)
            event.listen(self._engine, "begin", _begin_sqlite)
        else:
            arguments = {"connect_timeout": CONNECT_SECONDS, "application_name": "mx10"}
            arguments = {name: value for name, value in arguments.items() if name not in url.query}
            self._engine = create_engine(url, connect_args=arguments, pool_pre_ping=True, pool_timeout=wait_seconds)

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """A transaction that writes: committed at the end, undone when an exception leaves it. No other is open at the
        same time.

        Raises:
            StoreBusyError: another one did not end in time.
            StoreFullError: no room is left.
            StoreError: whatever else the database says.
        """
        self._look_at_file()
        with self._connected() as raw:
            connection = raw.execution_options(**{_WRITE: True})
            with connection.begin():
                if not self.is_sqlite:
                    connection.execute(_LOCK, {"wait": f"{self._wait_ms}ms"})
                yield connection
        if self.path is not None and _identity(self.path) != self._identity:
            raise StoreUnreachableError(
                f"the store {self.place}: the file was replaced while something was written to it, which is lost; do it"
                " again"
            )

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent snapshot to read from; writers go on meanwhile."""
        options: dict[str, Any] = {}
        if not self.is_sqlite:
            options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        self._look_at_file()
        with self._connected() as raw:
            connection = raw.execution_options(**options)
            with connection.begin():
                yield connection

    def _look_at_file(self) -> None:
        """See that connections have the file open that is there. Those to one that was replaced or deleted would go on
        as if nothing had happened, and what is written there is lost.

        Raises:
            StoreError: it is gone, or what took its place cannot be used.
        """
        if self.path is None:
            return
        with self._looking:
            found = _identity(self.path)
            if found == self._identity and found is not None:
                return
            self._identity = None
            self._engine.dispose()
            if found is None:
                raise StoreUnreachableError(f"the store {self.place}: the file is gone; put back a backup")
            if self.must_be_current:
                with self._translated(), self._engine.connect() as connection, connection.begin(), _placed(self.place):
                    if wrong := versions.wrong_version(versions.version(connection)):
                        raise wrong
            self._identity = found

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        pool = self._engine.pool
        try:
            with self._translated(), self._engine.connect() as raw:
                yield raw
        finally:
            if pool is not self._engine.pool:
                # It was in use when the others were closed, and has gone back among them.
                pool.dispose()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise store_error(error.orig, self.place) from error
        except PoolTimeoutError as error:
            raise StoreBusyError(f"the store {self.place}: all connections are in use; try again") from error

    def close(self) -> None:
        """Close all connections; those in use, when they no longer are."""
        self._engine.dispose()

    def dispose_after_fork(self) -> None:
        """In a child process: forget the parent's connections without closing them, which are still the parent's."""
        self._engine.dispose(close=False)


_LOCK: Final = text(
    f"SELECT set_config('lock_timeout', :wait, true), set_config('synchronous_commit', 'on', true),"
    f" pg_advisory_xact_lock({WRITER_LOCK})"
)


def _parsed(url: str) -> URL:
    forms = "write sqlite:///path/to/file or postgresql://user@host/database"
    if any(ord(char) < 32 for char in unquote(url)):
        raise StoreError(f"store.url has a control character; {forms}")
    try:
        parsed = make_url(url)
        driver = _DRIVERS.get(parsed.drivername)
    except (ArgumentError, ValueError):
        # The URL may hold a password: it is not repeated.
        raise StoreError(f"store.url cannot be read; {forms}") from None
    if driver is None:
        raise StoreError(f"store.url begins with {parsed.drivername!r}; {forms}")
    if driver.startswith("sqlite"):
        if parsed.database in (None, "", ":memory:") or parsed.host or parsed.query:
            raise StoreError(f"store.url names no file; {forms} (an absolute path begins with a fourth slash)")
        # Opened here and not in a path like file:…, so that every character of a path means itself.
        return parsed.set(drivername=driver, database=str(Path(str(parsed.database)).absolute()))
    if not parsed.database:
        raise StoreError(f"store.url names no database; {forms}")
    return parsed.set(drivername=driver)


@contextmanager
def _placed(place: str) -> Iterator[None]:
    """Add to an error about a version which store it is about."""
    try:
        yield
    except StoreError as error:
        if place in str(error):
            raise
        raise type(error)(f"the store {place}: {error}") from None


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and inode of a file; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # we begin transactions ourselves
    if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
        # Out of a backup: VACUUM INTO leaves the mode behind. Who may not change it, or comes while somebody writes,
        # can do without: it is as safe, but writers and readers wait for each other.
        with suppress(sqlite3.OperationalError):
            connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")
    connection.execute("PRAGMA cache_size = -65536")  # KiB


def _begin_sqlite(connection: Connection) -> None:
    write = connection.get_execution_options().get(_WRITE)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _find_file(path: Path) -> None:
    """See that there is a file.

    Raises:
        NoStoreError: no.
        StoreError: nobody lets us look.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise NoStoreError(
            f"there is no store {path} yet; `mx10 store upgrade` or `mx10 zone create` makes it"
        ) from None
    except PermissionError:
        raise StoreReadOnlyError(
            f"the store {path} cannot be opened: permission denied; run this as the user it belongs to"
        ) from None
    except OSError as error:
        raise StoreUnreachableError(f"the store {path} cannot be opened: {error.strerror}") from None


def _make_file(path: Path) -> None:
    """Make an empty database, unless the file is there: in WAL mode, and owned by whom its folder belongs to, so that
    root can set up the store of a service."""
    try:
        if not path.parent.exists():
            path.parent.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, _FILE_MODE)
    except IsADirectoryError:
        raise NotAStoreError(f"the store {path} is a folder; name a file in store.url") from None
    except (FileExistsError, NotADirectoryError) as error:
        raise StoreUnreachableError(
            f"the store {path} cannot be made: {error.filename} is no folder; move it"
        ) from None
    except PermissionError:
        raise StoreReadOnlyError(
            f"the store {path} cannot be made or opened: permission denied; run this as the user it belongs to,"
            " or name another place in store.url"
        ) from None
    except OSError as error:
        raise StoreUnreachableError(
            f"the store {path} cannot be made: {error.strerror}; name another place in store.url"
        ) from None
    try:
        folder = path.parent.stat()
        if os.fstat(descriptor).st_size:
            return
        if os.geteuid() == 0 and (folder.st_uid, folder.st_gid) != (0, 0):
            os.fchown(descriptor, folder.st_uid, folder.st_gid)
    finally:
        os.close(descriptor)
    try:
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
        try:
            # Both stay with the file. Whoever makes it at the same time writes the same.
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise store_error(error, str(path)) from error
