"""Bringing a store to the version of this program: Alembic, run from inside, without an alembic.ini."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from mx10.store import versions
from mx10.store.connect import Store
from mx10.store.errors import NewerStoreError, StoreError

_MIGRATIONS: Final = Path(__file__).parent / "migrations"


def upgrade(store: Store, progress: Callable[[str], None] = lambda _: None) -> bool:
    """Bring a store to the current version, or set up an empty one: in one transaction, wholly or not at all.

    Args:
        store: opened with ``check=False``.
        progress: told of each step, in words.

    Returns:
        Whether there was anything to do.

    Raises:
        NewerStoreError: it is of a newer version.
        NotAStoreError: the tables are some other program's.
        StoreError: the database refused.
    """
    with store.begin() as connection:
        # Read in the transaction that changes it: of two programs that start at once, the second finds all done.
        try:
            found = versions.version(connection)
            wrong = versions.wrong_version(found)
        except StoreError as error:
            raise type(error)(f"the store {store.place}: {error}") from None
        if isinstance(wrong, NewerStoreError):
            raise NewerStoreError(f"the store {store.place}: {wrong}")
        if wrong is None:
            return False
        progress(f"from version {found} to {versions.CURRENT}" if found else f"setting up version {versions.CURRENT}")
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
        config.set_main_option("path_separator", "os")
        config.attributes["connection"] = connection
        command.upgrade(config, versions.CURRENT)
    return True
