"""Record data: what stands behind the type, as text in master files and as octets on the wire.

The types mail and hosting use most are described by a *layout*, a short string with one letter a field (see
``_FIELDS``): one table reads, prints and checks them. Other known types go through dnspython, imported only then,
because it knows all of them; types nobody knows are written as RFC 3597 says. Names inside data are kept uncompressed
and in the case they were written.
"""

import re
from collections.abc import Callable, Sequence
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import TYPE_CHECKING, Final, NamedTuple

from mx10.dns import rrtypes as rr
from mx10.dns import wirename
from mx10.dns.wirename import NameSyntaxError

if TYPE_CHECKING:
    import dns.rdatatype

MAX_RDATA: Final = 65535
"""Octets of one record's data: its length field has 16 bits (RFC 1035 section 3.2.1)."""
MAX_TTL: Final = 2**31 - 1
"""Seconds; the top bit of a TTL must be zero (RFC 2181 section 8)."""


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
        raise RdataSyntaxError(f"{_shown(token)} is not a name: {error}", "write a domain name", token) from None


def _number(token: Token, bits: int) -> int:
    text = token.text
    if token.quoted or not (text.isascii() and text.isdigit()) or len(text) > 10 or int(text) >> bits:
        raise RdataSyntaxError(f"{_shown(token)} is not a number", f"write one from 0 to {(1 << bits) - 1}", token)
    return int(text)


def _read_u8(token: Token, _origin: bytes | None) -> bytes:
    return _number(token, 8).to_bytes(1, "big")


def _read_u16(token: Token, _origin: bytes | None) -> bytes:
    return _number(token, 16).to_bytes(2, "big")


def _read_u32(token: Token, _origin: bytes | None) -> bytes:
    return _number(token, 32).to_bytes(4, "big")


def _read_time(token: Token, _origin: bytes | None) -> bytes:
    seconds = None if token.quoted else seconds_from_text(token.text)
    if seconds is None or seconds > 0xFFFFFFFF:
        raise RdataSyntaxError(f"{_shown(token)} is not a time", "write seconds, or 1h30m, up to 4294967295 s", token)
    return seconds.to_bytes(4, "big")


def _read_ipv4(token: Token, _origin: bytes | None) -> bytes:
    try:
        return inet_pton(AF_INET, token.text)
    except (OSError, ValueError):
        raise RdataSyntaxError(
            f"{_shown(token)} is not an IPv4 address", "write four numbers from 0 to 255 with dots, as 192.0.2.1", token
        ) from None


def _read_ipv6(token: Token, _origin: bytes | None) -> bytes:
    try:
        return inet_pton(AF_INET6, token.text)
    except (OSError, ValueError):
        raise RdataSyntaxError(f"{_shown(token)} is not an IPv6 address", "write one as 2001:db8::1", token) from None


def _octets(token: Token) -> bytes:
    try:
        return octets_from_text(token.text)
    except UnicodeEncodeError:
        raise RdataSyntaxError(f"{_shown(token)} is not ASCII", "write each octet above 127 as \\DDD", token) from None
    except ValueError as error:
        raise RdataSyntaxError(
            f"{_shown(token)} is not a string: {error}", "write a backslash as \\\\", token
        ) from None


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
            f"{_shown(token)} is not a CAA tag (RFC 8659 section 4.1)", "write letters and digits, as issue", token
        )
    return len(tag).to_bytes(1, "big") + tag.encode("ascii")


def _read_value(token: Token, _origin: bytes | None) -> bytes:
    return _octets(token)


def _read_strings(tokens: Sequence[Token]) -> bytes:
    return b"".join(_read_string(token, None) for token in tokens)


def _read_hex(tokens: Sequence[Token]) -> bytes:
    try:
        return bytes.fromhex("".join(token.text for token in tokens))
    except ValueError:
        raise RdataSyntaxError("the data is not hexadecimal", "write pairs of 0-9 and a-f", tokens[0]) from None


def _shown(token: Token) -> str:
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


# ---------------------------------------------------------------- layouts


class _Field(NamedTuple):
    title: str
    read: Callable[[Token, bytes | None], bytes]
    print: Callable[[bytes, int], tuple[str, int]]


_FIELDS: Final[dict[str, _Field]] = {
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


_RESTS: Final[dict[str, _Rest]] = {
    "S": _Rest("a string", _read_strings, _print_strings),
    "x": _Rest("hexadecimal data", _read_hex, _print_hex),
}

# The layout, and an example for the mend.
_LAYOUTS: Final[dict[int, tuple[str, str]]] = {
    rr.A: ("4", "192.0.2.1"),
    rr.NS: ("n", "ns1.example.com."),
    rr.CNAME: ("n", "www.example.com."),
    rr.SOA: ("nnItttt", "ns1.example.com. hostmaster.example.com. 2026010101 2h 30m 2w 1h"),
    rr.PTR: ("n", "host.example.com."),
    rr.HINFO: ("ss", '"PC" "Linux"'),
    rr.MX: ("Hn", "10 mail.example.com."),
    rr.TXT: ("S", '"v=spf1 -all"'),
    rr.RP: ("nn", "admin.example.com. txt.example.com."),
    rr.AFSDB: ("Hn", "1 afs.example.com."),
    rr.AAAA: ("6", "2001:db8::1"),
    rr.SRV: ("HHHn", "10 60 25 mail.example.com."),
    rr.KX: ("Hn", "10 kx.example.com."),
    rr.DNAME: ("n", "example.net."),
    rr.SSHFP: ("BBx", "4 2 123456789abcdef6..."),
    rr.TLSA: ("BBBx", "3 1 1 0c72ac70b745ac19..."),
    rr.SMIMEA: ("BBBx", "3 1 1 0c72ac70b745ac19..."),
    rr.SPF: ("S", '"v=spf1 -all"'),
    rr.CAA: ("BTv", '0 issue "ca.example.net"'),
}


def from_text(rrtype: int, tokens: Sequence[Token], origin: bytes | None = None) -> bytes:
    r"""Record data from the words of a master file.

    Args:
        rrtype: the record type; data in the form ``\# length hex`` is taken for every type (RFC 3597 section 5).
        tokens: the words behind the type.
        origin: what relative names are completed with; without one, every name is taken as absolute.

    Raises:
        RdataSyntaxError: the words are no data of that type.
    """
    if tokens and tokens[0].text == "\\#" and not tokens[0].quoted:
        rdata = _read_generic(rrtype, tokens)
    elif layout := _LAYOUTS.get(rrtype):
        rdata = _read_layout(rrtype, layout[0], tokens, origin)
    else:
        rdata = _read_by_dnspython(rrtype, tokens, origin)
    if len(rdata) > MAX_RDATA:
        raise RdataSyntaxError(
            f"the data has {len(rdata)} octets; at most 65535 are allowed", "cut it into several records", tokens[0]
        )
    return rdata


def to_text(rrtype: int, rdata: bytes) -> str:
    r"""Record data as ``dig`` prints it; ``\# length hex`` for types without a form, and for data that is not of its
    type (RFC 3597 section 5)."""
    try:
        return _print_checked(rrtype, rdata)
    except ValueError:
        return f"\\# {len(rdata)} {rdata.hex().upper()}".rstrip()


def check(rrtype: int, rdata: bytes) -> None:
    """See that octets are data of that type; data of a type nobody knows always is.

    Raises:
        ValueError: they are not.
    """
    if rrtype in _LAYOUTS or _dnspython_type(rrtype) is not None:
        _print_checked(rrtype, rdata)


def mx(rdata: bytes) -> tuple[int, bytes]:
    """Preference and exchanger (a wire name, case kept) of MX data (RFC 1035 section 3.3.9)."""
    return rdata[0] << 8 | rdata[1], rdata[2:]


def _read_layout(rrtype: int, layout: str, tokens: Sequence[Token], origin: bytes | None) -> bytes:
    pieces = []
    at = 0
    for letter in layout:
        rest = _RESTS.get(letter)
        if at >= len(tokens):
            title = rest.title if rest else _FIELDS[letter].title
            raise RdataSyntaxError(f"{_data_of(rrtype)} ends where {title} should stand", _mend(rrtype))
        if rest:
            pieces.append(rest.read(tokens[at:]))
            at = len(tokens)
        else:
            pieces.append(_FIELDS[letter].read(tokens[at], origin))
            at += 1
    if at < len(tokens):
        extra = tokens[at]
        raise RdataSyntaxError(f"{_shown(extra)} is more than {_data_of(rrtype)} has", _mend(rrtype), extra)
    return b"".join(pieces)


def _data_of(rrtype: int) -> str:
    return f"the data of {rr.type_to_text(rrtype)}"


def _mend(rrtype: int) -> str:
    return f"write it as: {rr.type_to_text(rrtype)} {_LAYOUTS[rrtype][1]}"


def _read_generic(rrtype: int, tokens: Sequence[Token]) -> bytes:
    """The form of RFC 3597 section 5."""
    if len(tokens) < 2:
        raise RdataSyntaxError("\\# stands without a length", "write \\# length hex, as \\# 4 C0000201", tokens[0])
    length = _number(tokens[1], 16)
    rdata = _read_hex(tokens[2:]) if len(tokens) > 2 else b""
    if len(rdata) != length:
        raise RdataSyntaxError(
            f"\\# says {length} octets and {len(rdata)} follow", "write the length of the data that follows", tokens[1]
        )
    try:
        check(rrtype, rdata)
    except ValueError as error:
        raise RdataSyntaxError(
            f"the octets are not {_data_of(rrtype)}: {error}", "write it in the form of its type", tokens[0]
        ) from None
    return rdata


def _print_checked(rrtype: int, rdata: bytes) -> str:
    """Raises ValueError where the octets are not of that type."""
    layout = _LAYOUTS.get(rrtype)
    if layout is None:
        return _print_by_dnspython(rrtype, rdata)
    words = []
    at = 0
    try:
        for letter in layout[0]:
            text, at = (_RESTS.get(letter) or _FIELDS[letter]).print(rdata, at)
            words.append(text)
    except IndexError:
        raise ValueError("the data ends too early") from None
    if at != len(rdata):
        raise ValueError(f"{len(rdata) - at} octets too many" if at < len(rdata) else "the data ends too early")
    return " ".join(words)


# ---------------------------------------------------------------- dnspython


def _dnspython_type(rrtype: int) -> "dns.rdatatype.RdataType | None":
    """The type as dnspython's value; None where it has no form for its data."""
    import dns.rdata
    import dns.rdataclass
    import dns.rdatatype

    number = dns.rdatatype.RdataType.make(rrtype)
    found = dns.rdata.get_rdata_class(dns.rdataclass.IN, number)  # type: ignore[no-untyped-call]  # untyped there
    return None if found is None or issubclass(found, dns.rdata.GenericRdata) else number


def _read_by_dnspython(rrtype: int, tokens: Sequence[Token], origin: bytes | None) -> bytes:
    import dns.name
    import dns.rdata
    import dns.rdataclass

    number = _dnspython_type(rrtype)
    if number is None:
        raise RdataSyntaxError(
            f"{_data_of(rrtype)} has no form that is known here",
            "write it as \\# length hex (RFC 3597 section 5)",
            tokens[0] if tokens else None,
        )
    completed = dns.name.from_wire(origin, 0)[0] if origin else dns.name.root
    # dnspython reports bad text by many types: DNSException, ValueError, OverflowError, struct.error and more.
    try:
        text = as_written(tokens)
        value = dns.rdata.from_text(dns.rdataclass.IN, number, text, origin=completed, relativize=False)
        return value.to_wire() or b""
    except Exception as error:
        raise RdataSyntaxError(
            f"these words are not {_data_of(rrtype)}: {_reason(error)}",
            f"write it as the RFC of {rr.type_to_text(rrtype)} says",
            tokens[0] if tokens else None,
        ) from None


def as_written(tokens: Sequence[Token]) -> str:
    """Words as a line again, with their quotes and white space only where there was some."""
    pieces = []
    for token in tokens:
        pieces.append("" if token.glued else " ")
        pieces.append(f'"{token.text}"' if token.quoted else token.text)
    return "".join(pieces).lstrip(" ")


def _print_by_dnspython(rrtype: int, rdata: bytes) -> str:
    import dns.rdata
    import dns.rdataclass

    number = _dnspython_type(rrtype)
    if number is None:
        raise ValueError("no form is known")
    # As above: many types, one meaning.
    try:
        return str(dns.rdata.from_wire(dns.rdataclass.IN, number, rdata, 0, len(rdata)).to_text())
    except Exception as error:
        raise ValueError(_reason(error)) from None


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
