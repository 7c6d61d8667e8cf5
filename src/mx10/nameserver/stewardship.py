"""Which steward a configuration asks for: whether there is one, where its desk is, and what is plugged into it."""

import os
import pwd
import sqlite3
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from mx10.config import Config
from mx10.logs import get_logger
from mx10.nameserver import (
    catalog,
    mirror,
    notify,
    overview,
    pruning,
    secondary,
    signed,
    signing,
    transfers,
    twice,
    write_ahead,
)
from mx10.nameserver.desk import Desk
from mx10.nameserver.following import Follower
from mx10.nameserver.starting import StartError
from mx10.nameserver.steward import Household, KeyFile, Steward, desk_path, run_steward
from mx10.nameserver.supervisor import StewardPlan
from mx10.nameserver.tally import Tally
from mx10.nameserver.update import Updater
from mx10.store.connect import Store, default_url, open_store
from mx10.store.errors import NoStoreError, StoreError, StoreUnreachableError
from mx10.zones.dnssec.opening import ledger_of

log = get_logger("steward")

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
    there = True
    try:
        store = open_store(url, create=bool(config.store.url))
    except NoStoreError:
        return _plan_without_store(config)
    except StoreUnreachableError as error:
        if not _mirror_path().exists() or url.startswith("sqlite"):
            raise StartError(str(error)) from error
        log.error("the store cannot be reached; answers come from the mirror until it can", cause=str(error))
        store, there = open_store(url, check=False), False
    except StoreError as error:
        raise StartError(str(error)) from error
    file = store.path if store.path is not None else _prepare_mirror(store, config)
    store.close()
    path = desk_path(config.nameserver.run_dir, store.path, os.environ, os.geteuid())
    if len(os.fsencode(path)) > _LONGEST:
        raise StartError(f"the path {path} is too long for a socket; set nameserver.run_dir to a shorter one")
    _prepare(path.parent, config)

    def steward(files: dict[bytes, bytes]) -> Steward:
        keys = KeyFile(config.nameserver.tsig_keys)
        # One in PostgreSQL may be away just now, when a steward died and this one takes its place.
        opened = open_store(url, check=there and url.startswith("sqlite"))
        made = Steward(config, ledger_of(opened, config), Desk(keys), keys, files)
        if opened.path is None:
            mirror.plug_in(made, file)
        for each in (pruning.plug_in, catalog.plug_in, signed.plug_in, twice.plug_in):
            each(made)
        write_ahead.plug_in(made, file)
        follower, updater = secondary.plug_in(made, files.__contains__)
        _count(made.tally, transfers.plug_in(made), notify.plug_in(made), signing.plug_in(made), follower, updater)
        overview.plug_in(made)
        return made

    return StewardPlan(str(path), file, lambda control, files: run_steward(lambda: steward(files), path, control))


def _plan_without_store(config: Config) -> StewardPlan | None:
    """A desk with nobody but who shows metrics and status: where there are zones from files, and it was asked for. By
    itself there is none, since servers without a store may be many on one machine."""
    settings = config.nameserver
    asked = settings.metrics_listen or settings.run_dir or os.environ.get("RUNTIME_DIRECTORY")
    if settings.zone_dir is None or not asked:
        return None
    path = desk_path(settings.run_dir, None, os.environ, os.geteuid())
    _prepare(path.parent, config)

    def household(files: dict[bytes, bytes]) -> Household:
        made = Household(config, Desk(KeyFile(settings.tsig_keys)), files)
        overview.plug_in(made)
        return made

    return StewardPlan(str(path), None, lambda control, files: run_steward(lambda: household(files), path, control))


def _count(
    tally: Tally,
    sender: transfers.Transfers,
    notifier: notify.Notifier,
    signer: signing.Signing,
    follower: Follower,
    updater: Updater,
) -> None:
    """Say what the services count."""

    def sent() -> Mapping[str, float]:
        counts = sender.counts
        return {
            "axfr": counts.axfr,
            "ixfr": counts.ixfr,
            "up_to_date": counts.up_to_date,
            "refused": counts.refused,
            "failed": counts.failed,
        }

    def told() -> Mapping[str, float]:
        return {"acknowledged": notifier.acknowledged, "refused": notifier.refused, "given_up": notifier.given_up}

    tally.sums("transfers_out", "Zone transfers to clients, by how they ended.", "outcome", sent)
    tally.sum("transfers_out_octets", "Octets of messages of these.", lambda: sender.counts.octets)
    tally.level("transfers_out_running", "Zone transfers going on now.", lambda: sender.counts.running)
    tally.sums("notify_out", "NOTIFY messages to secondaries, by what came of them.", "outcome", told)
    tally.sums("following", "What was done for secondary zones.", "what", lambda: dict(follower.counts))
    tally.level("zones_followed", "Zones followed as a secondary.", lambda: len(follower))
    tally.sums("updates", "Dynamic updates, by response code.", "rcode", lambda: dict(updater.counts))
    tally.sums("signing", "What was done to keep zones signed.", "what", lambda: dict(signer.counts))


def find_desk(config: Config) -> Path:
    """Where commands find the desk of the server of this configuration."""
    url = config.store.url or default_url(os.environ, os.geteuid())
    file = url.removeprefix("sqlite:///")
    return desk_path(config.nameserver.run_dir, Path(file) if file != url else None, os.environ, os.geteuid())


def _mirror_path() -> Path:
    """Where a node keeps its copy of a store in PostgreSQL: where the store itself would be by default."""
    return Path(default_url(os.environ, os.geteuid()).removeprefix("sqlite:///")).with_name("mirror.db")


def _prepare_mirror(store: Store, config: Config) -> Path:
    """Have a mirror before workers want to read it; the first time that takes as long as copying takes."""
    path = _mirror_path()
    _prepare(path.parent, config)
    try:
        made = mirror.Mirror(path, store, config.zones)
        try:
            if made.position is None:
                log.info("copying the store", mirror=str(path), zones=made.copy_all())
        finally:
            made.close()
    except (OSError, sqlite3.Error) as error:
        raise StartError(f"the mirror {path} of the store cannot be written: {error}; mend its folder") from error
    except StoreError as error:
        raise StartError(str(error)) from error
    return path


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
