"""The keys of a zone in the store: what ``rollover`` decides is written together with the records it leads to.

One transaction has the states of the keys, ``zones.signing`` and the change set, so a process killed at any moment
leaves them as they belong together, and whoever comes next goes on from there.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol, cast

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from mx10.config.settings import DnssecSettings
from mx10.dns import rrtypes as rr
from mx10.dns.wirename import from_order_key, to_text
from mx10.store.tables import change_sets, changes, keys, rrsets, zones
from mx10.zones.dnssec.caches import Keys, Version, also, foreign
from mx10.zones.dnssec.keys import DELETE_CDNSKEY, DELETE_CDS, KeySet, Role, SigningKey, ds
from mx10.zones.dnssec.policy import DAY, Policy, PolicyError, checked
from mx10.zones.dnssec.remembered import (
    Signing,
    StateError,
    key_from_json,
    key_to_json,
    signing_from_json,
    signing_to_json,
)
from mx10.zones.dnssec.rollover import (
    Key,
    Plan,
    RolloverError,
    Seen,
    Timing,
    ZoneKeys,
    advance,
    moved,
    pause,
    roll,
    sign_on,
    start,
    unsign,
    unsign_now,
)
from mx10.zones.ledger import GENERATED, Author, ChangeSet, Edit, Ledger, LedgerError, NoSuchZoneError, ZoneInfo
from mx10.zones.ledger.rows import find_zone, soa_of
from mx10.zones.ledger.serials import next_serial, serial_of, with_serial
from mx10.zones.zone import RRset

LOOK_ANYWAY: Final = DAY
"""Seconds after which a zone's keys are looked at though nothing is due: the configuration may be another one, and so
may the parent's DS records."""

_APEX: Final = b""
"""The apex as an order key."""
_OURS: Final = (rr.DNSKEY, rr.CDS, rr.CDNSKEY)
_MOST_ROUNDS: Final = 3
_BEGINNINGS: Final = frozenset({"create", "delete"})
"""Kinds of change sets behind which another zone begins."""


class KeysError(LedgerError):
    """Something that cannot be done with the keys of a zone: why, and what can."""


class Vault(Protocol):
    """Who encrypts the secrets of keys."""

    def seal(self, apex: bytes, dnskey: bytes, secret: bytes) -> bytes:
        """A secret as it may lie in the store, readable for this zone and key only."""
        ...

    def unseal(self, apex: bytes, dnskey: bytes, sealed: bytes) -> bytes:
        """The secret again."""
        ...


@dataclass(frozen=True, slots=True)
class Row:
    """A key as it lies in the store."""

    id: int
    role: str
    algorithm: int
    dnskey: bytes
    sealed: bytes


@dataclass(frozen=True, slots=True)
class Kept:
    """What the store has of a zone's keys."""

    signing: Signing
    rows: dict[int, Row]

    @property
    def zone(self) -> ZoneKeys:
        """Their state."""
        return self.signing.zone


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


def read(connection: Connection, info: ZoneInfo) -> Kept | None:
    """What the store has of a zone's keys; None where the zone is not signed.

    Raises:
        KeysError: the store holds something that this program cannot read.
    """
    if not info.signing:
        return None
    rows: dict[int, Row] = {}
    found: list[Key] = []
    try:
        for row in connection.execute(_KEYS, {"zone": info.id}):
            rows[row.id] = Row(row.id, row.role, row.algorithm, row.dnskey, row.secret)
            found.append(key_from_json(row.id, row.role, row.algorithm, row.state))
        return Kept(signing_from_json(info.signing, found), rows)
    except StateError as error:
        raise KeysError(f"the keys of {to_text(info.apex)}: {error}") from None


_KEYS: Final = select(keys).where(keys.c.zone == bindparam("zone")).order_by(keys.c.id)


def policy_of(kept: Kept, settings: DnssecSettings) -> Policy:
    """The policy of a zone: the configuration's, and what was said for it alone.

    Raises:
        KeysError: the two do not fit.
    """
    try:
        return Policy.of(settings, kept.signing.policy)
    except PolicyError as error:
        raise KeysError(str(error)) from None


def key_set(connection: Connection, info: ZoneInfo, vault: Vault) -> KeySet:
    """What the keys of a zone do now, as its signer needs it; an empty one where the zone is not signed.

    Raises:
        KeysError: the store holds something that this program cannot read.
    """
    kept = read(connection, info)
    if kept is None:
        return KeySet()
    zone = kept.zone
    needed = zone.sign_dnskey | zone.sign_zone
    opened = {
        number: SigningKey.load(cast(Role, row.role), row.dnskey, vault.unseal(info.apex, row.dnskey, row.sealed))
        for number, row in kept.rows.items()
        if number in needed
    }
    cds, cdnskey = _asked(info.apex, zone.cds, kept.rows)
    return KeySet(
        publish=tuple(kept.rows[number].dnskey for number in sorted(zone.publish)),
        sign_dnskey=tuple(opened[number] for number in sorted(zone.sign_dnskey)),
        sign_zone=tuple(opened[number] for number in sorted(zone.sign_zone)),
        cds=cds,
        cdnskey=cdnskey,
    )


def _asked(apex: bytes, wanted: Keys | None, rows: dict[int, Row]) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """The data of the CDS and CDNSKEY records (RFC 7344 section 3)."""
    if wanted is None:
        return (), ()
    if not wanted:
        return (DELETE_CDS,), (DELETE_CDNSKEY,)
    dnskeys = [rows[number].dnskey for number in sorted(wanted)]
    return tuple(ds(apex, dnskey) for dnskey in dnskeys), tuple(dnskeys)


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
            zone = moved(kept.zone, policy, _timing(connection, info, now, policy), by, now)
            text = signing_to_json(replace(kept.signing, zone=zone))
            connection.execute(update(zones).where(zones.c.id == info.id).values(signing=text))

    def signed(self, after: bytes, limit: int) -> list[bytes]:
        """Signed zones by the octets of their names, those behind a name."""
        query = select(zones.c.apex).where(zones.c.keys_at.is_not(None), zones.c.apex > after)
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
            found = connection.execute(select(func.min(zones.c.keys_at))).scalar()
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
            plan = advance(kept.zone, policy, _timing(connection, info, now, policy), now)
        return Status(kept, policy, plan, now)

    def secret(self, apex: bytes, row: Row) -> SigningKey:
        """A key with its secret, decrypted."""
        return SigningKey.load(cast(Role, row.role), row.dnskey, self.vault.unseal(apex, row.dnskey, row.sealed))

    # ------------------------------------------------------------ how it is written

    def _now(self) -> int:
        return self.ledger.clock() // 1000

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
            return _edits(connection, info, kept, plan, policy, self.ledger.clock())

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
        timing = _timing(connection, info, now, policy)
        steps: list[str] = []
        gone: list[Key] = []
        for _ in range(_MOST_ROUNDS):
            plan = advance(kept.zone, policy, timing, now, seen)
            seen = None
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
            moment = now + (policy.parent_check_seconds if plan.ask_parent else LOOK_ANYWAY)
            if plan.next is not None:
                moment = min(moment, max(plan.next, now + 1))
            signing = replace(kept.signing, zone=zone, next=plan.next, ask_parent=plan.ask_parent)
            values = {"signing": signing_to_json(signing), "keys_at": moment}
        connection.execute(update(zones).where(zones.c.id == info.id).values(values))


class _OtherwiseError(Exception):
    """Leaves a transaction: records change where they should not, or the other way round."""


@dataclass(frozen=True, slots=True)
class ParentSaid:
    """What the parent's nameservers have.

    Attributes:
        sets: the data of the DS records that each of them gave.
        complete: all of them answered.
        ttl: the largest TTL seen, in seconds.
        text: the same for people.
    """

    sets: frozenset[frozenset[bytes]]
    complete: bool
    ttl: int
    text: str

    def of(self, apex: bytes, kept: Kept) -> Seen:
        """The same with our own keys known by their numbers."""
        own = {ds(apex, row.dnskey, digest): number for number, row in kept.rows.items() for digest in (2, 4)}

        def number(data: bytes) -> int:
            if data in own:
                return own[data]
            return foreign(int.from_bytes(data[:2], "big"), data[2]) if len(data) > 3 else foreign(0, 0)

        sets = frozenset(frozenset(number(data) for data in each) for each in self.sets)
        return Seen(sets or None, self.complete and bool(sets), self.ttl, self.text)


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


def _timing(connection: Connection, info: ZoneInfo, now: int, policy: Policy) -> Timing:
    """How long caches keep what the zone has, and what it had."""
    longest = connection.execute(select(func.max(rrsets.c.ttl)).where(rrsets.c.zone == info.id)).scalar() or 0
    soa = _soa(connection, info)
    # What a person or an update took away, or gave a shorter TTL; no cache keeps anything longer than its signature.
    gone = connection.execute(
        select(func.max(change_sets.c.at / 1000 + changes.c.ttl_before))
        .select_from(changes.join(change_sets, changes.c.change_set == change_sets.c.id))
        .where(
            change_sets.c.apex == info.apex,
            change_sets.c.at > (now - policy.signature_days * DAY) * 1000,
            change_sets.c.kind != "sign",
            changes.c.ttl_before > longest,
        )
    ).scalar()
    negative = min(soa[0], int.from_bytes(soa[1][0][-4:], "big"))
    return Timing(int(longest), negative, 0 if gone is None else int(gone) + 1)


def _soa(connection: Connection, info: ZoneInfo) -> RRset:
    found = soa_of(connection, info.id)
    if found is None:
        raise KeysError(f"{to_text(info.apex)} has no records yet; sign it once it has")
    return found


def _edits(connection: Connection, info: ZoneInfo, kept: Kept, plan: Plan, policy: Policy, clock: int) -> list[Edit]:
    """The records that follow from what the keys do now; the serial moves in any case, for the signatures do."""
    zone = plan.zone
    ttl, (soa,) = _soa(connection, info)
    serial = next_serial(serial_of(soa), info.options.serial_style, clock)
    edits = [Edit(info.apex, rr.SOA, (ttl, (with_serial(soa, serial),)))]
    if zone.mode == "unsigned":
        found = connection.execute(
            select(rrsets.c.owner, rrsets.c.type).where(rrsets.c.zone == info.id, rrsets.c.type.in_(GENERATED))
        )
        return edits + [Edit(from_order_key(owner, info.apex), rrtype, None) for owner, rrtype in found]
    cds, cdnskey = _asked(info.apex, zone.cds, kept.rows)
    dnskeys = tuple(kept.rows[number].dnskey for number in sorted(zone.publish))
    for rrtype, datas in zip(_OURS, (dnskeys, cds, cdnskey), strict=True):
        edits.append(Edit(info.apex, rrtype, (policy.dnskey_ttl, datas) if datas else None))
    return edits
