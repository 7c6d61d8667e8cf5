"""Mail relays on loopback, for tests and benchmarks: each takes mail from 127.0.0.0/8 and passes all of it on to one
port. Started in a folder of their own, always stopped; what they cost is read from /proc.
"""

import os
import shutil
import signal
import socket
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from peers.server import PeerError, free_port

STOP_SECONDS = 20.0
"""How long a relay may take to end before it is killed."""
_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """Processor time in seconds, ended children included, and memory in octets (PSS: shared pages by their sharers)."""

    seconds: float
    memory: int


class Relay(ABC):
    """One relay: a port of 127.0.0.1 that it takes mail at, another where all mail goes."""

    name: ClassVar[str]

    def __init__(self, next_hop: int) -> None:
        self.port = free_port()
        self.next_hop = next_hop
        self.leader = 0
        """The process whose session all its processes are in; 0: not running."""

    @cached_property
    def work(self) -> Path:
        """The relay's own folder, made when first asked for; ``stop`` removes it."""
        path = Path(tempfile.mkdtemp(prefix=f"peer-{self.name.lower()}-"))
        path.chmod(0o755)
        return path

    @abstractmethod
    def launch(self) -> None:
        """Start the processes and set ``leader``."""

    @classmethod
    @abstractmethod
    def version(cls) -> str:
        """Name and version, for tables."""

    @abstractmethod
    def log_tail(self) -> str:
        """The end of its log."""

    def shut(self) -> None:
        """Ask it to end."""
        with suppress(ProcessLookupError):
            os.kill(self.leader, signal.SIGTERM)

    def start(self) -> Self:
        """Start it; returns when it takes mail.

        Raises:
            PeerError: it did not start.
        """
        try:
            self.launch()
            await_port(self.port, self.log_tail)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End it, at the latest by SIGKILL, and remove its folder."""
        if self.leader:
            self.shut()
            ends = time.monotonic() + STOP_SECONDS
            while (left := processes_of(self.leader)) and time.monotonic() < ends:
                time.sleep(0.01)
            for process in left:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            self.leader = 0
        if "work" in self.__dict__:
            shutil.rmtree(self.work, ignore_errors=True)
            del self.work

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def usage(self) -> Usage:
        """What it cost so far.

        Raises:
            PeerError: it is not running.
        """
        found = processes_of(self.leader) if self.leader else []
        if not found:
            raise PeerError(f"{self.name} ended by itself\n{self.log_tail()}")
        return Usage(sum(map(_seconds, found)), sum(map(_memory, found)))


def await_port(port: int, why: Callable[[], str], limit: float = 30.0) -> None:
    """Until somebody greets at a port of 127.0.0.1.

    Raises:
        PeerError: nobody did; the message ends with what ``why`` says.
    """
    ends = time.monotonic() + limit
    while True:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as connection:
            if connection.recv(4).startswith(b"220"):
                with suppress(OSError):
                    connection.sendall(b"QUIT\r\n")
                return
        if time.monotonic() > ends:
            raise PeerError(f"nobody takes mail at port {port} after {limit:.0f} s: {why()}")
        time.sleep(0.02)


def end_of(path: Path, lines: int = 12) -> str:
    """The last lines of a log."""
    text = path.read_text("utf-8", "replace") if path.exists() else "no log"
    return "\n".join(text.splitlines()[-lines:])


def processes_of(session: int) -> Sequence[int]:
    """The processes of a session, zombies left out."""
    found = []
    for each in Path("/proc").iterdir():
        if each.name.isdigit():
            fields = _stat(int(each.name))
            if fields and int(fields[3]) == session and fields[0] != "Z":
                found.append(int(each.name))
    return found


def _stat(process: int) -> list[str]:
    """The fields of /proc/PID/stat behind the program's name (proc(5)); none if it is gone."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _seconds(process: int) -> float:
    """Processor time of a process and of its children that ended."""
    return sum(map(int, _stat(process)[11:15])) / _TICK


def _memory(process: int) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0
