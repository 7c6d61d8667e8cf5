"""Which version a store has, read without Alembic: that takes longer to import than a whole command of ours runs."""

from typing import TYPE_CHECKING, Final

from mx10.store.errors import NewerStoreError, NoStoreError, NotAStoreError, OlderStoreError, StoreError

if TYPE_CHECKING:
    from sqlalchemy import Connection

VERSIONS: Final = ("0001", "0002", "0003")
"""Versions this program knows, oldest first; the files in ``migrations/versions`` (a test holds them equal)."""

CURRENT: Final = VERSIONS[-1]

_TABLES: Final = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
    "postgresql": "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()",
}


def version(connection: "Connection") -> str | None:
    """The version of a store; None where the database is empty.

    Raises:
        NotAStoreError: the tables are some other program's.
    """
    from sqlalchemy import text  # not at the top: workers want to know the version alone

    tables = set(connection.execute(text(_TABLES[connection.dialect.name])).scalars())
    if not tables:
        return None
    found = None
    if {"alembic_version", "change_sets"} <= tables:
        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if not isinstance(found, str):
        raise NotAStoreError("its tables are those of another program; name another file or database in store.url")
    return found


def wrong_version(found: str | None) -> StoreError | None:
    """Why a store of this version cannot be used; None where it can."""
    if found == CURRENT:
        return None
    if found is None:
        return NoStoreError("it is empty; `mx10 store upgrade` or `mx10 zone create` sets it up")
    if found in VERSIONS:
        return OlderStoreError(
            f"it has version {found} and this program needs {CURRENT};"
            " make a backup, then run `mx10 store upgrade` (docs/store.md)"
        )
    return NewerStoreError(
        f"it has version {found}, which is newer than {CURRENT}, the newest this program knows;"
        " use the mx10 that made it, or a newer one; nothing was changed"
    )
