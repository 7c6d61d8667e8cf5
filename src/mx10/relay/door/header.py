"""The header of a message as it comes in: how often it was passed on, whom it was delivered to, and fields that only
we may write. It is held until it has ended, then given on; the body passes untouched."""

import re
from typing import Final

from mx10.smtp.replies import Reply

MAX_HEADER: Final = 1 << 18
"""Octets of a header; a message with a longer one is refused."""
# White space before the colon is of old (RFC 5322 section 4.5.8), and read by some.
_RECEIVED: Final = re.compile(rb"\r\nreceived[ \t]*:")
# The body of a field, with the lines it goes on in: by the line, as one octet at a time takes many times as long.
_BODY: Final = rb"([^\r\n]*(?:\r\n[ \t][^\r\n]*)*)"
_DELIVERED: Final = re.compile(rb"\r\ndelivered-to[ \t]*:" + _BODY)
_RESULTS: Final = re.compile(rb"\r\nauthentication-results[ \t]*:" + _BODY, re.IGNORECASE)
_TLS_REQUIRED: Final = re.compile(rb"\r\ntls-required:" + _BODY)
_WORD: Final = re.compile(rb'"((?:[^"\\]|\\.)*)"|([^\s;("]*)', re.DOTALL)

TOO_LONG: Final = Reply.of(552, "5.3.4", f"the header of a message has up to {MAX_HEADER >> 10} KiB here")


class HeaderReader:
    """Reads the header of one message.

    Args:
        hostname: ours; results of checks that claim to be of this host are taken out (RFC 8601 section 5).

    Attributes:
        received: how often it was passed on, as it says.
        delivered_to: addresses, in lower case.
        tls_optional: it says ``TLS-Required: No``.
        head: the header with the empty line behind it; without one, where the message has no body.
        fault: why the message cannot be taken.
    """

    __slots__ = (
        "_hostname",
        "_pieces",
        "_size",
        "delivered_to",
        "fault",
        "fields",
        "head",
        "received",
        "tls_optional",
    )

    def __init__(self, hostname: str) -> None:
        self._hostname = hostname
        self._pieces: list[bytes] | None = []
        self._size = 0
        self.received = 0
        self.delivered_to: frozenset[str] = frozenset()
        self.tls_optional = False
        self.head = b""
        self.fields = b""
        """The header in lower case, with a line end before each field."""
        self.fault: Reply | None = None

    def feed(self, chunk: bytes) -> bytes:
        """A piece of the message; what of it is to be kept now."""
        if self._pieces is None:
            return chunk
        self._pieces.append(chunk)
        self._size += len(chunk)
        whole = chunk if len(self._pieces) == 1 else b"".join(self._pieces)
        end = 2 if whole.startswith(b"\r\n") else whole.find(b"\r\n\r\n", max(0, self._size - len(chunk) - 3)) + 4
        if end == 3:
            if self._size > MAX_HEADER:
                self.fault = TOO_LONG
                self._pieces = None
            elif len(self._pieces) > 1:
                self._pieces = [whole]
            return b""
        if end > MAX_HEADER:
            self.fault = TOO_LONG
        return self._read(whole, end)

    def finish(self) -> bytes:
        """The message has ended; what was held of it."""
        if self._pieces is None:
            return b""
        whole = b"".join(self._pieces)
        return self._read(whole, len(whole)) if whole else b""

    def has(self, field: bytes) -> bool:
        """Whether there is a field of a name (lower case)."""
        return b"\r\n" + field + b":" in self.fields

    def _read(self, whole: bytes, end: int) -> bytes:
        self._pieces = None
        head = whole[:end]
        fields = b"\r\n" + head.lower()
        self.fields = fields
        self.received = len(_RECEIVED.findall(fields))
        # Not "in", which tries octets as a number first, and costs more than to look for them.
        if fields.find(b"\r\ndelivered-to") >= 0:
            found = _DELIVERED.findall(fields)[:1000]
            self.delivered_to = frozenset(each.decode("utf-8", "replace").strip(" \t\r\n<>") for each in found)
        if fields.find(b"\r\ntls-required:") >= 0:
            # RFC 8689 section 3: it says that and nothing else, and it is there once.
            found = _TLS_REQUIRED.findall(fields)
            self.tls_optional = len(found) == 1 and found[0].strip(b" \t\r\n") == b"no"
        if fields.find(b"\r\nauthentication-results") >= 0:
            head = _RESULTS.sub(self._unless_ours, b"\r\n" + head)[2:]
        self.head = head
        return head + whole[end:] if end < len(whole) else head

    def _unless_ours(self, field: re.Match[bytes]) -> bytes:
        speaks = _first_word(field[1]).lower().removesuffix(b".")
        return b"" if speaks == self._hostname.lower().encode() else field[0]


def _first_word(text: bytes) -> bytes:
    """Who speaks in Authentication-Results: what stands first, behind white space and comments, which may hold others
    (RFC 8601 section 2.2, RFC 5322 section 3.2.2)."""
    at = depth = 0
    while at < len(text):
        char = text[at : at + 1]
        if char == b"(":
            depth += 1
        elif not depth and not char.isspace():
            break
        elif char == b")":
            depth -= 1
        elif char == b"\\":
            at += 1
        at += 1
    word = _WORD.match(text, at)
    if word is None:
        return b""
    return word[2] if word[1] is None else re.sub(rb"\\(.)", rb"\1", word[1])
