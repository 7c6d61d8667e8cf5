"""Doors in processes of their own, for more mail than one process can speak for.

A door does all that is said to clients. A message that is whole goes to the relay's process, which alone writes the
spool; "250" is said when that has answered. Large bodies are written by the door, as files; only their names travel. A
frame is its length (4 octets) and a tuple, packed by ``marshal``: both ends are the same program. The socket is in the
spool's folder, which nobody else may enter.
"""

import asyncio
import marshal
import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from typing import Any, Final, cast

from mx10.config import Config
from mx10.logs import get_logger
from mx10.relay.basics import Listening, check, hostname_of, links_of, spool_of, surroundings
from mx10.relay.door.service import DoorService
from mx10.relay.process import STOP_SECONDS, end_of, forever, run
from mx10.relay.spool.bodies import InFile, InMemory, SpooledContent
from mx10.relay.spool.opening import Opened, open_spool
from mx10.relay.spool.spool import Spool, Taken, remove_strays
from mx10.relay.spool.writing import Done, Work
from mx10.relay.values import NODES, Envelope, Waiting
from mx10.resolver import Forwarder
from mx10.store.errors import StoreError, StoreFullError, StoreUnreachableError

MAX_FRAME: Final = 1 << 28
"""Octets of a frame."""
SOCKET: Final = "doors.sock"
RETRY_SECONDS: Final = 0.2
"""Between two attempts to reach the relay's process."""
TIDY_SECONDS: Final = 60.0
"""After its start, when a door removes what its predecessor left: files of messages that were never whole."""
COUNT_SECONDS: Final = 1.0
"""Between two reports of what was counted."""
_AWAY: Final = "the relay's process is being started again"

log = get_logger("relay")


def socket_path(opened: Opened) -> str:
    """Where doors reach the relay's process.

    Raises:
        ValueError: the spool has no folder: with PostgreSQL the door is in the relay's process.
    """
    if opened.folder is None:
        raise ValueError("relay.door_processes wants a spool in SQLite; set it to 0")
    return str(opened.folder.parent / SOCKET)


class _Frames(asyncio.Protocol):
    """A stream of frames."""

    def __init__(self, got: Callable[["_Frames", Any], None], lost: Callable[["_Frames"], None]) -> None:
        self._got, self._lost = got, lost
        self._buffer = bytearray()
        self._out: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        at, size = 0, len(buffer)
        while size - at >= 4:
            length = int.from_bytes(buffer[at : at + 4], "big")
            if size - at - 4 < length:
                break
            frame = marshal.loads(memoryview(buffer)[at + 4 : at + 4 + length])
            at += 4 + length
            self._got(self, frame)
        if at:
            del buffer[:at]

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._lost(self)

    def send(self, frame: tuple[Any, ...]) -> None:
        """Send a frame, with all others of this turn of the loop."""
        data = marshal.dumps(frame)
        self._out += (len(data).to_bytes(4, "big"), data)
        if len(self._out) == 2:
            self._loop.call_soon(self._flush)

    def close(self) -> None:
        if self._transport is not None:
            self._flush()
            self._transport.close()

    def _flush(self) -> None:
        out, self._out = self._out, []
        if out and self._transport is not None:
            self._transport.write(b"".join(out))


# ---------------------------------------------------------------- in the relay's process


class DoorDesk:
    """Where doors hand in messages.

    Args:
        taken: told of each message that is durable.
    """

    def __init__(self, spool: Spool, taken: Callable[[Taken], None]) -> None:
        self._spool = spool
        self._taken = taken
        self._server: asyncio.Server | None = None
        self._doors: set[_Frames] = set()
        self.counts: Counter[tuple[str, str]] = Counter()
        """Of all doors, as ``Door.counts``."""

    async def __aenter__(self) -> "DoorDesk":
        path = socket_path(Opened(self._spool.store, self._spool.folder))
        with suppress(FileNotFoundError):
            await asyncio.to_thread(os.unlink, path)
        before = os.umask(0o177)
        try:
            self._server = await asyncio.get_running_loop().create_unix_server(self._door, path)
        finally:
            os.umask(before)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for each in list(self._doors):
            each.close()

    def _door(self) -> _Frames:
        door = _Frames(self._keep, self._doors.discard)
        self._doors.add(door)
        return door

    def _keep(self, door: _Frames, frame: Any) -> None:
        if len(frame) == 1:
            self.counts.update(frame[0])
            return
        sequence, messages, recipients, envelope, head = frame

        def done(error: StoreError | None) -> None:
            door.send((sequence, None if error is None else (type(error) is StoreFullError, str(error))))
            if error is None:
                # Where the door is gone, too: it is ours now.
                row = messages[0]
                content: SpooledContent = (
                    InMemory(row[7] + row[8]) if row[8] is not None else InFile(head, self._spool.path(row[0]), row[5])
                )
                waiting = tuple(Waiting(*each) for each in recipients)
                self._taken(Taken(row[0], Envelope(*envelope), content, waiting, row[1], row[2]))

        self._spool.put(Work(done, messages=messages, recipients=recipients))


# ---------------------------------------------------------------- in a door's process


class RemoteWriter:
    """Has rows written by the relay's process: a ``spool.writing.Writing``."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._link: _Frames | None = None
        self._sequence = 0
        self._waiting: dict[int, Done] = {}
        self.reached = asyncio.Event()
        """Set when the relay's process was reached for the first time."""

    def put(self, work: Work) -> None:
        """Hand in a message; ``done`` is told when it is durable, or not."""
        done = work.done
        if self._link is None or not work.messages:
            if done is not None:
                error = StoreUnreachableError(_AWAY) if work.messages else None
                asyncio.get_running_loop().call_soon(done, error)
            return
        self._sequence += 1
        if done is not None:
            self._waiting[self._sequence] = done
        assert work.envelope is not None
        head = work.messages[0][7]
        self._link.send((self._sequence, list(work.messages), list(work.recipients), work.envelope.fields(), head))

    def close(self) -> None:
        """Nothing more is written."""
        if self._link is not None:
            self._link.close()

    def count(self, counts: Counter[tuple[str, str]]) -> None:
        """Pass on what was counted, and begin anew."""
        if self._link is not None and counts:
            self._link.send((dict(counts),))
            counts.clear()

    async def run(self) -> None:
        """Keep the connection, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            ended = loop.create_future()

            def lost(_link: _Frames, ended: asyncio.Future[None] = ended) -> None:
                if not ended.done():
                    ended.set_result(None)

            link = _Frames(self._told, lost)
            try:
                await loop.create_unix_connection(lambda link=link: link, self._path)  # type: ignore[misc]
            except OSError:
                await asyncio.sleep(RETRY_SECONDS)
                continue
            self._link = link
            self.reached.set()
            await ended
            self._link = None
            waiting, self._waiting = self._waiting, {}
            for done in waiting.values():
                # They may be durable or not: the client tries again, and two copies are better than none.
                done(StoreUnreachableError(_AWAY))

    def _told(self, _link: _Frames, frame: Any) -> None:
        sequence, failure = frame
        done = self._waiting.pop(sequence, None)
        if done is not None:
            error: StoreError | None = None
            if failure is not None:
                error = (StoreFullError if failure[0] else StoreUnreachableError)(failure[1])
            done(error)


def live_door(config: Config, number: int, listening: Sequence[Listening], control: socket.socket) -> None:
    """The life of a door's process. ``number``: from 0, among the doors."""
    run(_live(config, number, listening, control))


async def _live(config: Config, number: int, listening: Sequence[Listening], control: socket.socket) -> None:
    hostname, transports = hostname_of(config.relay), check(config)
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        opened = open_spool(config)
        stack.callback(opened.store.close)
        writer = RemoteWriter(socket_path(opened))
        spool = spool_of(config, opened, 0, writer, ids=NODES - 1 - number)
        resolver = await stack.enter_async_context(Forwarder(config.resolver))
        links = links_of(config, hostname)
        stack.push_async_callback(links.close)
        around, _ = surroundings(config, hostname, transports, resolver, links)
        entrance = DoorService(config, spool, around, opened.store, lambda _: None)
        await entrance.prepare(stack)

        async def count() -> None:
            while True:
                await asyncio.sleep(COUNT_SECONDS)
                writer.count(entrance.door.counts)

        started = time.time()

        async def tidy() -> None:
            # What a door that died left. By then whatever it had handed in is in the database.
            await asyncio.sleep(TIDY_SECONDS)
            assert opened.folder is not None
            await asyncio.to_thread(remove_strays, opened.store, opened.folder, started, NODES - 1 - number)

        ended = asyncio.create_task(end_of(control))
        running = (writer.run, tidy, count, *entrance.services.running)
        tasks = [loop.create_task(forever(each)) for each in running]
        # Nobody is greeted before there is somebody to hand messages to.
        reached = asyncio.create_task(writer.reached.wait())
        await asyncio.wait((reached, ended), return_when=asyncio.FIRST_COMPLETED)
        reached.cancel()
        await entrance.listen(listening)
        log.info("door ready", door=number, listening=", ".join(each.address for each in listening))
        try:
            await ended
        finally:
            await entrance.stop(loop.time() + STOP_SECONDS)
            writer.close()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=1.0)
