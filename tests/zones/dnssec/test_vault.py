"""Secrets at rest, and every way in which they do not open."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mx10.dns.wirename import from_text
from mx10.zones.dnssec import vault
from mx10.zones.dnssec.vault import (
    DamagedSecretError,
    KeyFileError,
    PassphraseError,
    Vault,
    WrongVaultError,
    default_key_file,
    from_file,
    from_passphrase,
    from_passphrase_file,
)

APEX = from_text("example.com.")
DNSKEY = b"\1\1\3\15" + b"k" * 64


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vault, "_SCRYPT", {"length": 32, "n": 2**4, "r": 8, "p": 1})


@pytest.fixture
def by_file(tmp_path: Path) -> Vault:
    return from_file(tmp_path / "key", make=True)


def test_a_key_file_opens_what_it_sealed(tmp_path: Path) -> None:
    path = tmp_path / "state" / "mx10.key"
    sealed = from_file(path, make=True).seal(APEX, DNSKEY, b"secret")
    assert b"secret" not in sealed
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["mx10.key"]
    before = path.read_bytes()
    assert from_file(path, make=True).unseal(APEX, DNSKEY, sealed) == b"secret"
    assert path.read_bytes() == before
    path.chmod(0o640)
    assert from_file(path).unseal(APEX, DNSKEY, sealed) == b"secret"


def test_the_same_secret_is_never_sealed_the_same(by_file: Vault) -> None:
    assert len({by_file.seal(APEX, DNSKEY, b"secret") for _ in range(50)}) == 50


def test_a_secret_opens_for_its_zone_and_key_only(by_file: Vault) -> None:
    sealed = by_file.seal(APEX, DNSKEY, b"secret")
    with pytest.raises(DamagedSecretError, match="another key"):
        by_file.unseal(from_text("example.org."), DNSKEY, sealed)
    with pytest.raises(DamagedSecretError):
        by_file.unseal(APEX, DNSKEY[:-1], sealed)


@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_no_changed_secret_opens(at: int, bit: int) -> None:
    for each in (_by_file(), from_passphrase("a long passphrase", None)):
        sealed = bytearray(each.seal(APEX, DNSKEY, b"secret"))
        sealed[at % len(sealed)] ^= 1 << bit
        with pytest.raises(vault.VaultError):
            each.unseal(APEX, DNSKEY, bytes(sealed))


def _by_file() -> Vault:
    return Vault(lambda _: b"k" * 32, b"\1\1", "test")


@given(octets=st.binary(max_size=80))
def test_no_octets_open(octets: bytes) -> None:
    with pytest.raises(vault.VaultError):
        _by_file().unseal(APEX, DNSKEY, octets)
    with pytest.raises(vault.VaultError):
        _by_file().unseal(APEX, DNSKEY, b"\1\1" + octets)


def test_another_key_file(tmp_path: Path, by_file: Vault) -> None:
    sealed = by_file.seal(APEX, DNSKEY, b"secret")
    with pytest.raises(WrongVaultError, match="is not the key file"):
        from_file(tmp_path / "other", make=True).unseal(APEX, DNSKEY, sealed)


def test_key_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "key"
    with pytest.raises(KeyFileError, match="is not there; put it back"):
        from_file(path)
    from_file(path, make=True)
    path.chmod(0o644)
    with pytest.raises(KeyFileError, match=r"read or changed by others \(mode 0644\); say `chmod 600"):
        from_file(path)
    path.chmod(0o600)
    path.write_text(path.read_text()[:30])
    with pytest.raises(KeyFileError, match="cut short"):
        from_file(path)
    path.write_bytes(os.urandom(100))
    with pytest.raises(KeyFileError, match="no key file of mx10"):
        from_file(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(KeyFileError, match="is no file"):
        from_file(path)
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(KeyFileError, match="is no file"):
        from_file(tmp_path / "pipe")
    with pytest.raises(KeyFileError, match="cannot be made"):
        from_file(Path("/proc/here/key"), make=True)


def test_a_passphrase_opens_what_it_sealed(tmp_path: Path) -> None:
    path = tmp_path / "passphrase"
    path.write_text("correct horse battery\nand a remark\n")
    path.chmod(0o600)
    sealed = from_passphrase_file(path, None).seal(APEX, DNSKEY, b"secret")
    again = from_passphrase("correct horse battery", sealed)
    assert again.unseal(APEX, DNSKEY, sealed) == b"secret"
    # One salt serves all.
    assert again.seal(APEX, DNSKEY, b"more")[:18] == sealed[:18]
    other_salt = from_passphrase("correct horse battery", None).seal(APEX, DNSKEY, b"secret")
    assert again.unseal(APEX, DNSKEY, other_salt) == b"secret"


def test_passphrases_that_do_not_open(tmp_path: Path, by_file: Vault) -> None:
    sealed = from_passphrase("correct horse battery", None).seal(APEX, DNSKEY, b"secret")
    with pytest.raises(PassphraseError, match="not the passphrase"):
        from_passphrase("incorrect horse battery", sealed).unseal(APEX, DNSKEY, sealed)
    with pytest.raises(PassphraseError, match="12 or more"):
        from_passphrase("short", None)
    with pytest.raises(WrongVaultError, match="by a passphrase"):
        by_file.unseal(APEX, DNSKEY, sealed)
    with pytest.raises(WrongVaultError, match="by a key file"):
        from_passphrase("correct horse battery", None).unseal(APEX, DNSKEY, by_file.seal(APEX, DNSKEY, b"secret"))


@pytest.mark.parametrize(
    ("store", "environ", "euid", "expected"),
    [
        (Path("/srv/mx10.db"), {"STATE_DIRECTORY": "/x"}, 0, "/srv/mx10.key"),
        (None, {"STATE_DIRECTORY": "/x:/y"}, 5, "/x/mx10.key"),
        (None, {}, 0, "/var/lib/mx10/mx10.key"),
        (None, {"HOME": "/home/ann"}, 5, "/home/ann/.local/state/mx10/mx10.key"),
        (None, {"HOME": "/home/ann", "XDG_STATE_HOME": "/s"}, 5, "/s/mx10/mx10.key"),
    ],
)
def test_where_it_is_by_default(store: Path | None, environ: dict[str, str], euid: int, expected: str) -> None:
    assert default_key_file(store, environ, euid) == Path(expected)
