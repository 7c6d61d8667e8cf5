"""The peers as primaries: they let anybody on loopback fetch their zones, or who has a key, keep what changed for IXFR,
and send NOTIFY.

Each reads the zones of its folder, as always; ``reload`` makes a new version of one known.
"""

from dataclasses import dataclass
from pathlib import Path

from peers.bind import Bind
from peers.bind_encrypted import BindEncrypted
from peers.knot import Knot
from peers.nsd import Nsd
from peers.powerdns import PowerDns
from peers.server import Server, find_program


@dataclass(frozen=True, slots=True)
class Key:
    """A TSIG key: name without final dot, HMAC-SHA256, secret in base64."""

    name: str
    secret: str


@dataclass(frozen=True, slots=True)
class Feeding:
    """Whom a primary feeds: the address and port that get NOTIFY (None: nobody), and the key they must have."""

    notify: tuple[str, int] | None = None
    key: Key | None = None


class BindPrimary(Bind):
    """BIND that feeds others; its zones may be updated too (RFC 2136) by whoever is on loopback."""

    name = "BIND primary"
    feeding = Feeding()

    def configure(self) -> None:
        super().configure()
        feeding = self.feeding
        who = f'key "{feeding.key.name}"' if feeding.key else "any"
        file = self.work / "named.conf"
        text = file.read_text().replace("  allow-transfer { none; };", f"  allow-transfer {{ {who}; }};")
        more = "  ixfr-from-differences yes;\n"
        if feeding.notify:
            address, port = feeding.notify
            text = text.replace("  notify no;", f"  notify explicit;\n  also-notify {{ {address} port {port}; }};")
            more += "  notify-delay 0;\n  serial-query-rate 1000;\n"
        text = text.replace("options {\n", "options {\n" + more, 1)
        key = feeding.key
        if key:
            text = f'key "{key.name}" {{ algorithm hmac-sha256; secret "{key.secret}"; }};\n' + text
        file.write_text(text)


class BindPrimaryEncrypted(BindEncrypted):
    """BIND that feeds others over TLS only (RFC 9103)."""

    name = "BIND primary encrypted"

    def configure(self) -> None:
        super().configure()
        file = self.work / "named.conf"
        file.write_text(
            file.read_text().replace(
                "  allow-transfer { none; };",
                f"  allow-transfer port {self.tls_port} transport tls {{ any; }};\n  ixfr-from-differences yes;",
            )
        )


class KnotPrimary(Knot):
    """Knot that feeds others."""

    name = "Knot primary"
    feeding = Feeding()

    def configure(self) -> None:
        super().configure()
        (self.work / "db").mkdir()
        feeding = self.feeding
        lines = []
        if feeding.key:
            lines += ["key:", f"  - id: {feeding.key.name}", "    algorithm: hmac-sha256"]
            lines += [f"    secret: {feeding.key.secret}"]
        lines += ["acl:", "  - id: feed", "    action: transfer"]
        lines += [f"    key: {feeding.key.name}"] if feeding.key else ["    address: [127.0.0.0/8]"]
        per_zone = ["    acl: feed"]
        if feeding.notify:
            lines += ["remote:", "  - id: fed", "    address: {}@{}".format(*feeding.notify)]
            per_zone += ["    notify: fed"]
        file = self.work / "knot.conf"
        text = file.read_text()
        text = text.replace(
            "    zonefile-load: whole\n    journal-content: none\n",
            "    zonefile-load: difference\n    journal-content: changes\n",
        )
        text = text.replace("template:\n", "\n".join(lines) + "\ntemplate:\n")
        text = text.replace("    semantic-checks: off\n", "    semantic-checks: off\n" + "\n".join(per_zone) + "\n")
        file.write_text(text)


class NsdPrimary(Nsd):
    """NSD that feeds others."""

    name = "NSD primary"
    feeding = Feeding()

    def configure(self) -> None:
        super().configure()
        feeding = self.feeding
        key = feeding.key.name if feeding.key else "NOKEY"
        lines = [f"  provide-xfr: 127.0.0.0/8 {key}", "  store-ixfr: yes", "  create-ixfr: yes"]
        if feeding.notify:
            lines.append("  notify: {}@{} NOKEY".format(*feeding.notify))
        file = self.work / "nsd.conf"
        text = file.read_text()
        if feeding.key:
            text += f'\nkey:\n  name: {feeding.key.name}\n  algorithm: hmac-sha256\n  secret: "{feeding.key.secret}"\n'
        text = "\n".join(
            line + "\n" + "\n".join(lines) if line.startswith("  zonefile:") else line for line in text.splitlines()
        )
        file.write_text(text + "\n")


class PowerDnsPrimary(PowerDns):
    """PowerDNS that feeds others, with AXFR: its bind backend keeps no changes."""

    name = "PowerDNS primary"
    feeding = Feeding()

    def configure(self) -> None:
        super().configure()
        settings = {"primary": "yes", "allow-axfr-ips": "127.0.0.0/8", "disable-axfr": "no"}
        if self.feeding.notify:
            # Both of us are at one address.
            settings |= {"also-notify": "{}:{}".format(*self.feeding.notify), "prevent-self-notification": "no"}
        with (self.work / "pdns.conf").open("a") as file:
            file.writelines(f"{key}={value}\n" for key, value in settings.items())

    def reload(self, zone: str) -> None:
        super().reload(zone)
        if self.feeding.notify:
            # By itself it looks for changes once a minute.
            control = find_program("pdns_control", "pdns-server")
            self.order(control, f"--socket-dir={self.work}", f"--config-dir={self.work}", "notify", zone)


PRIMARIES: tuple[type[Server], ...] = (BindPrimary, KnotPrimary, NsdPrimary, PowerDnsPrimary)


def primary(kind: type[Server], zones: Path, feeding: Feeding) -> Server:
    """A primary, not started yet."""
    made = kind(zones)
    made.feeding = feeding  # type: ignore[attr-defined]  # every kind in PRIMARIES has it
    return made
