"""Record data to the letter as ``dig`` prints it, for programs that read its output: long hexadecimal and base64 data
in pieces, capital letters, and quotes where it has them."""

import re
from typing import Final

from mx10.dns import rdata
from mx10.dns import rrtypes as rr

PIECE: Final = 56
"""Characters of long data before a blank."""

_CDS: Final = rr.type_from_text("CDS")
_HEX: Final = {rr.DS: 3, _CDS: 3, rr.SSHFP: 2, rr.TLSA: 3, rr.SMIMEA: 3, rr.ZONEMD: 3, rr.type_from_text("DLV"): 3}
"""Types that end in hexadecimal data, and the words before it."""
_BASE64: Final = {rr.DNSKEY: 3, rr.CDNSKEY: 3, rr.KEY: 3, rr.RRSIG: 8, rr.SIG: 8, rr.CERT: 3, rr.OPENPGPKEY: 0}
"""Types that end in base64 data, and the words before it."""
_UNQUOTED: Final = re.compile(r'(?<= )(mandatory|port|ipv4hint|ech|ipv6hint)="([^"]*)"')
_METRES: Final = re.compile(r"([1-9][0-9]*)\.00m")


def dig_text(rrtype: int, data: bytes) -> str:
    """Record data as text."""
    text = rdata.to_text(rrtype, data)
    if text.startswith("\\# "):
        return _in_pieces(text, 2)
    if rrtype in _HEX:
        return _in_pieces(text.upper(), _HEX[rrtype])
    if rrtype in _BASE64:
        return _in_pieces(text, _BASE64[rrtype])
    if rrtype in (rr.SVCB, rr.HTTPS):
        return _UNQUOTED.sub(r"\1=\2", text)
    if rrtype == rr.LOC:
        # The height has centimetres always, the three sizes behind it where they are less than a metre.
        place, *sizes = text.rsplit(" ", 3)
        return " ".join((place, *(_METRES.sub(r"\1m", size) for size in sizes)))
    return text


def _in_pieces(text: str, before: int) -> str:
    words = text.split(" ")
    long = "".join(words[before:])
    return " ".join((*words[:before], *(long[at : at + PIECE] for at in range(0, len(long), PIECE))))
