"""A look-up as people read it: what was found, how long it holds and who said so; exchangers in a table."""

from collections.abc import Iterator
from typing import Final

from mx10.cli.dig_text import dig_text
from mx10.cli.text import Style, plain, table
from mx10.dns import rdata, wirename
from mx10.dns import rrtypes as rr
from mx10.dns.message import Record
from mx10.names import ascii_text, display
from mx10.resolver.answer import Status
from mx10.resolver.lookup import Lookup, MailHost, address_from_text

_NAMES_ALONE: Final = frozenset({rr.NS, rr.CNAME, rr.PTR, rr.DNAME})
"""Types whose data is one name."""
_UNITS: Final = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
_SIGNATURE: Final = 18
"""Octets of a signature's data before the signer's name (RFC 4034 section 3.1)."""


def lookup_text(found: Lookup, style: Style, *, dnssec: bool = False) -> str:
    """Some lines, the first about all, the others indented.

    Args:
        dnssec: say whether the answer was authenticated and who signed it.
    """
    lines = [_headline(found, style), *_aliases(found)]
    if found.exchangers:
        lines += _indented(
            table(("preference", "exchanger", "address"), _mail_rows(found, style), style=style, right=(0,))
        )
    elif found.status is Status.OK:
        lines += _indented(table((), _rows(found)))
    if dnssec and found.status is not Status.FAILURE:
        lines += [f"  {line}" for line in _dnssec(found, style)]
    return "\n".join(lines)


def short_text(found: Lookup) -> str:
    """The data of the answer's records, a line each, as ``dig +short`` prints it."""
    return "\n".join(dig_text(record.type, record.rdata) for record in found.answer.section)


def name_text(name: bytes) -> str:
    """A name with U-labels, and where they differ with A-labels behind."""
    unicode, plain_name = display(name), ascii_text(name)
    return plain_name if unicode == plain_name else f"{plain(unicode)} ({plain_name})"


def duration(seconds: int) -> str:
    """Seconds in the two largest units: ``1 d 2 h``, ``1 h``, ``90 s`` as ``1 min 30 s``."""
    parts = []
    for unit, size in _UNITS:
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"


def _headline(found: Lookup, style: Style) -> str:
    answer = found.answer
    name = style.paint(_title(found), "bold")
    if answer.status is Status.FAILURE:
        return f"{name}: {style.paint(f'no answer about {found.type}', 'red')}: {plain(answer.reason)}"
    how = [] if not answer.ttl else [f"TTL {duration(answer.ttl)}"]
    if answer.server:
        how.append(f"from {answer.server} in {answer.elapsed * 1000:.0f} ms")
    source = style.paint(f" ({', '.join(how)})", "dim") if how else ""
    if answer.status is Status.OK:
        kind = "" if answer.rrtype == rr.ANY else f" {found.type}"
        count = len(answer.records)
        return f"{name}: {count}{kind} record{'' if count == 1 else 's'}{source}"
    what = f"no {found.type} record" if answer.status is Status.NODATA else "no such name"
    return f"{name}: {style.paint(what, 'yellow')}{source}"


def _title(found: Lookup) -> str:
    """The name that was looked up, behind the address that it stands for."""
    name = name_text(found.answer.name)
    return f"{plain(found.asked.strip())} ({name})" if address_from_text(found.asked) else name


def _aliases(found: Lookup) -> list[str]:
    if not found.answer.chain:
        return []
    return [f"  alias (CNAME) of {', of '.join(map(name_text, found.answer.chain))}"]


def _indented(text: str) -> list[str]:
    return [f"  {line}" for line in text.split("\n")]


def _mail_rows(found: Lookup, style: Style) -> Iterator[tuple[str, str, str]]:
    """A line for each address, preference and exchanger on the first alone."""
    for one in found.exchangers:
        left = (str(one.preference), name_text(wirename.fold(one.name)))
        for address in (*one.addresses, *_remarks(one, style)):
            yield (*left, address)
            left = ("", "")


def _remarks(one: MailHost, style: Style) -> Iterator[str]:
    """What is out of the ordinary about an exchanger."""
    if one.name == wirename.ROOT:
        yield style.paint("none: takes no mail (null MX, RFC 7505)", "yellow")
    elif one.status is Status.NODATA:
        yield style.paint("no address", "yellow")
    elif one.status is Status.NXDOMAIN:
        yield style.paint("no such name", "yellow")
    elif one.reason:
        yield style.paint(plain(one.reason), "red")
    if one.aliases:
        yield style.paint(f"an alias (CNAME) of {', of '.join(map(name_text, one.aliases))}", "yellow")


def _rows(found: Lookup) -> Iterator[tuple[str, ...]]:
    for record in found.answer.records:
        data = name_text(wirename.fold(record.rdata)) if record.type in _NAMES_ALONE else plain(_data(record))
        yield (rr.type_to_text(record.type), data) if found.answer.rrtype == rr.ANY else (data,)


def _data(record: Record) -> str:
    return rdata.to_text(record.type, record.rdata)


def _dnssec(found: Lookup, style: Style) -> Iterator[str]:
    from datetime import UTC, datetime

    answer = found.answer
    if answer.authenticated:
        yield style.paint("authenticated: the server has checked it (AD)", "green")
    elif answer.ad:
        yield style.paint("not authenticated: the server says so (AD), but the way from there is not safe", "yellow")
    else:
        yield style.paint("not authenticated", "yellow")
    if not answer.signatures:
        yield "no signatures"
    for signature in answer.signatures:
        data = signature.rdata
        if len(data) <= _SIGNATURE:
            continue
        covered, key = (int.from_bytes(data[at : at + 2], "big") for at in (0, 16))
        until = datetime.fromtimestamp(int.from_bytes(data[8:12], "big"), UTC)
        try:
            signer = name_text(wirename.fold(wirename.read(data, _SIGNATURE)[0]))
        except wirename.WireError:
            continue
        yield f"{rr.type_to_text(covered)} signed by {signer}, key {key}, until {until:%Y-%m-%d %H:%M} UTC"
