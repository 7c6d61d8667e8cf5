"""One connection as the sender sees it: what is said when, and what the replies mean for each recipient.

Whoever has the socket gives the session what comes (``receive``), sends what it has to send (``to_send``), and does
what its events ask for. The session greets, begins TLS, logs in, and is then ``ready``: ``send`` takes one message
after the other, until ``quit``.

Nothing that the peer says can go wrong for more than its own connection: replies are matched with commands in their
order, what came before TLS is forgotten (RFC 3207 section 4.2, CVE-2011-0411), and a reply that nobody asked for, a
line that is none, or an end of the connection gives every recipient that has no outcome yet a temporary one.
"""

import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from mx10.names import ascii_text, domain_from_text
from mx10.smtp.auth import Credentials
from mx10.smtp.content import BareLineEndError
from mx10.smtp.login import Login, LoginError, choose
from mx10.smtp.outgoing import Facts, Outgoing, examine
from mx10.smtp.replies import Reply, ReplyError, ReplyReader
from mx10.smtp.sending import (
    BeginTls,
    ClientEvent,
    ClientOptions,
    ContentWanted,
    Ended,
    Envelope,
    Finished,
    Outcome,
    Ready,
    Replied,
    Stage,
)
from mx10.smtp.syntax import MailParameters, RcptParameters, to_xtext

RECIPIENTS: Final = 100
"""Of one transaction; every server takes as many (RFC 5321 section 4.5.3.1.8)."""

_LIMIT: Final = re.compile(r"(?:^|\s)(RCPTMAX|MAILMAX|RCPTDOMAINMAX)=([1-9][0-9]{0,5})(?=\s|$)", re.IGNORECASE)
_FORBIDDEN: Final = re.compile("[\0-\x1f\x7f]")


class _Awaited:
    """A command of which the reply is awaited. ``index``: the recipient of RCPT."""

    __slots__ = ("command", "index", "stage")

    def __init__(self, stage: Stage, command: str, index: int = 0) -> None:
        self.stage = stage
        self.command = command
        self.index = index


@dataclass(slots=True)
class _Transaction:
    """A message under way."""

    envelope: Envelope
    facts: Facts
    content: bytes | None
    whole_lines: bool
    dry_run: bool
    binary: bool
    outcomes: list[Outcome | None]
    commands: list[tuple[int, str]]
    """RCPT of the recipients that are not refused by ourselves."""
    asked: int = 0
    """Of these that were sent, and answered."""
    answered: int = 0
    accepted: list[int] = field(default_factory=list)
    mail_ok: bool = False
    data_asked: bool = False
    outgoing: Outgoing | None = None
    """While the content is written."""
    held: bytes = b""
    """The last chunk for BDAT, until it is known whether another one follows."""
    ended: bool = False
    """The content was sent whole."""
    ends: int = 0
    """Replies to it that came, with LMTP."""
    failed: Reply | None = None
    """What was said to a chunk before the last."""


class ClientSession:
    """One connection to a server.

    Args:
        encrypted: TLS is spoken from the beginning on (RFC 8314 section 3.3).
        verified: and the certificate was found to be that of the server meant.
    """

    def __init__(self, options: ClientOptions, *, encrypted: bool = False, verified: bool = False) -> None:
        self._options = options
        self.encrypted = encrypted
        self.verified = verified
        self.features: dict[str, str] = {}
        """What the peer offers now; empty before EHLO and after HELO."""
        self.name = ""
        """What the peer calls itself in its reply to EHLO or HELO."""
        self.authenticated = False
        self.mails = 0
        """Messages that were sent, or tried to be."""
        self.discarded = 0
        """Octets that came between STARTTLS and TLS, which an honest server never sends."""
        self._reader = ReplyReader()
        self._out: list[bytes] = []
        self._awaited: deque[_Awaited] = deque()
        # Replies that came, and commands that were handed out to be sent; the greeting counts as one.
        self._replied = 0
        self._sent = 1
        self._events: list[ClientEvent] = []
        self._handshaking = False
        self._tls_tried = False
        self._ready = False
        self._ended = False
        self._needs_reset = False
        self._login: Login | None = None
        self._shown: list[str] = []
        self._now: _Transaction | None = None
        self._awaited.append(_Awaited(Stage.GREETING, ""))

    # What whoever has the socket asks and tells.

    @property
    def ready(self) -> bool:
        """Whether ``send`` may be called."""
        return (
            self._ready
            and not self._ended
            and self._now is None
            and self._limit("MAILMAX", self.mails + 1) > self.mails
        )

    @property
    def ended(self) -> bool:
        """Whether nothing more comes of it."""
        return self._ended

    @property
    def wants_content(self) -> bool:
        """Whether more of the content is of any use."""
        now = self._now
        return now is not None and now.outgoing is not None and now.failed is None

    @property
    def stage(self) -> Stage:
        """What is waited for; ``IDLE``: nothing."""
        if self._handshaking:
            return Stage.HANDSHAKE
        if self._awaited:
            return self._awaited[0].stage
        return Stage.CONTENT if self._now is not None else Stage.IDLE

    @property
    def recipients_at_once(self) -> int:
        """How many recipients one transaction may have here (RFC 9422, RFC 5321 section 4.5.3.1.8)."""
        return min(RECIPIENTS, self._limit("RCPTMAX", RECIPIENTS))

    @property
    def domains_at_once(self) -> int | None:
        """How many domains the recipients of one transaction may have here (RFC 9422); None: any number."""
        return self._limit("RCPTDOMAINMAX", 0) or None

    def to_send(self) -> bytes:
        """What is to be sent now; afterwards it counts as sent."""
        if not self._out:
            return b""
        self._sent = self._replied + len(self._awaited)
        data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
        self._out.clear()
        return data

    def commands(self) -> list[str]:
        """The commands since the last call, for those who watch; without passwords."""
        shown, self._shown = self._shown, []
        return shown

    def receive(self, data: bytes) -> list[ClientEvent]:
        """What came over the connection."""
        if self._handshaking:
            self.discarded += len(data)
            return []
        if not self._ended:
            try:
                replies = self._reader.feed(data)
            except ReplyError as error:
                # Whole replies that came before the bad line in one piece share its fate: they cannot be told apart.
                self._break(_own("4.5.0", f"what the server sent is no reply: {error}"), ours=True)
                return self._take_events()
            for number, reply in enumerate(replies):
                self._on_reply(reply)
                if self._ended:
                    break
                if self._handshaking:
                    # Injected in the clear, to be believed as if it had come over TLS (CVE-2011-0411).
                    self.discarded += sum(len(one.octets()) for one in replies[number + 1 :])
                    self.discarded += not self._reader.is_empty
                    self._reader.drop()
                    break
        return self._take_events()

    def closed(self, problem: str = "the server closed the connection") -> list[ClientEvent]:
        """The connection is no more, or is given up: an end, an error, a limit of time."""
        if not self._ended:
            self._break(_own("4.4.2", problem), ours=True)
        return self._take_events()

    def tls_started(self, *, verified: bool) -> list[ClientEvent]:
        """The handshake is done, and what comes now comes over TLS. ``verified``: as for the session itself."""
        self._handshaking = False
        self.encrypted, self.verified = True, verified
        # RFC 3207 section 4.2: what was learned before is not known.
        self._reader.drop()
        self.features = {}
        self._hello()
        return self._take_events()

    def quit(self) -> list[ClientEvent]:
        """Say goodbye; ``Ended`` comes with the reply."""
        if not self._ended:
            self._ready = False
            self._command(Stage.QUIT, "QUIT")
        return self._take_events()

    def send(
        self,
        envelope: Envelope,
        content: bytes | None,
        facts: Facts | None = None,
        *,
        whole_lines: bool = False,
        dry_run: bool = False,
    ) -> list[ClientEvent]:
        """Begin to send a message; only when ``ready``.

        Args:
            envelope: at least one recipient, and at most ``recipients_at_once``.
            content: all of it; None: ``ContentWanted`` asks for it by the chunk.
            facts: of the content; found out where it is given whole. A trial may know none.
            whole_lines: it is known that no CR or LF stands alone in the content.
            dry_run: ask for sender and recipients, and send nothing (RSET).

        Raises:
            ValueError: an address holds an end of line or another control character.
        """
        if not self.ready or not envelope.recipients:
            raise RuntimeError("the session cannot send now")
        if facts is None:
            facts = examine(content or b"", whole_lines=whole_lines)
            whole_lines = whole_lines or (content is not None and not facts.bare_line_end)
        self.mails += 1
        outcomes: list[Outcome | None] = [None] * len(envelope.recipients)
        binary = envelope.mail.body == "BINARYMIME"
        self._now = now = _Transaction(envelope, facts, content, whole_lines, dry_run, binary, outcomes, [])
        refusal = self._lacking(envelope.mail, facts, dry_run=dry_run)
        if refusal is not None:
            self._settle(refusal, Stage.MAIL, ours=True)
            self._finish()
            return self._take_events()
        self._begin(now)
        return self._take_events()

    def write(self, chunk: bytes) -> None:
        """A piece of the content; after the session ended, or the peer refused what it has, it goes nowhere.

        Raises:
            BareLineEndError: a CR or LF stands alone, and the body is not BINARYMIME: abort the connection.
        """
        now = self._now
        if self._ended or now is None or now.outgoing is None or now.failed is not None:
            return
        data = now.outgoing.feed(chunk)
        if not data:
            return
        if not self._chunking:
            self._out.append(data)
            return
        if now.held:
            self._chunk(now.held, Stage.CONTENT)
        now.held = data

    def end_content(self) -> list[ClientEvent]:
        """The content is whole.

        Raises:
            BareLineEndError: as for ``write``.
        """
        now = self._now
        if self._ended or now is None or now.outgoing is None:
            return self._take_events()
        outgoing, now.outgoing = now.outgoing, None
        if now.failed is not None:
            # What came of the content then went nowhere, so how it ends says nothing.
            if not self._awaited:
                self._finish(reset=True)
            return self._take_events()
        rest = outgoing.end()
        if self._chunking:
            self._chunk(now.held + rest, Stage.END)
            now.ended = True
        else:
            self._out.append(rest)
            if self._options.watched:
                self._shown.append(f"({now.facts.size} octets of the message)")
            self._await_end(now, ".")
        return self._take_events()

    # Replies.

    def _on_reply(self, reply: Reply) -> None:
        if not self._awaited or self._replied >= self._sent:
            self._unasked(reply)
            return
        self._replied += 1
        awaited = self._awaited.popleft()
        self._events.append(Replied(awaited.stage, awaited.command, reply))
        if reply.code == 421 and awaited.stage is not Stage.QUIT:
            # At any moment: the server goes (RFC 5321 section 3.8).
            self._break(reply, ours=False, stage=awaited.stage)
            return
        _HANDLERS[awaited.stage](self, awaited, reply)

    def _unasked(self, reply: Reply) -> None:
        """A reply to nothing, or to what was not sent yet.

        421 may come at any moment, and a server that cannot take more of the content may say so before it ends. Behind
        any other one, no reply could be told to belong to its command.
        """
        self._events.append(Replied(self.stage, "", reply))
        if reply.code == 421 or (self._now is not None and reply.code >= 400):
            self._break(reply, ours=False)
        else:
            self._break(_own("4.5.0", f"the server sent a reply that nobody asked for: {reply}"), ours=True)

    def _on_greeting(self, _awaited: _Awaited, reply: Reply) -> None:
        if reply.code != 220:
            self._refused(Stage.GREETING, reply)
        else:
            self._hello()

    def _hello(self) -> None:
        verb = "LHLO" if self._options.lmtp else "EHLO"
        self._command(Stage.HELLO, f"{verb} {self._options.hostname}")

    def _on_hello(self, awaited: _Awaited, reply: Reply) -> None:
        if reply.code == 250:
            self.name = reply.lines[0].partition(" ")[0]
            self.features = {} if awaited.command.startswith("HELO") else _features(reply)
            self._go_on()
        elif reply.kind == "permanent" and awaited.command.startswith("EHLO"):
            # RFC 5321 section 3.2: a server of old.
            self._command(Stage.HELLO, f"HELO {self._options.hostname}")
        else:
            self._refused(Stage.HELLO, reply)

    def _go_on(self) -> None:
        """What comes next before the first message."""
        wanted = self._options.starttls
        if not self.encrypted and wanted != "never" and not self._tls_tried:
            if "STARTTLS" in self.features:
                self._tls_tried = True
                self._command(Stage.STARTTLS, "STARTTLS")
                return
            if wanted == "must":
                self._end(
                    Stage.STARTTLS, _own("4.7.4", "TLS is required here, and the server does not offer it"), ours=True
                )
                return
        if self._options.credentials is not None and not self.authenticated:
            self._log_in(self._options.credentials)
            return
        self._ready = True
        self._events.append(Ready(self.features))

    def _on_starttls(self, _awaited: _Awaited, reply: Reply) -> None:
        if reply.code == 220:
            self._handshaking = True
            self._events.append(BeginTls())
        elif self._options.starttls == "must" or reply.kind in ("positive", "intermediate"):
            self._refused(Stage.STARTTLS, reply)
        else:
            self._go_on()

    def _log_in(self, credentials: Credentials) -> None:
        offered = self.features.get("AUTH", "").upper().split()
        encrypted = self.encrypted or self._options.plaintext_auth
        mechanism = choose(offered, encrypted=encrypted, wanted=self._options.mechanism)
        if mechanism is None:
            where = f"the server offers {', '.join(offered)}" if offered else "the server does not offer AUTH"
            why = "" if encrypted else "; without TLS no password is shown"
            self._end(Stage.AUTH, _own("4.7.4", f"cannot log in: {where}{why}"), ours=True)
            return
        nonce = self._options.nonce
        if nonce is None:
            raise RuntimeError("AUTH needs options.nonce")
        self._login = Login(mechanism, credentials, nonce())
        self._send_secret(f"AUTH {self._login.first()}", f"AUTH {mechanism}")

    def _on_auth(self, _awaited: _Awaited, reply: Reply) -> None:
        login = self._login
        if login is None:
            raise RuntimeError("no AUTH is under way")
        try:
            if reply.code == 334:
                self._send_secret(login.answer(reply.text), "(answer to the challenge)")
                return
            if reply.kind == "positive":
                login.end(reply.text)
                self.authenticated = True
                self._go_on()
                return
        except LoginError as error:
            self._end(Stage.AUTH, _own("4.7.0", f"cannot log in: {error}"), ours=True)
            return
        self._refused(Stage.AUTH, reply)

    def _on_reset(self, _awaited: _Awaited, reply: Reply) -> None:
        if reply.kind != "positive":
            self._break(_own("4.5.0", f"RSET was answered {reply}"), ours=True, stage=Stage.RESET)

    def _on_quit(self, _awaited: _Awaited, reply: Reply) -> None:
        self._end(Stage.QUIT, reply, ours=False)

    # A message.

    def _lacking(self, mail: MailParameters, facts: Facts, *, dry_run: bool) -> Reply | None:
        """Why the peer cannot be given the message at all; None: it can."""
        features = self.features
        if mail.requiretls and not (self.verified and "REQUIRETLS" in features):
            # RFC 8689 section 4.2.1.
            what = (
                "does not offer REQUIRETLS" if self.verified else "was not reached over TLS with a verified certificate"
            )
            return _own("5.7.30", f"the message requires TLS all the way, and the server {what}")
        if facts.bare_line_end and not dry_run and mail.body != "BINARYMIME":
            return _own("5.6.0", "the message has a CR or LF that stands alone (RFC 5321 section 2.3.8)")
        if mail.body == "BINARYMIME" and not ("BINARYMIME" in features and self._chunking):
            return _own("5.6.3", "the message is BINARYMIME, and the server does not offer it (RFC 3030 section 3)")
        if facts.eight_bit and "8BITMIME" not in features and not self._options.eight_bit:
            return _own(
                "5.6.3", "the message is not ASCII, and the server does not offer 8BITMIME (RFC 6152 section 3)"
            )
        most = features.get("SIZE", "")
        if most.isascii() and most.isdigit() and len(most) <= 20 and 0 < int(most) < facts.size:
            return _own("5.3.4", f"the message has {facts.size} octets, and the server takes {int(most)} at most")
        if "SMTPUTF8" not in features and (facts.utf8_header or not _on_the_wire(mail.reverse_path).isascii()):
            what = "header of the message" if facts.utf8_header else "address of the sender"
            return _own("5.6.7", f"the {what} is not ASCII, and the server does not offer SMTPUTF8 (RFC 6531)")
        return None

    def _begin(self, now: _Transaction) -> None:
        mail, facts = now.envelope.mail, now.facts
        utf8 = "SMTPUTF8" in self.features
        used = False
        for index, recipient in enumerate(now.envelope.recipients):
            path = _on_the_wire(recipient.recipient)
            if not path.isascii():
                used = True
                if not utf8:
                    what = "the address is not ASCII, and the server does not offer SMTPUTF8 (RFC 6531)"
                    now.outcomes[index] = self._outcome(index, _own("5.6.7", what), Stage.RCPT, ours=True)
                    continue
            now.commands.append((index, self._rcpt(path, recipient)))
        if not now.commands:
            self._finish()
            return
        line = self._mail(mail, facts, utf8=utf8 and (used or mail.smtputf8 or facts.utf8_header))
        if self._needs_reset:
            self._needs_reset = False
            self._command(Stage.RESET, "RSET")
        self._command(Stage.MAIL, line)
        if self._pipelining:
            out, awaited = self._out, self._awaited
            for index, command in now.commands:
                out.append(f"{command}\r\n".encode())
                awaited.append(_Awaited(Stage.RCPT, command, index))
                if self._options.watched:
                    self._shown.append(command)
            now.asked = len(now.commands)
            # BDAT waits: a server that refused all recipients could take its octets for commands.
            if not self._chunking and not now.dry_run:
                now.data_asked = True
                self._command(Stage.DATA, "DATA")

    def _mail(self, mail: MailParameters, facts: Facts, *, utf8: bool) -> str:
        features = self.features
        path = _on_the_wire(mail.reverse_path)
        line = f"MAIL FROM:<{path}>"
        if "SIZE" in features and facts.size:
            line += f" SIZE={facts.size}"
        if mail.body == "BINARYMIME":
            line += " BODY=BINARYMIME"
        elif "8BITMIME" in features and (facts.eight_bit or mail.body == "8BITMIME"):
            line += " BODY=8BITMIME"
        if utf8 or ("SMTPUTF8" in features and not path.isascii()):
            line += " SMTPUTF8"
        if "DSN" in features:
            if mail.ret is not None:
                line += f" RET={mail.ret}"
            if mail.envid is not None:
                line += f" ENVID={to_xtext(mail.envid)}"
        if mail.requiretls:
            line += " REQUIRETLS"
        if mail.priority is not None and "MT-PRIORITY" in features:
            line += f" MT-PRIORITY={mail.priority}"
        if mail.auth is not None and self.authenticated and mail.auth.isascii():
            line += f" AUTH={to_xtext(mail.auth) or '<>'}"
        return _checked(line)

    def _rcpt(self, path: str, recipient: RcptParameters) -> str:
        line = f"RCPT TO:<{path}>"
        if "DSN" in self.features:
            if recipient.notify is not None:
                line += f" NOTIFY={','.join(sorted(recipient.notify)) or 'NEVER'}"
            if recipient.orcpt is not None:
                line += f" ORCPT={_original(recipient.orcpt, utf8='SMTPUTF8' in self.features)}"
        return _checked(line)

    def _on_mail(self, _awaited: _Awaited, reply: Reply) -> None:
        now = self._transaction()
        if reply.kind == "positive":
            now.mail_ok = True
            if not self._pipelining:
                self._ask_next(now)
            return
        if reply.kind == "intermediate":
            self._out_of_step(reply, Stage.MAIL)
            return
        self._settle(reply, Stage.MAIL)
        if not self._awaited:
            self._finish()

    def _on_rcpt(self, awaited: _Awaited, reply: Reply) -> None:
        now = self._transaction()
        now.answered += 1
        if reply.kind == "positive":
            now.accepted.append(awaited.index)
            if now.dry_run and now.outcomes[awaited.index] is None:
                now.outcomes[awaited.index] = self._outcome(awaited.index, reply, Stage.RCPT)
        elif reply.kind == "intermediate":
            self._out_of_step(reply, Stage.RCPT)
            return
        elif now.outcomes[awaited.index] is None:
            now.outcomes[awaited.index] = self._outcome(awaited.index, reply, Stage.RCPT)
        if now.answered < len(now.commands):
            if not self._pipelining:
                self._ask_next(now)
            return
        if now.data_asked:
            return
        if now.dry_run or not now.accepted or not now.mail_ok:
            self._finish(reset=True)
        elif self._chunking:
            self._want_content(now)
        else:
            now.data_asked = True
            self._command(Stage.DATA, "DATA")

    def _ask_next(self, now: _Transaction) -> None:
        index, command = now.commands[now.asked]
        now.asked += 1
        self._command(Stage.RCPT, command, index)

    def _on_data(self, _awaited: _Awaited, reply: Reply) -> None:
        now = self._transaction()
        if reply.kind == "positive":
            self._out_of_step(reply, Stage.DATA)
        elif reply.kind != "intermediate":
            self._settle(reply, Stage.DATA)
            self._finish(reset=True)
        elif now.mail_ok and now.accepted:
            self._want_content(now)
        elif now.accepted:
            # It refused the sender, took recipients and wants content: a message without content must not come of it.
            self._out_of_step(reply, Stage.DATA)
        else:
            # RFC 2920 section 3.1: nobody is to get it, so there is nothing to send.
            self._out.append(b".\r\n")
            now.ended = True
            self._awaited.append(_Awaited(Stage.END, "."))

    def _want_content(self, now: _Transaction) -> None:
        outgoing = Outgoing(dots=not self._chunking, binary=now.binary, whole_lines=now.whole_lines)
        if now.content is None:
            now.outgoing = outgoing
            self._events.append(ContentWanted())
            return
        # Where the facts were found elsewhere, this looks again, for they can be wrong.
        try:
            body = outgoing.feed(now.content)
            rest = outgoing.end()
        except BareLineEndError as error:
            what = str(error) or "the message has a CR or LF that stands alone (RFC 5321 section 2.3.8)"
            self._break(_own("5.6.0", what), ours=True, stage=Stage.CONTENT)
            return
        if self._chunking:
            self._chunk(body + rest if rest else body, Stage.END)
            now.ended = True
        else:
            self._out += (body, rest)
            if self._options.watched:
                self._shown.append(f"({now.facts.size} octets of the message)")
            self._await_end(now, ".")

    def _chunk(self, data: bytes, stage: Stage) -> None:
        now = self._transaction()
        command = f"BDAT {len(data)}{' LAST' if stage is Stage.END else ''}"
        self._out.append(f"{command}\r\n".encode())
        self._out.append(data)
        if self._options.watched:
            self._shown.append(command)
        if stage is Stage.END:
            self._await_end(now, command)
        else:
            self._awaited.append(_Awaited(stage, command))

    def _await_end(self, now: _Transaction, command: str) -> None:
        now.ended = True
        # RFC 2033 section 4.2: a reply for each recipient that was taken.
        for _ in range(len(now.accepted) if self._options.lmtp else 1):
            self._awaited.append(_Awaited(Stage.END, command))

    def _on_content(self, _awaited: _Awaited, reply: Reply) -> None:
        """What is said to a chunk before the last."""
        now = self._transaction()
        if reply.kind == "intermediate":
            self._out_of_step(reply, Stage.CONTENT)
        elif reply.kind != "positive" and now.failed is None:
            # RFC 3030 section 2: the chunks under way are refused as well; nothing but RSET is right then.
            now.failed = reply
            self._settle(reply, Stage.CONTENT)
        if now.failed is not None and not self._awaited and now.outgoing is None and self._now is now:
            self._finish(reset=True)

    def _on_end(self, _awaited: _Awaited, reply: Reply) -> None:
        now = self._transaction()
        if reply.kind == "intermediate":
            self._out_of_step(reply, Stage.END)
            return
        if self._options.lmtp and now.accepted:
            index = now.accepted[now.ends]
            now.ends += 1
            if now.outcomes[index] is None:
                now.outcomes[index] = self._outcome(index, reply, Stage.END)
            if now.ends < len(now.accepted):
                return
        else:
            self._settle(reply, Stage.END)
        self._finish(reset=now.failed is not None)

    # The end of things.

    def _outcome(self, index: int, reply: Reply, stage: Stage, *, ours: bool = False) -> Outcome:
        envelope = self._transaction().envelope
        return Outcome(envelope.recipients[index].recipient, reply, stage, ours, "DSN" in self.features)

    def _settle(self, reply: Reply, stage: Stage, *, ours: bool = False) -> None:
        """One outcome for all who have none."""
        outcomes = self._transaction().outcomes
        for index, outcome in enumerate(outcomes):
            if outcome is None:
                outcomes[index] = self._outcome(index, reply, stage, ours=ours)

    def _finish(self, *, reset: bool = False) -> None:
        now = self._transaction()
        outcomes = tuple(outcome for outcome in now.outcomes if outcome is not None)
        if len(outcomes) != len(now.outcomes):
            raise RuntimeError("a recipient has no outcome")
        self._now = None
        self._needs_reset = self._needs_reset or reset
        self._events.append(Finished(outcomes))

    def _out_of_step(self, reply: Reply, stage: Stage) -> None:
        what = f"the server answered {reply} where that means nothing"
        self._break(_own("4.5.0", what), ours=True, stage=stage)

    def _break(self, reply: Reply, *, ours: bool, stage: Stage | None = None) -> None:
        """The connection is of no use any more."""
        stage = stage or self.stage
        now = self._now
        if now is not None:
            if now.ended and now.accepted and now.failed is None:
                stage = Stage.END
                if ours:
                    what = "; the message had been sent whole, so it may have arrived; it is sent again"
                    reply = Reply(reply.code, reply.enhanced, (reply.text + what,))
            self._settle(reply, stage, ours=ours)
            self._finish()
        self._end(stage, reply, ours=ours)

    def _refused(self, stage: Stage, reply: Reply) -> None:
        """What comes before the first message was not answered as it has to be."""
        if reply.code >= 400:
            self._end(stage, reply, ours=False)
        else:
            self._end(stage, _own("4.5.0", f"the server answered {reply} where that means nothing"), ours=True)

    def _end(self, stage: Stage, reply: Reply, *, ours: bool) -> None:
        self._ended = True
        self._ready = False
        self._awaited.clear()
        self._out.clear()
        self._events.append(Ended(stage, reply, ours))

    # Small things.

    @property
    def _pipelining(self) -> bool:
        return self._options.pipelining and "PIPELINING" in self.features

    @property
    def _chunking(self) -> bool:
        return self._options.chunking and "CHUNKING" in self.features

    def _limit(self, keyword: str, otherwise: int) -> int:
        for name, value in _LIMIT.findall(self.features.get("LIMITS", "")):
            if name.upper() == keyword:
                return int(value)
        return otherwise

    def _transaction(self) -> _Transaction:
        if self._now is None:
            raise RuntimeError("no message is under way")
        return self._now

    def _command(self, stage: Stage, line: str, index: int = 0) -> None:
        self._out.append(f"{line}\r\n".encode())
        self._awaited.append(_Awaited(stage, line, index))
        if self._options.watched:
            self._shown.append(line)

    def _send_secret(self, line: str, shown: str) -> None:
        self._out.append(f"{line}\r\n".encode("ascii"))
        self._awaited.append(_Awaited(Stage.AUTH, shown))
        if self._options.watched:
            self._shown.append(shown)

    def _take_events(self) -> list[ClientEvent]:
        events, self._events = self._events, []
        return events


_HANDLERS: Final[dict[Stage, Callable[[ClientSession, _Awaited, Reply], None]]] = {
    Stage.GREETING: ClientSession._on_greeting,
    Stage.HELLO: ClientSession._on_hello,
    Stage.STARTTLS: ClientSession._on_starttls,
    Stage.AUTH: ClientSession._on_auth,
    Stage.RESET: ClientSession._on_reset,
    Stage.MAIL: ClientSession._on_mail,
    Stage.RCPT: ClientSession._on_rcpt,
    Stage.DATA: ClientSession._on_data,
    Stage.CONTENT: ClientSession._on_content,
    Stage.END: ClientSession._on_end,
    Stage.QUIT: ClientSession._on_quit,
}


def _features(reply: Reply) -> dict[str, str]:
    """What EHLO was answered: keyword to parameters (RFC 5321 section 4.1.1.1)."""
    found: dict[str, str] = {}
    for line in reply.lines[1:]:
        # "AUTH=LOGIN" is how it was written before RFC 2554, and still is beside the right line.
        keyword, _, parameters = line.partition(" ")
        if keyword.upper().startswith("AUTH="):
            found.setdefault("AUTH", f"{keyword[5:]} {parameters}".strip())
        elif keyword:
            found[keyword.upper()] = parameters.strip()
    return found


def _own(enhanced: str, text: str) -> Reply:
    """What we say ourselves, in the form of a reply."""
    return Reply(451 if enhanced.startswith("4") else 554, enhanced, (text,))


def _on_the_wire(address: str) -> str:
    """An address with A-labels; what is not ASCII then has a local part that is not."""
    if address.isascii():
        return address
    local, at, domain = address.rpartition("@")
    if not at or domain.isascii():
        return address
    return f"{local}@{ascii_text(domain_from_text(domain))}"


def _original(orcpt: str, *, utf8: bool) -> str:
    """An original recipient as ORCPT has it (RFC 3461 section 4.2, RFC 6533 section 3)."""
    kind, _, address = orcpt.partition(";")
    if address.isascii() and kind.lower() != "utf-8":
        return f"{kind};{to_xtext(address)}"
    if utf8:
        return f"utf-8;{''.join(each if each > '~' else _unitext(each) for each in address)}"
    return f"utf-8;{''.join(_unitext(each) for each in address)}"


def _unitext(char: str) -> str:
    return char if "!" <= char <= "~" and char not in "+=\\" else f"\\x{{{ord(char):02X}}}"


def _checked(line: str) -> str:
    """A command, which is one line whatever was put into it."""
    if _FORBIDDEN.search(line):
        raise ValueError(f"an address or parameter holds a control character: {line!r}")
    return line
