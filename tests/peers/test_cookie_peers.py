"""Cookies between nameservers of one secret: what BIND and Knot made is good here, and what mx10 made is good there."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mx10.dns import cookies
from mx10.dns import message as m
from mx10.dns import rrtypes as rr
from mx10.dns.wirename import from_text
from mx10.nameserver.responder import EDNS_COOKIE
from peers import Bind, Knot, MissingPeerError, Mx10, Server
from tests.conftest import cannot_run

pytestmark = pytest.mark.peers

SECRET = "e5e973e5a6b2a43f48e7dc849e37bfcf"
OLD = "dd3bdf9344b678b185a6f5cb60fca715"
ZONE = "$TTL 60\n@ SOA ns1 host 1 3600 600 86400 300\n@ NS ns1\n@ NS ns2\nns1 A 192.0.2.1\nns2 A 192.0.2.2\n"


class CookieBind(Bind):
    """BIND that answers only who has a cookie."""

    def configure(self) -> None:
        super().configure()
        path = self.work / "named.conf"
        own = f'answer-cookie yes; require-server-cookie yes; cookie-algorithm siphash24; cookie-secret "{SECRET}"'
        path.write_text(path.read_text().replace("answer-cookie no", own))


class CookieKnot(Knot):
    """The same with Knot's module."""

    def configure(self) -> None:
        super().configure()
        path = self.work / "knot.conf"
        module = f"mod-cookies:\n  - id: default\n    secret: 0x{SECRET}\n    badcookie-slip: 1\n"
        template = "template:\n  - id: default\n"
        text = path.read_text().replace(template, f"{module}{template}    global-module: mod-cookies/default\n")
        path.write_text(text)


class CookieMx10(Mx10):
    """mx10 that requires cookies; the secret in use is theirs, and there is an older one."""

    def environment(self) -> dict[str, str]:
        (self.work / "secrets").write_text(f"{SECRET}\n{OLD}\n")
        return {
            **super().environment(),
            "MX10_NAMESERVER__COOKIE_SECRETS": str(self.work / "secrets"),
            "MX10_NAMESERVER__REQUIRE_COOKIES": "true",
        }

    def answers(self, wire: bytes, timeout: float = 0.5) -> bool:
        """Ready is who says BADCOOKIE to one who has none."""
        try:
            return ask(self, b"chocolat")[0] == rr.Rcode.BADCOOKIE
        except OSError:
            return False


def ask(server: Server, cookie: bytes) -> tuple[int, bytes]:
    """Response code and cookie."""
    packet = m.make_query(from_text("example."), rr.SOA, id=7, options=((EDNS_COOKIE, cookie),))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.connect((server.address, server.port))
        sock.send(packet)
        answered = m.parse(sock.recv(4096))
    assert answered.edns is not None
    return answered.rcode, dict(answered.edns.options).get(EDNS_COOKIE, b"")


@pytest.fixture
def zones(tmp_path: Path) -> Path:
    folder = tmp_path / "zones"
    folder.mkdir()
    (folder / "example.zone").write_text(ZONE)
    return folder


@pytest.fixture
def ours(zones: Path) -> Iterator[Server]:
    with CookieMx10(zones) as server:
        yield server


@pytest.mark.parametrize("kind", [CookieBind, CookieKnot])
def test_cookies_of_one_are_good_at_the_other(zones: Path, ours: Server, kind: type[Server]) -> None:
    try:
        with kind(zones) as theirs:
            code, learnt = ask(theirs, b"chocolat")
            assert code == rr.Rcode.BADCOOKIE
            assert len(learnt) == 24
            assert ask(ours, learnt) == (rr.Rcode.NOERROR, learnt)
            code, learnt = ask(ours, b"biscuits")
            assert code == rr.Rcode.BADCOOKIE
            assert ask(theirs, learnt)[0] == rr.Rcode.NOERROR
            # Not for somebody else's cookie.
            wrong = b"chocolat" + learnt[8:]
            assert ask(theirs, wrong)[0] == ask(ours, wrong)[0] == rr.Rcode.BADCOOKIE
    except MissingPeerError as error:
        cannot_run(str(error))


def test_a_new_secret_is_taken_on_sighup(ours: Server) -> None:
    def made(secret: str) -> bytes:
        return b"chocolat" + cookies.make(bytes.fromhex(secret), b"chocolat", b"\x7f\0\0\1", int(time.time()))

    new = "445536bcd2513298075a5d379663c962"
    assert ask(ours, made(OLD))[0] == rr.Rcode.NOERROR
    assert ask(ours, made(new))[0] == rr.Rcode.BADCOOKIE
    (ours.work / "secrets").write_text(f"{new}\n{SECRET}\n")
    assert ours.process is not None
    os.kill(ours.process.pid, signal.SIGHUP)
    deadline = time.monotonic() + 10
    while ask(ours, made(new))[0] != rr.Rcode.NOERROR and time.monotonic() < deadline:
        time.sleep(0.02)
    assert ask(ours, made(new))[0] == rr.Rcode.NOERROR
    assert ask(ours, made(SECRET))[0] == rr.Rcode.NOERROR
    assert ask(ours, made(OLD))[0] == rr.Rcode.BADCOOKIE
