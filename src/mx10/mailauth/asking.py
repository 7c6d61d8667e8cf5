"""What mailauth asks of the DNS, and nothing more: whoever uses it hands in a function. No socket is in here."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

Kind = Literal["TXT", "A", "AAAA", "MX", "PTR"]


class Status(StrEnum):
    """How a question ended."""

    FOUND = "found"
    ABSENT = "absent"
    """No such name, or no record of this kind."""
    FAILED = "failed"
    """Nobody knows now: a timeout, or an error of a server."""


@dataclass(frozen=True, slots=True)
class Found:
    """An answer.

    Attributes:
        texts: of TXT: the strings of each record, joined; of PTR: names, without the last dot.
        addresses: of A and AAAA: 4 or 16 octets each.
        hosts: of MX: preference and name, without the last dot.
    """

    status: Status
    texts: tuple[bytes, ...] = ()
    addresses: tuple[bytes, ...] = ()
    hosts: tuple[tuple[int, str], ...] = ()


ABSENT = Found(Status.ABSENT)
FAILED = Found(Status.FAILED)

Ask = Callable[[str, Kind], Awaitable[Found]]
"""Asks for a name, in A-labels or with underscores; aliases are followed. Raises nothing."""
