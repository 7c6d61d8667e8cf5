"""What a change of a zone makes of its signatures and proofs: as little as possible, looked up by keys in the store.

Touched are the names whose record sets changed, and where a delegation or a DNAME record comes or goes, all names below
it: they appear, or are hidden. A proof changes at the names that are touched, and at the one before each that enters
or leaves the chain. The outcome is what ``whole`` makes of the zone; a test with random changes holds the two equal.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Final

from mx10.dns import rrtypes as rr
from mx10.dns.wirename import order_key
from mx10.zones.dnssec.chain import (
    above,
    bitmap,
    covers,
    hash_key,
    hash_of_key,
    hashed,
    is_left_out,
    listed_types,
    own_types,
    read_nsec,
    read_nsec3,
    relinked_nsec3,
    visible,
)
from mx10.zones.dnssec.stored import StoredZone
from mx10.zones.dnssec.work import Proofs, Work
from mx10.zones.ledger.values import Edit
from mx10.zones.zone import Node

_EMPTY: Final[Node] = {}


def mend(work: Work, zone: StoredZone, changed: Collection[tuple[bytes, int]]) -> Iterator[Edit]:
    """The edits that make the generated record sets true again after a change.

    Args:
        work: that knows what is fresh.
        zone: with the change, its generated record sets as they were before.
        changed: keys of owners and types.
    """
    sight = Sight(zone)
    touched = {b"", *(key for key, _ in changed)}
    sight.read(touched)
    for key, rrtype in changed:
        if rrtype == rr.DNAME or (rrtype == rr.NS and key):
            touched.update(sight.read_below(key))
    apex, edits = work.announce(sight.node(b""))
    sight.put(b"", apex)
    yield from edits
    plan = (
        _nsec_plan(work, zone, sight, touched)
        if work.style.rrtype == rr.NSEC
        else _nsec3_plan(work, zone, sight, touched)
    )
    for key in sorted(touched | plan.keys()):
        yield from work.settle(key, sight.node(key), sight.sees(key), plan.get(key, {}))


def refresh_names(work: Work, zone: StoredZone, keys: Collection[bytes]) -> Iterator[Edit]:
    """The edits that make anew those signatures of some names that are due."""
    sight = Sight(zone)
    sight.read(keys)
    for key in sorted(keys):
        yield from work.settle(key, sight.node(key), sight.sees(key), {})


class Sight:
    """Some names of a zone with all above them, and which of them the zone has something to say of."""

    def __init__(self, zone: StoredZone) -> None:
        self._zone = zone
        self._nodes: dict[bytes, Node] = {}

    def read(self, keys: Iterable[bytes]) -> None:
        """Read names, and those above them."""
        wanted = {b""}
        for key in keys:
            wanted.add(key)
            wanted.update(above(key))
        missing = wanted - self._nodes.keys()
        self._nodes.update(dict.fromkeys(missing, _EMPTY))
        self._nodes.update(self._zone.nodes(missing))

    def read_below(self, key: bytes) -> list[bytes]:
        """Read all names below one; their keys."""
        found = dict(self._zone.names(key)) if key else {name: node for name, node in self._zone.names() if name}
        self._nodes.update(found)
        return list(found)

    def put(self, key: bytes, node: Node) -> None:
        """Take a node as the name's from now on."""
        self._nodes[key] = node

    def node(self, key: bytes) -> Node:
        """What a name has."""
        if key not in self._nodes:
            self.read((key,))
        return self._nodes[key]

    def is_covered(self, key: bytes) -> bool:
        """Whether a name is below a delegation or a DNAME record."""
        if not key:
            return False
        return covers(b"", self.node(b"")) or any(covers(name, self._nodes.get(name, _EMPTY)) for name in above(key))

    def sees(self, key: bytes) -> bool:
        """Whether a name exists, and not below a delegation."""
        return bool(own_types(self.node(key))) and not self.is_covered(key)


# ---------------------------------------------------------------- chains


class Chain:
    """The chain of proofs as it was in the store, and the links that are different now.

    Args:
        rrtype: NSEC or NSEC3.
        following: the key of the next member, from the data of a record.
        gone: members that leave. The apex's never does.
    """

    def __init__(
        self, zone: StoredZone, sight: Sight, rrtype: int, following: Callable[[bytes], bytes], gone: Collection[bytes]
    ) -> None:
        self._zone = zone
        self._sight = sight
        self._rrtype = rrtype
        self._following = following
        self._gone = frozenset(gone)
        self._before: dict[bytes, bytes] = {}
        self.links: dict[bytes, bytes] = {}
        """Members whose next one is another now, and which."""

    def after(self, key: bytes) -> bytes:
        """The next member behind a member."""
        found = self.links.get(key)
        return self._stored_after(key) if found is None else found

    def _stored_after(self, key: bytes) -> bytes:
        return self._following(self._sight.node(key)[self._rrtype][1][0])

    def _staying_before(self, key: bytes) -> bytes:
        """The last member in the store before a name that stays."""
        passed = []
        while True:
            found = self._before.get(key)
            if found is None:
                stored = self._zone.member_before(key, self._rrtype)
                assert stored is not None, "the apex is a member"
                found = stored
            passed.append(key)
            if found not in self._gone:
                break
            key = found
        self._before.update(dict.fromkeys(passed, found))
        return found

    def remove(self) -> None:
        """Take those that leave out of the chain."""
        ends: dict[bytes, bytes] = {}
        for key in sorted(self._gone, reverse=True):
            passed = []
            at = key
            while at in self._gone and at not in ends:
                passed.append(at)
                at = self._stored_after(at)
            ends.update(dict.fromkeys(passed, ends.get(at, at)))
        last = None
        for key in sorted(self._gone):
            if last is not None and self._stored_after(last) == key:
                self._before[key] = self._before[last]
            else:
                self.links[self._staying_before(key)] = ends[key]
            last = key

    def add(self, keys: Iterable[bytes]) -> None:
        """Put members in, after ``remove``."""
        last: bytes | None = None
        for key in sorted(keys):
            if last is None or not _between(last, key, self.after(last)):
                last = self._staying_before(key)
            self.links[key] = self.after(last)
            self.links[last] = key
            last = key


def _between(first: bytes, key: bytes, second: bytes) -> bool:
    """Whether a key lies on the way from a member to its next one, round the end of the chain if need be."""
    return first < key < second if first < second else key > first or key < second


def _nsec_plan(work: Work, zone: StoredZone, sight: Sight, touched: Collection[bytes]) -> dict[bytes, Proofs]:
    """What NSEC records there shall be at the names that are touched, and before them."""
    gone, come, stay = _sorted_out((key, rr.NSEC in sight.node(key), sight.sees(key)) for key in touched)

    def following(data: bytes) -> bytes:
        return order_key(read_nsec(data)[0], work.apex)

    chain = Chain(zone, sight, rr.NSEC, following, gone)
    chain.remove()
    chain.add(come)
    plan: dict[bytes, Proofs] = {key: {rr.NSEC: None} for key in touched}
    for key in {*come, *stay, *chain.links}:
        data = work.owner(chain.after(key)) + bitmap(listed_types(key, sight.node(key), work.style))
        plan[key] = {rr.NSEC: (work.proof_ttl, (data,))}
    return plan


def _nsec3_plan(work: Work, zone: StoredZone, sight: Sight, touched: Collection[bytes]) -> dict[bytes, Proofs]:
    """What NSEC3 records there shall be for the names that are touched and those above them, and before them."""
    names = set(touched)
    for key in touched:
        names.update(above(key))
    types = {hash_key(hashed(work.owner(key))): _nsec3_types(work, zone, sight, key) for key in names}
    sight.read(types)
    gone, come, stay = _sorted_out((key, rr.NSEC3 in sight.node(key), types[key] is not None) for key in types)

    def following(data: bytes) -> bytes:
        return hash_key(read_nsec3(data)[3])

    chain = Chain(zone, sight, rr.NSEC3, following, gone)
    chain.remove()
    chain.add(come)
    plan: dict[bytes, Proofs] = {key: {rr.NSEC3: None} for key in gone}
    for key in {*come, *stay, *chain.links}:
        listed = types.get(key)
        # Of a member before one that is touched only the hash is known, not the name.
        listing = read_nsec3(sight.node(key)[rr.NSEC3][1][0])[4] if listed is None else bitmap(listed)
        data = relinked_nsec3(hash_of_key(chain.after(key)), listing, work.style)
        plan[key] = {rr.NSEC3: (work.proof_ttl, (data,))}
    return plan


def _sorted_out(names: Iterable[tuple[bytes, bool, bool]]) -> tuple[list[bytes], list[bytes], list[bytes]]:
    """Of keys with whether they are in a chain and whether they shall be: those that go, that come, and that stay."""
    gone, come, stay = [], [], []
    for key, is_member, shall_be in names:
        if is_member and shall_be:
            stay.append(key)
        elif is_member:
            gone.append(key)
        elif shall_be:
            come.append(key)
    return gone, come, stay


def _nsec3_types(work: Work, zone: StoredZone, sight: Sight, key: bytes) -> tuple[int, ...] | None:
    """What the NSEC3 record of a name lists; None if it shall have none."""
    node = sight.node(key)
    if own_types(node):
        if is_left_out(key, node, work.style) or sight.is_covered(key):
            return None
        return listed_types(key, node, work.style)
    if sight.is_covered(key) or not _has_member_below(work, zone, key):
        return None
    return ()


def _has_member_below(work: Work, zone: StoredZone, key: bytes) -> bool:
    """Whether a name that has nothing itself exists because of others (RFC 5155 section 7.1)."""
    if not work.style.opt_out:
        # The first name below is not hidden: nothing is between the two.
        return zone.has_below(key)
    return any(not is_left_out(name, node, work.style) for name, node in visible(zone.names(key)))
