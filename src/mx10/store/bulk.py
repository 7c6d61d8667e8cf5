"""Many rows at once, by the fastest way each database has: statements of the driver itself, or COPY."""

from collections.abc import Sequence
from itertools import chain
from typing import Final

import psycopg
from sqlalchemy import Connection, Table, text

_ROWS: Final = 40


def insert_rows(
    connection: Connection, table: Table, columns: Sequence[str], rows: Sequence[tuple[object, ...]]
) -> None:
    """Insert rows that are not there yet.

    Args:
        columns: which values the rows have, in their order.
    """
    if not rows:
        return
    names = ", ".join(columns)
    if connection.dialect.name == "sqlite":
        insert = f"INSERT INTO {table.name} ({names}) VALUES "
        places = f"({', '.join('?' * len(columns))})"
        # Several rows a statement: Python's part of the work is by the statement.
        whole = len(rows) // _ROWS * _ROWS
        if whole:
            together = [tuple(chain.from_iterable(rows[at : at + _ROWS])) for at in range(0, whole, _ROWS)]
            connection.exec_driver_sql(insert + ", ".join([places] * _ROWS), together)
        if whole < len(rows):
            connection.exec_driver_sql(insert + places, list(rows[whole:]))
        return
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    with driver.cursor() as cursor, cursor.copy(f"COPY {table.name} ({names}) FROM STDIN".encode()) as copy:
        for row in rows:
            copy.write_row(row)


def reserve_ids(connection: Connection, table: Table, count: int) -> int:
    """The first of so many numbers for rows of a table, that nobody else gets. In a transaction that writes."""
    if connection.dialect.name == "sqlite":
        last = connection.execute(text("SELECT seq FROM sqlite_sequence WHERE name = :name"), {"name": table.name})
        return int(last.scalar() or 0) + 1
    sequence = f"{table.name}_id_seq"
    first = int(connection.execute(text(f"SELECT nextval('{sequence}')")).scalar_one())
    connection.execute(text(f"SELECT setval('{sequence}', {first + count - 1})"))
    return first
