"""The door as a service: puts its checks together, listens, and closes connections that are too slow. It runs within
the relay's process, or in one of several of its own (``relay.doors``)."""

import asyncio
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Final, Protocol, cast

from mx10.config import Config
from mx10.config.settings import ResolverSettings
from mx10.logs import get_logger
from mx10.names import DomainError, domain_from_text
from mx10.relay.basics import Listening, RelayError, allowed_connections, clock, own_names, server_context
from mx10.relay.courier.values import Connector, Fate
from mx10.relay.courier.ways import Surroundings
from mx10.relay.domains import OurDomains
from mx10.relay.door.checks import Checks, make_checks
from mx10.relay.door.connection import Connection, Entrance, Times
from mx10.relay.door.dnsbl import DnsblError
from mx10.relay.door.door import Check, Door, Judge, Verifier
from mx10.relay.door.filters import Filters, FilterSyntaxError, parse_filters
from mx10.relay.door.policy import Policy
from mx10.relay.door.recipients import RecipientService, RuleError
from mx10.relay.door.recipients.asking import CallAhead
from mx10.relay.door.users import Users, UsersError
from mx10.relay.door.vouch import Voucher
from mx10.relay.spool.spool import Spool, Taken
from mx10.resolver import Forwarder
from mx10.smtp.auth import MECHANISMS
from mx10.smtp.receiving import ServerOptions
from mx10.smtp.replies import Reply
from mx10.store.connect import Store

_SWEEP_SECONDS: Final = 1.0
_FULL: Final = Reply.of(421, "4.3.2", "too many connections just now; come again")

log = get_logger("relay")


class Counting(Protocol):
    """Something with counts."""

    counts: Counter[tuple[str, str]]


@dataclass(slots=True)
class Services:
    """What may be added to a relay by its rooms.

    Attributes:
        checks, judges: of the door.
        verifier: of recipients.
        learned: told of each fate.
        running: run until the end.
        closing: called at the end.
        counting: counts for the metrics, together with the door.
        call: asks primaries.
    """

    call: CallAhead
    checks: list[Check] = field(default_factory=list)
    judges: list[Judge] = field(default_factory=list)
    verifier: Verifier | None = None
    learned: list[Callable[[Fate], None]] = field(default_factory=list)
    running: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    closing: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    counting: list[Counting] = field(default_factory=list)


class DoorService:
    """The door of one process.

    Args:
        around: the courier's, for questions to primaries.
        store: where recipients and domains are remembered.
        taken: told of each message that is durable.
        reach: what stands before connections to other hosts.
    """

    def __init__(
        self,
        config: Config,
        spool: Spool,
        around: Surroundings,
        store: Store,
        taken: Callable[[Taken], None],
        *,
        reach: Callable[[Connector], Connector] | None = None,
    ) -> None:
        self._config = config
        self._reach = reach
        self._settings = config.relay
        self._spool = spool
        self._around = around
        self._store = store
        self._taken = taken
        self._connections: set[Connection] = set()
        self._servers: list[asyncio.Server] = []
        self.door: Door
        self.services: Services
        self.checks: Checks

    async def prepare(self, stack: AsyncExitStack) -> None:
        """Put everything together, but listen not yet.

        Raises:
            RelayError: something cannot be as the settings say.
            StoreError: the store cannot be read.
        """
        settings, hostname = self._settings, self._around.hostname
        own = own_names(settings, hostname)
        publisher = await self._publisher(stack)
        ours = OurDomains(
            settings.domains, self._around.transports, frozenset(_wire_names(own)), self._store, publisher, clock
        )
        await asyncio.to_thread(ours.read)
        self.services = services = self._services(ours)
        services.running += [ours.run, self._sweep]
        try:
            users = Users(settings.users) if settings.users is not None else None
        except UsersError as error:
            raise RelayError(str(error)) from None
        self.door = Door(
            hostname,
            self._spool,
            Policy(frozenset(own), ours, settings.postmaster),
            self._taken,
            checks=services.checks,
            verifier=services.verifier,
            judges=services.judges,
            users=users,
            hops=settings.hops,
            ask=ours.ask if publisher is not None else None,
        )
        for each in services.counting:
            each.counts = self.door.counts

    async def listen(self, listening: Sequence[Listening]) -> None:
        """Take mail.

        Raises:
            RelayError: the certificate cannot be used.
        """
        self._servers = [await self._listen(each, self._around.hostname) for each in listening]

    async def stop(self, deadline: float) -> None:
        """Take no more; let what is being kept end, until a moment of the loop's clock."""
        for server in self._servers:
            server.close()
        loop = asyncio.get_running_loop()
        while loop.time() < deadline:
            # Each is asked, not only those up to the first that is busy.
            busy = [each for each in list(self._connections) if not each.end()]
            if not busy:
                break
            await asyncio.sleep(0.02)
        for close in self.services.closing:
            await close()

    @property
    def connections(self) -> int:
        """That are open."""
        return len(self._connections)

    def _services(self, ours: OurDomains) -> Services:
        """What the rooms of the door add.

        Raises:
            RelayError: one of them cannot be as its settings say.
        """
        try:
            recipients = RecipientService(self._config, self._store, self._around, ours=ours, reach=self._reach)
            self.checks = self._checks()
            filters = self._filters()
        except (RuleError, DnsblError, FilterSyntaxError) as error:
            raise RelayError(str(error)) from None
        vouching = self._settings.vouching
        judges: list[Judge] = []
        closing: list[Callable[[], Awaitable[None]]] = [recipients.close, self.checks.close]
        counting: list[Counting] = [recipients.recipients]
        if vouching != "never":
            voucher = Voucher(self._around.resolver, self._around.hostname, clock, vouching)
            judges.append(voucher)
            counting.append(voucher)
        if filters is not None:
            # After whoever looks at messages as they came.
            judges.append(filters.judge)
            counting.append(filters)
            closing.append(filters.close)
        return Services(
            checks=list(self.checks.checks),
            judges=judges,
            counting=counting,
            call=recipients.call,
            verifier=recipients.recipients,
            learned=[recipients.recipients.delivered],
            running=[recipients.recipients.run, *self.checks.running],
            closing=closing,
        )

    def _filters(self) -> Filters | None:
        settings = self._config.door
        if not settings.filters:
            return None
        found = parse_filters(settings.filters, self._around.hostname, settings.filter_seconds)
        return Filters(found, settings.filter_seconds, accept=settings.filter_failure == "accept")

    def _checks(self) -> Checks:
        settings, around = self._settings, self._around
        listening = (*settings.listen, *settings.submission_listen, *settings.submissions_listen)
        own = (*own_names(settings, around.hostname), *(each.rpartition(":")[0] for each in listening))
        return make_checks(
            self._config.door, own, around.resolver, self._store, clock, self._config.routing.public_networks
        )

    async def _publisher(self, stack: AsyncExitStack) -> Forwarder | None:
        """Our own nameserver, asked for what it publishes."""
        listen = self._config.nameserver.listen
        if not self._settings.backup_published or not listen:
            return None
        address = listen[0]
        for everywhere, loopback in (("0.0.0.0:", "127.0.0.1:"), ("[::]:", "[::1]:")):
            if address.startswith(everywhere):
                address = loopback + address.removeprefix(everywhere)
        own = replace(ResolverSettings(), servers=(address,), timeout_seconds=2.0, attempts=1, cache_entries=0)
        return await stack.enter_async_context(Forwarder(own))

    async def _listen(self, listening: Listening, hostname: str) -> asyncio.Server:
        settings = self._settings
        loop = asyncio.get_running_loop()
        make_tls = None
        if settings.tls_certificate is not None and settings.tls_key is not None:
            make_tls = Certificates(settings.tls_certificate, settings.tls_key)
        options = ServerOptions(
            hostname,
            size=settings.message_mb << 20,
            recipients=settings.recipients,
            starttls=make_tls is not None and listening.kind != "submissions",
            mechanisms=MECHANISMS if settings.users is not None else (),
        )
        entrance = Entrance(
            listening.address,
            listening.kind,
            options,
            Times(settings.command_seconds, settings.message_seconds),
            make_tls,
            _trusts([ip_network(each) for each in settings.trusted]),
        )

        most = allowed_connections(settings)

        def protocol() -> asyncio.Protocol:
            if len(self._connections) >= most:
                return _TurnedAway()
            return Connection(self.door, entrance, self._connections, clock)

        return await loop.create_server(protocol, sock=listening.socket, backlog=1024)

    async def _sweep(self) -> None:
        """Close connections that are too slow."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            self._expire(asyncio.get_running_loop().time())

    def _expire(self, now: float) -> None:
        # Not in the loop above: it would hold the last of them while it sleeps.
        for each in list(self._connections):
            each.expire(now)


class Certificates:
    """Makes TLS contexts of a certificate; of the new one, when its file changed."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._certificate, self._key = certificate, key
        self._seen = 0
        self._context: ssl.SSLContext | None = None
        self()

    def __call__(self) -> ssl.SSLContext:
        """A context.

        Raises:
            RelayError: at the first time: the certificate cannot be used.
        """
        try:
            seen = self._certificate.stat().st_mtime_ns
        except OSError:
            seen = 0  # reading it says why
        if self._context is None or seen != self._seen:
            try:
                self._context, self._seen = server_context(self._certificate, self._key), seen
            except RelayError as error:
                if self._context is None:
                    raise
                log.error("the certificate is not read again; the one from before stays", cause=str(error))
        return self._context


class _TurnedAway(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast("asyncio.Transport", transport)
        transport.write(_FULL.octets())
        transport.close()


def _trusts(networks: Sequence[IPv4Network | IPv6Network]) -> Callable[[bytes], bool]:
    if not networks:
        return lambda _: False
    by_length = [(int(each.network_address) >> _rest(each), _rest(each), each.max_prefixlen) for each in networks]

    @lru_cache(maxsize=10_000)
    def trusted(address: bytes) -> bool:
        number, bits = int.from_bytes(address, "big"), len(address) * 8
        return any(bits == size and number >> rest == start for start, rest, size in by_length)

    return trusted


def _rest(network: IPv4Network | IPv6Network) -> int:
    return network.max_prefixlen - network.prefixlen


def _wire_names(names: Sequence[str]) -> list[bytes]:
    found = []
    for name in names:
        with suppress(DomainError):  # an address
            found.append(domain_from_text(name))
    return found
