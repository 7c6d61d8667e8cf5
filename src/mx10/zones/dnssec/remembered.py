"""The state of a zone's keys as JSON, as the store keeps it: the zone's part in ``zones.signing``, each key's in
``keys.state``.

Every call that changes something writes all of it in the transaction that changes the records, so a process that is
killed at any moment finds records and state as they belong together. What is read may come from a newer version or a
mended database: it is checked.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast, get_args

from mx10.zones.dnssec.caches import Caches, Keys, Version, Versions
from mx10.zones.dnssec.keystates import Event, Key, Mode, ZoneKeys
from mx10.zones.dnssec.policy import PolicyError, checked

FORMAT: Final = 1
"""Of what is written; a larger one is from a newer mx10."""

_MOST: Final = 10_000
"""Elements of any list: far more than ever come about."""

T = TypeVar("T")


class StateError(ValueError):
    """A state that cannot be read: what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Signing:
    """What ``zones.signing`` holds.

    Attributes:
        policy: what differs from the configuration's.
        zone: without its keys.
        next: when to look at the zone again, seconds since 1970; None: only when something happens.
        ask_parent: a step waits for the parent's DS set.
    """

    policy: Mapping[str, Any]
    zone: ZoneKeys
    next: int | None = None
    ask_parent: bool = False


def signing_to_json(signing: Signing) -> str:
    """The zone's part, keys left out."""
    zone = signing.zone
    return json.dumps(
        {
            "format": FORMAT,
            "policy": dict(signing.policy),
            "mode": zone.mode,
            "since": zone.since,
            "paused": zone.paused,
            "ds": [_version(one) for one in zone.caches.ds],
            "dnskey": [_version(one) for one in zone.caches.dnskey],
            "signatures": [_version(one) for one in zone.caches.signatures],
            "cds": None if zone.cds is None else sorted(zone.cds),
            "cds_at": zone.cds_at,
            "asked_at": zone.asked_at,
            "parent": zone.parent,
            "looked_at": zone.looked_at,
            "next": signing.next,
            "ask_parent": signing.ask_parent,
        },
        separators=(",", ":"),
    )


def _version(one: Version) -> dict[str, Any]:
    return {
        "keys": sorted(one.keys),
        "signers": sorted(one.signers),
        "ttl": one.ttl,
        "until": one.until,
        "seen": one.seen,
    }


def key_to_json(key: Key) -> str:
    """A key's part; its number, role and algorithm stand beside it."""
    return json.dumps(
        {
            "format": FORMAT,
            "tag": key.tag,
            "retired": key.retired,
            "why": key.why,
            "compromised": key.compromised,
            "events": [list(event) for event in key.events],
        },
        separators=(",", ":"),
    )


def signing_from_json(text: str, keys: Iterable[Key]) -> Signing:
    """The zone's part, with its keys.

    Raises:
        StateError: it is none.
    """
    fields = _object(text, "zones.signing")
    try:
        policy = checked(_typed(fields, "policy", dict))
    except PolicyError as error:
        raise StateError(f"the zone's policy: {error}") from None
    mode = fields.get("mode")
    if mode not in get_args(Mode):
        raise StateError(f"zones.signing has the unknown mode {mode!r}")
    own = tuple(sorted(keys, key=lambda key: key.id))
    caches = Caches(*(_versions(fields, part, own) for part in ("ds", "dnskey", "signatures")))
    cds = fields.get("cds")
    zone = ZoneKeys(
        mode=cast(Mode, mode),
        since=_typed(fields, "since", int),
        paused=_typed(fields, "paused", bool),
        keys=own,
        caches=caches,
        cds=None if cds is None else _keys(cds, own),
        cds_at=_typed(fields, "cds_at", int),
        asked_at=_optional(fields, "asked_at"),
        parent=_typed(fields, "parent", str),
        looked_at=_typed(fields, "looked_at", int),
    )
    return Signing(policy, zone, _optional(fields, "next"), _typed(fields, "ask_parent", bool))


def key_from_json(number: int, role: str, algorithm: int, text: str) -> Key:
    """A key from its row.

    Raises:
        StateError: the text is no state of a key.
    """
    fields = _object(text, f"the state of key {number}")
    if role not in ("csk", "ksk", "zsk"):
        raise StateError(f"key {number} has the unknown role {role!r}")
    events = []
    for event in _list(fields.get("events"), "events"):
        if not (isinstance(event, list) and len(event) == 2 and event[0] in get_args(Event) and _is_time(event[1])):
            raise StateError(f"key {number} has an event that is none: {str(event)[:60]}")
        events.append((cast(Event, event[0]), int(event[1])))
    return Key(
        number,
        role,
        algorithm,
        _typed(fields, "tag", int),
        _optional(fields, "retired"),
        _typed(fields, "why", str),
        _typed(fields, "compromised", bool),
        tuple(events),
    )


def _object(text: str, where: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise StateError(f"{where} is no JSON") from None
    if not isinstance(found, dict):
        raise StateError(f"{where} is no JSON object")
    number = found.get("format")
    if number != FORMAT:
        raise StateError(
            f"{where} has format {str(number)[:20]}, this mx10 reads {FORMAT}; use the version that wrote it"
        )
    return found


def _typed(fields: Mapping[str, Any], name: str, kind: Callable[..., T]) -> T:
    value = fields.get(name)
    if type(value) is not kind:
        raise StateError(f"{name} is {str(value)[:40]!r}")
    return cast(T, value)


def _is_time(value: object) -> bool:
    return type(value) is int and abs(value) < 1 << 62


def _optional(fields: Mapping[str, Any], name: str) -> int | None:
    value = fields.get(name)
    if value is not None and not _is_time(value):
        raise StateError(f"{name} is {str(value)[:40]!r}, which is no time")
    return value


def _list(value: object, name: str) -> list[Any]:
    if not isinstance(value, list) or len(value) > _MOST:
        raise StateError(f"{name} is no list")
    return value


def _keys(value: object, own: tuple[Key, ...]) -> Keys:
    numbers = _list(value, "a set of keys")
    known = {key.id for key in own}
    for number in numbers:
        if type(number) is not int or not (number in known or -(1 << 24) <= number < 0):
            raise StateError(f"key {str(number)[:20]} is named, and the store has none such")
    return frozenset(numbers)


def _versions(fields: Mapping[str, Any], part: str, own: tuple[Key, ...]) -> Versions:
    found = []
    for one in _list(fields.get(part), part):
        if not isinstance(one, dict):
            raise StateError(f"{part} holds {str(one)[:40]!r}")
        found.append(
            Version(
                _keys(one.get("keys"), own),
                _keys(one.get("signers"), own),
                _typed(one, "ttl", int),
                _optional(one, "until"),
                _typed(one, "seen", bool),
            )
        )
    if not found or found[0].until is not None:
        raise StateError(f"{part} has no version that holds now")
    return tuple(found)
