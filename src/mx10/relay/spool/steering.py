"""What commands do to the spool. The relay, if it runs, reads in ``spool_changes`` what was done, within a second.

Recipients are found by reading, and changed some thousands at a time, each time in a transaction of its own: with
SQLite nobody else writes meanwhile, and mail keeps coming while a million recipients are changed. A command that is
interrupted has done a part, and can be given again.

Commands have no log of their own: what they did is written into ``spool_orders`` in the same transaction, and a relay
moves it into its log (``take_orders``), when it runs.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

from sqlalchemy import Connection, text

from mx10.relay.spool.files import body_path
from mx10.relay.spool.opening import Opened
from mx10.relay.spool.selection import Selection
from mx10.relay.values import APART, name_of
from mx10.values import value_class

ALL_AT_ONCE: Final = 500
"""Messages beyond which the relay is told to look at everything anew, instead of at each."""
PIECE: Final = 5000
"""Recipients that are changed in one transaction."""
NAMED: Final = 100
"""Messages that one line of the log names; a longer one is cut by some who keep logs."""
_KEPT: Final = 10_000
"""Rows of ``spool_changes`` that are kept, and of ``spool_orders`` while no relay runs."""
_LONGEST_PAUSE: Final = 0.5
"""Seconds between two pieces at most; as long as the last one took, so that others get their turn."""

_Change = Callable[[Connection], list[int]]
"""Does something to the recipients in ``meant``; the message of each to which it did."""
_MEANT: Final = "(message, number) IN (SELECT message, number FROM meant)"
_TRIED: Final = "state IN ('queued', 'apart')"


def retry(opened: Opened, selection: Selection, now: int, by: str = "") -> int:
    """Have recipients tried now; how many. Those held stay so. ``by``: who wants it, for the log."""
    due = "due_at = CASE WHEN due_at < :now THEN due_at ELSE :now END"
    return _update(opened, selection, _Order("queue retry", now, by), due, _TRIED, {"now": now})


def hold(opened: Opened, selection: Selection, now: int, by: str = "") -> int:
    """Have recipients wait until they are released; how many."""
    return _update(opened, selection, _Order("queue hold", now, by), "state = 'held'", _TRIED)


def release(opened: Opened, selection: Selection, now: int, by: str = "") -> int:
    """Let recipients go that were held; how many. They are tried at once; those of whom nobody knew whether they exist
    are apart again."""
    state = "CASE WHEN options LIKE :apart THEN 'apart' ELSE 'queued' END"
    values = {"now": now, "apart": f"{APART}%"}
    order = _Order("queue release", now, by)
    return _update(opened, selection, order, f"state = {state}, due_at = :now", "state = 'held'", values)


def bounce(opened: Opened, selection: Selection, now: int, by: str = "") -> int:
    """Have recipients returned to their senders; how many. The relay does it, when it runs."""
    return _update(opened, selection, _Order("queue bounce", now, by), "state = 'return'", "state <> 'return'")


def delete(opened: Opened, selection: Selection, now: int, by: str = "") -> int:
    """Forget recipients; nobody is told. How many. Bodies that cannot be removed are at the relay's next start."""
    empty = (
        "SELECT DISTINCT message FROM meant"
        " WHERE NOT EXISTS (SELECT 1 FROM recipients WHERE recipients.message = meant.message)"
    )
    gone: list[int] = []

    def change(connection: Connection) -> list[int]:
        statement = text(f"DELETE FROM recipients WHERE {_MEANT} RETURNING message")
        found = list(connection.execute(statement).scalars())
        connection.execute(text(f"DELETE FROM attempts WHERE {_MEANT}"))
        gone[:] = connection.execute(text(empty)).scalars()
        connection.execute(text(f"DELETE FROM body_parts WHERE message IN ({empty})"))
        connection.execute(text(f"DELETE FROM messages WHERE id IN ({empty})"))
        return found

    def remove() -> None:
        if opened.folder is not None:
            for message in gone:
                with suppress(OSError):
                    body_path(opened.folder, message).unlink()

    return _change(opened, selection, _Order("queue delete", now, by), change, remove)


def take_orders(opened: Opened) -> list[tuple[str, dict[str, Any]]]:
    """What commands did and no relay has told yet, some of it, for the log: events, each with its values. It is
    forgotten here, so that of several relays one tells it.

    Raises:
        StoreError: the store cannot be written now.
    """
    some = f"SELECT id FROM spool_orders ORDER BY id LIMIT {ALL_AT_ONCE}"
    with opened.store.begin() as connection:
        rows = connection.execute(text(f"DELETE FROM spool_orders WHERE id IN ({some}) RETURNING id, at, line")).all()
    found = []
    for _, at, line in sorted(tuple(row) for row in rows):
        values = json.loads(line)
        found.append((values.pop("event"), {**values, "at": at}))
    return found


@value_class
class _Order:
    """What a command wants, when, and by whom."""

    event: str
    now: int
    by: str


def _update(
    opened: Opened,
    selection: Selection,
    order: _Order,
    what: str,
    only: str,
    values: Mapping[str, object] | None = None,
) -> int:
    statement = text(f"UPDATE recipients SET {what} WHERE {only} AND {_MEANT} RETURNING message")
    return _change(opened, selection, order, lambda connection: list(connection.execute(statement, values).scalars()))


def _change(
    opened: Opened, selection: Selection, order: _Order, change: _Change, after: Callable[[], None] = lambda: None
) -> int:
    """Do something to recipients, and note which messages they belong to; a piece after the other.

    Args:
        after: called when a piece is durable.
    """
    count = 0
    for meant in _pieces(opened, selection):
        begun = time.monotonic()
        with opened.store.begin() as connection:
            # Rather than the selection again: what is changed may be what they were found by.
            connection.execute(
                text(
                    "CREATE TEMPORARY TABLE meant"
                    " (message BIGINT NOT NULL, number INTEGER NOT NULL, PRIMARY KEY (message, number))"
                )
            )
            connection.execute(
                text("INSERT INTO meant (message, number) VALUES (:message, :number)"),
                [{"message": message, "number": number} for message, number in meant],
            )
            changed = change(connection)
            if changed:
                _note(connection, order.now, is_sqlite=opened.store.is_sqlite)
                _tell(connection, selection, order, changed)
            # Where something failed, undoing the transaction does it.
            connection.execute(text("DROP TABLE meant"))
        after()
        count += len(changed)
        if len(meant) >= PIECE:
            time.sleep(min(_LONGEST_PAUSE, time.monotonic() - begun))
    return count


def _pieces(opened: Opened, selection: Selection) -> Iterator[list[tuple[int, int]]]:
    """Recipients that are meant, some at a time; none that came since this began."""
    condition, values = selection.where()
    statement = text(
        f"SELECT r.message, r.number FROM recipients r JOIN messages m ON m.id = r.message WHERE {condition}"
        " AND r.message <= :last AND (r.message > :after OR (r.message = :after AND r.number > :number))"
        " ORDER BY r.message, r.number LIMIT :piece"
    )
    with opened.store.read() as connection:
        last = connection.execute(text("SELECT MAX(id) FROM messages")).scalar()
    message, number = -1, -1
    while last is not None:
        with opened.store.read() as connection:
            rows = connection.execute(
                statement, {**values, "last": last, "after": message, "number": number, "piece": PIECE}
            ).all()
        if rows:
            yield [(row[0], row[1]) for row in rows]
        if len(rows) < PIECE:
            return
        message, number = rows[-1]


def _tell(connection: Connection, selection: Selection, order: _Order, changed: list[int]) -> None:
    """Write down for the log what was done to whose recipients."""
    counts = Counter(changed)
    messages = sorted(counts)
    lines = []
    for at in range(0, len(counts), NAMED):
        some = messages[at : at + NAMED]
        told: dict[str, Any] = {
            "event": order.event,
            "messages": [name_of(message) for message in some],
            "recipients": sum(counts[message] for message in some),
            "by": order.by,
        }
        if said := selection.said():
            told["selection"] = said
        lines.append({"now": order.now, "line": json.dumps(told)})
    connection.execute(text("INSERT INTO spool_orders (at, line) VALUES (:now, :line)"), lines)
    last = connection.execute(text("SELECT MAX(id) FROM spool_orders")).scalar_one()
    connection.execute(text("DELETE FROM spool_orders WHERE id <= :old"), {"old": last - _KEPT})


def _note(connection: Connection, now: int, *, is_sqlite: bool) -> None:
    if not is_sqlite:
        # Numbers are then in the order of commits, and the relay passes none over. SQLite has one writer anyway.
        connection.execute(text("LOCK TABLE spool_changes IN EXCLUSIVE MODE"))
    many = connection.execute(text("SELECT COUNT(DISTINCT message) FROM meant")).scalar_one() > ALL_AT_ONCE
    if many:
        connection.execute(text("INSERT INTO spool_changes (message, at) VALUES (NULL, :now)"), {"now": now})
    else:
        connection.execute(
            text("INSERT INTO spool_changes (message, at) SELECT DISTINCT message, CAST(:now AS BIGINT) FROM meant"),
            {"now": now},
        )
    last = connection.execute(text("SELECT MAX(id) FROM spool_changes")).scalar_one()
    connection.execute(text("DELETE FROM spool_changes WHERE id <= :old"), {"old": last - _KEPT})
