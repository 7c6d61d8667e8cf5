"""From lines to words, exactly: parentheses over lines, quotes, escapes and comments (RFC 1035 section 5.1).

An *entry* is a record or a directive: one line, or several where parentheses hold them together. Here each word gets
its place; ``plain`` is the quick way for lines that need none of this.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from mx10.dns.rdata import Token
from mx10.zones import problems as p
from mx10.zones.problems import Kind

# White space, then: text in quotes | a word | a parenthesis | a comment | something that should not be. No alternative
# can begin where another does, and what has been taken is never given back (++ and *+), so a line costs time in
# proportion to its length.
_PIECE: Final = re.compile(
    r'([ \t\r]*+)(?:"((?:[^"\\]++|\\.)*+)"|((?:[^ \t\r"();\\]++|\\.)++)|([()])|;.*|(.))?', re.DOTALL
)
_QUOTED, _WORD, _PARENTHESIS, _ODD = 2, 3, 4, 5

Report = Callable[[Kind, int, int, str, str], None]
"""Takes a problem: kind, line, column, what, mend (or "")."""


@dataclass(slots=True)
class Entry:
    """The words of a record or directive; ``indented`` where the line begins with white space and the owner is that of
    the record before."""

    indented: bool
    line: int
    tokens: list[Token] = field(default_factory=list)
    good: bool = True
    """Whether every word of it could be read."""
    last_line: int = 0


def scan(first: list[str], number: int, more: Iterator[str], limit: int, report: Report) -> Entry:
    """Read one entry.

    Args:
        first: the lines taken already, at least one.
        number: the line number of the first of them.
        more: where further lines come from.
        limit: octets the lines of an entry may have together.
        report: takes the problems.
    """
    entry = Entry(first[0][:1] in (" ", "\t"), number)
    opened: list[tuple[int, int]] = []
    octets = 0
    lines = iter(first)
    while True:
        line = next(lines, None)
        if line is None:
            line = next(more, None)
        if line is None:
            report(p.UNCLOSED_PARENTHESIS, *opened[0], "this ( is never closed", "")
            entry.good = False
            break
        entry.last_line = number
        octets += len(line)
        if octets > limit:
            what = f"the record has more than {limit} octets" if opened else f"the line has more than {limit} octets"
            report(p.LINE_TOO_LONG, *(opened[0] if opened else (number, 1)), what, "")
            entry.good = False
            break
        _scan_line(entry, line, number, opened, report)
        if not opened:
            break
        number += 1
    return entry


def _scan_line(entry: Entry, line: str, number: int, opened: list[tuple[int, int]], report: Report) -> None:
    at = 0
    while match := _PIECE.match(line, at):
        which = match.lastindex
        start = match.end(1)
        glued = start == at and at > 0
        at = match.end()
        if which in (_WORD, _QUOTED):
            text = match[which]
            entry.tokens.append(Token(text, which == _QUOTED, number, start + 1, glued))
            if not (text.isascii() and text.isprintable()) and not _allowed(text, which == _QUOTED):
                _report_character(text, which == _QUOTED, number, start + 1, report)
                entry.good = False
        elif which == _PARENTHESIS:
            if match[_PARENTHESIS] == "(":
                opened.append((number, start + 1))
            elif opened:
                opened.pop()
            else:
                report(p.UNOPENED_PARENTHESIS, number, start + 1, "this ) was never opened", "")
                entry.good = False
        elif which == _ODD:
            entry.good = False
            if match[_ODD] == '"':
                # What follows belongs to the string, so the line says nothing more.
                report(p.UNCLOSED_QUOTE, number, start + 1, "this quote is not closed", "")
                return
            report(p.LONE_BACKSLASH, number, start + 1, "a backslash stands at the end of the line", "")
        if at >= len(line):
            return


def _allowed(text: str, quoted: bool) -> bool:
    """Whether the only thing unprintable in a text is a tab inside quotes."""
    return quoted and text.isascii() and text.replace("\t", "").isprintable()


def _report_character(text: str, quoted: bool, line: int, column: int, report: Report) -> None:
    offset, char = next(
        (offset, char)
        for offset, char in enumerate(text)
        if ord(char) > 126 or (ord(char) < 32 and not (quoted and char == "\t"))
    )
    column += offset + quoted
    if ord(char) < 128:
        name = "a NUL octet" if char == "\0" else f"the control character \\{ord(char):03d}"
        report(p.BAD_CHARACTER, line, column, f"{name} stands in the file", "")
    else:
        shown = f"the octet \\{ord(char) - 0xDC00:03d}" if 0xDC80 <= ord(char) <= 0xDCFF else repr(char)
        report(p.NOT_ASCII, line, column, f"{shown} is not ASCII", _ascii_for(text, quoted))


def _ascii_for(text: str, quoted: bool) -> str:
    """The mend for a text that is not ASCII: the same in ASCII, where that is known."""
    if quoted:
        octets = text.encode("utf-8", "surrogateescape")
        written = "".join(chr(octet) if 32 <= octet < 127 else f"\\{octet:03d}" for octet in octets)
        return f'write "{written}"' if len(written) <= 200 else ""
    from mx10 import names

    try:
        return f"write {names.ascii_text(names.domain_from_text(text))}{'.' if text.endswith('.') else ''}"
    except ValueError:
        return ""
