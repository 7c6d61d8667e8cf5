"""DKIM (RFC 6376, RFC 8301, RFC 8463): which domains signed a message, and whether it is still what they signed.

Written here and not taken from dkimpy: that one wants a whole message in memory, and reads what strangers wrote with
regular expressions that were not made for that. The mathematics is that of ``cryptography``.

A ``Verifier`` is given the header, then the body piece by piece, whatever its size; then it asks for the keys. At most
``MAX_SIGNATURES`` are looked at. A signature that leaves a part of the body out (``l=``) is no pass here: anybody may
add to it (RFC 6376 section 8.2). SHA-1 and RSA keys of less than 1,024 bits are none either (RFC 8301).
"""

import asyncio
import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from mx10.mailauth.asking import Ask, Status
from mx10.mailauth.body import BodyHash
from mx10.names import DomainError, ascii_text, domain_from_text

MAX_SIGNATURES: Final = 5
"""Signatures of one message that are looked at, from the top: the last ones to sign."""
MAX_FIELD: Final = 16_384
"""Octets of a signature or a key that are read."""
MAX_SIGNED: Final = 500
"""Fields that one signature names."""
KEY_BITS: Final = (1024, 8192)
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]*={0,2}")
_BLANK: Final = re.compile(r"[ \t\r\n]+")
_TAG: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_OWN_VALUE: Final = re.compile(rb"((?:\A|;)[ \t\r\n]*b[ \t\r\n]*=)[^;]*")
_LABEL: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")


class DkimResult(StrEnum):
    """RFC 8601 section 2.7.1."""

    NONE = "none"
    PASS = "pass"
    FAIL = "fail"
    """It is not what was signed."""
    POLICY = "policy"
    """It is good, but not good enough for us."""
    NEUTRAL = "neutral"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


@dataclass(frozen=True, slots=True)
class Dkim:
    """What came of one signature. ``domain``: who signed, in A-labels; empty: it does not say so."""

    result: DkimResult
    domain: str = ""
    selector: str = ""
    reason: str = ""
    signature: str = ""
    """The first characters of it, to tell several of one domain apart (RFC 6008)."""


class _SignatureError(Exception):
    """A signature, or a key, that cannot count."""

    def __init__(self, result: DkimResult, reason: str) -> None:
        super().__init__(reason)
        self.result = result


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a header. ``raw``: with its line ends; ``name``: in lower case."""

    name: bytes
    raw: bytes


@dataclass(frozen=True, slots=True)
class _Signature:
    algorithm: str
    domain: str
    selector: str
    identity: str
    """The domain of i=."""
    relaxed: bool
    """The header's canonical form."""
    relaxed_body: bool
    names: tuple[bytes, ...]
    body_hash: bytes
    value: bytes
    length: int | None


def split_header(header: bytes) -> list[Field]:
    """The fields of a header. Lines that are none are left out."""
    fields = []
    for raw in re.split(rb"(?<=\n)(?![ \t])", header):
        name, colon, _ = raw.partition(b":")
        name = name.rstrip(b" \t")
        if colon and name and b"\n" not in name:
            fields.append(Field(name.lower(), raw))
    return fields


def tags(text: str) -> dict[str, str]:
    """A list of tags (RFC 6376 section 3.2), values without white space at their ends.

    Raises:
        ValueError: it is none, or has a tag twice.
    """
    found: dict[str, str] = {}
    parts = text.split(";")
    if not parts[-1].strip():
        parts.pop()
    for part in parts:
        name, equals, value = part.partition("=")
        name = name.strip(" \t\r\n")
        if not equals or not _TAG.fullmatch(name):
            raise ValueError(f"{part.strip()[:40]!r} is no tag")
        if name in found:
            raise ValueError(f"the tag {name} stands there twice")
        found[name] = value.strip(" \t\r\n")
    return found


class Verifier:
    """Verifies all signatures of one message.

    Args:
        header: with its line ends; the empty line behind it may be there.
        now: seconds since 1970.
    """

    def __init__(self, header: bytes, now: int) -> None:
        self._fields = split_header(header)
        self._now = now
        signed = [field for field in self._fields if field.name == b"dkim-signature"]
        self._signatures = [(field, self._read(field)) for field in signed[:MAX_SIGNATURES]]
        self._bodies = {
            _body_key(one): BodyHash(relaxed=one.relaxed_body, length=one.length)
            for _, one in self._signatures
            if isinstance(one, _Signature)
        }

    @property
    def wants_body(self) -> bool:
        """Whether there is a signature to compare the body with."""
        return bool(self._bodies)

    def feed(self, chunk: bytes) -> None:
        """A piece of the body; lines end in CR LF."""
        for body in self._bodies.values():
            body.feed(chunk)

    async def finish(self, ask: Ask) -> list[Dkim]:
        """What came of each signature, in the order of the header; empty: there is none."""
        for body in self._bodies.values():
            body.finish()
        return list(await asyncio.gather(*(self._verify(field, one, ask) for field, one in self._signatures)))

    # ---------------------------------------------------------------- reading

    def _read(self, field: Field) -> _Signature | Dkim:
        try:
            if len(field.raw) > MAX_FIELD:
                raise ValueError(f"it has more than {MAX_FIELD} octets")
            found = tags(field.raw.partition(b":")[2].decode())
        except ValueError as error:
            return Dkim(DkimResult.PERMERROR, reason=f"the signature cannot be read: {error}")
        domain, selector = found.get("d", "")[:255], found.get("s", "")[:255]
        try:
            return self._signature(found)
        except _SignatureError as error:
            domain = domain if domain.isascii() and domain.isprintable() else ""
            selector = selector if selector.isascii() and selector.isprintable() else ""
            return Dkim(error.result, domain, selector, str(error), found.get("b", "")[:8])

    def _signature(self, found: dict[str, str]) -> _Signature:
        missing = [name for name in ("v", "a", "b", "bh", "d", "h", "s") if not found.get(name)]
        if missing:
            raise _SignatureError(DkimResult.PERMERROR, f"the tag {missing[0]}= is missing")
        if found["v"] != "1":
            raise _SignatureError(DkimResult.PERMERROR, "it is of another version than 1")
        algorithm, _, digest = found["a"].partition("-")
        if digest == "sha1":
            raise _SignatureError(DkimResult.POLICY, "SHA-1 is not good enough (RFC 8301)")
        if digest != "sha256" or algorithm not in ("rsa", "ed25519"):
            raise _SignatureError(DkimResult.PERMERROR, "its algorithm is not known")
        domain, identity = self._domains(found)
        names = tuple(name.strip(" \t\r\n").lower().encode() for name in found["h"].split(":"))
        if len(names) > MAX_SIGNED or b"from" not in names:
            raise _SignatureError(DkimResult.PERMERROR, "From is not signed, or too many fields are")
        header_form, _, body_form = found.get("c", "simple/simple").partition("/")
        body_form = body_form or "simple"
        if header_form not in ("simple", "relaxed") or body_form not in ("simple", "relaxed"):
            raise _SignatureError(DkimResult.PERMERROR, "its canonical form is not known")
        if "dns/txt" not in [each.strip() for each in found.get("q", "dns/txt").split(":")]:
            raise _SignatureError(DkimResult.PERMERROR, "its key is not in the DNS")
        self._times(found)
        return _Signature(
            algorithm,
            domain,
            _selector(found["s"]),
            identity,
            header_form == "relaxed",
            body_form == "relaxed",
            names,
            _octets(found["bh"], "bh"),
            _octets(found["b"], "b"),
            _number(found, "l"),
        )

    def _domains(self, found: dict[str, str]) -> tuple[str, str]:
        """The domain that signed, and that of the identity, which has to be it or below it."""
        try:
            domain = ascii_text(domain_from_text(found["d"]))
            identity = found.get("i", "").rpartition("@")[2]
            identity = ascii_text(domain_from_text(identity)) if identity else domain
        except DomainError:
            raise _SignatureError(DkimResult.PERMERROR, "its domain is none") from None
        if "." not in domain.strip("."):
            raise _SignatureError(DkimResult.PERMERROR, "its domain has one label")
        if identity != domain and not identity.endswith(f".{domain}"):
            raise _SignatureError(DkimResult.PERMERROR, "its identity (i=) is not of its domain (d=)")
        return domain, identity

    def _times(self, found: dict[str, str]) -> None:
        signed, expires = _number(found, "t"), _number(found, "x")
        if expires is not None and signed is not None and expires <= signed:
            raise _SignatureError(DkimResult.PERMERROR, "it expired before it was made")
        if expires is not None and expires < self._now:
            raise _SignatureError(DkimResult.POLICY, "it has expired")

    # ---------------------------------------------------------------- verifying

    async def _verify(self, field: Field, one: _Signature | Dkim, ask: Ask) -> Dkim:
        if isinstance(one, Dkim):
            return one
        shown = base64.b64encode(one.value).decode()[:8]
        try:
            body = self._bodies[_body_key(one)]
            if one.length is not None and one.length > body.size:
                raise _SignatureError(DkimResult.PERMERROR, "more of the body was signed than there is")
            if body.digest != one.body_hash:
                raise _SignatureError(DkimResult.FAIL, "the body is not what was signed")
            await self._check(field, one, ask)
            if one.length is not None and one.length < body.size:
                raise _SignatureError(DkimResult.POLICY, "a part of the body is not signed (l=)")
        except _SignatureError as error:
            return Dkim(error.result, one.domain, one.selector, str(error), shown)
        return Dkim(DkimResult.PASS, one.domain, one.selector, "", shown)

    async def _check(self, field: Field, one: _Signature, ask: Ask) -> None:
        found = await ask(f"{one.selector}._domainkey.{one.domain}", "TXT")
        if found.status is Status.FAILED:
            raise _SignatureError(DkimResult.TEMPERROR, "its key cannot be looked up now")
        if found.status is Status.ABSENT or not found.texts:
            raise _SignatureError(DkimResult.PERMERROR, "there is no such key")
        key, testing = _key(found.texts[0], one)
        digest = hashlib.sha256(self._signed(field, one)).digest()
        if not _is_signed(key, one, digest):
            raise _SignatureError(DkimResult.FAIL, "the header is not what was signed, or by another key")
        if testing:
            # RFC 6376 section 3.6.1: as if it were not signed.
            raise _SignatureError(DkimResult.NEUTRAL, "its domain is still trying signatures out (t=y)")

    def _signed(self, own: Field, one: _Signature) -> bytes:
        """The octets that were signed (RFC 6376 section 3.7): fields from the bottom up, and the signature itself."""
        canonical = _relaxed if one.relaxed else _simple
        left: dict[bytes, list[Field]] = {}
        for field in self._fields:
            if field is not own:
                left.setdefault(field.name, []).append(field)
        pieces = [canonical(left[name].pop().raw) for name in one.names if left.get(name)]
        name, _, value = own.raw.partition(b":")
        empty = name + b":" + _OWN_VALUE.sub(rb"\1", value, count=1)
        return b"".join(pieces) + canonical(empty).removesuffix(b"\r\n")


def _body_key(one: _Signature) -> tuple[bool, int | None]:
    """Signatures that are equal in this hash the same octets of a body."""
    return one.relaxed_body, one.length


def _simple(raw: bytes) -> bytes:
    return raw if raw.endswith(b"\r\n") else raw.rstrip(b"\r\n") + b"\r\n"


def _relaxed(raw: bytes) -> bytes:
    name, _, value = raw.partition(b":")
    value = re.sub(rb"[ \t]+", b" ", value.replace(b"\r\n", b""))
    return name.rstrip(b" \t").lower() + b":" + value.strip(b" \t") + b"\r\n"


def _number(found: dict[str, str], tag: str) -> int | None:
    text = found.get(tag)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 76):
        raise _SignatureError(DkimResult.PERMERROR, f"the tag {tag}= is no number")
    return int(text)


def _octets(text: str, tag: str) -> bytes:
    text = _BLANK.sub("", text)
    try:
        if not _BASE64.fullmatch(text):
            raise ValueError(text)
        return base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        raise _SignatureError(DkimResult.PERMERROR, f"the tag {tag}= is not base64") from None


def _selector(text: str) -> str:
    parts = text.split(".")
    if not all(_LABEL.fullmatch(part) for part in parts) or len(text) > 200:
        raise _SignatureError(DkimResult.PERMERROR, "its selector is none")
    return text.lower()


def _key(data: bytes, one: _Signature) -> tuple[bytes, bool]:
    """The octets of a key, and whether its domain is only trying it out (RFC 6376 section 3.6.1)."""
    wrong = DkimResult.PERMERROR
    try:
        if len(data) > MAX_FIELD:
            raise ValueError("it is too long")
        found = tags(data.decode())
    except ValueError as error:
        raise _SignatureError(wrong, f"its key cannot be read: {error}") from None
    if found.get("v", "DKIM1") != "DKIM1" or ("v" in found and next(iter(found)) != "v"):
        raise _SignatureError(wrong, "its key is of another version than DKIM1")
    if "p" not in found:
        raise _SignatureError(wrong, "its key is empty")
    if not found["p"]:
        raise _SignatureError(wrong, "its key was withdrawn")
    if found.get("k", "rsa") != one.algorithm:
        raise _SignatureError(wrong, "its key is for another algorithm")
    if "sha256" not in [each.strip() for each in found.get("h", "sha256").split(":")]:
        raise _SignatureError(wrong, "its key is for another hash")
    if not {"*", "email"} & {each.strip() for each in found.get("s", "*").split(":")}:
        raise _SignatureError(wrong, "its key is not for mail")
    flags = {each.strip() for each in found.get("t", "").split(":")}
    if "s" in flags and one.identity != one.domain:
        raise _SignatureError(wrong, "its key is not for subdomains")
    return _octets(found["p"], "p"), "y" in flags


def _is_signed(key: bytes, one: _Signature, digest: bytes) -> bool:
    """Whether a hash was signed with a key."""
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    try:
        if one.algorithm == "ed25519":
            # RFC 8463 section 3: the hash itself is the message.
            Ed25519PublicKey.from_public_bytes(key).verify(one.value, digest)
            return True
        public = load_der_public_key(key)
        if not isinstance(public, RSAPublicKey):
            raise _SignatureError(DkimResult.PERMERROR, "its key is for another algorithm")
        if not KEY_BITS[0] <= public.key_size <= KEY_BITS[1]:
            raise _SignatureError(DkimResult.POLICY, f"its key has {public.key_size} bits: 1024 at least (RFC 8301)")
        public.verify(one.value, digest, PKCS1v15(), Prehashed(SHA256()))
    except InvalidSignature:
        return False
    except (ValueError, UnsupportedAlgorithm):
        raise _SignatureError(DkimResult.PERMERROR, "its key is none") from None
    return True


def passing(found: Sequence[Dkim]) -> tuple[str, ...]:
    """The domains whose signatures are good, each once."""
    return tuple(dict.fromkeys(each.domain for each in found if each.result is DkimResult.PASS))
