"""The supervisor's children: another takes the place of one that ended, hangs or could not be."""

import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from mx10.nameserver.children import Child, Children, Place
from mx10.nameserver.control import READY


@pytest.fixture
def selector() -> Iterator[selectors.BaseSelector]:
    with selectors.DefaultSelector() as made:
        yield made


@pytest.fixture
def children(selector: selectors.BaseSelector, monkeypatch: pytest.MonkeyPatch) -> Iterator[Children]:
    # However slow this machine is, they are young.
    monkeypatch.setattr("mx10.nameserver.children._RESPAWN_SECONDS", 60.0)
    made = Children(selector, lambda: None)
    yield made
    made.stop()


def _until_its_end(control: socket.socket) -> None:
    control.send(READY)
    while control.recv(16):
        pass


def _hear(selector: selectors.BaseSelector, children: Children) -> list[bool]:
    """What they say next."""
    return [children.heard(key.data, events) for key, events in selector.select(10)]


def test_one_that_ends_is_replaced(selector: selectors.BaseSelector, children: Children) -> None:
    place = Place("worker", _until_its_end, {"worker": 0})
    children.keep(place)
    assert _hear(selector, children) == [True]
    assert place.child is not None
    assert place.child.ready
    assert children.due == float("inf")
    before = place.child.pid
    os.kill(before, signal.SIGKILL)
    # Its end is heard, once, and by whoever is not told of it.
    assert _hear(selector, children) == [False]
    assert selector.select(0) == []
    children.tell(place, b"nobody hears this")
    os.waitid(os.P_PID, before, os.WEXITED | os.WNOWAIT)
    children.reap()
    assert place.child is None
    # It was young: the next one waits.
    assert 30 < children.due - time.monotonic() <= 60
    children.replace()
    assert place.child is None
    place.due = time.monotonic()
    children.replace()
    assert place.child.pid != before
    assert _hear(selector, children) == [True]


def test_a_fork_that_fails_is_tried_again(
    selector: selectors.BaseSelector, children: Children, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> int:
        raise BlockingIOError(11, "no more processes")

    place = Place("worker", _until_its_end)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fork", fails)
        children.keep(place)
    assert place.child is None
    assert 30 < children.due - time.monotonic() <= 60
    place.due = 0.0
    children.replace()
    assert _hear(selector, children) == [True]


@pytest.mark.parametrize(
    ("speaks", "error", "said", "traceback"),
    [
        (True, ValueError("a wrong setting"), "relay ends", False),
        (False, ValueError("a wrong setting"), "relay failed", True),
        (True, KeyboardInterrupt(), "relay failed", True),
    ],
)
def test_what_a_child_ends_with_is_told(
    children: Children,
    capfd: pytest.CaptureFixture[str],
    speaks: bool,
    error: BaseException,
    said: str,
    traceback: bool,
) -> None:
    def live(_control: socket.socket) -> None:
        raise error

    place = Place("relay", live, speaks=speaks)
    children.keep(place)
    assert place.child is not None
    pid = place.child.pid
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    children.reap()
    out, err = capfd.readouterr()
    assert said in out + err
    assert ("Traceback" in out + err) is traceback


@pytest.fixture
def hanging(selector: selectors.BaseSelector) -> Iterator[Callable[[Place], subprocess.Popen[bytes]]]:
    """Fills a place with a process that takes nothing of what it is told."""
    opened: list[socket.socket] = []
    started: list[subprocess.Popen[bytes]] = []

    def fill(place: Place) -> subprocess.Popen[bytes]:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        opened.extend((ours, theirs))
        started.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]))
        place.child = Child(started[-1].pid, ours, time.monotonic())
        selector.register(ours, selectors.EVENT_READ, place)
        return started[-1]

    yield fill
    for process in started:
        process.kill()
        process.wait()
    for end in opened:
        end.close()


def test_one_that_hangs_is_ended_once_and_nothing_more_is_kept_for_it(
    children: Children,
    hanging: Callable[[Place], subprocess.Popen[bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mx10.nameserver.children._BACKLOG", 1 << 20)
    place = Place("worker", _until_its_end)
    process = hanging(place)
    assert place.child is not None
    # One change larger than the limit is no sign of hanging.
    children.tell(place, bytes(4 << 20))
    children.tell(place, b"small")
    assert process.poll() is None
    for _ in range(40):
        children.tell(place, bytes(1 << 16))
    assert (place.child.given_up, len(place.child.waiting)) == (True, 0)
    assert process.wait(10) == -signal.SIGKILL
