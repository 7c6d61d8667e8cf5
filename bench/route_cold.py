#!/usr/bin/env python3
"""One cold ``mx10 route DOMAIN`` beside the dig runs that ask the same: from starting the process to its end.

dig asks for MX, then for A and AAAA of every exchanger: once as a person would, one process a question, and once as
two processes, the second with all addresses on one command line. The domain has three exchangers; NSD serves it on
loopback, so the time is the programs' own. Both take turns in pairs, the order changing.
"""

import resource
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import common
from common import Spread, paired, say

from peers import Mx10, Nsd, PeerError, Server
from peers.server import find_program, first_line

DOMAIN = "company.example"
EXCHANGERS = ("mx1", "mx2", "mx.backup")
ZONE = """\
$TTL 3600
@ IN SOA ns1 hostmaster 1 7200 3600 1209600 300
@ IN NS ns1
ns1 IN A 192.0.2.53
@ IN MX 10 mx1
@ IN MX 10 mx2
@ IN MX 20 mx.backup
mx1 IN A 192.0.2.1
mx1 IN AAAA 2001:db8::1
mx2 IN A 192.0.2.2
mx2 IN AAAA 2001:db8::2
mx.backup IN A 198.51.100.3
mx.backup IN AAAA 2001:db8::3
"""
CONFIG = """\
[resolver]
servers = ["{server}"]
[routing]
public_networks = ["192.0.2.0/24", "198.51.100.0/24", "2001:db8::/32"]
"""


def main() -> None:
    """Serve the domain, run the pairs, print."""
    args = common.arguments(__doc__ or "")
    rounds = max(3, args.rounds or (10 if args.quick else 30))
    with common.folder() as here:
        zones = here / "zones"
        zones.mkdir()
        (zones / f"{DOMAIN}.zone").write_text(ZONE)
        with Nsd(zones) as nsd:
            measure(here, nsd, rounds, args.json)


def measure(here: Path, server: Server, rounds: int, as_json: bool) -> None:
    """Time every way in turns."""
    config = here / "mx10.toml"
    config.write_text(CONFIG.format(server=f"{server.address}:{server.port}"))
    mx10 = Mx10(here / "zones").program()
    dig = [find_program("dig", "bind9-dnsutils"), "-r", f"@{server.address}", "-p", str(server.port), "+norec"]
    addresses = [(f"{host}.{DOMAIN}", kind) for host in EXCHANGERS for kind in ("A", "AAAA")]
    # A Python that does nothing: the least that mx10 can take.
    python = str(Path(mx10).with_name("python"))

    def separate() -> str:
        return run([*dig, DOMAIN, "MX"]) + "".join(run([*dig, name, kind]) for name, kind in addresses)

    def together() -> str:
        return run([*dig, DOMAIN, "MX"]) + run([*dig, *(word for pair in addresses for word in pair)])

    ways: dict[str, Callable[[], str]] = {
        "mx10 route": lambda: run([mx10, "--config", str(config), "route", DOMAIN]),
        "dig, a process each": separate,
        "dig, two processes": together,
        "python -c pass": lambda: run([python, "-c", "pass"]),
    }
    for name, way in ways.items():
        said = way()
        if name != "python -c pass" and not all(f"{host}.{DOMAIN}" in said for host in EXCHANGERS):
            raise PeerError(f"{name} does not name every exchanger:\n{said}")
    times: dict[str, list[float]] = {name: [] for name in ways}
    costs: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        for name in common.turns(list(ways), number):
            began, before = time.perf_counter(), processor_time()
            ways[name]()
            times[name].append(1e3 * (time.perf_counter() - began))
            costs[name].append(1e3 * (processor_time() - before))
        say(f"round {number + 1}/{rounds} " + ", ".join(f"{name} {every[-1]:.0f} ms" for name, every in times.items()))
    ours = times["mx10 route"]
    rows = []
    for name, every in times.items():
        ratio = "" if every is ours else paired(ours, every).text()
        rows.append([name, Spread.of(every).text(1), ratio, Spread.of(costs[name]).text(1)])
    how = f"{len(EXCHANGERS)} exchangers, {1 + len(addresses)} questions, {rounds} pairs; median (lowest-highest)"
    peers = {name: every for name, every in times.items() if every is not ours}
    common.finish(
        as_json,
        {
            "benchmark": "route_cold",
            "unit": "ms",
            "how": how,
            "ours": round(Spread.of(ours).middle, 1),
            "peers": {name: round(Spread.of(every).middle, 1) for name, every in peers.items()},
            "ratio": {name: round(paired(ours, every).middle, 3) for name, every in peers.items()},
            "spread": {name: paired(ours, every).rounded() for name, every in peers.items()},
            "cpu_ms": {name: Spread.of(every).rounded(1) for name, every in costs.items()},
            "versions": {"dig": first_line(dig[0], "-v"), "mx10": first_line(mx10, "--version")},
        },
        f"A cold route: {how}\n\n{common.table(['way', 'ms', 'mx10 ÷ it', 'CPU ms'], rows)}",
    )


def processor_time() -> float:
    """Seconds of processor time that all ended child processes took."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(argv: Sequence[str]) -> str:
    """What a program printed.

    Raises:
        PeerError: it failed.
    """
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode:
        raise PeerError(f"{' '.join(argv)}: exit {done.returncode}: {done.stderr or done.stdout}")
    return done.stdout


if __name__ == "__main__":
    common.run(main, limit=300)
