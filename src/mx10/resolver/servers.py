"""Nameservers as people write them: ``192.0.2.53``, ``192.0.2.53:5300``, ``[2001:db8::53]:53``, ``ns1.example.org``."""

from dataclasses import dataclass
from ipaddress import ip_address

from mx10.dns import rdata
from mx10.dns import rrtypes as rr
from mx10.names import DomainError, ascii_text, display, domain_from_text
from mx10.resolver.answer import Resolver, Status
from mx10.resolver.asking import DEFAULT_PORTS, Server, Transport


class ServerError(ValueError):
    """A text that names no nameserver: what is wrong, and the mend."""


class ServerNotFoundError(Exception):
    """A nameserver's name that leads to no address: why."""


@dataclass(frozen=True, slots=True)
class Named:
    """A nameserver as it was written: an IP address, or a name (folded, wire), and a port if one was given."""

    address: str | None
    name: bytes | None
    port: int | None


def server_from_text(text: str) -> Named:
    """Read a nameserver's name or address, with its port or without.

    Raises:
        ServerError: it is none.
    """
    host, port = _split(text)
    try:
        return Named(str(ip_address(host)), None, port)
    except ValueError:
        pass
    if ":" not in host and not text.startswith("["):
        try:
            return Named(None, domain_from_text(host), port)
        except DomainError as error:
            raise ServerError(f"no nameserver: {error}") from None
    raise ServerError(f"{text[:80]!r} is no nameserver: write 192.0.2.53, [2001:db8::53]:53 or ns1.example.org")


def _split(text: str) -> tuple[str, int | None]:
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket:
            raise ServerError(f"{text[:80]!r} is no nameserver: the ] is missing")
    elif text.count(":") == 1:
        host, colon, rest = text.partition(":")
        rest = colon + rest
    else:
        return text, None
    if not rest:
        return host, None
    number = rest[1:]
    if not (rest[0] == ":" and number.isascii() and number.isdigit() and len(number) <= 5 and 0 < int(number) < 65536):
        raise ServerError(f"{text[:80]!r} is no nameserver: the port is a number from 1 to 65535")
    return host, int(number)


async def find(named: Named, transport: Transport, resolver: Resolver, plain_port: int = 53) -> list[Server]:
    """The servers meant: one for each address, its certificate to be that of the name that was given.

    Args:
        resolver: looks the name up.
        plain_port: over UDP and TCP, where no port was written.

    Raises:
        ServerNotFoundError: the name has no address, or nobody can say.
    """
    usual = plain_port if transport in (Transport.UDP, Transport.TCP) else DEFAULT_PORTS[transport]
    port = named.port or usual
    if named.name is None:
        return [Server(named.address or "", port, transport)]
    hostname = ascii_text(named.name)
    addresses = []
    reason = "it has no address"
    for rrtype in (rr.A, rr.AAAA):
        answer = await resolver.resolve(named.name, rrtype)
        addresses += [rdata.to_text(record.type, record.rdata) for record in answer.records]
        if answer.status in (Status.FAILURE, Status.NXDOMAIN):
            reason = answer.reason or "there is no such name"
    if not addresses:
        raise ServerNotFoundError(f"the nameserver {display(named.name)} cannot be found: {reason}")
    return [Server(address, port, transport, hostname) for address in addresses]
