"""Signatures: what octets a record set is when it is signed (RFC 4034 section 6), and RRSIG data around a signature.

Octets in, octets out: which record sets of a zone are signed, by which keys and when, is decided in ``signer``.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from struct import Struct
from typing import Final, NamedTuple

from mx10.dns import rrtypes as rr
from mx10.dns.wirename import labels
from mx10.zones.dnssec.keys import SigningKey
from mx10.zones.zone import RRset

INCEPTION_EARLIER: Final = 3600
"""Seconds before now at which a signature begins to be valid: clocks of validators may be slow (RFC 6781 section
4.4.2.2)."""

_HEAD: Final = Struct("!HBBIIIH")
_RECORD: Final = Struct("!HHIH")
_BITS: Final = 1 << 32

Identity = tuple[int, int]
"""Algorithm and tag of the key that made a signature."""

_NOTHING: Final[Mapping[Identity, bytes]] = {}

# Where names begin in the data of the types whose names are signed in lower case (RFC 4034 section 6.2, but for NSEC
# and HINFO: RFC 6840 section 5.1), if nothing but names follows.
_NAMES_FROM: Final = {
    rr.NS: 0, 3: 0, 4: 0, rr.CNAME: 0, 7: 0, 8: 0, 9: 0, rr.PTR: 0, 14: 0, rr.MX: 2, rr.RP: 0, rr.AFSDB: 2, 21: 2,
    26: 2, rr.SRV: 6, rr.KX: 2, rr.DNAME: 0,
}  # fmt: skip
_SIG_HEAD: Final = 18
_NXT: Final = 30
_A6: Final = 38


class Rrsig(NamedTuple):
    """The fields of RRSIG data (RFC 4034 section 3.1); times in seconds since 1970, modulo 2^32."""

    covered: int
    algorithm: int
    labels: int
    ttl: int
    expiration: int
    inception: int
    tag: int
    signer: bytes
    signature: bytes


def read_rrsig(data: bytes) -> Rrsig:
    """The fields of RRSIG data.

    Raises:
        ValueError: the data end too early.
    """
    if len(data) < _HEAD.size:
        raise ValueError("the RRSIG record is cut short")
    end = _name_end(data, _HEAD.size)
    covered, algorithm, count, ttl, expiration, inception, tag = _HEAD.unpack_from(data)
    signer, signature = data[_HEAD.size : end], data[end:]
    return Rrsig(covered, algorithm, count, ttl, expiration, inception, tag, signer, signature)


def canonical(rrtype: int, data: bytes) -> bytes:
    """Data as they are signed: names in lower case where their type is one of those that compress them."""
    at = _NAMES_FROM.get(rrtype)
    if at is not None:
        return data.lower() if at == 0 else data[:at] + data[at:].lower()
    if rrtype == rr.SOA:
        return data[:-20].lower() + data[-20:]
    reader = _AMONG_OTHERS.get(rrtype)
    return data if reader is None else reader(data)


def _naptr(data: bytes) -> bytes:
    at = 4
    for _ in range(3):
        if at < len(data):
            at += data[at] + 1
    return data[:at] + data[at:].lower()


def _sig(data: bytes) -> bytes:
    end = _name_end(data, _SIG_HEAD)
    return data[:_SIG_HEAD] + data[_SIG_HEAD:end].lower() + data[end:]


def _nxt(data: bytes) -> bytes:
    end = _name_end(data, 0)
    return data[:end].lower() + data[end:]


def _a6(data: bytes) -> bytes:
    at = 1 + (128 - min(data[0], 128) + 7) // 8 if data else 0
    return data[:at] + data[at:].lower()


_AMONG_OTHERS: Final[dict[int, Callable[[bytes], bytes]]] = {
    rr.SIG: _sig, rr.RRSIG: _sig, rr.NAPTR: _naptr, _NXT: _nxt, _A6: _a6,
}  # fmt: skip


def _name_end(data: bytes, at: int) -> int:
    while at < len(data) and data[at]:
        at += data[at] + 1
    return at + 1


def signed_octets(owner: bytes, rrtype: int, ttl: int, datas: Sequence[bytes]) -> bytes:
    """A record set as it is signed: its records in canonical form and order, each once (RFC 4034 sections 6.2, 6.3).

    Args:
        owner: folded; for a wildcard's expansion the wildcard.
        ttl: the original one, in seconds.
    """
    if len(datas) == 1:
        data = canonical(rrtype, datas[0])
        return owner + _RECORD.pack(rrtype, rr.IN, ttl, len(data)) + data
    pieces: list[bytes] = []
    for data in sorted({canonical(rrtype, each) for each in datas}):
        pieces += (owner, _RECORD.pack(rrtype, rr.IN, ttl, len(data)), data)
    return b"".join(pieces)


def label_count(owner: bytes) -> int:
    """Labels of an owner as RRSIG records count them: without the root, and without the asterisk of a wildcard (RFC
    4034 section 3.1.3)."""
    count = len(labels(owner))
    return count - 1 if owner.startswith(b"\1*") else count


class Signing:
    """Keys at work for one zone at one time.

    Args:
        apex: name of the zone, folded.
        keys: each makes a signature of every record set.
        now: seconds since 1970.
    """

    __slots__ = ("_inception", "_keys", "identities")

    def __init__(self, apex: bytes, keys: Iterable[SigningKey], now: int) -> None:
        self._inception = (now - INCEPTION_EARLIER) % _BITS
        self._keys = [((key.algorithm, key.tag), apex, key.signing()) for key in keys]
        self.identities = frozenset(identity for identity, _, _ in self._keys)

    def sign(
        self, owner: bytes, rrtype: int, rrset: RRset, expiration: int, kept: Mapping[Identity, bytes] = _NOTHING
    ) -> list[bytes]:
        """Data of the RRSIG records of a record set.

        Args:
            owner: folded.
            expiration: seconds since 1970.
            kept: signatures of this very set that are still good, by who made them; these make no other.
        """
        ttl, datas = rrset
        octets = b""
        found: list[bytes] = []
        for identity, apex, sign in self._keys:
            data = kept.get(identity)
            if data is None:
                if not octets:
                    octets = signed_octets(owner, rrtype, ttl, datas)
                    count = label_count(owner)
                algorithm, tag = identity
                head = _HEAD.pack(rrtype, algorithm, count, ttl, expiration % _BITS, self._inception, tag) + apex
                data = head + sign(head + octets)
            found.append(data)
        return found
