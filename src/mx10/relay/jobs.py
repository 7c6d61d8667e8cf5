"""A message on its way to one next hop, as the dispatcher has it in memory."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from mx10.relay import loading
from mx10.relay.courier.values import Content, Letter
from mx10.relay.loading import Message
from mx10.relay.spool.opening import Opened
from mx10.relay.values import Waiting, name_of
from mx10.store.errors import StoreError


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
