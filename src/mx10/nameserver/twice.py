"""Zones that are both in a file and in the store: the file is answered, and the log says so, once for each."""

import asyncio
from collections.abc import Sequence
from typing import Final

from mx10.dns.wirename import to_text
from mx10.logs import get_logger
from mx10.nameserver.steward import Steward

_EVERY_SECONDS: Final = 1.0
_AT_ONCE: Final = 500
"""Zones looked for by one statement; others who want the store come in between."""

log = get_logger("nameserver")


class Twice:
    """Looks for such zones, for as long as ``run`` runs."""

    def __init__(self, steward: Steward) -> None:
        self._steward = steward
        self._pending = set(steward.files)
        self._told: set[bytes] = set()

    def changed(self, apexes: Sequence[bytes]) -> None:
        """Zones of the store changed; none named: look at all."""
        self._pending.update(apex for apex in apexes or self._steward.files if apex in self._steward.files)

    def file_changed(self, apex: bytes, packed: bytes | None) -> None:
        """A zone from a file changed, or is gone."""
        if packed is not None:
            self._pending.add(apex)
        else:
            self._told.discard(apex)

    async def look(self) -> None:
        """Look at those that changed since the last time."""
        while self._pending:
            some = [self._pending.pop() for _ in range(min(_AT_ONCE, len(self._pending)))]
            found = await self._steward.in_store(self._steward.ledger.present, some)
            self._told.difference_update(set(some) - found)
            for apex in sorted(found - self._told):
                if apex in self._steward.files:
                    self._told.add(apex)
                    log.error("zone is in a file and in the store; the file is answered", zone=to_text(apex))

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(_EVERY_SECONDS)


def plug_in(steward: Steward) -> None:
    """Have the steward do this."""
    twice = Twice(steward)
    steward.services.append(twice)
    steward.on_feed(twice.changed)
    steward.on_file(twice.file_changed)
