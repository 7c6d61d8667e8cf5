"""What people type and read: domain names with any script in them, and mail addresses.

Inside mx10 a domain is wire octets (``mx10.dns.wirename``); here is the way in and the way out. A-labels (``xn--…``)
and U-labels are converted by idna (IDNA 2008 with the mapping of UTS 46, as browsers do it), imported only where a name
needs it. Mail addresses follow RFC 5321 section 4.1.2, and RFC 6531 where they leave ASCII.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from mx10.dns import wirename
from mx10.dns.wirename import NameSyntaxError

MAX_LOCAL: Final = 64
"""Octets of a local part (RFC 5321 section 4.5.3.1.1)."""
MAX_ADDRESS: Final = 254
"""Octets of a whole address: a path holds 256 with its angle brackets (RFC 5321 section 4.5.3.1.3)."""
MAX_TEXT: Final = 1024
"""Characters of text that are looked at at all."""

_FORBIDDEN: Final = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""Controls, ends of lines, and the halves of characters that octets become which are no UTF-8: they have no place in a
mail address, and would do harm in a terminal or a log."""
_ATOM: Final = re.compile(r"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~\u00a0-\u2027\u202a-\ud7ff\ue000-\U0010ffff]+")
_HOST_LABEL: Final = re.compile(rb"[a-z0-9_-]+")
"""A label of a mail domain: RFC 5321 section 4.1.2, and the underscore that some hosts have all the same."""
_OTHER_DOTS: Final = re.compile("[\u3002\uff0e\uff61]")
"""What stands for a dot in other scripts (UTS 46 section 4, step 2; RFC 3490 section 3.1)."""


class DomainError(ValueError):
    """A text that is no domain name: what is wrong, and the mend."""


class AddressError(ValueError):
    """A text that is no mail address: what is wrong, where, and the mend.

    Attributes:
        position: the character, counted from 0, at which it goes wrong.
    """

    def __init__(self, text: str, position: int, what: str) -> None:
        self.position = position
        super().__init__(f"{_shown(text)} is no mail address: {what}, at character {position + 1}")


@dataclass(frozen=True, slots=True)
class MailAddress:
    """A mail address: ``local`` as it is meant (without quotes), and where it is: a domain (folded wire name) or an
    address literal; exactly one of the two is not None."""

    local: str
    domain: bytes | None = None
    literal: IPv4Address | IPv6Address | None = None

    def __str__(self) -> str:
        local = self.local if _is_dot_atom(self.local) else '"' + re.sub(r'(["\\])', r"\\\1", self.local) + '"'
        return f"{local}@{show_destination(self.literal if self.domain is None else self.domain)}"


Destination = bytes | IPv4Address | IPv6Address
"""Where mail goes: a domain (folded wire name), or a host by its address."""


def domain_from_text(text: str) -> bytes:
    """The name a person typed: U-labels or A-labels, with a final dot or without.

    Returns:
        A folded wire name.

    Raises:
        DomainError: it is none; the message says what and the mend.
    """
    trimmed = text.strip()
    if not trimmed:
        raise DomainError("the domain name is empty: write one, as in example.com")
    if len(trimmed) > MAX_TEXT:
        raise DomainError(
            f"{_shown(trimmed)} is no domain name: it has {len(trimmed)} characters; at most 253 are allowed"
        )
    if trimmed == ".":
        return wirename.ROOT
    if not trimmed.isascii() and (foreign := next(filter(None, map(_forbidden, trimmed)), "")):
        raise DomainError(f"{_shown(trimmed)} is no domain name: {foreign}")
    for char, meaning in (("@", "a mail address"), ("/", "a URL or path"), (" ", "two words"), ("\t", "two words")):
        if char in trimmed:
            raise DomainError(
                f"{_shown(trimmed)} is no domain name but {meaning}: write the name alone, as in example.com"
            )
    try:
        plain = trimmed if trimmed.isascii() else _to_a_labels(trimmed)
        if "xn--" in plain.lower():
            _check_a_labels(plain)
        return wirename.from_text(plain).lower()
    except NameSyntaxError as error:
        raise DomainError(f"{_shown(trimmed)} is no domain name: {error}") from None


def _to_a_labels(text: str) -> str:
    import idna

    parts = []
    for label in _OTHER_DOTS.sub(".", text).split("."):
        if label.isascii():
            parts.append(label)
            continue
        try:
            mapped = idna.uts46_remap(label, std3_rules=False, transitional=False)
            parts.extend(part if part.isascii() else idna.alabel(part).decode() for part in mapped.split("."))
        except (idna.IDNAError, UnicodeError) as error:
            raise DomainError(
                f"{_shown(text)} is no domain name: {_shown(label)} cannot be an internationalised label ({error})"
            ) from None
    return ".".join(parts)


def _check_a_labels(text: str) -> None:
    """Refuse an ``xn--`` label that stands for nothing: it was mistyped, or is there to look like another name."""
    import idna

    for label in text.lower().split("."):
        if label.startswith("xn--"):
            try:
                idna.ulabel(label)
            except (idna.IDNAError, UnicodeError) as error:
                raise DomainError(
                    f"{_shown(text)} is no domain name: the A-label {label} stands for nothing ({error})"
                ) from None


def ascii_text(name: bytes) -> str:
    """A wire name with A-labels, without the final dot; ``.`` for the root."""
    return wirename.to_text(name, final_dot=False)


def display(name: bytes) -> str:
    """A wire name for people: U-labels where they lead back to the same name, without the final dot."""
    text = ascii_text(name)
    if "xn--" not in text.lower():
        return text
    import idna

    shown = []
    # By the labels on the wire: a dot within one of them is no end of it.
    for octets in wirename.labels(name):
        label = wirename.to_text(wirename.from_labels((octets,)), final_dot=False)
        try:
            unicode = idna.ulabel(label) if label.lower().startswith("xn--") else label
            shown.append(unicode if unicode == label or idna.alabel(unicode).decode() == label.lower() else label)
        except (idna.IDNAError, UnicodeError):
            shown.append(label)
    return ".".join(shown)


def show_destination(destination: Destination | None) -> str:
    """A destination for people: a domain by ``display``, an address as a literal, ``[192.0.2.1]`` or
    ``[IPv6:2001:db8::1]``."""
    if isinstance(destination, IPv6Address):
        return f"[IPv6:{destination}]"
    if isinstance(destination, IPv4Address):
        return f"[{destination}]"
    return display(destination or wirename.ROOT)


def parse_destination(text: str) -> MailAddress | Destination:
    """What ``mx10 route`` is asked about: a mail address, a domain, or an address literal.

    Raises:
        AddressError: it has an ``@`` and is no mail address, begins with ``[`` and is no literal, or is an IP address
            without brackets.
        DomainError: it is no domain.
    """
    trimmed = text.strip()
    if trimmed.startswith("[") and "@" not in trimmed:
        return _literal(trimmed, trimmed, 0)
    if "@" in trimmed:
        return parse_address(trimmed)
    if (address := _ip_address(trimmed)) is not None:
        raise AddressError(trimmed, 0, f"an IP address stands in brackets, as {show_destination(address)}")
    return domain_from_text(trimmed)


def parse_address(text: str) -> MailAddress:
    """A mail address: ``Mailbox`` of RFC 5321 section 4.1.2, with RFC 6531 section 3.3 where it is not ASCII.

    Raises:
        AddressError: it is none; says what and at which character.
    """
    if len(text) > MAX_TEXT:
        raise AddressError(text, MAX_TEXT, f"at most {MAX_ADDRESS} octets are allowed")
    local, at = _quoted_local(text) if text.startswith('"') else _dotted_local(text)
    if len(local.encode("utf-8", "replace")) > MAX_LOCAL:
        raise AddressError(text, MAX_LOCAL, f"the part before the @ is longer than {MAX_LOCAL} octets")
    if text[at : at + 1] != "@":
        what = (
            "the @ and the domain are missing"
            if at >= len(text)
            else _forbidden(text[at]) or f"{text[at]!r} may not stand here; quote the part before the @"
        )
        raise AddressError(text, at, what)
    rest = text[at + 1 :]
    if not rest:
        raise AddressError(text, at + 1, "the domain is missing")
    if rest.startswith("["):
        return MailAddress(local, literal=_literal(rest, text, at + 1))
    try:
        domain = domain_from_text(rest)
    except DomainError as error:
        raise AddressError(text, at + 1, str(error)) from None
    _check_mail_domain(domain, rest, text, at + 1)
    if len(text.encode("utf-8", "replace")) > MAX_ADDRESS:
        raise AddressError(text, MAX_ADDRESS, f"the address is longer than {MAX_ADDRESS} octets")
    return MailAddress(local, domain)


def _check_mail_domain(domain: bytes, written: str, whole: str, position: int) -> None:
    """Refuse what is a name in the DNS and no domain of a mail address (RFC 5321 section 4.1.2)."""
    if domain == wirename.ROOT:
        raise AddressError(whole, position, "the root is no mail domain")
    if (address := _ip_address(written)) is not None:
        raise AddressError(whole, position, f"an IP address stands in brackets, as {show_destination(address)}")
    for label in wirename.labels(domain):
        if not _HOST_LABEL.fullmatch(label):
            shown = ascii_text(wirename.from_labels((label,)))
            raise AddressError(whole, position, f"{_shown(shown)} is no part of a mail domain")


def _ip_address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _is_dot_atom(local: str) -> bool:
    return all(_ATOM.fullmatch(atom) for atom in local.split("."))


def _dotted_local(text: str) -> tuple[str, int]:
    """The local part as atoms with dots between them, and where it ends."""
    at = 0
    while True:
        atom = _ATOM.match(text, at)
        if atom is None:
            what = (
                "the part before the @ is missing"
                if text[at : at + 1] in ("@", "") and not at
                else "a letter or digit is missing"
            )
            if at < len(text) and text[at] not in "@.":
                what = _forbidden(text[at]) or f"{text[at]!r} may only stand within quotes"
            raise AddressError(text, at, what)
        at = atom.end()
        if text[at : at + 1] != ".":
            return text[:at], at
        at += 1


def _quoted_local(text: str) -> tuple[str, int]:
    """The local part within quotes, taken out of them, and where it ends."""
    chars = []
    at = 1
    while at < len(text) and text[at] != '"':
        if text[at] == "\\":
            at += 1
        if at >= len(text):
            break
        if what := _forbidden(text[at]):
            raise AddressError(text, at, what)
        chars.append(text[at])
        at += 1
    if at >= len(text):
        raise AddressError(text, len(text) - 1, "the quote is not closed")
    return "".join(chars), at + 1


def _forbidden(char: str) -> str:
    """What is wrong with a character that may stand nowhere; empty for any other."""
    if not _FORBIDDEN.fullmatch(char):
        return ""
    return "it is not UTF-8" if "\ud800" <= char <= "\udfff" else f"{char!r} is a control character"


def _literal(text: str, whole: str, position: int) -> IPv4Address | IPv6Address:
    """An address literal (RFC 5321 section 4.1.3)."""
    if not text.endswith("]"):
        raise AddressError(whole, position + len(text) - 1, "the address literal does not end in ]")
    inner = text[1:-1]
    tagged = inner[:5].lower() == "ipv6:"
    try:
        if tagged:
            # A zone index, as in fe80::1%eth0, means nothing to another host.
            if "%" in inner:
                raise ValueError
            return IPv6Address(inner[5:])
        return IPv4Address(inner)
    except ValueError:
        hint = "write [IPv6:2001:db8::1]" if ":" in inner else "write [192.0.2.1] or [IPv6:2001:db8::1]"
        raise AddressError(whole, position, f"{_shown(text)} is no address literal; {hint}") from None


def _shown(text: str) -> str:
    """A text for an error message: quoted, its odd characters escaped, its middle left out where it is long."""
    return repr(text if len(text) <= 80 else f"{text[:50]}…{text[-20:]}")
