"""Who may log in: a file of names with keys for SCRAM-SHA-256, from which no password can be had.

A line ``name SCRAM-SHA-256$iterations:salt$stored:server`` each (RFC 5803 with a name before it); ``#`` begins a
comment. Who has no line gets keys as well, made of a secret and the name, so that nobody learns who exists (RFC 5802
section 5).
"""

import base64
import binascii
import hmac
import secrets
from pathlib import Path
from typing import Final

from mx10.logs import get_logger
from mx10.smtp.auth import ITERATIONS, ScramKeys

MAX_USERS: Final = 100_000
MAX_ITERATIONS: Final = 1_000_000
_SCHEME: Final = "SCRAM-SHA-256$"

log = get_logger("relay")


class UsersError(ValueError):
    """The file cannot be used: the place, what is wrong, the mend."""


def to_line(name: str, keys: ScramKeys) -> str:
    """A user's line."""
    salt, stored, server = (base64.b64encode(part).decode() for part in (keys.salt, keys.stored, keys.server))
    return f"{name} {_SCHEME}{keys.iterations}:{salt}${stored}:{server}"


def parse_users(text: str, place: str) -> dict[str, ScramKeys]:
    """The users of a file.

    Raises:
        UsersError: a line is wrong.
    """
    users: dict[str, ScramKeys] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            name, keys = words
            if not keys.startswith(_SCHEME):
                raise ValueError
            cost, stored_server = keys.removeprefix(_SCHEME).split("$")
            iterations, salt = cost.split(":")
            stored, server = stored_server.split(":")
            count = int(iterations)
            parts = [base64.b64decode(part, validate=True) for part in (salt, stored, server)]
            if not 4096 <= count <= MAX_ITERATIONS or len(parts[1]) != 32 or len(parts[2]) != 32 or not parts[0]:
                raise ValueError
        except (ValueError, binascii.Error):
            raise UsersError(f"{place}:{number}: this is no user; `mx10 relay-user NAME` prints a line") from None
        users[name] = ScramKeys(parts[0], count, parts[1], parts[2])
        if len(users) > MAX_USERS:
            raise UsersError(f"{place}:{number}: more than {MAX_USERS} users")
    return users


class Users:
    """The users of a file, read again when it changes.

    Raises:
        UsersError: the file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._secret = secrets.token_bytes(32)
        self._seen = self._look()
        self._users = self._read()

    def keys(self, name: str) -> ScramKeys:
        """Of a user; for one who is not there, keys that no password fits."""
        try:
            if (now := self._look()) != self._seen:
                self._seen, self._users = now, self._read()
        except UsersError as error:
            log.error("the users are not read again; those from before stay", cause=str(error))
        found = self._users.get(name)
        if found is not None:
            return found
        drawn = [
            hmac.digest(self._secret, f"{what}:{name}".encode(), "sha256") for what in ("salt", "stored", "server")
        ]
        # As those of the others look.
        iterations = next((keys.iterations for keys in self._users.values()), ITERATIONS)
        return ScramKeys(drawn[0][:16], iterations, drawn[1], drawn[2])

    def is_right(self, name: str, password: str) -> bool:
        """Whether a password is the user's. Takes milliseconds on purpose: not in the loop."""
        keys = self.keys(name)
        tried = ScramKeys.of(password, keys.salt, keys.iterations)
        return hmac.compare_digest(tried.stored, keys.stored)

    def _look(self) -> tuple[int, int, int]:
        try:
            found = self._path.stat()
        except OSError as error:
            raise UsersError(f"relay.users: {self._path}: {error.strerror}") from None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _read(self) -> dict[str, ScramKeys]:
        try:
            return parse_users(self._path.read_text(encoding="utf-8"), str(self._path))
        except OSError as error:
            raise UsersError(f"relay.users: {self._path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise UsersError(f"relay.users: {self._path} is not UTF-8") from None
