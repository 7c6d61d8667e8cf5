"""A connection as the sender sees it: with our own receiver, and with receivers that say what they like."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mx10.smtp import ClientOptions, ClientSession, MailParameters, RcptParameters, Reply, ServerOptions
from mx10.smtp.auth import Credentials
from mx10.smtp.content import BareLineEndError
from mx10.smtp.outgoing import Facts, FalseEndError, Outgoing, examine
from mx10.smtp.sending import (
    BeginTls,
    ClientEvent,
    ContentWanted,
    Ended,
    Envelope,
    Finished,
    Outcome,
    Ready,
    Replied,
    Stage,
)
from tests.smtp.talking import OPTIONS, Receiver, receiver

ANN = MailParameters("ann@one.test")
BOB, NOBODY, CAT = (RcptParameters(f"{name}@two.test") for name in ("bob", "nobody", "cat"))
ME = ClientOptions("client.test", nonce=lambda: "our-nonce")


def without(*names: str) -> ServerOptions:
    """A receiver that lacks extensions."""
    return ServerOptions("mx.test", extensions=tuple(each for each in OPTIONS.extensions if each not in names))


@dataclass
class Sender:
    """Sends to a receiver in the same process, in pieces of some octets."""

    receiver: Receiver
    client: ClientSession = field(default_factory=lambda: ClientSession(ME))
    step: int = 1 << 20
    events: list[ClientEvent] = field(default_factory=list)
    wire: bytes = b""
    """All that the sender sent."""

    def __post_init__(self) -> None:
        self._in(self.receiver.sent)
        self.run()

    def _in(self, data: bytes) -> None:
        for at in range(0, len(data), self.step):
            self.events += self.client.receive(data[at : at + self.step])

    def run(self) -> None:
        """Until nobody has anything to say."""
        while out := self.client.to_send():
            self.wire += out
            for at in range(0, len(out), self.step):
                self._in(self.receiver.feed(out[at : at + self.step]))
            if BeginTls() in self.events:
                self.events.remove(BeginTls())
                self.events += self.client.tls_started(verified=True)

    def send(
        self,
        content: bytes,
        mail: MailParameters = ANN,
        *recipients: RcptParameters,
        streamed: int = 0,
        dry_run: bool = False,
    ) -> list[Outcome]:
        """One message; what became of it. ``streamed``: given in pieces of so many octets."""
        self.events.clear()
        envelope = Envelope(mail, recipients or (BOB,))
        facts = examine(content) if streamed else None
        self.events += self.client.send(envelope, None if streamed else content, facts, dry_run=dry_run)
        self.run()
        if ContentWanted() in self.events:
            for at in range(0, len(content), streamed):
                self.client.write(content[at : at + streamed])
            self.events += self.client.end_content()
            self.run()
        (done,) = (event for event in self.events if isinstance(event, Finished))
        return list(done.outcomes)


ALL_KINDS = [(), ("CHUNKING", "BINARYMIME"), ("CHUNKING", "BINARYMIME", "PIPELINING"), ("PIPELINING",)]


@pytest.mark.parametrize("streamed", [0, 7])
@pytest.mark.parametrize("lacking", ALL_KINDS)
@pytest.mark.parametrize("step", [1, 3, 1 << 20])
def test_messages(lacking: tuple[str, ...], step: int, streamed: int) -> None:
    there = receiver(without(*lacking), helo="")
    sender = Sender(there, step=step)
    for content in (
        b"a\r\n",
        b"",
        b".\r\n..\r\n.a\r\n",
        b"a\r\n.\r\nMAIL FROM:<eve@x.test>\r\n",
        b"x" * 1000 + b"\r\n",
    ):
        outcomes = sender.send(content, ANN, BOB, NOBODY, CAT, streamed=streamed)
        assert sender.client.ready
        assert [(each.recipient, each.reply.code, each.stage, each.delivered) for each in outcomes] == [
            ("bob@two.test", 250, "end", True),
            ("nobody@two.test", 550, "rcpt", False),
            ("cat@two.test", 250, "end", True),
        ]
        assert there.messages[-1] == ("ann@one.test", ["bob@two.test", "cat@two.test"], content)
    taken = len(there.messages)
    assert [each.reply.code for each in sender.send(b"a\r\n", ANN, NOBODY)] == [550]
    assert [each.reply.code for each in sender.send(b"a\r\n", ANN, BOB, NOBODY, dry_run=True)] == [250, 550]
    assert len(there.messages) == taken
    # And on, after RSET.
    assert sender.send(b"a\r\n")[0].reply.code == 250
    sender.client.quit()
    sender.run()
    assert there.closed == ""
    assert isinstance(sender.events[-1], Ended)


PIECES = [b"a", b".", b"\r\n", b"..", b"\r\n.\r\n", b"\r\n."]


@given(st.lists(st.sampled_from(PIECES), max_size=30), st.booleans(), st.integers(0, 5))
def test_whatever_the_content_it_arrives_as_one_message(pieces: list[bytes], chunking: bool, streamed: int) -> None:
    content = b"".join(pieces)
    there = receiver(OPTIONS if chunking else without("CHUNKING", "BINARYMIME"), helo="")
    Sender(there).send(content, streamed=streamed)
    ((_, _, arrived),) = there.messages
    assert arrived == content or (arrived == content + b"\r\n" and not content.endswith(b"\r\n"))


SMUGGLED = b"MAIL FROM:<eve@x.test>"
VARIANTS = [
    b"\n.\n",
    b"\n.\r\n",
    b"\r.\r",
    b"\r.\r\n",
    b"\r\n.\n",
    b"\r\n.\r",
    b"\r\r\n.\r\r\n",
    b"\n\n.\r\n",
    b"\r\n\x00.\r\n\n",
    b"\r\n.\r\r\n",
    b"\n.\r",
    b"\r.\n",
]
"""What some receiver once took for the end of a message: CVE-2023-51764, 51765, 51766, CVE-2024-27305."""


@pytest.mark.parametrize("chunking", [False, True])
@pytest.mark.parametrize("streamed", [0, 1, 3])
@pytest.mark.parametrize("variant", VARIANTS)
def test_nothing_is_smuggled_to_the_receiver(variant: bytes, streamed: int, chunking: bool) -> None:
    content = b"Subject: x\r\n\r\na" + variant + SMUGGLED + b"\r\n"
    there = receiver(OPTIONS if chunking else without("CHUNKING", "BINARYMIME"), helo="")
    sender = Sender(there)
    (outcome,) = sender.send(content, streamed=streamed)
    assert (outcome.reply.code, outcome.reply.enhanced, outcome.ours) == (554, "5.6.0", True)
    assert SMUGGLED not in sender.wire
    # And the connection is as good as before.
    assert sender.send(b"a\r\n")[0].delivered


@pytest.mark.parametrize("streamed", [0, 1, 2, 3, 100])
@pytest.mark.parametrize(
    "variant", [b"\r\n\0.\r\n", b"\r\n\0\0\0.\r\n", b"\r\n\0.\0\r\n", b"\r\n\0.", b"\r\n" + b"\0" * 5000 + b".\r\n"]
)
def test_nothing_is_smuggled_by_nuls(variant: bytes, streamed: int) -> None:
    """Some drop NULs, and then find the end of the message where there is none; with BDAT there is nothing to find."""
    content = b"Subject: x\r\n\r\na" + variant
    if variant.endswith(b"\n"):
        content += SMUGGLED + b"\r\n"
    there = receiver(OPTIONS, helo="")
    assert Sender(there).send(content, streamed=streamed)[0].delivered
    there = receiver(without("CHUNKING", "BINARYMIME"), helo="")
    sender = Sender(there)
    if streamed:
        with pytest.raises(BareLineEndError, match="a line of NULs and a dot"):
            sender.send(content, streamed=streamed)
    else:
        (outcome,) = sender.send(content)
        assert (outcome.reply.code, outcome.reply.enhanced, outcome.ours) == (554, "5.6.0", True)
    assert SMUGGLED not in sender.wire
    assert not there.messages


@given(st.lists(st.sampled_from([b"\0", b".", b"a", b"\r\n"]), max_size=20), st.integers(1, 5))
def test_lines_with_nuls_pass_unless_they_are_an_end_without_them(pieces: list[bytes], streamed: int) -> None:
    content = b"".join(pieces)
    outgoing, sent = Outgoing(dots=True), b""
    try:
        for at in range(0, len(content), streamed):
            sent += outgoing.feed(content[at : at + streamed])
        sent += outgoing.end()
    except FalseEndError:
        assert any(line.startswith(b"\0") and line.strip(b"\0") == b"." for line in content.split(b"\r\n"))
    else:
        # The one end there is stays the one end.
        assert (b"\r\n" + sent.replace(b"\0", b"")).find(b"\r\n.\r\n") == len(sent.replace(b"\0", b"")) - 3


@given(st.lists(st.sampled_from([b"\r", b"\n", b".", b"a", b"\r\n"]), max_size=20), st.booleans(), st.integers(1, 4))
def test_a_bare_line_end_is_never_sent_though_the_facts_are_wrong(
    pieces: list[bytes], chunking: bool, streamed: int
) -> None:
    content = b"".join(pieces)
    there = receiver(OPTIONS if chunking else without("CHUNKING", "BINARYMIME"), helo="")
    sender = Sender(there)
    sender.client.send(Envelope(ANN, (BOB,)), None, Facts(len(content)))
    sender.run()
    try:
        for at in range(0, len(content), streamed):
            sender.client.write(content[at : at + streamed])
        sender.client.end_content()
    except BareLineEndError:
        assert examine(content).bare_line_end
    else:
        assert not examine(content).bare_line_end
    sender.run()
    assert sender.wire.count(b"\n") == sender.wire.count(b"\r\n") == sender.wire.count(b"\r")
    assert len(there.messages) <= 1
    assert there.closed is None


@given(st.lists(st.sampled_from([b".", b"a", b"\0", b"\r\n"]), max_size=20), st.integers(1, 4), st.booleans())
def test_what_is_known_of_the_lines_changes_nothing(pieces: list[bytes], streamed: int, dots: bool) -> None:
    content = b"".join(pieces)

    def sent(whole_lines: bool) -> bytes | str:
        outgoing = Outgoing(dots=dots, whole_lines=whole_lines)
        try:
            fed = [outgoing.feed(content[at : at + streamed]) for at in range(0, len(content), streamed)]
            return b"".join(fed) + outgoing.end()
        except FalseEndError as error:
            return str(error)

    assert sent(whole_lines=True) == sent(whole_lines=False)


def test_binary_content_goes_as_it_is() -> None:
    content = b"\x00\r\xff\n.\n"
    there = receiver(helo="")
    sender = Sender(there)
    for streamed in (0, 2):
        assert sender.send(content, MailParameters("ann@one.test", body="BINARYMIME"), streamed=streamed)[0].delivered
        assert there.messages[-1][2] == content


def test_tls() -> None:
    there = receiver(ServerOptions("mx.test", starttls=True, extensions=("REQUIRETLS",)), helo="")
    sender = Sender(there)
    assert (sender.client.encrypted, sender.client.verified, sender.client.ready) == (True, True, True)
    assert "STARTTLS" not in sender.client.features
    assert sender.wire.count(b"EHLO") == 2
    assert sender.send(b"a\r\n", MailParameters("ann@one.test", requiretls=True))[0].delivered
    assert b" REQUIRETLS\r\n" in sender.wire


def test_parameters_arrive() -> None:
    there = receiver(helo="")
    mail = MailParameters("å@one.test", None, "8BITMIME", True, "HDRS", "id=+1", False, -3)
    recipient = RcptParameters("ß@two.test", frozenset({"DELAY"}), "rfc822;b+c@two.test")
    (outcome,) = Sender(there).send(b"a\r\n", mail, recipient)
    assert outcome.dsn
    events = {type(event).__name__: event for event in there.events}
    arrived = events["Mail"].parameters  # type: ignore[union-attr]
    assert arrived == MailParameters("å@one.test", 3, "8BITMIME", True, "HDRS", "id=+1", False, -3)
    assert events["Rcpt"].parameters == recipient  # type: ignore[union-attr]


UTF8 = "Subject: \u00e5\r\n\r\na\r\n".encode()


@pytest.mark.parametrize(
    ("mail", "lacking", "content", "enhanced"),
    [
        (MailParameters("å@one.test", smtputf8=True), ("SMTPUTF8",), b"a\r\n", "5.6.7"),
        (MailParameters("ann@one.test", smtputf8=True), ("SMTPUTF8",), UTF8, "5.6.7"),
        (MailParameters("ann@one.test", smtputf8=True), ("8BITMIME",), UTF8, "5.6.3"),
        (MailParameters("ann@one.test", requiretls=True), (), b"a\r\n", "5.7.30"),
        (MailParameters("ann@one.test", body="BINARYMIME"), ("CHUNKING", "BINARYMIME"), b"a\r\n", "5.6.3"),
        (ANN, (), b"x" * 200_001 + b"\r\n", "5.3.4"),
    ],
)
def test_what_the_receiver_lacks(mail: MailParameters, lacking: tuple[str, ...], content: bytes, enhanced: str) -> None:
    there = receiver(ServerOptions("mx.test", size=200_000, extensions=without(*lacking).extensions), helo="")
    sender = Sender(there)
    (outcome,) = sender.send(content, mail)
    assert (outcome.reply.enhanced, outcome.ours, there.messages) == (enhanced, True, [])
    assert sender.client.ready


def test_without_smtputf8_goes_what_does_not_need_it() -> None:
    """RFC 6531 section 3.6: the sender said SMTPUTF8, and only one recipient's address needs it."""
    there = receiver(without("SMTPUTF8"), helo="")
    sender = Sender(there)
    mail = MailParameters("ann@bücher.test", smtputf8=True, body="8BITMIME")
    outcomes = sender.send("a\r\n\r\nå\r\n".encode(), mail, BOB, RcptParameters("å@two.test"))
    assert [(each.reply.code, each.reply.enhanced) for each in outcomes] == [(250, "2.0.0"), (554, "5.6.7")]
    assert b"MAIL FROM:<ann@xn--bcher-kva.test> SIZE=9 BODY=8BITMIME\r\n" in sender.wire
    assert len(there.messages) == 1


def test_what_would_be_a_second_command_is_refused() -> None:
    sender = Sender(receiver(helo=""))
    with pytest.raises(ValueError, match="control character"):
        sender.client.send(Envelope(ANN, (RcptParameters("a@b>\r\nRSET\r\n<@c"),)), b"")


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "SCRAM-SHA-256", None])
@pytest.mark.parametrize("password", ["secret", "wrong"])
def test_logging_in(mechanism: str | None, password: str) -> None:
    there = receiver(ServerOptions("mx.test", mechanisms=("SCRAM-SHA-256", "PLAIN", "LOGIN")), tls=True, helo="")
    options = ClientOptions(
        "client.test", credentials=Credentials("ann", password), mechanism=mechanism, nonce=lambda: "our-nonce"
    )
    sender = Sender(there, ClientSession(options, encrypted=True))
    shown = [event.command for event in sender.events if isinstance(event, Replied)]
    assert f"AUTH {mechanism or 'SCRAM-SHA-256'}" in shown
    if password == "secret":
        assert sender.client.authenticated
        assert sender.send(b"a\r\n")[0].delivered
    else:
        ended = sender.events[-1]
        assert isinstance(ended, Ended)
        assert (ended.stage, ended.reply.code, ended.ours) == (Stage.AUTH, 535, False)


def test_no_password_is_shown_without_tls() -> None:
    client = ClientSession(ClientOptions("c", credentials=Credentials("a", "b"), nonce=lambda: "n"))
    client.receive(b"220 hi\r\n")
    assert client.to_send().startswith(b"EHLO")
    (_, ended) = client.receive(b"250-there\r\n250 AUTH PLAIN LOGIN\r\n")
    assert isinstance(ended, Ended)
    assert "without TLS no password is shown" in ended.reply.text
    assert b"AUTH" not in client.to_send()


@pytest.mark.parametrize(
    "first",
    ["r=stranger,s=c2FsdA==,i=4096", "r=our-nonce,s=c2FsdA==,i=4096", "r=our-noncex,s=c2FsdA==,i=99999999", "x"],
)
def test_scram_with_a_server_that_cheats(first: str) -> None:
    import base64

    client = ClientSession(ClientOptions("c", credentials=Credentials("a", "b"), nonce=lambda: "our-nonce"))
    client.receive(b"220 hi\r\n")
    assert client.to_send().startswith(b"EHLO")
    client.receive(b"250-there\r\n250 AUTH SCRAM-SHA-256\r\n")
    assert client.to_send().startswith(b"AUTH")
    ended = client.receive(b"334 " + base64.b64encode(first.encode()) + b"\r\n")[-1]
    assert isinstance(ended, Ended)
    assert (ended.stage, ended.ours) == (Stage.AUTH, True)


def test_scram_ended_before_the_server_has_shown_that_it_knows_us() -> None:
    client = ClientSession(ClientOptions("c", credentials=Credentials("a", "b"), nonce=lambda: "our-nonce"))
    client.receive(b"220 hi\r\n")
    assert client.to_send().startswith(b"EHLO")
    client.receive(b"250-there\r\n250 AUTH SCRAM-SHA-256\r\n")
    assert client.to_send().startswith(b"AUTH")
    assert isinstance(client.receive(b"235 2.7.0 welcome\r\n")[-1], Ended)
    assert not client.authenticated


# ---------------------------------------------------------------- receivers that say what they like


def talk(
    *replies: bytes, recipients: int = 1, options: ClientOptions = ME
) -> tuple[ClientSession, list[ClientEvent], bytes]:
    """A session that hears these replies, one after what it says each time; it sends a message when it may."""
    client = ClientSession(options)
    events: list[ClientEvent] = []
    begun = False
    wire = b""
    for reply in replies:
        events += client.receive(reply)
        if client.ready and not begun:
            begun = True
            events += client.send(Envelope(ANN, (BOB, CAT)[:recipients]), b"a\r\n")
        wire += client.to_send()
    return client, events, wire


HELLO = (b"220 hi\r\n", b"250-there\r\n250 PIPELINING\r\n")
PLAIN_HELLO = (b"220 hi\r\n", b"250 there\r\n")
CHUNKS = (b"220 hi\r\n", b"250-there\r\n250-CHUNKING\r\n250 PIPELINING\r\n")
LMTP = ClientOptions("c", lmtp=True)


@pytest.mark.parametrize(
    ("replies", "code", "stage", "ready"),
    [
        ((b"250 ok\r\n250 ok\r\n354 go\r\n", b"250 2.0.0 taken\r\n"), 250, "end", True),
        ((b"250 ok\r\n250 ok\r\n354 go\r\n", b"452 4.3.1 full\r\n"), 452, "end", True),
        ((b"250 ok\r\n250 ok\r\n451 not now\r\n",), 451, "data", True),
        ((b"250 ok\r\n450 later\r\n503 what\r\n",), 450, "rcpt", True),
        ((b"550 5.7.1 not you\r\n503 no\r\n503 no\r\n",), 550, "mail", True),
        ((b"421 4.3.2 bye\r\n",), 421, "mail", False),
        ((b"250 ok\r\n421 bye\r\n",), 421, "rcpt", False),
        ((b"250 ok\r\n250 ok\r\n354 go\r\n", b"421 bye\r\n"), 421, "end", False),
        ((b"250 ok\r\n250 ok\r\n250 taken?\r\n",), 451, "data", False),
        # Taken before it was sent: a reply too many, and no delivery.
        ((b"250 ok\r\n250 ok\r\n354 go\r\n250 taken\r\n",), 451, "end", False),
        ((b"250 ok\r\n250 ok\r\n354 go\r\n552 5.3.4 no\r\n",), 552, "end", False),
        ((b"250 ok\r\n250 ok\r\n354 go\r\n", b"354 go on\r\n"), 451, "end", False),
        ((b"354 go\r\n",), 451, "mail", False),
        ((b"550 no\r\n250 ok\r\n354 go\r\n",), 550, "mail", False),
        ((b"garbage\r\n",), 451, "mail", False),
        ((b"250-a\r\n251 b\r\n",), 451, "mail", False),
        ((b"250 " + b"x" * 3000,), 451, "mail", False),
        ((b"250-x\r\n" * 201,), 451, "mail", False),
    ],
)
def test_replies(replies: tuple[bytes, ...], code: int, stage: str, ready: bool) -> None:
    client, events, _ = talk(*HELLO, *replies)
    (done,) = (event for event in events if isinstance(event, Finished))
    (outcome,) = done.outcomes
    assert (outcome.reply.code, outcome.stage, client.ready) == (code, stage, ready)
    assert client.ended is not ready


@pytest.mark.parametrize(
    ("hello", "options", "replies", "codes"),
    [
        # One command at a time.
        (PLAIN_HELLO, ME, (b"250 a\r\n", b"250 b\r\n", b"550 c\r\n", b"354 d\r\n", b"250 e\r\n"), [250, 550]),
        (PLAIN_HELLO, ME, (b"450 a\r\n",), [450, 450]),
        (PLAIN_HELLO, ME, (b"250 a\r\n", b"550 b\r\n", b"551 c\r\n"), [550, 551]),
        # BDAT waits until somebody was taken.
        (CHUNKS, ME, (b"250 a\r\n550 b\r\n551 c\r\n",), [550, 551]),
        (CHUNKS, ME, (b"250 a\r\n250 b\r\n551 c\r\n", b"552 5.3.4 d\r\n"), [552, 551]),
        # A reply for each (RFC 2033).
        (HELLO, LMTP, (b"250 a\r\n250 b\r\n250 c\r\n354 d\r\n", b"250 e\r\n452 f\r\n"), [250, 452]),
        (HELLO, LMTP, (b"250 a\r\n250 b\r\n250 c\r\n354 d\r\n", b"250 e\r\n", b"421 bye\r\n"), [250, 421]),
    ],
)
def test_replies_for_two(
    hello: tuple[bytes, ...], options: ClientOptions, replies: tuple[bytes, ...], codes: list[int]
) -> None:
    _, events, _ = talk(*hello, *replies, recipients=2, options=options)
    (done,) = (event for event in events if isinstance(event, Finished))
    assert [each.reply.code for each in done.outcomes] == codes


def test_a_chunk_that_is_refused_ends_the_message() -> None:
    client, _, _ = talk(*CHUNKS[:1])
    client.receive(CHUNKS[1])
    client.send(Envelope(ANN, (BOB,)), None, Facts(9))
    client.to_send()
    assert client.receive(b"250 a\r\n250 b\r\n")[-1] == ContentWanted()
    client.write(b"a\r\n")
    client.write(b"b\r\n")
    assert client.to_send() == b"BDAT 3\r\na\r\n"
    client.receive(b"452 4.3.1 full\r\n")
    client.write(b"c\r\n")
    (done,) = client.end_content()
    assert isinstance(done, Finished)
    assert (done.outcomes[0].reply.code, done.outcomes[0].stage) == (452, "content")
    assert client.to_send() == b""
    client.send(Envelope(ANN, (BOB,)), b"")
    assert client.to_send().startswith(b"RSET\r\nMAIL")


def test_a_refusal_while_the_content_goes_over_counts() -> None:
    client, _, _ = talk(*HELLO[:1])
    client.receive(HELLO[1])
    client.send(Envelope(ANN, (BOB,)), None, Facts(9))
    client.to_send()
    client.receive(b"250 a\r\n250 b\r\n354 c\r\n")
    client.write(b"a\r\n")
    _, done, ended = client.receive(b"552 5.3.4 too much\r\n")
    assert isinstance(done, Finished)
    assert (done.outcomes[0].reply.code, done.outcomes[0].stage) == (552, "content")
    assert isinstance(ended, Ended)
    client.write(b"a\r\n")
    assert client.end_content() == []


def test_an_empty_message_for_nobody() -> None:
    """DATA went along with recipients who were not taken, and was answered with 354 (RFC 2920 section 3.1)."""
    client, events, wire = talk(*HELLO, b"250 ok\r\n550 no\r\n354 go\r\n")
    assert wire.endswith(b"DATA\r\n.\r\n")
    assert not any(isinstance(event, Finished) for event in events)
    assert client.receive(b"554 no valid recipients\r\n")[-1] == Finished(
        (Outcome("bob@two.test", Reply(550, None, ("no",)), Stage.RCPT),)
    )


@pytest.mark.parametrize(
    ("greeting", "code", "ours"),
    [
        (b"554 5.7.1 not you\r\n", 554, False),
        (b"421 busy\r\n", 421, False),
        (b"220 a\r\n220 b\r\n", 451, True),
        (b"250 a\r\n", 451, True),
        (b"HTTP/1.1 400\r\n", 451, True),
        (b"220 a\r\n421 b\r\n", 421, False),
    ],
)
def test_greetings(greeting: bytes, code: int, ours: bool) -> None:
    ended = ClientSession(ME).receive(greeting)[-1]
    assert isinstance(ended, Ended)
    assert (ended.reply.code, ended.ours) == (code, ours)


def test_helo_where_ehlo_is_not_known() -> None:
    client, events, wire = talk(b"220 old\r\n", b"502 what?\r\n", b"250 old\r\n")
    assert events[-1] == Ready({})
    assert wire == b"EHLO client.test\r\nHELO client.test\r\nMAIL FROM:<ann@one.test>\r\n"
    assert client.stage is Stage.MAIL


TLS_HELLO = (b"220 hi\r\n", b"250-there\r\n250 STARTTLS\r\n")


@pytest.mark.parametrize("more", [b"250-evil\r\n250 AUTH PLAIN\r\n", b"250-evil\r\n", b"2"])
def test_what_comes_before_tls_is_not_within_it(more: bytes) -> None:
    """CVE-2011-0411 and its like, with the server's part injected."""
    client, _, _ = talk(*TLS_HELLO)
    assert client.receive(b"220 go\r\n" + more)[-1] == BeginTls()
    assert client.receive(b"250 evil\r\n") == []
    assert client.discarded
    client.tls_started(verified=False)
    assert client.to_send() == b"EHLO client.test\r\n"
    assert client.stage is Stage.HELLO
    assert client.features == {}
    assert client.receive(b"250 there\r\n")[-1] == Ready({})


def test_tls_that_is_not_to_be_had() -> None:
    client, events, _ = talk(*TLS_HELLO, b"454 4.7.0 not now\r\n")
    assert Ready({"STARTTLS": ""}) in events
    assert not client.encrypted
    must = ClientOptions("c", starttls="must")
    for replies in ((*TLS_HELLO, b"454 4.7.0 not now\r\n"), HELLO):
        client, events, _ = talk(*replies, options=must)
        ended = events[-1]
        assert isinstance(ended, Ended)
        assert ended.stage is Stage.STARTTLS
        assert ended.reply.kind == "transient"


@pytest.mark.parametrize("ended", [False, True])
def test_a_lost_connection(ended: bool) -> None:
    replies = (b"250 ok\r\n250 ok\r\n354 go\r\n",) if ended else (b"250 ok\r\n",)
    client, _, _ = talk(*HELLO, *replies)
    done, _ = client.closed()
    assert isinstance(done, Finished)
    (outcome,) = done.outcomes
    assert (outcome.reply.code, outcome.reply.enhanced, outcome.ours) == (451, "4.4.2", True)
    assert outcome.stage == ("end" if ended else "rcpt")
    assert outcome.uncertain is ended
    assert ("may have arrived" in outcome.reply.text) is ended
    assert client.closed() == []


def test_limits_of_the_receiver() -> None:
    client = ClientSession(ME)
    client.receive(b"220 hi\r\n")
    assert client.to_send().startswith(b"EHLO")
    client.receive(b"250-there\r\n250-PIPELINING\r\n250 LIMITS MAILMAX=1 XRCPTMAX=1 rcptmax=7 RCPTDOMAINMAX=2 X\r\n")
    assert (client.ready, client.recipients_at_once, client.domains_at_once) == (True, 7, 2)
    client.send(Envelope(ANN, (BOB,)), b"")
    client.to_send()
    client.receive(b"550 a\r\n503 a\r\n503 a\r\n")
    assert not client.ready
    assert not client.ended


REPLIES = [b"220 a\r\n", b"250 a\r\n", b"250-PIPELINING\r\n", b"354 a\r\n", b"421 a\r\n", b"550 5.1.1 a\r\n", b"x"]


@given(st.lists(st.sampled_from(REPLIES) | st.binary(max_size=9), max_size=25))
def test_whatever_a_receiver_says_each_recipient_has_one_outcome(replies: list[bytes]) -> None:
    client, events, _ = talk(*replies, recipients=2)
    events += client.closed()
    done = [event for event in events if isinstance(event, Finished)]
    assert len(done) == client.mails <= 1
    assert all(len(event.outcomes) == 2 for event in done)
    assert sum(isinstance(event, Ended) for event in events) == 1


@given(st.lists(st.binary(min_size=1, max_size=5)), st.binary(max_size=60))
def test_facts_do_not_depend_on_the_pieces(cuts: list[bytes], content: bytes) -> None:
    from mx10.smtp.outgoing import Examiner

    content = b"Content-Type: multipart/x\r\n" + content
    examiner = Examiner()
    at = 0
    for cut in cuts:
        examiner.feed(content[at : at + len(cut)])
        at += len(cut)
    examiner.feed(content[at:])
    assert examiner.facts() == examine(content)


@pytest.mark.parametrize(
    ("content", "facts"),
    [
        (b"", Facts(0)),
        (b"a: b\r\n\r\nc", Facts(11)),
        (UTF8, Facts(len(UTF8), True, True)),
        (b"a: b\r\n\r\n\xff\r\n", Facts(11, True)),
        (b"Content-Type: multipart/x\r\n\r\n\xff\r\n", Facts(32, True, True)),
        (b"\r\n\xff\r\n", Facts(5, True)),
        (b"a\n", Facts(2, bare_line_end=True)),
        (b"a\r", Facts(4, bare_line_end=True)),
    ],
)
def test_facts(content: bytes, facts: Facts) -> None:
    assert examine(content) == facts
