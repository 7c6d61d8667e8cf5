"""mx10 itself, started as its users start it, so that it stands in the same rows as its peers."""

import os
import sys
from pathlib import Path

from peers.server import MissingPeerError, Server, first_line


class Mx10(Server):
    """``mx10 serve`` with one worker. The environment variable PEERS_MX10 names another installation's command."""

    name = "mx10"
    package = "mx10"

    def program(self) -> str:
        """The command ``mx10`` beside the Python that runs us.

        Raises:
            MissingPeerError: the package is not installed there.
        """
        path = Path(os.environ.get("PEERS_MX10") or Path(sys.executable).with_name("mx10"))
        if not path.exists():
            raise MissingPeerError(f"{path} does not exist: pip install -e . in this virtual environment")
        return str(path)

    def configure(self) -> None:
        """Everything stands on the command line."""

    def command(self) -> list[str]:
        listen = f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"
        return [self.program(), "serve", "--zone-dir", str(self.zones), "--listen", listen, "--workers", "1"]

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "MX10_NAMESERVER__EDNS_PAYLOAD": str(self.payload)}

    def version(self) -> str:
        return first_line(self.program(), "--version")

    def reload(self, zone: str) -> None:
        """Nothing to say: it watches its folder."""
