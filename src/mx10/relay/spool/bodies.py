"""Bodies of messages: octets in memory, a file, or parts in the database, all as ``courier.values.Content``."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from sqlalchemy import text

from mx10.store.connect import Store
from mx10.store.errors import StoreError

PIECE: Final = 1 << 16
"""Octets of a piece."""
AHEAD: Final = 4
"""Pieces that are read at a time: to ask another thread costs as much as to read one."""
_NO_DISK: Final[int | None] = getattr(os, "RWF_NOWAIT", None)
"""Read what is in memory, and nothing else."""


class InMemory:
    """Content that is at hand."""

    __slots__ = ("data", "size")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = len(data)

    async def chunks(self) -> AsyncIterator[bytes]:
        """All of it, in pieces."""
        for at in range(0, self.size, PIECE):
            yield self.data[at : at + PIECE]


class InFile:
    """A head, and a body in a file.

    Args:
        size: octets of both.
    """

    __slots__ = ("_head", "_path", "size")

    def __init__(self, head: bytes, path: Path, size: int) -> None:
        self._head, self._path, self.size = head, path, size

    async def chunks(self) -> AsyncIterator[bytes]:
        """Head first.

        Raises:
            OSError: the file cannot be read, or is shorter than it was.
        """
        if self._head:
            yield self._head
        left, at = self.size - len(self._head), 0
        loop = asyncio.get_running_loop()
        while left:
            # What was just written needs no disk, and so no other thread.
            pieces = _at_hand(self._path, at, left)
            for piece in pieces or await loop.run_in_executor(None, _read, self._path, at, left):
                at += len(piece)
                left -= len(piece)
                yield piece


_room: Final = memoryview(bytearray(PIECE * AHEAD))
"""Where the loop reads to; what is there is taken at once."""


def _at_hand(path: Path, at: int, left: int) -> list[bytes]:
    """Some pieces from a place on, as far as the system has them in memory; none where it cannot tell (Linux can).

    Raises:
        OSError: the file cannot be read.
    """
    if _NO_DISK is None:
        return []
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        got = os.preadv(descriptor, [_room[: min(PIECE * AHEAD, left)]], at, _NO_DISK)
    except OSError:  # not in memory; or a file system that knows no such reading
        got = 0
    finally:
        os.close(descriptor)
    return [bytes(_room[each : min(each + PIECE, got)]) for each in range(0, got, PIECE)]


def _read(path: Path, at: int, left: int) -> list[bytes]:
    """Some pieces from a place on.

    Raises:
        OSError: the file cannot be read, or has no more.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    pieces: list[bytes] = []
    try:
        while left and len(pieces) < AHEAD:
            piece = os.pread(descriptor, min(PIECE, left), at)
            if not piece:
                raise OSError(f"{path} ends {left} octets too early")
            pieces.append(piece)
            at += len(piece)
            left -= len(piece)
    finally:
        # Never kept open between: whoever reads may go away.
        os.close(descriptor)
    return pieces


class InParts:
    """A head, and a body in the table ``body_parts``."""

    __slots__ = ("_head", "_message", "_store", "size")

    def __init__(self, head: bytes, store: Store, message: int, size: int) -> None:
        self._head, self._store, self._message, self.size = head, store, message, size

    async def chunks(self) -> AsyncIterator[bytes]:
        """Head first.

        Raises:
            OSError: the database cannot be read, or parts are missing.
        """
        if self._head:
            yield self._head
        left, part = self.size - len(self._head), 0
        while left > 0:
            try:
                piece = await asyncio.to_thread(self._part, part)
            except StoreError as error:
                raise OSError(str(error)) from error
            if piece is None:
                raise OSError(f"part {part} of the message is missing")
            part += 1
            left -= len(piece)
            yield piece

    def _part(self, part: int) -> bytes | None:
        with self._store.read() as connection:
            found = connection.execute(
                text("SELECT data FROM body_parts WHERE message = :message AND part = :part"),
                {"message": self._message, "part": part},
            ).scalar()
        return None if found is None else bytes(found)


SpooledContent = InMemory | InFile | InParts
