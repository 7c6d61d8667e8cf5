"""One zone being signed at one time: how, by which keys, and what that makes of a name.

``Work.settle`` is where every generated record set comes from, whether a zone is signed whole (``whole``) or a change
is followed (``mending``): both only find out which names there are to settle, and what their proofs say.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from mx10.dns import rrtypes as rr
from mx10.dns.wirename import from_order_key
from mx10.zones.dnssec.chain import NSEC3PARAM, NSEC3PARAM_TTL, PROOFS, Style, proof_ttl, signed_types
from mx10.zones.dnssec.keys import KeySet
from mx10.zones.dnssec.policy import DAY, HOUR, Policy
from mx10.zones.dnssec.sign import Identity, Rrsig, Signing, read_rrsig
from mx10.zones.ledger.values import Edit
from mx10.zones.zone import Node, RRset

BY_KEY_SIGNERS: Final = frozenset({rr.DNSKEY, rr.CDS, rr.CDNSKEY})
"""Types that the keys sign to which the parent's DS points (RFC 7344 section 4.1)."""

Chance = Callable[[], float]
"""A number from 0 to 1, at random."""

Proofs = Mapping[int, RRset | None]
"""The NSEC and NSEC3 record sets a name shall have, or shall not (None); one that is left out stays as it is."""


@dataclass(frozen=True, slots=True)
class Arrangement:
    """How a zone is signed now."""

    policy: Policy
    keys: KeySet


class Work:
    """A zone being signed.

    Args:
        apex: its name, folded.
        soa: its SOA record set, as it will be.
        now: seconds since 1970.
        chance: gives each signature its own end.
        fresh: owners (as keys) and types of record sets that are new: signatures of them that are there are not theirs.
            None: no signature that is there is to be trusted.
        horizon: seconds; signatures that end sooner are made anew. None: those that the policy wants refreshed.
    """

    def __init__(
        self,
        apex: bytes,
        arrangement: Arrangement,
        soa: RRset,
        now: int,
        chance: Chance,
        *,
        fresh: Collection[tuple[bytes, int]] | None = (),
        horizon: int | None = None,
    ) -> None:
        policy, keys = arrangement.policy, arrangement.keys
        self.apex = apex
        self.now = now
        self.style = Style.named(policy.denial)
        self.proof_ttl = proof_ttl(soa)
        self.fresh = fresh
        self.signs = bool(keys.sign_zone)
        """Whether the zone has signatures and proofs at all."""
        self.zone_signing = Signing(apex, keys.sign_zone, now)
        self.key_signing = Signing(apex, keys.sign_dnskey, now)
        self.earliest: int | None = None
        """When the first of all signatures ends that were made or kept."""
        self._ends = now + policy.signature_days * DAY
        self._jitter = policy.jitter_hours * HOUR
        self._chance = chance
        self._due = now + (policy.refresh_days * DAY if horizon is None else horizon)
        self.apex_sets = self._apex_sets(policy, keys)
        """The record sets at the apex that say how the zone is signed: as they shall be, None for those not to be."""

    def _apex_sets(self, policy: Policy, keys: KeySet) -> dict[int, RRset | None]:
        ttl = policy.dnskey_ttl
        hashed = self.signs and self.style.rrtype == rr.NSEC3
        return {
            rr.DNSKEY: (ttl, tuple(sorted(keys.publish))) if keys.publish else None,
            rr.CDS: (ttl, tuple(sorted(keys.cds))) if keys.cds else None,
            rr.CDNSKEY: (ttl, tuple(sorted(keys.cdnskey))) if keys.cdnskey else None,
            rr.NSEC3PARAM: (NSEC3PARAM_TTL, (NSEC3PARAM,)) if hashed else None,
        }

    def owner(self, key: bytes) -> bytes:
        """The name that has a key."""
        return from_order_key(key, self.apex)

    def announce(self, node: Node) -> tuple[Node, list[Edit]]:
        """The apex with the record sets that say how the zone is signed, and the edits that make it so."""
        changed = {rrtype: rrset for rrtype, rrset in self.apex_sets.items() if not _same(node.get(rrtype), rrset)}
        if not changed:
            return node, []
        if self.fresh is not None:
            self.fresh = {*self.fresh, *((b"", rrtype) for rrtype in changed)}
        after = dict(node)
        for rrtype, rrset in changed.items():
            if rrset is None:
                del after[rrtype]
            else:
                after[rrtype] = rrset
        return after, [Edit(self.apex, rrtype, rrset) for rrtype, rrset in changed.items()]

    def settle(self, key: bytes, node: Node, seen: bool, proofs: Proofs) -> Iterator[Edit]:
        """What makes the generated record sets of a name what they shall be.

        Args:
            node: what the name has; generated record sets as they are, all others as they shall be.
            seen: whether its own record sets are to be signed: see ``chain.sighted``.
        """
        owner = self.owner(key)
        to_sign: list[tuple[int, RRset, bool]] = []
        fresh = self.fresh
        if seen:
            types = signed_types(key, node)
            to_sign = [(each, node[each], fresh is None or (key, each) in fresh) for each in types]
        for rrtype in PROOFS:
            present = node.get(rrtype)
            wanted = proofs.get(rrtype, present)
            if wanted != present:
                yield Edit(owner, rrtype, wanted)
            if wanted is not None:
                to_sign.append((rrtype, wanted, fresh is None or wanted != present))
        present = node.get(rr.RRSIG)
        wanted = self._signatures(owner, to_sign, present) if self.signs and to_sign else None
        if wanted != present:
            yield Edit(owner, rr.RRSIG, wanted)

    def _signatures(
        self, owner: bytes, to_sign: Iterable[tuple[int, RRset, bool]], present: RRset | None
    ) -> RRset | None:
        good = {} if present is None or self.fresh is None else self._good(present[1])
        found: list[bytes] = []
        ttl: int | None = None
        for rrtype, rrset, fresh in to_sign:
            signing = self.key_signing if rrtype in BY_KEY_SIGNERS else self.zone_signing
            kept: dict[Identity, bytes] = {}
            end = self._ends - int(self._chance() * self._jitter)
            ends = end
            if not fresh:
                for identity, signature, data in good.get(rrtype, ()):
                    if signature.ttl == rrset[0] and identity in signing.identities:
                        kept[identity] = data
                        ends = min(ends, self.until(signature))
            found += signing.sign(owner, rrtype, rrset, end, kept)
            if self.earliest is None or ends < self.earliest:
                self.earliest = ends
            ttl = rrset[0] if ttl is None else min(ttl, rrset[0])
        return None if ttl is None or not found else (ttl, tuple(sorted(found)))

    def _good(self, datas: Iterable[bytes]) -> dict[int, list[tuple[Identity, Rrsig, bytes]]]:
        """The signatures that may stay, by the type they cover."""
        found: dict[int, list[tuple[Identity, Rrsig, bytes]]] = {}
        for data in datas:
            each = read_rrsig(data)
            if self.until(each) > self._due:
                found.setdefault(each.covered, []).append(((each.algorithm, each.tag), each, data))
        return found

    def until(self, signature: Rrsig) -> int:
        """When a signature ends, in seconds since 1970 (RFC 4034 section 3.1.5: within 68 years of now)."""
        return self.now + ((signature.expiration - self.now + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)


def _same(one: RRset | None, other: RRset | None) -> bool:
    if one is None or other is None:
        return one is other
    return one[0] == other[0] and sorted(one[1]) == sorted(other[1])
