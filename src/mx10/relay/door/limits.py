"""How much is taken of whom: connections, messages, recipients and mistakes of a client network, messages of a sender,
messages for a recipient.

An allowance is a bucket: ``most`` at once, and it fills again evenly within its time. Of each key only the moment is
kept at which its bucket is full again, in tables that are bounded: where there are more keys, those forgotten first are
the ones that did nothing for longest. No clock is read here, time comes as an argument.
"""

from collections import Counter
from collections.abc import Callable
from math import ceil
from typing import Final

from mx10.config.settings import DoorSettings
from mx10.relay.door.door import Check
from mx10.relay.door.values import Refused, Visitor
from mx10.routing.addresses import around
from mx10.smtp.replies import Reply
from mx10.smtp.syntax import MailParameters

ENTRIES: Final = 50_000
"""Keys that one table remembers; some 150 octets each, with a long address up to 500."""
MINUTE_MS: Final = 60_000
HOUR_MS: Final = 3_600_000
MISTAKES_MS: Final = 600_000
"""Time within which an allowance of mistakes comes back."""
MISTAKES: Final = frozenset(
    {"protocol", "password", "relay", "routed", "literal", "no-domain", "recipient-unknown", "loop", "header"}
)
"""What counts as a client's mistake, of that with which ``Door.failed`` is called. To be told to come later is none."""
_MS: Final = 1_000_000
_SHOWN: Final = 80
"""Characters of an address that a reply repeats."""


class Allowances:
    """Buckets, one for each key (the generic cell rate algorithm: a bucket is one number).

    Args:
        most: what a full bucket holds; 0: there is no limit, and nothing is remembered.
        span_ms: milliseconds in which an empty one becomes full.
        entries: keys remembered at most.
    """

    __slots__ = ("_cost", "_entries", "_full_at", "_span", "most")

    def __init__(self, most: int, span_ms: int, entries: int = ENTRIES) -> None:
        self.most = most
        # Nanoseconds, as whole numbers: sums of fractions of a millisecond end beside what they should be.
        self._span = span_ms * _MS
        self._cost = self._span // most if most else 0
        self._entries = entries
        self._full_at: dict[object, int] = {}

    def __len__(self) -> int:
        return len(self._full_at)

    def wait(self, key: object, now: int) -> int:
        """Milliseconds until one may be taken; 0: now."""
        if not self.most:
            return 0
        return self._wait(self._full_at.get(key, 0), now * _MS)

    def draw(self, key: object, now: int) -> int:
        """Take one, if there is one. Returns 0, or the milliseconds until there is one."""
        if not self.most:
            return 0
        at, full_at = now * _MS, self._full_at.pop(key, 0)
        wait = self._wait(full_at, at)
        self._keep(key, full_at, at, 0 if wait else self._cost)
        return wait

    def charge(self, key: object, now: int) -> None:
        """Take one even of an empty bucket, which does not become emptier by it."""
        if self.most:
            self._keep(key, self._full_at.pop(key, 0), now * _MS, self._cost)

    def _wait(self, full_at: int, now: int) -> int:
        # A clock that was set back must not lock anybody out: no bucket is ever emptier than empty.
        missing = min(max(full_at - now, 0), self._span)
        return max(0, -((self._span - missing - self._cost) // _MS))

    def _keep(self, key: object, full_at: int, now: int, cost: int) -> None:
        entries = self._full_at
        entries[key] = min(max(full_at, now) + cost, now + self._span)
        if len(entries) > self._entries:
            del entries[next(iter(entries))]
        # What was touched longest ago stands first; those full again mean nothing any more.
        for _ in range(2):
            first = next(iter(entries))
            if entries[first] > now or first == key:
                break
            del entries[first]


class Limits(Check):
    """The limits of ``[door]`` in the settings.

    Args:
        clock: milliseconds since 1970."""

    def __init__(self, settings: DoorSettings, clock: Callable[[], int]) -> None:
        self._settings = settings
        self._clock = clock
        self._lengths = {4: settings.network_ipv4, 16: settings.network_ipv6}
        self._open: Counter[bytes] = Counter()
        self._connections = Allowances(settings.connections_per_minute, MINUTE_MS)
        self._messages = Allowances(settings.messages_per_minute, MINUTE_MS)
        self._recipients = Allowances(settings.recipients_per_minute, MINUTE_MS)
        self._mistakes = Allowances(settings.mistakes, MISTAKES_MS)
        self._sender_messages = Allowances(settings.sender_messages_per_hour, HOUR_MS)
        self._sender_recipients = Allowances(settings.sender_recipients_per_hour, HOUR_MS)
        self._stranger_sender = Allowances(settings.stranger_sender_messages_per_hour, HOUR_MS)
        self._for_recipient = Allowances(settings.recipient_messages_per_minute, MINUTE_MS)

    @property
    def open(self) -> int:
        """Connections of strangers that are open."""
        return self._open.total()

    def connect(self, visitor: Visitor) -> Refused | None:
        """Whether its network may have one more connection."""
        if visitor.trusted:
            return None
        network, now, most = self._network(visitor), self._clock(), self._settings.connections_per_network
        # Counted even where it is refused: it is open until it has left.
        self._open[network] += 1
        if most and self._open[network] > most:
            text = f"{self._of(visitor)} has {most} connections open here: close some, then come again"
            return Refused(Reply.of(421, "4.7.0", text), "connections-at-once")
        if wait := self._mistakes.wait(network, now):
            return self._too_many_mistakes(visitor, wait)
        if wait := self._connections.draw(network, now):
            return Refused(self._slower(421, "4.7.0", "connections", "minute", visitor, wait), "connections")
        return None

    def mail(self, visitor: Visitor, parameters: MailParameters) -> Refused | None:
        """Whether one more message may begin."""
        now = self._clock()
        if visitor.may_relay:
            if wait := self._sender_messages.draw(_sender(visitor, parameters), now):
                return Refused(_too_much_sent("messages", self._sender_messages.most, wait), "sender-messages")
            return None
        network = self._network(visitor)
        if wait := self._mistakes.wait(network, now):
            return self._too_many_mistakes(visitor, wait)
        if wait := self._messages.draw(network, now):
            return Refused(self._slower(450, "4.7.1", "messages", "minute", visitor, wait), "messages")
        sender = parameters.reverse_path
        if self._stranger_sender.most and sender and (wait := self._stranger_sender.draw(sender.lower(), now)):
            text = (
                f"more than {self._stranger_sender.most} messages an hour come here from {_shown(sender)}:"
                f" send it again in {_seconds(wait)}"
            )
            return Refused(Reply.of(450, "4.7.1", text), "stranger-sender")
        return None

    def recipient(self, visitor: Visitor, mail: MailParameters, recipient: str) -> Refused | None:
        """Whether one more recipient may be named."""
        now = self._clock()
        if visitor.may_relay:
            if wait := self._sender_recipients.draw(_sender(visitor, mail), now):
                most = self._sender_recipients.most
                return Refused(_too_much_sent("recipients", most, wait), "sender-recipients")
            return None
        network = self._network(visitor)
        if wait := self._mistakes.wait(network, now):
            return self._too_many_mistakes(visitor, wait)
        if wait := self._recipients.draw(network, now):
            return Refused(self._slower(450, "4.7.1", "recipients", "minute", visitor, wait), "recipients")
        if wait := self._for_recipient.draw(recipient.lower(), now):
            text = (
                f"{_shown(recipient)} gets more than {self._for_recipient.most} messages a minute just now:"
                f" send it again in {_seconds(wait)}"
            )
            return Refused(Reply.of(450, "4.2.1", text), "for-recipient")
        return None

    def failed(self, visitor: Visitor, what: str) -> Reply | None:
        """Something it wanted was refused; perhaps that is a mistake of its, and one too many."""
        if what not in MISTAKES or visitor.may_relay:
            return None
        network, now = self._network(visitor), self._clock()
        if wait := self._mistakes.wait(network, now):
            self._mistakes.charge(network, now)
            return self._too_many_mistakes(visitor, wait).reply
        self._mistakes.charge(network, now)
        return None

    def left(self, visitor: Visitor) -> None:
        """It is gone."""
        if visitor.trusted:
            return
        network = self._network(visitor)
        self._open[network] -= 1
        if self._open[network] <= 0:
            del self._open[network]

    def _network(self, visitor: Visitor) -> bytes:
        address = visitor.address
        length = self._lengths[len(address)]
        whole, bits = divmod(length, 8)
        start = address[:whole]
        if bits:
            start += bytes([address[whole] & (0xFF00 >> bits) & 0xFF])
        # The first 4 octets of an IPv6 address are no IPv4 address.
        return start if len(address) == 4 else b":" + start

    def _of(self, visitor: Visitor) -> str:
        network = around(visitor.address, self._lengths[len(visitor.address)])
        return f"your address {visitor.text}" if network.length == network.bits else f"your network {network}"

    def _slower(self, code: int, enhanced: str, what: str, span: str, visitor: Visitor, wait: int) -> Reply:
        most = {"connections": self._connections, "messages": self._messages, "recipients": self._recipients}[what].most
        text = f"{self._of(visitor)} sends more than {most} {what} a {span}: go on in {_seconds(wait)}, and slower"
        return Reply.of(code, enhanced, text)

    def _too_many_mistakes(self, visitor: Visitor, wait: int) -> Refused:
        text = (
            f"{self._of(visitor)} made {self._mistakes.most} mistakes in ten minutes (unknown recipients, wrong"
            f" passwords and the like): mend them, and come again in {_seconds(wait)}"
        )
        return Refused(Reply.of(421, "4.7.0", text), "mistakes")


def _sender(visitor: Visitor, mail: MailParameters) -> tuple[str, str]:
    return ("user", visitor.user) if visitor.user else ("from", mail.reverse_path.lower())


def _too_much_sent(what: str, most: int, wait: int) -> Reply:
    text = f"you may send {most} {what} an hour: go on in {_seconds(wait)}, or ask the postmaster here for more"
    return Reply.of(450, "4.7.1", text)


def _seconds(wait_ms: int) -> str:
    seconds = ceil(wait_ms / 1000)
    return f"{seconds} s" if seconds < 120 else f"{ceil(seconds / 60)} minutes"


def _shown(text: str) -> str:
    return f"<{text}>" if len(text) <= _SHOWN else f"<{text[:_SHOWN]}...>"
