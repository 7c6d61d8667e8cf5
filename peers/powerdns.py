"""PowerDNS Authoritative Server with its bind backend, the one that reads master files."""

import sqlite3

from peers.server import Server, find_program, first_line


class PowerDns(Server):
    """PowerDNS with one receiver and one distributor thread; its packet cache is as shipped."""

    name = "PowerDNS"
    package = "pdns-backend-bind"

    def configure(self) -> None:
        zones = "".join(f'zone "{file.name}" {{ type master; file "{file.path}"; }};\n' for file in self.files)
        (self.work / "named.conf").write_text(f'options {{ directory "{self.zones}"; }};\n{zones}')
        settings: dict[str, object] = {
            "launch": "bind",
            "bind-config": self.work / "named.conf",
            "bind-check-interval": 0,
            "local-address": self.address,
            "local-port": self.port,
            "socket-dir": self.work,
            "daemon": "no",
            "guardian": "no",
            "write-pid": "no",
            "receiver-threads": 1,
            "distributor-threads": 1,
            "signing-threads": 1,
            "udp-truncation-threshold": self.payload,
            "dname-processing": "yes",
            "disable-syslog": "yes",
            "loglevel": 3,
            "log-dns-queries": "no",
            "log-dns-details": "no",
            "security-poll-suffix": "",
        }
        presigned = [(file.absolute.rstrip("."), file.path.read_text(encoding="ascii")) for file in self.files]
        presigned = [(name, text) for name, text in presigned if "RRSIG" in text]
        if presigned:
            settings["bind-dnssec-db"] = self.work / "dnssec.db"
        (self.work / "pdns.conf").write_text("".join(f"{key}={value}\n" for key, value in settings.items()))

        if presigned:
            self._declare(presigned)

    def _declare(self, presigned: list[tuple[str, str]]) -> None:
        """Say that zones are signed already, and how they prove what is not there: what ``pdnsutil set-presigned`` and
        ``set-nsec3`` write, a process for each zone.
        """
        path = self.work / "dnssec.db"
        self.order(find_program("pdnsutil", "pdns-server"), f"--config-dir={self.work}", "create-bind-db", str(path))
        with sqlite3.connect(path) as database:
            rows = [(name, "PRESIGNED", "1") for name, _ in presigned]
            rows += [
                (name, "NSEC3PARAM", "1 1 0 -" if "NSEC3\t1 1 " in text else "1 0 0 -")
                for name, text in presigned
                if "NSEC3PARAM" in text
            ]
            database.executemany("INSERT INTO domainmetadata (domain, kind, content) VALUES (?, ?, ?)", rows)
        database.close()

    def command(self) -> list[str]:
        return [find_program("pdns_server", self.package), f"--config-dir={self.work}"]

    def version(self) -> str:
        words = first_line(find_program("pdns_server", self.package), "--version").split()
        return f"PowerDNS {next((word for word in words if word[:1].isdigit() and word.count('.') == 2), '?')}"

    def reload(self, zone: str) -> None:
        control = find_program("pdns_control", "pdns-server")
        self.order(control, f"--socket-dir={self.work}", f"--config-dir={self.work}", "bind-reload-now", zone)
