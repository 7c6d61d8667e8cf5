"""Keeping the zones of the store signed: within each change, and by themselves before signatures end.

``ZoneSigner.resign`` is called by the ledger inside the transaction of every change of a signed zone. It looks at what
is there and at what the zone's arrangement (policy and keys) wants: a zone that was not signed yet, or is to be signed
in another way, is signed whole; else only what the change touches. So whoever changes keys or policy has nothing to do
but to say so and to let the ledger make a change.

Signatures that are about to end, or that are not by the keys that sign now, are found by ``zones.resign_at`` and made
anew by ``refresh``, in change sets of bounded size.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from random import SystemRandom
from typing import Final

from sqlalchemy import Connection

from mx10.dns import rrtypes as rr
from mx10.dns.wirename import order_key
from mx10.zones.dnssec.chain import OPT_OUT, hash_key, hashed, read_nsec3
from mx10.zones.dnssec.due import Due, Judge, find_due
from mx10.zones.dnssec.keys import KeySet
from mx10.zones.dnssec.mending import mend, refresh_names
from mx10.zones.dnssec.policy import DAY, HOUR, Policy
from mx10.zones.dnssec.sign import read_rrsig
from mx10.zones.dnssec.stored import StoredZone
from mx10.zones.dnssec.whole import whole
from mx10.zones.dnssec.work import Arrangement, Chance, Work
from mx10.zones.ledger import Author, Edit, Ledger, ZoneInfo, rows
from mx10.zones.zone import Node, RRset

AT_ONCE: Final = 5000
"""Record sets up to which a zone is signed anew at once when its keys change; larger ones piece by piece."""
BATCH: Final = 1000
"""Names whose signatures are made anew in one change set."""
MOST_DUE: Final = 50_000
"""Names that are found due in one look at a zone."""

AUTHOR: Final = Author("mx10", "signatures made anew")

Arrange = Callable[[Connection, ZoneInfo], Arrangement]
"""How a zone is signed now, from what the store has of it."""


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What ``refresh`` did: names whose signatures it made anew, and whether more are due."""

    names: int
    more: bool


class ZoneSigner:
    """Signs zones as their arrangements say.

    Args:
        arrange: gives the arrangement of a zone.
        chance: gives each signature its own end; by default the system's.
    """

    def __init__(self, arrange: Arrange, *, chance: Chance | None = None) -> None:
        self._arrange = arrange
        self._chance = chance or SystemRandom().random

    def resign(
        self,
        connection: Connection,
        info: ZoneInfo,
        changed: Mapping[tuple[bytes, int], RRset | None],
        soa: RRset,
        now: int,
    ) -> Iterator[Edit]:
        """What a change makes of the generated record sets; see ``mx10.zones.ledger.Signer``."""
        arrangement = self._arrange(connection, info)
        zone = StoredZone(connection, info.id)
        seconds = now // 1000
        fresh = {(order_key(owner, info.apex), rrtype) for owner, rrtype in changed}
        work = Work(info.apex, arrangement, soa, seconds, self._chance, fresh=fresh)
        before = zone.resign_at
        if before is None:
            work.fresh = None
        if before is None or _is_to_be_whole(zone, work, info):
            yield from whole(work, zone.names())
            zone.resign_at = _resign_at(work, arrangement.policy)
            return
        if not _same_signers(zone.node(b""), work):
            before = seconds  # a large zone: the rest follows piece by piece
        yield from mend(work, zone, fresh)
        after = _resign_at(work, arrangement.policy)
        if after is not None and after < before:
            before = after
        if before != zone.resign_at:
            zone.resign_at = before

    def refresh(self, ledger: Ledger, apex: bytes, now: int, *, most: int = BATCH) -> Refreshed:
        """Make anew what is due of a zone's signatures, in change sets of bounded size.

        Args:
            now: milliseconds since 1970.
            most: names in one change set.
        """
        seconds = now // 1000
        with ledger.store.read() as connection:
            info = rows.find_zone(connection, apex)
            if info is None or not info.signed:
                return Refreshed(0, False)
            arrangement = self._arrange(connection, info)
            judge = Judge(arrangement.keys, seconds, _horizon(arrangement.policy, info))
            due = find_due(StoredZone(connection, info.id), judge, MOST_DUE)
        serial: int | None = info.serial
        for start in range(0, len(due.names), most):
            names = due.names[start : start + most]
            change_set = ledger.generated(apex, partial(self._refreshed, names=names, now=seconds), AUTHOR)
            serial = change_set.serial_after if change_set else serial
        if not due.more:
            self._note_next(ledger, info, serial, arrangement.policy, due, seconds)
        return Refreshed(len(due.names), due.more)

    @staticmethod
    def _note_next(ledger: Ledger, before: ZoneInfo, serial: int | None, policy: Policy, due: Due, now: int) -> None:
        """Write when to look at a zone again, unless it changed meanwhile: then whoever changed it knows better."""
        with ledger.store.begin() as connection:
            info = rows.find_zone(connection, before.apex)
            if info is None or info.serial != serial or info.signing != before.signing:
                return
            # What was made anew just now lasts this long at least.
            made = now + policy.signature_days * DAY - policy.jitter_hours * HOUR
            end = made if due.next_end is None else min(made, due.next_end)
            StoredZone(connection, info.id).resign_at = end - policy.refresh_days * DAY

    def _refreshed(self, connection: Connection, info: ZoneInfo, *, names: Sequence[bytes], now: int) -> Iterator[Edit]:
        arrangement = self._arrange(connection, info)
        zone = StoredZone(connection, info.id)
        apex = zone.node(b"")
        horizon = _horizon(arrangement.policy, info)
        work = Work(info.apex, arrangement, apex[rr.SOA], now, self._chance, horizon=horizon)
        yield from refresh_names(work, zone, names)

    def unsign(self, connection: Connection, info: ZoneInfo) -> Iterator[Edit]:
        """The edits that take everything generated out of a zone; for ``Ledger.generated``, by whoever sets
        ``zones.signing`` to nothing in the same transaction."""
        zone = StoredZone(connection, info.id)
        soa = zone.node(b"")[rr.SOA]
        work = Work(info.apex, Arrangement(Policy(), KeySet()), soa, 0, self._chance, fresh=None)
        yield from whole(work, zone.names())
        zone.resign_at = None

    def is_signed_by_others(self, connection: Connection, info: ZoneInfo) -> bool:
        """Whether signatures are left that other keys made than those that sign now, or some lack: see ``refresh``."""
        judge = Judge(self._arrange(connection, info).keys, 0, 0)
        return any(judge.by_others(datas) for _, datas in StoredZone(connection, info.id).signatures())


def _is_to_be_whole(zone: StoredZone, work: Work, info: ZoneInfo) -> bool:
    """Whether a signed zone needs more than a change of what is touched: signatures or proofs of another kind, or by
    other keys."""
    apex = zone.node(b"")
    if work.signs != (rr.RRSIG in apex):
        return True
    if not work.signs:
        return False
    if work.style.rrtype == rr.NSEC:
        proof = apex.get(rr.NSEC)
        if rr.NSEC3PARAM in apex:
            return True
    else:
        proof = zone.node(hash_key(hashed(info.apex))).get(rr.NSEC3)
        if proof is not None and bool(read_nsec3(proof[1][0])[0] & OPT_OUT) != work.style.opt_out:
            return True
    if proof is None or proof[0] != work.proof_ttl:
        return True
    return info.rrsets <= AT_ONCE and not _same_signers(apex, work)


def _same_signers(apex: Node, work: Work) -> bool:
    """Whether those keys that sign the zone now signed its SOA record too."""
    found = [read_rrsig(data) for data in apex[rr.RRSIG][1]] if rr.RRSIG in apex else []
    signers = {(each.algorithm, each.tag) for each in found if each.covered == rr.SOA}
    return signers == work.zone_signing.identities


def _resign_at(work: Work, policy: Policy) -> int | None:
    return None if work.earliest is None else work.earliest - policy.refresh_days * DAY


def _horizon(policy: Policy, info: ZoneInfo) -> int:
    """Seconds before its end when a signature is made anew, if others of its zone have to be: rather some too early in
    one change than a change for each."""
    jitter = policy.jitter_hours * HOUR
    return policy.refresh_days * DAY + (jitter if info.rrsets <= AT_ONCE else jitter // 8)
