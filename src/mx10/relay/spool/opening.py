"""Which spool a configuration means; commands and the relay open the same."""

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import text

from mx10.config import Config
from mx10.relay.values import NODES
from mx10.store.connect import Store, default_url, open_store
from mx10.store.errors import StoreError, StoreUnreachableError

_BODIES: Final = "bodies"
_MODE: Final = 0o750


@dataclass(frozen=True, slots=True)
class Opened:
    """A spool.

    Attributes:
        store: with its tables.
        folder: of bodies as files; None with PostgreSQL, where they are in the database.
    """

    store: Store
    folder: Path | None


def open_spool(config: Config, *, create: bool = False) -> Opened:
    """The spool of a configuration: with SQLite a file of its own beside the store, so that mail and zones do not wait
    for each other; with PostgreSQL the same database.

    Args:
        create: make it where there is none.

    Raises:
        StoreError: there is none, or it cannot be used.
    """
    url = config.store.url or default_url(os.environ, os.geteuid())
    if not url.startswith("sqlite"):
        return Opened(open_store(url, create=create), None)
    folder = config.relay.spool or Path(url.removeprefix("sqlite:///")).absolute().parent / "spool"
    bodies = folder / _BODIES
    if create:
        try:
            for each in (folder, bodies):
                if not each.exists():
                    each.mkdir(mode=_MODE, parents=True, exist_ok=True)
                    above = each.parent.stat()
                    if os.geteuid() == 0 and above.st_uid:
                        # Root sets up the spool of a service.
                        os.chown(each, above.st_uid, above.st_gid)
        except OSError as error:
            raise StoreUnreachableError(
                f"the spool {bodies} cannot be made: {error.strerror}; set relay.spool to another folder"
            ) from None
    store = open_store(f"sqlite:///{folder / 'spool.db'}", create=create)
    return Opened(store, bodies)


def register(store: Store, now: int) -> int:
    """Our number among the relays that share a spool: the same each time, by the name of this host.

    Raises:
        StoreError: there are 256 others.
    """
    if store.is_sqlite:
        return 0
    name = socket.gethostname()
    with store.begin() as connection:
        rows = connection.execute(text("SELECT id, name FROM nodes")).all()
        mine = next((row[0] for row in rows if row[1] == name), None)
        if mine is None:
            taken = {row[0] for row in rows}
            mine = next((number for number in range(1, NODES) if number not in taken), None)
            if mine is None:
                raise StoreError(f"the spool {store.place}: {NODES - 1} relays share it already; remove one from nodes")
            connection.execute(
                text("INSERT INTO nodes (id, name, seen_at) VALUES (:id, :name, :now)"),
                {"id": mine, "name": name, "now": now},
            )
        else:
            connection.execute(text("UPDATE nodes SET seen_at = :now WHERE id = :id"), {"now": now, "id": mine})
    return int(mine)
