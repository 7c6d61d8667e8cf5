"""Findings: all that the DNS said about a destination. ``gather`` collects them, ``decide`` makes a route of them; a
test can write them by hand."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from mx10.dns import rrtypes as rr
from mx10.dns import wirename
from mx10.resolver.answer import Answer
from mx10.routing import addresses
from mx10.routing.values import Destination

LOCALHOST: Final = b"\x09localhost\0"


class HostAnswers(NamedTuple):
    """What the DNS said about a host's addresses."""

    a: Answer
    aaaa: Answer


@dataclass(frozen=True, slots=True)
class Findings:
    """``mx``: the answer about the destination's MX records, None for an address literal; ``hosts``: those about
    addresses, by folded name asked."""

    destination: Destination
    mx: Answer | None = None
    hosts: Mapping[bytes, HostAnswers] = field(default_factory=dict)

    def addresses_of(self, name: bytes) -> list[bytes]:
        """The addresses found for a host, IPv6 and IPv4 in turn, each family in the order of its answer.

        The order within a family is the resolver's to choose (RFC 5321 section 5.1). Between the families senders
        differ; to alternate, IPv6 first, lets one broken family cost one attempt and no more (RFC 8305 section 4).
        """
        answers = self.hosts.get(name)
        if answers is None:
            return []
        six = [record.rdata for record in answers.aaaa.records if record.type == rr.AAAA and len(record.rdata) == 16]
        four = [record.rdata for record in answers.a.records if record.type == rr.A and len(record.rdata) == 4]
        paired = [address for pair in zip(six, four, strict=False) for address in pair]
        shorter = min(len(six), len(four))
        return list(dict.fromkeys(paired + six[shorter:] + four[shorter:]))

    def answers(self) -> Iterator[Answer]:
        """Every answer, that about MX first."""
        if self.mx is not None:
            yield self.mx
        for both in self.hosts.values():
            yield from both


class Listed(NamedTuple):
    """One exchanger of an MX record set. Sorts as senders do: by preference; the name only makes the order certain."""

    preference: int
    name: bytes


def listed(mx: Answer) -> list[Listed]:
    """The exchangers of an MX answer as they stand there, names folded, sorted; duplicates and null MX among them.

    Records whose data are no MX are left out: an exchanger cannot be guessed.
    """
    return sorted(
        Listed(int.from_bytes(record.rdata[:2]), wirename.fold(record.rdata[2:]))
        for record in mx.records
        if record.type == rr.MX and len(record.rdata) > 2
    )


def considered(mx: Answer, limit: int) -> list[Listed]:
    """The exchangers of an MX answer that count: no null MX, each name once with its best preference, ``limit`` of them
    at most."""
    best: dict[bytes, Listed] = {}
    for one in listed(mx):
        if one.name != wirename.ROOT:
            best.setdefault(one.name, one)
    return list(best.values())[:limit]


def target(mx: Answer) -> bytes:
    """The name the MX answer is about once its CNAMEs are followed, folded."""
    return wirename.fold(mx.canonical)


def is_localhost(name: bytes) -> bool:
    """Whether a name means the machine itself, wherever it is asked (RFC 6761 section 6.3)."""
    return wirename.is_under(name, LOCALHOST)


def is_address(name: bytes) -> bool:
    """Whether somebody wrote an IP address where a name should stand."""
    return addresses.from_text(wirename.to_text(name, final_dot=False)) is not None


def has_addresses_to_ask(name: bytes) -> bool:
    """Whether it makes sense to ask for the addresses of an exchanger so named."""
    return name != wirename.ROOT and not is_localhost(name) and not is_address(name)
