"""SPF (RFC 7208): whether a client may send mail in the name of a domain.

``check_host`` is section 4 as it stands: a record is read whole, its mechanisms are tried in order, and the look-ups
that strangers can make us do are counted: 10 terms that ask, 2 that find nothing, 10 hosts of an MX, 10 names of an
address. All else than a clear answer is a temporary or a permanent error, and never a pass.
"""

import asyncio
from dataclasses import dataclass, replace
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Final

from mx10.mailauth.asking import Ask, Found, Kind, Status
from mx10.mailauth.spf_record import (
    Macros,
    Mechanism,
    Record,
    SpfSyntaxError,
    check_macros,
    expand,
    is_record,
    parse_record,
    shortened,
)

MAX_LOOKUPS: Final = 10
"""Terms of all records together that ask the DNS (section 4.6.4)."""
MAX_VOID: Final = 2
"""Look-ups that find nothing."""
MAX_HOSTS: Final = 10
"""Hosts of one MX, and names of one address."""
SECONDS: Final = 20.0
"""For all of it."""
_MAX_LABEL: Final = 63
_MAX_EXPLANATION: Final = 400


class SpfResult(StrEnum):
    """Section 2.6."""

    NONE = "none"
    NEUTRAL = "neutral"
    PASS = "pass"
    FAIL = "fail"
    SOFTFAIL = "softfail"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


@dataclass(frozen=True, slots=True)
class Spf:
    """What came of it.

    Attributes:
        domain: that was looked at.
        reason: for people.
        explanation: what the domain says to those it does not let send; somebody else's words.
    """

    result: SpfResult
    domain: str
    reason: str = ""
    explanation: str = ""


class _EndedError(Exception):
    """An error that ends all, also from within an include."""

    def __init__(self, result: SpfResult, reason: str) -> None:
        super().__init__(reason)
        self.result = result


async def check_host(
    address: bytes,
    domain: str,
    sender: str,
    helo: str,
    ask: Ask,
    *,
    receiver: str = "unknown",
    now: int = 0,
    seconds: float = SECONDS,
) -> Spf:
    """Whether a client may send for a domain.

    Args:
        address: of the client, 4 or 16 octets; an IPv4 address mapped into IPv6 counts as IPv4.
        domain: of the sender, or what the client called itself; A-labels.
        sender: the reverse-path, or ``postmaster@`` with what the client called itself.
        receiver: our name, for explanations; ``now``: seconds since 1970, for those too.
        seconds: for all of it.
    """
    if len(address) == 16 and address[:12] == bytes(10) + b"\xff\xff":
        address = address[12:]
    local = sender.rpartition("@")[0] or "postmaster"
    sender = f"{local}@{sender.rpartition('@')[2] or domain}"
    check = _Check(ask, Macros(sender, domain, helo, address, receiver=receiver, now=now))
    try:
        async with asyncio.timeout(seconds):
            return await check.host(domain)
    except _EndedError as ended:
        return Spf(ended.result, domain, str(ended))
    except TimeoutError:
        return Spf(SpfResult.TEMPERROR, domain, f"the DNS did not answer within {seconds:g} s")


class _Check:
    """One check, with all that it counts."""

    def __init__(self, ask: Ask, macros: Macros) -> None:
        self._ask = ask
        self._macros = macros
        self._lookups = 0
        self._void = 0
        self._name: str | None = None

    async def host(self, domain: str, *, explaining: bool = True, included: bool = False) -> Spf:
        """check_host() for a domain; ``explaining``: an explanation is wanted where it fails."""
        if not _is_domain(domain):
            return Spf(SpfResult.NONE, domain, "this is no domain")
        record = await self._record(domain)
        if record is None:
            return Spf(SpfResult.NONE, domain, "it has no record")
        for mechanism in record.mechanisms:
            if await self._matches(mechanism, domain):
                found = Spf(SpfResult(mechanism.result), domain, f"{mechanism.kind} of {domain}")
                if found.result is SpfResult.FAIL and explaining and record.exp is not None:
                    return replace(found, explanation=await self._explanation(record.exp, domain))
                return found
        if record.redirect is None:
            return Spf(SpfResult.NEUTRAL, domain, f"nothing in the record of {domain} fits")
        self._count()
        target = await self._expanded(record.redirect, domain)
        found = await self.host(target, explaining=explaining, included=included)
        if found.result is SpfResult.NONE:
            # Section 6.1.
            raise _EndedError(SpfResult.PERMERROR, f"{domain} refers to {target}, which has no record")
        return found

    async def _record(self, domain: str) -> Record | None:
        found = await self._ask(domain, "TXT")
        if found.status is Status.FAILED:
            raise _EndedError(SpfResult.TEMPERROR, f"the record of {domain} cannot be looked up now")
        records = [each for each in found.texts if is_record(each)]
        if not records:
            return None
        if len(records) > 1:
            raise _EndedError(SpfResult.PERMERROR, f"{domain} has {len(records)} records; one is allowed")
        try:
            return parse_record(records[0])
        except SpfSyntaxError as error:
            raise _EndedError(SpfResult.PERMERROR, f"the record of {domain}: {error}") from None

    # ---------------------------------------------------------------- counting

    def _count(self) -> None:
        self._lookups += 1
        if self._lookups > MAX_LOOKUPS:
            raise _EndedError(SpfResult.PERMERROR, f"more than {MAX_LOOKUPS} terms ask the DNS")

    async def _asked(self, name: str, kind: Kind) -> Found:
        """A question of a mechanism."""
        if not name or any(not 0 < len(label) <= _MAX_LABEL for label in name.split(".")):
            # It cannot be asked for, and so there is nothing.
            self._found_nothing()
            return Found(Status.ABSENT)
        found = await self._ask(name, kind)
        if found.status is Status.FAILED:
            raise _EndedError(SpfResult.TEMPERROR, f"{name} cannot be looked up now")
        if found.status is Status.ABSENT:
            self._found_nothing()
        return found

    def _found_nothing(self) -> None:
        self._void += 1
        if self._void > MAX_VOID:
            raise _EndedError(SpfResult.PERMERROR, f"more than {MAX_VOID} look-ups find nothing")

    # ---------------------------------------------------------------- mechanisms

    async def _matches(self, mechanism: Mechanism, domain: str) -> bool:
        kind = mechanism.kind
        if kind == "all":
            return True
        if mechanism.network is not None:
            address = self._macros.address
            return mechanism.network.version == (4 if len(address) == 4 else 6) and _ip(address) in mechanism.network
        self._count()
        target = await self._expanded(mechanism.spec, domain) if mechanism.spec else domain
        if kind == "include":
            return await self._included(target)
        if kind == "exists":
            # Section 5.7: whatever the client's family, A is asked for.
            return (await self._asked(target, "A")).status is Status.FOUND
        if kind == "a":
            return await self._has(target, mechanism.prefixes)
        if kind == "mx":
            return await self._mx(target, mechanism.prefixes)
        return await self._ptr(target)

    async def _included(self, target: str) -> bool:
        found = await self.host(target, explaining=False, included=True)
        if found.result is SpfResult.NONE:
            # Section 5.2.
            raise _EndedError(SpfResult.PERMERROR, f"{target}, which is included, has no record")
        return found.result is SpfResult.PASS

    async def _has(self, name: str, prefixes: tuple[int, int]) -> bool:
        address = self._macros.address
        found = await self._asked(name, "A" if len(address) == 4 else "AAAA")
        return any(_near(address, each, prefixes) for each in found.addresses)

    async def _mx(self, target: str, prefixes: tuple[int, int]) -> bool:
        found = await self._asked(target, "MX")
        if len(found.hosts) > MAX_HOSTS:
            raise _EndedError(SpfResult.PERMERROR, f"{target} has more than {MAX_HOSTS} exchangers")
        for _, host in sorted(found.hosts):
            if host and await self._has(host, prefixes):
                return True
        return False

    async def _ptr(self, target: str) -> bool:
        target = target.lower()
        return any(name == target or name.endswith(f".{target}") for name in await self._names())

    async def _names(self) -> list[str]:
        """Names of the client that lead back to it (section 5.5). What fails is as if it were not there."""
        address = self._macros.address
        found = await self._ask(_reverse(address), "PTR")
        if found.status is Status.ABSENT:
            self._found_nothing()
        names = []
        for each in found.texts[:MAX_HOSTS]:
            name = each.decode("ascii", "replace").lower().removesuffix(".")
            if any(not 0 < len(label) <= _MAX_LABEL for label in name.split(".")):
                continue
            back = await self._ask(name, "A" if len(address) == 4 else "AAAA")
            if address in back.addresses:
                names.append(name)
        return names

    # ---------------------------------------------------------------- macros

    async def _filled(self, text: str, domain: str) -> str:
        """A text with its macros filled in; the client's name is looked for only where it is asked for."""
        macros = replace(self._macros, domain=domain)
        if "%{p" in text.lower():
            if self._name is None:
                names = await self._names()
                under = [each for each in names if each == domain or each.endswith(f".{domain}")]
                self._name = next(iter([*(each for each in under if each == domain), *under, *names]), "unknown")
            macros = replace(macros, name=self._name)
        return expand(text, macros)

    async def _expanded(self, spec: str, domain: str) -> str:
        return shortened(await self._filled(spec, domain))

    async def _explanation(self, spec: str, domain: str) -> str:
        """What the domain says (section 6.2); empty where anything is wrong with it."""
        try:
            found = await self._ask(await self._expanded(spec, domain), "TXT")
            if len(found.texts) != 1 or not found.texts[0].isascii():
                return ""
            text = found.texts[0].decode()
            check_macros(text, text, explaining=True)
            return (await self._filled(text, domain))[:_MAX_EXPLANATION]
        except (SpfSyntaxError, _EndedError):
            return ""


def _is_domain(text: str) -> bool:
    """Section 4.3: of more labels than one, none of them empty or too long."""
    parts = text.removesuffix(".").split(".")
    return len(parts) > 1 and len(text) <= 254 and all(0 < len(part) <= _MAX_LABEL for part in parts)


def _ip(address: bytes) -> IPv4Address | IPv6Address:
    return IPv4Address(address) if len(address) == 4 else IPv6Address(address)


def _near(address: bytes, other: bytes, prefixes: tuple[int, int]) -> bool:
    if len(address) != len(other):
        return False
    return _ip(address) in ip_network((other, prefixes[len(address) == 16]), strict=False)


def _reverse(address: bytes) -> str:
    if len(address) == 4:
        return ".".join(str(octet) for octet in reversed(address)) + ".in-addr.arpa"
    return ".".join(reversed(address.hex())) + ".ip6.arpa"
