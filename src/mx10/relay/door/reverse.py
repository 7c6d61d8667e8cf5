"""The name of a client by reverse DNS, and whether it is really that client's (forward-confirmed: RFC 8601 section
2.7.3, "iprev")."""

import asyncio
import re
from collections.abc import Callable
from enum import StrEnum
from typing import Final

from mx10.config.settings import DoorSettings
from mx10.dns import rrtypes as rr
from mx10.dns import wirename
from mx10.relay.door.asked import SHORTEST_SECONDS, Asked, reverse_name
from mx10.relay.door.door import Check
from mx10.relay.door.rules import is_exempt
from mx10.relay.door.values import Decision, Refused, Visitor
from mx10.resolver.answer import Answer, Resolver, Status
from mx10.smtp.replies import Reply
from mx10.smtp.syntax import MailParameters
from mx10.values import value_class

MAX_NAMES: Final = 10
"""Names of one address that are looked at: an address may have thousands."""
SECONDS: Final = 10.0
"""How long finding a name may take."""
_IN_ADDR: Final = wirename.from_text("in-addr.arpa.")
_IP6: Final = wirename.from_text("ip6.arpa.")
_HOST_NAME: Final = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63}){1,126}")


class Standing(StrEnum):
    """What is known of an address's name."""

    NONE = "none"
    UNCONFIRMED = "unconfirmed"
    CONFIRMED = "confirmed"
    UNSURE = "unsure"
    """Nobody could say just now."""


@value_class
class ClientName:
    """The name of an address.

    Attributes:
        name: A-labels; empty where there is none that could be a host's.
    """

    standing: Standing
    name: str = ""


UNSURE: Final = ClientName(Standing.UNSURE)


async def confirm(address: bytes, resolver: Resolver) -> tuple[ClientName, float]:
    """Find the name of an address: the first whose own addresses have it among them.

    Args:
        address: 4 or 16 octets.

    Returns:
        The name, and for how many seconds that holds.
    """
    ipv4 = len(address) == 4
    found = await resolver.resolve(reverse_name(address, _IN_ADDR if ipv4 else _IP6), rr.PTR)
    if found.status is Status.FAILURE:
        return UNSURE, SHORTEST_SECONDS
    wires = [record.rdata for record in found.records[:MAX_NAMES]]
    names = {wire.lower(): text for wire in wires if (text := _host_name(wire))}
    if not names:
        return ClientName(Standing.UNCONFIRMED if found.records else Standing.NONE), found.ttl
    kind = rr.A if ipv4 else rr.AAAA
    answers: list[Answer] = await asyncio.gather(*(resolver.resolve(name, kind) for name in names))
    for answer, text in zip(answers, names.values(), strict=True):
        if any(record.rdata == address for record in answer.records):
            return ClientName(Standing.CONFIRMED, text), min(found.ttl, answer.ttl)
    if any(answer.status is Status.FAILURE for answer in answers):
        return ClientName(Standing.UNSURE, next(iter(names.values()))), SHORTEST_SECONDS
    return ClientName(Standing.UNCONFIRMED, next(iter(names.values()))), found.ttl


def _host_name(wire: bytes) -> str:
    """A name as text, if it can be a host's: whoever has an address writes there what he likes."""
    text = wirename.to_text(wire, final_dot=False)
    return text if _HOST_NAME.fullmatch(text) else ""


class ReverseNames(Check):
    """The rule ``door.ptr``: asked when a client comes, waited for when it names a recipient."""

    def __init__(self, settings: DoorSettings, resolver: Resolver, clock: Callable[[], int]) -> None:
        self._rule = settings.ptr
        self._asked: Asked[bytes, ClientName] = Asked(
            lambda address: confirm(address, resolver), UNSURE, SECONDS, clock
        )

    def close(self) -> None:
        """Ask no more."""
        self._asked.close()

    def connect(self, visitor: Visitor) -> None:
        """It is here: ask."""
        if visitor.kind == "mx" and not visitor.trusted:
            self._asked.begin(visitor.address)

    def recipient(self, visitor: Visitor, mail: MailParameters, recipient: str) -> Decision:
        """Whether its name is good enough."""
        if visitor.may_relay:
            return None
        known = self._asked.known(visitor.address)
        return self._wait(visitor, recipient) if known is None else self._judge(visitor, known, recipient)

    async def _wait(self, visitor: Visitor, recipient: str) -> Refused | None:
        return self._judge(visitor, await self._asked.find(visitor.address), recipient)

    def _judge(self, visitor: Visitor, found: ClientName, recipient: str) -> Refused | None:
        if found.standing is Standing.CONFIRMED:
            visitor.name = found.name
            return None
        if self._rule == "show" or is_exempt(recipient):
            return None
        if self._rule == "exists" and (found.name or found.standing is Standing.UNCONFIRMED):
            return None
        return Refused(_refusal(visitor.text, found), f"ptr-{found.standing}")


def _refusal(address: str, found: ClientName) -> Reply:
    # The codes are those of RFC 7372 section 3.3.
    if found.standing is Standing.UNSURE:
        text = f"the name of your address {address} cannot be looked up now (PTR): send it again later"
        return Reply.of(450, "4.7.25", text)
    if found.standing is Standing.NONE:
        text = f"your address {address} has no name: have whoever runs the network set a PTR record"
    elif not found.name:
        text = f"the PTR record of your address {address} names no host: have it mended"
    else:
        text = (
            f"your address {address} is called {found.name[:200]} (PTR), but that name does not have this address: let"
            f" its {'A' if '.' in address else 'AAAA'} records name it"
        )
    return Reply.of(550, "5.7.25", text)
