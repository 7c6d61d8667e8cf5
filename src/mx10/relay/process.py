"""The relay's process: puts door, spool, queue and courier together, and keeps them until it is told to stop.

One asyncio loop (uvloop's, where it is there: chosen because the loop is half of what a small message costs) and the
one thread that writes the spool.
"""

import asyncio
import gc
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from random import Random
from typing import Final, cast

from mx10.config import Config, RelaySettings
from mx10.config.settings import ResolverSettings
from mx10.logs import get_logger
from mx10.names import DomainError, ascii_text, domain_from_text
from mx10.relay.courier.connection import LinkOptions, Links
from mx10.relay.courier.delivery import Limits
from mx10.relay.courier.reports import Issuer
from mx10.relay.courier.transports import TransportError, Transports, parse_transports
from mx10.relay.courier.values import Connector, Fate
from mx10.relay.courier.ways import Surroundings, Ways
from mx10.relay.dispatcher import Dispatcher
from mx10.relay.domains import OurDomains
from mx10.relay.door.connection import Connection, Entrance, Times
from mx10.relay.door.door import Check, Door, Judge, Verifier
from mx10.relay.door.policy import Policy
from mx10.relay.door.recipients import RecipientService, RuleError, check_files, parse_rules
from mx10.relay.door.users import Users, UsersError
from mx10.relay.door.values import Kind
from mx10.relay.hosts import HostMemory
from mx10.relay.journal import Journal
from mx10.relay.queue import Schedule
from mx10.relay.settling import Settler
from mx10.relay.spool.opening import Opened, open_spool, register
from mx10.relay.spool.spool import Spool, Taken, remove_strays
from mx10.relay.spool.spool import Times as SpoolTimes
from mx10.relay.values import name_of
from mx10.resolver import Forwarder
from mx10.smtp.auth import MECHANISMS
from mx10.smtp.replies import Reply
from mx10.smtp.server import ServerOptions

STOP_SECONDS: Final = 5.0
"""How long what is on its way may take when we are told to stop."""
_SWEEP_SECONDS: Final = 1.0
_HOUR_MS: Final = 3_600_000
_FULL: Final = Reply.of(421, "4.3.2", "too many connections just now; come again")

log = get_logger("relay")


class RelayError(Exception):
    """The relay cannot start: why, and the mend."""


@dataclass(frozen=True, slots=True)
class Listening:
    """A socket that was bound before rights were given up."""

    socket: socket.socket
    kind: Kind


def clock() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


@dataclass(slots=True)
class Services:
    """What may be added to a relay by its rooms.

    Attributes:
        checks, judges: of the door.
        verifier: of recipients.
        learned: told of each fate.
        running: run until the end.
        closing: called at the end.
    """

    checks: list[Check] = field(default_factory=list)
    judges: list[Judge] = field(default_factory=list)
    verifier: Verifier | None = None
    learned: list[Callable[[Fate], None]] = field(default_factory=list)
    running: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    closing: list[Callable[[], Awaitable[None]]] = field(default_factory=list)


def hostname_of(settings: RelaySettings) -> str:
    """Our name.

    Raises:
        RelayError: it cannot be one.
    """
    name = settings.hostname or socket.getfqdn()
    try:
        return ascii_text(domain_from_text(name))
    except DomainError as error:
        raise RelayError(f"relay.hostname: {error}") from None


def check(config: Config) -> Transports:
    """See that the relay can be as its settings say, before anything is begun.

    Raises:
        RelayError: it cannot.
    """
    settings = config.relay
    hostname_of(settings)
    if (settings.tls_certificate is None) != (settings.tls_key is None):
        raise RelayError("relay.tls_certificate and relay.tls_key want each other: set both, or neither")
    if (settings.submission_listen or settings.submissions_listen) and settings.tls_certificate is None:
        raise RelayError("relay.submission_listen and relay.submissions_listen want relay.tls_certificate and tls_key")
    if (settings.submission_listen or settings.submissions_listen) and settings.users is None:
        raise RelayError("relay.submission_listen and relay.submissions_listen want relay.users: who may log in")
    for domain in settings.domains:
        try:
            domain_from_text(domain.removeprefix("."))
        except DomainError as error:
            raise RelayError(f"relay.domains: {error}") from None
    try:
        check_files(parse_rules(config.recipients.rules))
        return parse_transports(settings.transports)
    except RuleError as error:
        raise RelayError(str(error)) from None
    except TransportError as error:
        raise RelayError(f"relay.transports: {error}") from None


def live(config: Config, listening: Sequence[Listening], control: socket.socket) -> None:
    """The life of the process: until ``control`` ends."""
    with suppress(ImportError):
        import uvloop

        uvloop.install()
    # A message is a hundred small objects, hardly any of them in a circle: looking for circles rarely is enough.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    asyncio.run(Relay(config, listening).run(control))


class Relay:
    """The relay.

    Args:
        listening: bound sockets.
        reach: what stands before the connections to other hosts: the lab lets none leave the machine.
    """

    def __init__(
        self, config: Config, listening: Sequence[Listening], *, reach: Callable[[Connector], Connector] | None = None
    ) -> None:
        self._config = config
        self._settings = config.relay
        self._listening = listening
        self._reach = reach
        self.ready = asyncio.Event()
        """Set when mail is taken."""
        self._connections: set[Connection] = set()
        self.door: Door
        self.dispatcher: Dispatcher
        self.settler: Settler
        self.spool: Spool
        self.hosts: HostMemory
        self.journal: Journal
        self.started = time.time()

    async def run(self, control: socket.socket | None = None) -> None:
        """Serve until ``control`` ends, or until cancelled.

        Raises:
            RelayError: it cannot start.
            StoreError: the spool cannot be used.
        """
        settings, config = self._settings, self._config
        loop = asyncio.get_running_loop()
        transports = check(config)
        hostname = hostname_of(settings)
        async with AsyncExitStack() as stack:
            opened = open_spool(config, create=True)
            stack.callback(opened.store.close)
            node = register(opened.store, clock())
            if opened.folder is not None:
                strays = await asyncio.to_thread(remove_strays, opened.store, opened.folder)
                if strays:
                    log.info("bodies of messages that were never promised are removed", files=strays)
            self.spool = Spool(
                opened.store,
                opened.folder,
                node=node,
                clock=clock,
                times=SpoolTimes(
                    settings.expire_hours * _HOUR_MS,
                    settings.report_expire_hours * _HOUR_MS,
                    settings.delay_hours * _HOUR_MS,
                ),
                body_in_database=settings.body_in_database_kb << 10,
                loop=loop,
            )
            stack.callback(self.spool.close)
            self.journal = Journal(loop)
            stack.callback(self.journal.flush)
            resolver = await stack.enter_async_context(Forwarder(config.resolver))
            links = Links(LinkOptions(hostname, ca_file=settings.ca_file, idle=settings.idle_seconds))
            stack.push_async_callback(links.close)
            own = (hostname, *settings.other_names)
            probe = (settings.probe_seconds * 1000, settings.probe_longest_seconds * 1000)
            self.hosts = HostMemory(*probe)
            around = Surroundings(
                hostname,
                resolver,
                links if self._reach is None else self._reach(links),
                self.hosts,
                clock,
                Random(),
                transports,
                config.routing,
                own,
                settings.port,
                limits=Limits(own_names=frozenset(own)),
            )
            ways = Ways(around)
            publisher = await self._publisher(stack)
            names = frozenset(_wire_names(own))
            ours = OurDomains(settings.domains, transports, names, opened.store, publisher, clock)
            await asyncio.to_thread(ours.read)
            services = self._services(opened, around, ours)
            postmaster = settings.postmaster or f"postmaster@{hostname}"
            self.settler = Settler(
                opened,
                self.spool,
                Schedule(settings.retry_seconds * 1000, settings.retry_longest_seconds * 1000),
                Issuer(hostname, postmaster, double_bounces=bool(settings.postmaster)),
                clock,
                self._taken,
                self.journal,
                learned=_all_of(services.learned),
            )
            self.dispatcher = Dispatcher(
                opened,
                node,
                ways,
                self.settler,
                self.hosts,
                clock,
                most=settings.loaded,
                deliveries=settings.deliveries,
                per_hop=settings.deliveries_per_hop,
                per_minute=settings.messages_per_minute_per_hop,
                probe=probe,
            )
            self.settler.forget = self.dispatcher.forget
            self.settler.is_here = self.dispatcher.is_here
            try:
                users = Users(settings.users) if settings.users is not None else None
            except UsersError as error:
                raise RelayError(str(error)) from None
            self.door = Door(
                hostname,
                self.spool,
                Policy(frozenset(own), ours, settings.postmaster),
                self._taken,
                checks=services.checks,
                verifier=services.verifier,
                judges=services.judges,
                users=users,
                hops=settings.hops,
                ask=ours.ask if publisher is not None else None,
            )
            services.running += [self.dispatcher.run, self.settler.run, ours.run, self._sweep]
            if not opened.store.is_sqlite:
                from mx10.relay.nodes import Nodes

                services.running.append(Nodes(opened.store, node, clock, self.dispatcher.rescan).run)
            tasks = [loop.create_task(_forever(each)) for each in services.running]
            servers = [await self._listen(each, hostname) for each in self._listening]
            log.info(
                "relay ready",
                listening=", ".join(_address(each.socket) for each in self._listening),
                hostname=hostname,
                spool=opened.store.place,
            )
            self.ready.set()
            try:
                await _end_of(control)
            finally:
                log.info("relay stops", connections=len(self._connections))
                for server in servers:
                    server.close()
                await self._stop()
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks, timeout=1.0)
                for close in services.closing:
                    await close()

    def _services(self, opened: Opened, around: Surroundings, ours: OurDomains) -> Services:
        """What the rooms of the door add.

        Raises:
            RelayError: one of them cannot be as its settings say.
        """
        try:
            recipients = RecipientService(self._config, opened.store, around, ours=ours, reach=self._reach)
        except RuleError as error:
            raise RelayError(str(error)) from None
        return Services(
            verifier=recipients.recipients,
            learned=[recipients.recipients.delivered],
            running=[recipients.recipients.run],
            closing=[recipients.close],
        )

    def _taken(self, taken: Taken) -> None:
        envelope = taken.envelope
        self.journal(
            "accepted",
            message=name_of(taken.message),
            sender=envelope.reverse_path,
            to=taken.recipients[0].address,
            recipients=len(taken.recipients),
            size=taken.content.size,
            client=envelope.client,
        )
        self.dispatcher.taken(taken)

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
            _address(listening.socket),
            listening.kind,
            options,
            Times(settings.command_seconds, settings.message_seconds),
            make_tls,
            _trusts([ip_network(each) for each in settings.trusted]),
        )

        def protocol() -> asyncio.Protocol:
            if len(self._connections) >= settings.connections:
                return _TurnedAway()
            return Connection(self.door, entrance, self._connections, clock)

        tls = make_tls() if make_tls is not None and listening.kind == "submissions" else None
        return await loop.create_server(protocol, sock=listening.socket, backlog=1024, ssl=tls)

    async def _sweep(self) -> None:
        """Close connections that are too slow."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            now = loop.time()
            for each in list(self._connections):
                each.expire(now)

    async def _stop(self) -> None:
        """Let what is being kept or delivered end; then close."""
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline:
            # Each is asked, not only those up to the first that is busy.
            busy = [each for each in list(self._connections) if not each.end()]
            if not busy:
                break
            await asyncio.sleep(0.02)
        await self.dispatcher.stop(max(0.1, deadline - time.monotonic()))


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
            if self._context is None or seen != self._seen:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.minimum_version = ssl.TLSVersion.TLSv1_2
                context.load_cert_chain(self._certificate, self._key)
                self._context, self._seen = context, seen
        except OSError as error:
            if self._context is None:
                raise RelayError(
                    f"relay.tls_certificate {self._certificate} or relay.tls_key {self._key} cannot be used: {error}"
                ) from None
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


def _address(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _wire_names(names: Sequence[str]) -> list[bytes]:
    found = []
    for name in names:
        with suppress(DomainError):  # an address
            found.append(domain_from_text(name))
    return found


def _all_of(calls: Sequence[Callable[[Fate], None]]) -> Callable[[Fate], None] | None:
    if not calls:
        return None

    def tell(fate: Fate) -> None:
        for call in calls:
            call(fate)

    return tell


async def _forever(work: Callable[[], Awaitable[None]]) -> None:
    """Run something; after a fault of ours, begin it again."""
    while True:
        try:
            await work()
            return
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("a service of the relay failed; it begins again")
            await asyncio.sleep(1.0)


async def _end_of(control: socket.socket | None) -> None:
    """Wait until the supervisor wants us to stop."""
    loop = asyncio.get_running_loop()
    if control is None:
        await loop.create_future()
        return
    control.setblocking(False)
    while await loop.sock_recv(control, 64):
        pass


__all__ = ["Listening", "Relay", "RelayError", "check", "live"]
