"""What can be wrong with the store, each with its mend; and which of it an error of the database means."""

from typing import Final


class StoreError(Exception):
    """The store cannot be used, or refused something. The message says where, why, and what to do."""


class NoStoreError(StoreError):
    """There is no store yet, or it is empty."""


class NotAStoreError(StoreError):
    """The file or database holds something else."""


class OlderStoreError(StoreError):
    """The store was made by an older mx10 and has to be upgraded first."""


class NewerStoreError(StoreError):
    """The store was made by a newer mx10 than this one, which leaves it alone."""


class StoreBusyError(StoreError):
    """Somebody else held the store for longer than we wait; nothing was changed, and trying again is fine."""


class StoreFullError(StoreError):
    """No room is left; nothing was changed."""


class StoreReadOnlyError(StoreError):
    """We may not write there."""


class StoreUnreachableError(StoreError):
    """The file cannot be opened, or the database server does not let us in or does not answer."""


class UncertainStoreError(StoreUnreachableError):
    """It went away while something was written, which may have become durable, or not."""


class DamagedStoreError(StoreError):
    """The file is damaged, or holds what mx10 never writes."""


Told = tuple[type[StoreError], str, str]
"""The error, what is wrong, and the mend."""

_BUSY: Final[Told] = (
    StoreBusyError,
    "somebody else has been writing for too long",
    "try again; `mx10 zone import` of a very large zone may take that long",
)
_FULL: Final[Told] = (StoreFullError, "no room is left", "free some space on its disk; nothing was changed")
_READ_ONLY: Final[Told] = (
    StoreReadOnlyError,
    "it cannot be written",
    "run this as the user it belongs to, or mend the rights of the file and its folder",
)
_NO_ENTRY: Final[Told] = (
    StoreUnreachableError,
    "it cannot be opened",
    "run this as the user it belongs to, or mend the rights of the file and its folder",
)
_DAMAGED: Final[Told] = (
    DamagedStoreError,
    "the file is damaged",
    "put back a backup, or save what can be read with `sqlite3 FILE .recover`",
)
_ELSE: Final[Told] = (
    NotAStoreError,
    "this is no SQLite database",
    "name another file in store.url, or move this one away",
)
_DISK: Final[Told] = (
    StoreUnreachableError,
    "its disk fails, or a quota is used up",
    "look in the system's log; nothing was changed",
)

# The primary result codes of SQLite (https://www.sqlite.org/rescode.html) by the start of their names.
_SQLITE: Final[tuple[tuple[str, Told], ...]] = (
    ("SQLITE_BUSY", _BUSY),
    ("SQLITE_LOCKED", _BUSY),
    ("SQLITE_FULL", _FULL),
    ("SQLITE_IOERR", _DISK),
    ("SQLITE_READONLY", _READ_ONLY),
    ("SQLITE_PERM", _NO_ENTRY),
    ("SQLITE_AUTH", _NO_ENTRY),
    ("SQLITE_CANTOPEN", _NO_ENTRY),
    ("SQLITE_CORRUPT", _DAMAGED),
    ("SQLITE_NOTADB", _ELSE),
)

_DOWN: Final[Told] = (
    StoreUnreachableError,
    "the database server does not answer",
    "see that it runs, and that host and port in store.url are right",
)
_NO_RIGHTS: Final[Told] = (
    StoreUnreachableError,
    "the database server does not let us in",
    "mend user and password in store.url, or grant this user its database (docs/store.md)",
)
_NO_DATABASE: Final[Told] = (
    NoStoreError,
    "there is no such database",
    "make it with `createdb`, or name another one in store.url",
)
_NO_SLOT: Final[Told] = (
    StoreBusyError,
    "the database server has no connection left",
    "raise its max_connections",
)
_OVERTAKEN: Final[Told] = (StoreBusyError, "another change came between", "try again")

# Codes of PostgreSQL (https://www.postgresql.org/docs/current/errcodes-appendix.html) by their start.
_POSTGRESQL: Final[tuple[tuple[str, Told], ...]] = (
    ("55P03", _BUSY),
    ("57014", _BUSY),
    ("40", _OVERTAKEN),
    ("53100", _FULL),
    ("53300", _NO_SLOT),
    ("25006", _READ_ONLY),
    ("28", _NO_RIGHTS),
    ("42501", _NO_RIGHTS),
    ("3D000", _NO_DATABASE),
    ("08", _DOWN),
    ("57P", _DOWN),
    ("XX001", _DAMAGED),
    ("XX002", _DAMAGED),
)

_CONNECTING: Final[tuple[tuple[str, Told], ...]] = (
    ("password", _NO_RIGHTS),
    ("pg_hba.conf", _NO_RIGHTS),
    ("permission denied", _NO_RIGHTS),
    ("authentication", _NO_RIGHTS),
    ('role "', _NO_RIGHTS),
    ("does not exist", _NO_DATABASE),
    ("too many clients", _NO_SLOT),
    ("connection slots", _NO_SLOT),
    ("connection option", (StoreError, "store.url cannot be read", "write postgresql://user@host/database")),
)


def store_error(origin: BaseException | None, place: str) -> StoreError:
    """What an error of a database's driver means.

    Args:
        place: which store, for the message; without a password.
    """
    kind, what, mend = _told(origin)
    return kind(f"the store {place}: {what}; {mend}")


def _told(origin: BaseException | None) -> Told:
    name = getattr(origin, "sqlite_errorname", None)
    code = getattr(origin, "sqlstate", None)
    for start, told in _SQLITE if name else _POSTGRESQL:
        if (name or code or "").startswith(start):
            return told
    said = " ".join(str(origin).split())
    if name is None and code is None:
        # A connection that is not made has no code: these words are the server's.
        for words, (kind, what, mend) in _CONNECTING:
            if words in said:
                return kind, f"{what} ({said})", mend
        if type(origin).__name__ == "OperationalError":
            kind, what, mend = _DOWN
            return kind, f"{what} ({said})", mend
    return StoreError, f"the database refused this ({said})", "if this comes again, tell the authors of mx10"
