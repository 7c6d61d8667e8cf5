"""A receiver that decides at once, for the tests of sessions."""

from dataclasses import dataclass, field

from mx10.smtp import Reply, ServerOptions, ServerSession
from mx10.smtp.auth import ScramKeys
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
    StartTls,
)

OPTIONS = ServerOptions("mx.test", size=100_000, recipients=3, errors=5)
GREETING = b"220 mx.test ESMTP mx10\r\n"


@dataclass
class Receiver:
    """Takes everybody but recipients that begin with ``no``."""

    session: ServerSession
    messages: list[tuple[str, list[str], bytes]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    sent: bytes = b""
    sender: str = ""
    recipients: list[str] = field(default_factory=list)
    content: list[bytes] = field(default_factory=list)
    closed: str | None = None

    def feed(self, data: bytes) -> bytes:
        """What is sent back for it."""
        queue = self.session.receive(data)
        while queue:
            event = queue.pop(0)
            self.events.append(event)
            queue += self._handle(event)
        out = self.session.to_send()
        self.sent += out
        return out

    def _handle(self, event: Event) -> list[Event]:
        match event:
            case Mail(parameters):
                self.sender = parameters.reverse_path
                self.recipients, self.content = [], []
                return self.session.reply(Reply.of(250, "2.1.0", "ok"))
            case Rcpt(parameters):
                if parameters.recipient.startswith("no"):
                    return self.session.reply(Reply.of(550, "5.1.1", "nobody"))
                self.recipients.append(parameters.recipient)
                return self.session.reply(Reply.of(250, "2.1.5", "ok"))
            case Content(data):
                self.content.append(data)
            case ContentEnds(size):
                content = b"".join(self.content)
                assert size == len(content)
                self.messages.append((self.sender, self.recipients, content))
                return self.session.reply(Reply.of(250, "2.0.0", "taken"))
            case Reset():
                self.content = []
            case Login(credentials):
                right = (credentials.user, credentials.password) == ("ann", "secret")
                reply = Reply.of(235, "2.7.0", "in") if right else Reply.of(535, "5.7.8", "no")
                return self.session.reply(reply)
            case Scram():
                return self.session.scram_keys(ScramKeys.of("secret", b"salt" * 4))
            case StartTls():
                self.session.tls_started()
            case Closing(why):
                self.closed = why
            case Hello() | LoggedIn():
                pass
        return []


def receiver(options: ServerOptions = OPTIONS, *, tls: bool = False, helo: str = "EHLO client.test") -> Receiver:
    """One that was greeted; ``helo``: by this, which is answered already."""
    found = Receiver(ServerSession(options, tls=tls, nonce="server-nonce"))
    found.session.greet()
    if helo:
        found.feed(f"{helo}\r\n".encode())
    else:
        found.sent = found.session.to_send()
    found.events.clear()
    return found
