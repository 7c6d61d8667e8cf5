"""What a look-up found: the value every resolver gives, and the rest of mx10 decides by.

A failure is never an absence: ``NODATA`` and ``NXDOMAIN`` are only said where a server said so.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from mx10.dns.message import Record
from mx10.dns.rrtypes import RRSIG


class Status(StrEnum):
    """How a look-up ended."""

    OK = "ok"
    """There are records of that type."""

    NODATA = "nodata"
    """The name exists (or might), and has no record of that type (RFC 2308 section 2.2)."""

    NXDOMAIN = "nxdomain"
    """The name does not exist, nor any below it (RFC 2308 section 2.1, RFC 8020)."""

    FAILURE = "failure"
    """Nobody could say: no answer, SERVFAIL, REFUSED, nonsense. Try again later."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one question of class IN.

    Attributes:
        name: asked for, folded wire name.
        rrtype: asked for.
        status: how it ended.
        records: the record set of that type, at the end of ``chain``; empty unless ``status`` is ok.
        chain: the CNAME targets followed, in order (wire names).
        ttl: seconds for which the answer may be believed; 0 for a failure.
        server: who said so: an address, with its port where it is not the usual one; None if nobody did.
        authenticated: a validating resolver that we trust says it is secure (the AD bit, RFC 4035 section 3.2.3).
        rcode: of the response; None if there was none.
        reason: for people, of a failure: ``no answer from 192.0.2.53 in 3 s``.
        elapsed: seconds the look-up took; 0 from a cache.
        additional: other records of the response that may save a question.
        section: what of the answer section belongs to the question, in its order: aliases, the record set, and the
            signatures of both where they were asked for.
        denial: of an absence, the SOA record that tells how long it holds, and with DNSSEC the proof.
        ad: the AD bit as it came, whether it can be believed or not.
    """

    name: bytes
    rrtype: int
    status: Status
    records: tuple[Record, ...] = ()
    chain: tuple[bytes, ...] = ()
    ttl: int = 0
    server: str | None = None
    authenticated: bool = False
    rcode: int | None = None
    reason: str = ""
    elapsed: float = 0.0
    additional: tuple[Record, ...] = ()
    section: tuple[Record, ...] = ()
    denial: tuple[Record, ...] = ()
    ad: bool = False

    @property
    def canonical(self) -> bytes:
        """The name at the end of the chain, where the records are."""
        return self.chain[-1] if self.chain else self.name

    @property
    def signatures(self) -> tuple[Record, ...]:
        """The signatures that came along with the answer, or with the proof of an absence (RFC 4034 section 3)."""
        return tuple(record for record in (*self.section, *self.denial) if record.type == RRSIG)


class Resolver(Protocol):
    """Whoever answers questions."""

    async def resolve(self, name: bytes, rrtype: int) -> Answer:
        """Look up a folded wire name. Never raises for what the DNS or the net does: that is a ``FAILURE``."""
        ...
