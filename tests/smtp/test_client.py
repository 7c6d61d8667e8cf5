"""A connection as the sender sees it: with our own receiver, and with receivers that say what they like."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mx10.smtp import ClientSession, MailParameters, RcptParameters, Reply, ServerOptions
from mx10.smtp.client import (
    Broken,
    ClientEvent,
    ContentError,
    Done,
    Greeted,
    Outcome,
    Ready,
    Refused,
    TlsReady,
    WantsContent,
)
from tests.smtp.talking import OPTIONS, Receiver, receiver

ANN = MailParameters("ann@one.test")
BOB, NOBODY, CAT = (RcptParameters(f"{name}@two.test") for name in ("bob", "nobody", "cat"))


@dataclass
class Sender:
    """Sends to a receiver in the same process, in pieces of some octets."""

    receiver: Receiver
    client: ClientSession = field(default_factory=lambda: ClientSession("client.test"))
    step: int = 1 << 20
    events: list[ClientEvent] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._in(self.receiver.sent)

    def _in(self, data: bytes) -> None:
        for at in range(0, len(data), self.step):
            self.events += self.client.receive(data[at : at + self.step])

    def run(self) -> None:
        """Until nobody has anything to say."""
        while out := self.client.to_send():
            for at in range(0, len(out), self.step):
                self._in(self.receiver.feed(out[at : at + self.step]))

    def send(self, content: bytes, mail: MailParameters = ANN, *recipients: RcptParameters) -> Done:
        """One message; what became of it."""
        self.run()
        self.events.clear()
        self.events += self.client.send(mail, recipients or (BOB,), len(content))
        self.run()
        if WantsContent() in self.events:
            for at in range(0, len(content), 7):
                self.client.content(content[at : at + 7])
            self.client.content_ends()
            self.run()
        (done,) = (event for event in self.events if isinstance(event, Done))
        return done


def without(*names: str) -> ServerOptions:
    """A receiver that lacks extensions."""
    return ServerOptions("mx.test", extensions=tuple(each for each in OPTIONS.extensions if each not in names))


ALL_KINDS = [(), ("CHUNKING", "BINARYMIME"), ("CHUNKING", "BINARYMIME", "PIPELINING"), ("PIPELINING",)]


@pytest.mark.parametrize("lacking", ALL_KINDS)
@pytest.mark.parametrize("step", [1, 3, 1 << 20])
def test_messages(lacking: tuple[str, ...], step: int) -> None:
    there = receiver(without(*lacking), helo="")
    sender = Sender(there, step=step)
    for content in (
        b"a\r\n",
        b"",
        b".\r\n..\r\n.a\r\n",
        b"a\r\n.\r\nMAIL FROM:<eve@x.test>\r\n",
        b"x" * 1000 + b"\r\n",
    ):
        done = sender.send(content, ANN, BOB, NOBODY, CAT)
        assert done.reusable
        assert [(each.recipient, each.reply.code, each.stage) for each in done.outcomes] == [
            ("bob@two.test", 250, "content"),
            ("nobody@two.test", 550, "rcpt"),
            ("cat@two.test", 250, "content"),
        ]
        assert there.messages[-1] == ("ann@one.test", ["bob@two.test", "cat@two.test"], content)
    done = sender.send(b"a\r\n", ANN, NOBODY)
    assert [each.reply.code for each in done.outcomes] == [550]
    # And on.
    assert sender.send(b"a\r\n").outcomes[0].reply.code == 250
    sender.client.quit()
    sender.run()
    assert there.closed == ""


@given(st.lists(st.sampled_from([b"a", b".", b"\r\n", b"..", b"\r\n.\r\n", b"\r\n."]), max_size=30), st.booleans())
def test_whatever_the_content_it_arrives_as_one_message(pieces: list[bytes], chunking: bool) -> None:
    content = b"".join(pieces)
    there = receiver(OPTIONS if chunking else without("CHUNKING"), helo="")
    Sender(there).send(content)
    ((_, _, arrived),) = there.messages
    assert arrived == content or arrived == content + b"\r\n"


@given(
    st.binary(max_size=60) | st.lists(st.sampled_from([b"\r", b"\n", b".", b"a", b"\r\n"]), max_size=20).map(b"".join)
)
def test_a_bare_line_end_is_never_sent_behind_data(content: bytes) -> None:
    there = receiver(without("CHUNKING"), helo="")
    sender = Sender(there)
    try:
        sender.send(content)
    except ContentError:
        sender.run()
    wire = b"".join(message for _, _, message in there.messages)
    assert wire.count(b"\n") == wire.count(b"\r") == wire.count(b"\r\n")
    assert len(there.messages) <= 1
    assert there.closed is None


def test_tls() -> None:
    there = receiver(ServerOptions("mx.test", starttls=True), helo="")
    sender = Sender(there)
    sender.run()
    assert "STARTTLS" in sender.client.extensions
    sender.client.start_tls()
    sender.run()
    assert sender.events[-1] == TlsReady()
    sender.client.tls_started()
    sender.run()
    ready = sender.events[-1]
    assert isinstance(ready, Ready)
    assert "STARTTLS" not in ready.extensions
    assert sender.send(b"a\r\n", MailParameters("ann@one.test", requiretls=True)).outcomes[0].reply.code == 250


def test_parameters_arrive() -> None:
    there = receiver(helo="")
    mail = MailParameters("å@one.test", None, "8BITMIME", True, "HDRS", "id=+1", False, -3)
    recipient = RcptParameters("ß@two.test", frozenset({"DELAY"}), "rfc822;b+c@two.test")
    Sender(there).send(b"a\r\n", mail, recipient)
    events = {type(event).__name__: event for event in there.events}
    arrived = events["Mail"].parameters  # type: ignore[union-attr]
    assert arrived == MailParameters("å@one.test", 3, "8BITMIME", True, "HDRS", "id=+1", False, -3)
    assert events["Rcpt"].parameters == recipient  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("mail", "lacking", "size", "enhanced"),
    [
        (MailParameters("å@one.test", smtputf8=True), ("SMTPUTF8",), 3, "5.6.7"),
        (MailParameters("ann@one.test", requiretls=True), (), 3, "5.7.30"),
        (MailParameters("ann@one.test", body="BINARYMIME"), ("CHUNKING",), 3, "5.6.3"),
        (ANN, (), 60 << 20, "5.3.4"),
    ],
)
def test_what_the_receiver_lacks(mail: MailParameters, lacking: tuple[str, ...], size: int, enhanced: str) -> None:
    there = receiver(without(*lacking), helo="")
    sender = Sender(there)
    sender.run()
    (done,) = sender.client.send(mail, [BOB], size)
    assert isinstance(done, Done)
    assert done.reusable
    assert (done.outcomes[0].reply.enhanced, done.outcomes[0].stage) == (enhanced, "needs")
    assert not sender.client.to_send()


# ---------------------------------------------------------------- receivers that say what they like


def talk(*replies: bytes, recipients: int = 1) -> tuple[ClientSession, list[ClientEvent]]:
    """A session that hears these replies, one after what it says each time; it sends a message when it may."""
    client = ClientSession("client.test")
    events: list[ClientEvent] = []
    begun = False
    for reply in replies:
        heard = client.receive(reply)
        events += heard
        if client.is_ready and not begun:
            begun = True
            events += client.send(ANN, [BOB] * recipients, 3)
        if WantsContent() in heard:
            client.content(b"a\r\n")
            client.content_ends()
    return client, events


HELLO = (b"220 hi\r\n", b"250-there\r\n250 PIPELINING\r\n")


@pytest.mark.parametrize(
    ("replies", "code", "stage", "reusable"),
    [
        ((b"250 ok\r\n250 ok\r\n354 go\r\n", b"250 2.0.0 taken\r\n"), 250, "content", True),
        ((b"250 ok\r\n250 ok\r\n354 go\r\n", b"452 4.3.1 full\r\n"), 452, "content", True),
        ((b"250 ok\r\n250 ok\r\n451 not now\r\n",), 451, "data", True),
        ((b"250 ok\r\n450 later\r\n503 what\r\n",), 450, "rcpt", True),
        ((b"550 5.7.1 not you\r\n503 no\r\n503 no\r\n",), 550, "mail", True),
        ((b"421 4.3.2 bye\r\n",), 421, "data", False),
        ((b"250 ok\r\n421 bye\r\n",), 421, "data", False),
        ((b"250 ok\r\n250 ok\r\n354 go\r\n", b"421 bye\r\n"), 421, "data", False),
        ((b"250 ok\r\n250 ok\r\n250 taken?\r\n",), 451, "data", False),
        ((b"250 ok\r\n250 ok\r\n354 go\r\n", b"354 go on\r\n"), 451, "data", False),
        ((b"354 go\r\n",), 451, "data", False),
        ((b"garbage\r\n",), 0, "", False),
    ],
)
def test_replies(replies: tuple[bytes, ...], code: int, stage: str, reusable: bool) -> None:
    _, events = talk(*HELLO, *replies)
    last = events[-1]
    if not code:
        assert isinstance(last, Done | Broken)
        return
    assert isinstance(last, Done)
    (outcome,) = last.outcomes
    assert (outcome.reply.code, outcome.stage, last.reusable) == (code, stage, reusable)


def test_an_empty_message_for_nobody() -> None:
    """DATA went along with recipients who were not taken, and was answered with 354 (RFC 2920 section 3.1)."""
    client, events = talk(*HELLO, b"250 ok\r\n550 no\r\n354 go\r\n")
    assert client.to_send().endswith(b"DATA\r\n.\r\n")
    assert not any(isinstance(event, Done) for event in events)
    assert client.receive(b"554 no valid recipients\r\n")[-1] == Done(
        (Outcome("bob@two.test", Reply(550, None, ("no",)), "rcpt"),), reusable=True
    )


def test_greetings() -> None:
    refusal = Reply(554, "5.7.1", ("not you",))
    assert ClientSession("c").receive(b"554 5.7.1 not you\r\n") == [Greeted(refusal), Refused(refusal, "greeting")]
    assert isinstance(ClientSession("c").receive(b"220 a\r\n220 b\r\n")[-1], Broken)
    assert isinstance(ClientSession("c").receive(b"HTTP/1.1 400\r\n")[-1], Broken)


def test_helo_where_ehlo_is_not_known() -> None:
    client = ClientSession("client.test")
    client.receive(b"220 old\r\n")
    client.receive(b"502 what?\r\n")
    assert client.to_send() == b"EHLO client.test\r\nHELO client.test\r\n"
    assert client.receive(b"250 old\r\n") == [Ready({})]
    client.send(ANN, [BOB], 5)
    assert client.to_send() == b"MAIL FROM:<ann@one.test>\r\n"


def test_what_comes_before_tls_is_not_within_it() -> None:
    client, _ = ClientSession("c"), None
    client.receive(b"220 hi\r\n")
    client.receive(b"250-there\r\n250 STARTTLS\r\n")
    client.start_tls()
    (event,) = client.receive(b"220 go\r\n250-evil\r\n250 AUTH PLAIN\r\n")
    assert isinstance(event, Broken)
    client = ClientSession("c")
    client.receive(b"220 hi\r\n")
    client.receive(b"250-there\r\n250 STARTTLS\r\n")
    client.start_tls()
    assert isinstance(client.receive(b"454 4.7.0 not now\r\n")[0], Refused)
    assert client.is_ready


@pytest.mark.parametrize("ended", [False, True])
def test_a_lost_connection(ended: bool) -> None:
    replies = (b"250 ok\r\n250 ok\r\n354 go\r\n",) if ended else (b"250 ok\r\n",)
    client, _ = talk(*HELLO, *replies)
    (done,) = client.lost()
    assert isinstance(done, Done)
    assert (done.outcomes[0].reply.code, done.outcomes[0].reply.enhanced) == (451, "4.4.2")
    assert done.outcomes[0].stage == ("content" if ended else "data")
    assert client.lost() == []


def test_limits_of_the_receiver() -> None:
    client = ClientSession("c")
    client.receive(b"220 hi\r\n")
    client.receive(b"250-there\r\n250 LIMITS MAILMAX=1 RCPTMAX=7 X\r\n")
    assert (client.mails_left, client.recipients_at_once) == (1, 7)
    client.send(ANN, [BOB], 3)
    assert client.mails_left == 0


@given(
    st.lists(
        st.sampled_from(
            [b"220 a\r\n", b"250 a\r\n", b"250-PIPELINING\r\n", b"354 a\r\n", b"421 a\r\n", b"550 5.1.1 a\r\n", b"x"]
        )
        | st.binary(max_size=9),
        max_size=25,
    )
)
def test_whatever_a_receiver_says_has_an_end(replies: list[bytes]) -> None:
    _, events = talk(*replies, recipients=2)
    assert sum(isinstance(event, Done) for event in events) <= 1
