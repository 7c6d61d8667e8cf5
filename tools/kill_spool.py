"""Kill the relay while it takes and passes on mail, at random moments, again and again, and look at what it leaves.

    .venv/bin/python tools/kill_spool.py --rounds 500
    .venv/bin/python tools/kill_spool.py --rounds 500 --url postgresql://…

Each round starts ``mx10 serve`` on the same spool and sends it mail over several connections: small messages and large
ones, with one recipient and with several. All mail goes on to a host that is up in half of the rounds, and takes it.
SIGKILL comes to all processes after a random time, one time in eight while the relay is starting; one time in four it
came to one of them before, and mail went on. Then the spool is
looked at, not with the relay's own code but with SQL: the database is whole; of every message that had "250" each
recipient is there or its mail was passed on; the content is what was sent, octet by octet; nothing is there twice, and
no message or recipient by half. Every few rounds the relay is left alone until its spool is empty: then all that was
acknowledged has been passed on, and no file is left. Messages that were being passed on in the moment of a kill go
twice, as SMTP cannot avoid (RFC 5321 section 6.1, RFC 1047); they are counted. The exit code is 1 if anything is wrong.
"""

import argparse
import asyncio
import hashlib
import os
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sqlalchemy import text

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from mx10.relay.values import name_of
from mx10.store.connect import Store, open_store
from mx10.store.errors import StoreError
from peers.mx10_relaying import RelayingMx10
from peers.server import MissingPeerError, PeerError, free_port

SESSIONS: Final = 8
"""Connections that send at the same time."""
LARGE: Final = 64 << 10
"""Octets beyond which the relay keeps a message elsewhere than in its row."""
_ROUNDS_OF_A_SPOOL: Final = 20
"""Rounds after which the spool is emptied."""
_DRAIN_SECONDS: Final = 120.0
_FIELD: Final = b"X-Kill: "
_DOMAIN: Final = "kill.example"


# ---------------------------------------------------------------- messages: all of one follows from its number


def content_of(number: int) -> bytes:
    """The message of a number, with CR LF, as it is sent but for dots."""
    chance = random.Random(number)
    size = chance.choice((200, 1000, 4000, 4000, 4000, 20_000, LARGE + 1, 300_000)) if number % 3 else 2000
    head = _FIELD + b"%d\r\nFrom: <s@bench.test>\r\nSubject: number %d\r\n\r\n" % (number, number)
    line = chance.randbytes(32).hex().encode() + b"\r\n..\r\n"
    return head + line * (size // len(line) + 1)


def recipients_of(number: int) -> list[str]:
    """Its recipients: one, for most."""
    count = 1 if number % 5 else 1 + number % 4
    return [f"{number}-{each}@{_DOMAIN}" for each in range(count)]


def number_of(body: bytes) -> int:
    """The number of a message.

    Raises:
        ValueError: it is none of ours, or not whole.
    """
    at = body.find(_FIELD)
    if at < 0:
        raise ValueError("a message that nobody sent")
    number = int(body[at + len(_FIELD) :].split(b"\r\n", 1)[0])
    if body[at:] != content_of(number):
        digest = hashlib.sha256(body).hexdigest()[:12]
        raise ValueError(f"message {number} is not what was sent: {len(body)} octets, SHA-256 {digest}…")
    return number


# ---------------------------------------------------------------- who sends, and who takes what is passed on


@dataclass(slots=True)
class Seen:
    """What happened so far, over all rounds of a spool.

    Attributes:
        acknowledged: numbers of messages that had "250".
        passed: how often the next hop took the mail of each recipient.
        wrong: what should not be.
        killing: some process of the relay was killed: others may say "451".
    """

    acknowledged: set[int] = field(default_factory=set)
    passed: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    last: int = 0
    killing: bool = False

    def next(self) -> int:
        """The next number."""
        self.last += 1
        return self.last


async def send(port: int, seen: Seen) -> None:
    """Send message after message over one connection until it breaks."""
    with suppress(OSError, asyncio.IncompleteReadError):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            await _reply(reader, seen, "220")
            writer.write(b"EHLO kill.test\r\n")
            await _reply(reader, seen, "250")
            while True:
                number = seen.next()
                recipients = recipients_of(number)
                lines = ["MAIL FROM:<s@bench.test>", *(f"RCPT TO:<{each}>" for each in recipients), "DATA", ""]
                writer.write("\r\n".join(lines).encode())
                for _ in range(1 + len(recipients)):
                    await _reply(reader, seen, "250")
                await _reply(reader, seen, "354")
                writer.write(content_of(number).replace(b"\r\n.", b"\r\n..") + b".\r\n")
                await writer.drain()
                if await _reply(reader, seen, "250"):
                    seen.acknowledged.add(number)
        finally:
            writer.close()


async def _reply(reader: asyncio.StreamReader, seen: Seen, code: str) -> bool:
    while True:
        line = (await reader.readuntil(b"\n")).decode("utf-8", "replace").rstrip()
        if line[3:4] != "-":
            break
    if not line.startswith(code):
        # 421: told to go, for instance because the relay ends.
        if not line.startswith("4" if seen.killing else "421"):
            seen.wrong.append(f"the relay said {line!r}, not {code}")
        raise ConnectionError(line)
    return True


async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
    """The next hop: takes all there is."""
    recipients: list[str] = []
    with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        writer.write(b"220 sink.test ESMTP\r\n")
        while line := (await reader.readuntil(b"\n")).decode().rstrip():
            verb = line[:4].upper()
            if verb == "EHLO":
                writer.write(b"250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n")
            elif verb == "DATA":
                writer.write(b"354 go ahead\r\n")
                body = await reader.readuntil(b"\r\n.\r\n")
                try:
                    number_of(body[:-3].replace(b"\r\n..", b"\r\n."))
                except ValueError as error:
                    seen.wrong.append(f"passed on: {error}")
                # From here on it is ours, whether or not the relay lives to hear of it.
                seen.passed.update(recipients)
                writer.write(b"250 2.0.0 taken\r\n")
            elif verb == "QUIT":
                writer.write(b"221 2.0.0 bye\r\n")
                break
            else:
                if verb == "RCPT":
                    recipients.append(line.partition("<")[2].partition(">")[0])
                elif verb in ("MAIL", "RSET"):
                    recipients = []
                writer.write(b"250 2.0.0 fine\r\n")
    writer.close()


@asynccontextmanager
async def next_hop(port: int, seen: Seen) -> AsyncIterator[None]:
    """The host where all mail goes, while it is up."""
    sessions: set[asyncio.StreamWriter] = set()

    async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sessions.add(writer)
        try:
            await take(reader, writer, seen)
        finally:
            sessions.discard(writer)

    server = await asyncio.start_server(session, "127.0.0.1", port, limit=1 << 20)
    try:
        yield
    finally:
        server.close()
        for each in sessions:
            each.close()


# ---------------------------------------------------------------- looking at what is left


def look(store: Store, bodies: Path, seen: Seen) -> Iterator[str]:
    """What is wrong with the spool that a killed relay left."""
    with store.read() as connection:
        if store.is_sqlite and (said := connection.exec_driver_sql("PRAGMA integrity_check").scalar()) != "ok":
            yield f"integrity_check says {said}"
        messages = {row.id: row for row in connection.execute(text("SELECT id, size, head, body FROM messages")).all()}
        rows = connection.execute(text("SELECT message, address FROM recipients")).all()
        parts: dict[int, bytes] = {}
        for row in connection.execute(text("SELECT message, data FROM body_parts ORDER BY message, part")):
            parts[row.message] = parts.get(row.message, b"") + bytes(row.data)
    there = Counter(row.address for row in rows)
    yield from (f"{address} is there {count} times" for address, count in there.items() if count > 1)
    orphans = {row.message for row in rows} - messages.keys()
    yield from (f"{name_of(message)}: recipients without a message" for message in orphans)
    empty = messages.keys() - {row.message for row in rows}
    yield from (f"{name_of(message)}: a message without recipients" for message in empty)
    numbers: Counter[int] = Counter()
    for message, row in messages.items():
        try:
            if row.body is not None:
                body = bytes(row.body)
            else:
                body = parts[message] if message in parts else (bodies / name_of(message)).read_bytes()
            if row.size != len(row.head) + len(body):
                yield f"{name_of(message)}: its size is {row.size}, not {len(row.head) + len(body)}"
            numbers[number_of(body)] += 1
        except (KeyError, OSError, ValueError) as error:
            yield f"{name_of(message)}: {error}"
    yield from (f"message {number} is there {count} times" for number, count in numbers.items() if count > 1)
    for number in seen.acknowledged:
        for address in recipients_of(number):
            if address not in there and address not in seen.passed:
                yield f"{address}: acknowledged, and it is neither there nor was it passed on"


# ---------------------------------------------------------------- rounds


class Spools:
    """Rounds on one spool after the other.

    Args:
        url: an empty PostgreSQL database for the spool; empty: SQLite files.
        most_seconds: the longest that a relay is under load.

    Attributes:
        kills: of all processes, by kind.
        of_one: kills of one process, some time before those of all.
    """

    def __init__(self, chance: random.Random, most_seconds: float, url: str = "") -> None:
        self._chance, self._most = chance, most_seconds
        self._hop = free_port()
        # A message goes to the next attempt at once: most kills come while there is something to do.
        settings = {"retry_seconds": "1", "probe_seconds": "1", "probe_longest_seconds": "1"}
        self._relay = RelayingMx10(self._hop, url=url, **settings)
        self.seen = Seen()
        self.kills = Counter[str]()
        self.of_one = 0

    async def kill_once(self) -> list[str]:
        """One round; what was wrong."""
        before = len(self.seen.wrong)
        starting = self._chance.random() < 1 / 8
        up = self._chance.random() < 0.5
        if up:
            async with next_hop(self._hop, self.seen):
                await self._round(starting)
        else:
            await self._round(starting)
        self.kills["starting" if starting else "next hop up" if up else "next hop down"] += 1
        self._look()
        return self.seen.wrong[before:]

    async def _round(self, starting: bool) -> None:
        if starting:
            self._relay.launch()
            await asyncio.sleep(self._chance.uniform(0, 1.5))
        else:
            await asyncio.to_thread(self._relay.start)
            tasks = self._senders()
            await asyncio.sleep(self._chance.uniform(0, self._most))
            if self._chance.random() < 1 / 4:
                self.seen.killing = True
                self._relay.kill_one(self._chance)
                await asyncio.sleep(self._chance.uniform(0, 1.0))
                tasks += self._senders()
                await asyncio.sleep(self._chance.uniform(0, self._most))
                self.of_one += 1
        process = self._relay.process
        if process is None or process.poll() is not None:
            self.seen.wrong.append(f"the relay ended by itself: {self._relay.log_tail()}")
        self.seen.killing = True
        self._relay.kill()
        if not starting:
            await asyncio.wait_for(asyncio.gather(*tasks), 30)
        self.seen.killing = False

    def _senders(self) -> list[asyncio.Task[None]]:
        return [asyncio.create_task(send(self._relay.port, self.seen)) for _ in range(SESSIONS)]

    def _look(self) -> None:
        try:
            store = open_store(self._relay.spool_url)
        except StoreError:
            # The first relay may have been killed before it had made one, or while it did.
            if self.seen.acknowledged:
                raise
            return
        try:
            self.seen.wrong += look(store, self._relay.bodies, self.seen)
        finally:
            store.close()

    async def drain(self) -> list[str]:
        """Leave the relay alone until its spool is empty; what was wrong."""
        before, seen = len(self.seen.wrong), self.seen
        wanted = {address for number in seen.acknowledged for address in recipients_of(number)}
        async with next_hop(self._hop, seen):
            await asyncio.to_thread(self._relay.start)
            ends = time.monotonic() + _DRAIN_SECONDS
            while (left := self._left()) and time.monotonic() < ends:  # noqa: ASYNC110 - another process empties it
                await asyncio.sleep(0.2)
            await asyncio.to_thread(self._relay.end)
        if left:
            seen.wrong.append(f"{left} recipients are still there after {_DRAIN_SECONDS:.0f} s")
        seen.wrong += [f"{address} was never passed on" for address in sorted(wanted - seen.passed.keys())]
        if self._relay.bodies.exists():
            seen.wrong += [f"{path.name}: a file without a message" for path in self._relay.bodies.iterdir()]
        return seen.wrong[before:]

    def _left(self) -> int:
        store = open_store(self._relay.spool_url)
        try:
            with store.read() as connection:
                return int(connection.execute(text("SELECT count(*) FROM recipients")).scalar() or 0)
        finally:
            store.close()

    def close(self) -> None:
        """Remove all."""
        self._relay.stop()


@dataclass(slots=True)
class Rounds:
    """What came of all rounds.

    Attributes:
        kills: of all processes, by kind.
        of_one: kills of one process, some time before those of all.
        twice: recipients whose mail was passed on more than once.
    """

    seen: Seen = field(default_factory=Seen)
    kills: Counter[str] = field(default_factory=Counter)
    of_one: int = 0
    twice: int = 0


async def rounds(count: int, seed: int, most_seconds: float, url: str = "") -> Rounds:
    """Kill all processes so many times."""
    chance = random.Random(seed)
    all_of_it = Rounds()
    total = all_of_it.seen
    done = 0
    while done < count:
        spools = Spools(chance, most_seconds, url)
        try:
            for _ in range(min(_ROUNDS_OF_A_SPOOL, count - done)):
                for each in await spools.kill_once():
                    print(f"round {done}: {each}", flush=True)
                done += 1
            for each in await spools.drain():
                print(f"after round {done - 1}: {each}", flush=True)
        finally:
            spools.close()
        total.acknowledged |= {total.last + number for number in spools.seen.acknowledged}
        total.last += spools.seen.last
        total.wrong += spools.seen.wrong
        all_of_it.kills += spools.kills
        all_of_it.of_one += spools.of_one
        all_of_it.twice += sum(1 for each in spools.seen.passed.values() if each > 1)
    return all_of_it


def main(words: Sequence[str] | None = None) -> int:
    """Run the rounds and print what came of them; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--most-seconds", type=float, default=0.6, help="longest time under load")
    parser.add_argument("--url", default="", help="an empty PostgreSQL database; otherwise SQLite files")
    args = parser.parse_args(words)
    started = time.monotonic()
    try:
        came = asyncio.run(rounds(args.rounds, args.seed, args.most_seconds, args.url))
    except (PeerError, MissingPeerError) as error:
        print(f"{error} (seed {args.seed})")
        return 1
    seen = came.seen
    said = ", ".join(f"{count} {kind}" for kind, count in came.kills.most_common())
    print(f"{args.rounds} kills ({said}; {came.of_one} of one process before), ", end="")
    print(f"in {time.monotonic() - started:.0f} s (seed {args.seed});")
    print(
        f"{seen.last} messages begun, {len(seen.acknowledged)} acknowledged; {came.twice} recipients served twice;"
        f" {len(seen.wrong)} things wrong"
    )
    return 1 if seen.wrong else 0


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main())
