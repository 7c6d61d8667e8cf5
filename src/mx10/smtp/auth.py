"""SASL for AUTH (RFC 4954), as the receiver speaks it: PLAIN (RFC 4616), LOGIN, and SCRAM-SHA-256 (RFC 5802, 7677).

PLAIN and LOGIN bring a password, which somebody else checks. SCRAM proves that the client knows it, to a receiver who
does not: he keeps ``ScramKeys``, from which no password can be had.
"""

import base64
import binascii
import hashlib
import hmac
from typing import Final, Protocol

from mx10.values import value_class

MECHANISMS: Final = ("SCRAM-SHA-256", "PLAIN", "LOGIN")
"""All there are, the best first."""
ITERATIONS: Final = 4096
"""Of new keys for SCRAM; RFC 7677 section 4 wants at least as many."""


class MechanismError(ValueError):
    """What the client sent is no part of the mechanism."""


@value_class
class Credentials:
    """A user name and a password. ``acting``: as whom to act (RFC 4616 section 2); empty: as oneself."""

    user: str
    password: str
    acting: str = ""

    def __repr__(self) -> str:
        return f"Credentials(user={self.user!r})"  # a password has no place in a log


@value_class
class ScramKeys:
    """What a receiver keeps of a password for SCRAM-SHA-256."""

    salt: bytes
    iterations: int
    stored: bytes
    server: bytes

    @classmethod
    def of(cls, password: str, salt: bytes, iterations: int = ITERATIONS) -> "ScramKeys":
        """The keys of a password. ``salt``: drawn anew for each, 16 octets."""
        salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
        client = _hmac(salted, b"Client Key")
        return cls(salt, iterations, hashlib.sha256(client).digest(), _hmac(salted, b"Server Key"))


Step = bytes | Credentials | str | bool
"""What is next: a challenge (base64), a password to check, a user whose keys are needed, or how it ended."""


class Exchange(Protocol):
    """A mechanism at work. ``user``: who it is, as far as is known."""

    user: str

    def step(self, line: bytes | None) -> Step:
        """A line of the client (base64), or None where it is our turn.

        Raises:
            MechanismError: it is no part of this mechanism.
        """

    def use(self, keys: ScramKeys) -> None:
        """The keys that were asked for."""


def begin(mechanism: str, nonce: str) -> Exchange:
    """A mechanism of ``MECHANISMS``.

    Args:
        nonce: drawn anew for each exchange, at least 18 octets as base64; SCRAM alone uses it.
    """
    if mechanism == "PLAIN":
        return _Plain()
    if mechanism == "LOGIN":
        return _Login()
    return _Scram(nonce)


class _Plain:
    user = ""

    def step(self, line: bytes | None) -> Step:
        if line is None:
            return b""
        parts = _text(line).split("\0")
        if len(parts) != 3 or not parts[1]:
            raise MechanismError("PLAIN wants NUL, user name, NUL, password")
        acting, self.user, password = parts
        _as_oneself(acting, self.user)
        return Credentials(self.user, password, acting)

    def use(self, keys: ScramKeys) -> None:
        raise RuntimeError("PLAIN asks for no keys")


class _Login:
    user = ""

    def __init__(self) -> None:
        self._asked = 0

    def step(self, line: bytes | None) -> Step:
        # The words are those that clients look for; the mechanism is in no RFC.
        if line is None:
            self._asked = 1
            return base64.b64encode(b"Username:")
        if self._asked < 2:
            self.user, self._asked = _text(line), 2
            return base64.b64encode(b"Password:")
        if not self.user:
            raise MechanismError("the user name is empty")
        return Credentials(self.user, _text(line))

    def use(self, keys: ScramKeys) -> None:
        raise RuntimeError("LOGIN asks for no keys")


class _Scram:
    user = ""

    def __init__(self, nonce: str) -> None:
        self._ours = nonce
        self._nonce = ""
        self._bare = self._header = self._first = ""
        self._keys: ScramKeys | None = None
        self._ended = False

    def step(self, line: bytes | None) -> Step:
        if self._ended:
            return True  # the client acknowledges our proof by an empty line
        if self._keys is not None and not self._first:
            keys = self._keys
            self._first = f"r={self._nonce},s={base64.b64encode(keys.salt).decode('ascii')},i={keys.iterations}"
            return base64.b64encode(self._first.encode())
        if line is None:
            return b""
        text = _text(line)
        return self._final(text) if self._first else self._begin(text)

    def use(self, keys: ScramKeys) -> None:
        self._keys = keys

    def _begin(self, text: str) -> Step:
        # gs2-header "n,," (no channel binding), then n=user,r=nonce (RFC 5802 section 7).
        flag, _, rest = text.partition(",")
        acting, _, bare = rest.partition(",")
        fields = dict(part.split("=", 1) for part in bare.split(",") if "=" in part)
        if flag not in ("n", "y") or not bare.startswith("n=") or not fields.get("r"):
            raise MechanismError("SCRAM-SHA-256 begins with n,,n=user,r=nonce")
        self._header, self._bare = f"{flag},{acting},", bare
        self._nonce = fields["r"] + self._ours
        self.user = _name(fields["n"])
        if not self.user:
            raise MechanismError("the user name is empty")
        if acting:
            _as_oneself(_name(acting.removeprefix("a=")), self.user)
        return self.user

    def _final(self, text: str) -> Step:
        without, _, proof = text.rpartition(",p=")
        fields = dict(part.split("=", 1) for part in without.split(",") if "=" in part)
        binding = base64.b64encode(self._header.encode()).decode("ascii")
        if fields.get("c") != binding or fields.get("r") != self._nonce or self._keys is None:
            raise MechanismError("SCRAM-SHA-256 goes on with c=biws,r=nonce,p=proof")
        try:
            given = base64.b64decode(proof, validate=True)
        except ValueError:  # binascii.Error, or what is said of text that is not ASCII
            raise MechanismError("the proof is not base64") from None
        signed = f"{self._bare},{self._first},{without}".encode()
        signature = _hmac(self._keys.stored, signed)
        client = bytes(one ^ other for one, other in zip(given, signature, strict=False))
        if len(given) != len(signature) or not hmac.compare_digest(hashlib.sha256(client).digest(), self._keys.stored):
            return False
        self._ended = True
        return base64.b64encode(b"v=" + base64.b64encode(_hmac(self._keys.server, signed)))


def _as_oneself(acting: str, user: str) -> None:
    """Nobody acts as another one here, and who wants to is not let in as oneself instead (RFC 4422 section 3.6)."""
    if acting not in ("", user):
        raise MechanismError("nobody acts as another user here: leave the authorization identity empty")


def _name(text: str) -> str:
    """What a saslname means (RFC 5802 section 5.1)."""
    return text.replace("=2C", ",").replace("=3D", "=")


def _text(line: bytes) -> str:
    # An empty response is written as "=" where it comes with the command (RFC 4954 section 4).
    try:
        return base64.b64decode(b"" if line == b"=" else line, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise MechanismError("that is not base64 of UTF-8") from None


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")
