"""What a client session is given, and what it tells. Values only."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Literal

from mx10.smtp.auth import Credentials
from mx10.smtp.replies import Reply
from mx10.smtp.syntax import MailParameters, RcptParameters
from mx10.values import value_class


class Stage(StrEnum):
    """What was under way. Those from ``greeting`` to ``quit`` are the session's; the others are of whoever connects."""

    ROUTE = "route"
    CONNECT = "connect"
    HANDSHAKE = "handshake"
    GREETING = "greeting"
    HELLO = "hello"
    STARTTLS = "starttls"
    AUTH = "auth"
    IDLE = "idle"
    RESET = "reset"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    CONTENT = "content"
    END = "end"
    """The content was sent whole; the reply to it is waited for."""
    QUIT = "quit"


@value_class
class ClientOptions:
    """How a session behaves.

    Attributes:
        hostname: our name, or address literal, for EHLO.
        starttls: never; where it is offered; or not without it.
        credentials: for AUTH; with them, nothing is sent to a server that does not take them.
        mechanism: of AUTH; None: the best that is offered.
        nonce: gives a new one for AUTH.
        plaintext_auth: give the password to a server without TLS too.
        chunking: use BDAT where it is offered (RFC 3030).
        pipelining: use it where it is offered (RFC 2920).
        lmtp: speak LMTP (RFC 2033).
        eight_bit: send content beyond ASCII to a server that does not offer 8BITMIME all the same, as most do.
        watched: ``commands`` is asked what was sent.
    """

    hostname: str
    starttls: Literal["never", "may", "must"] = "may"
    credentials: Credentials | None = None
    mechanism: str | None = None
    nonce: Callable[[], str] | None = None
    plaintext_auth: bool = False
    chunking: bool = True
    pipelining: bool = True
    lmtp: bool = False
    eight_bit: bool = False
    watched: bool = False


@value_class
class Envelope:
    """From whom to whom. What the peer does not know of DSN and MT-PRIORITY is left out for it."""

    mail: MailParameters
    recipients: tuple[RcptParameters, ...]


@value_class
class Outcome:
    """What became of one recipient.

    Attributes:
        recipient: as the envelope has it.
        reply: the peer's, or in its form what we say ourselves.
        stage: to what.
        ours: the reply is our own word: the peer lacks something, or said nothing more.
        dsn: the peer knows DSN, and sends what reports are still due (RFC 3461 section 5.2.2).
    """

    recipient: str
    reply: Reply
    stage: Stage
    ours: bool = False
    dsn: bool = False

    @property
    def delivered(self) -> bool:
        """The peer has taken the message for the recipient; in a trial (``dry_run``): would take one."""
        return self.reply.code < 300

    @property
    def uncertain(self) -> bool:
        """The message was sent whole and nobody said what became of it; sent again, it may arrive twice."""
        return self.ours and self.stage is Stage.END


@value_class
class Replied:
    """A reply, and to what. ``command`` as it was sent, without passwords; empty for the greeting."""

    stage: Stage
    command: str
    reply: Reply


@value_class
class BeginTls:
    """Send what is to be sent, begin TLS as its client, and then call ``tls_started``."""


@value_class
class Ready:
    """The first message may be sent. ``features``: keywords the peer offers, with what stands behind them."""

    features: Mapping[str, str]


@value_class
class ContentWanted:
    """Call ``write`` with the content, and then ``end_content``."""


@value_class
class Finished:
    """A message is done with: an outcome for each recipient of the envelope, in its order."""

    outcomes: tuple[Outcome, ...]


@value_class
class Ended:
    """The session is over: close the connection.

    Attributes:
        stage: when.
        reply: why: the peer's, or in its form what we say ourselves.
        ours: it is our own word.
    """

    stage: Stage
    reply: Reply
    ours: bool = False


ClientEvent = Replied | BeginTls | Ready | ContentWanted | Finished | Ended
