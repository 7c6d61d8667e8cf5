"""A connection as the receiver sees it."""

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mx10.smtp import Reply, ServerOptions, ServerSession
from mx10.smtp.auth import MECHANISMS
from mx10.smtp.receiving import Hello, LoggedIn, Reset, StartTls
from mx10.smtp.server import MAX_COMMAND, MAX_PIPELINED
from tests.smtp.talking import GREETING, OPTIONS, Receiver, receiver

MAIL = b"MAIL FROM:<ann@one.test>\r\nRCPT TO:<bob@two.test>\r\n"
MESSAGE = b"Subject: hi\r\n\r\nHello\r\n"


def codes(sent: bytes) -> list[int]:
    """The codes of replies, one for each reply."""
    return [int(line[:3]) for line in sent.split(b"\r\n") if line[3:4] == b" "]


# ---------------------------------------------------------------- one message


def test_a_message() -> None:
    client = receiver(helo="")
    assert client.sent == GREETING
    said = client.feed(b"EHLO client.test\r\n")
    lines = said.decode().split("\r\n")
    assert lines[0] == "250-mx.test"
    assert {"250-PIPELINING", "250-SIZE 100000", "250-8BITMIME", "250-SMTPUTF8", "250-CHUNKING"} <= set(lines)
    assert lines[-2] == "250 LIMITS MAILMAX=10000 RCPTMAX=3"
    assert client.feed(b"MAIL FROM:<ann@one.test>\r\n") == b"250 2.1.0 ok\r\n"
    assert client.feed(b"RCPT TO:<bob@two.test>\r\n") == b"250 2.1.5 ok\r\n"
    assert codes(client.feed(b"DATA\r\n")) == [354]
    assert client.feed(MESSAGE) == b""
    assert client.feed(b".\r\n") == b"250 2.0.0 taken\r\n"
    assert client.messages == [("ann@one.test", ["bob@two.test"], MESSAGE)]
    assert codes(client.feed(b"QUIT\r\n")) == [221]
    assert client.closed == ""
    assert client.feed(b"NOOP\r\n") == b""


def test_all_at_once() -> None:
    """PIPELINING (RFC 2920): however much comes at once, each gets its reply, in order."""
    client = receiver()
    one = MAIL + b"RCPT TO:<nobody@two.test>\r\nDATA\r\n"
    assert codes(client.feed(one)) == [250, 250, 550, 354]
    assert codes(client.feed(MESSAGE + b".\r\n" + one)) == [250, 250, 250, 550, 354]
    client.feed(MESSAGE + b".\r\nQUIT\r\n")
    assert [message for _, _, message in client.messages] == [MESSAGE] * 2


@given(st.data())
def test_however_it_is_cut(data: st.DataObject) -> None:
    whole = (
        MAIL
        + b"DATA\r\n..dots\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\n"
        + b"BDAT 4\r\na\r\nbBDAT 2 LAST\r\n\r\nRSET\r\nQUIT\r\n"
    )
    cuts = sorted(data.draw(st.sets(st.integers(1, len(whole) - 1), max_size=20)))
    client = receiver()
    for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        client.feed(whole[start:end])
    assert client.messages == [("ann@one.test", ["bob@two.test"], b".dots\r\n"), ("", ["a@b.test"], b"a\r\nb\r\n")]
    # Behind the greeting and the reply to EHLO.
    assert codes(client.sent)[2:] == [250, 250, 354, 250, 250, 250, 250, 250, 250, 221]


def test_an_empty_message_and_dots() -> None:
    client = receiver()
    for sent, content in (
        (b".\r\n", b""),
        (b"..\r\n.\r\n", b".\r\n"),
        (b"...\r\n..a\r\n.b\r\n.\r\n", b"..\r\n.a\r\nb\r\n"),
        (b"\r\n.\r\n", b"\r\n"),
    ):
        client.feed(MAIL + b"DATA\r\n" + sent)
        assert client.messages[-1][2] == content


# ---------------------------------------------------------------- smuggling


@pytest.mark.parametrize(
    "end",
    [
        b"\n.\n", b"\r.\r", b"\n.\r\n", b"\r\n.\n", b"\r\n.\r", b"\r.\r\n", b"\r\n\0.\r\n", b"\r\n.\0\r\n",
        b"\r\n.\r\r\n", b"\r\r\n.\r\n", b"\n\r\n.\r\n", b"\r\n.\n\r\n", b"\n", b"\r",
    ],
)  # fmt: skip
@pytest.mark.parametrize("cut", [False, True])
def test_nothing_else_ends_a_message(end: bytes, cut: bool) -> None:
    """CVE-2023-51764, 51765, 51766: what is hidden behind such an end never becomes a message."""
    client = receiver()
    hidden = b"MAIL FROM:<boss@one.test>\r\nRCPT TO:<bob@two.test>\r\nDATA\r\nhidden\r\n.\r\n"
    whole = MAIL + b"DATA\r\ntext" + end + hidden
    for piece in [whole[at : at + 1] for at in range(len(whole))] if cut else [whole]:
        client.feed(piece)
    assert all(b"hidden" not in message or sender == "ann@one.test" for sender, _, message in client.messages)
    assert len(client.messages) <= 1
    if b"\0" not in end:
        # Whoever sends such a thing is sent away, and nothing of it is taken.
        assert not client.messages
        assert codes(client.sent)[-1] == 521
        assert client.closed


@pytest.mark.parametrize(
    "line", [b"NOOP\n", b"NOOP\r\r\n", b"NO\rOP\r\n", b"MAIL FROM:<a@b.test>\nRCPT TO:<c@d.test>\r\n"]
)
def test_commands_end_with_crlf(line: bytes) -> None:
    client = receiver()
    assert codes(client.feed(line)) == [521]
    assert client.closed == "bare CR or LF"


def test_bare_line_ends_in_chunks() -> None:
    for chunks in ([b"a\nb"], [b"a\r", b"b\r\n"], [b"a\r"], [b"\n"]):
        client = receiver()
        client.feed(MAIL)
        for chunk in chunks:
            last = b" LAST" if chunk is chunks[-1] else b""
            client.feed(b"BDAT %d%b\r\n%b" % (len(chunk), last, chunk))
        assert codes(client.sent)[-1] == 550
        assert not client.messages
        # The connection goes on: where a chunk ends nobody can dispute.
        assert codes(client.feed(MAIL + b"BDAT 4\r\na\r\n\rBDAT 1 LAST\r\n\n"))[-1] == 250
        assert client.messages[-1][2] == b"a\r\n\r\n"


def test_binary_messages_hold_anything() -> None:
    client = receiver()
    client.feed(b"MAIL FROM:<> BODY=BINARYMIME\r\nRCPT TO:<a@b.test>\r\n")
    assert codes(client.feed(b"DATA\r\n")) == [503]
    client.feed(b"BDAT 5 LAST\r\na\nb\r\0")
    assert client.messages[-1][2] == b"a\nb\r\0"


# ---------------------------------------------------------------- order


@pytest.mark.parametrize(
    ("commands", "expected"),
    [
        (b"RCPT TO:<a@b.test>\r\n", [503]),
        (b"DATA\r\n", [503]),
        (b"MAIL FROM:<a@b.test>\r\nDATA\r\n", [250, 554]),
        (b"MAIL FROM:<a@b.test>\r\nMAIL FROM:<a@b.test>\r\n", [250, 503]),
        (b"MAIL FROM:<a@b.test>\r\nRCPT TO:<no@b.test>\r\nDATA\r\n", [250, 550, 554]),
        (b"MAIL FROM:<a@b.test>\r\nRSET\r\nRCPT TO:<a@b.test>\r\n", [250, 250, 503]),
        (b"MAIL FROM:<a@b.test>\r\nEHLO again.test\r\nRCPT TO:<a@b.test>\r\n", [250, 250, 503]),
        (MAIL + b"BDAT 1\r\naDATA\r\nRCPT TO:<a@b.test>\r\n", [250, 250, 250, 503, 503]),
        (b"BDAT 3\r\nabcNOOP\r\n", [503, 250]),
        (MAIL * 1 + b"RCPT TO:<a@b.test>\r\n" * 3, [250, 250, 250, 250, 452]),
        (b"STARTTLS\r\n", [502]),
        (b"AUTH PLAIN\r\n", [538]),
        (b"VRFY ann\r\nEXPN list\r\nHELP\r\nNOOP x\r\n", [252, 502, 214, 250]),
        (b"WHAT\r\n", [500]),
        (b"\r\n", [500]),
        (b"MAIL FROM:<a@b.test>\xff\r\n", [500]),
        (b"NOOP\0\r\n", [500]),
        (b"RSET now\r\n", [501]),
        (b"EHLO\r\n", [501]),
        (b"EHLO two words\r\n", [501]),
        (b"MAIL FROM:<a@b.test> SIZE=100001\r\n", [552]),
    ],
)
def test_order(commands: bytes, expected: list[int]) -> None:
    assert codes(receiver().feed(commands)) == expected


def test_before_hello() -> None:
    client = receiver(helo="")
    assert codes(client.feed(MAIL)) == [503, 503]
    # Parameters belong to EHLO.
    assert codes(client.feed(b"HELO old.test\r\nMAIL FROM:<a@b.test> SIZE=5\r\n")) == [250, 555]
    assert client.events[0] == Hello("old.test", esmtp=False)


def test_who_speaks_before_the_greeting() -> None:
    session = ServerSession(OPTIONS)
    client = Receiver(session)
    assert codes(client.feed(b"EHLO early.test\r\n")) == [554]
    assert client.closed == "spoke before the greeting"


def test_a_refusal_instead_of_a_greeting() -> None:
    session = ServerSession(OPTIONS)
    session.refuse(Reply.of(421, "4.3.2", "full"))
    assert session.to_send() == b"421 4.3.2 full\r\n"
    assert session.receive(b"EHLO x\r\n") == []


def test_a_browser_is_no_sender() -> None:
    client = receiver(helo="")
    client.feed(b"POST / HTTP/1.1\r\nHost: x\r\n\r\nMAIL FROM:<a@b.test>\r\n")
    assert client.closed == "this is no web server"
    assert len(codes(client.sent)) == 2


# ---------------------------------------------------------------- limits


def test_too_many_mistakes() -> None:
    client = receiver()
    assert codes(client.feed(b"WHAT\r\n" * 50)) == [500] * 6 + [421]
    assert client.closed == "too many mistakes"


def test_a_line_without_end() -> None:
    client = receiver()
    client.feed(b"x" * (MAX_COMMAND - 1))
    assert client.closed is None
    assert codes(client.feed(b"xx")) == [500]
    assert client.closed == "line too long"


def test_a_large_message() -> None:
    client = receiver()
    client.feed(MAIL + b"DATA\r\n")
    line = b"x" * 98 + b"\r\n"
    for _ in range(1100):
        client.feed(line)
    assert Reset() in client.events
    assert codes(client.feed(b".\r\n")) == [552]
    assert not client.messages
    # The next one is taken.
    client.feed(MAIL + b"DATA\r\n" + MESSAGE + b".\r\n")
    assert len(client.messages) == 1
    # One without end is not read for ever.
    client.feed(MAIL + b"DATA\r\n")
    for _ in range(10_000):
        client.feed(line)
        if client.closed:
            break
    assert client.closed == "a message without end"


def test_what_is_pipelined_waits_and_is_bounded() -> None:
    session = ServerSession(OPTIONS)
    session.greet()
    session.receive(b"EHLO a.test\r\nMAIL FROM:<a@b.test>\r\n")
    assert session.waits
    assert session.receive(b"x" * (MAX_PIPELINED - 1)) == []
    assert session.wants_input
    assert session.receive(b"x") == []
    assert not session.wants_input


def test_so_many_messages_a_connection() -> None:
    client = receiver(ServerOptions("mx.test", mails=2))
    assert codes(client.feed((MAIL + b"BDAT 2 LAST\r\n\r\n") * 3))[6:] == [452, 503, 503]


def test_a_reply_that_ends_the_connection() -> None:
    session = ServerSession(OPTIONS)
    session.greet()
    session.receive(b"EHLO a.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<a@b.test>\r\n")
    session.reply(Reply.of(421, "4.7.0", "too fast"))
    assert session.to_send().endswith(b"421 4.7.0 too fast\r\n")
    assert session.receive(b"NOOP\r\n") == []
    with pytest.raises(RuntimeError):
        session.reply(Reply.of(250, None, "ok"))


# ---------------------------------------------------------------- TLS and AUTH

SAFE = ServerOptions("mx.test", starttls=True, mechanisms=MECHANISMS)


def test_starttls_forgets_all_before_it() -> None:
    """CVE-2011-0411: what is pipelined behind STARTTLS is not a command within TLS."""
    client = receiver(SAFE)
    client.feed(b"MAIL FROM:<eve@one.test>\r\n")
    assert codes(client.feed(b"STARTTLS\r\nMAIL FROM:<eve@one.test>\r\nRCPT TO:<bob@two.test>\r\n")) == [220]
    assert StartTls() in client.events
    assert client.session.tls
    assert codes(client.feed(b"RCPT TO:<bob@two.test>\r\n")) == [503]
    assert codes(client.feed(b"MAIL FROM:<a@b.test>\r\n")) == [503]
    said = client.feed(b"EHLO again.test\r\n")
    assert b"STARTTLS" not in said
    assert b"AUTH SCRAM-SHA-256 PLAIN LOGIN\r\n" in said
    assert b"250-REQUIRETLS\r\n" in said
    assert codes(client.feed(b"STARTTLS\r\n")) == [503]
    assert codes(client.feed(b"MAIL FROM:<a@b.test> REQUIRETLS\r\n")) == [250]


def b64(text: str) -> bytes:
    return base64.b64encode(text.encode())


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([b"AUTH PLAIN " + b64("\0ann\0secret")], [235]),
        ([b"AUTH PLAIN", b64("\0ann\0secret")], [334, 235]),
        ([b"auth login", b64("ann"), b64("secret")], [334, 334, 235]),
        ([b"AUTH LOGIN " + b64("ann"), b64("secret")], [334, 235]),
        ([b"AUTH PLAIN " + b64("\0ann\0wrong")], [535]),
        ([b"AUTH PLAIN " + b64("ann\0ann\0secret")], [235]),
        ([b"AUTH PLAIN " + b64("boss\0ann\0secret")], [501]),
        ([b"AUTH SCRAM-SHA-256 " + b64("n,a=boss,n=ann,r=x")], [501]),
        ([b"AUTH SCRAM-SHA-256 " + b64("n,a=a=3Db,n=a=3Db,r=x")], [334]),
        ([b"AUTH PLAIN ="], [501]),
        ([b"AUTH PLAIN", b"*"], [334, 501]),
        ([b"AUTH PLAIN", b"!!"], [334, 501]),
        ([b"AUTH PLAIN", base64.b64encode(b"\xff\0\0")], [334, 501]),
        ([b"AUTH CRAM-MD5"], [504]),
        ([b"AUTH"], [504]),
        ([b"AUTH PLAIN " + b64("\0ann\0secret"), b"AUTH PLAIN " + b64("\0ann\0secret")], [235, 503]),
        ([b"MAIL FROM:<a@b.test>", b"AUTH PLAIN"], [250, 503]),
    ],
)
def test_passwords(lines: list[bytes], expected: list[int]) -> None:
    client = receiver(SAFE, tls=True)
    for line in lines:
        client.feed(line + b"\r\n")
    assert codes(client.sent)[-len(expected) :] == expected
    assert client.session.user == ("ann" if 235 in expected else "")


def test_passwords_go_over_tls_only() -> None:
    client = receiver(SAFE)
    assert codes(client.feed(b"AUTH PLAIN " + b64("\0ann\0secret") + b"\r\n")) == [538]


@pytest.mark.parametrize("password", ["secret", "wrong"])
def test_scram(password: str) -> None:
    """RFC 5802 section 3, computed here step by step."""
    client = receiver(SAFE, tls=True)
    bare = "n=ann,r=client-nonce"
    said = client.feed(b"AUTH SCRAM-SHA-256 " + b64(f"n,,{bare}") + b"\r\n")
    first = base64.b64decode(said.removeprefix(b"334 ")).decode()
    fields = dict(part.split("=", 1) for part in first.split(","))
    assert fields["r"] == "client-nonceserver-nonce"
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(fields["s"]), int(fields["i"]))
    key = hmac.digest(salted, b"Client Key", "sha256")
    without = f"c=biws,r={fields['r']}"
    signed = f"{bare},{first},{without}".encode()
    signature = hmac.digest(hashlib.sha256(key).digest(), signed, "sha256")
    proof = base64.b64encode(bytes(a ^ b for a, b in zip(key, signature, strict=True))).decode()
    said = client.feed(b64(f"{without},p={proof}") + b"\r\n")
    if password == "wrong":
        assert codes(said) == [535]
        return
    server = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), signed, "sha256")
    assert base64.b64decode(said.removeprefix(b"334 ")) == b"v=" + base64.b64encode(server)
    assert codes(client.feed(b"\r\n")) == [235]
    assert client.events[-1] == LoggedIn("ann")
    assert client.session.user == "ann"


@pytest.mark.parametrize("text", ["", "n,,", "n,,n=,r=x", "n,,n=ann", "p=tls-unique,,n=ann,r=x", "x", "n,,r=x,n=ann"])
def test_scram_that_is_none(text: str) -> None:
    client = receiver(SAFE, tls=True)
    assert codes(client.feed(b"AUTH SCRAM-SHA-256 " + (b64(text) or b"=") + b"\r\n")) == [501]


@given(
    st.lists(
        st.binary(max_size=40) | st.sampled_from([b"\r\n", MAIL, b"DATA\r\n", b".\r\n", b"BDAT 9\r\n", b"AUTH PLAIN "]),
        max_size=30,
    )
)
def test_whatever_comes_has_an_end(pieces: list[bytes]) -> None:
    client = receiver(SAFE, tls=True)
    for piece in pieces:
        client.feed(piece)
    for line in client.sent.split(b"\r\n")[:-1]:
        assert 200 <= int(line[:3]) <= 599
        assert line[3:4] in b" -"
