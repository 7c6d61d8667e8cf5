"""Unbound as a validating resolver of a small world: a trust anchor of ours, and servers it is told of."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from peers.asking import NoAnswerError, ask, rcode_and_aa
from peers.server import Server, find_program, first_line


class Validating(Server):
    """Unbound that validates, with a trust anchor of ours. It asks only the servers it is told of, on loopback.

    Arguments:
        anchors: DS or DNSKEY records in text.
        stubs: a zone to the addresses of its servers, as ``127.0.0.1@5300``.
        ready: a name whose SOA record it must find before it is taken as started.
        settings: more lines for the server's section.
    """

    name = "Unbound"
    package = "unbound"

    def __init__(
        self,
        folder: Path,
        *,
        anchors: Sequence[str],
        stubs: Mapping[str, Sequence[str]],
        ready: str,
        settings: Sequence[str] = (),
        limit: float = 30.0,
    ) -> None:
        super().__init__(folder, wait_for=[ready], limit=limit)
        self._anchors = anchors
        self._stubs = stubs
        self._settings = settings

    def configure(self) -> None:
        settings = [
            f"interface: {self.address}@{self.port}",
            "outgoing-interface: 127.0.0.1",
            "do-ip6: no",
            "access-control: 127.0.0.0/8 allow",
            "do-not-query-localhost: no",
            'username: ""',
            'chroot: ""',
            'pidfile: ""',
            f'directory: "{self.work}"',
            "do-daemonize: no",
            "use-syslog: no",
            "use-caps-for-id: no",
            'module-config: "validator iterator"',
            "num-threads: 1",
            "val-log-level: 2",
            *(f'trust-anchor: "{anchor}"' for anchor in self._anchors),
            *self._settings,
        ]
        lines = ["server:", *(f"  {line}" for line in settings), "remote-control:", "  control-enable: no"]
        for zone, addresses in self._stubs.items():
            lines += ["stub-zone:", f'  name: "{zone}"', *(f"  stub-addr: {address}" for address in addresses)]
        (self.work / "unbound.conf").write_text("\n".join(lines) + "\n")

    def command(self) -> list[str]:
        return [find_program("unbound", self.package), "-d", "-c", str(self.work / "unbound.conf")]

    def version(self) -> str:
        return first_line(find_program("unbound", self.package), "-V").replace("Version", "Unbound")

    def answers(self, wire: bytes, timeout: float = 0.5) -> bool:
        """Whether it gives NOERROR when it is asked to recurse (RD)."""
        wire = wire[:2] + b"\1\0" + wire[4:]
        try:
            return rcode_and_aa(ask(self.address, self.port, wire, timeout=timeout))[0] == 0
        except NoAnswerError:
            return False
