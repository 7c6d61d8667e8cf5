"""Opening the store: where it is, what it makes, and every way in which it cannot be used."""

import os
import pwd
import socket
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Connection, event, insert, text

from mx10.store import connect
from mx10.store.connect import Store, default_url, open_store
from mx10.store.errors import (
    DamagedStoreError,
    NewerStoreError,
    NoStoreError,
    NotAStoreError,
    OlderStoreError,
    StoreError,
    StoreFullError,
    StoreReadOnlyError,
    StoreUnreachableError,
)
from mx10.store.tables import feed
from mx10.store.upgrade import upgrade
from tests.conftest import cannot_run


@pytest.mark.parametrize(
    ("environ", "euid", "url"),
    [
        ({}, 0, "sqlite:////var/lib/mx10/mx10.db"),
        ({"STATE_DIRECTORY": "/srv/mx10"}, 0, "sqlite:////srv/mx10/mx10.db"),
        ({"STATE_DIRECTORY": "/srv/a:/srv/b", "HOME": "/home/x"}, 1000, "sqlite:////srv/a/mx10.db"),
        ({"HOME": "/home/x"}, 1000, "sqlite:////home/x/.local/state/mx10/mx10.db"),
        ({"HOME": "/home/x", "XDG_STATE_HOME": "/state"}, 1000, "sqlite:////state/mx10/mx10.db"),
    ],
)
def test_where_it_is_when_nobody_said(environ: dict[str, str], euid: int, url: str) -> None:
    assert default_url(environ, euid) == url


def test_it_is_made_when_asked_for(store_url: str) -> None:
    with pytest.raises(NoStoreError, match="`mx10 store upgrade`"):
        open_store(store_url)
    made = open_store(store_url, create=True)
    made.close()
    for create in (False, True):
        again = open_store(store_url, create=create)
        assert again.url == made.url
        again.close()


def test_a_path_means_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for what URLs write as percent and number (RFC 3986 section 2.1)."""
    path = tmp_path / "a" / "b c%?#:@+ü.db"
    store = open_store(f"sqlite:///{tmp_path}/a/b c%25%3F#:@+ü.db", create=True)
    store.close()
    assert store.path == path
    assert path.exists()
    monkeypatch.chdir(path.parent)
    for url in (store.url, "sqlite:///b c%25%3F#:@+ü.db"):
        again = open_store(url)
        assert again.path == path
        again.close()


def test_its_rights_and_pragmas(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        store = open_store(f"sqlite:///{tmp_path}/a/b/mx10.db", create=True)
    finally:
        os.umask(old)
    assert store.path == tmp_path / "a/b/mx10.db"
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o640
    assert stat.S_IMODE(store.path.parent.stat().st_mode) == 0o750
    assert stat.S_IMODE(store.path.with_name("mx10.db-wal").stat().st_mode) == 0o640
    for begin in (store.begin, store.read):
        with begin() as connection:
            said = {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in _PRAGMAS}
            assert said == _PRAGMAS
    store.close()


_PRAGMAS = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "application_id": connect.APPLICATION_ID}


def test_root_gives_the_file_to_whom_the_folder_belongs(tmp_path: Path) -> None:
    if os.geteuid():
        cannot_run("only root can give files away: run the tests as root")
    nobody = pwd.getpwnam("nobody")
    folder = tmp_path / "state"
    folder.mkdir()
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    store = open_store(f"sqlite:///{folder}/mx10.db", create=True)
    for name in ("mx10.db", "mx10.db-wal", "mx10.db-shm"):
        found = (folder / name).stat()
        assert (found.st_uid, found.st_gid) == (nobody.pw_uid, nobody.pw_gid)
    store.close()


def test_several_make_it_at_once(store_url: str) -> None:
    script = "import sys; from mx10.store.connect import open_store; open_store(sys.argv[1], create=True).close()"
    command = [sys.executable, "-c", script, store_url]
    children = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    assert [child.communicate()[1] for child in children] == [""] * 4
    open_store(store_url).close()


def test_a_backup_goes_on_as_the_store_did(tmp_path: Path) -> None:
    """What docs/store.md advises."""
    store = open_store(f"sqlite:///{tmp_path}/mx10.db", create=True)
    with store.begin() as connection:
        connection.execute(insert(feed).values(apex=b"x", at=1))
    with store.read(), sqlite3.connect(tmp_path / "mx10.db") as other:
        other.execute("VACUUM INTO ?", (f"{tmp_path}/copy.db",))
    other.close()
    store.close()
    copy = open_store(f"sqlite:///{tmp_path}/copy.db")
    with copy.read() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert len(connection.execute(feed.select()).all()) == 1
    copy.close()


def _delete(path: Path) -> None:
    for each in path.parent.glob(f"{path.name}*"):
        each.unlink()


def test_nothing_is_written_to_a_file_that_was_replaced_or_deleted(tmp_path: Path) -> None:
    path = tmp_path / "mx10.db"

    def put(apex: bytes) -> None:
        with store.begin() as connection:
            connection.execute(insert(feed).values(apex=apex, at=1))

    def there() -> list[bytes]:
        with store.read() as connection:
            return [row.apex for row in connection.execute(feed.select())]

    store = open_store(f"sqlite:///{path}", create=True)
    put(b"one")
    with sqlite3.connect(path) as other:
        other.execute("VACUUM INTO ?", (f"{tmp_path}/backup",))
    other.close()
    put(b"two")
    _delete(path)
    for _ in range(2):
        with pytest.raises(StoreUnreachableError, match="the file is gone; put back a backup"):
            put(b"lost")
    assert not path.exists()
    (tmp_path / "backup").rename(path)
    assert there() == [b"one"]
    put(b"three")
    other = sqlite3.connect(path)
    assert other.execute("SELECT count(*) FROM feed").fetchone() == (2,)
    other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    other.close()
    # What is no store, or none of our version, is left alone, and found to be in order again later.
    path.rename(tmp_path / "good")
    _delete(path)
    for content, kind in ((b"no database at all " * 1000, NotAStoreError), (b"", NoStoreError)):
        path.write_bytes(content)
        with pytest.raises(kind):
            put(b"lost")
        assert path.read_bytes() == content or not content
        _delete(path)
    (tmp_path / "good").rename(path)
    assert there() == [b"one", b"three"]

    def put_as_it_is_moved_away() -> None:
        with store.begin() as connection:
            connection.execute(insert(feed).values(apex=b"lost", at=1))
            path.rename(tmp_path / "away")

    with pytest.raises(StoreUnreachableError, match="replaced while"):
        put_as_it_is_moved_away()
    store.close()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "cannot be read"),
        ("mx10.db", "cannot be read"),
        ("sqlite://", "names no file"),
        ("sqlite:///", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite:///x.db?mode=ro", "names no file"),
        ("sqlite://host/x.db", "names no file"),
        ("sqlite:///a%00b", "control character"),
        ("mysql://u:secret@h/x", "begins with 'mysql'"),
        ("postgresql://u:secret@h", "names no database"),
        ("postgresql://u:secret@h:port/x", "cannot be read"),
        ("postgresql://u:secret@127.0.0.1:1/x?nonsense=1", "cannot be read"),
        ("postgresql://u:sec%0aret@127.0.0.1:1/x", "control character"),
    ],
)
def test_urls_that_cannot_be(url: str, said: str) -> None:
    with pytest.raises(StoreError, match=said) as caught:
        open_store(url, create=True)
    assert "secret" not in str(caught.value)


def test_a_database_server_that_is_not_there() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        with pytest.raises(StoreUnreachableError, match="does not answer") as caught:
            open_store(f"postgresql://u:secret@127.0.0.1:{port}/x")
    assert "secret" not in str(caught.value)


def test_a_database_that_is_not_there(postgresql_url: str) -> None:
    with pytest.raises(NoStoreError, match="`createdb`"):
        open_store(postgresql_url.replace("/test_", "/no_test_"), create=True)
    with pytest.raises(StoreUnreachableError, match="does not let us in"):
        open_store(postgresql_url.replace("//postgres:", "//stranger:"), create=True)


def test_a_server_that_goes_away_and_comes_back(postgresql_url: str) -> None:
    store = open_store(postgresql_url, create=True)

    def interrupted() -> None:
        with store.begin() as connection:
            connection.execute(insert(feed).values(apex=b"x", at=1))
            with psycopg.connect(postgresql_url, autocommit=True) as other:
                other.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            connection.execute(insert(feed).values(apex=b"y", at=1))

    with pytest.raises(StoreUnreachableError, match="does not answer"):
        interrupted()
    with store.read() as connection:
        assert connection.execute(feed.select()).all() == []
    store.close()


def test_no_rights_in_the_database(postgresql_url: str) -> None:
    with psycopg.connect(postgresql_url, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS guest")
        connection.execute("CREATE ROLE guest LOGIN")
    with pytest.raises(StoreUnreachableError, match=r"grant this user its database \(docs/store\.md\)"):
        open_store(postgresql_url.replace("//postgres:", "//guest:"), create=True)


def test_somebody_elses_database(store_url: str, tmp_path: Path) -> None:
    store = open_store(store_url, create=True, check=False)
    with store.begin() as connection:
        for table in ("changes", "change_sets"):
            connection.exec_driver_sql(f"DROP TABLE {table}")
    for create in (False, True):
        with pytest.raises(NotAStoreError, match="tables are those of another program"):
            open_store(store_url, create=create)
    with pytest.raises(NotAStoreError):
        upgrade(store)
    store.close()


def test_a_newer_store_is_left_alone(store: Store) -> None:
    with store.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    for create in (False, True):
        with pytest.raises(NewerStoreError, match="9999, which is newer than"):
            open_store(store.url, create=create)
    with pytest.raises(NewerStoreError, match="nothing was changed"):
        upgrade(store)


def test_an_older_store_has_to_be_upgraded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mx10.store.versions.VERSIONS", ("0001", "0002", "0003", "9998"))
    monkeypatch.setattr("mx10.store.versions.CURRENT", "9998")
    for create in (False, True):
        with pytest.raises(OlderStoreError, match="make a backup, then run `mx10 store upgrade`"):
            open_store(store.url, create=create)


@pytest.mark.parametrize("content", [b"x" * 5000, b"SQLite format 3\0" + b"\xff" * 5000, b"$ORIGIN example.com.\n"])
def test_a_file_of_another_kind(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.db"
    path.write_bytes(content)
    for create in (False, True):
        with pytest.raises((NotAStoreError, DamagedStoreError), match=str(path)):
            open_store(f"sqlite:///{path}", create=create)
    assert path.read_bytes() == content


def test_places_where_no_file_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotAStoreError, match="is a folder"):
        open_store(f"sqlite:///{tmp_path}", create=True)
    with pytest.raises(StoreUnreachableError, match=r"is no folder|Not a directory"):
        open_store(f"sqlite:///{tmp_path}/file/mx10.db", create=True)
    with pytest.raises(StoreUnreachableError, match="File name too long"):
        open_store(f"sqlite:///{tmp_path}/{'x' * 300}", create=True)


def test_a_damaged_file(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/mx10.db", create=True)
    with store.begin() as connection:
        connection.execute(insert(feed), [{"apex": bytes(500), "at": 1} for _ in range(500)])
    store.close()
    path = tmp_path / "mx10.db"
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2)
        file.write(b"\xa5" * (size // 2))
    store = open_store(f"sqlite:///{path}")
    with pytest.raises(DamagedStoreError, match="put back a backup"), store.read() as connection:
        connection.execute(feed.select()).all()
    store.close()


def test_a_full_disk(tmp_path: Path) -> None:
    """SQLite's own limit on pages, which ends as a full disk does: with SQLITE_FULL."""
    store = open_store(f"sqlite:///{tmp_path}/mx10.db", create=True)

    def limit(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute("PRAGMA max_page_count = 100")

    store.close()
    event.listen(store._engine, "connect", limit)
    _fill(store)
    event.remove(store._engine, "connect", limit)
    store.close()
    _still_works(store)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "mx10-test", str(folder)]
    if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("file systems cannot be mounted here; a limit of SQLite's is tested instead")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_really_is_full(small_disk: Path) -> None:
    store = open_store(f"sqlite:///{small_disk}/mx10.db", create=True)
    with store.begin() as connection:
        connection.execute(insert(feed).values(apex=b"before", at=1))
    _fill(store)
    store.close()
    _still_works(store)
    with store.read() as connection:
        assert [row.apex for row in connection.execute(feed.select())] == [b"before", b"x"]
    store.close()


def _fill(store: Store) -> None:
    def fill() -> None:
        with store.begin() as connection:
            for _ in range(10_000):
                connection.execute(insert(feed), [{"apex": bytes(1000), "at": 1} for _ in range(100)])

    with pytest.raises(StoreFullError, match="free some space"):
        fill()
    with store.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM feed WHERE apex = zeroblob(1000)")).scalar() == 0


def _still_works(store: Store) -> None:
    with store.begin() as connection:
        connection.execute(insert(feed).values(apex=b"x", at=1))
    with store.read() as connection:
        assert connection.execute(text("PRAGMA integrity_check")).scalar() == "ok"


_AS_NOBODY = """
import os, sys
from mx10.store.connect import open_store
from mx10.store.errors import StoreError
os.setgroups([]); os.setgid(65534); os.setuid(65534)
for write in (False, True):
    try:
        store = open_store(sys.argv[1], create=len(sys.argv) > 2)
        with (store.begin if write else store.read)() as connection:
            if write:
                connection.exec_driver_sql("DELETE FROM feed")
            connection.exec_driver_sql("SELECT count(*) FROM feed")
    except StoreError as error:
        print(type(error).__name__, error)
    else:
        print("done")
"""


@pytest.fixture
def closed_folder() -> Iterator[Path]:
    """A folder others may look into; pytest's own is closed to them."""
    if os.geteuid():
        cannot_run("only root can become somebody else: run the tests as root")
    import shutil
    import tempfile

    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def _as_nobody(*arguments: str) -> list[str]:
    command = [sys.executable, "-c", _AS_NOBODY, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert not done.stderr
    return done.stdout.splitlines()


def test_a_file_that_may_not_be_written(closed_folder: Path) -> None:
    path = closed_folder / "mx10.db"
    open_store(f"sqlite:///{path}", create=True).close()
    path.chmod(0o644)
    for said in _as_nobody(f"sqlite:///{path}"):
        assert said.startswith((StoreReadOnlyError.__name__, StoreUnreachableError.__name__))
        assert "run this as the user it belongs to" in said
        assert str(path) in said


def test_a_file_that_may_not_be_read_or_made(closed_folder: Path) -> None:
    path = closed_folder / "mx10.db"
    for said in _as_nobody(f"sqlite:///{path}", "create"):
        assert said.startswith("StoreReadOnlyError")
    open_store(f"sqlite:///{path}", create=True).close()
    path.chmod(0o600)
    for arguments in ([], ["create"]):
        for said in _as_nobody(f"sqlite:///{path}", *arguments):
            assert "run this as the user it belongs to" in said
    # Nor is it said that there is none, where nobody else may look.
    closed_folder.chmod(0o700)
    for arguments in ([], ["create"]):
        for said in _as_nobody(f"sqlite:///{path}", *arguments):
            assert said.startswith("StoreReadOnlyError")
            assert "permission denied; run this as the user it belongs to" in said


def test_a_path_that_cannot_be_looked_at(tmp_path: Path) -> None:
    with pytest.raises(StoreUnreachableError, match="x cannot be opened: File name too long"):
        open_store(f"sqlite:///{tmp_path}/{'x' * 300}")


def test_a_child_process_has_connections_of_its_own(store: Store) -> None:
    with store.begin() as connection:
        connection.execute(insert(feed).values(apex=b"parent", at=1))
    child = os.fork()
    if not child:
        code = 1
        try:
            store.dispose_after_fork()
            with store.begin() as connection:
                connection.execute(insert(feed).values(apex=b"child", at=1))
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    with store.read() as connection:
        assert [row.apex for row in connection.execute(feed.select().order_by(feed.c.seq))] == [b"parent", b"child"]


@pytest.mark.parametrize("use", [Store.begin, Store.read])
def test_a_connection_in_use_is_closed_when_it_no_longer_is(
    postgresql_url: str, use: Callable[[Store], AbstractContextManager[Connection]]
) -> None:
    store = open_store(postgresql_url, create=True)
    with use(store):
        store.close()
    with psycopg.connect(postgresql_url, autocommit=True) as other:
        ours = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'mx10'"
        deadline = time.monotonic() + 20
        # A server's process ends a little after its connection.
        while other.execute(ours).fetchone():
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_an_exception_undoes_all(store: Store) -> None:
    def fail() -> None:
        with store.begin() as connection:
            connection.execute(insert(feed).values(apex=b"x", at=1))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    with store.read() as connection:
        assert connection.execute(feed.select()).all() == []


def test_a_reader_holds_one_snapshot(store: Store) -> None:
    with store.read() as reading:
        assert reading.execute(feed.select()).all() == []
        with store.begin() as writing:
            writing.execute(insert(feed).values(apex=b"x", at=1))
        assert reading.execute(feed.select()).all() == []
    with store.read() as reading:
        assert len(reading.execute(feed.select()).all()) == 1


def test_a_reader_cannot_write(postgresql_url: str) -> None:
    store = open_store(postgresql_url, create=True)
    with pytest.raises(StoreReadOnlyError), store.read() as reading:
        reading.execute(insert(feed).values(apex=b"x", at=1))
    store.close()
