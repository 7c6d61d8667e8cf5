"""The files of large bodies, each named after its message: made, made to last, removed.

A file that is needed no more is a *spare* for some seconds, and the next body is written over it: under load nothing
about a file costs as much as to make it. ext4 gives no inode out again within a minute or so after it became free, and
looks at each of those for every new file.
"""

import errno
import os
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from sqlalchemy import bindparam, text

from mx10.relay.values import id_of, name_of
from mx10.store.connect import Store
from mx10.store.errors import StoreError, StoreFullError, StoreUnreachableError

SPARES: Final = "spares"
"""Their folder, beside that of the bodies."""
MAX_SPARES: Final = 64
SPARE_OCTETS: Final = 1 << 20
"""A larger file is no spare; so they take 64 MiB at most."""
SPARE_SECONDS: Final = 10.0
"""So long one waits to be written over. What is in it was delivered, and is not to be read here for ever."""
_LOOK_SECONDS: Final = 0.1
"""Between two looks for spares, where there was none."""
_PAGE: Final = 500
_KNOWN: Final = text("SELECT id FROM messages WHERE id IN :ids").bindparams(bindparam("ids", expanding=True))


def body_path(folder: Path, message: int) -> Path:
    """The file of a message's body, in the folder of bodies."""
    return folder / name_of(message)


class BodyFiles:
    """The files in a folder. Not for threads to share, but for ``remove``.

    Args:
        folder: of bodies.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._spares = folder.parent / SPARES
        self._known: list[Path] = []
        """Spares that were there at the last look."""
        self._looked = 0.0
        self._closed = False

    def path(self, message: int) -> Path:
        """The file of a message's body."""
        return body_path(self.folder, message)

    def begin(self, message: int) -> int:
        """A file to write a body to. Returns its descriptor; what it holds already is of no worth.

        Raises:
            OSError: there can be none.
        """
        path = self.path(message)
        if not self._known and time.monotonic() - self._looked > _LOOK_SECONDS:
            self._looked = time.monotonic()
            with suppress(OSError):
                self._known = list(self._spares.iterdir())
        if self._known and path.exists():
            # The clock was set back, and a number is given once more: a rename would replace what is there.
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        while self._known:
            spare = self._known.pop()
            try:
                descriptor = os.open(spare, os.O_WRONLY | os.O_CLOEXEC)
            except OSError:  # another door has it by now
                continue
            try:
                # Before it is one of the bodies: one that nobody has written to for long goes as a stray.
                os.utime(descriptor)
                spare.rename(path)
            except OSError:  # the same; or the file system will not
                os.close(descriptor)
                continue
            return descriptor
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def sync(self, descriptor: int, size: int) -> None:
        """Make a body last, and its name. ``size`` in octets.

        Raises:
            OSError: it may not last.
        """
        if os.fstat(descriptor).st_size != size:
            os.ftruncate(descriptor, size)
        os.fsync(descriptor)
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def tidy(self, seconds: float = SPARE_SECONDS) -> bool:
        """Remove spares that have waited so long. Returns whether there are any left. Never raises."""
        before, left = time.time() - seconds, False
        with suppress(OSError):
            for spare in self._spares.iterdir():
                with suppress(FileNotFoundError):
                    # A rename is a change of that.
                    if spare.stat().st_ctime <= before:
                        spare.unlink()
                    else:
                        left = True
        return left

    def close(self) -> None:
        """Keep no spare from now on, whatever another thread is removing. Never raises."""
        self._closed = True
        self.tidy(0)

    def remove(self, messages: Iterable[int]) -> None:
        """Remove what there is of these messages; some of it is kept as spares. Never raises."""
        try:
            room = MAX_SPARES - len(list(self._spares.iterdir()))
        except OSError:
            room = 0
        for message in messages:
            path = self.path(message)
            try:
                if room > 0 and not self._closed and path.stat().st_size <= SPARE_OCTETS:
                    path.rename(self._spares / path.name)
                    room -= 1
                    continue
            except OSError:  # there is none, or the file system will not
                pass
            with suppress(OSError):
                path.unlink()


def remove_strays(store: Store, folder: Path, before: float, ids: int | None = None) -> int:
    """Remove files of bodies that no message names, and that were last written before a moment (seconds since 1970);
    and all spares. Returns how many of the first.

    Args:
        ids: only of messages that had their numbers from there (see ``values.Ids``).
    """
    BodyFiles(folder).tidy(0)
    names = []
    for entry in os.scandir(folder):
        with suppress(OSError, ValueError):  # it went meanwhile, or is no message's
            mine = ids is None or id_of(entry.name) >> 13 & 255 == ids
            if mine and entry.is_file(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_mtime <= before:
                names.append(entry.name)
    return remove_unnamed(store, folder, [id_of(name) for name in names])


def remove_unnamed(store: Store, folder: Path, bodies: Sequence[int]) -> int:
    """Remove files of these bodies where there is no such message. Returns how many there was none of.

    Raises:
        StoreError: nothing was removed.
    """
    known: set[int] = set()
    if bodies:
        with store.read() as connection:
            # By their numbers: a million small messages are not gone through for one large one.
            for at in range(0, len(bodies), _PAGE):
                known.update(connection.execute(_KNOWN, {"ids": bodies[at : at + _PAGE]}).scalars())
    strays = [each for each in bodies if each not in known]
    BodyFiles(folder).remove(strays)
    return len(strays)


def file_error(path: Path, error: OSError) -> StoreError:
    """What went wrong with a file, as an error of the spool."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreFullError(f"{path}: no room is left; free some space on its disk")
    return StoreUnreachableError(f"{path}: {error.strerror}")
