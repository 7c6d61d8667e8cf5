"""A zone signed whole: from its names in order to every generated record set.

One pass. What was generated before is corrected on the way, so this also takes a zone from one kind of proofs to the
other, to other keys, or to being unsigned.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from mx10.dns import rrtypes as rr
from mx10.dns.wirename import order_key
from mx10.zones.dnssec.chain import (
    above,
    hash_key,
    hash_of_key,
    hashed,
    is_left_out,
    listed_types,
    nsec,
    nsec3,
    sighted,
)
from mx10.zones.dnssec.work import Arrangement, Chance, Proofs, Work
from mx10.zones.ledger.values import Edit
from mx10.zones.zone import Node, Zone

_HASH_KEY: Final = 33
"""Octets of a key made of a hash."""

_NO_PROOFS: Final[Proofs] = {rr.NSEC: None, rr.NSEC3: None}


def whole(work: Work, names: Iterable[tuple[bytes, Node]]) -> Iterator[Edit]:
    """The edits that make the generated record sets of a zone what they shall be.

    Args:
        names: every owner of the zone as key and node, in order, the apex first. They are read on as edits are asked
            for, never more than one ahead.
    """
    stream = iter(names)
    key, node = next(stream)
    node, edits = work.announce(node)
    yield from edits

    def all_names() -> Iterator[tuple[bytes, Node]]:
        yield key, node
        yield from stream

    if not work.signs:
        for each, present, _ in sighted(all_names()):
            yield from work.settle(each, present, False, _NO_PROOFS)
    elif work.style.rrtype == rr.NSEC:
        yield from _with_nsec(work, all_names())
    else:
        yield from _with_nsec3(work, all_names())


def _with_nsec(work: Work, names: Iterable[tuple[bytes, Node]]) -> Iterator[Edit]:
    last: tuple[bytes, Node] | None = None

    def settle(following: bytes) -> Iterator[Edit]:
        assert last is not None
        key, node = last
        data = nsec(following, listed_types(key, node, work.style))
        return work.settle(key, node, True, {rr.NSEC: (work.proof_ttl, (data,)), rr.NSEC3: None})

    for key, node, seen in sighted(names):
        if not seen:
            yield from work.settle(key, node, False, _NO_PROOFS)
            continue
        if last is not None:
            yield from settle(work.owner(key))
        last = key, node
    yield from settle(work.apex)


@dataclass(slots=True)
class _Hashes:
    """The NSEC3 chain in the making, and the nodes it may have to share with names."""

    types: dict[bytes, tuple[int, ...]] = field(default_factory=dict)
    """What each hash's record lists."""
    present: dict[bytes, tuple[Node, bool]] = field(default_factory=dict)
    """By key: names that look like hashes, and whether they are ``chain.sighted``."""
    previous: bytes = b""


def _with_nsec3(work: Work, names: Iterable[tuple[bytes, Node]]) -> Iterator[Edit]:
    hashes = _Hashes()
    style = work.style
    for key, node, seen in sighted(names):
        if seen and not is_left_out(key, node, style):
            for name in above(key):
                if not hashes.previous.startswith(name):
                    hashes.types[hashed(work.owner(name))] = ()
            hashes.previous = key
            hashes.types[hashed(work.owner(key))] = listed_types(key, node, style)
        if _looks_hashed(key):
            hashes.present[key] = node, seen
        else:
            yield from work.settle(key, node, seen, _NO_PROOFS)
    digests = sorted(hashes.types)
    for digest, following in zip(digests, [*digests[1:], *digests[:1]], strict=True):
        key = hash_key(digest)
        node, seen = hashes.present.pop(key, ({}, False))
        data = nsec3(following, hashes.types[digest], style)
        yield from work.settle(key, node, seen, {rr.NSEC: None, rr.NSEC3: (work.proof_ttl, (data,))})
    for key, (node, seen) in hashes.present.items():
        yield from work.settle(key, node, seen, _NO_PROOFS)


def _looks_hashed(key: bytes) -> bool:
    if len(key) != _HASH_KEY or key.find(b"\0") != _HASH_KEY - 1:
        return False
    try:
        hash_of_key(key)
    except ValueError:
        return False
    return True


# ---------------------------------------------------------------- zones as values


def keyed_names(zone: Zone) -> Iterator[tuple[bytes, Node]]:
    """The owners of a zone as keys and nodes, in order."""
    apex = zone.apex
    for key, owner in sorted((order_key(owner, apex), owner) for owner in zone.nodes):
        yield key, zone.nodes[owner]


def sign_zone(zone: Zone, arrangement: Arrangement, now: int, chance: Chance) -> Zone:
    """A zone as it is when it is signed.

    Args:
        zone: generated record sets that it has already are replaced.
        now: seconds since 1970.
        chance: gives each signature its own end.
    """
    nodes = {owner: dict(node) for owner, node in zone.nodes.items()}
    work = Work(zone.apex, arrangement, nodes[zone.apex][rr.SOA], now, chance, fresh=None)
    for edit in whole(work, keyed_names(zone)):
        node = nodes.setdefault(edit.owner, {})
        if edit.rrset is None:
            del node[edit.type]
        else:
            node[edit.type] = edit.rrset
    return Zone(zone.apex, {owner: node for owner, node in nodes.items() if node or owner in zone.nodes})
