"""Who comes to the door, and what is decided about them. Values only."""

from collections.abc import Awaitable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

from mx10.relay.values import NewRecipient
from mx10.routing.addresses import to_text
from mx10.smtp.replies import Reply
from mx10.values import value_class

Kind = Literal["mx", "submission", "submissions"]

# Asked for with every message, of clients that bring many.
_shown = lru_cache(maxsize=4096)(to_text)


@dataclass(slots=True)
class Visitor:
    """A client, and what is known of it by now.

    Attributes:
        address: 4 or 16 octets; an IPv4 address mapped into IPv6 has 4.
        at: where it came to, ``address:port``.
        kind: what that is for.
        helo: what it called itself; ``esmtp``: with EHLO.
        tls: how the connection is encrypted; empty: not.
        user: who is logged in.
        trusted: from a network that may send to anywhere.
        name: of the address by reverse DNS, confirmed by a look-up of that name; empty: none, or not asked.
    """

    address: bytes
    port: int
    at: str
    kind: Kind
    helo: str = ""
    esmtp: bool = False
    tls: str = ""
    user: str = ""
    trusted: bool = False
    name: str = ""

    @property
    def text(self) -> str:
        """The address as people write it."""
        return _shown(self.address)

    @property
    def may_relay(self) -> bool:
        """May send to anywhere."""
        return self.trusted or bool(self.user)


@value_class
class Refused:
    """Something that is not taken. ``what``: a word for why, for the metrics."""

    reply: Reply
    what: str


Admitted = NewRecipient | Refused
Decision = Refused | None | Awaitable[Refused | None]
"""What a check says: why not, or None: no objection."""

FOREIGN: Final = Reply.of(
    550, "5.7.1", "we do not pass mail on to this domain: log in first, or send it to its MX records"
)
