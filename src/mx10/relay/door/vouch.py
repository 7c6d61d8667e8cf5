"""Asks of a message who vouches for it (``mailauth``), while it is at the door: a judge.

What it finds is kept with the message (``Envelope.vouched``): when a recipient of whom nobody knew whether it exists is
refused by its primary, only a sender for whom somebody vouches hears of it. It is asked for where that may matter, as
it costs some questions to the DNS: for mail with recipients that are kept apart.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, Literal

from mx10.dns import rdata, wirename
from mx10.dns.message import Record
from mx10.dns.rrtypes import AAAA, MX, PTR, TXT, A
from mx10.mailauth.asking import ABSENT, FAILED, Ask, Found, Kind, Status
from mx10.mailauth.vouching import vouched
from mx10.names import ascii_text
from mx10.relay.courier.values import Content
from mx10.relay.door.door import Judged
from mx10.relay.door.values import Visitor
from mx10.relay.values import Envelope, NewRecipient
from mx10.resolver.answer import Resolver
from mx10.resolver.answer import Status as Answered

AT_ONCE: Final = 50
"""Messages that are looked at at the same time."""
SECONDS: Final = 30.0
"""For one, with its wait for a turn. After that nobody vouches for it, and it is taken none the less."""

_TYPES: Final[dict[Kind, int]] = {"TXT": TXT, "A": A, "AAAA": AAAA, "MX": MX, "PTR": PTR}


class Voucher:
    """The judge.

    Args:
        hostname: ours, in Authentication-Results.
        clock: milliseconds since 1970.
        when: ``apart``: for mail with recipients that are kept apart; ``always``: for all mail from strangers.
    """

    def __init__(
        self,
        resolver: Resolver,
        hostname: str,
        clock: Callable[[], int],
        when: Literal["apart", "always"],
        *,
        seconds: float = SECONDS,
    ) -> None:
        self._ask = asking(resolver)
        self._hostname = hostname
        self._clock = clock
        self._always = when == "always"
        self._seconds = seconds
        self._room = asyncio.Semaphore(AT_ONCE)
        self.counts: Counter[tuple[str, str]] = Counter()
        """Messages looked at: ``sender`` and ``vouched``, ``nobody`` or ``late``; for metrics. May be shared."""

    def wants(self, visitor: Visitor, envelope: Envelope, recipients: Sequence[NewRecipient]) -> bool:
        """Whether a message is to be looked at."""
        if visitor.may_relay:
            return False
        return self._always or (bool(envelope.reverse_path) and any(each.apart for each in recipients))

    async def __call__(
        self, visitor: Visitor, envelope: Envelope, recipients: Sequence[NewRecipient], content: Content
    ) -> Judged:
        """See ``door.Judge``. Objects to nothing."""
        del recipients
        try:
            async with asyncio.timeout(self._seconds), self._room:
                found = await vouched(
                    visitor.address,
                    visitor.helo,
                    envelope.reverse_path,
                    content.chunks(),
                    self._ask,
                    hostname=self._hostname,
                    now=self._clock() // 1000,
                )
        except TimeoutError:
            self.counts["sender", "late"] += 1
            return Judged()
        self.counts["sender", "vouched" if found.domains else "nobody"] += 1
        return Judged(head=found.field, vouched=found.domains)


def asking(resolver: Resolver) -> Ask:
    """What mailauth asks, asked of a resolver."""

    async def ask(name: str, kind: Kind) -> Found:
        try:
            # By labels: what somebody else wrote may have characters in it that mean something in master files.
            wire = wirename.from_labels(label.encode() for label in name.lower().removesuffix(".").split("."))
        except ValueError:
            return ABSENT
        answer = await resolver.resolve(wire, _TYPES[kind])
        if answer.status is Answered.FAILURE:
            return FAILED
        if answer.status is not Answered.OK:
            return ABSENT
        return _found(kind, answer.records)

    return ask


def _found(kind: Kind, records: Sequence[Record]) -> Found:
    if kind in ("A", "AAAA"):
        return Found(Status.FOUND, addresses=tuple(record.rdata for record in records))
    if kind == "MX":
        pairs = [rdata.mx(record.rdata) for record in records]
        # The root is no host (RFC 7505).
        hosts = tuple((preference, ascii_text(host) if host != wirename.ROOT else "") for preference, host in pairs)
        return Found(Status.FOUND, hosts=hosts)
    if kind == "PTR":
        return Found(Status.FOUND, tuple(ascii_text(record.rdata).encode() for record in records))
    return Found(Status.FOUND, tuple(_text(record.rdata) for record in records))


def _text(data: bytes) -> bytes:
    """The strings of a TXT record, joined (RFC 7208 section 3.3, RFC 6376 section 3.6.2.2)."""
    pieces = []
    at = 0
    while at < len(data):
        pieces.append(data[at + 1 : at + 1 + data[at]])
        at += 1 + data[at]
    return b"".join(pieces)
