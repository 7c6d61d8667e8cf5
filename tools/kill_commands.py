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
from collections.abc import Collection, Iterator
from pathlib import Path

from mx10.config import ZoneSettings
from mx10.dns import rrtypes as rr
from mx10.dns.wirename import from_text
from mx10.store.connect import open_store
from mx10.zones.dnssec.verify import faults
from mx10.zones.folder import load_file
from mx10.zones.ledger import Author, Ledger, ZoneInfo
from mx10.zones.zone import Zone

VERBS = ("import", "apply", "create", "set", "sign", "unsign")
NAMES = 2000
"""Names of the large zone."""
LARGE = from_text("large.example.")
SMALL = from_text("small.example.")
HEAD = "$ORIGIN {}\n$TTL 60\n@ SOA ns.example.net. h 1 2h 30m 2w 1h\n@ NS ns.example.net.\n@ NS ns2.example.net.\n"


class Rounds:
    """Commands on a store in a folder, one after the other.

    Args:
        folder: for the store and for master files.
        chance: which commands, and when they are killed.
        verbs: those to choose from.
    """

    def __init__(self, folder: Path, chance: random.Random, verbs: Collection[str]) -> None:
        self._verbs = verbs
        self._folder = folder
        self._chance = chance
        self._url = f"sqlite:///{folder}/mx10.db"
        self._seconds: dict[str, float] = {}
        self._value = 0
        self.killed: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()

    def set_up(self) -> None:
        """Make the zones that commands change, and see how long each command takes."""
        store = open_store(self._url, create=True)
        for name, names in (("large.example.", NAMES), ("small.example.", 20)):
            path = Path(self._file(name, names, 0))
            zone = load_file(str(path.parent), path.name, ZoneSettings()).zone
            assert zone
            Ledger(store, ZoneSettings()).create(zone, Author("kill"))
        store.close()
        for verb in (each for each in VERBS if each in self._verbs):
            self._value += 1
            began = time.monotonic()
            child = self._start(verb)
            _, said = child.communicate()
            if child.returncode:
                raise SystemExit(f"{verb} does not work at all: {said}")
            self._seconds[verb] = time.monotonic() - began

    def one(self) -> Iterator[str]:
        """Start a command, kill it, look; what is wrong."""
        self._value += 1
        signed = self._info(SMALL).signed
        verb = self._chance.choice([each for each in self._verbs if each != ("sign" if signed else "unsign")])
        before = self._state()
        child = self._start(verb)
        try:
            child.wait(self._chance.uniform(0.25, 1.1) * self._seconds[verb])
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
        child.communicate()
        done = child.returncode == 0
        (self.ended if done else self.killed)[verb] += 1
        if not done and child.returncode != -signal.SIGKILL:
            yield f"{verb} ended by itself with {child.returncode}"
        left = self._state()
        yield from self._whole_state(left)
        if left == before and done:
            yield f"{verb} had ended, and nothing is changed"
        again = self._start(verb)
        _, said = again.communicate()
        # What the killed one had done already, the second finds done: it says so, or that the zone is there.
        if again.returncode not in ((0, 1) if left != before else (0,)):
            yield f"{verb} again ended with {again.returncode}: {said}"
        after = self._state()
        yield from self._whole_state(after)
        if verb in ("import", "apply") and after["large.example"][1] != {self._value}:
            yield f"{verb} again, and the zone is not what its file says"

    def _start(self, verb: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "mx10", "zone", verb, *self._arguments(verb)]
        environ = {**os.environ, "MX10_STORE__URL": self._url}
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=environ, stdout=pipe, stderr=pipe, stdin=subprocess.DEVNULL, text=True)

    def _arguments(self, verb: str) -> list[str]:
        if verb == "import":
            return [self._file("large.example.", NAMES, self._value)]
        if verb == "apply":
            return [self._file("large.example.", NAMES, self._value), "--yes"]
        if verb == "create":
            return [f"z{self._value}.example", "--ns", "ns.example.net.", "--ns", "ns2.example.net."]
        if verb == "set":
            return ["small.example", "www", "A", _address(self._value)]
        return ["small.example"]

    def _file(self, name: str, names: int, value: int) -> str:
        path = self._folder / f"{name}zone"
        lines = "".join(f"h{number} A {_address(value)}\n" for number in range(names))
        path.write_text(HEAD.format(name) + lines)
        return str(path)

    def _info(self, apex: bytes) -> ZoneInfo:
        store = open_store(self._url)
        try:
            return Ledger(store, ZoneSettings()).info(apex)
        finally:
            store.close()

    def _state(self) -> dict[str, tuple[int, set[int], list[str]]]:
        """Of each zone its serial, the values in its addresses, and what is wrong with it."""
        store = open_store(self._url)
        try:
            ledger = Ledger(store, ZoneSettings())
            found = {}
            for info in ledger.infos():
                zone = ledger.zone(info.apex)
                wrong = list(self._wrong(info, zone))
                if ledger.history(info.apex, limit=1)[0].serial_after != info.serial:
                    wrong.append("its last change set is not its serial's")
                name = info.apex[1:].decode().replace("\7", ".").rstrip("\0")
                found[name] = (info.serial, set() if info.apex == SMALL else _values(zone), wrong)
            with store.read() as connection:
                said = connection.exec_driver_sql("PRAGMA integrity_check").scalar()
            if said != "ok":
                found["the database"] = (0, set(), [str(said)])
            return found
        finally:
            store.close()

    @staticmethod
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

    @staticmethod
    def _whole_state(state: dict[str, tuple[int, set[int], list[str]]]) -> Iterator[str]:
        for name, (_, _, wrong) in state.items():
            yield from (f"{name}: {each}" for each in wrong)


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
