"""Keys that sign zones: making them, signing with them, and the records that tell the world of them.

The only module that knows the library beneath: ``cryptography``, which is OpenSSL with an interface that is hard to use
wrongly, and signs as fast as OpenSSL does.

Algorithms are those RFC 8624 section 3.1 wants of a signer: 13 (ECDSA P-256, RFC 6605), 15 (Ed25519, RFC 8080) and
8 (RSA with SHA-256, RFC 5702).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from hashlib import sha256, sha384
from typing import Final, Literal, Self

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

RSASHA256: Final = 8
ECDSAP256SHA256: Final = 13
ED25519: Final = 15
NAMES: Final = {RSASHA256: "RSASHA256", ECDSAP256SHA256: "ECDSAP256SHA256", ED25519: "ED25519"}
"""Algorithms by number, with their names in the IANA registry."""

ZONE_KEY: Final = 0x0100
REVOKED: Final = 0x0080
ENTRY_POINT: Final = 0x0001
"""Flags of a DNSKEY record (RFC 4034 section 2.1.1, RFC 5011 section 7)."""

SHA256: Final = 2
SHA384: Final = 4
"""Digests of DS records (RFC 4509, RFC 6605)."""

RSA_BITS: Final = range(1024, 4097)
"""Lengths of RSA keys that may be brought along (RFC 5702 section 2: up to 4096)."""

DELETE_CDS: Final = bytes(5)
DELETE_CDNSKEY: Final = b"\0\0\3\0\0"
"""What asks the parent to remove all DS records (RFC 8078 section 4)."""

Role = Literal["csk", "ksk", "zsk"]
ROLES: Final[tuple[Role, ...]] = ("csk", "ksk", "zsk")
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

_P256: Final = ec.SECP256R1()
_ECDSA: Final = ec.ECDSA(hashes.SHA256())
_PKCS1: Final = padding.PKCS1v15()
_SHA256: Final = hashes.SHA256()


class BadKeyError(ValueError):
    """A key that cannot be: what is wrong with it, and what to do."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key that signs records of a zone.

    Attributes:
        role: ``ksk`` signs the keys, ``zsk`` the rest, ``csk`` both.
        dnskey: the data of its DNSKEY record.
        tag: RFC 4034 appendix B.
        private: never printed and never compared: ``dnskey`` says which key it is.
    """

    role: Role
    algorithm: int
    dnskey: bytes
    tag: int
    private: PrivateKey = field(repr=False, compare=False)

    @classmethod
    def generate(cls, algorithm: int, role: Role, *, rsa_bits: int = 2048) -> Self:
        """A new key.

        Args:
            algorithm: 8, 13 or 15.
            rsa_bits: its length, where it is RSA.

        Raises:
            BadKeyError: another algorithm.
        """
        private: PrivateKey
        if algorithm == ECDSAP256SHA256:
            private = ec.generate_private_key(_P256)
        elif algorithm == ED25519:
            private = ed25519.Ed25519PrivateKey.generate()
        elif algorithm == RSASHA256:
            private = rsa.generate_private_key(65537, rsa_bits)
        else:
            raise BadKeyError(unknown_algorithm(algorithm))
        return cls.of(role, private)

    @classmethod
    def of(cls, role: Role, private: PrivateKey, *, flags: int | None = None) -> Self:
        """A key from what ``cryptography`` has of it.

        Args:
            flags: of the DNSKEY record; by default those the role has.
        """
        algorithm, public = _public(private)
        if flags is None:
            flags = ZONE_KEY if role == "zsk" else ZONE_KEY | ENTRY_POINT
        dnskey = flags.to_bytes(2, "big") + bytes((3, algorithm)) + public
        return cls(role, algorithm, dnskey, key_tag(dnskey), private)

    @classmethod
    def load(cls, role: Role, dnskey: bytes, secret: bytes) -> Self:
        """A key from what ``secret`` gave.

        Raises:
            BadKeyError: they are no key, or not those of this DNSKEY record.
        """
        try:
            # What has been signed with before needs no search for prime factors, which takes 30 ms.
            private = serialization.load_der_private_key(secret, None, unsafe_skip_rsa_key_validation=True)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise BadKeyError("the octets are no private key; import the key again from its files") from None
        if not isinstance(private, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey):
            raise BadKeyError("the private key is of no kind that signs zones here; use algorithm 8, 13 or 15")
        algorithm, public = _public(private)
        if dnskey[3:4] != bytes((algorithm,)) or dnskey[4:] != public:
            raise BadKeyError("the private key does not belong to the DNSKEY record; import both together")
        return cls(role, algorithm, dnskey, key_tag(dnskey), private)

    def secret(self) -> bytes:
        """The private key as PKCS #8 (RFC 5958), not encrypted."""
        return self.private.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def __reduce__(self) -> tuple[Callable[..., "SigningKey"], tuple[object, ...]]:
        """For processes of ours that sign together; the secret goes through a pipe between them, never to disk."""
        return SigningKey.load, (self.role, self.dnskey, self.secret())

    @property
    def flags(self) -> int:
        """Of the DNSKEY record."""
        return int.from_bytes(self.dnskey[:2], "big")

    def signing(self) -> Callable[[bytes], bytes]:
        """The function that signs octets, as the signature stands in an RRSIG record."""
        private = self.private
        if isinstance(private, ec.EllipticCurvePrivateKey):
            sign = private.sign

            def ecdsa(data: bytes) -> bytes:
                # RFC 6605 section 4: r and s, 32 octets each; OpenSSL gives them in ASN.1.
                r, s = decode_dss_signature(sign(data, _ECDSA))
                return (r << 256 | s).to_bytes(64, "big")

            return ecdsa
        if isinstance(private, ed25519.Ed25519PrivateKey):
            return private.sign
        rsa_sign = private.sign
        return lambda data: rsa_sign(data, _PKCS1, _SHA256)


@dataclass(frozen=True, slots=True)
class KeySet:
    """What the keys of a zone do at a time.

    Attributes:
        publish: data of the DNSKEY records; none: there is no DNSKEY set.
        sign_dnskey: sign the DNSKEY, CDS and CDNSKEY sets.
        sign_zone: sign all else; none: the zone has neither signatures nor proofs.
        cds, cdnskey: data of these records; none: there are none.
    """

    publish: tuple[bytes, ...] = ()
    sign_dnskey: tuple[SigningKey, ...] = ()
    sign_zone: tuple[SigningKey, ...] = ()
    cds: tuple[bytes, ...] = ()
    cdnskey: tuple[bytes, ...] = ()

    @classmethod
    def plain(cls, keys: Iterable[SigningKey]) -> Self:
        """All keys in use, each in its role, and nothing asked of the parent."""
        keys = tuple(keys)
        return cls(
            publish=tuple(key.dnskey for key in keys),
            sign_dnskey=tuple(key for key in keys if key.role != "zsk"),
            sign_zone=tuple(key for key in keys if key.role != "ksk"),
        )


def key_tag(dnskey: bytes) -> int:
    """The tag by which DS and RRSIG records mean a key (RFC 4034 appendix B)."""
    total = sum(dnskey[1::2]) + (sum(dnskey[0::2]) << 8)
    return (total + (total >> 16)) & 0xFFFF


def ds(owner: bytes, dnskey: bytes, digest: int = SHA256) -> bytes:
    """The data of the DS record of a key; of a CDS record too (RFC 4034 section 5.1.4, RFC 7344 section 3.1).

    Args:
        owner: name of the zone, folded.
        digest: 2 (SHA-256) or 4 (SHA-384).
    """
    function = {SHA256: sha256, SHA384: sha384}[digest]
    head = key_tag(dnskey).to_bytes(2, "big") + bytes((dnskey[3], digest))
    return head + function(owner + dnskey).digest()


def verifier(dnskey: bytes) -> Callable[[bytes, bytes], bool] | None:
    """The function that says whether a signature (first) is one of octets (second) by a key; None for keys of
    algorithms we do not know, or that are none.

    Args:
        dnskey: data of its DNSKEY record.
    """
    algorithm, public = dnskey[3], dnskey[4:]
    try:
        if algorithm == ECDSAP256SHA256:
            curve = ec.EllipticCurvePublicKey.from_encoded_point(_P256, b"\4" + public)

            def ecdsa(signature: bytes, data: bytes) -> None:
                if len(signature) != 64:
                    raise InvalidSignature
                r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
                curve.verify(encode_dss_signature(r, s), data, _ECDSA)

            return _saying(ecdsa)
        if algorithm == ED25519:
            return _saying(ed25519.Ed25519PublicKey.from_public_bytes(public).verify)
        if algorithm == RSASHA256:
            long = public[0] == 0
            length = int.from_bytes(public[1:3], "big") if long else public[0]
            start = 3 if long else 1
            exponent = int.from_bytes(public[start : start + length], "big")
            modulus = int.from_bytes(public[start + length :], "big")
            key = rsa.RSAPublicNumbers(exponent, modulus).public_key()
            return _saying(lambda signature, data: key.verify(signature, data, _PKCS1, _SHA256))
    except (ValueError, IndexError, UnsupportedAlgorithm):
        return None
    return None


def unknown_algorithm(algorithm: int) -> str:
    """What to say of an algorithm we do not sign with."""
    known = ", ".join(f"{number} ({name})" for number, name in sorted(NAMES.items()))
    return f"keys of algorithm {algorithm} cannot sign here; use one of {known}"


def _saying(verify: Callable[[bytes, bytes], object]) -> Callable[[bytes, bytes], bool]:
    def holds(signature: bytes, data: bytes) -> bool:
        try:
            verify(signature, data)
        except (InvalidSignature, ValueError):
            return False
        return True

    return holds


def _public(private: PrivateKey) -> tuple[int, bytes]:
    """Algorithm, and the public key as in a DNSKEY record.

    Raises:
        BadKeyError: a curve or length that no algorithm of ours has.
    """
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return ED25519, private.public_key().public_bytes_raw()
    if isinstance(private, ec.EllipticCurvePrivateKey):
        if private.curve.name != _P256.name:
            raise BadKeyError(f"the key is on the curve {private.curve.name}; algorithm 13 is on {_P256.name}")
        point = private.public_key().public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )
        return ECDSAP256SHA256, point[1:]
    if private.key_size not in RSA_BITS:
        raise BadKeyError(
            f"the RSA key has {private.key_size} bits; take one of {RSA_BITS.start} to {RSA_BITS.stop - 1} (RFC 5702)"
        )
    numbers = private.public_key().public_numbers()
    # RFC 3110 section 2: exponent with its length before it, then the modulus.
    exponent = numbers.e.to_bytes((numbers.e.bit_length() + 7) // 8, "big")
    length = bytes((len(exponent),)) if len(exponent) < 256 else b"\0" + len(exponent).to_bytes(2, "big")
    return RSASHA256, length + exponent + numbers.n.to_bytes((private.key_size + 7) // 8, "big")
