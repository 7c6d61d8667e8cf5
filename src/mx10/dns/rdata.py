"""Record data: what stands behind the type, as text in master files and as octets on the wire.

The types mail and hosting use most are described by a *layout*, a short string with one letter a field (see
``fields``): one table reads, prints and checks them. Other known types go through dnspython (``other_types``), imported
only then; types nobody knows are written as RFC 3597 says. Names inside data are kept uncompressed and in the case they
were written.
"""

from collections.abc import Sequence
from typing import Final

from mx10.dns import rrtypes as rr
from mx10.dns.fields import (
    FIELDS,
    RESTS,
    RdataSyntaxError,
    Token,
    as_written,
    number,
    octets_from_text,
    octets_to_text,
    read_hex,
    seconds_from_text,
    shown,
)

__all__ = [
    "MAX_RDATA", "MAX_TTL", "RdataSyntaxError", "Token", "as_written", "check", "from_text", "mx", "octets_from_text",
    "octets_to_text", "seconds_from_text", "to_text",
]  # fmt: skip

MAX_RDATA: Final = 65535
"""Octets of one record's data: its length field has 16 bits (RFC 1035 section 3.2.1)."""
MAX_TTL: Final = 2**31 - 1
"""Seconds; the top bit of a TTL must be zero (RFC 2181 section 8)."""


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
        from mx10.dns import other_types

        rdata = other_types.from_text(rrtype, tokens, origin)
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
    if rrtype not in _LAYOUTS:
        from mx10.dns import other_types

        if not other_types.is_known(rrtype):
            return
    _print_checked(rrtype, rdata)


def mx(rdata: bytes) -> tuple[int, bytes]:
    """Preference and exchanger (a wire name, case kept) of MX data (RFC 1035 section 3.3.9)."""
    return rdata[0] << 8 | rdata[1], rdata[2:]


def _read_layout(rrtype: int, layout: str, tokens: Sequence[Token], origin: bytes | None) -> bytes:
    pieces = []
    at = 0
    for letter in layout:
        rest = RESTS.get(letter)
        if at >= len(tokens):
            title = rest.title if rest else FIELDS[letter].title
            raise RdataSyntaxError(f"{_data_of(rrtype)} ends where {title} should stand", _mend(rrtype))
        if rest:
            pieces.append(rest.read(tokens[at:]))
            at = len(tokens)
        else:
            pieces.append(FIELDS[letter].read(tokens[at], origin))
            at += 1
    if at < len(tokens):
        extra = tokens[at]
        raise RdataSyntaxError(f"{shown(extra)} is more than {_data_of(rrtype)} has", _mend(rrtype), extra)
    return b"".join(pieces)


def _data_of(rrtype: int) -> str:
    return f"the data of {rr.type_to_text(rrtype)}"


def _mend(rrtype: int) -> str:
    return f"write it as: {rr.type_to_text(rrtype)} {_LAYOUTS[rrtype][1]}"


def _read_generic(rrtype: int, tokens: Sequence[Token]) -> bytes:
    """The form of RFC 3597 section 5."""
    if len(tokens) < 2:
        raise RdataSyntaxError("\\# stands without a length", "write \\# length hex, as \\# 4 C0000201", tokens[0])
    length = number(tokens[1], 16)
    rdata = read_hex(tokens[2:]) if len(tokens) > 2 else b""
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
        from mx10.dns import other_types

        return other_types.to_text(rrtype, rdata)
    words = []
    at = 0
    try:
        for letter in layout[0]:
            text, at = (RESTS.get(letter) or FIELDS[letter]).print(rdata, at)
            words.append(text)
    except IndexError:
        raise ValueError("the data ends too early") from None
    if at != len(rdata):
        raise ValueError(f"{len(rdata) - at} octets too many" if at < len(rdata) else "the data ends too early")
    return " ".join(words)
