"""Which signatures of a zone in the store have to be made anew: they end soon, or other keys made them."""

from collections.abc import Iterable
from dataclasses import dataclass
from struct import Struct
from typing import Final

from mx10.zones.dnssec.keys import KeySet
from mx10.zones.dnssec.sign import Identity
from mx10.zones.dnssec.stored import StoredZone
from mx10.zones.dnssec.work import BY_KEY_SIGNERS

_HEAD: Final = Struct("!HBxIIIH")
_BITS: Final = 1 << 32


@dataclass(frozen=True, slots=True)
class Due:
    """What is due of a zone.

    Attributes:
        names: keys of the names, in order.
        more: there were too many to name all.
        next_end: when the first of the other signatures ends, in seconds since 1970; None: there are no others.
    """

    names: tuple[bytes, ...]
    more: bool
    next_end: int | None


class Judge:
    """Says of the signatures of a name whether any is due.

    Args:
        keys: that sign the zone now.
        now: seconds since 1970.
        horizon: seconds; what ends sooner is due.
    """

    def __init__(self, keys: KeySet, now: int, horizon: int) -> None:
        self._of_keys = frozenset((key.algorithm, key.tag) for key in keys.sign_dnskey)
        self._of_zone = frozenset((key.algorithm, key.tag) for key in keys.sign_zone)
        self._now = now
        self._due = now + horizon

    def by_others(self, datas: Iterable[bytes]) -> bool:
        """Whether other keys made them than should, or one lacks."""
        return self._look(datas)[0]

    def end(self, datas: Iterable[bytes]) -> int | None:
        """When the first of a name's signatures ends; None if one is due."""
        others, end = self._look(datas)
        return None if others or end <= self._due else end

    def _look(self, datas: Iterable[bytes]) -> tuple[bool, int]:
        signers: dict[int, set[Identity]] = {}
        first = self._now + _BITS
        for data in datas:
            covered, algorithm, _, expiration, _, tag = _HEAD.unpack_from(data)
            signers.setdefault(covered, set()).add((algorithm, tag))
            end = self._now + ((expiration - self._now + (_BITS >> 1)) & (_BITS - 1)) - (_BITS >> 1)
            first = min(first, end)
        return any(
            found != (self._of_keys if covered in BY_KEY_SIGNERS else self._of_zone)
            for covered, found in signers.items()
        ), first


def find_due(zone: StoredZone, judge: Judge, most: int) -> Due:
    """Look through all signatures of a zone.

    Args:
        most: names to give at most.
    """
    names: list[bytes] = []
    more = False
    next_end: int | None = None
    for key, datas in zone.signatures():
        end = judge.end(datas)
        if end is not None:
            next_end = end if next_end is None else min(next_end, end)
        elif len(names) < most:
            names.append(key)
        else:
            more = True
            break
    return Due(tuple(names), more, next_end)
