"""Where in a file a rule's finding stands: file, line, and column of the word meant.

The reader notes only the line of each record, since nearly none is ever asked for; here the line is taken apart again
for those that are.
"""

from collections.abc import Iterable, Iterator
from itertools import islice

from mx10.dns.rdata import Token
from mx10.zones.master import Master
from mx10.zones.problems import Kind
from mx10.zones.source import Source, SourceError
from mx10.zones.tokens import scan
from mx10.zones.view import Finding

_LINES = 64
"""Lines of an entry that are looked through for a word."""
_OCTETS = 1 << 20
_LINE_MASK = 0xFFFFFFFF


class Places:
    """The places of some findings.

    Args:
        master: what was read.
        findings: those that will be asked for.
    """

    def __init__(self, master: Master, findings: Iterable[Finding]) -> None:
        self._master = master
        self._places: dict[tuple[bytes, int, bytes | None, int], int] = {}
        wanted = {(finding.owner, finding.rrtype): finding for finding in findings}
        seen: dict[tuple[bytes, int, bytes], int] = {}
        for owner, rrtype, _, data, place in master.records:
            if (owner, rrtype) in wanted:
                count = seen[owner, rrtype, data] = seen.get((owner, rrtype, data), 0) + 1
                self._places.setdefault((owner, rrtype, None, 1), place)
                self._places[owner, rrtype, data, count] = place
        self._lines: dict[int, list[str]] = {}
        self._fetch()

    def find(self, finding: Finding) -> tuple[str, int, int]:
        """File, line and column; line and column 0 where nothing in the file stands for it."""
        key = finding.owner, finding.rrtype
        place = (
            self._places.get((*key, finding.data, finding.nth))
            or self._places.get((*key, finding.data, 1))
            or self._places.get((*key, None, 1))
        )
        if place is None:
            return self._master.files[0], 0, 0
        path = self._master.files[place >> 32]
        number = place & _LINE_MASK
        token = _word(self._lines.get(place, []), number, finding.field)
        return (path, token.line, token.column) if token else (path, number, 1)

    def _fetch(self) -> None:
        """Get the lines the places name; those of large files by reading them once more."""
        by_file: dict[int, set[int]] = {}
        for place in self._places.values():
            by_file.setdefault(place >> 32, set()).add(place & _LINE_MASK)
        for index, numbers in by_file.items():
            text = self._master.texts.get(index)
            if text is not None:
                for number in numbers:
                    self._lines[index << 32 | number] = text[number - 1 : number - 1 + _LINES]
            else:
                self._fetch_from_disk(index, numbers)

    def _fetch_from_disk(self, index: int, numbers: set[int]) -> None:
        last = max(numbers) + _LINES
        open_entries: list[tuple[int, list[str]]] = []
        try:
            source = Source.open(self._master.files[index], 1 << 62)
        except SourceError:
            return  # It went away since: the line number has to do.
        try:
            lines: Iterator[str] = source.lines(1 << 62, _OCTETS, lambda _: None)
            for number, line in enumerate(islice(lines, last), 1):
                if number in numbers:
                    entry = self._lines[index << 32 | number] = []
                    open_entries.append((number, entry))
                if open_entries:
                    open_entries = [each for each in open_entries if number < each[0] + _LINES]
                    for _, entry in open_entries:
                        entry.append(line)
        except SourceError:
            return
        finally:
            source.close()


def _ignore(_kind: Kind, _line: int, _column: int, _what: str, _mend: str) -> None:
    """The reader has told of these already."""


def _word(lines: list[str], number: int, field: str) -> Token | None:
    """The word of an entry that a field names: ``owner``, ``ttl``, ``type``, ``data`` (its first word), ``target`` (its
    last)."""
    if not lines:
        return None
    entry = scan(lines, number, iter(()), _OCTETS, _ignore)
    tokens = entry.tokens
    if not tokens:
        return None
    start = 0 if entry.indented else 1
    if tokens[0].text.upper() == "$GENERATE" and len(tokens) > 3:
        start = 3
    if field == "owner":
        return tokens[max(start - 1, 0)]
    if field == "target":
        return tokens[-1]
    at = start
    ttl = None
    while at < len(tokens) - 1:
        word = tokens[at].text
        if word[:1].isdigit():
            ttl = tokens[at]
        elif word.upper() not in ("IN", "CLASS1"):
            break
        at += 1
    if field == "ttl" and ttl:
        return ttl
    return tokens[min(at + (field == "data"), len(tokens) - 1)]
