"""The hash of a body as DKIM has it (RFC 6376 section 3.4), computed piece by piece. Pure."""

import hashlib


class BodyHash:
    """The SHA-256 of a canonical body.

    Args:
        relaxed: blanks count as one, and not at all at the end of a line.
        length: only so many octets are hashed; None: all.

    Attributes:
        size: octets of the whole canonical body, after ``finish``.
        digest: after ``finish``.
    """

    def __init__(self, *, relaxed: bool, length: int | None = None) -> None:
        self._relaxed = relaxed
        self._left = length
        self._hash = hashlib.sha256()
        self._rest = b""
        self._empty_lines = 0
        self.size = 0
        self.digest = b""

    def feed(self, chunk: bytes) -> None:
        """A piece of the body; lines end in CR LF."""
        data = self._rest + chunk
        end = len(data) - data.endswith(b"\r")
        if self._relaxed:
            # What may be the end of a line waits for what follows; however long, it comes to one blank.
            at = len(data[:end].rstrip(b" \t"))
            self._rest = (b" " if at < end else b"") + data[end:]
            data = data[:at].replace(b"\t", b" ")
            # Each turn halves the longest run; most pieces have none.
            while b"  " in data:
                data = data.replace(b"  ", b" ")
            data = data.replace(b" \r\n", b"\r\n")
        else:
            self._rest, data = data[end:], data[:end]
        self._take(data)

    def _take(self, data: bytes) -> None:
        """Octets in their canonical form. Line ends wait: those at the very end do not count."""
        end = len(data)
        while end >= 2 and data[end - 2 : end] == b"\r\n":
            end -= 2
        if end:
            while self._empty_lines:
                some = min(self._empty_lines, 32768)
                self._add(b"\r\n" * some)
                self._empty_lines -= some
            self._add(data[:end])
        self._empty_lines += (len(data) - end) // 2

    def _add(self, data: bytes) -> None:
        self.size += len(data)
        if self._left is not None:
            data = data[: self._left]
            self._left -= len(data)
        self._hash.update(data)

    def finish(self) -> None:
        """That was all."""
        rest = self._rest.rstrip(b" ") if self._relaxed else self._rest
        if rest:
            self._take(rest)
        if self.size or not self._relaxed:
            self._add(b"\r\n")
        self.digest = self._hash.digest()
