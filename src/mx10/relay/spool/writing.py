"""The one thread that writes the spool: *group commit*. All that was handed in while the last transaction went to disk
shares the next one; it never waits for more to come.

A ``Work`` is done wholly or not at all. Where a transaction fails, what shared it is tried again one by one, so that
nobody pays for another's fault.
"""

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Protocol

from mx10.logs import get_logger
from mx10.relay.values import Envelope
from mx10.store.connect import Store
from mx10.store.errors import StoreBusyError, StoreError, StoreFullError, StoreReadOnlyError, StoreUnreachableError
from mx10.store.lasting import Lasting, lasting

MAX_GROUP: Final = 1000
"""Pieces of work of one transaction."""
_FOR_ALL: Final = (StoreBusyError, StoreFullError, StoreReadOnlyError, StoreUnreachableError)
"""Errors that the next piece of work would meet, too."""

MESSAGE_COLUMNS: Final = "id, arrived_at, expires_at, remind_at, reverse_path, size, envelope, head, body"
RECIPIENT_COLUMNS: Final = "message, number, address, domain, node, state, due_at, attempts, options, last"

log = get_logger("spool")

Done = Callable[[StoreError | None], None]


@dataclass(slots=True)
class Work:
    """Rows to write and to delete in one transaction.

    Attributes:
        envelope: of the one message among ``messages``, for who has to know it elsewhere.
        messages, recipients: new rows, as ``MESSAGE_COLUMNS`` and ``RECIPIENT_COLUMNS``.
        parts: new rows (message, part, data).
        gone: messages to forget with all their recipients.
        histories: those of them that had attempts or parts.
        settled: (message, number) of recipients to forget.
        later: (due_at, attempts, last, message, number) of recipients that stay.
        attempts: rows (message, number, at, outcome).
        reminded: (remind_at, message).
        statements: any others, each with its rows.
        done: called in the loop when it is durable, or with the error.
    """

    done: Done | None = None
    envelope: Envelope | None = None
    messages: Sequence[tuple[object, ...]] = ()
    recipients: Sequence[tuple[object, ...]] = ()
    parts: Sequence[tuple[object, ...]] = ()
    gone: Sequence[int] = ()
    histories: Sequence[int] = ()
    settled: Sequence[tuple[int, int]] = ()
    later: Sequence[tuple[int, int, str, int, int]] = ()
    attempts: Sequence[tuple[int, int, int, str]] = ()
    reminded: Sequence[tuple[int, int]] = ()
    statements: Sequence[tuple[str, Sequence[Sequence[object]]]] = ()


@dataclass(slots=True)
class _Together:
    """What several pieces of work come to."""

    messages: list[tuple[object, ...]] = field(default_factory=list)
    recipients: list[tuple[object, ...]] = field(default_factory=list)
    parts: list[tuple[object, ...]] = field(default_factory=list)
    gone: list[int] = field(default_factory=list)
    histories: list[int] = field(default_factory=list)
    settled: list[tuple[int, int]] = field(default_factory=list)
    later: list[tuple[int, int, str, int, int]] = field(default_factory=list)
    attempts: list[tuple[int, int, int, str]] = field(default_factory=list)
    reminded: list[tuple[int, int]] = field(default_factory=list)
    statements: list[tuple[str, Sequence[Sequence[object]]]] = field(default_factory=list)

    def add(self, work: Work) -> None:
        self.messages += work.messages
        self.recipients += work.recipients
        self.gone += work.gone
        self.parts += work.parts
        self.histories += work.histories
        self.settled += work.settled
        self.later += work.later
        self.attempts += work.attempts
        self.reminded += work.reminded
        self.statements += work.statements

    def write(self, to: Lasting) -> None:
        to.insert("messages", MESSAGE_COLUMNS, self.messages)
        to.insert("recipients", RECIPIENT_COLUMNS, self.recipients)
        to.insert("body_parts", "message, part, data", self.parts)
        to.insert("attempts", "message, number, at, outcome", self.attempts)
        # Held by a command while it was on its way: it stays held.
        to.each("UPDATE recipients SET due_at = ?, attempts = ?, last = ? WHERE message = ? AND number = ?", self.later)
        to.each("UPDATE messages SET remind_at = ? WHERE id = ?", self.reminded)
        to.each("DELETE FROM recipients WHERE message = ? AND number = ?", self.settled)
        to.among("DELETE FROM recipients WHERE message IN", self.gone)
        to.among("DELETE FROM messages WHERE id IN", self.gone)
        to.among("DELETE FROM attempts WHERE message IN", self.histories)
        to.among("DELETE FROM body_parts WHERE message IN", self.histories)
        for statement, rows in self.statements:
            to.each(statement, rows)


class Writing(Protocol):
    """Has work written."""

    def put(self, work: Work) -> None:
        """Hand in a piece of work; its ``done`` is called in the loop."""

    def close(self) -> None:
        """Write what was handed in, and end."""


class Writer:
    """The thread. It begins at once; ``close`` ends it when all is written.

    Args:
        loop: where ``Work.done`` is called.
    """

    def __init__(self, store: Store, loop: asyncio.AbstractEventLoop) -> None:
        self._to = lasting(store)
        self._loop = loop
        self._waiting: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="spool", daemon=True)
        self._thread.start()

    def put(self, work: Work) -> None:
        """Hand in a piece of work."""
        self._waiting.put(work)

    def close(self) -> None:
        """Write what was handed in, and end. Waits for it."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        ended = False
        while not ended:
            group: list[Work] = []
            work = self._waiting.get()
            while True:
                if work is None:
                    ended = True
                    break
                group.append(work)
                if len(group) >= MAX_GROUP:
                    break
                try:
                    work = self._waiting.get_nowait()
                except queue.Empty:
                    break
            if group:
                self._write(group)
        self._to.close()

    def _write(self, group: list[Work]) -> None:
        error = self._try(group)
        if error is not None and len(group) > 1 and not isinstance(error, _FOR_ALL):
            for work in group:
                self._tell([work], self._try([work]))
            return
        self._tell(group, error)

    def _try(self, group: list[Work]) -> StoreError | None:
        together = _Together()
        for work in group:
            together.add(work)
        try:
            with self._to.translated():
                self._to.begin()
                together.write(self._to)
                self._to.commit()
        except StoreError as error:
            self._to.undo()
            return error
        except Exception as error:  # a fault of ours: the thread has to live, and whoever waits to hear of it
            log.exception("the spool could not be written")
            self._to.undo()
            return StoreError(f"the spool could not be written ({error}); tell the authors of mx10")
        return None

    def _tell(self, group: list[Work], error: StoreError | None) -> None:
        if any(work.done is not None for work in group):
            with suppress(RuntimeError):  # the loop has ended; nobody waits any more
                self._loop.call_soon_threadsafe(_told, group, error)


def _told(group: list[Work], error: StoreError | None) -> None:
    for work in group:
        if work.done is not None:
            try:
                work.done(error)
            except Exception:
                log.exception("what was to follow a commit failed")
