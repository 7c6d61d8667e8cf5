"""Asking a primary whether a recipient exists: a transaction from nobody that ends before DATA (call-ahead).

Only the best exchangers of a domain are asked: another backup between them and us would say yes to everybody. One
conversation a domain at a time; those who come meanwhile share the next one, up to ``TOGETHER`` of them. Before the
first answers of a primary count it is asked for an address that was just made up: where it takes that too, what it says
of others means nothing.

What a refusal means is decided here (``verdict_of``): only one that is about the recipient says that it does not exist.
A refusal of our address, of the empty sender or of our manners says nothing of it.
"""

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from weakref import WeakKeyDictionary

from mx10.relay.courier.connection import LinkOptions, Links
from mx10.relay.courier.delivery import Plan, deliver
from mx10.relay.courier.local import box_of
from mx10.relay.courier.send import Octets
from mx10.relay.courier.transports import Kind
from mx10.relay.courier.values import (
    Addressee,
    Answered,
    Connector,
    End,
    Fate,
    Letter,
    Link,
    Listener,
    Stage,
    Target,
    TlsPolicy,
    Trouble,
    nobody,
)
from mx10.relay.courier.ways import Surroundings, Ways
from mx10.relay.courier.wire import Timeouts
from mx10.relay.door.recipients.values import Verdict
from mx10.values import value_class

TOGETHER: Final = 5
"""Recipients of one transaction."""
REFUSALS: Final = 5
"""Refusals after which a connection is not used again. Receivers count them: Postfix answers slower from the eleventh
on, and hangs up at the twentieth."""
WAITING: Final = 100
"""Recipients of one domain that wait for an answer."""
WAITING_IN_ALL: Final = 2000
SHARE: Final = 0.8
"""Of the time for a conversation, what one reply may take: a host that is silent is found out by name, and all others
pass it over."""
PATIENCE: Final = 2
"""Times the length of a conversation that somebody waits for a turn and an answer."""
DOWN_MS: Final = 20_000
"""How long a primary that gave no answer is left alone."""
REMEMBERED: Final = 10_000
"""Domains whose primaries are known to be down, or by name."""
IDLE_SECONDS: Final = 15.0
"""How long a connection to a primary is kept for the next question."""

_ENDS_OF_UNKNOWN: Final = frozenset({"1.0", "1.1", "1.2", "1.3", "1.6", "1.10", "2.1", "4.1"})
"""RFC 3463: what a refusal at RCPT says when there is no such recipient. 5.2.1: disabled; 5.4.1: what Exchange says."""
_FULL: Final = "2.2"
_CODES_OF_UNKNOWN: Final = frozenset({550, 551, 553})
"""The same where there is no enhanced code (RFC 5321 section 4.2.3)."""


@value_class
class Heard:
    """What came of asking for one recipient.

    Attributes:
        reply: of the primary, as people see it; else why there is none.
        takes_all: the primary takes what was made up, too; None: it was not tried, or it cannot be told.
        reached: a primary was spoken to.
        asked: False: nobody was asked, as the domain's mail is delivered here.
    """

    verdict: Verdict
    reply: str
    takes_all: bool | None = None
    reached: bool = False
    asked: bool = True


class _Polite:
    """Opens connections that end before their host minds what it refused over them: a ``courier.values.Connector``."""

    def __init__(self, connect: Connector) -> None:
        self._connect = connect
        self._refusals: WeakKeyDictionary[Link, int] = WeakKeyDictionary()

    async def __call__(self, target: Target, policy: TlsPolicy, listener: Listener) -> Link:
        """See ``courier.values.Connector``."""
        return _PoliteLink(await self._connect(target, policy, listener), self._refusals)


class _PoliteLink:
    """A ``courier.values.Link`` that counts refusals, also those over it before."""

    def __init__(self, link: Link, refusals: "WeakKeyDictionary[Link, int]") -> None:
        self._link = link
        self._refusals = refusals
        self.tls, self.extensions, self.name = link.tls, link.extensions, link.name
        self.limit, self.domains, self.used = link.limit, link.domains, link.used

    @property
    def usable(self) -> bool:
        """See ``courier.values.Link``."""
        return self._link.usable

    async def send(self, letter: Letter, recipients: tuple[Addressee, ...]) -> list[Answered]:
        """See ``courier.values.Link``."""
        answers = await self._link.send(letter, recipients)
        refused = sum(each.reply is not None and each.reply.code >= 400 for each in answers)
        self._refusals[self._link] = self._refusals.get(self._link, 0) + refused
        return answers

    async def release(self, *, keep: bool) -> None:
        """See ``courier.values.Link``."""
        await self._link.release(keep=keep and self._refusals.get(self._link, 0) < REFUSALS)


def verdict_of(fate: Fate) -> Verdict:
    """What became of a question, taken as an answer about the recipient."""
    if fate.end is End.DELIVERED:
        return Verdict.KNOWN
    if fate.stage is not Stage.RCPT or fate.reply is None:
        return Verdict.UNSURE
    enhanced = (fate.reply.enhanced or "")[2:]
    if enhanced == _FULL:
        # A mailbox that is full is one.
        return Verdict.KNOWN
    if fate.reply.kind != "permanent":
        return Verdict.UNSURE
    if enhanced in ("", "0.0"):
        return Verdict.UNKNOWN if fate.reply.code in _CODES_OF_UNKNOWN else Verdict.UNSURE
    return Verdict.UNKNOWN if enhanced in _ENDS_OF_UNKNOWN else Verdict.UNSURE


def links_for_asking(
    hostname: str, seconds: float, ca_file: Path | None = None, local_addresses: tuple[str, ...] = ()
) -> Links:
    """Connections over which nothing is sent but questions.

    Args:
        hostname: as for ``LinkOptions``.
        seconds: how long a conversation may take.
        ca_file, local_addresses: as for ``LinkOptions``.
    """
    return Links(
        LinkOptions(
            hostname,
            Timeouts().at_most(seconds * SHARE),
            local_addresses,
            ca_file,
            dry_run=True,
            idle=IDLE_SECONDS,
            idle_links=100,
        )
    )


@dataclass(slots=True)
class _Domain:
    """Who waits for an answer about recipients of one domain."""

    waiting: OrderedDict[str, asyncio.Future[Heard]]
    task: asyncio.Task[None] | None = None


class CallAhead:
    """Asks primaries. Close it with ``close``.

    Args:
        surroundings: as those of the courier, with connections from ``links_for_asking``.
        seconds: how long a whole conversation may take.
        at_once: conversations at the same time, in all.
        token: a text that nobody has guessed, for addresses that do not exist.
    """

    def __init__(
        self,
        surroundings: Surroundings,
        *,
        seconds: float,
        at_once: int,
        token: Callable[[], str] = lambda: secrets.token_hex(8),
    ) -> None:
        self._with = replace(surroundings, connect=_Polite(surroundings.connect))
        self._ways = Ways(surroundings)
        self._limits = replace(surroundings.limits, conversations=2, seconds=seconds)
        self._seconds = seconds
        self._room = asyncio.Semaphore(at_once)
        self._token = token
        self._domains: dict[str, _Domain] = {}
        self._down: OrderedDict[str, tuple[int, str]] = OrderedDict()
        self._primaries: OrderedDict[str, frozenset[str]] = OrderedDict()
        self._waiting = 0
        self.told: Callable[[str], None] = lambda _: None
        """Called with each domain whose primaries are asked for a recipient."""

    @property
    def waiting(self) -> int:
        """Recipients that are being asked for."""
        return self._waiting

    def is_primary(self, domain: str, host: str) -> bool:
        """Whether a host is one that was asked for this domain: what it says of recipients counts."""
        return host in self._primaries.get(domain, ())

    async def ask(self, address: str, *, probe: Callable[[], bool]) -> Heard:
        """Ask for one recipient.

        Args:
            address: its domain in A-labels and lower case.
            probe: whether an address that is made up is to be asked for along with it; called when its turn comes.

        Returns:
            What was heard. ``Verdict.BUSY``: too many wait.
        """
        domain = address.rpartition("@")[2]
        down = self._down.get(domain)
        if down is not None:
            if 0 <= down[0] - self._with.clock() <= DOWN_MS:
                return Heard(Verdict.UNSURE, down[1])
            del self._down[domain]
        state = self._domains.get(domain)
        if state is None:
            state = self._domains[domain] = _Domain(OrderedDict())
        answer = state.waiting.get(address)
        if answer is None:
            if len(state.waiting) >= WAITING or self._waiting >= WAITING_IN_ALL:
                if state.task is None:
                    del self._domains[domain]
                return Heard(Verdict.BUSY, f"too many recipients of {domain} are being asked for")
            answer = state.waiting[address] = asyncio.get_running_loop().create_future()
            self._waiting += 1
            if state.task is None:
                state.task = asyncio.create_task(self._work(domain, state, probe))
        try:
            # Others may wait for the same answer: one who leaves takes it from nobody.
            return await asyncio.wait_for(asyncio.shield(answer), self._seconds * PATIENCE)
        except TimeoutError:
            return Heard(Verdict.BUSY, f"too many recipients of {domain} are being asked for")

    async def _work(self, domain: str, state: _Domain, probe: Callable[[], bool]) -> None:
        """Answer all who wait for a domain."""
        try:
            while state.waiting:
                ascii_only = next(iter(state.waiting)).isascii()
                batch = [each for each in state.waiting if each.isascii() is ascii_only][:TOGETHER]
                try:
                    heard = await self._asked(domain, batch, probe=probe())
                except Exception as error:  # whatever it is, nobody may be left waiting
                    heard = [Heard(Verdict.UNSURE, f"it could not be asked: {error}")] * len(batch)
                for address, each in zip(batch, heard, strict=True):
                    self._answer(state, address, each)
                if heard[0].verdict is Verdict.UNSURE and not heard[0].reached and heard[0].asked:
                    for address in list(state.waiting):
                        self._answer(state, address, heard[0])
        finally:
            self._domains.pop(domain, None)

    def _answer(self, state: _Domain, address: str, heard: Heard) -> None:
        answer = state.waiting.pop(address)
        self._waiting -= 1
        if not answer.done():
            answer.set_result(heard)

    async def _asked(self, domain: str, batch: Sequence[str], *, probe: bool) -> list[Heard]:
        made_up = f"no-such-user-{self._token()}@{domain}" if probe else ""
        wanted = [Addressee(each, key) for key, each in enumerate([made_up, *batch] if probe else batch)]
        try:
            async with self._room, asyncio.timeout(self._seconds):
                fates = await self._converse(domain, wanted)
        except TimeoutError:
            return self._silent(domain, f"its primary gave no answer within {self._seconds:g} s", len(batch))
        if isinstance(fates, str):
            template = fates
            return await asyncio.to_thread(lambda: [mailbox(template, each) for each in batch])
        if all(not fate.reached or fate.trouble is Trouble.TIMEOUT for fate in fates):
            return self._silent(domain, fates[0].reason, len(batch))
        takes_all: bool | None = None
        if probe:
            of_made_up, *fates = fates
            verdict = verdict_of(of_made_up)
            takes_all = None if verdict is Verdict.UNSURE else verdict is Verdict.KNOWN
        return [Heard(verdict_of(each), _said(each), takes_all, each.reached) for each in fates]

    async def _converse(self, domain: str, wanted: Sequence[Addressee]) -> list[Fate] | str:
        """Ask the best exchangers. A text: it is delivered here, into Maildirs of this form; empty: to a webhook."""
        way = await self._ways.of(domain)
        if way.transport is not None and way.transport.kind in (Kind.MAILDIR, Kind.WEBHOOK):
            return way.transport.path if way.transport.kind is Kind.MAILDIR else ""
        plan = await self._ways.plan(way)
        best = min((target.rank for target in plan.targets), default=0)
        plan = Plan(tuple(each for each in plan.targets if each.rank == best), plan.verdict, plan.left_out)
        self._primaries[domain] = frozenset(each.host for each in plan.targets)
        _bound(self._primaries)
        self.told(domain)
        return await deliver(
            plan,
            # RFC 5321 section 4.5.5: a question is from nobody, so that none comes of it.
            Letter("-", "", Octets(b""), smtputf8=not wanted[-1].address.isascii()),
            wanted,
            connect=self._with.connect,
            hosts=self._with.hosts,
            clock=self._with.clock,
            listener=nobody,
            limits=self._limits,
        )

    def _silent(self, domain: str, why: str, count: int) -> list[Heard]:
        """Nobody was reached: those who ask next are told at once."""
        self._down[domain] = self._with.clock() + DOWN_MS, why
        _bound(self._down)
        return [Heard(Verdict.UNSURE, why)] * count

    def back(self, domain: str) -> None:
        """A primary was reached by somebody else: it may be asked again."""
        self._down.pop(domain, None)

    async def close(self) -> None:
        """Ask no more; who waits is told that nothing is known."""
        states = list(self._domains.values())
        tasks = [state.task for state in states if state.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for state in states:
            for address in list(state.waiting):
                self._answer(state, address, Heard(Verdict.UNSURE, "the relay is being stopped"))
        self._domains.clear()


def mailbox(template: str, address: str) -> Heard:
    """Whether there is a Maildir for a recipient.

    Args:
        template: as ``Transport.path``; empty: a webhook takes it.
    """
    if not template:
        return Heard(Verdict.KNOWN, "a webhook takes it", asked=False)
    try:
        box = box_of(template, address)
    except ValueError as error:
        return Heard(Verdict.UNKNOWN, str(error), asked=False)
    if not Path(box.base).is_dir():
        # Perhaps a disk that is not mounted.
        return Heard(Verdict.UNSURE, "the place of its mailbox is not there just now", asked=False)
    if box.must_exist and not Path(box.must_exist).is_dir():
        return Heard(Verdict.UNKNOWN, "there is no such mailbox", asked=False)
    return Heard(Verdict.KNOWN, "there is a mailbox", asked=False)


def _said(fate: Fate) -> str:
    return f"{fate.host} said “{fate.reply}”" if fate.reply is not None else fate.reason


def _bound(table: "OrderedDict[str, Any]") -> None:
    while len(table) > REMEMBERED:
        table.popitem(last=False)
