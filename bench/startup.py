#!/usr/bin/env python3
"""How soon the command line starts: ``mx10 --version``, ``mx10 --help`` and ``mx10 config show``.

Beside them stand the least a Python program can take, ``python -c pass``, and the versions of dig and of pip. The
demand is ``mx10 --version`` under 1.5 × ``python -c pass`` + 60 ms. All take turns in rounds, the order changing.
"""

import shutil
import subprocess
import time
from pathlib import Path
from statistics import median

import common
from common import Spread, paired, say

from peers import Mx10, PeerError

OURS = "mx10 --version"
LEAST = "python -c pass"


def main() -> None:
    """Run the rounds, print."""
    args = common.arguments(__doc__ or "")
    rounds = max(3, args.rounds or (10 if args.quick else 40))
    with common.folder() as here:
        mx10 = Mx10(here).program()
        python = str(Path(mx10).with_name("python"))
        config = here / "mx10.toml"
        config.write_text('[nameserver]\nlisten = ["127.0.0.1:5353"]\nworkers = 2\n')
        ways = {
            OURS: [mx10, "--version"],
            "mx10 --help": [mx10, "--help"],
            "mx10 config show": [mx10, "config", "show"],
            "mx10 --config FILE config show": [mx10, "--config", str(config), "config", "show"],
            LEAST: [python, "-c", "pass"],
            "pip --version": [python, "-m", "pip", "--version"],
        }
        if dig := shutil.which("dig"):
            ways["dig -v"] = [dig, "-v"]
        for argv in ways.values():
            milliseconds(argv)
        times: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(rounds):
            for name in common.turns(list(ways), number):
                times[name].append(milliseconds(ways[name]))
        say(f"{rounds} rounds of {len(ways)} commands")
    report(times, rounds, args.json)


def milliseconds(argv: list[str]) -> float:
    """How long a command takes, from starting the process to its end.

    Raises:
        PeerError: it failed.
    """
    began = time.perf_counter()
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False)
    taken = 1e3 * (time.perf_counter() - began)
    if done.returncode:
        raise PeerError(f"{' '.join(argv)}: exit {done.returncode}: {done.stderr or done.stdout}")
    return taken


def report(times: dict[str, list[float]], rounds: int, as_json: bool) -> None:
    """The table, or the object."""
    ours, least = times[OURS], times[LEAST]
    limit = 1.5 * median(least) + 60
    rows = [
        [name, Spread.of(every).text(1), "" if every is ours else paired(ours, every).text()]
        for name, every in times.items()
    ]
    peers = {name: every for name, every in times.items() if every is not ours}
    met = median(ours) < limit
    demand = f"{OURS}: {median(ours):.1f} ms, limit {limit:.1f} ms: {'met' if met else 'missed'}"
    how = f"{rounds} rounds in changing order; median (lowest-highest)"
    common.finish(
        as_json,
        {
            "benchmark": "startup",
            "unit": "ms",
            "how": how,
            "ours": round(median(ours), 1),
            "peers": {name: round(median(every), 1) for name, every in peers.items()},
            "ratio": {name: round(paired(ours, every).middle, 3) for name, every in peers.items()},
            "spread": {name: paired(ours, every).rounded() for name, every in peers.items()},
            "limit": round(limit, 1),
            "met": met,
        },
        f"Starting: {how}\n\n{common.table(['command', 'ms', OURS + ' ÷ it'], rows)}\n\n{demand}",
    )


if __name__ == "__main__":
    common.run(main, limit=180)
