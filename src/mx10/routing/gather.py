"""Asking: the only asynchronous part of routing. What is asked, of whom and how often at once; what the answers mean is
for ``decide``.

First the domain's MX records; then, all together, the addresses of every exchanger in them, both families. The domain's
own addresses are asked for only where there is no MX: they would count for nothing otherwise (RFC 5321 section 5.1).
"""

import asyncio
from collections.abc import Iterable

from mx10.config.settings import RoutingSettings
from mx10.dns import rrtypes as rr
from mx10.resolver.answer import Answer, Resolver, Status
from mx10.routing.findings import Findings, HostAnswers, considered, has_addresses_to_ask, target
from mx10.routing.values import Destination


class Questions:
    """Questions to one resolver, not more than so many open at once. Many destinations may share one."""

    __slots__ = ("_open", "_resolver")

    def __init__(self, resolver: Resolver, at_once: int) -> None:
        self._resolver = resolver
        self._open = asyncio.Semaphore(at_once)

    async def ask(self, name: bytes, rrtype: int) -> Answer:
        async with self._open:
            return await self._resolver.resolve(name, rrtype)

    async def addresses(self, name: bytes) -> HostAnswers:
        """Both families at once."""
        a, aaaa = await asyncio.gather(self.ask(name, rr.A), self.ask(name, rr.AAAA))
        return HostAnswers(a, aaaa)

    async def all_addresses(self, names: Iterable[bytes]) -> dict[bytes, HostAnswers]:
        """Those of many hosts, in their order."""
        wanted = list(dict.fromkeys(names))
        return dict(zip(wanted, await asyncio.gather(*map(self.addresses, wanted)), strict=True))


async def gather(
    destination: Destination, questions: Questions, settings: RoutingSettings, also: Iterable[bytes] = ()
) -> Findings:
    """What the DNS says about a destination.

    Args:
        questions: to whom, and how many at once.
        settings: how many exchangers to ask about at most.
        also: names of more hosts whose addresses matter (``--as``, ``--down``).
    """
    others = {name for name in also if has_addresses_to_ask(name)}
    if destination.domain is None:
        return Findings(destination, None, await questions.all_addresses(sorted(others)))
    mx = await questions.ask(destination.domain, rr.MX)
    return Findings(destination, mx, await questions.all_addresses([*_hosts(mx, settings), *sorted(others)]))


def _hosts(mx: Answer, settings: RoutingSettings) -> list[bytes]:
    """The names whose addresses a route needs."""
    if len(mx.chain) > settings.cname_limit:
        return []
    if mx.status is Status.NODATA:
        return [target(mx)]
    if mx.status is Status.OK:
        return [one.name for one in considered(mx, settings.exchanger_limit) if has_addresses_to_ask(one.name)]
    return []
