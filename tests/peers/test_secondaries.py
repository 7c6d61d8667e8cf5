"""The nameservers of others as our secondaries: every zone that comes, changes or goes in our store does so there, by
itself, within seconds. All four at once, each signed with a key; then over TLS, with wrong keys, and cut in the middle.
"""

import base64
import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import dns.message
import dns.name
import dns.query
import dns.rdatatype
import dns.tsigkeyring
import dns.zone
import pytest

from mx10.dns import rrtypes as rr
from mx10.dns.message import make_query
from mx10.dns.wirename import from_text
from mx10.zones.ledger import Author, Edit
from mx10.zones.zone import Node, Zone
from peers import MissingPeerError, NoAnswerError, Server, ask, free_port, question
from peers.bind_encrypted import make_certificate
from peers.mx10_store import Mx10Store
from peers.primaries import Key
from peers.secondaries import SECONDARIES, BindSecondary, Feed, KnotSecondary, NsdSecondary, secondary
from peers.server import find_program
from tests.conftest import cannot_run

pytestmark = pytest.mark.peers

ME = Author("test")
KEY = Key("feed.test", base64.b64encode(b"0123456789abcdef0123456789abcdef").decode())
KEY_FILE = f'key "{KEY.name}" {{ algorithm hmac-sha256; secret "{KEY.secret}"; }};\n'
RING = dns.tsigkeyring.from_text({KEY.name: ("hmac-sha256", KEY.secret)})
ZONES = 300
SECONDS = 30.0


def a_zone(name: str, number: int = 1) -> Zone:
    apex = from_text(name)
    soa = b"\3ns1" + apex + b"\4host" + apex + b"".join(each.to_bytes(4, "big") for each in (1, 3600, 600, 864000, 60))
    nodes: dict[bytes, Node] = {
        apex: {rr.SOA: (60, (soa,)), rr.NS: (60, (b"\3ns1" + apex,)), rr.MX: (60, (b"\0\x0a\2mx" + apex,))},
        b"\3ns1" + apex: {rr.A: (60, (b"\x7f\0\0\1",))},
        b"\2mx" + apex: {rr.A: (60, (number.to_bytes(4, "big"),))},
    }
    return Zone(apex, nodes)


class Feeding:
    """mx10 with a catalog, and those it feeds."""

    def __init__(self, folder: Path, kinds: Sequence[type[Server]], *, tls: bool = False, key: Key = KEY) -> None:
        self.empty = folder / "empty"
        self.empty.mkdir()
        ports = {kind: free_port() for kind in kinds}
        self.ours = Mx10Store(self.empty, wait_for=[])
        self.ours.keys = KEY_FILE
        targets = ", ".join(f'"127.0.0.1:{port}#{KEY.name}"' for port in ports.values())
        # PowerDNS 4.7 signs nothing that it asks for members of a catalog.
        allowed = f'["key:{KEY.name}+tls"]' if tls else f'["key:{KEY.name}", "127.0.0.0/8"]'
        self.ours.settings = {
            "nameserver.catalog": '"catalog.test"',
            "nameserver.allow_transfer": allowed,
            "nameserver.notify": f"[{targets}]",
            "nameserver.notify_seconds": "0.5",
            # All of them come from one address.
            "nameserver.tcp_connections_per_client": "1000",
            "nameserver.transfers_per_client": "200",
            "nameserver.transfers_at_once": "200",
        }
        tls_port = 0
        if tls:
            tls_port = free_port()
            certificate = make_certificate(folder, "mx10.test", "127.0.0.1")
            self.ours.settings |= {
                "nameserver.tls_listen": f'["127.0.0.1:{tls_port}"]',
                "nameserver.tls_certificate": f'"{certificate}"',
                "nameserver.tls_key": f'"{folder}/key.pem"',
            }
        feed = Feed("127.0.0.1", self.ours.port, key, tls_port=tls_port)
        self.tls_port = tls_port
        self.secondaries = [secondary(kind, self.empty, feed, port) for kind, port in ports.items()]

    def __enter__(self) -> "Feeding":
        with contextlib.ExitStack() as stack:
            self.ours.start()
            stack.callback(self.ours.stop)
            self.ledger = self.ours.ledger()
            stack.callback(self.ledger.store.close)
            for each in self.secondaries:
                try:
                    each.start()
                except MissingPeerError as error:
                    cannot_run(str(error))
                stack.callback(each.stop)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def told(self, *, add: Sequence[str] = (), remove: Sequence[str] = ()) -> None:
        """Tell those that have no catalogs."""
        for each in self.secondaries:
            if isinstance(each, NsdSecondary):
                if add:
                    each.add(list(add))
                if remove:
                    each.remove(list(remove))

    def log(self) -> list[dict[str, object]]:
        lines = (self.ours.work / "log").read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def events(self, words: str) -> list[dict[str, object]]:
        return [each for each in self.log() if words in str(each["event"])]


def serial_at(server: Server, name: str) -> int | None:
    """The serial a server answers with; None where it has no such zone."""
    try:
        answer = dns.message.from_wire(ask(server.address, server.port, question(name, "SOA", ident=9), timeout=2.0))
    except NoAnswerError:
        return None
    return int(answer.answer[0][0].serial) if answer.answer else None


def content(server: Server, name: str) -> set[tuple[str, int, str]]:
    """A zone as a server sends it."""
    xfr = dns.query.xfr(server.address, name, port=server.port, relativize=False, lifetime=20)
    zone = dns.zone.from_xfr(xfr, relativize=False)
    return {(str(owner), ttl, data.to_text()) for owner, ttl, data in zone.iterate_rdatas()}


def until(condition: Callable[[], bool], seconds: float = SECONDS) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def all_equal(feeding: Feeding, names: Sequence[str]) -> None:
    """Wait until each secondary has the serials of our store."""
    wanted = {name: feeding.ledger.info(from_text(f"{name}.")).serial for name in names}
    for each in feeding.secondaries:
        waiting = list(names)
        end = time.monotonic() + SECONDS
        while waiting:
            waiting = [name for name in waiting if serial_at(each, name) != wanted[name]]
            if waiting and time.monotonic() > end:
                lines = [line for line in feeding.log() if line.get("zone") == f"{waiting[0]}."]
                said = "\n".join(map(str, [*lines, serial_at(each, waiting[0]), wanted[waiting[0]]]))
                raise AssertionError(f"{each.name}: {len(waiting)} zones, as {waiting[0]}\n{said}\n{each.log_tail(30)}")


@pytest.mark.long
def test_zones_come_change_and_go_by_themselves(tmp_path: Path) -> None:
    names = [f"z{number}.test" for number in range(ZONES)]
    with Feeding(tmp_path, SECONDARIES) as feeding:
        ledger = feeding.ledger
        ledger.create_many((a_zone(f"{name}.") for name in names), ME)
        feeding.told(add=names)
        all_equal(feeding, names)

        for number, name in enumerate(names):
            apex = from_text(f"{name}.")
            edits = [
                Edit(b"\3www" + apex, rr.A, (300, (number.to_bytes(4, "big"), b"\x0a\0\0\1"))),
                Edit(b"\2mx" + apex, rr.A, (60, (b"\x0a\0\0\2",))),
                Edit(apex, rr.TXT, (60, (b"\4text",))),
            ]
            ledger.change(apex, edits, ME)
        all_equal(feeding, names)
        kinds = {str(each["kind"]) for each in feeding.events("transferred")}
        assert kinds >= {"axfr", "ixfr"}
        for name in names[:: ZONES // 10]:
            ours = content(feeding.ours, name)
            assert len(ours) == 8
            for each in feeding.secondaries:
                assert content(each, name) == ours, (each.name, name)

        gone, stay = names[: ZONES // 2], names[ZONES // 2 :]
        for name in gone:
            ledger.delete(from_text(f"{name}."), ME)
        feeding.told(remove=gone)
        for each in feeding.secondaries:
            until(lambda each=each: not any(serial_at(each, name) is not None for name in gone))  # type: ignore[misc]
            assert all(serial_at(each, name) is not None for name in stay)

        # One that comes again is there again.
        ledger.create(a_zone("z0.test.", 9), ME)
        feeding.told(add=["z0.test"])
        all_equal(feeding, ["z0.test"])


def test_a_steward_that_dies_misses_nothing(tmp_path: Path) -> None:
    with Feeding(tmp_path, [KnotSecondary]) as feeding:
        feeding.ledger.create(a_zone("one.test."), ME)
        all_equal(feeding, ["one.test"])
        steward = _steward_of(feeding.ours)
        os.kill(steward, signal.SIGSTOP)
        feeding.ledger.change(from_text("one.test."), [Edit(from_text("one.test."), rr.TXT, (60, (b"\1x",)))], ME)
        feeding.ledger.create(a_zone("two.test."), ME)
        os.kill(steward, signal.SIGKILL)
        all_equal(feeding, ["one.test", "two.test"])
        assert feeding.events("steward died")


def _steward_of(ours: Server) -> int:
    """The process that has the desk's socket open: the only child of the supervisor that listens there."""
    found = subprocess.run(["ss", "-xlpH"], capture_output=True, text=True, check=True).stdout
    line = next(line for line in found.splitlines() if str(ours.work) in line)
    return int(line.rpartition("pid=")[2].split(",")[0])


def _tls(server: str, *arguments: str) -> str:
    argv = [find_program("kdig", "knot-dnsutils"), f"@{server}", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False).stdout


def test_over_tls(tmp_path: Path) -> None:
    """RFC 9103: BIND fetches over TLS; whoever comes without gets nothing."""
    with Feeding(tmp_path, [BindSecondary], tls=True) as feeding:
        feeding.ledger.create(a_zone("one.test."), ME)
        all_equal(feeding, ["one.test"])
        assert {each["transport"] for each in feeding.events("transferred")} == {"tls"}
        port, key = str(feeding.tls_port), f"hmac-sha256:{KEY.name}:{KEY.secret}"
        trusting = ["+tls", f"+tls-ca={tmp_path}/certificate.pem", "+tls-hostname=mx10.test"]
        found = _tls("127.0.0.1", "-p", port, *trusting, "-y", key, "one.test", "AXFR")
        assert "1 messages, 6 records" in found
        assert "0.0.0.1" in _tls("127.0.0.1", "-p", port, *trusting, "+short", "mx.one.test", "A")
        assert "REFUSED" in _tls("127.0.0.1", "-p", str(feeding.ours.port), "-y", key, "one.test", "AXFR") or (
            feeding.events("no transfer")
        )
        # Not a handshake, and one that is never ended.
        with socket.create_connection(("127.0.0.1", feeding.tls_port)) as plain:
            plain.sendall(b"\0\x0cnothing like TLS at all\r\n\r\n")
            plain.settimeout(15)
            while plain.recv(100):
                pass


def _signed(name: str, **how: object) -> dns.message.Message:
    query = dns.message.make_query(name, "AXFR")
    query.use_tsig(RING, keyname=dns.name.from_text(KEY.name), **how)  # type: ignore[arg-type]
    return query


def _rcode_and_error(ours: Server, wire: bytes) -> tuple[int, int]:
    """The code of the response, and that of the TSIG record in it."""
    with socket.create_connection((ours.address, ours.port), timeout=10) as stream:
        stream.sendall(struct.pack("!H", len(wire)) + wire)
        response = _exactly(stream, int.from_bytes(_exactly(stream, 2), "big"))
    error = response.rindex(b"\0\xfa\0\xff\0\0\0\0") if b"\0\xfa\0\xff\0\0\0\0" in response else None
    if error is None:
        return response[3] & 15, 0
    at = error + 10
    while response[at]:
        at += response[at] + 1
    size = int.from_bytes(response[at + 9 : at + 11], "big")
    return response[3] & 15, int.from_bytes(response[at + 13 + size : at + 15 + size], "big")


def _exactly(stream: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        piece = stream.recv(size - len(found))
        assert piece
        found += piece
    return found


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Feeding]:
    with Feeding(tmp_path, []) as feeding:
        feeding.ledger.create(a_zone("one.test."), ME)
        yield feeding


def test_wrong_in_every_way(alone: Feeding) -> None:
    """RFC 8945 section 5.2: who signs wrong is told how, and gets nothing."""
    good = _signed("one.test.").to_wire()
    assert _rcode_and_error(alone.ours, good) == (0, 0)
    other = dns.tsigkeyring.from_text({"other.test": ("hmac-sha256", KEY.secret)})
    unknown = dns.message.make_query("one.test.", "AXFR")
    unknown.use_tsig(other, keyname=dns.name.from_text("other.test"))
    algorithm = dns.message.make_query("one.test.", "AXFR")
    algorithm.use_tsig(dns.tsigkeyring.from_text({KEY.name: ("hmac-sha512", KEY.secret)}))
    secret = dns.message.make_query("one.test.", "AXFR")
    secret.use_tsig(dns.tsigkeyring.from_text({KEY.name: ("hmac-sha256", base64.b64encode(b"not it").decode())}))
    late = _signed("one.test.").to_wire()
    notauth = 9
    assert _rcode_and_error(alone.ours, unknown.to_wire()) == (notauth, 17)
    assert _rcode_and_error(alone.ours, algorithm.to_wire()) == (notauth, 17)
    assert _rcode_and_error(alone.ours, secret.to_wire()) == (notauth, 16)
    assert _rcode_and_error(alone.ours, _at(late, int(time.time()) - 4000)) == (notauth, 16)
    # In the middle, or twice: no message at all (section 5.1).
    twice = bytearray(good)
    tsig = good[good.index(b"\4feed") :]
    twice[10:12] = struct.pack("!H", int.from_bytes(good[10:12], "big") + 1)
    assert _rcode_and_error(alone.ours, bytes(twice) + tsig)[0] == 1
    assert alone.events("signed wrong")
    # All the same it goes on.
    assert _rcode_and_error(alone.ours, _signed("one.test.").to_wire()) == (0, 0)


def _at(message: bytes, when: int) -> bytes:
    """A message with another time in its TSIG record; so its signature is wrong."""
    at = message.index(b"\x0bhmac-sha256\0") + 13
    return message[:at] + when.to_bytes(6, "big") + message[at + 6 :]


def test_clients_that_leave_in_the_middle(alone: Feeding) -> None:
    """Cut transfers are logged, hold nothing, and those that come after get theirs."""
    apex = from_text("large.test.")
    zone = a_zone("large.test.")
    for number in range(60_000):
        zone.nodes[b"\x06%06d" % number + apex] = {rr.TXT: (60, (b"\x64" + b"x" * 100,))}
    alone.ledger.create(zone, ME)
    wire = make_query(apex, rr.AXFR, id=7)
    # As many as are told in a second at most.
    for _ in range(20):
        with socket.create_connection((alone.ours.address, alone.ours.port)) as stream:
            stream.sendall(struct.pack("!H", len(wire)) + wire)
            stream.recv(100)
            # It takes nothing more, and ends by a reset.
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    until(lambda: len(alone.events("left in the middle")) >= 20)
    assert len(content(alone.ours, "large.test")) == 60_005


def test_a_flood_of_transfers(alone: Feeding) -> None:
    """More than there are places: each gets the zone or a code, and questions are answered meanwhile."""
    wire = make_query(from_text("one.test."), rr.AXFR, id=7)
    until(lambda: serial_at(alone.ours, "one.test") == 1)
    streams = []
    for _ in range(90):
        stream = socket.create_connection((alone.ours.address, alone.ours.port), timeout=20)
        stream.sendall((struct.pack("!H", len(wire)) + wire) * 5)
        streams.append(stream)
    began = time.monotonic()
    assert serial_at(alone.ours, "one.test") == 1
    # At once, where nothing else goes on; others have processors to share.
    assert time.monotonic() - began < 3
    for stream in streams:
        for _ in range(5):
            size = int.from_bytes(_exactly(stream, 2), "big")
            assert _exactly(stream, size)[3] & 15 in (0, 2)
        stream.close()
    # A flood of what is not allowed leaves few lines.
    for _ in range(300):
        refused = make_query(from_text("other.test."), rr.AXFR, id=7)
        with socket.create_connection((alone.ours.address, alone.ours.port), timeout=20) as stream:
            stream.sendall(struct.pack("!H", len(refused)) + refused)
            assert _exactly(stream, int.from_bytes(_exactly(stream, 2), "big"))[3] & 15 == 9
    assert 0 < len(alone.events("no transfer")) < 100
