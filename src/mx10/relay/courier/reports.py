"""What is written to a sender about a message: that it was not delivered, is late, or was delivered (delivery status
notifications, RFC 3464), as the sender asked for it (RFC 3461), also where addresses are not ASCII (RFC 6533).

A report has three parts: text for people, which says what happened and what to do; the same for programs; and the
message, or its header. ``orders`` decides who is told what, ``write_report`` writes it; both are pure. A report comes
from nobody (the null return path), and nothing is ever reported about a message from nobody to its sender, so no two
systems can send each other reports for ever. What could not be returned goes to the local postmaster; what cannot be
delivered to the postmaster is dropped, counted, and told in the log.
"""

import base64
import quopri
import re
import textwrap
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from enum import StrEnum
from typing import Final

from mx10.relay.courier.values import Addressee, Content, End, Fate, Letter
from mx10.smtp.content import has_bare_line_end
from mx10.smtp.syntax import Body
from mx10.values import value_class

MAX_HEAD: Final = 64 << 10
"""Octets of the header of a message that are returned."""
MAX_RETURNED: Final = 64 << 10
"""Octets of a message that is returned whole where its sender did not say (RET)."""
MAX_FULL: Final = 1 << 20
"""Octets of a message that is returned whole though its sender asked for it; of a larger one the header is."""
MAX_REPORTED: Final = 500
"""Recipients in one report; more become more reports."""
_MAX_TOLD: Final = 50
"""Recipients that are named in the text for people; the part for programs has all."""
_MAX_TEXT: Final = 1000
"""Characters of what another host said."""

_CONTROLS: Final = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_MESSAGE_ID: Final = re.compile(rb"^message-id:\s*(<[!-;=?-~]{1,250}>)", re.IGNORECASE | re.MULTILINE)
_LONG_LINE: Final = re.compile(rb"[^\n]{999}")


class Action(StrEnum):
    """What a report says of a recipient (RFC 3464 section 2.3.3)."""

    FAILED = "failed"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    RELAYED = "relayed"
    """Given to a host that sends no reports of success (RFC 3461 section 5.2.2)."""


class Receiver(StrEnum):
    """Who gets a report."""

    SENDER = "sender"
    POSTMASTER = "postmaster"
    NOBODY = "nobody"


@value_class
class Issuer:
    """We who write. ``hostname``: with A-labels; ``postmaster``: the address of the local postmaster;
    ``double_bounces``: the postmaster is told of what can be neither delivered nor returned."""

    hostname: str
    postmaster: str
    double_bounces: bool = True


@value_class
class Order:
    """A report to be written. ``why``: where it is for nobody, the reason, for the log and for counting."""

    receiver: Receiver
    to: str
    action: Action
    fates: tuple[Fate, ...]
    why: str = ""


@value_class
class Copy:
    """What is returned of a message. ``head``: its header with the last line end; ``whole``: all of it, where it is
    small enough."""

    head: bytes
    whole: bytes | None = None


@value_class
class Report:
    """A report as a message to send, from nobody.

    Attributes:
        to: its recipient.
        about: the recipients it is about.
        content: header and body.
        body, smtputf8, requiretls: as for MAIL.
    """

    to: str
    about: tuple[Addressee, ...]
    content: bytes
    body: Body
    smtputf8: bool
    requiretls: bool


# ---------------------------------------------------------------- who is told what


def action_of(fate: Fate, *, delay: bool = False) -> Action | None:
    """What the sender wants to hear of a recipient's fate (RFC 3461 section 5.2); None: nothing.

    Args:
        delay: it is time to tell the sender of those that wait.
    """
    notify = fate.recipient.notify
    if fate.end is End.DELIVERED:
        if notify is None or "SUCCESS" not in notify:
            return None
        if fate.final:
            return Action.DELIVERED
        # A host that knows DSN has taken over the promise with the message.
        return None if fate.dsn else Action.RELAYED
    if fate.end is End.FAILED:
        # RFC 3461 section 4.1: who says nothing wants to hear of failures, and may hear of delays.
        return Action.FAILED if notify is None or "FAILURE" in notify else None
    return Action.DELAYED if delay and (notify is None or "DELAY" in notify) else None


def delay_due(arrived: int, now: int, warned: int | None, after: int) -> bool:
    """Whether it is time to tell a sender that a message waits: once, some time after it came.

    Args:
        arrived, now, warned: milliseconds since 1970; ``warned``: when it was told, None: never.
        after: milliseconds; 0: never tell.
    """
    return after > 0 and warned is None and now - arrived >= after


def orders(
    letter: Letter, fates: Sequence[Fate], issuer: Issuer, *, delay: bool = False, authenticated: bool = True
) -> list[Order]:
    """The reports that one attempt gives rise to.

    Args:
        delay: see ``action_of``.
        authenticated: False: nothing shows that the sender is who it says (mail that was taken for a recipient nobody
            knew): a report would hit whoever was impersonated, so there is none (RFC 3834 section 2, RFC 5321 section
            6.2).
    """
    by_action: dict[Action, list[Fate]] = {}
    for fate in fates:
        action = action_of(fate, delay=delay)
        if action is not None:
            by_action.setdefault(action, []).append(fate)
    made = []
    for action, members in by_action.items():
        for at in range(0, len(members), MAX_REPORTED):
            made += _order(letter, action, tuple(members[at : at + MAX_REPORTED]), issuer, authenticated=authenticated)
    return made


def _order(
    letter: Letter, action: Action, fates: tuple[Fate, ...], issuer: Issuer, *, authenticated: bool
) -> list[Order]:
    if letter.reverse_path:
        if authenticated:
            return [Order(Receiver.SENDER, letter.reverse_path, action, fates)]
        return [Order(Receiver.NOBODY, "", action, fates, "nothing shows that the sender is who it says")]
    if action is not Action.FAILED:
        # Nobody is there to be pleased or patient.
        return []
    # RFC 5321 section 6.1: no report about a message from nobody. The postmaster hears of it, but not of what the
    # postmaster could not get.
    postmaster = issuer.postmaster.lower()
    lost = tuple(each for each in fates if each.recipient.address.lower() in (postmaster, "postmaster"))
    rest = tuple(each for each in fates if each not in lost)
    made = []
    if lost:
        made.append(Order(Receiver.NOBODY, "", action, lost, "the postmaster cannot be reached"))
    if rest and issuer.double_bounces and issuer.postmaster:
        made.append(Order(Receiver.POSTMASTER, issuer.postmaster, action, rest))
    elif rest:
        made.append(Order(Receiver.NOBODY, "", action, rest, "a message from nobody is not returned"))
    return made


# ---------------------------------------------------------------- what is returned


async def copy_of(content: Content, order: Order, letter: Letter) -> Copy:
    """What a report returns of a message, read from its content.

    Raises:
        OSError: it cannot be read.
    """
    whole = _wants_whole(content.size, order, letter)
    most = content.size if whole else MAX_HEAD
    data = bytearray()
    async for chunk in content.chunks():
        data += chunk
        if len(data) >= most:
            break
    octets = bytes(data)
    return Copy(head_of(octets), octets if whole else None)


def _wants_whole(size: int, order: Order, letter: Letter) -> bool:
    """RFC 3461 section 4.3: RET is about failures alone; of the others the header tells enough. Of what requires TLS
    no more than that is returned, whatever RET says (RFC 8689 section 5)."""
    if order.action is not Action.FAILED or order.receiver is not Receiver.SENDER or letter.body == "BINARYMIME":
        return False
    if letter.requiretls:
        return False
    if letter.ret == "FULL":
        return size <= MAX_FULL
    return letter.ret is None and size <= MAX_RETURNED


def head_of(data: bytes) -> bytes:
    """The header of a message that begins so, with its last line end; of a longer one as many whole lines as fit."""
    if data.startswith(b"\r\n"):
        return b""
    end = data.find(b"\r\n\r\n", 0, MAX_HEAD)
    if end >= 0:
        return data[: end + 2]
    last = data.rfind(b"\r\n", 0, MAX_HEAD)
    return data[: last + 2] if last >= 0 else b""


# ---------------------------------------------------------------- writing it


def write_report(
    order: Order,
    letter: Letter,
    copy: Copy,
    issuer: Issuer,
    *,
    arrived: int,
    expires: int,
    now: int,
    token: str,
    client: str = "",
) -> Report:
    """A report.

    Args:
        order: who gets it, about whom; not for nobody.
        arrived, expires, now: milliseconds since 1970.
        token: drawn at random, 20 letters and digits or more: for the Message-ID and what separates the parts.
        client: the name of the host we had the message from; empty: not known.
    """
    # Where the sender's address is not ASCII, the way back to it knows UTF-8; else nothing is known of that way.
    smtputf8 = not order.to.isascii()
    text = _text_part(_words(order, letter, copy, issuer, arrived=arrived, expires=expires, now=now))
    status = _status_part(
        order, letter, issuer, arrived=arrived, expires=expires, now=now, client=client, utf8=smtputf8
    )
    returned, eight_bit = _returned_part(copy, utf8=smtputf8)
    parts = (text, status, returned)
    boundary = f"{token}/{issuer.hostname[:30]}"
    while any(boundary.encode() in part for part in parts):
        boundary = f"+{boundary}"
    head = _header(order, letter, copy, issuer, now=now, token=token, boundary=boundary)
    line = b"--" + boundary.encode()
    body = b"".join(line + b"\r\n" + part + b"\r\n" for part in parts)
    content = b"%b\r\n%b%b--\r\n" % (head.encode(), body, line)
    about = tuple(each.recipient for each in order.fates)
    # The header of what requires TLS, which is in it, goes back as the message came (RFC 8689 section 5).
    requiretls = letter.requiretls and order.receiver is Receiver.SENDER
    return Report(order.to, about, content, "8BITMIME" if eight_bit or smtputf8 else "7BIT", smtputf8, requiretls)


_SUBJECTS: Final = {
    Action.FAILED: "Your message was not delivered",
    Action.DELAYED: "Your message is delayed; you need not send it again",
    Action.DELIVERED: "Your message was delivered",
    Action.RELAYED: "Your message was passed on",
}


def _header(order: Order, letter: Letter, copy: Copy, issuer: Issuer, *, now: int, token: str, boundary: str) -> str:
    subject = _SUBJECTS[order.action]
    if order.receiver is Receiver.POSTMASTER:
        subject = "A message could neither be delivered nor returned"
    kind = "global-delivery-status" if not order.to.isascii() else "delivery-status"
    lines = [
        f"Date: {_date(now)}",
        f"From: Mail Delivery System <{_clean(issuer.postmaster)}>",
        f"To: <{_clean(order.to)}>",
        f"Subject: {subject}",
        f"Message-ID: <{token}@{issuer.hostname}>",
    ]
    found = _MESSAGE_ID.search(copy.head)
    if found is not None:
        original = found[1].decode("ascii")
        lines += [f"In-Reply-To: {original}", f"References: {original}"]
    lines += [
        # RFC 3834 section 5: so that no machine answers it.
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        f"Content-Type: multipart/report; report-type={kind};",
        f'\tboundary="{boundary}"',
        "",
    ]
    return "\r\n".join(lines)


# ---------------------------------------------------------------- the part for people


def _words(
    order: Order, letter: Letter, copy: Copy, issuer: Issuer, *, arrived: int, expires: int, now: int
) -> list[str]:
    """The text, by the paragraph."""
    failed = order.action is Action.FAILED
    several = len(order.fates) > 1
    whom = "these recipients" if several else "this recipient"
    opening = {
        Action.FAILED: f"Your message could not be delivered to {whom}. Nothing more will be tried.",
        Action.DELAYED: f"Your message could not yet be delivered to {whom}. You do NOT need to send it again: we go on"
        f" trying until {_day(expires)}, and tell you if it fails then.",
        Action.DELIVERED: f"Your message was delivered to {whom}, as you asked to be told.",
        Action.RELAYED: f"Your message was passed on to the mail system of {whom}. That system sends no"
        " confirmations, so you will hear no more unless something goes wrong.",
    }[order.action]
    if order.receiver is Receiver.POSTMASTER:
        opening = (
            f"A message could not be delivered to {whom}, and it names no sender to return it to. It was most likely a"
            " report of another mail system about a message from one of these addresses. There is nothing to do, unless"
            " there are many of them."
        )
    words = [f"This is the mail system at {issuer.hostname}.", opening]
    grouped: dict[tuple[str, str], list[str]] = {}
    for fate in order.fates[:_MAX_TOLD]:
        key = (_short(fate.reason), fate.advice)
        grouped.setdefault(key, []).append(f"    <{_clean(fate.recipient.address)}>")
    for (reason, advised), names in grouped.items():
        words.append("\n".join(names))
        words.append(f"What happened: {reason}.")
        if failed and advised and order.receiver is Receiver.SENDER:
            words.append(f"What you can do: {advised}")
    if len(order.fates) > _MAX_TOLD:
        words.append(f"And {len(order.fates) - _MAX_TOLD} more recipients, whom the next part of this report names.")
    about = [f"It came to us on {_date(arrived)}"]
    for name in ("Subject", "Date"):
        value = _field(copy.head, name)
        if value:
            about.append(f"{name}: {value}")
    about.append(f"Here it was called {letter.name}")
    words.append("About the message:\n" + "\n".join(f"    {line}" for line in about))
    if failed and letter.ret == "FULL" and copy.whole is None and order.receiver is Receiver.SENDER:
        words.append("The message is too large, or of a kind, to be returned whole; its header is below.")
    if order.receiver is Receiver.SENDER and failed:
        words.append(f"If that does not help, <{_clean(issuer.postmaster)}> can; send this whole report along.")
    return words


def _text_part(paragraphs: Sequence[str]) -> bytes:
    wrapped = []
    for paragraph in paragraphs:
        lines = []
        for line in paragraph.split("\n"):
            indent = line[: len(line) - len(line.lstrip(" "))]
            lines += textwrap.wrap(
                line, 76, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
            ) or [""]
        wrapped.append("\n".join(lines))
    text = "\n\n".join(wrapped) + "\n"
    head = "Content-Description: Notification\r\nContent-Type: text/plain; charset=utf-8\r\n"
    encoded = _quoted(text.replace("\n", "\r\n").encode())
    return f"{head}Content-Transfer-Encoding: quoted-printable\r\n\r\n".encode() + encoded


def _quoted(data: bytes) -> bytes:
    """Quoted-printable (RFC 2045 section 6.7) of text whose lines end in CR LF; a lone LF ends one too."""
    encoded = quopri.encodestring(data.replace(b"\r\n", b"\n"))
    # A lone CR is left as it is by quopri, and must not be.
    return encoded.replace(b"\r", b"=0D").replace(b"\n", b"\r\n")


# ---------------------------------------------------------------- the part for programs


def _status_part(
    order: Order,
    letter: Letter,
    issuer: Issuer,
    *,
    arrived: int,
    expires: int,
    now: int,
    client: str,
    utf8: bool,
) -> bytes:
    about = [("Reporting-MTA", f"dns; {issuer.hostname}")]
    if letter.envid:
        about.insert(0, ("Original-Envelope-Id", letter.envid))
    if client:
        about.append(("Received-From-MTA", f"dns; {client}"))
    about.append(("Arrival-Date", _date(arrived)))
    blocks = [_block(about)]
    for fate in order.fates:
        fields = []
        if fate.recipient.orcpt:
            kind, _, address = fate.recipient.orcpt.partition(";")
            fields.append(("Original-Recipient", f"{kind}; {_typed(address, utf8=utf8)}"))
        kind = "rfc822" if fate.recipient.address.isascii() else "utf-8"
        fields.append(("Final-Recipient", f"{kind}; {_typed(fate.recipient.address, utf8=utf8)}"))
        fields.append(("Action", order.action.value))
        fields.append(("Status", fate.enhanced))
        if fate.host and fate.reached:
            fields.append(("Remote-MTA", f"dns; {fate.host}"))
        if fate.reply is not None:
            fields.append(("Diagnostic-Code", f"smtp; {_short(str(fate.reply))}"))
        elif order.action is not Action.DELIVERED:
            fields.append(("Diagnostic-Code", f"x-mx10; {_short(fate.reason)}"))
        fields.append(("Last-Attempt-Date", _date(now)))
        if order.action is Action.DELAYED:
            fields.append(("Will-Retry-Until", _date(expires)))
        blocks.append(_block(fields))
    text = "\r\n".join(blocks)
    kind = "global-delivery-status" if utf8 else "delivery-status"
    head = f"Content-Description: Delivery report\r\nContent-Type: message/{kind}\r\n"
    if not text.isascii():
        head += "Content-Transfer-Encoding: 8bit\r\n"
    return f"{head}\r\n{text}".encode()


def _block(fields: Sequence[tuple[str, str]]) -> str:
    lines = []
    for name, value in fields:
        plain = _clean(value)
        if name in ("Diagnostic-Code", "Received-From-MTA", "Remote-MTA", "Original-Envelope-Id"):
            plain = plain.encode("ascii", "replace").decode("ascii")
        folded = textwrap.wrap(f"{name}: {plain}", 76, break_long_words=False, break_on_hyphens=False)
        lines.append("\r\n ".join(folded))
    return "\r\n".join(lines) + "\r\n"


def _typed(address: str, *, utf8: bool) -> str:
    """An address in a field of a status. Where UTF-8 may not go, as utf-8-addr-xtext (RFC 6533 section 3)."""
    plain = _clean(address)
    if utf8 or plain.isascii():
        return plain
    return "".join(char if "!" <= char <= "~" and char not in "\\+=" else rf"\x{{{ord(char):02X}}}" for char in plain)


# ---------------------------------------------------------------- the message


def _returned_part(copy: Copy, *, utf8: bool) -> tuple[bytes, bool]:
    """The part with what is returned, and whether it has octets beyond ASCII in it."""
    whole = copy.whole
    if whole is not None and (has_bare_line_end(whole) or b"\0" in whole or _LONG_LINE.search(whole)):
        # It would not survive the way; its header does, encoded.
        whole = None
    global_head = not copy.head.isascii() and _is_utf8(copy.head)
    description = (
        b"Content-Description: Undelivered message\r\n" if whole else b"Content-Description: Message header\r\n"
    )
    if whole is None:
        if not copy.head.isascii() and global_head:
            # RFC 6533 section 5; encoded, so that it gets through everywhere.
            head = b"Content-Type: message/global-headers\r\nContent-Transfer-Encoding: base64\r\n\r\n"
            return description + head + _base64(copy.head), False
        if (
            copy.head.isascii()
            and not _LONG_LINE.search(copy.head)
            and not has_bare_line_end(copy.head)
            and (b"\0" not in copy.head)
        ):
            return description + b"Content-Type: text/rfc822-headers\r\n\r\n" + copy.head, False
        head = b"Content-Type: text/rfc822-headers\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
        return description + head + _quoted(copy.head), False
    if global_head:
        if utf8:
            head = b"Content-Type: message/global\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
            return description + head + whole, True
        # RFC 6532 section 3.7 allows to encode a message of this type; the way back may know ASCII alone.
        head = b"Content-Type: message/global\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        return description + head + _base64(whole), False
    if whole.isascii():
        return description + b"Content-Type: message/rfc822\r\n\r\n" + whole, False
    return description + b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + whole, True


def _base64(data: bytes) -> bytes:
    return base64.encodebytes(data).replace(b"\n", b"\r\n")


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


# ---------------------------------------------------------------- small things


def _clean(text: str) -> str:
    """Text for a line: whatever it holds, it stays one line."""
    return _CONTROLS.sub(" ", text)


def _short(text: str) -> str:
    plain = _clean(text)
    return plain if len(plain) <= _MAX_TEXT else plain[:_MAX_TEXT] + "…"


def _date(milliseconds: int) -> str:
    return format_datetime(datetime.fromtimestamp(milliseconds // 1000, UTC))


def _day(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds // 1000, UTC).strftime("%A, %d %B %Y, %H:%M UTC")


def _field(head: bytes, name: str) -> str:
    """A field of the header of a message, for people: unfolded, encoded words read, at most 200 characters."""
    found = re.search(rb"^" + name.encode() + rb":((?:.*\r\n)(?:[ \t].*\r\n)*)", head, re.IGNORECASE | re.MULTILINE)
    if found is None:
        return ""
    from email.errors import HeaderParseError
    from email.header import decode_header, make_header

    raw = " ".join(found[1][:2000].decode("utf-8", "replace").split())
    try:
        text = str(make_header(decode_header(raw)))
    except (HeaderParseError, UnicodeError, LookupError, ValueError):
        text = raw
    text = " ".join(_clean(text).split())
    return text if len(text) <= 200 else text[:200] + "…"
