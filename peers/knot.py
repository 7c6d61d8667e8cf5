"""Knot DNS by CZ.NIC: zones in memory, worker threads for UDP, TCP and the background."""

from peers.server import Server, find_program, first_line


class Knot(Server):
    """Knot DNS with one worker thread for UDP."""

    name = "Knot"
    package = "knot"

    def configure(self) -> None:
        lines = [
            "server:",
            f'  rundir: "{self.work}"',
            f'  pidfile: "{self.work}/knot.pid"',
            f"  listen: {self.address}@{self.port}",
            "  udp-workers: 1",
            "  tcp-workers: 1",
            "  background-workers: 1",
            f"  udp-max-payload: {self.payload}",
            "control:",
            f'  listen: "{self.work}/control"',
            "log:",
            "  - target: stderr",
            "    any: error",
            "database:",
            f'  storage: "{self.work}/db"',
            "template:",
            "  - id: default",
            f'    storage: "{self.zones}"',
            "    zonefile-sync: -1",
            "    zonefile-load: whole",
            "    journal-content: none",
            "    semantic-checks: off",
            "zone:",
        ]
        for file in self.files:
            lines += [f'  - domain: "{file.absolute}"', f'    file: "{file.path}"']
        (self.work / "knot.conf").write_text("\n".join(lines) + "\n")

    def command(self) -> list[str]:
        return [find_program("knotd", self.package), "-c", str(self.work / "knot.conf")]

    def version(self) -> str:
        return first_line(find_program("knotd", self.package), "-V").replace("knotd (Knot DNS), version", "Knot DNS")

    def reload(self, zone: str) -> None:
        self.order(find_program("knotc", self.package), "-s", str(self.work / "control"), "zone-reload", zone)
