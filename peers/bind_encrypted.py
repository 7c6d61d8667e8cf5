"""BIND 9 that answers over TLS (RFC 7858) and HTTPS (RFC 8484) too, with a certificate made for the occasion."""

import subprocess
from pathlib import Path

from peers.bind import Bind
from peers.server import find_program, free_port


class BindEncrypted(Bind):
    """BIND with two more ports. ``certificate`` is trusted by whoever trusts that file; it is for ``hostname`` and for
    the server's address."""

    name = "BIND encrypted"
    hostname = "dns.encrypted.example"
    path = "/dns-query"

    def configure(self) -> None:
        super().configure()
        self.tls_port = free_port(self.address)
        self.https_port = free_port(self.address)
        self.certificate = make_certificate(self.work, self.hostname, self.address)
        before = (
            f'tls "own" {{ cert-file "{self.certificate}"; key-file "{self.work}/key.pem"; }};\n'
            f'http "own" {{ endpoints {{ "{self.path}"; }}; }};\n'
        )
        within = (
            f"  listen-on port {self.tls_port} tls own {{ {self.address}; }};\n"
            f"  listen-on port {self.https_port} tls own http own {{ {self.address}; }};\n"
            "  rrset-order { order none; };\n"
        )
        file = self.work / "named.conf"
        file.write_text(before + file.read_text().replace("options {\n", "options {\n" + within, 1))


def make_certificate(folder: Path, hostname: str, address: str) -> Path:
    """A certificate signed by itself, for a day; its key goes into ``key.pem`` beside it."""
    certificate = folder / "certificate.pem"
    command = [find_program("openssl", "openssl"), "req", "-x509", "-nodes", "-days", "1", "-subj", f"/CN={hostname}"]
    command += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-keyout", str(folder / "key.pem")]
    command += ["-addext", f"subjectAltName=DNS:{hostname},IP:{address}", "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    return certificate
