"""The steward's care for SQLite's write-ahead log: what stands in it goes into the file of the store in time.

A writer does that itself, but only as far as no reader's snapshot stands in the way; and workers always hold one, of a
moment ago. So without this the log would grow for as long as there are writers. What is written back here, between two
changes, is all; the workers move to new snapshots meanwhile, and the next writer begins the log anew.
"""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import quote

from mx10.logs import get_logger
from mx10.nameserver.steward import Steward

EVERY_SECONDS: Final = 2.0
MOST: Final = 4 << 20
"""Octets of the log up to which it is left alone."""
_BUSY_SECONDS: Final = 1.0

log = get_logger("store")


class WriteAheadLog:
    """Writes the log back into the file when it has become long.

    Args:
        path: the file of the store.
        most: octets of the log up to which it is left alone.
    """

    def __init__(self, path: Path, most: int = MOST) -> None:
        self._path = path
        self._most = most
        self._complaint = ""

    def fold(self) -> None:
        """Write it back, as far as no reader stands in the way; writers are not held up."""
        try:
            if self._path.with_name(self._path.name + "-wal").stat().st_size > self._most:
                # Not made anew where somebody took it away and left its log.
                url = f"file:{quote(str(self._path))}?mode=rw"
                with closing(sqlite3.connect(url, uri=True, timeout=_BUSY_SECONDS)) as connection:
                    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except FileNotFoundError:
            pass
        except (OSError, sqlite3.Error) as error:
            if str(error) != self._complaint:
                log.warning("the write-ahead log of the store stays long", store=str(self._path), cause=str(error))
            self._complaint = str(error)
        else:
            self._complaint = ""

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            await asyncio.to_thread(self.fold)


def plug_in(steward: Steward, path: Path) -> None:
    """Have the steward do this for the file that workers read."""
    steward.services.append(WriteAheadLog(path))
