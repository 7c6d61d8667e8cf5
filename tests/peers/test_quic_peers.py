"""DNS over QUIC as kdig (ngtcp2) speaks it, with all of ``mx10 serve`` behind it."""

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from peers import MissingPeerError, Mx10, free_port
from peers.server import find_program
from tests.conftest import cannot_run
from tests.nameserver.test_tls import write_certificate

pytestmark = pytest.mark.peers

ZONE = (
    "$TTL 60\n@ SOA ns1 host 1 3600 600 86400 300\n@ NS ns1\n@ NS ns2\nns1 A 192.0.2.1\nns2 A 192.0.2.2\n@ MX 10 ns1\n"
)


class QuicMx10(Mx10):
    """mx10 that speaks QUIC, with two workers."""

    quic_port = 0

    def command(self) -> list[str]:
        return [*super().command()[:-1], "2"]

    def environment(self) -> dict[str, str]:
        certificate, key = write_certificate(self.work, "one.test")
        self.quic_port = free_port()
        return {
            **super().environment(),
            "MX10_NAMESERVER__QUIC_LISTEN": f'["127.0.0.1:{self.quic_port}"]',
            "MX10_NAMESERVER__TLS_CERTIFICATE": str(certificate),
            "MX10_NAMESERVER__TLS_KEY": str(key),
        }


@pytest.fixture
def server(tmp_path: Path) -> Iterator[QuicMx10]:
    zones = tmp_path / "zones"
    zones.mkdir()
    (zones / "one.test.zone").write_text(ZONE)
    server = QuicMx10(zones)
    server.start()
    yield server
    server.stop()


def kdig(server: QuicMx10, *arguments: str) -> str:
    try:
        program = find_program("kdig", "knot-dnsutils")
    except MissingPeerError as error:
        cannot_run(str(error))
    # Last: the options about the certificate mean TLS over TCP otherwise.
    argv = [program, "@127.0.0.1", "-p", str(server.quic_port), "+retry=0", "+time=5", *arguments, "+quic"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)
    if "not supported" in done.stderr:
        cannot_run(f"this kdig speaks no QUIC: {done.stderr.strip()}")
    return done.stdout + done.stderr


def test_kdig_asks_over_quic(server: QuicMx10) -> None:
    for _ in range(4):  # both workers, by chance
        said = kdig(server, "one.test", "MX", "+tls-hostname=one.test", f"+tls-ca={server.work}/certificate.pem")
        assert "QUIC session (QUICv1)-(TLS1.3)" in said
        assert "10 ns1.one.test." in said
        assert "PADDING" in said.upper()


def test_a_certificate_that_changed(server: QuicMx10) -> None:
    trusted = ("one.test", "SOA", "+tls-hostname=one.test", f"+tls-ca={server.work}/certificate.pem")
    assert "NOERROR" in kdig(server, *trusted)
    write_certificate(server.work, "one.test")
    assert "NOERROR" not in kdig(server, *trusted)
    assert server.process is not None
    server.process.send_signal(signal.SIGHUP)
    end = time.monotonic() + 10
    while "NOERROR" not in kdig(server, *trusted):
        assert time.monotonic() < end
