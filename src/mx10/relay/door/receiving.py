"""The messages of one connection, one after the other (a mail transaction each, RFC 5321 section 3.3): sender,
recipients and content, until it is kept or refused. No socket lives here: what is said goes out by the connection.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Any, Final

from mx10.logs import get_logger
from mx10.relay.courier.values import Content
from mx10.relay.door.door import Door, Judged, error_reply
from mx10.relay.door.header import HeaderReader
from mx10.relay.door.trace import date, no_results, received
from mx10.relay.door.values import Admitted, Refused, Visitor
from mx10.relay.spool.spool import Incoming, Taken
from mx10.relay.values import Envelope, NewRecipient, name_of
from mx10.smtp.replies import Reply
from mx10.smtp.syntax import MailParameters, RcptParameters
from mx10.store.errors import StoreError

_OK: Final = Reply.of(250, "2.1.0", "sender ok")
_SLOWER: Final = Reply.of(250, "2.3.6", "0 is its priority: only users and trusted networks may ask for a higher one")
_RECIPIENT_OK: Final = Reply.of(250, "2.1.5", "recipient ok")
_LOOP: Final = Reply.of(554, "5.4.6", "the message goes in circles: it was here before, or passed on too often")
_DROPPED: Final = Reply.of(250, "2.0.0", "ok")

log = get_logger("relay")


class Receiving:
    """What a connection asks for each event that belongs to a message.

    A reply is returned where it is known at once, else None: then ``answer`` is called with it.

    Args:
        clock: milliseconds since 1970.
        later: goes on with what has to wait; there is one such thing at a time.
        answer: says a reply, unless the client is gone.

    Attributes:
        incoming: the message whose content comes just now.
        began: when its content began, as the loop counts seconds; 0: it has not.
        idle_since: when the last one was kept, or the first could have come.
        is_over: the client is gone; nothing is decided for it any more.
    """

    def __init__(
        self,
        door: Door,
        visitor: Visitor,
        clock: Callable[[], int],
        later: Callable[[Coroutine[Any, Any, None]], None],
        answer: Callable[[Reply], None],
    ) -> None:
        self._door = door
        self._visitor = visitor
        self._clock = clock
        self._later = later
        self._answer = answer
        self._loop = asyncio.get_running_loop()
        self._header: HeaderReader | None = None
        self._mail: MailParameters | None = None
        self._recipients: list[NewRecipient] = []
        self._named: set[str] = set()
        self.incoming: Incoming | None = None
        self.began = 0.0
        self.idle_since = self._loop.time()
        self.is_over = False

    # ---------------------------------------------------------------- the envelope

    def mail(self, parameters: MailParameters) -> Reply | None:
        """A sender."""
        fine = _OK
        if parameters.priority and parameters.priority > 0 and not self._visitor.may_relay:
            # RFC 6710 section 4.1: anybody would be the first in the queue else.
            parameters, fine = replace(parameters, priority=0), _SLOWER
        self._mail = parameters
        self._recipients, self._named = [], set()
        decision = self._door.mail(self._visitor, parameters)
        if decision is None:
            return fine
        if isinstance(decision, Refused):
            return self._refuse(decision.reply, decision.what)
        self._later(self._decide(decision, fine))
        return None

    async def _decide(self, decision: Awaitable[Refused | None], fine: Reply) -> None:
        refused = await decision
        if not self.is_over:
            self._answer(fine if refused is None else self._refuse(refused.reply, refused.what))

    def recipient(self, parameters: RcptParameters) -> Reply | None:
        """A recipient."""
        assert self._mail is not None
        admitted = self._door.recipient(self._visitor, self._mail, parameters)
        if isinstance(admitted, (NewRecipient, Refused)):
            return self._admitted(admitted, parameters.recipient)
        self._later(self._admit(admitted, parameters.recipient))
        return None

    async def _admit(self, awaited: Awaitable[Admitted], recipient: str) -> None:
        admitted = await awaited
        if not self.is_over:
            self._answer(self._admitted(admitted, recipient))

    def _admitted(self, admitted: Admitted, recipient: str) -> Reply:
        if isinstance(admitted, Refused):
            return self._refuse(admitted.reply, admitted.what, recipient)
        if admitted.address not in self._named:
            # Named twice it gets one copy.
            self._named.add(admitted.address)
            self._recipients.append(admitted)
        return _RECIPIENT_OK

    def _refuse(self, reply: Reply, what: str, recipient: str = "") -> Reply:
        visitor = self._visitor
        reply = self._door.failed(visitor, what) or reply
        sender = self._mail.reverse_path if self._mail is not None else ""
        whom = {"to": recipient} if recipient else {}
        log.info("refused", client=visitor.text, helo=visitor.helo, sender=sender, **whom, what=what, reply=str(reply))
        return reply

    # ---------------------------------------------------------------- the content

    def content(self, data: bytes) -> None:
        """A piece of the message."""
        incoming = self.incoming
        if incoming is None:
            mail = self._mail
            assert mail is not None
            visitor = self._visitor
            self.began = self._loop.time()
            self._header = HeaderReader(self._door.hostname)
            incoming = self.incoming = self._door.spool.begin(
                Envelope(
                    mail.reverse_path,
                    mail.body,
                    mail.smtputf8,
                    mail.ret,
                    mail.envid,
                    mail.requiretls,
                    mail.priority,
                    visitor.text,
                    visitor.helo,
                    visitor.tls,
                    visitor.user,
                    # The session sees to it, but for BINARYMIME.
                    whole_lines=mail.body != "BINARYMIME",
                )
            )
        assert self._header is not None
        if kept := self._header.feed(data):
            self._put(incoming, kept)

    def _put(self, incoming: Incoming, kept: bytes) -> None:
        """A piece of the message to keep; the first one has all of its header."""
        header, visitor = self._header, self._visitor
        assert header is not None
        if not incoming.size and visitor.kind != "mx":
            # RFC 6409 section 8; before filters see it, as they may sign it.
            if not header.has(b"date"):
                incoming.write(f"Date: {date(self._clock() // 1000)}\r\n".encode())
            if not header.has(b"message-id"):
                incoming.write(f"Message-ID: <{incoming.name}@{self._door.hostname}>\r\n".encode())
        incoming.write(kept)

    def end(self) -> Reply | None:
        """The message is whole. What is returned refuses it; that it was taken, ``answer`` says when it is durable."""
        if self.incoming is None:
            self.content(b"")
        incoming, header = self.incoming, self._header
        assert incoming is not None
        assert header is not None
        rest = header.finish()
        if rest or not incoming.size:
            self._put(incoming, rest)
        self.began = 0.0
        fault = header.fault or (_LOOP if self._circles(header) else None)
        if fault is not None:
            self.forget()
            return self._refuse(fault, "loop" if fault is _LOOP else "header")
        if header.tls_optional:
            _note_tls(incoming, header)
        if self._door.wants_judging(self._visitor, incoming.envelope, self._recipients):
            self._later(self._judge(incoming))
        else:
            self._keep(incoming, self._nothing_found(), self._recipients)
        return None

    def forget(self) -> None:
        """There is no message any more."""
        if self.incoming is not None:
            self.incoming.abandon()
        self.incoming = self._header = None
        self.began = 0.0

    def leave(self) -> None:
        """The client is gone, and its connection is not needed any more; that a message was taken is still heard of."""
        self.is_over = True
        self.forget()
        # Else they hold each other, and are there until Python looks for such: it seldom does.
        self._later, self._answer = _never, _to_nobody

    def _circles(self, header: HeaderReader) -> bool:
        if header.received >= self._door.hops:
            return True
        return bool(header.delivered_to) and any(
            each.address.lower() in header.delivered_to for each in self._recipients
        )

    # ---------------------------------------------------------------- what becomes of it

    async def _judge(self, incoming: Incoming) -> None:
        try:
            content = await incoming.so_far()
        except StoreError as error:
            self.forget()
            self._kept(error)
            return
        judged: Judged = await self._door.judge(self._visitor, incoming.envelope, self._recipients, content)
        if self.is_over:
            return
        if judged.reply is not None:
            self.forget()
            self._answer(self._refuse(judged.reply, "filter"))
            return
        if judged.discarded:
            self.forget()
            self._door.counts["discarded", "filter"] += 1
            self._answer(_DROPPED)
            return
        if judged.content is not None:
            incoming = await self._replaced(incoming, judged.content)
        if judged.reverse_path is not None:
            incoming.envelope = replace(incoming.envelope, reverse_path=judged.reverse_path)
        incoming.vouch(judged.vouched)
        incoming.held = bool(judged.held)
        recipients = self._recipients if judged.recipients is None else list(judged.recipients)
        # Filters write what they found into the header, if they say it.
        found = judged.head or (b"" if judged.content is not None else self._nothing_found())
        self._keep(incoming, found, recipients)

    async def _replaced(self, incoming: Incoming, content: Content) -> Incoming:
        """A message as filters want it, in the place of the one that came.

        Raises:
            OSError: what came cannot be read.
        """
        # What a filter gives as a line is not known.
        new = self._door.spool.begin(replace(incoming.envelope, whole_lines=False))
        header = HeaderReader(self._door.hostname)
        is_ascii = True
        try:
            async for chunk in content.chunks():
                is_ascii = is_ascii and chunk.isascii()
                header.feed(chunk)
                new.write(chunk)
                if new.is_behind:
                    written = asyncio.Event()
                    new.when_written(written.set)
                    await written.wait()
        except BaseException:
            new.abandon()
            raise
        if not is_ascii and new.envelope.body == "7BIT":
            new.envelope = replace(new.envelope, body="8BITMIME")
        header.finish()
        _note_tls(new, header)
        incoming.abandon()
        self.incoming = new
        return new

    def _nothing_found(self) -> bytes:
        """Stands in a stranger's message for what would be found out about its sender."""
        return b"" if self._visitor.may_relay else no_results(self._door.hostname)

    def _keep(self, incoming: Incoming, found: bytes, recipients: list[NewRecipient]) -> None:
        """Have it written, with what was found out about it and our Received above all it has."""
        envelope, named = incoming.envelope, self._recipients
        only = named[0].address if len(named) == 1 else ""
        trace = received(
            self._visitor,
            self._door.hostname,
            incoming.name,
            self._clock(),
            recipient=only,
            utf8=envelope.smtputf8,
            priority=envelope.priority,
        )
        self.incoming = self._header = None
        incoming.commit(found + trace, recipients, self._kept)

    def _kept(self, outcome: Taken | StoreError) -> None:
        door, visitor = self._door, self._visitor
        if isinstance(outcome, Taken):
            door.counts["accepted", visitor.kind] += 1
            self.idle_since = self._loop.time()
            # Even where the client is gone: it is ours now. It may send it again; that is what SMTP does then.
            door.taken(outcome)
            self._answer(Reply.of(250, "2.0.0", f"kept as {name_of(outcome.message)}"))
        else:
            door.failed(visitor, "spool")
            log.error("a message could not be kept", client=visitor.text, cause=str(outcome))
            self._answer(error_reply(outcome))


def _never(work: Coroutine[Any, Any, None]) -> None:
    work.close()


def _to_nobody(_reply: Reply) -> None:
    pass


def _note_tls(incoming: Incoming, header: HeaderReader) -> None:
    """Whether its header says that it may go without TLS; who asked for REQUIRETLS is not heard (RFC 8689 section
    4.1)."""
    envelope = incoming.envelope
    optional = header.tls_optional and not envelope.requiretls
    if optional is not envelope.tls_optional:
        incoming.envelope = replace(envelope, tls_optional=optional)
