"""What replies and their absence mean for the queue."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mx10.relay.courier.classify import Heard, Scope, advice, conclude, judge
from mx10.relay.courier.values import Addressee, End, Stage, Target, Trouble
from mx10.smtp.replies import Reply

WHO = Addressee("bob@example.org")
MX1 = Target("mx1.example.org", bytes([127, 0, 0, 1]))
MX2 = Target("mx2.example.org", bytes(15) + b"\x01", rank=1)
OPENING = (Stage.GREETING, Stage.HELLO)
TRANSACTION = (Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.FINAL)


def reply(code: int, enhanced: str | None = None, text: str = "so") -> Reply:
    return Reply.of(code, enhanced, text)


def heard(
    stage: Stage, said: Reply | None = None, trouble: Trouble | None = None, *, target: Target = MX1, detail: str = ""
) -> Heard:
    return Heard(target, stage, said, trouble, detail, judge(stage, said, trouble))


@pytest.mark.parametrize("stage", OPENING)
def test_a_host_that_opens_with_4xx_sends_us_to_the_next(stage: Stage) -> None:
    """RFC 5321 section 5.1."""
    found = judge(stage, reply(450))
    assert (found.permanent, found.scope, found.elsewhere, found.down) == (False, Scope.HOST, True, True)


@pytest.mark.parametrize("code", [554, 521, 550])
def test_a_host_that_is_no_mail_server_is_no_verdict_on_the_message(code: int) -> None:
    """RFC 5321 section 3.1, RFC 7504 section 3: it says so about itself."""
    found = judge(Stage.GREETING, reply(code))
    assert (found.permanent, found.scope, found.elsewhere) == (True, Scope.HOST, True)


@pytest.mark.parametrize("stage", [Stage.GREETING, Stage.HELLO, Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.FINAL])
def test_421_is_about_the_host_whenever_it_comes(stage: Stage) -> None:
    """RFC 5321 section 3.8."""
    found = judge(stage, reply(421, "4.3.2"))
    assert (found.permanent, found.scope, found.elsewhere) == (False, Scope.HOST, True)


def test_5xx_to_rcpt_is_about_the_recipient_and_ends_it() -> None:
    found = judge(Stage.RCPT, reply(550, "5.1.1"))
    assert (found.permanent, found.scope, found.elsewhere) == (True, Scope.RECIPIENT, False)


@pytest.mark.parametrize("stage", [Stage.MAIL, Stage.DATA, Stage.FINAL])
def test_5xx_elsewhere_is_about_the_message_and_ends_it(stage: Stage) -> None:
    found = judge(stage, reply(554, "5.6.0"))
    assert (found.permanent, found.scope, found.elsewhere) == (True, Scope.MESSAGE, False)


@pytest.mark.parametrize("stage", TRANSACTION)
def test_4xx_in_a_transaction_may_be_tried_elsewhere(stage: Stage) -> None:
    found = judge(stage, reply(451))
    assert (found.permanent, found.elsewhere, found.down) == (False, True, False)


@pytest.mark.parametrize(
    "said", [reply(452, "4.5.3"), reply(452), reply(552), reply(552, "5.5.3"), reply(550, "5.5.3")], ids=str
)
def test_too_many_recipients_are_never_returned(said: Reply) -> None:
    """RFC 5321 section 4.5.3.1.10: 552 is to be taken for 452."""
    found = judge(Stage.RCPT, said)
    assert (found.permanent, found.again) == (False, True)


def test_a_full_mailbox_is_not_too_many_recipients() -> None:
    assert judge(Stage.RCPT, reply(552, "5.2.2")).permanent
    assert not judge(Stage.RCPT, reply(452, "4.2.2")).again


def test_a_wrong_password_of_ours_returns_no_mail() -> None:
    found = judge(Stage.AUTH, reply(535, "5.7.8"))
    assert (found.permanent, found.enhanced) == (False, "4.7.8")
    assert not judge(Stage.MAIL, reply(530, "5.7.0")).permanent


def test_a_missing_name_of_our_address_lets_the_other_family_be_tried() -> None:
    """RFC 7372 section 3: X.7.25 is about the address we came from."""
    for stage in (Stage.MAIL, Stage.RCPT, Stage.FINAL):
        found = judge(stage, reply(550, "5.7.25"))
        assert (found.permanent, found.scope, found.elsewhere) == (True, Scope.HOST, True)


@pytest.mark.parametrize("trouble", [Trouble.TIMEOUT, Trouble.RESET, Trouble.GARBAGE])
def test_no_reply_to_the_whole_content_is_tried_nowhere_else_now(trouble: Trouble) -> None:
    """RFC 5321 section 4.5.3.2.6: the host may have the message; it is sent again, later."""
    found = judge(Stage.FINAL, None, trouble)
    assert (found.permanent, found.elsewhere, found.unsure) == (False, False, True)
    fate = conclude(WHO, [heard(Stage.FINAL, trouble=trouble)], untried=["mx2.example.org: not asked"])
    assert fate.end is End.LATER
    assert "may come twice" in fate.reason


@pytest.mark.parametrize("trouble", [Trouble.REFUSED, Trouble.UNREACHABLE, Trouble.TIMEOUT])
def test_a_host_that_cannot_be_reached_is_down_for_all(trouble: Trouble) -> None:
    found = judge(Stage.CONNECT, None, trouble)
    assert (found.down, found.elsewhere, found.enhanced) == (True, True, "4.4.1")


def test_trouble_of_our_own_is_not_the_hosts() -> None:
    found = judge(Stage.CONNECT, None, Trouble.OURS)
    assert (found.down, found.permanent, found.elsewhere) == (False, False, False)


def test_a_reply_that_answers_another_question_is_garbage() -> None:
    assert judge(Stage.DATA, reply(250)).elsewhere
    assert judge(Stage.FINAL, reply(354)).unsure


# ---------------------------------------------------------------- one recipient


def test_refused_for_good_by_one_is_refused_though_another_was_down() -> None:
    fate = conclude(
        WHO, [heard(Stage.CONNECT, trouble=Trouble.REFUSED), heard(Stage.RCPT, reply(550, "5.1.1"), target=MX2)]
    )
    assert (fate.end, fate.enhanced, fate.host) == (End.FAILED, "5.1.1", "mx2.example.org")
    assert "typing error" in fate.advice


def test_hope_keeps_it() -> None:
    fate = conclude(WHO, [heard(Stage.GREETING, reply(554)), heard(Stage.CONNECT, trouble=Trouble.TIMEOUT, target=MX2)])
    assert fate.end is End.LATER
    fate = conclude(WHO, [heard(Stage.GREETING, reply(554))], untried=["mx2.example.org: down since 12:00"])
    assert (fate.end, fate.enhanced[0]) == (End.LATER, "4")


def test_all_hosts_refusing_for_good_return_it() -> None:
    fate = conclude(WHO, [heard(Stage.GREETING, reply(554)), heard(Stage.GREETING, reply(554, "5.3.2"), target=MX2)])
    assert (fate.end, fate.enhanced, fate.host) == (End.FAILED, "5.3.2", "mx2.example.org")


def test_the_one_who_got_furthest_is_named() -> None:
    fate = conclude(
        WHO, [heard(Stage.RCPT, reply(450, "4.2.1", "wait")), heard(Stage.CONNECT, trouble=Trouble.REFUSED)]
    )
    assert (fate.stage, fate.enhanced) == (Stage.RCPT, "4.2.1")
    assert fate.reason == "mx1.example.org [127.0.0.1] said “450 4.2.1 wait” in answer to RCPT (the recipient)"


def test_nobody_tried() -> None:
    fate = conclude(WHO, [], untried=["mx1.example.org: down since 12:00"])
    assert (fate.end, fate.reached, fate.enhanced) == (End.LATER, False, "4.4.1")
    assert "down since 12:00" in fate.reason


@given(
    st.lists(
        st.tuples(
            st.sampled_from(list(Stage)[1:]),
            st.one_of(
                st.sampled_from(Trouble),
                st.builds(
                    lambda code, rest: Reply.of(code, f"{code // 100}.{rest}" if rest else None, "x"),
                    st.integers(200, 599),
                    st.sampled_from(["", "1.1", "5.3", "7.25", "2.2", "0.0", "999.999"]),
                ),
            ),
        ),
        max_size=6,
    ),
    st.booleans(),
)
def test_nothing_is_returned_without_somebody_who_said_so(
    said: list[tuple[Stage, Trouble | Reply]], left: bool
) -> None:
    """Never lost for want of a host: returned only for a refusal, and with a code whose class says what happens."""
    all_heard = [
        heard(stage, what if isinstance(what, Reply) else None, what if isinstance(what, Trouble) else None)
        for stage, what in said
    ]
    fate = conclude(WHO, all_heard, untried=["mx9: down"] if left else [])
    assert fate.end is not End.DELIVERED
    assert fate.enhanced[0] == ("5" if fate.end is End.FAILED else "4")
    assert fate.reason
    assert fate.advice
    if fate.end is End.FAILED:
        assert any(each.judgement.permanent for each in all_heard)
        assert fate.reply is not None or fate.trouble is Trouble.UNABLE


def test_advice_is_there_for_every_code() -> None:
    for subject in range(9):
        for detail in (0, 1, 5, 77):
            assert advice(f"5.{subject}.{detail}").endswith(".")
