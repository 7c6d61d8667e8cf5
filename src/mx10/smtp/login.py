"""SASL for AUTH (RFC 4954) as the client speaks it: SCRAM-SHA-256 (RFC 5802, 7677), PLAIN (RFC 4616) and LOGIN.

A mechanism is a generator of what is sent: it is given each challenge, and says at the end whether the server has shown
what the mechanism wants it to show.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Collection
from typing import Final

from mx10.smtp.auth import MECHANISMS, Credentials

MAX_ITERATIONS: Final = 1_000_000
"""Of SCRAM, that a server may ask for: some 0.3 s of work."""
_CLEAR: Final = frozenset({"PLAIN", "LOGIN"})


class LoginError(ValueError):
    """The server's part of AUTH cannot be answered: why."""


def choose(offered: Collection[str], *, encrypted: bool, wanted: str | None = None) -> str | None:
    """The best mechanism of those offered that does not show the password to whoever listens; None: there is none.

    Args:
        offered: by the server, in upper case.
        encrypted: TLS is spoken: PLAIN and LOGIN may be used.
        wanted: this one or none.
    """
    for mechanism in MECHANISMS:
        allowed = encrypted or mechanism not in _CLEAR
        if allowed and mechanism in offered and wanted in (None, mechanism):
            return mechanism
    return None


class Login:
    """One exchange.

    Args:
        mechanism: of ``MECHANISMS``.
        nonce: printable, without a comma, new for each exchange; only SCRAM uses it.
    """

    def __init__(self, mechanism: str, credentials: Credentials, nonce: str) -> None:
        self._mechanism = mechanism
        self._credentials = credentials
        self._nonce = nonce
        self._step = 0
        self._bare = ""
        self._signature = b""
        self._proven = mechanism != "SCRAM-SHA-256"

    def first(self) -> str:
        """What stands behind ``AUTH``."""
        who = self._credentials
        if self._mechanism == "PLAIN":
            return f"PLAIN {_base64(f'{who.acting}{chr(0)}{who.user}{chr(0)}{who.password}'.encode())}"
        if self._mechanism == "LOGIN":
            return "LOGIN"
        self._bare = f"n={_saslname(who.user)},r={self._nonce}"
        return f"SCRAM-SHA-256 {_base64((self._header() + self._bare).encode())}"

    def answer(self, challenge: str) -> str:
        """The line that answers a challenge, the text of a 334.

        Raises:
            LoginError: it is no challenge of this mechanism.
        """
        self._step += 1
        if self._mechanism == "LOGIN" and self._step <= 2:
            return _base64((self._credentials.user if self._step == 1 else self._credentials.password).encode())
        if self._mechanism == "SCRAM-SHA-256" and self._step == 1:
            return self._prove(_decoded(challenge))
        if self._mechanism == "SCRAM-SHA-256" and self._step == 2:
            self._verify(_decoded(challenge))
            return ""
        raise LoginError(f"the server asks for more than {self._mechanism} has")

    def end(self, text: str) -> None:
        """The server said that it is done.

        Args:
            text: of its 235; SCRAM's last word may stand there (RFC 4954 section 4).

        Raises:
            LoginError: it has not shown that it knows us.
        """
        if not self._proven:
            if self._step != 1:
                raise LoginError("the server ended SCRAM-SHA-256 too early")
            self._verify(_decoded(text))

    def _header(self) -> str:
        # No channel binding; "a=" is as whom to act (RFC 5802 section 7).
        return f"n,{f'a={_saslname(self._credentials.acting)}' if self._credentials.acting else ''},"

    def _prove(self, first: str) -> str:
        fields = dict(part.split("=", 1) for part in first.split(",") if "=" in part)
        nonce, iterations = fields.get("r", ""), fields.get("i", "")
        if not first.startswith("r=") or not nonce.startswith(self._nonce) or len(nonce) == len(self._nonce):
            raise LoginError("the server's nonce does not go on from ours")
        if not (iterations.isascii() and iterations.isdigit() and len(iterations) <= 7):
            raise LoginError("the server's count of iterations is none")
        if not 1 <= int(iterations) <= MAX_ITERATIONS:
            raise LoginError(f"the server asks for {iterations} iterations; at most {MAX_ITERATIONS} are done")
        try:
            salt = base64.b64decode(fields.get("s", ""), validate=True)
        except (binascii.Error, ValueError):
            raise LoginError("the server's salt is not base64") from None
        salted = hashlib.pbkdf2_hmac("sha256", self._credentials.password.encode(), salt, int(iterations))
        without = f"c={_base64(self._header().encode())},r={nonce}"
        signed = f"{self._bare},{first},{without}".encode()
        client = hmac.digest(salted, b"Client Key", "sha256")
        signature = hmac.digest(hashlib.sha256(client).digest(), signed, "sha256")
        proof = bytes(one ^ other for one, other in zip(client, signature, strict=True))
        self._signature = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), signed, "sha256")
        return _base64(f"{without},p={_base64(proof)}".encode())

    def _verify(self, last: str) -> None:
        if not hmac.compare_digest(last.encode(), b"v=" + base64.b64encode(self._signature)):
            raise LoginError("the server does not know the password: it may be another one than it says")
        self._proven = True


def _saslname(text: str) -> str:
    return text.replace("=", "=3D").replace(",", "=2C")


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, ValueError):
        raise LoginError("what the server sent is not base64 of UTF-8") from None
