"""What is decided about a client and its messages, in order: the policy, checks, filters, and at last the spool.

A check is anything with some of the methods of ``Check``. What needs no waiting is answered at once: most messages pass
without a task of asyncio's being made for them.
"""

import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

from mx10.relay.courier.splitting import domain_of
from mx10.relay.courier.values import Content
from mx10.relay.door.policy import Policy
from mx10.relay.door.users import Users
from mx10.relay.door.values import Admitted, Decision, Refused, Visitor
from mx10.relay.spool.spool import Spool, Taken
from mx10.relay.turns import TurnEnd
from mx10.relay.values import Envelope, NewRecipient
from mx10.smtp.replies import Reply
from mx10.smtp.syntax import MailParameters, RcptParameters
from mx10.store.errors import StoreError, StoreFullError
from mx10.values import value_class

FREE_BYTES: Final = 64 << 20
"""Room that has to be left on the disk besides a message, or none is taken."""
_LOOK_SECONDS: Final = 1.0
_NO_ROOM: Final = Reply.of(452, "4.3.1", "no room is left here just now; try again later")
_UNSURE: Final = Reply.of(451, "4.4.3", "whether we take mail for this domain cannot be said now; try again later")
_BROKEN: Final = Reply.of(451, "4.3.0", "the message could not be kept; try again later")
_FAILED: Final = Reply.of(451, "4.3.0", "something went wrong here; try again later")


class Check:
    """What may be asked about a client; each answers None for no objection."""

    def connect(self, visitor: Visitor) -> Decision:
        """It is here."""
        return None

    def mail(self, visitor: Visitor, parameters: MailParameters) -> Decision:
        """It begins a message."""
        return None

    def recipient(self, visitor: Visitor, mail: MailParameters, recipient: str) -> Decision:
        """It names a recipient that the policy has no objection to."""
        return None

    def failed(self, visitor: Visitor, what: str) -> Reply | None:
        """Something it wanted was refused: a word for what, as ``Door.counts`` has it. A reply: it went too far, and is
        told this instead."""
        return None

    def left(self, visitor: Visitor) -> None:
        """It is gone."""


@runtime_checkable
class Verifier(Protocol):
    """Knows whether recipients exist."""

    def admit(self, visitor: Visitor, recipient: NewRecipient) -> Admitted | Awaitable[Admitted]:
        """The recipient, perhaps set apart; or why not."""


@value_class
class Judged:
    """What was found out about a whole message.

    Attributes:
        reply: why it is not taken; None: it is.
        head: fields to put before it.
        vouched: as ``values.Envelope``.
        held: it is to wait for somebody's decision: why.
        content: to take instead of what came; None: as it came.
        discarded: say that it was taken, and forget it.
        reverse_path, recipients: from now on; None: as they were.
    """

    reply: Reply | None = None
    head: bytes = b""
    vouched: tuple[str, ...] = ()
    held: str = ""
    content: Content | None = None
    discarded: bool = False
    reverse_path: str | None = None
    recipients: tuple[NewRecipient, ...] | None = None


Judge = Callable[[Visitor, Envelope, Sequence[NewRecipient], Content], Awaitable[Judged]]
"""Looks at whole messages. It may have a method ``wants`` with the first three of these, which says whether at this
one."""


class Door:
    """What all connections share.

    Args:
        taken: told of each message that is durable.
        judges: asked about each whole message, in order.
        hops: Received fields from which on a message goes in circles.
        ask: whether a domain is ours, where the policy cannot say; None: nobody can say that now.
    """

    def __init__(
        self,
        hostname: str,
        spool: Spool,
        policy: Policy,
        taken: Callable[[Taken], None],
        *,
        checks: Sequence[Check] = (),
        verifier: Verifier | None = None,
        judges: Sequence[Judge] = (),
        users: Users | None = None,
        hops: int = 100,
        ask: Callable[[str], Awaitable[bool | None]] | None = None,
    ) -> None:
        self.hostname = hostname
        self.spool = spool
        self.policy = policy
        self.taken = taken
        self.verifier = verifier
        self.judges = judges
        self._wants = [getattr(judge, "wants", _everything) for judge in judges]
        self.users = users
        self.hops = hops
        self.ask = ask
        self.turn_end = TurnEnd()
        self.counts: Counter[tuple[str, str]] = Counter()
        """(what, why): ``accepted`` and ``refused`` with a reason, for the metrics."""
        self._checks = {
            phase: [getattr(each, phase) for each in checks if getattr(type(each), phase) is not getattr(Check, phase)]
            for phase in ("connect", "mail", "recipient", "failed", "left")
        }
        self._looked = 0.0
        self._free = 1 << 62

    def connect(self, visitor: Visitor) -> Decision:
        """Whether a client is to be greeted."""
        return self._ask("connect", visitor)

    def mail(self, visitor: Visitor, parameters: MailParameters) -> Decision:
        """Whether a message may begin."""
        refusal = self.policy.sender(visitor)
        size = parameters.size or 0
        if refusal is None and self.free() < FREE_BYTES + 2 * size:
            refusal = Refused(_NO_ROOM, "full")
        # Until the disk is looked at again, what is announced counts as there.
        self._free -= size
        return refusal or self._ask("mail", visitor, parameters)

    def recipient(
        self, visitor: Visitor, mail: MailParameters, parameters: RcptParameters
    ) -> Admitted | Awaitable[Admitted]:
        """Whether a message may go to somebody, and to whom then."""
        found = self.policy.recipient(visitor, parameters.recipient)
        if found is None:
            return self._ask_first(visitor, mail, parameters)
        if isinstance(found, Refused):
            return found
        return self._permitted(visitor, mail, parameters, found)

    async def _ask_first(self, visitor: Visitor, mail: MailParameters, parameters: RcptParameters) -> Admitted:
        assert self.ask is not None
        ours = await self.ask(domain_of(parameters.recipient))
        if ours is None:
            return Refused(_UNSURE, "unsure")
        found = self.policy.recipient(visitor, parameters.recipient, ours=ours)
        assert found is not None
        if isinstance(found, Refused):
            return found
        admitted = self._permitted(visitor, mail, parameters, found)
        return admitted if isinstance(admitted, (NewRecipient, Refused)) else await admitted

    def _permitted(
        self, visitor: Visitor, mail: MailParameters, parameters: RcptParameters, found: str
    ) -> Admitted | Awaitable[Admitted]:
        recipient = NewRecipient(found, parameters.notify, parameters.orcpt)
        # As it was named: our postmaster's mail goes to somebody whose name says nothing of that.
        named = parameters.recipient
        refusal = self._ask("recipient", visitor, mail, named) if self._checks["recipient"] else None
        if refusal is not None:
            return refusal if isinstance(refusal, Refused) else self._admit(visitor, recipient, refusal)
        if self.verifier is None or visitor.may_relay:
            return recipient
        return self.verifier.admit(visitor, recipient)

    async def _admit(self, visitor: Visitor, recipient: NewRecipient, asked: Awaitable[Refused | None]) -> Admitted:
        refusal = await asked
        if refusal is not None:
            return refusal
        if self.verifier is None or visitor.may_relay:
            return recipient
        admitted = self.verifier.admit(visitor, recipient)
        return admitted if isinstance(admitted, (NewRecipient, Refused)) else await admitted

    def wants_judging(self, visitor: Visitor, envelope: Envelope, recipients: Sequence[NewRecipient]) -> bool:
        """Whether any judge wants to look at a message."""
        for wants in self._wants:  # noqa: SIM110 - with every message
            if wants(visitor, envelope, recipients):
                return True
        return False

    async def judge(
        self, visitor: Visitor, envelope: Envelope, recipients: Sequence[NewRecipient], content: Content
    ) -> Judged:
        """What the judges say, all together; the first that refuses, refuses."""
        head, vouched, held = b"", envelope.vouched, ""
        changed: Content | None = None
        sender: str | None = None
        going: Sequence[NewRecipient] | None = None
        for judge, wants in zip(self.judges, self._wants, strict=True):
            if not wants(visitor, envelope, recipients):
                continue
            said = await judge(visitor, envelope, recipients, content)
            if said.reply is not None or said.discarded:
                return said
            head += said.head
            vouched += said.vouched
            held = held or said.held
            # Whoever is asked next sees what those before it made of the message.
            if said.content is not None:
                content = changed = said.content
            if said.reverse_path is not None:
                sender = said.reverse_path
                envelope = replace(envelope, reverse_path=sender)
            if said.recipients is not None:
                recipients = going = said.recipients
        return Judged(
            head=head,
            vouched=vouched,
            held=held,
            content=changed,
            reverse_path=sender,
            recipients=None if going is None else tuple(going),
        )

    def failed(self, visitor: Visitor, what: str) -> Reply | None:
        """Something was refused. Returns what to say instead, where that was too much."""
        self.counts["refused", what] += 1
        instead: Reply | None = None
        for call in self._checks["failed"]:
            instead = call(visitor, what) or instead
        return instead

    def left(self, visitor: Visitor) -> None:
        """A client is gone."""
        for call in self._checks["left"]:
            call(visitor)

    def free(self) -> int:
        """Octets that are left on the disk of the spool."""
        now = time.monotonic()
        if now - self._looked > _LOOK_SECONDS:
            self._looked = now
            path: Path | None = self.spool.store.path
            if path is not None:
                try:
                    found = os.statvfs(path.parent)
                    self._free = found.f_bavail * found.f_frsize
                except OSError:
                    self._free = 1 << 62  # the write itself will tell
        return self._free

    def _ask(self, phase: str, *arguments: object) -> Decision:
        asked = self._checks[phase]
        for at, call in enumerate(asked):
            said = call(*arguments)
            if said is not None:
                if isinstance(said, Refused):
                    return said
                return self._go_on(said, asked[at + 1 :], arguments)
        return None

    async def _go_on(
        self, first: Awaitable[Refused | None], others: Sequence[Callable[..., Decision]], arguments: Sequence[object]
    ) -> Refused | None:
        said = await first
        for call in others:
            if said is not None:
                break
            found = call(*arguments)
            said = found if found is None or isinstance(found, Refused) else await found
        return said


def _everything(_visitor: Visitor, _envelope: Envelope, _recipients: Sequence[NewRecipient]) -> bool:
    return True


def error_reply(error: StoreError) -> Reply:
    """What a client is told where its message could not be kept."""
    return _NO_ROOM if isinstance(error, StoreFullError) else _BROKEN


def failure_reply(error: BaseException) -> Reply:
    """What a client is told after a fault of ours."""
    del error
    return _FAILED
