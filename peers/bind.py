"""BIND 9 by ISC: named with one worker thread, authoritative only."""

from peers.server import Server, find_program, first_line, free_port


class Bind(Server):
    """BIND; ``minimal-responses no-auth`` makes it answer as most do: with additional addresses, without NS records."""

    name = "BIND"
    package = "bind9"

    def configure(self) -> None:
        self.control_port = free_port("127.0.0.1")
        key = 'key "control" { algorithm hmac-sha256; secret "bm9ib2R5IGlzIGtlcHQgb3V0IGJ5IHRoaXMga2V5Lg=="; };\n'
        options = {
            "directory": f'"{self.work}"',
            "pid-file": f'"{self.work}/named.pid"',
            "session-keyfile": f'"{self.work}/session.key"',
            "managed-keys-directory": f'"{self.work}"',
            "listen-on port": f"{self.port} {{ {self.address}; }}",
            "listen-on-v6": "{ none; }",
            "recursion": "no",
            "allow-transfer": "{ none; }",
            "notify": "no",
            "dnssec-validation": "no",
            "empty-zones-enable": "no",
            "minimal-responses": "no-auth",
            "max-udp-size": str(self.payload),
            "edns-udp-size": str(self.payload),
            "answer-cookie": "no",
            "querylog": "no",
            "zone-statistics": "none",
            # The differential test serves zones with faults on purpose; whether they may be served is not the question.
            "check-names primary": "ignore",
            "check-mx": "ignore",
            "check-mx-cname": "ignore",
            "check-srv-cname": "ignore",
            "check-integrity": "no",
            "check-sibling": "no",
            "check-wildcard": "no",
        }
        lines = [key, "options {", *(f"  {name} {value};" for name, value in options.items()), "};"]
        lines.append(
            "logging { channel errors { stderr; severity error; };"
            " category default { errors; }; category queries { null; }; };"
        )
        lines.append(
            f'controls {{ inet 127.0.0.1 port {self.control_port} allow {{ 127.0.0.1; }} keys {{ "control"; }}; }};'
        )
        lines += [f'zone "{file.name}" {{ type primary; file "{file.path}"; }};' for file in self.files]
        (self.work / "named.conf").write_text("\n".join(lines) + "\n")
        default = f'options {{ default-key "control"; default-server 127.0.0.1; default-port {self.control_port}; }};\n'
        (self.work / "rndc.conf").write_text(key + default)

    def command(self) -> list[str]:
        return [find_program("named", self.package), "-f", "-n", "1", "-c", str(self.work / "named.conf")]

    def version(self) -> str:
        return " ".join(first_line(find_program("named", self.package), "-V").split()[:2]).partition("-")[0]

    def reload(self, zone: str) -> None:
        self.order(find_program("rndc", "bind9-utils"), "-c", str(self.work / "rndc.conf"), "reload", zone)
