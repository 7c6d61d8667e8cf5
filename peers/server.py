"""What all peers have in common: a folder of their own, waiting until they answer, what they cost, and their end.

A peer's own file says only how it is configured, how it is started and how it is told to read one zone again.
"""

import contextlib
import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from peers.asking import NoAnswerError, ask, question, rcode_and_aa

STOP_SECONDS = 10.0
"""How long a server may take to end after SIGTERM before it is killed."""


class MissingPeerError(Exception):
    """A peer's program is not installed; the message names the Debian package."""


class PeerError(Exception):
    """A peer did not start, did not answer in time or refused an order; the message ends with the end of its log."""


@dataclass(frozen=True, slots=True)
class ZoneFile:
    """A master file and the zone in it: ``name`` as text with no final dot, "." for the root."""

    name: str
    path: Path

    @property
    def absolute(self) -> str:
        """The name with its final dot."""
        return self.name if self.name == "." else self.name + "."


def zone_files(folder: Path) -> list[ZoneFile]:
    """The master files of a folder, by name: ``NAME.zone`` holds the zone NAME, ``root.zone`` the root."""
    return [
        ZoneFile("." if path.stem == "root" else path.stem, path) for path in sorted(folder.resolve().glob("*.zone"))
    ]


def _ports() -> Iterator[int]:
    """What ``free_port`` tries, in order, so that no port comes again before a server listens there.

    None of those that Linux gives to whoever connects, from 32768 on: such a one may be taken before a server listens.
    With pytest-xdist each worker has some of its own.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    workers = max(int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")), worker + 1)
    count = (32_768 - 10_000) // workers
    first = 10_000 + worker * count
    begin = random.randrange(count)
    return (first + each % count for each in itertools.count(begin))


_PORTS = _ports()


def free_port(address: str = "127.0.0.1") -> int:
    """A port that nobody uses just now, over UDP nor over TCP, and that this process has not given lately."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for port in itertools.islice(_PORTS, 100):
        with socket.socket(family, socket.SOCK_DGRAM) as udp, socket.socket(family, socket.SOCK_STREAM) as tcp:
            try:
                udp.bind((address, port))
                tcp.bind((address, port))
            except OSError as error:
                reason = error
                continue
            return port
    raise PeerError(f"no port of {address} is free over both UDP and TCP: {reason}")


def find_program(name: str, package: str) -> str:
    """The path of a program; also looks where Debian keeps servers, which is not in everybody's PATH.

    Raises:
        MissingPeerError: it is not installed.
    """
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/local/sbin")
    if found is None:
        raise MissingPeerError(f"{name} is not installed: apt-get install {package}")
    return found


class Server(ABC):
    """One nameserver process (with its children) on one loopback address and port.

    Arguments:
        zones: folder of master files, see ``zone_files``.
        core: the processor it is pinned to, or None.
        payload: the largest answer over UDP in octets.
        limit: seconds it may take until it answers for every zone of ``wait_for`` (by default the last by name).
    """

    name: ClassVar[str]
    package: ClassVar[str]
    """The Debian package that brings it."""

    def __init__(
        self,
        zones: Path,
        *,
        address: str = "127.0.0.1",
        port: int | None = None,
        core: int | None = None,
        payload: int = 1232,
        limit: float = 60.0,
        wait_for: Sequence[str] | None = None,
    ) -> None:
        self.zones = zones.resolve()
        self.address = address
        self.port = port if port is not None else free_port(address)
        self.core = core
        self.payload = payload
        self.limit = limit
        self.files = zone_files(zones)
        self.wait_for = wait_for
        self.process: subprocess.Popen[bytes] | None = None

    @cached_property
    def work(self) -> Path:
        """The server's own folder, made when first asked for; ``stop`` removes it."""
        return Path(tempfile.mkdtemp(prefix=f"peer-{self.name.lower().replace(' ', '-')}-"))

    @abstractmethod
    def configure(self) -> None:
        """Write what the server wants to read into ``self.work``."""

    @abstractmethod
    def command(self) -> list[str]:
        """The command line that runs it in the foreground."""

    @abstractmethod
    def version(self) -> str:
        """Name and version as the program says it, for tables."""

    def reload(self, zone: str) -> None:
        """Tell it to read one zone's file again, in the way its manual says.

        Raises:
            PeerError: it refused.
        """
        raise NotImplementedError(f"{self.name} has no zones")

    # Life

    def start(self, *, wait: bool = True) -> Self:
        """Configure and start; with ``wait`` return when it answers.

        Raises:
            MissingPeerError: not installed.
            PeerError: it ended, or did not answer within the limit.
        """
        try:
            self.configure()
            self.launch()
            if wait:
                self.await_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def launch(self) -> None:
        """Start the process, its configuration being written."""
        argv = self.command()
        if self.core is not None:
            argv = [find_program("taskset", "util-linux"), "-c", str(self.core), *argv]
        # Should whoever started us be killed, the kernel ends the server too.
        argv = [find_program("setpriv", "util-linux"), "--pdeathsig", "TERM", *argv]
        with open(self.work / "log", "ab") as log:
            self.process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.work,
                start_new_session=True,
                env=self.environment(),
            )

    def environment(self) -> dict[str, str]:
        """The environment of the server's processes."""
        return dict(os.environ)

    def await_ready(self) -> None:
        """Ask, every few milliseconds, until the zones waited for are answered with authority.

        Raises:
            PeerError: the process ended, or the limit passed.
        """
        names = self.wait_for if self.wait_for is not None else [file.name for file in self.files[-1:]]
        deadline = time.monotonic() + self.limit
        for name in names:
            wire = question(name, "SOA", ident=4242)
            while not self.answers(wire):
                if self.process is None or self.process.poll() is not None:
                    raise PeerError(f"{self.name} ended while starting\n{self.log_tail()}")
                if time.monotonic() > deadline:
                    raise PeerError(
                        f"{self.name} does not answer for {name} after {self.limit:.0f} s\n{self.log_tail()}"
                    )
                time.sleep(0.005)

    def answers(self, wire: bytes, timeout: float = 0.5) -> bool:
        """Whether it gives NOERROR with authority to a question."""
        try:
            return rcode_and_aa(ask(self.address, self.port, wire, timeout=timeout)) == (0, True)
        except NoAnswerError:
            return False

    def stop(self) -> None:
        """End every process of the group, at the latest by SIGKILL, and remove its folder."""
        if self.process is not None:
            self._signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_SECONDS)
            deadline = time.monotonic() + STOP_SECONDS
            while self.processes() and time.monotonic() < deadline:
                time.sleep(0.01)
            self._signal(signal.SIGKILL)
            self.process.wait()
            self.process = None
        if "work" in self.__dict__:
            shutil.rmtree(self.work, ignore_errors=True)
            del self.work

    def _signal(self, number: int) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)

    def __enter__(self) -> Self:
        return self if self.process is not None else self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # What it costs

    def processes(self) -> list[int]:
        """The server's processes: all of its session, zombies left out."""
        if self.process is None:
            return []
        found = []
        for number in _numbers("/proc"):
            fields = _stat(number)
            if fields and int(fields[3]) == self.process.pid and fields[0] != "Z":
                found.append(number)
        return found

    def cpu_seconds(self) -> float:
        """Processor time of all its threads so far, in seconds.

        By the scheduler's own account in nanoseconds, not in the ticks of 10 ms of /proc/PID/stat.
        """
        total = 0
        for process in self.processes():
            for task in _numbers(f"/proc/{process}/task"):
                try:
                    total += int(Path(f"/proc/{process}/task/{task}/schedstat").read_text().split()[0])
                except (OSError, IndexError):
                    continue
        return total / 1e9

    def memory(self) -> int:
        """Resident memory of all its processes in octets, each shared page counted once over its sharers (PSS)."""
        total = 0
        for process in self.processes():
            try:
                for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
                    if line.startswith("Pss:"):
                        total += int(line.split()[1]) * 1024
            except OSError:
                continue
        return total

    # Helpers of the peers

    def log_tail(self, lines: int = 12) -> str:
        """The last lines of everything that looks like a log."""
        text = "\n".join(path.read_text(errors="replace") for path in sorted(self.work.glob("*log")))
        return "\n".join(text.splitlines()[-lines:])

    def order(self, *argv: str) -> str:
        """Run a control program and return what it said.

        Raises:
            PeerError: it failed or took more than a minute.
        """
        try:
            done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        except subprocess.TimeoutExpired as error:
            raise PeerError(f"{' '.join(argv)}: no reply in 60 s") from error
        if done.returncode:
            raise PeerError(f"{' '.join(argv)}: {done.stderr or done.stdout}\n{self.log_tail()}")
        return done.stdout


def first_line(*argv: str) -> str:
    """The first line a program prints when asked for its version, wherever it prints it."""
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    return ((done.stdout or done.stderr).splitlines() or ["?"])[0]


def _stat(process: int) -> list[str] | None:
    """The fields of /proc/PID/stat behind the program's name (proc(5))."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def _numbers(folder: str) -> list[int]:
    """The entries of a folder under /proc that are numbers: processes or threads; none if it is gone by now."""
    try:
        return [int(path.name) for path in Path(folder).iterdir() if path.name.isdigit()]
    except OSError:
        return []
