"""The whole way, through ``mx10 serve``: signed updates of nsupdate, and NOTIFY of the nameservers we follow."""

import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mx10.dns import rrtypes as rr
from mx10.dns.wirename import from_text
from mx10.zones.ledger import Author, Edit, Ledger, ZoneOptions
from mx10.zones.zone import Node, Zone
from peers import MissingPeerError, Server
from peers.mx10_store import Mx10Store
from peers.primaries import PRIMARIES, Feeding, primary
from peers.server import find_program
from tests.conftest import cannot_run

pytestmark = pytest.mark.peers

APEX = from_text("one.example.")
ME = Author("test")
FILE = "$TTL 60\n@ SOA ns1 host {serial} 3600 600 86400 300\n@ NS ns1\nns1 A 192.0.2.1\nwww A 192.0.2.{serial}\n"


def keygen(name: str, algorithm: str = "hmac-sha256") -> str:
    """A key as BIND's own tool makes it."""
    try:
        program = find_program("tsig-keygen", "bind9")
    except MissingPeerError as error:
        cannot_run(str(error))
    return subprocess.run([program, "-a", algorithm, name], capture_output=True, text=True, check=True).stdout


@pytest.fixture
def ours(tmp_path: Path) -> Iterator[Mx10Store]:
    (tmp_path / "empty").mkdir()
    server = Mx10Store(tmp_path / "empty")
    server.keys = keygen("laptop.example") + keygen("other.example", "hmac-sha512")
    with server.start():
        yield server


@pytest.fixture
def ledger(ours: Mx10Store) -> Iterator[Ledger]:
    ledger = ours.ledger()
    yield ledger
    ledger.store.close()


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def nsupdate(ours: Mx10Store, script: str, keys: str, *options: str) -> str:
    """What nsupdate says; "" if it was done."""
    file = ours.work / "client.key"
    file.write_text(keys)
    argv = [find_program("nsupdate", "bind9-dnsutils"), *(["-k", str(file)] if keys else []), *options]
    text = f"server {ours.address} {ours.port}\nzone one.example\n{script}\nsend\n"
    done = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=30, check=False)
    return (done.stdout + done.stderr).strip()


def key_of(ours: Mx10Store, name: str) -> str:
    found = re.search(rf'key "{re.escape(name)}" {{.*?}};', ours.keys, re.DOTALL)
    assert found
    return found.group()


@pytest.mark.parametrize("options", [[], ["-v"]], ids=["udp", "tcp"])
def test_signed_updates(options: list[str], ours: Mx10Store, ledger: Ledger) -> None:
    soa = b"\3ns1" + APEX + b"\4host" + APEX + b"".join(each.to_bytes(4, "big") for each in (1, 7200, 900, 86400, 60))
    node: Node = {rr.SOA: (60, (soa,)), rr.NS: (60, (b"\3ns1" + APEX,))}
    policy = (
        "key:laptop.example grant subdomain dyn A AAAA",
        "127.0.0.0/8+key:other.example grant zonesub ANY",
    )
    ledger.create(
        Zone(APEX, {APEX: node, from_text("ns1", APEX): {rr.A: (60, (b"\x7f\0\0\1",))}}),
        ME,
        options=ZoneOptions(update_policy=policy, serial_style="counter"),
    )
    laptop, other = key_of(ours, "laptop.example"), key_of(ours, "other.example")
    add = "update add host.dyn.one.example. 60 A 192.0.2.7"
    assert nsupdate(ours, add, laptop, *options) == ""
    assert ledger.node(APEX, from_text("host.dyn", APEX)) == {rr.A: (60, (bytes((192, 0, 2, 7)),))}
    newest = ledger.history(APEX, limit=1)[0]
    assert (newest.kind, newest.author) == ("update", "key laptop.example from 127.0.0.1")
    # What the key may not do, others' keys, and none.
    assert "REFUSED" in nsupdate(ours, "update add www.one.example. 60 A 192.0.2.7", laptop, *options)
    assert "REFUSED" in nsupdate(ours, "update add host.dyn.one.example. 60 TXT x", laptop, *options)
    assert "REFUSED" in nsupdate(ours, add, "", *options)
    assert nsupdate(ours, "update add www.one.example. 60 A 192.0.2.7", other, *options) == ""
    wrong = re.sub(r'secret "[^"]*"', 'secret "bm90IHRoZSBzZWNyZXQgb25lIHdhcyBnaXZlbiBmb3I="', laptop)
    assert "BADSIG" in nsupdate(ours, add, wrong, *options)
    assert "BADKEY" in nsupdate(ours, add, laptop.replace("laptop", "unknown"), *options)
    assert "BADKEY" in nsupdate(ours, add, laptop.replace("sha256", "sha512"), *options)
    assert ledger.info(APEX).serial == 3


def test_knsupdate_signed(ours: Mx10Store, ledger: Ledger) -> None:
    soa = b"\3ns1" + APEX + b"\4host" + APEX + b"".join(each.to_bytes(4, "big") for each in (1, 7200, 900, 86400, 60))
    node: Node = {rr.SOA: (60, (soa,)), rr.NS: (60, (b"\3ns1\7example\3net\0",))}
    ledger.create(
        Zone(APEX, {APEX: node}), ME, options=ZoneOptions(update_policy=("key:laptop.example grant zonesub",))
    )
    secret = key_of(ours, "laptop.example").split('"')[3]
    try:
        program = find_program("knsupdate", "knot-dnsutils")
    except MissingPeerError as error:
        cannot_run(str(error))
    text = f"server {ours.address} {ours.port}\nzone one.example.\nupdate add a.one.example. 60 A 192.0.2.7\nsend\n"
    done = subprocess.run(
        [program, "-y", f"hmac-sha256:laptop.example:{secret}"],
        input=text,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert rr.A in ledger.node(APEX, from_text("a", APEX))


@pytest.mark.parametrize("kind", PRIMARIES, ids=lambda kind: kind.name)
def test_what_changes_there_changes_here(kind: type[Server], ours: Mx10Store, ledger: Ledger, tmp_path: Path) -> None:
    zones = tmp_path / "theirs"
    zones.mkdir()
    (zones / "one.example.zone").write_text(FILE.format(serial=1))
    try:
        server = primary(kind, zones, Feeding(notify=(ours.address, ours.port))).start()
    except MissingPeerError as error:
        cannot_run(str(error))
    with server:
        source = f"{server.address}:{server.port}"
        ledger.follow(APEX, ME, ZoneOptions(primaries=(source,)))
        until(lambda: ledger.info(APEX).served)
        # Refresh is an hour: only NOTIFY can be the reason.
        for serial in (2, 3):
            (zones / "one.example.zone").write_text(FILE.format(serial=serial))
            server.reload("one.example")
            until(lambda serial=serial: ledger.info(APEX).serial == serial)  # type: ignore[misc]  # bound on purpose
            assert ledger.node(APEX, from_text("www", APEX))[rr.A][1] == (bytes((192, 0, 2, serial)),)


def test_a_primary_that_is_gone(ours: Mx10Store, ledger: Ledger, tmp_path: Path) -> None:
    zones = tmp_path / "theirs"
    zones.mkdir()
    file = FILE.format(serial=1).replace("3600 600 86400", "1 1 3")
    (zones / "one.example.zone").write_text(file)
    try:
        server = primary(PRIMARIES[0], zones, Feeding()).start()
    except MissingPeerError as error:
        cannot_run(str(error))
    with server:
        ledger.follow(APEX, ME, ZoneOptions(primaries=(f"{server.address}:{server.port}",)))
        until(lambda: ledger.info(APEX).served)
        server.stop()
        until(lambda: not ledger.info(APEX).served)
        server.start()
        until(lambda: ledger.info(APEX).served)


def test_the_command_asks_now(ours: Mx10Store, ledger: Ledger, tmp_path: Path) -> None:
    zones = tmp_path / "theirs"
    zones.mkdir()
    (zones / "one.example.zone").write_text(FILE.format(serial=1))

    def mx10(*words: str) -> tuple[int, str]:
        done = subprocess.run(
            [ours.program(), *words], env=ours.environment(), capture_output=True, text=True, timeout=30, check=False
        )
        return done.returncode, done.stdout + done.stderr

    try:
        server = primary(PRIMARIES[0], zones, Feeding()).start()
    except MissingPeerError as error:
        cannot_run(str(error))
    with server:
        source = f"{server.address}:{server.port}"
        assert mx10("zone", "follow", "one.example", "--from", source)[0] == 0
        until(lambda: ledger.info(APEX).served)
        code, said = mx10("zone", "refresh", "one.example")
        assert (code, said) == (0, "one.example: serial 1 is the newest\n")
        assert mx10("zone", "refresh", "two.example")[0] == 1
    code, said = mx10("zone", "refresh", "one.example")
    assert code == 1
    assert source in said
    assert ours.process is not None
    ours.process.send_signal(signal.SIGTERM)
    ours.process.wait(10)
    code, said = mx10("zone", "refresh", "one.example")
    assert code == 3
    assert "mx10 serve" in said


def test_a_steward_that_dies_is_replaced(ours: Mx10Store, ledger: Ledger) -> None:
    soa = b"\3ns1" + APEX + b"\4host" + APEX + b"".join(each.to_bytes(4, "big") for each in (1, 7200, 900, 86400, 60))
    node: Node = {rr.SOA: (60, (soa,)), rr.NS: (60, (b"\3ns1\7example\3net\0",))}
    ledger.create(
        Zone(APEX, {APEX: node}), ME, options=ZoneOptions(update_policy=("key:laptop.example grant zonesub",))
    )

    before = set(ours.processes())
    os.kill(steward_of(ours), signal.SIGKILL)
    laptop = key_of(ours, "laptop.example")
    until(lambda: nsupdate(ours, "update add a.one.example. 60 A 192.0.2.7", laptop) == "")
    assert len(ours.processes()) == len(before)


def steward_of(ours: Mx10Store) -> int:
    """The process that is neither the supervisor nor a worker."""
    log = (ours.work / "log").read_text()
    workers = {int(pid) for pid in re.findall(r'"event": "worker ready".*?"pid": (\d+)', log)}
    assert ours.process is not None
    found: set[int] = set()

    def there() -> bool:
        found.clear()
        found.update(set(ours.processes()) - workers - {ours.process.pid if ours.process else 0})
        return len(found) == 1

    until(there)
    return found.pop()


def test_killed_at_any_moment_of_a_transfer(ours: Mx10Store, ledger: Ledger, tmp_path: Path) -> None:
    """The zone is there as a whole, or as it was before; and in the end it is there."""
    zones = tmp_path / "theirs"
    zones.mkdir()
    hosts = [f"host{number} A 10.0.{number >> 8}.{number & 255}\n" for number in range(15_000)]
    (zones / "one.example.zone").write_text(FILE.format(serial=1) + "".join(hosts))
    try:
        server = primary(PRIMARIES[0], zones, Feeding(notify=(ours.address, ours.port))).start()
    except MissingPeerError as error:
        cannot_run(str(error))
    chance = random.Random(1)
    with server:
        ledger.follow(APEX, ME, ZoneOptions(primaries=(f"{server.address}:{server.port}",)))
        serial, seen, latest = 1, set[int](), 1.2
        for number in range(14):
            if number >= 6 and len(seen) > 1:
                break
            steward = steward_of(ours)
            time.sleep(chance.uniform(0.2, latest))
            os.kill(steward, signal.SIGKILL)
            until(lambda gone=steward: gone not in ours.processes())  # type: ignore[misc]  # bound on purpose
            info = ledger.info(APEX)
            seen.add(info.serial)
            rrsets = sum(1 for _ in ledger.iterate(APEX))
            assert rrsets == info.rrsets == (15_004 if info.serial else 0)
            assert info.served == bool(info.serial)
            assert info.serial in (0, serial - 1, serial)
            # Where the processors are busy a transfer takes longer: ever later, until one was whole.
            latest = 1.2 if info.serial == serial else latest * 1.3
            if info.serial == serial:
                serial += 1
                # Every address is another: the whole zone changes.
                hosts = [f"host{number} A 10.{serial}.{number >> 8}.{number & 255}\n" for number in range(15_000)]
                (zones / "one.example.zone").write_text(FILE.format(serial=serial) + "".join(hosts))
                server.reload("one.example")
        # BIND sends a NOTIFY that stayed unanswered again, but takes its time.
        until(lambda: ledger.info(APEX).serial == serial, 60)
        assert ledger.info(APEX).rrsets == 15_004
        kinds = {each.kind for each in ledger.history(APEX, limit=50)}
        assert kinds <= {"settings", "transfer"}
        assert len(seen) > 1, "the steward was always killed too early"


def test_we_follow_ourselves(ours: Mx10Store, ledger: Ledger, tmp_path: Path) -> None:
    """A catalog, signed transfers, IXFR and NOTIFY: both sides are ours."""
    (tmp_path / "empty2").mkdir()
    first = Mx10Store(tmp_path / "empty2")
    first.keys = ours.keys
    first.settings = {
        "nameserver.catalog": '"catalog.invalid"',
        "nameserver.allow_transfer": '["key:laptop.example"]',
        "nameserver.notify": f'["{ours.address}:{ours.port}"]',
    }
    names = [from_text(f"zone{number}.example.") for number in range(20)]
    with first.start():
        theirs = first.ledger()
        source = f"{first.address}:{first.port}#laptop.example"
        for apex in names:
            theirs.create(small(apex), ME)
        catalog = from_text("catalog.invalid.")
        ledger.follow(catalog, ME, ZoneOptions(primaries=(source,), consume_catalog=True))
        until(lambda: {info.apex for info in ledger.infos() if info.served} == {catalog, *names}, 20)
        theirs.change(names[3], [Edit(names[3], rr.TXT, (60, (b"\1x",)))], ME)
        until(lambda: ledger.node(names[3], names[3]).get(rr.TXT) == (60, (b"\1x",)))
        assert ledger.history(names[3], limit=1)[0].message.startswith("IXFR")
        theirs.delete(names[5], ME)
        theirs.create(small(APEX), ME)
        names[5] = APEX
        until(lambda: {info.apex for info in ledger.infos() if info.served} == {catalog, *names})
        for apex in names:
            assert ledger.zone(apex) == theirs.zone(apex)
        theirs.store.close()


def small(apex: bytes) -> Zone:
    numbers = b"".join(each.to_bytes(4, "big") for each in (1, 7200, 900, 86400, 60))
    node: Node = {rr.SOA: (60, (b"\3ns1" + apex + b"\4host" + apex + numbers,))}
    node[rr.NS] = (60, (b"\3ns1\7example\3net\0", b"\3ns2\7example\3net\0"))
    return Zone(apex, {apex: node})
