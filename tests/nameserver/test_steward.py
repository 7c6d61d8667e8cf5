"""The steward: the feed, the keys, and services that fail."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from mx10.config import Config, ZoneSettings
from mx10.dns import rrtypes as rr
from mx10.dns.wirename import from_text
from mx10.nameserver.desk import Desk
from mx10.nameserver.steward import KeyFile, Steward, desk_path
from mx10.store.connect import open_store
from mx10.store.errors import StoreError
from mx10.zones.ledger import Author, Ledger
from mx10.zones.zone import Zone
from tests.dns.test_tsig import KEY, KEYS

APEX = from_text("example.com.")


class Life:
    """A steward at work."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ledger = Ledger(open_store(f"sqlite:///{folder}/mx10.db", create=True), ZoneSettings())
        keys = KeyFile(None)
        self.steward = Steward(Config(), self.ledger, Desk(keys), keys)
        self.done = asyncio.Event()

    async def __aenter__(self) -> Steward:
        self.task = asyncio.create_task(self.steward.run(self.folder / "mx10.sock", self.done.wait()))
        return self.steward

    async def __aexit__(self, *_: object) -> None:
        self.done.set()
        await asyncio.wait_for(self.task, 5)


def zone(apex: bytes) -> Zone:
    soa = b"\0\0" + bytes(3) + b"\1" + bytes(16)
    return Zone(apex, {apex: {rr.SOA: (60, (soa,)), rr.NS: (60, (b"\2ns\0", b"\3ns2\0"))}})


async def test_every_change_is_told_soon(tmp_path: Path) -> None:
    heard: asyncio.Queue[list[bytes]] = asyncio.Queue()

    def broken(apexes: Sequence[bytes]) -> None:
        raise RuntimeError("a fault")

    life = Life(tmp_path)
    life.steward.on_feed(broken)
    life.steward.on_feed(lambda apexes: heard.put(list(apexes)))
    async with life as steward:
        await asyncio.sleep(0.1)
        began = asyncio.get_running_loop().time()
        # Another process, another connection: here another ledger.
        other = Ledger(open_store(f"sqlite:///{tmp_path}/mx10.db"), ZoneSettings())
        other.create(zone(APEX), Author("test"))
        other.store.close()
        assert await asyncio.wait_for(heard.get(), 5) == [APEX]
        assert asyncio.get_running_loop().time() - began < 1
        assert await steward.in_store(lambda: steward.ledger.info(APEX).serial) > 0


async def test_a_service_that_fails_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mx10.nameserver.steward._STORE_RETRY_SECONDS", 0.01)
    times = 0
    thrice = asyncio.Event()

    class Failing:
        async def run(self) -> None:
            nonlocal times
            times += 1
            if times == 3:
                thrice.set()
            raise RuntimeError("a fault")

    life = Life(tmp_path)
    life.steward.services.append(Failing())
    async with life:
        await asyncio.wait_for(thrice.wait(), 5)


async def test_a_store_that_is_away_is_said_once_and_no_change_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mx10.nameserver.steward._STORE_RETRY_SECONDS", 0.01)
    lines: list[str] = []
    monkeypatch.setattr("mx10.nameserver.steward.log.error", lambda event, **values: lines.append(event))
    monkeypatch.setattr("mx10.nameserver.steward.log.exception", lambda event, **values: lines.append("traceback"))
    away = True
    heard: asyncio.Queue[list[bytes]] = asyncio.Queue()
    tried = 0

    class Waiting:
        async def run(self) -> None:
            if away:
                raise StoreError("the store is away")

    async def changed(apexes: Sequence[bytes]) -> None:
        nonlocal tried
        tried += 1
        if away:
            raise StoreError("the store is away")
        await heard.put(list(apexes))

    life = Life(tmp_path)
    life.steward.services.append(Waiting())
    life.steward.on_feed(changed)
    async with life as steward:
        await asyncio.sleep(0.1)
        steward.ledger.create(zone(APEX), Author("test"))
        async with asyncio.timeout(5):
            while tried < 5:  # noqa: ASYNC110  # tried again and again is what it is about
                await asyncio.sleep(0.005)
        away = False
        assert await asyncio.wait_for(heard.get(), 5) == [APEX]
    assert sorted(lines) == ["a service waits for the store", "the store cannot be watched; tried again"]


def test_keys_that_cannot_be_read_are_said_once_and_read_when_they_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    lines: list[str] = []
    monkeypatch.setattr("mx10.nameserver.steward.log.error", lambda event, **values: lines.append(event))
    path = tmp_path / "keys"
    keys = KeyFile(path, lambda: now)
    for _ in range(5):
        assert not keys()
        now += 2
    assert len(lines) == 1
    path.write_text(KEY.to_text())
    # As where the server's user may not read it: that changes without a trace in the time of the last change.
    read, may = Path.read_text, False

    def guarded(self: Path) -> str:
        if not may:
            raise PermissionError(13, "Permission denied")
        return read(self)

    monkeypatch.setattr(Path, "read_text", guarded)
    for _ in range(5):
        assert not keys()
        now += 2
    assert len(lines) == 2
    may = True
    assert list(keys()) == [KEY.name]


def test_keys_are_read_again_when_their_file_changes(tmp_path: Path) -> None:
    now = 0.0
    path = tmp_path / "keys"
    path.write_text(KEY.to_text())
    keys = KeyFile(path, lambda: now)
    assert keys() == KEYS
    path.write_text("rubbish {")
    assert keys() == KEYS
    now = 2.0
    # What cannot be read changes nothing.
    assert keys() == KEYS
    path.write_text("")
    os.utime(path, ns=(1, 1))
    now = 4.0
    assert keys() == {}
    path.unlink()
    now = 6.0
    assert keys() == {}
    assert KeyFile(None)() == {}


@pytest.mark.parametrize(
    ("run_dir", "store", "environ", "euid", "wanted"),
    [
        ("/a", "/s/mx10.db", {"RUNTIME_DIRECTORY": "/b"}, 0, "/a/mx10.sock"),
        (None, "/s/mx10.db", {"RUNTIME_DIRECTORY": "/b:/c"}, 5, "/b/mx10.sock"),
        (None, "/s/mx10.db", {}, 0, "/run/mx10/mx10.sock"),
        (None, "/s/mx10.db", {}, 5, "/s/mx10.sock"),
        (None, None, {"XDG_RUNTIME_DIR": "/r"}, 5, "/r/mx10/mx10.sock"),
        (None, None, {"HOME": "/h"}, 5, "/h/.local/state/mx10/mx10.sock"),
    ],
)
def test_where_the_desk_is(
    run_dir: str | None, store: str | None, environ: dict[str, str], euid: int, wanted: str
) -> None:
    found = desk_path(Path(run_dir) if run_dir else None, Path(store) if store else None, environ, euid)
    assert found == Path(wanted)
