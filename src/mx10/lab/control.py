"""How commands talk to a lab that runs: a Unix socket in a folder that nobody else may enter.

One connection is one order: a line of JSON there; back come a line of JSON and, where it says so, octets of a message.
Into the folder go also the files of the lab that are not to outlive it. Its name follows from user, address and port,
so that commands find the lab by what they know of it anyway.
"""

import asyncio
import json
import os
import shutil
import socket
import stat
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mx10.lab.places import folder_of

MAX_ORDER: Final = 4096
"""Octets of an order."""
MAX_ANSWER: Final = 16 << 20
"""Octets of the JSON of an answer that is read."""
SECONDS: Final = 5.0
"""For an order to come, and for its answer to be taken."""
MAX_ORDERS: Final = 20
"""At the same time; one more is closed at once."""


class OrderError(Exception):
    """An order that cannot be done: why, and what can."""


class NotRunningError(Exception):
    """There is no lab to order."""


class FolderError(Exception):
    """The folder of the socket cannot be used: why, and what to do."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of an order, and octets where there are some."""

    told: dict[str, Any]
    content: bytes = b""


Handler = Callable[[Mapping[str, Any]], Awaitable[Answer]]


def make_folder(folder: Path) -> None:
    """Make it, or take the one that is there if it is ours alone.

    Raises:
        FolderError: it cannot be made, or is somebody else's.
    """
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise FolderError(
            f"cannot make {folder}, for orders to the lab: {error.strerror}; name another folder with TMPDIR"
        ) from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise FolderError(f"{folder} is not a folder of ours alone: remove it, or name another place with TMPDIR")


def _empty(folder: Path) -> None:
    for each in folder.iterdir():
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each)
        else:
            each.unlink()


class Control:
    """The lab's end. Made by ``start``."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._server: asyncio.Server | None = None
        self._path: Path | None = None
        self._open: set[asyncio.Task[None]] = set()

    @classmethod
    async def start(cls, folder: Path, handler: Handler) -> "Control":
        """Take orders.

        Args:
            folder: of ``folder_of``; whoever calls knows that no other lab has it.

        Raises:
            FolderError: the socket cannot be there.
        """
        make_folder(folder)
        control, path = cls(handler), folder / "control"
        try:
            # What a lab left that was killed.
            _empty(folder)
            control._server = await asyncio.start_unix_server(control._accept, path, limit=MAX_ORDER)
        except OSError as error:
            cause = error.strerror or str(error)
            raise FolderError(f"cannot listen at {path}: {cause}; name another folder with TMPDIR") from error
        control._path = path
        return control

    def close(self) -> None:
        """Take no more orders."""
        if self._server is not None:
            self._server.close()
        for task in list(self._open):
            task.cancel()

    def remove(self) -> None:
        """Remove the folder, with all that others put into it."""
        if self._path is not None:
            with suppress(OSError):
                _empty(self._path.parent)
                self._path.parent.rmdir()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._open) >= MAX_ORDERS:
            writer.transport.abort()
            return
        self._open.add(task)
        try:
            async with asyncio.timeout(SECONDS):
                line = await reader.readline()
            answer = await self._obey(line)
            told = {**answer.told, "content": len(answer.content)}
            writer.write(json.dumps(told).encode() + b"\n" + answer.content)
            async with asyncio.timeout(SECONDS):
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (OSError, ValueError, TimeoutError, asyncio.CancelledError):
            pass  # it went away, was too slow or said too much; or the lab ends
        finally:
            self._open.discard(task)
            writer.transport.abort()

    async def _obey(self, line: bytes) -> Answer:
        try:
            order = json.loads(line)
            if not isinstance(order, dict):
                raise OrderError("an order is a JSON object")
            return await self._handler(order)
        except OrderError as error:
            return Answer({"error": str(error)})
        except (ValueError, RecursionError):
            return Answer({"error": "an order is a line of JSON"})


def ask(address: str, port: int, order: Mapping[str, Any]) -> Answer:
    """Order something of the lab at that address.

    Raises:
        NotRunningError: there is none, it is somebody else's, or it says nothing.
        OrderError: it cannot do that.
    """
    path = folder_of(address, port) / "control"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(SECONDS)
        try:
            connection.connect(os.fspath(path))
            connection.sendall(json.dumps(order).encode() + b"\n")
            with connection.makefile("rb") as answer:
                line = answer.readline(MAX_ANSWER)
                told = json.loads(line)
                content = answer.read(told.pop("content"))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise NotRunningError(f"no lab of this user runs at {address}:{port}") from error
    if "error" in told:
        raise OrderError(told["error"])
    return Answer(told, content)
