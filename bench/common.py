"""What the benchmarks share: zones and questions to measure with, dnsperf, spread, tables, JSON, a bound on their time.

Every program ``bench/NAME.py`` measures mx10 and its peers in one run, in turns, on the same machine; it prints a
table, or with ``--json`` one object with ``ours``, ``peers``, ``ratio`` and ``spread``. What it is doing goes to
standard error.
"""

import argparse
import contextlib
import json
import os
import platform
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from types import FrameType
from typing import TypeVar

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from mx10.config import ZoneSettings  # noqa: E402
from mx10.dns.wirename import to_text  # noqa: E402
from mx10.zones.dnssec.keys import KeySet, SigningKey  # noqa: E402
from mx10.zones.dnssec.policy import Denial, Policy  # noqa: E402
from mx10.zones.dnssec.whole import sign_zone  # noqa: E402
from mx10.zones.dnssec.work import Arrangement  # noqa: E402
from mx10.zones.folder import ZoneFolder  # noqa: E402
from mx10.zones.text import to_text as zone_to_text  # noqa: E402
from mx10.zones.zone import Zone  # noqa: E402
from peers import MissingPeerError, PeerError  # noqa: E402
from peers.server import find_program  # noqa: E402

T = TypeVar("T")

CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE = CORES[0] if len(CORES) > 1 else None
"""The processor of the server being measured; None (no pinning) on a machine with a single one."""
CLIENT_CORE = CORES[1] if len(CORES) > 1 else None


class OutOfTimeError(Exception):
    """The benchmark took longer than it may."""


# Running


def arguments(description: str, **extra: Mapping[str, object]) -> argparse.Namespace:
    """The command line that all benchmarks have: --json, --quick, --rounds; ``extra`` adds options by name."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    parser.add_argument("--quick", action="store_true", help="fewer zones and shorter runs, to see that it works")
    parser.add_argument("--rounds", type=int, default=None, help="how often every server has its turn")
    for name, settings in extra.items():
        parser.add_argument("--" + name.replace("_", "-"), **settings)  # type: ignore[arg-type]  # argparse's own types
    return parser.parse_args()


def run(main: Callable[[], None], *, limit: int) -> None:
    """Run a benchmark, end it after ``limit`` seconds, and say in a sentence what was missing or went wrong."""

    def too_late(_signal: int, _frame: FrameType | None) -> None:
        raise OutOfTimeError(f"not done after {limit} s; the machine is too slow or too busy for this benchmark")

    signal.signal(signal.SIGALRM, too_late)
    signal.signal(signal.SIGTERM, lambda _signal, _frame: sys.exit(143))
    signal.alarm(limit)
    try:
        main()
    except (MissingPeerError, PeerError, OutOfTimeError) as error:
        sys.exit(f"{Path(sys.argv[0]).name}: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        signal.alarm(0)


def say(text: str) -> None:
    """Progress, on standard error."""
    print(f"  {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A temporary folder that is gone afterwards."""
    path = Path(tempfile.mkdtemp(prefix="mx10-bench-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def compiled(here: Path, name: str) -> Path:
    """The program of ``bench/NAME.c``, made in a folder.

    Raises:
        MissingPeerError: there is no compiler.
    """
    program = here / name
    source = Path(__file__).with_name(f"{name}.c")
    command = [find_program("gcc", "gcc libc6-dev"), "-O2", "-o", str(program), str(source)]
    subprocess.run(command, check=True, timeout=60)
    return program


def turns(things: Sequence[T], number: int) -> list[T]:
    """The order of turns in round ``number``: rotated, and every other round backwards."""
    at = number % len(things)
    order = [*things[at:], *things[:at]]
    return order[::-1] if number % 2 else order


# Figures


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and the extremes between which the runs lay."""

    low: float
    middle: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        return cls(min(values), median(values), max(values))

    def text(self, digits: int = 2) -> str:
        """As tables show it: ``1.02 (0.98-1.05)``."""
        return f"{self.middle:,.{digits}f} ({self.low:,.{digits}f}-{self.high:,.{digits}f})"

    def rounded(self, digits: int = 3) -> list[float]:
        """For JSON: low, middle, high."""
        return [round(self.low, digits), round(self.middle, digits), round(self.high, digits)]


def paired(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Our figure in proportion to theirs, round by round, so that what disturbs the machine disturbs both."""
    return Spread.of([our / their for our, their in zip(ours, theirs, strict=True) if their])


def machine() -> dict[str, str | int]:
    """What it was measured on, and when."""
    cpu = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "cpu": cpu[1] if cpu else platform.machine(),
        "cores": len(CORES),
        "memory_mb": int(memory[1]) // 1024 if memory else 0,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": f"{os.getloadavg()[0]:.2f}",
    }


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, aligned so that it reads well on a terminal too: the first column left, figures right."""
    columns = [[header, *(row[at] for row in rows)] for at, header in enumerate(headers)]
    widths = [max(map(len, column)) for column in columns]

    def line(cells: Sequence[str]) -> str:
        first, *rest = [
            cell.ljust(width) if not at else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return "| " + " | ".join([first, *rest]) + " |"

    rule = (
        "|"
        + "|".join(("-" * (width + 2)) if not at else "-" * (width + 1) + ":" for at, width in enumerate(widths))
        + "|"
    )
    return "\n".join([line(headers), rule, *(line(row) for row in rows)])


def finish(as_json: bool, result: Mapping[str, object], text: str) -> None:
    """Print the outcome: one JSON object, or the tables under a line about the machine."""
    about = machine()
    if as_json:
        print(json.dumps({**result, "machine": about}, indent=2))
    else:
        where = f"{about['cpu']}, {about['cores']} cores; Linux {about['kernel']}; Python {about['python']}"
        print(f"{about['date']}; {where}\n\n{text}")


# Zones and questions


def zone_name(number: int) -> str:
    """The name of zone ``number``: like a customer's domain, and no zone is under another."""
    return f"customer{number:06d}.example"


def zone_text(number: int, serial: int = 1) -> str:
    """The master file of zone ``number``.

    Of ten domains seven have two exchangers of their own, two have one elsewhere, one has five elsewhere.
    """
    address = f"198.18.{number >> 8 & 255}.{number & 255}"
    lines = [
        "$TTL 3600",
        f"@ IN SOA ns1 hostmaster {serial} 7200 3600 1209600 300",
        "@ IN NS ns1",
        "@ IN NS ns2",
        f"@ IN A {address}",
        '@ IN TXT "v=spf1 mx -all"',
        "ns1 IN A 192.0.2.2",
        "ns2 IN A 192.0.2.3",
        f"www IN A {address}",
        f"mail IN A {address}",
    ]
    kind = number % 10
    if kind < 7:
        lines += [
            "@ IN MX 10 mx1",
            "@ IN MX 20 mx2",
            f"mx1 IN A {address}",
            "mx1 IN AAAA 2001:db8::1",
            "mx2 IN A 192.0.2.5",
        ]
    elif kind < 9:
        lines += ["@ IN MX 10 mx.provider.invalid."]
    else:
        lines += [f"@ IN MX {preference} mx{preference}.big-provider.invalid." for preference in (1, 5, 5, 10, 10)]
        lines[-4] = "@ IN MX 5 mx5b.big-provider.invalid."
        lines[-2] = "@ IN MX 10 mx10b.big-provider.invalid."
    return "\n".join(lines) + "\n"


def write_zones(where: Path, count: int) -> None:
    """``count`` master files."""
    say(f"writing {count:,} zones")
    for number in range(count):
        (where / f"{zone_name(number)}.zone").write_text(zone_text(number))


def sign_zones(where: Path, denial: Denial) -> None:
    """Sign every zone of a folder in place: ECDSA P-256, one key for each zone (RFC 8624 recommends the algorithm)."""
    folder = ZoneFolder(where, ZoneSettings())
    folder.load()
    say(f"signing {len(folder.zones):,} zones")
    policy, chance, now = Policy(denial=denial), random.Random(1), int(time.time())
    for packed in folder.zones.values():
        zone = Zone.unpack(packed)
        keys = KeySet.plain([SigningKey.generate(policy.algorithm, "csk")])
        signed = sign_zone(zone, Arrangement(policy, keys), now, chance.random)
        (where / f"{to_text(zone.apex, final_dot=False)}.zone").write_text(zone_to_text(signed))


def questions(zones: int, count: int, seed: int = 10, first: int = 0) -> list[tuple[str, str]]:
    """``count`` questions over the zones.

    Of a hundred 60 ask for MX, 12 for A, 10 for TXT, 10 for an address of an exchanger, 3 for AAAA, 5 for a name that
    does not exist.
    """
    chance = random.Random(seed)
    asked = []
    for _ in range(count):
        number = chance.randrange(first, zones)
        name, what = zone_name(number), chance.random()
        if what < 0.60:
            asked.append((name, "MX"))
        elif what < 0.72:
            asked.append((chance.choice((name, "www." + name)), "A"))
        elif what < 0.82:
            asked.append((name, "TXT"))
        elif what < 0.92:
            asked.append((chance.choice(("mx1.", "mx2.")) + zone_name(number - number % 10), "A"))
        elif what < 0.95:
            asked.append((name, "AAAA"))
        else:
            asked.append((f"x{chance.randrange(1 << 32):08x}.{name}", "A"))
    return asked


# dnsperf


@dataclass(frozen=True, slots=True)
class Load:
    """What dnsperf saw: questions a second, counts, response codes in per cent, octets an answer, latency in s."""

    rate: float
    completed: int
    lost: int
    rcodes: dict[str, float]
    octets: int
    latency: float
    latency_max: float


class Dnsperf:
    """dnsperf asking a server, ``window`` questions at once or at a fixed ``rate``, from the other processor."""

    def __init__(
        self,
        asked: Path,
        *,
        window: int = 200,
        clients: int = 4,
        edns: bool = True,
        do: bool = False,
        rate: int | None = None,
    ) -> None:
        self.options = ["-d", str(asked), "-c", str(clients), "-q", str(window), *(["-e"] if edns else []), "-t", "2"]
        if do:
            self.options.append("-D")
        if rate is not None:
            self.options += ["-Q", str(rate)]

    def command(self, address: str, port: int, *end: str) -> list[str]:
        pin = [find_program("taskset", "util-linux"), "-c", str(CLIENT_CORE)] if CLIENT_CORE is not None else []
        return [*pin, find_program("dnsperf", "dnsperf"), "-s", address, "-p", str(port), *self.options, *end]

    def once(self, address: str, port: int) -> Load:
        """Every question of the file once: to warm up."""
        return self._run(self.command(address, port, "-n", "1"))

    def seconds(self, address: str, port: int, length: float) -> Load:
        """For some seconds."""
        return self._run(self.command(address, port, "-l", str(length)))

    def _run(self, argv: Sequence[str]) -> Load:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
        return read_dnsperf(done.stdout, done.stderr)


class Asker:
    """``bench/asker.c`` asking a server over four sockets with 50 questions open on each, from the other processor.

    It costs less than any of the servers, so that their own speed shows, where dnsperf would be the bottleneck.

    Args:
        here: a folder for the program and its questions.
        asked: the messages to ask, as they go over the wire.
    """

    def __init__(self, here: Path, asked: Sequence[bytes]) -> None:
        self.program = compiled(here, "asker")
        self.questions = here / "questions.wire"
        self.questions.write_bytes(b"".join(len(wire).to_bytes(2, "big") + wire for wire in asked))

    def seconds(self, address: str, port: int, length: float) -> Load:
        """For some seconds.

        Raises:
            PeerError: it could not ask.
        """
        pin = [find_program("taskset", "util-linux"), "-c", str(CLIENT_CORE)] if CLIENT_CORE is not None else []
        command = [*pin, str(self.program), address, str(port), str(self.questions), str(length), "4", "50"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=length + 60, check=False)
        if done.returncode:
            raise PeerError(f"asker: {done.stderr}")
        said = json.loads(done.stdout)
        total = max(said["completed"], 1)
        said["rcodes"] = {code: round(100 * count / total, 2) for code, count in said["rcodes"].items() if count}
        return Load(**said)


def read_dnsperf(text: str, errors: str = "") -> Load:
    """The figures in what dnsperf prints.

    Raises:
        PeerError: it printed something else.
    """

    def figure(pattern: str) -> float:
        found = re.search(pattern, text)
        if found is None:
            raise PeerError(f"dnsperf said nothing like {pattern!r}: {text[-500:]}{errors[-500:]}")
        return float(found[1])

    codes = re.search(r"Response codes:\s+(.*)", text)
    return Load(
        rate=figure(r"Queries per second:\s+([\d.]+)"),
        completed=int(figure(r"Queries completed:\s+(\d+)")),
        lost=int(figure(r"Queries lost:\s+(\d+)")),
        rcodes={
            code: float(share) for code, share in re.findall(r"(\w+) \d+ \(([\d.]+)%\)", codes[1] if codes else "")
        },
        octets=int(figure(r"response (\d+)")),
        latency=figure(r"Average Latency \(s\):\s+([\d.]+)"),
        latency_max=figure(r"Average Latency \(s\):.*max ([\d.]+)"),
    )
