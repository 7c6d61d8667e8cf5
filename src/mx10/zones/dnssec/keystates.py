"""The states of a zone's keys, and what people ask of them: values that ``rollover`` takes and gives.

Times are whole seconds since 1970.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Self

from mx10.zones.dnssec.caches import Caches, Keys, Obstacle, Version, also

Mode = Literal["sign", "unsign", "unsigned"]
Event = Literal["made", "published", "signing", "asked", "trusted", "retired", "silent", "withdrawn"]


class RolloverError(ValueError):
    """Something that cannot be done with a zone's keys now: why, and what can."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key and its life.

    Attributes:
        id: its number in the store.
        role: ``csk``, ``ksk`` or ``zsk``.
        tag: RFC 4034 appendix B.
        retired: when it was decided that it shall go; None as long as it shall stay.
        why: why it shall go, for people.
        compromised: others may have it: caches are not waited for when it goes.
        events: what happened to it, and when, in order.
    """

    id: int
    role: str
    algorithm: int
    tag: int
    retired: int | None = None
    why: str = ""
    compromised: bool = False
    events: tuple[tuple[Event, int], ...] = ()

    @property
    def entry(self) -> bool:
        """Whether the parent's DS record may point to it."""
        return self.role != "zsk"

    @property
    def signs_zone(self) -> bool:
        """Whether it is for signing more than the keys."""
        return self.role != "ksk"

    def at(self, event: Event) -> int | None:
        """When something happened to it the last time."""
        return next((at for name, at in reversed(self.events) if name == event), None)

    def noted(self, event: Event, now: int) -> Self:
        """The same with something that happened to it."""
        return replace(self, events=(*self.events[-31:], (event, now)))


@dataclass(frozen=True, slots=True)
class ZoneKeys:
    """All that is remembered of a zone's keys between two calls.

    Attributes:
        mode: ``unsign``: on its way to having no keys; ``unsigned``: there.
        since: when that was decided.
        paused: no step is taken; signatures go on being made anew.
        cds: keys for which CDS and CDNSKEY ask; empty: they ask for the removal of all DS records (RFC 8078 section
            4); None: there are no such records.
        cds_at: since when they ask for that.
        asked_at: when all of the parent's nameservers last said what DS records they have.
        parent: what the last look-up found, for people.
        looked_at: the time of the last call.
    """

    mode: Mode = "sign"
    since: int = 0
    paused: bool = False
    keys: tuple[Key, ...] = ()
    caches: Caches = field(default_factory=Caches)
    cds: Keys | None = None
    cds_at: int = 0
    asked_at: int | None = None
    parent: str = ""
    looked_at: int = 0

    @property
    def publish(self) -> Keys:
        """The keys that are in the DNSKEY set."""
        return self.caches.dnskey[0].keys

    @property
    def sign_dnskey(self) -> Keys:
        """The keys that sign it."""
        return self.caches.dnskey[0].signers

    @property
    def sign_zone(self) -> Keys:
        """The keys that sign everything else."""
        return self.caches.signatures[0].keys

    @property
    def algorithms(self) -> dict[int, int]:
        """The algorithm of each key."""
        return {key.id: key.algorithm for key in self.keys}

    def key(self, number: int) -> Key:
        """The key with a number in the store."""
        return next(key for key in self.keys if key.id == number)

    def kept(self) -> tuple[Key, ...]:
        """The keys that shall stay."""
        return tuple(key for key in self.keys if key.retired is None)

    def with_key(self, key: Key, now: int) -> Self:
        """The same with a key that was made for it, or brought along."""
        return replace(self, keys=(*self.keys, key.noted("made", now)))


@dataclass(frozen=True, slots=True)
class Timing:
    """How long caches keep what the zone has.

    Attributes:
        zone_ttl: the largest TTL in the zone, in seconds.
        negative_ttl: for how long it is believed that something is not there (RFC 2308 section 5).
        gone_at: when the last record with a longer TTL that was taken out of the zone is in no cache any more.
        gradual: the zone is signed anew in pieces; ``Seen.resigned`` says when all is done.
    """

    zone_ttl: int
    negative_ttl: int
    gone_at: int = 0
    gradual: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """What was observed since the last call.

    Attributes:
        ds: each DS set that one of the parent's nameservers has, as numbers of keys; None if nobody was asked.
        complete: all of the parent's nameservers answered.
        ds_ttl: the largest TTL among those sets, in seconds.
        text: the same for people.
        resigned: no signature is left in the zone but by those keys that sign it now.
    """

    ds: frozenset[Keys] | None = None
    complete: bool = False
    ds_ttl: int = 0
    text: str = ""
    resigned: bool = True


@dataclass(frozen=True, slots=True)
class Wait:
    """A step that cannot be taken yet.

    Attributes:
        step: what it is, for people: ``take key 12345 out of the DNSKEY set``.
        keys: whom it is about.
        obstacle: what stands against it; None if the parent's nameservers have yet to be asked.
        until: when it can be taken; None if something must happen first.
    """

    step: str
    keys: Keys
    obstacle: Obstacle | None
    until: int | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What ``advance`` decided.

    Attributes:
        zone: how things are from now on.
        missing: role and algorithm of keys to make; then ``advance`` is to be called again, with them.
        gone: keys that nobody needs any more, their secrets included.
        steps: what was done, for people and for the log.
        waits: what could not be done yet.
        ask_parent: whether a step waits for the parent's DS set.
        next: when to call again at the latest, the parent's DS set apart; None: there is no such moment.
    """

    zone: ZoneKeys
    missing: tuple[tuple[str, int], ...] = ()
    gone: tuple[Key, ...] = ()
    steps: tuple[str, ...] = ()
    waits: tuple[Wait, ...] = ()
    ask_parent: bool = False
    next: int | None = None


def start(now: int, keys: Sequence[Key] = (), *, trusted: bool = False) -> ZoneKeys:
    """A zone that is to be signed from now on.

    Args:
        keys: brought along from another signer; none for new ones.
        trusted: the parent may have DS records for these.
    """
    zone = ZoneKeys(since=now, looked_at=now)
    for key in keys:
        zone = zone.with_key(key, now)
    entries = frozenset(key.id for key in keys if key.entry)
    if trusted and entries:
        zone = replace(zone, caches=replace(zone.caches, ds=also(zone.caches.ds, Version(entries, seen=False))))
    return zone


def sign_on(zone: ZoneKeys, now: int) -> ZoneKeys:
    """The zone is to be signed after all, while it was on its way to being unsigned."""
    return replace(zone, mode="sign", since=now)


def unsign(zone: ZoneKeys, now: int) -> ZoneKeys:
    """The zone is to be signed no more, without anybody finding it bogus on the way."""
    return zone if zone.mode != "sign" else replace(zone, mode="unsign", since=now)


def unsign_now(zone: ZoneKeys, now: int) -> ZoneKeys:
    """The zone is unsigned at once, whatever the parent and caches have."""
    return replace(zone, mode="unsigned", since=now, keys=(), cds=None, caches=Caches())


def pause(zone: ZoneKeys, paused: bool) -> ZoneKeys:
    """Take no step any more; or go on."""
    return replace(zone, paused=paused)


def roll(zone: ZoneKeys, role: str, now: int, why: str, *, compromised: bool = False) -> ZoneKeys:
    """Replace the keys of a role.

    Args:
        why: for people: ``asked for by alice``.
        compromised: as soon as it can be done without the zone being bogus to those with empty caches.

    Raises:
        RolloverError: there is no such key, or it is being replaced already.
    """
    if zone.mode != "sign":
        raise RolloverError("the zone is on its way to being unsigned; sign it again first")
    if not any(key.role == role for key in zone.keys):
        roles = " and ".join(sorted({key.role for key in zone.keys})) or "none yet"
        raise RolloverError(f"the zone has no {role}: its keys are {roles}")
    going = [key for key in zone.keys if key.role == role and key.retired is not None]
    if going and not compromised:
        tags = ", ".join(str(key.tag) for key in going)
        raise RolloverError(f"the {role} {tags} is being replaced already; wait until it is gone, or say --emergency")
    return replace(
        zone, keys=tuple(retired(key, now, why, compromised) if key.role == role else key for key in zone.keys)
    )


def retired(key: Key, now: int, why: str, compromised: bool = False) -> Key:
    if key.retired is not None:
        return replace(key, compromised=key.compromised or compromised)
    return replace(key, retired=now, why=why, compromised=compromised).noted("retired", now)
