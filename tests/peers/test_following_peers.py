"""We follow the nameservers of others: their zones are ours, and what changes there changes here, in seconds."""

import asyncio
import base64
import shutil
import ssl
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from mx10.config import FollowingSettings, ZoneSettings
from mx10.dns.tsig import TsigKey
from mx10.dns.wirename import from_text
from mx10.nameserver.primaries import public_key_digest
from mx10.nameserver.transfer_in import NoSeal, Seal, TsigSeal, seal_with
from mx10.store.connect import open_store
from mx10.zones.folder import ZoneFolder
from mx10.zones.ledger import Ledger
from mx10.zones.text import to_text
from mx10.zones.zone import Node, Zone
from peers import Bind, MissingPeerError, Server
from peers.primaries import (
    PRIMARIES,
    BindPrimary,
    BindPrimaryEncrypted,
    Feeding,
    Key,
    KnotPrimary,
    NsdPrimary,
    PowerDnsPrimary,
    primary,
)
from peers.server import find_program
from peers.signing import Denial, sign
from tests.conftest import cannot_run
from tests.nameserver.test_following import World, working

pytestmark = pytest.mark.peers

APEX = from_text("one.example.")
ZONE = """$TTL 60
@ SOA ns1 host {serial} 7200 3600 1209600 300
@ NS ns1
@ MX 10 mx
ns1 A 192.0.2.1
mx A 192.0.2.2
*.wild TXT "a text" "of two"
www A 192.0.2.3
www A 192.0.2.4
alias CNAME www
_sip._tcp SRV 1 2 5060 Www
caa CAA 0 issue "ca.example"
ds DS 1 8 2 ABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABAB
ds NS ns.elsewhere.example.
tlsa TLSA 3 1 1 0C72AC70B745AC19998811B131D662C9AC69DBDBE7CB23E5B514B56664C5D3D6
unknown TYPE65280 \\# 3 010203
many.labels.deep.down AAAA 2001:db8::1
"""
QUICK = FollowingSettings(answer_seconds=2, idle_seconds=5, refresh_min_seconds=1, retry_min_seconds=1)


@pytest.fixture
def zones(tmp_path: Path) -> Path:
    folder = tmp_path / "zones"
    folder.mkdir()
    write(folder, 1)
    return folder


def write(folder: Path, serial: int, *more: str) -> None:
    (folder / "one.example.zone").write_text(ZONE.format(serial=serial) + "\n".join(more) + "\n")


def read(folder: Path) -> dict[bytes, Node]:
    """The zone as its file says it."""
    found = ZoneFolder(folder, ZoneSettings(tolerate=("no-glue",)))
    found.load(jobs=1)
    return comparable(Zone.unpack(found.zones[APEX]).nodes)


def comparable(nodes: dict[bytes, Node]) -> dict[bytes, Node]:
    return {
        owner: {rrtype: (ttl, tuple(sorted(data.lower() for data in datas))) for rrtype, (ttl, datas) in node.items()}
        for owner, node in nodes.items()
        if node
    }


def ours(ledger: Ledger) -> dict[bytes, Node]:
    return comparable(ledger.zone(APEX).nodes)


def started(server: Server) -> Server:
    try:
        return server.start()
    except MissingPeerError as error:
        cannot_run(str(error))


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(open_store(f"sqlite:///{tmp_path}/mx10.db", create=True), ZoneSettings())


@pytest.mark.parametrize("kind", PRIMARIES, ids=lambda kind: kind.name)
async def test_a_zone_and_its_changes(kind: type[Server], zones: Path, ledger: Ledger) -> None:
    with started(primary(kind, zones, Feeding())) as server:
        async with working(ledger, QUICK) as world:
            world.follow(f"{server.address}:{server.port}", apex=APEX)
            said = await world.refresh()
            assert "by AXFR" in said
            assert ours(ledger) == read(zones)

            write(zones, 2, "new A 192.0.2.77", "www A 192.0.2.5")
            server.reload("one.example")
            said = await moved(world, 2)
            assert ours(ledger) == read(zones)
            # PowerDNS keeps no changes, and NSD sends them only where it deems that worth while.
            assert "by IXFR" in said or kind in (PowerDnsPrimary, NsdPrimary)

            # What is gone there is gone here.
            write(zones, 3)
            server.reload("one.example")
            await moved(world, 3)
            assert ours(ledger) == read(zones)


# PowerDNS hands signatures on only where its database says that the zone came with them.
@pytest.mark.parametrize("denial", ["nsec", "nsec3"])
@pytest.mark.parametrize("kind", [BindPrimary, KnotPrimary, NsdPrimary], ids=lambda kind: kind.name)
async def test_a_zone_that_is_signed_there(
    kind: type[Server], denial: Denial, zones: Path, ledger: Ledger, tmp_path: Path
) -> None:
    """Signatures are data like all else, and what dnssec-verify says of our zone is what it says of theirs."""
    path = zones / "one.example.zone"
    try:
        sign(path, "one.example.", denial=denial)
    except MissingPeerError as error:
        cannot_run(str(error))
    with started(primary(kind, zones, Feeding())) as server:
        async with working(ledger, QUICK) as world:
            world.follow(f"{server.address}:{server.port}", apex=APEX)
            said = await world.refresh()
            assert ours(ledger) == read(zones), said
            file = tmp_path / "ours"
            file.write_text(to_text(ledger.zone(APEX)))
            verify = [find_program("dnssec-verify", "bind9-utils"), "-q", "-z", "-o", "one.example.", str(file)]
            done = await asyncio.to_thread(
                subprocess.run, verify, capture_output=True, text=True, timeout=30, check=False
            )
            assert done.returncode == 0, done.stderr
            # Signed anew by another key: everything changes at once.
            write(zones, 2, "new A 192.0.2.77")
            shutil.rmtree(path.with_suffix(".keys"))
            sign(path, "one.example.", denial=denial)
            server.reload("one.example")
            await moved(world, 2)
            assert ours(ledger) == read(zones)


async def moved(world: World, serial: int) -> str:
    """Refresh until the primary has a serial; what was said then."""
    async with asyncio.timeout(20):
        while True:
            said = await world.refresh()
            if world.ledger.info(APEX).serial == serial:
                return said
            await asyncio.sleep(0.05)


KEY = TsigKey(from_text("feed.example."), "hmac-sha256", b"0123456789abcdef0123456789abcdef")
FEEDING = Feeding(key=Key("feed.example", base64.b64encode(KEY.secret).decode()))


@pytest.mark.parametrize("kind", [BindPrimary, KnotPrimary, NsdPrimary], ids=lambda kind: kind.name)
async def test_signed_both_ways(kind: type[Server], zones: Path, ledger: Ledger) -> None:
    """RFC 8945, over so many messages that not each of them need be signed."""
    write(zones, 1, *(f"host{number} TXT {'x' * 200}" for number in range(3000)))

    def seal(name: bytes | None) -> Seal:
        return seal_with({KEY.name: KEY}, name)

    with started(primary(kind, zones, FEEDING)) as server:
        async with working(ledger, QUICK, seal) as world:
            world.follow(f"{server.address}:{server.port}#feed.example", apex=APEX)
            assert "by AXFR" in await world.refresh()
            assert ours(ledger) == read(zones)
            write(zones, 2)
            server.reload("one.example")
            await moved(world, 2)
            assert ours(ledger) == read(zones)


@pytest.mark.parametrize("kind", [BindPrimary, KnotPrimary, NsdPrimary], ids=lambda kind: kind.name)
async def test_wrong_keys(kind: type[Server], zones: Path, ledger: Ledger) -> None:
    keys = {
        "wrong secret": replace(KEY, secret=b"another"),
        "unknown name": replace(KEY, name=from_text("other.example.")),
        "other algorithm": replace(KEY, algorithm="hmac-sha512"),
        "no key": None,
    }
    with started(primary(kind, zones, FEEDING)) as server:
        for how, key in keys.items():

            def seal(name: bytes | None, key: TsigKey | None = key) -> Seal:
                return TsigSeal(key) if key is not None else NoSeal()

            async with working(ledger, QUICK, seal) as world:
                if how == "wrong secret":
                    world.follow(f"{server.address}:{server.port}#feed.example", apex=APEX)
                said = await world.refresh()
                assert "serial" not in said, (how, said)
                assert not ledger.info(APEX).served
                assert world.follower.counts["axfr"] == 0


@pytest.mark.parametrize("how", ["pin", "name", "any"])
async def test_over_tls(how: str, zones: Path, ledger: Ledger) -> None:
    """RFC 9103, from BIND, which sends the zone over TLS only."""
    with started(BindPrimaryEncrypted(zones)) as server:
        assert isinstance(server, BindPrimaryEncrypted)
        der = ssl.PEM_cert_to_DER_cert(server.certificate.read_text())
        pin = base64.b64encode(public_key_digest(der)).decode()
        also = {"pin": f"=sha256/{pin}", "name": f"={server.hostname}", "any": ""}[how]
        settings = FollowingSettings(ca_file=server.certificate if how == "name" else None)
        async with working(ledger, settings) as world:
            world.follow(f"{server.address}:{server.tls_port}+tls{also}", apex=APEX)
            assert "by AXFR" in await world.refresh()
            assert ours(ledger) == read(zones)
            write(zones, 2, "new A 192.0.2.77")
            server.reload("one.example")
            assert "by IXFR" in await moved(world, 2)
            assert ours(ledger) == read(zones)


@pytest.mark.parametrize("kind", PRIMARIES, ids=lambda kind: kind.name)
async def test_a_large_zone(kind: type[Server], zones: Path, ledger: Ledger) -> None:
    lines = [f"host{number} A 10.{number >> 16}.{number >> 8 & 255}.{number & 255}" for number in range(30_000)]
    write(zones, 1, *lines)
    with started(primary(kind, zones, Feeding())) as server:
        async with working(ledger, QUICK) as world:
            world.follow(f"{server.address}:{server.port}", apex=APEX)
            began = time.monotonic()
            assert "by AXFR" in await world.refresh()
            assert time.monotonic() - began < 10
            assert ledger.info(APEX).rrsets > 30_000
            assert ours(ledger) == read(zones)


async def test_a_refusing_primary_says_so(zones: Path, ledger: Ledger) -> None:
    with started(Bind(zones)) as server:
        async with working(ledger, QUICK) as world:
            world.follow(f"{server.address}:{server.port}", apex=APEX)
            assert "REFUSED" in await world.refresh()
            assert not ledger.info(APEX).served
