"""Kill a process that writes to the store, at random moments, again and again, and look at what it leaves.

    .venv/bin/python tools/kill.py --rounds 200
    .venv/bin/python tools/kill.py --rounds 200 --url postgresql://…

Each round starts a child on the same store. It makes, changes, replaces, signs, deletes and imports zones as fast as it
can, and prints the number of each change set once the ledger has said that it is done. SIGKILL comes after a random
time. Then the store is opened and looked at: the database is whole; every change that was printed is there; no change
is there by half (each zone's records, counts, serials and history fit together); and the next change goes through. The
exit code is 1 if anything is wrong. The same seed gives the same moments, but not the same work.
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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from sqlalchemy import Connection, func, insert, select, update

from mx10.config import ZoneSettings
from mx10.dns import rrtypes as rr
from mx10.dns.wirename import from_text
from mx10.store.connect import Store, open_store
from mx10.store.tables import change_sets, feed, keys, rrsets, zones
from mx10.zones.ledger import Author, Edit, Ledger, ZoneInfo
from mx10.zones.ledger.history import newest_first
from mx10.zones.zone import RRset, Zone

AUTHOR = Author("kill", "to see what is left")
PAIR = (b"\1a", b"\1b")
"""Owners that every change gives the same data: if they differ, half a change was made."""
LARGE = 3000
"""Record sets of a large import."""
_ROUNDS_OF_A_STORE = 6
"""All of it is looked at after every round, and it grows."""


def soa(apex: bytes, serial: int) -> tuple[int, tuple[bytes, ...]]:
    """An SOA record set."""
    numbers = (serial, 7200, 1800, 1209600, 3600)
    return 3600, (b"\2ns" + apex + b"\1h" + apex + b"".join(each.to_bytes(4, "big") for each in numbers),)


def zone(apex: bytes, value: int, hosts: int = 0) -> Zone:
    """A zone whose pair says ``value``, with so many other names."""
    data = (60, (value.to_bytes(4, "big"),))
    nodes = {apex: {rr.SOA: soa(apex, 1), rr.NS: (60, (b"\2ns" + apex, from_text("ns.example.net.")))}}
    nodes[b"\2ns" + apex] = {rr.A: data}
    nodes.update({owner + apex: {rr.A: data} for owner in PAIR})
    nodes.update({b"\5h%04d" % number + apex: {rr.A: data} for number in range(hosts)})
    return Zone(apex, nodes)


# ---------------------------------------------------------------- the one that is killed


def work(url: str, seed: int) -> None:
    """Write to the store until somebody ends this, and say what is done."""
    chance = random.Random(seed)
    store = open_store(url)
    ledger = Ledger(store, ZoneSettings(), signer=Marks())
    present = [info.apex for info in ledger.infos()]
    print("ready", flush=True)
    while True:
        value = chance.getrandbits(32)
        pair = (60, (value.to_bytes(4, "big"),))
        apex = chance.choice(present) if present else b""
        verb = chance.choices(("create", "change", "large", "sign", "many", "delete"), (10, 50, 6, 20, 4, 5))[0]
        made = None
        if verb == "create" or not present:
            apex = from_text(f"z{value}.example.")
            made = ledger.create(zone(apex, value), AUTHOR)
            present.append(apex)
        elif verb == "change":
            made = ledger.change(apex, [Edit(owner + apex, rr.A, pair) for owner in PAIR], AUTHOR)
        elif verb == "large":
            made = ledger.replace(apex, zone(apex, value, LARGE), AUTHOR)
        elif verb == "sign":
            made = ledger.generated(apex, lambda connection, info: sign(connection, info, pair[1][0]), AUTHOR)  # noqa: B023
        elif verb == "many":
            apexes = [from_text(f"m{number}.z{value}.example.") for number in range(200)]
            ledger.create_many((zone(each, value) for each in apexes), AUTHOR)
            print("many", value, flush=True)
        else:
            gone = ledger.delete(apex, AUTHOR)
            print("delete", gone.id, flush=True)
            made = ledger.revert(apex, gone.id, AUTHOR)
        if made:
            print(verb, made.id, flush=True)


def sign(connection: Connection, info: ZoneInfo, value: bytes) -> list[Edit]:
    """Key and records that belong together, as signing writes them."""
    row = {"zone": info.id, "role": "csk", "algorithm": 13, "dnskey": value, "secret": b"", "state": "{}"}
    connection.execute(keys.delete().where(keys.c.zone == info.id))
    connection.execute(insert(keys).values(row))
    connection.execute(update(zones).where(zones.c.id == info.id).values(signing=value.hex()))
    return [Edit(info.apex, rr.DNSKEY, (60, (value,)))]


class Marks:
    """Where signatures would be, the serial: a signer that takes no time, so that more kills hit the database."""

    def resign(
        self,
        connection: Connection,
        info: ZoneInfo,
        changed: Mapping[tuple[bytes, int], RRset | None],
        soa: RRset,
        now: int,
    ) -> list[Edit]:
        """See ``mx10.zones.ledger.Signer``."""
        return [Edit(info.apex, rr.RRSIG, (60, (soa[1][0][-20:-16],)))]


# ---------------------------------------------------------------- looking at what is left


@dataclass(frozen=True, slots=True)
class Left:
    """What a killed process left: how many changes it had acknowledged, of which kinds, and what is wrong."""

    acknowledged: Counter[str]
    wrong: tuple[str, ...]


def round_of(url: str, seed: int, most_seconds: float) -> Left:
    """Start a child, kill it, look."""
    chance = random.Random(seed)
    command = [sys.executable, __file__, "--work", "--url", url, "--seed", str(seed)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stderr is not None
    try:
        first = child.stdout.readline()
        time.sleep(chance.uniform(0, most_seconds))
    finally:
        child.send_signal(signal.SIGKILL)
        printed, error = child.communicate()
    if first != "ready\n" or child.returncode != -signal.SIGKILL:
        return Left(Counter(), (f"the child ended by itself: {error}",))
    # A line without its end was being written.
    lines = [line.split() for line in printed.splitlines(keepends=True) if line.endswith("\n")]
    done = [(verb, int(number)) for verb, number in lines]
    return Left(Counter(verb for verb, _ in done), tuple(look(url, done)))


def look(url: str, done: Sequence[tuple[str, int]]) -> Iterator[str]:
    """What is wrong with a store in which these changes were acknowledged."""
    store = open_store(url)
    try:
        if store.is_sqlite:
            with store.read() as connection:
                for pragma, expected in (("integrity_check", "ok"), ("foreign_key_check", None)):
                    found = connection.exec_driver_sql(f"PRAGMA {pragma}").scalar()
                    if found != expected:
                        yield f"{pragma} says {found}"
        yield from missing(store, done)
        ledger = Ledger(store, ZoneSettings())
        for info in ledger.infos():
            yield from wrong_in(ledger, info)
        apex = from_text(f"next{random.getrandbits(64)}.example.")
        ledger.create(zone(apex, 1), AUTHOR)
        if ledger.change(apex, [Edit(b"\1c" + apex, rr.A, (60, (bytes(4),)))], AUTHOR) is None:
            yield "the next change was not made"
        ledger.delete(apex, AUTHOR)
    finally:
        store.close()


def missing(store: Store, done: Sequence[tuple[str, int]]) -> Iterator[str]:
    """Acknowledged changes that are not there."""
    with store.read() as connection:
        numbers = {number for verb, number in done if verb != "many"}
        there = set(connection.execute(select(change_sets.c.id).where(change_sets.c.id.in_(numbers))).scalars())
        yield from (f"change set {number} was acknowledged and is not there" for number in numbers - there)
        for verb, value in done:
            if verb == "many":
                apexes = [from_text(f"m{number}.z{value}.example.") for number in range(200)]
                found = select(func.count()).select_from(zones).where(zones.c.apex.in_(apexes))
                if connection.execute(found).scalar() != 200:
                    yield f"of the 200 zones of {value} some are not there"


def wrong_in(ledger: Ledger, info: ZoneInfo) -> Iterator[str]:
    """What does not fit together in a zone."""
    name = info.apex
    now = ledger.zone(name)
    if len({now.nodes[owner + name][rr.A] for owner in PAIR}) != 1:
        yield f"{name!r}: half a change of its records"
    if now.serial != info.serial:
        yield f"{name!r}: serial {info.serial}, and {now.serial} in its SOA record"
    hosts = [node[rr.A] for owner, node in now.nodes.items() if owner.startswith(b"\5h")]
    if len(hosts) not in (0, LARGE) or len(set(hosts)) > 1:
        yield f"{name!r}: half a large import"
    with ledger.store.read() as connection:
        count = select(func.count()).select_from(rrsets).where(rrsets.c.zone == info.id)
        if connection.execute(count).scalar() != info.rrsets:
            yield f"{name!r}: the count of its record sets is not theirs"
        of_keys = connection.execute(select(keys.c.dnskey).where(keys.c.zone == info.id)).scalars().all()
        node = now.nodes[name]
        if info.signed != bool(of_keys) or info.signing != "".join(key.hex() for key in of_keys):
            yield f"{name!r}: half a signing: its keys and its state are two"
        mark = (60, (info.serial.to_bytes(4, "big"),))
        if info.signed and (node.get(rr.DNSKEY) != (60, tuple(of_keys)) or node.get(rr.RRSIG) != mark):
            yield f"{name!r}: half a signing: its records are not those of its keys and its serial"
        last = next(newest_first(connection, name))
        if last.serial_after != info.serial:
            yield f"{name!r}: its last change set leads to {last.serial_after}, not {info.serial}"
        if connection.execute(select(func.max(feed.c.seq)).where(feed.c.apex == name)).scalar() is None:
            yield f"{name!r}: nameservers were never told"
    steps = ledger.history(name, limit=1000)
    for later, step in pairwise(steps):
        if later.serial_before is not None and later.serial_before != step.serial_after:
            yield f"{name!r}: between change sets {step.id} and {later.id} the serial jumps"
    for step in steps[:3]:
        if step.serial_before is None or step.serial_after is None:
            break  # the zone began there
        found = ledger.since(name, step.serial_before)
        if not found or not found[0].changes:
            yield f"{name!r}: change set {step.id} has no changes"


def main() -> int:
    """Run the rounds and print what came of them; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--most-seconds", type=float, default=0.5, help="longest life of a child")
    parser.add_argument("--url", default="", help="an empty store; otherwise a SQLite file of its own")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        work(args.url, args.seed)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        acknowledged: Counter[str] = Counter()
        wrong: list[str] = []
        url = args.url or f"sqlite:///{folder}/mx10.db"
        for number in range(args.rounds):
            if not args.url and number % _ROUNDS_OF_A_STORE == 0:
                url = f"sqlite:///{folder}/{number}.db"
            open_store(url, create=True).close()
            left = round_of(url, args.seed + number, args.most_seconds)
            acknowledged += left.acknowledged
            wrong += left.wrong
            for each in left.wrong:
                print(f"round {number}: {each}", flush=True)
    said = ", ".join(f"{count} {verb}" for verb, count in acknowledged.most_common())
    print(f"{args.rounds} kills in {time.monotonic() - started:.0f} s (seed {args.seed});")
    print(f"{acknowledged.total()} changes acknowledged before ({said}); {len(wrong)} things wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main())
