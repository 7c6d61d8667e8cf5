"""A zone: its names and their record sets, as the nameserver answers from them.

A value without history or file names. It is kept packed (a small zone takes some 500 octets) and opened when somebody
asks.
"""

import marshal
from bisect import bisect_right
from collections.abc import Iterator
from typing import Final, Protocol, Self

from mx10.dns import rrtypes as rr
from mx10.dns.wirename import order_key, parent

RRset = tuple[int, tuple[bytes, ...]]
"""TTL in seconds, and the data of each record (wire form, names uncompressed, case kept), in the order of the file."""

Node = dict[int, RRset]
"""The record sets of a name by type; empty for a name that only has names below it (RFC 4592 section 2.2.2)."""

_FORMAT: Final = 4
"""Of ``marshal``. Packed zones go between processes of one program, never to disk or over the net."""


class NodeMap(Protocol):
    """Owner (folded wire name) to its record sets; ``{}`` for an empty non-terminal. A dictionary is one; a large zone
    in the store reads one owner at a time.
    """

    def get(self, name: bytes, /) -> Node | None:
        """The record sets of a name; None where there is no such name."""

    def __getitem__(self, name: bytes, /) -> Node:
        """The record sets of a name.

        Raises:
            KeyError: there is no such name.
        """


class ZoneData(Protocol):
    """What a nameserver answers from: a zone in memory (``Zone``), or one that stays in the store."""

    @property
    def apex(self) -> bytes:
        """The name of the zone, folded."""

    @property
    def nodes(self) -> NodeMap:
        """The record sets of every name."""

    def at_or_before(self, name: bytes, rrtype: int) -> bytes | None:
        """The owner whose record proves what there is at ``name``, or that there is nothing.

        Args:
            name: folded, at or below the apex; for NSEC3 a hash below it.
            rrtype: NSEC or NSEC3.

        Returns:
            The last owner of such a set at or before ``name`` in canonical order (RFC 4034 section 6.1); before the
            first one, the last of the zone; None where there is none.
        """


class Zone:
    """A zone.

    Args:
        apex: the name of the zone, folded.
        nodes: owner (folded wire name) to its record sets, every empty non-terminal included.
    """

    __slots__ = ("_chains", "apex", "nodes")

    def __init__(self, apex: bytes, nodes: dict[bytes, Node]) -> None:
        self.apex = apex
        self.nodes = nodes
        self._chains: dict[int, tuple[list[bytes], list[bytes]]] = {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Zone) and self.apex == other.apex and self.nodes == other.nodes

    __hash__ = None  # type: ignore[assignment]  # a zone holds dictionaries: it has no hash

    def __repr__(self) -> str:
        return f"Zone({self.apex!r}, {len(self.nodes)} names)"

    @property
    def serial(self) -> int:
        """The serial number of the SOA record (RFC 1035 section 3.3.13)."""
        soa = self.nodes[self.apex][rr.SOA][1][0]
        return int.from_bytes(soa[-20:-16], "big")

    def at_or_before(self, name: bytes, rrtype: int) -> bytes | None:
        """See ``ZoneData``. The owners are put in order when this is first asked, and not again: whoever changes the
        nodes of a zone asks a new one.
        """
        chain = self._chains.get(rrtype)
        if chain is None:
            in_order = sorted(
                (order_key(owner, self.apex), owner) for owner in self.nodes if rrtype in self.nodes[owner]
            )
            chain = self._chains[rrtype] = ([key for key, _ in in_order], [owner for _, owner in in_order])
        keys, owners = chain
        # One that is before all of them gets the place -1: the last.
        return owners[bisect_right(keys, order_key(name, self.apex)) - 1] if owners else None

    def records(self) -> Iterator[tuple[bytes, int, int, bytes]]:
        """Every record as owner, type, TTL in seconds and data."""
        for owner, node in self.nodes.items():
            for rrtype, (ttl, rdatas) in node.items():
                for rdata in rdatas:
                    yield owner, rrtype, ttl, rdata

    def pack(self) -> bytes:
        """The zone as octets, owners without the apex they all end in."""
        cut = -len(self.apex)
        return marshal.dumps((self.apex, {owner[:cut]: node for owner, node in self.nodes.items()}), _FORMAT)

    @classmethod
    def unpack(cls, packed: bytes) -> Self:
        """A zone from what ``pack`` made; for our own octets only, ``marshal`` trusts what it reads."""
        apex, nodes = marshal.loads(packed)
        return cls(apex, {owner + apex: node for owner, node in nodes.items()})


def add_empty_nonterminals(apex: bytes, nodes: dict[bytes, Node], limit: int) -> bool:
    """Add the names that exist only because others are below them (RFC 4592 section 2.2.2).

    Args:
        nodes: every owner in it is at or under the apex.
        limit: names the zone may have; a name of 127 labels alone can bring 126 others.

    Returns:
        Whether the limit was kept.
    """
    nodes.setdefault(apex, {})
    for owner in list(nodes):
        above = parent(owner)
        while above not in nodes and owner != apex:
            nodes[above] = {}
            above = parent(above)
        if len(nodes) > limit + 128:
            return False
    return True
