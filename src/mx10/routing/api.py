"""Routing for programs: ``await route("user@example.org")``, or ``route_sync`` where nothing is asynchronous."""

from collections.abc import Iterable
from contextlib import AsyncExitStack

from mx10.config.settings import ResolverSettings, RoutingSettings
from mx10.resolver.answer import Resolver
from mx10.routing.decide import Chance, decide
from mx10.routing.destination import destination_from_text
from mx10.routing.gather import Questions, gather
from mx10.routing.hosts import hosts_from_text
from mx10.routing.values import Route


async def route(
    destination: str,
    *,
    this_host: Iterable[str] = (),
    down: Iterable[str] = (),
    resolver: Resolver | None = None,
    settings: RoutingSettings | None = None,
    chance: Chance | None = None,
) -> Route:
    """Which hosts get the mail for an address or a domain, in which order, and why.

    Args:
        destination: ``user@example.org``, ``example.org``, ``user@[192.0.2.1]``; names in any script.
        this_host: names and addresses of the sending host, which must not send to itself or to what is not better than
            it.
        down: hosts, addresses and networks to suppose out of order.
        resolver: whom to ask; by default the nameservers of the system.
        settings: limits, and networks to take for public.
        chance: shuffles equal exchangers, as ``random.Random()`` does; without it they are sorted by name.

    Raises:
        ValueError: ``AddressError``, ``DomainError`` or ``HostSyntaxError``: the destination, or a host, cannot be; the
        message says what and the mend.
    """
    settings = settings or RoutingSettings()
    me, broken = hosts_from_text(this_host), hosts_from_text(down)
    wanted = destination_from_text(destination)
    async with AsyncExitStack() as opened:
        if resolver is None:
            from mx10.resolver import Forwarder

            resolver = await opened.enter_async_context(Forwarder(ResolverSettings()))
        questions = Questions(resolver, settings.questions_at_once)
        findings = await gather(wanted, questions, settings, me.names | broken.names)
    return decide(findings, settings=settings, this_host=me, down=broken, chance=chance)


def route_sync(
    destination: str,
    *,
    this_host: Iterable[str] = (),
    down: Iterable[str] = (),
    resolver: Resolver | None = None,
    settings: RoutingSettings | None = None,
    chance: Chance | None = None,
) -> Route:
    """As ``route``, waiting for the answer. Not for code that runs on an event loop."""
    import asyncio

    return asyncio.run(
        route(destination, this_host=this_host, down=down, resolver=resolver, settings=settings, chance=chance)
    )
