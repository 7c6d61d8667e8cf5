"""NOTIFY out: who is told, how often, and whose answer is believed."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import pytest

from mx10.config import NameserverSettings, ZoneSettings
from mx10.dns import rrtypes as rr
from mx10.dns.message import AA, QR, Message, encode, parse
from mx10.dns.rrtypes import Opcode, Rcode
from mx10.dns.tsig import Answerer, SignedRequest, read_request
from mx10.dns.wirename import from_text
from mx10.nameserver.desk import DeskError
from mx10.nameserver.notify import Notifier, source_address, targets_of
from mx10.store.connect import Store
from mx10.zones.ledger import Author, Edit, Ledger, ZoneOptions
from mx10.zones.ledger.serials import serial_of
from tests.dns.test_tsig import KEY, KEYS
from tests.nameserver.test_transfers import APEX, COUNTER, a, a_zone

ME = Author("test")


class Secondary(asyncio.DatagramProtocol):
    """Takes NOTIFY, and answers as it is told to: with a code, or (None) not at all."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[Message] = asyncio.Queue()
        self.rcode: int | None = 0
        self.signs = True
        self.disguise: Callable[[bytes], bytes] = bytes

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.port: int = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: Any) -> None:
        request = read_request(data, KEYS, time.time())
        signed = isinstance(request, SignedRequest)
        message = parse(request.message if isinstance(request, SignedRequest) else request)
        self.heard.put_nowait(message)
        if self.rcode is None:
            return
        answer = Message(message.id, QR | AA | Opcode.NOTIFY << 11, message.question, rcode=self.rcode)
        wire = encode(answer)
        if signed and self.signs and isinstance(request, SignedRequest):
            wire = Answerer(request, time.time).sign(wire)
        self.transport.sendto(self.disguise(wire), addr)

    async def next(self, seconds: float = 5.0) -> Message:
        async with asyncio.timeout(seconds):
            return await self.heard.get()


@pytest.fixture
async def secondary() -> AsyncIterator[Secondary]:
    transport, made = await asyncio.get_running_loop().create_datagram_endpoint(Secondary, local_addr=("127.0.0.1", 0))
    yield made
    transport.close()


class World:
    """A notifier over a store."""

    def __init__(self, store: Store, *targets: str, **settings: Any) -> None:
        values: dict[str, Any] = {"notify_seconds": 0.1, "notify": targets, **settings}
        self.ledger = Ledger(store, ZoneSettings())
        self.files: dict[bytes, bytes] = {}
        self.notifier = Notifier(self.ledger, self._in_store, NameserverSettings(**values), lambda: KEYS, self.files)
        self._looks = 0

    async def _in_store(self, work: Callable[..., Any], *arguments: Any) -> Any:
        found = await asyncio.to_thread(work, *arguments)
        self._looks += 1
        return found

    async def __aenter__(self) -> "World":
        self._task = asyncio.create_task(self.notifier.run())
        # What came before the start is told by then, and what comes now is not among it: which zones, and what of them.
        await self.until(lambda: self._looks >= 2)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():  # noqa: ASYNC110  # what is waited for is a number, which tells nobody
                await asyncio.sleep(0.005)


def serial(message: Message) -> int:
    return serial_of(message.answer[0].rdata)


async def test_a_change_is_told_and_acknowledged(store: Store, secondary: Secondary) -> None:
    async with World(store, f"127.0.0.1:{secondary.port}") as world:
        world.ledger.create(a_zone(), ME, options=COUNTER)
        await world.notifier.changed([APEX])
        told = await secondary.next()
        assert told.question is not None
        assert (told.opcode, told.question.name, told.question.type, told.aa) == (Opcode.NOTIFY, APEX, rr.SOA, True)
        assert serial(told) == 1
        await world.until(lambda: world.notifier.acknowledged == 1)
        # Not again.
        await asyncio.sleep(0.3)
        assert secondary.heard.empty()


async def test_one_version_is_not_told_twice_at_a_time(store: Store, secondary: Secondary) -> None:
    """As when the look back at the start finds what is told of just then."""
    secondary.rcode = None
    async with World(store, f"127.0.0.1:{secondary.port}", notify_seconds=10) as world:
        world.ledger.create(a_zone(), ME)
        for _ in range(2):
            await world.notifier.changed([APEX])
        await secondary.next()
        await asyncio.sleep(0.5)
        assert secondary.heard.empty()


async def test_who_is_silent_is_told_again(store: Store, secondary: Secondary) -> None:
    secondary.rcode = None
    async with World(store, f"127.0.0.1:{secondary.port}", notify_attempts=3) as world:
        world.ledger.create(a_zone(), ME)
        await world.notifier.changed([APEX])
        began = time.monotonic()
        for _ in range(3):
            await secondary.next()
        # 0.1 s for the answer and 0.1 s of pause, then 0.1 s and 0.2 s.
        assert 0.45 < time.monotonic() - began < 3
        await world.until(lambda: world.notifier.given_up == 1)
        assert secondary.heard.empty()


async def test_one_that_is_silent_holds_up_no_other(store: Store, secondary: Secondary) -> None:
    async with World(
        store, "127.0.0.1:9", f"127.0.0.1:{secondary.port}", notify_at_once=1, notify_seconds=5.0
    ) as world:
        world.ledger.create(a_zone(), ME)
        await world.notifier.changed([APEX])
        await secondary.next()


async def test_a_newer_version_does_not_wait(store: Store, secondary: Secondary) -> None:
    secondary.rcode = None
    async with World(store, f"127.0.0.1:{secondary.port}", notify_seconds=30.0) as world:
        world.ledger.create(a_zone(), ME, options=COUNTER)
        await world.notifier.changed([APEX])
        assert serial(await secondary.next()) == 1
        for number in (1, 2):
            world.ledger.change(APEX, [Edit(from_text("x", APEX), rr.A, a(number))], ME)
            await world.notifier.changed([APEX])
        assert serial(await secondary.next()) == 3


async def test_catalogs_first(store: Store, secondary: Secondary) -> None:
    secondary.rcode = None
    async with World(store, f"127.0.0.1:{secondary.port}", notify_at_once=1) as world:
        names = [from_text(f"z{number}.example.") for number in range(20)]
        for name in names:
            world.ledger.create(_renamed(name), ME)
        world.ledger.create(_renamed(from_text("catalog.example.")), ME, kind="catalog")
        await world.notifier.changed([*names, from_text("catalog.example.")])
        await secondary.next()
        told = await secondary.next()
        assert told.question is not None
        assert told.question.name == from_text("catalog.example.")


def _renamed(apex: bytes) -> Any:
    zone = a_zone()
    return type(zone)(apex, {apex: zone.nodes[APEX]})


async def test_signed_both_ways(store: Store, secondary: Secondary) -> None:
    async with World(store, f"127.0.0.1:{secondary.port}#transfer.example", notify_attempts=30) as world:
        world.ledger.create(a_zone(), ME)
        # An acknowledgement that is not signed, or changed on its way, is none.
        secondary.signs = False
        await world.notifier.changed([APEX])
        await secondary.next()
        await secondary.next()
        secondary.signs, secondary.disguise = True, lambda wire: wire[:-10] + bytes(10)
        await secondary.next()
        await secondary.next()
        assert world.notifier.acknowledged == 0
        secondary.disguise = bytes
        await world.until(lambda: world.notifier.acknowledged == 1)
    assert KEY.name in KEYS


async def test_a_refusal_is_believed_unsigned(store: Store, secondary: Secondary) -> None:
    secondary.signs, secondary.rcode = False, Rcode.NOTAUTH
    async with World(store, f"127.0.0.1:{secondary.port}#transfer.example") as world:
        world.ledger.create(a_zone(), ME)
        await world.notifier.changed([APEX])
        await world.until(lambda: world.notifier.refused == 1)
        assert secondary.heard.qsize() == 1


@pytest.mark.parametrize(
    "disguise",
    [
        lambda wire: b"\0\0" + wire[2:],
        lambda wire: wire[:5],
        lambda wire: wire[:2] + bytes((wire[2] & 0x7F,)) + wire[3:],
        lambda wire: wire[:2] + bytes((wire[2] & 0x87,)) + wire[3:],
        lambda wire: wire.replace(b"\3one", b"\3two"),
    ],
)
async def test_what_is_no_answer_is_none(
    store: Store, secondary: Secondary, disguise: Callable[[bytes], bytes]
) -> None:
    secondary.disguise = disguise
    async with World(store, f"127.0.0.1:{secondary.port}", notify_attempts=2) as world:
        world.ledger.create(a_zone(), ME)
        await world.notifier.changed([APEX])
        await world.until(lambda: world.notifier.given_up == 1)
        assert world.notifier.acknowledged == 0


async def test_who_is_to_be_told(store: Store, secondary: Secondary) -> None:
    async with World(store) as world:
        options = ZoneOptions(notify=(f"127.0.0.1:{secondary.port}", "nonsense", "192.0.2.1+tls"))
        world.ledger.create(a_zone(), ME, options=options)
        await world.notifier.changed([APEX])
        await secondary.next()
        # Nobody knows what changed: all are told.
        await world.notifier.changed(())
        await secondary.next()
        # By order.
        said = await world.notifier.order({"zone": "one.example"})
        assert said == {"told": [f"127.0.0.1:{secondary.port}"], "serial": 1}
        await secondary.next()
        for zone in ("two.example", "a..b"):
            with pytest.raises(DeskError):
                await world.notifier.order({"zone": zone})
        # Not while it is not served, and not when it is gone.
        world.ledger.set_served(APEX, False)
        await world.notifier.changed([APEX])
        world.ledger.delete(APEX, ME)
        await world.notifier.changed([APEX])
        await asyncio.sleep(0.4)
        assert secondary.heard.empty()


async def test_what_changed_before_the_start_is_told(store: Store, secondary: Secondary) -> None:
    Ledger(store, ZoneSettings()).create(a_zone(), ME)
    async with World(store, f"127.0.0.1:{secondary.port}"):
        assert serial(await secondary.next()) == 1


async def test_zones_from_files(store: Store, secondary: Secondary) -> None:
    async with World(store, f"127.0.0.1:{secondary.port}") as world:
        packed = a_zone(7).pack()
        world.files[APEX] = packed
        world.notifier.file_changed(APEX, packed)
        assert serial(await secondary.next()) == 7
        world.notifier.file_changed(APEX, None)


async def test_without_the_key_nothing_is_sent(store: Store, secondary: Secondary) -> None:
    async with World(store, f"127.0.0.1:{secondary.port}#other.example") as world:
        world.ledger.create(a_zone(), ME)
        await world.notifier.changed([APEX])
        await world.until(lambda: world.notifier.given_up == 1)
        assert secondary.heard.empty()


def test_where_it_comes_from() -> None:
    import socket

    listen = ("[::1]:53", "127.0.0.3:53", "127.0.0.1")
    assert source_address(listen, socket.AF_INET) == "127.0.0.3"
    assert source_address(listen, socket.AF_INET6) == "::1"
    assert source_address(("127.0.0.3:53",), socket.AF_INET6) == "::"
    assert source_address((), socket.AF_INET) == "0.0.0.0"


def test_targets() -> None:
    found = targets_of(("192.0.2.1", "192.0.2.1:53", "[2001:db8::1]:5353#key.example", "x", "192.0.2.1#key.example"))
    assert [str(each) for each in found] == [
        "192.0.2.1:53",
        "[2001:db8::1]:5353#key.example",
        "192.0.2.1:53#key.example",
    ]
