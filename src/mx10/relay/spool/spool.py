"""The spool of the relay's process: takes messages in, keeps them, forgets them.

"250" is said to a client when ``Incoming.commit`` calls back, and not before: then the message is on disk, with its
recipients, in one transaction. Bodies beyond a size are files, synchronized before that transaction; a file that no row
names is of a message that nobody was promised anything about, and goes at the next start.
"""

import asyncio
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from sqlalchemy import text

from mx10.relay.courier.splitting import domain_of
from mx10.relay.spool.bodies import InFile, InMemory, InParts, SpooledContent
from mx10.relay.spool.files import SPARE_SECONDS, BodyFiles, file_error
from mx10.relay.spool.writing import Done, Work, Writing
from mx10.relay.values import Envelope, Ids, NewRecipient, Waiting, name_of
from mx10.store.connect import Store
from mx10.store.errors import StoreError, UncertainStoreError
from mx10.values import value_class

PART: Final = 1 << 18
"""Octets of a part, where large bodies are in the database."""
BEHIND: Final = 1 << 20
"""Octets of one message that may wait to be written; a client that sends more has to wait."""
REMOVE_SECONDS: Final = 0.05
"""How long files that nobody needs any more wait, to be removed together."""
_PRIORITY_MS: Final = 600_000
"""By how much a message of a higher priority (RFC 6710) counts as older, for each step."""


@value_class
class Times:
    """How long messages are kept, in milliseconds. ``delay``: 0 for no warnings."""

    expire: int
    report_expire: int
    delay: int


@value_class
class Taken:
    """A message that is durable now. ``rows``: of its recipients, as ``spool.writing.RECIPIENT_COLUMNS``."""

    message: int
    envelope: Envelope
    content: SpooledContent
    rows: Sequence[tuple[Any, ...]]
    arrived_at: int
    expires_at: int

    @property
    def address(self) -> str:
        """Of its first recipient."""
        address: str = self.rows[0][2]
        return address

    def recipients(self) -> list[Waiting]:
        """Made when they are asked for: where the door is a process of its own, nobody does there."""
        return [Waiting(*each) for each in self.rows]


class Spool:
    """Where messages wait.

    Args:
        store: whose tables they are in.
        folder: of bodies as files; None: they are in the database, in parts.
        writer: has rows written.
        node: our number among the relays that share it.
        ids: the number in the messages' ids, which nobody else has.
        clock: milliseconds since 1970.
        body_in_database: octets up to which bodies are in the database.
    """

    def __init__(
        self,
        store: Store,
        folder: Path | None,
        writer: Writing,
        *,
        node: int,
        ids: int,
        clock: Callable[[], int],
        times: Times,
        body_in_database: int,
    ) -> None:
        self.store = store
        self.files = None if folder is None else BodyFiles(folder)
        self.node = node
        self.clock = clock
        self.times = times
        self.body_in_database = body_in_database
        self.ids = Ids(ids, clock)
        self.loop = asyncio.get_running_loop()
        self._writer = writer
        self._leftover: list[int] = []
        """Messages whose files are to be removed."""
        self._tidying: asyncio.Task[None] | None = None

    def begin(self, envelope: Envelope) -> "Incoming":
        """A message that is about to come."""
        return Incoming(self, self.ids(), envelope)

    def put(self, work: Work) -> None:
        """Have something written."""
        self._writer.put(work)

    async def write(self, work: Work) -> None:
        """Have something written, and wait until it is durable.

        Raises:
            StoreError: it was not.
        """
        future: asyncio.Future[None] = self.loop.create_future()

        def done(error: StoreError | None) -> None:
            if not future.done():
                if error is None:
                    future.set_result(None)
                else:
                    future.set_exception(error)

        work.done = done
        self._writer.put(work)
        await future

    async def take(
        self, envelope: Envelope, content: bytes, recipients: Sequence[NewRecipient], *, together: Work | None = None
    ) -> Taken:
        """Take a message that was made here; what is in ``together`` is written in the same transaction.

        Raises:
            StoreError: nothing was written.
        """
        incoming = self.begin(envelope)
        work = together if together is not None else Work()
        taken = incoming.rows(work, b"", content, recipients)
        await self.write(work)
        return taken

    def path(self, message: int) -> Path:
        """The file of a message's body."""
        assert self.files is not None
        return self.files.path(message)

    def remove_bodies(self, messages: Iterable[int]) -> None:
        """Remove files of messages whose rows are gone, within ``REMOVE_SECONDS``; those that have none do not mind."""
        if self.files is not None:
            if not self._leftover:
                self.loop.call_later(REMOVE_SECONDS, self._remove)
            self._leftover += messages

    def _remove(self) -> None:
        # In another thread: to free what a large file held takes time.
        leftover, self._leftover = self._leftover, []
        assert self.files is not None
        self.loop.run_in_executor(None, self.files.remove, leftover)
        if self._tidying is None:
            self._tidying = self.loop.create_task(self._tidy(self.files))

    async def _tidy(self, files: BodyFiles) -> None:
        """Until there is no spare left."""
        left = True
        while left:
            await asyncio.sleep(SPARE_SECONDS)
            left = await self.loop.run_in_executor(None, files.tidy)
        self._tidying = None

    def close(self) -> None:
        """Write what was handed in, and end."""
        self._writer.close()
        if self._tidying is not None:
            self._tidying.cancel()
        if self.files is not None:
            self.files.close()
            self.files.remove(self._leftover)


class Incoming:
    """A message on its way in. Give it what comes, then ``commit`` or ``abandon`` it."""

    __slots__ = (
        "_behind",
        "_chunks",
        "_failure",
        "_file",
        "_parts",
        "_size",
        "_spool",
        "_waiter",
        "envelope",
        "held",
        "message",
    )

    def __init__(self, spool: Spool, message: int, envelope: Envelope) -> None:
        self._spool = spool
        self.message = message
        self.envelope = envelope
        self._chunks: list[bytes] = []
        self._size = 0
        self._file: int | None = None
        self._parts = 0
        self._behind = 0
        self._failure: StoreError | None = None
        self._waiter: Callable[[], None] | None = None
        self.held = False
        """Its recipients are to be held from the beginning."""

    @property
    def name(self) -> str:
        """As people see it."""
        return name_of(self.message)

    @property
    def size(self) -> int:
        """Octets that came so far."""
        return self._size

    def write(self, chunk: bytes) -> None:
        """A piece of the message. What goes wrong is told by ``commit``."""
        self._chunks.append(chunk)
        self._size += len(chunk)
        if self._size > self._spool.body_in_database and self._failure is None:
            if self._spool.files is not None:
                self._to_file()
            elif sum(map(len, self._chunks)) >= PART:
                self._to_parts()

    @property
    def is_behind(self) -> bool:
        """More of it waits to be written than is good; ``when_written`` tells when it no longer does."""
        return self._behind > BEHIND

    def when_written(self, call: Callable[[], None]) -> None:
        """Call when it is no longer behind."""
        self._waiter = call

    def vouch(self, domains: tuple[str, ...]) -> None:
        """Note who vouches for it (``Envelope.vouched``)."""
        self.envelope = replace(self.envelope, vouched=domains)

    async def so_far(self) -> SpooledContent:
        """What came, to be looked at before it is kept.

        Raises:
            StoreError: it could not be written.
        """
        if self._parts and self._failure is None:
            if self._chunks:
                self._to_parts()
            await self._spool.write(Work())  # after this all parts are there
        if self._failure is not None:
            raise self._failure
        if self._file is not None:
            return InFile(b"", self._spool.path(self.message), self._size)
        if self._parts:
            return InParts(b"", self._spool.store, self.message, self._size)
        return InMemory(b"".join(self._chunks))

    def commit(
        self, head: bytes, recipients: Sequence[NewRecipient], done: Callable[[Taken | StoreError], None]
    ) -> None:
        """Make it last.

        Args:
            head: fields that we put before it.
            recipients: at least one.
            done: called in the loop with what is durable now, or with why nothing is.
        """
        spool = self._spool
        if self._failure is not None:
            failure = self._failure
            self.abandon()
            spool.loop.call_soon(done, failure)
            return
        if self._file is not None:
            task = spool.loop.create_task(self._commit_file(head, recipients, done))
            _tasks.add(task)
            task.add_done_callback(_tasks.discard)
            return
        work = Work()
        body: bytes | None = b"".join(self._chunks)
        if self._parts:
            self._to_parts()
            body = None
        taken = self.rows(work, head, body, recipients)
        work.done = lambda error: done(taken if error is None else error)
        self._chunks = []
        spool.put(work)

    def rows(self, work: Work, head: bytes, body: bytes | None, recipients: Sequence[NewRecipient]) -> Taken:
        """Put the rows of this message into a piece of work. ``body``: None where it is elsewhere."""
        spool, envelope, message = self._spool, self.envelope, self.message
        now, times = spool.clock(), spool.times
        expires = now + (times.expire if envelope.reverse_path else times.report_expire)
        remind = min(expires, now + times.delay) if times.delay and envelope.reverse_path else expires
        content: SpooledContent
        if body is not None:
            content = InMemory(head + body)
        elif spool.files is not None:
            content = InFile(head, spool.path(message), len(head) + self._size)
        else:
            content = InParts(head, spool.store, message, len(head) + self._size)
        usual = now - (envelope.priority * _PRIORITY_MS if envelope.priority and envelope.priority > 0 else 0)
        waiting = [
            (
                message,
                number,
                each.address,
                domain_of(each.address),
                spool.node,
                "held" if self.held else "apart" if each.apart else "queued",
                0 if each.apart else usual,
                0,
                each.options(),
                "",
            )
            for number, each in enumerate(recipients)
        ]
        work.envelope = envelope
        work.messages = [
            (message, now, expires, remind, envelope.reverse_path, content.size, envelope.to_json(), head, body)
        ]
        work.recipients = waiting
        return Taken(message, envelope, content, waiting, now, expires)

    def abandon(self) -> None:
        """It is not to be; nothing of it stays."""
        self._chunks = []
        if self._file is not None:
            os.close(self._file)
            self._file = None
            self._spool.remove_bodies([self.message])
        if self._parts:
            self._spool.put(Work(histories=[self.message]))
            self._parts = 0

    def _to_file(self) -> None:
        files = self._spool.files
        assert files is not None
        try:
            if self._file is None:
                self._file = files.begin(self.message)
            for chunk in self._chunks:
                view = memoryview(chunk)
                while view:
                    view = view[os.write(self._file, view) :]
        except OSError as error:
            self._failure = file_error(files.path(self.message), error)
        self._chunks = []

    def _to_parts(self) -> None:
        data = b"".join(self._chunks)
        self._chunks = []
        rows = [
            (self.message, self._parts + number, data[at : at + PART])
            for number, at in enumerate(range(0, len(data), PART))
        ]
        self._parts += len(rows)
        self._behind += len(data)

        def done(error: StoreError | None) -> None:
            self._behind -= len(data)
            self._failure = self._failure or error
            if self._waiter is not None and not self.is_behind:
                call, self._waiter = self._waiter, None
                call()

        self._spool.put(Work(done, parts=rows))

    async def _commit_file(
        self, head: bytes, recipients: Sequence[NewRecipient], done: Callable[[Taken | StoreError], None]
    ) -> None:
        spool, descriptor = self._spool, self._file
        assert descriptor is not None
        assert spool.files is not None
        try:
            await spool.loop.run_in_executor(None, spool.files.sync, descriptor, self._size)
        except OSError as error:
            self.abandon()
            done(file_error(spool.path(self.message), error))
            return
        os.close(descriptor)
        self._file = None
        work = Work()
        taken = self.rows(work, head, None, recipients)

        def written(error: StoreError | None) -> None:
            # A row may name it: whoever finds out whether one does removes it.
            if error is not None and not isinstance(error, UncertainStoreError):
                spool.remove_bodies([self.message])
            done(taken if error is None else error)

        work.done = written
        spool.put(work)


_tasks: Final[set[asyncio.Task[None]]] = set()
"""Commits of files that go on; asyncio itself does not keep them."""


def remove_stray_parts(store: Store, ids: int) -> int:
    """At the start: remove parts of bodies that belong to no message, of those that had their numbers from us (see
    ``values.Ids``); others may be writing theirs just now. Returns how many parts."""
    with store.begin() as connection:
        return connection.execute(
            text(
                "DELETE FROM body_parts WHERE (message / 8192) % 256 = :ids"
                " AND NOT EXISTS (SELECT 1 FROM messages WHERE messages.id = body_parts.message)"
            ),
            {"ids": ids},
        ).rowcount


__all__ = ["Done", "Incoming", "Spool", "Taken", "Times", "remove_stray_parts"]
