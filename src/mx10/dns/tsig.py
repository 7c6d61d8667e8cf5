"""Transactions signed with a shared secret (TSIG, RFC 8945): keys, and both ends of a conversation.

No I/O; the time comes as an argument, in seconds since 1970. Whoever asks uses ``Asker``, whoever answers
``read_request`` and ``Answerer``; both carry the digests from one message of a transfer to the next (section 5.3.1).
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from struct import Struct
from typing import Any, Final

from mx10.dns import rrtypes as rr
from mx10.dns.message import HEADER, RR_FIXED
from mx10.dns.rrtypes import Rcode
from mx10.dns.wirename import NameSyntaxError, WireError, fold, from_text, read, to_text

FUDGE: Final = 300
"""Seconds that the clocks of both ends may differ (RFC 8945 section 10 recommends them)."""
MOST_UNSIGNED: Final = 99
"""Messages of a transfer that may follow each other without a signature (RFC 8945 section 5.3.1)."""
BADSIG: Final = 16
"""The TSIG error that shares its number with BADVERS (RFC 8945 section 3)."""

_MORE: Final = Struct("!HIH")
_TAIL: Final = Struct("!HHH")

Hash = Callable[..., Any]

_ALGORITHMS: Final[dict[str, tuple[Hash, int]]] = {
    "hmac-md5.sig-alg.reg.int": (hashlib.md5, 16),
    "hmac-sha1": (hashlib.sha1, 20),
    "hmac-sha224": (hashlib.sha224, 28),
    "hmac-sha256": (hashlib.sha256, 32),
    "hmac-sha256-128": (hashlib.sha256, 16),
    "hmac-sha384": (hashlib.sha384, 48),
    "hmac-sha384-192": (hashlib.sha384, 24),
    "hmac-sha512": (hashlib.sha512, 64),
    "hmac-sha512-256": (hashlib.sha512, 32),
}
"""Name to hash and octets of its MAC (RFC 8945 section 6)."""
ALGORITHMS: Final = tuple(_ALGORITHMS)


class TsigError(Exception):
    """A message that is not signed as it must be.

    Attributes:
        rcode: of the response (RFC 8945 section 5.2).
        error: of the TSIG record in it; 0 if it has none.
        key: the key that response is signed with; None if it is not.
        stripped: the request without its TSIG record.
        tsig: the record it had.
    """

    def __init__(
        self,
        what: str,
        rcode: Rcode = Rcode.NOTAUTH,
        error: int = 0,
        *,
        key: "TsigKey | None" = None,
        stripped: bytes = b"",
        tsig: "Tsig | None" = None,
    ) -> None:
        super().__init__(what)
        self.rcode = rcode
        self.error = error
        self.key = key
        self.stripped = stripped
        self.tsig = tsig


class KeyFileError(ValueError):
    """A text that holds no keys: what is wrong, in which line."""


@dataclass(frozen=True, slots=True)
class TsigKey:
    """A shared secret: its name (folded), the algorithm's name, and the octets."""

    name: bytes
    algorithm: str
    secret: bytes

    def __repr__(self) -> str:
        return f"TsigKey({to_text(self.name)}, {self.algorithm})"

    def to_text(self) -> str:
        """As BIND's tsig-keygen writes it, and nsupdate and others read it."""
        secret = base64.b64encode(self.secret).decode()
        name = to_text(self.name, final_dot=False)
        return f'key "{name}" {{\n\talgorithm {self.algorithm};\n\tsecret "{secret}";\n}};\n'

    @property
    def wire_algorithm(self) -> bytes:
        return from_text(self.algorithm)

    def mac(self, data: bytes) -> bytes:
        """The MAC of some octets."""
        kind, size = _ALGORITHMS[self.algorithm]
        return hmac.new(self.secret, data, kind).digest()[:size]


@dataclass(frozen=True, slots=True)
class Tsig:
    """A TSIG record: whose key, and what stands in it. ``other`` is the server's time in a BADTIME error."""

    name: bytes
    algorithm: bytes
    time: int
    fudge: int
    mac: bytes
    ident: int
    error: int
    other: bytes

    def variables(self, *, timers_only: bool) -> bytes:
        """What of it goes into the MAC (RFC 8945 section 4.3.3)."""
        timers = self.time.to_bytes(6, "big") + self.fudge.to_bytes(2, "big")
        if timers_only:
            return timers
        head = self.name + b"\0\xff\0\0\0\0" + self.algorithm
        return head + timers + self.error.to_bytes(2, "big") + len(self.other).to_bytes(2, "big") + self.other

    def append_to(self, message: bytes) -> bytes:
        """The message with the record behind it."""
        data = (
            self.algorithm
            + self.time.to_bytes(6, "big")
            + self.fudge.to_bytes(2, "big")
            + len(self.mac).to_bytes(2, "big")
            + self.mac
            + _TAIL.pack(self.ident, self.error, len(self.other))
            + self.other
        )
        count = int.from_bytes(message[10:12], "big") + 1
        record = self.name + RR_FIXED.pack(rr.TSIG, rr.CLASS_ANY, 0, len(data)) + data
        return message[:10] + count.to_bytes(2, "big") + message[12:] + record


# ---------------------------------------------------------------- keys


_WORD: Final = re.compile(r'//[^\n]*|#[^\n]*|/\*.*?\*/|"([^"\n]*)"|([{};])|([^\s{};"]+)|(\n)|\s', re.DOTALL)


def keys_from_text(text: str) -> dict[bytes, TsigKey]:
    """The keys of a file in BIND's form, by name: ``key "name" { algorithm hmac-sha256; secret "base64"; };``

    Raises:
        KeyFileError: it is not in that form.
    """
    words: list[tuple[str, int]] = []
    line = 1
    at = 0
    while at < len(text):
        found = _WORD.match(text, at)
        if found is None:
            raise KeyFileError(f"line {line}: {text[at : at + 20]!r} is no word; close the quote on its line")
        word = next((each for each in found.groups()[:3] if each is not None), None)
        if word is not None:
            words.append((word, line))
        line += found.group().count("\n")
        at = found.end()
    keys: dict[bytes, TsigKey] = {}
    while words:
        key = _key(words)
        if key.name in keys:
            raise KeyFileError(f"the key {to_text(key.name)} stands there twice; remove one of them")
        keys[key.name] = key
    return keys


_FORM: Final = 'write key "name" { algorithm hmac-sha256; secret "base64"; }; as `mx10 tsig NAME` prints it'


def _key(words: list[tuple[str, int]]) -> TsigKey:
    line = words[0][1]

    def take(wanted: str | None = None) -> str:
        nonlocal line
        if not words:
            raise KeyFileError(f"line {line}: the key is not closed; {_FORM}")
        word, line = words.pop(0)
        if wanted is not None and word != wanted:
            raise KeyFileError(f"line {line}: {word[:40]!r} stands where {wanted!r} should; {_FORM}")
        return word

    take("key")
    name = take()
    take("{")
    fields: dict[str, str] = {}
    while (word := take()) != "}":
        fields[word] = take()
        take(";")
    take(";")
    try:
        algorithm = fields["algorithm"].lower().rstrip(".")
        secret = base64.b64decode(fields["secret"], validate=True)
        folded = fold(from_text(name))
    except KeyError as error:
        raise KeyFileError(f"line {line}: the key {name!r} has no {error.args[0]}; {_FORM}") from None
    except binascii.Error:
        raise KeyFileError(f"line {line}: the secret of {name!r} is not base64; {_FORM}") from None
    except NameSyntaxError as error:
        raise KeyFileError(f"line {line}: {name!r} is no name of a key: {error}") from None
    if algorithm == "hmac-md5":
        algorithm = "hmac-md5.sig-alg.reg.int"
    if algorithm not in _ALGORITHMS:
        raise KeyFileError(f"line {line}: {algorithm!r} is no algorithm; take one of {', '.join(_ALGORITHMS)}")
    if not secret:
        raise KeyFileError(f"line {line}: the secret of {name!r} is empty; {_FORM}")
    return TsigKey(folded, algorithm, secret)


# ---------------------------------------------------------------- messages


def split(message: bytes) -> tuple[bytes, Tsig | None]:
    """A message without its TSIG record, with the id it was signed with; and the record, if it has one.

    Raises:
        WireError: the message does not parse that far, or a TSIG record is not the last (RFC 8945 section 5.1).
    """
    if len(message) < HEADER.size:
        raise WireError("the message is shorter than its header")
    _, _, questions, *counts = HEADER.unpack_from(message)
    if not counts[2]:
        return message, None
    at = HEADER.size
    size = len(message)
    for _ in range(questions):
        at = _skip_name(message, at) + 4
    left = sum(counts)
    for _ in range(left):
        start = at
        at = _skip_name(message, at)
        if at + 10 > size:
            raise WireError("a record runs past the end of the message")
        rrtype, klass, ttl, length = RR_FIXED.unpack_from(message, at)
        begin, at = at + 10, at + 10 + length
        left -= 1
        if at > size:
            raise WireError("record data runs past the end of the message")
        if rrtype == rr.TSIG:
            if left or at != size or klass != rr.CLASS_ANY or ttl:
                raise WireError("a TSIG record is the last of a message, of class ANY and with TTL 0")
            tsig = _read_tsig(fold(read(message, start)[0]), message[begin:at])
            head = tsig.ident.to_bytes(2, "big") + message[2:10] + (counts[2] - 1).to_bytes(2, "big")
            return head + message[12:start], tsig
    return message, None


def _skip_name(message: bytes, at: int) -> int:
    try:
        while length := message[at]:
            if length >= 0xC0:
                return at + 2
            at += length + 1
    except IndexError:
        raise WireError("a name runs past the end of the message") from None
    return at + 1


def _read_tsig(name: bytes, data: bytes) -> Tsig:
    algorithm, at = read(data, 0)
    if at + 10 > len(data):
        raise WireError("the TSIG record is cut short")
    high, low, fudge = _MORE.unpack_from(data, at)
    size = int.from_bytes(data[at + 8 : at + 10], "big")
    at += 10
    mac = data[at : at + size]
    at += size
    if at + _TAIL.size > len(data):
        raise WireError("the TSIG record is cut short")
    ident, error, length = _TAIL.unpack_from(data, at)
    other = data[at + _TAIL.size :]
    if len(other) != length:
        raise WireError("the TSIG record does not end where its last field does")
    return Tsig(name, fold(algorithm), high << 32 | low, fudge, mac, ident, error, other)


def _signed(message: bytes, key: TsigKey, before: bytes, now: int, *, timers_only: bool) -> Tsig:
    """The TSIG record for a message; ``before`` is what else goes into the MAC first."""
    tsig = Tsig(key.name, key.wire_algorithm, now, FUDGE, b"", int.from_bytes(message[:2], "big"), 0, b"")
    return replace(tsig, mac=key.mac(before + message + tsig.variables(timers_only=timers_only)))


def _prefixed(mac: bytes) -> bytes:
    return len(mac).to_bytes(2, "big") + mac


# ---------------------------------------------------------------- who asks


class Asker:
    """One request, and the responses to it in their order.

    Args:
        key: both ends have.
        clock: seconds since 1970.
    """

    def __init__(self, key: TsigKey, clock: Callable[[], float]) -> None:
        self._key = key
        self._clock = clock
        self._before = bytearray()
        self._first = True
        self._unsigned = 0

    def sign(self, request: bytes) -> bytes:
        """The request with its signature."""
        tsig = _signed(request, self._key, b"", int(self._clock()), timers_only=False)
        self._before = bytearray(_prefixed(tsig.mac))
        return tsig.append_to(request)

    def verify(self, response: bytes) -> bytes:
        """A response without its TSIG record.

        Raises:
            TsigError: it is not signed as it must be.
        """
        try:
            stripped, tsig = split(response)
        except WireError as error:
            raise TsigError(f"the response does not parse: {error}", Rcode.FORMERR) from None
        if tsig is None:
            self._unsigned += 1
            if self._first or self._unsigned > MOST_UNSIGNED:
                raise TsigError("the response is not signed")
            self._before += stripped
            return stripped
        if tsig.name != self._key.name or tsig.algorithm != self._key.wire_algorithm:
            raise TsigError(f"the response is signed with another key, {to_text(tsig.name)}")
        if tsig.error and not tsig.mac:
            raise TsigError(f"the server refused our signature: {_error_to_text(tsig.error)}", error=tsig.error)
        mac = self._key.mac(bytes(self._before) + stripped + tsig.variables(timers_only=not self._first))
        if not hmac.compare_digest(mac, tsig.mac):
            raise TsigError("the signature of the response is wrong", error=BADSIG)
        if tsig.error:
            raise TsigError(f"the server refused our signature: {_error_to_text(tsig.error)}", error=tsig.error)
        if abs(tsig.time - self._clock()) > tsig.fudge:
            raise TsigError(f"the clocks differ by more than {tsig.fudge} s", error=Rcode.BADTIME)
        self._before = bytearray(_prefixed(tsig.mac))
        self._first = False
        self._unsigned = 0
        return stripped

    def finish(self) -> None:
        """See that the last response was signed.

        Raises:
            TsigError: it was not.
        """
        if self._first or self._unsigned:
            raise TsigError("the last message is not signed")


def _error_to_text(error: int) -> str:
    return "BADSIG" if error == BADSIG else rr.rcode_to_text(error)


# ---------------------------------------------------------------- who answers


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A request whose signature is right: without its TSIG record, the key, and the MAC that responses begin with."""

    message: bytes
    key: TsigKey
    mac: bytes


def read_request(message: bytes, keys: Mapping[bytes, TsigKey], now: float) -> SignedRequest | bytes:
    """A request, verified; the message itself where it is not signed.

    Raises:
        TsigError: the signature is wrong, or its key unknown; ``refusal`` makes the response.
        WireError: the message does not parse.
    """
    stripped, tsig = split(message)
    if tsig is None:
        return message
    key = keys.get(tsig.name)
    if key is None or key.wire_algorithm != tsig.algorithm:
        what = f"there is no key {to_text(tsig.name)} with the algorithm {to_text(tsig.algorithm)}"
        raise TsigError(what, error=Rcode.BADKEY, stripped=stripped, tsig=tsig)
    kind, size = _ALGORITHMS[key.algorithm]
    if len(tsig.mac) > kind().digest_size or len(tsig.mac) < max(10, kind().digest_size // 2):
        # RFC 8945 section 5.2.2.1.
        raise TsigError("the MAC has a length that cannot be", Rcode.FORMERR, stripped=stripped)
    mac = key.mac(stripped + tsig.variables(timers_only=False))
    if not hmac.compare_digest(mac[: len(tsig.mac)], tsig.mac[: len(mac)]):
        raise TsigError("the signature is wrong", error=BADSIG, stripped=stripped, tsig=tsig)
    if len(tsig.mac) < size:
        what = f"the MAC is cut to {len(tsig.mac)} octets"
        raise TsigError(what, error=Rcode.BADTRUNC, key=key, stripped=stripped, tsig=tsig)
    if abs(tsig.time - now) > tsig.fudge:
        what = f"the clocks differ by more than {tsig.fudge} s"
        raise TsigError(what, error=Rcode.BADTIME, key=key, stripped=stripped, tsig=tsig)
    return SignedRequest(stripped, key, tsig.mac)


class Answerer:
    """Signs the responses to a request, in their order.

    Args:
        clock: seconds since 1970.
    """

    def __init__(self, request: SignedRequest, clock: Callable[[], float]) -> None:
        self._key = request.key
        self._before = _prefixed(request.mac)
        self._first = True
        self._clock = clock

    def sign(self, response: bytes) -> bytes:
        """A response with its signature; each message of a transfer gets one."""
        tsig = _signed(response, self._key, self._before, int(self._clock()), timers_only=not self._first)
        self._before = _prefixed(tsig.mac)
        self._first = False
        return tsig.append_to(response)


def refusal(error: TsigError, now: float) -> bytes:
    """The response to a request whose signature is wrong (RFC 8945 section 5.2): the question, the code, and the TSIG
    record that says why; empty for what is no request."""
    message = error.stripped
    if len(message) < HEADER.size:
        return b""
    ident, flags, questions, *_ = HEADER.unpack_from(message)
    at = HEADER.size
    for _ in range(questions):
        at = _skip_name(message, at) + 4
    flags = 0x8000 | flags & 0x7900 | error.rcode
    response = HEADER.pack(ident, flags, questions, 0, 0, 0) + message[HEADER.size : at]
    if not error.error or error.tsig is None:
        return response
    tsig = error.tsig
    if error.key is None:
        return Tsig(tsig.name, tsig.algorithm, tsig.time, FUDGE, b"", ident, error.error, b"").append_to(response)
    # So that the client can see the server's time, BADTIME is signed with the time of the request (section 5.2.3).
    when = tsig.time if error.error == Rcode.BADTIME else int(now)
    other = int(now).to_bytes(6, "big") if error.error == Rcode.BADTIME else b""
    made = Tsig(tsig.name, tsig.algorithm, when, FUDGE, b"", ident, error.error, other)
    mac = error.key.mac(_prefixed(tsig.mac) + response + made.variables(timers_only=False))
    return replace(made, mac=mac).append_to(response)
