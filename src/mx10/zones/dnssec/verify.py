"""Whether a signed zone is what validators want: every signature, and every proof of what is not there.

For zones that others signed (an import, a zone followed from elsewhere), and as our own judge in tests: it shares with
the signing side how names are classified, and nothing that makes records.
"""

from bisect import bisect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from mx10.dns import rrtypes as rr
from mx10.dns.wirename import from_order_key, to_text
from mx10.zones.dnssec.chain import (
    OPT_OUT,
    PROOFS,
    Style,
    hash_key,
    hash_of_key,
    hashed,
    listed_types,
    members,
    read_bitmap,
    read_nsec,
    read_nsec3,
    sighted,
    signed_types,
)
from mx10.zones.dnssec.keys import REVOKED, ZONE_KEY, key_tag, verifier
from mx10.zones.dnssec.sign import Rrsig, label_count, read_rrsig, signed_octets
from mx10.zones.dnssec.whole import keyed_names
from mx10.zones.zone import Node, RRset, Zone

MOST_FAULTS: Final = 20
"""Faults that are told of one zone."""
MOST_ITERATIONS: Final = 100
"""Of NSEC3 hashes: validators take zones with more for unsigned, or fail (RFC 9276 section 3.2)."""
MOST_KEYS: Final = 32
"""DNSKEY records that are looked at."""

_BITS: Final = 1 << 32


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a record set of a signed zone."""

    owner: bytes
    rrtype: int
    what: str

    def __str__(self) -> str:
        return f"{to_text(self.owner)} {rr.type_to_text(self.rrtype)}: {self.what}"


@dataclass(frozen=True, slots=True)
class _Key:
    algorithm: int
    tag: int
    holds: Callable[[bytes, bytes], bool] | None


def is_presigned(zone: Zone) -> bool:
    """Whether somebody signed a zone: it has a DNSKEY set and signatures at its apex."""
    apex = zone.nodes[zone.apex]
    return rr.DNSKEY in apex and rr.RRSIG in apex


def faults(zone: Zone, now: int, *, most: int = MOST_FAULTS) -> list[Fault]:
    """What is wrong with a signed zone; empty: nothing.

    Args:
        now: seconds since 1970.
        most: end after so many.
    """
    return list(islice(_Verifying(zone, now).all(), most))


class _Verifying:
    def __init__(self, zone: Zone, now: int) -> None:
        self.zone = zone
        self.apex = zone.apex
        self.now = now
        self.names = list(keyed_names(zone))
        dnskeys = zone.nodes[self.apex].get(rr.DNSKEY, (0, ()))[1]
        self.keys = [
            _Key(data[3], key_tag(data), verifier(data))
            for data in dnskeys[:MOST_KEYS]
            if len(data) > 4 and data[2] == 3 and (data[0] << 8 | data[1]) & (ZONE_KEY | REVOKED) == ZONE_KEY
        ]
        self.algorithms = {key.algorithm for key in self.keys}

    def all(self) -> Iterator[Fault]:
        """Every fault."""
        if not self.keys:
            yield Fault(self.apex, rr.DNSKEY, "there is no key that could sign the zone")
            return
        for key, node, seen in sighted(self.names):
            yield from self._signatures(self._name(key), key, node, seen)
        apex = self.zone.nodes[self.apex]
        if rr.NSEC3PARAM in apex:
            yield from self._hashed_chain(apex[rr.NSEC3PARAM])
        else:
            yield from self._chain()

    # ------------------------------------------------------------ signatures

    def _signatures(self, owner: bytes, key: bytes, node: Node, seen: bool) -> Iterator[Fault]:
        to_sign = set(signed_types(key, node)) if seen else set()
        to_sign |= PROOFS & node.keys()
        signatures: dict[int, list[Rrsig]] = {}
        for data in node.get(rr.RRSIG, (0, ()))[1]:
            try:
                each = read_rrsig(data)
            except ValueError as error:
                yield Fault(owner, rr.RRSIG, str(error))
                continue
            if each.covered in to_sign:
                signatures.setdefault(each.covered, []).append(each)
            elif each.covered in node:
                yield Fault(owner, each.covered, "there is a signature, though what is delegated away is not signed")
            else:
                yield Fault(owner, each.covered, "there is a signature of a record set that is not there")
        for rrtype in sorted(to_sign):
            yield from self._signed(owner, rrtype, node[rrtype], signatures.get(rrtype, []))

    def _signed(self, owner: bytes, rrtype: int, rrset: RRset, signatures: list[Rrsig]) -> Iterator[Fault]:
        good: set[int] = set()
        why = ""
        for each in signatures:
            wrong = self._wrong(owner, rrtype, rrset, each)
            if wrong:
                why = why or wrong
            else:
                good.add(each.algorithm)
        # RFC 4035 section 2.2: one for every algorithm that the zone announces.
        missing = self.algorithms - good
        if missing:
            named = " and ".join(map(str, sorted(missing)))
            what = why or ("there is no signature" if not signatures else f"no signature of algorithm {named} is there")
            yield Fault(owner, rrtype, what)

    def _wrong(self, owner: bytes, rrtype: int, rrset: RRset, each: Rrsig) -> str:
        """What is wrong with a signature; empty: nothing (RFC 4035 section 5.3.1)."""
        if each.signer.lower() != self.apex:
            return f"the signature is one of {to_text(each.signer)}"
        if each.labels != label_count(owner):
            return f"the signature counts {each.labels} labels"
        if each.ttl != rrset[0]:
            return f"the signature is for the TTL {each.ttl}, not {rrset[0]}"
        if self._before(each.expiration, self.now):
            return "the signature has ended"
        if self._before(self.now, each.inception):
            return "the signature is not valid yet"
        keys = [key for key in self.keys if (key.algorithm, key.tag) == (each.algorithm, each.tag)]
        if not keys:
            return f"the signature is by the key {each.tag} of algorithm {each.algorithm}, which the zone does not have"
        head = (
            each.covered.to_bytes(2, "big")
            + bytes((each.algorithm, each.labels))
            + each.ttl.to_bytes(4, "big")
            + each.expiration.to_bytes(4, "big")
            + each.inception.to_bytes(4, "big")
            + each.tag.to_bytes(2, "big")
            + each.signer.lower()
        )
        octets = head + signed_octets(owner, rrtype, *rrset)
        # Signatures of algorithms we do not know are taken as good: somebody else can verify them.
        if any(key.holds is None or key.holds(each.signature, octets) for key in keys):
            return ""
        return "the signature is not that of the record set"

    @staticmethod
    def _before(one: int, other: int) -> bool:
        return 0 < (other - one) % _BITS < _BITS >> 1

    # ------------------------------------------------------------ proofs

    def _chain(self) -> Iterator[Fault]:
        style = Style()
        wanted = dict(members(((key, node) for key, node, seen in sighted(self.names) if seen), style))
        keys = list(wanted)
        following = dict(zip(keys, [*keys[1:], *keys[:1]], strict=True))
        for key, node in self.names:
            owner = self._name(key)
            if rr.NSEC3 in node:
                yield Fault(owner, rr.NSEC3, "the zone has no NSEC3PARAM record")
            if (rr.NSEC in node) != (key in wanted):
                what = (
                    "the record proves something of a name that is not the zone's"
                    if rr.NSEC in node
                    else "it is missing"
                )
                yield Fault(owner, rr.NSEC, what)
            elif rr.NSEC in node:
                yield from self._nsec(owner, node, self._name(following[key]), listed_types(key, node, style))

    def _nsec(self, owner: bytes, node: Node, following: bytes, types: tuple[int, ...]) -> Iterator[Fault]:
        datas = node[rr.NSEC][1]
        name, listing = read_nsec(datas[0])
        if len(datas) != 1:
            yield Fault(owner, rr.NSEC, "there are several of them")
        elif name.lower() != following:
            yield Fault(owner, rr.NSEC, f"the next name is {to_text(following)}, not {to_text(name)}")
        else:
            yield from self._listing(owner, rr.NSEC, listing, types)

    def _listing(self, owner: bytes, rrtype: int, listing: bytes, types: tuple[int, ...]) -> Iterator[Fault]:
        try:
            listed = read_bitmap(listing)
        except ValueError as error:
            yield Fault(owner, rrtype, str(error))
            return
        if more := listed - set(types):
            yield Fault(owner, rrtype, f"it lists {_words(more)}, which the name does not have")
        if less := set(types) - listed:
            yield Fault(owner, rrtype, f"it does not list {_words(less)}, which the name has")

    def _hashed_chain(self, parameters: RRset) -> Iterator[Fault]:
        data = parameters[1][0]
        if len(data) < 5 or data[0] != 1 or len(data) != 5 + data[4]:
            yield Fault(self.apex, rr.NSEC3PARAM, "the hash is not known")
            return
        iterations, salt = data[2] << 8 | data[3], data[5:]
        if iterations > MOST_ITERATIONS:
            what = f"{iterations} iterations; {MOST_ITERATIONS} are borne, and none are wished (RFC 9276 section 3.1)"
            yield Fault(self.apex, rr.NSEC3PARAM, what)
            return
        records: dict[bytes, tuple[bytes, int, bytes, bytes]] = {}
        for key, node in self.names:
            if rr.NSEC in node:
                yield Fault(self._name(key), rr.NSEC, "the zone has NSEC3 records")
            if rr.NSEC3 in node:
                try:
                    digest = hash_of_key(key)
                    flags, times, with_salt, following, listing = read_nsec3(node[rr.NSEC3][1][0])
                except ValueError:
                    yield Fault(self._name(key), rr.NSEC3, "it is none")
                    continue
                if (times, with_salt) == (iterations, salt):
                    records[digest] = self._name(key), flags, following, listing
        digests = sorted(records)
        for digest, following in zip(digests, [*digests[1:], *digests[:1]], strict=True):
            if records[digest][2] != following:
                yield Fault(records[digest][0], rr.NSEC3, "the next hash is another one")
        yield from self._hashed_names(records, digests, salt, iterations)

    def _hashed_names(
        self, records: dict[bytes, tuple[bytes, int, bytes, bytes]], digests: list[bytes], salt: bytes, iterations: int
    ) -> Iterator[Fault]:
        style = Style(rr.NSEC3)
        needed = {key for key, _ in members(self._seen(), Style(rr.NSEC3, opt_out=True))}
        left = set(records)
        for key, node in members(self._seen(), style):
            owner = self._name(key)
            digest = hashed(owner, salt, iterations)
            if digest in records:
                left.discard(digest)
                yield from self._listing(
                    records[digest][0], rr.NSEC3, records[digest][3], listed_types(key, node, style)
                )
                continue
            # RFC 5155 section 6: an insecure delegation may be left out where a record with opt-out covers it.
            before = records[digests[bisect(digests, digest) - 1]] if digests else None
            if key in needed or before is None or not before[1] & OPT_OUT:
                yield Fault(owner, rr.NSEC3, f"the record {to_text(self._name(hash_key(digest)))} is missing")
        for digest in sorted(left):
            yield Fault(records[digest][0], rr.NSEC3, "it is the hash of no name of the zone")

    def _seen(self) -> Iterator[tuple[bytes, Node]]:
        return ((key, node) for key, node, seen in sighted(self.names) if seen)

    def _name(self, key: bytes) -> bytes:
        return from_order_key(key, self.apex)


def _words(types: set[int] | frozenset[int]) -> str:
    return ", ".join(rr.type_to_text(rrtype) for rrtype in sorted(types))
