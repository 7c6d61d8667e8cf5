"""From the domain of a recipient to its next hop, and the message on it: what the queue's dispatcher asks for.

Somebody's choice (``relay.transports``) counts before what MX records say. ``Ways.of`` looks up where a domain's mail
goes *now* and gives a ``Way``; those with equal keys are the same next hop, and their recipients travel together.
``Ways.deliver`` goes there, whatever is there: exchangers, a smarthost, LMTP, a Maildir or a webhook.
"""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from dataclasses import field

from mx10.config.settings import RoutingSettings
from mx10.relay.courier.delivery import Limits, Plan, by_verdict, deliver, plan_for_route
from mx10.relay.courier.local import to_maildir, to_webhook
from mx10.relay.courier.splitting import domain_of, route_key, shortened
from mx10.relay.courier.transports import Kind, Transport, Transports, addresses_of, plan_for_transport
from mx10.relay.courier.values import Addressee, Connector, Fate, Hosts, Letter, Listener, Step, StepKind, TlsPolicy
from mx10.resolver.answer import Resolver
from mx10.routing import Result, Route, Verdict, route
from mx10.routing.addresses import from_text
from mx10.routing.decide import Chance
from mx10.values import value_class


@value_class
class Way:
    """Where the mail of a domain goes now. ``key``: of the next hop; one of ``route`` and ``transport`` may be None;
    both are where the MX records of a domain count under a policy that somebody chose."""

    key: str
    route: Route | None = None
    transport: Transport | None = None
    verdict: Verdict | None = None
    """Where the domain has no way at all."""


@value_class
class Surroundings:
    """Who we are, and whom we work with.

    Attributes:
        hostname: our name.
        this_host: names and addresses of this host: mail never goes to it, nor to an exchanger not better than it (RFC
            5321 section 5.1).
        clock: milliseconds since 1970.
        chance: shuffles equal exchangers.
        port: where exchangers listen; another one than 25 is for trying things out.
        tls: towards exchangers of which nothing else is said.
    """

    hostname: str
    resolver: Resolver
    connect: Connector
    hosts: Hosts
    clock: Callable[[], int]
    chance: Chance
    transports: Transports
    routing: RoutingSettings = field(default_factory=RoutingSettings)
    this_host: tuple[str, ...] = ()
    port: int = 25
    tls: TlsPolicy = TlsPolicy.OPPORTUNISTIC
    limits: Limits = field(default_factory=Limits)


class Ways:
    """Finds ways and takes mail along them."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._with = surroundings
        self._fixed: dict[str, Plan] = {}
        """Plans of ways to an address or a socket that somebody wrote down: they stay as they are."""

    async def of(self, domain: str) -> Way:
        """The way of a domain (A-labels in lower case, or an address literal; empty: the address has none)."""
        transport = self._with.transports.of(domain)
        if transport is not None and transport.kind is not Kind.MX:
            return Way(transport.key, transport=transport)
        followed = transport.host if transport is not None and transport.host else domain
        if not followed:
            reason = "the address has no domain; set relay.transports for * if such mail is to go somewhere"
            return Way("none:", verdict=Verdict(Result.TEMPORARY, 451, "4.4.4", reason, "RFC 5321 section 4.5.1"))
        try:
            found = await route(
                followed, this_host=self._with.this_host, resolver=self._with.resolver, settings=self._with.routing
            )
        except ValueError as error:
            verdict = Verdict(Result.PERMANENT, 550, "5.1.2", str(error), "RFC 5321 section 4.1.2")
            return Way(shortened(f"none:{followed}"), verdict=verdict)
        key = route_key(found, followed)
        if transport is not None and (transport.tls is not self._with.tls or transport.port != 25):
            # Those who demand TLS may not share connections with those who do not.
            key = shortened(f"{key} port={transport.port} tls={transport.tls}")
        return Way(key, route=found, transport=transport)

    async def all_of(self, recipients: Sequence[Addressee]) -> dict[str, Way]:
        """The ways of the domains of some recipients, each looked up once."""
        domains = list(dict.fromkeys(domain_of(each.address) for each in recipients))
        return dict(zip(domains, await asyncio.gather(*map(self.of, domains)), strict=True))

    async def deliver(
        self, way: Way, letter: Letter, recipients: Sequence[Addressee], *, arrived: int, listener: Listener
    ) -> list[Fate]:
        """One attempt.

        Args:
            recipients: at least one, each once, all with this way.
            arrived: when the message came, milliseconds since 1970.

        Returns:
            A fate for each recipient, in their order.
        """
        transport = way.transport
        if way.verdict is not None:
            return self._told(by_verdict(way.verdict, recipients), listener)
        if transport is not None and transport.kind is Kind.MAILDIR:
            here = await to_maildir(
                transport.path,
                letter,
                recipients,
                arrived=arrived,
                hostname=self._with.hostname,
                token=lambda: secrets.token_hex(8),
            )
            return self._told(here, listener)
        if transport is not None and transport.kind is Kind.WEBHOOK:
            addresses, _ = await self._addresses(transport)
            there = await to_webhook(transport, addresses, letter, recipients, clock=self._with.clock)
            return self._told(there, listener)
        return await deliver(
            await self.plan(way),
            letter,
            recipients,
            connect=self._with.connect,
            hosts=self._with.hosts,
            clock=self._with.clock,
            listener=listener,
            limits=self._with.limits,
        )

    async def plan(self, way: Way) -> Plan:
        """The targets of a way over SMTP or LMTP, or why there are none.

        Raises:
            ValueError: it is a way into a Maildir, or to a webhook.
        """
        if way.verdict is not None:
            return Plan((), way.verdict)
        if way.transport is not None and way.transport.kind in (Kind.MAILDIR, Kind.WEBHOOK):
            raise ValueError(f"{way.key} has no hosts that speak SMTP")
        transport, chance = way.transport, self._with.chance
        if way.route is not None:
            tls = transport.tls if transport is not None else self._with.tls
            port = transport.port if transport is not None and transport.port != 25 else self._with.port
            return plan_for_route(way.route, chance=chance, port=port, tls=tls)
        if transport is None:
            raise ValueError("a way has a route, a transport or a verdict")
        known = self._fixed.get(transport.key)
        if known is not None:
            return known
        addresses, problem = ([], "") if transport.path else await self._addresses(transport)
        made = plan_for_transport(transport, addresses, problem, chance=chance)
        if transport.path or from_text(transport.host) is not None:
            self._fixed[transport.key] = made
        return made

    async def _addresses(self, transport: Transport) -> tuple[list[bytes], str]:
        if transport.host == "localhost":
            # RFC 6761 section 6.3: nobody is asked for it.
            return [bytes(15) + b"\x01", b"\x7f\0\0\x01"], ""
        return await addresses_of(transport.host, self._with.resolver)

    def _told(self, fates: list[Fate], listener: Listener) -> list[Fate]:
        now = self._with.clock()
        for fate in fates:
            text = f"{fate.end.value}: {fate.reason}"
            listener(Step(StepKind.ENDED, now, text, fate.host, fate.address, fate.recipient.address, fate.reply))
        return fates
