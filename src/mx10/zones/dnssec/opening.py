"""The ledger and the keeper of keys, as the configuration names them: for the command line and for the steward."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import select

from mx10.config import Config
from mx10.config.settings import DnssecSettings
from mx10.store.connect import Store, default_url, open_store
from mx10.store.tables import keys
from mx10.zones.dnssec import vault
from mx10.zones.dnssec.keeping import Keeper
from mx10.zones.dnssec.kept import KeysError, arrange
from mx10.zones.dnssec.signer import ZoneSigner
from mx10.zones.ledger import Ledger

_ANY_SECRET: Final = select(keys.c.secret).limit(1)


class LazyVault:
    """The vault that the configuration names, opened when the first secret is: most commands need none.

    Args:
        store: whose secrets it holds. Its first secret makes the key file.
    """

    def __init__(self, store: Store, settings: DnssecSettings) -> None:
        self._store = store
        self._settings = settings
        self._vault: vault.Vault | None = None

    def seal(self, apex: bytes, dnskey: bytes, secret: bytes) -> bytes:
        """A secret as it may lie in the store.

        Raises:
            KeysError: the key file or passphrase is missing, or none.
        """
        try:
            return self._opened().seal(apex, dnskey, secret)
        except vault.VaultError as error:
            raise KeysError(str(error)) from error

    def unseal(self, apex: bytes, dnskey: bytes, sealed: bytes) -> bytes:
        """The secret again.

        Raises:
            KeysError: the key file or passphrase is missing or the wrong one, or the secret was changed.
        """
        try:
            return self._opened().unseal(apex, dnskey, sealed)
        except vault.VaultError as error:
            raise KeysError(str(error)) from error

    def _opened(self) -> vault.Vault:
        if self._vault is None:
            with self._store.read() as connection:
                existing: bytes | None = connection.execute(_ANY_SECRET).scalar()
            if self._settings.passphrase_file is not None:
                self._vault = vault.from_passphrase_file(self._settings.passphrase_file, existing)
            else:
                path = self._settings.key_file or vault.default_key_file(self._store.path, os.environ, os.geteuid())
                # With secrets in the store a missing key file was lost: a new one would hide that.
                self._vault = vault.from_file(path, make=existing is None)
        return self._vault


def ledger_of(store: Store, config: Config) -> Ledger:
    """The ledger of a store, with a signer."""
    signer = ZoneSigner(arrange(config.dnssec, LazyVault(store, config.dnssec)))
    return Ledger(store, config.zones, signer=signer)


def keeper_of(ledger: Ledger, config: Config) -> Keeper:
    """The keeper of the keys in a ledger's store."""
    return Keeper(ledger, config.dnssec, LazyVault(ledger.store, config.dnssec))


@contextmanager
def open_ledger(config: Config, *, create: bool = False) -> Iterator[Ledger]:
    """The ledger that the configuration names, its store closed at the end.

    Args:
        create: make the store where there is none.

    Raises:
        mx10.store.errors.StoreError: it cannot be opened; see ``store.connect.open_store``.
    """
    store = open_store(config.store.url or default_url(os.environ, os.geteuid()), create=create)
    try:
        yield ledger_of(store, config)
    finally:
        store.close()
