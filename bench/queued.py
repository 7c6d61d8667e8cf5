#!/usr/bin/env python3
"""A relay that starts with 1,000,000 messages in its queue: how soon it takes mail, how soon it passes on the first of
those that wait, what memory it needs, and whether a destination that is dead slows the others.

The queue is written beforehand with the spool's own code: messages of 1 KiB to 1,000 domains, all due. It is started in
two ways, in turns: with half of the queue for a host that is down, and with none for it. No other server stands beside:
to fill a queue of Postfix so far takes a quarter of an hour, and it has no other way in than its own door.
"""

import asyncio
import shutil
import socket
import sys
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

import common
from common import Spread, paired, say

from mx10.config import Config, RelaySettings, StoreSettings
from mx10.relay.spool.opening import open_spool
from mx10.relay.spool.spool import Spool, Times
from mx10.relay.spool.writing import Work
from mx10.relay.values import Envelope, NewRecipient
from peers import PeerError, free_port
from peers.mx10_relaying import RelayingMx10

START_SECONDS = 5.0
"""What a start may take."""
DOMAINS = 1000
_GROUP = 5000
"""Messages of one transaction when the queue is filled."""
_HOUR = 3_600_000
BODY = b"Subject: queued\r\n\r\n" + (b"X" * 62 + b"\r\n") * 16
DEAD = "dead.example"


@dataclass(frozen=True, slots=True)
class Seen:
    """Of one start: seconds until the greeting and until the first delivery; deliveries a second; memory in MiB."""

    greeting: float
    first: float
    rate: float
    memory: float


def main() -> None:
    """Fill two queues, start, print."""
    args = common.arguments(__doc__ or "", messages={"type": int, "default": 1_000_000})
    messages = 50_000 if args.quick else args.messages
    rounds = max(1, args.rounds or (1 if args.quick else 3))
    length = 3.0 if args.quick else 10.0
    with common.folder() as here:
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
                found[name].append(measure(folders[name], length))
                say(f"round {number + 1}/{rounds} {name}: {found[name][-1]}")
    report(found, messages, rounds, args.json)


async def fill(folder: Path, messages: int, dead: int) -> None:
    """Write a queue into a folder; every ``dead``-th message is for the host that is down."""
    config = replace(Config(), store=StoreSettings(url=f"sqlite:///{folder}/mx10.db"), relay=RelaySettings())
    opened = open_spool(config, create=True)
    spool = Spool(
        opened.store,
        opened.folder,
        node=0,
        clock=lambda: int(time.time() * 1000),
        times=Times(120 * _HOUR, 24 * _HOUR, 0),
        body_in_database=1 << 16,
        loop=asyncio.get_running_loop(),
    )
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
    spool.close()
    opened.store.close()


def measure(folder: Path, length: float) -> Seen:
    """Start a relay with a copy of this queue, and watch it for ``length`` seconds.

    Raises:
        PeerError: it does not start, or delivers nothing.
    """
    sink = Sink()
    relay = RelayingMx10(sink.port, transports=[f"{DEAD} smtp://127.0.0.1:{free_port()}"])
    try:
        shutil.copytree(folder, relay.work, dirs_exist_ok=True)
        began = time.perf_counter()
        relay.start()
        greeting = time.perf_counter() - began
        while not sink.taken:
            if time.perf_counter() - began > 60:
                raise PeerError(f"nothing was delivered within a minute\n{relay.log_tail()}")
            time.sleep(0.005)
        first = time.perf_counter() - began
        before, then = sink.taken, time.perf_counter()
        time.sleep(length)
        rate = (sink.taken - before) / (time.perf_counter() - then)
        return Seen(greeting, first, rate, relay.usage().memory / (1 << 20))
    finally:
        relay.stop()
        sink.close()


class Sink:
    """smtp-sink says what it took only at its end; this one counts: a thread with a loop."""

    def __init__(self) -> None:
        self.taken = 0
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self._socket.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._socket.close()

    def _run(self) -> None:
        self._loop.run_until_complete(self._loop.create_server(lambda: _Session(self), sock=self._socket))
        self._loop.run_forever()
        self._loop.close()


class _Session(asyncio.Protocol):
    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._content = False
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._to = transport
        transport.write(b"220 sink.test ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        self._data += data
        replies = []
        while True:
            end = b"\r\n.\r\n" if self._content else b"\r\n"
            line, found, rest = self._data.partition(end)
            if not found:
                break
            self._data = rest
            verb = line[:4].upper()
            if self._content:
                self._content = False
                self._sink.taken += 1
                replies.append(b"250 2.0.0 taken\r\n")
            elif verb == b"EHLO":
                replies.append(b"250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n")
            elif verb == b"DATA":
                self._content = True
                replies.append(b"354 go ahead\r\n")
            else:
                replies.append(b"221 2.0.0 bye\r\n" if verb == b"QUIT" else b"250 2.0.0 fine\r\n")
        self._to.write(b"".join(replies))


def report(found: dict[str, list[Seen]], messages: int, rounds: int, as_json: bool) -> None:
    """The table, or the object."""
    rows, result = [], {}
    for name, seen in found.items():
        spreads = {
            "greeting_s": Spread.of([each.greeting for each in seen]),
            "first_delivery_s": Spread.of([each.first for each in seen]),
            "delivered_per_s": Spread.of([each.rate for each in seen]),
            "memory_mib": Spread.of([each.memory for each in seen]),
        }
        result[name] = {what: spread.rounded() for what, spread in spreads.items()}
        rows.append(
            [name, *(spread.text(digits) for spread, digits in zip(spreads.values(), (2, 2, 0, 0), strict=True))]
        )
    half, whole = ([each.rate for each in seen] for seen in found.values())
    ratio = paired(half, whole)
    slowest = max(each.greeting for seen in found.values() for each in seen)
    met = "met" if slowest < START_SECONDS else "missed"
    turns = f"{rounds} round{'s' if rounds > 1 else ''} in changing order"
    how = f"{messages:,} messages queued, {turns}; median (lowest-highest)"
    heads = ["queue", "greeting, s", "first delivery, s", "delivered/s", "memory, MiB"]
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
    sys.setswitchinterval(0.001)  # the sink's thread answers at once
    common.run(main, limit=900)
