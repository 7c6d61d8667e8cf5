"""Doors in processes of their own: what is said to clients does not wait for deliveries, and uses another processor.

A door does all that is said to clients. A message that is whole goes to the relay's process, which alone writes the
spool; "250" is said when that has answered. Large bodies are written by the door, as files; only their names travel.
What became of messages is told back, for the door's memory of recipients. A
frame is its length (4 octets) and a tuple, packed by ``marshal``: both ends are the same program. The socket is in the
spool's folder, which nobody else may enter.
"""

import asyncio
import marshal
import os
import socket
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, Final, cast

from mx10.config import Config
from mx10.logs import get_logger
from mx10.relay.basics import Listening, check, hostname_of, links_of, spool_of, surroundings
from mx10.relay.courier.splitting import domain_of
from mx10.relay.courier.values import Addressee, End, Fate, Stage
from mx10.relay.door.recipients.asking import REMEMBERED
from mx10.relay.door.service import DoorService
from mx10.relay.process import STOP_SECONDS, end_of, forever, run
from mx10.relay.spool.bodies import InFile, InMemory, SpooledContent
from mx10.relay.spool.files import remove_strays, remove_unnamed
from mx10.relay.spool.opening import open_spool
from mx10.relay.spool.spool import Spool, Taken
from mx10.relay.spool.writing import Done, Work
from mx10.relay.values import NODES, Envelope
from mx10.resolver import Forwarder
from mx10.smtp.replies import Reply
from mx10.store.errors import StoreError, StoreFullError, StoreUnreachableError, UncertainStoreError

SOCKET: Final = "doors.sock"
AT_ONCE: Final = 8
"""Frames that are sent together. With more, the other side would have nothing to do for long, and then much."""
RETRY_SECONDS: Final = 0.2
"""Between two attempts to reach the relay's process."""
COUNT_SECONDS: Final = 1.0
"""Between two reports of what was counted."""
_MARSHAL: Final = 2
"""The version of its format: later ones look for what occurs twice, which hardly anything does."""
_AWAY: Final = "the relay's process is being started again"

log = get_logger("relay")


def socket_path(folder: Path) -> str:
    """Where doors reach the relay's process. ``folder``: of bodies."""
    return str(folder.parent / SOCKET)


class _Frames(asyncio.Protocol):
    """A stream of frames."""

    def __init__(self, got: Callable[["_Frames", Any], None], lost: Callable[["_Frames"], None] | None = None) -> None:
        self._got, self._lost = got, lost
        self._buffer = bytearray()
        self._out: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self.gone: asyncio.Future[None] = self._loop.create_future()
        """Done when the connection has ended, and all that came was handled."""

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
        if self._lost is not None:
            self._lost(self)
        # Who waited for it may have been cancelled.
        if not self.gone.done():
            self.gone.set_result(None)

    def send(self, frame: tuple[Any, ...]) -> None:
        """Send a frame, with others of this turn of the loop."""
        data = marshal.dumps(frame, _MARSHAL)
        self._out += (len(data).to_bytes(4, "big"), data)
        if len(self._out) == 2:
            self._loop.call_soon(self._flush)
        elif len(self._out) == 2 * AT_ONCE:
            self._flush()

    def close(self) -> None:
        if self._transport is not None:
            self._flush()
            self._transport.close()

    def _flush(self) -> None:
        out, self._out = self._out, []
        if out and self._transport is not None:
            self._transport.write(b"".join(out))


def _fields(fate: Fate) -> tuple[Any, ...]:
    """What of a fate tells something about its recipient, as plain values."""
    reply = fate.reply
    said = None if reply is None else (reply.code, reply.enhanced, reply.lines)
    return fate.recipient.address, fate.end.value, fate.enhanced, fate.reason, fate.stage.value, said, fate.host


def _fate(fields: tuple[Any, ...]) -> Fate:
    """The reverse of ``_fields``."""
    address, end, enhanced, reason, stage, said, host = fields
    reply = None if said is None else Reply(*said)
    return Fate(Addressee(address), End(end), enhanced, reason, stage=Stage(stage), reply=reply, host=host)


# ---------------------------------------------------------------- in the relay's process


class DoorDesk:
    """Where doors hand in messages, and hear what became of those.

    Args:
        folder: of bodies.
        taken: told of each message that is durable.
    """

    def __init__(self, spool: Spool, folder: Path, taken: Callable[[Taken], None]) -> None:
        self._spool = spool
        self._folder = folder
        self._taken = taken
        self._server: asyncio.Server | None = None
        self._doors: dict[_Frames, int] = {}
        """With how many clients are connected to each."""
        self._numbers: dict[_Frames, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._asked: OrderedDict[str, _Frames] = OrderedDict()
        """Domains whose primaries are asked for recipients, and the door that did so last."""
        self.counts: Counter[tuple[str, str]] = Counter()
        """Of all doors, as ``Door.counts``."""

    @property
    def connections(self) -> int:
        """Clients that were connected to all doors at their last reports."""
        return sum(self._doors.values())

    def learned(self, fate: Fate) -> None:
        """Tell a fate to the door that asks for recipients of its domain, if there is one: what primaries say of them
        is known there. One is enough, as all of them read what one of them has learned."""
        door = self._asked.get(domain_of(fate.recipient.address))
        if door is not None:
            door.send((_fields(fate),))

    async def __aenter__(self) -> "DoorDesk":
        path = socket_path(self._folder)
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
        door = _Frames(self._keep, self._gone)
        self._doors[door] = 0
        return door

    def _gone(self, door: _Frames) -> None:
        self._doors.pop(door, None)
        self._numbers.pop(door, None)
        for domain in [each for each, its in self._asked.items() if its is door]:
            del self._asked[domain]

    async def _greet(self, door: _Frames, number: int, begins: bool, uncertain: Sequence[int]) -> None:
        """Tidy up behind the predecessor of a door that was just started, or remove what of a door's messages did not
        become durable when this process was another one; then let it begin."""
        before = [each.gone for each, its in self._numbers.items() if its == number and each is not door]
        if before:
            await asyncio.wait(before)
        # All that came from there, and so has a file, is in the database after this.
        try:
            await self._spool.write(Work())
            store, folder = self._spool.store, self._folder
            strays = (
                await asyncio.to_thread(remove_strays, store, folder, time.time(), NODES - 1 - number)
                if begins
                else await asyncio.to_thread(remove_unnamed, store, folder, uncertain)
            )
            if strays:
                log.info("bodies of messages that were never promised are removed", files=strays, door=number)
        except (StoreError, OSError) as error:
            log.error("bodies that a door left are not looked for", door=number, cause=str(error))
        door.send(())

    def _keep(self, door: _Frames, frame: Any) -> None:
        if len(frame) == 1:
            number, begins, uncertain = frame[0]
            self._numbers[door] = number
            task = asyncio.get_running_loop().create_task(self._greet(door, number, begins, uncertain))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return
        if len(frame) == 3:
            counts, self._doors[door], asked = frame
            self.counts.update(counts)
            for domain in asked:
                self._asked[domain] = door
                self._asked.move_to_end(domain)
            while len(self._asked) > REMEMBERED:
                self._asked.popitem(last=False)
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
                self._taken(Taken(row[0], Envelope(*envelope), content, recipients, row[1], row[2]))

        self._spool.put(Work(done, messages=messages, recipients=recipients))


# ---------------------------------------------------------------- in a door's process


class RemoteWriter:
    """Has rows written by the relay's process: a ``spool.writing.Writing``.

    Args:
        path: of its socket.
        number: of this door.
        learned: told of fates.
    """

    def __init__(self, path: str, number: int, learned: Callable[[Fate], None]) -> None:
        self._path = path
        self._number = number
        self._learned = learned
        self._link: _Frames | None = None
        self._sequence = 0
        self._waiting: dict[int, tuple[Done, int]] = {}
        """For the answer to a sequence number: who waits for it, and the message."""
        self._uncertain: list[int] = []
        """Messages that were handed in and never answered for; there may be files of theirs."""
        self._told_of = 0
        """How many of these the relay's process was told of just now."""
        self._asked: OrderedDict[str, None] = OrderedDict()
        """Domains whose primaries were asked; the relay's process is to tell of their recipients."""
        self._newly_asked: dict[str, None] = {}
        """Those of which it was not told yet, or that were asked again since."""
        self.reached = asyncio.Event()
        """Set when the relay's process was reached for the first time, and has tidied up behind another door."""

    @property
    def is_linked(self) -> bool:
        """Whether the relay's process can be reached just now."""
        return self._link is not None

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
            self._waiting[self._sequence] = done, cast("int", work.messages[0][0])
        assert work.envelope is not None
        head = work.messages[0][7]
        self._link.send((self._sequence, list(work.messages), list(work.recipients), work.envelope.fields(), head))

    def close(self) -> None:
        """Nothing more is written."""
        if self._link is not None:
            self._link.close()

    def asks(self, domain: str) -> None:
        """The primaries of a domain are asked for a recipient: what becomes of its mail is to be told here."""
        self._newly_asked[domain] = self._asked[domain] = None
        self._asked.move_to_end(domain)
        if len(self._asked) > REMEMBERED:
            self._newly_asked.pop(self._asked.popitem(last=False)[0], None)

    def count(self, counts: Counter[tuple[str, str]], connections: int) -> None:
        """Pass on what was counted, and begin anew; and how many clients are connected."""
        if self._link is not None:
            self._link.send((dict(counts), connections, tuple(self._newly_asked)))
            counts.clear()
            self._newly_asked.clear()

    async def run(self) -> None:
        """Keep the connection, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            link = _Frames(self._told)
            try:
                await loop.create_unix_connection(lambda link=link: link, self._path)  # type: ignore[misc]
            except OSError:
                await asyncio.sleep(RETRY_SECONDS)
                continue
            self._link = link
            self._told_of = len(self._uncertain)
            # Another process, perhaps, that knows nothing.
            self._newly_asked.update(self._asked)
            link.send(((self._number, not self.reached.is_set(), self._uncertain),))
            await link.gone
            self._link = None
            waiting, self._waiting = self._waiting, {}
            self._uncertain += [message for _, message in waiting.values()]
            for done, _ in waiting.values():
                # They may be durable or not: the client tries again, and two copies are better than none.
                done(UncertainStoreError(_AWAY))

    def _told(self, _link: _Frames, frame: Any) -> None:
        if not frame:
            del self._uncertain[: self._told_of]
            self._told_of = 0
            self.reached.set()
            return
        if len(frame) == 1:
            self._learned(_fate(frame[0]))
            return
        sequence, failure = frame
        waiting = self._waiting.pop(sequence, None)
        if waiting is not None:
            error: StoreError | None = None
            if failure is not None:
                error = (StoreFullError if failure[0] else StoreUnreachableError)(failure[1])
            waiting[0](error)


def live_door(config: Config, number: int, listening: Sequence[Listening], control: socket.socket) -> None:
    """The life of a door's process. ``number``: from 0, among the doors."""
    run(_live(config, number, listening, control))


async def _live(config: Config, number: int, listening: Sequence[Listening], control: socket.socket) -> None:
    hostname, transports = hostname_of(config.relay), check(config)
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        opened = open_spool(config)
        stack.callback(opened.store.close)
        folder = opened.folder
        assert folder is not None
        writer = RemoteWriter(socket_path(folder), number, lambda fate: tell(fate))
        spool = spool_of(config, opened, 0, writer, ids=NODES - 1 - number)
        resolver = await stack.enter_async_context(Forwarder(config.resolver))
        links = links_of(config, hostname)
        stack.push_async_callback(links.close)
        around, _ = surroundings(config, hostname, transports, resolver, links)
        entrance = DoorService(config, spool, around, opened.store, lambda _: None)
        await entrance.prepare(stack)

        entrance.services.call.told = writer.asks

        def tell(fate: Fate) -> None:
            for learned in entrance.services.learned:
                learned(fate)

        async def count() -> None:
            while True:
                await asyncio.sleep(COUNT_SECONDS)
                writer.count(entrance.door.counts, entrance.connections)

        ended = asyncio.create_task(end_of(control))
        running = (writer.run, count, *entrance.services.running)
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
