"""The iterating resolver: from the root downwards, asking each zone's own servers (RFC 1034 section 5.3.3).

What it believes is decided by ``bailiwick``; how a question travels, by ``transports``. Here is the walk: follow
referrals, find the servers of each zone, follow aliases across zones. Nothing a stranger's zone says can make it go on
for ever: every look-up has a ``Budget``. Servers that do not answer, or not for the zone, are passed over, and
remembered for a while (RFC 9520).
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from mx10.config import ResolverSettings
from mx10.dns import rrtypes as rr
from mx10.dns.message import Message, Record
from mx10.dns.rrtypes import Rcode
from mx10.dns.wirename import ROOT, ancestors, fold, is_under, parent, to_text
from mx10.resolver.answer import Answer, Status
from mx10.resolver.bailiwick import MAX_TTL, Lame, Referral, Step, Told, address_of, negative_ttl, read_response
from mx10.resolver.expiring import Expiring
from mx10.resolver.transports import TransportError, ask_server

FAILURE_SECONDS: Final = 5.0
"""How long a failure is remembered: RFC 9520 section 3.2 wants at least one second and at most five minutes."""

OTHER_ERROR: Final = 0
NO_REACHABLE_AUTHORITY: Final = 22
"""Codes of extended errors (RFC 8914 section 4)."""

_LOCALHOST: Final = b"\x09localhost\0"
_LOCAL_TTL: Final = 3600

_ALIAS: Final = -1
"""In place of a type, as the key of an alias step in the memory."""
_NO_NAME: Final = -2
"""In place of a type, as the key of a name that does not exist, whatever the type (RFC 2308 section 5)."""

Ask = Callable[[str, int, bytes, int, float], Awaitable[Message]]
"""Ask a server: address, port, folded name, type, seconds. Returns a response to that very question, or raises
``TransportError``."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How much one look-up may cost. Each limit has stopped an attack or a broken zone somewhere in the world."""

    seconds: float = 8.0
    """In all. A client of ours has given up by then."""

    query_seconds: float = 1.0
    """For one answer from one server."""

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


@dataclass(frozen=True, slots=True)
class _Cut:
    """A zone and how to reach its servers: names, and the addresses that came with the referral."""

    zone: bytes
    servers: tuple[bytes, ...]
    glue: dict[bytes, tuple[str, ...]]


class _Memory:
    """What was learned. Forgetting is starting a new one: a look-up under way keeps writing into the one it began
    with."""

    __slots__ = ("avoided", "cuts", "facts", "failures")

    def __init__(self, limit: int, clock: Callable[[], float]) -> None:
        self.cuts: Expiring[bytes, _Cut] = Expiring(limit, clock)
        """Zones and their servers."""
        self.facts: Expiring[tuple[bytes, int], tuple[Told, str]] = Expiring(limit, clock)
        """What stands at names, and which server said so."""
        self.failures: Expiring[tuple[bytes, int], Found] = Expiring(limit, clock)
        """Look-ups that failed."""
        self.avoided: Expiring[tuple[str, bytes | None], str] = Expiring(limit, clock)
        """Servers not to be asked about a zone, or at all, and why."""


@dataclass(slots=True)
class _Run:
    """One look-up under way, with all that it leads to."""

    memory: _Memory
    queries: int
    ends: float
    under_way: set[tuple[bytes, int]] = field(default_factory=set)
    """Nameserver addresses being looked up: one that needs itself is never found."""
    failed: dict[tuple[bytes, int], str] = field(default_factory=dict)


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
        self._root = _Cut(ROOT, (ROOT,), {ROOT: tuple(root_hints)})
        self._memory = self._blank()
        self._under_way: dict[tuple[bytes, int], asyncio.Task[Found]] = {}

    def _blank(self) -> _Memory:
        return _Memory(self._settings.cache_entries, self._clock)

    def forget(self) -> None:
        """Forget everything learned, and let no look-up under way be shared with later ones."""
        self._memory = self._blank()
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
        failure = self._memory.failures.get(key)
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
                self._memory.failures.put(key, task.result(), FAILURE_SECONDS)

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
                told, server = _known(run.memory, name, rrtype) or await self._learn(run, name, rrtype, depth)
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
        cut = _closest_cut(run.memory, parent(name) if rrtype == rr.DS else name) or self._root
        for _ in range(self._budget.referrals):
            said, server = await self._ask_zone(run, cut, name, rrtype, depth)
            if isinstance(said, Told):
                _keep(run.memory, said, rrtype, server)
                return said, server
            # Deeper each time, ``read_response`` sees to that.
            cut = _Cut(said.cut, said.servers, said.glue)
            run.memory.cuts.put(cut.zone, cut, min(said.ttl, MAX_TTL))
        raise _GaveUpError(f"more than {self._budget.referrals} referrals on the way to {_shown(name)}")

    async def _ask_zone(
        self, run: _Run, cut: _Cut, name: bytes, rrtype: int, depth: int
    ) -> tuple[Referral | Told, str]:
        """Ask the servers of a zone, one after the other, until one answers as it should; silent ones get another
        chance at the end.

        Raises:
            _GaveUpError: none of them does.
        """
        failures: list[str] = []
        silent: list[str] = []
        async for address in self._addresses(run, cut, depth, failures):
            avoided = run.memory.avoided.get((address, None)) or run.memory.avoided.get((address, cut.zone))
            if avoided:
                failures.append(avoided)
                continue
            said = await self._ask_one(run, cut, address, name, rrtype)
            if said is None:
                silent.append(address)
            elif isinstance(said, Lame):
                failures.append(_avoid(run.memory, address, cut.zone, said.why))
            else:
                return said, address
        for _ in range(self._settings.attempts - 1):
            for address in list(silent):
                said = await self._ask_one(run, cut, address, name, rrtype)
                if said is not None:
                    silent.remove(address)
                    if not isinstance(said, Lame):
                        return said, address
                    failures.append(_avoid(run.memory, address, cut.zone, said.why))
        late = f"did not answer within {self._budget.query_seconds:g} s"
        failures.extend([_avoid(run.memory, address, None, late) for address in silent])
        # The zone may have moved to other servers: next time, those above are asked where it is.
        run.memory.cuts.drop(cut.zone)
        why = "; ".join(dict.fromkeys(failures)) or "none has an address"
        raise _GaveUpError(f"no nameserver of {_shown(cut.zone)} answers: {why}", NO_REACHABLE_AUTHORITY)

    async def _ask_one(
        self, run: _Run, cut: _Cut, address: str, name: bytes, rrtype: int
    ) -> Referral | Told | Lame | None:
        """Ask one server; None where it is silent.

        Raises:
            _SpentError: the look-up has no questions or no time left.
        """
        left = run.ends - self._clock()
        if run.queries <= 0 or left <= 0:
            limit = f"{self._budget.queries} questions" if left > 0 else f"{self._budget.seconds:g} s"
            raise _SpentError(f"no answer within {limit}")
        run.queries -= 1
        seconds = min(left, self._budget.query_seconds)
        try:
            async with asyncio.timeout(seconds):
                message = await self._ask(address, self._port, name, rrtype, seconds)
        except TimeoutError:
            return None
        except TransportError as error:
            return Lame(f"cannot be asked ({str(error).rpartition(': ')[2]})")
        return read_response(message, cut.zone, name, rrtype)

    # -- nameservers' addresses ----------------------------------------------------------------------------------

    async def _addresses(self, run: _Run, cut: _Cut, depth: int, failures: list[str]) -> AsyncIterator[str]:
        """Addresses of a zone's servers: those that came along first, then those that have to be looked up.

        Args:
            failures: why a server's name could not be found is added here.
        """
        given = [address for addresses in cut.glue.values() for address in addresses]
        left = self._budget.servers
        for address in self._in_order(given):
            if left:
                left -= 1
                yield address
        without = [host for host in cut.servers if host not in cut.glue]
        random.shuffle(without)
        for host in without[: self._budget.names]:
            for address in self._in_order(await self._host(run, host, depth, failures)):
                if left:
                    left -= 1
                    yield address

    def _in_order(self, addresses: Sequence[str]) -> list[str]:
        """Addresses to try: in any order, so that the load is spread, but IPv4 first, because it is there nearly
        everywhere."""
        shuffled = random.sample(addresses, len(addresses))
        old = [address for address in shuffled if ":" not in address]
        return old + [address for address in shuffled if ":" in address] if self._ipv6 else old

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


def _known(memory: _Memory, name: bytes, rrtype: int) -> tuple[Told, str] | None:
    """What is remembered of a name, its TTLs counted down."""
    # An absent name says nothing of names below it here, although RFC 8020 would have it so: servers that deny a name
    # which only has names below it are still about, and mail must not bounce for it.
    for key in ((name, rrtype), (name, _NO_NAME), (name, _ALIAS)):
        if key[1] == _ALIAS and rrtype in (rr.CNAME, rr.ANY):
            continue
        entry = memory.facts.get_with_rest(key)
        if entry is not None:
            (told, server), rest = entry
            return _aged(told, int(rest)), server
    return None


def _keep(memory: _Memory, told: Told, rrtype: int, server: str) -> None:
    """Remember a response: each alias step, and what stands at the end."""
    for step in told.steps:
        fact = Told(step.target, None, (step,))
        memory.facts.put((step.owner, _ALIAS), (fact, server), _capped(step.records))
    end = replace(told, steps=())
    if told.records:
        memory.facts.put((told.name, rrtype), (end, server), _capped(told.records))
    elif told.rcode is not None and told.soa is not None:
        key = (told.name, _NO_NAME if told.rcode == Rcode.NXDOMAIN else rrtype)
        memory.facts.put(key, (end, server), negative_ttl(told.soa))


def _closest_cut(memory: _Memory, name: bytes) -> _Cut | None:
    """The deepest zone known to hold the name."""
    for above in ancestors(name):
        cut = memory.cuts.get(above)
        if cut is not None:
            return cut
    return None


def _avoid(memory: _Memory, address: str, zone: bytes | None, why: str) -> str:
    """Pass a server over for a while: for one zone, or for all where it does not answer."""
    said = f"{address} {why}"
    memory.avoided.put((address, zone), said, FAILURE_SECONDS)
    return said


def _capped(records: Sequence[Record]) -> int:
    """Seconds for which records may be remembered."""
    return min(MAX_TTL, *(record.ttl for record in records))


def _aged(told: Told, rest: int) -> Told:
    """A remembered fact as it holds now: its TTLs counted down."""

    def age(record: Record) -> Record:
        return replace(record, ttl=min(record.ttl, rest))

    return replace(
        told,
        steps=tuple(replace(step, records=tuple(map(age, step.records))) for step in told.steps),
        records=tuple(map(age, told.records)),
        soa=told.soa and age(told.soa),
    )
