"""Proofs of what is not there: which names have NSEC or NSEC3 records, and what these say (RFC 4034, RFC 5155).

Names go by their order keys (``mx10.dns.wirename.order_key``) relative to the apex: keys sort as DNSSEC sorts names,
and a name's key begins with the keys of those above it. Everything here is computed from nodes alone; what is to be
read and written of a store when something changes is the business of ``mending``.
"""

from base64 import b32hexdecode, b32hexencode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha1
from typing import Final

from mx10.dns import rrtypes as rr
from mx10.zones.zone import Node, RRset

PROOFS: Final = frozenset({rr.NSEC, rr.NSEC3})
GENERATED_HERE: Final = frozenset({rr.RRSIG, rr.NSEC, rr.NSEC3})
"""Types that a name alone does not exist by: they follow from the others."""

OPT_OUT: Final = 1
NSEC3PARAM: Final = b"\1\0\0\0\0"
"""SHA-1, no further iterations, no salt (RFC 9276 section 3.1); the flag of opt-out is not set here (RFC 5155 section
4.1.2)."""
NSEC3PARAM_TTL: Final = 0
"""Only nameservers of the zone read it."""

HASH: Final = 20
"""Octets of an NSEC3 hash (SHA-1)."""

_NSEC3_HEAD: Final = (b"\1\0\0\0\0\x14", b"\1\1\0\0\0\x14")


@dataclass(frozen=True, slots=True)
class Style:
    """How what is not there is proved.

    Attributes:
        rrtype: NSEC or NSEC3.
        opt_out: insecure delegations have no NSEC3 record.
    """

    rrtype: int = rr.NSEC
    opt_out: bool = False

    @classmethod
    def named(cls, name: str) -> "Style":
        """By the name it has in the settings: ``nsec``, ``nsec3`` or ``nsec3-opt-out``."""
        return cls(rr.NSEC if name == "nsec" else rr.NSEC3, name == "nsec3-opt-out")


def proof_ttl(soa: RRset) -> int:
    """TTL in seconds of NSEC and NSEC3 records: that of negative answers (RFC 9077 section 3)."""
    return min(soa[0], int.from_bytes(soa[1][0][-4:], "big"))


# ---------------------------------------------------------------- names


def own_types(node: Mapping[int, RRset]) -> list[int]:
    """The types a name exists by, sorted."""
    return sorted(rrtype for rrtype in node if rrtype not in GENERATED_HERE)


def is_cut(key: bytes, node: Mapping[int, RRset]) -> bool:
    """Whether a zone is delegated away here."""
    return rr.NS in node and key != b""


def covers(key: bytes, node: Mapping[int, RRset]) -> bool:
    """Whether what lies below a name is not the zone's own: it is delegated away, or redirected (RFC 6672 section
    2.4)."""
    return rr.DNAME in node or is_cut(key, node)


def sighted(names: Iterable[tuple[bytes, Node]]) -> Iterator[tuple[bytes, Node, bool]]:
    """Each name, and whether the zone has something to say of it: it exists, and not below a delegation.

    Args:
        names: keys and nodes, in order.
    """
    cover: bytes | None = None
    for key, node in names:
        if cover is not None and key.startswith(cover):
            yield key, node, False
            continue
        cover = None
        for rrtype in node:
            if rrtype not in GENERATED_HERE:
                break
        else:
            yield key, node, False
            continue
        if rr.DNAME in node or (rr.NS in node and key):
            cover = key
        yield key, node, True


def visible(names: Iterable[tuple[bytes, Node]]) -> Iterator[tuple[bytes, Node]]:
    """The names that the zone has something to say of, from all of them in order."""
    return ((key, node) for key, node, seen in sighted(names) if seen)


def signed_types(key: bytes, node: Mapping[int, RRset]) -> list[int]:
    """Which of a visible name's own types are signed (RFC 4035 section 2.2): all, but at a delegation only DS."""
    if is_cut(key, node):
        return [rr.DS] if rr.DS in node else []
    return own_types(node)


def above(key: bytes) -> Iterator[bytes]:
    """The keys of the names between a name and the apex, both left out, from the top down."""
    end = key.find(b"\0") + 1
    while 0 < end < len(key):
        yield key[:end]
        end = key.find(b"\0", end) + 1


def is_left_out(key: bytes, node: Mapping[int, RRset], style: Style) -> bool:
    """Whether opt-out leaves a visible name out: an insecure delegation (RFC 5155 section 6)."""
    return style.opt_out and is_cut(key, node) and rr.DS not in node


def members(names: Iterable[tuple[bytes, Node]], style: Style) -> Iterator[tuple[bytes, Node]]:
    """The names that have a record in the chain, in order; with NSEC3 also those that only have names below them (RFC
    5155 section 7.1), as empty nodes.

    Args:
        names: what ``visible`` gave.
    """
    if style.rrtype == rr.NSEC:
        yield from names
        return
    previous = b""
    for key, node in names:
        if is_left_out(key, node, style):
            continue
        for name in above(key):
            # What is below a name stands together: had it been met, the last one met would be at or below it.
            if not previous.startswith(name):
                yield name, {}
        previous = key
        yield key, node


# ---------------------------------------------------------------- records


def listed_types(key: bytes, node: Mapping[int, RRset], style: Style) -> tuple[int, ...]:
    """The types a chain's record names (RFC 4034 section 4.1.2, RFC 5155 section 7.1)."""
    if is_cut(key, node):
        found = [rr.NS, rr.DS] if rr.DS in node else [rr.NS]
        # With NSEC there is a signature in any case, that of the NSEC record.
        if style.rrtype == rr.NSEC:
            return (*found, rr.RRSIG, rr.NSEC)
        return (*found, rr.RRSIG) if len(found) > 1 else (rr.NS,)
    found = own_types(node)
    if style.rrtype == rr.NSEC:
        return tuple(sorted([*found, rr.RRSIG, rr.NSEC]))
    return tuple(sorted([*found, rr.RRSIG])) if found else ()


@lru_cache(maxsize=4096)
def bitmap(types: tuple[int, ...]) -> bytes:
    """Types as NSEC and NSEC3 records list them (RFC 4034 section 4.1.2).

    Args:
        types: sorted.
    """
    windows: dict[int, bytearray] = {}
    for rrtype in types:
        bits = windows.setdefault(rrtype >> 8, bytearray())
        at = (rrtype & 0xFF) >> 3
        bits.extend(bytes(at + 1 - len(bits)))
        bits[at] |= 0x80 >> (rrtype & 7)
    return b"".join(bytes((window, len(bits))) + bits for window, bits in windows.items())


def read_bitmap(data: bytes) -> frozenset[int]:
    """The types that a bitmap lists.

    Raises:
        ValueError: it is none.
    """
    found: set[int] = set()
    at, last = 0, -1
    while at < len(data):
        if at + 2 > len(data):
            raise ValueError("the bitmap of types is cut short")
        window, length = data[at], data[at + 1]
        bits = data[at + 2 : at + 2 + length]
        if window <= last or not 0 < length <= 32 or len(bits) != length:
            raise ValueError("the bitmap of types is none")
        found.update(
            window << 8 | octet << 3 | bit for octet in range(length) for bit in range(8) if bits[octet] << bit & 0x80
        )
        at += 2 + length
        last = window
    return frozenset(found)


def nsec(following: bytes, types: tuple[int, ...]) -> bytes:
    """The data of an NSEC record.

    Args:
        following: the name of the next record in the chain.
    """
    return following + bitmap(types)


def read_nsec(data: bytes) -> tuple[bytes, bytes]:
    """The next name, and the bitmap of types, of an NSEC record."""
    at = 0
    while at < len(data) and data[at]:
        at += data[at] + 1
    return data[: at + 1], data[at + 1 :]


def nsec3(following: bytes, types: tuple[int, ...], style: Style) -> bytes:
    """The data of an NSEC3 record without salt and further iterations.

    Args:
        following: the next hash in the chain, 20 octets.
    """
    return relinked_nsec3(following, bitmap(types), style)


def relinked_nsec3(following: bytes, listing: bytes, style: Style) -> bytes:
    """As ``nsec3``, with a bitmap of types that is there already."""
    return _NSEC3_HEAD[style.opt_out] + following + listing


def read_nsec3(data: bytes) -> tuple[int, int, bytes, bytes, bytes]:
    """Flags, iterations, salt, next hash, and the bitmap of types of an NSEC3 record.

    Raises:
        ValueError: the data end too early, or the hash is not SHA-1.
    """
    if len(data) < 6 or data[0] != 1:
        raise ValueError("the NSEC3 record has a hash that is not known")
    salt_end = 5 + data[4]
    salt = data[5:salt_end]
    if data[salt_end : salt_end + 1] != bytes((HASH,)) or len(data) < salt_end + 1 + HASH:
        raise ValueError("the NSEC3 record is cut short")
    start = salt_end + 1
    return data[1], data[2] << 8 | data[3], salt, data[start : start + HASH], data[start + HASH :]


def hashed(name: bytes, salt: bytes = b"", iterations: int = 0) -> bytes:
    """The hash of a folded name (RFC 5155 section 5)."""
    digest = sha1(name + salt, usedforsecurity=False).digest()
    for _ in range(iterations):
        digest = sha1(digest + salt, usedforsecurity=False).digest()
    return digest


def hash_key(digest: bytes) -> bytes:
    """The order key of the name that has a hash for its only label; sorts as the hashes do."""
    return b32hexencode(digest).lower() + b"\0"


def hash_of_key(key: bytes) -> bytes:
    """The hash in an order key that ``hash_key`` made.

    Raises:
        ValueError: it is none.
    """
    return b32hexdecode(key[:-1], casefold=True)
