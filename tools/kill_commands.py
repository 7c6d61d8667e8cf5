"""Kill commands of ``mx10 zone`` at random moments, and look at what they leave.

    .venv/bin/python tools/kill_commands.py --rounds 200

The same as ``tools/kill.py``, through the front door: each round starts one real command (import and apply of a master
file with two thousand names, create, set, sign, unsign) and sends SIGKILL after a random part of the time it usually
takes. Then: the database is whole; the zone is what it was before the command, or all of what the command makes it,
and that if the command had ended; a signed zone verifies, signature by signature; and the same command, run again,
goes through. The exit code is 1 if anything is wrong.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mx10.config import ZoneSettings
from mx10.dns import rrtypes as rr
from mx10.dns.wirename import from_text
from mx10.store.connect import open_store
from mx10.zones.dnssec.verify import faults
from mx10.zones.folder import load_file
from mx10.zones.ledger import Author, Ledger, NoSuchZoneError, ZoneInfo
from mx10.zones.zone import Zone

VERBS = ("import", "apply", "create", "set", "sign", "unsign")
NAMES = 2000
"""Names of the large zone."""
LARGE = from_text("large.example.")
POOL = 50
"""Names of the zones that are signed."""
HEAD = "$ORIGIN {}\n$TTL 60\n@ SOA ns.example.net. h 1 2h 30m 2w 1h\n@ NS ns.example.net.\n@ NS ns2.example.net.\n"


class Rounds:
    """Commands on a store in a folder, one after the other.

    Args:
        folder: for the store and for master files.
        chance: which commands, and when they are killed.
        verbs: those to choose from.
    """

    def __init__(self, folder: Path, chance: random.Random, verbs: Sequence[str]) -> None:
        self._verbs = verbs
        self._folder = folder
        self._chance = chance
        self._url = f"sqlite:///{folder}/mx10.db"
        self._seconds: dict[str, float] = {}
        self._value = 0
        self._signed: list[str] = []
        self.killed: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()

    def set_up(self) -> None:
        """Make the zones that commands change, and see how long each command takes."""
        self._make("large.example.", NAMES)
        self._make("small.example.", 20)
        for verb in (each for each in VERBS if each in self._verbs):
            self._value += 1
            began = time.monotonic()
            child = self._start(verb, self._target(verb))
            _, said = child.communicate()
            if child.returncode:
                raise SystemExit(f"{verb} does not work at all: {said}")
            self._seconds[verb] = time.monotonic() - began

    def one(self) -> Iterator[str]:
        """Start a command, kill it, look; what is wrong."""
        self._value += 1
        verb = self._chance.choice(self._verbs)
        target = self._target(verb)
        before = self._state(target)
        child = self._start(verb, target)
        try:
            child.wait(self._chance.uniform(0.25, 1.1) * self._seconds[verb])
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
        child.communicate()
        done = child.returncode == 0
        (self.ended if done else self.killed)[verb] += 1
        if not done and child.returncode != -signal.SIGKILL:
            yield f"{verb} ended by itself with {child.returncode}"
        left = self._state(target)
        yield from left.wrong
        # Taking signatures away is a matter of hours, and begun only once.
        if left == before and done and verb != "unsign":
            yield f"{verb} had ended, and nothing is changed"
        again = self._start(verb, target)
        _, said = again.communicate()
        # What the killed one had done already, the second finds done: it says so, or that the zone is there.
        if again.returncode not in ((0, 1) if left != before else (0,)):
            yield f"{verb} again ended with {again.returncode}: {said}"
        after = self._state(target)
        yield from after.wrong
        if verb in ("import", "apply") and after.values != {self._value}:
            yield f"{verb} again, and the zone is not what its file says"
        if verb == "sign" and not after.signed:
            yield "sign again, and the zone is not signed"

    def _target(self, verb: str) -> str:
        """The zone that a command is about."""
        if verb == "sign" or (verb == "unsign" and not self._signed):
            name = f"s{self._value}.example."
            self._make(name, POOL)
            self._signed.append(name)
            if verb == "unsign":
                self._start("sign", name).communicate()
            return name
        if verb == "unsign":
            return self._chance.choice(self._signed)
        return {"create": f"z{self._value}.example.", "set": "small.example."}.get(verb, "large.example.")

    def _make(self, name: str, names: int) -> None:
        path = Path(self._file(name, names, 0))
        zone = load_file(str(path.parent), path.name, ZoneSettings()).zone
        assert zone
        store = open_store(self._url, create=True)
        Ledger(store, ZoneSettings()).create(zone, Author("kill"))
        store.close()

    def _start(self, verb: str, target: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "mx10", "zone", verb, *self._arguments(verb, target)]
        environ = {**os.environ, "MX10_STORE__URL": self._url}
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=environ, stdout=pipe, stderr=pipe, stdin=subprocess.DEVNULL, text=True)

    def _arguments(self, verb: str, target: str) -> list[str]:
        if verb == "import":
            return [self._file(target, NAMES, self._value)]
        if verb == "apply":
            return [self._file(target, NAMES, self._value), "--yes"]
        if verb == "create":
            return [target, "--ns", "ns.example.net.", "--ns", "ns2.example.net."]
        if verb == "set":
            return [target, "www", "A", _address(self._value)]
        return [target]

    def _file(self, name: str, names: int, value: int) -> str:
        path = self._folder / f"{name}zone"
        lines = "".join(f"h{number} A {_address(value)}\n" for number in range(names))
        path.write_text(HEAD.format(name) + lines)
        return str(path)

    def _state(self, target: str) -> "State":
        apex = from_text(target)
        store = open_store(self._url)
        try:
            ledger = Ledger(store, ZoneSettings())
            with store.read() as connection:
                said = connection.exec_driver_sql("PRAGMA integrity_check").scalar()
            wrong = [] if said == "ok" else [f"the database: {said}"]
            try:
                info = ledger.info(apex)
            except NoSuchZoneError:
                return State(None, frozenset(), False, tuple(wrong))
            zone = ledger.zone(apex)
            if ledger.history(apex, limit=1)[0].serial_after != info.serial:
                wrong.append("its last change set is not its serial's")
            wrong += _wrong(info, zone)
            said_wrong = tuple(f"{target} {each}" for each in wrong)
            return State(info.serial, frozenset(_values(zone)), info.signed, said_wrong)
        finally:
            store.close()


@dataclass(frozen=True, slots=True)
class State:
    """Of a zone its serial (None: there is no such zone), the values in its addresses, whether it is signed, and what
    is wrong with it or the store."""

    serial: int | None
    values: frozenset[int]
    signed: bool
    wrong: tuple[str, ...]


def _wrong(info: ZoneInfo, zone: Zone) -> Iterator[str]:
    if zone.serial != info.serial:
        yield "its SOA record has another serial"
    if sum(map(len, zone.nodes.values())) != info.rrsets:
        yield "its record sets are not counted right"
    if info.signed:
        yield from map(str, faults(zone, int(time.time())))
    elif rr.DNSKEY in zone.nodes[info.apex]:
        yield "half signed"
    if info.apex == LARGE and (len(zone.nodes) != NAMES + 1 or len(_values(zone)) != 1):
        yield "half an import"


def _address(value: int) -> str:
    return f"10.{value >> 16 & 255}.{value >> 8 & 255}.{value & 255}"


def _values(zone: Zone) -> set[int]:
    sets = [node[rr.A][1] for node in zone.nodes.values() if rr.A in node]
    return {int.from_bytes(data[1:], "big") for datas in sets for data in datas}


def main() -> int:
    """Run the rounds and print what came of them; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--verbs", nargs="+", choices=VERBS, default=VERBS)
    args = parser.parse_args()
    started = time.monotonic()
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        rounds = Rounds(Path(folder), random.Random(args.seed), args.verbs)
        rounds.set_up()
        for number in range(args.rounds):
            for each in rounds.one():
                wrong += 1
                print(f"round {number}: {each}", flush=True)
    killed = ", ".join(f"{count} {verb}" for verb, count in rounds.killed.most_common())
    print(f"{args.rounds} commands in {time.monotonic() - started:.0f} s (seed {args.seed}): {killed} killed,")
    print(f"{rounds.ended.total()} were faster; {wrong} things wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main())
