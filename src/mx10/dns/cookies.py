"""DNS cookies (RFC 7873) in the form all servers share (RFC 9018): a client that shows one has got an answer of ours
before, so its address is not forged.

A server cookie is 16 octets: version 1, three reserved, the time it was made, and a SipHash-2-4 of all that, the
client's cookie and its address, under a secret. Servers with the same secret know each other's cookies.
"""

import hmac
from collections.abc import Sequence
from struct import Struct
from typing import Final

CLIENT_OCTETS: Final = 8
SECRET_OCTETS: Final = 16
OLDEST_SECONDS: Final = 3600
"""A cookie older than this is none (RFC 9018 section 4.3)."""
RENEWED_SECONDS: Final = 1800
"""One older than this is good, and the answer brings a new one (RFC 9018 section 4.3)."""
AHEAD_SECONDS: Final = 300
"""How far the clock of another server with our secret may be ahead (RFC 9018 section 4.3)."""

_OPTION_LENGTHS: Final = frozenset({CLIENT_OCTETS, *range(16, 41)})
"""A client's cookie alone, or with a server's of 8 to 32 octets (RFC 7873 section 4)."""
_SERVER_OCTETS: Final = 16
_VERSION: Final = 1
_HEAD: Final = Struct("!BxxxI")
_WORD: Final = Struct("<Q")
_KEY: Final = Struct("<QQ")
_MASK: Final = 0xFFFFFFFFFFFFFFFF


class SecretError(ValueError):
    """A file of secrets that cannot be used: where, why, and the mend."""


def siphash(key: bytes, data: bytes) -> bytes:
    """SipHash-2-4 (Aumasson and Bernstein, 2012): 8 octets.

    Args:
        key: 16 octets.
    """
    k0, k1 = _KEY.unpack(key)
    a = k0 ^ 0x736F6D6570736575
    b = k1 ^ 0x646F72616E646F6D
    c = k0 ^ 0x6C7967656E657261
    d = k1 ^ 0x7465646279746573
    padded = data + bytes(7 - len(data) % 8) + bytes((len(data) & 0xFF,))
    for (word,) in _WORD.iter_unpack(padded):
        a, b, c, d = _rounds(2, a, b, c, d ^ word)
        a ^= word
    a, b, c, d = _rounds(4, a, b, c ^ 0xFF, d)
    return _WORD.pack(a ^ b ^ c ^ d)


def _rounds(count: int, a: int, b: int, c: int, d: int) -> tuple[int, int, int, int]:
    """So many rounds over the state, four words of 64 bits."""
    for _ in range(count):
        a = a + b & _MASK
        b = (b << 13 | b >> 51) & _MASK ^ a
        a = (a << 32 | a >> 32) & _MASK
        c = c + d & _MASK
        d = (d << 16 | d >> 48) & _MASK ^ c
        a = a + d & _MASK
        d = (d << 21 | d >> 43) & _MASK ^ a
        c = c + b & _MASK
        b = (b << 17 | b >> 47) & _MASK ^ c
        c = (c << 32 | c >> 32) & _MASK
    return a, b, c, d


def is_well_formed(option: bytes) -> bool:
    """Whether a COOKIE option has one of the lengths there are; others are FORMERR (RFC 7873 section 5.2.2)."""
    return len(option) in _OPTION_LENGTHS


def make(secret: bytes, client_cookie: bytes, address: bytes, now: int) -> bytes:
    """The server cookie for a client.

    Args:
        address: the client's IP address, 4 or 16 octets.
        now: seconds since 1970.
    """
    head = _HEAD.pack(_VERSION, now & 0xFFFFFFFF)
    return head + siphash(secret, client_cookie + head + address)


def age(secrets: Sequence[bytes], option: bytes, address: bytes, now: int) -> int | None:
    """How old the server cookie in an option is, in seconds; None where there is none, or it is not good.

    Args:
        secrets: the one in use, and others that were or will be (RFC 9018 section 5).
        option: well-formed: the client's cookie and what it takes for a server's.
    """
    client, server = option[:CLIENT_OCTETS], option[CLIENT_OCTETS:]
    if len(server) != _SERVER_OCTETS or server[0] != _VERSION:
        return None
    # Serial arithmetic (RFC 1982), as the RFC wants it: the time has 32 bits.
    seconds = now - int.from_bytes(server[4:8], "big") & 0xFFFFFFFF
    if seconds >= 1 << 31:
        seconds -= 1 << 32
    if not -AHEAD_SECONDS <= seconds <= OLDEST_SECONDS:
        return None
    for secret in secrets:
        if hmac.compare_digest(siphash(secret, client + server[:8] + address), server[8:]):
            return seconds
    return None


def secrets_from_text(text: str) -> tuple[bytes, ...]:
    """The secrets of a file: 32 hexadecimal digits a line, the one in use first; ``#`` begins a comment.

    Raises:
        SecretError: a line is something else, or there is none.
    """
    secrets: list[bytes] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].strip()
        if not words:
            continue
        try:
            secret = bytes.fromhex(words)
        except ValueError:
            secret = b""
        if len(secret) != SECRET_OCTETS:
            # What stands there is not told: it may be a secret with a slip.
            raise SecretError(f"line {number} is no secret: write 32 hexadecimal digits (`openssl rand -hex 16`)")
        secrets.append(secret)
    if not secrets:
        raise SecretError("there is no secret in it: write 32 hexadecimal digits (`openssl rand -hex 16`)")
    return tuple(secrets)
