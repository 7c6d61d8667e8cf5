"""What the courier is given, what it tells while it is on its way, and what it comes back with. Values only.

A ``Letter`` is one message as all recipients get it, a ``Target`` one address of a host that may take it, a ``Step``
one thing that happened, a ``Fate`` what became of one recipient. Times are milliseconds since 1970, UTC.
"""

from collections.abc import AsyncIterator, Callable
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from mx10.routing import addresses
from mx10.smtp.replies import Reply
from mx10.smtp.syntax import Body, Ret
from mx10.values import value_class

# Each step of each delivery shows the address, a dozen times a message.
_shown = lru_cache(maxsize=4096)(addresses.to_text)


class Stage(StrEnum):
    """How far a delivery had come when something happened."""

    ROUTE = "route"
    """Nobody was asked yet."""
    CONNECT = "connect"
    GREETING = "greeting"
    HELLO = "hello"
    """EHLO, HELO or LHLO."""
    TLS = "tls"
    """STARTTLS and the handshake."""
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    """DATA or BDAT, and while the content goes over; the receiver does not have all of it."""
    FINAL = "final"
    """All of the content went out; the reply to it."""


class Trouble(StrEnum):
    """What happened where no reply says it."""

    REFUSED = "refused"
    """Nobody listens there (connection refused)."""
    UNREACHABLE = "unreachable"
    """No way to the network or host, or no such address family here."""
    TIMEOUT = "timeout"
    RESET = "reset"
    """The connection ended where a reply should have come."""
    GARBAGE = "garbage"
    """What came is no reply."""
    TLS = "tls"
    """No TLS could be agreed on, or the certificate is not what the policy wants."""
    UNABLE = "unable"
    """The host does not offer what the message needs (SMTPUTF8, REQUIRETLS, size)."""
    OURS = "ours"
    """Something on this host: no descriptor left, credentials that cannot be read, content that cannot be read."""


class TlsPolicy(StrEnum):
    """Whether a connection is encrypted, and what if it cannot be."""

    NEVER = "never"
    OPPORTUNISTIC = "opportunistic"
    """TLS where it is offered, with any certificate (RFC 7435); in the clear where it is not, or fails."""
    ENCRYPTED = "encrypted"
    """TLS or nothing, with any certificate."""
    VERIFIED = "verified"
    """TLS or nothing, with a valid certificate for the name of the host."""


class Content(Protocol):
    """The octets of a message: header and body, lines end in CR LF. May be read several times."""

    size: int
    """Octets."""

    def chunks(self) -> AsyncIterator[bytes]:
        """From the beginning, some 64 KiB at a time.

        Raises:
            OSError: it cannot be read.
        """


@value_class
class Addressee:
    """One recipient. ``key``: the queue's own name for it; ``notify``, ``orcpt``: as ``smtp.syntax.RcptParameters``."""

    address: str
    key: int = 0
    notify: frozenset[str] | None = None
    orcpt: str | None = None

    def __hash__(self) -> int:
        # Asked for a dozen times in a delivery; a text knows its own.
        return hash(self.address)


@value_class
class Letter:
    """One message. The fields of its envelope are those of ``smtp.syntax.MailParameters``; ``name``: as people see it
    in the queue (13 characters); ``whole_lines``: it was seen that no CR or LF stands alone in the content;
    ``tls_optional``: its header says ``TLS-Required: No`` (RFC 8689)."""

    name: str
    reverse_path: str
    content: Content
    body: Body = "7BIT"
    smtputf8: bool = False
    ret: Ret | None = None
    envid: str | None = None
    requiretls: bool = False
    priority: int | None = None
    whole_lines: bool = False
    tls_optional: bool = False


@value_class
class Target:
    """One address of one host, and how it is spoken to.

    Attributes:
        host: its name with A-labels (of the certificate, and for people); for an address literal, the literal.
        address: 4 or 16 octets.
        rank: of its preference group, from 0; equal ones were shuffled.
        tls: what the policy wants.
        implicit_tls: TLS from the first octet (port 465).
        credentials: the file that holds them; None: no AUTH.
    """

    host: str
    address: bytes
    port: int = 25
    rank: int = 0
    tls: TlsPolicy = TlsPolicy.OPPORTUNISTIC
    implicit_tls: bool = False
    credentials: Path | None = None
    lmtp: bool = False
    """LMTP (RFC 2033) is spoken: LHLO, and a reply for each recipient after the content."""
    socket: str = ""
    """The path of a Unix socket instead of address and port, which are then of no meaning."""

    @property
    def family(self) -> int:
        """4 or 6."""
        return 4 if len(self.address) == 4 else 6

    @property
    def text(self) -> str:
        """The address as people write it; the path of a Unix socket."""
        return self.socket or _shown(self.address)

    def __str__(self) -> str:
        return self.socket or f"{self.host}[{self.text}]:{self.port}"


class StepKind(StrEnum):
    """What a step is about."""

    ROUTE = "route"
    """Which hosts will be tried."""
    PASSED_OVER = "passed-over"
    """A target is known to be down, or was given up together with another."""
    CONNECTING = "connecting"
    POLICY = "policy"
    """What the message asks for, and what is demanded of TLS."""
    CONNECTED = "connected"
    """Greeting and EHLO went well."""
    TLS = "tls"
    """TLS begins; the text says which."""
    PLAIN = "plain"
    """It goes on without TLS, and why."""
    COMMAND = "command"
    """A line we sent, never a password."""
    REPLY = "reply"
    FAILED = "failed"
    """A target did not work, and why."""
    DELIVERED = "delivered"
    """A recipient is somebody else's now."""
    NOT_DELIVERED = "not-delivered"
    """A recipient was not taken at this target."""
    ENDED = "ended"
    """What it came to for one recipient."""


@value_class
class Step:
    """One thing that happened, for ``mx10 send``, ``mx10 queue explain`` and the log: they show the same.

    Attributes:
        text: a sentence or less, for people; no controls within.
        host, address: empty before one is chosen.
        recipient: whom it is about; empty: all of them.
    """

    kind: StepKind
    at: int
    text: str
    host: str = ""
    address: str = ""
    recipient: str = ""
    reply: Reply | None = None


Listener = Callable[[Step], None]


def nobody(_step: Step) -> None:
    """A listener that nobody is: with it, steps are not made."""


"""Is told each step as it happens; it does not wait for anything."""


class End(StrEnum):
    """What the queue does with a recipient."""

    DELIVERED = "delivered"
    LATER = "later"
    """Keep it and try again."""
    FAILED = "failed"
    """Return it to the sender."""


@value_class
class Fate:
    """What became of one recipient in one attempt.

    Attributes:
        enhanced: RFC 3463: of the reply, or what we make of the trouble; ``2.0.0`` and the like where it was delivered.
        reason: what happened, for people: who said what, in answer to what.
        advice: what a sender can do about it; empty where it was delivered.
        stage: where the decision fell.
        reply: what was said; None where nothing was.
        trouble: what happened instead.
        host, address, port: who said it; empty where nobody was reached.
        dsn: the next host promised to report what becomes of it (RFC 3461); else a wanted report of success is ours.
        final: it is in a mailbox now, or another system's that has no SMTP, not at a next relay.
        reached: some host was spoken to; False: every one is down, and nothing was learned about the recipient.
        now: worth trying again at once, as with another transaction (452 4.5.3).
    """

    recipient: Addressee
    end: End
    enhanced: str
    reason: str
    advice: str = ""
    stage: Stage = Stage.ROUTE
    reply: Reply | None = None
    trouble: Trouble | None = None
    host: str = ""
    address: str = ""
    port: int = 0
    dsn: bool = False
    final: bool = False
    reached: bool = False
    now: bool = False


class ConnectionTrouble(Exception):  # noqa: N818  # it is no error of ours
    """A connection that came to nothing.

    Attributes:
        stage: how far it had come.
        trouble: what happened; None where a reply says it.
        reply: what was said.
        detail: in the system's words, as "connection refused"; for people.
        enhanced: with ``Trouble.UNABLE``, what it comes to (RFC 3463).
    """

    def __init__(
        self, stage: Stage, trouble: Trouble | None, detail: str, reply: Reply | None = None, enhanced: str = ""
    ) -> None:
        super().__init__(detail)
        self.stage = stage
        self.trouble = trouble
        self.detail = detail
        self.reply = reply
        self.enhanced = enhanced


@value_class
class Answered:
    """What a host said about one recipient: the reply that decided it and the stage it came at; or what happened
    instead of a reply. ``enhanced``: with ``Trouble.UNABLE``, what it comes to (``5.6.7``: no SMTPUTF8 there)."""

    recipient: Addressee
    stage: Stage
    reply: Reply | None
    trouble: Trouble | None = None
    detail: str = ""
    enhanced: str = ""


class Link(Protocol):
    """A connection that is ready for transactions: greeting, EHLO, TLS and AUTH are done."""

    tls: str
    """As ``TLSv1.3 TLS_AES_256_GCM_SHA384, verified``; empty: in the clear."""
    extensions: frozenset[str]
    """Keywords of EHLO, in capitals."""
    name: str
    """What the host calls itself in its reply to EHLO; empty: nothing that is a name."""
    limit: int | None
    """Recipients of one transaction (RFC 9422 RCPTMAX); None: not said."""
    domains: int | None
    """Domains that they may be of (RFC 9422 RCPTDOMAINMAX); None: not said."""
    used: bool
    """It served another message before: that it is closed by now says nothing of the host."""

    @property
    def usable(self) -> bool:
        """Whether it takes a transaction now."""

    async def send(self, letter: Letter, recipients: tuple[Addressee, ...]) -> list[Answered]:
        """One transaction. Says something of each recipient, in the same order, and raises nothing but cancellation:
        a connection that breaks is ``Answered`` with its trouble at the stage it came to (``FINAL`` once the last octet
        went out), for those recipients that have no reply yet."""

    async def release(self, *, keep: bool) -> None:
        """We have no more for it. ``keep``: it is in order and may serve another message; else QUIT. Never raises."""


class Connector(Protocol):
    """Opens links, or has them ready from before."""

    async def __call__(self, target: Target, policy: TlsPolicy, listener: Listener) -> Link:
        """A link to a target, with TLS as ``policy`` says (not ``target.tls``: it may be a second try in the clear).

        Raises:
            ConnectionTrouble: it came to nothing.
        """


class Hosts(Protocol):
    """What all messages know of hosts: which are down. One probe at a time finds out when one is back."""

    def passed_over(self, target: Target, now: int) -> str:
        """Why a target is not to be tried now, as "down since …, probed in 40 s"; empty: try it (the caller may be the
        probe, and then says how it went; where it is cancelled, or fails for reasons of this host, it says nothing, so
        the place of a probe has to lapse)."""

    def failed(self, target: Target, now: int, reason: str, *, said: bool = False) -> None:
        """It could not be reached, or it said so itself (``said``): then it may only have too many connections."""

    def worked(self, target: Target, now: int) -> None:
        """It can be spoken to."""
