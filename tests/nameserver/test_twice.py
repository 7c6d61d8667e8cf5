"""A zone that is both in a file and in the store: the file is answered, and somebody is told."""

import asyncio
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import pytest

from mx10.config import ZoneSettings
from mx10.dns import rrtypes as rr
from mx10.dns.wirename import from_text
from mx10.nameserver import twice
from mx10.nameserver.twice import Twice
from mx10.store.connect import Store, open_store
from mx10.zones.ledger import Author, Ledger
from mx10.zones.zone import Zone
from tests.nameserver.test_supervisor import ZONE, Serving
from tests.nameserver.test_transfers import APEX, a_zone

T = TypeVar("T")
ME = Author("test")
ONE, TWO, THREE = (from_text(f"{name}.test.") for name in ("one", "two", "three"))


class OfTheSteward:
    """What ``Twice`` uses of a steward."""

    def __init__(self, store: Store) -> None:
        self.ledger = Ledger(store, ZoneSettings())
        self.files: dict[bytes, bytes] = {}

    async def in_store(self, function: Callable[..., T], /, *arguments: object) -> T:
        return await asyncio.to_thread(function, *arguments)

    def create(self, apex: bytes) -> None:
        self.ledger.create(Zone(apex, {apex: a_zone().nodes[APEX]}), ME)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(twice.log, "error", lambda _event, *, zone: lines.append(zone))
    return lines


async def test_each_is_told_of_once(store: Store, said: list[str]) -> None:
    steward = OfTheSteward(store)
    steward.create(ONE)
    steward.files = {ONE: b"", TWO: b""}
    found = Twice(steward)  # type: ignore[arg-type]
    await found.look()
    assert said == ["one.test."]
    # A change says nothing new, a second zone does.
    steward.create(TWO)
    steward.create(THREE)
    found.changed([ONE, TWO, THREE])
    await found.look()
    assert said == ["one.test.", "two.test."]
    # The feed could not say what changed: all are looked at.
    found.changed([])
    await found.look()
    assert said == ["one.test.", "two.test."]


async def test_who_mends_it_and_does_it_again_is_told_again(store: Store, said: list[str]) -> None:
    steward = OfTheSteward(store)
    steward.create(ONE)
    steward.files = {ONE: b""}
    found = Twice(steward)  # type: ignore[arg-type]

    async def told(times: int) -> None:
        found.changed([ONE])
        await found.look()
        assert said == ["one.test."] * times

    await told(1)
    steward.ledger.delete(ONE, ME)
    await told(1)
    steward.create(ONE)
    await told(2)
    del steward.files[ONE]
    found.file_changed(ONE, None)
    await told(2)
    steward.files[ONE] = b""
    found.file_changed(ONE, b"")
    await told(3)


def test_the_file_is_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path}/mx10.db"
    with closing(open_store(url, create=True)) as store:
        steward = OfTheSteward(store)
        steward.create(ONE)
        steward.create(TWO)
    monkeypatch.setenv("MX10_STORE__URL", url)
    monkeypatch.setenv("MX10_NAMESERVER__RUN_DIR", str(tmp_path))
    folder = tmp_path / "zones"
    folder.mkdir()
    (folder / "one.test.zone").write_text(ZONE.format(serial=77, address="192.0.2.1"))
    server = Serving(folder)
    try:
        # It may have been said before the server was ready.
        words = "in a file and in the store"
        said = next((each for each in server.seen if words in str(each["event"])), None) or server.wait_for(words)
        assert said["zone"] == "one.test."
        assert server.address("one.test") == bytes((192, 0, 2, 1))
        assert server.ask("two.test.", rr.SOA).answer
    finally:
        server.close()
