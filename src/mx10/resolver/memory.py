"""What the iterating resolver remembers: zones and their servers, what stands at names, failures, and servers to pass
over.

Everything has its time and is bounded in number. What may be believed at all is decided before it comes here.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from mx10.dns import rrtypes as rr
from mx10.dns.message import Record
from mx10.dns.rrtypes import Rcode
from mx10.dns.wirename import ancestors
from mx10.resolver.bailiwick import MAX_TTL, Referral, Told, negative_ttl
from mx10.resolver.expiring import Expiring

FAILURE_SECONDS: Final = 5.0
"""How long a failure is remembered: RFC 9520 section 3.2 wants at least one second and at most five minutes."""

_ALIAS: Final = -1
"""In place of a type, as the key of an alias step in the memory."""
_NO_NAME: Final = -2
"""In place of a type, as the key of a name that does not exist, whatever the type (RFC 2308 section 5)."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A zone and how to reach its servers: names, and the addresses that came with the referral."""

    zone: bytes
    servers: tuple[bytes, ...]
    glue: dict[bytes, tuple[str, ...]]


class Memory:
    """What was learned. Forgetting is starting a new one: a look-up under way keeps writing into the one it began
    with.

    Args:
        limit: entries of each kind.
        clock: seconds that only go forward.
    """

    __slots__ = ("_avoided", "_cuts", "_facts", "_heard")

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._cuts: Expiring[bytes, Cut] = Expiring(limit, clock)
        self._facts: Expiring[tuple[bytes, int], tuple[Told, str]] = Expiring(limit, clock)
        self._avoided: Expiring[tuple[str, bytes | None], str] = Expiring(limit, clock)
        self._heard: Expiring[str, None] = Expiring(limit, clock)

    def __len__(self) -> int:
        return len(self._cuts) + len(self._facts) + len(self._avoided)

    # -- zones and their servers ---------------------------------------------------------------------------------

    def closest_cut(self, name: bytes) -> Cut | None:
        """The deepest zone known to hold a folded name."""
        for above in ancestors(name):
            cut = self._cuts.get(above)
            if cut is not None:
                return cut
        return None

    def keep_cut(self, referral: Referral) -> Cut:
        """Remember where a referral points."""
        cut = Cut(referral.cut, referral.servers, referral.glue)
        self._cuts.put(cut.zone, cut, min(referral.ttl, MAX_TTL))
        return cut

    def drop_cut(self, zone: bytes) -> None:
        """Forget where a zone's servers are."""
        self._cuts.drop(zone)

    # -- what stands at names ------------------------------------------------------------------------------------

    def known(self, name: bytes, rrtype: int) -> tuple[Told, str] | None:
        """What is remembered of a name, its TTLs counted down, and which server said so."""
        # An absent name says nothing of names below it here, although RFC 8020 would have it so: servers that deny a
        # name which only has names below it are still about, and mail must not bounce for it.
        for key in ((name, rrtype), (name, _NO_NAME), (name, _ALIAS)):
            if key[1] == _ALIAS and rrtype in (rr.CNAME, rr.ANY):
                continue
            entry = self._facts.get_with_rest(key)
            if entry is not None:
                (told, server), rest = entry
                return _aged(told, int(rest)), server
        return None

    def keep(self, told: Told, rrtype: int, server: str) -> None:
        """Remember a response to a question of that type: each alias step, and what stands at the end."""
        for step in told.steps:
            fact = Told(step.target, None, (step,))
            self._facts.put((step.owner, _ALIAS), (fact, server), _capped(step.records))
        end = replace(told, steps=())
        if told.records:
            self._facts.put((told.name, rrtype), (end, server), _capped(told.records))
        elif told.rcode is not None and told.soa is not None:
            key = (told.name, _NO_NAME if told.rcode == Rcode.NXDOMAIN else rrtype)
            self._facts.put(key, (end, server), negative_ttl(told.soa))

    # -- servers that fail ---------------------------------------------------------------------------------------

    def hear(self, server: str) -> None:
        """A server has answered, whatever it said."""
        self._heard.put(server, None, FAILURE_SECONDS)

    def avoid(self, server: str, zone: bytes, why: str) -> str:
        """Pass a server over for one zone for a while.

        Returns:
            The reason, with the server.
        """
        said = f"{server} {why}"
        self._avoided.put((server, zone), said, FAILURE_SECONDS)
        return said

    def avoid_silent(self, server: str, why: str) -> str:
        """Pass a server over for all zones for a while, unless it has answered anything of late: then one question was
        lost, or is one that it drops, and whoever asks that must not take it from all others.

        Returns:
            The reason, with the server.
        """
        said = f"{server} {why}"
        if self._heard.get_with_rest(server) is None:
            self._avoided.put((server, None), said, FAILURE_SECONDS)
        return said

    def avoided(self, server: str, zone: bytes) -> str | None:
        """Why a server is passed over for a zone; None if it is not."""
        return self._avoided.get((server, None)) or self._avoided.get((server, zone))


def _capped(records: tuple[Record, ...]) -> int:
    """Seconds for which records may be remembered."""
    return min(MAX_TTL, *(record.ttl for record in records))


def _aged(told: Told, rest: int) -> Told:
    """A remembered fact as it holds now: its TTLs counted down."""

    def age(record: Record) -> Record:
        return replace(record, ttl=min(record.ttl, rest))

    return replace(
        told,
        steps=tuple(replace(step, records=tuple(map(age, step.records))) for step in told.steps),
        records=tuple(map(age, told.records)),
        soa=told.soa and age(told.soa),
    )
