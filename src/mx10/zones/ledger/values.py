"""What the ledger takes and gives: who changes, what shall be, what was changed, and what is known of a zone."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from sqlalchemy import Connection

from mx10.dns import rrtypes as rr
from mx10.zones.ledger.options import ZoneOptions
from mx10.zones.zone import RRset

GENERATED: Final = frozenset({rr.RRSIG, rr.NSEC, rr.NSEC3, rr.NSEC3PARAM, rr.DNSKEY, rr.CDS, rr.CDNSKEY})
"""Types that only mx10 itself writes into a zone that it signs."""


@dataclass(frozen=True, slots=True)
class Author:
    """Who makes a change, and why."""

    name: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Edit:
    """A record set as it shall be; None (or one without records) takes it away.

    ``owner`` is a folded absolute name. The data are valid for their type: whoever read them from outside checked that.
    """

    owner: bytes
    type: int
    rrset: RRset | None


@dataclass(frozen=True, slots=True)
class Change:
    """A record set that was changed: None where it was not there before, or is not any more."""

    owner: bytes
    type: int
    before: RRset | None
    after: RRset | None


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """A change of a zone, as it is on record. ``at`` is in milliseconds since 1970 (UTC).

    ``serial_before`` is None where the zone began with it, ``serial_after`` where it ended. ``changes`` is None where
    they were not asked for or are too many, in the canonical order of owners otherwise.
    """

    id: int
    apex: bytes
    kind: str
    serial_before: int | None
    serial_after: int | None
    author: str
    message: str
    at: int
    changes: tuple[Change, ...] | None
    settings: str = ""
    """JSON: the options of the zone ``before`` and ``after``, where they changed; of a zone that went, ``before`` and
    its ``kind``."""


@dataclass(frozen=True, slots=True)
class ZoneInfo:
    """What is known of a zone beside its records."""

    id: int
    apex: bytes
    kind: str
    serial: int
    rrsets: int
    served: bool
    options: ZoneOptions
    signing: str
    """Policy and state of DNSSEC, as JSON; empty where mx10 does not sign the zone."""
    following: str
    """State of a secondary, as JSON; empty for others."""

    @property
    def signed(self) -> bool:
        """Whether mx10 signs the zone."""
        return bool(self.signing)


class Signer(Protocol):
    """Who keeps the signatures of a zone true, within the transaction that changes it."""

    def resign(
        self,
        connection: Connection,
        info: ZoneInfo,
        changed: Mapping[tuple[bytes, int], RRset | None],
        soa: RRset,
        now: int,
    ) -> Iterable[Edit]:
        """The generated record sets that a change makes necessary, and those it makes go away. They are written while
        they are asked for.

        Args:
            connection: in it, the tables already hold the zone as it will be, SOA included, but for what is returned.
            info: of the zone, with its new serial.
            changed: what was changed, the SOA record set included, RRSIG, NSEC and NSEC3 left out.
            soa: the new SOA record set.
            now: milliseconds since 1970.
        """
        ...
