"""The parent of the workers: binds, gives up rights, loads the zones, forks, and then watches: the zone folder, its
children, and signals.

It answers no question itself, so nothing it does (reading a bad 200 MB file, say) holds an answer up. It has no threads
and no event loop of asyncio: that makes forking safe at any moment. How processes are kept alive is in ``children``,
what has to hold before the first of them is in ``starting``; here is what each of them does, and what it is told.

Signals: SIGHUP looks at every file of the folder again; SIGTERM and SIGINT end all.
"""

import os
import selectors
import signal
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing import active_children
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mx10.config import NameserverSettings, ZoneSettings
from mx10.dns.wirename import to_text
from mx10.logs import get_logger
from mx10.nameserver.children import Children, Place
from mx10.nameserver.control import RENEW, frame, secrets_frame
from mx10.nameserver.listeners import Address, ListenError, WorkerSockets, bind_for_workers, format_address
from mx10.nameserver.starting import (
    StartError,
    allow_many_files,
    check_store,
    check_writing,
    drop_privileges,
    read_cookie_secrets,
)
from mx10.nameserver.tls import TlsError, TlsSockets, make_context
from mx10.nameserver.watch import FolderWatch, watch_folder
from mx10.nameserver.worker import run_worker
from mx10.zones.folder import Changes, ZoneFolder
from mx10.zones.problems import Problem

if TYPE_CHECKING:
    from aioquic.quic.configuration import QuicConfiguration

_LOOK_SECONDS: Final = 1.0
"""How often to see whether another folder stands in the place of the zone folder: moved there, or a symbolic link.
"""
_REPORTED: Final = 1000
"""Problems of zone files that are logged after one reading; the number of the others is."""

log = get_logger("nameserver")


class _StoppedError(BaseException):
    """Told to stop while zones are read for the first time; nothing in between may take it for an error of a file."""


@dataclass(frozen=True, slots=True)
class StewardPlan:
    """How the steward lives.

    Attributes:
        desk: the path of its socket.
        store: the file that workers read the store's zones from.
        live: its whole life, in its own process; the arguments are its end of a socket pair, which tells it of zones
            that changed and, by its end, to stop; and the zones of the folder as they are.
    """

    desk: str
    store: Path | None
    live: Callable[[socket.socket, dict[bytes, bytes]], None]


@dataclass(frozen=True, slots=True)
class Companion:
    """Another service that lives in a process of its own beside the workers, and is replaced when it dies.

    Attributes:
        name: for the log.
        bind: called before rights are given up; what it returns is kept open for all of its lives.
        writes: folders and files that it has to be able to write with the rights that are left.
        live: its whole life, in its own process; the arguments are its end of a socket pair, which tells it by its end
            to stop, and what was bound.
        stop_seconds: how long it may take to stop.
    """

    name: str
    bind: Callable[[], Sequence[socket.socket]]
    writes: Sequence[Path]
    live: Callable[[socket.socket, Sequence[socket.socket]], None]
    stop_seconds: float


class Supervisor:
    """Serves a folder of zones with several worker processes.

    Args:
        settings: where to listen, how many workers, which user.
        zone_settings: limits on zone files.
        steward: the process beside the workers; without one, what is more than a question is refused.
        companions: other services. With them alone, and no zones, no question is answered.

    Raises:
        StartError: no folder, a wrong address or user, an address in use.
    """

    def __init__(
        self,
        settings: NameserverSettings,
        zone_settings: ZoneSettings,
        steward: StewardPlan | None = None,
        companions: Sequence[Companion] = (),
    ) -> None:
        path = settings.zone_dir
        asked = bool(settings.listen or settings.tls_listen or settings.quic_listen)
        self._silent = bool(companions) and ((path is None and steward is None) or not asked)
        """There are no zones, or nobody is to ask for them: nobody is listened to."""
        if path is None and steward is None and not companions:
            raise StartError(
                "there are no zones: give --zone-dir DIR (nameserver.zone_dir), or make some with `mx10 zone create`"
                " or `mx10 zone import`"
            )
        if path is not None and not path.is_dir():
            raise StartError(f"{path} is not a folder: create it, or name another with --zone-dir")
        self._settings = settings
        self._folder = ZoneFolder(path, zone_settings) if path is not None else None
        self._zones: dict[bytes, bytes] = self._folder.zones if self._folder is not None else {}
        self._path = path
        self._selector = selectors.DefaultSelector()
        self._children = Children(self._selector, self._leave)
        self._workers: list[Place] = []
        self._steward: Place | None = None
        self._sockets: list[WorkerSockets] = []
        self._tls: ssl.SSLContext | None = None
        self._quic: QuicConfiguration | None = None
        self._stopping = False
        self._plan = steward
        self._companions = companions
        self._bound: list[Sequence[socket.socket]] = []
        """What each companion listens on."""
        self._watch: FolderWatch | None = None
        self._signals: set[int] = set()
        self._loading = 0
        """Our process number while zones are read for the first time."""
        self._cookie_secrets: tuple[bytes, ...] = ()
        self._wake_reader, self._wake_writer = socket.socketpair()

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT.

        Raises:
            StartError: an address cannot be bound, or the user not be changed to.
        """
        allow_many_files(self._settings)
        addresses = [] if self._silent else self._bind()
        for companion in self._companions:
            self._bound.append(companion.bind())
            addresses += [each.getsockname()[:2] for each in self._bound[-1]]
        try:
            # Watching begins before reading, so that a change during the reading is seen.
            try:
                self._watch = watch_folder(self._path) if self._path is not None else None
            except OSError as error:
                raise StartError(
                    f"cannot watch {self._path}: {error.strerror}; allow more by fs.inotify.max_user_instances"
                ) from error
            drop_privileges(self._settings, addresses, self._path)
            if self._plan is not None and self._plan.store is not None:
                check_store(self._plan.store)
            for companion in self._companions:
                check_writing(companion.name, companion.writes)
            self._read_certificate()
            self._cookie_secrets = read_cookie_secrets(self._settings)
            self._listen_to_signals()
            if self._watch is not None:
                self._selector.register(self._watch, selectors.EVENT_READ)
            problems = self._load()
            self._start_children()
            # After the workers: a hundred thousand warnings take a while to write, and nobody should wait for that.
            _report(problems)
            while not self._stopping:
                self._turn()
        except _StoppedError:
            log.info("stopped while reading zones")
        finally:
            self._stop()

    def _bind(self) -> list[Address]:
        try:
            self._sockets = bind_for_workers(self._settings)
        except ListenError as error:
            raise StartError(str(error)) from error
        return [each.udp.getsockname()[:2] for each in self._sockets[0].plain]

    def _start_children(self) -> None:
        if self._plan is not None:
            self._steward = Place("steward", partial(self._keep_house, self._plan))
            self._children.keep(self._steward)
        for companion, bound in zip(self._companions, self._bound, strict=True):
            live = partial(self._accompany, companion, bound)
            self._children.keep(Place(companion.name, live, speaks=True, stop_seconds=companion.stop_seconds))
        self._workers = [
            Place("worker", partial(self._work, index), {"worker": index}) for index in range(len(self._sockets))
        ]
        for worker in self._workers:
            self._children.keep(worker)

    def _read_certificate(self) -> None:
        try:
            self._make_encryption()
        except TlsError as error:
            raise StartError(str(error)) from None

    def _make_encryption(self) -> None:
        """What workers need for TLS and QUIC.

        Raises:
            TlsError: the certificate cannot be used; what was made before stays.
        """
        tls = make_context(self._settings) if self._settings.tls_listen else None
        if self._settings.quic_listen:
            # Only here: it takes a sixth of a second to import.
            from mx10.nameserver.quic import make_configuration

            self._quic = make_configuration(self._settings)
        self._tls = tls

    def _renew_certificate(self) -> None:
        """Have everybody read the certificate again, if it can be used; workers that come later inherit ours."""
        if self._tls is None and self._quic is None:
            return
        try:
            self._make_encryption()
        except TlsError as error:
            log.error("the certificate is not read again; the one from before stays", cause=str(error))
            return
        for worker in self._workers:
            self._children.tell(worker, RENEW)
        log.info("certificate read again", certificate=str(self._settings.tls_certificate))

    def _renew_cookie_secrets(self) -> None:
        """Have everybody take the secrets that are in the file now."""
        if self._settings.cookie_secrets is None or not self._cookie_secrets:
            return
        try:
            found = read_cookie_secrets(self._settings)
        except StartError as error:
            log.error("the secrets for cookies are not read again; those from before stay", cause=str(error))
            return
        if found != self._cookie_secrets:
            self._cookie_secrets = found
            for worker in self._workers:
                self._children.tell(worker, secrets_frame(found))
            log.info("secrets for cookies read again", secrets=len(found))

    def _listen_to_signals(self) -> None:
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)
        signal.set_wakeup_fd(self._wake_writer.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, lambda came, _: self._on_signal(came))
        self._selector.register(self._wake_reader, selectors.EVENT_READ)

    def _on_signal(self, number: int) -> None:
        self._signals.add(number)
        if self._loading and number in (signal.SIGTERM, signal.SIGINT):
            if os.getpid() != self._loading:
                os._exit(0)  # a process that helps reading
            self._loading = 0
            for reader in active_children():
                reader.kill()
            raise _StoppedError

    def _load(self) -> list[Problem]:
        """Read the folder for the first time; the problems found."""
        if self._folder is None:
            return []
        started = time.monotonic()
        jobs = min(os.cpu_count() or 1, 8)
        self._loading = os.getpid()
        problems = self._folder.load(jobs=jobs, progress=_Progress())
        self._loading = 0
        log.info("zones loaded", zones=len(self._folder.zones), seconds=round(time.monotonic() - started, 3))
        if not self._folder.zones:
            log.warning("no zone to serve yet", folder=str(self._path))
        return problems

    def _turn(self) -> None:
        timeout = min(max(0.0, self._children.due - time.monotonic()), _LOOK_SECONDS)
        for key, events in self._selector.select(timeout):
            if key.fileobj is self._wake_reader:
                self._on_signals()
            elif self._watch is not None and key.fileobj is self._watch:
                self._reload(self._watch.changed())
            elif self._children.heard(key.data, events):
                self._on_ready()
        if self._watch is not None and self._watch.renew():
            self._reload(None)
        self._children.replace()

    def _on_signals(self) -> None:
        self._wake_reader.recv(4096)
        # Not by the octets read: where hundreds came meanwhile, there was no room for the last, and it may be the one
        # that matters.
        numbers, self._signals = self._signals, set()
        if numbers & {signal.SIGTERM, signal.SIGINT}:
            self._stopping = True
            return
        if signal.SIGCHLD in numbers:
            self._children.reap()
        if signal.SIGHUP in numbers:
            if self._path is not None:
                log.info("reading the folder again", folder=str(self._path))
            self._renew_certificate()
            self._renew_cookie_secrets()
            self._reload(None)

    def _reload(self, paths: set[Path] | None) -> None:
        if self._folder is None or (paths is not None and not paths):
            return
        try:
            changes: Changes = self._folder.reload(paths)
        except Exception:
            # A fault of ours, or no memory for a huge file: those who ask for the other zones shall not notice.
            log.exception("the changes could not be read; the zones stay as they are")
            return
        _report(changes.problems)
        for apex, packed in changes.changed.items():
            log.info("zone removed" if packed is None else "zone loaded", zone=to_text(apex))
            message = frame(apex, packed)
            for place in (*self._workers, *([self._steward] if self._steward is not None else [])):
                self._children.tell(place, message)

    def _on_ready(self) -> None:
        if all(each.child is not None and each.child.ready for each in self._workers):
            where = ", ".join(format_address(each.udp.getsockname()[:2]) for each in self._sockets[0].plain)
            store = {"store": str(self._plan.store)} if self._plan is not None and self._plan.store is not None else {}
            zones = {"zones": len(self._zones)} if self._folder is not None else {}
            log.info("ready", listening=where, **zones, **store, workers=len(self._sockets))

    # ---------------------------------------------------------------- in the children

    def _leave(self) -> None:
        """Close what is the supervisor's alone: what a child does first, and the supervisor last."""
        signal.set_wakeup_fd(-1)
        self._selector.close()
        self._wake_reader.close()
        self._wake_writer.close()
        if self._watch is not None:
            self._watch.close()

    def _work(self, index: int, control: socket.socket) -> None:
        """The life of a worker."""
        for number, sockets in enumerate(self._sockets):
            if number != index:
                sockets.close()
        mine = self._sockets[index]
        tls = TlsSockets(mine.tls, self._tls) if self._tls is not None else None
        quic = None
        if self._quic is not None:
            from mx10.nameserver.quic import QuicSockets

            quic = QuicSockets(mine.quic, self._quic)
        desk, store = (self._plan.desk, self._plan.store) if self._plan is not None else (None, None)
        control.setblocking(False)
        run_worker(
            self._zones, mine.plain, control, self._settings, desk, tls, quic, store, index, self._cookie_secrets
        )

    def _keep_house(self, plan: StewardPlan, control: socket.socket) -> None:
        """The life of the steward."""
        for sockets in self._sockets:
            sockets.close()
        plan.live(control, self._zones)

    def _accompany(self, companion: Companion, bound: Sequence[socket.socket], control: socket.socket) -> None:
        """The life of a companion."""
        for sockets in self._sockets:
            sockets.close()
        companion.live(control, bound)

    # ---------------------------------------------------------------- the end

    def _stop(self) -> None:
        """End all children, then close what is ours."""
        self._children.stop()
        for sockets in self._sockets:
            sockets.close()
        for bound in self._bound:
            for each in bound:
                each.close()
        self._leave()
        log.info("stopped")


class _Progress:
    """Says now and then how far the loading is; a folder that is read in a moment says nothing."""

    def __init__(self) -> None:
        self._next = time.monotonic() + 1.0

    def __call__(self, done: int, total: int) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + 1.0
            log.info("loading zones", files=done, of=total)


def _report(problems: Sequence[Problem]) -> None:
    """Log what is wrong with files: errors first, and not without end."""
    ordered = sorted(problems, key=lambda problem: problem.severity != "error")
    for problem in ordered[:_REPORTED]:
        (log.error if problem.severity == "error" else log.warning)(str(problem))
    if len(ordered) > _REPORTED:
        log.warning("more problems are not shown", problems=len(ordered) - _REPORTED)
