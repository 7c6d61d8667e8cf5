"""mx10 with a store: its zones come from there, and a steward stands beside its workers."""

import time

from mx10.config import ZoneSettings
from mx10.store.connect import open_store
from mx10.zones.ledger import Ledger
from peers.mx10 import Mx10
from peers.server import PeerError


class Mx10Store(Mx10):
    """``mx10 serve`` with a SQLite store in its own folder. Settings are given as ``section.name`` to a text of TOML;
    ``keys`` is the text of the file of TSIG keys."""

    name = "mx10 with a store"
    settings: dict[str, str]
    keys = ""

    @property
    def url(self) -> str:
        return f"sqlite:///{self.work}/mx10.db"

    def ledger(self) -> Ledger:
        """The store, for tests to look into and to write to; made if it is not there."""
        return Ledger(open_store(self.url, create=True), ZoneSettings())

    def configure(self) -> None:
        self.ledger().store.close()
        (self.work / "keys").write_text(self.keys)
        values = {
            "store.url": f'"{self.url}"',
            "nameserver.run_dir": f'"{self.work}"',
            "nameserver.tsig_keys": f'"{self.work}/keys"',
            "following.refresh_min_seconds": "1",
            "following.retry_min_seconds": "1",
            "following.expire_min_seconds": "1",
            "following.answer_seconds": "1",
            **getattr(self, "settings", {}),
        }
        sections = sorted({key.partition(".")[0] for key in values})
        lines = []
        for section in sections:
            lines.append(f"[{section}]")
            lines += [
                f"{key.partition('.')[2]} = {value}" for key, value in values.items() if key.startswith(f"{section}.")
            ]
        (self.work / "mx10.toml").write_text("\n".join(lines) + "\n")

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "MX10_CONFIG": str(self.work / "mx10.toml"), "MX10_LOG__FORMAT": "json"}

    def await_ready(self) -> None:
        """Until the steward is at his desk, and then as all."""
        deadline = time.monotonic() + self.limit
        while not (self.work / "mx10.sock").exists():
            if self.process is None or self.process.poll() is not None or time.monotonic() > deadline:
                raise PeerError(f"{self.name} did not start\n{self.log_tail()}")
            time.sleep(0.02)
        super().await_ready()
