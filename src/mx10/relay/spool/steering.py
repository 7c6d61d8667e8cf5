"""What commands do to the spool. The relay, if it runs, reads in ``spool_changes`` what was done, within a second."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, text

from mx10.relay.spool.opening import Opened
from mx10.relay.spool.selection import Selection
from mx10.relay.values import name_of

ALL_AT_ONCE: Final = 500
"""Messages beyond which the relay is told to look at everything anew, instead of at each."""
_KEPT: Final = 10_000
"""Rows of ``spool_changes`` that are kept."""

_Change = Callable[[Connection, str, dict[str, object]], int]


def retry(opened: Opened, selection: Selection, now: int) -> int:
    """Have recipients tried now; how many. Those held stay so."""
    return _update(
        opened,
        selection,
        now,
        "due_at = CASE WHEN due_at < :now THEN due_at ELSE :now END",
        "state IN ('queued', 'apart')",
    )


def hold(opened: Opened, selection: Selection, now: int) -> int:
    """Have recipients wait until they are released; how many."""
    return _update(opened, selection, now, "state = 'held'", "state IN ('queued', 'apart')")


def release(opened: Opened, selection: Selection, now: int) -> int:
    """Let recipients go that were held; how many. They are tried at once."""
    return _update(opened, selection, now, "state = 'queued', due_at = :now", "state = 'held'")


def bounce(opened: Opened, selection: Selection, now: int) -> int:
    """Have recipients returned to their senders; how many. The relay does it, when it runs."""
    return _update(opened, selection, now, "state = 'return'", "state <> 'return'")


def delete(opened: Opened, selection: Selection, now: int) -> int:
    """Forget recipients; nobody is told. How many."""

    def change(connection: Connection, condition: str, values: dict[str, object]) -> int:
        del condition
        found = connection.execute(
            text("DELETE FROM recipients WHERE (message, number) IN (SELECT message, number FROM meant)"), values
        ).rowcount
        connection.execute(
            text(
                "DELETE FROM attempts WHERE EXISTS (SELECT 1 FROM meant"
                " WHERE meant.message = attempts.message AND meant.number = attempts.number)"
            )
        )
        empty = (
            "SELECT DISTINCT message FROM meant"
            " WHERE NOT EXISTS (SELECT 1 FROM recipients WHERE recipients.message = meant.message)"
        )
        gone.extend(connection.execute(text(empty)).scalars())
        connection.execute(text(f"DELETE FROM body_parts WHERE message IN ({empty})"))
        connection.execute(text(f"DELETE FROM messages WHERE id IN ({empty})"))
        return found

    gone: list[int] = []
    count = _change(opened, selection, now, change)
    if opened.folder is not None:
        for message in gone:
            Path(opened.folder / name_of(message)).unlink(missing_ok=True)
    return count


def _update(opened: Opened, selection: Selection, now: int, what: str, only: str) -> int:
    def change(connection: Connection, condition: str, values: dict[str, object]) -> int:
        del condition
        statement = text(
            f"UPDATE recipients SET {what} WHERE {only} AND (message, number) IN (SELECT message, number FROM meant)"
        )
        return connection.execute(statement, values).rowcount

    return _change(opened, selection, now, change)


def _change(opened: Opened, selection: Selection, now: int, change: _Change) -> int:
    """Do something to recipients, and note which messages they belong to: one transaction."""
    condition, values = selection.where()
    with opened.store.begin() as connection:
        # Found once: what is changed may be what they were found by.
        connection.execute(text("CREATE TEMPORARY TABLE meant (message BIGINT NOT NULL, number INTEGER NOT NULL)"))
        try:
            connection.execute(
                text(
                    "INSERT INTO meant SELECT r.message, r.number FROM recipients r JOIN messages m ON m.id = r.message"
                    f" WHERE {condition}"
                ),
                values,
            )
            count = change(connection, condition, {"now": now})
            if count:
                _note(connection, now)
        finally:
            connection.execute(text("DROP TABLE meant"))
    return count


def _note(connection: Connection, now: int) -> None:
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
