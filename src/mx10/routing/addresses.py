"""IP addresses as the DNS carries them (4 or 16 octets), networks, and which of them no mail from the Internet can
reach.

The tables are the IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890), with multicast and the space that
is not handed out. Python's ``ipaddress`` is not used: its tables change with its version, and importing it takes longer
than all this file does.
"""

from collections.abc import Iterable
from functools import lru_cache
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import Final, NamedTuple


class AddressSyntaxError(ValueError):
    """Text that is neither an IP address nor a network, though it should be."""


class Network(NamedTuple):
    """A network: ``bits`` is the width of its addresses (32 or 128), ``value`` its first address, ``length`` that of
    its prefix."""

    bits: int
    value: int
    length: int

    def holds(self, address: bytes) -> bool:
        """Whether an address lies in it."""
        if len(address) * 8 != self.bits:
            return False
        shift = self.bits - self.length
        return int.from_bytes(address) >> shift == self.value >> shift

    def __str__(self) -> str:
        return f"{to_text(self.value.to_bytes(self.bits // 8))}/{self.length}"


def to_text(address: bytes) -> str:
    """An address as people write it (RFC 5952)."""
    return inet_ntop(AF_INET if len(address) == 4 else AF_INET6, address)


def from_text(text: str) -> bytes | None:
    """The octets of an IPv4 or IPv6 address, also in the brackets of an address literal (RFC 5321 section 4.1.3); None
    if it is no address."""
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
        if text[:5].lower() == "ipv6:":
            text = text[5:]
    try:
        return inet_pton(AF_INET6 if ":" in text else AF_INET, text)
    except (OSError, ValueError):
        return None


def network_from_text(text: str) -> Network:
    """A network from ``192.0.2.0/24``, or from a lone address, which is a network of one.

    Raises:
        AddressSyntaxError: no address, no such prefix length, or an address in the middle of the network.
    """
    address_text, slash, length_text = text.partition("/")
    address = from_text(address_text)
    if address is None:
        raise AddressSyntaxError(
            f"{text!r} is no IP address or network; write 192.0.2.1, 192.0.2.0/24 or 2001:db8::/32"
        )
    bits = len(address) * 8
    if slash and not (length_text.isascii() and length_text.isdigit() and int(length_text[:4]) <= bits):
        raise AddressSyntaxError(f"{text!r} has no prefix length from 0 to {bits} behind the slash")
    length = int(length_text) if slash else bits
    value = int.from_bytes(address)
    if value & ((1 << bits - length) - 1):
        raise AddressSyntaxError(f"{text!r} has host bits set; write {around(address, length)}")
    return Network(bits, value, length)


def around(address: bytes, length: int) -> Network:
    """The network with a prefix of that length in which an address lies."""
    bits = len(address) * 8
    shift = bits - length
    return Network(bits, int.from_bytes(address) >> shift << shift, length)


# What a special network is for and who says so; where it is in use on the Internet all the same (the registry's column
# "Globally Reachable"), None.
_SPECIAL: Final = """
0.0.0.0/8           "this network", RFC 791
10.0.0.0/8          private use, RFC 1918
100.64.0.0/10       shared by carriers, RFC 6598
127.0.0.0/8         loopback, RFC 1122
169.254.0.0/16      link local, RFC 3927
172.16.0.0/12       private use, RFC 1918
192.0.0.0/24        protocol assignments, RFC 6890
192.0.0.9/32        -
192.0.0.10/32       -
192.0.2.0/24        documentation, RFC 5737
192.88.99.0/24      6to4 relays, deprecated, RFC 7526
192.168.0.0/16      private use, RFC 1918
198.18.0.0/15       benchmarks, RFC 2544
198.51.100.0/24     documentation, RFC 5737
203.0.113.0/24      documentation, RFC 5737
224.0.0.0/4         multicast, RFC 5771
240.0.0.0/4         reserved, RFC 1112
255.255.255.255/32  broadcast, RFC 8190
::/0                outside the unicast space handed out, RFC 4291
::/128              unspecified, RFC 4291
::1/128             loopback, RFC 4291
::ffff:0:0/96       IPv4 mapped, RFC 4291
64:ff9b::/96        -
64:ff9b:1::/48      translation within a site, RFC 8215
100::/64            discarded, RFC 6666
100:0:0:1::/64      dummy prefix, RFC 9780
2000::/3            -
2001::/23           protocol assignments, RFC 2928
2001::/32           -
2001:1::1/128       -
2001:1::2/128       -
2001:1::3/128       -
2001:2::/48         benchmarks, RFC 5180
2001:3::/32         -
2001:4:112::/48     -
2001:10::/28        ORCHID, deprecated, RFC 4843
2001:20::/28        -
2001:30::/28        -
2001:db8::/32       documentation, RFC 3849
3fff::/20           documentation, RFC 9637
5f00::/16           segment routing, RFC 9602
fc00::/7            private use (unique local), RFC 4193
fe80::/10           link local, RFC 4291
fec0::/10           site local, deprecated, RFC 3879
ff00::/8            multicast, RFC 4291
"""


@lru_cache(maxsize=1)
def _special() -> tuple[tuple[Network, str], ...]:
    """The table, the longest prefixes first, so that the first network an address lies in is the one that counts."""
    rows = []
    for line in _SPECIAL.strip().splitlines():
        network, _, purpose = line.partition(" ")
        rows.append((network_from_text(network), purpose.strip().removeprefix("-")))
    return tuple(sorted(rows, key=lambda row: -row[0].length))


def special_purpose(address: bytes, public: Iterable[Network] = ()) -> str:
    """Why no mail from the Internet gets to an address.

    Args:
        address: 4 or 16 octets.
        public: networks that are to count as public all the same (``routing.public_networks``).

    Returns:
        What the address is for and the RFC, as "private use, RFC 1918"; empty where it is an ordinary public address.
    """
    if any(network.holds(address) for network in public):
        return ""
    for network, purpose in _special():
        if network.holds(address):
            return purpose
    return ""
