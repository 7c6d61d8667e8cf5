"""Dialogues with servers that answer wrongly for ``smtp.ClientSession``, for tools/fuzz.py.

``Peer`` reads what the session sends by a reader of its own, and answers: mostly as it should, sometimes with a
refusal, sometimes with what is no answer at all. It keeps a book of the messages it took and for whom. Whatever it
says, every recipient has one outcome in the end, and one that counts as delivered stands in the book.
"""

import base64
import random
import re
from collections import Counter
from typing import Final

from fuzz_receiver import mutated

from mx10.smtp import ClientOptions, ClientSession, MailParameters, RcptParameters
from mx10.smtp.auth import Credentials
from mx10.smtp.outgoing import examine
from mx10.smtp.sending import BeginTls, ClientEvent, ContentWanted, Ended, Envelope, Finished, Ready, Stage

_ANN: Final = Credentials("ann", "secret-of-ann")
_SECRETS: Final = tuple(
    base64.b64encode(text).rstrip(b"=")[:12] for text in (b"\0ann\0secret-of-ann", b"secret-of-ann")
)
OPTIONS: Final = (
    ClientOptions("client.test"),
    ClientOptions("client.test", chunking=False, watched=True),
    ClientOptions("client.test", pipelining=False, starttls="must"),
    ClientOptions("client.test", lmtp=True, starttls="never"),
    ClientOptions("client.test", lmtp=True, chunking=False, eight_bit=True),
    ClientOptions("client.test", credentials=_ANN, nonce=lambda: "our-nonce"),
    ClientOptions("client.test", credentials=_ANN, nonce=lambda: "n", mechanism="LOGIN", starttls="must"),
)
_EXTENSIONS: Final = (
    "PIPELINING",
    "8BITMIME",
    "SMTPUTF8",
    "CHUNKING",
    "BINARYMIME",
    "DSN",
    "STARTTLS",
    "REQUIRETLS",
    "ENHANCEDSTATUSCODES",
    "MT-PRIORITY",
    "SIZE 5000",
    "SIZE 0",
    "SIZE ten",
    "LIMITS RCPTMAX=2 MAILMAX=3 RCPTDOMAINMAX=1",
    "AUTH SCRAM-SHA-256 PLAIN",
    "AUTH=LOGIN",
)
_BINARY: Final = MailParameters("ann@one.test", body="BINARYMIME")
_MAILS: Final = (
    MailParameters("ann@one.test"),
    MailParameters(""),
    MailParameters("änn@öne.test", smtputf8=True),
    MailParameters("ann@one.test", ret="HDRS", envid="a+b=c d", priority=4, auth="ann@one.test"),
    MailParameters("ann@one.test", requiretls=True),
    _BINARY,
)
_RCPTS: Final = (
    RcptParameters("bob@two.test"),
    RcptParameters("cat@two.test", frozenset(), "rfc822;cat+1@two.test"),
    RcptParameters("böb@zwö.test", frozenset({"FAILURE", "DELAY"}), "utf-8;böb@zwö.test"),
    RcptParameters("postmaster"),
)
_CONTENTS: Final = (
    b"Subject: a\r\n\r\ntext\r\n",
    b"",
    b".\r\n..\r\n.a\r\n",
    b"a\r\n.\r\nMAIL FROM:<eve@x.test>\r\n",
    b"Subject: \xc3\xa4\r\n\r\n\xff\r\n",
    b"without an end",
    b"bare\nline\rends",
    b"x" * 6000 + b"\r\n",
)
_ODD: Final = (
    b"421 4.3.2 going\r\n",
    b"521 5.3.2 never\r\n",
    b"354 go on\r\n",
    b"334 biws\r\n",
    b"334 \r\n",
    b"220 twice\r\n",
    b"250 ok\r\n250 ok again\r\n",
    b"250\r\n",
    b"250-half",
    b"250-ok\r\n550 not\r\n",
    b"2500 ok\r\n",
    b"199 strange\r\n",
    b"\r\n",
    b"hello\r\n",
    b"",
    b"250-" + b"x" * 3000 + b"\r\n",
    b"250-x\r\n" * 300,
    b"250 \x1b[2J\x00\xff\r\n",
    b"250 ok\n",
)
_LATER: Final = (
    b"250 ok\r\n",
    b"250 2.1.5 ok\r\n",
    b"250-mx.test\r\n250-STARTTLS\r\n250 CHUNKING\r\n",
    b"354 go on\r\n",
    b"220 go on\r\n",
    b"450 4.2.1 later\r\n",
    b"550 5.1.1 no\r\n",
)
"""What is said once nobody can tell any more what was understood."""
_COMMAND: Final = re.compile(
    r"(?:EHLO|LHLO|HELO) client\.test|STARTTLS|DATA|RSET|QUIT|MAIL FROM:<[^\0-\x20\x7f]*>(?: [^\0-\x20\x7f]+)*"
    r"|RCPT TO:<[^\0-\x20\x7f]+>(?: [^\0-\x20\x7f]+)*|BDAT \d+(?: LAST)?|AUTH [A-Z0-9-]+(?: [A-Za-z0-9+/=]+)?"
    r"|[A-Za-z0-9+/=]*|\*"
)


class Peer:
    """The other end, wrong with a chance of ``odd`` at each reply.

    Attributes:
        lost: it said something from which nobody can tell what the session understood.
        book: content and recipients of the messages that it said it took.
    """

    def __init__(self, rng: random.Random, options: ClientOptions) -> None:
        self._rng = rng
        self._options = options
        self._odd = rng.choice((0.0, 0.03, 0.1, 0.3))
        self._refuse = rng.choice((0.0, 0.05, 0.3))
        extensions = rng.sample(_EXTENSIONS, rng.randrange(len(_EXTENSIONS) + 1))
        self._features = [*extensions, *(("PIPELINING",) if rng.random() < 0.5 else ())]
        self._buffer = b""
        self._content: bytes | None = None
        self._chunks: list[bytes] = []
        self._in_data = False
        self._mail = False
        self._to: list[str] = []
        self.encrypted = False
        self.lost = False
        self.book: list[tuple[bytes, tuple[str, ...]]] = []

    def greeting(self) -> bytes:
        """What comes first."""
        return self._say(b"220 mx.test ESMTP\r\n")

    def hear(self, data: bytes) -> bytes:
        """The answer to what the session sent."""
        assert self.encrypted or self._options.plaintext_auth or not any(secret in data for secret in _SECRETS), (
            "a password in the clear"
        )
        self._buffer += data
        out = b""
        while True:
            before = len(self._buffer), self._in_data
            out += self._data() if self._in_data else self._line()
            if before == (len(self._buffer), self._in_data):
                return out

    def _line(self) -> bytes:
        end = self._buffer.find(b"\r\n")
        if end < 0:
            assert self.lost or b"\n" not in self._buffer, "a line that does not end with CR LF"
            return b""
        line = self._buffer[:end]
        if line.startswith(b"BDAT ") and not self.lost:
            number = int(line.split()[1])
            if len(self._buffer) < end + 2 + number:
                return b""
            self._chunks.append(self._buffer[end + 2 : end + 2 + number])
            end += number
        self._buffer = self._buffer[end + 2 :]
        if self.lost:
            # Who knows what these lines are; something is said all the same.
            return self._say(self._rng.choice(_LATER))
        text = line.decode("utf-8")
        assert _COMMAND.fullmatch(text), f"no command: {text!r}"
        return self._command(text)

    def _command(self, text: str) -> bytes:
        verb = text.partition(" ")[0]
        refusal = b""
        if self._rng.random() < self._refuse:
            refusal = self._rng.choice((b"450 4.2.1 later\r\n", b"550 5.1.1 no\r\n", b"452 4.5.3 enough\r\n"))
        if verb in ("EHLO", "LHLO", "HELO"):
            self._forget()
            if verb == "HELO" or not self._features:
                return self._say(refusal or b"250 mx.test\r\n")
            lines = ["mx.test", *self._features]
            written = "".join(f"250{' ' if at == len(lines) - 1 else '-'}{each}\r\n" for at, each in enumerate(lines))
            return self._say(refusal or written.encode())
        if verb == "STARTTLS":
            return self._say(refusal or b"220 go on\r\n")
        if verb == "MAIL":
            assert not self._mail, "a message within a message"
            self._mail = not refusal
            self._to = []
            return self._say(refusal or b"250 2.1.0 ok\r\n")
        if verb == "RCPT":
            if not refusal and self._mail:
                self._to.append(text[text.index("<") + 1 : text.index(">")])
            return self._say(refusal or (b"250 2.1.5 ok\r\n" if self._mail else b"503 5.5.1 no\r\n"))
        if verb == "DATA":
            if refusal or not self._to:
                return self._say(refusal or b"554 5.5.1 nobody\r\n")
            self._in_data = True
            return self._say(b"354 go on\r\n")
        if verb == "BDAT":
            assert self._to, "content for nobody"
            return self._take(b"".join(self._chunks), refusal) if text.endswith("LAST") else self._more(refusal)
        if verb == "RSET":
            self._forget()
            return self._say(b"250 2.0.0 ok\r\n")
        if verb == "QUIT":
            return self._say(b"221 2.0.0 bye\r\n")
        return self._say(refusal or self._rng.choice((b"235 2.7.0 in\r\n", b"334 \r\n", b"535 5.7.8 no\r\n")))

    def _more(self, refusal: bytes) -> bytes:
        # A chunk that was refused: nothing that comes after it makes a message (RFC 3030 section 2).
        if refusal:
            self._refuse = 1.0
        return self._say(refusal or b"250 2.0.0 more\r\n")

    def _data(self) -> bytes:
        data = b"\r\n" + self._buffer
        end = data.find(b"\r\n.\r\n")
        if end < 0:
            return b""
        self._in_data, self._buffer = False, data[end + 5 :]
        content = data[: end + 2].replace(b"\r\n.", b"\r\n")[2:]
        assert content.count(b"\r\n") == content.count(b"\r") == content.count(b"\n"), "a bare CR or LF"
        refusal = b"554 5.6.0 no\r\n" if self._rng.random() < self._refuse else b""
        return self._take(content, refusal)

    def _take(self, content: bytes, refusal: bytes) -> bytes:
        """What is said to the whole content; with LMTP for each recipient."""
        to, out = self._to, b""
        self._forget()
        taken = []
        for recipient in to if self._options.lmtp else ["all"]:
            said = self._say(refusal or b"250 2.0.0 taken\r\n")
            out += said
            if not self.lost and said.startswith(b"2"):
                taken.append(recipient)
            refusal = b"450 4.2.2 full\r\n" if self._rng.random() < self._refuse else b""
        if taken:
            self.book.append((content, tuple(taken if self._options.lmtp else to)))
        return out

    def _forget(self) -> None:
        self._mail, self._to, self._chunks = False, [], []

    def _say(self, reply: bytes) -> bytes:
        if self._rng.random() >= self._odd:
            return reply
        self.lost = True
        return self._rng.choice(_ODD) if self._rng.random() < 0.6 else mutated(self._rng, reply)


class Sending:
    """One session with one peer."""

    def __init__(self, rng: random.Random) -> None:
        self.options = rng.choice(OPTIONS)
        self.client = ClientSession(self.options)
        self.peer = Peer(rng, self.options)
        self._rng = rng
        self.events: list[ClientEvent] = []
        self.wire: list[tuple[str, bytes]] = []

    def run(self) -> None:
        """Until nobody has anything to say; TLS is begun when it is due."""
        while out := self.client.to_send():
            self.wire.append((">", out))
            self._hear(self.peer.hear(out))
            if any(isinstance(event, BeginTls) for event in self.events):
                self.events = [event for event in self.events if not isinstance(event, BeginTls)]
                self.peer.encrypted = True
                self.events += self.client.tls_started(verified=self._rng.random() < 0.7)
        if self._rng.random() < 0.3:
            self.client.commands()

    def begin(self) -> None:
        """The greeting, and all up to the first message."""
        self._hear(self.peer.greeting())
        self.run()

    def _hear(self, data: bytes) -> None:
        self.wire.append(("<", data))
        size = self._rng.choice((1, 5, 1 << 20, 1 << 20, 1 << 20)) if len(data) < 500 else 1 << 20
        for at in range(0, len(data), size):
            self.events += self.client.receive(data[at : at + size])

    def send(self) -> int:
        """One message; for how many recipients it was delivered."""
        rng, client, peer = self._rng, self.client, self.peer
        mail = rng.choice(_MAILS[:1] * 6 + _MAILS)
        to = tuple(rng.sample(_RCPTS, rng.randrange(1, min(3, client.recipients_at_once + 1))))
        content = rng.choice(_CONTENTS)
        streamed = rng.choice((0, 0, 7, 1000))
        trial = rng.random() < 0.1
        self.events.clear()
        booked = len(peer.book)
        facts = examine(content) if streamed else None
        self.events += client.send(Envelope(mail, to), None if streamed else content, facts, dry_run=trial)
        self.run()
        if any(isinstance(event, ContentWanted) for event in self.events):
            for at in range(0, len(content), streamed):
                client.write(content[at : at + streamed])
                if rng.random() < 0.1:
                    self.run()
            self.events += client.end_content()
            self.run()
        if not any(isinstance(event, Finished) for event in self.events):
            # The peer says nothing more.
            self.events += client.closed()
            assert client.ended, "closed, and not ended"
        finished = [event for event in self.events if isinstance(event, Finished)]
        assert len(finished) == 1, f"finished {len(finished)} times"
        outcomes = finished[0].outcomes
        assert [each.recipient for each in outcomes] == [each.recipient for each in to], "not all have an outcome"
        delivered = [each for each in outcomes if each.delivered]
        if trial:
            assert len(peer.book) == booked or peer.lost, "a trial became a message"
            assert all(each.stage is Stage.RCPT for each in delivered), "a trial went on"
            return 0
        assert all(each.stage is Stage.END and not each.ours for each in delivered), "delivered by nobody's word"
        if not peer.lost:
            self._compare(content, mail, len(delivered), booked)
        return len(delivered)

    def _compare(self, content: bytes, mail: MailParameters, delivered: int, booked: int) -> None:
        """What the session says, with the peer's book."""
        new = self.peer.book[booked:]
        assert len(new) <= 1, "one message was sent twice"
        assert delivered == (len(new[0][1]) if new else 0), "delivered to others than those for whom it was taken"
        if new:
            whole = (
                content if mail.body == "BINARYMIME" or content.endswith(b"\r\n") or not content else content + b"\r\n"
            )
            assert new[0][0] == whole, "another content than was given"


def check(rng: random.Random, seen: Counter[str]) -> None:
    """One session of some messages.

    Raises:
        AssertionError: what came of it is wrong; the dialogue stands in a note.
    """
    sending = Sending(rng)
    client = sending.client
    try:
        sending.begin()
        seen["reached the first message"] += any(isinstance(event, Ready) for event in sending.events)
        for _ in range(3):
            if not client.ready:
                break
            delivered = sending.send()
            seen["recipients delivered to"] += delivered
        if client.ready and rng.random() < 0.5:
            sending.events += client.quit()
            sending.run()
        sending.events += client.closed()
        assert client.ended, "not ended when the connection was"
        ends = sum(isinstance(event, Ended) for event in sending.events)
        assert ends <= 1, "ended twice"
        assert not client.to_send(), "something to send after the end"
        assert not client.receive(b"250 ok\r\n"), "something happens after the end"
    except Exception as error:
        error.add_note(f"sender with {sending.options}")
        error.add_note("\n".join(f"{side} {data!r}" for side, data in sending.wire))
        raise
    seen["dialogues with a server"] += 1
    seen["servers that answer wrongly"] += sending.peer.lost
