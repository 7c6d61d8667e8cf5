"""One connection as the sender sees it: from the greeting to QUIT, with any number of messages between.

Whoever has the socket gives the session what comes (``receive``) and sends what it has to send (``to_send``). Its
events say when the receiver is ready, when it wants the content, and what became of each recipient.

Content goes out as it is. After DATA that must not be where a CR or LF stands alone, for some receivers take it for an
end (SMTP smuggling); within BDAT it may, since its length is told before.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Literal

from mx10.smtp.content import has_bare_line_end
from mx10.smtp.replies import Reply, ReplyError, ReplyReader
from mx10.smtp.syntax import Body, MailParameters, RcptParameters, to_xtext

Stage = Literal["greeting", "ehlo", "starttls", "auth", "mail", "rcpt", "data", "content", "needs"]
"""Where an outcome was decided; ``needs``: before anything was said, as the receiver lacks an extension."""


class ContentError(ValueError):
    """Content that must not be sent as it is: a CR or LF stands alone. The connection has to be given up."""


@dataclass(frozen=True, slots=True)
class Greeted:
    """The receiver greeted; if it did so well, EHLO follows by itself."""

    reply: Reply


@dataclass(frozen=True, slots=True)
class Ready:
    """The receiver waits for a message, or STARTTLS, or AUTH. ``extensions``: keyword to parameters."""

    extensions: dict[str, str]


@dataclass(frozen=True, slots=True)
class TlsReady:
    """Speak TLS now, and then call ``tls_started``."""


@dataclass(frozen=True, slots=True)
class WantsContent:
    """Give the content by ``content``, then ``content_ends``."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a message for a recipient.

    Attributes:
        reply: what decided it; made up by us where ``stage`` is ``needs``.
    """

    recipient: str
    reply: Reply
    stage: Stage


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a message for all recipients, in their order. ``reusable``: the connection takes another."""

    outcomes: tuple[Outcome, ...]
    reusable: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """The receiver does not want us, or not STARTTLS: nothing goes on by itself."""

    reply: Reply
    stage: Stage


@dataclass(frozen=True, slots=True)
class Broken:
    """The receiver does not keep to the protocol; close. ``why``: for people."""

    why: str


ClientEvent = Greeted | Ready | TlsReady | WantsContent | Done | Refused | Broken


class _State(Enum):
    GREETING = auto()
    EHLO = auto()
    HELO = auto()
    READY = auto()
    STARTTLS = auto()
    TLS = auto()
    ENVELOPE = auto()
    DATA = auto()
    CONTENT = auto()
    ENDED = auto()
    RSET = auto()
    QUIT = auto()
    BROKEN = auto()


@dataclass(slots=True)
class _Message:
    recipients: Sequence[RcptParameters]
    chunked: bool
    accepted: list[RcptParameters] = field(default_factory=list)
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    answered: int = 0
    """Replies to MAIL and RCPT so far."""
    mail: Reply | None = None
    data_sent: bool = False
    line_begins: bool = True
    last: bytes = b""
    chunks: int = 0
    """BDAT commands whose replies are to come."""


class ClientSession:
    """One connection.

    Args:
        helo: our name.
        tls: TLS is spoken from the beginning.

    Attributes:
        extensions: what the receiver offers; keyword to parameters.
    """

    def __init__(self, helo: str, *, tls: bool = False) -> None:
        self.helo = helo
        self.tls = tls
        self.extensions: dict[str, str] = {}
        self._state = _State.GREETING
        self._reader = ReplyReader()
        self._out: list[bytes] = []
        self._message: _Message | None = None
        self._mails = 0

    # ---------------------------------------------------------------- what goes in and out

    def receive(self, data: bytes) -> list[ClientEvent]:
        """What came.

        Args:
            data: any number of octets.
        """
        if self._state in (_State.BROKEN, _State.TLS):
            return []
        try:
            replies = self._reader.feed(data)
        except ReplyError as error:
            return [self._break(str(error))]
        events: list[ClientEvent] = []
        for number, reply in enumerate(replies):
            more = number < len(replies) - 1 or not self._reader.is_empty
            events += self._on_reply(reply, more)
            if self._state in (_State.BROKEN, _State.TLS):
                break
        return events

    def to_send(self) -> bytes:
        """What is to be sent now; it is given once."""
        out, self._out = b"".join(self._out), []
        return out

    @property
    def is_ready(self) -> bool:
        """Whether a message may begin now; where ``Done`` leaves the connection reusable and it is not, ``Ready``
        follows."""
        return self._state is _State.READY

    @property
    def mails_left(self) -> int:
        """Messages this connection still takes, as the receiver says (LIMITS, RFC 9422)."""
        return max(0, self._limit("MAILMAX", 1_000_000) - self._mails)

    @property
    def recipients_at_once(self) -> int:
        """Recipients that one message may have."""
        return self._limit("RCPTMAX", 100)  # RFC 5321 section 4.5.3.1.8: all take as many

    # ---------------------------------------------------------------- what the sender does

    def start_tls(self) -> None:
        """Ask for TLS; ``TlsReady`` or ``Refused`` follows."""
        self._command("STARTTLS", _State.STARTTLS)

    def tls_started(self) -> None:
        """TLS is spoken from now on. What was learned before is forgotten; EHLO follows by itself."""
        self.tls = True
        self._reader.drop()
        self.extensions = {}
        self._command(f"EHLO {self.helo}", _State.EHLO)

    def send(self, mail: MailParameters, recipients: Sequence[RcptParameters], size: int) -> list[ClientEvent]:
        """Begin a message; ``WantsContent`` or ``Done`` follows, perhaps at once.

        Args:
            recipients: at least one, up to ``recipients_at_once``.
            size: of the content, in octets.
        """
        if not self.is_ready:
            raise RuntimeError("the receiver is not ready for a message")
        lacking = self._lacking(mail, size)
        if lacking is not None:
            outcomes = tuple(Outcome(each.recipient, lacking, "needs") for each in recipients)
            return [Done(outcomes, reusable=True)]
        chunked = "CHUNKING" in self.extensions
        self._message = message = _Message(recipients, chunked)
        self._mails += 1
        commands = [self._mail_command(mail, size), *(self._rcpt_command(each) for each in recipients)]
        self._state = _State.ENVELOPE
        if "PIPELINING" in self.extensions:
            if not chunked:
                commands.append("DATA")
                message.data_sent = True
            self._say("\r\n".join(commands))
        else:
            self._say(commands[0])
        return []

    def content(self, data: bytes) -> None:
        """A piece of the content.

        Raises:
            ContentError: a CR or LF stands alone, and must not be sent.
        """
        message = self._sending()
        if message.chunked:
            if data:
                self._out.append(b"BDAT %d\r\n%b" % (len(data), data))
                message.chunks += 1
            return
        data = message.last + data
        # A CR waits for its LF.
        message.last = b"\r" if data.endswith(b"\r") else b""
        data = data.removesuffix(b"\r") if message.last else data
        if has_bare_line_end(data):
            self._state = _State.BROKEN
            raise ContentError("the message has a CR or LF that is not CR LF, and the receiver knows no CHUNKING")
        if not data:
            return
        stuffed = data.replace(b"\r\n.", b"\r\n..")
        if message.line_begins and data.startswith(b"."):
            stuffed = b"." + stuffed
        message.line_begins = data.endswith(b"\r\n")
        self._out.append(stuffed)

    def content_ends(self) -> None:
        """That was all of it; ``Done`` follows.

        Raises:
            ContentError: it ends with a CR alone.
        """
        message = self._sending()
        if message.chunked:
            self._out.append(b"BDAT 0 LAST\r\n")
            message.chunks += 1
        else:
            if message.last:
                self._state = _State.BROKEN
                raise ContentError("the message ends with a CR that is not CR LF")
            # A last line without an end gets one: a message is lines (RFC 5321 section 2.3.8).
            self._out.append(b".\r\n" if message.line_begins else b"\r\n.\r\n")
        self._state = _State.ENDED

    def quit(self) -> None:
        """Say good bye; whether anybody answers does not matter."""
        if self._state is not _State.BROKEN:
            self._command("QUIT", _State.QUIT)

    def lost(self) -> list[ClientEvent]:
        """The connection is gone. A message whose end was sent may have been taken or not: it has to be sent again
        (RFC 5321 section 4.2.5), so it is a temporary failure.
        """
        ended, message = self._state is _State.ENDED, self._message
        self._state = _State.BROKEN
        if message is None:
            return []
        text = "the connection was lost after the message, before the reply" if ended else "the connection was lost"
        reply = Reply.of(451, "4.4.2", text)
        return [self._done(message, reply, "content" if ended else "data", reusable=False)]

    # ---------------------------------------------------------------- replies

    def _on_reply(self, reply: Reply, more: bool) -> list[ClientEvent]:
        state = self._state
        if state is _State.GREETING:
            return self._greeted(reply, more)
        if state in (_State.EHLO, _State.HELO):
            return self._hello(reply)
        if state is _State.STARTTLS:
            if reply.code != 220:
                self._state = _State.READY
                return [Refused(reply, "starttls")]
            # What came before TLS is not to be taken for what comes within it (CVE-2011-0411).
            if more:
                return [self._break("something came behind the reply to STARTTLS, in the clear")]
            self._state = _State.TLS
            return [TlsReady()]
        if state in (_State.ENVELOPE, _State.DATA, _State.CONTENT, _State.ENDED):
            assert self._message is not None
            if reply.code == 421:
                self._state = _State.BROKEN
                return [self._done(self._message, reply, "data", reusable=False)]
            return self._on_message_reply(self._message, reply)
        if state is _State.RSET:
            self._state = _State.READY if reply.code < 300 else _State.BROKEN
            return [Ready(self.extensions) if self.is_ready else Broken(f"RSET was answered with {reply}")]
        if state is _State.QUIT:
            self._state = _State.BROKEN
            return []
        if reply.code == 421:
            self._state = _State.BROKEN
            return [Broken(f"the receiver closes: {reply}")]
        return [self._break(f"a reply to nothing: {reply}")]

    def _greeted(self, reply: Reply, more: bool) -> list[ClientEvent]:
        if reply.code != 220:
            self._state = _State.BROKEN
            return [Greeted(reply), Refused(reply, "greeting")]
        if more:
            return [self._break("more than one greeting came")]
        self._command(f"EHLO {self.helo}", _State.EHLO)
        return [Greeted(reply)]

    def _hello(self, reply: Reply) -> list[ClientEvent]:
        if reply.code == 250:
            if self._state is _State.EHLO:
                pairs = (line.partition(" ") for line in reply.lines[1:])
                self.extensions = {keyword.upper(): parameters for keyword, _, parameters in pairs}
            self._state = _State.READY
            return [Ready(self.extensions)]
        # RFC 5321 section 3.2: who does not know EHLO may know HELO.
        if self._state is _State.EHLO and reply.kind == "permanent" and not self.tls:
            self._command(f"HELO {self.helo}", _State.HELO)
            return []
        self._state = _State.BROKEN
        return [Refused(reply, "ehlo")]

    def _on_message_reply(self, message: _Message, reply: Reply) -> list[ClientEvent]:
        if self._state is _State.ENVELOPE:
            return self._on_envelope_reply(message, reply)
        if self._state is _State.DATA:
            return self._on_data_reply(message, reply)
        if message.chunked:
            message.chunks -= 1
            if reply.kind == "positive" and (message.chunks or self._state is _State.CONTENT):
                return []
            if reply.kind != "positive" and self._state is _State.CONTENT:
                # Refused within: what is left need not be sent, and the receiver does not know where it ends.
                self._state = _State.BROKEN
                return [self._done(message, reply, "content", reusable=False)]
            if message.chunks:
                self._state = _State.BROKEN
                return [self._done(message, reply, "content", reusable=False)]
        elif self._state is _State.CONTENT:
            self._state = _State.BROKEN
            return [self._done(message, reply, "content", reusable=False)]
        if reply.kind == "intermediate":
            return [self._break(f"the message was answered with {reply}")]
        self._state = _State.READY
        return [self._done(message, reply, "content", reusable=self.mails_left > 0)]

    def _on_envelope_reply(self, message: _Message, reply: Reply) -> list[ClientEvent]:
        number = message.answered
        message.answered += 1
        if reply.kind == "intermediate":
            return [self._break(f"MAIL or RCPT was answered with {reply}")]
        if number == 0:
            message.mail = reply
        elif reply.kind == "positive" and message.mail is not None and message.mail.kind == "positive":
            message.accepted.append(message.recipients[number - 1])
        else:
            decided = message.mail if message.mail is not None and message.mail.kind != "positive" else reply
            stage: Stage = "rcpt" if decided is reply else "mail"
            message.outcomes[number - 1] = Outcome(message.recipients[number - 1].recipient, decided, stage)
        if message.answered <= len(message.recipients):
            pipelined = "PIPELINING" in self.extensions
            if number == 0 and reply.kind != "positive" and not pipelined:
                return self._nobody(message)
            if not pipelined:
                self._say(self._rcpt_command(message.recipients[number]))
            return []
        if message.accepted:
            if message.chunked:
                self._state = _State.CONTENT
                return [WantsContent()]
            if not message.data_sent:
                self._say("DATA")
            self._state = _State.DATA
            return []
        if message.data_sent:
            self._state = _State.DATA
            return []
        return self._nobody(message)

    def _on_data_reply(self, message: _Message, reply: Reply) -> list[ClientEvent]:
        if reply.code == 354:
            if message.accepted:
                self._state = _State.CONTENT
                return [WantsContent()]
            # Asked for along with recipients none of whom was taken (RFC 2920 section 3.1): an empty one for nobody.
            self._out.append(b".\r\n")
            self._state = _State.ENDED
            return []
        if reply.kind in ("positive", "intermediate"):
            return [self._break(f"DATA was answered with {reply}")]
        if not message.accepted:
            return self._nobody(message)
        self._reset()
        return [self._done(message, reply, "data", reusable=True)]

    def _nobody(self, message: _Message) -> list[ClientEvent]:
        """No recipient was taken."""
        self._reset()
        reply = message.mail or Reply.of(451, "4.5.0", "no reply")
        return [self._done(message, reply, "mail", reusable=True)]

    # ---------------------------------------------------------------- small things

    def _done(self, message: _Message, reply: Reply, stage: Stage, *, reusable: bool) -> Done:
        self._message = None
        outcomes = (
            message.outcomes.get(number) or Outcome(each.recipient, reply, stage)
            for number, each in enumerate(message.recipients)
        )
        return Done(tuple(outcomes), reusable)

    def _lacking(self, mail: MailParameters, size: int) -> Reply | None:
        """Why a message cannot go to this receiver at all."""
        if mail.smtputf8 and "SMTPUTF8" not in self.extensions:
            return Reply.of(550, "5.6.7", "the receiver does not offer SMTPUTF8, which the addresses or headers need")
        if mail.requiretls and not (self.tls and "REQUIRETLS" in self.extensions):
            return Reply.of(550, "5.7.30", "the receiver does not offer REQUIRETLS, which the sender asks for")
        if mail.body == "BINARYMIME" and not {"CHUNKING", "BINARYMIME"} <= self.extensions.keys():
            return Reply.of(554, "5.6.3", "the receiver does not offer BINARYMIME, which the message needs")
        most = self.extensions.get("SIZE", "")
        if most.isascii() and most.isdigit() and 0 < int(most[:20]) < size:
            return Reply.of(
                552, "5.3.4", f"the receiver takes messages of up to {most[:20]} octets; this one has {size}"
            )
        return None

    def _mail_command(self, mail: MailParameters, size: int) -> str:
        words = [f"MAIL FROM:<{mail.reverse_path}>"]
        offers = self.extensions
        if "SIZE" in offers:
            words.append(f"SIZE={size}")
        body: Body | None = mail.body if mail.body != "7BIT" else None
        if body is not None and "8BITMIME" in offers:
            words.append(f"BODY={body}")
        if mail.smtputf8:
            words.append("SMTPUTF8")
        if "DSN" in offers:
            words += [f"RET={mail.ret}"] if mail.ret else []
            words += [f"ENVID={to_xtext(mail.envid)}"] if mail.envid else []
        if mail.requiretls:
            words.append("REQUIRETLS")
        if mail.priority is not None and "MT-PRIORITY" in offers:
            words.append(f"MT-PRIORITY={mail.priority}")
        return " ".join(words)

    def _rcpt_command(self, recipient: RcptParameters) -> str:
        words = [f"RCPT TO:<{recipient.recipient}>"]
        if "DSN" in self.extensions:
            if recipient.notify is not None:
                words.append(f"NOTIFY={','.join(sorted(recipient.notify)) or 'NEVER'}")
            if recipient.orcpt:
                kind, _, address = recipient.orcpt.partition(";")
                words.append(f"ORCPT={kind};{address if kind.lower() == 'utf-8' else to_xtext(address)}")
        return " ".join(words)

    def _limit(self, name: str, otherwise: int) -> int:
        for word in self.extensions.get("LIMITS", "").split():
            key, _, value = word.partition("=")
            if key.upper() == name and value.isascii() and value.isdigit() and len(value) <= 6 and int(value) > 0:
                return int(value)
        return otherwise

    def _sending(self) -> _Message:
        if self._state is not _State.CONTENT or self._message is None:
            raise RuntimeError("nobody wants content")
        return self._message

    def _reset(self) -> None:
        self._command("RSET", _State.RSET)

    def _command(self, text: str, state: _State) -> None:
        self._say(text)
        self._state = state

    def _say(self, text: str) -> None:
        self._out.append(text.encode() + b"\r\n")

    def _break(self, why: str) -> ClientEvent:
        message, self._message = self._message, None
        self._state = _State.BROKEN
        if message is not None:
            reply = Reply.of(451, "4.5.0", f"the receiver breaks the protocol: {why}")
            return self._done(message, reply, "data", reusable=False)
        return Broken(why)
