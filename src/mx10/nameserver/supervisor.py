"""The parent of the workers: binds, gives up rights, loads the zones, forks, and then watches: the zone folder, its
workers, and signals.

It answers no question itself, so nothing it does (reading a bad 200 MB file, say) holds an answer up. It has no threads
and no event loop of asyncio: that makes forking safe at any moment, for instance to replace a worker that died.

Signals: SIGHUP looks at every file of the folder again; SIGTERM and SIGINT end all.
"""

import grp
import os
import pwd
import resource
import secrets
import selectors
import signal
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from multiprocessing import active_children
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mx10.config import NameserverSettings, ZoneSettings
from mx10.dns.cookies import SECRET_OCTETS, secrets_from_text
from mx10.dns.wirename import to_text
from mx10.logs import get_logger
from mx10.nameserver.control import READY, RENEW, frame, secrets_frame
from mx10.nameserver.listeners import (
    Address,
    ListenError,
    Sockets,
    bind,
    bind_datagrams,
    bind_stream,
    format_address,
    parse_address,
)
from mx10.nameserver.relay import MOST_DATAGRAMS, MOST_STREAMS
from mx10.nameserver.tls import TlsError, TlsSockets, make_context
from mx10.nameserver.watch import FolderWatch, watch_folder
from mx10.nameserver.worker import run_worker
from mx10.zones.folder import Changes, ZoneFolder
from mx10.zones.problems import Problem

if TYPE_CHECKING:
    from aioquic.quic.configuration import QuicConfiguration

_STOP_SECONDS: Final = 3.0
"""How long a worker may take to end before it is killed."""
_RESPAWN_SECONDS: Final = 1.0
"""A worker that died younger than this is replaced only after as long: a fault that repeats must not eat the machine.
"""
_LOOK_SECONDS: Final = 1.0
"""How often to see whether another folder stands in the place of the zone folder: moved there, or a symbolic link.
"""
_BACKLOG: Final = 256 << 20
"""Octets of changes that may wait for one worker; one that takes none of them hangs, and is replaced."""
_REPORTED: Final = 1000
"""Problems of zone files that are logged after one reading; the number of the others is."""
_OTHER_FILES: Final = 100
"""Open files beside sockets: the log, inotify, zone files being read, and what Python takes."""
_UNPRIVILEGED: Final = "nobody"
_STEWARD: Final = -1
"""The number of the steward, among those of the workers."""

log = get_logger("nameserver")


class StartError(Exception):
    """The nameserver cannot start: why, and what to do."""


class _StoppedError(BaseException):
    """Told to stop while zones are read for the first time; nothing in between may take it for an error of a file."""


@dataclass(slots=True)
class _Worker:
    index: int
    pid: int
    control: socket.socket
    started: float
    ready: bool = False
    waiting: deque[memoryview] = field(default_factory=deque)
    backlog: int = 0
    given_up: bool = False


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


@dataclass(slots=True)
class _Company:
    """A companion, and its life now."""

    companion: Companion
    sockets: Sequence[socket.socket] = ()
    life: _Worker | None = None
    due: float = 0.0


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
        self._workers: dict[int, _Worker] = {}
        self._respawns: list[tuple[float, int]] = []
        self._sockets: list[list[Sockets]] = []
        self._tls_sockets: list[list[socket.socket]] = []
        self._tls: ssl.SSLContext | None = None
        self._quic_sockets: list[list[socket.socket]] = []
        self._quic: QuicConfiguration | None = None
        self._stopping = False
        self._plan = steward
        self._steward: _Worker | None = None
        self._steward_due = 0.0
        self._companies = [_Company(each) for each in companions]
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
        _allow_many_files(self._settings)
        addresses = [] if self._silent else self._bind()
        for company in self._companies:
            company.sockets = company.companion.bind()
            addresses += [each.getsockname()[:2] for each in company.sockets]
        try:
            # Watching begins before reading, so that a change during the reading is seen.
            try:
                self._watch = watch_folder(self._path) if self._path is not None else None
            except OSError as error:
                raise StartError(
                    f"cannot watch {self._path}: {error.strerror}; allow more by fs.inotify.max_user_instances"
                ) from error
            _drop_privileges(self._settings, addresses, self._path)
            if self._plan is not None and self._plan.store is not None:
                _check_rights(self._plan.store)
            for company in self._companies:
                _check_writing(company.companion)
            self._read_certificate()
            self._cookie_secrets = _read_cookie_secrets(self._settings)
            self._listen_to_signals()
            if self._watch is not None:
                self._selector.register(self._watch, selectors.EVENT_READ)
            problems = self._load()
            if self._plan is not None:
                self._start_steward(self._plan)
            for company in self._companies:
                self._start_companion(company)
            for index in range(len(self._sockets)):
                self._start_worker(index)
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
            addresses = [parse_address(text) for text in self._settings.listen]
            if not addresses:
                raise StartError("no address to listen on: give --listen ADDRESS:PORT")
            # Bound without SO_REUSEPORT first: with it, a second mx10 would silently take half of the questions of the
            # first.
            for address in addresses:
                bind(address).close()
            first = [bind(address, shared=True) for address in addresses]
            addresses = [each.udp.getsockname()[:2] for each in first]
            rest = [[bind(address, shared=True) for address in addresses] for _ in range(self._settings.workers - 1)]
            self._sockets = [first, *rest]
            encrypted = [parse_address(text, 853) for text in self._settings.tls_listen]
            for address in encrypted:
                bind_stream(address).close()
            self._tls_sockets = [
                [bind_stream(address, shared=True) for address in encrypted] for _ in range(self._settings.workers)
            ]
            over_quic = [parse_address(text, 853) for text in self._settings.quic_listen]
            for address in over_quic:
                bind_datagrams(address).close()
            self._quic_sockets = [
                [bind_datagrams(address, shared=True) for address in over_quic] for _ in range(self._settings.workers)
            ]
        except ListenError as error:
            raise StartError(str(error)) from error
        return addresses

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
        for worker in list(self._workers.values()):
            self._tell(worker, RENEW)
        log.info("certificate read again", certificate=str(self._settings.tls_certificate))

    def _renew_cookie_secrets(self) -> None:
        """Have everybody take the secrets that are in the file now."""
        if self._settings.cookie_secrets is None or not self._cookie_secrets:
            return
        try:
            found = _read_cookie_secrets(self._settings)
        except StartError as error:
            log.error("the secrets for cookies are not read again; those from before stay", cause=str(error))
            return
        if found != self._cookie_secrets:
            self._cookie_secrets = found
            for worker in list(self._workers.values()):
                self._tell(worker, secrets_frame(found))
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
        now = time.monotonic()
        due = min((at for at, _ in self._respawns), default=now + _LOOK_SECONDS)
        if self._plan is not None and self._steward is None:
            due = min(due, self._steward_due)
        due = min([due, *(each.due for each in self._companies if each.life is None)])
        timeout = min(max(0.0, due - now), _LOOK_SECONDS)
        for key, events in self._selector.select(timeout):
            if key.fileobj is self._wake_reader:
                self._on_signals()
            elif self._watch is not None and key.fileobj is self._watch:
                self._reload(self._watch.changed())
            else:
                self._on_control(key.data, events)
        if self._watch is not None and self._watch.renew():
            self._reload(None)
        now = time.monotonic()
        if self._plan is not None and self._steward is None and now >= self._steward_due:
            self._start_steward(self._plan)
        for company in self._companies:
            if company.life is None and now >= company.due:
                self._start_companion(company)
        for at, index in [each for each in self._respawns if each[0] <= now]:
            self._respawns.remove((at, index))
            self._start_worker(index)

    def _on_signals(self) -> None:
        self._wake_reader.recv(4096)
        # Not by the octets read: where hundreds came meanwhile, there was no room for the last, and it may be the one
        # that matters.
        numbers, self._signals = self._signals, set()
        if numbers & {signal.SIGTERM, signal.SIGINT}:
            self._stopping = True
            return
        if signal.SIGCHLD in numbers:
            self._reap()
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
            for worker in [*self._workers.values(), *([self._steward] if self._steward is not None else [])]:
                self._tell(worker, message)

    def _start_worker(self, index: int) -> None:
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setblocking(False)
        try:
            pid = os.fork()
        except OSError as error:
            log.error("no new worker; tried again soon", worker=index, cause=error.strerror)
            ours.close()
            theirs.close()
            self._respawns.append((time.monotonic() + _RESPAWN_SECONDS, index))
            return
        if pid == 0:
            self._become_worker(index, ours, theirs)
        theirs.close()
        worker = _Worker(index, pid, ours, time.monotonic())
        self._workers[pid] = worker
        self._selector.register(ours, selectors.EVENT_READ, worker)

    def _start_steward(self, plan: StewardPlan) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        try:
            pid = os.fork()
        except OSError as error:
            log.error("no steward; tried again soon", cause=error.strerror)
            ours.close()
            theirs.close()
            self._steward_due = time.monotonic() + _RESPAWN_SECONDS
            return
        if pid == 0:
            self._become_steward(plan, ours, theirs)
        theirs.close()
        self._steward = _Worker(_STEWARD, pid, ours, time.monotonic())
        self._selector.register(ours, selectors.EVENT_READ, self._steward)

    def _start_companion(self, company: _Company) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        try:
            pid = os.fork()
        except OSError as error:
            log.error(f"no {company.companion.name}; tried again soon", cause=error.strerror)
            ours.close()
            theirs.close()
            company.due = time.monotonic() + _RESPAWN_SECONDS
            return
        if pid == 0:
            self._become_companion(company, ours, theirs)
        theirs.close()
        company.life = _Worker(_STEWARD, pid, ours, time.monotonic())
        self._selector.register(ours, selectors.EVENT_READ, company.life)

    def _become_companion(self, company: _Company, ours: socket.socket, theirs: socket.socket) -> None:
        """The child's side of the fork: leave all that is the supervisor's, do what there is to do, never return."""
        status = 1
        try:
            self._leave(ours)
            for sockets in self._sockets:
                for each in sockets:
                    each.close()
            self._close_encrypted()
            company.companion.live(theirs, company.sockets)
            status = 0
        except Exception as error:
            # What it says of itself, where it says something: a wrong setting is no fault of the program.
            log.error(f"{company.companion.name} ends", cause=str(error) or repr(error))
        except BaseException:
            log.exception(f"{company.companion.name} failed")
        finally:
            os._exit(status)

    def _become_steward(self, plan: StewardPlan, ours: socket.socket, theirs: socket.socket) -> None:
        """The child's side of the fork: leave all that is the supervisor's, do what there is to do, never return."""
        status = 1
        try:
            self._leave(ours)
            for sockets in self._sockets:
                for each in sockets:
                    each.close()
            self._close_encrypted()
            plan.live(theirs, self._zones)
            status = 0
        except BaseException:
            log.exception("steward failed")
        finally:
            os._exit(status)

    def _leave(self, ours: socket.socket) -> None:
        """What a child does first: nothing of the supervisor's is its own."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._selector.close()
        others = [each.control for each in self._workers.values()]
        if self._steward is not None:
            others.append(self._steward.control)
        others += [each.life.control for each in self._companies if each.life is not None]
        for end in (ours, self._wake_reader, self._wake_writer, *others):
            end.close()
        if self._watch is not None:
            self._watch.close()

    def _become_worker(self, index: int, ours: socket.socket, theirs: socket.socket) -> None:
        """The child's side of the fork: leave all that is the supervisor's, answer, and never return."""
        status = 1
        try:
            self._leave(ours)
            for number, sockets in enumerate(self._sockets):
                for each in sockets if number != index else ():
                    each.close()
            self._close_encrypted(but=index)
            tls = TlsSockets(self._tls_sockets[index], self._tls) if self._tls is not None else None
            quic = None
            if self._quic is not None:
                from mx10.nameserver.quic import QuicSockets

                quic = QuicSockets(self._quic_sockets[index], self._quic)
            desk, store = (self._plan.desk, self._plan.store) if self._plan is not None else (None, None)
            run_worker(
                self._zones,
                self._sockets[index],
                theirs,
                self._settings,
                desk,
                tls,
                quic,
                store,
                index,
                self._cookie_secrets,
            )
            status = 0
        except BaseException:
            log.exception("worker failed", worker=index)
        finally:
            os._exit(status)

    def _close_encrypted(self, but: int | None = None) -> None:
        """Close the sockets for TLS and QUIC; those of one worker stay open for it."""
        for of_workers in (self._tls_sockets, self._quic_sockets):
            for index, sockets in enumerate(of_workers):
                for each in sockets if index != but else ():
                    each.close()

    def _on_control(self, worker: _Worker, events: int) -> None:
        beside = [self._steward, *(each.life for each in self._companies)]
        if worker.pid not in self._workers and not any(worker is each for each in beside):
            return
        if events & selectors.EVENT_READ:
            with suppress(OSError):
                said = worker.control.recv(16)
                if said.startswith(READY) and worker.pid in self._workers:
                    self._on_ready(worker)
                elif not said:
                    # It is about to end: SIGCHLD says so too, and until then its socket would keep us busy.
                    self._selector.unregister(worker.control)
                    worker.given_up = True
                    return
        if events & selectors.EVENT_WRITE:
            self._flush(worker)

    def _on_ready(self, worker: _Worker) -> None:
        worker.ready = True
        log.info("worker ready", worker=worker.index, pid=worker.pid)
        if sum(each.ready for each in self._workers.values()) == len(self._sockets):
            where = ", ".join(format_address(each.udp.getsockname()[:2]) for each in self._sockets[0])
            store = {"store": str(self._plan.store)} if self._plan is not None and self._plan.store is not None else {}
            zones = {"zones": len(self._zones)} if self._folder is not None else {}
            log.info("ready", listening=where, **zones, **store, workers=len(self._sockets))

    def _tell(self, worker: _Worker, message: bytes) -> None:
        if worker.given_up:
            return
        # The one on its way does not count: a single zone may be larger than the limit.
        if worker.backlog - (len(worker.waiting[0]) if worker.waiting else 0) > _BACKLOG:
            who = "steward" if worker is self._steward else "worker"
            log.error(f"{who} hangs; it is replaced", worker=worker.index, pid=worker.pid)
            worker.given_up = True
            worker.waiting.clear()
            os.kill(worker.pid, signal.SIGKILL)
            return
        # A view, so that what is left of a large zone is not copied each time a part of it went out.
        worker.waiting.append(memoryview(message))
        worker.backlog += len(message)
        self._flush(worker)

    def _flush(self, worker: _Worker) -> None:
        waiting = worker.waiting
        try:
            while waiting:
                sent = worker.control.send(waiting[0])
                worker.backlog -= sent
                if sent < len(waiting[0]):
                    waiting[0] = waiting[0][sent:]
                else:
                    waiting.popleft()
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            waiting.clear()  # it is dead; SIGCHLD is on its way, and its successor starts with the zones as they are
            worker.backlog = 0
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if waiting else 0)
        self._selector.modify(worker.control, wanted, worker)

    def _reap(self) -> None:
        """Note which workers ended, and start others in their place."""
        for pid in list(self._workers):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if not ended:
                continue
            worker = self._workers.pop(pid)
            self._forget(worker)
            now = time.monotonic()
            young = now - worker.started < _RESPAWN_SECONDS
            log.error("worker died; another takes its place", worker=worker.index, pid=pid, cause=_cause(status))
            self._respawns.append((now + _RESPAWN_SECONDS if young else now, worker.index))

        if self._steward is not None:
            ended, status = os.waitpid(self._steward.pid, os.WNOHANG)
            if ended:
                now = time.monotonic()
                young = now - self._steward.started < _RESPAWN_SECONDS
                self._steward_due = now + _RESPAWN_SECONDS if young else now
                log.error("steward died; another takes its place", pid=ended, cause=_cause(status))
                self._forget(self._steward)
                self._steward = None
        for company in self._companies:
            if company.life is None:
                continue
            ended, status = os.waitpid(company.life.pid, os.WNOHANG)
            if ended:
                now = time.monotonic()
                young = now - company.life.started < _RESPAWN_SECONDS
                company.due = now + _RESPAWN_SECONDS if young else now
                name = company.companion.name
                log.error(f"{name} died; another takes its place", pid=ended, cause=_cause(status))
                self._forget(company.life)
                company.life = None

    def _forget(self, child: _Worker) -> None:
        with suppress(KeyError):
            self._selector.unregister(child.control)
        child.control.close()

    def _stop(self) -> None:
        """End the workers and the steward, then close what is ours."""
        children = [(each.pid, each.control) for each in self._workers.values()]
        if self._steward is not None:
            children.append((self._steward.pid, self._steward.control))
        beside = [(each.life, each.companion) for each in self._companies if each.life is not None]
        children += [(life.pid, life.control) for life, _ in beside]
        patience = max((companion.stop_seconds for _, companion in beside), default=_STOP_SECONDS)
        for _, control in children:
            # The end of the control stream is the order to stop; unlike a signal it cannot come before the child
            # listens for it.
            with suppress(OSError):
                control.shutdown(socket.SHUT_WR)
        deadline = time.monotonic() + max(patience, _STOP_SECONDS)
        for pid, control in children:
            while os.waitpid(pid, os.WNOHANG)[0] == 0:
                if time.monotonic() > deadline:
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
                    break
                # A closing child says so by closing its end; waiting for that is waiting for the child.
                with suppress(OSError):
                    control.settimeout(0.05)
                    control.recv(16)
            control.close()
        self._workers.clear()
        signal.set_wakeup_fd(-1)
        for sockets in self._sockets:
            for each in sockets:
                each.close()
        self._close_encrypted()
        for company in self._companies:
            for listening in company.sockets:
                listening.close()
        if self._watch is not None:
            self._watch.close()
        self._selector.close()
        self._wake_reader.close()
        self._wake_writer.close()
        log.info("stopped")


def _read_cookie_secrets(settings: NameserverSettings) -> tuple[bytes, ...]:
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


def _cause(status: int) -> str:
    """Why a child ended."""
    code = os.waitstatus_to_exitcode(status)
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"


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


def _drop_privileges(settings: NameserverSettings, addresses: Sequence[Address], folder: Path | None) -> None:
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


def _check_rights(store: Path) -> None:
    """See that we, with the rights we have now, can use the file of the store.

    Raises:
        StartError: no.
    """
    folder = store.parent
    wrong = next((path for path in (store, folder) if path.exists() and not os.access(path, os.R_OK | os.W_OK)), None)
    if wrong is not None or not folder.is_dir():
        name = next(iter(_names_of(os.geteuid())), str(os.geteuid()))
        raise StartError(
            f"user {name!r} cannot read and write {wrong or folder}, which the store needs: give it the folder and what"
            f" is in it (chown -R {name} {folder}), or set nameserver.user to one that can"
        )


def _check_writing(companion: Companion) -> None:
    """See that a companion, with the rights we have now, can write what it has to.

    Raises:
        StartError: no.
    """
    wrong = next((path for path in companion.writes if path.exists() and not os.access(path, os.R_OK | os.W_OK)), None)
    if wrong is not None:
        name = next(iter(_names_of(os.geteuid())), str(os.geteuid()))
        raise StartError(
            f"user {name!r} cannot read and write {wrong}, which the {companion.name} needs: give it the folder and"
            f" what is in it (chown -R {name} {wrong}), or set nameserver.user to one that can"
        )


def _names_of(uid: int) -> tuple[str, ...]:
    """The name of a user; none, as for the users of many containers, is no error."""
    try:
        return (pwd.getpwuid(uid).pw_name,)
    except KeyError:
        return ()


def _allow_many_files(settings: NameserverSettings) -> None:
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


def _import_what_comes_later() -> None:
    """Import now what is otherwise imported when first needed: afterwards we may not be allowed to read it."""
    for module in ("concurrent.futures.process", "idna", "multiprocessing.popen_fork", "multiprocessing.synchronize"):
        import_module(module)
    import_module("dns.rdata").load_all_types()
