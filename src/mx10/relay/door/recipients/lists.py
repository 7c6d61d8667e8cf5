"""Recipients from a file: an address a line, or ``@example.org`` for every address of a domain; ``#`` begins a comment.

The file is read again when it changes. While it is gone or has a mistake in it, what it held before goes on to count,
and the log says so: a slip of an editor does not turn mail away. Where it could never be read, nobody can say who is in
it.
"""

import os
import re
from pathlib import Path
from typing import Final

from mx10.names import AddressError, DomainError, ascii_text, domain_from_text, parse_address
from mx10.relay.door.recipients.rules import RuleError

MAX_FILE: Final = 256 << 20
"""Octets of a file that is read."""
MAX_ENTRIES: Final = 2_000_000
"""Addresses of one file; some 100 octets of memory each."""
LOOK_MS: Final = 1000
"""How often it is looked whether a file changed."""

# Most lines are of this form, and reading them any other way takes ten times as long.
_TYPICAL: Final = re.compile(r"[a-z0-9_+=-]+(?:\.[a-z0-9_+=-]+)*@(?:[a-z0-9]+(?:-[a-z0-9]+)*\.)+[a-z]{2,}")
_LONGEST: Final = 128


class AddressList:
    """A file of addresses; nothing is known of it before ``read``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp = _stamp(path)
        self._entries: frozenset[str] | None = None
        self._looked_at = 0

    def __len__(self) -> int:
        return len(self._entries or ())

    def has(self, local: str, domain: str) -> bool | None:
        """Whether a recipient is in it; None: it could not be read yet. Capitals make no difference."""
        if self._entries is None:
            return None
        return f"{local.lower()}@{domain}" in self._entries or f"@{domain}" in self._entries

    def changed(self, now: int) -> bool:
        """Whether the file is another one than was read; looked at once a second."""
        if 0 <= now - self._looked_at < LOOK_MS:
            return False
        self._looked_at = now
        stamp = _stamp(self.path)
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        return True

    def read(self) -> None:
        """Read the file; what it held before counts until then. It may take seconds.

        Raises:
            RuleError: it cannot be read, or holds something else; with the number of the line. Nothing is changed.
        """
        self._entries = read_list(self.path)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def read_list(path: Path) -> frozenset[str]:
    """The entries of a file, in lower case, domains with A-labels.

    Raises:
        RuleError: it cannot be read, or holds something else; with the number of the line.
    """
    entries: set[str] = set()
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size > MAX_FILE:
                raise RuleError(f"{path} is larger than {MAX_FILE >> 20} MiB; use sql: for so many")
            for number, line in enumerate(file, 1):
                try:
                    text = line.decode().partition("#")[0].strip()
                    if text:
                        entries.add(_entry(text))
                except (AddressError, DomainError, UnicodeDecodeError) as error:
                    what = "this is not UTF-8" if isinstance(error, UnicodeDecodeError) else error
                    raise RuleError(
                        f"{path}:{number}: {what}; write ada@example.org, or @example.org for all"
                    ) from None
                if len(entries) > MAX_ENTRIES:
                    raise RuleError(f"{path}:{number}: more than {MAX_ENTRIES} addresses; use sql: for so many")
    except OSError as error:
        raise RuleError(f"{path} cannot be read: {error.strerror}; let the relay's user read it") from None
    return frozenset(entries)


def _entry(text: str) -> str:
    lower = text.lower()
    if len(lower) <= _LONGEST and _TYPICAL.fullmatch(lower):
        return lower
    if text.startswith("@"):
        return f"@{ascii_text(domain_from_text(text[1:]))}"
    found = parse_address(text)
    local = str(found).rpartition("@")[0].lower()
    return str(found).lower() if found.domain is None else f"{local}@{ascii_text(found.domain)}"
