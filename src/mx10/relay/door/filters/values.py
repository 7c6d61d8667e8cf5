"""What a filter says about a message."""

from collections.abc import Sequence
from typing import Literal, Protocol

from mx10.relay.courier.values import Content
from mx10.relay.door.values import Visitor
from mx10.relay.values import Envelope, NewRecipient
from mx10.smtp.replies import Reply
from mx10.values import value_class


class FilterError(Exception):
    """A filter said nothing that can be followed: which, and what happened."""


EditKind = Literal["add", "insert", "change", "remove"]


@value_class
class Edit:
    """A change of the header.

    Attributes:
        kind: ``add``: behind all other fields; ``insert``: before the field number ``index``, from 0; ``change``: the
            field of that name number ``index``, from 1, or added where there is none; an empty value removes it;
            ``remove``: the field of that name number ``index``, from 1, or from -1 backwards; 0: all of them.
        name: of the field; printable ASCII without a colon.
        value: what stands behind the colon, without the space there; lines end in CR LF.
        is_whole: the value has the white space behind the colon in it.
    """

    kind: EditKind
    index: int
    name: str
    value: bytes
    is_whole: bool = False


@value_class
class Verdict:
    """What a filter wants.

    Attributes:
        reply: why the message is not taken; None: it is.
        discarded: say that it was taken, and forget it.
        held: it is to wait for somebody's decision: why.
        edits: of the header, in their order.
        body: to take instead of what came.
        sender: the reverse path from now on; empty: nobody.
        added, removed: recipients.
    """

    reply: Reply | None = None
    discarded: bool = False
    held: str = ""
    edits: tuple[Edit, ...] = ()
    body: bytes | None = None
    sender: str | None = None
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


class Filter(Protocol):
    """Somebody who judges whole messages. ``name``: as it is configured."""

    name: str

    async def judge(
        self, visitor: Visitor, envelope: Envelope, recipients: Sequence[NewRecipient], content: Content
    ) -> Verdict:
        """What it says.

        Raises:
            FilterError: nothing that can be followed.
            OSError: the content cannot be read, or the filter not be reached.
        """

    async def close(self) -> None:
        """Ask no more."""
