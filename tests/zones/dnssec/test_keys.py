"""Keys: the examples of the RFCs, and what is no key."""

import pickle
from base64 import b64decode

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from mx10.dns.wirename import from_text
from mx10.zones.dnssec.keys import (
    SHA384,
    BadKeyError,
    KeySet,
    Role,
    SigningKey,
    ds,
    key_tag,
    verifier,
)


def test_digest_of_a_key() -> None:
    """RFC 4509 section 2.3, with the key of RFC 4034 section 5.4."""
    dnskey = b"\1\0\3\5" + b64decode(
        "AQOeiiR0GOMYkDshWoSKz9XzfwJr1AYtsmx3TGkJaNXVbfi/2pHm822aJ5iI9BMzNXxeYCmZDRD99WYwYqUSdjMmmAphXdvxegXd/M5+X7Orz"
        "KBaMbCVdFLUUh6DhweJBjEVv5f2wwjM9XzcnOf+EPbtG9DMBmADjFDc2w/rljwvFw=="
    )
    assert key_tag(dnskey) == 60485
    digest = "D4B7D520E7BB5F0F67674A0CCEB1E3E0614B93C4F9E99B8383F6A1E4469DA50A"
    assert ds(from_text("dskey.example.com."), dnskey) == (60485).to_bytes(2, "big") + b"\5\2" + bytes.fromhex(digest)


def test_ecdsa_key() -> None:
    """RFC 6605 section 6.1."""
    secret = b64decode("GU6SnQ/Ou+xC5RumuIUIuJZteXT2z0O/ok1s38Et6mQ=")
    key = SigningKey.of("csk", ec.derive_private_key(int.from_bytes(secret, "big"), ec.SECP256R1()))
    public = "GojIhhXUN/u4v54ZQqGSnyhWJwaubCvTmeexv7bR6edbkrSqQpF64cYbcB7wNcP+e+MAnLr+Wi9xMWyQLc8NAA=="
    assert key.dnskey == b"\1\1\3\15" + b64decode(public)
    assert key.tag == 55648
    digest = "b4c8c1fe2e7477127b27115656ad6256f424625bf5c1e2770ce6d6e37df61d17"
    assert ds(from_text("example.net."), key.dnskey)[4:].hex() == digest


def test_ed25519_key() -> None:
    """RFC 8080 section 6.1."""
    secret = b64decode("ODIyNjAzODQ2MjgwODAxMjI2NDUxOTAyMDQxNDIyNjI=")
    key = SigningKey.of("ksk", ed25519.Ed25519PrivateKey.from_private_bytes(secret))
    assert key.dnskey == b"\1\1\3\17" + b64decode("l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=")
    assert key.tag == 3613
    digest = "3aa5ab37efce57f737fc1627013fee07bdf241bd10f3b1964ab55c78e79a304b"
    assert ds(from_text("example.com."), key.dnskey)[4:].hex() == digest


@pytest.mark.parametrize("algorithm", [8, 13, 15])
@pytest.mark.parametrize("role", ["csk", "zsk"])
def test_a_key_signs_and_survives_its_secret(algorithm: int, role: Role) -> None:
    key = SigningKey.generate(algorithm, role)
    again = SigningKey.load(role, key.dnskey, key.secret())
    assert again == key == pickle.loads(pickle.dumps(key))
    signature = again.signing()(b"octets")
    assert len(signature) == {8: 256, 13: 64, 15: 64}[algorithm]
    verify = verifier(key.dnskey)
    assert verify
    assert verify(signature, b"octets")
    assert not verify(signature, b"other octets")
    assert not verify(signature[1:], b"octets")
    assert not verify(b"", b"octets")
    assert "private" not in repr(key)


def test_a_secret_belongs_to_its_key() -> None:
    one, other = SigningKey.generate(13, "csk"), SigningKey.generate(15, "csk")
    with pytest.raises(BadKeyError, match="does not belong"):
        SigningKey.load("csk", one.dnskey, other.secret())
    with pytest.raises(BadKeyError, match="no private key"):
        SigningKey.load("csk", one.dnskey, one.secret()[:40])


def test_what_cannot_sign() -> None:
    with pytest.raises(BadKeyError, match="algorithm 5 cannot sign"):
        SigningKey.generate(5, "csk")
    with pytest.raises(BadKeyError, match="secp384r1"):
        SigningKey.of("csk", ec.generate_private_key(ec.SECP384R1()))


@pytest.mark.parametrize("dnskey", [b"\1\1\3\5abc", b"\1\1\3\15abc", b"\1\1\3\10", b"\1\1\3\10\0\1", b"\1\1\3\17x"])
def test_no_key_verifies_nothing(dnskey: bytes) -> None:
    assert verifier(dnskey) is None


def test_each_key_in_its_role() -> None:
    ksk, zsk, csk = (SigningKey.generate(15, role) for role in ("ksk", "zsk", "csk"))
    found = KeySet.plain([ksk, zsk, csk])
    assert found.publish == (ksk.dnskey, zsk.dnskey, csk.dnskey)
    assert found.sign_dnskey == (ksk, csk)
    assert found.sign_zone == (zsk, csk)
    assert (ksk.flags, zsk.flags, csk.flags) == (257, 256, 257)
    assert len(ds(from_text("example."), ksk.dnskey, SHA384)) == 4 + 48
