"""What a relay runs to know its recipients: questions to primaries over connections of their own, and the memory."""

import random
from collections.abc import Callable
from dataclasses import replace

from mx10.config import Config
from mx10.relay.courier.values import Connector
from mx10.relay.courier.ways import Surroundings
from mx10.relay.door.recipients.asking import CallAhead, links_for_asking
from mx10.relay.door.recipients.rules import parse_rules
from mx10.relay.door.recipients.verify import TIDY_MS, Recipients
from mx10.store.connect import Store


class RecipientService:
    """Makes a ``Recipients`` of a configuration, and closes what belongs to it.

    Args:
        around: the courier's, whose memory of hosts that are down is shared.
        ours: whether we take mail for a domain.
        reach: what stands before connections to other hosts, as for ``process.Relay``.

    Raises:
        RuleError: a rule cannot be used.
    """

    def __init__(
        self,
        config: Config,
        store: Store,
        around: Surroundings,
        *,
        ours: Callable[[str], bool | None],
        reach: Callable[[Connector], Connector] | None = None,
    ) -> None:
        settings = config.recipients
        rules = parse_rules(settings.rules)
        self._links = links_for_asking(
            around.hostname, settings.ask_seconds, config.relay.ca_file, config.relay.local_addresses
        )
        connect = self._links if reach is None else reach(self._links)
        self.call = CallAhead(
            replace(around, connect=connect), seconds=settings.ask_seconds, at_once=settings.asks_at_once
        )
        # Doors that were started together do not all tidy up, and ask again, at the same moment.
        tidied_at = around.clock() - random.randrange(TIDY_MS)
        self.recipients = Recipients(
            settings, rules, store, self.call, clock=around.clock, ours=ours, tidied_at=tidied_at
        )

    async def close(self) -> None:
        """Ask no more, and write what was learned. Those who wait for an answer hear that there is none."""
        await self.call.close()
        await self.recipients.close()
        await self._links.close()
