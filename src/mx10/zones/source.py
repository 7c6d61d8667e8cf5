"""Opening and reading zone files, whatever stands where a zone file should.

A name in the folder may be a directory, a fifo, a device, a link to somewhere else, a file of a gigabyte or one that
just went away. Here all of that becomes a ``SourceError``; and what can be read comes as lines of bounded length, in
bounded memory. This is the only file of ``mx10.zones`` that reads files.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from mx10.zones import problems as p
from mx10.zones.problems import Kind

WHOLE: Final = 1 << 18
"""Octets up to which a file is read in one piece; larger ones come in pieces of this size."""

_CONTROLS: Final = bytes(octet for octet in range(128) if (octet < 32 and octet not in b"\t\n\r") or octet == 127)
_BOM: Final = "\ufeff"

Stamp = int
"""Changes when a file does: its times of modification and of change, size, inode and device in 64 bits, since a hundred
thousand of them are kept."""
NO_FILE: Final[Stamp] = 0
"""The stamp of a file that is not there or cannot be opened."""


class SourceError(Exception):
    """A file that cannot be read as a zone file."""

    def __init__(self, kind: Kind, what: str, mend: str = "") -> None:
        super().__init__(what)
        self.kind = kind
        self.what = what
        self.mend = mend


class IsLinkError(SourceError):
    """A symbolic link, which has to be resolved first."""


@dataclass(slots=True)
class Source:
    """An open file, or a text, as lines.

    ``simple`` says that all of it is printable ASCII (and tabs and line ends); where False, each line has to be looked
    at. ``text`` holds the lines of a small file, and None for a large one.
    """

    path: str
    size: int
    stamp: Stamp
    simple: bool
    text: list[str] | None
    _fd: int = -1

    @classmethod
    def from_text(cls, text: str, path: str) -> "Source":
        """Lines of a text that is in memory already."""
        data = text.encode("utf-8", "surrogateescape")
        return cls(path, len(data), NO_FILE, _is_simple(data), text.split("\n"))

    @classmethod
    def open(cls, path: str, max_octets: int) -> "Source":
        """Open a file. It is read at once if it is small.

        Args:
            path: the file; no symbolic link is followed at its end.
            max_octets: larger files are refused before they are read.

        Raises:
            IsLinkError: it is a symbolic link: see ``resolve``.
            SourceError: there is no such file, it is no regular file, or it is too big.
        """
        fd = -1
        try:
            # O_NONBLOCK: opening a fifo must not wait for a writer. O_NOFOLLOW: a link here was put there after
            # ``resolve`` looked.
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise SourceError(p.NOT_A_FILE, f"this is {_kind_of_file(status.st_mode)}, not a file")
            size = status.st_size
            if size > max_octets:
                raise SourceError(
                    p.FILE_TOO_BIG,
                    f"the file has {size} octets, and {max_octets} are allowed for a zone with its includes",
                )
            stamp = stamp_of(status)
            data = os.read(fd, min(size, WHOLE) + 1)
            if len(data) <= WHOLE and (len(data) <= size or (len(data) <= max_octets and not os.read(fd, 1))):
                return cls(path, size, stamp, _is_simple(data), _decode(data).removeprefix(_BOM).split("\n"))
            os.lseek(fd, 0, os.SEEK_SET)
            source = cls(path, size, stamp, False, None, fd)
            fd = -1
            return source
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno == errno.ELOOP:
                raise IsLinkError(p.OUTSIDE_FOLDER, "this is a symbolic link") from None
            raise SourceError(p.UNREADABLE, _reason(error)) from None
        finally:
            if fd >= 0:
                os.close(fd)

    def lines(self, max_octets: int, max_line: int, too_long: Callable[[int], None]) -> Iterator[str]:
        """The lines, each at most once.

        Args:
            max_octets: of the file; it may have grown since it was opened.
            max_line: octets of a line; a longer one is given as an empty one.
            too_long: called with the number of each line that is longer.

        Raises:
            SourceError: the disk failed, or the file grew past ``max_octets``. Only while lines are taken.
        """
        return iter(self.text) if self.text is not None else self._pieces(max_octets, max_line, too_long)

    def _pieces(self, max_octets: int, max_line: int, too_long: Callable[[int], None]) -> Iterator[str]:
        held = b""
        skipping = False
        total = number = 0
        try:
            while piece := os.read(self._fd, WHOLE):
                total += len(piece)
                if total > max_octets:
                    raise SourceError(p.FILE_TOO_BIG, f"the file grew past {max_octets} octets while it was read")
                head, newline, tail = piece.rpartition(b"\n")
                if newline:
                    if skipping:
                        # The rest of a line that is too long; an empty one stands for it.
                        too_long(number + 1)
                        end = head.find(b"\n")
                        held, head, skipping = b"", head[end:] if end >= 0 else b"", False
                    block = _decode(held + head)
                    for line in (block if number else block.removeprefix(_BOM)).split("\n"):
                        number += 1
                        if len(line) > max_line:
                            too_long(number)
                        yield line if len(line) <= max_line else ""
                    held = tail
                else:
                    held += piece
                if len(held) > max_line:
                    held, skipping = b"", True
            if skipping:
                too_long(number + 1)
            elif held:
                yield _decode(held)
        except OSError as error:
            raise SourceError(p.UNREADABLE, _reason(error)) from None
        finally:
            self.close()

    def close(self) -> None:
        """Give the file back; more than once is no error."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def resolve(folder: str, path: str) -> str:
    """Where a path leads, links followed, if that is inside the folder.

    Args:
        folder: the zone folder.
        path: relative to it, or absolute.

    Raises:
        SourceError: it leads outside, or nowhere.
    """
    try:
        real_folder = os.path.realpath(folder)
        real = os.path.realpath(os.path.join(real_folder, path))
    except (OSError, ValueError) as error:
        raise SourceError(p.UNREADABLE, _reason(error)) from None
    if os.path.commonpath((real_folder, real)) != real_folder:
        raise SourceError(p.OUTSIDE_FOLDER, f"{path!a} leads outside the zone folder")
    return real


def stamp_of(status: os.stat_result) -> Stamp:
    """The stamp of a file by its status."""
    return hash((status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, status.st_dev))


def current_stamp(path: str) -> Stamp:
    """The stamp a file has now; ``NO_FILE`` where there is none."""
    try:
        return stamp_of(os.stat(path))
    except (OSError, ValueError):
        return NO_FILE


def _is_simple(data: bytes) -> bool:
    return data.isascii() and len(data.translate(None, _CONTROLS)) == len(data)


def _decode(data: bytes) -> str:
    """Text in which every octet can still be seen: UTF-8 where it is that, and lone surrogates for the rest."""
    return data.decode("utf-8", "surrogateescape")


def _reason(error: OSError | ValueError) -> str:
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return f"the file cannot be read: {reason or type(error).__name__}"


def _kind_of_file(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a directory"
    if stat.S_ISFIFO(mode):
        return "a fifo"
    if stat.S_ISSOCK(mode):
        return "a socket"
    return "a device"
