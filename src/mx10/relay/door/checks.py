"""The checks that the settings ask for, in the order in which they are asked: what costs least comes first."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from mx10.config.settings import DoorSettings
from mx10.relay.door.dnsbl import DnsLists, parse_lists
from mx10.relay.door.door import Check
from mx10.relay.door.greylist import Greylist, StoredGreyTable
from mx10.relay.door.hello import HelloRules
from mx10.relay.door.limits import Limits
from mx10.relay.door.reverse import ReverseNames
from mx10.relay.door.values import Decision, Visitor
from mx10.resolver.answer import Resolver
from mx10.routing.addresses import from_text, network_from_text, to_text
from mx10.store.connect import Store
from mx10.values import value_class


class GreetDelay(Check):
    """Lets strangers wait for the greeting. Who speaks meanwhile is turned away by the session itself."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def connect(self, visitor: Visitor) -> Decision:
        """It is here."""
        return None if visitor.trusted or visitor.kind != "mx" else self._wait()

    async def _wait(self) -> None:
        await asyncio.sleep(self._seconds)


@value_class
class Checks:
    """What ``make_checks`` made.

    Attributes:
        checks: for the door.
        running: to be run until the end.
        closing: to be called then.
    """

    checks: tuple[Check, ...]
    running: tuple[Callable[[], Awaitable[None]], ...]
    closing: tuple[Callable[[], Awaitable[None] | None], ...]

    async def close(self) -> None:
        """Ask no more, and keep what was learned."""
        for each in self.closing:
            waited = each()
            if waited is not None:
                await waited


def make_checks(
    settings: DoorSettings,
    own: Iterable[str],
    resolver: Resolver,
    store: Store,
    clock: Callable[[], int],
    public_networks: Iterable[str] = (),
) -> Checks:
    """The checks of a door.

    Args:
        own: our names and addresses, as text.
        store: where greylisting remembers.
        clock: milliseconds since 1970.
        public_networks: as ``routing.public_networks``.

    Raises:
        DnsblError: a list cannot be used.
    """
    checks: list[Check] = [Limits(settings, clock)]
    running: list[Callable[[], Awaitable[None]]] = []
    closing: list[Callable[[], Awaitable[None] | None]] = []
    if settings.greet_delay_seconds:
        checks.append(GreetDelay(settings.greet_delay_seconds))
    if settings.helo != "off":
        hello = HelloRules(settings, frozenset(map(_plain, own)), resolver, clock)
        checks.append(hello)
        closing.append(hello.close)
    if settings.ptr != "off":
        names = ReverseNames(settings, resolver, clock)
        checks.append(names)
        closing.append(names.close)
    if settings.dnsbl:
        public = map(network_from_text, public_networks)
        lists = DnsLists(settings, parse_lists(settings.dnsbl), resolver, clock, public)
        checks.append(lists)
        closing.append(lists.close)
    if settings.greylist:
        grey = Greylist(settings, StoredGreyTable(store), clock)
        checks.append(grey)
        running.append(grey.run)
        closing.append(grey.close)
    return Checks(tuple(checks), tuple(running), tuple(closing))


def _plain(name: str) -> str:
    """As ``hello.fault_of`` compares it."""
    address = from_text(name)
    return name.lower().removesuffix(".") if address is None else to_text(address)
