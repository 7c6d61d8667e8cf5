"""The differences between nameservers that an RFC allows. Empty until they are looked at."""

from collections.abc import Callable
from dataclasses import dataclass

from peers.differential.answers import Said
from peers.differential.questions import Asked
from peers.differential.zones import Draft


@dataclass(frozen=True, slots=True)
class Case:
    """One difference: in ``field`` of the answers to ``asked`` between ours and that of ``peer``."""

    asked: Asked
    peer: str
    field: str
    ours: Said
    theirs: Said
    tcp: bool
    drafts: list[Draft]


@dataclass(frozen=True, slots=True)
class Explained:
    """An entry of the table.

    ``alone`` says that mx10 may be the only one to do so: only where an RFC asks for what we do.
    """

    name: str
    peers: tuple[str, ...]
    fields: tuple[str, ...]
    source: str
    why: str
    when: Callable[[Case], bool]
    alone: bool = False

    def covers(self, case: Case) -> bool:
        """Whether this explains the difference."""
        return case.peer in self.peers and case.field in self.fields and self.when(case)


TABLE: tuple[Explained, ...] = ()
