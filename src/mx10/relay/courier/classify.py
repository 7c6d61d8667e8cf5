"""What a reply, or the lack of one, means: for whom it holds, whether for good, and what to do about it.

``judge`` looks at one thing that one host said; ``conclude`` at all that was heard of one recipient in one attempt.
Both are pure. The first digit of a reply decides whether it is for good (RFC 5321 section 4.2.1); the stage it came at
and the enhanced code (RFC 3463) decide for whom:

- *recipient*: 4xx and 5xx to RCPT. Others of the message are not touched.
- *message*: to MAIL, DATA, and the content.
- *host*: to the connection itself (greeting, EHLO, STARTTLS, AUTH), 421 and 521 at any time, and where the enhanced
  code says that it is our address or its name that is not liked (5.7.25). Another host, or the same over the other
  address family, may well take the message: it is asked in the same attempt.

A refusal for good that is about the recipient or the message ends the attempt: another exchanger of the same domain is
not asked for a second opinion (RFC 5321 section 5.1). Whatever is temporary is tried at the next host; with one
exception: when all of the content went out and no reply came, the host may have the message. Then nobody else is asked
now. It is sent again at the next attempt, as a message that comes twice is better than one that is lost (RFC 5321
section 4.5.3.2.6, RFC 1047).
"""

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Final

from mx10.relay.courier.values import Addressee, End, Fate, Stage, Target, Trouble
from mx10.smtp.replies import Reply
from mx10.values import value_class


class Scope(StrEnum):
    """For whom a judgement holds."""

    RECIPIENT = "recipient"
    MESSAGE = "message"
    HOST = "host"


@value_class
class Judgement:
    """What one thing that one host said, or did, comes to.

    Attributes:
        permanent: asking the same again cannot help.
        enhanced: RFC 3463; our own where the host gave none.
        elsewhere: another target is to be tried now.
        down: the host's service is not there; others need not try it.
        again: the same host takes it in another transaction (too many recipients in this one).
        unsure: the host may have taken the message.
    """

    permanent: bool
    scope: Scope
    enhanced: str
    elsewhere: bool
    down: bool = False
    again: bool = False
    unsure: bool = False


_OPENING: Final = (Stage.CONNECT, Stage.GREETING, Stage.HELLO, Stage.TLS, Stage.AUTH)
_ABOUT_US: Final = frozenset({"5.7.23", "5.7.24", "5.7.25", "5.7.26", "5.4.6"})
"""Refusals that depend on the address we come from (SPF, reverse DNS, both: RFC 7372), or on which host we came to."""

_BY_TROUBLE: Final = {
    Trouble.REFUSED: "4.4.1",
    Trouble.UNREACHABLE: "4.4.1",
    Trouble.TIMEOUT: "4.4.2",
    Trouble.RESET: "4.4.2",
    Trouble.GARBAGE: "4.5.0",
    Trouble.TLS: "4.7.5",
    Trouble.UNABLE: "5.6.3",
    Trouble.OURS: "4.3.5",
}

# What is made of a reply without an enhanced code: by its code, then by its stage (RFC 5321 section 4.2.3).
_BY_CODE: Final = {
    421: "3.2",
    432: "7.12",
    450: "2.0",
    451: "3.0",
    452: "3.1",
    454: "7.0",
    500: "5.2",
    501: "5.4",
    502: "5.1",
    503: "5.1",
    504: "5.4",
    521: "3.2",
    530: "7.0",
    534: "7.9",
    535: "7.8",
    538: "7.11",
    550: "0.0",
    551: "1.6",
    552: "3.4",
    553: "1.3",
    554: "0.0",
    555: "5.4",
    556: "1.10",
}


def judge(stage: Stage, reply: Reply | None, trouble: Trouble | None = None, enhanced: str = "") -> Judgement:
    """What one thing that happened comes to.

    Args:
        stage: how far the delivery had come.
        reply: what the host said; None: nothing, and ``trouble`` says what happened.
        enhanced: with ``Trouble.UNABLE``, what the host does not offer comes to.
    """
    if reply is None:
        return _judge_trouble(stage, trouble or Trouble.RESET, enhanced)
    code = reply.code
    status = reply.enhanced or f"{code // 100}.{_BY_CODE.get(code, '0.0')}"
    if reply.kind in ("positive", "intermediate"):
        # An answer to another question than ours: DATA answered by 250, content by 354.
        return Judgement(False, Scope.HOST, "4.5.0", elsewhere=stage is not Stage.FINAL, unsure=stage is Stage.FINAL)
    if stage is Stage.AUTH or code in (530, 534, 535, 538):
        # A password of ours is wrong, or missing. Mail is not returned for that: it waits until someone mends it.
        return Judgement(False, Scope.HOST, f"4.{status[2:]}", elsewhere=True)
    if stage is Stage.RCPT and (status[2:] == "5.3" or (code in (452, 552) and reply.enhanced is None)):
        # Too many recipients. RFC 5321 section 4.5.3.1.10: 552 was once the code for it, and is to be taken for 452.
        return Judgement(False, Scope.RECIPIENT, f"4.{status[2:]}", elsewhere=True, again=True)
    permanent = reply.kind == "permanent"
    if code in (421, 521) or stage in _OPENING or status in _ABOUT_US:
        # RFC 5321 section 3.8; RFC 7504 section 3.
        down = (code in (421, 521) or not permanent) and stage in (Stage.GREETING, Stage.HELLO)
        return Judgement(permanent, Scope.HOST, status, elsewhere=True, down=down)
    scope = Scope.RECIPIENT if stage is Stage.RCPT else Scope.MESSAGE
    return Judgement(permanent, scope, status, elsewhere=not permanent)


def _judge_trouble(stage: Stage, trouble: Trouble, enhanced: str) -> Judgement:
    status = enhanced or _BY_TROUBLE[trouble]
    if trouble is Trouble.UNABLE:
        return Judgement(status[0] == "5", Scope.HOST, status, elsewhere=True)
    if trouble is Trouble.OURS:
        return Judgement(False, Scope.MESSAGE, status, elsewhere=False)
    if stage is Stage.CONNECT and trouble in (Trouble.TIMEOUT, Trouble.RESET):
        status = "4.4.1"
    if stage is Stage.FINAL:
        return Judgement(False, Scope.MESSAGE, status, elsewhere=False, unsure=True)
    return Judgement(
        False, Scope.HOST, status, elsewhere=True, down=stage in (Stage.CONNECT, Stage.GREETING, Stage.HELLO)
    )


# ---------------------------------------------------------------- one recipient, one attempt


@value_class
class Heard:
    """One thing that was heard at one target, with what it comes to."""

    target: Target
    stage: Stage
    reply: Reply | None
    trouble: Trouble | None
    detail: str
    judgement: Judgement


def conclude(recipient: Addressee, heard: Sequence[Heard], *, untried: Sequence[str] = ()) -> Fate:
    """What an attempt came to for a recipient that nobody took.

    One refusal for good that is not about the host decides. Else it is kept as long as there is hope: something
    temporary was said, or a target was not tried. Only when every target was tried and each refused for good is it
    returned.

    Args:
        heard: in the order in which it was.
        untried: why each of the others was not tried ("mx1.example.org: down since 12:00").
    """
    final = [one for one in heard if one.judgement.permanent and one.judgement.scope is not Scope.HOST]
    hopeful = [one for one in heard if not one.judgement.permanent]
    if final:
        return _fate(recipient, final[-1], End.FAILED)
    if hopeful:
        # Who got furthest knows most, and who may have the message has to be named. Else the first: the better host.
        stages = list(Stage)
        told = max(hopeful, key=lambda one: (stages.index(one.stage), one.judgement.unsure))
        return _fate(recipient, told, End.LATER)
    if not heard:
        reason = f"no host was tried: {'; '.join(untried)}" if untried else "there is no host to try"
        return Fate(recipient, End.LATER, "4.4.1", reason, advice("4.4.1"))
    if untried:
        return _fate(recipient, heard[-1], End.LATER)
    return _fate(recipient, heard[-1], End.FAILED)


def _fate(recipient: Addressee, heard: Heard, end: End) -> Fate:
    judgement = heard.judgement
    # The class of the code says what happens to the message (RFC 3464 section 2.3.4), whatever the host said of itself.
    enhanced = f"{'5' if end is End.FAILED else '4'}{judgement.enhanced[1:]}"
    target = heard.target
    return Fate(
        recipient,
        end,
        enhanced,
        reason(heard),
        advice(enhanced),
        stage=heard.stage,
        reply=heard.reply,
        trouble=heard.trouble,
        host=target.host,
        address=target.text,
        port=target.port,
        reached=heard.stage not in (Stage.ROUTE, Stage.CONNECT),
        now=judgement.again,
    )


# ---------------------------------------------------------------- in words

_ANSWER_TO: Final = {
    Stage.GREETING: "as its greeting",
    Stage.HELLO: "in answer to EHLO",
    Stage.TLS: "in answer to STARTTLS",
    Stage.AUTH: "in answer to our user name and password",
    Stage.MAIL: "in answer to MAIL (the sender)",
    Stage.RCPT: "in answer to RCPT (the recipient)",
    Stage.DATA: "in answer to DATA",
    Stage.FINAL: "after the content of the message",
}
_WHILE: Final = {
    Stage.GREETING: "while we waited for its greeting",
    Stage.HELLO: "while it should have answered EHLO",
    Stage.TLS: "while TLS was agreed on",
    Stage.AUTH: "while it checked our user name and password",
    Stage.MAIL: "while it should have answered MAIL",
    Stage.RCPT: "while it should have answered RCPT",
    Stage.DATA: "while the content of the message went over",
    Stage.FINAL: "after the content of the message, before it said whether it took it;"
    " it will be sent again, and may come twice",
}
_HAPPENED: Final = {
    Trouble.REFUSED: "refused the connection",
    Trouble.UNREACHABLE: "cannot be reached from here",
    Trouble.TIMEOUT: "did not answer in time",
    Trouble.RESET: "closed the connection",
    Trouble.GARBAGE: "answered something that is not SMTP",
    Trouble.TLS: "could not agree on encryption with us",
}


def reason(heard: Heard) -> str:
    """What happened, as a sentence without its full stop."""
    who = f"{heard.target.host} [{heard.target.text}]"
    if heard.reply is not None:
        return f"{who} said “{heard.reply}” {_ANSWER_TO.get(heard.stage, '')}".rstrip()
    if heard.trouble is Trouble.OURS:
        return f"this host could not send it: {heard.detail}"
    if heard.trouble is Trouble.UNABLE:
        return f"{who} cannot take it: {heard.detail}"
    what = _HAPPENED[heard.trouble or Trouble.RESET]
    when = _WHILE.get(heard.stage, "")
    return f"{who} {what}{f' {when}' if when else ''}{f' ({heard.detail})' if heard.detail else ''}"


_ADVICE: Final = {
    "1.0": "Check the address, or ask the recipient in another way for the right one.",
    "1.1": "There is no such mailbox. Check the part before the @ for a typing error, or ask the recipient in another"
    " way for the right address.",
    "1.2": "There is no such domain. Check the part behind the @ for a typing error.",
    "1.3": "The address has a form that the recipient's system does not take. Check it for a typing error.",
    "1.6": "The recipient has moved. Ask in another way for the new address.",
    "1.7": "Your own address has a form that the recipient's system does not take. Ask whoever runs your mail.",
    "1.8": "The recipient's system does not know the domain of your own address. Ask whoever runs your mail.",
    "1.10": "The domain takes no mail at all. Check the part behind the @ for a typing error.",
    "2.0": "Something is the matter with the recipient's mailbox. Tell the recipient in another way.",
    "2.1": "The mailbox is switched off. Tell the recipient in another way.",
    "2.2": "The mailbox is full. Tell the recipient in another way, and send again when there is room.",
    "2.3": "The message is larger than this mailbox takes. Send it in smaller parts, or put large files where the"
    " recipient can fetch them.",
    "3.1": "The recipient's system has no room for mail now. Try again in some hours, or tell the recipient in another"
    " way.",
    "3.2": "The recipient's system takes no mail now. Try again in some hours.",
    "3.4": "The message is larger than the recipient's system takes. Send it in smaller parts, or put large files where"
    " the recipient can fetch them.",
    "3.5": "Something is set wrong at the mail system that sent you this. Tell its postmaster.",
    "4.1": "The recipient's mail system could not be reached. If the mail is urgent, use another way.",
    "4.2": "The connection to the recipient's mail system broke. If the mail is urgent, use another way.",
    "4.3": "It could not be found out where mail for the domain goes. Check the part behind the @ for a typing error;"
    " if it is right, tell the recipient that the domain's nameservers fail.",
    "4.4": "Nobody says where mail for the domain goes, or nobody there can be used. Check the part behind the @ for a"
    " typing error; if it is right, tell the recipient.",
    "4.6": "The domain's mail would go in a circle. Tell whoever runs mail for the recipient's domain.",
    "4.7": "We have tried for as long as we do. If the mail still matters, send it again, or use another way.",
    "5.3": "Send the message to fewer recipients at once.",
    "6.1": "The recipient's system does not take a part of the message. Send it as plain text, or without attachments.",
    "6.3": "The recipient's system does not take this kind of content. Send it in another form.",
    "6.7": "The recipient's system takes no addresses with letters beyond ASCII. Use an address in ASCII for you and"
    " for the recipient, if there is one.",
    "7.0": "The recipient's system does not take the message for reasons of its own. Ask the recipient in another way.",
    "7.1": "The recipient's system does not take the message from you or from this mail system. Its words above may say"
    " why; else ask the recipient in another way, or whoever runs your mail.",
    "7.5": "The connection could not be encrypted as it has to be. Tell whoever runs your mail.",
    "7.8": "Another mail system does not take our user name and password. Tell the postmaster of the system that sent"
    " you this.",
    "7.10": "You asked that the message goes encrypted all the way (REQUIRETLS), and the next system has no TLS that"
    " can be relied on. Tell its postmaster, or send it without asking for that.",
    "7.20": "Nothing in the message proves that it is from you (DKIM). Tell whoever runs your mail.",
    "7.23": "Your domain does not say that mail may come from this mail system (SPF). Tell whoever runs your mail.",
    "7.25": "The address this mail system sends from has no name (reverse DNS). Tell the postmaster of the system that"
    " sent you this.",
    "7.26": "Nothing proves that the message is from you (SPF, DKIM). Tell whoever runs your mail.",
    "7.27": "Your own domain says that it takes no mail, so answers could not reach you. Ask whoever runs your mail.",
    "7.30": "You asked that the message goes encrypted all the way (REQUIRETLS), and the next system cannot do that.",
}
_BY_SUBJECT: Final = {
    "1": _ADVICE["1.0"],
    "2": _ADVICE["2.0"],
    "3": "Something is the matter with the recipient's mail system. Tell the recipient in another way.",
    "4": "Something is the matter with the way to the recipient's mail system. If the mail is urgent, use another way.",
    "5": "The two mail systems did not understand each other. Tell whoever runs your mail.",
    "6": _ADVICE["6.1"],
    "7": _ADVICE["7.0"],
}
_OTHER: Final = "The other system's words above may say why. If they do not help, ask the recipient in another way."


def advice(enhanced: str) -> str:
    """What the sender can do, for people, by an enhanced code of class 4 or 5."""
    _, _, rest = enhanced.partition(".")
    return _ADVICE.get(rest) or _BY_SUBJECT.get(rest.partition(".")[0]) or _OTHER


def expired(fate: Fate, waited: int) -> Fate:
    """What becomes of a recipient that waited for too long: it is returned, and the last thing heard is told.

    Args:
        fate: of the last attempt, with ``End.LATER``.
        waited: milliseconds since the message arrived.
    """
    reason = f"it could not be delivered within {_span(waited)}; at last {fate.reason}"
    return replace(fate, end=End.FAILED, enhanced="5.4.7", reason=reason, advice=advice("5.4.7"))


def _span(milliseconds: int) -> str:
    for size, unit in ((86_400_000, "day"), (3_600_000, "hour"), (60_000, "minute"), (1000, "second")):
        number = milliseconds // size
        if number >= 2 or (number == 1 and size in (86_400_000, 1000)):
            return f"{number} {unit}{'s' if number > 1 else ''}"
    return "a second"
