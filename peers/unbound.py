"""Unbound by NLnet Labs: no authority but a resolver, that looks names up for others."""

from peers.asking import NoAnswerError, ask, rcode_and_aa
from peers.bind_encrypted import make_certificate
from peers.server import Server, find_program, first_line, free_port


class Unbound(Server):
    """Unbound, over UDP, TCP and TLS. It resolves by the zones of the folder, as a resolver would that had asked their
    servers, and asks nobody in the net: it may send from 127.0.0.1 alone. ``certificate`` is for ``hostname`` and for
    the server's address."""

    name = "Unbound"
    package = "unbound"
    hostname = "dns.resolver.example"
    settings: tuple[str, ...] = ()
    """More lines for the server's section, as ``local-zone: "example." refuse``."""

    def configure(self) -> None:
        self.tls_port = free_port(self.address)
        self.certificate = make_certificate(self.work, self.hostname, self.address)
        settings = [
            f"interface: {self.address}@{self.port}",
            f"interface: {self.address}@{self.tls_port}",
            f"tls-port: {self.tls_port}",
            f'tls-service-key: "{self.work}/key.pem"',
            f'tls-service-pem: "{self.certificate}"',
            "outgoing-interface: 127.0.0.1",
            "do-ip6: no",
            "access-control: 127.0.0.0/8 allow",
            'username: ""',
            'chroot: ""',
            'pidfile: ""',
            f'directory: "{self.work}"',
            "do-daemonize: no",
            "use-syslog: no",
            'module-config: "iterator"',
            "num-threads: 1",
            f"max-udp-size: {self.payload}",
            *self.settings,
        ]
        lines = ["server:", *(f"  {line}" for line in settings), "remote-control:", "  control-enable: no"]
        for file in self.files:
            lines += ["auth-zone:", f'  name: "{file.absolute}"', f'  zonefile: "{file.path}"']
            lines += ["  for-upstream: yes", "  for-downstream: no"]
        (self.work / "unbound.conf").write_text("\n".join(lines) + "\n")

    def command(self) -> list[str]:
        return [find_program("unbound", self.package), "-d", "-c", str(self.work / "unbound.conf")]

    def version(self) -> str:
        return first_line(find_program("unbound", self.package), "-V").replace("Version", "Unbound")

    def answers(self, wire: bytes, timeout: float = 0.5) -> bool:
        """Whether it gives NOERROR when it is asked to recurse (RD); a resolver has no authority."""
        wire = wire[:2] + b"\1\0" + wire[4:]
        try:
            return rcode_and_aa(ask(self.address, self.port, wire, timeout=timeout))[0] == 0
        except NoAnswerError:
            return False
