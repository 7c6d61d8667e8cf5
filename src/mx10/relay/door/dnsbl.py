"""Lists of clients in the DNS (RFC 5782), with points: who has too many is refused.

Lists are asked when a client comes, all at the same time, and waited for when it names a recipient: mostly they have
answered by then. A list that gives no answer counts nothing. Nor does one that is out of order: one that lists
127.0.0.1 lists everybody (RFC 5782 section 5), and answers that are no listings (127.0.0.1, 127.255.255.x, anything
outside of 127.0.0.0/8) say that it does not want to be asked, or is not there any more.
"""

import asyncio
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from mx10.config.settings import DoorSettings
from mx10.dns import rrtypes as rr
from mx10.logs import get_logger
from mx10.names import DomainError, ascii_text, domain_from_text
from mx10.relay.door.asked import LONGEST_SECONDS, SHORTEST_SECONDS, Asked, reverse_name
from mx10.relay.door.door import Check
from mx10.relay.door.rules import is_exempt
from mx10.relay.door.values import Decision, Refused, Visitor
from mx10.resolver.answer import Resolver, Status
from mx10.routing.addresses import Network, special_purpose
from mx10.smtp.replies import Reply
from mx10.smtp.syntax import MailParameters
from mx10.values import value_class

MAX_LISTS: Final = 50
"""Lists that are asked."""
MAX_POINTS: Final = 1000
MAX_ANSWERS: Final = 100
"""Addresses of one answer that are looked at."""
TEST_MS: Final = 3_600_000
"""Time after which a list is tested again."""
_TEST: Final = bytes((127, 0, 0, 1))
_MAX_ZONE: Final = 180
"""Octets of a list's name: an IPv6 address before it takes 64 of the 255 that a name has."""
_MAX_REASON: Final = 120
"""Characters of a list's reason that a client is told."""
_POINTS: Final = re.compile(r"[+-]?\d{1,4}")
_OCTET: Final = r"(?:\d{1,3}(?:-\d{1,3})?|\[\d{1,3}(?:-\d{1,3})?(?:,\d{1,3}(?:-\d{1,3})?){0,31}\])"
_PATTERN: Final = re.compile(rf"127\.{_OCTET}\.{_OCTET}\.{_OCTET}")
_UNPRINTED: Final = re.compile(r"[^ -~]+")

log = get_logger("relay")


class DnsblError(ValueError):
    """A line of ``door.dnsbl`` cannot be used: which, what is wrong, and the mend."""


@value_class
class ListRule:
    """What an answer of a list counts.

    Attributes:
        octets: the second to the fourth of the answers that count; None: all.
    """

    octets: tuple[frozenset[int], frozenset[int], frozenset[int]] | None
    points: int

    def fits(self, answer: bytes) -> bool:
        """Whether an answer (4 octets) counts."""
        return self.octets is None or all(at in some for at, some in zip(answer[1:], self.octets, strict=True))


class DnsList:
    """A list, and how it is.

    Attributes:
        zone: wire name; ``name``: as text.
        works: it was not seen to be out of order.
    """

    def __init__(self, zone: bytes, name: str, rules: tuple[ListRule, ...]) -> None:
        self.zone = zone
        self.name = name
        self.rules = rules
        self.works = True
        self.tested_at = -TEST_MS
        self.test: asyncio.Task[None] | None = None
        self.complained_at = -TEST_MS

    def points(self, answers: Iterable[bytes]) -> int:
        """What answers count; each rule once."""
        found = list(answers)
        return sum(rule.points for rule in self.rules if any(rule.fits(each) for each in found))


@value_class
class Standing:
    """What the lists say about a client.

    Attributes:
        score: the sum.
        on: lists that speak against it, with the reason that they give.
    """

    score: int = 0
    on: tuple[tuple[str, str], ...] = ()


def parse_lists(lines: Sequence[str]) -> list[DnsList]:
    """The lists of ``door.dnsbl``, those named twice put together.

    Raises:
        DnsblError: a line cannot be used.
    """
    rules: dict[bytes, list[ListRule]] = {}
    for line in lines:
        zone, rule = _parse(line.strip())
        rules.setdefault(zone, []).append(rule)
    if len(rules) > MAX_LISTS:
        raise DnsblError(f"door.dnsbl: {len(rules)} lists; at most {MAX_LISTS} are asked")
    return [DnsList(zone, ascii_text(zone), tuple(some)) for zone, some in rules.items()]


def _parse(line: str) -> tuple[bytes, ListRule]:
    name, *rest = line.split("=")
    try:
        zone = domain_from_text(name)
    except DomainError as error:
        raise DnsblError(f"door.dnsbl: {line[:80]!r}: {error}") from None
    if len(zone) > _MAX_ZONE or len(zone) < 2:
        raise DnsblError(f"door.dnsbl: {line[:80]!r}: the name of a list has 1 to {_MAX_ZONE} octets")
    points = 1
    if rest and _POINTS.fullmatch(rest[-1]):
        points = int(rest.pop())
        if not points or abs(points) > MAX_POINTS:
            raise DnsblError(f"door.dnsbl: {line[:80]!r}: points are from 1 to {MAX_POINTS}, or below zero")
    if not rest:
        return zone, ListRule(None, points)
    if len(rest) > 1 or not _PATTERN.fullmatch(rest[0]):
        raise DnsblError(
            f"door.dnsbl: {line[:80]!r}: write LIST, LIST=POINTS or LIST=ANSWERS=POINTS, as in"
            " list.example.net=127.0.0.2-4=2 or list.example.net=127.0.0.[2,10-11]=2"
        )
    second, third, fourth = (_octets(part, line) for part in rest[0].split(".")[1:])
    return zone, ListRule((second, third, fourth), points)


def _octets(part: str, line: str) -> frozenset[int]:
    found: set[int] = set()
    for piece in part.strip("[]").split(","):
        low, _, high = piece.partition("-")
        first, last = int(low), int(high or low)
        if not first <= last <= 255:
            raise DnsblError(f"door.dnsbl: {line[:80]!r}: {piece} are no octets: write 0 to 255, the lower one first")
        found.update(range(first, last + 1))
    return frozenset(found)


def is_listing(answer: bytes) -> bool:
    """Whether an address says that a client is on a list, and nothing about the list itself."""
    return len(answer) == 4 and answer[0] == 127 and answer[1:3] != b"\xff\xff" and answer != _TEST


class DnsLists(Check):
    """Refuses clients that are on too many lists.

    Args:
        public: networks to ask about though they are reserved (``routing.public_networks``).
        clock: milliseconds since 1970."""

    def __init__(
        self,
        settings: DoorSettings,
        lists: Sequence[DnsList],
        resolver: Resolver,
        clock: Callable[[], int],
        public: Iterable[Network] = (),
    ) -> None:
        self._threshold = settings.dnsbl_threshold
        self._seconds = settings.dnsbl_seconds
        self._lists = lists
        self._resolver = resolver
        self._clock = clock
        self._public = tuple(public)
        # Longer than lists are waited for: they give up by themselves, and what the others said counts.
        self._asked: Asked[bytes, Standing] = Asked(self._ask, Standing(), settings.dnsbl_seconds * 3, clock)

    def close(self) -> None:
        """Ask no more."""
        self._asked.close()

    def connect(self, visitor: Visitor) -> None:
        """It is here: ask."""
        if visitor.kind == "mx" and not visitor.trusted and self._is_known_to_lists(visitor.address):
            self._asked.begin(visitor.address)

    def recipient(self, visitor: Visitor, mail: MailParameters, recipient: str) -> Decision:
        """Whether it may send to somebody."""
        if visitor.may_relay or is_exempt(recipient):
            return None
        known = self._asked.known(visitor.address)
        if known is not None:
            return self._judge(visitor, known)
        return self._wait(visitor) if self._is_known_to_lists(visitor.address) else None

    def _is_known_to_lists(self, address: bytes) -> bool:
        return not special_purpose(address, self._public)

    async def _wait(self, visitor: Visitor) -> Refused | None:
        return self._judge(visitor, await self._asked.find(visitor.address))

    def _judge(self, visitor: Visitor, found: Standing) -> Refused | None:
        if found.score < self._threshold:
            return None
        on = ", ".join(name[:60] + (f' ("{reason}")' if reason else "") for name, reason in found.on[:1])
        more = f" and {len(found.on) - 1} more" if len(found.on) > 1 else ""
        text = (
            f"your address {visitor.text} is on the list {on}{more}: ask there to be taken off, or write to postmaster"
        )
        return Refused(Reply.of(550, "5.7.1", text), "dnsbl")

    async def _ask(self, address: bytes) -> tuple[Standing, float]:
        """Ask all lists. Those that did not answer in time count nothing, and are asked again soon."""
        loop = asyncio.get_running_loop()
        tasks = {loop.create_task(self._ask_one(each, address)): each for each in self._lists}
        try:
            done, late = await asyncio.wait(tasks, timeout=self._seconds)
        finally:
            for task in tasks:
                task.cancel()
        score, seconds = 0, float(SHORTEST_SECONDS if late else LONGEST_SECONDS)
        against: list[DnsList] = []
        for task in done:
            points, ttl = task.result()
            score, seconds = score + points, min(seconds, ttl)
            if points > 0:
                against.append(tasks[task])
        if score < self._threshold:
            return Standing(score), seconds
        against.sort(key=self._lists.index)
        reasons = await self._reasons(against[:1], address)
        return Standing(score, tuple((each.name, reasons.get(each.name, "")) for each in against)), seconds

    async def _ask_one(self, wanted: DnsList, address: bytes) -> tuple[int, float]:
        """What one list counts, and for how many seconds."""
        answer, _ = await asyncio.gather(
            self._resolver.resolve(reverse_name(address, wanted.zone), rr.A), self._see_that_it_works(wanted)
        )
        if answer.status is Status.FAILURE:
            return 0, SHORTEST_SECONDS
        if answer.status is not Status.OK:
            return 0, answer.ttl
        addresses = [record.rdata for record in answer.records[:MAX_ANSWERS]]
        listings = [each for each in addresses if is_listing(each)]
        if not listings:
            self._complain(wanted, "its answers are no listings: it does not want to be asked from here, or is no more")
        return (wanted.points(listings) if wanted.works else 0), answer.ttl

    async def _see_that_it_works(self, wanted: DnsList) -> None:
        """Test a list, where that was long ago; all who ask it wait for the same test."""
        if not 0 <= self._clock() - wanted.tested_at < TEST_MS and wanted.test is None:
            wanted.tested_at = self._clock()
            wanted.test = asyncio.get_running_loop().create_task(self._test(wanted))
        if wanted.test is not None:
            await asyncio.shield(wanted.test)

    async def _test(self, wanted: DnsList) -> None:
        try:
            answer = await self._resolver.resolve(reverse_name(_TEST, wanted.zone), rr.A)
            if answer.status is not Status.FAILURE:
                wanted.works = not any(is_listing(record.rdata) for record in answer.records[:MAX_ANSWERS])
            if not wanted.works:
                self._complain(wanted, "it lists 127.0.0.1, and so probably everybody; it counts nothing for an hour")
        finally:
            wanted.test = None

    def _complain(self, wanted: DnsList, cause: str) -> None:
        now = self._clock()
        if not 0 <= now - wanted.complained_at < TEST_MS:
            wanted.complained_at = now
            log.warning("a list of clients is out of order (door.dnsbl)", list=wanted.name, cause=cause)

    async def _reasons(self, lists: Sequence[DnsList], address: bytes) -> dict[str, str]:
        """What lists say why (TXT records: RFC 5782 section 2.1)."""
        found: dict[str, str] = {}
        try:
            async with asyncio.timeout(self._seconds):
                for each in lists:
                    answer = await self._resolver.resolve(reverse_name(address, each.zone), rr.TXT)
                    if answer.records:
                        found[each.name] = _text(answer.records[0].rdata)
        except TimeoutError:
            pass
        return found


def _text(rdata: bytes) -> str:
    """The strings of a TXT record, joined, as far as a reply shows them."""
    parts, at = [], 0
    while at < len(rdata):
        parts.append(rdata[at + 1 : at + 1 + rdata[at]])
        at += 1 + rdata[at]
    text = _UNPRINTED.sub("?", b"".join(parts).decode("ascii", "replace")).replace('"', "'").strip()
    return text if len(text) <= _MAX_REASON else text[: _MAX_REASON - 3] + "..."
