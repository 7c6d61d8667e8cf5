"""NOTIFY: from whom it is believed, and what it does (RFC 1996)."""

from pathlib import Path

import pytest

from mx10.config import FollowingSettings, ZoneSettings
from mx10.dns import message as m
from mx10.dns import rrtypes as rr
from mx10.dns.message import Message, Question, Record
from mx10.dns.rrtypes import Opcode, Rcode
from mx10.dns.wirename import from_text
from mx10.nameserver.following import Follower
from mx10.nameserver.notified import RATE, NotifyReceiver
from mx10.nameserver.transfer_in import NoSeal
from mx10.nameserver.update_policy import Client
from mx10.store.connect import open_store
from mx10.zones.ledger import Author, Ledger, ZoneOptions
from mx10.zones.ledger.followed import Followed, FollowedZones
from mx10.zones.zone import Zone
from tests.nameserver.test_update import inline

APEX = from_text("example.com.")
PRIMARY = "192.0.2.1"
KEY = from_text("key.example.")


class Listening(Follower):
    """Only notes what it is told."""

    told: list[tuple[bytes, str]]

    def notified(self, apex: bytes, source: str) -> None:
        self.told.append((apex, source))

    async def promise(self, followed: Followed) -> None:
        assert self.told[-1][0] == followed.apex


def soa(serial: int) -> bytes:
    return b"\0\0" + serial.to_bytes(4, "big") + bytes(16)


@pytest.fixture
async def receiver(tmp_path: Path) -> tuple[NotifyReceiver, Listening]:
    ledger = Ledger(open_store(f"sqlite:///{tmp_path}/mx10.db", create=True), ZoneSettings())
    options = ZoneOptions(primaries=(PRIMARY, "nonsense"), allow_notify=("198.51.100.0/24+key:key.example", "x"))
    ledger.follow(APEX, Author("test"), options)
    ledger.replace(APEX, Zone(APEX, {APEX: {rr.SOA: (60, (soa(10),))}}), Author("test"), kind="transfer")
    zones = FollowedZones(ledger)
    follower = Listening(zones, inline, FollowingSettings(), ledger.settings, lambda key: NoSeal())
    follower.told = []
    await follower.load()
    return NotifyReceiver(follower, zones, inline, clock=lambda: 1.0), follower


ZONE = Question(APEX, rr.SOA)


def notify(question: Question | None = ZONE, serial: int | None = None) -> Message:
    records = () if serial is None else (Record(APEX, rr.SOA, rr.IN, 60, soa(serial)),)
    return Message(9, Opcode.NOTIFY << 11 | m.AA, question, records)


@pytest.mark.parametrize(
    ("message", "client", "key", "rcode", "asked"),
    [
        (notify(), PRIMARY, None, Rcode.NOERROR, True),
        (notify(Question(APEX.upper(), rr.SOA)), PRIMARY, None, Rcode.NOERROR, True),
        (notify(serial=11), PRIMARY, None, Rcode.NOERROR, True),
        (notify(serial=10), PRIMARY, None, Rcode.NOERROR, False),
        (notify(serial=9), PRIMARY, None, Rcode.NOERROR, False),
        (notify(), "198.51.100.7", KEY, Rcode.NOERROR, True),
        (notify(), "198.51.100.7", None, Rcode.REFUSED, False),
        (notify(), "203.0.113.1", KEY, Rcode.REFUSED, False),
        (notify(Question(from_text("example.net."), rr.SOA)), PRIMARY, None, Rcode.NOTAUTH, False),
        (notify(Question(APEX, rr.A)), PRIMARY, None, Rcode.NOTIMP, False),
        (notify(Question(APEX, rr.SOA, rr.CH)), PRIMARY, None, Rcode.FORMERR, False),
        (notify(None), PRIMARY, None, Rcode.FORMERR, False),
    ],
)
async def test_who_is_believed(
    message: Message,
    client: str,
    key: bytes | None,
    rcode: Rcode,
    asked: bool,
    receiver: tuple[NotifyReceiver, Listening],
) -> None:
    response = m.parse(await receiver[0].answer(message, Client(client, key)) or b"")
    assert (response.id, response.opcode, response.qr, response.rcode) == (9, Opcode.NOTIFY, True, rcode)
    assert response.question == message.question
    assert response.aa == (rcode == Rcode.NOERROR)
    assert receiver[1].told == ([(APEX, client)] if asked else [])


async def test_a_flood_is_not_answered(receiver: tuple[NotifyReceiver, Listening]) -> None:
    answers = [await receiver[0].answer(notify(None), Client(PRIMARY)) for _ in range(RATE + 3)]
    assert answers[-3:] == [None] * 3
    assert None not in answers[:-3]
