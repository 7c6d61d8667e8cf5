"""Signed questions, which the steward answers."""

import pytest

from mx10.config import NameserverSettings, ZoneSettings
from mx10.dns import rrtypes as rr
from mx10.dns.message import make_query, parse
from mx10.dns.tsig import Asker
from mx10.nameserver.desk import Desk
from mx10.nameserver.signed import SignedQuestions
from mx10.store.connect import Store
from mx10.zones.ledger import Author, Ledger
from mx10.zones.ledger.serials import serial_of
from mx10.zones.zone import Zone
from tests.dns.test_tsig import KEY, KEYS
from tests.nameserver.test_transfers import APEX, a_zone

NOW = 1_700_000_000.0


async def serial(desk: Desk) -> int | None:
    """The serial a signed question brings."""
    asker = Asker(KEY, lambda: NOW)
    request = asker.sign(make_query(APEX, rr.SOA, id=7))
    (response,) = [each async for each in desk.responses(request, "127.0.0.1", 1, "udp")]
    message = parse(asker.verify(response))
    return serial_of(message.answer[0].rdata) if message.answer else None


async def test_zones_of_the_store_and_of_files(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []
    unpack = Zone.unpack

    def counted(packed: bytes) -> Zone:
        opened.append(1)
        return unpack(packed)

    ledger = Ledger(store, ZoneSettings())
    questions = SignedQuestions(ledger, {}, NameserverSettings())
    desk = Desk(lambda: KEYS, clock=lambda: NOW)
    desk.for_other_questions(questions.answer)
    assert await serial(desk) is None
    ledger.create(a_zone(9), Author("test"))
    assert await serial(desk) == ledger.info(APEX).serial
    # A file goes before the store; it is opened for the first question, and no other.
    monkeypatch.setattr(Zone, "unpack", counted)
    for number in (3, 4):
        questions.file_changed(APEX, a_zone(number).pack())
        assert [await serial(desk) for _ in range(3)] == [number] * 3
    assert len(opened) == 2
    questions.file_changed(APEX, None)
    assert await serial(desk) == ledger.info(APEX).serial
