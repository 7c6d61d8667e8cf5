"""The content of a message as it comes after DATA (RFC 5321 section 4.5.2), found and freed of its dots by the chunk.

A message ends with CR LF "." CR LF and with nothing else. Where one side takes something else for the end too, an
attacker hides a second message in the first (SMTP smuggling: CVE-2023-51764, 51765, 51766). So a CR without LF, or an
LF without CR, is an error wherever it stands; nobody guesses what was meant.
"""

from typing import Final

_END: Final = b"\r\n.\r\n"
_DOT: Final = b"\r\n."
_CR: Final = 13  # single octets are found by number several times as fast as by what they are, as bytes
_LF: Final = 10


class BareLineEndError(Exception):
    """A CR or LF stood alone."""


class DataReader:
    """Reads the content of one message, from behind the reply to DATA to its end."""

    __slots__ = ("_begun", "_held", "rest", "size")

    def __init__(self) -> None:
        # As if a line had just ended: a message may begin with the dot that ends it.
        self._held = b"\r\n"
        self._begun = False
        self.size = 0
        """Octets of content so far."""
        self.rest: bytes | None = None
        """What came behind the end of the message; None until it ended."""

    def feed(self, piece: bytes | memoryview) -> bytes:
        """The content in what came; what may yet turn out to be the end is held back.

        Raises:
            BareLineEndError: a CR or LF stands alone.
        """
        data = self._held + piece
        dot = data.find(_DOT)
        end = data.find(_END, dot) if dot >= 0 else -1
        if end >= 0:
            self.rest = data[end + len(_END) :]
            data, self._held = data[: end + 2], b""
        else:
            held = _held_back(data)
            data, self._held = (data[:-held], data[-held:]) if held else (data, b"")
        if has_bare_line_end(data):
            raise BareLineEndError
        if dot != end:
            # A dot that begins a line was put there in addition.
            data = data.replace(_DOT, b"\r\n")
        if not self._begun and data:
            self._begun = True
            data = data[2:]
        self.size += len(data)
        return data


def _held_back(data: bytes) -> int:
    """How many octets at the end may be the beginning of the end, or of a line end."""
    tail = data[-4:]
    for length in range(len(tail), 0, -1):
        if _END.startswith(tail[-length:]):
            return length
    return 0


def has_bare_line_end(data: bytes) -> bool:
    """Whether a CR or LF stands alone."""
    # What comes in pairs is written over, and what is left looked for: a regular expression takes twice as long.
    rest = data.replace(b"\r\n", b"  ")
    return _CR in rest or _LF in rest
