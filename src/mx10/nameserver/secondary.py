"""What the steward does for zones that others feed, and for clients that change ours: puts following, NOTIFY and
updates at its desk."""

from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

from mx10.dns.rrtypes import Opcode
from mx10.dns.wirename import NameSyntaxError, fold, from_text
from mx10.nameserver.desk import DeskError, Operation
from mx10.nameserver.following import Follower
from mx10.nameserver.notified import NotifyReceiver
from mx10.nameserver.steward import Steward
from mx10.nameserver.transfer_in import seal_with
from mx10.nameserver.update import Updater
from mx10.nameserver.update_policy import Client
from mx10.zones.ledger.followed import FollowedZones


def client_of(operation: Operation) -> Client:
    """Who came to the desk."""
    return Client(operation.client, operation.key_name, operation.transport == "tls")


def plug_in(steward: Steward, elsewhere: Callable[[bytes], bool] = lambda apex: False) -> tuple[Follower, Updater]:
    """Have the steward follow primaries, hear NOTIFY, and do updates.

    Args:
        elsewhere: whether a zone is served from a file.

    Returns:
        Who does so, for those who count.
    """
    config = steward.config
    zones = FollowedZones(steward.ledger)
    follower = Follower(
        zones, steward.in_store, config.following, config.zones, lambda name: seal_with(steward.keys(), name)
    )
    receiver = NotifyReceiver(follower, zones, steward.in_store)
    updater = Updater(steward.ledger, steward.in_store, config.update, elsewhere=elsewhere)

    async def notify(operation: Operation) -> AsyncGenerator[bytes, None]:
        response = await receiver.answer(operation.parsed, client_of(operation))
        if response is not None:
            yield response

    async def update(operation: Operation) -> AsyncGenerator[bytes, None]:
        yield await updater.answer(operation.parsed, client_of(operation))

    async def refresh(order: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            apex = fold(from_text(order["zone"]))
        except NameSyntaxError as error:
            raise DeskError(f"{order['zone']!r} is no zone: {error}") from None
        await follower.changed([apex])
        if not await follower.follows(apex):
            raise DeskError(f"{order['zone']} is not followed here; `mx10 zone follow` begins that")
        found = await follower.refresh(apex)
        return {"said": found.said, "helped": found.helped}

    steward.desk.for_opcode(Opcode.NOTIFY, notify)
    steward.desk.for_opcode(Opcode.UPDATE, update)
    steward.desk.for_order("refresh", refresh)
    steward.services.append(follower)
    steward.on_feed(follower.changed)
    return follower, updater
