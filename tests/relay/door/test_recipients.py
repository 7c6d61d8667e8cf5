"""Recipients at the door, with primaries that speak SMTP over sockets, and a store on each database."""

import asyncio
import contextlib
import random
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mx10.config.settings import RecipientSettings
from mx10.relay.courier.send import NobodyIsDown
from mx10.relay.courier.transports import parse_transports
from mx10.relay.courier.values import Addressee, End, Fate, Stage
from mx10.relay.courier.ways import Surroundings
from mx10.relay.door.door import Verifier
from mx10.relay.door.recipients import (
    Answer,
    CallAhead,
    Recipients,
    Source,
    Verdict,
    check_files,
    links_for_asking,
    parse_rules,
)
from mx10.relay.door.recipients import asking as asking_module
from mx10.relay.door.recipients import memory as memory_module
from mx10.relay.door.recipients import query as query_module
from mx10.relay.door.recipients.asking import DOWN_MS, REFUSALS, TOGETHER, WAITING, mailbox, verdict_of
from mx10.relay.door.recipients.memory import TRUSTED_MS, Memory, count_known, forget_domain
from mx10.relay.door.recipients.query import Query
from mx10.relay.door.recipients.rules import RuleError
from mx10.relay.door.recipients.values import Known
from mx10.relay.door.recipients.verify import DAY_MS, HOUR_MS, TIDY_MS
from mx10.relay.door.values import Refused, Visitor
from mx10.relay.values import NewRecipient
from mx10.smtp.replies import Reply
from mx10.store.connect import Store, open_store
from peers import free_port
from tests.relay.primary import Primary
from tests.relay.talker import CLOSE, DRIP, ENDLESS_LINE, ENDLESS_REPLY, OFFERS, RESET, STALL, until
from tests.routing.dns_world import SETTINGS, World

WORLD = """
example.org         MX 10 primary.example.org.
example.org         MX 20 other.example.net.
example.org         MX 30 relay.example.
example.com         MX 10 primary.example.org.
primary.example.org A 127.9.2.1
other.example.net   A 127.9.2.2
null.example        MX 0 .
broken.example      ! SERVFAIL
"""
ROUTING = replace(SETTINGS, public_networks=("127.0.0.0/8",))
NOW = 1_800_000_000_000
HOOK = "hook.example http://127.0.0.1:9/ secret=/etc/hook"


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        return self.now


class House:
    """Recipients with everything around them."""

    def __init__(self, store: Store, port: int, *rules: str, seconds: float = 5.0, **settings: Any) -> None:
        self.clock = Clock()
        self.store = store
        self.settings = RecipientSettings(rules=rules or ("* ask",), **settings)
        folder = (store.path or Path(tempfile.gettempdir())).parent
        transports = parse_transports((f"home.example maildir:{folder}/{{domain}}/{{local}}/Maildir", HOOK))
        self.links = links_for_asking("relay.example", seconds)
        around = Surroundings(
            "relay.example",
            World(WORLD),
            self.links,
            NobodyIsDown(),
            self.clock,
            random.Random(1),
            transports,
            ROUTING,
            ("relay.example",),
            port,
        )
        self.call = CallAhead(around, seconds=seconds, at_once=4, token=lambda: "0123")
        self.recipients = self.made()

    def made(self) -> Recipients:
        rules = parse_rules(self.settings.rules)
        return Recipients(self.settings, rules, self.store, self.call, clock=self.clock)

    async def verify(self, address: str) -> Answer:
        return await self.recipients.verify(address, self.clock())

    async def verdict(self, address: str) -> str:
        answer = await self.verify(address)
        return f"{answer.verdict} {answer.source}"

    async def close(self) -> None:
        await self.call.close()
        await self.recipients.close()
        await self.links.close()


@pytest.fixture
def port() -> int:
    return free_port("127.9.2.1")


@contextlib.asynccontextmanager
async def house(store: Store, port: int, *rules: str, **settings: Any) -> AsyncIterator[House]:
    made = House(store, port, *rules, **settings)
    try:
        yield made
    finally:
        await made.close()


def primary(port: int, *known: str, address: str = "127.9.2.1", **options: Any) -> Primary:
    return Primary(address=address, port=port, known={f"{each}@example.org" for each in known}, **options)


async def test_the_primary_is_asked_once(store: Store, port: int) -> None:
    async with primary(port, "ada").listening() as host, house(store, port) as home:
        assert await home.verdict("ada@example.org") == "known call"
        assert await home.verdict("bob@example.org") == "unknown call"
        assert host.asked == ["ada@example.org", "bob@example.org"]
        assert host.made_up == ["no-such-user-0123@example.org"]
        assert all(line == "MAIL FROM:<>" for line in host.heard if line.startswith("MAIL"))
        assert not host.messages
        assert not any(line.startswith(("DATA", "BDAT")) for line in host.heard)
        for _ in range(3):
            assert await home.verdict("ada@example.org") == "known call"
            answer = await home.verify("bob@example.org")
            assert answer.why == "primary.example.org said “550 5.1.1 no such user”"
        assert len(host.asked) == 2
        assert host.connections == 1
        reply = home.recipients.reply("bob@example.org", answer)
        assert str(reply) == (
            "550 5.1.1 <bob@example.org> is not known here: primary.example.org said “550 5.1.1 no such user”;"
            " check how it is written, or ask its owner another way"
        )
        assert not home.recipients.apart(answer)
        assert home.recipients.counts == {("recipient-known", "call"): 4, ("recipient-unknown", "call"): 4}


async def test_what_was_said_is_known_in_an_outage(store: Store, port: int) -> None:
    async with house(store, port) as home:
        async with primary(port, "ada").listening():
            await home.verify("ada@example.org")
            await home.verify("bob@example.org")
        await home.links.close()
        await home.recipients.tick(NOW)
        assert home.recipients.memory.unwritten == 0
        # Another relay, or this one started again.
        home.recipients = home.made()
        assert await home.verdict("ada@example.org") == "known call"
        assert await home.verdict("bob@example.org") == "unknown call"
        answer = await home.verify("carol@example.org")
        assert (answer.verdict, answer.source) == (Verdict.UNSURE, Source.CALL)
        assert "connection refused" in answer.why
        assert home.recipients.reply("carol@example.org", answer) is None
        assert home.recipients.apart(answer)
        # That somebody does not exist is forgotten first.
        home.clock.now += 2 * HOUR_MS
        assert await home.verdict("bob@example.org") == "unsure call"
        home.clock.now = NOW + 30 * DAY_MS - 1
        assert await home.verdict("ada@example.org") == "known call"
        home.clock.now += 1
        assert await home.verdict("ada@example.org") == "unsure call"
        assert count_known(store, NOW) == {"example.org": 1}
        assert count_known(store, home.clock.now) == {}


async def test_policies_for_those_of_whom_nobody_knows(store: Store, port: int) -> None:
    answer = Answer(Verdict.UNSURE, "connection refused", Source.CALL)
    async with house(store, port, unsure="take") as home:
        assert home.recipients.reply("x@example.org", answer) is None
        assert not home.recipients.apart(answer)
    async with house(store, port, unsure="refuse") as home:
        assert str(home.recipients.reply("x@example.org", answer)) == (
            "450 4.4.3 nobody can say now whether <x@example.org> exists: connection refused; send it again later, or"
            " to a better exchanger"
        )
        assert not home.recipients.apart(answer)
        busy = Answer(Verdict.BUSY, "too many recipients are being looked up", Source.SQL)
        reply = home.recipients.reply("x@example.org", busy)
        assert reply is not None
        assert reply.code == 450
        long = Answer(Verdict.UNKNOWN, "é" * 5000, Source.CALL)
        reply = home.recipients.reply("x" * 300 + "@example.org", long)
        assert reply is not None
        assert len(str(reply)) <= 400


async def test_a_primary_that_takes_everything_says_nothing(store: Store, port: int) -> None:
    async with house(store, port) as home:
        async with primary(port, takes_all=True).listening() as host:
            assert await home.verdict("ada@example.org") == "known takes-all"
            assert await home.verdict("bob@example.org") == "known takes-all"
            assert host.asked == ["ada@example.org"]
        await home.recipients.tick(NOW)
        assert count_known(store, NOW) == {}
        home.recipients = home.made()
        # In an outage, too.
        assert await home.verdict("carol@example.org") == "known takes-all"
        home.clock.now += 30 * DAY_MS
        assert await home.verdict("carol@example.org") == "unsure call"


async def test_it_is_seen_when_it_begins_to_refuse(store: Store, port: int) -> None:
    async with primary(port, takes_all=True).listening() as host, house(store, port) as home:
        await home.verify("ada@example.org")
        host.takes_all, host.known = False, {"postmaster@example.org"}
        home.clock.now += 25 * HOUR_MS
        await home.recipients.tick(home.clock.now)
        await settled(home)
        assert await home.verdict("ada@example.org") == "unknown call"


async def settled(home: House) -> None:
    """Until all that was begun is done."""
    while home.recipients._tasks:
        await asyncio.gather(*home.recipients._tasks)


async def test_those_who_are_known_are_asked_for_again(store: Store, port: int) -> None:
    async with house(store, port) as home:
        async with primary(port, "ada", "bob", "carol").listening() as host:
            for name in ("ada", "bob", "carol"):
                assert await home.verdict(f"{name}@example.org") == "known call"
            host.known -= {"carol@example.org"}
            host.heard.clear()
            home.clock.now += 24 * HOUR_MS - TIDY_MS
            await home.recipients.tick(home.clock.now)
            await settled(home)
            assert host.asked == []
            home.clock.now += TIDY_MS + 1
            await home.recipients.tick(home.clock.now)
            await settled(home)
            assert host.asked == []
            home.clock.now += HOUR_MS
            await home.recipients.tick(home.clock.now)
            await settled(home)
            assert sorted(host.asked) == ["ada@example.org", "bob@example.org", "carol@example.org"]
            assert host.made_up
        # Thirty days from now on.
        home.clock.now += 29 * DAY_MS
        assert await home.verdict("ada@example.org") == "known call"
        assert (await home.verify("carol@example.org")).verdict is Verdict.UNSURE


async def test_those_of_domains_that_are_no_longer_ours_are_left(store: Store, port: int) -> None:
    async with primary(port, "ada").listening() as host, house(store, port) as home:
        home.recipients = Recipients(
            home.settings, parse_rules(("* ask",)), store, home.call, clock=home.clock, ours=lambda _: False
        )
        await home.verify("ada@example.org")
        host.heard.clear()
        home.clock.now += 2 * DAY_MS
        await home.recipients.tick(home.clock.now)
        await settled(home)
        assert host.asked == []


async def test_what_expired_is_removed(store: Store, port: int) -> None:
    async with primary(port).listening(), house(store, port) as home:
        await home.verify("bob@example.org")
        await home.recipients.tick(home.clock.now)
        assert await home.recipients.memory.find("example.org", ["bob"], home.clock.now)
        assert await home.recipients.memory.tidy(home.clock.now + 2 * HOUR_MS) == 1
        assert forget_domain(store, "example.org") == 1


async def test_who_comes_meanwhile_shares_the_next_conversation(store: Store, port: int) -> None:
    names = [f"user{number}" for number in range(25)]
    async with primary(port, *names[::2]).listening() as host, house(store, port) as home:
        # They come at once, and not as the store's answers do.
        await home.recipients.memory.find("example.org", [*names, ""], NOW)
        answers = await asyncio.gather(*(home.verdict(f"{each}@example.org") for each in names * 2))
        assert answers[:25] == [f"{'unknown' if number % 2 else 'known'} call" for number in range(25)]
        assert answers[25:] == answers[:25]
        assert sorted(host.asked) == sorted(f"{each}@example.org" for each in names)
        assert sum(line.startswith("MAIL") for line in host.heard) == -(-25 // TOGETHER)
        # No connection sees more refusals than hosts stand.
        assert host.connections >= 2
        assert max(host.refused) < REFUSALS + TOGETHER + 1
        assert home.call.waiting == 0


async def test_too_many_at_once_are_told_to_come_later(
    store: Store, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        primary(port, says={"RCPT": STALL}).listening(),
        house(store, port, seconds=3.0) as home,
    ):
        answers = await asyncio.gather(*(home.verify(f"u{number}@example.org") for number in range(WAITING + 20)))
        verdicts = [each.verdict for each in answers]
        assert verdicts.count(Verdict.BUSY) == 20
        assert verdicts.count(Verdict.UNSURE) == WAITING
        assert home.call.waiting == 0
        monkeypatch.setattr(asking_module, "WAITING_IN_ALL", 0)
        home.clock.now += 2 * DOWN_MS
        assert (await home.verify("x@example.org")).verdict is Verdict.BUSY
        assert not home.call._domains


async def test_a_primary_that_stalls_is_left_alone_for_a_while(store: Store, port: int) -> None:
    async with primary(port, says={"GREETING": STALL}).listening() as host, house(store, port, seconds=1.0) as home:
        began = time.monotonic()
        assert (await home.verify("ada@example.org")).verdict is Verdict.UNSURE
        assert time.monotonic() - began < 10
        connections = host.connections
        for _ in range(10):
            assert (await home.verify("bob@example.org")).verdict is Verdict.UNSURE
        assert host.connections == connections
        home.clock.now += DOWN_MS + 1
        host.says = {}
        host.known = {"ada@example.org"}
        assert await home.verdict("ada@example.org") == "known call"


@pytest.mark.parametrize(
    ("says", "verdict"),
    [
        ({"RCPT": b"450 4.2.0 greylisted\r\n"}, Verdict.UNSURE),
        ({"RCPT": b"452 4.2.2 full\r\n"}, Verdict.KNOWN),
        ({"RCPT": b"552 5.2.2 full\r\n"}, Verdict.KNOWN),
        ({"RCPT": b"550 no such user\r\n"}, Verdict.UNKNOWN),
        ({"RCPT": b"553 no such user\r\n"}, Verdict.UNKNOWN),
        ({"RCPT": b"550 5.1.10 recipient not found\r\n"}, Verdict.UNKNOWN),
        ({"RCPT": b"550 5.2.1 disabled\r\n"}, Verdict.UNKNOWN),
        ({"RCPT": b"550 5.4.1 access denied\r\n"}, Verdict.UNKNOWN),
        ({"RCPT": b"550 5.7.1 you are in a list\r\n"}, Verdict.UNSURE),
        ({"RCPT": b"554 go away\r\n"}, Verdict.UNSURE),
        ({"RCPT": b"550 5.7.25 no reverse DNS\r\n"}, Verdict.UNSURE),
        ({"RCPT": CLOSE}, Verdict.UNSURE),
        ({"RCPT": b"nonsense\r\n"}, Verdict.UNSURE),
        ({"MAIL": b"550 5.1.8 no bounces here\r\n"}, Verdict.UNSURE),
        ({"EHLO": b"550 5.7.1 who are you\r\n", "HELO": b"550 5.7.1 no\r\n"}, Verdict.UNSURE),
        ({"GREETING": b"554 5.7.1 no\r\n"}, Verdict.UNSURE),
        ({"GREETING": b"421 4.3.2 later\r\n"}, Verdict.UNSURE),
        ({"GREETING": CLOSE}, Verdict.UNSURE),
    ],
)
async def test_only_what_is_about_the_recipient_counts(
    tmp_path: Path, port: int, says: dict[str, bytes], verdict: Verdict
) -> None:
    store = open_store(f"sqlite:///{tmp_path}/mx10.db", create=True)
    async with primary(port, says=says).listening(), house(store, port) as home:
        answer = await home.verify("ada@example.org")
        assert answer.verdict is verdict, answer
        assert (
            home.recipients.memory.unwritten
            == {
                # A host that says so to everybody takes what was made up, too.
                Verdict.KNOWN: 1,
                Verdict.UNKNOWN: 2,
                Verdict.UNSURE: 0,
            }[verdict]
        )
    store.close()


@pytest.mark.parametrize("stage", ["GREETING", "EHLO", "MAIL", "RCPT"])
async def test_a_hostile_primary_says_nothing_and_keeps_nobody(tmp_path: Path, stage: str) -> None:
    store = open_store(f"sqlite:///{tmp_path}/mx10.db", create=True)
    does = (STALL, CLOSE, RESET, DRIP, ENDLESS_LINE, ENDLESS_REPLY, b"\0\xff\r\n", b"250 2.1.5 ok\n" * 50, b"550")

    async def one(what: bytes) -> None:
        port = free_port("127.9.2.1")
        async with primary(port, says={stage: what}).listening(), house(store, port, seconds=2.0) as home:
            began = time.monotonic()
            answer = await home.verify("ada@example.org")
            assert answer.verdict in (Verdict.UNSURE, Verdict.KNOWN), (what, answer)
            # Only one who says 250 out of turn is believed.
            assert answer.verdict is Verdict.UNSURE or what.startswith(b"250 2"), (what, answer)
            assert time.monotonic() - began < 10
            assert home.call.waiting == 0

    await asyncio.gather(*map(one, does))
    store.close()


async def test_only_the_best_exchangers_are_asked(store: Store, port: int) -> None:
    other = primary(port, address="127.9.2.2", takes_all=True)
    async with other.listening(), house(store, port) as home:
        assert (await home.verify("ada@example.org")).verdict is Verdict.UNSURE
        assert other.connections == 0


async def test_addresses_of_any_script(store: Store, port: int) -> None:
    async with primary(port, "müller", "ada").listening() as host, house(store, port) as home:
        found = await asyncio.gather(*(home.verdict(f"{each}@example.org") for each in ("müller", "ada", "jürgen")))
        assert found == ["known call", "known call", "unknown call"]
        assert "MAIL FROM:<> SMTPUTF8" in host.heard
    home.clock.now += 31 * DAY_MS
    async with (
        primary(port, "müller", offers=tuple(each for each in OFFERS if each != "SMTPUTF8")).listening(),
        house(store, port) as home,
    ):
        home.clock.now += 31 * DAY_MS
        assert (await home.verify("müller@example.org")).verdict is Verdict.UNSURE


async def test_domains_that_lead_nowhere(store: Store, port: int) -> None:
    async with house(store, port) as home:
        for domain in ("null.example", "broken.example", "nowhere.example"):
            assert (await home.verify(f"ada@{domain}")).verdict is Verdict.UNSURE


async def test_mailboxes_here(store: Store, port: int, tmp_path: Path) -> None:
    async with house(store, port) as home:
        assert await home.verdict("anybody@hook.example") == "known mailbox"
        if store.path is None:
            return
        assert store.path.parent == tmp_path
        (tmp_path / "home.example" / "ada").mkdir(parents=True)
        assert await home.verdict("Ada@home.example") == "known mailbox"
        answer = await home.verify("bob@home.example")
        assert (answer.verdict, answer.why) == (Verdict.UNKNOWN, "there is no such mailbox")
        assert (await home.verify(f"{'é' * 30}@home.example")).verdict is Verdict.UNKNOWN


def test_a_disk_that_is_not_mounted() -> None:
    assert mailbox("/no/such/folder/{local}", "ada@home.example").verdict is Verdict.UNSURE


async def test_a_postmaster_there_is(store: Store, port: int) -> None:
    async with house(store, port) as home:
        assert await home.verdict("Postmaster@example.org") == "known rule"


async def test_who_leaves_takes_the_answer_from_nobody(store: Store, port: int) -> None:
    async with primary(port, "ada").listening(), house(store, port) as home:
        first = asyncio.create_task(home.verify("ada@example.org"))
        second = asyncio.create_task(home.verify("ada@example.org"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        first.cancel()
        assert (await second).verdict is Verdict.KNOWN


async def test_closing_leaves_nobody_waiting(store: Store, port: int) -> None:
    async with primary(port, says={"RCPT": STALL}).listening(), house(store, port) as home:
        waiting = asyncio.create_task(home.verify("ada@example.org"))
        await until(lambda: home.call.waiting)
        await home.call.close()
        assert (await waiting).why == "the relay is being stopped"


async def test_the_door_is_answered_at_once_where_it_can_be(store: Store, port: int) -> None:
    visitor = Visitor(b"\xc0\0\2\1", 4711, "192.0.2.2:25", "mx")
    ada, bob = NewRecipient("ada@example.org"), NewRecipient("bob@example.org", frozenset({"FAILURE"}))
    async with house(store, port) as home:
        door: Verifier = home.recipients
        async with primary(port, "ada").listening():
            first = door.admit(visitor, ada)
            assert isinstance(first, Awaitable)
            assert await first == ada
            assert door.admit(visitor, ada) == ada
            refused = door.admit(visitor, bob)
            assert isinstance(refused, Awaitable)
            said = await refused
            assert isinstance(said, Refused)
            assert (said.reply.code, said.what) == (550, "recipient-unknown")
            assert door.admit(visitor, bob) == said
        await home.links.close()
        carol = door.admit(visitor, NewRecipient("carol@example.org"))
        assert isinstance(carol, Awaitable)
        assert await carol == NewRecipient("carol@example.org", apart=True)
        assert home.recipients.counts["recipient-known", "call"] == 2
        home.recipients._ours = lambda domain: domain == "example.org"
        assert door.admit(visitor, NewRecipient("admin@example.net")) == NewRecipient("admin@example.net")


# ---------------------------------------------------------------- learning from deliveries


def fate(address: str, reply: Reply, host: str = "primary.example.org") -> Fate:
    delivered = reply.code < 400
    end = End.DELIVERED if delivered else End.FAILED if reply.code >= 500 else End.LATER
    stage = Stage.FINAL if delivered else Stage.RCPT
    return Fate(Addressee(address), end, "", "", stage=stage, reply=reply, host=host, reached=True)


async def test_deliveries_teach(store: Store, port: int) -> None:
    taken, refused = Reply.of(250, "2.0.0", "taken"), Reply.of(550, "5.1.1", "no such user")
    async with house(store, port) as home:
        async with primary(port, "ada").listening() as host:
            # Nobody knows yet whether this host refuses anybody.
            home.recipients.delivered(fate("bob@example.org", taken))
            assert await home.verdict("bob@example.org") == "unknown call"
            home.recipients.delivered(fate("bob@example.org", taken))
            home.recipients.delivered(fate("carol@example.org", taken))
            home.recipients.delivered(fate("dave@example.org", refused))
            home.recipients.delivered(fate("erin@example.org", taken, "other.example.net"))
            home.recipients.delivered(fate("frank@example.org", Reply.of(450, "4.2.0", "later")))
            assert await home.verdict("bob@example.org") == "known delivery"
            assert await home.verdict("carol@example.org") == "known delivery"
            assert await home.verdict("dave@example.org") == "unknown delivery"
            assert host.asked == ["bob@example.org"]
            assert await home.verdict("erin@example.org") == "unknown call"
            assert await home.verdict("frank@example.org") == "unknown call"
        count = home.recipients.memory.unwritten
        for _ in range(100):
            home.recipients.delivered(fate("carol@example.org", taken))
        assert home.recipients.memory.unwritten == count


def test_a_refusal_of_the_message_says_nothing_of_the_recipient() -> None:
    reply = Reply.of(550, "5.1.1", "no such user")
    assert verdict_of(Fate(Addressee("a@b"), End.FAILED, "", "", stage=Stage.FINAL, reply=reply)) is Verdict.UNSURE


# ---------------------------------------------------------------- the memory


def known(local: str, at: int = NOW, *, exists: bool = True) -> Known:
    return Known("example.org", local, exists, "", Source.CALL, at, at + DAY_MS)


async def test_the_memory_is_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_module, "CACHED", 10)
    monkeypatch.setattr(memory_module, "UNWRITTEN", 20)
    monkeypatch.setattr(memory_module, "MAX_UNKNOWN", 3)
    memory = Memory(store)
    for number in range(50):
        memory.learn(known(f"u{number}"))
    assert len(memory) == 10
    assert memory.unwritten == 20
    assert await memory.write() == 20
    assert set(await memory.find("example.org", ["u0", "u19", "u20", "u49"], NOW)) == {"u0", "u19", "u49"}
    for number in range(4):
        memory.learn(known(f"x{number}", exists=False))
    await memory.write()
    await memory.tidy(NOW)
    memory.learn(known("x9", exists=False))
    memory.learn(known("", exists=False))
    memory.learn(known("y"))
    assert memory.unwritten == 2


async def test_what_expired_is_removed_in_pieces(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_module, "PIECE", 10)
    monkeypatch.setattr(memory_module, "TIDIED", 30)
    memory = Memory(store)
    for number in range(45):
        memory.learn(known(f"u{number}"))
    memory.learn(known("ada", NOW + 1))
    await memory.write()
    assert [await memory.tidy(NOW + DAY_MS) for _ in range(3)] == [30, 15, 0]
    assert count_known(store, NOW) == {"example.org": 1}


async def test_others_are_seen_after_a_minute(store: Store) -> None:
    one, other = Memory(store), Memory(store)
    assert await one.find("example.org", ["ada"], NOW) == {}
    other.learn(known("ada"))
    await other.write()
    assert await one.find("example.org", ["ada"], NOW + TRUSTED_MS - 1) == {}
    assert set(await one.find("example.org", ["ada"], NOW + TRUSTED_MS)) == {"ada"}
    # What is older does not take the place of what is newer.
    one.learn(known("ada", NOW - 1, exists=False))
    await one.write()
    assert (await Memory(store).find("example.org", ["ada"], NOW))["ada"].known


async def test_a_store_that_fails_is_no_absence(store: Store, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from mx10.store.errors import StoreBusyError

    def fails(*_: object) -> None:
        raise StoreBusyError("busy")

    async with primary(port, "ada").listening(), house(store, port) as home:
        await home.verify("ada@example.org")
        monkeypatch.setattr(store, "begin", fails)
        monkeypatch.setattr(store, "read", fails)
        await home.recipients.tick(NOW)
        assert home.recipients.memory.unwritten == 2
        home.clock.now += 2 * TRUSTED_MS
        assert await home.verdict("ada@example.org") == "known call"
        assert await home.verdict("bob@example.org") == "unknown call"
        monkeypatch.undo()
        await home.recipients.tick(NOW + TIDY_MS)
        assert home.recipients.memory.unwritten == 0


# ---------------------------------------------------------------- lists, patterns, databases


async def test_lists_and_patterns_ask_nobody(store: Store, port: int, tmp_path: Path) -> None:
    file = tmp_path / "list"
    file.write_text("ada@example.org\n")
    rules = (f"example.org list:{file} pattern:sales-*", "* ask")
    async with primary(port).listening() as host, house(store, port, *rules) as home:
        assert await home.verdict("Ada@example.org") == "known list"
        assert await home.verdict("sales-eu@example.org") == "known pattern"
        assert await home.verdict("bob@example.org") == "unknown list"
        assert host.connections == 0
        file.write_text("ada@example.org\nbob@example.org\n")
        home.clock.now += 2000
        await home.verify("x@example.org")
        await settled(home)
        assert await home.verdict("bob@example.org") == "known list"
        file.write_text("nonsense\n")
        home.clock.now += 2000
        await home.verify("x@example.org")
        await settled(home)
        assert await home.verdict("bob@example.org") == "known list"


async def test_files_that_cannot_be_used_stop_no_other_mail(store: Store, port: int, tmp_path: Path) -> None:
    rules = (f"example.org list:{tmp_path}/list pattern:sales-*", f"example.com sql:{tmp_path}/query", "* ask")
    with pytest.raises(RuleError, match="list cannot be read"):
        check_files(parse_rules(rules[:1]))
    with pytest.raises(RuleError, match="query cannot be read"):
        check_files(parse_rules(rules[1:]))
    async with house(store, port, *rules) as home:
        assert await home.verdict("ada@example.org") == "unsure list"
        assert await home.verdict("sales-1@example.org") == "known pattern"
        assert await home.verdict("ada@example.com") == "unsure sql"
        (tmp_path / "list").write_text("ada@example.org\n")
        home.clock.now += 2000
        await home.verify("ada@example.org")
        await settled(home)
        assert await home.verdict("ada@example.org") == "known list"


URL = "sqlite:///{}/users.db"
SELECT = "SELECT 1 FROM users WHERE address = :address"


def users(folder: Path, *names: str) -> Path:
    """A database of somebody's, and the file that asks it."""
    with contextlib.closing(sqlite3.connect(folder / "users.db")) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS users (address TEXT)")
        connection.executemany("INSERT INTO users VALUES (?)", [(f"{name}@example.org",) for name in names])
        connection.commit()
    return asking(folder, URL.format(folder), f"{SELECT};")


def asking(folder: Path, url: str, statement: str) -> Path:
    return secret(folder, f"{url}\n{statement}\n")


def secret(folder: Path, text: str, mode: int = 0o640) -> Path:
    file = folder / "recipients.sql"
    file.write_text(text)
    file.chmod(mode)
    return file


async def test_a_database_is_asked(store: Store, port: int, tmp_path: Path) -> None:
    async with house(store, port, f"example.org sql:{users(tmp_path, 'ada')}") as home:
        assert await home.verdict("ADA@example.org") == "known sql"
        assert await home.verdict("bob@example.org") == "unknown sql"
        users(tmp_path, "bob")
        assert await home.verdict("bob@example.org") == "known sql"
        # It is gone: who was known still is, of others nobody can tell.
        (tmp_path / "users.db").unlink()
        query = home.recipients._queries[tmp_path / "recipients.sql"]
        assert query is not None
        query._engine.dispose()
        assert await home.verdict("ada@example.org") == "unsure sql"
        assert await home.verdict("bob@example.org") == "known sql"
        await home.recipients.tick(NOW)
        assert await home.verdict("ADA@example.org") == "known sql"
        assert (await home.verify("carol@example.org")).why == "the list of its domain's recipients cannot be read"


async def test_a_database_of_postgresql(store: Store, port: int, postgresql_url: str, tmp_path: Path) -> None:
    import psycopg

    with psycopg.connect(postgresql_url) as connection:
        connection.execute("CREATE TABLE users (name TEXT, domain TEXT)")
        connection.execute("INSERT INTO users VALUES ('ada', 'example.org')")
    select = "SELECT name FROM users WHERE name = :local AND domain = :domain"
    async with house(store, port, f"example.org sql:{asking(tmp_path, postgresql_url, select)}") as home:
        assert await home.verdict("ada@example.org") == "known sql"
        assert await home.verdict("bob'; DROP TABLE users; --@example.org") == "unknown sql"
        assert await home.verdict("ada@example.org") == "known sql"


async def test_a_statement_cannot_write(store: Store, port: int, postgresql_url: str, tmp_path: Path) -> None:
    import psycopg

    with psycopg.connect(postgresql_url) as connection:
        connection.execute("CREATE TABLE users (name TEXT)")
    select = "WITH gone AS (INSERT INTO users VALUES (:address) RETURNING name) SELECT name FROM gone"
    async with house(store, port, f"* sql:{asking(tmp_path, postgresql_url, select)}") as home:
        assert await home.verdict("ada@example.org") == "unsure sql"


async def test_a_database_that_does_not_answer(
    store: Store, port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query_module, "SECONDS", 0.2)
    monkeypatch.setattr(query_module, "WAITING", 2)
    slow = "SELECT 1 FROM (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000000)"
    slow += " SELECT max(i) AS m FROM n) WHERE m > 0 AND :address <> ''"
    users(tmp_path)
    async with house(store, port, f"* sql:{asking(tmp_path, URL.format(tmp_path), slow)}") as home:
        answers = await asyncio.gather(*(home.verify(f"u{number}@example.org") for number in range(8)))
        verdicts = [each.verdict for each in answers]
        assert verdicts.count(Verdict.BUSY) == 2
        assert verdicts.count(Verdict.UNSURE) >= 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "holds nothing"),
        ("sqlite:////x", "write the database's URL in the first line"),
        ("sqlite:////x\nDELETE FROM users", "has to be a SELECT"),
        ("sqlite:////x\nSELECT 1", "asks for no recipient"),
        ("sqlite:////x\nSELECT :address, :password", ":password has no value"),
        ("sqlite://\nSELECT :address", "the URL names no file"),
        ("postgresql://user:geheim@host\nSELECT :address", "names no database"),
        ("user:geheim@\nSELECT :address", "cannot be read; write sqlite:"),
        ("mysql://user:geheim@host/db\nSELECT :address", "there is no driver for mysql here"),
        ("nonsense://user:geheim@host/db\nSELECT :address", "there is no driver for nonsense here"),
    ],
)
def test_wrong_files_of_queries(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(RuleError) as caught:
        Query(secret(tmp_path, text))
    assert says in str(caught.value)
    assert "geheim" not in str(caught.value)


def test_a_password_that_everybody_may_read(tmp_path: Path) -> None:
    with pytest.raises(RuleError, match="everybody may read it: chmod 640"):
        Query(secret(tmp_path, "sqlite:////x\nSELECT :address", 0o644))
