"""A door in a process of its own, and the relay's process: what is handed in, what is told back, what is tidied up."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from sqlalchemy import text

from mx10.config import Config, StoreSettings
from mx10.relay.basics import spool_of
from mx10.relay.courier.values import Addressee, End, Fate, Stage
from mx10.relay.doors import DoorDesk, RemoteWriter, socket_path
from mx10.relay.spool.opening import open_spool
from mx10.relay.spool.spool import Incoming, Spool, Taken
from mx10.relay.spool.writing import Work, Writer
from mx10.relay.values import NODES, Envelope, NewRecipient, name_of
from mx10.smtp.replies import Reply
from mx10.store.errors import StoreError, StoreUnreachableError, UncertainStoreError
from tests.relay.talker import until

LARGE = 200_000


class Relay:
    """The relay's process, as far as doors see it."""

    def __init__(self, config: Config) -> None:
        self._config = config
        opened = open_spool(config, create=True)
        assert opened.folder is not None
        self.opened, self.folder = opened, opened.folder
        self.spool = spool_of(config, opened, 0, Writer(opened.store, asyncio.get_running_loop()))
        self.taken: list[Taken] = []
        self.desk = DoorDesk(self.spool, self.folder, self.taken.append)

    def stray(self, ids: int) -> Path:
        """A body as somebody who gives these ids left it."""
        spool = spool_of(self._config, self.opened, 0, Nowhere(), ids=ids)
        left = spool.begin(Envelope("a@b.example"))
        left.write(b"x" * LARGE)
        path = self.folder / left.name
        assert path.exists()
        return path

    def bodies(self) -> set[str]:
        return {each.name for each in self.folder.iterdir()}


class Nowhere:
    def put(self, work: Work) -> None:
        raise AssertionError(work)

    def close(self) -> None: ...


class Door:
    """A door's end."""

    def __init__(self, config: Config, number: int) -> None:
        self.heard: list[Fate] = []
        opened = open_spool(config)
        assert opened.folder is not None
        self.writer = RemoteWriter(socket_path(opened.folder), number, self.heard.append)
        self.spool: Spool = spool_of(config, opened, 0, self.writer, ids=NODES - 1 - number)

    async def hand_in(self, content: bytes) -> Taken | StoreError:
        return await commit(self.spool, content)


async def commit(spool: Spool, content: bytes) -> Taken | StoreError:
    incoming: Incoming = spool.begin(Envelope("a@b.example", client="192.0.2.1"))
    incoming.write(content)
    future: asyncio.Future[Taken | StoreError] = asyncio.get_running_loop().create_future()
    incoming.commit(b"Received: x\r\n", [NewRecipient("ada@ours.example")], future.set_result)
    return await asyncio.wait_for(future, 20)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(store=StoreSettings(url=f"sqlite:///{tmp_path}/mx10.db"))


@pytest.fixture
async def relay(config: Config) -> AsyncIterator[Relay]:
    made = Relay(config)
    async with made.desk:
        yield made
    made.spool.close()


@asynccontextmanager
async def door(config: Config, number: int = 0) -> AsyncIterator[Door]:
    made = Door(config, number)
    task = asyncio.create_task(made.writer.run())
    await asyncio.wait_for(made.writer.reached.wait(), 20)
    try:
        yield made
    finally:
        made.writer.close()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_messages_are_handed_in(config: Config, relay: Relay) -> None:
    async with door(config) as made:
        small = await made.hand_in(b"Subject: x\r\n\r\n")
        large = await made.hand_in(b"x" * LARGE)
        assert isinstance(small, Taken)
        assert isinstance(large, Taken)
    # Told to the client and to the dispatcher alike; the content of both can be read there.
    assert [each.message for each in relay.taken] == [small.message, large.message]
    contents = [b"".join([piece async for piece in each.content.chunks()]) for each in relay.taken]
    assert contents == [b"Received: x\r\nSubject: x\r\n\r\n", b"Received: x\r\n" + b"x" * LARGE]
    assert relay.taken[0].envelope.client == "192.0.2.1"
    with relay.opened.store.read() as connection:
        assert connection.execute(text("SELECT COUNT(*) FROM messages")).scalar() == 2


async def test_what_primaries_say_is_told_to_the_door(config: Config, relay: Relay) -> None:
    no = Reply(550, "5.1.1", ("no such user",))
    relay.desk.learned(Fate(Addressee("a@b.example"), End.FAILED, "5.1.1", "nobody listens yet"))
    async with door(config) as made, door(config, 1) as other:
        # One that asks primaries for recipients of the domain; others would make nothing of it.
        made.writer.asks("ours.example")
        for each in (made, other):
            each.writer.count(Counter(), 1)
        await until(lambda: relay.desk.connections == 2)
        elsewhere = Fate(Addressee("a@b.example"), End.FAILED, "5.1.1", "nobody asked for that domain")
        relay.desk.learned(elsewhere)
        said = Fate(
            Addressee("ada@ours.example"), End.FAILED, "5.1.1", "it said no", "", Stage.RCPT, no, host="mx.ours.example"
        )
        relay.desk.learned(said)
        await until(lambda: made.heard)
        (heard,) = made.heard
        assert (heard.recipient.address, heard.end, heard.stage) == ("ada@ours.example", End.FAILED, Stage.RCPT)
        assert (heard.reply, heard.host) == (no, "mx.ours.example")
        assert not other.heard
        # A new process of the relay is told again.
        await relay.desk.__aexit__()
        await until(lambda: not made.writer.is_linked)
        async with DoorDesk(relay.spool, relay.folder, relay.taken.append) as desk:
            await until(lambda: made.writer.is_linked)
            made.writer.count(Counter(), 1)
            await until(lambda: desk.connections == 1)
            desk.learned(said)
            await until(lambda: len(made.heard) == 2)


async def test_a_door_ends_quietly_whoever_ends_first(config: Config, relay: Relay) -> None:
    wrong: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: wrong.append(context))
    made = Door(config, 0)
    task = asyncio.create_task(made.writer.run())
    await asyncio.wait_for(made.writer.reached.wait(), 20)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    await relay.desk.__aexit__()
    made.writer.close()
    for _ in range(10):
        await asyncio.sleep(0)
    assert wrong == []


async def test_what_doors_count_is_added_up(config: Config, relay: Relay) -> None:
    async with door(config, 0) as first, door(config, 1) as second:
        first.writer.count(Counter({("accepted", "mx"): 2}), 3)
        second.writer.count(Counter({("accepted", "mx"): 1, ("refused", "relay"): 4}), 5)
        await until(lambda: relay.desk.connections == 8)
        assert relay.desk.counts == {("accepted", "mx"): 3, ("refused", "relay"): 4}
    await until(lambda: relay.desk.connections == 0)
    assert relay.desk.counts[("accepted", "mx")] == 3


async def test_a_new_door_begins_when_all_is_tidy_behind_the_one_before(config: Config, relay: Relay) -> None:
    mine, others = relay.stray(NODES - 1), relay.stray(NODES - 2)
    async with door(config, 0) as before:
        assert relay.bodies() == {others.name}
        kept = await before.hand_in(b"x" * LARGE)
        assert isinstance(kept, Taken)
    mine = relay.stray(NODES - 1)
    async with door(config, 0):
        assert relay.bodies() == {others.name, name_of(kept.message)}
        assert not mine.exists()


async def test_what_the_one_before_had_handed_in_keeps_its_body(config: Config, relay: Relay) -> None:
    async with door(config, 0) as before:
        kept = [asyncio.create_task(before.hand_in(b"x" * LARGE)) for _ in range(20)]
        # It goes as soon as the first is durable; others are still on their way.
        await asyncio.wait(kept, return_when=asyncio.FIRST_COMPLETED)
    async with door(config, 0):
        with relay.opened.store.read() as connection:
            there = {name_of(row) for row in connection.execute(text("SELECT id FROM messages")).scalars()}
        assert there
        assert there <= relay.bodies()
    for each in kept:
        each.cancel()


async def test_without_the_relays_process_nothing_is_promised(config: Config, relay: Relay) -> None:
    async with door(config) as made:
        await relay.desk.__aexit__()
        await until(lambda: not made.writer.is_linked)
        assert isinstance(await made.hand_in(b"x\r\n"), StoreUnreachableError)
        assert isinstance(await made.hand_in(b"x" * LARGE), StoreUnreachableError)
        await until(lambda: not relay.bodies())
        writing = relay.stray(NODES - 1)
        async with DoorDesk(relay.spool, relay.folder, relay.taken.append):
            await until(lambda: made.writer.is_linked)
            assert isinstance(await made.hand_in(b"x\r\n"), Taken)
            # It is the same door: what it writes just now is its own.
            assert writing.exists()


async def test_what_was_on_its_way_when_the_relays_process_died(config: Config, relay: Relay) -> None:
    def dies(work: Work) -> None:
        # One was durable by then, but nobody had heard of it; the other was not.
        if not died:
            put(Work(None, messages=work.messages, recipients=work.recipients))
        died.append(work)

    died: list[Work] = []
    async with door(config) as made:
        put, relay.spool.put = relay.spool.put, dies  # type: ignore[method-assign]
        first = asyncio.create_task(made.hand_in(b"x" * LARGE))
        await until(lambda: len(died) == 1)
        second = asyncio.create_task(made.hand_in(b"x" * LARGE))
        await until(lambda: len(died) == 2)
        await relay.desk.__aexit__()
        assert isinstance(await first, UncertainStoreError)
        assert isinstance(await second, UncertainStoreError)
        names = [name_of(work.messages[0][0]) for work in died]
        assert relay.bodies() == set(names)
        relay.spool.put = put  # type: ignore[method-assign]
        async with DoorDesk(relay.spool, relay.folder, relay.taken.append):
            await until(lambda: relay.bodies() == {names[0]})
            assert isinstance(await made.hand_in(b"x"), Taken)
