"""What a client calls itself in HELO or EHLO, and rules about it.

RFC 5321 section 4.1.4 forbids to refuse a message because that name is not the one of the client's address; no rule
here does that. What can be asked for is that it is a name at all, that it is not ours, and that it exists.
"""

import asyncio
import re
from collections.abc import Callable, Container
from typing import Final

from mx10.config.settings import DoorSettings
from mx10.dns import rrtypes as rr
from mx10.names import DomainError, domain_from_text
from mx10.relay.door.asked import LONGEST_SECONDS, SHORTEST_SECONDS, Asked
from mx10.relay.door.door import Check
from mx10.relay.door.rules import is_exempt
from mx10.relay.door.values import Decision, Refused, Visitor
from mx10.resolver.answer import Resolver, Status
from mx10.routing.addresses import from_text, to_text
from mx10.smtp.replies import Reply
from mx10.smtp.syntax import MailParameters

SECONDS: Final = 10.0
"""How long looking up a name may take."""
_SHOWN: Final = 100
"""Characters of the name that a reply repeats."""
# An underscore is not allowed, and used: names of Windows computers have it.
_LABEL: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})+\.?")


def fault_of(helo: str, address: bytes, own: Container[str]) -> str:
    """What is wrong with what a client calls itself, by its form alone.

    Args:
        helo: as it came.
        address: the client's, 4 or 16 octets.
        own: our names and addresses, in lower case.

    Returns:
        What, as the end of a sentence; empty: nothing.
    """
    if helo.startswith("["):
        literal = from_text(helo) if helo.endswith("]") else None
        if literal is None:
            return "which is no address literal: write [192.0.2.1] or [IPv6:2001:db8::1] (RFC 5321 section 4.1.3)"
        if literal[:12] == bytes(10) + b"\xff\xff":
            literal = literal[12:]
        if literal == address:
            return ""
        return "which is our own address" if to_text(literal) in own else "which is not the address that you come from"
    if from_text(helo) is not None:
        return "which is an address: addresses stand in brackets (RFC 5321 section 4.1.3)"
    name = helo.lower().removesuffix(".")
    if name in own:
        return "which is our own name"
    if "." not in name:
        return "which has no dot: give the whole name of your host (RFC 5321 section 2.3.5)"
    if not _NAME.fullmatch(helo) or len(name) > 253:
        return "which is no name of a host (RFC 5321 section 2.3.5)"
    return ""


class HelloRules(Check):
    """The rule ``door.helo``. Asked when a recipient is named: mail for postmasters is taken from everybody.

    Args:
        own: our names and addresses, in lower case."""

    def __init__(
        self, settings: DoorSettings, own: Container[str], resolver: Resolver, clock: Callable[[], int]
    ) -> None:
        self._resolves = settings.helo == "resolves"
        self._own = own
        self._resolver = resolver
        self._asked: Asked[bytes, Status] = Asked(self._ask, Status.FAILURE, SECONDS, clock)

    def close(self) -> None:
        """Ask no more."""
        self._asked.close()

    def mail(self, visitor: Visitor, parameters: MailParameters) -> None:
        """It begins a message: ask, so that the answer is here when it names a recipient."""
        if self._resolves and not visitor.may_relay and (name := _to_ask(visitor.helo)) is not None:
            self._asked.begin(name)

    def recipient(self, visitor: Visitor, mail: MailParameters, recipient: str) -> Decision:
        """Whether it may send to somebody, by its name."""
        if visitor.may_relay or is_exempt(recipient):
            return None
        fault = fault_of(visitor.helo, visitor.address, self._own)
        if fault:
            return _refusal("helo-syntax", 550, "5.7.1", visitor.helo, fault)
        if not self._resolves or visitor.helo.startswith("["):
            return None
        name = _to_ask(visitor.helo)
        if name is None:
            return _refusal(
                "helo-syntax", 550, "5.7.1", visitor.helo, "which is no name of a host (RFC 5321 section 2.3.5)"
            )
        known = self._asked.known(name)
        return self._wait(visitor, name) if known is None else self._judge(visitor, known)

    async def _wait(self, visitor: Visitor, name: bytes) -> Refused | None:
        return self._judge(visitor, await self._asked.find(name))

    def _judge(self, visitor: Visitor, found: Status) -> Refused | None:
        if found is Status.OK:
            return None
        if found is Status.FAILURE:
            return _refusal(
                "helo-unsure", 450, "4.7.1", visitor.helo, "which cannot be looked up now: send it again later"
            )
        fault = "which has neither addresses nor MX records: give the name of your host as the DNS has it"
        return _refusal("helo-unknown", 550, "5.7.1", visitor.helo, fault)

    async def _ask(self, name: bytes) -> tuple[Status, float]:
        answers = await asyncio.gather(*(self._resolver.resolve(name, kind) for kind in (rr.A, rr.AAAA, rr.MX)))
        if any(answer.status is Status.OK for answer in answers):
            return Status.OK, max(answer.ttl for answer in answers if answer.status is Status.OK)
        if any(answer.status is Status.FAILURE for answer in answers):
            return Status.FAILURE, SHORTEST_SECONDS
        return Status.NXDOMAIN, min([LONGEST_SECONDS, *(answer.ttl for answer in answers)])


def _to_ask(helo: str) -> bytes | None:
    try:
        return domain_from_text(helo) if _NAME.fullmatch(helo) else None
    except DomainError:
        return None


def _refusal(what: str, code: int, enhanced: str, helo: str, fault: str) -> Refused:
    shown = helo if len(helo) <= _SHOWN else helo[:_SHOWN] + "..."
    return Refused(Reply.of(code, enhanced, f"you call yourself {shown} (HELO or EHLO), {fault}"), what)
