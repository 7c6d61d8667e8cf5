"""What has to hold before the supervisor forks: files that may be open, rights given up and rights left, secrets.

Each is done once, at the start (the secrets also when they are read again), and says as a ``StartError`` what is wrong.
Nothing that goes on afterwards lives here.
"""

import grp
import os
import pwd
import resource
import secrets
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Final

from mx10.config import NameserverSettings
from mx10.dns.cookies import SECRET_OCTETS, secrets_from_text
from mx10.logs import get_logger
from mx10.nameserver.listeners import Address
from mx10.nameserver.relay import MOST_DATAGRAMS, MOST_STREAMS

_OTHER_FILES: Final = 100
"""Open files beside sockets: the log, inotify, zone files being read, and what Python takes."""
_UNPRIVILEGED: Final = "nobody"

log = get_logger("nameserver")


class StartError(Exception):
    """The nameserver cannot start: why, and what to do."""


def allow_many_files(settings: NameserverSettings) -> None:
    """Ask for as many open files as the sockets and TCP connections of one process may take. Where the system allows
    fewer, connections wait to be accepted.
    """
    sockets = 2 * len(settings.listen) * settings.workers
    of_worker = settings.tcp_connections + MOST_DATAGRAMS + MOST_STREAMS
    of_steward = settings.workers * (MOST_DATAGRAMS + MOST_STREAMS)
    wanted = sockets + settings.workers + max(of_worker, of_steward) + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and wanted > hard:
        log.warning("fewer open files allowed than may be wanted; see ulimit -n", allowed=hard, wanted=wanted)
        wanted = hard
    if soft != resource.RLIM_INFINITY and wanted > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def drop_privileges(settings: NameserverSettings, addresses: Sequence[Address], folder: Path | None) -> None:
    """Become an ordinary user, if we are root and are told to, or had to be root for a port below 1024.

    Raises:
        StartError: no such user or group, not allowed, or that user cannot read the folder.
    """
    name = settings.user
    if os.geteuid() != 0:
        if name and name not in _names_of(os.geteuid()):
            raise StartError(
                f"cannot become user {name!r}: only root can;"
                " start as root, or as that user, or leave nameserver.user empty"
            )
        return
    if not name:
        if all(port >= 1024 for _, port in addresses):
            log.warning("running as root; set nameserver.user to an ordinary user")
            return
        name = _UNPRIVILEGED
    try:
        user = pwd.getpwnam(name)
        group = grp.getgrnam(settings.group).gr_gid if settings.group else user.pw_gid
    except KeyError as error:
        raise StartError(
            f"nameserver.user or nameserver.group: {error.args[0]}; name one that exists on this machine"
        ) from error
    _import_what_comes_later()
    os.setgroups([])
    os.setresgid(group, group, group)
    os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
    if folder is not None and not os.access(folder, os.R_OK | os.X_OK):
        raise StartError(
            f"user {name!r} cannot read {folder}: let it (chmod, chown), or set nameserver.user to one that can"
        )
    log.info("rights given up", user=name)


def check_store(store: Path) -> None:
    """See that we, with the rights we have now, can use the file of the store.

    Raises:
        StartError: no.
    """
    folder = store.parent
    wrong = next((path for path in (store, folder) if path.exists() and not os.access(path, os.R_OK | os.W_OK)), None)
    if wrong is not None or not folder.is_dir():
        user = next(iter(_names_of(os.geteuid())), str(os.geteuid()))
        raise StartError(
            f"user {user!r} cannot read and write {wrong or folder}, which the store needs: give it the folder and what"
            f" is in it (chown -R {user} {folder}), or set nameserver.user to one that can"
        )


def check_writing(name: str, paths: Sequence[Path]) -> None:
    """See that a companion, with the rights we have now, can write what it has to.

    Args:
        name: of the companion.
        paths: folders and files; those that are not there yet are not looked at.

    Raises:
        StartError: no.
    """
    wrong = next((path for path in paths if path.exists() and not os.access(path, os.R_OK | os.W_OK)), None)
    if wrong is not None:
        user = next(iter(_names_of(os.geteuid())), str(os.geteuid()))
        raise StartError(
            f"user {user!r} cannot read and write {wrong}, which the {name} needs: give it the folder and"
            f" what is in it (chown -R {user} {wrong}), or set nameserver.user to one that can"
        )


def read_cookie_secrets(settings: NameserverSettings) -> tuple[bytes, ...]:
    """The secrets of the file, or a random one; none where there are to be no cookies.

    Raises:
        StartError: the file cannot be used.
    """
    path = settings.cookie_secrets
    if not settings.cookies:
        if settings.require_cookies:
            raise StartError("nameserver.require_cookies needs nameserver.cookies: set both, or neither")
        return ()
    if path is None:
        return (secrets.token_bytes(SECRET_OCTETS),)
    try:
        return secrets_from_text(path.read_text(encoding="ascii"))
    except OSError as error:
        raise StartError(f"nameserver.cookie_secrets: {path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        what = "it is not a text" if isinstance(error, UnicodeDecodeError) else str(error)
        raise StartError(f"nameserver.cookie_secrets: {path}: {what}") from None


def _names_of(uid: int) -> tuple[str, ...]:
    """The name of a user; none, as for the users of many containers, is no error."""
    try:
        return (pwd.getpwuid(uid).pw_name,)
    except KeyError:
        return ()


def _import_what_comes_later() -> None:
    """Import now what is otherwise imported when first needed: afterwards we may not be allowed to read it."""
    for module in ("concurrent.futures.process", "idna", "multiprocessing.popen_fork", "multiprocessing.synchronize"):
        import_module(module)
    import_module("dns.rdata").load_all_types()
