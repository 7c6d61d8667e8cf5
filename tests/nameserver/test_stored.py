"""The store as workers see it: the same answers as from a folder, and what changes is answered at once."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mx10.config import NameserverSettings, ZoneSettings
from mx10.dns import rrtypes as rr
from mx10.dns.message import Message, make_query, parse
from mx10.dns.rrtypes import Rcode
from mx10.dns.wirename import from_text
from mx10.nameserver import snapshot, stored
from mx10.nameserver.responder import Responder
from mx10.nameserver.snapshot import StoreView
from mx10.nameserver.stored import StoredTable
from mx10.nameserver.table import ZoneTable
from mx10.nameserver.write_ahead import WriteAheadLog
from mx10.store.connect import open_store
from mx10.zones.ledger import Author, Edit, Ledger
from mx10.zones.zone import Node, RRset, Zone, add_empty_nonterminals
from tests.nameserver.test_transfers import APEX, COUNTER, a, a_zone

ME = Author("test")


class Worker:
    """A responder over a store, told of changes as a worker is."""

    def __init__(self, path: Path, files: dict[bytes, bytes] | None = None) -> None:
        self.view = StoreView(path)
        self.table = StoredTable(files or {}, self.view)
        self.responder = Responder(self.table, NameserverSettings())

    def look(self) -> bool:
        moved = self.view.move()
        if moved is not None:
            self.table.moved(moved.apexes)
            self.responder.store_moved(moved.apexes, moved.new)
        return moved is not None

    def ask(self, name: str, rrtype: int = rr.A) -> Message:
        response = self.responder.udp(make_query(from_text(name), rrtype, id=1))
        assert response is not None
        return parse(response)

    def address(self, name: str) -> int | None:
        answer = self.ask(name).answer
        return answer[0].rdata[-1] if answer else None


@pytest.fixture(scope="session")
def template(request: pytest.FixtureRequest) -> Path:
    """The file of an empty store."""
    path: Path = request.getfixturevalue("_sqlite_template")
    return path


@pytest.fixture
def ledger(tmp_path: Path, template: Path) -> Iterator[Ledger]:
    shutil.copy(template, tmp_path / "mx10.db")
    ledger = Ledger(open_store(f"sqlite:///{tmp_path}/mx10.db"), ZoneSettings())
    yield ledger
    ledger.store.close()


@pytest.fixture
def worker(ledger: Ledger) -> Iterator[Worker]:
    assert ledger.store.path is not None
    worker = Worker(ledger.store.path)
    yield worker
    worker.view.close()


@pytest.fixture(params=["whole", "by the name"])
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Zones are read in both ways."""
    if request.param != "whole":
        monkeypatch.setattr(stored, "WHOLE", 0)


@pytest.mark.usefixtures("either")
def test_what_changes_is_answered(ledger: Ledger, worker: Worker) -> None:
    assert worker.ask("www.one.example").rcode == Rcode.REFUSED
    ledger.create(a_zone(www=a(1)), ME, options=COUNTER)
    assert worker.ask("www.one.example").rcode == Rcode.REFUSED
    assert (worker.look(), worker.look()) == (True, False)
    assert worker.address("www.one.example") == 1
    ledger.change(APEX, [Edit(from_text("www", APEX), rr.A, a(2)), Edit(from_text("x.y", APEX), rr.A, a(3))], ME)
    assert worker.address("www.one.example") == 1
    assert worker.look()
    assert (worker.address("www.one.example"), worker.address("x.y.one.example")) == (2, 3)
    # An empty non-terminal, and a name that is none.
    assert worker.ask("y.one.example").rcode == Rcode.NOERROR
    assert worker.ask("z.one.example").rcode == Rcode.NXDOMAIN
    ledger.delete(APEX, ME)
    assert worker.look()
    assert worker.ask("www.one.example").rcode == Rcode.REFUSED


@pytest.mark.usefixtures("either")
def test_other_answers_stay(ledger: Ledger, worker: Worker) -> None:
    other = from_text("two.example.")
    ledger.create(a_zone(www=a(1)), ME)
    node: Node = {rr.SOA: a_zone().nodes[APEX][rr.SOA], rr.NS: (60, (b"\3ns1" + APEX,)), rr.A: a(7)}
    ledger.create(Zone(other, {other: node}), ME)
    worker.look()
    assert (worker.address("www.one.example"), worker.address("two.example")) == (1, 7)
    before = len(worker.responder.cache)
    ledger.change(APEX, [Edit(from_text("www", APEX), rr.A, a(2))], ME)
    worker.look()
    assert len(worker.responder.cache) == before - 1
    assert worker.address("www.one.example") == 2


def test_a_new_zone_below_another(ledger: Ledger, worker: Worker) -> None:
    ledger.create(a_zone(www=a(1)), ME)
    worker.look()
    assert worker.ask("deep.www.one.example").rcode == Rcode.NXDOMAIN
    below = from_text("www.one.example.")
    node: Node = {rr.SOA: a_zone().nodes[APEX][rr.SOA], rr.NS: (60, (b"\3ns1" + APEX,))}
    ledger.create(Zone(below, {below: node, b"\4deep" + below: {rr.A: a(9)}}), ME)
    worker.look()
    assert worker.address("deep.www.one.example") == 9
    ledger.delete(below, ME)
    worker.look()
    assert worker.ask("deep.www.one.example").rcode == Rcode.NXDOMAIN


def test_files_go_before_the_store(ledger: Ledger) -> None:
    ledger.create(a_zone(www=a(1)), ME)
    assert ledger.store.path is not None
    worker = Worker(ledger.store.path, {APEX: a_zone(www=a(8)).pack()})
    assert worker.address("www.one.example") == 8
    worker.responder.remove_zone(APEX)
    assert worker.address("www.one.example") == 1


def test_what_is_not_served_is_no_answer(ledger: Ledger, worker: Worker) -> None:
    ledger.create(a_zone(www=a(1)), ME)
    worker.look()
    assert worker.address("www.one.example") == 1
    ledger.set_served(APEX, False)
    worker.look()
    assert worker.ask("www.one.example").rcode == Rcode.SERVFAIL
    ledger.set_served(APEX, True)
    worker.look()
    assert worker.address("www.one.example") == 1


def test_many_changes_at_once_drop_all(ledger: Ledger, worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "MOST_CHANGED", 3)
    ledger.create(a_zone(www=a(1)), ME)
    worker.look()
    assert worker.address("www.one.example") == 1
    zones = []
    for number in range(5):
        apex = from_text(f"z{number}.example.")
        zones.append(Zone(apex, {apex: {rr.SOA: a_zone().nodes[APEX][rr.SOA], rr.NS: (60, (b"\3ns1" + APEX,))}}))
    ledger.create_many(zones, ME)
    ledger.change(APEX, [Edit(from_text("www", APEX), rr.A, a(2))], ME)
    assert worker.look()
    assert (worker.address("www.one.example"), len(worker.responder.cache)) == (2, 1)
    # The feed was cut off behind us.
    ledger.change(APEX, [Edit(from_text("www", APEX), rr.A, a(3))], ME)
    ledger.change(APEX, [Edit(from_text("www", APEX), rr.A, a(4))], ME)
    with ledger.store.begin() as connection:
        connection.exec_driver_sql("DELETE FROM feed WHERE seq < (SELECT max(seq) FROM feed)")
    assert worker.look()
    assert worker.address("www.one.example") == 4


def test_old_zones_are_let_go(ledger: Ledger, worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "OPEN_BUDGET", 40)
    zones = []
    for number in range(50):
        apex = from_text(f"z{number}.example.")
        soa: RRset = a_zone().nodes[APEX][rr.SOA]
        zones.append(Zone(apex, {apex: {rr.SOA: soa, rr.NS: (60, (b"\3ns1" + APEX,)), rr.A: a(number + 1)}}))
    ledger.create_many(zones, ME)
    worker.look()
    for _ in range(2):
        for number in range(50):
            worker.responder.store_moved(None, ())
            assert worker.address(f"z{number}.example") == number + 1
    assert len(worker.table._young_stored) + len(worker.table._old_stored) <= 20


class Clock:
    """Seconds that go on when a test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(StoreView.__init__, "__defaults__", (clock,))
    return clock


def test_a_store_that_is_not_there_yet(tmp_path: Path, template: Path, clock: Clock) -> None:
    worker = Worker(tmp_path / "mx10.db", {APEX: a_zone(www=a(8)).pack()})
    assert worker.ask("www.other.example").rcode == Rcode.SERVFAIL
    assert worker.address("www.one.example") == 8
    shutil.copy(template, tmp_path / "mx10.db")
    assert not worker.look()
    clock.now += 1
    assert worker.look()
    assert worker.ask("www.other.example").rcode == Rcode.REFUSED
    assert worker.address("www.one.example") == 8
    worker.view.close()


def test_a_store_put_in_the_place_of_another(ledger: Ledger, clock: Clock, tmp_path: Path) -> None:
    assert ledger.store.path is not None
    ledger.create(a_zone(www=a(1)), ME)
    worker = Worker(ledger.store.path)
    with closing(sqlite3.connect(ledger.store.path)) as connection:
        connection.execute(f"VACUUM INTO '{tmp_path}/backup'")
    ledger.change(APEX, [Edit(from_text("www", APEX), rr.A, a(2))], ME)
    worker.look()
    assert worker.address("www.one.example") == 2
    ledger.store.close()
    ledger.store.path.unlink()
    clock.now += 1
    assert not worker.look()
    assert worker.address("www.one.example") == 2
    for end in ("-wal", "-shm"):
        (tmp_path / f"mx10.db{end}").unlink(missing_ok=True)
    (tmp_path / "backup").rename(ledger.store.path)
    clock.now += 1
    assert worker.look()
    assert worker.address("www.one.example") == 1
    # The backup has no write-ahead log; held snapshots must not keep others from writing.
    ledger.change(APEX, [Edit(from_text("www", APEX), rr.A, a(3))], ME)
    assert worker.look()
    assert worker.address("www.one.example") == 3
    worker.view.close()


def test_a_store_of_a_newer_version(
    ledger: Ledger, clock: Clock, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger.create(a_zone(www=a(1)), ME)
    worker = Worker(tmp_path / "mx10.db")
    assert worker.address("www.one.example") == 1
    with ledger.store.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
        connection.exec_driver_sql("DELETE FROM rrsets")
        connection.exec_driver_sql("INSERT INTO feed (apex, at) SELECT apex, at FROM feed")
    for _ in range(3):
        clock.now += 1
        assert not worker.look()
    worker.responder.store_moved(None, ())
    assert worker.address("www.one.example") == 1
    said = capsys.readouterr()
    assert (said.out + said.err).count("it has version 9999") == 1
    worker.view.close()


@pytest.mark.parametrize("content", [b"", b"no database" * 1000], ids=["empty", "something else"])
def test_a_file_that_is_no_store(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "mx10.db").write_bytes(content)
    worker = Worker(tmp_path / "mx10.db")
    assert worker.ask("www.one.example").rcode == Rcode.SERVFAIL
    assert not worker.look()


@pytest.mark.usefixtures("either")
@pytest.mark.parametrize("data", ["x''", "'text'", "7"])
def test_rows_that_make_no_sense(ledger: Ledger, tmp_path: Path, data: str) -> None:
    ledger.create(a_zone(www=a(1)), ME)
    with ledger.store.begin() as connection:
        connection.exec_driver_sql(f"UPDATE rrsets SET data = {data} WHERE type = 1")
    worker = Worker(tmp_path / "mx10.db")
    assert worker.ask("www.one.example").rcode == Rcode.SERVFAIL
    worker.view.close()


def test_a_file_damaged_while_it_is_read(ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "_CACHE_KIB", 1)
    path = tmp_path / "mx10.db"
    ledger.create_many([a_zone(1, **{f"h{number}": a(1) for number in range(1000)})], ME)
    ledger.store.close()
    worker = Worker(path)
    assert worker.address("h1.one.example") == 1
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))
    worker.table.moved(None)
    assert worker.address("h1.one.example") == 1  # compiled
    assert worker.ask("h2.one.example").rcode == Rcode.SERVFAIL
    worker.view.close()


def test_the_log_of_a_store_that_was_deleted_makes_no_new_store(tmp_path: Path) -> None:
    (tmp_path / "mx10.db-wal").write_bytes(bytes(100))
    WriteAheadLog(tmp_path / "mx10.db", most=0).fold()
    assert not (tmp_path / "mx10.db").exists()


def test_the_log_of_the_store_begins_anew(ledger: Ledger, clock: Clock, tmp_path: Path) -> None:
    """Under readers that always hold a snapshot, SQLite can use its write-ahead log from the start again."""
    ledger.create(a_zone(www=a(1)), ME)
    workers = [Worker(tmp_path / "mx10.db") for _ in range(2)]
    keeper = WriteAheadLog(tmp_path / "mx10.db", most=0)
    sizes = []
    for number in range(30):
        ledger.change(APEX, [Edit(from_text("www", APEX), rr.A, a(1 + number % 2))], ME)
        for worker in workers:
            worker.look()
        clock.now += 1
        keeper.fold()
        for worker in workers:
            worker.look()
        sizes.append((tmp_path / "mx10.db-wal").stat().st_size)
    assert sizes[-1] < 3 * sizes[0]
    for worker in workers:
        worker.view.close()


NAMES = st.sampled_from(["a", "b", "x.a", "y.x.a", "*.b", "ns1", "\\000.a", "\\001.a", "\\255.a", "\\255.\\255.a"])
SETS = st.builds(lambda numbers: a(*numbers), st.sets(st.integers(1, 3), min_size=1))


@settings(max_examples=40)
@given(st.dictionaries(NAMES, SETS, max_size=6), st.lists(NAMES, min_size=1, max_size=8), st.booleans())
def test_the_same_answers_as_from_a_file(
    tmp_path_factory: pytest.TempPathFactory,
    template: Path,
    owners: dict[str, RRset],
    asked: list[str],
    large: bool,
) -> None:
    path = tmp_path_factory.mktemp("store") / "mx10.db"
    shutil.copy(template, path)
    zone = a_zone(1, **owners)
    store = open_store(f"sqlite:///{path}")
    Ledger(store, ZoneSettings()).create(zone, ME)
    store.close()
    nodes = dict(zone.nodes)
    add_empty_nonterminals(APEX, nodes, 1000)
    plain = Responder(ZoneTable({APEX: Zone(APEX, nodes).pack()}), NameserverSettings())
    whole, stored.WHOLE = stored.WHOLE, 0 if large else 2000  # type: ignore[misc]  # for this example alone
    try:
        worker = Worker(path)
        for name in asked:
            for rrtype in (rr.A, rr.MX, rr.ANY):
                query = make_query(from_text(name, APEX), rrtype, id=1)
                assert worker.responder.tcp(query) == plain.tcp(query)
        worker.view.close()
    finally:
        stored.WHOLE = whole  # type: ignore[misc]  # as above
