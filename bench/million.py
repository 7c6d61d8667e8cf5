#!/usr/bin/env python3
"""A million zones: start to first answer, memory, questions to zones nobody asked for before and to few that all ask
for, and a change through the store under load.

mx10 and PowerDNS serve them from SQLite; Knot, NSD and BIND from master files: one for all zones, as each holds the
same relative records (SOA, NS, MX, A, AAAA, TXT). Each server runs alone, pinned to the first processor. *Cold*
questions go to zones in an order without pattern, none twice; *hot* ones to a hundred of them. *Memory* is the resident
memory of all processes, shared pages counted once. Who is not ready within ``--limit`` seconds is shown as such.
"""

import random
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import common
from common import Asker, Dnsperf, Load, say

from mx10.config import ZoneSettings
from mx10.dns import rrtypes as rr
from mx10.dns.wirename import from_text
from mx10.store.connect import open_store
from mx10.zones.ledger import Author, Edit, Ledger
from mx10.zones.zone import Zone
from peers import Bind, Knot, Nsd, PeerError, Server, question
from peers.asking import NoAnswerError, ask
from peers.mx10 import Mx10
from peers.powerdns import PowerDns
from peers.server import ZoneFile

ME = Author("bench")
RELATIVE = """$TTL 3600
@ IN SOA ns1.host.invalid. hostmaster.host.invalid. 1 7200 3600 1209600 300
@ IN NS ns1.host.invalid.
@ IN NS ns2.host.invalid.
@ IN MX 10 mx.host.invalid.
@ IN A 192.0.2.1
@ IN AAAA 2001:db8::1
@ IN TXT "v=spf1 mx -all"
"""
TYPES = ("MX", "A", "AAAA", "TXT")
ASK_RATE = 5_000
"""Questions a second asked for other zones while some are changed."""
CHANGES = 20
SEEN_SECONDS = 10.0
"""How long a change may take to be seen before it counts as lost."""


def zone_name(number: int) -> str:
    """The name of zone ``number``."""
    return f"customer{number:07d}.example"


@dataclass(slots=True)
class Figures:
    """What was measured of one server; None where it was not ready in time."""

    start: float | None = None
    memory: float = 0.0
    cold: Load | None = None
    hot: Load | None = None
    changes: list[float] = field(default_factory=list)
    before: Load | None = None
    during: Load | None = None


class Mx10Million(Mx10):
    """mx10 with two workers and a store made before."""

    store: Path

    def command(self) -> list[str]:
        return [self.program(), "serve", "--listen", f"{self.address}:{self.port}", "--workers", "2"]

    def environment(self) -> dict[str, str]:
        return {
            **super().environment(),
            "MX10_STORE__URL": f"sqlite:///{self.store}",
            "MX10_NAMESERVER__RUN_DIR": str(self.work),
        }


class PowerDnsSqlite(PowerDns):
    """PowerDNS with its backend for SQLite."""

    name = "PowerDNS"
    package = "pdns-backend-sqlite3"
    store: Path

    def configure(self) -> None:
        super().configure()
        path = self.work / "pdns.conf"
        lines = [line for line in path.read_text().splitlines() if not line.startswith(("launch", "bind-"))]
        lines += ["launch=gsqlite3", f"gsqlite3-database={self.store}", "gsqlite3-pragma-synchronous=0"]
        path.write_text("\n".join(lines) + "\n")


PEERS: dict[str, type[Server]] = {"powerdns": PowerDnsSqlite, "knot": Knot, "nsd": Nsd, "bind": Bind}


def main() -> None:
    """Make the zones, measure every server, print."""
    args = common.arguments(
        __doc__ or "",
        zones={"type": int, "default": None, "help": "how many zones (1,000,000; with --quick 20,000)"},
        peers={"default": ",".join(PEERS), "help": "which servers beside mx10, with commas; empty: none"},
        limit={"type": float, "default": 240.0, "help": "seconds a server may take to start"},
    )
    count = args.zones or (20_000 if args.quick else 1_000_000)
    length = 2.0 if args.quick else 5.0
    figures: dict[str, Figures] = {}
    chance = random.Random(3)
    order = chance.sample(range(1, count), count - 1)
    asked = [question(zone_name(number), chance.choice(TYPES), payload=1232) for number in order]
    few = asked[-100:]
    with common.folder() as here:
        (here / "questions").write_text("".join(f"{zone_name(number)} A\n" for number in order[-1000:]))
        kinds: list[type[Server]] = [Mx10Million, *(PEERS[name] for name in filter(None, args.peers.split(",")))]
        for kind in kinds:
            server = prepare(kind, here, count, args.limit)
            say(f"{server.name}: starting")
            one = figures[server.version()] = Figures()
            try:
                measure(server, one, here, asked, few, length)
            finally:
                server.stop()
    show(args.json, count, figures)


def prepare(kind: type[Server], here: Path, count: int, limit: float) -> Server:
    """A server with all zones, configured."""
    folder = here / "zones"
    folder.mkdir(exist_ok=True)
    server = kind(folder, core=common.SERVER_CORE, limit=limit, wait_for=[zone_name(count - 1)])
    began = time.perf_counter()
    if isinstance(server, Mx10Million):
        server.store = here / "mx10.db"
        make_store(server.store, count)
    elif isinstance(server, PowerDnsSqlite):
        server.store = here / "pdns.db"
        make_powerdns(server.store, count)
    else:
        relative = here / "relative"
        relative.write_text(RELATIVE)
        server.files = [ZoneFile(zone_name(number), relative) for number in range(count)]
    server.configure()
    say(f"{server.name}: {count:,} zones written in {time.perf_counter() - began:.0f} s")
    return server


def zones(count: int) -> Iterator[Zone]:
    """The zones as mx10 has them."""
    soa = from_text("ns1.host.invalid.") + from_text("hostmaster.host.invalid.")
    soa += b"".join(number.to_bytes(4, "big") for number in (1, 7200, 3600, 1209600, 300))
    node = {
        rr.SOA: (3600, (soa,)),
        rr.NS: (3600, (from_text("ns1.host.invalid."), from_text("ns2.host.invalid."))),
        rr.MX: (3600, (b"\0\12" + from_text("mx.host.invalid."),)),
        rr.A: (3600, (bytes((192, 0, 2, 1)),)),
        rr.AAAA: (3600, (bytes.fromhex("20010db8000000000000000000000001"),)),
        rr.TXT: (3600, (b"\16v=spf1 mx -all",)),
    }
    for number in range(count):
        apex = from_text(zone_name(number))
        yield Zone(apex, {apex: dict(node)})


def make_store(path: Path, count: int) -> None:
    """The store of mx10."""
    store = open_store(f"sqlite:///{path}", create=True)
    try:
        Ledger(store, ZoneSettings()).create_many(zones(count), ME, progress=lambda done: say(f"mx10: {done:,} zones"))
    finally:
        store.close()


def make_powerdns(path: Path, count: int) -> None:
    """The database of PowerDNS, by the schema it comes with."""
    schema = next(Path("/usr/share").glob("**/*gsqlite3*/schema/schema.sqlite3.sql"), None) or next(
        Path("/usr/share").glob("**/schema.sqlite3.sql"), None
    )
    if schema is None:
        raise PeerError("no schema.sqlite3.sql in /usr/share: apt-get install pdns-backend-sqlite3")
    records = [line.split(None, 3)[2:] for line in RELATIVE.splitlines()[1:]]
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA synchronous = OFF")
        database.executescript(schema.read_text())
        with database:
            database.executemany(
                "INSERT INTO domains (id, name, type) VALUES (?, ?, 'NATIVE')",
                ((number + 1, zone_name(number)) for number in range(count)),
            )
            database.executemany(
                "INSERT INTO records (domain_id, name, type, content, ttl, prio, auth) VALUES (?, ?, ?, ?, 3600, ?, 1)",
                (
                    (number + 1, zone_name(number), rrtype, _for_powerdns(rrtype, content), 10 * (rrtype == "MX"))
                    for number in range(count)
                    for rrtype, content in records
                ),
            )


def _for_powerdns(rrtype: str, content: str) -> str:
    """Names have no final dot there, and the priority has a column of its own."""
    if rrtype == "MX":
        content = content.split()[1]
    return content if rrtype == "TXT" else " ".join(word.rstrip(".") for word in content.split())


def measure(server: Server, one: Figures, here: Path, asked: list[bytes], few: list[bytes], length: float) -> None:
    """Start a server, weigh it, ask it."""
    began = time.perf_counter()
    server.launch()
    try:
        server.await_ready()
    except PeerError:
        if server.process is not None and server.process.poll() is None:
            say(f"{server.name}: no answer after {server.limit:.0f} s")
            return
        raise
    one.start = time.perf_counter() - began
    time.sleep(1.0)
    # Slow servers and quick machines: as many as nobody has asked within the time, so that none is asked twice.
    one.cold = Asker(here, asked).seconds(server.address, server.port, min(length, len(asked) / 200_000 + 0.5))
    asker = Asker(here, few)
    asker.seconds(server.address, server.port, 0.5)
    one.hot = asker.seconds(server.address, server.port, length)
    if isinstance(server, Mx10Million):
        change(server, one, here, length)
    one.memory = server.memory() / 1e6
    say(
        f"{server.name}: start {one.start:.2f} s, {one.memory:.0f} MB,"
        f" cold {one.cold.rate:,.0f}, hot {one.hot.rate:,.0f} questions/s"
    )


def change(server: Mx10Million, one: Figures, here: Path, length: float) -> None:
    """Change zone 0 through the ledger while others are asked for, until both workers answer with each change."""
    perf = Dnsperf(here / "questions", rate=ASK_RATE)
    one.before = perf.seconds(server.address, server.port, length)
    apex = from_text(zone_name(0))
    store = open_store(f"sqlite:///{server.store}")
    ledger = Ledger(store, ZoneSettings())
    wire = question(zone_name(0), "A", ident=77, payload=1232)
    argv = perf.command(server.address, server.port, "-l", str(length))
    try:
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as load:
            for number in range(CHANGES):
                address = bytes((198, 18, 0, number + 1))
                ledger.change(apex, [Edit(apex, rr.A, (3600, (address,)))], ME)
                committed = time.perf_counter()
                # From a socket of its own each time: the kernel spreads them over the workers.
                agreeing = 0
                while agreeing < 12:
                    try:
                        seen = ask(server.address, server.port, wire, timeout=1.0).find(address) > 0
                    except NoAnswerError:
                        seen = False
                    agreeing = agreeing + 1 if seen else 0
                    if agreeing == 1:
                        first = time.perf_counter()
                    if time.perf_counter() - committed > SEEN_SECONDS:
                        raise PeerError(f"a change was not seen within {SEEN_SECONDS:.0f} s\n{server.log_tail()}")
                one.changes.append(first - committed)
                time.sleep(length / CHANGES / 2)
            out, errors = load.communicate(timeout=length + 30)
    finally:
        store.close()
    one.during = common.read_dnsperf(out, errors)


def show(as_json: bool, count: int, figures: dict[str, Figures]) -> None:
    """The tables, or the object for ``--json``."""
    rows = []
    for name, one in figures.items():
        if one.start is None or one.cold is None or one.hot is None:
            rows.append([name, "not ready in time", "", "", "", ""])
            continue
        wrong = 100 - min(one.cold.rcodes.get("NOERROR", 0.0), one.hot.rcodes.get("NOERROR", 0.0))
        cells = [one.start, one.memory, one.cold.rate, one.hot.rate]
        rows.append([name, f"{cells[0]:.2f}", *(f"{cell:,.0f}" for cell in cells[1:]), f"{wrong:.2f}"])
    headers = ["server", "start to first answer, s", "memory, MB", "cold q/s", "hot q/s", "not NOERROR, %"]
    ours = next(iter(figures.values()))
    text = f"{count:,} zones of 6 record sets\n\n{common.table(headers, rows)}"
    if ours.changes and ours.before is not None and ours.during is not None:
        spread = common.Spread.of([1e3 * each for each in ours.changes])
        text += (
            f"\n\nmx10: a change through the store is in the answers of all workers after {spread.text(1)} ms"
            f" ({len(ours.changes)} changes, {ASK_RATE:,} other questions a second meanwhile; their mean"
            f" {1e3 * ours.before.latency:.2f} -> {1e3 * ours.during.latency:.2f} ms, longest"
            f" {1e3 * ours.before.latency_max:.1f} -> {1e3 * ours.during.latency_max:.1f} ms, lost {ours.during.lost})"
        )
    numbers = {name: _numbers(one) for name, one in figures.items()}
    name = next(iter(figures))
    common.finish(
        as_json,
        {
            "benchmark": "million",
            "how": f"{count:,} zones, one round",
            "ours": numbers[name],
            "peers": {other: each for other, each in numbers.items() if other != name},
            "ratio": {
                other: {
                    key: round(numbers[name][key] / each[key], 3) for key in ("start_s", "memory_mb", "cold", "hot")
                }
                for other, each in numbers.items()
                if other != name and each
            },
            "spread": {"change_ms": [round(1e3 * each, 1) for each in sorted(ours.changes)]},
        },
        text,
    )


def _numbers(one: Figures) -> dict[str, float]:
    """Empty where it was not ready in time."""
    if one.start is None or one.cold is None or one.hot is None:
        return {}
    return {
        "start_s": round(one.start, 2),
        "memory_mb": round(one.memory),
        "cold": round(one.cold.rate),
        "hot": round(one.hot.rate),
    }


if __name__ == "__main__":
    common.run(main, limit=3000)
