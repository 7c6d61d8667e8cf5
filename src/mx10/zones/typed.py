"""Record sets as people type them on a command line or into a form: ``@ MX "10 mail"``.

The data has the form of a master file (RFC 1035 section 5.1) with two differences that spare the one who types: the
text of a TXT record needs no quotes and may be of any length (it is cut into strings of 255 octets, which readers of
SPF and DKIM join again: RFC 7208 section 3.3), and a host name with a dot inside but none at its end is refused, since
``10 mail.example.net`` would quietly mean mail.example.net.example.com.
"""

from collections.abc import Iterator
from typing import Final

from mx10.dns import rdata, wirename
from mx10.dns import rrtypes as rr
from mx10.dns.fields import Token, octets_from_text
from mx10.dns.rdata import RdataSyntaxError
from mx10.names import DomainError, domain_from_text
from mx10.zones.problems import Kind
from mx10.zones.tokens import scan

MAX_TEXT: Final = 1 << 18
"""Characters of one record's data as typed: more cannot fit into its 65535 octets."""
_TEXTS: Final = frozenset({rr.TXT, rr.SPF})
_STRING: Final = 255
_ELSEWHERE: Final = b"\1x\0"
"""Another origin: data that comes out different with it has a relative name in it."""


class TypedError(ValueError):
    """Something typed that is no record: what is wrong, and the mend."""


def zone_name(text: str) -> bytes:
    """The name of a zone.

    Raises:
        TypedError: it is no domain name.
    """
    try:
        return domain_from_text(text)
    except DomainError as error:
        raise TypedError(str(error)) from None


def owner_name(text: str, apex: bytes) -> bytes:
    """The owner somebody means within a zone: ``@``, ``www``, ``www.example.com`` or ``www.example.com.``.

    Raises:
        TypedError: no name, or not in the zone.
    """
    if text == "@":
        return apex
    try:
        name = domain_from_text(text)
        if wirename.is_under(name, apex):
            return name
        if text.endswith("."):
            zone = wirename.to_text(apex)
            raise TypedError(f"{text} is not in the zone {zone}: write a name in it, relative to it, or @ for itself")
        return wirename.fold(wirename.from_text(wirename.to_text(name, final_dot=False), apex))
    except ValueError as error:
        raise TypedError(str(error)) from None


def record_type(text: str) -> int:
    """The number of a type of data: ``MX``, ``TYPE65280``.

    Raises:
        TypedError: no such type, or one for questions only.
    """
    try:
        rrtype = rr.type_from_text(text)
    except ValueError:
        raise TypedError(f"{text!r} is no record type: write one as MX, TXT, or TYPE and its number") from None
    if rrtype == 0 or rrtype == rr.OPT or 128 <= rrtype <= 255:
        raise TypedError(f"{text.upper()} is for questions only (RFC 6895 section 3.1): no record has it")
    return rrtype


def ttl(text: str) -> int:
    """A time to live in seconds: ``3600``, ``1h30m``.

    Raises:
        TypedError: it is none.
    """
    seconds = rdata.seconds_from_text(text)
    if seconds is None or seconds > rdata.MAX_TTL:
        raise TypedError(f"{_shown(text)} is no TTL: write seconds, or units as 1h30m, up to {rdata.MAX_TTL} s")
    return seconds


def record_data(text: str, rrtype: int, apex: bytes) -> bytes:
    """The data of a record, as octets.

    Args:
        text: as in a master file, but see the head of this module.
        apex: what relative names are completed with.

    Raises:
        TypedError: it is no data of that type.
    """
    if len(text) > MAX_TEXT:
        raise TypedError(f"the data has {len(text)} characters; at most {MAX_TEXT} are allowed")
    word = rr.type_to_text(rrtype)
    try:
        is_bare = rrtype in _TEXTS and text.strip()[:1] not in ('"', "\\")
        tokens = list(_strings(text)) if is_bare else _tokens(text)
        data = rdata.from_text(rrtype, tokens, apex)
        if data != rdata.from_text(rrtype, tokens, _ELSEWHERE):
            _refuse_doubtful(tokens, apex)
    except TypedError:
        raise
    except (RdataSyntaxError, ValueError) as error:
        raise TypedError(f"{word} {_shown(text)}: {error}") from None
    return data


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}…")


def _tokens(text: str) -> list[Token]:
    def report(kind: Kind, line: int, column: int, what: str, mend: str) -> None:
        raise TypedError(f"{_shown(text)}, at character {column}: {what}; {mend or kind.mend}")

    return scan([text.replace("\n", " ")], 1, iter(()), MAX_TEXT * 4, report).tokens


def _strings(text: str) -> Iterator[Token]:
    """A text without quotes as the strings of a TXT record."""
    octets = octets_from_text(text) if text.isascii() else text.encode()
    for start in range(0, max(len(octets), 1), _STRING):
        yield Token("".join(f"\\{octet:03d}" for octet in octets[start : start + _STRING]), quoted=True)


def _refuse_doubtful(tokens: list[Token], apex: bytes) -> None:
    for token in tokens:
        if "." in token.text.rstrip(".") and not token.text.endswith(".") and not token.quoted:
            zone = wirename.to_text(apex)
            raise TypedError(
                f"{token.text} is without a final dot: write {token.text}. for the host of that name,"
                f" or {token.text}.{zone} for the one in this zone"
            )
