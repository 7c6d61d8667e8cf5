#!/usr/bin/env python3
"""How soon secondaries have what changed in our store: zones created, changed, deleted, at BIND, Knot and PowerDNS (by
our catalog zone) and NSD (by nsd-control, as NSD 4.6 knows no catalogs).

Each peer alone. A zone is there when its serial is that of the store; all are asked for in turns until it is so. Times
count from before the first write to our store. At the end some zones are compared record by record.
"""

import base64
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import common
import dns.query
import dns.zone
from common import say

from mx10.dns import message as m
from mx10.dns import rrtypes as rr
from mx10.dns.wirename import from_text, to_text
from mx10.zones.ledger import Author, Edit, Ledger
from mx10.zones.zone import Node, Zone
from peers import NoAnswerError, Server, ask, free_port
from peers.mx10_store import Mx10Store
from peers.primaries import Key
from peers.secondaries import SECONDARIES, Feed, NsdSecondary, secondary

ME = Author("bench")
KEY = Key("feed.test", base64.b64encode(b"0123456789abcdef0123456789abcdef").decode())
LIMIT = 300.0
"""Seconds until a step is given up."""
COMPARED = 20


def a_zone(name: str) -> Zone:
    """A zone as most are: SOA, NS, MX, A, TXT."""
    apex = from_text(name)
    numbers = (1, 86400, 7200, 864000, 300)
    soa = b"\3ns1" + apex + b"\4host" + apex + b"".join(each.to_bytes(4, "big") for each in numbers)
    nodes: dict[bytes, Node] = {
        apex: {
            rr.SOA: (3600, (soa,)),
            rr.NS: (3600, (b"\3ns1\7example\3net\0", b"\3ns2\7example\3net\0")),
            rr.MX: (3600, (b"\0\x0a\2mx" + apex,)),
            rr.A: (3600, (b"\xc0\0\2\1",)),
            rr.TXT: (3600, (b"\x0bv=spf1 -all",)),
        },
        b"\2mx" + apex: {rr.A: (3600, (b"\xc0\0\2\2",))},
    }
    return Zone(apex, nodes)


def serial_at(server: Server, apex: bytes) -> int | None:
    """The serial a server answers with; None where it has none."""
    try:
        answer = m.parse(ask(server.address, server.port, m.make_query(apex, rr.SOA, id=1), timeout=1.0)).answer
    except NoAnswerError:
        return None
    return int.from_bytes(answer[0].rdata[-20:-16], "big") if answer and answer[0].type == rr.SOA else None


def seconds_until_equal(ledger: Ledger, server: Server, apexes: Sequence[bytes], began: float) -> tuple[float, int]:
    """Seconds since ``began`` until a server has the serials of the store, and how many zones never had."""
    wanted = {apex: ledger.info(apex).serial for apex in apexes}
    waiting = list(apexes)
    while waiting and time.monotonic() - began < LIMIT:
        waiting = [apex for apex in waiting if serial_at(server, apex) != wanted[apex]]
        time.sleep(0.02)
    return time.monotonic() - began, len(waiting)


def seconds_until_gone(server: Server, apexes: Sequence[bytes], began: float) -> tuple[float, int]:
    """The same for zones that are gone."""
    waiting = list(apexes)
    while waiting and time.monotonic() - began < LIMIT:
        waiting = [apex for apex in waiting if serial_at(server, apex) is not None]
        time.sleep(0.02)
    return time.monotonic() - began, len(waiting)


def content(server: Server, apex: bytes) -> set[tuple[str, int, str]]:
    """A zone as a server sends it."""
    xfr = dns.query.xfr(server.address, to_text(apex), port=server.port, relativize=False)
    zone = dns.zone.from_xfr(xfr, relativize=False)
    return {(str(owner), ttl, data.to_text()) for owner, ttl, data in zone.iterate_rdatas()}


@dataclass(frozen=True, slots=True)
class Figures:
    """Seconds of each step, how many of them were spent in writing to our store, and what did not come to be."""

    created: float
    changed: float
    changing: float
    deleted: float
    deleting: float
    missing: int
    unequal: int


def main() -> None:
    """Measure each, print."""
    args = common.arguments(__doc__ or "", zones={"type": int, "default": 0, "help": "how many (default: 10000)"})
    zones = args.zones or (300 if args.quick else 10_000)
    found: dict[str, Figures] = {}
    for kind in SECONDARIES:
        with common.folder() as here:
            found[kind.name] = measure(kind, zones, here)
            say(f"{kind.name}: {found[kind.name]}")
    rows = [
        [
            name,
            f"{each.created:.1f}",
            f"{each.changed:.1f} ({each.changing:.1f})",
            f"{each.deleted:.1f} ({each.deleting:.1f})",
            str(each.missing),
            str(each.unequal),
        ]
        for name, each in found.items()
    ]
    headers = ["secondary", "created s", "changed s (to write)", "deleted s (to write)", "missing", "unequal"]
    how = f"{zones} zones, each peer alone with mx10; seconds until all serials are equal\n\n"
    result = {"zones": zones, "peers": {name: asdict(each) for name, each in found.items()}}
    common.finish(args.json, result, how + common.table(headers, rows))


def measure(kind: type[Server], zones: int, folder: Path) -> Figures:
    """Create, change and delete zones, and wait for one secondary each time."""
    empty = folder / "empty"
    empty.mkdir()
    port = free_port()
    ours = Mx10Store(empty, wait_for=[])
    ours.keys = f'key "{KEY.name}" {{ algorithm hmac-sha256; secret "{KEY.secret}"; }};\n'
    ours.settings = {
        "nameserver.catalog": '"catalog.test"',
        "nameserver.allow_transfer": f'["key:{KEY.name}", "127.0.0.0/8"]',
        "nameserver.notify": f'["127.0.0.1:{port}#{KEY.name}"]',
        "nameserver.tcp_connections_per_client": "1000",
        "nameserver.transfers_per_client": "200",
        "nameserver.transfers_at_once": "200",
        "nameserver.operations_per_second": "100000",
        "log.level": '"warning"',
    }
    names = [f"z{number}.test" for number in range(zones)]
    apexes = [from_text(f"{name}.") for name in names]
    with ours.start(), secondary(kind, empty, Feed("127.0.0.1", ours.port, KEY), port).start() as server:
        ledger = ours.ledger()
        began = time.monotonic()
        ledger.create_many((a_zone(f"{name}.") for name in names), ME)
        if isinstance(server, NsdSecondary):
            server.add(names)
        created, missing = seconds_until_equal(ledger, server, apexes, began)

        began = time.monotonic()
        for apex in apexes:
            ledger.change(apex, [Edit(b"\3www" + apex, rr.A, (300, (b"\xc0\0\2\3",)))], ME)
        changing = time.monotonic() - began
        changed, unchanged = seconds_until_equal(ledger, server, apexes, began)
        some = apexes[:: max(1, zones // COMPARED)]
        unequal = sum(content(ours, each) != content(server, each) for each in some)

        began = time.monotonic()
        for apex in apexes:
            ledger.delete(apex, ME)
        if isinstance(server, NsdSecondary):
            server.remove(names)
        deleting = time.monotonic() - began
        deleted, left = seconds_until_gone(server, apexes, began)
        ledger.store.close()
    return Figures(created, changed, changing, deleted, deleting, missing + unchanged + left, unequal)


if __name__ == "__main__":
    common.run(main, limit=3600)
