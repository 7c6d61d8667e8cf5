"""Everything that can be done with the keys of zones in the store.

What ``rollover`` decides is written together with the records it leads to: one transaction has the states of the keys,
``zones.signing`` and the change set. So a process killed at any moment leaves them as they belong together, and whoever
comes next goes on from there.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final, cast

from sqlalchemy import Connection, delete, func, insert, select, update

from mx10.config.settings import DnssecSettings
from mx10.dns.wirename import to_text
from mx10.store.tables import change_sets, keys, zones
from mx10.zones.dnssec.caches import Version, also
from mx10.zones.dnssec.kept import Kept, KeysError, ParentSaid, Row, Vault, policy_of, read, records, secret, timing
from mx10.zones.dnssec.keys import Role, SigningKey
from mx10.zones.dnssec.keystates import (
    Key,
    Plan,
    RolloverError,
    Seen,
    ZoneKeys,
    pause,
    roll,
    sign_on,
    start,
    unsign,
    unsign_now,
)
from mx10.zones.dnssec.policy import DAY, Policy, PolicyError, checked
from mx10.zones.dnssec.remembered import Signing, key_to_json, signing_to_json
from mx10.zones.dnssec.rollover import advance, moved
from mx10.zones.dnssec.signer import ZoneSigner
from mx10.zones.ledger import Author, ChangeSet, Edit, Ledger, NoSuchZoneError, ZoneInfo
from mx10.zones.ledger.rows import find_zone

LOOK_ANYWAY: Final = DAY
"""Seconds after which a zone's keys are looked at though nothing is due: the configuration may be another one, and so
may the parent's DS records."""

RESIGNED_LOOK: Final = 300
"""Seconds between two looks at whether a large zone is all signed anew; one reads all of its signatures."""

_MOST_ROUNDS: Final = 3
_BEGINNINGS: Final = frozenset({"create", "delete"})
"""Kinds of change sets behind which another zone begins."""


@dataclass(frozen=True, slots=True)
class Status:
    """How the keys of a zone stand.

    Attributes:
        plan: what would be done now, and what waits.
        now: seconds since 1970.
    """

    kept: Kept
    policy: Policy
    plan: Plan
    now: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was done with the keys of a zone.

    Attributes:
        change: the change set; None where no record changed.
    """

    plan: Plan
    change: ChangeSet | None


class Keeper:
    """Everything that can be done with the keys of zones.

    Args:
        ledger: with a signer.
        settings: the policy of zones that have none of their own.
    """

    def __init__(self, ledger: Ledger, settings: DnssecSettings, vault: Vault) -> None:
        self.ledger = ledger
        self.settings = settings
        self.vault = vault

    # ------------------------------------------------------------ what people ask for

    def sign(
        self, apex: bytes, author: Author, overrides: dict[str, Any] | None = None, bring: Sequence[SigningKey] = ()
    ) -> Outcome:
        """Sign a zone; or, where it is signed, change its policy.

        Args:
            overrides: what differs from the configuration for this zone, beside what differs already.
            bring: keys to take over from another signer; their DS records may be at the parent.

        Raises:
            KeysError: it cannot be signed, or the policy cannot be.
            NoSuchZoneError: it is not there.
        """
        said = dict(overrides or {})
        self._check(said)

        def decide(connection: Connection, info: ZoneInfo, kept: Kept | None, now: int) -> Kept:
            if info.kind != "primary":
                raise KeysError(f"{to_text(apex)} comes from another server; it is signed there, or not at all")
            if kept is None:
                kept = Kept(Signing({}, start(now)), {})
            elif kept.zone.mode != "sign":
                kept = _with_zone(kept, sign_on(kept.zone, now))
            policy = {**kept.signing.policy, **said}
            kept = Kept(replace(kept.signing, policy=policy), kept.rows)
            return self._brought(connection, info, kept, bring, now)

        return self._do(apex, author, decide)

    def unsign(self, apex: bytes, author: Author, *, at_once: bool = False) -> Outcome:
        """Sign a zone no more, without an outage; or at once, whatever resolvers have.

        Raises:
            KeysError: it is not signed.
        """

        def decide(_connection: Connection, _info: ZoneInfo, kept: Kept | None, now: int) -> Kept:
            kept = _signed(apex, kept)
            return _with_zone(kept, unsign_now(kept.zone, now) if at_once else unsign(kept.zone, now))

        return self._do(apex, author, decide)

    def roll(self, apex: bytes, role: str, author: Author, *, compromised: bool = False) -> Outcome:
        """Replace the keys of a role.

        Raises:
            KeysError: it is not signed, has no such key, or is at it already.
        """
        why = f"asked for by {author.name}" + (f": {author.message}" if author.message else "")

        def decide(_connection: Connection, _info: ZoneInfo, kept: Kept | None, now: int) -> Kept:
            kept = _signed(apex, kept)
            try:
                return _with_zone(kept, roll(kept.zone, role, now, why, compromised=compromised))
            except RolloverError as error:
                raise KeysError(f"{to_text(apex)}: {error}") from None

        return self._do(apex, author, decide)

    def pause(self, apex: bytes, author: Author, paused: bool) -> Outcome:
        """Take no step any more with the keys of a zone; or go on."""

        def decide(_connection: Connection, _info: ZoneInfo, kept: Kept | None, _now: int) -> Kept:
            kept = _signed(apex, kept)
            return _with_zone(kept, pause(kept.zone, paused))

        return self._do(apex, author, decide)

    def ds_seen(self, apex: bytes, author: Author, tags: Iterable[int]) -> Outcome:
        """Take somebody's word that all of the parent's nameservers have the DS records of these keys and no other."""

        def decide(_connection: Connection, _info: ZoneInfo, kept: Kept | None, _now: int) -> Kept:
            kept = _signed(apex, kept)
            found = []
            for tag in tags:
                entries = [key.id for key in kept.zone.keys if key.entry and key.tag == tag]
                if not entries:
                    known = ", ".join(str(key.tag) for key in kept.zone.keys if key.entry) or "none"
                    raise KeysError(f"{to_text(apex)} has no key {tag} that a DS record could be of; it has {known}")
                found += entries
            said.append(Seen(frozenset({frozenset(found)}), True, DAY, f"as {author.name} said"))
            return kept

        said: list[Seen] = []
        return self._do(apex, author, decide, lambda _kept: said[-1])

    # ------------------------------------------------------------ what time brings

    def advance(self, apex: bytes, author: Author, seen: "ParentSaid | None" = None) -> Outcome:
        """Take every step that can be taken now.

        Raises:
            KeysError: the zone is not signed.
        """

        def decide(_connection: Connection, _info: ZoneInfo, kept: Kept | None, _now: int) -> Kept:
            return _signed(apex, kept)

        return self._do(apex, author, decide, None if seen is None else lambda kept: seen.of(apex, kept))

    def clock_set_forward(self, apex: bytes, by: int) -> None:
        """The clock was set forward by some seconds that did not pass: what is waited for is as far away as before."""
        with self.ledger.store.begin() as connection:
            info = find_zone(connection, apex)
            kept = None if info is None else read(connection, info)
            if info is None or kept is None:
                return
            now = self._now()
            policy = policy_of(kept, self.settings)
            zone = moved(kept.zone, policy, timing(connection, info, now, policy), by, now)
            text = signing_to_json(replace(kept.signing, zone=zone))
            connection.execute(update(zones).where(zones.c.id == info.id).values(signing=text))

    def signed(self, after: bytes, limit: int) -> list[bytes]:
        """Signed zones by the octets of their names, those behind a name."""
        query = select(zones.c.apex).where(zones.c.keys_at.is_not(None), zones.c.apex > after)
        with self.ledger.store.read() as connection:
            return list(connection.execute(query.order_by(zones.c.apex).limit(limit)).scalars())

    def unsigned(self, after: bytes, limit: int) -> list[bytes]:
        """Primary zones that are not signed by the octets of their names, those behind a name."""
        query = select(zones.c.apex).where(zones.c.signing == "", zones.c.kind == "primary", zones.c.apex > after)
        with self.ledger.store.read() as connection:
            return list(connection.execute(query.order_by(zones.c.apex).limit(limit)).scalars())

    def sign_if_new(self, apex: bytes, author: Author) -> Outcome | None:
        """Sign a zone if the configuration wants new zones signed, and nobody has signed or unsigned it yet."""
        if not self.settings.sign_new_zones:
            return None
        with self.ledger.store.read() as connection:
            info = find_zone(connection, apex)
            if info is None or info.signing or info.kind != "primary":
                return None
            history = select(change_sets.c.kind).where(change_sets.c.apex == apex).order_by(change_sets.c.id.desc())
            for (kind,) in connection.execute(history):
                if kind == "sign":
                    return None
                if kind in _BEGINNINGS:
                    break
        return self.sign(apex, author)

    def due(self, now: int, limit: int) -> list[bytes]:
        """The zones whose keys want to be looked at, those that have waited longest first."""
        query = select(zones.c.apex).where(zones.c.keys_at <= now).order_by(zones.c.keys_at).limit(limit)
        with self.ledger.store.read() as connection:
            return list(connection.execute(query).scalars())

    def next_due(self) -> int | None:
        """When the next zone wants to be looked at, seconds since 1970."""
        with self.ledger.store.read() as connection:
            # Without the condition the index on those that have such a moment is not used.
            query = select(func.min(zones.c.keys_at)).where(zones.c.keys_at.is_not(None))
            found = connection.execute(query).scalar()
        return None if found is None else int(found)

    def status(self, apex: bytes) -> Status:
        """How the keys of a zone stand.

        Raises:
            KeysError: the zone is not signed.
        """
        info = self.ledger.info(apex)
        now = self._now()
        with self.ledger.store.read() as connection:
            kept = _signed(apex, read(connection, info))
            policy = policy_of(kept, self.settings)
            plan = advance(kept.zone, policy, timing(connection, info, now, policy), now)
        return Status(kept, policy, plan, now)

    def secret(self, apex: bytes, row: Row) -> SigningKey:
        """A key with its secret, decrypted."""
        return secret(apex, row, self.vault)

    # ------------------------------------------------------------ how it is written

    def _now(self) -> int:
        return self.ledger.clock() // 1000

    def policy(self, overrides: dict[str, Any]) -> Policy:
        """The policy of a zone that is signed from now on.

        Raises:
            KeysError: it cannot be.
        """
        try:
            return Policy.of(self.settings, overrides)
        except PolicyError as error:
            raise KeysError(str(error)) from None

    def _check(self, overrides: dict[str, Any]) -> None:
        try:
            checked(overrides)
        except PolicyError as error:
            raise KeysError(str(error)) from None

    def _do(
        self,
        apex: bytes,
        author: Author,
        decide: "Callable[[Connection, ZoneInfo, Kept | None, int], Kept]",
        look: "Callable[[Kept], Seen] | None" = None,
    ) -> Outcome:
        """Decide, take all steps, and write what came of it: with a change set if records change, else without."""

        def work(connection: Connection, info: ZoneInfo, with_records: bool) -> tuple[Kept, Plan, Policy]:
            now = self._now()
            before = read(connection, info)
            if before is None and not with_records:
                # A zone begins to be signed.
                raise _OtherwiseError
            kept = decide(connection, info, before, now)
            policy = policy_of(kept, self.settings)
            seen = None if look is None else look(kept)
            kept, plan = self._advanced(connection, info, kept, policy, now, seen, may_make=with_records)
            had = None if before is None else (_arrangement(before.zone), _look(policy_of(before, self.settings)))
            differs = had != (_arrangement(plan.zone), _look(policy))
            if differs is not with_records:
                raise _OtherwiseError
            self._write(connection, info, kept, plan, policy, now)
            return kept, plan, policy

        plans: list[Plan] = []

        def edits(connection: Connection, info: ZoneInfo) -> list[Edit]:
            kept, plan, policy = work(connection, info, True)
            plans.append(plan)
            return records(connection, info, kept, plan, policy, self.ledger.clock())

        for _ in range(_MOST_ROUNDS):
            with suppress(_OtherwiseError), self.ledger.store.begin() as connection:
                info = find_zone(connection, apex)
                if info is None:
                    raise NoSuchZoneError(apex)
                _, plan, _ = work(connection, info, False)
                return Outcome(plan, None)
            with suppress(_OtherwiseError):
                change = self.ledger.generated(apex, edits, author)
                return Outcome(plans[-1], change)
        raise KeysError(f"{to_text(apex)} is being changed over and over by somebody else; try again")

    def _brought(
        self, connection: Connection, info: ZoneInfo, kept: Kept, bring: Sequence[SigningKey], now: int
    ) -> Kept:
        """With keys from another signer."""
        zone, rows = kept.zone, dict(kept.rows)
        known = {row.dnskey for row in rows.values()}
        for key in bring:
            if key.dnskey in known:
                raise KeysError(f"{to_text(info.apex)} has the key {key.tag} already")
            row, state = self._insert(connection, info, key)
            rows[row.id] = row
            zone = zone.with_key(state, now)
        entries = frozenset(key.id for key in zone.keys if key.entry and rows[key.id].dnskey not in known)
        if entries:
            caches = replace(zone.caches, ds=also(zone.caches.ds, Version(entries, seen=False)))
            zone = replace(zone, caches=caches)
        return Kept(replace(kept.signing, zone=zone), rows)

    def _insert(self, connection: Connection, info: ZoneInfo, key: SigningKey) -> tuple[Row, Key]:
        sealed = self.vault.seal(info.apex, key.dnskey, key.secret())
        values = {
            "zone": info.id,
            "role": key.role,
            "algorithm": key.algorithm,
            "dnskey": key.dnskey,
            "secret": sealed,
            "state": "",
        }
        number = int(connection.execute(insert(keys).values(values).returning(keys.c.id)).scalar_one())
        return (
            Row(number, key.role, key.algorithm, key.dnskey, sealed),
            Key(number, key.role, key.algorithm, key.tag),
        )

    def _advanced(
        self,
        connection: Connection,
        info: ZoneInfo,
        kept: Kept,
        policy: Policy,
        now: int,
        seen: Seen | None,
        *,
        may_make: bool,
    ) -> tuple[Kept, Plan]:
        """After every step that can be taken, keys made where they are missing.

        Raises:
            _OtherwiseError: keys are missing, and may not be made now.
        """
        times = timing(connection, info, now, policy)
        seen = replace(seen or Seen(), resigned=self._is_resigned(connection, info, kept))
        steps: list[str] = []
        gone: list[Key] = []
        for _ in range(_MOST_ROUNDS):
            plan = advance(kept.zone, policy, times, now, seen)
            seen = Seen(resigned=seen.resigned)
            steps += plan.steps
            gone += plan.gone
            zone, rows = plan.zone, dict(kept.rows)
            if plan.missing and not may_make:
                raise _OtherwiseError
            for role, algorithm in plan.missing:
                key = SigningKey.generate(algorithm, cast(Role, role), rsa_bits=policy.rsa_bits)
                row, state = self._insert(connection, info, key)
                rows[row.id] = row
                zone = zone.with_key(state, now)
                steps.append(f"made {role} {key.tag} (algorithm {algorithm})")
            kept = Kept(replace(kept.signing, zone=zone), rows)
            if not plan.missing:
                break
        return kept, replace(plan, zone=zone, steps=tuple(steps), gone=tuple(gone))

    def _is_resigned(self, connection: Connection, info: ZoneInfo, kept: Kept) -> bool:
        """Whether no signature is left but by those keys that sign the zone now."""
        signer = self.ledger.signer
        if all(one.until is not None for one in kept.zone.caches.signatures[1:]) or not isinstance(signer, ZoneSigner):
            # Nothing depends on it: a look through all signatures is spared.
            return True
        return not signer.is_signed_by_others(connection, info)

    def _write(self, connection: Connection, info: ZoneInfo, kept: Kept, plan: Plan, policy: Policy, now: int) -> None:
        zone = plan.zone
        there = {key.id for key in zone.keys}
        for key in zone.keys:
            connection.execute(update(keys).where(keys.c.id == key.id).values(state=key_to_json(key)))
        for number in kept.rows.keys() - there:
            connection.execute(delete(keys).where(keys.c.id == number))
        if zone.mode == "unsigned":
            values: dict[str, Any] = {"signing": "", "keys_at": None, "resign_at": None}
        else:
            moment = next_look(plan, policy, now)
            signing = replace(kept.signing, zone=zone, next=plan.next, ask_parent=plan.ask_parent)
            values = {"signing": signing_to_json(signing), "keys_at": moment}
        connection.execute(update(zones).where(zones.c.id == info.id).values(values))


def next_look(plan: Plan, policy: Policy, now: int) -> int:
    """When the keys of a zone want to be looked at again, seconds since 1970."""
    moment = now + (policy.parent_check_seconds if plan.ask_parent else LOOK_ANYWAY)
    if plan.next is not None:
        moment = min(moment, max(plan.next, now + 1))
    if any(one.until is None for one in plan.zone.caches.signatures[1:]):
        # Signed anew in pieces: when all is done can only be seen.
        moment = min(moment, now + RESIGNED_LOOK)
    return moment


class _OtherwiseError(Exception):
    """Leaves a transaction: records change where they should not, or the other way round."""


def _signed(apex: bytes, kept: Kept | None) -> Kept:
    if kept is None:
        name = to_text(apex)
        raise KeysError(f"{name} is not signed; `mx10 zone sign {name.removesuffix('.')}` signs it")
    return kept


def _with_zone(kept: Kept, zone: ZoneKeys) -> Kept:
    return Kept(replace(kept.signing, zone=zone), kept.rows)


def _arrangement(zone: ZoneKeys) -> tuple[object, ...]:
    """What the records of a zone depend on."""
    return zone.mode == "unsigned", zone.publish, zone.sign_dnskey, zone.sign_zone, zone.cds


def _look(policy: Policy) -> tuple[object, ...]:
    """What the records depend on of a policy."""
    return policy.denial, policy.dnskey_ttl
