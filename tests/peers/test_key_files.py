"""Key files that BIND wrote, read by us; and those we write, used by BIND's tools."""

import shutil
import subprocess
from pathlib import Path

import pytest

from mx10.dns import rdata
from mx10.dns import rrtypes as rr
from mx10.dns.wirename import from_text
from mx10.zones.dnssec.keyfiles import file_stem, private_text, public_text, read_pair
from mx10.zones.dnssec.keys import BadKeyError, Role, SigningKey, ds
from tests.conftest import cannot_run

pytestmark = pytest.mark.peers

APEX = from_text("example.org.")
ALGORITHMS = [8, 13, 15]
PATH = "/usr/bin:/usr/sbin:/bin:/sbin"


@pytest.fixture(scope="module", autouse=True)
def _tools() -> None:
    for program in ("dnssec-keygen", "dnssec-dsfromkey", "dnssec-signzone"):
        if not shutil.which(program, path=PATH):
            cannot_run(f"{program} is missing: install the package bind9-utils")


def run(*command: str, cwd: Path) -> str:
    """What a tool prints; it must be content."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, env={"PATH": PATH}, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def generated(folder: Path, algorithm: int, *more: str) -> Path:
    """A key that BIND made."""
    stem = run("dnssec-keygen", "-K", str(folder), "-a", str(algorithm), *more, "example.org", cwd=folder).strip()
    return folder / stem


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("flags", [(), ("-f", "KSK")])
def test_a_key_that_bind_made_is_the_same_here(tmp_path: Path, algorithm: int, flags: tuple[str, ...]) -> None:
    stem = generated(tmp_path, algorithm, *flags)
    for name in (f"{stem}.private", f"{stem}.key", str(stem)):
        key = read_pair(Path(name), APEX)
        assert (key.role, key.algorithm) == ("ksk" if flags else "zsk", algorithm)
        assert file_stem(APEX, key) == stem.name
    for digest in (2, 4):
        said = run("dnssec-dsfromkey", "-a", str(digest), f"{stem}.key", cwd=tmp_path)
        tag, number, kind, *text = said.split()[3:]
        assert rdata.to_text(rr.DS, ds(APEX, key.dnskey, digest)).upper() == f"{tag} {number} {kind} {''.join(text)}"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_bind_signs_with_keys_that_we_made(tmp_path: Path, algorithm: int) -> None:
    roles: tuple[Role, ...] = ("ksk", "zsk")
    for role in roles:
        key = SigningKey.generate(algorithm, role)
        stem = tmp_path / file_stem(APEX, key)
        Path(f"{stem}.key").write_text(public_text(APEX, key, 3600))
        Path(f"{stem}.private").write_text(private_text(key, made=1_700_000_000, published=None, active=1_700_000_000))
        assert read_pair(stem, APEX) == key
        if role == "ksk":
            said = run("dnssec-dsfromkey", "-2", f"{stem}.key", cwd=tmp_path).split()
            assert "".join(said[6:]) == ds(APEX, key.dnskey)[4:].hex().upper()
    (tmp_path / "zone").write_text(
        "$TTL 60\n@ SOA ns1 hostmaster 1 3600 900 86400 60\n@ NS ns1\nns1 A 127.0.0.1\n@ MX 10 ns1\n"
    )
    run("dnssec-signzone", "-S", "-K", str(tmp_path), "-o", "example.org", "zone", cwd=tmp_path)
    run("dnssec-verify", "-o", "example.org", "zone.signed", cwd=tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Private-key-format: v1.3", "Hello: world", "no line 'Private-key-format"),
        ("Algorithm: 13", "Algorithm: 5", "keys of algorithm 5 cannot sign here"),
        ("Algorithm: 13", "Algorithm: 999999999999999999999", "keys of algorithm 0 cannot sign here"),
        ("PrivateKey: ", "PrivateKey: *", "PrivateKey is no base64"),
        ("PrivateKey: ", "Nothing: ", "the line 'PrivateKey: …' is missing"),
        ("PrivateKey: ", "PrivateKey: AAAB\nOther: ", "is not the private key of"),
        ("PrivateKey: ", "PrivateKey: AA==\nOther: ", "holds no key"),
    ],
)
def test_a_private_file_with_something_wrong_in_it(tmp_path: Path, old: str, new: str, message: str) -> None:
    stem = generated(tmp_path, 13)
    file = Path(f"{stem}.private")
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(BadKeyError, match=message):
        read_pair(file, APEX)


def test_files_that_are_no_pair_of_this_zone(tmp_path: Path) -> None:
    stem, other = generated(tmp_path, 13), generated(tmp_path, 13)
    with pytest.raises(BadKeyError, match=r"is a key of example\.org\., not of example\.net\."):
        read_pair(stem, from_text("example.net."))
    shutil.copy(f"{other}.private", f"{stem}.private")
    with pytest.raises(BadKeyError, match="is not the private key of"):
        read_pair(stem, APEX)
    Path(f"{stem}.private").unlink()
    with pytest.raises(BadKeyError, match="there is no such file"):
        read_pair(stem, APEX)
    Path(f"{other}.key").write_bytes(b"\xff" * 70_000)
    with pytest.raises(BadKeyError, match="larger than 65536 octets"):
        read_pair(other, APEX)
    Path(f"{other}.key").write_bytes(b"example.org. IN DNSKEY 257 3 13\n")
    with pytest.raises(BadKeyError, match="has no line 'name IN DNSKEY"):
        read_pair(other, APEX)
