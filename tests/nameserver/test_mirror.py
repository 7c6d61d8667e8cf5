"""The mirror of a store: the same answers, also when the store is away. It does not care which database it copies."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from mx10.config import ZoneSettings
from mx10.dns import rrtypes as rr
from mx10.dns.message import make_query, parse
from mx10.dns.rrtypes import Rcode
from mx10.dns.wirename import from_text
from mx10.nameserver import mirror as m
from mx10.nameserver.mirror import Mirror
from mx10.store.connect import Store
from mx10.zones.ledger import Author, Edit, Ledger
from mx10.zones.zone import Zone
from peers import ask
from peers.mx10_store import Mx10Store
from tests.nameserver.test_stored import Worker
from tests.nameserver.test_transfers import APEX, COUNTER, a, a_zone

ME = Author("test")


@pytest.fixture
def ledger(store: Store) -> Ledger:
    return Ledger(store, ZoneSettings())


@pytest.fixture
def mirror(store: Store, tmp_path: Path) -> Iterator[Mirror]:
    made = Mirror(tmp_path / "mirror.db", store, ZoneSettings())
    yield made
    made.close()


@pytest.fixture
def worker(mirror: Mirror) -> Iterator[Worker]:
    made = Worker(mirror.path)
    yield made
    made.view.close()


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "by what changed"])
def test_what_changes_is_copied(
    ledger: Ledger, mirror: Mirror, worker: Worker, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    monkeypatch.setattr(m, "WHOLE", 2000 if whole else 0)
    ledger.create(a_zone(www=a(1), mail=a(2)), ME, options=COUNTER)
    assert mirror.position is None
    assert mirror.catch_up() == 1
    worker.look()
    assert (worker.address("www.one.example"), worker.address("mail.one.example")) == (1, 2)
    www, mail = from_text("www", APEX), from_text("mail", APEX)
    ledger.change(APEX, [Edit(www, rr.A, a(3))], ME)
    ledger.change(APEX, [Edit(mail, rr.A, None), Edit(from_text("new", APEX), rr.A, a(4))], ME)
    assert mirror.catch_up() == 1
    assert worker.look()
    assert (worker.address("www.one.example"), worker.address("new.one.example")) == (3, 4)
    assert worker.ask("mail.one.example").rcode == Rcode.NXDOMAIN
    ledger.set_served(APEX, False)
    assert mirror.catch_up() == 1
    worker.look()
    assert worker.ask("www.one.example").rcode == Rcode.SERVFAIL
    ledger.delete(APEX, ME)
    ledger.create(a_zone(1, www=a(9)), ME)
    mirror.catch_up()
    worker.look()
    assert worker.address("www.one.example") == 9
    ledger.delete(APEX, ME)
    mirror.catch_up()
    worker.look()
    assert worker.ask("www.one.example").rcode == Rcode.REFUSED
    assert mirror.catch_up() == 0


def test_many_zones_and_a_feed_that_was_cut_off(
    ledger: Ledger, mirror: Mirror, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(m, "AT_ONCE", 7)
    mirror.catch_up()
    node = a_zone().nodes[APEX]
    names = [f"z{number}.example" for number in range(30)]
    ledger.create_many(
        (Zone(from_text(f"{name}."), {from_text(f"{name}."): {**node, rr.A: a(5)}}) for name in names), ME
    )
    assert mirror.catch_up() == 30
    worker.look()
    assert [worker.address(name) for name in names] == [5] * 30
    for number in (6, 7):
        ledger.change(from_text("z0.example."), [Edit(from_text("z0.example."), rr.A, a(number))], ME)
    with ledger.store.begin() as connection:
        connection.exec_driver_sql("DELETE FROM feed WHERE seq < (SELECT max(seq) FROM feed)")
    assert mirror.catch_up() == 30
    worker.look()
    assert worker.address("z0.example") == 7


def test_it_goes_on_after_a_restart_and_begins_anew_for_another_store(
    ledger: Ledger, mirror: Mirror, store: Store
) -> None:
    ledger.create(a_zone(www=a(1)), ME)
    mirror.catch_up()
    ledger.change(APEX, [Edit(from_text("www", APEX), rr.A, a(2))], ME)
    again = Mirror(mirror.path, store, ZoneSettings())
    assert again.position is not None
    assert again.catch_up() == 1
    again.close()
    with sqlite3.connect(mirror.path) as connection:
        connection.execute("UPDATE copied SET url = 'elsewhere'")
    connection.close()
    other = Mirror(mirror.path, store, ZoneSettings())
    assert other.position is None
    assert other.catch_up() == 1
    other.close()


def test_what_goes_wrong_leaves_it_as_it_was(
    ledger: Ledger, mirror: Mirror, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.create(a_zone(www=a(1)), ME)
    mirror.catch_up()
    ledger.change(APEX, [Edit(from_text("www", APEX), rr.A, a(2))], ME)

    def fails(self: Mirror, apex: bytes) -> None:
        copied(self, apex)
        raise OSError("the disk is full")

    copied = Mirror._copy_zone
    monkeypatch.setattr(Mirror, "_copy_zone", fails)
    with pytest.raises(OSError, match="full"):
        mirror.catch_up()
    worker.look()
    assert worker.address("www.one.example") == 1
    monkeypatch.undo()
    assert mirror.catch_up() == 1
    worker.look()
    assert worker.address("www.one.example") == 2


def test_a_mirror_that_was_deleted_is_made_anew(ledger: Ledger, mirror: Mirror) -> None:
    ledger.create(a_zone(www=a(1)), ME)
    assert mirror.catch_up() == 1
    for each in mirror.path.parent.glob("mirror.db*"):
        each.unlink()
    assert mirror.catch_up() == 1
    worker = Worker(mirror.path)
    assert worker.address("www.one.example") == 1
    worker.view.close()


class OverPostgreSQL(Mx10Store):
    """``mx10 serve`` with a store in PostgreSQL."""

    name = "mx10 over PostgreSQL"
    database = ""

    @property
    def url(self) -> str:
        return self.database

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "STATE_DIRECTORY": str(self.work)}

    def address_of(self, name: str) -> int | None:
        response = parse(ask(self.address, self.port, make_query(from_text(name), rr.A, id=1), timeout=2.0))
        return response.answer[0].rdata[-1] if response.answer else None


def test_answers_go_on_when_the_database_is_away(postgresql_url: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    server = OverPostgreSQL(tmp_path / "empty", wait_for=[])
    server.database = postgresql_url
    url = make_url(postgresql_url)
    name, administrator = url.database, url.set(database="postgres").render_as_string(hide_password=False)
    ledger = server.ledger()
    ledger.create(a_zone(www=a(1)), ME, options=COUNTER)
    with server.start():
        _until(lambda: server.address_of("www.one.example.") == 1)
        began = time.monotonic()
        ledger.change(APEX, [Edit(from_text("www", APEX), rr.A, a(2))], ME)
        _until(lambda: server.address_of("www.one.example.") == 2)
        # Some tenths of a second, where nothing else goes on.
        assert time.monotonic() - began < 5
        ledger.store.close()
        with psycopg.connect(administrator, autocommit=True) as connection:
            away = f"ALTER DATABASE {name} ALLOW_CONNECTIONS false".encode()
            connection.execute(away)
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
            for _ in range(20):
                assert server.address_of("www.one.example.") == 2
            connection.execute(away.replace(b"false", b"true"))
        ledger = server.ledger()
        ledger.change(APEX, [Edit(from_text("www", APEX), rr.A, a(3))], ME)
        _until(lambda: server.address_of("www.one.example.") == 3)
        ledger.store.close()


def _until(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
