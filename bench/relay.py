#!/usr/bin/env python3
"""The relay beside Postfix: messages a second, accepted and delivered, how soon "250" comes, what a queue costs.

Both are durable, run on the same machine with a queue of their own, and pass all mail on to one port of loopback; with
every round their turns change places. smtp-source and smtp-sink are at both ends, but where something is asked of them
that they cannot do: ``mailer.c`` takes the time of every "250", ``sink.c`` puts off one recipient in ten and refuses
one in fifty. In rows "accepted" nothing is delivered: mx10 finds its next hop down, and Postfix is told to put all mail
into its hold queue, which costs it least; "next hop down" gives Postfix a next hop that is down, too.
"""

import argparse
import json
import re
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import common
from common import Spread, paired, say

from peers import PeerError, free_port
from peers.mx10_relaying import RelayingMx10
from peers.postfix import PACKAGE
from peers.postfix_relaying import RelayingPostfix
from peers.relaying import Relay
from peers.server import find_program

RUN_SECONDS = 240
"""How long one run may take."""
SETTLE_SECONDS = 2.0
"""How long a relay is left alone before its memory is read."""
KIB = 1024

Contestant = Callable[[int], Relay]
HELD: Contestant = lambda port: RelayingPostfix(port, hold=True)  # noqa: E731


@dataclass(frozen=True, slots=True)
class Case:
    """What is measured in one row.

    Attributes:
        sink: who takes what is passed on: smtp-sink, ours that refuses some, or nobody.
        kept: connections are kept for the next message.
        timed: sent by mailer.c, so that each answer's time is known.
        theirs: how Postfix is set up.
    """

    name: str
    messages: int
    sessions: int
    sink: str = ""
    octets: int = 4 * KIB
    kept: bool = True
    timed: bool = False
    theirs: Contestant = RelayingPostfix


CASES = (
    Case("accepted, 10 sessions", 20_000, 10, theirs=HELD),
    Case("accepted, 50 sessions", 20_000, 50, theirs=HELD),
    Case("next hop down, 50 sessions", 20_000, 50),
    Case("delivered, 10 sessions", 20_000, 10, "smtp-sink"),
    Case("delivered, 50 sessions", 20_000, 50, "smtp-sink"),
    Case("delivered, a connection each", 20_000, 50, "smtp-sink", kept=False),
    Case("delivered, 256 KiB", 2_000, 10, "smtp-sink", octets=256 * KIB),
    Case("10% put off, 2% refused", 20_000, 50, "sink"),
    Case('"250", 10 sessions', 10_000, 10, timed=True, theirs=HELD),
    Case('"250", 50 sessions', 10_000, 50, timed=True, theirs=HELD),
)
QUEUED = Case("100,000 queued", 100_000, 50)


@dataclass(frozen=True, slots=True)
class Seen:
    """Of one run: messages a second; processor time of a message in ms; times of "250" in ms; memory in MiB."""

    accepted: float
    delivered: float = 0.0
    cpu: float = 0.0
    p50: float = 0.0
    p99: float = 0.0
    memory: float = 0.0


@dataclass(slots=True)
class Row:
    """All runs of a case, of both, round by round."""

    case: Case
    ours: list[Seen] = field(default_factory=list)
    theirs: list[Seen] = field(default_factory=list)

    def of(self, what: str) -> tuple[list[float], list[float]]:
        """One figure of both."""
        return [getattr(each, what) for each in self.ours], [getattr(each, what) for each in self.theirs]


def main() -> None:
    """Compile the ends, run the rounds, print."""
    args = common.arguments(
        __doc__ or "",
        only={"default": "", "help": "cases whose name this regular expression finds"},
        queue={"type": int, "help": "messages that are queued to measure memory"},
        doors={"type": int, "default": 1, "help": "relay.door_processes of mx10"},
    )
    rounds = max(1, args.rounds or (1 if args.quick else 3))
    share = 20 if args.quick else 1
    rows = [Row(case) for case in CASES if re.search(args.only, case.name)]
    with common.folder() as here:
        for name in ("sink", "mailer"):
            common.compiled(here, name)
        for number in range(rounds):
            for row in rows:
                for ours in common.turns((True, False), number):
                    seen = measure(here, row.case, row.case.messages // share, ours, args.doors)
                    (row.ours if ours else row.theirs).append(seen)
                    say(f"round {number + 1}/{rounds} {row.case.name}: {'mx10' if ours else 'Postfix'} {brief(seen)}")
        queued = Row(QUEUED)
        if re.search(args.only, QUEUED.name):
            for ours in (True, False):
                seen = measure(here, QUEUED, args.queue or QUEUED.messages // share, ours, args.doors)
                (queued.ours if ours else queued.theirs).append(seen)
                say(f"{QUEUED.name}: {'mx10' if ours else 'Postfix'} {brief(seen)}")
    report(rows, queued, rounds, share, args)


def measure(here: Path, case: Case, messages: int, ours: bool, doors: int = 0) -> Seen:
    """One run of one relay, with an empty queue.

    Raises:
        PeerError: not all messages went through.
    """
    next_hop = free_port()
    with ExitStack() as stack:
        sink = None
        if case.sink:
            sink = stack.enter_context(started(sink_command(here, case.sink, next_hop, messages)))
        relay: Relay = stack.enter_context(
            RelayingMx10(next_hop, door_processes=str(doors)) if ours else case.theirs(next_hop)
        )
        before = relay.usage()
        began = time.perf_counter()
        said = send(here, case, relay, messages)
        accepted = time.perf_counter() - began
        delivered = 0.0
        if sink is not None:
            try:
                counted, _ = sink.communicate(timeout=RUN_SECONDS)
            except subprocess.TimeoutExpired as error:
                raise PeerError(f"{case.name}: not all of {relay.name} came\n{relay.log_tail()}") from error
            delivered = time.perf_counter() - began
            if sink.returncode:
                raise PeerError(f"{case.sink} ended with {sink.returncode}: {counted}")
        elif case is QUEUED:
            time.sleep(SETTLE_SECONDS)
        after = relay.usage()
        return Seen(
            accepted=messages / accepted,
            delivered=messages / delivered if delivered else 0.0,
            cpu=1e3 * (after.seconds - before.seconds) / messages,
            p50=said.get("p50", 0.0),
            p99=said.get("p99", 0.0),
            memory=after.memory / (1 << 20),
        )


def started(command: list[str]) -> subprocess.Popen[str]:
    """A process that is ended with its ``with`` block."""

    class Ended(subprocess.Popen[str]):
        def __exit__(self, *args: object) -> None:
            self.kill()
            super().__exit__(None, None, None)

    return Ended(command, stdout=subprocess.PIPE, text=True)


def sink_command(here: Path, sink: str, port: int, messages: int) -> list[str]:
    """Who takes what is passed on; it ends when it has all."""
    if sink == "sink":
        return [str(here / "sink"), str(port), str(messages)]
    return [find_program("smtp-sink", PACKAGE), "-u", "nobody", "-M", str(messages), f"127.0.0.1:{port}", "512"]


def send(here: Path, case: Case, relay: Relay, messages: int) -> dict[str, float]:
    """Send the messages; what mailer.c saw.

    Raises:
        PeerError: one was not accepted, or it took too long.
    """
    if case.timed:
        command = [str(here / "mailer"), *map(str, (relay.port, messages, case.sessions, case.octets))]
    else:
        command = [find_program("smtp-source", PACKAGE), "-N", *(["-d"] if case.kept else [])]
        command += ["-s", str(case.sessions), "-m", str(messages), "-l", str(case.octets)]
        command += ["-f", "sender@bench.test", "-t", "@example.org", f"127.0.0.1:{relay.port}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise PeerError(f"{relay.name} did not accept {messages} messages in {RUN_SECONDS} s") from error
    if done.returncode or done.stderr:
        raise PeerError(f"{command[0]} and {relay.name}: {done.stderr or done.returncode}\n{relay.log_tail()}")
    return dict(json.loads(done.stdout)) if case.timed else {}


def brief(seen: Seen) -> str:
    """For the line of progress."""
    parts = [f"{seen.accepted:,.0f} accepted/s"]
    if seen.delivered:
        parts.append(f"{seen.delivered:,.0f} delivered/s")
    if seen.p99:
        parts.append(f'"250" after {seen.p50:.1f} ms, p99 {seen.p99:.1f}')
    return ", ".join([*parts, f"{seen.cpu:.2f} CPU ms, {seen.memory:.0f} MiB"])


def report(rows: list[Row], queued: Row, rounds: int, share: int, args: argparse.Namespace) -> None:
    """Tables, or the object."""
    cells, times, result = [], [], {}
    for row in rows:
        what = "p99" if row.case.timed else "delivered" if row.case.sink else "accepted"
        ours, theirs = row.of(what)
        ratio = paired(theirs, ours) if row.case.timed else paired(ours, theirs)
        result[row.case.name] = {
            "figure": what,
            "ours": Spread.of(ours).rounded(),
            "peers": {"Postfix": Spread.of(theirs).rounded()},
            "ratio": round(ratio.middle, 3),
            "spread": ratio.rounded(),
            "cpu_ms": [Spread.of(each).rounded() for each in row.of("cpu")],
        }
        if row.case.timed:
            middle = [Spread.of(each).text(1) for each in row.of("p50")]
            times.append([row.case.name, *middle, *(Spread.of(each).text(1) for each in (ours, theirs)), ratio.text(1)])
            continue
        accepted = paired(*row.of("accepted")).text(1) if row.case.sink else ""
        costs = [Spread.of(each).text(2) for each in row.of("cpu")]
        cells.append(
            [row.case.name, *(Spread.of(each).text(0) for each in (ours, theirs)), ratio.text(1), accepted, *costs]
        )
    tables = []
    if cells:
        heads = ["messages/s", "mx10", "Postfix", "mx10 ÷ it", "the same, accepted", "mx10 CPU ms", "Postfix CPU ms"]
        tables.append(common.table(heads, cells))
    if times:
        heads = ["ms until it", "mx10 p50", "Postfix p50", "mx10 p99", "Postfix p99", "it ÷ mx10, p99"]
        tables.append(common.table(heads, times))
    memory = {}
    if queued.ours and queued.theirs:
        memory = {"ours": round(queued.ours[0].memory, 1), "peers": {"Postfix": round(queued.theirs[0].memory, 1)}}
        tables.append(
            f"{args.queue or QUEUED.messages // share:,} messages queued: mx10 {queued.ours[0].memory:,.0f} MiB, "
            f"Postfix {queued.theirs[0].memory:,.0f} MiB (all processes, PSS)"
        )
    how = f"{rounds} round{'s' if rounds > 1 else ''} in changing order; median (lowest-highest)"
    if args.doors != 1:
        how += f"; mx10 with {args.doors} door processes"
    if share > 1:
        how += f"; one message in {share} of a full run"
    common.finish(
        args.json,
        {
            "benchmark": "relay",
            "how": how,
            "cases": result,
            "memory_mib": memory,
            "versions": {"mx10": RelayingMx10.version(), "Postfix": RelayingPostfix.version()},
        },
        f"The relay: {how}\n\n" + "\n\n".join(tables),
    )


if __name__ == "__main__":
    common.run(main, limit=3000)
