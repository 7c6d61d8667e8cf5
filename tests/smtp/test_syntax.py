"""Paths and parameters of MAIL and RCPT."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mx10.smtp.syntax import CommandError, MailParameters, RcptParameters, parse_mail, parse_rcpt, to_xtext

ALL = frozenset({"SIZE", "8BITMIME", "BINARYMIME", "SMTPUTF8", "DSN", "AUTH", "MT-PRIORITY", "REQUIRETLS"})


@pytest.mark.parametrize(
    ("argument", "sender"),
    [
        ("FROM:<ann@one.test>", "ann@one.test"),
        ("from:<Ann.Lee+x@ONE.Test>", "Ann.Lee+x@one.test"),
        ("FROM: <ann@one.test>", "ann@one.test"),
        ("FROM:<>", ""),
        ('FROM:<"ann lee"@one.test>', '"ann lee"@one.test'),
        ('FROM:<"a>b"@one.test>', '"a>b"@one.test'),
        ('FROM:<"ann"@one.test>', "ann@one.test"),
        ("FROM:<@a.test,@b.test:ann@one.test>", "ann@one.test"),
        ("FROM:<ann@[192.0.2.1]>", "ann@[192.0.2.1]"),
        ("FROM:<ann@[IPv6:2001:DB8::1]>", "ann@[IPv6:2001:db8::1]"),
        ("FROM:<ann%two.test@one.test>", "ann%two.test@one.test"),
        ("FROM:<ann@localhost>", "ann@localhost"),
        ("FROM:<ann@xn--bcher-kva.example>", "ann@xn--bcher-kva.example"),
        ("FROM:<ann@bücher.example> SMTPUTF8", "ann@xn--bcher-kva.example"),
        ("FROM:<ß@ONE.test> SMTPUTF8", "ß@one.test"),
    ],
)
def test_senders(argument: str, sender: str) -> None:
    assert parse_mail(argument, ALL).reverse_path == sender


@pytest.mark.parametrize(
    ("argument", "code"),
    [
        ("", 501),
        ("FROM", 501),
        ("TO:<a@b.test>", 501),
        ("FROM:ann@one.test", 501),
        ("FROM:<ann@one.test", 501),
        ("FROM:<ann@one.test>x", 501),
        ("FROM:<ann>", 501),
        ("FROM:<@one.test>", 501),
        ("FROM:<@a.test:>", 501),
        ("FROM:<ann@one..test>", 501),
        ("FROM:<ann@-one.test-@>", 501),
        ('FROM:<"ann@one.test>', 501),
        ("FROM:<ann@one.test>> SIZE=1", 501),
        (f"FROM:<{'a' * 65}@one.test>", 501),
        (f"FROM:<{'a.' * 32}a@one.test>", 501),
        (f"FROM:<a@{'a.' * 130}test>", 501),
        ("FROM:<ann@192.0.2.1>", 501),
        ("FROM:<ånn@one.test>", 553),
        ("FROM:<ann@one.test> SIZE", 501),
        ("FROM:<ann@one.test> SIZE=-1", 501),
        ("FROM:<ann@one.test> SIZE=1 SIZE=1", 501),
        ("FROM:<ann@one.test> =1", 501),
        ("FROM:<ann@one.test> BODY=9BIT", 501),
        ("FROM:<ann@one.test> SMTPUTF8=yes", 501),
        ("FROM:<ann@one.test> RET=ALL", 501),
        ("FROM:<ann@one.test> ENVID=a+2", 501),
        (f"FROM:<ann@one.test> ENVID={'x' * 101}", 501),
        ("FROM:<ann@one.test> MT-PRIORITY=10", 501),
        ("FROM:<ann@one.test> WHAT=1", 555),
        ("FROM:<ann@one.test> NOTIFY=NEVER", 555),
    ],
)
def test_wrong_senders(argument: str, code: int) -> None:
    with pytest.raises(CommandError) as raised:
        parse_mail(argument, ALL)
    assert raised.value.reply.code == code
    assert raised.value.reply.enhanced


def test_parameters() -> None:
    argument = "FROM:<å@one.test> size=5 BODY=8bitmime SMTPUTF8 RET=hdrs ENVID=a+2Bb AUTH=<> MT-PRIORITY=-3 REQUIRETLS"
    assert parse_mail(argument, ALL) == MailParameters("å@one.test", 5, "8BITMIME", True, "HDRS", "a+b", True, -3, "")
    assert parse_rcpt("TO:<b@two.test> NOTIFY=success,DELAY ORCPT=rfc822;Bob+2Bx@two.test", ALL, smtputf8=False) == (
        RcptParameters("b@two.test", frozenset({"SUCCESS", "DELAY"}), "rfc822;Bob+x@two.test")
    )
    assert parse_rcpt("TO:<b@two.test> NOTIFY=NEVER", ALL, smtputf8=False).notify == frozenset()
    assert parse_rcpt("TO:<b@two.test> ORCPT=utf-8;ß@two.test", ALL, smtputf8=True).orcpt == "utf-8;ß@two.test"
    assert parse_rcpt("TO:<Postmaster>", ALL, smtputf8=False).recipient == "postmaster"


@pytest.mark.parametrize(
    "argument", ["FROM:<a@b.test> SIZE=5", "FROM:<a@b.test> BODY=8BITMIME", "FROM:<å@b.test> SMTPUTF8"]
)
def test_what_was_not_offered_is_not_known(argument: str) -> None:
    with pytest.raises(CommandError) as raised:
        parse_mail(argument, frozenset())
    assert raised.value.reply.code == 555


@pytest.mark.parametrize(
    "argument",
    [
        "TO:<>",
        "TO:<a@b.test> NOTIFY=NEVER,DELAY",
        "TO:<a@b.test> NOTIFY=SUCCESS,SUCCESS",
        "TO:<a@b.test> ORCPT=a@b.test",
        "TO:<a@b.test> ORCPT=rfc822;",
        "TO:<a@b.test> ORCPT=utf-8;ß@b.test",
        "TO:<ß@b.test>",
    ],
)
def test_wrong_recipients(argument: str) -> None:
    with pytest.raises(CommandError):
        parse_rcpt(argument, ALL, smtputf8=False)


@given(st.text(max_size=120), st.booleans())
def test_whatever_is_said_is_read_or_refused(text: str, smtputf8: bool) -> None:
    for argument in (text, f"FROM:{text}", f"FROM:<{text}>", f"FROM:<a@b.test> {text}"):
        with contextlib.suppress(CommandError):
            parse_mail(argument, ALL)
    for argument in (text, f"TO:<{text}>", f"TO:<a@b.test> {text}"):
        with contextlib.suppress(CommandError):
            parse_rcpt(argument, ALL, smtputf8=smtputf8)


@given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=30))
def test_xtext(text: str) -> None:
    assert parse_mail(f"FROM:<> ENVID={to_xtext(text)}", ALL).envid == text
