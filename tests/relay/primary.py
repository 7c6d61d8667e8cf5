"""A primary on a loopback address: it knows some recipients and refuses others."""

import asyncio
import re
from collections import Counter
from dataclasses import dataclass, field

from tests.relay.talker import Talker


@dataclass
class Primary(Talker):
    """``known``: addresses it takes; ``refusal``: what it says to others; ``takes_all``: it takes any."""

    known: set[str] = field(default_factory=set)
    takes_all: bool = False
    refusal: bytes = b"550 5.1.1 no such user\r\n"
    refusals: Counter[int] = field(default_factory=Counter)

    @property
    def asked(self) -> list[str]:
        """Recipients it was asked for, without those that were made up."""
        return [each for each in self._recipients() if not each.startswith("no-such-user-")]

    @property
    def refused(self) -> list[int]:
        """How many recipients were refused, for each connection."""
        return list(self.refusals.values())

    @property
    def made_up(self) -> list[str]:
        """Recipients that nobody has."""
        return [each for each in self._recipients() if each.startswith("no-such-user-")]

    def _recipients(self) -> list[str]:
        return [line[9:].partition(">")[0] for line in self.heard if line.upper().startswith("RCPT TO:<")]

    async def _say(self, writer: asyncio.StreamWriter, what: str, usual: bytes) -> None:
        if what == "RCPT":
            found = re.search("<(.*)>", self.heard[-1])
            if not self.takes_all and (found is None or found[1] not in self.known):
                usual = self.refusal
                self.refusals[self.connections] += 1
        await super()._say(writer, what, usual)
