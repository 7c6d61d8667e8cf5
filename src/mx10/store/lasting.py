"""A connection that one writer keeps, with the driver's own statements: where thousands of rows a second are written in
small transactions, what SQLAlchemy does around each costs more than the database does.

What is committed is durable, as with ``Store.begin``. Not for threads to share.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from typing import Any, Final, Protocol

import psycopg

from mx10.store.connect import BUSY_SECONDS, CONNECT_SECONDS, Store, _identity, _prepare_sqlite
from mx10.store.errors import StoreUnreachableError, store_error

_TOGETHER: Final = 32
"""Rows of one statement, at most. Several, because Python's lock is let go and taken back with each statement."""
_PREPARED: Final = 512
"""Statements that stay prepared: of some tables, one for each number of rows."""

Row = Sequence[object]


class Lasting(Protocol):
    """One of the two."""

    def begin(self) -> None:
        """Begin a transaction; connects where there is no connection."""

    def insert(self, table: str, columns: str, rows: Sequence[Row]) -> None:
        """Rows that are not there yet. ``columns``: their names with commas between."""

    def each(self, statement: str, rows: Sequence[Row]) -> None:
        """A statement for each row; ``?`` stands for its values."""

    def among(self, statement: str, values: Sequence[object]) -> None:
        """A statement that ends in ``IN``, for all of some values."""

    def commit(self) -> None:
        """Make it last."""

    def undo(self) -> None:
        """End the transaction as if it had not been. Never raises."""

    def close(self) -> None:
        """Never raises."""

    @contextmanager
    def translated(self) -> Iterator[None]:
        """What drivers raise within becomes a ``StoreError``."""
        yield


def lasting(store: Store) -> Lasting:
    """A connection of one's own to a store."""
    return _Sqlite(store) if store.path is not None else _Postgres(store)


class _Sqlite:
    def __init__(self, store: Store) -> None:
        assert store.path is not None
        self._path, self._place = store.path, store.place
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._open: sqlite3.Connection

    def begin(self) -> None:
        found = _identity(self._path)
        if self._connection is None or found != self._file:
            self.close()
            if found is None:
                raise StoreUnreachableError(f"the store {self._place}: the file is gone; put back a backup")
            # Opened for reading and writing, never made: an empty file in the place of a lost one helps nobody.
            uri = self._path.as_uri() + "?mode=rw"
            made = sqlite3.connect(
                uri, uri=True, timeout=BUSY_SECONDS, check_same_thread=False, cached_statements=_PREPARED
            )
            _prepare_sqlite(made, None)
            self._connection, self._file = made, found
        self._open = self._connection
        self._open.execute("BEGIN IMMEDIATE")

    def insert(self, table: str, columns: str, rows: Sequence[Row]) -> None:
        places = f"({', '.join('?' * (columns.count(',') + 1))})"
        for some in _pieces(rows):
            self._open.execute(
                f"INSERT INTO {table} ({columns}) VALUES {', '.join([places] * len(some))}",
                tuple(chain.from_iterable(some)),
            )

    def each(self, statement: str, rows: Sequence[Row]) -> None:
        self._open.executemany(statement, rows)

    def among(self, statement: str, values: Sequence[object]) -> None:
        for some in _pieces(values):
            self._open.execute(f"{statement} ({', '.join('?' * len(some))})", some)

    def commit(self) -> None:
        self._open.execute("COMMIT")
        if _identity(self._path) != self._file:
            raise StoreUnreachableError(
                f"the store {self._place}: the file was replaced while something was written to it, which is lost"
            )

    def undo(self) -> None:
        if self._connection is not None and self._connection.in_transaction:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")

    def close(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    @contextmanager
    def translated(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise store_error(error, self._place) from error


class _Postgres:
    def __init__(self, store: Store) -> None:
        self._url, self._place = store.url, store.place
        self._connection: psycopg.Connection[Any] | None = None
        self._cursor: psycopg.Cursor[Any]

    def begin(self) -> None:
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(
                self._url, connect_timeout=CONNECT_SECONDS, application_name="mx10 spool"
            )
        self._cursor = self._connection.cursor()
        self._cursor.execute("SET LOCAL synchronous_commit = on")

    def insert(self, table: str, columns: str, rows: Sequence[Row]) -> None:
        places = ", ".join(["%s"] * (columns.count(",") + 1))
        if rows:
            self._cursor.executemany(f"INSERT INTO {table} ({columns}) VALUES ({places})".encode(), rows)

    def each(self, statement: str, rows: Sequence[Row]) -> None:
        if rows:
            self._cursor.executemany(statement.replace("?", "%s").encode(), rows)

    def among(self, statement: str, values: Sequence[object]) -> None:
        if values:
            self._cursor.execute(f"{statement.removesuffix('IN')} = ANY(%s)".encode(), (list(values),))

    def commit(self) -> None:
        assert self._connection is not None
        self._connection.commit()

    def undo(self) -> None:
        if self._connection is not None:
            try:
                self._connection.rollback()
            except psycopg.Error:
                self.close()

    def close(self) -> None:
        if self._connection is not None:
            with suppress(psycopg.Error):
                self._connection.close()
            self._connection = None

    @contextmanager
    def translated(self) -> Iterator[None]:
        try:
            yield
        except (psycopg.Error, OSError) as error:
            raise store_error(error, self._place) from error


def _pieces(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for at in range(0, len(rows), _TOGETHER):
        yield rows[at : at + _TOGETHER]
