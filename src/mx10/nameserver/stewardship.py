"""Which steward a configuration asks for: whether there is one, where its desk is, and what is plugged into it."""

import os
import pwd
from contextlib import suppress
from pathlib import Path
from typing import Final

from mx10.config import Config
from mx10.nameserver import catalog, notify, pruning, secondary, signed, signing, transfers
from mx10.nameserver.desk import Desk
from mx10.nameserver.steward import KeyFile, Steward, desk_path, run_steward
from mx10.nameserver.supervisor import StartError, StewardPlan
from mx10.store.connect import default_url, open_store
from mx10.store.errors import NoStoreError, StoreError
from mx10.zones.dnssec.opening import ledger_of

_LONGEST: Final = 100
"""Octets of a socket's path; the system takes 107 (unix(7)), and a number is put behind it for a moment."""


def plan(config: Config) -> StewardPlan | None:
    """The steward of a server; None where there is no store. An empty store is set up.

    Raises:
        StartError: the store cannot be used.
    """
    url = config.store.url or default_url(os.environ, os.geteuid())
    try:
        catalog.catalog_name(config.nameserver.catalog)
    except catalog.CatalogNameError as error:
        raise StartError(str(error)) from None
    try:
        store = open_store(url, create=bool(config.store.url))
    except NoStoreError:
        return None
    except StoreError as error:
        raise StartError(str(error)) from error
    store.close()
    path = desk_path(config.nameserver.run_dir, store.path, os.environ, os.geteuid())
    if len(os.fsencode(path)) > _LONGEST:
        raise StartError(f"the path {path} is too long for a socket; set nameserver.run_dir to a shorter one")
    _prepare(path.parent, config)

    def steward(files: dict[bytes, bytes]) -> Steward:
        keys = KeyFile(config.nameserver.tsig_keys)
        made = Steward(config, ledger_of(open_store(url), config), Desk(keys), keys, files)
        secondary.plug_in(made, files.__contains__)
        for each in (
            signing.plug_in,
            pruning.plug_in,
            transfers.plug_in,
            notify.plug_in,
            catalog.plug_in,
            signed.plug_in,
        ):
            each(made)
        return made

    return StewardPlan(str(path), store.path, lambda control, files: run_steward(lambda: steward(files), path, control))


def find_desk(config: Config) -> Path:
    """Where commands find the desk of the server of this configuration."""
    url = config.store.url or default_url(os.environ, os.geteuid())
    file = url.removeprefix("sqlite:///")
    return desk_path(config.nameserver.run_dir, Path(file) if file != url else None, os.environ, os.geteuid())


def _prepare(folder: Path, config: Config) -> None:
    """Make the folder of the desk while we may, for whose rights we take on."""
    try:
        folder.mkdir(mode=0o750, parents=True, exist_ok=True)
    except OSError as error:
        what = f"the folder {folder} cannot be made: {error.strerror}"
        raise StartError(f"{what}; make it, or set nameserver.run_dir to another") from error
    if os.geteuid() == 0 and config.nameserver.user and folder == Path("/run/mx10"):
        with suppress(KeyError, OSError):
            user = pwd.getpwnam(config.nameserver.user)
            os.chown(folder, user.pw_uid, user.pw_gid)
