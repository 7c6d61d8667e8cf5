"""The quick way through a master file: lines of plain words, as nearly all lines are.

A line is taken here only where every word is known to be harmless: names of ordinary characters, numbers, addresses,
one quoted string. Everything else is refused without a word and read by ``master``, exactly and with its errors. So
nothing here reports, and a line both ways would read must mean the same by both.
"""

import re
from collections.abc import Callable, Iterator
from itertools import islice
from socket import AF_INET, AF_INET6, inet_pton
from typing import Final

from mx10.dns import rrtypes as rr
from mx10.dns.rdata import seconds_from_text
from mx10.dns.wirename import MAX_LABEL, MAX_NAME, ROOT

Record = tuple[bytes, int, int, bytes, int]
"""Owner (folded), type, TTL in seconds, data, and place: the file's index << 32 | line."""

_PLAIN_NAME: Final = re.compile(r"[!#%&'*+,\-./0-9:<=>?A-Z\[\]^_`a-z{|}~]+").fullmatch
_LENGTHS: Final = [bytes((length,)) for length in range(MAX_LABEL + 1)]
_CLASSES: Final = frozenset({"IN", "in"})
_REMEMBERED: Final = 10_000
"""Names remembered by their text, per origin; so many that a zone of ordinary size needs no more."""
_JOINED_LINES: Final = 32
"""Lines a record in parentheses may have to be read here."""


class Context:
    """Where a reader stands: what the words of the next line mean.

    Args:
        origin: completes relative names; None until the file says one.
        records: takes what is read.
        absolute: absolute names by their text, shared between the zones of a run; they repeat from zone to zone.
    """

    __slots__ = ("_absolute", "default_ttl", "file", "last_ttl", "names", "origin", "owner", "records")

    def __init__(self, origin: bytes | None, records: list[Record], absolute: dict[str, bytes] | None = None) -> None:
        self.records = records
        self.owner: bytes | None = None
        self.default_ttl: int | None = None
        """What $TTL said (RFC 2308 section 4)."""
        self.last_ttl: int | None = None
        """The last TTL that stood in a record (RFC 1035 section 5.1)."""
        self.file = 0
        """The current file's index << 32."""
        self._absolute = {} if absolute is None else absolute
        self.set_origin(origin)

    def set_origin(self, origin: bytes | None) -> None:
        """Relative names are completed with this from here on."""
        self.origin = origin
        self.names: dict[str, bytes] = {}
        """Names as they were written to names on the wire, case kept."""
        self._remember_signs()

    def _remember_signs(self) -> None:
        self.names["."] = ROOT
        if self.origin is not None:
            self.names["@"] = self.origin

    def learn(self, text: str) -> bytes | None:
        """A name that is not among the remembered ones; None where it is not plain.

        Raises:
            IndexError: a label has more than 63 octets.
        """
        absolute = text[-1] == "."
        if absolute:
            wire = self._absolute.get(text)
            if wire is not None:
                return wire
        if not _PLAIN_NAME(text) or text[0] == "." or ".." in text:
            return None
        wire = b"".join([_LENGTHS[len(label)] + label for label in text.encode("ascii").split(b".")])
        if not absolute:
            if self.origin is None:
                return None
            wire += self.origin
        if len(wire) > MAX_NAME:
            return None
        known = self._absolute if absolute else self.names
        if len(known) >= _REMEMBERED:
            known.clear()
            if not absolute:
                self._remember_signs()
        known[text] = wire
        return wire


def read_plain(context: Context, words: list[str], line: str, number: int) -> bool:
    """Read a line of printable ASCII (and tabs) into the records, if it is plain.

    Args:
        words: the line split at white space, at least one.
        line: the line.
        number: its number.

    Returns:
        Whether it was plain; where not, nothing has changed.
    """
    try:
        if line[0] == " " or line[0] == "\t":
            owner = context.owner
            if owner is None:
                return False
            at = 0
        else:
            name = context.names.get(words[0]) or context.learn(words[0])
            if name is None:
                return False
            owner = name.lower()
            at = 1
        ttl = None
        kind = _READERS.get(words[at])
        if kind is None:
            word = words[at]
            if word.isdigit() and len(word) < 10:
                ttl = int(word)
                at += 1
                if words[at] in _CLASSES:
                    at += 1
            elif word in _CLASSES:
                at += 1
                word = words[at]
                if word.isdigit() and len(word) < 10:
                    ttl = int(word)
                    at += 1
            kind = _READERS.get(words[at])
            if kind is None:
                return False
        rrtype, count, read = kind
        at += 1
        if count and len(words) != at + count:
            return False
        if ttl is None:
            known_ttl = context.default_ttl
            if known_ttl is None:
                return False
        else:
            known_ttl = ttl
        rdata = read(context, words, at, line)
        if rdata is None:
            return False
    except (IndexError, OSError, ValueError):
        return False
    if ttl is not None:
        context.last_ttl = ttl
    context.owner = owner
    context.records.append((owner, rrtype, known_ttl, rdata, context.file | number))
    return True


def join_plain(first: str, more: Iterator[str]) -> tuple[list[str], list[str]]:
    """Undo comments and one pair of parentheses, where no quote or backslash makes that doubtful.

    Args:
        first: the line the record begins on.
        more: where further lines come from.

    Returns:
        The lines taken, the first included; and the words between, none where it is not that simple.
    """
    taken = [first]
    text = first.partition(";")[0]
    if '"' in text or "\\" in text:
        return taken, []
    if "(" not in text:
        return taken, text.split()
    parts = [text]
    if ")" not in text:
        # Each line is looked at before the next is taken: what is taken here belongs to the record, whoever reads it.
        for line in islice(more, _JOINED_LINES):
            taken.append(line)
            part = line.partition(";")[0]
            if '"' in part or "\\" in part or "(" in part:
                return taken, []
            parts.append(part)
            if ")" in part:
                break
    text = "\n".join(parts)
    if text.count("(") > 1 or text.count(")") != 1 or text.index(")") < text.index("("):
        return taken, []
    return taken, text.replace("(", " ").replace(")", " ").split()


# ---------------------------------------------------------------- data


def _read_ipv4(_context: Context, words: list[str], at: int, _line: str) -> bytes:
    return inet_pton(AF_INET, words[at])


def _read_ipv6(_context: Context, words: list[str], at: int, _line: str) -> bytes:
    return inet_pton(AF_INET6, words[at])


def _read_name(context: Context, words: list[str], at: int, _line: str) -> bytes | None:
    return context.names.get(words[at]) or context.learn(words[at])


def _read_mx(context: Context, words: list[str], at: int, _line: str) -> bytes | None:
    word = words[at]
    target = words[at + 1]
    name = context.names.get(target) or context.learn(target)
    if name is None or not word.isdigit() or len(word) > 5 or (preference := int(word)) > 0xFFFF:
        return None
    return preference.to_bytes(2, "big") + name


def _read_srv(context: Context, words: list[str], at: int, _line: str) -> bytes | None:
    target = words[at + 3]
    name = context.names.get(target) or context.learn(target)
    fields = words[at : at + 3]
    if name is None or not all(word.isdigit() and len(word) < 6 and int(word) <= 0xFFFF for word in fields):
        return None
    return b"".join([int(word).to_bytes(2, "big") for word in fields]) + name


def _read_soa(context: Context, words: list[str], at: int, _line: str) -> bytes | None:
    primary = context.names.get(words[at]) or context.learn(words[at])
    mailbox = context.names.get(words[at + 1]) or context.learn(words[at + 1])
    if primary is None or mailbox is None or not words[at + 2].isdigit():
        return None
    pieces = [primary, mailbox]
    for word in words[at + 2 : at + 7]:
        value = seconds_from_text(word)
        if value is None or value > 0xFFFFFFFF:
            return None
        pieces.append(value.to_bytes(4, "big"))
    return b"".join(pieces)


def _read_txt(_context: Context, words: list[str], at: int, line: str) -> bytes | None:
    if words[at][0] != '"' or line.count('"') != 2 or "\\" in line:
        return None
    # Owner, TTL, class and type hold no quote, so the first one begins the string.
    text = line[line.index('"') :].rstrip()
    if text[-1] != '"' or len(text) > 257 or not text.isprintable():
        return None
    return bytes((len(text) - 2,)) + text[1:-1].encode("ascii")


_Reader = Callable[[Context, list[str], int, str], bytes | None]
_BY_TYPE: Final[dict[int, tuple[int, _Reader]]] = {
    rr.A: (1, _read_ipv4),
    rr.AAAA: (1, _read_ipv6),
    rr.NS: (1, _read_name),
    rr.CNAME: (1, _read_name),
    rr.PTR: (1, _read_name),
    rr.MX: (2, _read_mx),
    rr.SRV: (4, _read_srv),
    rr.SOA: (7, _read_soa),
    rr.TXT: (0, _read_txt),
}
_READERS: Final[dict[str, tuple[int, int, _Reader]]] = {
    spelling: (rrtype, *how)
    for rrtype, how in _BY_TYPE.items()
    for spelling in (rr.type_to_text(rrtype), rr.type_to_text(rrtype).lower())
}
"""Type as written to its number, how many words its data has (0: any number), and what reads them."""
