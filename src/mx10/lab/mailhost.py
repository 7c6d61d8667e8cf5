"""An exchanger of the lab that takes mail: a small host that does what SMTP says, keeps what it took for a while in
memory, and can be told to be down.

It takes mail for the domains whose MX records name it, and for no others. Of their addresses those exist that its TXT
record names; where it names none all do but ``nobody``. ``later`` is never to be reached now. So refusals can be seen.
"""

import asyncio
import socket
import ssl
import time
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final, Literal

from mx10.lab.plan import MailPlace
from mx10.logs import get_logger
from mx10.relay.door.trace import received
from mx10.relay.door.values import Visitor
from mx10.smtp.receiving import Closing, Content, ContentEnds, Event, Hello, Mail, Rcpt, Reset, ServerOptions, StartTls
from mx10.smtp.replies import Reply
from mx10.smtp.server import MAX_PIPELINED, ServerSession
from mx10.smtp.syntax import RcptParameters

MAX_MESSAGE: Final = 10 << 20
"""Octets of a message."""
MAX_RECIPIENTS: Final = 100
MAX_CONNECTIONS: Final = 100
"""Open to one exchanger; one more is told to come later."""
MAX_COMING: Final = 64 << 20
"""Octets of messages that are just coming, over all exchangers of the lab."""
KEPT: Final = 100
"""Messages that are kept, over all exchangers; the oldest make room for others."""
KEPT_OCTETS: Final = 64 << 20
"""Octets of them."""
IDLE_SECONDS: Final = 60.0
"""How long a client may say nothing."""
CONNECTION_SECONDS: Final = 3600.0
"""How long a connection may last, however busy it is."""

UNKNOWN: Final = "nobody"
NOT_NOW: Final = "later"
"""Local parts that are refused: for good, unless they are named, and for now."""

Health = Literal["up", "down", "silent", "busy"]
"""``down``: connections are refused; ``silent``: taken, and nothing is said; ``busy``: turned away with 421."""

_OK: Final = Reply.of(250, "2.1.0", "sender ok")
_RECIPIENT_OK: Final = Reply.of(250, "2.1.5", "recipient ok")
_LATER: Final = Reply.of(450, "4.2.1", f"nobody reaches {NOT_NOW} at the moment; try again")
_FOREIGN: Final = Reply.of(
    550, "5.7.1", "the MX records of this domain do not name this host; send it to those they name"
)
_BUSY: Final = Reply.of(421, "4.3.2", "this host was told to be busy; come again")
_CROWDED: Final = Reply.of(421, "4.3.2", f"{MAX_CONNECTIONS} connections are open already; come again")
_SLOW: Final = Reply.of(421, "4.4.2", "that took too long; come again")
_NO_ROOM: Final = Reply.of(452, "4.3.1", "too much mail is coming at the same time; try again")

log = get_logger("lab")


@dataclass(frozen=True, slots=True)
class Message:
    """A message that an exchanger took.

    Attributes:
        number: counted from 1 while the lab runs.
        host: who took it.
        at: milliseconds since 1970.
        sender: the reverse path; empty: a bounce.
        client: address it came from, and ``helo``, what the client called itself.
        content: with the trace fields of the last host before it (RFC 5321 section 4.4).
    """

    number: int
    host: str
    at: int
    sender: str
    recipients: tuple[str, ...]
    client: str
    helo: str
    content: bytes


@dataclass(slots=True)
class Mailbox:
    """What all exchangers of the lab have taken, the oldest first; bounded in number and octets."""

    messages: "deque[Message]" = field(default_factory=deque)
    octets: int = 0
    taken: int = 0
    coming: int = 0
    """Octets of messages on their way in."""

    def add(self, message: Message) -> None:
        """Keep a message, numbered ``taken + 1``."""
        self.taken = message.number
        self.messages.append(message)
        self.octets += len(message.content)
        while len(self.messages) > KEPT or self.octets > KEPT_OCTETS:
            self.octets -= len(self.messages.popleft().content)

    def find(self, number: int) -> Message | None:
        """The message of that number, while it is kept."""
        return next((each for each in self.messages if each.number == number), None)


class MailHost:
    """One exchanger.

    Args:
        name: with A-labels, without a final dot.
        port: at each of its addresses.
        tls: for STARTTLS; None: it offers none.

    Attributes:
        domains: whose mail it takes, and ``people``: local parts that exist (empty: all); to be set anew when the zones
            say otherwise.
        taken: messages so far.
        fault: why it does not listen although it should; empty: it does.
    """

    def __init__(self, name: str, port: int, place: MailPlace, box: Mailbox, tls: ssl.SSLContext | None = None) -> None:
        self.name = name
        self.addresses = place.addresses
        self.port = port
        self.domains: Collection[str] = place.domains
        self.people: Collection[str] = place.people
        self.tls = tls
        self.health: Health = "down"
        self.taken = 0
        self.fault = ""
        self._box = box
        self._servers: list[asyncio.Server] = []
        self._connections: set[_Connection] = set()

    async def be(self, health: Health) -> None:
        """Become so. What is connected is cut off, as by a crash, where anything changes.

        An address that cannot be had is told in ``fault``.
        """
        if health == self.health and not self.fault:
            return
        await self.close()
        self.health = health
        if health == "down":
            return
        loop = asyncio.get_running_loop()
        for address in self.addresses:
            try:
                server = await loop.create_server(lambda: _Connection(self, self._box), address, self.port)
            except OSError as error:
                self._stop()
                cause = error.strerror or str(error)
                self.fault = f"cannot listen on {address}:{self.port}: {cause}"
                self.health = health
                return
            self._servers.append(server)

    async def follow(self, place: MailPlace) -> None:
        """Take mail as the zones say now; its addresses stay."""
        self.domains, self.people = place.domains, place.people

    async def close(self) -> None:
        """Stop at once; messages under way were not taken."""
        self._stop()
        # The addresses are free only after the loop's next turn.
        await asyncio.sleep(0)

    def _stop(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()
        for connection in list(self._connections):
            connection.cut()
        self._connections.clear()
        self.health, self.fault = "down", ""

    def enter(self, connection: "_Connection") -> Reply | None:
        """A client has come: None, or the reply that turns it away."""
        self._connections.add(connection)
        if self.health == "busy":
            return _BUSY
        return _CROWDED if len(self._connections) > MAX_CONNECTIONS else None

    def leave(self, connection: "_Connection") -> None:
        """It has gone."""
        self._connections.discard(connection)

    def judge(self, recipient: str) -> Reply:
        """Whether a recipient is taken (RFC 5321 section 4.5.1: postmaster always)."""
        local, at, domain = recipient.rpartition("@")
        if not at:
            return _RECIPIENT_OK
        if domain.lower() not in self.domains:
            return _FOREIGN
        local = local.lower()
        if local == NOT_NOW:
            return _LATER
        if local in self.people or local == "postmaster" or (not self.people and local != UNKNOWN):
            return _RECIPIENT_OK
        others = ", ".join(sorted(self.people)[:10]) or "anybody else"
        return Reply.of(550, "5.1.1", f"there is no such mailbox here; write to {others}")


class _Connection(asyncio.Protocol):
    """A client of an exchanger."""

    def __init__(self, host: MailHost, box: Mailbox) -> None:
        self._host = host
        self._box = box
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._session = ServerSession(
            ServerOptions(host.name, size=MAX_MESSAGE, recipients=MAX_RECIPIENTS, starttls=host.tls is not None)
        )
        self._visitor = Visitor(b"", 0, "", "mx")
        self._sender = ""
        self._utf8 = False
        self._recipients: dict[str, None] = {}
        self._content = bytearray()
        self._no_room = False
        self._timer: asyncio.TimerHandle | None = None
        self._upgrade: asyncio.Task[None] | None = None
        self._early = b""
        self._active = self._began = self._loop.time()

    # ---------------------------------------------------------------- the socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        peer = transport.get_extra_info("peername")
        if not peer:  # it is gone already
            transport.abort()
            return
        at = f"{transport.get_extra_info('sockname')[0]}:{self._host.port}"
        self._visitor = Visitor(socket.inet_aton(peer[0]), peer[1], at, "mx")
        self._watch()
        refusal = self._host.enter(self)
        if refusal is not None:
            self._session.refuse(refusal)
            self._flush()
            transport.close()
        elif self._host.health == "silent":
            transport.pause_reading()
        else:
            self._session.greet("ESMTP mx10 lab")
            self._flush()

    def data_received(self, data: bytes) -> None:
        self._active = self._loop.time()
        if self._upgrade is not None:
            # Through TLS, but before asyncio says that it is there: an EHLO may come with the end of the handshake.
            self._early += data
            if len(self._early) > MAX_PIPELINED:
                self.cut()
            return
        self._handle(self._session.receive(data))
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._host.leave(self)
        self._forget()
        if self._timer is not None:
            self._timer.cancel()
        if self._upgrade is not None:
            self._upgrade.cancel()

    def pause_writing(self) -> None:
        # Who does not take our replies is not asked for more commands.
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._transport is not None and not self._transport.is_closing() and self._upgrade is None:
            self._transport.resume_reading()

    def cut(self) -> None:
        """Close without a word."""
        if self._transport is not None:
            self._transport.abort()

    def _watch(self) -> None:
        now = self._loop.time()
        if now - self._began >= CONNECTION_SECONDS or now - self._active >= IDLE_SECONDS:
            if self._transport is not None and self._host.health != "silent" and not self._transport.is_closing():
                self._transport.write(_SLOW.octets())
                self._transport.close()
                # Where it does not take even that.
                self._timer = self._loop.call_later(1.0, self.cut)
            else:
                self.cut()
            return
        self._timer = self._loop.call_later(self._active + IDLE_SECONDS - now, self._watch)

    def _flush(self) -> None:
        out = self._session.to_send()
        if out and self._transport is not None:
            self._transport.write(out)

    # ---------------------------------------------------------------- what the session tells

    def _handle(self, events: list[Event]) -> None:
        session, at = self._session, 0
        while at < len(events):
            event = events[at]
            at += 1
            if isinstance(event, Content):
                self._take(event.data)
            elif isinstance(event, Hello):
                self._visitor.helo, self._visitor.esmtp = event.name, event.esmtp
            elif isinstance(event, Mail):
                self._forget()
                self._sender, self._utf8 = event.parameters.reverse_path, event.parameters.smtputf8
                events += session.reply(_OK)
            elif isinstance(event, Rcpt):
                events += session.reply(self._recipient(event.parameters))
            elif isinstance(event, ContentEnds):
                events += session.reply(self._end())
            elif isinstance(event, Reset):
                self._forget()
            elif isinstance(event, StartTls):
                self._flush()
                self._forget()
                # Nothing more is read that is not encrypted (RFC 3207 section 5).
                if self._transport is not None:
                    self._transport.pause_reading()
                self._upgrade = self._loop.create_task(self._start_tls())
            elif isinstance(event, Closing) and self._transport is not None:
                self._flush()
                self._transport.close()

    async def _start_tls(self) -> None:
        assert self._transport is not None
        assert self._host.tls is not None
        try:
            transport = await self._loop.start_tls(
                self._transport, self, self._host.tls, server_side=True, ssl_handshake_timeout=IDLE_SECONDS
            )
        except OSError:  # TLS went wrong, or the client away
            self.cut()
            return
        if transport is None:
            return
        self._transport = transport
        self._upgrade = None
        self._session.tls_started()
        version, cipher = transport.get_extra_info("ssl_object").version(), transport.get_extra_info("cipher")
        self._visitor.tls = f"{version} {cipher[0]}"
        self._visitor.helo, self._visitor.esmtp = "", False
        early, self._early = self._early, b""
        if early:
            self.data_received(early)

    def _recipient(self, parameters: RcptParameters) -> Reply:
        reply = self._host.judge(parameters.recipient)
        if reply.code < 300:
            self._recipients[parameters.recipient] = None
        else:
            log.info("recipient refused", host=self._host.name, recipient=parameters.recipient, reply=str(reply))
        return reply

    def _take(self, data: bytes) -> None:
        if self._no_room or self._box.coming + len(data) > MAX_COMING:
            self._drop()
            self._no_room = True
            return
        self._box.coming += len(data)
        self._content += data

    def _end(self) -> Reply:
        if self._no_room:
            self._forget()
            return _NO_ROOM
        host, visitor, recipients = self._host, self._visitor, tuple(self._recipients)
        number, now = self._box.taken + 1, time.time_ns() // 1_000_000
        # The last host of all says where reports would go (RFC 5321 section 4.4).
        path = f"Return-Path: <{self._sender}>\r\n".encode()
        only = recipients[0] if len(recipients) == 1 else ""
        trace = received(visitor, host.name, str(number), now, recipient=only, utf8=self._utf8)
        content = b"".join((path, trace, self._content))
        message = Message(number, host.name, now, self._sender, recipients, visitor.text, visitor.helo, content)
        self._box.add(message)
        host.taken += 1
        self._forget()
        log.info(
            "mail taken",
            host=host.name,
            number=message.number,
            sender=message.sender or "<>",
            recipients=", ".join(recipients[:3]) + (f" and {len(recipients) - 3} more" if len(recipients) > 3 else ""),
            octets=len(message.content),
            client=message.helo,
        )
        return Reply.of(250, "2.0.0", f"taken: mx10 lab mail {message.number} shows it")

    def _drop(self) -> None:
        """Forget what has come of the message."""
        self._box.coming -= len(self._content)
        self._content = bytearray()

    def _forget(self) -> None:
        """There is no message any more."""
        self._drop()
        self._no_room = False
        self._sender, self._utf8 = "", False
        self._recipients.clear()
