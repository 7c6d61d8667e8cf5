"""Replies of SMTP (RFC 5321 section 4.2): three digits, an enhanced status code (RFC 3463), and text."""

import re
from dataclasses import field
from functools import lru_cache
from typing import Final, Literal

from mx10.values import value_class

MAX_LINE: Final = 2048
"""Octets of one line of a reply that is read; 512 are allowed (RFC 5321 section 4.5.3.1.5)."""
MAX_LINES: Final = 200
"""Lines of one reply that is read."""
_SHORT: Final = 200
"""Octets of a line that is remembered as it was read."""
_TEXT: Final = 480
"""Octets of text that stand in a line we write, so that it stays within 512."""

Kind = Literal["positive", "intermediate", "transient", "permanent"]
_KINDS: Final[dict[int, Kind]] = {2: "positive", 3: "intermediate", 4: "transient", 5: "permanent"}

_LINE: Final = re.compile(rb"([2-5]\d\d)(?:([ -])(.*))?", re.DOTALL)
_ENHANCED: Final = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?: |$)")
_CONTROLS: Final = re.compile("[\0-\x1f\x7f]")


class ReplyError(ValueError):
    """What came is no reply: what is wrong with it."""


@value_class
class Reply:
    """A reply.

    Attributes:
        code: 200 to 599.
        enhanced: as ``5.7.1``; None: there is none.
        lines: of text, without the codes; at least one.
    """

    code: int
    enhanced: str | None
    lines: tuple[str, ...]
    _octets: bytes = field(default=b"", init=False, repr=False, compare=False)

    @classmethod
    def of(cls, code: int, enhanced: str | None, text: str) -> "Reply":
        """A reply with one line of text."""
        return cls(code, enhanced, (text,))

    @property
    def kind(self) -> Kind:
        """What the first digit says."""
        return _KINDS[self.code // 100]

    @property
    def text(self) -> str:
        """All of the text, as one line."""
        return " ".join(self.lines)

    def octets(self) -> bytes:
        """As it goes over the wire. Whatever the text holds, it is a reply of so many lines and no more."""
        if not self._octets:
            # Once: most are said again and again.
            object.__setattr__(self, "_octets", self._composed())
        return self._octets

    def _composed(self) -> bytes:
        head = f"{self.enhanced} " if self.enhanced else ""
        if len(self.lines) == 1 and self.lines[0].isprintable() and len(self.lines[0]) < _TEXT // 4:
            return f"{self.code} {head}{self.lines[0]}\r\n".encode()
        texts = [_CONTROLS.sub("?", line).encode()[: _TEXT - len(head)] for line in self.lines]
        last = len(texts) - 1
        marks = (b"-" if number < last else b" " for number in range(len(texts)))
        return b"".join(
            b"%d%b%b%b\r\n" % (self.code, mark, head.encode(), text) for mark, text in zip(marks, texts, strict=True)
        )

    def __str__(self) -> str:
        return f"{self.code} {f'{self.enhanced} ' if self.enhanced else ''}{self.text}"


class ReplyReader:
    """Puts replies together from the octets that come."""

    def __init__(self) -> None:
        self._buffer = b""
        self._code = 0
        self._lines: list[str] = []

    @property
    def is_empty(self) -> bool:
        """Whether nothing of a further reply has come."""
        return not self._buffer and not self._lines

    def drop(self) -> None:
        """Forget what has come."""
        self._buffer, self._lines = b"", []

    def feed(self, data: bytes) -> list[Reply]:
        """The replies that are whole now.

        Args:
            data: what came.

        Raises:
            ReplyError: it is none, too long, or its lines have different codes.
        """
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        if len(self._buffer) > MAX_LINE:
            raise ReplyError(f"a line is longer than {MAX_LINE} octets")
        found = []
        for line in lines:
            reply = self._add(line.removesuffix(b"\r"))
            if reply is not None:
                found.append(reply)
        return found

    def _add(self, line: bytes) -> Reply | None:
        if len(line) > MAX_LINE:
            raise ReplyError(f"a line is longer than {MAX_LINE} octets")
        if not self._lines and len(line) <= _SHORT:
            # A host says the same few things again and again.
            reply = _whole(line)
            if reply is not None:
                return reply
        match = _LINE.fullmatch(line)
        if match is None:
            raise ReplyError(f"{line[:80]!r} is no reply of SMTP")
        code = int(match[1])
        if self._lines and code != self._code:
            raise ReplyError(f"one reply has the codes {self._code} and {code}")
        if len(self._lines) == MAX_LINES:
            raise ReplyError(f"a reply has more than {MAX_LINES} lines")
        self._code = code
        self._lines.append(_CONTROLS.sub("?", (match[3] or b"").decode("utf-8", "replace")))
        if match[2] == b"-":
            return None
        lines, self._lines = self._lines, []
        return _with_enhanced(code, lines)


@lru_cache(maxsize=1024)
def _whole(line: bytes) -> Reply | None:
    """The reply of one line; None: there are more, or it is none."""
    match = _LINE.fullmatch(line)
    if match is None or match[2] == b"-":
        return None
    return _with_enhanced(int(match[1]), [_CONTROLS.sub("?", (match[3] or b"").decode("utf-8", "replace"))])


def _with_enhanced(code: int, lines: list[str]) -> Reply:
    """The enhanced code stands before the text of each line (RFC 2034 section 4); one of another class is text."""
    match = _ENHANCED.match(lines[-1])
    if match is None or match[1][0] != str(code)[0]:
        return Reply(code, None, tuple(lines))
    enhanced = match[1]
    texts = (line.removeprefix(enhanced).removeprefix(" ") if line.startswith(enhanced) else line for line in lines)
    return Reply(code, enhanced, tuple(texts))
