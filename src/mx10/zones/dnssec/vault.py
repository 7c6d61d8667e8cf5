"""Secrets at rest: private keys lie in the store encrypted, readable only with what does not lie there.

That is a key file of its own (32 random octets, for nobody but the server to read), or a passphrase, from which scrypt
makes the key. Each secret is sealed by AES-256-GCM, for one zone and one DNSKEY: moved to another row of the database
it opens no more than if it had been changed. So whoever gets hold of the database, or of a backup of it, cannot sign;
and whoever can write to it cannot make us sign with other keys than ours.

``cryptography`` does all of it, which is why it is chosen: see ``keys``.
"""

import os
import stat
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from hmac import digest
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

KEY: Final = 32
"""Octets of a key of the vault (AES-256)."""
SHORTEST_PASSPHRASE: Final = 12
"""Characters; with fewer, guessing is too cheap even with scrypt."""
_LONGEST_FILE: Final = 4096

_BY_FILE: Final = b"\1\1"
_BY_PASSPHRASE: Final = b"\1\2"
_IDENTITY: Final = 8
_NONCE: Final = 12
_SALT: Final = 16
_TAG: Final = 16
_HEAD_OF_FILE: Final = "mx10-key-1 "
# 128 MiB, and some 300 ms: once in the life of a process.
_SCRYPT: Final = {"length": KEY, "n": 2**17, "r": 8, "p": 1}


class VaultError(Exception):
    """Secrets cannot be sealed or opened: why, and what to do."""


class KeyFileError(VaultError):
    """The key file is missing, is none, or others can read it."""


class PassphraseError(VaultError):
    """The passphrase is missing, too short, or the wrong one."""


class WrongVaultError(VaultError):
    """The secret was sealed with another key file, or with a passphrase where there is a key file."""


class DamagedSecretError(VaultError):
    """The secret was changed since it was sealed, or belongs to another zone or key."""


class Vault:
    """Seals secrets and opens them; use ``from_file`` or ``from_passphrase``.

    Args:
        key_of: the key that a secret with this head was sealed with; raises VaultError if it is not ours.
        head: of the secrets that are sealed from now on.
        what: the key file or passphrase, for messages.
    """

    def __init__(self, key_of: Callable[[bytes], bytes], head: bytes, what: str) -> None:
        self._key_of = key_of
        self._head = head
        self._what = what

    def seal(self, apex: bytes, dnskey: bytes, secret: bytes) -> bytes:
        """A secret as it may lie in the store.

        Args:
            apex, dnskey: the zone and key it is for; it opens for no other.
        """
        nonce = os.urandom(_NONCE)
        key = self._key_of(self._head)
        sealed = AESGCM(key).encrypt(nonce, secret, _bound(self._head, apex, dnskey))
        return self._head + _identity(key) + nonce + sealed

    def unseal(self, apex: bytes, dnskey: bytes, sealed: bytes) -> bytes:
        """The secret again.

        Raises:
            WrongVaultError: it was sealed with something else than we have.
            PassphraseError: the passphrase is the wrong one.
            DamagedSecretError: it was changed, or is for another zone or key.
        """
        head_end = len(_BY_FILE) + (_SALT if sealed.startswith(_BY_PASSPHRASE) else 0)
        head, identity = sealed[:head_end], sealed[head_end : head_end + _IDENTITY]
        start = head_end + _IDENTITY + _NONCE
        if head[:2] not in (_BY_FILE, _BY_PASSPHRASE) or len(sealed) < start + _TAG:
            raise DamagedSecretError("the secret in the store is none that mx10 wrote; put back a backup of the store")
        if head[:2] != self._head[:2]:
            other = "a key file: name it in dnssec.key_file" if head[:2] == _BY_FILE else "a passphrase"
            other += (
                " and leave dnssec.passphrase_file empty" if head[:2] == _BY_FILE else ": name dnssec.passphrase_file"
            )
            raise WrongVaultError(f"the keys of this store are encrypted by {other}")
        key = self._key_of(head)
        if _identity(key) != identity:
            if head[:2] == _BY_PASSPHRASE:
                raise PassphraseError(
                    f"{self._what} is not the passphrase that the keys of this store are encrypted with;"
                    " put the right one there"
                )
            raise WrongVaultError(
                f"{self._what} is not the key file that the keys of this store are encrypted with;"
                " put back the one that was beside the store when the zones were signed"
            )
        try:
            return AESGCM(key).decrypt(sealed[start - _NONCE : start], sealed[start:], _bound(head, apex, dnskey))
        except InvalidTag:
            raise DamagedSecretError(
                "the secret in the store was changed, or belongs to another key; put back a backup of the store"
            ) from None


# ---------------------------------------------------------------- key files


def default_key_file(store: Path | None, environ: Mapping[str, str], euid: int) -> Path:
    """Where the key file is when nobody said.

    Args:
        store: the file of a SQLite store: then beside it. None: in the folder for state.
        environ: of the process.
        euid: the user's number; 0 is root.
    """
    if store is not None:
        return store.with_suffix(".key")
    if folder := environ.get("STATE_DIRECTORY", "").partition(":")[0]:
        return Path(folder) / "mx10.key"
    if euid == 0:
        return Path("/var/lib/mx10/mx10.key")
    return Path(environ.get("XDG_STATE_HOME") or f"{environ.get('HOME', '')}/.local/state") / "mx10" / "mx10.key"


def from_file(path: Path, *, make: bool = False) -> Vault:
    """The vault of a key file.

    Args:
        make: make the file if it is missing; to be said only where the store has no keys yet: else the file was lost,
            and a new one would hide that.

    Raises:
        KeyFileError: it is missing or cannot be made, it is none, or others may read it.
    """
    if make:
        _make(path)
    key = _read(path)

    def key_of(_head: bytes) -> bytes:
        return key

    return Vault(key_of, _BY_FILE, str(path))


def _make(path: Path) -> None:
    """Write a key file whole or not at all; one that is there stays."""
    if path.exists():
        return
    text = f"{_HEAD_OF_FILE}{b64encode(os.urandom(KEY)).decode()}\n"
    beside = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            folder = path.parent.stat()
            if os.geteuid() == 0 and folder.st_uid != 0:
                # As the store itself: it belongs to whom the folder was made for.
                os.fchown(descriptor, folder.st_uid, folder.st_gid)
            os.write(descriptor, text.encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        try:
            # Two processes may be here at once: the first one's stays.
            with suppress(FileExistsError):
                os.link(beside, path)
        finally:
            beside.unlink()
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise KeyFileError(
            f"the key file {path} cannot be made: {error.strerror}; name another place in dnssec.key_file"
        ) from None


def _read(path: Path) -> bytes:
    text = _private_text(path, "the key file", "chmod 600")
    try:
        if not text.startswith(_HEAD_OF_FILE):
            raise ValueError
        key = b64decode(text.removeprefix(_HEAD_OF_FILE).strip(), validate=True)
        if len(key) != KEY:
            raise ValueError
    except ValueError:
        raise KeyFileError(
            f"{path} is no key file of mx10, or is cut short; put back a backup of it, or name another one in"
            " dnssec.key_file"
        ) from None
    return key


def _private_text(path: Path, what: str, mend: str) -> str:
    """The text of a file that nobody else may read.

    Raises:
        KeyFileError: it is missing, cannot be read, or is readable by others.
    """
    try:
        # Not to wait for ever at a pipe somebody put there.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        raise KeyFileError(
            f"{what} {path} is not there; put it back from a backup, or say where it is: without it the keys of signed"
            " zones cannot be read"
        ) from None
    except OSError as error:
        raise KeyFileError(
            f"{what} {path} cannot be read: {error.strerror}; run this as the user it belongs to"
        ) from None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise KeyFileError(f"{what} {path} is no file; name another one")
        # Its group may read it: so a service can be given one it cannot change.
        if found.st_mode & 0o037:
            raise KeyFileError(
                f"{what} {path} can be read or changed by others (mode {stat.S_IMODE(found.st_mode):04o});"
                f" say `{mend} {path}`, and if others may have read it, roll over the keys of all zones"
            )
        return os.read(descriptor, _LONGEST_FILE).decode("utf-8", "replace")
    finally:
        os.close(descriptor)


# ---------------------------------------------------------------- passphrases


def from_passphrase(passphrase: str, existing: bytes | None, *, what: str = "it") -> Vault:
    """The vault of a passphrase.

    Args:
        existing: any secret of the store: new ones get its salt, so that one run of scrypt serves all.
        what: where the passphrase comes from, for messages.

    Raises:
        PassphraseError: it is too short.
    """
    if len(passphrase) < SHORTEST_PASSPHRASE:
        raise PassphraseError(
            f"{what}: the passphrase has {len(passphrase)} characters; take {SHORTEST_PASSPHRASE} or more"
        )
    secret = passphrase.encode()

    @lru_cache(maxsize=16)
    def key_of(head: bytes) -> bytes:
        return Scrypt(salt=head[len(_BY_PASSPHRASE) :], **_SCRYPT).derive(secret)

    known = existing is not None and existing.startswith(_BY_PASSPHRASE) and len(existing) > 2 + _SALT
    head = existing[: 2 + _SALT] if known and existing else _BY_PASSPHRASE + os.urandom(_SALT)
    return Vault(key_of, head, what)


def from_passphrase_file(path: Path, existing: bytes | None) -> Vault:
    """The vault of a passphrase that stands in the first line of a file.

    Raises:
        KeyFileError: the file is missing, or others may read it.
        PassphraseError: the passphrase is too short.
    """
    text = _private_text(path, "the file with the passphrase", "chmod 600")
    return from_passphrase(text.partition("\n")[0].rstrip("\r"), existing, what=str(path))


def _identity(key: bytes) -> bytes:
    """By which a key is known to be the one that a secret was sealed with; says nothing of the key itself."""
    return digest(key, b"mx10 vault", "sha256")[:_IDENTITY]


def _bound(head: bytes, apex: bytes, dnskey: bytes) -> bytes:
    return b"".join((head, len(apex).to_bytes(2, "big"), apex, dnskey))
