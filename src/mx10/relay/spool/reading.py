"""Looking at the spool: what commands show of it. Nothing here changes anything."""

import json
from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import text

from mx10.relay.spool.selection import Selection
from mx10.relay.values import Envelope, Waiting, name_of
from mx10.store.connect import Store
from mx10.values import value_class

_PAGE: Final = 1000
_COLUMNS: Final = (
    "r.message, r.number, r.address, r.domain, r.node, r.state, r.due_at, r.attempts, r.options, r.last,"
    " m.arrived_at, m.expires_at, m.size, m.reverse_path, m.envelope"
)


@value_class
class Entry:
    """A recipient, and the message it belongs to."""

    waiting: Waiting
    arrived_at: int
    expires_at: int
    size: int
    envelope: Envelope

    @property
    def name(self) -> str:
        """Of the message."""
        return name_of(self.waiting.message)

    @property
    def last(self) -> dict[str, Any]:
        """How the last attempt ended, as ``history`` writes it; empty: there was none."""
        return json.loads(self.waiting.last) if self.waiting.last else {}


@value_class
class Attempt:
    """One that did not deliver, as ``history`` writes it."""

    number: int
    at: int
    outcome: dict[str, Any]


def entries(store: Store, selection: Selection) -> Iterator[Entry]:
    """Recipients that are meant, the oldest messages first; read a page at a time."""
    condition, values = selection.where()
    after = (-1, -1)
    while True:
        statement = text(
            f"SELECT {_COLUMNS} FROM recipients r JOIN messages m ON m.id = r.message WHERE {condition}"
            " AND (r.message > :after OR (r.message = :after AND r.number > :number))"
            " ORDER BY r.message, r.number LIMIT :page"
        )
        with store.read() as connection:
            rows = connection.execute(statement, {**values, "after": after[0], "number": after[1], "page": _PAGE}).all()
        for row in rows:
            yield Entry(Waiting(*row[:10]), row[10], row[11], row[12], Envelope.from_json(row[13], row[14]))
        if len(rows) < _PAGE:
            return
        after = (rows[-1][0], rows[-1][1])


def attempts(store: Store, message: int) -> list[Attempt]:
    """Of all recipients of a message, the oldest first."""
    with store.read() as connection:
        rows = connection.execute(
            text("SELECT number, at, outcome FROM attempts WHERE message = :message ORDER BY id LIMIT 10000"),
            {"message": message},
        ).all()
    return [Attempt(row[0], row[1], json.loads(row[2])) for row in rows]


def last_of_domain(store: Store, domain: str) -> dict[str, Any]:
    """How the last attempt for some recipient of a domain ended; empty: there was none. One that waits for a next hop
    that is down is not tried itself: others stand for it."""
    with store.read() as connection:
        row = connection.execute(
            text("SELECT last FROM recipients WHERE domain = :domain AND last <> '' ORDER BY attempts DESC LIMIT 1"),
            {"domain": domain},
        ).scalar()
    return json.loads(row) if row else {}


@value_class
class Total:
    """What waits for one domain."""

    domain: str
    recipients: int
    held: int
    apart: int
    oldest: int
    next_at: int | None


def totals(store: Store, selection: Selection, most: int) -> list[Total]:
    """Domains with the most of what is meant."""
    condition, values = selection.where()
    # A million rows are counted in half the time without the other table.
    messages = "" if selection.is_everything else " JOIN messages m ON m.id = r.message"
    statement = text(
        "SELECT r.domain, COUNT(*) AS n, SUM(CASE WHEN r.state = 'held' THEN 1 ELSE 0 END),"
        " SUM(CASE WHEN r.state = 'apart' THEN 1 ELSE 0 END), MIN(r.message),"
        " MIN(CASE WHEN r.state IN ('queued', 'apart') THEN r.due_at END)"
        f" FROM recipients r{messages} WHERE {condition} GROUP BY r.domain ORDER BY n DESC, r.domain LIMIT :most"
    )
    with store.read() as connection:
        rows = connection.execute(statement, {**values, "most": most}).all()
    # The time is in the upper bits of a message's number (values.Ids).
    return [Total(row[0], row[1], int(row[2]), int(row[3]), row[4] >> 21, row[5]) for row in rows]
