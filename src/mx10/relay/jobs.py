"""A message on its way to one next hop, and the memory that holds it until it is there."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from mx10.relay import loading
from mx10.relay.courier.values import Content, Letter
from mx10.relay.loading import Message
from mx10.relay.spool.opening import Opened
from mx10.relay.values import Waiting, name_of
from mx10.store.errors import StoreError

CONTENT_BYTES: Final = 64 << 20
"""Octets of contents that are kept in memory from when they came."""


class FromSpool:
    """Content that is read when it is wanted."""

    __slots__ = ("_message", "_opened", "size")

    def __init__(self, opened: Opened, message: Message) -> None:
        self._opened, self._message, self.size = opened, message.id, message.size

    async def chunks(self) -> AsyncIterator[bytes]:
        """From the beginning.

        Raises:
            OSError: it cannot be read, or is gone.
        """
        try:
            found = await asyncio.to_thread(loading.content, self._opened, self._message)
        except (StoreError, LookupError) as error:
            raise OSError(str(error)) from error
        async for chunk in found.chunks():
            yield chunk


@dataclass(slots=True)
class Job:
    """A message for some recipients that share a next hop.

    Attributes:
        whole: they are all that the message has.
        size: octets of content that it keeps in memory.
        changed: a command did something to it while it was on its way.
        began: to be on its way; milliseconds since 1970.
    """

    message: Message
    letter: Letter
    recipients: dict[int, Waiting]
    whole: bool
    size: int = 0
    changed: bool = False
    began: int = 0


def letter_of(message: Message, content: Content) -> Letter:
    """What the courier is given of a message."""
    envelope = message.envelope
    return Letter(
        name_of(message.id),
        envelope.reverse_path,
        content,
        envelope.body,
        envelope.smtputf8,
        envelope.ret,
        envelope.envid,
        envelope.requiretls,
        envelope.priority,
        envelope.whole_lines,
        envelope.tls_optional,
    )


class Memory:
    """What of the spool is in memory. All else is in the database alone.

    Attributes:
        most: recipients that may be.
        recipients: those that are: message, and number.
        content: octets of contents that are.
        wake: set when there is room again, or something may be due before it was thought to be.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.recipients: set[tuple[int, int]] = set()
        self.content = 0
        self.wake = asyncio.Event()
        self._reads: list[set[tuple[int, int]]] = []

    def drop(self, job: Job) -> None:
        """It is no longer here."""
        if len(self.recipients) >= self.most:
            self.wake.set()
        keys = [(job.message.id, number) for number in job.recipients]
        self.recipients.difference_update(keys)
        for left in self._reads:
            left.update(keys)
        self.content -= job.size
        job.size = 0

    @contextmanager
    def reading(self) -> Iterator[set[tuple[int, int]]]:
        """While something is being read: the recipients that leave memory meanwhile. It may still show them."""
        left: set[tuple[int, int]] = set()
        self._reads.append(left)
        try:
            yield left
        finally:
            self._reads = [each for each in self._reads if each is not left]
