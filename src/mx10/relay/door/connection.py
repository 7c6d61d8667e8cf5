"""One connection at the door: what comes from the socket goes to a ``ServerSession``, its events to ``Receiving`` and
the ``Door``, the replies back. The only room of the door with sockets.

What can be answered at once is; for what has to wait (DNS, the disk, a filter) the session keeps what was pipelined
behind it, and the socket is not read when that is too much.
"""

import asyncio
import secrets
import select
import socket
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, cast

from mx10.logs import get_logger
from mx10.relay.door.door import Door, failure_reply
from mx10.relay.door.receiving import Receiving
from mx10.relay.door.values import Kind, Refused, Visitor
from mx10.smtp.receiving import (
    Closing,
    Content,
    ContentEnds,
    Event,
    Hello,
    LoggedIn,
    Login,
    Mail,
    Rcpt,
    Reset,
    Scram,
    ServerOptions,
    StartTls,
)
from mx10.smtp.replies import Reply
from mx10.smtp.server import MAX_PIPELINED, ServerSession
from mx10.values import value_class

_LF: Final = 10
TLS_SECONDS: Final = 30.0
"""How long a handshake may take."""
_WELCOME: Final = Reply.of(235, "2.7.0", "welcome")
_WRONG: Final = Reply.of(535, "5.7.8", "user name or password is wrong")
_SLOW: Final = Reply.of(421, "4.4.2", "that took too long; come again")
_ENDING: Final = Reply.of(421, "4.3.2", "we are closing for a moment; come again")

log = get_logger("relay")


@value_class
class Times:
    """Seconds: to a next command or more of a message, and for a whole message, or from one to the next."""

    command: float
    message: float


@value_class
class Entrance:
    """One address we listen at. ``tls``: makes contexts; None: no TLS here."""

    at: str
    kind: Kind
    options: ServerOptions
    times: Times
    tls: Callable[[], ssl.SSLContext] | None
    trusts: Callable[[bytes], bool]


class Connection(asyncio.Protocol):
    """A client.

    Args:
        here: all connections that are open; this one is among them while it is.
    """

    def __init__(self, door: Door, entrance: Entrance, here: "set[Connection]", clock: Callable[[], int]) -> None:
        self._door = door
        self._entrance = entrance
        self._here = here
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._session: ServerSession
        self.visitor: Visitor
        self._receiving: Receiving
        self._task: asyncio.Task[None] | None = None
        self._paused = False
        self._clogged = False
        self._speaks_soon = False
        self._upgrading = False
        self._early = b""
        self._before_tls: bytes | None = None
        self._closed = False
        self._heard = 0.0

    # ---------------------------------------------------------------- the socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes.
        transport = cast("asyncio.Transport", transport)
        self._transport = transport
        if self._upgrading:
            return
        entrance = self._entrance
        peer = transport.get_extra_info("peername")
        if not peer:  # it is gone already
            transport.abort()
            return
        tls_first = entrance.kind == "submissions"
        address = _octets(peer[0])
        self.visitor = Visitor(
            address,
            peer[1],
            entrance.at,
            entrance.kind,
            trusted=entrance.trusts(address),
        )
        self._session = ServerSession(
            entrance.options,
            tls=tls_first,
            nonce=secrets.token_urlsafe(18) if entrance.options.mechanisms else "",
        )
        self._receiving = Receiving(self._door, self.visitor, self._clock, self._later, self._answer)
        self._here.add(self)
        self._touch()
        decision = self._door.connect(self.visitor)
        if tls_first:
            # The handshake is ours, so that a client counts, and has an end, before it is through. Who is turned away
            # would not understand why.
            if isinstance(decision, Refused):
                self._door.failed(self.visitor, decision.what)
                self._closed = True
                transport.abort()
            else:
                transport.pause_reading()
                self._before_tls = b""
                self._later(self._secure(decision))
        elif decision is None:
            # What it says before the greeting is refused by the session, which has to hear it first.
            if not _speaks(transport):
                self._session.greet()
                self._flush()
        elif isinstance(decision, Refused):
            self._turn_away(decision)
        else:
            self._later(self._greet(decision))

    def data_received(self, data: bytes) -> None:
        if self._closed:
            return
        if self._before_tls is not None and self._transport is not None:
            # uvloop begins to read when a connection was made, though it was paused then: TLS has yet to get this.
            self._before_tls += data
            self._transport.pause_reading()
            return
        if self._upgrading:
            # Through TLS, but before asyncio says that it is there: an EHLO may come with the end of the handshake.
            self._early += data
            if len(self._early) > MAX_PIPELINED and self._transport is not None:
                self._transport.abort()
            return
        if self._receiving.incoming is not None or _LF in data:
            # A command that comes octet by octet has no more time than one that comes at once.
            self._touch()
        self._handle(self._session.receive(data))

    def eof_received(self) -> bool:
        # Nobody who is done with SMTP says so by half of a connection.
        if not self._closed and not self._upgrading:
            self._flush()
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._closed = True
        if self not in self._here:
            return  # it was gone before it began, or that is known
        self._here.discard(self)
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
        self._receiving.leave()
        self._door.left(self.visitor)

    def pause_writing(self) -> None:
        """It does not take our replies: so we take no commands."""
        self._clogged = True
        self._read_or_not()

    def resume_writing(self) -> None:
        self._clogged = False
        self._read_or_not()

    def expire(self, now: float) -> bool:
        """Close, if it is too slow."""
        times, receiving = self._entrance.times, self._receiving
        late = now > self._heard + times.command or now > (receiving.began or receiving.idle_since) + times.message
        if late and not self._session.waits:
            self._door.failed(self.visitor, "slow")
            self._say_and_close(_SLOW)
        return late

    def end(self) -> bool:
        """We are about to stop: close, unless a message is just being kept. Returns whether it is closed."""
        if self._session.waits:
            return False
        self._say_and_close(_ENDING)
        return True

    def _touch(self) -> None:
        self._heard = self._loop.time()

    def _read_or_not(self) -> None:
        transport = self._transport
        if transport is None or self._closed or self._upgrading or transport.is_closing():
            return
        incoming = self._receiving.incoming
        behind = incoming is not None and incoming.is_behind
        stop = self._clogged or behind or not self._session.wants_input
        if stop and not self._paused:
            self._paused = True
            transport.pause_reading()
            if behind and incoming is not None:
                incoming.when_written(self._read_or_not)
        elif self._paused and not stop:
            self._paused = False
            self._touch()
            transport.resume_reading()

    def _speak(self) -> None:
        self._speaks_soon = False
        if not self._closed:
            self._flush()

    def _flush(self) -> None:
        out = self._session.to_send()
        if out and self._transport is not None:
            self._transport.write(out)

    def _say_and_close(self, reply: Reply) -> None:
        if self._transport is not None and not self._closed:
            self._flush()
            if not self._upgrading:
                self._transport.write(reply.octets())
            self._close()

    def _close(self) -> None:
        self._closed = self._receiving.is_over = True
        if self._transport is not None:
            if not self._upgrading:
                self._flush()
            self._transport.close()
            # Where it takes nothing any more, what is left to say is not waited for.
            self._loop.call_later(TLS_SECONDS, self._transport.abort)

    def _turn_away(self, refused: Refused) -> None:
        self._door.failed(self.visitor, refused.what)
        log.info("refused", client=self.visitor.text, what=refused.what, reply=str(refused.reply))
        self._session.refuse(refused.reply)
        self._close()

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        """Go on with something that has to wait. There is one such thing at a time: the session waits for its reply."""
        self._task = self._loop.create_task(self._guarded(work))

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except (asyncio.CancelledError, ConnectionError):
            self._receiving.forget()
        except Exception as error:
            log.exception("a connection failed", client=self.visitor.text)
            self._receiving.forget()
            if self._session.waits and not self._closed:
                self._handle(self._session.reply(failure_reply(error)))
            else:
                self._close()

    async def _greet(self, decision: Any) -> None:
        refused = await decision
        if self._closed:
            return
        if refused is not None:
            self._turn_away(refused)
        else:
            self._session.greet()
            self._flush()

    # ---------------------------------------------------------------- what the session tells

    def _handle(self, events: list[Event]) -> None:
        """Do what events ask for, and what follows from the replies to them."""
        session, receiving = self._session, self._receiving
        for event in events:  # and those that are added meanwhile
            if isinstance(event, Content):
                receiving.content(event.data)
            elif isinstance(event, Mail):
                reply = receiving.mail(event.parameters)
                if reply is not None:
                    events += session.reply(reply)
            elif isinstance(event, Rcpt):
                reply = receiving.recipient(event.parameters)
                if reply is not None:
                    events += session.reply(reply)
            elif isinstance(event, ContentEnds):
                reply = receiving.end()
                if reply is not None:
                    events += session.reply(reply)
            else:
                self._rare(event)
        if self._speaks_soon:
            # More in the same turn: who sends much and reads nothing is to be noticed before it ends.
            self._flush()
        else:
            self._speaks_soon = True
            self._door.turn_end.then(self._speak)
        incoming = receiving.incoming
        if self._paused or not session.wants_input or (incoming is not None and incoming.is_behind):
            self._read_or_not()

    def _answer(self, reply: Reply) -> None:
        """What had to wait is decided."""
        if not self._closed:
            # The time that took was not the client's.
            self._touch()
            self._handle(self._session.reply(reply))

    def _rare(self, event: Event) -> None:
        visitor = self.visitor
        if isinstance(event, Hello):
            visitor.helo, visitor.esmtp = event.name, event.esmtp
        elif isinstance(event, Reset):
            self._receiving.forget()
        elif isinstance(event, StartTls):
            self._flush()
            self._receiving.forget()
            # From here on nothing is read that is not encrypted (RFC 3207 section 5).
            self._upgrading = True
            if self._transport is not None:
                self._transport.pause_reading()
            self._later(self._start_tls())
        elif isinstance(event, Login):
            self._later(self._check_password(event.credentials.user, event.credentials.password))
        elif isinstance(event, Scram):
            assert self._door.users is not None
            self._handle(self._session.scram_keys(self._door.users.keys(event.user)))
        elif isinstance(event, LoggedIn):
            visitor.user = event.user
            log.info("logged in", user=event.user, client=visitor.text)
        elif isinstance(event, Closing):
            self._receiving.forget()
            if event.why:
                self._door.failed(visitor, "protocol")
                log.info("connection closed", client=visitor.text, cause=event.why)
            self._close()

    async def _start_tls(self) -> None:
        if await self._handshake():
            self.visitor.helo, self.visitor.esmtp, self.visitor.user = "", False, ""
            self._session.tls_started()
            early, self._early = self._early, b""
            if early:
                self.data_received(early)

    async def _secure(self, decision: Any) -> None:
        """TLS from the first octet on, then the greeting."""
        if decision is not None and await decision is not None:
            self._close()
        elif not self._closed and await self._handshake():
            if self._early:
                # It did not wait for the greeting, which the session does not forgive.
                self.data_received(self._early)
                return
            self._session.greet()
            self._flush()

    async def _handshake(self) -> bool:
        """Whether the connection is encrypted now."""
        assert self._entrance.tls is not None
        assert self._transport is not None
        self._upgrading = True
        before, self._before_tls = self._before_tls, None
        try:
            starting: Awaitable[asyncio.Transport | None] = self._loop.start_tls(
                self._transport,
                self,
                self._entrance.tls(),
                server_side=True,
                ssl_handshake_timeout=TLS_SECONDS,
                ssl_shutdown_timeout=TLS_SECONDS,
            )
            if before:
                starting = asyncio.ensure_future(starting)
                # By then it has scheduled its beginning; ours stands right behind that, before anything more is read.
                await asyncio.sleep(0)
                self._loop.call_soon(_hand_over, self._transport, before)
            transport = await starting
        except (OSError, ssl.SSLError, ConnectionError) as error:
            log.info("no TLS", client=self.visitor.text, cause=str(error)[:200])
            self._door.failed(self.visitor, "tls")
            self._transport.abort()
            # Where it broke within the handshake, asyncio does not say so.
            self.connection_lost(error)
            return False
        if transport is None or self._closed:
            return False
        self._transport = transport
        self._upgrading = self._paused = False
        self.visitor.tls = _shown(transport.get_extra_info("ssl_object"))
        self._touch()
        return True

    async def _check_password(self, user: str, password: str) -> None:
        users = self._door.users
        wrong = _WRONG
        right = users is not None and await self._loop.run_in_executor(None, users.is_right, user, password)
        if self._closed:
            return
        if right:
            self.visitor.user = user
            log.info("logged in", user=user, client=self.visitor.text)
        else:
            wrong = self._door.failed(self.visitor, "password") or _WRONG
            log.warning("not logged in", user=user[:64], client=self.visitor.text)
        self._handle(self._session.reply(_WELCOME if right else wrong))


def _speaks(transport: asyncio.Transport) -> bool:
    """Whether something of a client waits to be read, be it that it is gone."""
    waiting = select.poll()
    waiting.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
    return bool(waiting.poll(0))


def _hand_over(transport: asyncio.Transport, data: bytes) -> None:
    """Give TLS what was read before it was there."""
    protocol = cast("asyncio.BufferedProtocol", transport.get_protocol())
    while data and not transport.is_closing():
        buffer = memoryview(protocol.get_buffer(len(data)))
        length = min(len(buffer), len(data))
        buffer[:length] = data[:length]
        protocol.buffer_updated(length)
        data = data[length:]


def _octets(text: str) -> bytes:
    text = text.partition("%")[0]
    if ":" not in text:
        return socket.inet_aton(text)
    found = socket.inet_pton(socket.AF_INET6, text)
    return found[12:] if found.startswith(bytes(10) + b"\xff\xff") else found


def _shown(secure: Any) -> str:
    cipher = secure.cipher()
    return f"{secure.version()} {cipher[0]}" if cipher else str(secure.version())
