"""One connection as the receiver sees it: which commands may come when, and what is said to them.

The session answers by itself what is pure protocol: syntax, order, HELP, NOOP, RSET, sizes. What needs somebody to
decide (a sender, a recipient, a whole message, a password) is an event; the session then waits, with all that was
pipelined behind it, until ``reply`` says what is answered.

Bytes that come before the greeting, and whatever is pipelined behind STARTTLS, are never taken for commands (RFC 5321
section 3.1, RFC 3207 section 4.2).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from mx10.smtp.auth import Credentials, Exchange, MechanismError, ScramKeys, begin
from mx10.smtp.content import BareLineEndError, DataReader, has_bare_line_end
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
from mx10.smtp.syntax import CommandError, MailParameters, parse_mail, parse_rcpt

MAX_COMMAND: Final = 4096
"""Octets of a command line: 512 and what extensions add, of which RFC 3461 and RFC 6531 add most (RFC 5321 section
4.5.3.1.4)."""
MAX_AUTH: Final = 12288
"""Octets of a line within AUTH (RFC 4954 section 4)."""
MAX_PIPELINED: Final = 1 << 18
"""Octets that wait within the session; beyond that, whoever has the socket stops reading."""
_PIECE: Final = 1 << 16
"""Octets of content that are looked at together; more do not fit into the processor's cache."""
_BDAT: Final = re.compile(r"(\d{1,12})( +LAST)?", re.ASCII | re.IGNORECASE)
"""What stands behind BDAT: nothing but ASCII, so that whoever stands before us sees the same end of a message."""
_FOREIGN: Final = frozenset({"GET", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT"})
"""A browser that was talked into speaking to us sends commands of its own behind these."""


class _FatalError(Exception):
    """After this nobody knows where the next command begins."""


class _State(Enum):
    GREETING = auto()
    COMMAND = auto()
    WAITING = auto()
    DATA = auto()
    CHUNK = auto()
    AUTH = auto()
    TLS = auto()
    CLOSED = auto()


@dataclass(slots=True)
class _Transaction:
    """A message on its way."""

    mail: MailParameters
    recipients: int = 0
    size: int = 0
    chunked: bool = False
    fault: Reply | None = None
    """Why it is not taken, whatever is still to come of it."""


@dataclass(slots=True)
class _Chunk:
    left: int
    last: bool
    held: bool = field(default=False)
    """It ended with a CR whose LF may be in the next one."""


_OK: Final = Reply.of(250, "2.0.0", "ok")
_GO_ON: Final = Reply.of(354, None, "go on; end with a dot on a line of its own")


class ServerSession:
    """One connection.

    Args:
        options: what is offered.
        tls: TLS is spoken from the beginning.
        nonce: drawn anew for each connection, see ``auth.begin``; needed where SCRAM is offered.

    Attributes:
        helo: what the client called itself; empty: nothing yet.
        esmtp: it said EHLO.
        tls: TLS is spoken.
        user: who is logged in; empty: nobody.
    """

    def __init__(self, options: ServerOptions, *, tls: bool = False, nonce: str = "") -> None:
        self.options = options
        self.helo = ""
        self.esmtp = False
        self.tls = tls
        self.user = ""
        self._nonce = nonce
        self._state = _State.GREETING
        self._buffer = b""
        self._out: list[bytes] = []
        self._errors = 0
        self._mails = 0
        self._transaction: _Transaction | None = None
        self._pending: Callable[[Reply], None] | None = None
        self._reader: DataReader | None = None
        self._chunk = _Chunk(0, last=False)
        self._exchange: Exchange | None = None
        self._offered = self._offers()

    # ---------------------------------------------------------------- what goes in and out

    def greet(self, text: str = "ESMTP mx10") -> None:
        """Say who we are. Nothing the client sends before is taken for a command."""
        self._say(Reply.of(220, None, f"{self.options.hostname} {text}"))
        self._state = _State.COMMAND

    def refuse(self, reply: Reply) -> None:
        """Instead of a greeting: 554 or 421. The client may only leave."""
        self._say(reply)
        self._state = _State.CLOSED

    def receive(self, data: bytes) -> list[Event]:
        """What came. Events are in the order in which they are to be handled; one that wants a reply is the last.

        Args:
            data: any number of octets.
        """
        if self._state is _State.CLOSED:
            return []
        if self._state is _State.GREETING:
            return [self._close(Reply.of(554, "5.5.1", "you speak before the greeting"), "spoke before the greeting")]
        self._buffer = self._buffer + data if self._buffer else data
        return self._go_on()

    def reply(self, reply: Reply) -> list[Event]:
        """The answer to the last event that wanted one; and what follows from what the client has sent since."""
        pending, self._pending = self._pending, None
        if pending is None:
            raise RuntimeError("nothing waits for a reply")
        self._say(reply)
        self._state = _State.COMMAND
        pending(reply)
        if reply.code == 421:
            self._state = _State.CLOSED
            return [Closing(reply.text)]
        # A wrong password is a mistake too.
        if self._errors > self.options.errors:
            return self._enough()
        return self._go_on() if self._buffer else []

    def to_send(self) -> bytes:
        """What is to be sent now; it is given once."""
        if not self._out:
            return b""
        out, self._out = self._out, []
        return out[0] if len(out) == 1 else b"".join(out)

    @property
    def wants_input(self) -> bool:
        """Whether to read on: not while more waits here than ``MAX_PIPELINED``."""
        return self._state is not _State.CLOSED and len(self._buffer) < MAX_PIPELINED

    @property
    def waits(self) -> bool:
        """Whether an event waits for its reply."""
        return self._pending is not None

    def tls_started(self) -> None:
        """TLS is spoken from now on; all that was said before is forgotten (RFC 3207 section 4.2)."""
        self.tls = True
        self.helo, self.esmtp, self.user = "", False, ""
        self._transaction = None
        self._buffer = b""
        self._state = _State.COMMAND
        self._offered = self._offers()

    def scram_keys(self, keys: ScramKeys) -> list[Event]:
        """The answer to ``Scram``; for a user who is not there, keys that nobody knows (RFC 5802 section 5)."""
        self._pending = None
        self._state = _State.AUTH
        assert self._exchange is not None
        self._exchange.use(keys)
        return [*self._exchange_line(None), *self._go_on()]

    # ---------------------------------------------------------------- one thing after the other

    def _go_on(self) -> list[Event]:
        events: list[Event] = []
        while True:
            state = self._state
            if state is _State.COMMAND or state is _State.AUTH:
                if not self._buffer or not self._line(events):
                    return events
            elif state is _State.DATA:
                if not self._buffer:
                    return events
                self._data(events)
            elif state is _State.CHUNK:
                if not self._buffer and self._chunk.left:
                    return events
                self._chunk_data(events)
            else:
                return events

    def _line(self, events: list[Event]) -> bool:
        """Handle a command; whether there was one."""
        buffer = self._buffer
        limit = MAX_AUTH if self._state is _State.AUTH else MAX_COMMAND
        end = buffer.find(b"\n", 0, limit)
        if end < 0:
            if len(buffer) >= limit:
                events.append(self._close(Reply.of(500, "5.5.2", f"lines have up to {limit} octets"), "line too long"))
            return False
        line, self._buffer = buffer[:end], buffer[end + 1 :]
        # Lines end with CR LF; one that does not may be the second half of somebody else's.
        if not end or line.find(b"\r") != end - 1:
            events.append(self._close(Reply.of(521, "5.5.2", "lines end with CR LF and nothing else"), "bare CR or LF"))
            return True
        line = line[:-1]
        if self._state is _State.AUTH:
            events += self._exchange_line(line)
            return True
        try:
            event = self._command(line)
        except _FatalError as error:
            events.append(self._close(Reply.of(501, "5.5.4", str(error)), str(error)))
            return True
        except CommandError as error:
            self._say(error.reply)
            if error.reply.code >= 500:
                self._errors += 1
            events += self._enough()
            return True
        if event is not None:
            events.append(event)
        return True

    def _command(self, line: bytes) -> Event | None:
        try:
            text = line.decode("ascii") if line.isascii() else line.decode("utf-8")
        except UnicodeDecodeError:
            raise CommandError(500, "5.5.2", "commands are ASCII, or UTF-8 with SMTPUTF8") from None
        if "\0" in text:
            raise CommandError(500, "5.5.2", "a command holds no NUL")
        verb, _, argument = text.partition(" ")
        # Beyond ASCII there are letters whose upper case is one of ours; other programs take them for nothing.
        handler = _COMMANDS.get(verb.upper()) if verb.isascii() else None
        if handler is None:
            if verb in _FOREIGN:
                raise _FatalError("this is no web server")
            raise CommandError(500, "5.5.1", "no such command")
        return handler(self, argument.strip(" "))

    # ---------------------------------------------------------------- commands

    def _ehlo(self, argument: str) -> Event:
        self._hello(argument, esmtp=True)
        limits = f"LIMITS MAILMAX={self.options.mails} RCPTMAX={self.options.recipients}"
        offers = [*self.options.extensions, f"SIZE {self.options.size}", limits]
        if "STARTTLS" in self._offered:
            offers.append("STARTTLS")
        if "REQUIRETLS" in self._offered:
            offers.append("REQUIRETLS")
        if "AUTH" in self._offered:
            offers.append(f"AUTH {' '.join(self.options.mechanisms)}")
        self._say(Reply(250, None, (self.options.hostname, *offers)))
        return Hello(self.helo, esmtp=True)

    def _helo(self, argument: str) -> Event:
        self._hello(argument, esmtp=False)
        self._say(Reply.of(250, None, self.options.hostname))
        return Hello(self.helo, esmtp=False)

    def _hello(self, argument: str, *, esmtp: bool) -> None:
        name, _, rest = argument.partition(" ")
        if not name or rest or not name.isascii() or len(name) > 255:
            raise CommandError(501, "5.5.4", "say who you are: EHLO host.example.net or EHLO [192.0.2.1]")
        self.helo, self.esmtp = name, esmtp
        self._offered = self._offers()
        self._forget()

    def _mail(self, argument: str) -> Event:
        if not self.helo:
            raise CommandError(503, "5.5.1", "say EHLO first")
        if self._transaction is not None:
            raise CommandError(503, "5.5.1", "one message at a time: RSET gives it up")
        if self._mails >= self.options.mails:
            raise CommandError(452, "4.5.3", "enough for one connection: come again for the next message")
        parameters = parse_mail(argument, self._offered)
        if parameters.size is not None and parameters.size > self.options.size:
            raise CommandError(552, "5.3.4", f"messages have up to {self.options.size} octets here")
        return self._wait(Mail(parameters), lambda reply: self._mail_replied(reply, parameters))

    def _mail_replied(self, reply: Reply, parameters: MailParameters) -> None:
        if reply.code < 300:
            self._transaction = _Transaction(parameters)

    def _rcpt(self, argument: str) -> Event:
        transaction = self._begun()
        if transaction.chunked:
            raise CommandError(503, "5.5.1", "the message has begun: no further recipients")
        if transaction.recipients >= self.options.recipients:
            raise CommandError(452, "4.5.3", f"a message has up to {self.options.recipients} recipients here")
        parameters = parse_rcpt(argument, self._offered, smtputf8=transaction.mail.smtputf8)

        def replied(reply: Reply) -> None:
            if reply.code < 300:
                transaction.recipients += 1

        return self._wait(Rcpt(parameters), replied)

    def _data_command(self, argument: str) -> None:
        transaction = self._begun()
        if argument:
            raise CommandError(501, "5.5.4", "DATA takes no argument")
        if transaction.chunked:
            raise CommandError(503, "5.5.1", "the message has begun with BDAT")
        if transaction.mail.body == "BINARYMIME":
            raise CommandError(503, "5.5.1", "BODY=BINARYMIME goes with BDAT")  # RFC 3030 section 3
        if not transaction.recipients:
            raise CommandError(554, "5.5.1", "no recipient was taken")
        self._say(_GO_ON)
        self._reader = DataReader()
        self._state = _State.DATA

    def _bdat(self, argument: str) -> None:
        match = _BDAT.fullmatch(argument)
        if match is None:
            # Nobody knows how much is no command now.
            raise _FatalError("BDAT takes a number of octets, and LAST")
        self._chunk = _Chunk(int(match[1]), match[2] is not None, held=self._chunk.held)
        self._state = _State.CHUNK

    def _rset(self, argument: str) -> Event | None:
        self._no_argument(argument)
        self._say(_OK)
        return self._forget()

    def _noop(self, _argument: str) -> None:
        self._say(_OK)

    def _help(self, _argument: str) -> None:
        self._say(Reply.of(214, "2.0.0", "RFC 5321 tells how"))

    def _vrfy(self, argument: str) -> None:
        if not argument:
            raise CommandError(501, "5.5.4", "VRFY takes an address")
        # Who asks for addresses collects them (RFC 5321 section 7.3).
        self._say(Reply.of(252, "2.1.5", "send mail and see"))

    def _expn(self, _argument: str) -> None:
        raise CommandError(502, "5.7.0", "lists are not shown")

    def _quit(self, argument: str) -> Event:
        self._no_argument(argument)
        return self._close(Reply.of(221, "2.0.0", "good bye"), "")

    def _starttls(self, argument: str) -> Event:
        self._no_argument(argument)
        if self.tls:
            raise CommandError(503, "5.5.1", "TLS is spoken already")
        if "STARTTLS" not in self._offered:
            raise CommandError(502, "5.5.1", "STARTTLS is not offered")
        self._say(Reply.of(220, "2.0.0", "go on with TLS"))
        self._buffer = b""
        self._state = _State.TLS
        return StartTls()

    def _auth(self, argument: str) -> Event | None:
        if not self.esmtp:
            raise CommandError(503, "5.5.1", "say EHLO first")
        if "AUTH" not in self._offered:
            raise CommandError(538 if not self.tls else 502, "5.7.11", "AUTH is not offered: begin with STARTTLS")
        if self.user or self._transaction is not None:
            raise CommandError(503, "5.5.1", "AUTH comes once, and before MAIL")
        mechanism, _, initial = argument.partition(" ")
        if mechanism.upper() not in self.options.mechanisms:
            raise CommandError(504, "5.5.4", f"choose one of {' '.join(self.options.mechanisms)}")
        self._exchange = begin(mechanism.upper(), self._nonce)
        self._state = _State.AUTH
        events = self._exchange_line(initial.encode() if initial else None)
        return events[0] if events else None

    def _exchange_line(self, line: bytes | None) -> list[Event]:
        """A step of AUTH: a line of the client, or None where it is our turn."""
        assert self._exchange is not None
        if line == b"*":
            return self._auth_failed(501, "5.7.0", "given up")
        try:
            step = self._exchange.step(line)
        except MechanismError as error:
            return self._auth_failed(501, "5.5.2", str(error))
        if isinstance(step, bytes):
            self._say(Reply.of(334, None, step.decode("ascii")))
        elif isinstance(step, Credentials):
            return [self._wait(Login(step), lambda reply: self._logged_in(reply, step.user))]
        elif isinstance(step, str):
            return [self._wait(Scram(step), lambda _reply: None)]
        elif step:
            self.user, self._exchange = self._exchange.user, None
            self._state = _State.COMMAND
            self._say(Reply.of(235, "2.7.0", "welcome"))
            return [LoggedIn(self.user)]
        else:
            return self._auth_failed(535, "5.7.8", "user name or password is wrong")
        return []

    def _logged_in(self, reply: Reply, user: str) -> None:
        self._exchange = None
        if reply.code < 300:
            self.user = user
        else:
            self._errors += 1

    def _auth_failed(self, code: int, enhanced: str, text: str) -> list[Event]:
        self._exchange = None
        self._state = _State.COMMAND
        self._say(Reply.of(code, enhanced, text))
        self._errors += 1
        return self._enough()

    # ---------------------------------------------------------------- the message

    def _data(self, events: list[Event]) -> None:
        reader, transaction = self._reader, self._begun()
        assert reader is not None
        data, self._buffer = self._buffer, b""
        left: bytes | memoryview = data if len(data) <= _PIECE else memoryview(data)
        while left:
            piece, left = left[:_PIECE], left[_PIECE:]
            try:
                content = reader.feed(piece)
            except BareLineEndError:
                events += self._bare()
                return
            if content:
                events += self._take(transaction, content)
                if self._state is not _State.DATA:
                    return  # there was no end to it
            if reader.rest is not None:
                self._buffer = reader.rest + left
                self._reader = None
                self._end(transaction, events)
                return

    def _chunk_data(self, events: list[Event]) -> None:
        chunk, transaction = self._chunk, self._transaction
        data, self._buffer = self._buffer[: chunk.left], self._buffer[chunk.left :]
        chunk.left -= len(data)
        if transaction is None or not transaction.recipients:
            # The octets come all the same (RFC 3030 section 2): they are no commands.
            if not chunk.left:
                self._state = _State.COMMAND
                self._say(Reply.of(503, "5.5.1", "MAIL and RCPT come first"))
                self._errors += 1
                events += self._enough()
            return
        transaction.chunked = True
        if data:
            # What is beyond the size is refused for that, however the octets come in pieces.
            room = max(self.options.size - transaction.size, 0)
            if transaction.mail.body != "BINARYMIME" and transaction.fault is None and self._is_bare(data[:room]):
                transaction.fault = Reply.of(550, "5.6.0", "lines end with CR LF; BODY=BINARYMIME may hold others")
                events.append(Reset())
            events += self._take(transaction, data)
        if chunk.left or self._state is not _State.CHUNK:
            return
        if chunk.last:
            if chunk.held and transaction.fault is None and transaction.mail.body != "BINARYMIME":
                transaction.fault = Reply.of(550, "5.6.0", "lines end with CR LF; BODY=BINARYMIME may hold others")
                events.append(Reset())
            chunk.held = False
            self._end(transaction, events)
            return
        self._state = _State.COMMAND
        self._say(transaction.fault or _OK)

    def _is_bare(self, data: bytes) -> bool:
        """Whether a CR or LF stands alone; a CR at the end may have its LF in the next piece."""
        if self._chunk.held:
            data = b"\r" + data
        self._chunk.held = data.endswith(b"\r")
        return has_bare_line_end(data[:-1] if self._chunk.held else data)

    def _take(self, transaction: _Transaction, content: bytes) -> list[Event]:
        transaction.size += len(content)
        most = self.options.size
        if transaction.size <= most:
            return [Content(content)] if transaction.fault is None else []
        if transaction.size > 2 * most + MAX_PIPELINED:
            return [self._close(self._too_large(), "a message without end")]
        if transaction.fault is None:
            transaction.fault = self._too_large()
            return [Reset()]
        return []

    def _too_large(self) -> Reply:
        return Reply.of(552, "5.3.4", f"messages have up to {self.options.size} octets here")

    def _end(self, transaction: _Transaction, events: list[Event]) -> None:
        self._transaction = None
        self._mails += 1
        if transaction.fault is not None:
            self._state = _State.COMMAND
            self._say(transaction.fault)
            return
        events.append(self._wait(ContentEnds(transaction.size), lambda _reply: None))

    def _bare(self) -> list[Event]:
        self._transaction = None
        reply = Reply.of(521, "5.5.2", "the message has a CR or LF that is not CR LF; mend the sender (RFC 5321 2.3.8)")
        return [Reset(), self._close(reply, "bare CR or LF in a message")]

    # ---------------------------------------------------------------- small things

    def _offers(self) -> frozenset[str]:
        if not self.esmtp:
            return frozenset()
        offered = {*self.options.extensions, "SIZE"}
        if self.options.starttls and not self.tls:
            offered.add("STARTTLS")
        if self.tls:
            offered.add("REQUIRETLS")
        if self.options.mechanisms and (self.tls or self.options.plaintext_auth):
            offered.add("AUTH")
        return frozenset(offered)

    def _begun(self) -> _Transaction:
        if self._transaction is None:
            raise CommandError(503, "5.5.1", "MAIL comes first")
        return self._transaction

    def _forget(self) -> Event | None:
        begun, self._transaction = self._transaction, None
        self._chunk.held = False
        return Reset() if begun is not None else None

    @staticmethod
    def _no_argument(argument: str) -> None:
        if argument:
            raise CommandError(501, "5.5.4", "this command takes no argument")

    def _wait(self, event: Event, then: Callable[[Reply], None]) -> Event:
        self._pending = then
        self._state = _State.WAITING
        return event

    def _say(self, reply: Reply) -> None:
        self._out.append(reply.octets())

    def _enough(self) -> list[Event]:
        """The end, after more mistakes than are borne."""
        if self._errors <= self.options.errors:
            return []
        return [self._close(Reply.of(421, "4.7.0", "too many mistakes"), "too many mistakes")]

    def _close(self, reply: Reply, why: str) -> Event:
        self._say(reply)
        self._buffer = b""
        self._transaction = None
        self._state = _State.CLOSED
        return Closing(why)


_COMMANDS: Final[dict[str, Callable[[ServerSession, str], Event | None]]] = {
    "EHLO": ServerSession._ehlo,
    "HELO": ServerSession._helo,
    "MAIL": ServerSession._mail,
    "RCPT": ServerSession._rcpt,
    "DATA": ServerSession._data_command,
    "BDAT": ServerSession._bdat,
    "RSET": ServerSession._rset,
    "NOOP": ServerSession._noop,
    "HELP": ServerSession._help,
    "VRFY": ServerSession._vrfy,
    "EXPN": ServerSession._expn,
    "QUIT": ServerSession._quit,
    "STARTTLS": ServerSession._starttls,
    "AUTH": ServerSession._auth,
}
