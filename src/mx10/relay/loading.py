"""What the queue reads of the spool, a page at a time. Each function is one transaction; run in a thread."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, ParamSpec, TypeVar

from sqlalchemy import Connection, text

from mx10.relay.spool.bodies import InFile, InMemory, InParts, SpooledContent
from mx10.relay.spool.files import body_path
from mx10.relay.spool.opening import Opened
from mx10.relay.values import Envelope, Waiting, name_of
from mx10.values import value_class

PAGE: Final = 200
"""Recipients of one domain that are read at a time."""
DOMAINS: Final = 100_000
"""Domains that are known at the same time; those due later are found when these are done."""

_Given = ParamSpec("_Given")
_Found = TypeVar("_Found")


async def in_thread(function: Callable[_Given, _Found], *args: _Given.args, **more: _Given.kwargs) -> _Found:
    """What a function finds, called in a thread. Who is cancelled waits for its end all the same: the store is closed
    next, and a connection that is in use then stays open."""
    work = asyncio.ensure_future(asyncio.to_thread(function, *args, **more))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait((work,))
        raise


@value_class
class Message:
    """A message's row, without its content."""

    id: int
    arrived_at: int
    expires_at: int
    size: int
    envelope: Envelope


@value_class
class Page:
    """Recipients of one domain that are due, in the order in which they are.

    Attributes:
        cursor: where the next page begins.
        whole: there are no more that are due.
        later: when the next one is due, where it is whole; None: there are no others.
    """

    recipients: list[Waiting]
    cursor: tuple[int, int, int]
    whole: bool
    later: int | None


@value_class
class Pages:
    """What was read of some domains.

    Attributes:
        pages: by domain; of those that are not here nothing was read.
        messages: of all recipients.
        counts: recipients that each message has in all, in whatever state.
        contents: of messages that are small enough.
    """

    pages: dict[str, Page]
    messages: dict[int, Message]
    counts: dict[int, int]
    contents: dict[int, InMemory]


_COLUMNS: Final = "message, number, address, domain, node, state, due_at, attempts, options, last"


def domains(opened: Opened, node: int) -> list[tuple[str, int]]:
    """Domains with recipients, each with when the first is due; those first that are due first."""
    statement = text(
        "SELECT domain, MIN(due_at) AS due FROM recipients WHERE node = :node AND state IN ('queued', 'apart')"
        " GROUP BY domain ORDER BY due LIMIT :most"
    )
    with opened.store.read() as connection:
        return [(row[0], row[1]) for row in connection.execute(statement, {"node": node, "most": DOMAINS})]


def pages(
    opened: Opened,
    node: int,
    wanted: Sequence[tuple[str, tuple[int, int, int]]],
    now: int,
    most: int,
    content_bytes: int,
) -> Pages:
    """Recipients that are due, of several domains.

    Args:
        wanted: domains, each with where to go on; read one after the other until there are ``most`` recipients.
        content_bytes: octets of contents to read with them.
    """
    found: dict[str, Page] = {}
    total = 0
    with opened.store.read() as connection:
        for domain, cursor in wanted:
            if total >= most:
                break
            found[domain] = _page(connection, node, domain, now, cursor, min(PAGE, most - total))
            total += len(found[domain].recipients)
        ids = {each.message for page in found.values() for each in page.recipients}
        messages = _messages(connection, ids)
        return Pages(found, messages, _counts(connection, ids), _contents(connection, messages, content_bytes))


def _page(connection: Connection, node: int, domain: str, now: int, cursor: tuple[int, int, int], most: int) -> Page:
    values = {"node": node, "domain": domain, "now": now, "due": cursor[0], "message": cursor[1], "number": cursor[2]}
    found = [Waiting(*row) for row in connection.execute(_DUE, {**values, "most": most})]
    whole = len(found) < most
    later = connection.execute(_LATER, values).scalar() if whole else None
    end = (found[-1].due_at, found[-1].message, found[-1].number) if found else cursor
    return Page(found, end, whole, later)


def _due_statement() -> str:
    # Two ranges of one index, each read no further than wanted.
    of_state = (
        f"SELECT * FROM (SELECT {_COLUMNS} FROM recipients WHERE node = :node AND state = '%s' AND domain = :domain"
        " AND due_at <= :now AND due_at >= :due AND (due_at, message, number) > (:due, :message, :number)"
        " ORDER BY due_at, message, number LIMIT :most) AS %s"
    )
    both = " UNION ALL ".join(of_state % (state, state) for state in ("apart", "queued"))
    return f"{both} ORDER BY due_at, message, number LIMIT :most"


_DUE: Final = text(_due_statement())
_LATER: Final = text(
    "SELECT MIN(due_at) FROM recipients WHERE node = :node AND state IN ('queued', 'apart')"
    " AND domain = :domain AND due_at > :now"
)


def of_messages(opened: Opened, ids: list[int]) -> tuple[list[Waiting], dict[int, Message]]:
    """All recipients of some messages, in whatever state."""
    if not ids:
        return [], {}
    numbers = ", ".join(str(int(each)) for each in ids)
    with opened.store.read() as connection:
        rows = connection.execute(
            text(f"SELECT {_COLUMNS} FROM recipients WHERE message IN ({numbers}) ORDER BY message, number")
        )
        return [Waiting(*row) for row in rows], _messages(connection, set(ids))


def to_remind(opened: Opened, node: int, now: int, most: int) -> list[int]:
    """Messages whose sender is to hear of a delay, or of the end."""
    statement = text(
        "SELECT id FROM messages WHERE remind_at <= :now AND EXISTS"
        " (SELECT 1 FROM recipients WHERE message = messages.id AND node = :node) ORDER BY remind_at LIMIT :most"
    )
    with opened.store.read() as connection:
        return list(connection.execute(statement, {"now": now, "node": node, "most": most}).scalars())


def to_return(opened: Opened, node: int, most: int) -> list[int]:
    """Messages with recipients that somebody wants returned."""
    statement = text("SELECT DISTINCT message FROM recipients WHERE node = :node AND state = 'return' LIMIT :most")
    with opened.store.read() as connection:
        return list(connection.execute(statement, {"node": node, "most": most}).scalars())


def changes(opened: Opened, after: int) -> tuple[int, list[int], bool]:
    """What commands did: how far that goes, which messages, and whether everything is to be looked at."""
    with opened.store.read() as connection:
        rows = connection.execute(
            text("SELECT id, message FROM spool_changes WHERE id > :after ORDER BY id LIMIT 1000"), {"after": after}
        ).all()
    if not rows:
        return after, [], False
    return rows[-1][0], [row[1] for row in rows if row[1] is not None], any(row[1] is None for row in rows)


def last_change(opened: Opened) -> int:
    """How far ``changes`` goes now."""
    with opened.store.read() as connection:
        return int(connection.execute(text("SELECT MAX(id) FROM spool_changes")).scalar() or 0)


def content(opened: Opened, message: int) -> SpooledContent:
    """What a message says.

    Raises:
        LookupError: it is gone.
    """
    with opened.store.read() as connection:
        row = connection.execute(
            text("SELECT size, head, body FROM messages WHERE id = :id"), {"id": message}
        ).one_or_none()
    if row is None:
        raise LookupError(f"message {name_of(message)} is gone")
    size, head, body = row
    if body is not None:
        return InMemory(bytes(head) + bytes(body))
    if opened.folder is not None:
        return InFile(bytes(head), body_path(opened.folder, message), size)
    return InParts(bytes(head), opened.store, message, size)


def _messages(connection: Connection, ids: set[int]) -> dict[int, Message]:
    if not ids:
        return {}
    numbers = ", ".join(str(int(each)) for each in ids)
    rows = connection.execute(
        text(f"SELECT id, arrived_at, expires_at, size, reverse_path, envelope FROM messages WHERE id IN ({numbers})")
    )
    return {row[0]: Message(row[0], row[1], row[2], row[3], Envelope.from_json(row[4], row[5])) for row in rows}


def _counts(connection: Connection, ids: set[int]) -> dict[int, int]:
    if not ids:
        return {}
    numbers = ", ".join(str(int(each)) for each in ids)
    statement = f"SELECT message, COUNT(*) FROM recipients WHERE message IN ({numbers}) GROUP BY message"
    return {row[0]: row[1] for row in connection.execute(text(statement))}


def _contents(connection: Connection, messages: dict[int, Message], most: int) -> dict[int, InMemory]:
    """Contents that are in the rows themselves, no more than ``most`` octets."""
    wanted: list[str] = []
    for message in messages.values():
        if message.size <= most:
            most -= message.size
            wanted.append(str(int(message.id)))
    if not wanted:
        return {}
    statement = f"SELECT id, head, body FROM messages WHERE id IN ({', '.join(wanted)}) AND body IS NOT NULL"
    return {row[0]: InMemory(bytes(row[1]) + bytes(row[2])) for row in connection.execute(text(statement))}
