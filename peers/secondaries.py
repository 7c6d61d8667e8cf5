"""The peers as secondaries of one primary: BIND, Knot and PowerDNS follow its catalog zone (RFC 9432), so that they
pick up its zones by themselves; NSD 4.6 has no catalogs, and is told by ``add`` and ``remove``.

None reads a zone file. ``feed`` says whom they follow; it is set before ``start``.
"""

import sqlite3
import subprocess
from dataclasses import dataclass
from pathlib import Path

from peers.bind import Bind
from peers.knot import Knot
from peers.nsd import Nsd
from peers.powerdns import PowerDns
from peers.primaries import Key
from peers.server import Server, find_program

_SCHEMA = "/usr/share/doc/pdns-backend-sqlite3/schema.sqlite3.sql"


@dataclass(frozen=True, slots=True)
class Feed:
    """Whom to follow: address and port, the key both sign with, and the name of the catalog without final dot.

    ``tls_port`` and ``certificate``: fetch over TLS from there instead (RFC 9103).
    """

    address: str
    port: int
    key: Key
    catalog: str = "catalog.test"
    tls_port: int = 0


class BindSecondary(Bind):
    """BIND that follows a catalog."""

    name = "BIND secondary"
    feed: Feed

    def configure(self) -> None:
        super().configure()
        feed = self.feed
        primary = f'{feed.address} port {feed.port} key "{feed.key.name}"'
        if feed.tls_port:
            primary = f'{feed.address} port {feed.tls_port} key "{feed.key.name}" tls ephemeral'
        text = (self.work / "named.conf").read_text()
        more = (
            "  serial-query-rate 10000; transfers-in 20; transfers-per-ns 20; ixfr-from-differences no;\n"
            f'  catalog-zones {{ zone "{feed.catalog}" default-primaries {{ {primary}; }} in-memory yes '
            "min-update-interval 0; };\n"
        )
        text = text.replace("options {\n", "options {\n" + more, 1)
        text = text.replace("allow-transfer { none; }", "allow-transfer { 127.0.0.0/8; }")
        text = f'key "{feed.key.name}" {{ algorithm hmac-sha256; secret "{feed.key.secret}"; }};\n' + text
        text += f'zone "{feed.catalog}" {{ type secondary; primaries {{ {primary}; }}; }};\n'
        (self.work / "named.conf").write_text(text)


class KnotSecondary(Knot):
    """Knot that follows a catalog."""

    name = "Knot secondary"
    feed: Feed

    def configure(self) -> None:
        super().configure()
        (self.work / "db").mkdir()
        feed = self.feed
        before = [
            "key:",
            f"  - id: {feed.key.name}",
            "    algorithm: hmac-sha256",
            f"    secret: {feed.key.secret}",
            "remote:",
            "  - id: primary",
            f"    address: {feed.address}@{feed.port}",
            f"    key: {feed.key.name}",
            "acl:",
            "  - id: told",
            "    action: notify",
            f"    key: {feed.key.name}",
            "  - id: compared",
            "    address: 127.0.0.0/8",
            "    action: transfer",
            "template:",
            "  - id: member",
            "    master: primary",
            "    acl: [told, compared]",
            "    zonefile-load: none",
            "    journal-content: all",
            "    zonefile-sync: -1",
            "    semantic-checks: off",
        ]
        text = (self.work / "knot.conf").read_text().replace("template:\n", "\n".join(before) + "\n", 1)
        text = text.replace("background-workers: 1", "background-workers: 4")
        text += "\n".join(
            [
                f"  - domain: {feed.catalog}",
                "    template: member",
                "    catalog-role: interpret",
                "    catalog-template: member",
                "",
            ]
        )
        (self.work / "knot.conf").write_text(text)


class PowerDnsSecondary(PowerDns):
    """PowerDNS with its SQLite backend, that follows a catalog."""

    name = "PowerDNS secondary"
    package = "pdns-backend-sqlite3"
    feed: Feed

    def configure(self) -> None:
        super().configure()
        feed = self.feed
        path = self.work / "pdns.sqlite3"
        with sqlite3.connect(path) as database:
            database.executescript(Path(_SCHEMA).read_text())
            database.execute("PRAGMA journal_mode = WAL")
            database.execute(
                "INSERT INTO tsigkeys (name, algorithm, secret) VALUES (?, 'hmac-sha256', ?)",
                (feed.key.name, feed.key.secret),
            )
            database.execute(
                "INSERT INTO domains (name, type, master) VALUES (?, 'CONSUMER', ?)",
                (feed.catalog, f"{feed.address}:{feed.port}"),
            )
            database.execute(
                "INSERT INTO domainmetadata (domain_id, kind, content) VALUES (1, 'AXFR-MASTER-TSIG', ?)",
                (feed.key.name,),
            )
        database.close()
        settings = {
            "launch": "gsqlite3",
            "gsqlite3-database": path,
            "gsqlite3-pragma-synchronous": 0,
            "secondary": "yes",
            "xfr-cycle-interval": 1,
            "retrieval-threads": 4,
            "allow-axfr-ips": "127.0.0.0/8",
            "zone-cache-refresh-interval": 0,
            "query-cache-ttl": 0,
            "cache-ttl": 0,
            "negquery-cache-ttl": 0,
            "loglevel": 4,
        }
        lines = (self.work / "pdns.conf").read_text().splitlines()
        kept = [
            line for line in lines if line.partition("=")[0] not in (*settings, "bind-config", "bind-check-interval")
        ]
        (self.work / "pdns.conf").write_text("\n".join([*kept, *(f"{k}={v}" for k, v in settings.items()), ""]))


class NsdSecondary(Nsd):
    """NSD that is told of each zone by nsd-control: 4.6 has no catalogs."""

    name = "NSD secondary"
    feed: Feed

    def configure(self) -> None:
        super().configure()
        feed = self.feed
        text = (self.work / "nsd.conf").read_text()
        text += (
            f'key:\n  name: {feed.key.name}\n  algorithm: hmac-sha256\n  secret: "{feed.key.secret}"\n'
            "pattern:\n  name: member\n"
            f"  request-xfr: {feed.address}@{feed.port} {feed.key.name}\n"
            f"  allow-notify: 127.0.0.0/8 {feed.key.name}\n"
            "  provide-xfr: 127.0.0.0/8 NOKEY\n  max-retry-time: 1\n  min-retry-time: 1\n"
        )
        text = text.replace("server:\n", "server:\n  xfrd-reload-timeout: 1\n", 1)
        (self.work / "nsd.conf").write_text(text)

    def _control(self, order: str, lines: list[str]) -> None:
        program = find_program("nsd-control", self.package)
        argv = [program, "-c", str(self.work / "nsd.conf"), order]
        # In parts: it reads no replies before all is written, and NSD no more orders before its replies are read.
        for at in range(0, len(lines), 200):
            part = "".join(lines[at : at + 200])
            subprocess.run(argv, input=part, text=True, check=True, capture_output=True, timeout=120)

    def add(self, zones: list[str]) -> None:
        """Follow zones from now on."""
        self._control("addzones", [f"{zone} member\n" for zone in zones])

    def remove(self, zones: list[str]) -> None:
        """Follow zones no more."""
        self._control("delzones", [f"{zone}\n" for zone in zones])


SECONDARIES: tuple[type[Server], ...] = (BindSecondary, KnotSecondary, PowerDnsSecondary, NsdSecondary)


def secondary(kind: type[Server], empty: Path, feed: Feed, port: int | None = None) -> Server:
    """A secondary, not started yet.

    Args:
        empty: a folder without zone files.
    """
    made = kind(empty, wait_for=[], port=port)
    made.feed = feed  # type: ignore[attr-defined]  # every kind in SECONDARIES has it
    return made
