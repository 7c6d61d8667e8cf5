"""Noticing that a file in the zone folder changed.

With inotify (through inotify_simple, a thin and well-kept wrapper with a file descriptor to wait on) where the system
has it: at once, and only when a file was written whole and closed, or moved into place. Elsewhere a timer asks for a
look at every file, once a second.
"""

import os
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

if sys.platform == "linux":
    from inotify_simple import INotify, flags

_POLL_SECONDS: Final = 1.0
_FOLDERS: Final = 1000
"""Folders below the zone folder that are watched too (for files that $INCLUDE names); more are looked at on SIGHUP
only.
"""


class FolderWatch(Protocol):
    """Something to wait on, and what changed when it is readable."""

    def fileno(self) -> int: ...

    def changed(self) -> set[Path] | None:
        """The paths that changed; None where that is not known and everything must be looked at."""
        ...

    def renew(self) -> bool:
        """To be called once in a while: whether another folder stands in the place of the one watched until now (it
        was moved away, or removed and made again). That one is watched from now on, and must be looked at.
        """
        ...

    def close(self) -> None: ...


def watch_folder(folder: Path) -> FolderWatch:
    """Watch a folder and those below it."""
    return _InotifyWatch(folder) if sys.platform == "linux" else _PollingWatch()


class _InotifyWatch:
    def __init__(self, folder: Path) -> None:
        self._mask = (
            flags.CLOSE_WRITE
            | flags.MOVED_TO
            | flags.MOVED_FROM
            | flags.DELETE
            | flags.CREATE
            | flags.ONLYDIR
            | flags.ATTRIB
        )
        self._inotify = INotify()
        self._folders: dict[int, Path] = {}
        self._folder = folder
        self._identity: tuple[int, int] | None = None
        self.renew()

    def _add(self, folder: Path) -> None:
        for below, _, _ in os.walk(folder):
            if len(self._folders) >= _FOLDERS:
                return
            # One that is gone again, or not for us to read: nothing in it can be a zone's.
            with suppress(OSError):
                self._folders[self._inotify.add_watch(below, self._mask)] = Path(below)

    def renew(self) -> bool:
        try:
            status = self._folder.stat()
        except OSError:
            self._identity = None
            return False
        if (status.st_dev, status.st_ino) == self._identity:
            return False
        for watch in self._folders:
            with suppress(OSError):
                self._inotify.rm_watch(watch)
        self._folders.clear()
        self._add(self._folder)
        # Where the system grants us no watch, this is what is left: a look at everything each time.
        self._identity = (status.st_dev, status.st_ino) if self._folders else None
        return True

    def fileno(self) -> int:
        return int(self._inotify.fileno())

    def changed(self) -> set[Path] | None:
        paths: set[Path] = set()
        everything = False
        for event in self._inotify.read(timeout=0):
            if event.mask & flags.Q_OVERFLOW:
                everything = True
                continue
            folder = self._folders.get(event.wd)
            if folder is None:
                continue
            if event.mask & flags.IGNORED:
                del self._folders[event.wd]
                if folder == self._folder:
                    # It is gone. What is made in its place may look the same, down to the number of its inode.
                    self._identity = None
                continue
            path = folder / event.name
            if event.mask & flags.ISDIR:
                if event.mask & (flags.CREATE | flags.MOVED_TO):
                    self._add(path)
                # What was in it came or went without events of its own.
                everything = True
                continue
            # CREATE alone is a file still being written, unless it is a hard or symbolic link, complete from its first
            # moment.
            if not event.mask & flags.CREATE or path.is_symlink() or _has_several_names(path):
                paths.add(path)
        return None if everything else paths

    def close(self) -> None:
        self._inotify.close()


def _has_several_names(path: Path) -> bool:
    try:
        return path.stat().st_nlink > 1
    except OSError:
        return False


class _PollingWatch:
    """A clock that ticks on a socket, in a thread that does nothing else."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._over = threading.Event()
        threading.Thread(target=self._tick, daemon=True).start()

    def _tick(self) -> None:
        while not self._over.wait(_POLL_SECONDS):
            try:
                self._writer.send(b"\0")
            except OSError:
                return

    def fileno(self) -> int:
        return self._reader.fileno()

    def changed(self) -> set[Path] | None:
        self._reader.recv(4096)
        return None

    def renew(self) -> bool:
        return False

    def close(self) -> None:
        self._over.set()
        self._reader.close()
        self._writer.close()
