"""Mutated SMTP dialogues for ``smtp.ServerSession``, for tools/fuzz.py.

A dialogue is what a client sends, in flights: a flight is sent without waiting, and one ends where TLS would begin.
It is made of commands as clients send them, in an order that often makes sense, and is then spoilt. It is heard twice:
once by the flight, and once in pieces, while replies are late. Both must come to the same messages, replies and end.
"""

import random
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Final

from mx10.smtp.auth import Credentials, ScramKeys
from mx10.smtp.login import Login as ClientLogin
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
from mx10.smtp.syntax import MailParameters

_FEW: Final = ("PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES")
_ALL: Final = ("SCRAM-SHA-256", "PLAIN", "LOGIN")
_SMALL: Final = ServerOptions("mx.test", size=2000, recipients=3, mails=4, errors=15)
OPTIONS: Final = (
    replace(_SMALL, starttls=True, mechanisms=_ALL, plaintext_auth=True),
    replace(_SMALL, starttls=True, mechanisms=_ALL),
    replace(_SMALL, extensions=_FEW),
    _SMALL,
)
_KEYS: Final = ScramKeys.of("secret", b"salt" * 4)
_NONCE: Final = "the-nonce-of-the-receiver"
_WRITTEN: Final = re.compile(rb"(?:[2-5]\d\d[ -][^\r\n\0]{0,510}\r\n)*")
_CONTROLS: Final = re.compile("[\0-\x1f\x7f]")


def _scram() -> tuple[bytes, bytes]:
    """The two lines of SCRAM-SHA-256 that are right for the receiver's nonce and keys."""
    login = ClientLogin("SCRAM-SHA-256", Credentials("ann", "secret"), "mine")
    first = login.first()
    server = ServerSession(OPTIONS[0], nonce=_NONCE)
    server.greet()
    server.receive(f"EHLO a\r\nAUTH {first}\r\n".encode())
    server.scram_keys(_KEYS)
    challenge = server.to_send().decode().splitlines()[-1].removeprefix("334 ")
    return f"AUTH {first}\r\n".encode(), f"{login.answer(challenge)}\r\n".encode()


_SCRAM: Final = _scram()
_LOGINS: Final = (
    [b"AUTH PLAIN AGFubgBzZWNyZXQ=\r\n"],
    [b"AUTH PLAIN\r\n", b"AGFubgBzZWNyZXQ=\r\n"],
    [b"AUTH PLAIN =\r\n"],
    [b"AUTH LOGIN\r\n", b"YW5u\r\n", b"c2VjcmV0\r\n"],
    [b"AUTH LOGIN YW5u\r\n", b"d3Jvbmc=\r\n"],
    [b"AUTH PLAIN\r\n", b"*\r\n"],
    [*_SCRAM, b"\r\n"],
    [_SCRAM[0], _SCRAM[1].replace(b"A", b"B"), b"\r\n"],
    [_SCRAM[0], b"Yz1iaXdzLHI9bWluZXRoZS1ub25jZS1vZi10aGUtcmVjZWl2ZXIscD3DqQ==\r\n"],
)
_HELLOS: Final = (b"EHLO client.test\r\n", b"EHLO [127.0.0.1]\r\n", b"HELO client.test\r\n", b"EHLO\r\n", b"LHLO a\r\n")
_MAILS: Final = (
    b"MAIL FROM:<ann@one.test>\r\n",
    b"MAIL FROM:<>\r\n",
    b"mail from: <ann@one.test> size=300 BODY=8BITMIME\r\n",
    b"MAIL FROM:<ann@one.test> SIZE=99999999999999999999\r\n",
    b"MAIL FROM:<ann@one.test> BODY=BINARYMIME RET=HDRS ENVID=QQ+2B314159\r\n",
    "MAIL FROM:<änn@öne.test> SMTPUTF8\r\n".encode(),
    b"MAIL FROM:<ann@one.test> REQUIRETLS MT-PRIORITY=-9 AUTH=<>\r\n",
    b'MAIL FROM:<"a\\"n> n"@[IPv6:::1]>\r\n',
    b"MAIL FROM:<@relay.test,@b.test:ann@one.test>\r\n",
)
_RCPTS: Final = (
    b"RCPT TO:<bob@two.test>\r\n",
    b"RCPT TO:<no@two.test>\r\n",
    b"rcpt to:<Postmaster>\r\n",
    b"RCPT TO:<bob@two.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;bob+40two.test\r\n",
    "RCPT TO:<böb@two.test> ORCPT=utf-8;böb@two.test\r\n".encode(),
    b"RCPT TO:<a%b!c@[127.0.0.1]> NOTIFY=NEVER\r\n",
    b"RCPT TO:<>\r\n",
)
_CONTENTS: Final = (
    b"Subject: a\r\n\r\ntext\r\n",
    b"",
    b".\r\n..\r\n.a\r\n",
    b"a\r\n.\r\nMAIL FROM:<eve@x.test>\r\n",
    b"\r\n\r\n",
    b"x" * 1990 + b"\r\n",
    b"y" * 2100 + b"\r\n",
    b"\xff\x00\x80 8 bit\r\n",
    b"bare\nline\rends\r\n",
)
_OTHERS: Final = (
    b"NOOP\r\n",
    b"NOOP x y\r\n",
    b"RSET\r\n",
    b"HELP\r\n",
    b"VRFY ann\r\n",
    b"EXPN list\r\n",
    b"QUIT\r\n",
    b"STARTTLS\r\n",
    b"GET / HTTP/1.1\r\n",
    b"XCLIENT ADDR=127.0.0.1\r\n",
    b"BDAT 0 LAST\r\n",
    b"BDAT 0\r\n",
    b"BDAT 999999999999999\r\n",
    b"\r\n",
)
PIECES: Final = (
    b"\r\n.\r\n",
    b"\n.\n",
    b"\r.\r",
    b"\r\n.\n",
    b"\n.\r\n",
    b"\r\n.\r",
    b"\r\r\n",
    b"\0",
    b"\xff",
    "ſ".encode(),
    "\u3000".encode(),
    b"\x0b",
    b"\x85",
    b" ",
    b"\t",
    b"<",
    b">",
    b'"',
    b"\\",
    b":",
    b"@",
    b"=",
    b"+",
    b"A" * 300,
    b"BDAT 5\r\n",
    b"DATA\r\n",
)


def make(rng: random.Random) -> list[bytes]:
    """The flights of a dialogue."""
    lines: list[bytes] = []
    flights: list[bytes] = []
    for _ in range(rng.choice((1, 1, 1, 2))):
        if rng.random() < 0.95:
            lines.append(rng.choice(_HELLOS[:1] * 6 + _HELLOS))
        roll = rng.random()
        if roll < 0.15:
            lines.append(b"STARTTLS\r\n")
            flights.append(_spoilt(rng, lines))
            lines = [_HELLOS[0]]
        if roll < 0.3:
            lines += rng.choice(_LOGINS)
        for _ in range(rng.choice((1, 1, 2, 3))):
            lines.append(rng.choice(_MAILS[:1] * 6 + _MAILS))
            lines += [rng.choice(_RCPTS[:1] * 6 + _RCPTS) for _ in range(rng.choice((1, 1, 2, 4)))]
            content = rng.choice(_CONTENTS)
            if rng.random() < 0.6:
                lines.append(b"DATA\r\n")
                # Sometimes nobody doubled the dots.
                stuffed = re.sub(rb"^\.", b"..", content, flags=re.MULTILINE) if rng.random() < 0.9 else content
                lines.append(stuffed + b".\r\n")
            else:
                at = rng.randrange(len(content) + 1)
                for piece in (content[:at], content[at:]):
                    last = b" LAST" if piece is not content[:at] and rng.random() < 0.9 else b""
                    lines.append(b"BDAT %d%b\r\n%b" % (len(piece), last, piece))
            if rng.random() < 0.2:
                lines.append(rng.choice(_OTHERS))
    if rng.random() < 0.5:
        lines.append(b"QUIT\r\n")
    return [*flights, _spoilt(rng, lines)]


def _spoilt(rng: random.Random, lines: list[bytes]) -> bytes:
    """One flight, wrong in up to five ways."""
    for _ in range(rng.choice((0, 0, 0, 1, 2))):
        at = rng.randrange(len(lines))
        match rng.randrange(4):
            case 0:
                lines.insert(at, rng.choice(_OTHERS))
            case 1:
                lines.insert(at, rng.choice(lines))
            case 2 if len(lines) > 1:
                del lines[at]
            case _:
                other = rng.randrange(len(lines))
                lines[at], lines[other] = lines[other], lines[at]
    flight = b"".join(lines)
    for _ in range(rng.choice((0, 0, 1, 1, 2, 3))):
        flight = mutated(rng, flight)
    return flight


def mutated(rng: random.Random, data: bytes) -> bytes:
    """Octets with one thing wrong."""
    at = rng.randrange(len(data) + 1)
    match rng.randrange(8):
        case 0:
            return data[:at] + bytes((rng.randrange(256),)) + data[at + 1 :]
        case 1:
            return data[:at] + data[at + rng.randrange(1, 12) :]
        case 2 | 3:
            return data[:at] + rng.choice(PIECES) + data[at:]
        case 4:
            end = data.find(b"\r\n", at)
            return data if end < 0 else data[:end] + rng.choice((b"\n", b"\r", b"\r\r\n", b"\n\r")) + data[end + 2 :]
        case 5:
            other = rng.randrange(len(data) + 1)
            return data[:at] + data[other : other + rng.randrange(1, 40)] + data[at:]
        case 6 if rng.random() < 0.1:
            return data[:at] + rng.choice((b"A", b"\xc3\xa4", b"\r\n", b"a b=c ")) * 3000 + data[at:]
        case _:
            return data[:at] + rng.randbytes(rng.randrange(1, 6)) + data[at:]


@dataclass
class Hearing:
    """A receiver that decides at once, and looks at what its session asks of it.

    Args:
        rng: hear in pieces, and more of them before an event is answered; None: by the flight.
    """

    session: ServerSession
    rng: random.Random | None = None
    messages: list[tuple[str, tuple[str, ...], bytes]] = field(default_factory=list)
    out: bytes = b""
    closed: str | None = None
    seen: Counter[str] = field(default_factory=Counter)
    hello: str = ""
    mail: MailParameters | None = None
    recipients: list[str] = field(default_factory=list)
    content: list[bytes] = field(default_factory=list)
    _flights: bytes = b""
    _undotted: bytes = b""

    def hear(self, flights: list[bytes]) -> None:
        """All of a dialogue."""
        self._flights = b"".join(flights)
        self._undotted = self._flights.replace(b"\r\n.", b"\r\n")
        for flight in flights:
            pieces = [flight] if self.rng is None else _cut(self.rng, flight)
            while pieces:
                if self._events(self.session.receive(pieces.pop(0)), pieces):
                    break  # what is left of the flight would have come before the TLS that was announced
                assert self.closed is not None or self.session.wants_input, "nothing is awaited, and nothing is read"
        self._collect()

    def _events(self, queue: list[Event], pieces: list[bytes]) -> bool:
        """Whether TLS was begun."""
        began = False
        while queue:
            event = queue.pop(0)
            assert self.closed is None, f"{event} after the end"
            wants = isinstance(event, Mail | Rcpt | ContentEnds | Login | Scram)
            assert self.session.waits is (wants or self.session.waits), "waits for no reply"
            assert not (wants and queue), "an event that wants a reply is not the last"
            if wants and self.rng is not None:
                while pieces and self.session.wants_input and self.rng.random() < 0.3:
                    assert not self.session.receive(pieces.pop(0)), "went on before it was answered"
            self.seen[type(event).__name__] += 1
            queue += self._answer(event)
            began = began or isinstance(event, StartTls)
        self._collect()
        return began

    def _collect(self) -> None:
        self.out += self.session.to_send()

    def _answer(self, event: Event) -> list[Event]:
        session = self.session
        match event:
            case Mail(parameters):
                assert self.hello, "a message of nobody"
                assert self.mail is None, "a message within a message"
                assert not _CONTROLS.search(parameters.reverse_path), "a control character in an address"
                if parameters.reverse_path.startswith("eve"):
                    return session.reply(Reply.of(550, "5.7.1", "not you"))
                self.mail, self.recipients, self.content = parameters, [], []
                return session.reply(Reply.of(250, "2.1.0", "ok"))
            case Rcpt(parameters):
                assert self.mail is not None, "a recipient without a message"
                assert not _CONTROLS.search(parameters.recipient + (parameters.orcpt or "")), "a control character"
                assert len(self.recipients) < session.options.recipients, "more recipients than allowed"
                if parameters.recipient.startswith("no"):
                    return session.reply(Reply.of(550, "5.1.1", "nobody"))
                self.recipients.append(parameters.recipient)
                return session.reply(Reply.of(250, "2.1.5", "ok"))
            case Content(data):
                assert self.mail is not None, "content without a message"
                assert self.recipients, "content for nobody"
                self.content.append(data)
            case ContentEnds(size):
                return self._take(size)
            case Reset():
                self.mail, self.content, self.recipients = None, [], []
            case Hello(name):
                assert name, "nobody said hello"
                self.hello, self.mail, self.content, self.recipients = name, None, [], []
            case Login(credentials):
                assert session.tls or session.options.plaintext_auth, "a password in the clear"
                right = (credentials.user, credentials.password) == ("ann", "secret")
                return session.reply(Reply.of(*((235, "2.7.0", "in") if right else (535, "5.7.8", "no"))))
            case Scram():
                return session.scram_keys(_KEYS)
            case LoggedIn(user):
                assert user == "ann", "somebody else is in"
            case StartTls():
                self._collect()
                session.tls_started()
                self.hello, self.mail, self.content, self.recipients = "", None, [], []
            case Closing(why):
                self.closed = why
        return []

    def _take(self, size: int) -> list[Event]:
        content, mail = b"".join(self.content), self.mail
        assert mail is not None, "the end of no message"
        assert self.recipients, "a message for nobody"
        assert size == len(content) <= self.session.options.size, "a size that is not that of the content"
        if mail.body != "BINARYMIME":
            ends = content.count(b"\r\n")
            assert ends == content.count(b"\r") == content.count(b"\n"), "a bare CR or LF"
        if self.rng is None:
            # Heard by the flight, every piece of content stands in it as it is, or with a dot before its lines.
            for piece in self.content:
                assert piece in self._flights or piece in self._undotted, "content that nobody sent"
        self.messages.append((mail.reverse_path, tuple(self.recipients), content))
        self.mail, self.recipients, self.content = None, [], []
        return self.session.reply(Reply.of(250, "2.0.0", "taken"))


def _cut(rng: random.Random, flight: bytes) -> list[bytes]:
    if len(flight) < 800 and rng.random() < 0.05:
        return [flight[at : at + 1] for at in range(len(flight))]
    cuts = sorted(rng.randrange(len(flight) + 1) for _ in range(rng.randrange(1, 12)))
    return [flight[start:end] for start, end in pairwise((0, *cuts, len(flight)))]


def check(rng: random.Random, seen: Counter[str]) -> None:
    """One dialogue.

    Raises:
        AssertionError: what came of it is wrong; the dialogue stands in a note.
    """
    options = rng.choice(OPTIONS)
    flights = make(rng)
    hearings = []
    early = rng.random() < 0.01
    try:
        for pieces in (None, rng):
            session = ServerSession(options, nonce=_NONCE)
            if not early:
                session.greet()
            hearing = Hearing(session, pieces)
            hearing.hear(flights)
            hearings.append(hearing)
            assert _WRITTEN.fullmatch(hearing.out), "not all that was written is replies"
            lines = sum(flight.count(b"\n") for flight in flights)
            assert len(hearing.out) <= 600 * (lines + 2), "more is written than asked for"
            assert len(session._buffer) < MAX_PIPELINED, "too much is kept"
        whole, cut = hearings
        assert whole.messages == cut.messages, "other messages where the same comes in pieces"
        assert whole.closed == cut.closed, "another end where the same comes in pieces"
        assert whole.out == cut.out, "other replies where the same comes in pieces"
    except Exception as error:
        error.add_note(f"receiver with {options}: {flights!r}")
        for hearing in hearings:
            error.add_note(f"it wrote {hearing.out!r}, and took {hearing.messages!r}")
        raise
    seen["dialogues of a client"] += 1
    seen["messages taken"] += len(whole.messages)
    seen["logins"] += whole.seen["LoggedIn"]
    seen["TLS begun"] += whole.seen["StartTls"]
    if whole.closed:
        seen[f"closed: {'you speak' if early else whole.closed[:40]}"] += 1
