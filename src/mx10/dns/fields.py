"""The fields record data is made of: numbers, names, addresses, strings; each from a word of a master file to octets
and back.

``rdata`` puts them together to the layouts of types. A field is named there by a letter; ``FIELDS`` and ``RESTS`` say
what each letter means.
"""

import re
from collections.abc import Callable, Sequence
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import Final, NamedTuple

from mx10.dns import wirename
from mx10.dns.wirename import NameSyntaxError


class Token(NamedTuple):
    """A word of a master file.

    ``text`` is as written, escapes included, but without the quotes around it; ``line`` and ``column`` count from 1 (0:
    unknown); ``glued`` says that no white space stood before it, as in ``alpn="h2"``.
    """

    text: str
    quoted: bool = False
    line: int = 0
    column: int = 0
    glued: bool = False


class RdataSyntaxError(ValueError):
    """Record data that cannot be.

    Args:
        what: what is wrong.
        mend: what to write instead.
        token: the word at fault; None where something is missing.
    """

    def __init__(self, what: str, mend: str, token: Token | None = None) -> None:
        super().__init__(f"{what}; {mend}")
        self.what = what
        self.mend = mend
        self.token = token


def as_written(tokens: Sequence[Token]) -> str:
    """Words as a line again, with their quotes and white space only where there was some."""
    pieces = []
    for token in tokens:
        pieces.append("" if token.glued else " ")
        pieces.append(f'"{token.text}"' if token.quoted else token.text)
    return "".join(pieces).lstrip(" ")


# ---------------------------------------------------------------- values


_UNITS: Final = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1}
_DURATION: Final = re.compile(r"(?:[0-9]{1,10}[wdhms])+", re.IGNORECASE)
_DURATION_PART: Final = re.compile(r"([0-9]+)([a-z])", re.IGNORECASE)
_ESCAPE: Final = re.compile(r"\\(?:([0-9]{3})|([^0-9])|(.?))", re.DOTALL)


def seconds_from_text(text: str) -> int | None:
    """A time in seconds, or with the units BIND knows: ``3600``, ``1h``, ``1h30m``, ``2W``.

    Returns:
        Seconds, as large as written; None where the text is no time.
    """
    if text.isdigit() and text.isascii():
        return int(text) if len(text) <= 10 else None
    if not _DURATION.fullmatch(text):
        return None
    return sum(int(number) * _UNITS[unit.lower()] for number, unit in _DURATION_PART.findall(text))


def octets_from_text(text: str) -> bytes:
    r"""The octets of a character string: ``\DDD`` is one octet, a backslash before anything else is that thing (RFC
    1035 section 5.1).

    Raises:
        ValueError: a bad escape, or not ASCII.
    """
    if "\\" not in text:
        return text.encode("ascii")
    octets = bytearray()
    at = 0
    for match in _ESCAPE.finditer(text):
        octets += text[at : match.start()].encode("ascii")
        digits, char, _ = match.groups()
        if digits is not None and int(digits) < 256:
            octets.append(int(digits))
        elif char is not None:
            octets += char.encode("ascii")
        else:
            raise ValueError(f"the escape {match[0]} is not \\DDD with a number from 000 to 255")
        at = match.end()
    octets += text[at:].encode("ascii")
    return bytes(octets)


def octets_to_text(octets: bytes) -> str:
    """A character string in quotes, as ``dig`` prints it."""
    if octets.isascii() and b'"' not in octets and b"\\" not in octets:
        text = octets.decode("ascii")
        if text.isprintable():
            return f'"{text}"'
    return '"' + "".join(_QUOTED_OCTET[octet] for octet in octets) + '"'


_QUOTED_OCTET: Final = [
    f"\\{chr(octet)}" if octet in b'"\\' else chr(octet) if 0x20 <= octet < 0x7F else f"\\{octet:03d}"
    for octet in range(256)
]


# ---------------------------------------------------------------- fields: text to octets


def _read_name(token: Token, origin: bytes | None) -> bytes:
    if token.quoted:
        raise RdataSyntaxError("a name stands in quotes", "write it without quotes", token)
    try:
        return wirename.from_text(token.text, origin)
    except NameSyntaxError as error:
        raise RdataSyntaxError(f"{shown(token)} is not a name: {error}", "write a domain name", token) from None


def number(token: Token, bits: int) -> int:
    text = token.text
    if token.quoted or not (text.isascii() and text.isdigit()) or len(text) > 10 or int(text) >> bits:
        raise RdataSyntaxError(f"{shown(token)} is not a number", f"write one from 0 to {(1 << bits) - 1}", token)
    return int(text)


def _read_u8(token: Token, _origin: bytes | None) -> bytes:
    return number(token, 8).to_bytes(1, "big")


def _read_u16(token: Token, _origin: bytes | None) -> bytes:
    return number(token, 16).to_bytes(2, "big")


def _read_u32(token: Token, _origin: bytes | None) -> bytes:
    return number(token, 32).to_bytes(4, "big")


def _read_time(token: Token, _origin: bytes | None) -> bytes:
    seconds = None if token.quoted else seconds_from_text(token.text)
    if seconds is None or seconds > 0xFFFFFFFF:
        raise RdataSyntaxError(f"{shown(token)} is not a time", "write seconds, or 1h30m, up to 4294967295 s", token)
    return seconds.to_bytes(4, "big")


def _read_ipv4(token: Token, _origin: bytes | None) -> bytes:
    try:
        return inet_pton(AF_INET, token.text)
    except (OSError, ValueError):
        raise RdataSyntaxError(
            f"{shown(token)} is not an IPv4 address", "write four numbers from 0 to 255 with dots, as 192.0.2.1", token
        ) from None


def _read_ipv6(token: Token, _origin: bytes | None) -> bytes:
    try:
        return inet_pton(AF_INET6, token.text)
    except (OSError, ValueError):
        raise RdataSyntaxError(f"{shown(token)} is not an IPv6 address", "write one as 2001:db8::1", token) from None


def _octets(token: Token) -> bytes:
    try:
        return octets_from_text(token.text)
    except UnicodeEncodeError:
        raise RdataSyntaxError(f"{shown(token)} is not ASCII", "write each octet above 127 as \\DDD", token) from None
    except ValueError as error:
        raise RdataSyntaxError(f"{shown(token)} is not a string: {error}", "write a backslash as \\\\", token) from None


def _read_string(token: Token, _origin: bytes | None) -> bytes:
    octets = _octets(token)
    if len(octets) > 255:
        raise RdataSyntaxError(
            f"a string has {len(octets)} octets; at most 255 are allowed (RFC 1035 section 3.3)",
            'cut it into several strings: "first part" "second part"',
            token,
        )
    return len(octets).to_bytes(1, "big") + octets


def _read_tag(token: Token, _origin: bytes | None) -> bytes:
    tag = token.text
    if token.quoted or not (tag.isascii() and tag.isalnum()) or len(tag) > 255:
        raise RdataSyntaxError(
            f"{shown(token)} is not a CAA tag (RFC 8659 section 4.1)", "write letters and digits, as issue", token
        )
    return len(tag).to_bytes(1, "big") + tag.encode("ascii")


def _read_value(token: Token, _origin: bytes | None) -> bytes:
    return _octets(token)


def _read_strings(tokens: Sequence[Token]) -> bytes:
    return b"".join(_read_string(token, None) for token in tokens)


def read_hex(tokens: Sequence[Token]) -> bytes:
    try:
        return bytes.fromhex("".join(token.text for token in tokens))
    except ValueError:
        raise RdataSyntaxError("the data is not hexadecimal", "write pairs of 0-9 and a-f", tokens[0]) from None


def shown(token: Token) -> str:
    """A token's text for a message: on one line, and not longer than a line."""
    text = token.text if len(token.text) <= 60 else token.text[:57] + "..."
    return ascii(text)


# ---------------------------------------------------------------- fields: octets to text


def _print_name(data: bytes, at: int) -> tuple[str, int]:
    end = at
    while length := data[end]:
        if length > wirename.MAX_LABEL:
            raise ValueError("a label of unknown type")
        end += length + 1
    end += 1
    if end - at > wirename.MAX_NAME:
        raise ValueError("a name over 255 octets")
    return wirename.to_text(data[at:end]), end


def _print_integer(octets: int) -> Callable[[bytes, int], tuple[str, int]]:
    def print_field(data: bytes, at: int) -> tuple[str, int]:
        return str(int.from_bytes(_cut(data, at, octets), "big")), at + octets

    return print_field


def _print_ipv4(data: bytes, at: int) -> tuple[str, int]:
    return inet_ntop(AF_INET, _cut(data, at, 4)), at + 4


def _print_ipv6(data: bytes, at: int) -> tuple[str, int]:
    return inet_ntop(AF_INET6, _cut(data, at, 16)), at + 16


def _print_string(data: bytes, at: int) -> tuple[str, int]:
    end = at + 1 + data[at]
    return octets_to_text(_cut(data, at + 1, data[at])), end


def _print_tag(data: bytes, at: int) -> tuple[str, int]:
    tag = _cut(data, at + 1, data[at])
    if not tag.isalnum():
        raise ValueError("a tag that is not letters and digits")
    return tag.decode("ascii"), at + 1 + data[at]


def _print_value(data: bytes, at: int) -> tuple[str, int]:
    return octets_to_text(data[at:]), len(data)


def _print_strings(data: bytes, at: int) -> tuple[str, int]:
    strings: list[str] = []
    while at < len(data) or not strings:
        text, at = _print_string(data, at)
        strings.append(text)
    return " ".join(strings), at


def _print_hex(data: bytes, at: int) -> tuple[str, int]:
    if at == len(data):
        raise ValueError("nothing where hexadecimal data should be")
    return data[at:].hex().upper(), len(data)


def _cut(data: bytes, at: int, octets: int) -> bytes:
    piece = data[at : at + octets]
    if len(piece) != octets:
        raise ValueError("the data ends too early")
    return piece


# ---------------------------------------------------------------- by letter


class _Field(NamedTuple):
    title: str
    read: Callable[[Token, bytes | None], bytes]
    print: Callable[[bytes, int], tuple[str, int]]


FIELDS: Final[dict[str, _Field]] = {
    "n": _Field("a name", _read_name, _print_name),
    "B": _Field("a number", _read_u8, _print_integer(1)),
    "H": _Field("a number", _read_u16, _print_integer(2)),
    "I": _Field("a number", _read_u32, _print_integer(4)),
    "t": _Field("a time", _read_time, _print_integer(4)),
    "4": _Field("an IPv4 address", _read_ipv4, _print_ipv4),
    "6": _Field("an IPv6 address", _read_ipv6, _print_ipv6),
    "s": _Field("a string", _read_string, _print_string),
    "T": _Field("a tag", _read_tag, _print_tag),
    "v": _Field("a value", _read_value, _print_value),
}


class _Rest(NamedTuple):
    """A field that takes all that is left; it stands last in a layout."""

    title: str
    read: Callable[[Sequence[Token]], bytes]
    print: Callable[[bytes, int], tuple[str, int]]


RESTS: Final[dict[str, _Rest]] = {
    "S": _Rest("a string", _read_strings, _print_strings),
    "x": _Rest("hexadecimal data", read_hex, _print_hex),
}
