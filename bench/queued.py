#!/usr/bin/env python3
"""A relay that starts with 1,000,000 messages in its queue: how soon it takes mail, how soon it passes on the first of
those that wait, what memory it needs, and whether a destination that is dead slows the others.

The queue is written beforehand with the spool's own code: messages of 1 KiB to 1,000 domains, all due. It is started in
two ways, in turns: with half of the queue for a host that is down, and with none for it. No other server stands beside:
to fill a queue of Postfix so far takes a quarter of an hour, and it has no other way in than its own door.
"""

import asyncio
import json
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, replace
from pathlib import Path

import common
from common import Spread, paired, say

from mx10.config import Config, StoreSettings
from mx10.relay.basics import spool_of
from mx10.relay.spool.opening import open_spool
from mx10.relay.spool.writing import Work, Writer
from mx10.relay.values import Envelope, NewRecipient
from peers import PeerError, free_port
from peers.mx10_relaying import RelayingMx10

START_SECONDS = 5.0
"""What a start may take."""
DOMAINS = 1000
_GROUP = 5000
"""Messages of one transaction when the queue is filled."""
BODY = b"Subject: queued\r\n\r\n" + (b"X" * 62 + b"\r\n") * 16
DEAD = "dead.example"


@dataclass(frozen=True, slots=True)
class Seen:
    """Of one start: seconds until greeting and first delivery; deliveries a second, CPU ms of each; memory in MiB."""

    greeting: float
    first: float
    rate: float
    cpu: float
    memory: float


def main() -> None:
    """Fill two queues, start, print."""
    args = common.arguments(__doc__ or "", messages={"type": int, "default": 1_000_000})
    messages = 50_000 if args.quick else args.messages
    rounds = max(1, args.rounds or (1 if args.quick else 3))
    length = 3.0 if args.quick else 10.0
    with common.folder() as here:
        program = common.compiled(here, "sink")
        folders = {}
        for name, dead in (("half for a host that is down", 2), ("all hosts are up", 0)):
            folders[name] = here / str(dead)
            folders[name].mkdir()
            began = time.perf_counter()
            asyncio.run(fill(folders[name], messages, dead))
            say(f"{messages:,} messages, {name}: written in {time.perf_counter() - began:.0f} s")
        found: dict[str, list[Seen]] = {name: [] for name in folders}
        for number in range(rounds):
            for name in common.turns(list(folders), number):
                found[name].append(measure(program, folders[name], length))
                say(f"round {number + 1}/{rounds} {name}: {found[name][-1]}")
    report(found, messages, rounds, args.json)


async def fill(folder: Path, messages: int, dead: int) -> None:
    """Write a queue into a folder; every ``dead``-th message is for the host that is down."""
    config = replace(Config(), store=StoreSettings(url=f"sqlite:///{folder}/mx10.db"))
    opened = open_spool(config, create=True)
    writer = Writer(opened.store, asyncio.get_running_loop())
    spool = spool_of(config, opened, 0, writer)
    envelope = Envelope("sender@bench.test")
    for start in range(0, messages, _GROUP):
        group, rows = Work(), Work()
        all_messages: list[tuple[object, ...]] = []
        all_recipients: list[tuple[object, ...]] = []
        for number in range(start, min(start + _GROUP, messages)):
            domain = DEAD if dead and number % dead == 0 else f"d{number % DOMAINS}.example"
            spool.begin(envelope).rows(rows, b"", BODY, [NewRecipient(f"user{number}@{domain}")])
            all_messages += rows.messages
            all_recipients += rows.recipients
        group.messages, group.recipients = all_messages, all_recipients
        await spool.write(group)
    writer.close()
    opened.store.close()


def measure(program: Path, folder: Path, length: float) -> Seen:
    """Start a relay with a copy of this queue, and watch it for ``length`` seconds.

    Raises:
        PeerError: it does not start, or delivers nothing.
    """
    sink = Sink(program)
    relay = RelayingMx10(sink.port, transports=[f"{DEAD} smtp://127.0.0.1:{free_port()}"])
    try:
        shutil.copytree(folder, relay.work, dirs_exist_ok=True)
        began = time.perf_counter()
        relay.start()
        greeting = time.perf_counter() - began
        while not sink.taken():
            if time.perf_counter() - began > 60:
                raise PeerError(f"nothing was delivered within a minute\n{relay.log_tail()}")
            time.sleep(0.005)
        first = time.perf_counter() - began
        before, then, used = sink.taken(), time.perf_counter(), relay.usage()
        time.sleep(length)
        count, after = sink.taken() - before, relay.usage()
        rate = count / (time.perf_counter() - then)
        cpu = 1e3 * (after.seconds - used.seconds) / max(count, 1)
        return Seen(greeting, first, rate, cpu, after.memory / (1 << 20))
    finally:
        relay.stop()
        sink.close()


class Sink:
    """``sink.c``, asked now and then how much it took."""

    def __init__(self, program: Path) -> None:
        self.port = free_port()
        self._process = subprocess.Popen([program, str(self.port), "0"], stdout=subprocess.PIPE, text=True)
        time.sleep(0.1)

    def taken(self) -> int:
        """Messages so far."""
        assert self._process.stdout is not None
        self._process.send_signal(signal.SIGUSR1)
        counts = json.loads(self._process.stdout.readline())
        # Recipients here have no number: it takes them for those of reports.
        return int(counts["reports"])

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


def report(found: dict[str, list[Seen]], messages: int, rounds: int, as_json: bool) -> None:
    """The table, or the object."""
    rows, result = [], {}
    for name, seen in found.items():
        spreads = {
            "greeting_s": Spread.of([each.greeting for each in seen]),
            "first_delivery_s": Spread.of([each.first for each in seen]),
            "delivered_per_s": Spread.of([each.rate for each in seen]),
            "cpu_ms": Spread.of([each.cpu for each in seen]),
            "memory_mib": Spread.of([each.memory for each in seen]),
        }
        result[name] = {what: spread.rounded() for what, spread in spreads.items()}
        rows.append(
            [name, *(spread.text(digits) for spread, digits in zip(spreads.values(), (2, 2, 0, 2, 0), strict=True))]
        )
    half, whole = ([each.rate for each in seen] for seen in found.values())
    ratio = paired(half, whole)
    slowest = max(each.greeting for seen in found.values() for each in seen)
    met = "met" if slowest < START_SECONDS else "missed"
    turns = f"{rounds} round{'s' if rounds > 1 else ''} in changing order"
    how = f"{messages:,} messages queued, {turns}; median (lowest-highest)"
    heads = ["queue", "greeting, s", "first delivery, s", "delivered/s", "CPU ms", "memory, MiB"]
    common.finish(
        as_json,
        {
            "benchmark": "queued",
            "how": how,
            "ours": result,
            "peers": {},
            "ratio": {"delivered, half for a host that is down ÷ all up": round(ratio.middle, 3)},
            "spread": {"delivered, half for a host that is down ÷ all up": ratio.rounded()},
            "limit_s": START_SECONDS,
            "met": met == "met",
        },
        f"Starting with a queue: {how}\n\n{common.table(heads, rows)}\n\n"
        f"Slowest start: {slowest:.2f} s, limit {START_SECONDS:.0f} s: {met}. "
        f"Delivered a second with half of the queue for a host that is down, in proportion: {ratio.text()}",
    )


if __name__ == "__main__":
    common.run(main, limit=900)
