"""Signs messages as RFC 6376 says, with nothing of what verifies them."""

import base64
import hashlib
import re

from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

RSA = rsa.generate_private_key(65537, 2048)
# Always the same: its public half is in the names of tests, which all workers of pytest-xdist have to agree on.
ED25519 = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def rsa_record(key: rsa.RSAPrivateKey = RSA, more: str = "") -> str:
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"v=DKIM1; k=rsa; {more}p={base64.b64encode(der).decode()}"


def ed25519_record() -> str:
    raw = ED25519.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return f"v=DKIM1; k=ed25519; p={base64.b64encode(raw).decode()}"


def _header(raw: str, form: str) -> str:
    if form == "simple":
        return raw + "\r\n"
    name, _, value = raw.partition(":")
    value = re.sub(r"[ \t]+", " ", value.replace("\r\n", "")).strip(" \t")
    return f"{name.lower().strip()}:{value}\r\n"


def _body(body: bytes, form: str) -> bytes:
    lines = body.split(b"\r\n")
    if form == "relaxed":
        lines = [re.sub(rb"[ \t]+", b" ", line).rstrip(b" ") for line in lines]
    while lines and not lines[-1]:
        lines.pop()
    whole = b"".join(line + b"\r\n" for line in lines)
    return whole if whole or form == "relaxed" else b"\r\n"


def signed(
    header: str,
    body: bytes,
    *,
    key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey = RSA,
    form: str = "relaxed/relaxed",
    domain: str = "example.org",
    names: str = "from:to:subject",
    more: str = "",
    length: int | None = None,
) -> bytes:
    """A message with a signature.

    Args:
        header: fields, each with its line end.
        more: further tags, each with a semicolon.
        length: octets of the canonical body that are signed; None: all.
    """
    header_form, body_form = form.split("/")
    canonical = _body(body, body_form)[:length]
    algorithm = "rsa" if isinstance(key, rsa.RSAPrivateKey) else "ed25519"
    limit = "" if length is None else f"l={length}; "
    digest = base64.b64encode(hashlib.sha256(canonical).digest()).decode()
    own = (
        f"DKIM-Signature: v=1; a={algorithm}-sha256; c={form}; d={domain}; s=sel; {limit}{more}\r\n"
        f"\th={names};\r\n\tbh={digest};\r\n\tb="
    )
    fields: dict[str, list[str]] = {}
    for raw in re.split(r"\r\n(?![ \t])", header.removesuffix("\r\n")):
        fields.setdefault(raw.partition(":")[0].strip().lower(), []).append(raw)
    pieces = [_header(fields[name].pop(), header_form) for name in names.lower().split(":") if fields.get(name)]
    data = ("".join(pieces) + _header(own, header_form).removesuffix("\r\n")).encode()
    if isinstance(key, rsa.RSAPrivateKey):
        value = key.sign(data, padding.PKCS1v15(), SHA256())
    else:
        value = key.sign(hashlib.sha256(data).digest())
    text = base64.b64encode(value).decode()
    return f"{own}{text[:70]}\r\n\t{text[70:]}\r\n{header}\r\n".encode() + body
