#!/usr/bin/env python3
"""100,000 zones: start to first answer, memory, and a change of one zone seen in answers while others are asked for.

Each server runs alone, pinned to the first processor. *Start* is from starting the process until the last zone by
name is answered with authority. *Memory* is the resident memory of all its processes, shared pages counted once.
*Reload* is from the moment the new file stands in the folder until its serial is in the answers, each server told in
its own way (mx10 notices by itself), while dnsperf asks for other zones at a steady rate: its rate, mean and longest
wait are shown before and during.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import PIPE, Popen

import common
from common import Dnsperf, Load, Spread, paired, say

from peers import AUTHORITATIVE, Mx10, NoAnswerError, PeerError, Server, ask, question
from peers.asking import serial_of

ASK_RATE = 10_000
"""Questions a second asked for other zones while one is reloaded: enough to see a pause, few enough not to make one."""
START_LIMIT = 120.0
"""Seconds a server may take to start; longer is shown as such."""
CHANGES = 10
"""How often the zone is changed, in turns by renaming a new file over the old and by writing into it."""


@dataclass(slots=True)
class Figures:
    """What was measured of one server, a value a round."""

    start: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    renamed: list[float] = field(default_factory=list)
    in_place: list[float] = field(default_factory=list)
    before: list[Load] = field(default_factory=list)
    during: list[Load] = field(default_factory=list)


def main() -> None:
    """Write the zones, measure every server in turns, print."""
    args = common.arguments(
        __doc__ or "", zones={"type": int, "default": None, "help": "how many zones (100,000; with --quick 2,000)"}
    )
    count = args.zones or (2_000 if args.quick else 100_000)
    rounds = max(3, args.rounds or 3)
    kinds: list[type[Server]] = [Mx10, *AUTHORITATIVE]
    figures = {kind.name: Figures() for kind in kinds}
    versions: dict[str, str] = {}
    with common.folder() as here:
        zones = here / "zones"
        zones.mkdir()
        common.write_zones(zones, count)
        asked = common.questions(count, 50_000, first=10)
        (here / "questions").write_text("".join(f"{name} {rrtype}\n" for name, rrtype in asked))
        perf = Dnsperf(here / "questions", rate=ASK_RATE)
        for number in range(rounds):
            for kind in common.turns(kinds, number):
                if figures[kind.name].start[-1:] == [float("inf")]:
                    continue  # It did not start in time before; it need not fail again.
                server = kind(zones, core=common.SERVER_CORE, limit=START_LIMIT)
                versions[kind.name] = server.version()
                say(f"round {number + 1}/{rounds} {kind.name}")
                one_round(server, figures[kind.name], perf, 1.5 if args.quick else 4.0)
    show(args.json, count, rounds, figures, versions)


def one_round(server: Server, figures: Figures, perf: Dnsperf, length: float) -> None:
    """Start a server, weigh it, change a zone under it, stop it."""
    server.configure()
    began = time.perf_counter()
    try:
        server.launch()
        try:
            server.await_ready()
        except PeerError as error:
            if server.process is not None and server.process.poll() is None:
                say(f"  {server.name}: no answer after {START_LIMIT:.0f} s")
                figures.start.append(float("inf"))
                return
            raise PeerError(f"{server.name}: {error}") from error
        figures.start.append(time.perf_counter() - began)
        time.sleep(1.0)  # Let it finish what it does after the first answer.
        figures.memory.append(server.memory() / 1e6)
        perf.once(server.address, server.port)
        figures.before.append(perf.seconds(server.address, server.port, length))
        argv = perf.command(server.address, server.port, "-l", str(length))
        with Popen(argv, stdout=PIPE, stderr=PIPE, text=True) as load:
            time.sleep(0.3)
            change_zone(server, figures, length - 0.6)
            out, errors = load.communicate(timeout=length + 30)
        figures.during.append(common.read_dnsperf(out, errors))
        say(
            f"  start {figures.start[-1]:.2f} s, {figures.memory[-1]:.0f} MB,"
            f" reload {1e3 * figures.renamed[-1]:.1f} and {1e3 * figures.in_place[-1]:.1f} ms,"
            f" longest wait {1e3 * figures.before[-1].latency_max:.1f} -> {1e3 * figures.during[-1].latency_max:.1f} ms"
        )
    finally:
        server.stop()


def change_zone(server: Server, figures: Figures, length: float) -> None:
    """Give zone 0 a new serial ``CHANGES`` times within ``length`` seconds, and see how long each takes to be answered.

    Raises:
        PeerError: a change was not seen within ten seconds.
    """
    path = server.zones / f"{common.zone_name(0)}.zone"
    wire = question(common.zone_name(0), "SOA", ident=77, payload=1232)
    serial = int(time.time()) & 0xFFFFFF
    try:
        for number in range(CHANGES):
            serial += 1
            next_at = time.perf_counter() + length / CHANGES
            renamed = number % 2 == 0
            began = (rename_over if renamed else write_into)(path, common.zone_text(0, serial))
            server.reload(common.zone_name(0))
            while serial_of(patient(server, wire)) != serial:
                if time.perf_counter() - began > 10:
                    raise PeerError(
                        f"{server.name}: the change of a zone was not seen within 10 s\n{server.log_tail()}"
                    )
                time.sleep(0.001)
            (figures.renamed if renamed else figures.in_place).append(time.perf_counter() - began)
            time.sleep(max(0.0, next_at - time.perf_counter()))
    finally:
        path.write_text(common.zone_text(0))


def patient(server: Server, wire: bytes) -> bytes:
    """An answer, even if one was lost."""
    for _ in range(3):
        try:
            return ask(server.address, server.port, wire, timeout=1.0)
        except NoAnswerError:
            continue
    raise PeerError(f"{server.name} stopped answering\n{server.log_tail()}")


def rename_over(path: Path, text: str) -> float:
    """Put a new file in the place of the old one at once; the time at which it stood there."""
    new = path.with_name(f".{path.name}.new")
    new.write_text(text)
    began = time.perf_counter()
    new.replace(path)
    return began


def write_into(path: Path, text: str) -> float:
    """Write into the file itself, as some editors do; the time before it was opened."""
    began = time.perf_counter()
    path.write_text(text)
    return began


def show(as_json: bool, count: int, rounds: int, figures: dict[str, Figures], versions: dict[str, str]) -> None:
    """Two tables, or the object for ``--json``."""
    ours = figures["mx10"]
    start_rows, reload_rows = [], []
    for name, one in figures.items():
        if one.start[-1] == float("inf"):
            start_rows.append([versions[name], f"> {START_LIMIT:.0f}", "", "", ""])
            continue
        mine = name == "mx10"
        start_rows.append(
            [
                versions[name],
                Spread.of(one.start).text(),
                Spread.of(one.memory).text(0),
                "" if mine else _beside(ours.start, one.start).text(),
                "" if mine else _beside(ours.memory, one.memory).text(),
            ]
        )
        reload_rows.append(
            [
                versions[name],
                Spread.of([1e3 * each for each in one.renamed]).text(1),
                Spread.of([1e3 * each for each in one.in_place]).text(1),
                _loads(one.before, lambda load: load.rate, 0),
                _loads(one.during, lambda load: load.rate, 0),
                _loads(one.before, lambda load: 1e3 * load.latency, 2),
                _loads(one.during, lambda load: 1e3 * load.latency, 2),
                _loads(one.before, lambda load: 1e3 * load.latency_max, 1),
                _loads(one.during, lambda load: 1e3 * load.latency_max, 1),
                f"{sum(load.lost for load in one.before)} / {sum(load.lost for load in one.during)}",
            ]
        )
    start_headers = ["server", "start to first answer, s", "memory, MB", "mx10 ÷ it, start", "mx10 ÷ it, memory"]
    reload_headers = [
        "server",
        "reload ms, renamed",
        "reload ms, in place",
        "q/s before",
        "q/s during",
        "mean ms before",
    ]
    reload_headers += ["mean ms during", "longest ms before", "longest ms during", "lost before / during"]
    how = f"{count:,} zones, {rounds} rounds; median (lowest-highest)"
    peers = {name: one for name, one in figures.items() if name != "mx10" and one.memory}
    common.finish(
        as_json,
        {
            "benchmark": "zones",
            "how": how,
            "ours": _numbers(ours),
            "peers": {name: _numbers(one) for name, one in figures.items() if name != "mx10"},
            "ratio": {
                name: {
                    "start": round(_beside(ours.start, one.start).middle, 3),
                    "memory": round(_beside(ours.memory, one.memory).middle, 3),
                }
                for name, one in peers.items()
            },
            "spread": {
                name: {
                    "start": _beside(ours.start, one.start).rounded(),
                    "memory": _beside(ours.memory, one.memory).rounded(),
                }
                for name, one in peers.items()
            },
            "versions": versions,
        },
        f"Start and memory: {how}\n\n{common.table(start_headers, start_rows)}\n\n"
        f"Reload of one zone while others are asked for, {ASK_RATE:,} questions a second\n\n"
        f"{common.table(reload_headers, reload_rows)}",
    )


def _beside(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    both = min(len(ours), len(theirs))
    return paired(ours[:both], theirs[:both])


def _loads(loads: Sequence[Load], of: Callable[[Load], float], digits: int) -> str:
    return f"{Spread.of([of(load) for load in loads]).middle:,.{digits}f}"


def _numbers(one: Figures) -> dict[str, object]:
    if not one.memory:
        return {"start_s": f"> {START_LIMIT:.0f}"}
    return {
        "start_s": Spread.of(one.start).rounded(),
        "memory_mb": Spread.of(one.memory).rounded(1),
        "reload_renamed_ms": Spread.of([1e3 * each for each in one.renamed]).rounded(1),
        "reload_in_place_ms": Spread.of([1e3 * each for each in one.in_place]).rounded(1),
        "longest_wait_before_ms": Spread.of([1e3 * load.latency_max for load in one.before]).rounded(1),
        "longest_wait_during_ms": Spread.of([1e3 * load.latency_max for load in one.during]).rounded(1),
        "lost_during": sum(load.lost for load in one.during),
    }


if __name__ == "__main__":
    common.run(main, limit=2400)
