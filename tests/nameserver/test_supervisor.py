"""``mx10 serve`` as a process: it starts, notices changes, replaces workers, and ends."""

import contextlib
import json
import os
import queue
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mx10.config import NameserverSettings, ZoneSettings
from mx10.dns import message as m
from mx10.dns import rrtypes as rr
from mx10.dns.wirename import from_text
from mx10.nameserver.starting import StartError, allow_many_files, read_cookie_secrets
from mx10.nameserver.supervisor import Supervisor
from mx10.nameserver.watch import watch_folder
from tests.conftest import cannot_run

ZONE = """$TTL 3600
@ SOA ns1 hostmaster {serial} 7200 3600 1209600 300
@ NS ns1
@ NS ns2
@ MX 10 mx
ns1 A 192.0.2.53
ns2 A 192.0.2.54
mx A {address}
"""


class Serving:
    """A running ``mx10 serve``: its log as events, and questions to it."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        command = [
            sys.executable,
            "-m",
            "mx10",
            "serve",
            "--zone-dir",
            str(folder),
            "--listen",
            "127.0.0.1:0",
            *options,
        ]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self._events: queue.Queue[dict[str, object]] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.seen: list[dict[str, object]] = []
        ready = self.wait_for("^ready$")
        self.port = int(str(ready["listening"]).rpartition(":")[2])

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._events.put(json.loads(line))

    def wait_for(self, words: str, seconds: float = 20) -> dict[str, object]:
        """The next log event whose text holds these words."""
        end = time.monotonic() + seconds
        while True:
            try:
                event = self._events.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no event {words!r}; seen: {self.seen}") from None
            self.seen.append(event)
            if re.search(words, str(event["event"])):
                return event

    def ask(self, name: str, rrtype: int = rr.A, *, tries: int = 5) -> m.Message:
        """One question from a port of its own (so that it may reach any worker), repeated when a datagram was lost."""
        for _ in range(tries):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, contextlib.suppress(TimeoutError):
                sock.settimeout(1)
                sock.connect(("127.0.0.1", self.port))
                sock.send(m.make_query(from_text(name), rrtype, id=5))
                return m.parse(sock.recv(4096))
        raise AssertionError("no answer")

    def until(self, condition: Callable[[], bool], seconds: float = 10) -> float:
        """Seconds until the condition holds."""
        start = time.monotonic()
        while not condition():
            assert time.monotonic() - start < seconds
            time.sleep(0.002)
        return time.monotonic() - start

    def address(self, zone: str = "example") -> bytes | None:
        answer = self.ask(f"mx.{zone}.").answer
        return answer[0].rdata if answer else None

    def write(self, zone: str = "example", serial: int = 1, address: str = "192.0.2.1", text: str = "") -> None:
        """Write a zone as editors do: beside, then moved into place."""
        beside = self.folder / f".{zone}.new"
        beside.write_text(text or ZONE.format(serial=serial, address=address))
        beside.rename(self.folder / f"{zone}.zone")

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(10)

    def close(self) -> None:
        """End it however it is, and what listens to it."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join(10)
        assert self.process.stderr is not None
        self.process.stderr.close()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Serving]]:
    started: list[Serving] = []

    def start(*options: str, **zones: str) -> Serving:
        folder = tmp_path / "zones"
        folder.mkdir(exist_ok=True)
        for name, text in (zones or {"example": ZONE.format(serial=1, address="192.0.2.1")}).items():
            (folder / f"{name}.zone").write_text(text)
        started.append(Serving(folder, *options))
        return started[-1]

    yield start
    for each in started:
        each.close()


def test_a_changed_file_is_in_the_answers_of_every_worker(serve: Callable[..., Serving]) -> None:
    node = serve(
        "--workers",
        "2",
        test=ZONE.format(serial=1, address="192.0.2.9"),
        example=ZONE.format(serial=1, address="192.0.2.1"),
    )
    assert node.address() == bytes((192, 0, 2, 1))
    node.write(serial=2, address="192.0.2.2")
    event = node.wait_for("zone loaded")
    assert event["zone"] == "example."
    # Twenty questions from twenty ports reach both workers.
    node.until(lambda: all(node.address() == bytes((192, 0, 2, 2)) for _ in range(20)))
    assert node.address("test") == bytes((192, 0, 2, 9))
    assert node.stop() == 0


def test_a_zone_appears_and_disappears_with_its_file(serve: Callable[..., Serving]) -> None:
    node = serve()
    assert node.ask("mx.test.").rcode == rr.Rcode.REFUSED
    node.write("test", address="192.0.2.7")
    node.until(lambda: node.address("test") == bytes((192, 0, 2, 7)))
    (node.folder / "test.zone").unlink()
    node.until(lambda: node.ask("mx.test.").rcode == rr.Rcode.REFUSED)


def test_folders_that_come_and_go_in_the_zone_folder_are_survived(serve: Callable[..., Serving]) -> None:
    node = serve()
    for _ in range(200):
        (node.folder / "sub").mkdir()
        (node.folder / "sub").rmdir()
    node.write("test", address="192.0.2.7")
    node.until(lambda: node.address("test") == bytes((192, 0, 2, 7)))
    assert node.stop() == 0


@pytest.mark.parametrize("how", ["moved", "made again", "linked"])
def test_a_folder_put_in_the_place_of_the_zone_folder_is_read_and_watched(
    serve: Callable[..., Serving], how: str
) -> None:
    node = serve()
    old, new = node.folder.with_name("old"), node.folder.with_name("new")
    if how == "made again":
        shutil.rmtree(node.folder)
        node.folder.mkdir()
    else:
        new.mkdir()
        node.folder.rename(old)
        if how == "moved":
            new.rename(node.folder)
        else:
            node.folder.symlink_to(new)
    node.write(serial=2, address="192.0.2.2")
    node.until(lambda: node.address() == bytes((192, 0, 2, 2)))
    node.write(serial=3, address="192.0.2.3")
    node.until(lambda: node.address() == bytes((192, 0, 2, 3)))


def test_every_one_of_many_new_folders_is_watched(tmp_path: Path) -> None:
    watch = watch_folder(tmp_path)
    try:
        for name in "abc":
            (tmp_path / name / "deep").mkdir(parents=True)
        assert watch.changed() is None
        watch.changed()
        for name in "abc":
            (tmp_path / name / "deep" / "x.inc").write_text("")
        assert watch.changed() == {tmp_path / name / "deep" / "x.inc" for name in "abc"}
    finally:
        watch.close()


def test_a_zone_that_was_good_stays_served_after_a_bad_edit(serve: Callable[..., Serving]) -> None:
    node = serve()
    node.write(text="$TTL 3600\n@ SOA ns1 hostmaster 2 7200 3600 1209600 300\n@ NS ns1\nmx A 192.0.2.999\n")
    event = node.wait_for(r"example\.zone:4:6: error: ")
    assert event["level"] == "error"
    assert node.address() == bytes((192, 0, 2, 1))
    node.write(serial=3, address="192.0.2.3")
    node.until(lambda: node.address() == bytes((192, 0, 2, 3)))


def test_one_bad_file_does_not_stop_the_others(serve: Callable[..., Serving]) -> None:
    node = serve(example=ZONE.format(serial=1, address="192.0.2.1"), bad="@ SOA (\n", binary="\0\1\2")
    assert node.address() == bytes((192, 0, 2, 1))
    assert any("bad.zone:" in str(event["event"]) for event in node.seen)
    assert any("binary.zone:" in str(event["event"]) for event in node.seen)


def test_sighup_reads_the_folder_again(serve: Callable[..., Serving]) -> None:
    node = serve()
    node.write(serial=2, address="192.0.2.51")
    node.process.send_signal(signal.SIGHUP)
    node.wait_for("reading the folder again")
    node.until(lambda: node.address() == bytes((192, 0, 2, 51)))


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    """A supervisor that was not started, in this process."""
    numbers = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
    before = [signal.getsignal(number) for number in numbers]
    made = Supervisor(NameserverSettings(zone_dir=tmp_path), ZoneSettings())
    yield made
    made._stop()
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def test_a_storm_of_signals_hides_none(supervisor: Supervisor) -> None:
    supervisor._listen_to_signals()
    with contextlib.suppress(BlockingIOError):
        while True:
            supervisor._wake_writer.send(bytes((signal.SIGHUP,)))
    os.kill(os.getpid(), signal.SIGTERM)
    supervisor._on_signals()
    assert supervisor._stopping


def test_as_many_files_may_be_open_as_connections_are_allowed() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (300, before[1]))
        allow_many_files(NameserverSettings(tcp_connections=400, workers=2))
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 400
        allow_many_files(NameserverSettings(tcp_connections=1))
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 400
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_fault_in_reading_does_not_end_it(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise BlockingIOError(11, "no more processes")

    monkeypatch.setattr(supervisor._folder, "reload", fails)
    supervisor._reload(None)


def test_a_worker_that_dies_is_replaced_and_knows_the_zones_as_they_are(serve: Callable[..., Serving]) -> None:
    node = serve()
    node.write(serial=2, address="192.0.2.2")
    node.until(lambda: node.address() == bytes((192, 0, 2, 2)))
    pid = int(str(next(event for event in node.seen if event["event"] == "worker ready")["pid"]))
    os.kill(pid, signal.SIGKILL)
    event = node.wait_for("worker died")
    assert (event["pid"], event["cause"]) == (pid, "killed by SIGKILL")
    node.wait_for("worker ready")
    assert node.address() == bytes((192, 0, 2, 2))


def test_no_question_is_lost_while_zones_change(serve: Callable[..., Serving]) -> None:
    node = serve()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.connect(("127.0.0.1", node.port))
        for serial in range(2, 30):
            node.write(serial=serial, address=f"192.0.2.{serial}")
            for ident in range(50):
                sock.send(m.make_query(from_text("mx.example."), rr.A, id=ident))
                assert m.parse(sock.recv(4096)).id == ident
    node.until(lambda: node.address() == bytes((192, 0, 2, 29)))


def test_no_worker_outlives_a_killed_supervisor(serve: Callable[..., Serving]) -> None:
    node = serve("--workers", "2")
    pids = [int(str(event["pid"])) for event in node.seen if event["event"] == "worker ready"]
    node.process.kill()
    node.process.wait()
    node.until(lambda: not any(_alive(pid) for pid in pids))


def _alive(pid: int) -> bool:
    try:
        # Fields after the name: the first is the state; a zombie nobody has waited for yet is dead too.
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_ctrl_c_ends_it_cleanly(serve: Callable[..., Serving]) -> None:
    node = serve("--workers", "2")
    node.process.send_signal(signal.SIGINT)
    assert node.process.wait(10) == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "--zone-dir"),
        (("--zone-dir", "/nonexistent"), "not a folder"),
        (("--zone-dir", ".", "--listen", "example.com:53"), "IP address"),
        (("--zone-dir", ".", "--listen", "192.0.2.1:5353"), "address of this machine"),
        (("--zone-dir", ".", "--workers", "0"), "workers"),
    ],
)
def test_what_it_cannot_start_with_is_said_in_one_line(options: tuple[str, ...], words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mx10", "serve", *options], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_second_server_on_the_same_port_is_told_so(serve: Callable[..., Serving]) -> None:
    node = serve()
    command = [
        sys.executable,
        "-m",
        "mx10",
        "serve",
        "--zone-dir",
        str(node.folder),
        "--listen",
        f"127.0.0.1:{node.port}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, "another program has it" in done.stderr) == (2, True)


def test_a_port_below_1024_is_bound_and_then_rights_are_given_up(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        cannot_run("only root can bind a port below 1024 and then become somebody else")
    folder = Path(f"/var/tmp/mx10-test-{os.getpid()}")
    folder.mkdir(mode=0o755)
    try:
        (folder / "example.zone").write_text(ZONE.format(serial=1, address="192.0.2.1"))
        command = [sys.executable, "-m", "mx10", "serve", "--zone-dir", str(folder), "--listen", "127.53.53.53:53"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            pids = []
            for line in process.stderr:
                event = json.loads(line)
                if event["event"] == "worker ready":
                    pids.append(event["pid"])
                if event["event"] == "ready":
                    break
            _assert_nobody_is_root([process.pid, *pids])
            process.terminate()
            assert process.wait(10) == 0
    finally:
        (folder / "example.zone").unlink()
        folder.rmdir()


def _assert_nobody_is_root(pids: list[int]) -> None:
    for pid in pids:
        uids = re.search(r"^Uid:\s+(\d+)\s+(\d+)\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
        assert uids is not None
        assert "0" not in uids.groups()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_while_it_reads_zones(tmp_path: Path, number: int) -> None:
    zones = tmp_path / "zones"
    zones.mkdir()
    text = ZONE.format(serial=1, address="192.0.2.1") + "$GENERATE 0-60000 h$ A 192.0.2.1\n"
    for index in range(400):
        (zones / f"z{index}.example.zone").write_text(text)
    command = [sys.executable, "-m", "mx10", "serve", "--zone-dir", str(zones), "--listen", "127.0.0.1:0"]
    # A session of its own: the signal goes to the supervisor alone, its readers are for it to end.
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            assert process.stderr is not None
            for line in process.stderr:
                if "loading zones" in line or "running as root" in line:
                    break
            time.sleep(1.0)  # nothing says that the reading of the first files goes on
            began = time.monotonic()
            process.send_signal(number)
            rest = process.stderr.read()
            assert process.wait(10) == 0
            # To read them all takes minutes.
            assert time.monotonic() - began < 8
            assert "stopped while reading zones" in rest
            assert "Traceback" not in rest
        finally:
            process.kill()


def test_secrets_for_cookies_that_cannot_be_used_are_told(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.write_text("abc\n")
    settings = replace(NameserverSettings(), cookie_secrets=secrets)
    with pytest.raises(StartError, match="line 1 is no secret"):
        read_cookie_secrets(settings)
    secrets.write_bytes(b"\xff" * 32)
    with pytest.raises(StartError, match="not a text"):
        read_cookie_secrets(settings)
    with pytest.raises(StartError, match="cannot be read"):
        read_cookie_secrets(replace(settings, cookie_secrets=tmp_path / "nothing"))
    with pytest.raises(StartError, match=r"nameserver\.cookies"):
        read_cookie_secrets(replace(NameserverSettings(), cookies=False, require_cookies=True))
    assert read_cookie_secrets(replace(NameserverSettings(), cookies=False)) == ()
    assert read_cookie_secrets(NameserverSettings()) != read_cookie_secrets(NameserverSettings())
