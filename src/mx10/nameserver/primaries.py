"""Primaries as people write them: ``192.0.2.1``, ``[2001:db8::1]:5353#key``, ``192.0.2.1#key+tls=ns1.example.net``."""

import base64
import binascii
from dataclasses import dataclass
from typing import Final

from mx10.dns.wirename import NameSyntaxError, fold, from_text, labels, to_text
from mx10.nameserver.listeners import ListenError, format_address, parse_address

_PIN: Final = "sha256/"
_SHA256: Final = 32
_FORM: Final = "write ADDRESS[:PORT][#KEY][+tls[=NAME|=sha256/PIN]], as in 192.0.2.1:53#transfer.example"


class PrimaryError(ValueError):
    """A text that names no primary: what is wrong, and the form."""


@dataclass(frozen=True, slots=True)
class Primary:
    """Whom a zone is fetched from.

    Attributes:
        address: an IP address.
        key: the name (folded) of the TSIG key that signs both ways; None without.
        tls: whether to speak over TLS (RFC 9103).
        hostname: the name its certificate must bear, and an authority must vouch for; "" where neither is asked for.
        pin: SHA-256 of the public key its certificate must have (the form of RFC 7858 section 4.2); empty without.
    """

    address: str
    port: int
    key: bytes | None = None
    tls: bool = False
    hostname: str = ""
    pin: bytes = b""

    def __str__(self) -> str:
        usual = 853 if self.tls else 53
        text = self.address if self.port == usual else format_address((self.address, self.port))
        if self.key is not None:
            text += f"#{to_text(self.key, final_dot=False)}"
        if self.tls:
            text += "+tls"
            if self.hostname:
                text += f"={self.hostname}"
            elif self.pin:
                text += f"={_PIN}{base64.b64encode(self.pin).decode()}"
        return text


def primary_from_text(text: str) -> Primary:
    """Read a primary.

    Raises:
        PrimaryError: it is none.
    """
    where, tls, certificate = text.strip().partition("+tls")
    if tls and certificate and not certificate.startswith("="):
        raise PrimaryError(f"{text[:100]!r} is no primary: {certificate[:40]!r} follows +tls; {_FORM}")
    where, hash_sign, key = where.partition("#")
    try:
        address, port = parse_address(where, 853 if tls else 53)
    except ListenError:
        raise PrimaryError(f"{text[:100]!r} is no primary: {where[:60]!r} is no IP address; {_FORM}") from None
    if not port:
        raise PrimaryError(f"{text[:100]!r} is no primary: nobody listens on port 0; {_FORM}")
    name = _name(key, text) if hash_sign else None
    hostname, pin = _certificate(certificate[1:], text) if certificate else ("", b"")
    return Primary(address, port, name, bool(tls), hostname, pin)


def _name(text: str, whole: str) -> bytes:
    try:
        return fold(from_text(text))
    except NameSyntaxError as error:
        raise PrimaryError(f"{whole[:100]!r} is no primary: {text[:60]!r} is no name of a key: {error}") from None


def _certificate(text: str, whole: str) -> tuple[str, bytes]:
    if text.startswith(_PIN):
        try:
            pin = base64.b64decode(text.removeprefix(_PIN), validate=True)
        except binascii.Error:
            pin = b""
        if len(pin) != _SHA256:
            raise PrimaryError(f"{whole[:100]!r} is no primary: the pin is not 32 octets in base64; {_FORM}")
        return "", pin
    name = _name(text, whole)
    if not all(label.replace(b"-", b"").isalnum() for label in labels(name)) or not labels(name):
        raise PrimaryError(f"{whole[:100]!r} is no primary: {text[:60]!r} is no host name; {_FORM}")
    return to_text(name, final_dot=False), b""


def public_key_digest(certificate: bytes) -> bytes:
    """SHA-256 of the public key of a certificate (its SubjectPublicKeyInfo, RFC 5280 section 4.1).

    Args:
        certificate: DER, as TLS has already read it.

    Raises:
        ValueError: it is none.
    """
    import hashlib

    try:
        outer = _elements(certificate)[0]
        fields = _elements(_elements(outer[1])[0][1])
        # version (tagged 0; absent in version 1), serial, algorithm, issuer, validity, subject, and then the key.
        return hashlib.sha256(fields[6 if fields[0][0] == 0xA0 else 5][2]).digest()
    except IndexError:
        raise ValueError("this is no certificate") from None


def _elements(der: bytes) -> list[tuple[int, bytes, bytes]]:
    """The elements that stand one after the other: tag, content, and the whole element."""
    found = []
    at = 0
    while at < len(der):
        start, tag, length = at, der[at], der[at + 1]
        at += 2
        if length & 0x80:
            count = length & 0x7F
            length = int.from_bytes(der[at : at + count], "big")
            at += count
        if at + length > len(der):
            raise IndexError
        found.append((tag, der[at : at + length], der[start : at + length]))
        at += length
    return found
