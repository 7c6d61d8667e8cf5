"""What the store has of a zone's keys, and what follows from it: how the zone is signed, and which records it has.

Reading only; ``keeping`` changes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, cast

from sqlalchemy import Connection, bindparam, func, select

from mx10.config.settings import DnssecSettings
from mx10.dns import rrtypes as rr
from mx10.dns.wirename import from_order_key, to_text
from mx10.store.tables import change_sets, changes, keys, rrsets
from mx10.zones.dnssec.caches import Keys, foreign
from mx10.zones.dnssec.keys import DELETE_CDNSKEY, DELETE_CDS, BadKeyError, KeySet, Role, SigningKey, ds
from mx10.zones.dnssec.keystates import Key, Plan, Seen, Timing, ZoneKeys
from mx10.zones.dnssec.policy import DAY, Policy, PolicyError
from mx10.zones.dnssec.remembered import Signing, StateError, key_from_json, signing_from_json
from mx10.zones.dnssec.signer import AT_ONCE
from mx10.zones.dnssec.work import Arrangement
from mx10.zones.ledger import GENERATED, Edit, LedgerError, ZoneInfo
from mx10.zones.ledger.rows import soa_of
from mx10.zones.ledger.serials import next_serial, serial_of, with_serial
from mx10.zones.zone import RRset

_OURS: Final = (rr.DNSKEY, rr.CDS, rr.CDNSKEY)


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


def key_set(apex: bytes, kept: Kept, vault: Vault) -> KeySet:
    """What the keys of a zone do now, as its signer needs it."""
    zone = kept.zone
    needed = zone.sign_dnskey | zone.sign_zone
    opened = {number: secret(apex, row, vault) for number, row in kept.rows.items() if number in needed}
    cds, cdnskey = _asked(apex, zone.cds, kept.rows)
    return KeySet(
        publish=tuple(kept.rows[number].dnskey for number in sorted(zone.publish)),
        sign_dnskey=tuple(opened[number] for number in sorted(zone.sign_dnskey)),
        sign_zone=tuple(opened[number] for number in sorted(zone.sign_zone)),
        cds=cds,
        cdnskey=cdnskey,
    )


def secret(apex: bytes, row: Row, vault: Vault) -> SigningKey:
    """A key with its secret, decrypted.

    Raises:
        KeysError: it cannot be, or is none.
    """
    try:
        return SigningKey.load(cast(Role, row.role), row.dnskey, vault.unseal(apex, row.dnskey, row.sealed))
    except BadKeyError as error:
        raise KeysError(f"a key of {to_text(apex)}: {error}") from None


def arrange(settings: DnssecSettings, vault: Vault) -> Callable[[Connection, ZoneInfo], Arrangement]:
    """How the signer learns how a zone is signed now."""

    def arrangement(connection: Connection, info: ZoneInfo) -> Arrangement:
        kept = read(connection, info)
        if kept is None:
            return Arrangement(Policy.of(settings), KeySet())
        return Arrangement(policy_of(kept, settings), key_set(info.apex, kept, vault))

    return arrangement


def _asked(apex: bytes, wanted: Keys | None, rows: dict[int, Row]) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """The data of the CDS and CDNSKEY records (RFC 7344 section 3)."""
    if wanted is None:
        return (), ()
    if not wanted:
        return (DELETE_CDS,), (DELETE_CDNSKEY,)
    dnskeys = [rows[number].dnskey for number in sorted(wanted)]
    return tuple(ds(apex, dnskey) for dnskey in dnskeys), tuple(dnskeys)


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


_LONGEST: Final = select(func.max(rrsets.c.ttl)).where(rrsets.c.zone == bindparam("zone"))
_GONE: Final = (
    select(func.max(change_sets.c.at / 1000 + changes.c.ttl_before))
    .select_from(changes.join(change_sets, changes.c.change_set == change_sets.c.id))
    .where(
        change_sets.c.apex == bindparam("apex"),
        change_sets.c.at > bindparam("begin"),
        change_sets.c.kind != "sign",
        changes.c.ttl_before > bindparam("longest"),
    )
)


def timing(connection: Connection, info: ZoneInfo, now: int, policy: Policy) -> Timing:
    """How long caches keep what the zone has, and what it had."""
    longest = connection.execute(_LONGEST, {"zone": info.id}).scalar() or 0
    ttl, (soa,) = _soa(connection, info)
    # What a person or an update took away, or gave a shorter TTL; no cache keeps anything longer than its signature.
    begin = (now - policy.signature_days * DAY) * 1000
    gone = connection.execute(_GONE, {"apex": info.apex, "begin": begin, "longest": longest}).scalar()
    negative = min(ttl, int.from_bytes(soa[-4:], "big"))
    return Timing(int(longest), negative, 0 if gone is None else int(gone) + 1, gradual=info.rrsets > AT_ONCE)


def _soa(connection: Connection, info: ZoneInfo) -> RRset:
    found = soa_of(connection, info.id)
    if found is None:
        raise KeysError(f"{to_text(info.apex)} has no records yet; sign it once it has")
    return found


def records(connection: Connection, info: ZoneInfo, kept: Kept, plan: Plan, policy: Policy, clock: int) -> list[Edit]:
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
