"""The content of a message on its way out: made fit for DATA or BDAT by the chunk, and what is to be known of it.

A CR or LF that stands alone is never sent. Somebody on the way might take it for the end of a line, and so for the end
of the message (SMTP smuggling: CVE-2023-51764, 51765, 51766), whether it came with DATA or with BDAT. What such content
is to become is for its owner to say: refused, or ``mend_line_ends``.
"""

import re
from typing import Final

from mx10.smtp.content import BareLineEndError, has_bare_line_end
from mx10.values import value_class

_LINE_END: Final = re.compile(rb"\r\n|\r|\n")
_OF_PARTS: Final = re.compile(
    rb"^content-type:[ \t]*(?:\r\n[ \t]+)?(?:multipart|message)/", re.IGNORECASE | re.MULTILINE
)
# A dot that begins a line is doubled, and so is none of these.
_FALSE_END: Final = re.compile(rb"\n\0+\.\0*\r\n")
_FALSE_BEGINNING: Final = re.compile(rb"\n\0*\.?\0*")
MAX_HEADER: Final = 1 << 20
"""Octets of a header that are looked at for its content type; in a longer one, parts are supposed."""


def mend_line_ends(content: bytes) -> bytes:
    """The same text with CR LF at the end of every line, the last one too: each CR LF, lone CR or lone LF ends one."""
    if has_bare_line_end(content):
        content = _LINE_END.sub(b"\r\n", content)
    return content if content.endswith(b"\r\n") or not content else content + b"\r\n"


@value_class
class Facts:
    """What has to be known of a message before it is sent.

    Attributes:
        size: octets, its last line whole.
        eight_bit: there are octets beyond ASCII: 8BITMIME is needed (RFC 6152).
        utf8_header: there are such in the header, or may be in the header of a part: SMTPUTF8 is needed (RFC 6532).
        bare_line_end: a CR or LF stands alone.
    """

    size: int
    eight_bit: bool = False
    utf8_header: bool = False
    bare_line_end: bool = False


class Examiner:
    """Finds the facts of a message by the chunk.

    Header fields of parts may be UTF-8 too. Parts are not looked for: where the content type says that there are some,
    any octet beyond ASCII counts as one in a header.
    """

    def __init__(self) -> None:
        self._size = 0
        self._eight_bit = self._utf8_header = self._bare = False
        self._header: bytes | None = b""
        self._parts = False
        self._held = b""
        self._whole_line = True

    def feed(self, data: bytes) -> None:
        """The next piece."""
        if not data:
            return
        self._size += len(data)
        if self._header is not None:
            self._read_header(data)
        elif not data.isascii():
            self._eight_bit = True
        data = self._held + data
        self._held = b"\r" if data.endswith(b"\r") else b""
        self._bare = self._bare or has_bare_line_end(data[: len(data) - len(self._held)])
        self._whole_line = data.endswith(b"\n")

    def facts(self) -> Facts:
        """What was found, at the end."""
        header = self._header
        if header is not None:
            self._end_header(header)
        utf8_header = self._utf8_header or (self._eight_bit and self._parts)
        eight_bit = self._eight_bit or self._utf8_header
        size = self._size + (0 if self._whole_line else 2)
        return Facts(size, eight_bit, utf8_header, self._bare or bool(self._held))

    def _read_header(self, data: bytes) -> None:
        header = (self._header or b"") + data
        end = header.find(b"\r\n\r\n")
        if end < 0 and header.startswith(b"\r\n"):
            end = 0
        if end >= 0:
            self._end_header(header[:end])
            self._header, self._eight_bit = None, self._eight_bit or not header[end:].isascii()
        elif len(header) > MAX_HEADER:
            self._end_header(header)
            self._header, self._parts = None, True
        else:
            self._header = header

    def _end_header(self, header: bytes) -> None:
        self._utf8_header = not header.isascii()
        self._parts = _OF_PARTS.search(header) is not None


def examine(content: bytes, *, whole_lines: bool = False) -> Facts:
    """The facts of a whole message. ``whole_lines``: it is known that no CR or LF stands alone."""
    if content.isascii():
        # Most are, and then nothing has to be looked for in the header.
        whole = content.endswith(b"\n") or not content
        bare = not whole_lines and has_bare_line_end(content)
        return Facts(len(content) + (0 if whole else 2), bare_line_end=bare)
    examiner = Examiner()
    examiner.feed(content)
    return examiner.facts()


class FalseEndError(BareLineEndError):
    """A line of NULs and a dot, which ends the message for those who drop NULs."""

    def __init__(self) -> None:
        super().__init__("the message has a line of NULs and a dot, which some take for its end (RFC 2045 section 2.8)")


class Outgoing:
    """One message, by the chunk.

    Args:
        dots: for DATA: a dot that begins a line is doubled, and the end is a line with a dot (RFC 5321 section 4.5.2).
            Else for BDAT.
        binary: for BODY=BINARYMIME: any octets, as they are (RFC 3030 section 3).
        whole_lines: it is known that no CR or LF stands alone.
    """

    __slots__ = ("_binary", "_dots", "_held", "_line", "_line_begins", "_whole_lines")

    def __init__(self, *, dots: bool, binary: bool = False, whole_lines: bool = False) -> None:
        self._dots = dots
        self._whole_lines = whole_lines
        self._binary = binary
        self._held = b""
        self._line_begins = True
        self._line = b"\n"

    def feed(self, data: bytes) -> bytes:
        """What is sent of a chunk; a CR at its end waits for the next one.

        Raises:
            BareLineEndError: a CR or LF stands alone, or what ends it for others with DATA (``FalseEndError``).
        """
        if self._binary:
            return data
        data = self._held + data
        self._held = b""
        if data.endswith(b"\r"):
            data, self._held = data[:-1], b"\r"
        if not data:
            return b""
        begins, self._line_begins = self._line_begins, data.endswith(b"\n")
        if not self._whole_lines and has_bare_line_end(data):
            raise BareLineEndError
        if self._dots:
            self._see_false_ends(data)
            data = data.replace(b"\r\n.", b"\r\n..")
            if begins and data.startswith(b"."):
                data = b"." + data
        return data

    def _see_false_ends(self, data: bytes) -> None:
        """With DATA, who drops NULs finds the end of a message in some lines."""
        if 0 not in data and len(self._line) < 2:
            self._line = b"\n" if data.endswith(b"\n") else b""
            return
        data = self._line + data
        if _FALSE_END.search(data) is not None:
            raise FalseEndError
        begun = _FALSE_BEGINNING.fullmatch(data, max(data.rfind(b"\n"), 0))
        # How many NULs it has makes no difference.
        self._line = b"" if begun is None else re.sub(rb"\0+", b"\0", begun[0])

    def end(self) -> bytes:
        """What is sent at the end.

        Raises:
            BareLineEndError: as for ``feed``.
        """
        if self._held:
            raise BareLineEndError
        if self._dots and not self._line_begins:
            self._see_false_ends(b"\r\n")
        rest = b"" if self._line_begins or self._binary else b"\r\n"
        return rest + b".\r\n" if self._dots else rest
