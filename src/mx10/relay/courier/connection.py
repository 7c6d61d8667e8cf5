"""Connections to hosts that take mail: ``smtp.ClientSession`` with a socket, TLS and a clock.

``Links`` opens them, or has one that is idle since it served another message. Every wait has an end: the limits of RFC
5321 section 4.5.3.2 hold for a whole reply, however slowly it trickles. What runs out of time, breaks off or is no SMTP
is a ``ConnectionTrouble`` before the first message, and an ``Answered`` of each recipient after.
"""

import asyncio
import secrets
import time
from collections.abc import Callable
from dataclasses import field
from pathlib import Path
from typing import Final

from mx10.relay.courier.seven_bit import Converter, Survey, UnconvertibleError, convert
from mx10.relay.courier.transports import TransportError, read_secret
from mx10.relay.courier.values import (
    Addressee,
    Answered,
    ConnectionTrouble,
    Content,
    Letter,
    Listener,
    Stage,
    Step,
    StepKind,
    Target,
    TlsPolicy,
    Trouble,
    nobody,
)
from mx10.relay.courier.wire import Timeouts, Wire, cause_of, context_of, trouble_of
from mx10.relay.turns import TurnEnd
from mx10.smtp import sending as smtp
from mx10.smtp.auth import Credentials
from mx10.smtp.client import ClientSession
from mx10.smtp.content import BareLineEndError, has_bare_line_end
from mx10.smtp.outgoing import Examiner, Facts
from mx10.smtp.replies import Reply
from mx10.smtp.sending import ClientOptions, Envelope
from mx10.smtp.syntax import MailParameters, RcptParameters
from mx10.values import value_class

WHOLE: Final = 256 << 10
"""Octets of a message that is sent from memory; a larger one is read while it goes over."""

_STAGES: Final = {
    smtp.Stage.GREETING: Stage.GREETING,
    smtp.Stage.HELLO: Stage.HELLO,
    smtp.Stage.STARTTLS: Stage.TLS,
    smtp.Stage.HANDSHAKE: Stage.TLS,
    smtp.Stage.AUTH: Stage.AUTH,
    smtp.Stage.IDLE: Stage.MAIL,
    smtp.Stage.RESET: Stage.MAIL,
    smtp.Stage.MAIL: Stage.MAIL,
    smtp.Stage.RCPT: Stage.RCPT,
    smtp.Stage.DATA: Stage.DATA,
    smtp.Stage.CONTENT: Stage.DATA,
    smtp.Stage.END: Stage.FINAL,
    smtp.Stage.QUIT: Stage.FINAL,
}


@value_class
class LinkOptions:
    """How connections are made.

    Attributes:
        hostname: our name, or address literal, for EHLO; empty: our address on each connection.
        local_addresses: to connect from; the first of the target's family is taken.
        ca_file: of the authorities that a certificate is verified with; None: the system's.
        credentials: for AUTH, at every target; else those of the target.
        mechanism: of AUTH; None: the best offered.
        plaintext_auth: log in without TLS too.
        chunking, pipelining, eight_bit: as ``smtp.ClientOptions``.
        dry_run: a message is not sent; the last reply to its recipient stands for the outcome.
        idle: seconds for which a connection waits for another message.
        idle_links: connections that wait, in all.
    """

    hostname: str
    timeouts: Timeouts = field(default_factory=Timeouts)
    local_addresses: tuple[str, ...] = ()
    ca_file: Path | None = None
    credentials: Credentials | None = None
    mechanism: str | None = None
    plaintext_auth: bool = False
    chunking: bool = True
    pipelining: bool = True
    eight_bit: bool = False
    dry_run: bool = False
    idle: float = 5.0
    idle_links: int = 100


def read_credentials(path: Path) -> Credentials:
    """A user name in the first line of a file, a password in the second; others may not read it.

    Raises:
        ValueError: it cannot be read, others may read it, or it holds something else (``TransportError``).
    """
    try:
        lines = read_secret(path).decode().splitlines()
    except UnicodeDecodeError:
        raise TransportError(f"{path} is not UTF-8") from None
    if len(lines) != 2 or not all(lines):
        what = "write the user name in the first line and the password in the second, and no more"
        raise TransportError(f"{path}: {what}")
    return Credentials(lines[0], lines[1])


_Key = tuple[str, str, int, TlsPolicy, bool, bool, Path | None]


class Links:
    """Opens connections, and keeps those that wait for another message: a ``Connector``."""

    def __init__(self, options: LinkOptions) -> None:
        self.options = options
        self._idle: dict[_Key, list[SmtpLink]] = {}
        self._until: dict[SmtpLink, float] = {}
        """Until when each waits; as all wait equally long, the first is the next to go."""
        self._timer: asyncio.TimerHandle | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._turn_end = TurnEnd()

    @property
    def idle(self) -> int:
        """Connections that wait."""
        return len(self._until)

    async def __call__(self, target: Target, policy: TlsPolicy, listener: Listener) -> "SmtpLink":
        """See ``values.Connector``."""
        key = (
            target.host,
            target.text,
            target.port,
            policy,
            target.implicit_tls,
            target.lmtp,
            target.credentials,
        )
        while waiting := self._idle.get(key):
            link = waiting[-1]
            self._forget(link)
            if link.usable:
                link.hand_over(listener)
                return link
            link.abort()
        link = SmtpLink(target, policy, self.options, listener, key, self._keep, self._lost, self._turn_end)
        try:
            await link.open()
        except BaseException:
            link.abort()
            raise
        return link

    def _keep(self, link: "SmtpLink") -> bool:
        """Let a connection wait. Returns whether there is room for it."""
        if len(self._until) >= self.options.idle_links or not self.options.idle:
            return False
        self._idle.setdefault(link.key, []).append(link)
        loop = asyncio.get_running_loop()
        self._until[link] = loop.time() + self.options.idle
        if self._timer is None:
            self._timer = loop.call_later(self.options.idle, self._sweep)
        return True

    def _sweep(self) -> None:
        """Close those that waited long enough. One timer for all: most are wanted again within milliseconds."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._timer = None
        while self._until:
            link, until = next(iter(self._until.items()))
            if until > now:
                self._timer = loop.call_at(until, self._sweep)
                return
            self._expire(link)

    def _expire(self, link: "SmtpLink") -> None:
        self._forget(link)
        task = asyncio.create_task(link.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _lost(self, link: "SmtpLink") -> None:
        """A connection has ended, perhaps while it waited."""
        if link in self._until:
            self._forget(link)
            link.abort()

    def _forget(self, link: "SmtpLink") -> None:
        """It does not wait any more."""
        if self._until.pop(link, None) is None:
            return
        waiting = self._idle[link.key]
        waiting.remove(link)
        if not waiting:
            del self._idle[link.key]

    async def close(self) -> None:
        """Close all that wait."""
        for link in list(self._until):
            self._expire(link)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await asyncio.gather(*self._closing, return_exceptions=True)


class SmtpLink:
    """One connection: a ``values.Link``. Made by ``Links``."""

    def __init__(
        self,
        target: Target,
        policy: TlsPolicy,
        options: LinkOptions,
        listener: Listener,
        key: _Key,
        keep: Callable[["SmtpLink"], bool],
        lost: Callable[["SmtpLink"], None],
        turn_end: TurnEnd,
    ) -> None:
        self.target = target
        self.key = key
        self.tls = ""
        self.extensions: frozenset[str] = frozenset()
        self.name = ""
        self.limit: int | None = None
        self.domains: int | None = None
        self.used = False
        self._address = target.text
        self._policy = policy
        self._options = options
        self._listener = listener
        self._keep = keep
        self._wire = Wire(options.timeouts, self._tell, lambda: lost(self), turn_end)

    @property
    def usable(self) -> bool:
        """Whether it takes a message now."""
        return self._wire.session.ready

    def hand_over(self, listener: Listener) -> None:
        """It serves somebody else now."""
        self.used = True
        self._listener = listener

    # ---------------------------------------------------------------- beginning

    async def open(self) -> None:
        """Connect, and do all that comes before the first message.

        Raises:
            ConnectionTrouble: it came to nothing.
        """
        target, wire = self.target, self._wire
        credentials = self._credentials()
        await self._connect()
        options = self._client_options(credentials, self._options.hostname or wire.own_address())
        wire.session = ClientSession(options, encrypted=target.implicit_tls, verified=self._verified)
        if target.implicit_tls:
            await self._handshake()
        wire.begin()
        while True:
            event = await wire.next()
            if isinstance(event, smtp.Ready):
                self.extensions, self.name = frozenset(event.features), wire.session.name
                self.limit, self.domains = wire.session.recipients_at_once, wire.session.domains_at_once
                return
            if isinstance(event, smtp.BeginTls):
                await self._handshake()
                wire.dispatch(wire.session.tls_started(verified=self._verified))
            elif isinstance(event, smtp.Ended):
                raise self._trouble(event)

    @property
    def _verified(self) -> bool:
        return self._policy is TlsPolicy.VERIFIED

    def _credentials(self) -> Credentials | None:
        if self._options.credentials is not None or self.target.credentials is None:
            return self._options.credentials
        try:
            return read_credentials(self.target.credentials)
        except TransportError as error:
            raise ConnectionTrouble(Stage.CONNECT, Trouble.OURS, f"no credentials: {error}") from None

    def _client_options(self, credentials: Credentials | None, hostname: str) -> ClientOptions:
        options = self._options
        starttls = "must"
        if self._policy is TlsPolicy.NEVER or self.target.implicit_tls:
            starttls = "never"
        elif self._policy is TlsPolicy.OPPORTUNISTIC:
            starttls = "may"
        return ClientOptions(
            hostname,
            starttls,  # type: ignore[arg-type]  # mypy does not keep the literals apart
            credentials,
            options.mechanism,
            lambda: secrets.token_urlsafe(24),
            options.plaintext_auth,
            options.chunking,
            options.pipelining,
            self.target.lmtp,
            options.eight_bit,
            watched=True,
        )

    async def _connect(self) -> None:
        # Without TLS, the greeting may come before anybody waits for it.
        if not self.target.implicit_tls:
            self._wire.expect()
        loop, target, seconds = asyncio.get_running_loop(), self.target, self._options.timeouts.connect
        local = next((each for each in self._options.local_addresses if (":" in each) is (target.family == 6)), None)
        try:
            async with asyncio.timeout(seconds):
                if target.socket:
                    await loop.create_unix_connection(lambda: self._wire, target.socket)
                else:
                    await loop.create_connection(
                        lambda: self._wire, target.text, target.port, local_addr=None if local is None else (local, 0)
                    )
        except TimeoutError:
            raise ConnectionTrouble(Stage.CONNECT, Trouble.TIMEOUT, f"no connection within {seconds:g} s") from None
        except OSError as error:
            # What asyncio says of an address of ours begins so, and the address may be of no interface here.
            ours = local is not None and "bind" in str(error)
            trouble = Trouble.OURS if ours else trouble_of(error)
            raise ConnectionTrouble(Stage.CONNECT, trouble, cause_of(error)) from None

    async def _handshake(self) -> None:
        wire, target = self._wire, self.target
        host = target.text if target.host.startswith("[") else target.host
        try:
            await wire.handshake(context_of(self._verified, self._options.ca_file), host)
        except TimeoutError:
            what = f"no TLS within {self._options.timeouts.handshake:g} s"
            raise ConnectionTrouble(Stage.TLS, Trouble.TIMEOUT, what) from None
        except (OSError, ValueError) as error:
            trouble = Trouble.RESET if isinstance(error, ConnectionError) else Trouble.TLS
            raise ConnectionTrouble(Stage.TLS, trouble, cause_of(error)) from None
        spoken = wire.extra("ssl_object")
        version = (spoken.version() if spoken is not None else None) or "TLS"
        cipher = ((spoken.cipher() if spoken is not None else None) or ("",))[0]
        self.tls = f"{version} {cipher}{', verified' if self._verified else ''}"
        certificate = f"certificate verified for {host}" if self._verified else "certificate not verified"
        more = ""
        if wire.session.discarded:
            more = f"; {wire.session.discarded} octets that came before it, in the clear, are forgotten"
        self._tell(StepKind.TLS, f"{version} {cipher}, {certificate}{more}")

    def _trouble(self, ended: smtp.Ended) -> ConnectionTrouble:
        stage = _STAGES[ended.stage]
        if not ended.ours:
            return ConnectionTrouble(stage, None, f"said “{ended.reply}”", ended.reply)
        trouble = self._wire.trouble
        if trouble is None:
            trouble = {Stage.TLS: Trouble.TLS, Stage.AUTH: Trouble.UNABLE}.get(stage, Trouble.GARBAGE)
        return ConnectionTrouble(stage, trouble, ended.reply.text)

    # ---------------------------------------------------------------- messages

    async def send(self, letter: Letter, recipients: tuple[Addressee, ...]) -> list[Answered]:
        """See ``values.Link``."""
        wire = self._wire
        if not wire.session.ready:
            detail = wire.detail or "the host takes no further message over this connection"
            return [Answered(each, Stage.MAIL, None, wire.trouble or Trouble.RESET, detail) for each in recipients]
        try:
            outcomes = await self._send(letter, recipients)
        except UnconvertibleError as error:
            if not wire.session.ready:
                self.abort()
            detail = (
                f"the message is not ASCII, the server does not offer 8BITMIME, and it cannot be converted: {error}"
            )
            return [Answered(each, Stage.MAIL, None, Trouble.UNABLE, detail, error.enhanced) for each in recipients]
        except (OSError, BareLineEndError, ValueError) as error:
            # While reading the message, or at what it holds: nothing of this is the host's doing.
            self.abort()
            if isinstance(error, BareLineEndError):
                detail = str(error) or "the message has a CR or LF that stands alone (RFC 5321 section 2.3.8)"
                return [Answered(each, Stage.DATA, None, Trouble.UNABLE, detail, "5.6.0") for each in recipients]
            detail = f"the message cannot be sent: {cause_of(error)}"
            return [Answered(each, Stage.DATA, None, Trouble.OURS, detail) for each in recipients]
        except BaseException:
            self.abort()
            raise
        return [self._answered(*each) for each in zip(recipients, outcomes, strict=True)]

    async def _send(self, letter: Letter, recipients: tuple[Addressee, ...]) -> tuple[smtp.Outcome, ...]:
        wire = self._wire
        content, facts = await self._content(letter)
        parts: frozenset[int] | None = None
        whole_lines = letter.whole_lines
        if self._needs_seven_bits(letter, content, facts):
            self._tell(StepKind.COMMAND, "(made quoted-printable, as the server does not offer 8BITMIME)")
            whole_lines = False
            if content is not None:
                content = convert(content)
            else:
                # How large it becomes is known when it has gone over.
                parts, facts = await _survey(letter.content), Facts(0)
        mail = MailParameters(
            letter.reverse_path,
            None,
            letter.body,
            letter.smtputf8,
            letter.ret,
            letter.envid,
            letter.requiretls,
            letter.priority,
        )
        envelope = Envelope(mail, tuple(RcptParameters(each.address, each.notify, each.orcpt) for each in recipients))
        wire.dispatch(
            wire.session.send(envelope, content, facts, whole_lines=whole_lines, dry_run=self._options.dry_run)
        )
        while True:
            event = await wire.next()
            if isinstance(event, smtp.Finished):
                return event.outcomes
            if isinstance(event, smtp.ContentWanted):
                converter = None if parts is None else Converter(parts)
                async for chunk in letter.content.chunks():
                    if not wire.session.wants_content:
                        break
                    wire.session.write(chunk if converter is None else converter.feed(chunk))
                    await wire.drain()
                if converter is not None and wire.session.wants_content:
                    wire.session.write(converter.end())
                wire.dispatch(wire.session.end_content())

    def _needs_seven_bits(self, letter: Letter, content: bytes | None, facts: Facts | None) -> bool:
        """Whether the host is to be given the message as quoted-printable (RFC 6152 section 3)."""
        if "8BITMIME" in self._wire.session.features or self._options.eight_bit or self._options.dry_run:
            return False
        if letter.body == "BINARYMIME":
            return False
        # A message with line ends that nobody sends is refused for that.
        if facts is not None:
            return facts.eight_bit and not facts.bare_line_end
        return content is not None and not content.isascii() and not has_bare_line_end(content)

    async def _content(self, letter: Letter) -> tuple[bytes | None, Facts | None]:
        """The content where it is small, and what is known of it where it is not."""
        if letter.content.size <= WHOLE:
            data = getattr(letter.content, "data", None)  # where it is at hand
            return data if isinstance(data, bytes) else b"".join([each async for each in letter.content.chunks()]), None
        features = self._wire.session.features
        if "8BITMIME" in features and ("SMTPUTF8" in features or not letter.smtputf8):
            # All that is still to be known is whether a CR or LF stands alone, and that shows while it goes over.
            return None, Facts(letter.content.size, letter.body == "8BITMIME", utf8_header=False)
        examiner = Examiner()
        async for chunk in letter.content.chunks():
            examiner.feed(chunk)
        return None, examiner.facts()

    def _answered(self, recipient: Addressee, outcome: smtp.Outcome) -> Answered:
        stage, reply = _STAGES[outcome.stage], outcome.reply
        if not outcome.ours:
            # Asked for no more than that, a recipient who is taken is all that can come of it.
            taken = self._options.dry_run and outcome.delivered
            return Answered(recipient, Stage.FINAL if taken else stage, reply)
        if reply.kind == "permanent":
            return Answered(recipient, stage, None, Trouble.UNABLE, reply.text, reply.enhanced or "")
        return Answered(recipient, stage, None, self._wire.trouble or Trouble.GARBAGE, reply.text)

    # ---------------------------------------------------------------- the end

    async def release(self, *, keep: bool) -> None:
        """See ``values.Link``."""
        if keep and self.usable and self._keep(self):
            self._listener = nobody
        else:
            await self.close()

    async def close(self) -> None:
        """Say QUIT, if there is anybody to say it to, and close. Never raises."""
        wire = self._wire
        try:
            if not wire.session.ended:
                wire.dispatch(wire.session.quit())
                while not wire.session.ended:
                    await wire.next()
            await wire.close()
        except BaseException:
            self.abort()
            raise

    def abort(self) -> None:
        """Close, whatever is under way."""
        self._wire.abort()

    def _tell(self, kind: StepKind, text: str, reply: Reply | None = None) -> None:
        if self._listener is not nobody:
            at = time.time_ns() // 1_000_000
            self._listener(Step(kind, at, text or str(reply), self.target.host, self._address, "", reply))


async def _survey(content: Content) -> frozenset[int]:
    """The first reading of a message that is to be converted."""
    survey = Survey()
    async for chunk in content.chunks():
        survey.feed(chunk)
    return survey.end()
