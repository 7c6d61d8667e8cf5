"""What every process of the relay begins with: its name, its settings seen through, its sockets, its clock."""

import resource
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Final

from mx10.config import Config, RelaySettings
from mx10.logs import get_logger
from mx10.names import AddressError, DomainError, ascii_text, domain_from_text, parse_address
from mx10.relay.courier.connection import LinkOptions, Links
from mx10.relay.courier.delivery import Limits
from mx10.relay.courier.transports import TransportError, Transports, parse_transports
from mx10.relay.courier.values import Connector
from mx10.relay.courier.ways import Surroundings
from mx10.relay.door.dnsbl import DnsblError, parse_lists
from mx10.relay.door.filters import FilterSyntaxError, parse_filters
from mx10.relay.door.recipients import RuleError, check_files, parse_rules
from mx10.relay.door.users import Users, UsersError
from mx10.relay.door.values import Kind
from mx10.relay.hosts import HostMemory
from mx10.relay.queue import SLOW_TIMES
from mx10.relay.spool.opening import Opened
from mx10.relay.spool.spool import Spool, Times
from mx10.relay.spool.writing import Writing
from mx10.resolver.answer import Resolver
from mx10.values import value_class

_HOUR_MS: Final = 3_600_000
_TICK_SECONDS: Final = 0.001
JUMP_SECONDS: Final = 2.0
"""A difference to the system's clock that is taken over at once."""
SLEW: Final = 0.1
"""Of the time that passes, how much a larger difference shrinks by."""
_DESCRIPTORS: Final = 2
"""That a connection may need: its socket, and the file of a large message."""
_OTHER_DESCRIPTORS: Final = 200

log = get_logger("relay")


class RelayError(Exception):
    """The relay cannot start: why, and the mend."""


@value_class
class Listening:
    """A socket that was bound before rights were given up."""

    socket: socket.socket
    kind: Kind

    @property
    def address(self) -> str:
        """``127.0.0.1:25``."""
        host, port = self.socket.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class SteadyClock:
    """Milliseconds since 1970, that follow the system's clock and do not jump with it: what waits shall neither be
    returned early nor sleep for long because somebody set the time. A difference is caught up with slowly.

    Args:
        wall, monotonic: seconds, the system's.
    """

    def __init__(self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._wall, self._monotonic = wall, monotonic
        self._last = monotonic()
        self._now = wall()
        self._said = int(self._now * 1000)

    def __call__(self) -> int:
        moment = self._monotonic()
        passed = moment - self._last
        # It is asked a dozen times for each message.
        if 0 <= passed < _TICK_SECONDS:
            return self._said
        self._last = moment
        self._now += passed
        behind = self._wall() - self._now
        # A second is no jump: that much the clock is corrected every day.
        self._now += behind if abs(behind) < JUMP_SECONDS else max(-passed * SLEW, min(passed * SLEW, behind))
        self._said = int(self._now * 1000)
        return self._said


clock = SteadyClock()
"""The clock of this process; it is begun anew in each (a fork copies it as it is)."""


def get_descriptors(needed: int) -> int:
    """Ask the system for so many descriptors. Returns how many there are; it may not give as many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        needed = min(needed, hard)
    if soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    return max(needed, soft) if soft != resource.RLIM_INFINITY else needed


def descriptors_to_deliver(settings: RelaySettings) -> int:
    """Descriptors that deliveries may need, with those that are slow."""
    return settings.deliveries * (1 + SLOW_TIMES) + _OTHER_DESCRIPTORS


def allowed_connections(settings: RelaySettings) -> int:
    """How many connections we take, after asking for as many descriptors as they may need; fewer where the system does
    not give as many."""
    found = get_descriptors(_DESCRIPTORS * settings.connections + descriptors_to_deliver(settings))
    allowed = (found - settings.deliveries - _OTHER_DESCRIPTORS) // _DESCRIPTORS
    if allowed < settings.connections:
        log.warning(
            "fewer connections are taken than relay.connections says: the system gives no more descriptors",
            connections=max(1, allowed),
            descriptors=found,
        )
    return max(1, min(allowed, settings.connections))


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
    _check_files(settings)
    if settings.postmaster:
        try:
            parse_address(settings.postmaster)
        except AddressError as error:
            raise RelayError(f"relay.postmaster: {error}") from None
    for domain in settings.domains:
        try:
            domain_from_text(domain.removeprefix("."))
        except DomainError as error:
            raise RelayError(f"relay.domains: {error}") from None
    try:
        check_files(parse_rules(config.recipients.rules))
        parse_lists(config.door.dnsbl)
        parse_filters(config.door.filters, "", config.door.filter_seconds)
        return parse_transports(settings.transports)
    except (RuleError, DnsblError, FilterSyntaxError) as error:
        raise RelayError(str(error)) from None
    except TransportError as error:
        raise RelayError(f"relay.transports: {error}") from None


def _check_files(settings: RelaySettings) -> None:
    """See that what every process of the relay reads can be read."""
    try:
        if settings.users is not None:
            Users(settings.users)
    except UsersError as error:
        raise RelayError(str(error)) from None
    if settings.tls_certificate is not None and settings.tls_key is not None:
        server_context(settings.tls_certificate, settings.tls_key)


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS with clients.

    Raises:
        RelayError: the certificate cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:
        raise RelayError(
            f"relay.tls_certificate {certificate} or relay.tls_key {key} cannot be used: {error}"
        ) from None
    return context


def links_of(config: Config, hostname: str) -> Links:
    """Connections to other hosts."""
    settings = config.relay
    return Links(
        LinkOptions(
            hostname, local_addresses=settings.local_addresses, ca_file=settings.ca_file, idle=settings.idle_seconds
        )
    )


def surroundings(
    config: Config, hostname: str, transports: Transports, resolver: Resolver, connect: Connector
) -> tuple[Surroundings, HostMemory]:
    """What the courier works with, and its memory of hosts."""
    settings = config.relay
    hosts = HostMemory(settings.probe_seconds * 1000, settings.probe_longest_seconds * 1000)
    own = own_names(settings, hostname)
    around = Surroundings(
        hostname,
        resolver,
        connect,
        hosts,
        clock,
        Random(),
        transports,
        config.routing,
        own,
        settings.port,
        limits=Limits(own_names=frozenset(own)),
    )
    return around, hosts


def own_names(settings: RelaySettings, hostname: str) -> tuple[str, ...]:
    """Names and addresses by which this host may be meant."""
    return (hostname, *settings.other_names)


def spool_of(config: Config, opened: Opened, node: int, writer: Writing, *, ids: int | None = None) -> Spool:
    """The spool of a configuration.

    Args:
        ids: the number of who gives ids, where that is not the node.
    """
    settings = config.relay
    times = Times(
        settings.expire_hours * _HOUR_MS, settings.report_expire_hours * _HOUR_MS, settings.delay_hours * _HOUR_MS
    )
    return Spool(
        opened.store,
        opened.folder,
        writer,
        node=node,
        ids=node if ids is None else ids,
        clock=clock,
        times=times,
        body_in_database=settings.body_in_database_kb << 10,
    )
