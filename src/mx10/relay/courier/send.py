"""One message at once, without a queue: what ``mx10 send`` does.

The recipients are split by route, each part goes its way, one after the other, and every step is told as it happens.
Nothing is kept: what cannot be delivered now is for the caller to send again.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from mx10.config.settings import RoutingSettings
from mx10.dns import rrtypes as rr
from mx10.names import ascii_text
from mx10.relay.courier.delivery import Plan, deliver, plan_for_route
from mx10.relay.courier.splitting import domain_of, route_key, split
from mx10.relay.courier.values import (
    Addressee,
    Connector,
    Fate,
    Letter,
    Listener,
    Step,
    StepKind,
    Target,
    TlsPolicy,
)
from mx10.resolver.answer import Resolver, Status
from mx10.routing.api import route
from mx10.routing.decide import Chance
from mx10.routing.values import Result, Verdict
from mx10.values import value_class

_LOCALHOST = (IPv4Address("127.0.0.1"), IPv6Address("::1"))


@dataclass
class Octets:
    """Content that is in memory."""

    data: bytes
    size: int = 0

    def __post_init__(self) -> None:
        self.size = len(self.data)

    async def chunks(self) -> AsyncIterator[bytes]:
        """See ``values.Content``."""
        for at in range(0, len(self.data), 65536):
            yield self.data[at : at + 65536]


@value_class
class Server:
    """A host to send to, in place of the route.

    Attributes:
        name: folded wire name; None where it was given by its address.
        address: the address it was given by.
    """

    name: bytes | None
    address: IPv4Address | IPv6Address | None = None

    @property
    def text(self) -> str:
        """As people write it."""
        return f"[{self.address}]" if self.name is None else ascii_text(self.name)


@value_class
class Way:
    """How to get there.

    Attributes:
        server: in place of the routes of the recipients.
        implicit_tls, lmtp: as ``values.Target``.
    """

    port: int = 25
    tls: TlsPolicy = TlsPolicy.OPPORTUNISTIC
    server: Server | None = None
    implicit_tls: bool = False
    lmtp: bool = False


class NobodyIsDown:
    """One message alone has no memory of hosts: a ``values.Hosts``."""

    def passed_over(self, target: Target, now: int) -> str:
        return ""

    def failed(self, target: Target, now: int, reason: str, *, said: bool = False) -> None:
        pass

    def worked(self, target: Target, now: int) -> None:
        pass


async def send(
    letter: Letter,
    recipients: Sequence[Addressee],
    way: Way,
    *,
    resolver: Resolver,
    routing: RoutingSettings,
    connect: Connector,
    chance: Chance | None,
    listener: Listener,
) -> list[Fate]:
    """Deliver a message now.

    Args:
        recipients: at least one, each once.
        resolver: asked for routes, or for the addresses of the server.
        chance: shuffles equal exchangers; None: sorted by name.

    Returns:
        A fate for each recipient, in their order.
    """
    plans: dict[str, Plan] = {}
    keys: dict[str, str] = {}
    if way.server is not None:
        key = way.server.text
        plans[key] = await plan_for_server(way.server, way, resolver)
        keys = {domain_of(each.address): key for each in recipients}
    else:
        domains = list(dict.fromkeys(domain_of(each.address) for each in recipients))
        routes = await asyncio.gather(
            *(route(domain, resolver=resolver, settings=routing, chance=chance) for domain in domains)
        )
        for domain, found in zip(domains, routes, strict=True):
            keys[domain] = route_key(found, domain)
            plans[keys[domain]] = plan_for_route(found, chance=None, port=way.port, tls=way.tls)
    fates: dict[Addressee, Fate] = {}
    for part in split(recipients, lambda each: keys[domain_of(each.address)]):
        plan = plans[part.key]
        listener(Step(StepKind.ROUTE, clock(), ", ".join(each.address for each in part.recipients)))
        found_fates = await deliver(
            plan,
            letter,
            part.recipients,
            connect=connect,
            hosts=NobodyIsDown(),
            clock=clock,
            listener=listener,
        )
        fates.update(zip(part.recipients, found_fates, strict=True))
    return [fates[each] for each in recipients]


async def plan_for_server(server: Server, way: Way, resolver: Resolver) -> Plan:
    """The targets of a host that was named: all its addresses, IPv6 first."""
    addresses: list[IPv4Address | IPv6Address] = []
    failure = ""
    if server.address is not None:
        addresses = [server.address]
    elif server.name is not None and _is_localhost(server.name):
        # RFC 6761 section 6.3: nobody is asked for it.
        addresses = list(_LOCALHOST)
    elif server.name is not None:
        for answer in await asyncio.gather(*(resolver.resolve(server.name, each) for each in (rr.AAAA, rr.A))):
            if answer.status is Status.FAILURE:
                failure = answer.reason
            kind = IPv6Address if answer.rrtype == rr.AAAA else IPv4Address
            addresses += [kind(record.rdata) for record in answer.records]
    if not addresses:
        result = Result.TEMPORARY if failure else Result.PERMANENT
        reply, code = (451, "4.4.3") if failure else (550, "5.4.4")
        why = f"the addresses of {server.text} could not be looked up: {failure}" if failure else ""
        verdict = Verdict(result, reply, code, why or f"{server.text} has no address", "RFC 5321 section 5.1")
        return Plan((), verdict)
    return Plan(
        tuple(
            Target(server.text, each.packed, way.port, 0, way.tls, way.implicit_tls, None, way.lmtp)
            for each in addresses
        )
    )


def _is_localhost(name: bytes) -> bool:
    return ascii_text(name).rpartition(".")[2] == "localhost"


def clock() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000
