"""A route: which hosts get a domain's mail, in which order, with what share, and why. Values only; ``decide`` makes
them.

Everything here is immutable. Names are wire bytes, addresses 4 or 16 octets; ``to_json`` writes both for others. A
route says where it comes from: ``evidence`` holds every answer it was computed from, with the server that gave it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from mx10.dns import wirename
from mx10.names import ascii_text
from mx10.resolver.answer import Answer
from mx10.routing import addresses
from mx10.routing.notes import Note


class Result(StrEnum):
    """What a sender does with mail for the destination."""

    ROUTABLE = "routable"
    """There is at least one address to try."""
    PERMANENT = "permanent"
    """Return it: there is no route, and asking again will not help."""
    TEMPORARY = "temporary"
    """Keep it and try again: nobody can say yet."""


class Kind(StrEnum):
    """How the hosts were found."""

    MX = "mx"
    IMPLICIT_MX = "implicit-mx"
    """The domain itself, because it has addresses and no MX (RFC 5321 section 5.1)."""
    NULL_MX = "null-mx"
    """The domain says that it takes no mail (RFC 7505)."""
    ADDRESS_LITERAL = "address-literal"
    """The address itself names the host (RFC 5321 section 4.1.3)."""
    NONE = "none"
    """They were not."""


class ExchangerStatus(StrEnum):
    """What became of one exchanger."""

    USABLE = "usable"
    UNKNOWN = "unknown"
    """Its addresses could not be looked up now; that is no absence."""
    NO_ADDRESS = "no-address"
    NO_SUCH_NAME = "no-such-name"
    NOT_A_NAME = "not-a-name"
    """An IP address, or the root, where a name should stand."""
    LOCALHOST = "localhost"
    NOT_PUBLIC = "not-public"
    """It has only addresses that nobody outside can reach."""
    ELIMINATED = "eliminated"
    """This host itself, or not better than it (RFC 5321 section 5.1)."""
    DOWN = "down"
    """All of its addresses are down, as the question supposes."""


@dataclass(frozen=True, slots=True)
class Address:
    """One address of an exchanger: 4 or 16 octets, and in ``problem`` why it is not tried; empty where it is."""

    packed: bytes
    problem: str = ""

    @property
    def text(self) -> str:
        return addresses.to_text(self.packed)

    @property
    def family(self) -> int:
        """4 or 6."""
        return 4 if len(self.packed) == 4 else 6


@dataclass(frozen=True, slots=True)
class Exchanger:
    """A host that takes mail for the domain.

    ``name``: as the MX record has it, folded; the root for an address literal. ``aliases``: the names its CNAMEs lead
    through, the last is where the addresses are. ``addresses``: in the order in which they are tried. ``share``: of all
    the mail of the world, from 0 to 1; ``share_normally``: what it would be were nothing down.
    """

    name: bytes
    preference: int
    status: ExchangerStatus
    addresses: tuple[Address, ...] = ()
    share: float = 0.0
    share_normally: float = 0.0
    provider: str | None = None
    aliases: tuple[bytes, ...] = ()
    notes: tuple[Note, ...] = ()

    @property
    def host(self) -> str:
        """The name as text, with A-labels."""
        return ascii_text(self.name)

    @property
    def usable(self) -> tuple[Address, ...]:
        """The addresses that are tried."""
        return (
            tuple(address for address in self.addresses if not address.problem)
            if self.status is ExchangerStatus.USABLE
            else ()
        )


@dataclass(frozen=True, slots=True)
class Group:
    """The exchangers of one preference, in the order in which they are tried."""

    preference: int
    exchangers: tuple[Exchanger, ...]

    @property
    def share(self) -> float:
        return sum(exchanger.share for exchanger in self.exchangers)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a sender does, in the words of SMTP.

    ``reply``: the code of RFC 5321 section 4.2, ``code``: the enhanced status code of RFC 3463, both None where there
    is a route; ``reason``: for people; ``source``: the rule.
    """

    result: Result
    reply: int | None
    code: str | None
    reason: str
    source: str


@dataclass(frozen=True, slots=True)
class Destination:
    """Where mail is to go: ``text`` as it was given, and a folded wire name or the octets of an address literal."""

    text: str
    domain: bytes | None = None
    literal: bytes | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """The way mail takes to a destination.

    ``if_all_fail``: what a sender does when no address takes the mail; None where there is none to try. ``aliases``:
    the names the destination's own CNAMEs lead through. ``this_host``, ``down``: what the question supposed (``--as``,
    ``--down``), as it was written.
    """

    destination: Destination
    kind: Kind
    verdict: Verdict
    if_all_fail: Verdict | None = None
    groups: tuple[Group, ...] = ()
    aliases: tuple[bytes, ...] = ()
    provider: str | None = None
    notes: tuple[Note, ...] = ()
    evidence: tuple[Answer, ...] = ()
    this_host: tuple[str, ...] = ()
    down: tuple[str, ...] = ()

    @property
    def result(self) -> Result:
        return self.verdict.result

    def exchangers(self) -> Iterator[Exchanger]:
        """All of them, the best preference first, those out of use among them."""
        for group in self.groups:
            yield from group.exchangers

    def attempts(self) -> Iterator[tuple[Exchanger, Address]]:
        """What a sender tries, one after the other, until one takes the mail."""
        for exchanger in self.exchangers():
            for address in exchanger.usable:
                yield exchanger, address

    def __str__(self) -> str:
        """One line, for logs."""
        tried = ", ".join(f"{wirename.to_text(one.name, False)}[{address.text}]" for one, address in self.attempts())
        return f"{self.destination.text}: {tried or f'{self.verdict.code} {self.verdict.reason}'}"
