"""What stands in MAIL and RCPT (RFC 5321 section 4.1.1): a path, and parameters of the extensions.

Addresses come out as text with the domain in lower case and A-labels, the local part as it was meant. A source route
is read and dropped (RFC 5321 appendix C).
"""

import re
from collections.abc import Callable
from typing import Final, Literal, TypeVar

from mx10.names import MAX_LOCAL, AddressError, ascii_text, parse_address
from mx10.smtp.replies import Reply
from mx10.values import value_class

MAX_ENVID: Final = 100
"""Characters of an envelope identifier (RFC 3461 section 5.4)."""
MAX_ORCPT: Final = 500
"""Characters of an original recipient, as encoded (RFC 3461 section 5.4)."""
MAX_PRIORITY: Final = 9

_T = TypeVar("_T")

Body = Literal["7BIT", "8BITMIME", "BINARYMIME"]
Ret = Literal["FULL", "HDRS"]

# Most addresses are of this form, and reading them any other way takes ten times as long.
_TYPICAL: Final = re.compile(
    r"(?:FROM|TO):<([A-Za-z0-9_+=-]{1,64}(?:\.[A-Za-z0-9_+=-]{1,64}){0,8})@"
    r"((?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,8}[A-Za-z][A-Za-z0-9-]{0,61}[A-Za-z0-9])>",
    re.IGNORECASE,
)
_LONGEST: Final = 256
"""Characters of a path (RFC 5321 section 4.5.3.1.3)."""
_ROUTE: Final = re.compile(r"@[^:<>@,]+(?:,@[^:<>@,]+)*:")
_KEYWORD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")
_VALUE: Final = re.compile(r"[^\0-\x20=\x7f]+")
_XTEXT: Final = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*")
_HEX: Final = re.compile(r"\+([0-9A-F]{2})")
_UNITEXT: Final = re.compile(r"[!-~\u00a0-\U0010ffff]*")
_NOTIFY: Final = frozenset({"SUCCESS", "FAILURE", "DELAY"})
_BODIES: Final[dict[str, Body]] = {"7BIT": "7BIT", "8BITMIME": "8BITMIME", "BINARYMIME": "BINARYMIME"}
_RETS: Final[dict[str, Ret]] = {"FULL": "FULL", "HDRS": "HDRS"}


class CommandError(Exception):
    """A command that cannot be done as it stands, and the reply that says so."""

    def __init__(self, code: int, enhanced: str, text: str) -> None:
        super().__init__(text)
        self.reply = Reply.of(code, enhanced, text)


@value_class
class MailParameters:
    """What MAIL said.

    Attributes:
        reverse_path: the sender; empty: nobody (a bounce).
        size: octets, as announced (RFC 1870).
        auth: who submitted it first (RFC 4954 section 5); empty: not told.
    """

    reverse_path: str
    size: int | None = None
    body: Body = "7BIT"
    smtputf8: bool = False
    ret: Ret | None = None
    envid: str | None = None
    requiretls: bool = False
    priority: int | None = None
    auth: str | None = None


@value_class
class RcptParameters:
    """What RCPT said. ``notify``: None: not said; empty: NEVER. ``orcpt``: as ``rfc822;address``, decoded."""

    recipient: str
    notify: frozenset[str] | None = None
    orcpt: str | None = None


def parse_mail(argument: str, offered: frozenset[str]) -> MailParameters:
    """What stands behind MAIL.

    Args:
        offered: keywords of the extensions that the client was offered; other parameters are unknown.

    Raises:
        CommandError: it is wrong.
    """
    if argument[:1] in "Ff" and (address := _typical(argument)):
        return MailParameters(address)
    path, rest = _split(argument, "FROM:")
    given = _parameters(rest)
    smtputf8 = "SMTPUTF8" in given
    if smtputf8:
        _flag(given, "SMTPUTF8", offered)
    reverse_path = "" if path == "<>" else _address(path, smtputf8, sender=True)
    size = _take(given, "SIZE", "SIZE", offered, _size)
    body = _take(given, "BODY", "8BITMIME", offered, lambda text: _BODIES[text.upper()])
    if body == "BINARYMIME" and "BINARYMIME" not in offered:
        raise CommandError(501, "5.5.4", "BODY=BINARYMIME is not offered here; send 8BITMIME")
    ret = _take(given, "RET", "DSN", offered, lambda text: _RETS[text.upper()])
    envid = _take(given, "ENVID", "DSN", offered, lambda text: _xtext(text, MAX_ENVID))
    auth = _take(given, "AUTH", "AUTH", offered, lambda text: "" if text == "<>" else _xtext(text, MAX_ORCPT))
    priority = _take(given, "MT-PRIORITY", "MT-PRIORITY", offered, _priority)
    requiretls = "REQUIRETLS" in given
    if requiretls:
        _flag(given, "REQUIRETLS", offered)
    _no_more(given)
    return MailParameters(reverse_path, size, body or "7BIT", smtputf8, ret, envid, requiretls, priority, auth)


def parse_rcpt(argument: str, offered: frozenset[str], *, smtputf8: bool) -> RcptParameters:
    """What stands behind RCPT.

    Args:
        offered: as for ``parse_mail``.
        smtputf8: MAIL said so, and addresses may be of any script.

    Raises:
        CommandError: it is wrong.
    """
    if argument[:1] in "Tt" and (address := _typical(argument)):
        return RcptParameters(address)
    path, rest = _split(argument, "TO:")
    given = _parameters(rest)
    # RFC 5321 section 4.5.1: the one address without a domain.
    recipient = "postmaster" if path.lower() == "<postmaster>" else _address(path, smtputf8, sender=False)
    notify = _take(given, "NOTIFY", "DSN", offered, _notify)
    orcpt = _take(given, "ORCPT", "DSN", offered, lambda text: _original(text, smtputf8))
    _no_more(given)
    return RcptParameters(recipient, notify, orcpt)


def _typical(argument: str) -> str:
    """The address in an argument of the usual form; empty for any other, which others look at."""
    match = _TYPICAL.fullmatch(argument) if len(argument) < _LONGEST else None
    if match is None or len(match[1]) > MAX_LOCAL:
        return ""
    return f"{match[1]}@{match[2].lower()}"


def _split(argument: str, keyword: str) -> tuple[str, str]:
    """The path with its angle brackets, and what stands behind it."""
    if argument[: len(keyword)].upper() != keyword:
        raise CommandError(501, "5.5.4", f"write {'MAIL' if keyword == 'FROM:' else 'RCPT'} {keyword}<address>")
    # A space there is wrong, and common.
    text = argument[len(keyword) :].lstrip(" ")
    if not text.startswith("<"):
        raise CommandError(501, "5.5.2", f"the address stands in angle brackets: {keyword}<address>")
    quoted = False
    at = 1
    while at < len(text):
        char = text[at]
        if char == "\\" and quoted:
            at += 1
        elif char == '"':
            quoted = not quoted
        elif char == ">" and not quoted:
            path, rest = text[: at + 1], text[at + 1 :]
            if rest and not rest.startswith(" "):
                break
            return path, rest.strip(" ")
        at += 1
    raise CommandError(501, "5.5.2", "the address does not end in > with parameters after a space")


def _address(path: str, smtputf8: bool, *, sender: bool) -> str:
    status = "5.1.7" if sender else "5.1.3"
    text = path[1:-1]
    if not text:
        raise CommandError(501, status, "a recipient is not empty")
    if text.startswith("@"):
        route = _ROUTE.match(text)
        if route is None:
            raise CommandError(501, status, "the source route has no end")
        text = text[route.end() :]
    if not text.isascii() and not smtputf8:
        raise CommandError(553, "5.6.7", "an address that is not ASCII needs SMTPUTF8 (RFC 6531)")
    try:
        address = parse_address(text)
    except AddressError as error:
        raise CommandError(501 if sender else 553, status, str(error)) from None
    shown = str(address)
    return shown if address.domain is None else f"{shown.rpartition('@')[0]}@{ascii_text(address.domain)}"


def _parameters(text: str) -> dict[str, str | None]:
    given: dict[str, str | None] = {}
    # Spaces alone stand between parameters; other white space, of any script, is a mistake in one.
    for word in text.split(" "):
        if not word:
            continue
        keyword, equals, value = word.partition("=")
        if not _KEYWORD.fullmatch(keyword) or (equals and not _VALUE.fullmatch(value)):
            raise CommandError(501, "5.5.4", f"{word[:40]!r} is no parameter: write KEYWORD or KEYWORD=value")
        keyword = keyword.upper()
        if keyword in given:
            raise CommandError(501, "5.5.4", f"{keyword} is said twice")
        given[keyword] = value if equals else None
    return given


def _take(
    given: dict[str, str | None], keyword: str, extension: str, offered: frozenset[str], read: Callable[[str], _T]
) -> _T | None:
    if keyword not in given or extension not in offered:
        return None
    value = given.pop(keyword)
    try:
        if value is None:
            raise ValueError
        return read(value)
    except (ValueError, KeyError):
        raise CommandError(501, "5.5.4", f"{keyword} has a value that means nothing: {str(value)[:40]!r}") from None


def _flag(given: dict[str, str | None], keyword: str, offered: frozenset[str]) -> None:
    if keyword in offered and given.pop(keyword) is not None:
        raise CommandError(501, "5.5.4", f"{keyword} takes no value")


def _no_more(given: dict[str, str | None]) -> None:
    for keyword in given:
        raise CommandError(555, "5.5.4", f"the parameter {keyword[:40]} is not known here")


def _size(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 20):
        raise ValueError
    return int(text)


def _priority(text: str) -> int:
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text)
    if not (digits.isascii() and digits.isdigit() and len(digits) == 1):
        raise ValueError
    return sign * int(digits)


def _notify(text: str) -> frozenset[str]:
    words = text.upper().split(",")
    if words == ["NEVER"]:
        return frozenset()
    if not set(words) <= _NOTIFY or len(set(words)) != len(words):
        raise ValueError
    return frozenset(words)


def _original(text: str, smtputf8: bool) -> str:
    kind, semicolon, address = text.partition(";")
    if not semicolon or not _KEYWORD.fullmatch(kind) or not address or len(text) > MAX_ORCPT:
        raise ValueError
    if kind.lower() == "utf-8" and smtputf8:
        # RFC 6533 section 3: as it is where the transport takes it.
        if not _UNITEXT.fullmatch(address):
            raise ValueError
        return f"{kind};{address}"
    return f"{kind};{_xtext(address, MAX_ORCPT)}"


def _xtext(text: str, most: int) -> str:
    """What an xtext means (RFC 3461 section 4)."""
    if len(text) > most or not _XTEXT.fullmatch(text):
        raise ValueError
    decoded = _HEX.sub(lambda match: chr(int(match[1], 16)), text)
    if any(not " " <= char <= "~" for char in decoded):
        raise ValueError
    return decoded


def to_xtext(text: str) -> str:
    """Text as an xtext."""
    return "".join(char if "!" <= char <= "~" and char not in "+=" else f"+{ord(char):02X}" for char in text)
