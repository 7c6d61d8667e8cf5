"""The real nsupdate and knsupdate: what they do to BIND's zone they do to ours, response codes included."""

import asyncio
import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest

from mx10.config import UpdateSettings, ZoneSettings
from mx10.dns import message as m
from mx10.dns import rdata
from mx10.dns import rrtypes as rr
from mx10.dns.wirename import from_text, to_text
from mx10.nameserver.update import Updater
from mx10.nameserver.update_policy import Client
from mx10.store.connect import open_store
from mx10.zones.folder import ZoneFolder
from mx10.zones.ledger import Author, Ledger, ZoneOptions
from mx10.zones.zone import Zone
from peers import Bind, MissingPeerError
from peers.server import find_program
from tests.conftest import cannot_run

pytestmark = pytest.mark.peers

APEX = from_text("one.example.")
ZONE = """$TTL 60
@ SOA ns1 host 10 7200 3600 1209600 300
@ NS ns1
@ NS ns2
@ MX 10 mx
ns1 A 192.0.2.1
ns2 A 192.0.2.2
mx A 192.0.2.3
www A 192.0.2.4
www A 192.0.2.5
www TXT "one" "two"
alias CNAME www
sub NS ns.elsewhere.example.
"""

# What nsupdate(1) can say, one script an update.
SCRIPTS = [
    "update add new.one.example. 300 A 192.0.2.77",
    "update add new.one.example. 600 A 192.0.2.78\nupdate add new.one.example. 600 MX 5 mx.one.example.",
    "update add www.one.example. 60 A 192.0.2.4",
    "update add WWW.One.Example. 120 A 192.0.2.6",
    "update delete www.one.example. A 192.0.2.5",
    "update delete www.one.example. TXT",
    "update delete www.one.example. TXT",
    "update delete alias.one.example. CNAME",
    "update delete new.one.example.\nupdate add new.one.example. 60 CNAME www.one.example.",
    "update add new.one.example. 60 A 192.0.2.9",
    "update add www.one.example. 60 CNAME mx.one.example.",
    "update add new.one.example. 60 CNAME mx.one.example.",
    "update delete one.example.",
    "update delete one.example. NS",
    "update delete one.example. NS ns1.one.example.\nupdate delete one.example. NS ns2.one.example.",
    "update delete one.example. SOA",
    "update add one.example. 60 SOA ns2.one.example. host.one.example. 500 7200 3600 1209600 300",
    "update add one.example. 60 SOA ns2.one.example. host.one.example. 400 7200 3600 1209600 300",
    "prereq nxdomain nothing.one.example.\nupdate add nothing.one.example. 60 A 192.0.2.1",
    "prereq nxdomain nothing.one.example.\nupdate add other.one.example. 60 A 192.0.2.1",
    "prereq yxdomain nothing.one.example.\nupdate add other.one.example. 60 A 192.0.2.1",
    "prereq yxdomain never.one.example.\nupdate add wrong.one.example. 60 A 192.0.2.1",
    "prereq nxrrset other.one.example. TXT\nupdate add other.one.example. 60 TXT \"a b\" c",
    "prereq nxrrset other.one.example. TXT\nupdate delete other.one.example.",
    "prereq yxrrset other.one.example. TXT\nupdate delete other.one.example. TXT",
    "prereq yxrrset other.one.example. TXT\nupdate delete other.one.example. A",
    "prereq yxrrset other.one.example. A 192.0.2.1\nupdate add other.one.example. 60 AAAA 2001:db8::1",
    "prereq yxrrset other.one.example. A 192.0.2.2\nupdate delete other.one.example.",
    "update add _sip._tcp.one.example. 60 SRV 1 2 5060 www.one.example.",
    "update add caa.one.example. 60 CAA 0 issue \"ca.example\"",
    "update add deep.er.still.one.example. 60 TXT x\nupdate add un.one.example. 60 TYPE65280 \\# 2 0102",
    "update add outside.example. 60 A 192.0.2.1",
    "update add sub.one.example. 60 NS ns.other.example.\nupdate delete sub.one.example. NS ns.elsewhere.example.",
    "update delete sub.one.example.",
    "update delete nowhere.one.example. A 192.0.2.1",
]  # fmt: skip


class Updates(asyncio.DatagramProtocol):
    """Takes updates over UDP, and over TCP, for an updater."""

    def __init__(self, updater: Updater) -> None:
        self.updater = updater
        self.tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        async def answer() -> None:
            self.transport.sendto(await self.updater.answer(m.parse(data), Client(addr[0])), addr)

        self.tasks.add(asyncio.ensure_future(answer()))

    async def stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        message = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
        response = await self.updater.answer(m.parse(message), Client("127.0.0.1"))
        writer.write(len(response).to_bytes(2, "big") + response)
        await reader.read()
        writer.close()


@pytest.fixture
def zones(tmp_path: Path) -> Path:
    folder = tmp_path / "zones"
    folder.mkdir()
    (folder / "one.example.zone").write_text(ZONE)
    return folder


@pytest.fixture
def ledger(tmp_path: Path, zones: Path) -> Ledger:
    folder = ZoneFolder(zones, ZoneSettings())
    folder.load(jobs=1)
    made = Ledger(open_store(f"sqlite:///{tmp_path}/mx10.db", create=True), ZoneSettings())
    options = ZoneOptions(update_policy=("127.0.0.0/8 grant zonesub ANY",), serial_style="counter")
    made.create(Zone.unpack(folder.zones[APEX]), Author("test"), options=options)
    return made


@asynccontextmanager
async def listening(ledger: Ledger) -> AsyncIterator[int]:
    """Our updates, at a port."""
    updates = Updates(Updater(ledger, asyncio.to_thread, UpdateSettings()))
    server = await asyncio.start_server(updates.stream, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    udp, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: updates, ("127.0.0.1", port))
    yield port
    udp.close()
    server.close()
    await asyncio.gather(*updates.tasks)


class BindUpdated(Bind):
    """BIND that lets anybody update."""

    name = "BIND updated"

    def configure(self) -> None:
        super().configure()
        file = self.work / "named.conf"
        text = file.read_text().replace("type primary;", "type primary; allow-update { any; };")
        file.write_text(text.replace("  allow-transfer { none; };", "  allow-transfer { any; };"))


async def sent(program: str, package: str, script: str, port: int, *options: str) -> str:
    """Send an update; the response code the program tells."""
    try:
        path = find_program(program, package)
    except MissingPeerError as error:
        cannot_run(str(error))
    text = f"server 127.0.0.1 {port}\nzone one.example.\n{script}\nsend\n"
    done = await asyncio.to_thread(
        subprocess.run, [path, *options], input=text, capture_output=True, text=True, timeout=30, check=False
    )
    said = done.stdout + done.stderr
    found = re.search(r"update failed: ([A-Z]+)|update failed with error .*'([A-Z]+)'", said)
    assert found or done.returncode == 0, said
    return next(filter(None, found.groups()), "NOERROR") if found else "NOERROR"


def ours(ledger: Ledger) -> set[str]:
    return {
        f"{to_text(owner).lower()} {ttl} {rr.type_to_text(rrtype)} {shown(rrtype, data)}"
        for owner, rrtype, (ttl, datas) in ledger.iterate(APEX)
        for data in datas
    }


def shown(rrtype: int, data: bytes) -> str:
    if rrtype == rr.SOA:
        return rdata.to_text(rrtype, data).lower()
    return rdata.to_text(rrtype, data)


def theirs(server: Bind) -> set[str]:
    dig = find_program("dig", "bind9-dnsutils")
    done = subprocess.run(
        [dig, f"@{server.address}", "-p", str(server.port), "one.example", "AXFR", "+noall", "+answer", "+onesoa"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    lines = [line.split(None, 4) for line in done.stdout.splitlines() if line]
    return {
        f"{owner.lower()} {ttl} {kind} {data.lower() if kind == 'SOA' else data}" for owner, ttl, _, kind, data in lines
    }


async def test_as_bind_does_it(zones: Path, ledger: Ledger) -> None:
    try:
        bind = BindUpdated(zones).start()
    except MissingPeerError as error:
        cannot_run(str(error))
    with bind:
        async with listening(ledger) as port:
            for script in SCRIPTS:
                codes = [await sent("nsupdate", "bind9-dnsutils", script, each) for each in (port, bind.port)]
                assert codes[0] == codes[1], script
                assert ours(ledger) == theirs(bind), script
            assert len(ledger.history(APEX, limit=100)) > 15


async def test_over_tcp(ledger: Ledger) -> None:
    many = "\n".join(f"update add host{number}.one.example. 60 A 10.0.0.{number}" for number in range(200))
    async with listening(ledger) as port:
        assert await sent("nsupdate", "bind9-dnsutils", many, port, "-v") == "NOERROR"
    assert ledger.info(APEX).rrsets > 200


async def test_knsupdate(ledger: Ledger) -> None:
    async with listening(ledger) as port:
        scripts = {
            "update add new.one.example. 300 A 192.0.2.77": "NOERROR",
            "prereq nxdomain new.one.example.\nupdate add new.one.example. 60 A 192.0.2.1": "YXDOMAIN",
            "prereq yxrrset new.one.example. A\nupdate del new.one.example. A": "NOERROR",
            "update add x.example. 60 A 192.0.2.1": "NOTZONE",
        }
        for script, code in scripts.items():
            assert await sent("knsupdate", "knot-dnsutils", script, port) == code
    assert ledger.node(APEX, from_text("new", APEX)) == {}
