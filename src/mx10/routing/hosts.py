"""Hosts that a question names, by name, address or network: the host we are (``--as``), the hosts that are down
(``--down``)."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from mx10.routing import addresses
from mx10.routing.addresses import Network


class HostSyntaxError(ValueError):
    """Text that is neither a host's name, nor an address, nor a network; the message says what to write."""


@dataclass(frozen=True, slots=True)
class Hosts:
    """``texts``: as they were given; ``names``: folded wire names; ``networks``: a lone address is a network of one."""

    texts: tuple[str, ...] = ()
    names: frozenset[bytes] = frozenset()
    networks: tuple[Network, ...] = ()

    def named(self, names: Iterable[bytes]) -> bool:
        """Whether one of the names is among them."""
        return not self.names.isdisjoint(names)

    def at(self, address: bytes) -> bool:
        """Whether one of them is at that address."""
        return any(network.holds(address) for network in self.networks)

    def also_at(self, more: Iterable[bytes]) -> "Hosts":
        """The same hosts with more addresses of theirs, found by looking up their names."""
        added = tuple(addresses.around(address, len(address) * 8) for address in more)
        return replace(self, networks=self.networks + added) if added else self

    def __bool__(self) -> bool:
        return bool(self.texts)


NOBODY = Hosts()


def hosts_from_text(texts: Iterable[str]) -> Hosts:
    """Hosts as a person names them: ``mx1.example.org``, ``192.0.2.1``, ``[IPv6:2001:db8::1]``, ``192.0.2.0/24``.

    Raises:
        HostSyntaxError: one of them is none of these.
    """
    from mx10.names import DomainError, domain_from_text

    names: set[bytes] = set()
    networks: list[Network] = []
    given = tuple(texts)
    for text in given:
        try:
            if "/" in text or addresses.from_text(text) is not None:
                networks.append(addresses.network_from_text(text))
            else:
                names.add(domain_from_text(text))
        except (addresses.AddressSyntaxError, DomainError) as error:
            raise HostSyntaxError(str(error)) from None
    return Hosts(given, frozenset(names), tuple(networks))
