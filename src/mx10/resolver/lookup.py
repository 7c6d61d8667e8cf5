"""Looking records up, for people and programs: from a name as it is typed to values one can read.

    for found in await lookup(["example.org", "192.0.2.1"]):
        print(found.name, found.status, found.data)

MX records come with the addresses of each exchanger. Short names are tried with the system's search list, an IP address
stands for its name in the reverse zones, and many names are worked on at once, but never more than so many questions.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Final

from mx10.config.settings import ResolverSettings
from mx10.dns import rdata, wirename
from mx10.dns import rrtypes as rr
from mx10.dns.message import Record
from mx10.dns.wirename import NameSyntaxError
from mx10.names import DomainError, ascii_text, display, domain_from_text
from mx10.resolver.answer import Answer, Resolver, Status
from mx10.resolver.resolvconf import ResolvConf

QUESTIONS_AT_ONCE: Final = 64
"""Questions open at one time."""
NAMES_AT_ONCE: Final = 50
"""Names under way at one time."""
EXCHANGERS: Final = 100
"""Exchangers of one domain whose addresses are looked up; a record set can hold thousands."""

_NO_QUESTIONS: Final = {
    rr.OPT: "stands in messages only",
    rr.TKEY: "stands in messages only",
    rr.TSIG: "stands in messages only",
    rr.AXFR: "transfers a zone; write `dig AXFR`",
    rr.IXFR: "transfers a zone; write `dig IXFR=SERIAL`",
}
_ABSOLUTE: Final = (".", "\u3002", "\uff0e", "\uff61")


class RecordTypeError(ValueError):
    """A record type that cannot be asked for: why, and the mend."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be looked up.

    Attributes:
        text: the name as it was given.
        name: folded wire name.
        types: record types.
        short: whether the search list may be tried, if the name has few dots.
    """

    text: str
    name: bytes
    types: tuple[int, ...]
    short: bool = False


@dataclass(frozen=True, slots=True)
class MailHost:
    """One exchanger of an MX record set, with its addresses.

    Attributes:
        name: wire name, as the record has it; the root in a null MX (RFC 7505).
        addresses: IPv4 and then IPv6, as text, each in the order of its answer.
        status: ok with at least one address; otherwise why there is none. None if nobody was asked.
        aliases: where its CNAME records lead, in order; an exchanger should have none (RFC 2181 section 10.3).
        reason: for people, where a question about it was not answered.
    """

    preference: int
    name: bytes
    addresses: tuple[str, ...] = ()
    status: Status | None = None
    aliases: tuple[bytes, ...] = ()
    reason: str = ""

    @property
    def host(self) -> str:
        """The name with A-labels, in lower case and without the final dot."""
        return ascii_text(wirename.fold(self.name))

    def to_json(self) -> dict[str, Any]:
        return {
            "preference": self.preference,
            "name": self.host,
            "unicode": display(wirename.fold(self.name)),
            "addresses": list(self.addresses),
            "status": None if self.status is None else str(self.status),
            "aliases": [ascii_text(alias) for alias in self.aliases],
            "reason": self.reason or None,
        }


@dataclass(frozen=True, slots=True)
class Lookup:
    """What was found for one name and type.

    Attributes:
        asked: the name as it was given.
        answer: what the resolver said, to the octet.
        exchangers: of an MX record set, the best preference first.
    """

    asked: str
    answer: Answer
    exchangers: tuple[MailHost, ...] = ()

    @property
    def name(self) -> str:
        """The name that was looked up, with A-labels and without the final dot."""
        return ascii_text(self.answer.name)

    @property
    def type(self) -> str:
        return rr.type_to_text(self.answer.rrtype)

    @property
    def status(self) -> Status:
        return self.answer.status

    @property
    def data(self) -> tuple[str, ...]:
        """The data of each record, as master files and ``dig`` write it."""
        return tuple(rdata.to_text(record.type, record.rdata) for record in self.answer.records)

    def __str__(self) -> str:
        """One line, for logs."""
        said = ", ".join(self.data) if self.status is Status.OK else self.answer.reason or str(self.status)
        return f"{self.name} {self.type}: {said}"

    def to_json(self) -> dict[str, Any]:
        """The form other programs read; ``docs/lookup.md`` describes every key."""
        answer = self.answer
        return {
            "asked": self.asked,
            "name": self.name,
            "unicode": display(answer.name),
            "type": self.type,
            "status": str(answer.status),
            "records": [_record(record) for record in answer.records],
            "exchangers": [one.to_json() for one in self.exchangers],
            "aliases": [ascii_text(alias) for alias in answer.chain],
            "ttl": answer.ttl,
            "server": answer.server,
            "rcode": None if answer.rcode is None else rr.rcode_to_text(answer.rcode),
            "reason": answer.reason or None,
            "ad": answer.ad,
            "authenticated": answer.authenticated,
            "signatures": [_record(record) for record in answer.signatures],
            "elapsed_ms": round(answer.elapsed * 1000, 1),
        }


def _record(record: Record) -> dict[str, Any]:
    return {
        "name": ascii_text(wirename.fold(record.name)),
        "type": rr.type_to_text(record.type),
        "ttl": record.ttl,
        "data": rdata.to_text(record.type, record.rdata),
    }


def record_type(text: str) -> int:
    """A record type to ask for, as ``MX`` or ``TYPE15``.

    Raises:
        RecordTypeError: there is none of that name, or it is no type of record.
    """
    try:
        number = rr.type_from_text(text)
    except ValueError:
        raise RecordTypeError(
            f"{text[:80]!r} is no record type: write one as MX, TXT or TYPE65280, 65535 at most"
        ) from None
    if number in _NO_QUESTIONS:
        raise RecordTypeError(f"{text.upper()} cannot be looked up: it {_NO_QUESTIONS[number]}")
    return number


def wanted_from_text(text: str, types: Iterable[int] = (), *, reverse: bool = False) -> Wanted:
    """What a person wants to look up.

    Args:
        text: a domain name in any script, or an IP address, which stands for its name in ``in-addr.arpa`` or
            ``ip6.arpa``.
        types: record types; without any, MX for a name and PTR for an address.
        reverse: the text is to be an address, or a name in the reverse zones.

    Raises:
        DomainError: it is none of these.
    """
    trimmed = text.strip()
    address = address_from_text(trimmed)
    if address is not None:
        return Wanted(text, wirename.from_text(address.reverse_pointer), tuple(types) or (rr.PTR,))
    name = domain_from_text(trimmed)
    if reverse and not wirename.is_under(name, b"\4arpa\0"):
        raise DomainError(f"{trimmed[:80]!r} is no IP address: --reverse takes one, as 192.0.2.1 or 2001:db8::1")
    kinds = tuple(types) or (rr.PTR if reverse else rr.MX,)
    return Wanted(text, name, kinds, short=not trimmed.endswith(_ABSOLUTE))


def address_from_text(text: str) -> IPv4Address | IPv6Address | None:
    """An IP address, in brackets or without; None if the text is none."""
    text = text.strip()
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    # A zone index, as in fe80::1%eth0, is no part of a name.
    return None if isinstance(address, IPv6Address) and address.scope_id else address


def candidates(wanted: Wanted, system: ResolvConf | None) -> list[bytes]:
    """The names to try, in order: a short one with the search list first (resolv.conf(5), search and ndots).

    Names with enough dots are looked up as they are and never with the search list: who asks for ``example.org`` does
    not mean ``example.org.corp.example``, whether it exists or not.
    """
    if system is None or not wanted.short or len(wirename.labels(wanted.name)) > system.ndots:
        return [wanted.name]
    names = []
    for domain in system.search:
        try:
            names.append(
                wirename.from_labels([*wirename.labels(wanted.name), *wirename.labels(domain_from_text(domain))])
            )
        except (DomainError, NameSyntaxError):
            # A search list that is wrong, or makes the name too long, is the system's fault and not this name's.
            continue
    return list(dict.fromkeys([*names, wanted.name]))


class Looker:
    """Looks many names up with one resolver, so many questions at a time.

    Args:
        resolver: whom to ask.
        system: whose search list to try.
        addresses: whether the addresses of exchangers are looked up too.
        at_once: questions open at one time.
    """

    def __init__(
        self,
        resolver: Resolver,
        *,
        system: ResolvConf | None = None,
        addresses: bool = True,
        at_once: int = QUESTIONS_AT_ONCE,
    ) -> None:
        self._resolver = resolver
        self._system = system
        self._addresses = addresses
        self._open = asyncio.Semaphore(at_once)

    async def look_up(self, wanted: Wanted) -> tuple[Lookup, ...]:
        """One result for each type, in their order. What the DNS or the net does raises nothing."""
        return tuple(await asyncio.gather(*(self._one(wanted, rrtype) for rrtype in wanted.types)))

    async def _one(self, wanted: Wanted, rrtype: int) -> Lookup:
        for name in candidates(wanted, self._system):
            answer = await self._ask(name, rrtype)
            # A failure ends the search too: the next name's answer would be to another question.
            if answer.status is not Status.NXDOMAIN:
                break
        if rrtype != rr.MX or answer.status is not Status.OK:
            return Lookup(wanted.text, answer)
        return Lookup(wanted.text, answer, await self._exchangers(answer))

    async def _ask(self, name: bytes, rrtype: int) -> Answer:
        async with self._open:
            return await self._resolver.resolve(name, rrtype)

    async def _exchangers(self, answer: Answer) -> tuple[MailHost, ...]:
        listed = sorted((rdata.mx(record.rdata) for record in answer.records), key=lambda one: one[0])
        if not self._addresses:
            return tuple(MailHost(*one) for one in listed)
        found = await asyncio.gather(*(self._host(*one) for one in listed[:EXCHANGERS]))
        left = f"not looked up: only those of the first {EXCHANGERS} exchangers are"
        return (*found, *(MailHost(*one, reason=left) for one in listed[EXCHANGERS:]))

    async def _host(self, preference: int, name: bytes) -> MailHost:
        if name == wirename.ROOT:
            return MailHost(preference, name)
        folded = wirename.fold(name)
        both = await asyncio.gather(self._ask(folded, rr.A), self._ask(folded, rr.AAAA))
        addresses = tuple(rdata.to_text(record.type, record.rdata) for one in both for record in one.records)
        statuses = [one.status for one in both]
        if addresses:
            status = Status.OK
        elif Status.FAILURE in statuses:
            status = Status.FAILURE
        else:
            status = Status.NXDOMAIN if Status.NXDOMAIN in statuses else Status.NODATA
        reasons = dict.fromkeys(one.reason for one in both if one.status is Status.FAILURE)
        aliases = max((one.chain for one in both), key=len)
        return MailHost(preference, name, addresses, status, aliases, "; ".join(reasons))


async def lookup(
    names: str | Iterable[str],
    types: str | Iterable[str] = (),
    *,
    resolver: Resolver | None = None,
    settings: ResolverSettings | None = None,
    reverse: bool = False,
) -> tuple[Lookup, ...]:
    """Look names up.

    Args:
        names: one or many: domain names in any script, or IP addresses.
        types: record types, as ``"MX"`` or ``["A", "AAAA"]``; without any, MX for a name and PTR for an address.
        resolver: whom to ask; by default the nameservers of the settings, or of the system.
        settings: servers, times and sizes.
        reverse: all names are to be addresses.

    Returns:
        A result for every name and type, in their order. A name that does not exist, or a server that does not answer,
        is a result too: see ``status``.

    Raises:
        ValueError: ``DomainError`` or ``RecordTypeError``: a name or a type cannot be; says what and the mend.
    """
    kinds = tuple(dict.fromkeys(record_type(text) for text in ([types] if isinstance(types, str) else types)))
    wanted = [wanted_from_text(text, kinds, reverse=reverse) for text in ([names] if isinstance(names, str) else names)]
    if resolver is not None:
        return await _all(Looker(resolver), wanted)
    from mx10.resolver.forwarder import Forwarder

    async with Forwarder(settings) as forwarder:
        return await _all(Looker(forwarder, system=forwarder.system), wanted)


async def _all(looker: Looker, wanted: list[Wanted]) -> tuple[Lookup, ...]:
    gate = asyncio.Semaphore(NAMES_AT_ONCE)

    async def one(each: Wanted) -> tuple[Lookup, ...]:
        async with gate:
            return await looker.look_up(each)

    return tuple(found for group in await asyncio.gather(*map(one, wanted)) for found in group)


def lookup_sync(
    names: str | Iterable[str],
    types: str | Iterable[str] = (),
    *,
    resolver: Resolver | None = None,
    settings: ResolverSettings | None = None,
    reverse: bool = False,
) -> tuple[Lookup, ...]:
    """As ``lookup``, waiting for the answers. Not for code that runs on an event loop."""
    return asyncio.run(lookup(names, types, resolver=resolver, settings=settings, reverse=reverse))
