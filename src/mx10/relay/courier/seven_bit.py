"""A message of 8 bits made one of 7 for a host that does not offer 8BITMIME (RFC 6152 section 3).

What is beyond ASCII in the text of a part becomes quoted-printable (RFC 2045 section 6.7), and the header of that part
says so; all else stays as it is. That takes two readings: ``Survey`` finds the parts that need it, ``Converter`` writes
the message anew, both by the chunk. Text that says nothing of its character set is called ``unknown-8bit`` (RFC 1428).

What cannot be changed without harm is refused, and the sender is told: a header in UTF-8 (it needs SMTPUTF8), what was
signed as a part of the message (RFC 1847 section 2.1), a part that is called base64 and is none. A DKIM signature over
such a body does not verify afterwards (RFC 6376 section 5.3 says to sign 7 bits for that reason).
"""

import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

MAX_FIELDS: Final = 1 << 20
"""Octets of the header of a part."""
MAX_DEPTH: Final = 50
"""Multiparts and messages within each other."""
MAX_PARTS: Final = 10_000
"""Parts that are converted."""
_LONG: Final = 65536
"""Octets of a line that are kept; a longer one is no boundary, and is taken by the piece."""
_BOUNDARY: Final = 200
"""Octets of a line that may be a boundary; 70 of them are its own (RFC 2046 section 5.1.1)."""
_WORDS: Final = 72
"""Octets of a piece of a long line that are encoded at a time: with all of them as =XX it takes three lines."""

_FIELD: Final = re.compile(rb"([!-9;-~]+)[ \t]*:(.*)", re.DOTALL)
_TYPE: Final = re.compile(rb"[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)/([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*(?:;|$)")
_MARK: Final = re.compile(rb';[ \t]*boundary[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))', re.IGNORECASE)
_IDENTITY: Final = frozenset({b"", b"7bit", b"8bit", b"binary"})
_UNKNOWN: Final = b"Content-Type: text/plain; charset=unknown-8bit\r\n"


class UnconvertibleError(ValueError):
    """The message cannot be made one of 7 bits. ``enhanced``: RFC 3463."""

    def __init__(self, why: str, enhanced: str = "5.6.3") -> None:
        super().__init__(why)
        self.enhanced = enhanced


@dataclass(slots=True)
class _Multipart:
    """A multipart that is open: what ends its parts, and what they are unless they say so."""

    mark: bytes
    digest: bool
    signed: bool
    depth: int


@dataclass(slots=True)
class _Part:
    """What is read: the fields of its header, or its body."""

    number: int
    digest: bool = False
    """It is a message unless it says what it is (RFC 2046 section 5.1.5)."""
    top: bool = False
    fields: list[bytes] = field(default_factory=list)
    size: int = 0
    encoding: bytes = b""
    rigid: bool = False
    """It says that it has parts, which cannot be read, and may not be encoded."""


class _Reader:
    """Reads a message by the line, and knows where in its parts it is."""

    def __init__(self) -> None:
        self._rest = b""
        self._begun = False
        """What comes next goes on with a line of which a piece was taken."""
        self._open: list[_Multipart] = []
        self._part = _Part(0, top=True)
        self._in_header = True
        self._count = 0
        self._depth = 0

    def _header_ends(self, part: _Part, *, blank: bool) -> bytes:
        """What is written for a header; ``blank``: an empty line ended it."""
        raise NotImplementedError

    def _text(self, part: _Part, lines: bytes, *, whole: bool) -> bytes:
        """What is written for lines of a body; not ``whole``: a piece of one that is long."""
        raise NotImplementedError

    def _read(self, data: bytes) -> Iterator[bytes]:
        data = self._rest + data
        at = 0
        lines: list[bytes] = []
        while (end := data.find(b"\r\n", at)) >= 0:
            line, at = data[at : end + 2], end + 2
            if self._in_header or (len(line) < _BOUNDARY and line.startswith(b"--") and not self._begun):
                if lines:
                    yield self._text(self._part, b"".join(lines), whole=True)
                    lines = []
                yield self._special(line)
            else:
                lines.append(line)
            self._begun = False
        if lines:
            yield self._text(self._part, b"".join(lines), whole=True)
        self._rest = data[at:]
        if len(self._rest) > _LONG:
            if self._in_header:
                raise UnconvertibleError(f"a line of its header is longer than {_LONG} octets")
            # A CR waits for its LF.
            keep = self._rest.endswith(b"\r")
            piece, self._rest = (self._rest[:-1], b"\r") if keep else (self._rest, b"")
            self._begun = True
            yield self._text(self._part, piece, whole=False)

    def _finish(self) -> Iterator[bytes]:
        # A last line without an end gets one, as it does on its way in any case (RFC 5321 section 2.3.8).
        if self._rest:
            yield from self._read(b"\r\n")
        if self._in_header:
            yield self._begin_body(blank=False)

    def _special(self, line: bytes) -> bytes:
        """A line of a header, or one that may be a boundary."""
        if line.startswith(b"--"):
            bare = line.rstrip(b" \t\r\n")
            for at in range(len(self._open) - 1, -1, -1):
                if bare in (self._open[at].mark, self._open[at].mark + b"--"):
                    return self._boundary(at, last=bare != self._open[at].mark) + line
        if not self._in_header:
            return self._text(self._part, line, whole=True)
        part = self._part
        if line == b"\r\n":
            return self._begin_body(blank=True)
        part.size += len(line)
        if part.size > MAX_FIELDS:
            raise UnconvertibleError(f"the header of a part is larger than {MAX_FIELDS} octets")
        if not line.isascii():
            raise UnconvertibleError("a header is not ASCII, which needs SMTPUTF8 too (RFC 6531)", "5.6.7")
        if line[:1] in b" \t" and part.fields:
            part.fields[-1] += line
        else:
            part.fields.append(line)
        return b""

    def _boundary(self, at: int, *, last: bool) -> bytes:
        """A boundary of one of those that are open; what is written before it."""
        # It ends a header too, however much of that is missing.
        written = self._begin_body(blank=False) if self._in_header else b""
        opened = self._open[at]
        self._depth = opened.depth
        if last:
            del self._open[at:]
            self._part, self._in_header = _Part(self._number()), False  # what comes behind, which nobody reads
        else:
            del self._open[at + 1 :]
            self._part, self._in_header = _Part(self._number(), digest=opened.digest), True
        return written

    def _number(self) -> int:
        self._count += 1
        return self._count

    @property
    def _signed(self) -> bool:
        return any(each.signed for each in self._open)

    def _begin_body(self, *, blank: bool) -> bytes:
        """A header has ended: what follows it."""
        part = self._part
        self._in_header = False
        type_, subtype, value = _type_of(part)
        part.encoding = _value(part, b"content-transfer-encoding").lower()
        mark = _MARK.search(value) if type_ == b"multipart" else None
        message = type_ == b"message" and subtype in (b"rfc822", b"global")
        # What has parts is not encoded itself (RFC 2045 section 6.4); where it is, nobody can look into it.
        has_parts = (mark is not None or message) and part.encoding in _IDENTITY
        part.rigid = type_ in (b"multipart", b"message") and not has_parts
        written = self._header_ends(part, blank=blank)
        if not has_parts:
            return written
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise UnconvertibleError(f"it has parts within each other, more than {MAX_DEPTH} deep")
        if mark is not None:
            name = re.sub(rb"\\(.)", rb"\1", mark[1]) if mark[1] is not None else mark[2]
            self._open.append(
                _Multipart(b"--" + name.rstrip(), subtype == b"digest", subtype == b"signed", self._depth)
            )
            self._part = _Part(self._number())  # what comes before the first part, which nobody reads
        else:
            self._part, self._in_header = _Part(self._number()), True
        return written


class Survey(_Reader):
    """The first reading: which parts hold what is beyond ASCII.

    Attributes:
        parts: their numbers.
    """

    def __init__(self) -> None:
        super().__init__()
        self.parts: set[int] = set()

    def feed(self, data: bytes) -> None:
        """The next piece.

        Raises:
            UnconvertibleError: the message cannot be converted.
        """
        for _ in self._read(data):
            pass

    def end(self) -> frozenset[int]:
        """The parts, at the end.

        Raises:
            UnconvertibleError: as for ``feed``.
        """
        for _ in self._finish():
            pass
        return frozenset(self.parts)

    def _header_ends(self, part: _Part, *, blank: bool) -> bytes:
        return b""

    def _text(self, part: _Part, lines: bytes, *, whole: bool) -> bytes:
        if lines.isascii():
            return b""
        if part.encoding not in _IDENTITY:
            name = part.encoding[:40].decode("ascii", "replace")
            raise UnconvertibleError(f"a part is called {name!r}, and holds octets beyond ASCII")
        if part.rigid:
            raise UnconvertibleError("a part of type multipart or message cannot be read, and may not be encoded")
        if self._signed:
            raise UnconvertibleError("a signed part holds octets beyond ASCII, and the signature is over them")
        self.parts.add(part.number)
        if len(self.parts) > MAX_PARTS:
            raise UnconvertibleError(f"more than {MAX_PARTS} of its parts hold octets beyond ASCII")
        return b""


class Converter(_Reader):
    """The second reading: the message anew, all of it ASCII.

    Args:
        parts: what ``Survey`` found in the same message.
    """

    def __init__(self, parts: frozenset[int]) -> None:
        super().__init__()
        self._parts = parts

    def feed(self, data: bytes) -> bytes:
        """What is sent of the next piece.

        Raises:
            UnconvertibleError: as ``Survey.feed``; not where that has read the same.
        """
        return b"".join(self._read(data))

    def end(self) -> bytes:
        """What is sent at the end."""
        return b"".join(self._finish())

    def _header_ends(self, part: _Part, *, blank: bool) -> bytes:
        converted = part.number in self._parts
        fields = part.fields
        if converted or part.encoding in (b"8bit", b"binary"):
            encoding = b"quoted-printable" if converted else b"7bit"
            fields = [each for each in fields if _name(each) != b"content-transfer-encoding"]
            if part.top and not _value(part, b"mime-version"):
                fields.append(b"MIME-Version: 1.0\r\n")
            if converted and not _value(part, b"content-type"):
                fields = [each for each in fields if _name(each) != b"content-type"]
                fields.append(_UNKNOWN)
            fields.append(b"Content-Transfer-Encoding: " + encoding + b"\r\n")
        return b"".join(fields) + (b"\r\n" if blank else b"")

    def _text(self, part: _Part, lines: bytes, *, whole: bool) -> bytes:
        if part.number not in self._parts:
            return lines
        if whole:
            return binascii.b2a_qp(lines)
        pieces = (lines[at : at + _WORDS] for at in range(0, len(lines), _WORDS))
        return b"".join(binascii.b2a_qp(piece + b"\r\n")[:-2] + b"=\r\n" for piece in pieces)


def convert(content: bytes) -> bytes:
    """A whole message as one of 7 bits.

    Raises:
        UnconvertibleError: it cannot be made one.
    """
    survey = Survey()
    survey.feed(content)
    converter = Converter(survey.end())
    return converter.feed(content) + converter.end()


def _name(line: bytes) -> bytes:
    match = _FIELD.match(line)
    return match[1].lower() if match is not None else b""


def _value(part: _Part, name: bytes) -> bytes:
    """What the first field of a name says, on one line."""
    for line in part.fields:
        match = _FIELD.match(line)
        if match is not None and match[1].lower() == name:
            return match[2].replace(b"\r\n", b"").strip(b" \t")
    return b""


def _type_of(part: _Part) -> tuple[bytes, bytes, bytes]:
    """Type, subtype, and all that the field says."""
    value = _value(part, b"content-type")
    if not value:
        return (b"message", b"rfc822", b"") if part.digest else (b"text", b"plain", b"")
    match = _TYPE.match(value)
    return (match[1].lower(), match[2].lower(), value) if match is not None else (b"", b"", value)
