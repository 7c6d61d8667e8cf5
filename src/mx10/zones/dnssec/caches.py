"""What validators may have in their caches, and whether a zone can change without one of them finding it bogus.

Three things of a signed zone are cached apart from each other: the DS set at the parent, the DNSKEY set, and all other
records with their signatures. A validator may combine any version of one with any version of the others, as old as
TTLs let them grow. So a step is safe if every combination of a new version with those that may still be held somewhere
validates (RFC 6781 section 4.1, RFC 7583). Every rollover there is follows from this one rule; nothing here knows
which one is going on.

Keys are numbers (``keys.id``). A DS record that belongs to none of our keys is a negative number, see ``foreign``.
Times are whole seconds since 1970.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Final, Literal, Self

Keys = frozenset[int]
NONE: Final[Keys] = frozenset()

Part = Literal["ds", "dnskey", "signatures"]


def foreign(tag: int, algorithm: int) -> int:
    """The number for a DS record that points to none of our keys."""
    return -(tag << 8 | algorithm) - 1


def foreign_parts(number: int) -> tuple[int, int]:
    """Key tag and algorithm of a DS record that points to none of our keys."""
    value = -number - 1
    return value >> 8, value & 0xFF


@dataclass(frozen=True, slots=True)
class Version:
    """One state of the DS set, the DNSKEY set, or the signatures.

    Attributes:
        keys: the keys that DS records point to; that are in the DNSKEY set; that signed the zone's records.
        signers: of a DNSKEY set: the keys that signed it.
        ttl: seconds for which caches keep it, the largest that was seen.
        until: when the last cache has dropped it; None while it can still be fetched, or may yet appear.
        seen: False for a DS set that we asked the parent for and that nobody has seen there yet.
    """

    keys: Keys = NONE
    signers: Keys = NONE
    ttl: int = 0
    until: int | None = None
    seen: bool = True

    def same(self, other: "Version") -> bool:
        """Whether a validator would see the same in both."""
        return self.keys == other.keys and self.signers == other.signers


Versions = tuple[Version, ...]
"""The current one first; then those that may still be held, or found, somewhere."""


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why a step has to wait: a version that would not fit.

    Attributes:
        until: when the last cache has dropped it; None if something must happen first.
    """

    part: Part
    version: Version
    until: int | None


@dataclass(frozen=True, slots=True)
class Caches:
    """All that validators may have of a zone.

    Attributes:
        ds: versions of the DS set at the parent. One that the parent was asked for by CDS counts at once: nobody knows
            when it acts.
        dnskey: versions of the DNSKEY set.
        signatures: versions of the signatures on all other records.
    """

    ds: Versions = field(default=(Version(),))
    dnskey: Versions = field(default=(Version(),))
    signatures: Versions = field(default=(Version(),))

    def forget(self, now: int) -> Self:
        """Without what no cache holds any more."""

        def left(versions: Versions) -> Versions:
            return versions[:1] + tuple(one for one in versions[1:] if one.until is None or one.until > now)

        return replace(self, ds=left(self.ds), dnskey=left(self.dnskey), signatures=left(self.signatures))

    def mentions(self, key: int) -> bool:
        """Whether anybody may still see a key, its DS record or a signature by it."""
        return any(key in one.keys or key in one.signers for one in (*self.ds, *self.dnskey, *self.signatures))

    def moved(self, by: int) -> Self:
        """The same with every time moved: for a clock that jumped while nothing else happened."""

        def shift(versions: Versions) -> Versions:
            return tuple(one if one.until is None else replace(one, until=one.until + by) for one in versions)

        return replace(self, ds=shift(self.ds), dnskey=shift(self.dnskey), signatures=shift(self.signatures))


def superseded(versions: Versions, new: Version, until: int | None) -> Versions:
    """Versions after a new one has taken the first place.

    Args:
        until: when the last cache has dropped what was the first.
    """
    current, *others = versions
    if current.same(new):
        # The same to validators: only the TTL may differ, and caches hold what they got with the longer one.
        return (replace(new, ttl=max(new.ttl, current.ttl)), *others)
    known = [one for one in others if one.same(new)]
    first = replace(new, ttl=max([new.ttl, *(one.ttl for one in known)]))
    return (first, *_with(tuple(one for one in others if not one.same(new)), replace(current, until=until)))


def also(versions: Versions, new: Version) -> Versions:
    """Versions with one more that may be found somewhere, the first staying the first."""
    current, *others = versions
    if current.same(new):
        return versions
    return (current, *_with(tuple(others), new))


def _with(others: Versions, new: Version) -> Versions:
    for at, one in enumerate(others):
        if one.same(new):
            until = None if one.until is None or new.until is None else max(one.until, new.until)
            longer = replace(one, until=until, ttl=max(one.ttl, new.ttl), seen=one.seen or new.seen)
            return (*others[:at], longer, *others[at + 1 :])
    return (new, *others)


def validates(ds: Version, dnskey: Version, signatures: Version, algorithms: Mapping[int, int]) -> bool:
    """Whether a validator believes a record set with this chain; that it is insecure is as good.

    One that takes any working path (RFC 6840 section 5.11).

    Args:
        algorithms: of each key.
    """
    if not ds.keys:
        return True
    return bool(ds.keys & dnskey.keys & dnskey.signers) and bool(signatures.keys & dnskey.keys)


def validates_strictly(ds: Version, dnskey: Version, signatures: Version, algorithms: Mapping[int, int]) -> bool:
    """As ``validates``, by one that wants a path for every algorithm it sees announced.

    That is what a zone has to offer (RFC 4035 section 2.2, RFC 6781 section 4.1.4), though validators should not
    insist.
    """
    return not ds.keys or (
        _entered(ds, dnskey, algorithms)
        and _of(dnskey.keys, algorithms) <= _of(signatures.keys & dnskey.keys, algorithms)
    )


def _entered(ds: Version, dnskey: Version, algorithms: Mapping[int, int]) -> bool:
    """Whether each algorithm of the DS set leads to a key that signed the DNSKEY set."""
    return _of(ds.keys, algorithms) <= _of(ds.keys & dnskey.keys & dnskey.signers, algorithms)


def _of(keys: Keys, algorithms: Mapping[int, int]) -> set[int]:
    return {algorithms[key] if key >= 0 else foreign_parts(key)[1] for key in keys}


_VALIDATORS: Final = (validates, validates_strictly)
_PARTS: Final[tuple[Part, Part, Part]] = ("ds", "dnskey", "signatures")

_Chain = tuple[Version, Version, Version]


def obstacles(
    caches: Caches,
    algorithms: Mapping[int, int],
    *,
    ds: Version | None = None,
    dnskey: Version | None = None,
    signatures: Version | None = None,
    fresh_only: bool = False,
) -> list[Obstacle]:
    """What stands against a step: nothing, or those versions that would have to go first.

    A combination that is broken as things are does not stand against a step that leaves it broken: a zone whose DS
    record is wrong must not be kept from being mended.

    Args:
        algorithms: of each key that the versions name.
        ds, dnskey, signatures: what would be new; None: stays.
        fresh_only: look only at what can be fetched now, as if all caches were empty: for a key that others may have
            got hold of, which is worse than some outage.
    """
    current = caches.ds[0], caches.dnskey[0], caches.signatures[0]
    new = ds, dnskey, signatures
    found: dict[tuple[Part, Version], Obstacle] = {}
    for chain in _chains(caches, new, fresh_only):
        was_ds, was_dnskey, was_signatures = (
            now if one is fresh else one for one, now, fresh in zip(chain, current, new, strict=True)
        )
        if any(
            not valid(*chain, algorithms) and valid(was_ds, was_dnskey, was_signatures, algorithms)
            for valid in _VALIDATORS
        ):
            obstacle = _first_to_go(chain, new, current, algorithms)
            found[obstacle.part, obstacle.version] = obstacle
    return list(found.values())


def _chains(
    caches: Caches, new: tuple[Version | None, Version | None, Version | None], fresh_only: bool
) -> Iterator[_Chain]:
    """Every combination that has something new in it."""

    def choices(versions: Versions, one: Version | None) -> Versions:
        if fresh_only:
            versions = tuple(each for each in versions if each.until is None)
            if one is not None:
                # What is first now could be fetched no more.
                versions = versions[1:]
        return versions if one is None else (one, *versions)

    for chain in product(
        choices(caches.ds, new[0]), choices(caches.dnskey, new[1]), choices(caches.signatures, new[2])
    ):
        if any(one is fresh for one, fresh in zip(chain, new, strict=True)):
            yield chain


def _first_to_go(
    chain: _Chain,
    new: tuple[Version | None, Version | None, Version | None],
    current: _Chain,
    algorithms: Mapping[int, int],
) -> Obstacle:
    """Of a combination that would not validate, the old version that is gone first: then the combination is too."""
    old = [
        (Obstacle(part, one, one.until), one is now)
        for part, one, fresh, now in zip(_PARTS, chain, new, current, strict=True)
        if one is not fresh
    ]
    if not old:
        return Obstacle("ds", chain[0], None)
    at_ds = not _entered(chain[0], chain[1], algorithms)

    def order(one: tuple[Obstacle, bool]) -> tuple[bool, int, bool, bool]:
        obstacle, stays = one
        # Soonest first; of those that wait for an event, the ones that are on their way out already; then whichever is
        # next to where the chain is torn.
        return obstacle.until is None, obstacle.until or 0, stays, (obstacle.part == "ds") != at_ds

    return min(old, key=order)[0]
