"""Keys as BIND keeps them: a pair of files ``Kexample.org.+013+12345.key`` and ``….private``.

Knot's, PowerDNS's and NLnet Labs' tools read and write the same. The format is described nowhere but in BIND's sources
(lib/dns/dst_parse.c): lines ``Name: value``, numbers in base64, most significant octet first.
"""

import base64
import binascii
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from mx10.dns.wirename import NameSyntaxError, fold, from_text, to_text
from mx10.zones.dnssec.keys import (
    ECDSAP256SHA256,
    ED25519,
    ENTRY_POINT,
    NAMES,
    REVOKED,
    RSA_BITS,
    RSASHA256,
    ZONE_KEY,
    BadKeyError,
    PrivateKey,
    Role,
    SigningKey,
    unknown_algorithm,
)

MAX_FILE: Final = 1 << 16
"""Octets of a key file; BIND's have some 3,000 at most."""

_RSA_FIELDS: Final = (
    "Modulus", "PublicExponent", "PrivateExponent", "Prime1", "Prime2", "Exponent1", "Exponent2", "Coefficient",
)  # fmt: skip


def file_stem(apex: bytes, key: SigningKey) -> str:
    """The name of a key's files without their endings, as BIND makes it."""
    name = re.sub(r"[^a-z0-9._-]", lambda found: f"%{ord(found[0]):02X}", to_text(apex))
    return f"K{name}+{key.algorithm:03d}+{key.tag:05d}"


def pair_of(path: Path) -> tuple[Path, Path]:
    """The two files of a key, public and private, from the name of either, or from the name without an ending."""
    text = str(path)
    stem = text.removesuffix(".private").removesuffix(".key")
    return Path(f"{stem}.key"), Path(f"{stem}.private")


def read_pair(path: Path, apex: bytes, role: Role | None = None) -> SigningKey:
    """A key from its two files.

    Args:
        path: one of them, or what their names have in common.
        apex: the zone it must be of, folded.
        role: what it shall do; None: ``ksk`` if it is flagged as an entry point, else ``zsk``.

    Raises:
        BadKeyError: there are no such files, or they hold no key of this zone that we can sign with.
    """
    public, private = pair_of(path)
    dnskey = _dnskey(_text_of(public), public, apex)
    flags = int.from_bytes(dnskey[:2], "big")
    if not flags & ZONE_KEY or flags & REVOKED:
        raise BadKeyError(f"{public}: the key is no zone key (flags {flags}); take one with 256 or 257")
    secret = _private(_text_of(private), private)
    key = SigningKey.of(role or ("ksk" if flags & ENTRY_POINT else "zsk"), secret, flags=flags)
    if key.dnskey != dnskey:
        raise BadKeyError(f"{private} is not the private key of {public}; take both from one key")
    return key


def public_text(apex: bytes, key: SigningKey, ttl: int) -> str:
    """The text of a key's public file."""
    data = f"{key.flags} 3 {key.algorithm} {base64.b64encode(key.dnskey[4:]).decode()}"
    what = "key-signing" if key.flags & ENTRY_POINT else "zone-signing"
    return (
        f"; This is a {what} key, keyid {key.tag}, for {to_text(apex)}\n"
        f"; role: {key.role}; exported by mx10\n"
        f"{to_text(apex)} {ttl} IN DNSKEY {data}\n"
    )


def private_text(key: SigningKey, *, made: int, published: int | None, active: int | None) -> str:
    """The text of a key's private file, which must be kept from others.

    Args:
        made, published, active: seconds since 1970; None: not yet.
    """
    lines = ["Private-key-format: v1.3", f"Algorithm: {key.algorithm} ({NAMES[key.algorithm]})"]
    lines += [f"{name}: {base64.b64encode(value).decode()}" for name, value in _secrets(key.private)]
    for name, at in (("Created", made), ("Publish", published), ("Activate", active)):
        if at is not None:
            lines.append(f"{name}: {datetime.fromtimestamp(at, UTC):%Y%m%d%H%M%S}")
    return "\n".join(lines) + "\n"


def _secrets(private: PrivateKey) -> list[tuple[str, bytes]]:
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return [("PrivateKey", private.private_bytes_raw())]
    if isinstance(private, ec.EllipticCurvePrivateKey):
        return [("PrivateKey", private.private_numbers().private_value.to_bytes(32, "big"))]
    numbers = private.private_numbers()
    values = (
        numbers.public_numbers.n, numbers.public_numbers.e, numbers.d, numbers.p, numbers.q, numbers.dmp1, numbers.dmq1,
        numbers.iqmp,
    )  # fmt: skip
    return [
        (name, value.to_bytes((value.bit_length() + 7) // 8, "big"))
        for name, value in zip(_RSA_FIELDS, values, strict=True)
    ]


def _text_of(path: Path) -> str:
    if "\0" in str(path) or not path.is_file():
        raise BadKeyError(f"{path}: there is no such file")
    try:
        with path.open("rb") as file:
            octets = file.read(MAX_FILE + 1)
    except OSError as error:
        raise BadKeyError(f"{path}: {error.strerror or error}") from None
    if len(octets) > MAX_FILE:
        raise BadKeyError(f"{path} is larger than {MAX_FILE} octets; a key file is not")
    try:
        return octets.decode("ascii")
    except UnicodeDecodeError:
        raise BadKeyError(f"{path} is not ASCII text; take a file that dnssec-keygen wrote") from None


def _dnskey(text: str, path: Path, apex: bytes) -> bytes:
    """The data of the DNSKEY record in a public file."""
    wrong = f"{path} has no line 'name IN DNSKEY flags 3 algorithm key'; take a file that dnssec-keygen wrote"
    lines = [line.partition(";")[0].split() for line in text.splitlines()]
    words = [word for line in lines for word in line if word not in ("(", ")")]
    try:
        at = [word.upper() for word in words].index("DNSKEY")
        flags, protocol, algorithm = (int(word) for word in words[at + 1 : at + 4])
        owner = fold(from_text(words[0] if words[0].endswith(".") else words[0] + "."))
        public = base64.b64decode("".join(words[at + 4 :]), validate=True)
        head = flags.to_bytes(2, "big") + bytes((protocol, algorithm))
    except (ValueError, OverflowError, NameSyntaxError, binascii.Error):
        raise BadKeyError(wrong) from None
    if protocol != 3 or not public:
        raise BadKeyError(wrong)
    if owner != apex:
        raise BadKeyError(f"{path} is a key of {to_text(owner)}, not of {to_text(apex)}")
    return head + public


def _private(text: str, path: Path) -> PrivateKey:
    """The key in a private file."""
    fields = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            fields[name.strip()] = value.strip()
    if not fields.get("Private-key-format", "").startswith("v1."):
        raise BadKeyError(f"{path} has no line 'Private-key-format: v1.…'; take a file that dnssec-keygen wrote")
    if "Engine" in fields or "Label" in fields:
        raise BadKeyError(f"{path}: the key lies in a hardware module; export it from there, or make a new one")
    number = fields.get("Algorithm", "").split(" ")[0]
    algorithm = int(number) if number.isascii() and number.isdigit() and len(number) < 4 else 0
    if algorithm not in NAMES:
        raise BadKeyError(f"{path}: {unknown_algorithm(algorithm)}")
    try:
        if algorithm == RSASHA256:
            return _rsa(*(int.from_bytes(_octets(fields, name), "big") for name in _RSA_FIELDS))
        secret = _octets(fields, "PrivateKey")
        if algorithm == ED25519:
            return ed25519.Ed25519PrivateKey.from_private_bytes(secret)
        assert algorithm == ECDSAP256SHA256
        return ec.derive_private_key(int.from_bytes(secret, "big"), ec.SECP256R1())
    except ValueError as error:
        raise BadKeyError(
            f"{path} holds no key: {str(error).rstrip('.')}; take the file as dnssec-keygen wrote it"
        ) from None


def _octets(fields: dict[str, str], name: str) -> bytes:
    if name not in fields:
        raise ValueError(f"the line '{name}: …' is missing")
    try:
        return base64.b64decode(fields[name], validate=True)
    except binascii.Error:
        raise ValueError(f"{name} is no base64") from None


def _rsa(n: int, e: int, d: int, p: int, q: int, dmp1: int, dmq1: int, iqmp: int) -> rsa.RSAPrivateKey:
    if n.bit_length() not in RSA_BITS:
        # Before the library looks for its factors, which takes the longer the larger it is.
        raise ValueError(f"its modulus has {n.bit_length()} bits, not {RSA_BITS.start} to {RSA_BITS.stop - 1}")
    return rsa.RSAPrivateNumbers(p, q, d, dmp1, dmq1, iqmp, rsa.RSAPublicNumbers(e, n)).private_key()
