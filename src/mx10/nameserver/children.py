"""The processes that are to be there at all times: forked, told things, replaced when they died, ended.

What each of them does is not known here: it is a function that is called with one end of a socket pair. Over that pair
a child is told what it is to know, and by its end to stop. There are neither threads nor an event loop of asyncio: that
makes forking safe at any moment. Who waits on the selector, and hears of SIGCHLD, is the supervisor.
"""

import os
import selectors
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, NoReturn

from mx10.logs import get_logger
from mx10.nameserver.control import READY

STOP_SECONDS: Final = 3.0
"""How long a child may take to end before it is killed."""
_RESPAWN_SECONDS: Final = 1.0
"""One that died younger than this is replaced only after as long: a fault that repeats must not eat the machine."""
_BACKLOG: Final = 256 << 20
"""Octets that may wait for one child; one that takes none of them hangs, and is replaced."""

log = get_logger("nameserver")


@dataclass(slots=True)
class Child:
    """A process.

    Attributes:
        control: our end of the socket pair.
        ready: it said so.
        waiting: what it is told and did not take yet.
        backlog: octets of that.
        given_up: it is about to end; it is told nothing more.
    """

    pid: int
    control: socket.socket
    started: float
    ready: bool = False
    waiting: deque[memoryview] = field(default_factory=deque)
    backlog: int = 0
    given_up: bool = False


@dataclass(slots=True)
class Place:
    """What some process is to do at all times, and the one that does it now.

    Attributes:
        name: for the log; ``labels`` too.
        live: the whole life of such a process; the argument is its end of the socket pair.
        speaks: an exception that ends it says of itself what is wrong, as of a setting; others are faults of the
            program.
        stop_seconds: how long it may take to stop.
        child: None: it died, or there could be none.
        due: when there is to be another, by the monotonic clock.
    """

    name: str
    live: Callable[[socket.socket], None]
    labels: Mapping[str, object] = field(default_factory=dict)
    speaks: bool = False
    stop_seconds: float = STOP_SECONDS
    child: Child | None = None
    due: float = 0.0


class Children:
    """See the module.

    Args:
        selector: whoever waits on it gives what it says of a ``Place`` to ``heard``.
        leave: called first in each child: closes what is its parent's alone, the selector among it.
    """

    def __init__(self, selector: selectors.BaseSelector, leave: Callable[[], None]) -> None:
        self._selector = selector
        self._leave = leave
        self._places: list[Place] = []

    def keep(self, place: Place) -> None:
        """Have some process do this from now on."""
        self._places.append(place)
        self._start(place)

    @property
    def due(self) -> float:
        """When the next one is to be replaced, by the monotonic clock."""
        return min((each.due for each in self._places if each.child is None), default=float("inf"))

    def replace(self) -> None:
        """Start others in the place of those that ended, where it is time."""
        now = time.monotonic()
        for place in self._places:
            if place.child is None and place.due <= now:
                self._start(place)

    def _start(self, place: Place) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        try:
            pid = os.fork()
        except OSError as error:
            log.error(f"no {place.name}; tried again soon", **place.labels, cause=error.strerror)
            ours.close()
            theirs.close()
            place.due = time.monotonic() + _RESPAWN_SECONDS
            return
        if pid == 0:
            self._become(place, ours, theirs)
        theirs.close()
        place.child = Child(pid, ours, time.monotonic())
        self._selector.register(ours, selectors.EVENT_READ, place)

    def _become(self, place: Place, ours: socket.socket, theirs: socket.socket) -> NoReturn:
        """The child's side of the fork: leave all that is the parent's, do what there is to do, never return."""
        status = 1
        try:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._leave()
            for end in (ours, *(each.child.control for each in self._places if each.child is not None)):
                end.close()
            place.live(theirs)
            status = 0
        except BaseException as error:
            if place.speaks and isinstance(error, Exception):
                log.error(f"{place.name} ends", **place.labels, cause=str(error) or repr(error))
            else:
                log.exception(f"{place.name} failed", **place.labels)
        finally:
            os._exit(status)

    def heard(self, place: Place, events: int) -> bool:
        """Take what a child says, and let it have more of what it is told. Returns whether it says that it is ready."""
        child, says_ready = place.child, False
        if child is None:
            return False
        if events & selectors.EVENT_READ:
            with suppress(OSError):
                said = child.control.recv(16)
                if not said:
                    # It is about to end: SIGCHLD says so too, and until then its socket would keep us busy.
                    self._selector.unregister(child.control)
                    child.given_up = True
                    return False
                if said.startswith(READY):
                    child.ready = says_ready = True
                    log.info(f"{place.name} ready", **place.labels, pid=child.pid)
        if events & selectors.EVENT_WRITE:
            self._flush(place, child)
        return says_ready

    def tell(self, place: Place, message: bytes) -> None:
        """Tell a child something; its successor, where there is none just now, begins with things as they are."""
        child = place.child
        if child is None or child.given_up:
            return
        # The one on its way does not count: a single zone may be larger than the limit.
        if child.backlog - (len(child.waiting[0]) if child.waiting else 0) > _BACKLOG:
            log.error(f"{place.name} hangs; it is replaced", **place.labels, pid=child.pid)
            child.given_up = True
            child.waiting.clear()
            os.kill(child.pid, signal.SIGKILL)
            return
        # A view, so that what is left of a large zone is not copied each time a part of it went out.
        child.waiting.append(memoryview(message))
        child.backlog += len(message)
        self._flush(place, child)

    def _flush(self, place: Place, child: Child) -> None:
        waiting = child.waiting
        try:
            while waiting:
                sent = child.control.send(waiting[0])
                child.backlog -= sent
                if sent < len(waiting[0]):
                    waiting[0] = waiting[0][sent:]
                else:
                    waiting.popleft()
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            waiting.clear()  # it is dead; SIGCHLD is on its way, and its successor starts with the zones as they are
            child.backlog = 0
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if waiting else 0)
        self._selector.modify(child.control, wanted, place)

    def reap(self) -> None:
        """Note which of them ended; others are due in their place."""
        for place in self._places:
            child = place.child
            if child is None:
                continue
            ended, status = os.waitpid(child.pid, os.WNOHANG)
            if not ended:
                continue
            now = time.monotonic()
            young = now - child.started < _RESPAWN_SECONDS
            place.child, place.due = None, now + _RESPAWN_SECONDS if young else now
            log.error(
                f"{place.name} died; another takes its place", **place.labels, pid=child.pid, cause=_cause(status)
            )
            with suppress(KeyError):
                self._selector.unregister(child.control)
            child.control.close()

    def stop(self) -> None:
        """End them all, by force those that take too long."""
        there = [(each, each.child) for each in self._places if each.child is not None]
        for _, child in there:
            # The end of the control stream is the order to stop; unlike a signal it cannot come before the child
            # listens for it.
            with suppress(OSError):
                child.control.shutdown(socket.SHUT_WR)
        deadline = time.monotonic() + max((place.stop_seconds for place, _ in there), default=0.0)
        for place, child in there:
            while os.waitpid(child.pid, os.WNOHANG)[0] == 0:
                if time.monotonic() > deadline:
                    os.kill(child.pid, signal.SIGKILL)
                    os.waitpid(child.pid, 0)
                    break
                # A closing child says so by closing its end; waiting for that is waiting for the child.
                with suppress(OSError):
                    child.control.settimeout(0.05)
                    child.control.recv(16)
            child.control.close()
            place.child = None


def _cause(status: int) -> str:
    """Why a child ended."""
    code = os.waitstatus_to_exitcode(status)
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
