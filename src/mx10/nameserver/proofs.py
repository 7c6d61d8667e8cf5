"""What makes an answer believable: the signatures of its record sets, and the records that prove what a zone does not
hold.

By NSEC (RFC 4035 section 3.1.3) or NSEC3 (RFC 5155 section 7.2); RFC 7129 tells why these records are enough, and why
no fewer are. Nothing is computed here that was not signed before: proofs are looked up.
"""

from base64 import b32hexdecode, b32hexencode
from hashlib import sha1
from typing import Final

from mx10.dns import rrtypes as rr
from mx10.dns.wirename import parent
from mx10.zones.rules import NSEC3_ITERATIONS
from mx10.zones.zone import Node, ZoneData

_OTHER_CHAINS: Final = 64
"""Records of other NSEC3 chains passed by in search of ours. While a zone changes from one salt to another it holds two
chains, and one in two records is of the other.
"""
_WILDCARD: Final = b"\1*"
_HASH_LABEL: Final = 32
"""Octets of an SHA-1 hash in base 32."""
_HASHES: Final = 1 << 160


def signatures(node: Node, rrtype: int) -> tuple[bytes, ...]:
    """The signatures of one of a name's record sets: data of RRSIG records. Those of all its sets stand together."""
    signed = node.get(rr.RRSIG)
    if signed is None:
        return ()
    covered = rrtype.to_bytes(2, "big")
    return tuple([data for data in signed[1] if data[:2] == covered])


class Nsec:
    """Proofs by NSEC records: each names the one owner after it, so that it speaks of all names between."""

    __slots__ = ("_zone",)

    rrtype: Final = rr.NSEC

    def __init__(self, zone: ZoneData) -> None:
        self._zone = zone

    def no_data(self, name: bytes) -> list[bytes]:
        """Owners of the records that prove which types an existing name has. For a name that only has names below it,
        that is the record which leads past it (RFC 4035 section 3.1.3.1).
        """
        return self._at(name)

    def no_name(self, name: bytes, encloser: bytes) -> list[bytes]:
        """Owners of the records that prove that a name does not exist, and which types the wildcard has that could
        stand for it: none where there is no such wildcard (RFC 4035 sections 3.1.3.2 and 3.1.3.4).

        Args:
            encloser: the longest existing name above ``name`` (RFC 4592 section 3.3.1).
        """
        return self._at(name) + self._at(_WILDCARD + encloser)

    def expanded(self, name: bytes, encloser: bytes) -> list[bytes]:
        """Owners of the records that prove that nothing closer than the wildcard below ``encloser`` answers for a name
        (RFC 4035 section 3.1.3.3).
        """
        return self._at(name)

    def _at(self, name: bytes) -> list[bytes]:
        owner = self._zone.at_or_before(name, rr.NSEC)
        return [] if owner is None else [owner]


class Nsec3:
    """Proofs by NSEC3 records, which name hashes instead of names.

    Args:
        parameters: iterations (2 octets), length of the salt, salt: as they stand in the NSEC3PARAM record.
    """

    __slots__ = ("_iterations", "_parameters", "_salt", "_zone")

    rrtype: Final = rr.NSEC3

    def __init__(self, zone: ZoneData, parameters: bytes) -> None:
        self._zone = zone
        self._parameters = parameters
        self._iterations = parameters[0] << 8 | parameters[1]
        self._salt = parameters[3:]

    def no_data(self, name: bytes) -> list[bytes]:
        """The record of the name itself (RFC 5155 sections 7.2.3 and 7.2.4).

        Opt-out leaves out insecure delegations and what is there because of them only. For these it is proved that the
        span in which they would be was left out (section 7.2.7).
        """
        found, matches = self._at(name)
        if matches or name == self._zone.apex:
            return found
        return self._enclosed(name, parent(name))[0]

    def no_name(self, name: bytes, encloser: bytes) -> list[bytes]:
        """See ``Nsec``; here the name is proved absent by the closest encloser, which exists, and the next closer name,
        which does not (RFC 5155 sections 7.2.2 and 7.2.5).
        """
        proof, provable = self._enclosed(name, encloser)
        return proof + self._at(_WILDCARD + provable)[0]

    def expanded(self, name: bytes, encloser: bytes) -> list[bytes]:
        """See ``Nsec``; the signature of the wildcard's record set tells what the encloser is (RFC 5155 section
        7.2.6).
        """
        return self._at(_next_closer(name, encloser))[0]

    def _enclosed(self, name: bytes, encloser: bytes) -> tuple[list[bytes], bytes]:
        """The closest encloser proof (RFC 5155 section 7.2.1), and the name it was made with: the closest that has a
        record, since opt-out may have left out some.
        """
        while True:
            found, matches = self._at(encloser)
            if matches or encloser == self._zone.apex:
                return found + self._at(_next_closer(name, encloser))[0], encloser
            encloser = parent(encloser)

    def _at(self, name: bytes) -> tuple[list[bytes], bool]:
        """The owner whose record matches or covers the hash of a name, and whether it matches."""
        apex = self._zone.apex
        digest = sha1(name + self._salt, usedforsecurity=False).digest()
        for _ in range(self._iterations):
            digest = sha1(digest + self._salt, usedforsecurity=False).digest()
        wanted = sought = _hash_owner(digest, apex)
        for _ in range(_OTHER_CHAINS):
            owner = self._zone.at_or_before(sought, rr.NSEC3)
            if owner is None:
                break
            if any(self._is_ours(data) for data in self._zone.nodes[owner][rr.NSEC3][1]):
                return [owner], owner == wanted
            before = _hash_before(owner, apex)
            if before is None:
                break
            sought = before
        return [], False

    def _is_ours(self, data: bytes) -> bool:
        """Whether a record belongs to the chain of our parameters; the flags between are those of opt-out."""
        return data[:1] == b"\1" and data[2 : 2 + len(self._parameters)] == self._parameters


Proofs = Nsec | Nsec3


def proofs_of(zone: ZoneData) -> Proofs | None:
    """How a zone proves what it does not hold; None for one that is not signed.

    A zone is signed if its apex has keys, signatures, and a chain of NSEC or NSEC3 records. NSEC3PARAM says that a
    chain of NSEC3 is complete (RFC 5155 section 4), so where it stands beside NSEC it is the one to use.
    """
    apex = zone.nodes[zone.apex]
    if rr.RRSIG not in apex or rr.DNSKEY not in apex:
        return None
    parameters = apex.get(rr.NSEC3PARAM)
    if parameters is not None:
        for data in parameters[1]:
            # SHA-1, the only hash there is; a record with flags is not for us (RFC 5155 section 4.1.2).
            if data[:2] == b"\1\0" and data[2] << 8 | data[3] <= NSEC3_ITERATIONS:
                return Nsec3(zone, data[2:])
    return Nsec(zone) if rr.NSEC in apex else None


def _next_closer(name: bytes, encloser: bytes) -> bytes:
    """The name one label longer than ``encloser`` on the way to ``name`` (RFC 5155 section 1.3)."""
    while (above := parent(name)) != encloser:
        name = above
    return name


def _hash_owner(digest: bytes, apex: bytes) -> bytes:
    return b"\x20" + b32hexencode(digest).lower() + apex


def _hash_before(owner: bytes, apex: bytes) -> bytes | None:
    """The owner that a hash smaller by one would have; None if the owner is no hash."""
    if owner[0] != _HASH_LABEL or len(owner) != 1 + _HASH_LABEL + len(apex):
        return None
    try:
        digest = b32hexdecode(owner[1 : 1 + _HASH_LABEL], casefold=True)
    except ValueError:
        return None
    return _hash_owner(((int.from_bytes(digest, "big") - 1) % _HASHES).to_bytes(20, "big"), apex)
