"""Text for people: columns, trees and colours. Nothing here knows mail or DNS.

Small on purpose: a library for it would take longer to load than most commands take to answer.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TextIO

_CODES: Final = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
}


@dataclass(frozen=True, slots=True)
class Style:
    """Colours for one stream; ``Style(False)`` leaves every text as it is."""

    colour: bool = False

    @classmethod
    def of(cls, stream: TextIO, environ: Mapping[str, str], *, wanted: bool = True) -> "Style":
        """Colours where a terminal shows them and nobody asked for none.

        Args:
            environ: NO_COLOR, if not empty, turns them off (https://no-color.org), and so does TERM=dumb.
            wanted: False with ``--no-color``.
        """
        refused = bool(environ.get("NO_COLOR")) or environ.get("TERM") == "dumb"
        return cls(wanted and not refused and stream.isatty())

    def paint(self, text: str, *looks: str) -> str:
        """A text in some looks: ``bold``, ``dim``, ``red``, ``green``, ``yellow``, ``blue``, ``magenta``, ``cyan``."""
        if not self.colour or not text:
            return text
        return f"\x1b[{';'.join(_CODES[look] for look in looks)}m{text}\x1b[0m"


def plain(text: str) -> str:
    """A text from outside made safe to print: no control character, so none moves the cursor or changes colours."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def width(text: str) -> int:
    """Columns a text takes on a terminal: wide characters count two, combining marks and colours none."""
    if text.isascii() and "\x1b" not in text:
        return len(text)
    # Most text is ASCII and needs no tables.
    import unicodedata

    columns = 0
    in_colour = False
    for character in text:
        if in_colour:
            in_colour = character != "m"
        elif character == "\x1b":
            in_colour = True
        elif unicodedata.combining(character) or unicodedata.category(character) in ("Cf", "Me", "Mn"):
            continue
        else:
            columns += 2 if unicodedata.east_asian_width(character) in "WF" else 1
    return columns


def pad(text: str, columns: int, *, right: bool = False) -> str:
    """A text filled up with spaces to some columns; ``right`` puts them before it."""
    spaces = " " * (columns - width(text))
    return spaces + text if right else text + spaces


def table(
    headers: Sequence[str], rows: Iterable[Sequence[str]], *, style: Style | None = None, right: Iterable[int] = ()
) -> str:
    """Aligned columns, two spaces between them.

    Args:
        headers: none for a table without a first line.
        rows: cells; a row may be shorter than the headers.
        right: indexes of columns to be aligned at their right, for numbers.

    Returns:
        Lines with a line feed between them, none at the end.
    """
    body = [list(row) for row in rows]
    lines = [list(headers), *body] if headers else body
    if not lines:
        return ""
    columns = max(map(len, lines))
    widths = [max((width(line[at]) for line in lines if at < len(line)), default=0) for at in range(columns)]
    at_right = set(right)
    out: list[str] = []
    for number, line in enumerate(lines):
        text = "  ".join(pad(cell, widths[at], right=at in at_right) for at, cell in enumerate(line)).rstrip()
        out.append((style or Style()).paint(text, "dim") if headers and number == 0 else text)
    return "\n".join(out)


@dataclass(slots=True)
class Branch:
    """A line of a tree and the lines below it."""

    text: str
    branches: "list[Branch]" = field(default_factory=list)

    def add(self, text: str) -> "Branch":
        """Put a line below this one, and give it back."""
        branch = Branch(text)
        self.branches.append(branch)
        return branch


def tree(root: Branch) -> str:
    """A tree drawn with lines; a text of several lines stays within its branch."""
    out: list[str] = []
    # The branches still to draw, with what stands before their first line and before all that follows it.
    waiting = [(root, "", "")]
    while waiting:
        branch, first, rest = waiting.pop()
        head, *more = branch.text.split("\n")
        out.append(first + head)
        below = rest + ("│  " if branch.branches else "   ")
        out.extend((below + line).rstrip() for line in more)
        for at, child in reversed(list(enumerate(branch.branches))):
            last = at == len(branch.branches) - 1
            waiting.append((child, rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  ")))
    return "\n".join(out)
