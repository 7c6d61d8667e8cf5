"""Recipients from somebody's database: a SELECT that finds a row where the recipient exists.

Address and password of the database and the statement stand in a file that not everybody may read. Its first line is a
URL as SQLAlchemy writes them, the rest the statement, with ``:address``, ``:local`` and ``:domain`` in it::

    postgresql://mail:secret@192.0.2.7/mail
    SELECT 1 FROM users WHERE lower(address) = :address AND active

Questions are asked in threads, a few at once, on connections that cannot write. A database that does not answer in
time is a temporary failure and never an absence.
"""

import asyncio
import re
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine, QueuePool, create_engine, make_url, text
from sqlalchemy.exc import ArgumentError, InvalidRequestError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from mx10.relay.courier.transports import TransportError, read_secret
from mx10.relay.door.recipients.rules import RuleError

AT_ONCE: Final = 4
"""Questions to one database at the same time; as many connections."""
WAITING: Final = 500
"""Questions that wait for one of these."""
SECONDS: Final = 5.0
"""How long one may take, with its wait."""

_NAMES: Final = frozenset({"address", "local", "domain"})
_DRIVERS: Final = {"sqlite": "sqlite+pysqlite", "postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}


class QueryBusyError(Exception):
    """Too many questions wait already."""


class QueryFailedError(Exception):
    """The database gave no answer; the message says why, without the password."""


class Query:
    """A question to a database.

    Args:
        path: of the file.

    Raises:
        RuleError: it cannot be used. No connection is made yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        url, self._statement = _read(path)
        self._names = _parameters(path, self._statement)
        self._engine = _engine(path, url)
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="recipients")
        self._open = 0

    async def has(self, local: str, domain: str) -> bool:
        """Whether the statement finds a row for a recipient. It gets both parts in lower case.

        Raises:
            QueryBusyError: too many questions wait already.
            QueryFailedError: there is no answer.
        """
        if self._open >= AT_ONCE + WAITING:
            raise QueryBusyError
        values = {"local": local.lower(), "domain": domain, "address": f"{local.lower()}@{domain}"}
        self._open += 1
        try:
            # A thread that hangs in the driver stays in its place until the driver gives up; nobody waits for it.
            work = asyncio.get_running_loop().run_in_executor(
                self._threads, self._ask, {name: values[name] for name in self._names}
            )
            work.add_done_callback(self._answered)
            return await asyncio.wait_for(asyncio.shield(work), SECONDS)
        except TimeoutError:
            raise QueryFailedError(f"no answer within {SECONDS:g} s") from None
        except PoolTimeoutError:
            raise QueryFailedError("all connections to it are in use") from None
        except SQLAlchemyError as error:
            said = str(getattr(error, "orig", None) or type(error).__name__).split("\n")[0]
            raise QueryFailedError(" ".join(said.split())[:120]) from None

    def _answered(self, work: asyncio.Future[bool]) -> None:
        self._open -= 1
        if not work.cancelled():
            # Whoever asked may be gone; then this is nobody's.
            work.exception()

    def _ask(self, values: dict[str, str]) -> bool:
        with self._engine.connect() as connection:
            return connection.execute(text(self._statement), values).first() is not None

    def close(self) -> None:
        """Ask no more."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        with suppress(SQLAlchemyError):
            self._engine.dispose()


def _read(path: Path) -> tuple[str, str]:
    try:
        lines = read_secret(path).decode().strip().split("\n")
    except TransportError as error:
        raise RuleError(str(error)) from None
    except UnicodeDecodeError:
        raise RuleError(f"{path} is not UTF-8") from None
    url, statement = lines[0].strip(), "\n".join(lines[1:]).strip().removesuffix(";")
    if not statement:
        raise RuleError(f"{path}: write the database's URL in the first line, and a SELECT below it")
    return url, statement


def _parameters(path: Path, statement: str) -> frozenset[str]:
    if not re.match(r"(?i)(select|with)\b", statement):
        raise RuleError(f"{path}: the statement has to be a SELECT that finds a row where the recipient exists")
    names = frozenset(text(statement).compile().params)
    if unknown := names - _NAMES:
        raise RuleError(f"{path}: :{min(unknown)} has no value; there are :address, :local and :domain")
    if not names & {"address", "local"}:
        raise RuleError(f"{path}: the statement asks for no recipient; write :address, or :local and :domain, in it")
    return names


def _engine(path: Path, url: str) -> Engine:
    forms = "write sqlite:////path/to/file or postgresql://user:password@host/database"
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # It may hold a password: it is not repeated.
        raise RuleError(f"{path}: the URL in the first line cannot be read; {forms}") from None
    driver = _DRIVERS.get(parsed.drivername, parsed.drivername)
    options: dict[str, Any] = {"pool_pre_ping": True}
    if driver == "sqlite+pysqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise RuleError(f"{path}: the URL names no file; {forms}")
        # Never made where it is missing, and never written.
        uri = f"{Path(parsed.database).absolute().as_uri()}?mode=ro"
        options = {"creator": lambda: sqlite3.connect(uri, SECONDS, check_same_thread=False, uri=True)}
    elif driver == "postgresql+psycopg":
        if not parsed.database:
            raise RuleError(f"{path}: the URL names no database; {forms}")
        careful = f"-c default_transaction_read_only=on -c statement_timeout={int(SECONDS * 1000)}"
        arguments = {"connect_timeout": max(1, int(SECONDS)), "application_name": "mx10", "options": careful}
        options["connect_args"] = {name: value for name, value in arguments.items() if name not in parsed.query}
    try:
        return create_engine(
            parsed.set(drivername=driver),
            poolclass=QueuePool,
            pool_size=AT_ONCE,
            max_overflow=0,
            pool_timeout=SECONDS,
            **options,
        )
    except (NoSuchModuleError, ImportError, ArgumentError, InvalidRequestError):
        raise RuleError(f"{path}: there is no driver for {parsed.drivername} here; {forms}") from None
