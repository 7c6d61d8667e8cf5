"""A zone's keys in words: what each one does, what it waits for and until when, and the stages of its life.

Only words and plain values; the command line draws them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

from mx10.zones.dnssec.caches import Keys, Obstacle, Version, foreign_parts
from mx10.zones.dnssec.keystates import Event, Key, Plan, Wait, ZoneKeys
from mx10.zones.dnssec.policy import ALGORITHMS, Policy

Reached = Literal["done", "now", "later"]

_STAGES: Final[dict[str, tuple[tuple[Event, str], ...]]] = {
    "csk": (("published", "published"), ("signing", "signs all"), ("asked", "DS asked for"), ("trusted", "DS seen")),
    "ksk": (("published", "published"), ("asked", "DS asked for"), ("trusted", "DS seen")),
    "zsk": (("published", "published"), ("signing", "signs the zone")),
}
_END: Final[tuple[tuple[Event, str], ...]] = (("retired", "to go"), ("silent", "stopped signing"), ("withdrawn", "out"))


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage of a key's life.

    Attributes:
        name: for people.
        reached: ``now``: the next one.
        at: when it was reached, seconds since 1970.
    """

    name: str
    reached: Reached
    at: int | None


def moment(at: int) -> str:
    """A time for people, in UTC; for a time no calendar has, the number."""
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (OverflowError, ValueError, OSError):
        return f"second {at} since 1970"


def duration(seconds: int) -> str:
    """A length of time for people, in its two largest units."""
    parts = []
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, seconds = divmod(max(0, seconds), length)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"


def label(zone: ZoneKeys, number: int) -> str:
    """A key as people know it: ``csk 12345``."""
    if number < 0:
        tag, algorithm = foreign_parts(number)
        return f"a key that is not here (tag {tag}, algorithm {algorithm})"
    key = zone.key(number)
    return f"{key.role} {key.tag}"


def labels(zone: ZoneKeys, keys: Keys) -> str:
    """Several of them."""
    return " and ".join(label(zone, key) for key in sorted(keys)) or "no key"


def headline(zone: ZoneKeys, policy: Policy) -> str:
    """How the zone stands, in one sentence."""
    if zone.mode == "unsigned":
        return "not signed"
    style = "one key signs all" if policy.keys == "csk" else "one key signs the keys, one the zone"
    text = f"signed: algorithm {policy.algorithm} ({ALGORITHMS[policy.algorithm]}), {style}, {policy.denial.upper()}"
    if zone.mode == "unsign":
        text = "on its way to being unsigned; until then it stays signed"
    return f"{text}; paused" if zone.paused else text


def parent(zone: ZoneKeys) -> str:
    """What is known of the parent's DS records."""
    first = zone.caches.ds[0]
    known = f"DS of {labels(zone, first.keys)}" if first.keys else "no DS record"
    if zone.asked_at is None:
        return "its DS records have not been seen yet" + (f" ({zone.parent})" if zone.parent else "")
    return f"{known} at all of its nameservers on {moment(zone.asked_at)}" + (
        f" ({zone.parent})" if zone.parent else ""
    )


def does(zone: ZoneKeys, key: Key) -> tuple[str, ...]:
    """What a key does now."""
    found = []
    if key.id in zone.publish:
        found.append("is in the DNSKEY set")
    if key.id in zone.sign_dnskey:
        found.append("signs the keys")
    if key.id in zone.sign_zone:
        found.append("signs the zone")
    if zone.cds and key.id in zone.cds:
        found.append("CDS asks for its DS record")
    if key.id in zone.caches.ds[0].keys:
        found.append("the parent has its DS record")
    return tuple(found) or ("nothing any more: caches may still know it",)


def stages(zone: ZoneKeys, key: Key) -> list[Stage]:
    """The stages of a key's life, those that are still to come included."""
    names = [*_STAGES[key.role]]
    if key.retired is not None:
        # What it did not come to it never will.
        names = [(event, name) for event, name in names if key.at(event) is not None]
        names += [one for one in _END if one[0] != "silent" or key.signs_zone]
    found: list[Stage] = []
    waiting = False
    for event, name in names:
        at = key.at(event)
        if at is None:
            found.append(Stage(name, "later" if waiting else "now", None))
            waiting = True
        else:
            found.append(Stage(name, "done", at))
    if key.retired is not None:
        found.append(Stage("forgotten", "later" if waiting else "now", None))
    return found


def reason(zone: ZoneKeys, wait: Wait) -> str:
    """Why a step has to wait."""
    obstacle = wait.obstacle
    if obstacle is None:
        return "the parent's nameservers have to be asked for its DS records first"
    return _event(zone, obstacle) if obstacle.until is None else _cached(zone, obstacle)


def _event(zone: ZoneKeys, obstacle: Obstacle) -> str:
    version = obstacle.version
    if obstacle.part == "ds":
        keys = labels(zone, version.keys)
        if not version.seen:
            return f"the parent was asked for the DS record of {keys} and may act on it at any time"
        if zone.cds is not None and not zone.cds:
            return f"the parent still has the DS record of {keys}; CDS asks it to remove it"
        return f"the parent still has the DS record of {keys}" + (
            f"; CDS asks for that of {labels(zone, zone.cds)}" if zone.cds and zone.cds != version.keys else ""
        )
    if obstacle.part == "dnskey":
        return "the DNSKEY set has to change first"
    if version is zone.caches.signatures[0]:
        return f"the zone is signed by {labels(zone, version.keys)}; that has to change first"
    return f"not all of the zone is signed anew yet: signatures of {labels(zone, version.keys)} are left"


def _cached(zone: ZoneKeys, obstacle: Obstacle) -> str:
    version = obstacle.version
    if obstacle.part == "ds":
        return f"resolvers may have the DS record of {labels(zone, version.keys)} until then"
    if obstacle.part == "dnskey":
        if not version.keys:
            return "resolvers may believe until then that the zone has no keys"
        return f"resolvers may have the DNSKEY set with {labels(zone, version.keys)} until then"
    if not version.keys:
        return "resolvers may have records without signatures until then"
    return f"resolvers may have records signed by {labels(zone, version.keys)} only until then"


def when(wait: Wait, now: int) -> str:
    """Until when a step has to wait."""
    if wait.until is None:
        return "no time can be given"
    return f"not before {moment(wait.until)}, in {duration(wait.until - now)}"


def to_json(zone: ZoneKeys, policy: Policy, plan: Plan, now: int) -> dict[str, Any]:
    """All of it as plain values; times are seconds since 1970."""
    return {
        "mode": zone.mode,
        "paused": zone.paused,
        "policy": {name: getattr(policy, name) for name in policy.__dataclass_fields__},
        "keys": [
            {
                "id": key.id,
                "role": key.role,
                "algorithm": key.algorithm,
                "tag": key.tag,
                "published": key.id in zone.publish,
                "signs_dnskey": key.id in zone.sign_dnskey,
                "signs_zone": key.id in zone.sign_zone,
                "cds": zone.cds is not None and key.id in zone.cds,
                "ds": key.id in zone.caches.ds[0].keys,
                "retired": key.retired,
                "why": key.why,
                "compromised": key.compromised,
                "events": [{"event": event, "at": at} for event, at in key.events],
                "stages": [
                    {"name": stage.name, "reached": stage.reached, "at": stage.at} for stage in stages(zone, key)
                ],
            }
            for key in zone.keys
        ],
        "caches": {
            "ds": _versions(zone.caches.ds),
            "dnskey": _versions(zone.caches.dnskey),
            "signatures": _versions(zone.caches.signatures),
        },
        "parent": {"asked_at": zone.asked_at, "text": zone.parent},
        "due": list(plan.steps),
        "waits": [
            {"step": wait.step, "keys": sorted(wait.keys), "until": wait.until, "reason": reason(zone, wait)}
            for wait in plan.waits
        ],
        "next": plan.next,
        "now": now,
    }


def _versions(versions: Sequence[Version]) -> list[dict[str, Any]]:
    return [
        {"keys": sorted(one.keys), "signers": sorted(one.signers), "until": one.until, "seen": one.seen}
        for one in versions
    ]
