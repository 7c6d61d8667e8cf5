#!/usr/bin/env python3
"""10,000 unsigned zones, each signed with a new ECDSA P-256 key: `mx10 zone sign --all`, Knot, and dnssec-signzone.

All use both processors, and all is on disk at the end. mx10: from starting the command, with the zones in a SQLite
store, until it ends (keys, signatures and the change sets are committed). Knot: from starting knotd with
`dnssec-signing: on` until the signed zone files are written. BIND: dnssec-keygen and dnssec-signzone for each zone, as
many at a time as there are processors; of a part of the zones, since each needs two processes. In turns, by rounds.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import common
from common import Spread, paired, say

from mx10.config import ZoneSettings
from mx10.dns.wirename import from_text
from mx10.store.connect import open_store
from mx10.zones.build import build
from mx10.zones.ledger import Author, Ledger
from mx10.zones.master import read_text
from mx10.zones.zone import Zone
from peers import PeerError, free_port
from peers.server import find_program, first_line

BIND_PART = 10
"""One of so many zones is signed with BIND's tools."""
KNOT_LIMIT = 240.0
"""Seconds Knot may take for all zones."""
SIGNED_OCTETS = 2500
"""A zone file that is longer has signatures: unsigned ones have some 500 octets."""


def main() -> None:
    """Sign the zones with each in turns, print."""
    args = common.arguments(
        __doc__ or "", zones={"type": int, "default": None, "help": "how many zones (10,000; with --quick 500)"}
    )
    count = args.zones or (500 if args.quick else 10_000)
    rounds = args.rounds or (1 if args.quick else 3)
    signers = {"mx10": sign_with_mx10, "Knot": sign_with_knot, "dnssec-signzone": sign_with_bind}
    rates: dict[str, list[float]] = {name: [] for name in signers}
    for number in range(rounds):
        for name in common.turns(list(signers), number):
            with common.folder() as here:
                rates[name].append(signers[name](here, count))
            say(f"round {number + 1}/{rounds} {name}: {rates[name][-1]:,.0f} zones/s")
    show(args.json, count, rounds, rates)


def zones(count: int) -> Iterator[Zone]:
    """The zones as values."""
    settings = ZoneSettings()
    for number in range(count):
        text = common.zone_text(number)
        loaded = build(read_text(text, from_text(common.zone_name(number) + "."), settings, path="zone"), settings)
        assert loaded.zone is not None
        yield loaded.zone


def sign_with_mx10(here: Path, count: int) -> float:
    """Zones a second."""
    url = f"sqlite:///{here}/mx10.db"
    store = open_store(url, create=True)
    Ledger(store, ZoneSettings()).create_many(zones(count), Author("bench"))
    store.close()
    began = time.perf_counter()
    run = subprocess.run(
        [sys.executable, "-m", "mx10", "zone", "sign", "--all"],
        env=os.environ | {"MX10_STORE__URL": url},
        cwd=here,
        capture_output=True,
        text=True,
        check=False,
    )
    took = time.perf_counter() - began
    if run.returncode or run.stdout.count(" is signed\n") != count:
        raise PeerError(f"mx10 zone sign ended with {run.returncode}: {run.stderr[-500:]}")
    return count / took


def sign_with_knot(here: Path, count: int) -> float:
    """Zones a second."""
    folder = here / "zones"
    folder.mkdir()
    (here / "db").mkdir()
    common.write_zones(folder, count)
    lines = [
        "server:",
        f'  rundir: "{here}"',
        f"  listen: 127.0.0.1@{free_port('127.0.0.1')}",
        f"  background-workers: {len(common.CORES)}",
        "log:",
        "  - target: stderr",
        "    any: error",
        "database:",
        f'  storage: "{here}/db"',
        "policy:",
        "  - id: bench",
        "    algorithm: ecdsap256sha256",
        "    single-type-signing: on",
        "template:",
        "  - id: default",
        f'    storage: "{folder}"',
        "    dnssec-signing: on",
        "    dnssec-policy: bench",
        "zone:",
        *(f"  - domain: {common.zone_name(number)}." for number in range(count)),
    ]
    (here / "knot.conf").write_text("\n".join(lines) + "\n")
    with started([find_program("knotd", "knot"), "-c", str(here / "knot.conf")], here / "log") as (server, began):
        while signed_files(folder) < count:
            if server.poll() is not None or time.perf_counter() - began > KNOT_LIMIT:
                raise PeerError(f"Knot did not sign all zones within {KNOT_LIMIT:.0f} s: {(here / 'log').read_text()}")
            time.sleep(0.2)
        return count / (time.perf_counter() - began)


@contextmanager
def started(command: list[str], log: Path) -> Iterator[tuple["subprocess.Popen[bytes]", float]]:
    """A server, ended afterwards, and when it was started."""
    with log.open("wb") as errors:
        began = time.perf_counter()
        server = subprocess.Popen(command, stdout=errors, stderr=errors)
        try:
            yield server, began
        finally:
            server.kill()
            server.wait()


def signed_files(folder: Path) -> int:
    """Zone files with signatures."""
    count = 0
    with os.scandir(folder) as found:
        for each in found:
            # Knot writes beside the file and renames: what has another name comes and goes.
            if each.name.endswith(".zone") and each.stat().st_size > SIGNED_OCTETS:
                count += 1
    return count


def sign_with_bind(here: Path, count: int) -> float:
    """Zones a second."""
    part = max(1, count // BIND_PART)
    common.write_zones(here, part)
    keygen, signzone = find_program("dnssec-keygen", "bind9-utils"), find_program("dnssec-signzone", "bind9-utils")

    def sign(number: int) -> None:
        name = common.zone_name(number)
        for command in (
            [keygen, "-q", "-K", str(here), "-a", "ECDSAP256SHA256", "-f", "KSK", name],
            [signzone, "-q", "-z", "-S", "-K", str(here), "-d", str(here), "-o", name, str(here / f"{name}.zone")],
        ):
            run = subprocess.run(command, capture_output=True, text=True, check=False)
            if run.returncode:
                raise PeerError(f"{Path(command[0]).name}: {run.stderr[-500:]}")

    began = time.perf_counter()
    with ThreadPoolExecutor(len(common.CORES)) as pool:
        list(pool.map(sign, range(part)))
    return part / (time.perf_counter() - began)


def show(as_json: bool, count: int, rounds: int, rates: dict[str, list[float]]) -> None:
    """Print the figures."""
    versions = {
        "mx10": "mx10",
        "Knot": first_line(find_program("knotd", "knot"), "-V").replace("knotd (Knot DNS), version", "Knot DNS"),
        "dnssec-signzone": first_line(find_program("dnssec-signzone", "bind9-utils"), "-V"),
    }
    ratios = {name: paired(rates["mx10"], values) for name, values in rates.items()}
    text = common.table(
        ("", "zones/s", "mx10 : it"),
        [(versions[name], Spread.of(values).text(0), ratios[name].text()) for name, values in rates.items()],
    )
    text += f"\n\n{count:,} zones, {rounds} rounds; median (lowest-highest)."
    result = {
        "ours": {"zones_per_second": Spread.of(rates["mx10"]).rounded(0)},
        "peers": {name: Spread.of(values).rounded(0) for name, values in rates.items() if name != "mx10"},
        "ratio": {name: ratio.middle for name, ratio in ratios.items() if name != "mx10"},
        "spread": {name: ratio.rounded() for name, ratio in ratios.items() if name != "mx10"},
        "zones": count,
        "versions": versions,
    }
    common.finish(as_json, result, text)


if __name__ == "__main__":
    common.run(main, limit=1500)
