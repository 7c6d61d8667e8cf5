"""Messages signed by dkimpy (Debian's python3-dkim): what it signs, ours verifies."""

import base64
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from mx10.mailauth.dkim import DkimResult
from tests.conftest import cannot_run
from tests.mailauth.signing import RSA, rsa_record
from tests.mailauth.test_dkim import verified

pytestmark = pytest.mark.peers

MESSAGES = {
    "usual": b"From: Ann <ann@example.org>\r\nTo: bob@example.net\r\nSubject: hello\r\n\r\nHello.\r\n",
    "blanks": b"From: a@example.org\r\nSubject:  a\r\n\t b \r\n c\r\nTo:\r\n\r\n a \t b \r\n\r\n\tc\t\r\n \r\n\r\n",
    "empty": b"From: ann@example.org\r\n\r\n",
    "twice": b"From: ann@example.org\r\nTo: a@b.example\r\nTo: c@d.example\r\nReceived: x\r\nReceived: y\r\n\r\nx\r\n",
    "eight bits": "From: Änn <ann@example.org>\r\nSubject: grüße\r\n\r\nGrüße\r\n".encode(),
    "long": b"From: ann@example.org\r\n\r\n" + b"a line of text\r\n" * 20_000,
}


@pytest.fixture(scope="module", autouse=True)
def _installed() -> None:
    if shutil.which("dkimsign") is None:
        cannot_run("dkimsign is not installed: apt-get install python3-dkim")


def sign(message: bytes, file: Path, form: str, algorithm: str) -> bytes:
    header, body = form.split("/")
    command = [
        "dkimsign",
        "--hcanon",
        header,
        "--bcanon",
        body,
        "--signalg",
        f"{algorithm}-sha256",
        "sel",
        "example.org",
    ]
    done = subprocess.run([*command, str(file)], input=message, capture_output=True, check=True, timeout=60)
    return done.stdout


@pytest.mark.parametrize("algorithm", ["rsa", "ed25519"])
@pytest.mark.parametrize("form", ["simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed"])
async def test_what_dkimpy_signs(tmp_path: Path, form: str, algorithm: str) -> None:
    file = tmp_path / "key"
    if algorithm == "rsa":
        file.write_bytes(RSA.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
        record = rsa_record()
    else:
        key = ed25519.Ed25519PrivateKey.generate()
        raw = key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
        file.write_bytes(base64.b64encode(raw))
        public = base64.b64encode(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()
        record = f"v=DKIM1; k=ed25519; p={public}"
    for name, message in MESSAGES.items():
        (found,) = await verified(sign(message, file, form, algorithm), record)
        assert found.result is DkimResult.PASS, (name, found)
