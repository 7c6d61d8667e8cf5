"""Looking up which DS records the nameservers of a parent zone have: each of them is asked itself.

A rollover must not believe a single answer: old DS records go on being fetched as long as one of the parent's
nameservers still has them (RFC 6781 section 4.1.2, RFC 7583 section 3.3.1). So the answer is what each of them says,
and whether all of them said something.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from mx10.config.settings import ResolverSettings
from mx10.dns import rdata
from mx10.dns import rrtypes as rr
from mx10.dns.message import Message
from mx10.dns.rrtypes import Rcode
from mx10.dns.wirename import ROOT, fold, parent, to_text
from mx10.resolver import Resolver, Status
from mx10.resolver.asking import TransportError
from mx10.resolver.servers import server_from_text
from mx10.resolver.transports import ask_server
from mx10.zones.dnssec.kept import ParentSaid

MOST_SERVERS: Final = 32
"""Nameservers of a parent that are asked; a zone with more names has its first ones asked."""
MOST_ADDRESSES: Final = 8
"""Addresses of one nameserver that are asked."""
MOST_RECORDS: Final = 64
"""DS records of one answer; more than that is nothing we could have asked for."""
_TRIES: Final = 2

Ask = Callable[[str, int, bytes, int, float], Awaitable[Message]]
"""Ask a server: address, port, folded name, type, seconds."""


@dataclass(frozen=True, slots=True)
class _Host:
    """A nameserver of the parent, and where it listens."""

    name: str
    addresses: tuple[tuple[str, int], ...]


class Parents:
    """Looks up DS records at the parent's own nameservers.

    Args:
        resolver: finds these nameservers.
        servers: ask these instead (``dnssec.parent_servers``).
        settings: how long to wait for one answer, and at which port.
        ask: how a question is asked; for tests.
    """

    def __init__(
        self,
        resolver: Resolver,
        servers: Sequence[str] = (),
        settings: ResolverSettings | None = None,
        *,
        port: int = 53,
        ask: Ask | None = None,
    ) -> None:
        self._resolver = resolver
        self._servers = tuple(servers)
        self._settings = settings or ResolverSettings()
        self._port = port
        self._ask: Ask = ask or self._over_network

    async def look(self, apex: bytes) -> ParentSaid:
        """What the parent's nameservers have for a zone. Never raises for what the DNS or the net does."""
        if apex == ROOT:
            return ParentSaid(frozenset({frozenset()}), True, 0, "the root has no parent")
        hosts, why = await self._hosts(apex)
        if not hosts:
            return ParentSaid(frozenset(), False, 0, f"the parent's nameservers cannot be found: {why}")
        found = await asyncio.gather(*(self._one(host, apex) for host in hosts))
        said = [each for each in found if not isinstance(each, str)]
        silent = [each for each in found if isinstance(each, str)]
        sets = frozenset(datas for each in said for datas, _ in each)
        ttl = max((ttl for each in said for _, ttl in each), default=0)
        text = f"{len(said)} of {len(hosts)} nameservers answered"
        if silent:
            text += f"; {silent[0]}"
        elif len(sets) > 1:
            text += ", not all the same"
        return ParentSaid(sets, not silent, ttl, text)

    async def _hosts(self, apex: bytes) -> tuple[list[_Host], str]:
        """The nameservers of the zone above, or why they are not known."""
        if self._servers:
            named = [(text, server_from_text(text)) for text in self._servers]
            return [_Host(text, ((each.address or "", each.port or self._port),)) for text, each in named], ""
        above = parent(apex)
        while True:
            answer = await self._resolver.resolve(above, rr.NS)
            if answer.status is Status.FAILURE:
                return [], answer.reason
            if answer.status is Status.OK and not answer.chain:
                break
            if above == ROOT:
                return [], "the root has no nameservers"
            above = parent(above)
        names = sorted({fold(record.rdata) for record in answer.records})[:MOST_SERVERS]
        hosts = await asyncio.gather(*(self._host(name) for name in names))
        lost = [host.name for host in hosts if not host.addresses]
        if lost:
            # One that cannot be asked may have anything: not all can be said to have the same.
            return [], f"{lost[0]} has no address"
        return list(hosts), ""

    async def _host(self, name: bytes) -> _Host:
        answers = await asyncio.gather(*(self._resolver.resolve(name, rrtype) for rrtype in (rr.A, rr.AAAA)))
        addresses = [rdata.to_text(record.type, record.rdata) for answer in answers for record in answer.records]
        return _Host(to_text(name), tuple((address, self._port) for address in addresses[:MOST_ADDRESSES]))

    async def _one(self, host: _Host, apex: bytes) -> "list[tuple[frozenset[bytes], int]] | str":
        """The DS sets that the addresses of a nameserver give, with their TTLs; or why there is none.

        One address that answers is enough: a host without IPv6 cannot ask the others.
        """
        asked = [self._at(address, port, apex) for address, port in host.addresses]
        found = await asyncio.gather(*asked)
        said = [each for each in found if not isinstance(each, str)]
        return said or f"{host.name}: {found[0]}"

    async def _at(self, address: str, port: int, apex: bytes) -> tuple[frozenset[bytes], int] | str:
        why = ""
        for _ in range(_TRIES):
            try:
                message = await self._ask(address, port, apex, rr.DS, self._settings.timeout_seconds)
            except TimeoutError:
                why = f"no answer from {address} in {self._settings.timeout_seconds:g} s"
                continue
            except (TransportError, OSError) as error:
                return f"{address}: {error}"
            return _read(message, apex, address)
        return why

    async def _over_network(self, address: str, port: int, name: bytes, rrtype: int, seconds: float) -> Message:
        async with asyncio.timeout(seconds):
            return await ask_server(address, port, name, rrtype, seconds, self._settings)


def _read(message: Message, apex: bytes, address: str) -> tuple[frozenset[bytes], int] | str:
    """The DS set in an answer of a nameserver of the parent, or why it says nothing."""
    if message.rcode not in (Rcode.NOERROR, Rcode.NXDOMAIN):
        return f"{address} answers with {rr.rcode_to_text(message.rcode)}"
    if not message.aa:
        return f"{address} is no nameserver of the parent zone"
    records = [one for one in message.answer if one.type == rr.DS and fold(one.name) == apex]
    if len(records) > MOST_RECORDS:
        return f"{address} gives {len(records)} DS records"
    return frozenset(one.rdata for one in records), max((one.ttl for one in records), default=0)
