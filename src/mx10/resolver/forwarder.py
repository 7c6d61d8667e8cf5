"""Asks nameservers that look names up for us: those of the system, or given ones.

Each server is asked in turn, and again in the next round, until one gives an answer that settles the question.
SERVFAIL, REFUSED and the like settle nothing: the next server may know. If none does, that is a ``FAILURE`` with the
reason each of them gave; it is never taken for an absence.
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final
from weakref import WeakValueDictionary

from mx10.config.settings import ResolverSettings
from mx10.dns import rrtypes as rr
from mx10.dns.message import Record
from mx10.resolver import reading
from mx10.resolver.answer import Answer, Status
from mx10.resolver.asking import Asking, Server, Transport, TransportError
from mx10.resolver.expiring import Expiring
from mx10.resolver.resolvconf import ResolvConf
from mx10.resolver.resolvconf import read as read_resolvconf
from mx10.resolver.transports import Exchanger

_RESUMED: Final = 8
"""Times a chain of aliases is asked on for, where a server stopped within it."""


class Forwarder:
    """A resolver that asks others to resolve.

    Args:
        settings: servers, times, sizes; without servers, those of the system's resolv.conf.
        servers: whom to ask, in place of those of the settings.
        via: changes how each of the servers is asked: over TLS, say.
        dnssec: set the DO bit, to get signatures along with the records.
        recurse: set the RD bit; without it a server says only what it knows itself.
        system: the system's configuration, in place of /etc/resolv.conf.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        settings: ResolverSettings | None = None,
        *,
        servers: Sequence[Server] | None = None,
        via: Callable[[Server], Server] | None = None,
        dnssec: bool = False,
        recurse: bool = True,
        system: ResolvConf | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        settings = settings or ResolverSettings()
        self._timeout = settings.timeout_seconds
        self._attempts = settings.attempts
        self._rotate = False
        self._trust = False
        self._one_by_one = False
        self._system: ResolvConf | None = None
        if servers is None:
            servers = [_server(text, settings.port) for text in settings.servers]
        if not servers:
            self._system = system = system or read_resolvconf()
            kind = Transport.TCP if system.use_vc else Transport.UDP
            servers = [Server(address, settings.port, kind) for address in system.servers]
            self._rotate, self._trust = system.rotate, system.trust_ad
            self._one_by_one = system.single_request
            self._timeout = system.timeout or self._timeout
            self._attempts = system.attempts or self._attempts
        self._exchangers = [Exchanger(via(server) if via else server) for server in servers]
        self._asking = Asking(rd=recurse, ad=True, do=dnssec, payload=settings.edns_payload)
        self._cache: Expiring[tuple[bytes, int], Answer] = Expiring(settings.cache_entries, clock)
        # Many names at once ask for the same exchangers: each question goes out once.
        self._under_way: dict[tuple[bytes, int], asyncio.Future[Answer]] = {}
        # Each is there as long as somebody holds it or waits for it.
        self._turns: WeakValueDictionary[bytes, asyncio.Lock] = WeakValueDictionary()
        self._clock = clock

    @property
    def servers(self) -> tuple[Server, ...]:
        """Who is asked, in order."""
        return tuple(exchanger.server for exchanger in self._exchangers)

    @property
    def system(self) -> ResolvConf | None:
        """The system's configuration, if it is the system's servers that are asked."""
        return self._system

    async def resolve(self, name: bytes, rrtype: int) -> Answer:
        """Look up a folded wire name.

        Never raises for what the DNS or the net does: that is a ``FAILURE`` with its reason.
        """
        remembered = self._cache.get_with_rest((name, rrtype))
        if remembered is not None:
            return _aged(*remembered)
        asking = self._under_way.get((name, rrtype))
        if asking is None or asking.done():
            asking = asyncio.ensure_future(self._look_up_and_keep(name, rrtype))
            self._under_way[name, rrtype] = asking
        # Whoever gives up waiting leaves the question to the others who wait for it.
        return await asyncio.shield(asking)

    async def _look_up_and_keep(self, name: bytes, rrtype: int) -> Answer:
        started = self._clock()
        try:
            if self._one_by_one:
                async with self._turns.setdefault(name, asyncio.Lock()):
                    answer = await self._look_up(name, rrtype)
            else:
                answer = await self._look_up(name, rrtype)
        finally:
            del self._under_way[name, rrtype]
        answer = replace(answer, elapsed=self._clock() - started)
        if answer.status is not Status.FAILURE:
            self._cache.put((name, rrtype), answer, answer.ttl)
        return answer

    async def _look_up(self, name: bytes, rrtype: int) -> Answer:
        answer = await self._ask_all(name, rrtype)
        for _ in range(_RESUMED):
            if not (answer.status is Status.OK and not answer.records):
                return answer
            # The server stopped at an alias whose target is not its own: a resolver goes on (RFC 1034 section 5.3.3).
            answer = _joined(answer, await self._ask_all(answer.canonical, rrtype))
            if len(set(answer.chain)) < len(answer.chain) or name in answer.chain:
                return replace(answer, status=Status.FAILURE, records=(), ttl=0, reason="the aliases lead in a circle")
        return replace(answer, status=Status.FAILURE, records=(), ttl=0, reason="too many aliases (CNAME) in a row")

    async def _ask_all(self, name: bytes, rrtype: int) -> Answer:
        order = list(self._exchangers)
        if self._rotate:
            start = secrets.randbelow(len(order))
            order = order[start:] + order[:start]
        failure = Answer(name, rrtype, Status.FAILURE, reason="there is no nameserver to ask")
        reasons: dict[str, str] = {}
        for _ in range(self._attempts):
            for exchanger in order:
                answer = await self._ask(exchanger, name, rrtype)
                if answer.status is not Status.FAILURE:
                    return answer
                # A code from a server says more than the silence of another.
                failure = answer if failure.rcode is None or answer.rcode is not None else failure
                reasons[str(exchanger.server)] = answer.reason
        return replace(failure, reason="; ".join(reasons.values()) or failure.reason)

    async def _ask(self, exchanger: Exchanger, name: bytes, rrtype: int) -> Answer:
        server = exchanger.server
        try:
            message = await exchanger.ask(name, rrtype, self._timeout, self._asking)
        except TimeoutError:
            return Answer(name, rrtype, Status.FAILURE, reason=f"no answer from {server} in {self._timeout:g} s")
        except TransportError as error:
            return Answer(name, rrtype, Status.FAILURE, reason=str(error))
        found = reading.read(message, name, rrtype)
        return Answer(
            name=name,
            rrtype=rrtype,
            status=found.status,
            records=found.records,
            chain=found.chain,
            ttl=found.ttl,
            server=str(server),
            authenticated=message.ad and self._believes(server),
            rcode=message.rcode,
            reason=f"{found.reason} from {server}" if found.reason else "",
            additional=tuple(one for one in message.additional if one.klass == rr.IN and reading.is_sound(one)),
            section=found.section,
            denial=found.denial,
            ad=message.ad,
        )

    def _believes(self, server: Server) -> bool:
        """Whether the AD bit of a server means something: nobody between us and it can have set it (RFC 6840 section
        5.8)."""
        near = server.address.startswith("127.") or server.address == "::1"
        return self._trust or near or (server.transport in (Transport.TLS, Transport.HTTPS) and server.verify)

    async def close(self) -> None:
        """End the questions under way, and close connections that were kept open."""
        asking = list(self._under_way.values())
        for one in asking:
            one.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        await asyncio.gather(*(exchanger.close() for exchanger in self._exchangers))

    async def __aenter__(self) -> "Forwarder":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _joined(first: Answer, rest: Answer) -> Answer:
    """An answer and its continuation at the end of its chain, as one answer to the first question."""
    return replace(
        rest,
        name=first.name,
        chain=first.chain + rest.chain,
        ttl=min(first.ttl, rest.ttl),
        authenticated=first.authenticated and rest.authenticated,
        section=first.section + rest.section,
        ad=first.ad and rest.ad,
    )


def _aged(answer: Answer, rest: float) -> Answer:
    """A remembered answer as it holds now: nothing in it lives longer than itself."""
    ttl = int(rest)

    def aged(records: tuple[Record, ...]) -> tuple[Record, ...]:
        return tuple(replace(record, ttl=min(record.ttl, ttl)) for record in records)

    return replace(
        answer,
        records=aged(answer.records),
        additional=aged(answer.additional),
        section=aged(answer.section),
        denial=aged(answer.denial),
        ttl=ttl,
        elapsed=0.0,
    )


def _server(text: str, default_port: int) -> Server:
    """A server from a checked setting: ``192.0.2.53``, ``192.0.2.53:53``, ``[2001:db8::53]:53``."""
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        return Server(host, int(port[1:] or default_port))
    if text.count(":") == 1:
        host, _, port = text.partition(":")
        return Server(host, int(port))
    return Server(text, default_port)
