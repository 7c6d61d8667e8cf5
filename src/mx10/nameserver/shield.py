"""What stands between responses over UDP and those who might misuse them: the rate limit, and what is sent instead of a
response beyond it (as BIND's RRL does).

Responses to one network (/24 of IPv4, /56 of IPv6) are counted by kind: an answer by its name and type (those out of a
wildcard by their zone: the names are without number), a referral by the name delegated, "no such name" and "no such
data" by their zone, errors by their code. So nobody is limited who asks for many things once, and who has us send one
thing again and again is.

A few of the responses that are held back are replaced by a short one with the TC bit: a client who is there comes again
by TCP, and an address that was forged gets no more than was sent in its name. Those who show a good cookie are not
limited (RFC 7873 section 5.2.4).
"""

import time
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from typing import Final

from mx10.config import NameserverSettings
from mx10.dns import rrtypes as rr
from mx10.dns.message import AA
from mx10.dns.question import Query, read_question
from mx10.dns.wirename import ancestors, to_text
from mx10.logs import get_logger
from mx10.nameserver.limiter import Limiter
from mx10.nameserver.rate import Seldom
from mx10.nameserver.responder import Responder
from mx10.nameserver.table import NotServedError, ZoneTable

IPV4_OCTETS: Final = 3
"""Of an address, what is its network: /24."""
IPV6_OCTETS: Final = 7
"""The same for IPv6: /56, what one customer of a provider gets."""
_KINDS: Final = 50_000
"""Responses whose kind is remembered; when there are more, all are forgotten."""
_EXEMPTIONS: Final = 10_000
_LINES: Final = 1
"""Lines a second that the log gets about what is limited."""

log = get_logger("nameserver")


class Shield:
    """The rate limit of one worker.

    Args:
        responder: makes what is sent instead; its counters are told.
        settings: the limit is for all workers together, so each allows its part.
        clock: seconds, never going back.
    """

    def __init__(
        self, responder: Responder, settings: NameserverSettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._responder = responder
        self.clock = clock
        rate = settings.responses_per_second / settings.workers
        self.limiter = Limiter(rate, settings.rate_limit_window, settings.rate_limit_entries)
        self._slip = settings.rate_limit_slip
        self._log_only = settings.rate_limit_log_only
        self._exempt = tuple(ip_network(each) for each in settings.rate_limit_exempt)
        self._exemptions: dict[bytes, bool] = {}
        self._limited = 0
        self.kinds: dict[bytes, bytes] = {}
        """Responses, without their id, to what they count as: most are sent many times."""
        self._seldom = Seldom(_LINES, clock)

    def judge(self, request: bytes, response: bytes, address: bytes, now: float) -> bytes | None:
        """What to send: the response, a short one, or nothing.

        Args:
            request: as it came.
            response: without its id.
            address: the client's, 4 or 16 octets.
            now: what ``clock`` says.

        Returns:
            Without its id.
        """
        kind = self.kinds.get(response) or self.learn(request, response)
        network = address[:IPV4_OCTETS] if len(address) == 4 else address[:IPV6_OCTETS]
        if self.limiter.admits(network + kind, now):
            return response
        return self.instead(request, response, address, kind)

    def instead(self, request: bytes, response: bytes, address: bytes, kind: bytes) -> bytes | None:
        """What to send of a response that the limiter did not admit; without its id."""
        if self._is_exempt(address):
            return response
        said = "responses would be limited" if self._log_only else "responses are limited"
        self._seldom.tell(log.warning, said, client=str(ip_address(address)), kind=_in_words(kind))
        counters = self._responder.counters
        self._limited += 1
        if self._slip and self._limited % self._slip == 0:
            counters.slipped += 1
            if not self._log_only:
                short = self._responder.short(request, address)
                return short[2:] if short is not None else None
        else:
            counters.dropped += 1
        return response if self._log_only else None

    def _is_exempt(self, address: bytes) -> bool:
        if not self._exempt:
            return False
        exempt = self._exemptions.get(address)
        if exempt is None:
            if len(self._exemptions) >= _EXEMPTIONS:
                self._exemptions.clear()
            client = ip_address(address)
            exempt = self._exemptions[address] = any(client in network for network in self._exempt)
        return exempt

    def learn(self, request: bytes, response: bytes) -> bytes:
        """The kind of a response that is not among ``kinds``, and now is."""
        query = read_question(request)
        if isinstance(query, Query):
            kind = kind_of(self._responder.table, query, response)
        else:
            kind = b"e" + bytes((response[1] & 0xF,))
        if len(self.kinds) >= _KINDS:
            self.kinds.clear()
        self.kinds[response] = kind
        return kind


def kind_of(table: ZoneTable, query: Query, response: bytes) -> bytes:
    """As what a response counts: a letter, and what it is counted by.

    Args:
        response: ours to the query, without its id.
    """
    rcode = response[1] & 0xF
    apex = table.apex_of(query.name)
    if apex is None or rcode not in (rr.Rcode.NOERROR, rr.Rcode.NXDOMAIN):
        return b"e" + bytes((rcode,))
    if rcode == rr.Rcode.NXDOMAIN:
        return b"n" + apex
    try:
        zone = table.find(query.name)
    except NotServedError:
        zone = None
    if zone is None:
        return b"e" + bytes((rcode,))
    if response[4:6] != b"\0\0":
        if zone.nodes.get(query.name) is None:
            return b"w" + zone.apex
        return b"a" + query.question[-4:-2] + query.name
    if response[0] & AA >> 8:
        return b"d" + zone.apex
    for name in ancestors(query.name):
        if name == zone.apex:
            break
        if (node := zone.nodes.get(name)) is not None and rr.NS in node:
            return b"r" + name
    return b"d" + zone.apex


_WORDS: Final = {
    b"a": "answer",
    b"w": "answer from a wildcard",
    b"d": "no such data",
    b"n": "no such name",
    b"r": "referral",
    b"e": "error",
}


def _in_words(kind: bytes) -> str:
    """For the log: names are those of clients, so they are written as in master files."""
    letter, rest = kind[:1], kind[1:]
    if letter == b"e":
        return f"{_WORDS[letter]} {rest[0]}"
    if letter == b"a":
        return f"{_WORDS[letter]} {to_text(rest[2:])} {rr.type_to_text(int.from_bytes(rest[:2], 'big'))}"
    return f"{_WORDS[letter]}, {to_text(rest)}"
