"""Access lists: who may transfer, notify or update. An entry is a network, a TSIG key, or both at once:
``192.0.2.0/24``, ``key:transfer.example``, ``192.0.2.0/24+key:transfer.example``; with ``+tls`` behind it only over
TLS.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final

from mx10.dns.wirename import NameSyntaxError, fold, from_text

_KEY: Final = "key:"
_TLS: Final = "+tls"
_FORM: Final = "write a network, as 192.0.2.0/24, a key, as key:transfer.example, or both, joined by +"


class AccessError(ValueError):
    """A text that is no entry of an access list: what is wrong, and the form."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Admits who comes from the network, has signed with the key, and speaks over TLS; what is None or False is not
    asked for."""

    network: IPv4Network | IPv6Network | None
    key: bytes | None
    tls: bool = False

    def admits(self, client: str, key: bytes | None, *, tls: bool = False) -> bool:
        """Whether a client is meant.

        Args:
            client: its IP address.
            key: the name (folded) of the TSIG key its message was signed with, verified; None without.
            tls: whether it came over TLS.
        """
        if (self.key is not None and key != self.key) or (self.tls and not tls):
            return False
        if self.network is None:
            return True
        address = ip_address(client.partition("%")[0])
        mapped = getattr(address, "ipv4_mapped", None)
        return (mapped or address) in self.network


def entry_from_text(text: str) -> Entry:
    """Read an entry.

    Raises:
        AccessError: it is none.
    """
    network: IPv4Network | IPv6Network | None = None
    key: bytes | None = None
    where, key_sign, name = text.removesuffix(_TLS).partition(_KEY)
    if key_sign:
        try:
            key = fold(from_text(name))
        except NameSyntaxError as error:
            raise AccessError(f"{text[:100]!r} is no entry: {name[:60]!r} is no name of a key: {error}") from None
        if where and not where.endswith("+"):
            raise AccessError(f"{text[:100]!r} is no entry: {_FORM}")
        where = where[:-1]
        if not where and text.startswith("+"):
            raise AccessError(f"{text[:100]!r} is no entry: {_FORM}")
    if where or not key_sign:
        try:
            network = ip_network(where)
        except ValueError as error:
            raise AccessError(f"{text[:100]!r} is no entry: {error}; {_FORM}") from None
    return Entry(network, key, text.endswith(_TLS))


def admits(entries: Iterable[Entry], client: str, key: bytes | None, *, tls: bool = False) -> bool:
    """Whether an access list admits a client; an empty one admits nobody."""
    return any(entry.admits(client, key, tls=tls) for entry in entries)
