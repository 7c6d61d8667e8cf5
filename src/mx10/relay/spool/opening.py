"""Which spool a configuration means; commands and the relay open the same."""

import fcntl
import os
from pathlib import Path
from typing import Final

from mx10.config import Config
from mx10.relay.spool.files import SPARES
from mx10.store.connect import Store, default_url, open_store
from mx10.store.errors import StoreBusyError, StoreUnreachableError
from mx10.values import value_class

_BODIES: Final = "bodies"
_MODE: Final = 0o750


@value_class
class Opened:
    """A spool.

    Attributes:
        store: with its tables.
        folder: of bodies as files; None with PostgreSQL, where they are in the database.
    """

    store: Store
    folder: Path | None


def place_of(config: Config) -> tuple[str, Path | None]:
    """The URL of a configuration's spool, and with SQLite the folder it is in."""
    url = config.store.url or default_url(os.environ, os.geteuid())
    if not url.startswith("sqlite"):
        return url, None
    folder = config.relay.spool or Path(url.removeprefix("sqlite:///")).absolute().parent / "spool"
    return f"sqlite:///{folder / 'spool.db'}", folder


def open_spool(config: Config, *, create: bool = False) -> Opened:
    """The spool of a configuration: with SQLite a file of its own beside the store, so that mail and zones do not wait
    for each other; with PostgreSQL the same database.

    Args:
        create: make it where there is none.

    Raises:
        StoreError: there is none, or it cannot be used.
    """
    url, folder = place_of(config)
    if folder is None:
        return Opened(open_store(url, create=create), None)
    bodies = folder / _BODIES
    if create:
        try:
            for each in (folder, bodies, folder / SPARES):
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
    return Opened(open_store(url, create=create), bodies)


def alone(folder: Path) -> int:
    """See to it that no other relay delivers what is in a spool: with SQLite there is one. The lock is the folder's
    own, and ends with the process.

    Args:
        folder: of bodies.

    Returns:
        A descriptor: closed, the lock is gone.

    Raises:
        StoreBusyError: there is another relay.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise StoreBusyError(
            f"another relay delivers what is in {folder.parent}: give this one its own relay.spool, or stop the other"
        ) from None
    return descriptor
