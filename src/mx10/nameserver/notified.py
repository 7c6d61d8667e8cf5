"""NOTIFY as it comes in (RFC 1996): somebody says that a zone we follow changed. It is believed from the zone's
primaries, and from whom its options name; and all it does is that a primary is asked sooner.
"""

import time
from collections.abc import Callable
from typing import Final

from mx10.dns import rrtypes as rr
from mx10.dns.message import AA, QR, Message, encode
from mx10.dns.rrtypes import Opcode, Rcode
from mx10.dns.transfer import SOA_TAIL, serial_of
from mx10.dns.wirename import fold, to_text
from mx10.logs import get_logger
from mx10.nameserver.access import AccessError, entry_from_text
from mx10.nameserver.following import Follower, InStore
from mx10.nameserver.primaries import PrimaryError, primary_from_text
from mx10.nameserver.rate import Rate, Seldom
from mx10.nameserver.update_policy import Client
from mx10.zones.ledger.followed import Followed, FollowedZones
from mx10.zones.ledger.serials import is_newer

RATE: Final = 500
"""NOTIFY messages a second from one client; what exceeds it is not answered, and the client sends it again."""
_LINES: Final = 20
"""Refused messages that are told in the log in one second."""

log = get_logger("following")


class NotifyReceiver:
    """Answers NOTIFY, and has the follower ask.

    Args:
        zones: the secondary zones of the store; called in the thread for it.
        clock: seconds on a clock that does not go back.
    """

    def __init__(
        self,
        follower: Follower,
        zones: FollowedZones,
        in_store: InStore,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._follower = follower
        self._zones = zones
        self._in_store = in_store
        self._clock = clock
        self._rate = Rate(RATE)
        self._seldom = Seldom(_LINES, clock)

    async def answer(self, message: Message, client: Client) -> bytes | None:
        """The response to a NOTIFY; None where it deserves none."""
        if not self._rate.admits(client.address, self._clock()):
            return None
        rcode = await self._judge(message, client)
        flags = QR | Opcode.NOTIFY << 11 | (AA if rcode == Rcode.NOERROR else 0)
        return encode(Message(message.id, flags, message.question, rcode=rcode))

    async def _judge(self, message: Message, client: Client) -> Rcode:
        question = message.question
        if question is None or question.klass != rr.IN:
            return Rcode.FORMERR
        if question.type != rr.SOA:
            return Rcode.NOTIMP  # RFC 1996 section 3.7 leaves other types to the future
        apex = fold(question.name)
        if not await self._follower.follows(apex):
            return Rcode.NOTAUTH
        zone = await self._in_store(self._zones.find, apex)
        if zone is None:
            return Rcode.NOTAUTH
        if not _may_notify(zone, client):
            what = "NOTIFY refused: neither a primary nor allowed"
            self._seldom.tell(log.warning, what, zone=to_text(apex), client=str(client))
            return Rcode.REFUSED
        theirs = _serial(message, apex)
        if theirs is None or zone.soa is None or not zone.served or is_newer(theirs, serial_of(zone.soa)):
            self._follower.notified(apex, client.address)
            await self._follower.promise(zone)
        return Rcode.NOERROR


def _serial(message: Message, apex: bytes) -> int | None:
    """The serial a NOTIFY may bring along (RFC 1996 section 3.7): a hint, since it is not known from whom it is."""
    for record in message.answer:
        if record.type == rr.SOA and fold(record.name) == apex and len(record.rdata) >= SOA_TAIL + 2:
            return serial_of(record.rdata)
    return None


def _may_notify(zone: Followed, client: Client) -> bool:
    for text in zone.primaries:
        try:
            if primary_from_text(text).address == client.address:
                return True
        except PrimaryError:
            continue
    for text in zone.allow_notify:
        try:
            if client.admitted_by(entry_from_text(text)):
                return True
        except AccessError:
            log.error("an entry of allow_notify cannot be read", zone=to_text(zone.apex), entry=text)
    return False
