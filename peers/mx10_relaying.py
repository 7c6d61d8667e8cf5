"""mx10's relay, started as its users start it: ``mx10 serve`` with a spool of its own."""

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from peers.mx10 import Mx10
from peers.relaying import STOP_SECONDS, Relay, end_of, processes_of
from peers.server import PeerError, find_program, first_line, free_port

_CONFIG = """\
[store]
url = "{url}"
[nameserver]
listen = ["127.0.0.1:{dns}"]
run_dir = "{work}"
[relay]
listen = ["127.0.0.1:{port}"]
hostname = "relay.bench.test"
trusted = ["127.0.0.0/8"]
transports = {transports}
{settings}
"""


class RelayingMx10(Relay):
    """One instance of it. It can be killed or ended, and started again with the spool that is there.

    Args:
        next_hop: the port of 127.0.0.1 where all mail goes.
        url: its store; empty: a SQLite file in its own folder.
        transports: where else mail goes, as in the configuration.
        settings: more of section ``relay``, each value as text of TOML.
    """

    name = "mx10"

    def __init__(self, next_hop: int, *, url: str = "", transports: Sequence[str] = (), **settings: str) -> None:
        super().__init__(next_hop)
        self._transports = [f"* smtp://127.0.0.1:{next_hop}", *transports]
        self._url, self._settings = url, settings
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its store."""
        return self._url or f"sqlite:///{self.work}/mx10.db"

    @property
    def spool_url(self) -> str:
        """The database that messages are in."""
        return self._url or f"sqlite:///{self.work}/spool/spool.db"

    @property
    def bodies(self) -> Path:
        """The folder of large messages; there is none with PostgreSQL."""
        return self.work / "spool" / "bodies"

    def launch(self) -> None:
        more = "".join(f"{name} = {value}\n" for name, value in self._settings.items())
        config = self.work / "mx10.toml"
        transports = json.dumps(self._transports)
        config.write_text(
            _CONFIG.format(
                url=self.url, work=self.work, port=self.port, dns=free_port(), transports=transports, settings=more
            )
        )
        # Should whoever started us be killed, the kernel ends the relay too.
        command = [find_program("setpriv", "util-linux"), "--pdeathsig", "TERM", self.program()]
        with open(self.work / "log", "ab") as log:
            self.process = subprocess.Popen(
                [*command, "--config", str(config), "serve"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.work,
                start_new_session=True,
                env={**os.environ, "MX10_LOG__FORMAT": "json"},
            )
        self.leader = self.process.pid

    def end(self) -> None:
        """Ask it to end, and wait; its folder stays.

        Raises:
            PeerError: it did not.
        """
        self.shut()
        ends = time.monotonic() + STOP_SECONDS
        while processes_of(self.leader):
            if time.monotonic() > ends:
                raise PeerError(f"mx10 did not end in {STOP_SECONDS:.0f} s\n{self.log_tail()}")
            time.sleep(0.01)
        self._ended()

    def kill(self) -> None:
        """SIGKILL for all of its processes; its folder stays."""
        while found := processes_of(self.leader):
            for each in found:
                with suppress(ProcessLookupError):
                    os.kill(each, signal.SIGKILL)
        self._ended()

    def kill_one(self, chance: random.Random) -> None:
        """SIGKILL for one of its processes, which the supervisor is to replace."""
        found = [each for each in processes_of(self.leader) if each != self.leader]
        with suppress(ProcessLookupError):
            os.kill(chance.choice(sorted(found)), signal.SIGKILL)

    def stop(self) -> None:
        super().stop()
        self._ended()

    def _ended(self) -> None:
        self.leader = 0
        if self.process is not None:
            self.process.wait(STOP_SECONDS)
            self.process = None

    @staticmethod
    def program() -> str:
        """The command ``mx10``, see ``peers.mx10``."""
        return Mx10(Path("/nonexistent")).program()

    @classmethod
    def version(cls) -> str:
        return first_line(cls.program(), "--version")

    def log_tail(self) -> str:
        return end_of(self.work / "log")
