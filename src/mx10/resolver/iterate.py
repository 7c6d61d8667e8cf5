"""The iterating resolver: from the root downwards, asking each zone's own servers (RFC 1034 section 5.3.3).

What it believes is decided by ``bailiwick``; how a question travels, by ``transports``. Here is the walk: follow
referrals, find the servers of each zone, follow aliases across zones; what is learned goes into ``memory``. Nothing a
stranger's zone says can make it go on for ever: every look-up has a ``Budget``. Servers that do not answer, or not for
the zone, are passed over, and remembered for a while (RFC 9520).
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from mx10.config import ResolverSettings
from mx10.dns import rrtypes as rr
from mx10.dns.message import Message, Record
from mx10.dns.rrtypes import Rcode
from mx10.dns.wirename import ROOT, fold, is_under, parent, to_text
from mx10.resolver.answer import Answer, Status
from mx10.resolver.asking import TransportError
from mx10.resolver.bailiwick import Lame, Referral, Step, Told, address_of, negative_ttl, read_response
from mx10.resolver.expiring import Expiring
from mx10.resolver.memory import FAILURE_SECONDS, Cut, Memory
from mx10.resolver.transports import ask_server

OTHER_ERROR: Final = 0
NO_REACHABLE_AUTHORITY: Final = 22
"""Codes of extended errors (RFC 8914 section 4)."""

_LOCALHOST: Final = b"\x09localhost\0"
_LOCAL_TTL: Final = 3600

T = TypeVar("T")

Ask = Callable[[str, int, bytes, int, float], Awaitable[Message]]
"""Ask a server: address, port, folded name, type, seconds. Returns a response to that very question, or raises
``TransportError``."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How much one look-up may cost. Each limit has stopped an attack or a broken zone somewhere in the world."""

    seconds: float = 8.0
    """In all. A client of ours has given up by then."""

    query_seconds: float = 1.0
    """For one answer from one server; twice as long when it is asked again."""

    queries: int = 100
    """Questions sent, those for nameservers' addresses included (as the limits after CVE-2020-8616, NXNSAttack)."""

    depth: int = 6
    """Look-ups within look-ups: a nameserver's name may need another nameserver's name, and so on."""

    aliases: int = 16
    """CNAME and DNAME steps from one name (RFC 1034 section 3.6.2 leaves the number open)."""

    referrals: int = 24
    """Zone cuts from the root to one name. A name under ip6.arpa has 34 labels, yet few cuts."""

    names: int = 5
    """Nameserver names without an address that are looked up for one zone (NXNSAttack again)."""

    servers: int = 12
    """Addresses of one zone's nameservers that are tried."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a look-up found, in the words of the DNS; ``Iterator.resolve`` says the same as an ``Answer``.

    Args:
        status: a failure to find out is never an absence.
        rcode: None for a failure.
        end: the folded name at which the alias chain ended; the name asked for where there is none.
        aliases: the CNAME and DNAME records on the way, in order.
        records: the record set asked for; empty for an absence or a failure.
        soa: for an absence: how long it may be believed (RFC 2308).
        server: address of the server that had the last word.
        reason: for people: why it failed.
        error: the same as a code of RFC 8914.
        chain: the folded names that the aliases lead to, in order.
    """

    status: Status
    rcode: int | None
    end: bytes
    aliases: tuple[Record, ...] = ()
    records: tuple[Record, ...] = ()
    soa: Record | None = None
    server: str | None = None
    reason: str = ""
    error: int = OTHER_ERROR
    chain: tuple[bytes, ...] = ()

    @property
    def ttl(self) -> int:
        """Seconds for which all of it may be believed; 0 for a failure."""
        ttls = [record.ttl for record in (*self.aliases, *self.records)]
        if self.soa is not None:
            ttls.append(negative_ttl(self.soa))
        return min(ttls, default=0) if self.status != Status.FAILURE else 0


class _GaveUpError(Exception):
    """A look-up cannot be completed: why, for people, and the code that RFC 8914 has for it."""

    def __init__(self, why: str, error: int = OTHER_ERROR) -> None:
        super().__init__(why)
        self.error = error


class _SpentError(_GaveUpError):
    """The budget of the whole look-up is used up: no part of it goes on."""


@dataclass(slots=True)
class _Run:
    """One look-up under way, with all that it leads to."""

    memory: Memory
    queries: int
    ends: float
    under_way: set[tuple[bytes, int]] = field(default_factory=set)
    """Nameserver addresses being looked up: one that needs itself is never found."""
    failed: dict[tuple[bytes, int], str] = field(default_factory=dict)
    """Those that were not found, and why."""


@dataclass(slots=True)
class _Attempt:
    """One zone's servers being asked one question."""

    cut: Cut
    name: bytes
    rrtype: int
    left: int
    """Servers that may still be tried."""
    seconds: float
    """How long each is waited for."""
    silent: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    """For people: what went wrong so far."""


class Iterator:
    """Resolves names from the root.

    Args:
        root_hints: addresses of root servers.
        port: where every server listens: 53 in the world.
        settings: size of the memory and of UDP answers, and how often a silent server is asked.
        budget: what one look-up may cost.
        ipv6: whether servers may be asked over IPv6; after IPv4 in any case.
        ask: how a question is asked; for tests.
        clock: seconds that only go forward; for tests.
    """

    def __init__(
        self,
        root_hints: Sequence[str],
        port: int = 53,
        settings: ResolverSettings | None = None,
        budget: Budget | None = None,
        *,
        ipv6: bool = True,
        ask: Ask | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not root_hints:
            raise ValueError("an iterating resolver needs the address of a root server")
        self._settings = settings or ResolverSettings()
        self._port = port
        self._budget = budget or Budget()
        self._ipv6 = ipv6
        self._ask: Ask = ask or self._ask_over_network
        self._clock = clock
        self._root = Cut(ROOT, (ROOT,), {ROOT: tuple(root_hints)})
        self._under_way: dict[tuple[bytes, int], asyncio.Task[Found]] = {}
        self.forget()

    def forget(self) -> None:
        """Forget everything learned, and let no look-up under way be shared with later ones."""
        self._memory = Memory(self._settings.cache_entries, self._clock)
        self._failures: Expiring[tuple[bytes, int], Found] = Expiring(self._settings.cache_entries, self._clock)
        self._under_way.clear()

    async def resolve(self, name: bytes, rrtype: int) -> Answer:
        """The answer for a name and a type of class IN. Never raises for what the DNS does: a failure is an ``Answer``
        too."""
        started = self._clock()
        found = await self.find(name, rrtype)
        return Answer(
            name=name,
            rrtype=rrtype,
            status=found.status,
            records=found.records,
            chain=found.chain,
            ttl=found.ttl,
            server=found.server,
            rcode=found.rcode,
            reason=found.reason,
            elapsed=self._clock() - started,
        )

    async def find(self, name: bytes, rrtype: int) -> Found:
        """As ``resolve``, with all the records on the way. Equal questions asked at the same time share one look-up."""
        key = fold(name), rrtype
        failure = self._failures.get(key)
        if failure is not None:
            return failure
        task = self._under_way.get(key)
        if task is None:
            task = asyncio.ensure_future(self._run(*key))
            self._under_way[key] = task
            task.add_done_callback(lambda done: self._landed(key, done))
        # Shielded: one asker who gives up must not take the answer from the others.
        return await asyncio.shield(task)

    def _landed(self, key: tuple[bytes, int], task: "asyncio.Task[Found]") -> None:
        if self._under_way.get(key) is task:
            del self._under_way[key]
            if not task.cancelled() and task.exception() is None and task.result().status == Status.FAILURE:
                self._failures.put(key, task.result(), FAILURE_SECONDS)

    async def _run(self, name: bytes, rrtype: int) -> Found:
        local = _local(name, rrtype)
        if local is not None:
            return local
        run = _Run(self._memory, self._budget.queries, self._clock() + self._budget.seconds)
        return await self._follow(run, name, rrtype, 0)

    # -- aliases -------------------------------------------------------------------------------------------------

    async def _follow(self, run: _Run, name: bytes, rrtype: int, depth: int) -> Found:
        """Look a name up, and go on wherever aliases lead."""
        steps: list[Step] = []
        seen = {name}
        told, server = None, None
        try:
            while told is None or told.rcode is None:
                told, server = run.memory.known(name, rrtype) or await self._learn(run, name, rrtype, depth)
                for step in told.steps:
                    steps.append(step)
                    name = step.target
                    if name in seen:
                        raise _GaveUpError(f"the aliases go round in a circle at {_shown(name)}")
                    if len(steps) > self._budget.aliases:
                        raise _GaveUpError(f"more than {self._budget.aliases} aliases (CNAME) in a row")
                    seen.add(name)
        except _GaveUpError as failure:
            if depth and isinstance(failure, _SpentError):
                raise
            return _found(name, steps, server, Status.FAILURE, reason=str(failure), error=failure.error)
        status = Status.OK if told.records else Status.NXDOMAIN if told.rcode != Rcode.NOERROR else Status.NODATA
        return _found(name, steps, server, status, rcode=told.rcode, records=told.records, soa=told.soa)

    # -- down the tree -------------------------------------------------------------------------------------------

    async def _learn(self, run: _Run, name: bytes, rrtype: int, depth: int) -> tuple[Told, str]:
        """Ask down the tree until a server answers.

        Raises:
            _GaveUpError: none does.
        """
        # A DS record set belongs to the upper side of a cut (RFC 4035 section 3.1.4.1).
        cut = run.memory.closest_cut(parent(name) if rrtype == rr.DS else name) or self._root
        for _ in range(self._budget.referrals):
            said, server = await self._ask_zone(run, cut, name, rrtype, depth)
            if isinstance(said, Told):
                run.memory.keep(said, rrtype, server)
                return said, server
            # Deeper each time, ``read_response`` sees to that.
            cut = run.memory.keep_cut(said)
        raise _GaveUpError(f"more than {self._budget.referrals} referrals on the way to {_shown(name)}")

    async def _ask_zone(self, run: _Run, cut: Cut, name: bytes, rrtype: int, depth: int) -> tuple[Referral | Told, str]:
        """Ask the servers of a zone, one after the other, until one answers as it should: those whose addresses are
        known, then those that have to be looked up, and at the end the silent ones again.

        Raises:
            _GaveUpError: none of them does.
        """
        attempt = _Attempt(cut, name, rrtype, self._budget.servers, self._budget.query_seconds)
        usable = {host: addresses for host, glue in cut.glue.items() if (addresses := self._usable(glue))}
        said = await self._ask_each(run, attempt, [address for each in usable.values() for address in each])
        if said is not None:
            return said
        for host in _shuffled([host for host in cut.servers if host not in usable])[: self._budget.names]:
            said = await self._ask_each(run, attempt, await self._host(run, host, depth, attempt.failures))
            if said is not None:
                return said
        for _ in range(self._settings.attempts - 1):
            again, attempt.silent = attempt.silent, []
            attempt.left = len(again)
            # It may be far, or busy: who waited too short a time once would do so again.
            attempt.seconds *= 2
            said = await self._ask_each(run, attempt, again)
            if said is not None:
                return said
        late = f"did not answer within {attempt.seconds:g} s"
        failures = attempt.failures + [run.memory.avoid_silent(server, late) for server in attempt.silent]
        # The zone may have moved to other servers: next time, those above are asked where it is.
        run.memory.drop_cut(cut.zone)
        why = "; ".join(dict.fromkeys(failures)) or "none has an address"
        raise _GaveUpError(f"no nameserver of {_shown(cut.zone)} answers: {why}", NO_REACHABLE_AUTHORITY)

    async def _ask_each(
        self, run: _Run, attempt: _Attempt, servers: Sequence[str]
    ) -> tuple[Referral | Told, str] | None:
        """Ask servers until one answers as it should; what is wrong with the others is noted in the attempt."""
        # In any order, so that the load is spread, but IPv4 first, because it is there nearly everywhere.
        for server in sorted(_shuffled(servers), key=lambda address: ":" in address)[: attempt.left]:
            attempt.left -= 1
            avoided = run.memory.avoided(server, attempt.cut.zone)
            if avoided:
                attempt.failures.append(avoided)
                continue
            said = await self._ask_one(run, attempt, server)
            if said is None:
                attempt.silent.append(server)
            elif isinstance(said, Lame):
                attempt.failures.append(run.memory.avoid(server, attempt.cut.zone, said.why))
            else:
                return said, server
        return None

    async def _ask_one(self, run: _Run, attempt: _Attempt, server: str) -> Referral | Told | Lame | None:
        """Ask one server; None where it is silent.

        Raises:
            _SpentError: the look-up has no questions or no time left.
        """
        left = run.ends - self._clock()
        if run.queries <= 0 or left <= 0:
            limit = f"{self._budget.queries} questions" if left > 0 else f"{self._budget.seconds:g} s"
            raise _SpentError(f"no answer within {limit}")
        run.queries -= 1
        seconds = min(left, attempt.seconds)
        try:
            async with asyncio.timeout(seconds):
                message = await self._ask(server, self._port, attempt.name, attempt.rrtype, seconds)
        except TimeoutError:
            return None
        except TransportError as error:
            return Lame(f"cannot be asked ({str(error).rpartition(': ')[2]})")
        run.memory.hear(server)
        return read_response(message, attempt.cut.zone, attempt.name, attempt.rrtype)

    # -- nameservers' addresses ----------------------------------------------------------------------------------

    def _usable(self, addresses: Sequence[str]) -> list[str]:
        """The addresses that may be asked."""
        return [address for address in addresses if self._ipv6 or ":" not in address]

    async def _host(self, run: _Run, host: bytes, depth: int, failures: list[str]) -> list[str]:
        """The addresses of a nameserver, looked up."""
        if depth >= self._budget.depth:
            failures.append(
                f"finding {_shown(host)} needs more than {self._budget.depth} look-ups one within the other"
            )
            return []
        addresses: list[str] = []
        for rrtype in (rr.A, rr.AAAA) if self._ipv6 else (rr.A,):
            key = host, rrtype
            if key in run.under_way:
                failures.append(f"to find its nameserver {_shown(host)}, it would have to be known already")
                break
            if key not in run.failed:
                run.under_way.add(key)
                try:
                    found = await self._follow(run, host, rrtype, depth + 1)
                finally:
                    run.under_way.discard(key)
                addresses += filter(None, map(address_of, found.records))
                if addresses:
                    # One family is enough to go on with; the other is looked up only if it is all there is.
                    break
                if found.status == Status.FAILURE:
                    run.failed[key] = found.reason
                elif found.status == Status.NXDOMAIN:
                    failures.append(f"the name of its nameserver {_shown(host)} does not exist")
                    break
            if key in run.failed:
                # The whole tale only for the first step: told at each, it would grow with the depth.
                why = "" if depth else f": {run.failed[key]}"
                failures.append(f"its nameserver {_shown(host)} was not found{why}")
                break
        return addresses

    async def _ask_over_network(self, address: str, port: int, name: bytes, rrtype: int, seconds: float) -> Message:
        return await ask_server(address, port, name, rrtype, seconds, self._settings)


def _found(
    end: bytes,
    steps: Sequence[Step],
    server: str | None,
    status: Status,
    *,
    rcode: int | None = None,
    records: tuple[Record, ...] = (),
    soa: Record | None = None,
    reason: str = "",
    error: int = OTHER_ERROR,
) -> Found:
    aliases = tuple(record for step in steps for record in step.records)
    chain = tuple(step.target for step in steps)
    return Found(status, rcode, end, aliases, records, soa, server, reason, error, chain)


def _shuffled(items: Sequence[T]) -> list[T]:
    return random.sample(items, len(items))


def _shown(name: bytes) -> str:
    """A name for people, without its final dot."""
    return to_text(name, final_dot=False)


def _local(name: bytes, rrtype: int) -> Found | None:
    """Names for which no server is to be asked: localhost is this host (RFC 6761 section 6.3)."""
    if not is_under(name, _LOCALHOST):
        return None
    data = {rr.A: b"\x7f\0\0\1", rr.AAAA: bytes(15) + b"\1"}.get(rrtype)
    if data is None:
        return Found(Status.NODATA, Rcode.NOERROR, name)
    return Found(Status.OK, Rcode.NOERROR, name, records=(Record(name, rrtype, rr.IN, _LOCAL_TTL, data),))
