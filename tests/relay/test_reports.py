"""Reports to senders: who is told what, and what a mail reader and a program make of it."""

import base64
from dataclasses import replace
from email import message_from_bytes, policy
from email.message import EmailMessage, Message

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mx10.relay.courier.classify import Heard, conclude, expired, judge
from mx10.relay.courier.reports import (
    MAX_HEAD,
    Action,
    Copy,
    Issuer,
    Order,
    Receiver,
    Report,
    action_of,
    copy_of,
    delay_due,
    head_of,
    orders,
    write_report,
)
from mx10.relay.courier.values import Addressee, End, Fate, Letter, Stage, Target
from mx10.smtp.content import has_bare_line_end
from mx10.smtp.replies import Reply
from tests.relay.scripted import Octets

HOUR = 3_600_000
ARRIVED = 1_790_000_000_000
NOW = ARRIVED + 5 * HOUR
EXPIRES = ARRIVED + 120 * HOUR
US = Issuer("relay.example.net", "postmaster@example.net")
ORIGINAL = (
    b"From: Alice <alice@example.com>\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n"
    b"Message-ID: <m1@example.com>\r\n\r\nHello\r\n"
)
MX = Target("mx.example.org", b"\x7f\0\0\1")


def letter(data: bytes = ORIGINAL, sender: str = "alice@example.com", **more: object) -> Letter:
    return Letter("AAAAAAAAAAAAA", sender, Octets(data), **more)  # type: ignore[arg-type]


def refused(who: Addressee | str = "bob@example.org", said: Reply | None = None) -> Fate:
    said = said or Reply.of(550, "5.1.1", "no such user")
    who = Addressee(who) if isinstance(who, str) else who
    return conclude(who, [Heard(MX, Stage.RCPT, said, None, "", judge(Stage.RCPT, said))])


def taken(notify: frozenset[str] | None = None, **more: object) -> Fate:
    return replace(
        Fate(Addressee("bob@example.org", notify=notify), End.DELIVERED, "2.0.0", "taken", reached=True),
        **more,  # type: ignore[arg-type]
    )


async def report(order: Order, about: Letter, **more: object) -> Report:
    copy = await copy_of(about.content, order, about)
    return write_report(
        order,
        about,
        copy,
        US,
        arrived=ARRIVED,
        expires=EXPIRES,
        now=NOW,
        token="0123456789abcdefghij",
        **more,  # type: ignore[arg-type]
    )


async def only_report(about: Letter, *fates: Fate, **more: bool) -> tuple[Report, EmailMessage]:
    (order,) = orders(about, fates, US, **more)
    made = await report(order, about)
    return made, parsed(made)


def parsed(made: Report) -> EmailMessage:
    message = message_from_bytes(made.content, policy=policy.default)
    assert isinstance(message, EmailMessage)
    assert message.defects == []
    assert message.get_content_type() == "multipart/report"
    return message


def parts(message: EmailMessage) -> tuple[str, list[Message], EmailMessage]:
    text, status, returned = message.iter_parts()
    assert isinstance(text, EmailMessage)
    assert isinstance(returned, EmailMessage)
    blocks = status.get_payload()
    assert isinstance(blocks, list)
    return text.get_content(), [each for each in blocks if isinstance(each, Message)], returned


# ---------------------------------------------------------------- who is told what


@pytest.mark.parametrize(
    ("notify", "fails", "waits"),
    [
        (None, Action.FAILED, Action.DELAYED),
        (frozenset(), None, None),
        (frozenset({"FAILURE"}), Action.FAILED, None),
        (frozenset({"DELAY"}), None, Action.DELAYED),
        (frozenset({"SUCCESS"}), None, None),
    ],
)
def test_notify(notify: frozenset[str] | None, fails: Action | None, waits: Action | None) -> None:
    """RFC 3461 section 4.1."""
    failed = refused(Addressee("bob@example.org", notify=notify))
    waiting = replace(failed, end=End.LATER)
    assert action_of(failed) is fails
    assert action_of(waiting, delay=True) is waits
    assert action_of(waiting) is None


def test_success() -> None:
    """RFC 3461 section 5.2.2: a host that knows DSN reports itself; of one that does not, "relayed" is said."""
    wanted = frozenset({"SUCCESS"})
    assert action_of(taken(wanted, dsn=True)) is None
    assert action_of(taken(wanted)) is Action.RELAYED
    assert action_of(taken(wanted, final=True)) is Action.DELIVERED
    assert action_of(taken(None, final=True)) is None


def test_nothing_is_reported_to_nobody() -> None:
    """RFC 5321 section 6.1: a failed report goes to the local postmaster, and no further."""
    lost = letter(sender="")
    (order,) = orders(lost, [refused()], US)
    assert (order.receiver, order.to) == (Receiver.POSTMASTER, "postmaster@example.net")
    assert orders(lost, [replace(refused(), end=End.LATER)], US, delay=True) == []
    (order,) = orders(lost, [refused("Postmaster@example.net")], US)
    assert (order.receiver, order.why) == (Receiver.NOBODY, "the postmaster cannot be reached")
    (order,) = orders(lost, [refused()], replace(US, double_bounces=False))
    assert order.receiver is Receiver.NOBODY


async def test_reports_end_after_two_steps_whatever_fails() -> None:
    """Message, report, double bounce: the third has nobody to go to."""
    steps = 0
    current = letter()
    fates = [refused()]
    while True:
        (order,) = orders(current, fates, US)
        if order.receiver is Receiver.NOBODY:
            break
        made = await report(order, current)
        current = letter(made.content, sender="")
        fates = [refused(made.to)]
        steps += 1
    assert steps == 2


def test_no_backscatter() -> None:
    (order,) = orders(letter(), [refused()], US, authenticated=False)
    assert order.receiver is Receiver.NOBODY


def test_many_recipients_are_several_reports() -> None:
    many = [refused(f"user{number}@example.org") for number in range(1200)]
    assert [len(order.fates) for order in orders(letter(), many, US)] == [500, 500, 200]


def test_a_delay_is_told_once_and_not_too_early() -> None:
    assert not delay_due(ARRIVED, ARRIVED + 4 * HOUR - 1, None, 4 * HOUR)
    assert delay_due(ARRIVED, ARRIVED + 4 * HOUR, None, 4 * HOUR)
    assert not delay_due(ARRIVED, NOW, ARRIVED + 4 * HOUR, 4 * HOUR)
    assert not delay_due(ARRIVED, NOW, None, 0)


# ---------------------------------------------------------------- what is written


async def test_a_failure_as_people_and_programs_see_it() -> None:
    """RFC 3464 section 2."""
    about = letter(envid="QQ 314159", ret="FULL")
    made, message = await only_report(about, refused(Addressee("bob@example.org", orcpt="rfc822;bobby@example.edu")))
    assert (made.to, made.smtputf8, made.body) == ("alice@example.com", False, "7BIT")
    assert message["To"] == "alice@example.com"
    assert message["From"] == "Mail Delivery System <postmaster@example.net>"
    assert message["Auto-Submitted"] == "auto-replied"
    assert message["In-Reply-To"] == "<m1@example.com>"
    assert message["Subject"] == "Your message was not delivered"
    assert message.get_param("report-type") == "delivery-status"
    text, (first, second), returned = parts(message)
    assert "<bob@example.org>" in text
    assert "no such user" in text
    assert "typing error" in text
    assert "Subject: Grüße" in text
    assert {key.lower(): value for key, value in first.items()} == {
        "original-envelope-id": "QQ 314159",
        "reporting-mta": "dns; relay.example.net",
        "arrival-date": "Mon, 21 Sep 2026 14:13:20 +0000",
    }
    assert dict(second.items()) == {
        "Original-Recipient": "rfc822; bobby@example.edu",
        "Final-Recipient": "rfc822; bob@example.org",
        "Action": "failed",
        "Status": "5.1.1",
        "Remote-MTA": "dns; mx.example.org",
        "Diagnostic-Code": "smtp; 550 5.1.1 no such user",
        "Last-Attempt-Date": "Mon, 21 Sep 2026 19:13:20 +0000",
    }
    assert returned.get_content_type() == "message/rfc822"
    assert returned.get_content()["Message-ID"] == "<m1@example.com>"


async def test_ret_says_how_much_is_returned() -> None:
    """RFC 3461 section 4.3."""
    _, message = await only_report(letter(ret="HDRS"), refused())
    _, _, returned = parts(message)
    assert returned.get_content_type() == "text/rfc822-headers"
    assert "Hello" not in returned.get_content()
    assert "m1@example.com" in returned.get_content()
    large = letter(ORIGINAL + b"x\r\n" * 40_000)
    _, message = await only_report(large, refused())
    assert parts(message)[2].get_content_type() == "text/rfc822-headers"
    _, message = await only_report(replace(large, ret="FULL"), refused())
    assert parts(message)[2].get_content_type() == "message/rfc822"


async def test_what_requires_tls_is_returned_as_a_header_and_over_tls() -> None:
    """RFC 8689 section 5."""
    for ret in (None, "FULL"):
        report, message = await only_report(replace(letter(ret=ret), requiretls=True), refused())
        assert parts(message)[2].get_content_type() == "text/rfc822-headers"
        assert b"Hello" not in report.content
        assert report.requiretls
    report, _ = await only_report(letter(), refused())
    assert not report.requiretls


async def test_a_delay_says_that_nothing_need_be_done() -> None:
    late = replace(refused(said=Reply.of(451, "4.3.0", "busy")), end=End.LATER)
    _, message = await only_report(letter(ret="FULL"), late, delay=True)
    text, (_, block), returned = parts(message)
    assert "do NOT need to send it again" in " ".join(text.split())
    assert "26 September 2026" in " ".join(text.split())
    assert (block["Action"], block["Status"]) == ("delayed", "4.3.0")
    assert block["Will-Retry-Until"] == "Sat, 26 Sep 2026 14:13:20 +0000"
    assert returned.get_content_type() == "text/rfc822-headers"


async def test_an_expired_message_says_for_how_long_and_why() -> None:
    late = replace(refused(said=Reply.of(451, "4.3.0", "busy")), end=End.LATER)
    _, message = await only_report(letter(), expired(late, 120 * HOUR))
    text, (_, block), _ = parts(message)
    assert "within 5 days" in " ".join(text.split())
    assert "busy" in text
    assert (block["Action"], block["Status"]) == ("failed", "5.4.7")


async def test_a_relayed_message() -> None:
    _, message = await only_report(letter(), taken(frozenset({"SUCCESS"}), host="mx.example.org"))
    text, (_, block), _ = parts(message)
    assert (block["Action"], block["Status"]) == ("relayed", "2.0.0")
    assert "sends no confirmations" in " ".join(text.split())


async def test_a_double_bounce_shows_the_postmaster_the_header_only() -> None:
    _, message = await only_report(letter(sender=""), refused())
    assert message["To"] == "postmaster@example.net"
    text, _, returned = parts(message)
    assert "names no sender" in " ".join(text.split())
    assert returned.get_content_type() == "text/rfc822-headers"


# ---------------------------------------------------------------- beyond ASCII


async def test_a_sender_beyond_ascii() -> None:
    """RFC 6533: a global status, and addresses as they are."""
    who = Addressee("дмитрий@example.org", orcpt="utf-8;дмитрий@example.org")
    about = letter("Subject: Привет\r\n\r\nтекст\r\n".encode(), "дарья@example.com", smtputf8=True)
    made, message = await only_report(about, refused(who))
    assert (made.smtputf8, made.body) == (True, "8BITMIME")
    assert message.get_param("report-type") == "global-delivery-status"
    assert b"Content-Type: message/global-delivery-status\r\n" in made.content
    assert "Final-Recipient: utf-8; дмитрий@example.org\r\n".encode() in made.content
    assert "Original-Recipient: utf-8; дмитрий@example.org\r\n".encode() in made.content
    assert b"Content-Type: message/global\r\n" in made.content
    assert "Привет".encode() in made.content


async def test_a_recipient_beyond_ascii_with_a_sender_within() -> None:
    """RFC 6533 sections 3 and 4: nothing is known of the way back, so all of the report is ASCII."""
    head = "Subject: Привет\r\n".encode()
    about = letter(head + b"\r\nhello\r\n", smtputf8=True, ret="HDRS")
    made, message = await only_report(about, refused("д+=\\@example.org"))
    assert (made.smtputf8, made.body) == (False, "7BIT")
    assert made.content.isascii()
    text, (_, block), returned = parts(message)
    assert "д+=\\@example.org" in text
    assert block["Final-Recipient"] == r"utf-8; \x{434}\x{2B}\x{3D}\x{5C}@example.org"
    assert returned.get_content_type() == "message/global-headers"
    assert base64.b64encode(head)[:40] in made.content


async def test_octets_beyond_ascii_in_the_body_are_returned_as_they_are() -> None:
    made, message = await only_report(letter("Subject: x\r\n\r\nGrüße\r\n".encode("latin-1")), refused())
    assert made.body == "8BITMIME"
    assert b"Gr\xfc\xdfe" in made.content
    assert parts(message)[2].get_content_type() == "message/rfc822"


async def test_what_cannot_travel_is_not_returned_whole() -> None:
    for data in (b"A: b\r\n\r\nbare\nline\r\n", b"A: b\r\n\r\nnul\0\r\n", b"A: b\r\n\r\n" + b"x" * 1000 + b"\r\n"):
        made, message = await only_report(letter(data), refused())
        assert parts(message)[2].get_content_type() == "text/rfc822-headers"
        assert not has_bare_line_end(made.content)
    _, message = await only_report(letter(body="BINARYMIME"), refused())
    assert parts(message)[2].get_content_type() == "text/rfc822-headers"


# ---------------------------------------------------------------- hostile input


async def test_a_reply_cannot_write_fields_of_the_report() -> None:
    said = Reply(550, None, ("no\r\nAction: delivered", "\x1b[2J ünd\u2028more " + "y" * 5000))
    made, message = await only_report(letter(), refused(said=said))
    _, (_, block), _ = parts(message)
    assert block["Action"] == "failed"
    assert b"\x1b" not in made.content
    assert len(block["Diagnostic-Code"]) < 1200


async def test_a_subject_cannot_break_the_text() -> None:
    for subject in (b"=?utf-8?q?a=0D=0ABcc:_x?=", b"=?nonsense?q?x?=", b"=?utf-8?b?!!!?=", b"\xff\xfe", b"x" * 5000):
        made, message = await only_report(letter(b"Subject: " + subject + b"\r\n\r\nx\r\n"), refused())
        assert message["Bcc"] is None
        assert not has_bare_line_end(made.content)


async def test_a_message_that_holds_the_boundary() -> None:
    about = letter(b"A: b\r\n\r\n--0123456789abcdefghij/relay.example.net\r\n", ret="FULL")
    _, message = await only_report(about, refused())
    assert len(list(message.iter_parts())) == 3


def test_the_header_of_anything() -> None:
    assert head_of(b"A: b\r\n\r\nbody") == b"A: b\r\n"
    assert head_of(b"\r\nbody") == b""
    assert head_of(b"A: b\r\nno end") == b"A: b\r\n"
    assert head_of(b"") == b""
    assert len(head_of(b"A: b\r\n" * 20_000)) <= MAX_HEAD


async def test_an_endless_message_is_not_read_to_its_end() -> None:
    content = Octets(b"A: b\r\n" * 1_000_000)
    about = replace(letter(), content=content, ret="HDRS")
    (order,) = orders(about, [refused()], US)
    assert (await copy_of(content, order, about)).whole is None
    assert len((await copy_of(content, order, about)).head) <= MAX_HEAD


@given(
    st.binary(max_size=300),
    st.binary(max_size=300),
    st.sampled_from(["alice@example.com", "дарья@example.com"]),
    st.text(max_size=200),
)
def test_a_report_can_always_be_sent(head: bytes, body: bytes, sender: str, said: str) -> None:
    """Whatever the message holds and the other host said: lines end in CR LF, are not too long, and the octets are what
    ``body`` announces."""
    data = head + b"\r\n\r\n" + body
    about = letter(data, sender)
    (order,) = orders(about, [refused(said=Reply.of(550, None, said))], US)
    made = write_report(
        order, about, Copy(head_of(data), data), US, arrived=ARRIVED, expires=EXPIRES, now=NOW, token="t" * 20
    )
    assert not has_bare_line_end(made.content)
    assert all(len(line) <= 998 for line in made.content.split(b"\r\n"))
    assert b"\0" not in made.content
    assert made.body == "8BITMIME" or made.content.isascii()
    assert made.smtputf8 == (not sender.isascii())
    message = message_from_bytes(made.content, policy=policy.default)
    assert len(list(message.iter_parts())) == 3
