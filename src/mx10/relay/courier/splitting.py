"""Recipients that have the same way travel together: one transaction for all, whatever their domains are.

The way is known by its *key*, text that is the same for the same hosts in the same order of preference. It also names
the queue the recipients wait in. Pure.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from mx10.relay.courier.values import Addressee
from mx10.routing import ExchangerStatus, Result, Route
from mx10.routing.addresses import to_text
from mx10.values import value_class

MAX_KEY: Final = 200
"""Characters of a key; a longer one is cut and gets a hash of all of it."""
MAX_TOGETHER: Final = 1000
"""Recipients that are one delivery."""

_IN_USE: Final = (ExchangerStatus.USABLE, ExchangerStatus.UNKNOWN)


@value_class
class Part:
    """Recipients of one message with the same next hop, in the order given."""

    key: str
    recipients: tuple[Addressee, ...]


def split(recipients: Iterable[Addressee], key_of: Callable[[Addressee], str], most: int = MAX_TOGETHER) -> list[Part]:
    """The recipients of a message by next hop.

    Args:
        key_of: of a recipient's next hop.
        most: recipients of one part; more become more parts.
    """
    by_key: dict[str, list[Addressee]] = {}
    for each in recipients:
        by_key.setdefault(key_of(each), []).append(each)
    return [
        Part(key, tuple(members[at : at + most]))
        for key, members in by_key.items()
        for at in range(0, len(members), most)
    ]


def domain_of(address: str) -> str:
    """The domain of an address in the form the door writes: A-labels in lower case, or an address literal; empty where
    there is none (``postmaster``)."""
    return address.rpartition("@")[2] if "@" in address else ""


def route_key(route: Route, domain: str) -> str:
    """The key of a route: ``mx1.example.org,mx2.example.org;backup.example.net``: commas between equals, sorted, and a
    semicolon before each lesser preference.

    By names and not by addresses: those change while the hosts stay who they are. A route that leads nowhere has a key
    of the domain's own.

    Args:
        domain: the recipient's.
    """
    if route.result is not Result.ROUTABLE:
        return shortened(f"none:{domain}")
    groups: list[Sequence[str]] = []
    for group in route.groups:
        names = sorted(
            one.host if one.name != b"\0" else f"[{to_text(one.addresses[0].packed)}]"
            for one in group.exchangers
            if one.status in _IN_USE
        )
        if names:
            groups.append(names)
    return shortened(";".join(map(",".join, groups)))


def shortened(key: str) -> str:
    """A key that is not longer than ``MAX_KEY``; different ones stay different."""
    if len(key) <= MAX_KEY:
        return key
    digest = hashlib.sha256(key.encode()).hexdigest()[:32]
    return f"{key[: MAX_KEY - 34]}…#{digest}"
