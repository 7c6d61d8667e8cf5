"""The DNS numbers we name: record types, classes, operation codes and response codes.

Source: the IANA registry "Domain Name System (DNS) Parameters". A number without a name here is still carried and
    printed (RFC 3597 section 5).
"""

from enum import IntEnum
from typing import Final

A: Final = 1
NS: Final = 2
CNAME: Final = 5
SOA: Final = 6
NULL: Final = 10
PTR: Final = 12
HINFO: Final = 13
MX: Final = 15
TXT: Final = 16
RP: Final = 17
AFSDB: Final = 18
SIG: Final = 24
KEY: Final = 25
AAAA: Final = 28
LOC: Final = 29
SRV: Final = 33
NAPTR: Final = 35
KX: Final = 36
CERT: Final = 37
DNAME: Final = 39
OPT: Final = 41
DS: Final = 43
SSHFP: Final = 44
RRSIG: Final = 46
NSEC: Final = 47
DNSKEY: Final = 48
NSEC3: Final = 50
NSEC3PARAM: Final = 51
TLSA: Final = 52
SMIMEA: Final = 53
CDS: Final = 59
CDNSKEY: Final = 60
OPENPGPKEY: Final = 61
CSYNC: Final = 62
ZONEMD: Final = 63
SVCB: Final = 64
HTTPS: Final = 65
SPF: Final = 99
TKEY: Final = 249
TSIG: Final = 250
IXFR: Final = 251
AXFR: Final = 252
MAILB: Final = 253
MAILA: Final = 254
ANY: Final = 255
URI: Final = 256
CAA: Final = 257

# The remaining assigned names, so that what other servers print can be read and printed back.
_MORE: Final = {
    "MD": 3, "MF": 4, "MB": 7, "MG": 8, "MR": 9, "WKS": 11, "MINFO": 14, "X25": 19, "ISDN": 20, "RT": 21, "NSAP": 22,
    "NSAP-PTR": 23, "PX": 26, "GPOS": 27, "NXT": 30, "EID": 31, "NIMLOC": 32, "ATMA": 34, "A6": 38, "SINK": 40,
    "APL": 42, "IPSECKEY": 45, "DHCID": 49, "HIP": 55, "NINFO": 56, "RKEY": 57, "TALINK": 58, "DSYNC": 66, "UINFO": 100,
    "UID": 101, "GID": 102, "UNSPEC": 103, "NID": 104, "L32": 105, "L64": 106, "LP": 107, "EUI48": 108, "EUI64": 109,
    "AVC": 258, "DOA": 259, "AMTRELAY": 260, "RESINFO": 261, "WALLET": 262, "TA": 32768, "DLV": 32769,
}  # fmt: skip

_NUMBERS: Final[dict[str, int]] = {
    name: value for name, value in list(globals().items()) if name.isupper() and isinstance(value, int)
} | _MORE
_NAMES: Final[dict[int, str]] = {number: name for name, number in _NUMBERS.items()}

IN: Final = 1
CH: Final = 3
HS: Final = 4
CLASS_NONE: Final = 254
CLASS_ANY: Final = 255


class Opcode(IntEnum):
    """Operation codes (RFC 6895 section 2.2)."""

    QUERY = 0
    IQUERY = 1
    STATUS = 2
    NOTIFY = 4
    UPDATE = 5
    DSO = 6


class Rcode(IntEnum):
    """Response codes, the extended ones of EDNS included (RFC 6895 section 2.3)."""

    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5
    YXDOMAIN = 6
    YXRRSET = 7
    NXRRSET = 8
    NOTAUTH = 9
    NOTZONE = 10
    DSOTYPENI = 11
    BADVERS = 16
    BADKEY = 17
    BADTIME = 18
    BADMODE = 19
    BADNAME = 20
    BADALG = 21
    BADTRUNC = 22
    BADCOOKIE = 23


class Ede(IntEnum):
    """Why an answer is as it is: the extended DNS errors we send (RFC 8914 section 4)."""

    NOT_READY = 14
    PROHIBITED = 18
    NOT_AUTHORITATIVE = 20
    NOT_SUPPORTED = 21
    INVALID_DATA = 24


def type_to_text(number: int) -> str:
    """The mnemonic of a record type, or ``TYPE`` and its number where it has none (RFC 3597 section 5)."""
    return _NAMES.get(number) or f"TYPE{number}"


def type_from_text(text: str) -> int:
    """The number of a record type written as ``MX``, ``mx`` or ``TYPE15``.

    Raises:
        ValueError: no such mnemonic, or a number above 65535.
    """
    upper = text.upper()
    number = _NUMBERS.get(upper)
    if number is not None:
        return number
    digits = upper.removeprefix("TYPE")
    if digits != upper and digits.isascii() and digits.isdigit() and len(digits) <= 5 and int(digits) <= 0xFFFF:
        return int(digits)
    raise ValueError(f"{text!r} is not a record type")


def rcode_to_text(number: int) -> str:
    """The name of a response code, or ``RCODE`` and its number."""
    try:
        return Rcode(number).name
    except ValueError:
        return f"RCODE{number}"
