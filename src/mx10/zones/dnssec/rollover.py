"""The life of a zone's keys: what each one does now, what it waits for, and until when.

A pure function, ``advance``: the policy, the keys, what caches may hold and what was seen of the parent go in; the
next arrangement comes out. It takes every step that is safe, and no other: ``caches.obstacles`` is its judge, and
whatever is waited for is an obstacle that has not gone yet. So there is no plan for each kind of rollover; the known
ones (RFC 6781 section 4, RFC 7583) are what comes of the goal and the judge together:

- a new ZSK is published, signs when everybody knows it, and the old one goes when its signatures are forgotten;
- a new KSK or CSK is published and signs the keys; CDS and CDNSKEY ask the parent for its DS record once everybody
  knows it; the old one goes when its DS record is forgotten (RFC 7344);
- another algorithm signs first, is published when everybody has its signatures, and so on, the old one backwards;
- a zone that is to be signed no more asks for the removal of its DS record first (RFC 8078 section 4).

Nothing here reads a clock, makes a key or touches a record. Times are whole seconds since 1970.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from mx10.zones.dnssec.caches import NONE, Caches, Keys, Version, also, obstacles, superseded
from mx10.zones.dnssec.keystates import Event, Key, Plan, Seen, Timing, Wait, ZoneKeys, retired
from mx10.zones.dnssec.policy import DAY, Policy

PARENT_DELAY: Final = DAY
"""Seconds that we give a parent to act on a CDS record that was taken back before anybody saw it act."""

CLOCK_STEP: Final = DAY
"""Seconds by which a clock may be found turned back before waits that would have become longer are cut."""

_STEPS: Final = 64
"""Steps in one go at most; with a few keys there are never more than a dozen."""


def moved(zone: ZoneKeys, policy: Policy, timing: Timing, by: int, now: int) -> ZoneKeys:
    """The same after the clock was set forward by some seconds in which nothing else happened: waits are as long as
    they were, and no longer than they can be.

    Args:
        now: what the clock says after it was set.
    """
    return _cut(replace(zone, caches=zone.caches.moved(by)), now + _longest(zone, policy, timing))


def advance(zone: ZoneKeys, policy: Policy, timing: Timing, now: int, seen: Seen | None = None) -> Plan:
    """Take every step that can be taken now.

    Args:
        zone: as the last call left it.
        now: seconds since 1970.
        seen: what was observed since; None: nothing.
    """
    seen = seen or Seen()
    zone = _observed(_on_time(zone, policy, timing, now), policy, timing, now, seen)
    if zone.paused or zone.mode == "unsigned":
        return Plan(zone, next=None)
    zone, gone = _buried(zone)
    missing: list[tuple[str, int]] = []
    steps: list[str] = []
    if zone.mode == "sign":
        zone, retired = _end_of_life(zone, policy, now)
        steps += retired
        missing = _missing(zone, policy)
        if missing:
            return Plan(zone, tuple(missing), gone, tuple(steps), next=now)
    waits: list[Wait] = []
    for _ in range(_STEPS):
        waits.clear()
        for attempt in _attempts(zone, policy, timing):
            wait = _refusal(zone, attempt, now)
            if wait is None:
                zone = _taken(zone, attempt, policy, timing, now)
                steps.append(attempt.what)
                break
            waits.append(wait)
        else:
            break
    zone, gone_now = _buried(zone)
    caches = zone.caches
    moments = [one.until for one in (*caches.ds, *caches.dnskey, *caches.signatures) if one.until is not None]
    moments += [wait.until for wait in waits if wait.until is not None]
    moments += [end for key in zone.kept() if (end := _end(key, policy)) is not None and end > now]
    return Plan(
        zone,
        (),
        (*gone, *gone_now),
        tuple(steps),
        _told_once(waits),
        _asks_parent(zone, waits),
        min(moments, default=None),
    )


def _asks_parent(zone: ZoneKeys, waits: Sequence[Wait]) -> bool:
    """Whether something depends on what DS records the parent has."""
    if zone.cds is not None and zone.cds != zone.caches.ds[0].keys:
        return True
    return any(wait.obstacle is None or (wait.obstacle.part == "ds" and wait.until is None) for wait in waits)


def _on_time(zone: ZoneKeys, policy: Policy, timing: Timing, now: int) -> ZoneKeys:
    """Waits that a wrong clock made are cut to what they can be at most."""
    if now < zone.looked_at - CLOCK_STEP:
        zone = replace(
            _cut(zone, now + _longest(zone, policy, timing)),
            since=min(zone.since, now),
            keys=tuple(replace(key, events=tuple((e, min(at, now)) for e, at in key.events)) for key in zone.keys),
            asked_at=None if zone.asked_at is None else min(zone.asked_at, now),
        )
    caches = zone.caches.forget(now)
    first, *rest = caches.dnskey
    if first.keys:
        # The policy's TTL may have been larger for a while than when these keys were published.
        caches = replace(caches, dnskey=(replace(first, ttl=max(first.ttl, policy.dnskey_ttl)), *rest))
    return replace(zone, looked_at=now, caches=caches)


def _cut(zone: ZoneKeys, most: int) -> ZoneKeys:
    """Without waits that go beyond a moment."""

    def cut(versions: tuple[Version, ...]) -> tuple[Version, ...]:
        return tuple(one if one.until is None else replace(one, until=min(one.until, most)) for one in versions)

    caches = zone.caches
    return replace(zone, caches=Caches(cut(caches.ds), cut(caches.dnskey), cut(caches.signatures)))


def _longest(zone: ZoneKeys, policy: Policy, timing: Timing) -> int:
    """Seconds that anything can have to be waited for."""
    ttls = [one.ttl for one in (*zone.caches.ds, *zone.caches.dnskey, *zone.caches.signatures)]
    margin = max(policy.propagation_seconds, policy.parent_propagation_seconds)
    return margin + max([*ttls, timing.zone_ttl, timing.negative_ttl, policy.dnskey_ttl, PARENT_DELAY])


def _observed(zone: ZoneKeys, policy: Policy, timing: Timing, now: int, seen: Seen) -> ZoneKeys:
    caches = zone.caches
    if seen.resigned and any(one.until is None for one in caches.signatures[1:]):
        until = _signatures_gone(caches.signatures[0], policy, timing, now)
        rest = tuple(one if one.until is not None else replace(one, until=until) for one in caches.signatures[1:])
        caches = replace(caches, signatures=(caches.signatures[0], *rest))
    if seen.text:
        zone = replace(zone, parent=seen.text)
    if seen.ds is None:
        return replace(zone, caches=caches)
    for keys in seen.ds:
        # What one of the parent's nameservers has can be fetched from it.
        caches = replace(caches, ds=also(caches.ds, Version(keys, ttl=seen.ds_ttl)))
    if seen.complete and len(seen.ds) == 1:
        (keys,) = seen.ds
        zone = replace(zone, asked_at=now)
        caches = replace(caches, ds=_ds_agreed(zone, caches, policy, now, keys, seen.ds_ttl))
        if keys != zone.caches.ds[0].keys:
            for key in keys:
                if key >= 0:
                    zone = _noted(zone, key, "trusted", now)
    return replace(zone, caches=caches)


def _ds_agreed(zone: ZoneKeys, caches: Caches, policy: Policy, now: int, keys: Keys, ttl: int) -> tuple[Version, ...]:
    """DS versions once all of the parent's nameservers have the same: the others age from now on."""
    first, *rest = superseded(caches.ds, Version(keys, ttl=ttl), None)
    aged = []
    for one in rest:
        until = one.until
        if until is None and one.seen:
            until = now + policy.parent_propagation_seconds + max(one.ttl, ttl)
        elif until is None and keys == zone.cds:
            # The parent did what it was asked for last. What it had been asked for before may have been done for a
            # moment, or may yet come out of a queue.
            until = now + policy.parent_propagation_seconds + max(one.ttl, ttl, PARENT_DELAY)
        aged.append(replace(one, until=until))
    return (first, *aged)


def _noted(zone: ZoneKeys, number: int, event: Event, now: int) -> ZoneKeys:
    keys = tuple(key.noted(event, now) if key.id == number else key for key in zone.keys)
    return replace(zone, keys=keys)


def _end(key: Key, policy: Policy) -> int | None:
    """When a key's time is over; None: never, or it has not begun."""
    begun = key.at("published")
    lifetime = policy.lifetime(key.role)
    return begun + lifetime if lifetime and begun is not None else None


def _end_of_life(zone: ZoneKeys, policy: Policy, now: int) -> tuple[ZoneKeys, list[str]]:
    """Keys that do not fit the policy, and those whose time is over, shall go; one of each role at a time."""
    keys: list[Key] = []
    steps: list[str] = []
    busy = {key.role for key in zone.keys if key.retired is not None}
    for key in zone.keys:
        why = ""
        if key.retired is None:
            end = _end(key, policy)
            if key.algorithm != policy.algorithm:
                why = f"the policy wants algorithm {policy.algorithm}"
            elif key.role not in policy.roles:
                why = f"the policy wants {policy.keys}"
            elif end is not None and end <= now and key.role not in busy:
                why = f"its {policy.lifetime(key.role) // DAY} days are over"
                busy.add(key.role)
        if why:
            key = retired(key, now, why)
            steps.append(f"{key.role} {key.tag} shall go: {why}")
        keys.append(key)
    return replace(zone, keys=tuple(keys)), steps


def _missing(zone: ZoneKeys, policy: Policy) -> list[tuple[str, int]]:
    there = {key.role for key in zone.kept()}
    return [(role, policy.algorithm) for role in policy.roles if role not in there]


@dataclass(frozen=True, slots=True)
class _Attempt:
    """A step that would bring the zone nearer to what is wanted.

    Attributes:
        what: for people.
        keys: whom it is about.
        dnskey, signatures: the new version; None: stays.
        cds: what CDS shall ask for; None: as before.
        ends: the zone is unsigned with it.
        asks: the parent's DS set must have been looked up after this time: it may have been changed by hand.
    """

    what: str
    keys: Keys
    dnskey: Version | None = None
    signatures: Version | None = None
    cds: Keys | None = None
    ends: bool = False
    asks: int | None = None


def _attempts(zone: ZoneKeys, policy: Policy, timing: Timing) -> Iterator[_Attempt]:
    """Steps towards what is wanted, in the order in which they are to be tried; each differs from how things are."""
    if zone.mode == "unsigned":
        return
    if zone.mode == "unsign":
        yield from _towards_unsigned(zone, timing)
        return
    yield from _additions(zone, policy)
    yield from _signers(zone)
    yield from _requests(zone)
    yield from _removals(zone, policy)


def _names(zone: ZoneKeys, keys: Keys) -> str:
    return ", ".join(f"{key.role} {key.tag}" for key in zone.keys if key.id in keys)


def _additions(zone: ZoneKeys, policy: Policy) -> Iterator[_Attempt]:
    """Keys into the DNSKEY set, those of one algorithm together."""
    present = zone.caches.dnskey[0]
    for algorithm in sorted({key.algorithm for key in zone.kept()}):
        kept = [key for key in zone.kept() if key.algorithm == algorithm]
        new = Version(
            present.keys | {key.id for key in kept},
            present.signers | {key.id for key in kept if key.entry},
            policy.dnskey_ttl,
        )
        if not new.same(present):
            added = new.keys - present.keys
            yield _Attempt(f"publish {_names(zone, added)} in the DNSKEY set", added, dnskey=new)


def _signers(zone: ZoneKeys) -> Iterator[_Attempt]:
    """Who signs the zone: those who shall; else, with them, those of algorithms on their way out; else all who do, and
    those of new algorithms."""
    present = zone.caches.signatures[0].keys
    algorithms = zone.algorithms
    wanted = frozenset(key.id for key in zone.kept() if key.signs_zone)
    here = {algorithms[key] for key in wanted}
    had = {algorithms[key] for key in present}
    tried = {present}
    for keys in (
        wanted,
        wanted | {key for key in present if algorithms[key] not in here},
        present | {key for key in wanted if algorithms[key] not in had},
    ):
        if keys not in tried:
            tried.add(keys)
            yield _Attempt(_who_signs(zone, present, keys), keys ^ present, signatures=Version(keys))


def _who_signs(zone: ZoneKeys, present: Keys, keys: Keys) -> str:
    come, go = keys - present, present - keys
    if not go:
        return f"sign the zone with {_names(zone, come)}"
    if not come:
        return f"stop signing the zone with {_names(zone, go)}"
    return f"sign the zone with {_names(zone, come)} in place of {_names(zone, go)}"


def _requests(zone: ZoneKeys) -> Iterator[_Attempt]:
    """CDS and CDNSKEY for the keys that the parent's DS records shall point to."""
    wanted = frozenset(key.id for key in zone.kept() if key.entry)
    if wanted != zone.cds:
        yield _Attempt(f"ask the parent by CDS for the DS record of {_names(zone, wanted)}", wanted, cds=wanted)


def _removals(zone: ZoneKeys, policy: Policy) -> Iterator[_Attempt]:
    """Keys that shall go out of the DNSKEY set: all of them, or else one by one."""
    present = zone.caches.dnskey[0]
    going = [key for key in zone.keys if key.retired is not None and key.id in present.keys]
    groups = [frozenset(key.id for key in going)] if len(going) > 1 else []
    for keys in [*groups, *(frozenset((key.id,)) for key in going)]:
        new = Version(present.keys - keys, present.signers - keys, policy.dnskey_ttl)
        decided = [key.retired or 0 for key in going if key.id in keys and key.entry]
        yield _Attempt(
            f"take {_names(zone, keys)} out of the DNSKEY set", keys, dnskey=new, asks=max(decided, default=None)
        )


def _towards_unsigned(zone: ZoneKeys, timing: Timing) -> Iterator[_Attempt]:
    keys = frozenset(key.id for key in zone.keys)
    yield _Attempt(
        "take all keys and signatures out of the zone",
        keys,
        dnskey=Version(ttl=timing.negative_ttl),
        signatures=Version(),
        ends=True,
        asks=zone.since,
    )
    if zone.cds != NONE and any(one.keys for one in zone.caches.ds):
        yield _Attempt("ask the parent by CDS to remove all DS records", keys, cds=NONE)


def _refusal(zone: ZoneKeys, attempt: _Attempt, now: int) -> Wait | None:
    """What stands against a step; None: nothing."""
    if attempt.asks is not None and (zone.asked_at is None or zone.asked_at < attempt.asks):
        return Wait(attempt.what, attempt.keys, None, None)
    about = attempt.keys if attempt.cds is None else attempt.keys | (zone.cds or NONE)
    fresh_only = any(key.compromised and key.retired is not None for key in zone.keys if key.id in about)
    found = obstacles(
        zone.caches,
        zone.algorithms,
        ds=None if attempt.cds is None else Version(attempt.cds, seen=False),
        dnskey=attempt.dnskey,
        signatures=attempt.signatures,
        fresh_only=fresh_only,
    )
    if not found:
        return None
    event = next((one for one in found if one.until is None), None)
    if event is not None:
        return Wait(attempt.what, attempt.keys, event, None)
    last = max(found, key=lambda one: one.until or now)
    return Wait(attempt.what, attempt.keys, last, last.until)


def _taken(zone: ZoneKeys, attempt: _Attempt, policy: Policy, timing: Timing, now: int) -> ZoneKeys:
    """How things are after a step."""
    caches = zone.caches
    if attempt.dnskey is not None:
        present = caches.dnskey[0]
        ttl = max(present.ttl, policy.dnskey_ttl) if present.keys else timing.negative_ttl
        until = now + policy.propagation_seconds + ttl
        for key in attempt.dnskey.keys - present.keys:
            zone = _noted(zone, key, "published", now)
        for key in present.keys - attempt.dnskey.keys:
            zone = _noted(zone, key, "withdrawn", now)
        caches = replace(caches, dnskey=superseded(caches.dnskey, attempt.dnskey, until))
    if attempt.signatures is not None:
        present = caches.signatures[0]
        gone = None if timing.gradual and not attempt.ends else _signatures_gone(present, policy, timing, now)
        for key in attempt.signatures.keys - present.keys:
            zone = _noted(zone, key, "signing", now)
        for key in present.keys - attempt.signatures.keys:
            zone = _noted(zone, key, "silent", now)
        caches = replace(caches, signatures=superseded(caches.signatures, attempt.signatures, gone))
    if attempt.cds is not None:
        caches = replace(caches, ds=also(caches.ds, Version(attempt.cds, seen=False)))
        for key in attempt.cds:
            zone = _noted(zone, key, "asked", now)
        zone = replace(zone, cds=attempt.cds, cds_at=now)
    zone = replace(zone, caches=caches)
    if attempt.ends:
        # Nobody has a DS record of it any more: to all it is insecure, whatever else they hold.
        zone = replace(zone, mode="unsigned", since=now, cds=None, caches=Caches())
    return zone


def _signatures_gone(present: Version, policy: Policy, timing: Timing, now: int) -> int:
    """When no cache has records with the present signatures any more: no TTL outlives a signature (RFC 4035 section
    5.3.3)."""
    longest = policy.signature_days * DAY
    return (
        now + policy.propagation_seconds + min(max(timing.zone_ttl, timing.negative_ttl, timing.gone_at - now), longest)
    )


def _buried(zone: ZoneKeys) -> tuple[ZoneKeys, tuple[Key, ...]]:
    """Without the keys that nobody can need any more."""
    if zone.mode == "unsigned":
        return replace(zone, keys=()), zone.keys
    asked = zone.cds or NONE
    gone = tuple(
        key for key in zone.keys if key.retired is not None and key.id not in asked and not zone.caches.mentions(key.id)
    )
    return replace(zone, keys=tuple(key for key in zone.keys if key not in gone)), gone


def _told_once(waits: Sequence[Wait]) -> tuple[Wait, ...]:
    """Waits without those that say less than another one: several attempts may be made at the same thing."""
    told: list[Wait] = []
    for wait in waits:
        if not any(wait.keys == one.keys and wait.obstacle == one.obstacle for one in told):
            told.append(wait)
    return tuple(told)
