"""Greylisting (RFC 6647): what a stranger sends for the first time is refused for a while. Whoever sends mail as SMTP
wants it comes again.

What is remembered is a client's network (/24, /64), sender and recipient together. A network from which enough of them
came again is known from then on, whatever it sends. Where nothing can be remembered (the store is down, or full of
strangers), nothing is refused: mail would not get through any more.

What was learned is in the table ``greylist``, and written once a second; to lose a second of it costs somebody a
further attempt. Several relays may share the table.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol

from sqlalchemy import bindparam, text

from mx10.config.settings import DoorSettings
from mx10.logs import get_logger
from mx10.relay.door.door import Check
from mx10.relay.door.rules import is_exempt
from mx10.relay.door.values import Decision, Refused, Visitor
from mx10.routing.addresses import around
from mx10.smtp.replies import Reply
from mx10.smtp.syntax import MailParameters
from mx10.store.connect import Store
from mx10.store.errors import StoreError
from mx10.values import value_class

ENOUGH: Final = 5
"""Senders and recipients from one network that came again, after which it is known."""
KNOWN: Final = 50_000
"""Rows of those that came again that are kept in memory, some 250 octets each."""
UNWRITTEN: Final = 10_000
"""Rows that wait to be written; beyond it nobody is refused."""
MAX_ROWS: Final = 1_000_000
"""Rows of those that did not come again: strangers choose them, so there is an end to it. Beyond it nobody is
refused."""
PIECE: Final = 500
"""Rows of one statement, so that nobody waits long for the store."""
WRITE_SECONDS: Final = 1.0
TIDY_MS: Final = 600_000
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
FRESH_MS: Final = HOUR_MS
"""How far behind the table may be about when a row was last of use."""
_IPV4: Final = 24
_IPV6: Final = 64
_DIGEST: Final = 16

log = get_logger("relay")


@value_class
class Grey:
    """A row.

    Attributes:
        key: of what; see ``keys_of``.
        first_at: when it was first tried; milliseconds since 1970, as ``last_at``.
        last_at: when it was last tried.
        passed: it came again; of a network, how much from there did.
    """

    key: str
    first_at: int
    last_at: int
    passed: int


@value_class
class Times:
    """Milliseconds: until it may come again, until it is new again, until what came again is forgotten."""

    wait: int
    window: int
    keep: int


@value_class
class Judgement:
    """What is done about an attempt.

    Attributes:
        wait: milliseconds until it may come again; 0: it is taken.
        learned: rows as they are from now on.
    """

    wait: int
    learned: tuple[Grey, ...] = ()


def keys_of(address: bytes, sender: str, recipient: str) -> tuple[str, str]:
    """The keys of a client's network, and of that with sender and recipient. Addresses are not kept: a digest is enough
    to know them again.

    Args:
        address: 4 or 16 octets.
        sender: empty for the null reverse path.
    """
    network = str(around(address, _IPV4 if len(address) == 4 else _IPV6))
    what = f"{network}\0{sender.lower()}\0{recipient.lower()}".encode()
    return network, hashlib.blake2b(what, digest_size=_DIGEST).hexdigest()


def holds(row: Grey | None, times: Times, now: int) -> bool:
    """Whether a row still means something."""
    if row is None:
        return False
    if row.passed:
        return now - row.last_at < times.keep
    # One from the future was written before somebody set the clock back.
    return 0 <= now - row.first_at < times.window


def judge(network: Grey | None, row: Grey | None, keys: tuple[str, str], times: Times, now: int) -> Judgement:
    """Whether an attempt is taken.

    Args:
        network: what is remembered of its network.
        row: of it.
        keys: of both.
    """
    known = network if holds(network, times, now) else None
    if known is not None and known.passed >= ENOUGH:
        return Judgement(0, (_touched(known, now),) if _is_old(known, now) else ())
    mine = row if row is not None and holds(row, times, now) else None
    if mine is None:
        return Judgement(times.wait, (Grey(keys[1], now, now, 0),))
    if mine.passed:
        return Judgement(0, (_touched(mine, now),) if _is_old(mine, now) else ())
    if now - mine.first_at < times.wait:
        return Judgement(times.wait - (now - mine.first_at))
    before = known or Grey(keys[0], now, now, 0)
    return Judgement(0, (Grey(keys[1], mine.first_at, now, 1), Grey(keys[0], before.first_at, now, before.passed + 1)))


def _is_old(row: Grey, now: int) -> bool:
    return abs(now - row.last_at) >= FRESH_MS


def _touched(row: Grey, now: int) -> Grey:
    return Grey(row.key, row.first_at, now, row.passed)


class GreyTable(Protocol):
    """Where rows are kept; its methods may wait, and are called in other threads."""

    def find(self, keys: Sequence[str]) -> Mapping[str, Grey]:
        """The rows there are.

        Raises:
            StoreError: they cannot be read.
        """

    def write(self, rows: Iterable[Grey]) -> None:
        """Put rows in the place of those before.

        Raises:
            StoreError: they cannot be written.
        """

    def tidy(self, passed_before: int, others_before: int) -> tuple[int, int]:
        """Remove rows that were last of use before some times.

        Returns:
            Rows removed, and rows left of those that did not come again.

        Raises:
            StoreError: that cannot be done.
        """


class StoredGreyTable:
    """The table ``greylist`` of a store."""

    _FIND: Final = text("SELECT key, first_at, last_at, passed FROM greylist WHERE key IN :keys").bindparams(
        bindparam("keys", expanding=True)
    )
    _WRITE: Final = text(
        "INSERT INTO greylist (key, first_at, last_at, passed) VALUES (:key, :first_at, :last_at, :passed)"
        " ON CONFLICT (key) DO UPDATE SET first_at = excluded.first_at, last_at = excluded.last_at,"
        " passed = excluded.passed WHERE excluded.last_at >= greylist.last_at OR greylist.passed = 0"
    )
    _OLD: Final = text(
        "DELETE FROM greylist WHERE key IN (SELECT key FROM greylist WHERE last_at < :others"
        " AND (passed = 0 OR last_at < :passed) LIMIT :piece)"
    )
    _LEFT: Final = text("SELECT count(*) FROM greylist WHERE passed = 0")

    def __init__(self, store: Store) -> None:
        self._store = store

    def find(self, keys: Sequence[str]) -> dict[str, Grey]:
        """As ``GreyTable``."""
        with self._store.read() as connection:
            rows = connection.execute(self._FIND, {"keys": list(keys)})
            return {row.key: Grey(row.key, row.first_at, row.last_at, row.passed) for row in rows}

    def write(self, rows: Iterable[Grey]) -> None:
        """As ``GreyTable``."""
        # Sorted, so that two relays that write the same rows do not wait for each other.
        values = [
            {"key": row.key, "first_at": row.first_at, "last_at": row.last_at, "passed": min(row.passed, ENOUGH)}
            for row in sorted(rows, key=lambda row: row.key)
        ]
        for at in range(0, len(values), PIECE):
            with self._store.begin() as connection:
                connection.execute(self._WRITE, values[at : at + PIECE])

    def tidy(self, passed_before: int, others_before: int) -> tuple[int, int]:
        """As ``GreyTable``."""
        removed, last = 0, PIECE
        while last == PIECE:
            with self._store.begin() as connection:
                values = {"passed": passed_before, "others": others_before, "piece": PIECE}
                last = connection.execute(self._OLD, values).rowcount
            removed += last
        with self._store.read() as connection:
            return removed, int(connection.execute(self._LEFT).scalar_one())


class Greylist(Check):
    """Refuses what comes for the first time.

    Args:
        clock: milliseconds since 1970.

    Attributes:
        let_in: recipients taken because nothing could be remembered.
    """

    def __init__(self, settings: DoorSettings, table: GreyTable, clock: Callable[[], int]) -> None:
        self._times = Times(
            settings.greylist_seconds * 1000, settings.greylist_hours * HOUR_MS, settings.greylist_days * DAY_MS
        )
        self._table = table
        self._clock = clock
        self._known: OrderedDict[str, Grey] = OrderedDict()
        self._unwritten: dict[str, Grey] = {}
        self._is_full = False
        self._tidied_at = 0
        self.let_in = 0

    @property
    def unwritten(self) -> int:
        """Rows that wait to be written."""
        return len(self._unwritten)

    def recipient(self, visitor: Visitor, mail: MailParameters, recipient: str) -> Decision:
        """Whether this client sent to this recipient from this sender before."""
        if visitor.may_relay or is_exempt(recipient):
            return None
        keys, now = keys_of(visitor.address, mail.reverse_path, recipient), self._clock()
        network, row = self._remembered(keys[0]), self._remembered(keys[1])
        if (network is not None and network.passed >= ENOUGH) or (row is not None and row.passed):
            found = judge(network, row, keys, self._times, now)
            if not found.wait:
                return self._done(found)
        return self._look(keys)

    async def _look(self, keys: tuple[str, str]) -> Refused | None:
        try:
            rows = await asyncio.to_thread(self._table.find, keys)
        except StoreError as error:
            self.let_in += 1
            log.warning("greylisting is off: what came before cannot be read", cause=str(error))
            return None
        # What waits to be written is newer than the table.
        network, row = (self._unwritten.get(key) or rows.get(key) for key in keys)
        for each in (network, row):
            if each is not None and each.passed:
                self._keep(each)
        return self._done(judge(network, row, keys, self._times, self._clock()))

    def _done(self, judgement: Judgement) -> Refused | None:
        room = len(self._unwritten) + len(judgement.learned) <= UNWRITTEN
        if judgement.wait and (not room or self._is_full):
            self.let_in += 1
            return None
        if room:
            for row in judgement.learned:
                self._unwritten[row.key] = row
                if row.passed:
                    self._keep(row)
        if not judgement.wait:
            return None
        seconds = -(-judgement.wait // 1000)
        text = f"this host does not know you yet (greylisting): send it again, in {seconds} s or later"
        return Refused(Reply.of(451, "4.7.1", text), "greylist")

    def _remembered(self, key: str) -> Grey | None:
        row = self._known.get(key)
        if row is not None:
            self._known.move_to_end(key)
        return row

    def _keep(self, row: Grey) -> None:
        self._known[row.key] = row
        self._known.move_to_end(row.key)
        if len(self._known) > KNOWN:
            self._known.popitem(last=False)

    async def run(self) -> None:
        """Write what was learned, and remove what is too old, until cancelled."""
        while True:
            await asyncio.sleep(WRITE_SECONDS)
            try:
                await self.write()
                if not 0 <= self._clock() - self._tidied_at < TIDY_MS:
                    await self.tidy()
            except StoreError as error:
                log.warning("greylisting: the table cannot be written now", cause=str(error))

    async def write(self) -> int:
        """Write what was learned; what could not be written waits for the next time.

        Returns:
            Rows written.

        Raises:
            StoreError: the store takes nothing now.
        """
        rows = list(self._unwritten.values())
        if rows:
            await asyncio.to_thread(self._table.write, rows)
        for row in rows:
            if self._unwritten.get(row.key) is row:
                del self._unwritten[row.key]
        return len(rows)

    async def close(self) -> None:
        """Write what waits to be written, if the store takes it."""
        try:
            await self.write()
        except StoreError as error:
            log.warning("greylisting: what was learned last is lost", cause=str(error))

    async def tidy(self) -> int:
        """Remove what is too old, and see how much room strangers have left. Returns how many rows went.

        Raises:
            StoreError: the store takes nothing now.
        """
        now = self._tidied_at = self._clock()
        removed, left = await asyncio.to_thread(self._table.tidy, now - self._times.keep, now - self._times.window)
        if self._is_full != (left >= MAX_ROWS):
            self._is_full = not self._is_full
            if self._is_full:
                log.warning("greylisting is off: too many strangers that did not come again", rows=left)
        return removed
