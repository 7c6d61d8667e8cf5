"""What one exchanger is worth: its addresses, which of them can be reached, and what is wrong with it.

Pure, as ``decide`` is: it looks at what the DNS said, never asks.
"""

from collections.abc import Iterable, Sequence

from mx10.config.settings import RoutingSettings
from mx10.dns import wirename
from mx10.names import display
from mx10.resolver.answer import Answer, Status
from mx10.routing import addresses
from mx10.routing.findings import Findings, HostAnswers, is_address, is_localhost
from mx10.routing.notes import Note, note
from mx10.routing.providers import provider_of
from mx10.routing.values import Address, Exchanger, ExchangerStatus


class Examiner:
    """Looks at hosts in the light of some findings.

    Args:
        findings: what the DNS said.
        settings: limits, and networks to take for public.
    """

    __slots__ = ("_findings", "_public", "_settings")

    def __init__(self, findings: Findings, settings: RoutingSettings) -> None:
        self._findings = findings
        self._settings = settings
        self._public = [addresses.network_from_text(text) for text in settings.public_networks]

    def exchanger(self, name: bytes, preference: int) -> Exchanger:
        """A host by its name, with its addresses and what is wrong with it."""
        fault = _fault_of_name(name)
        answers = self._findings.hosts.get(name)
        if fault is not None or answers is None:
            status, why = fault or (
                ExchangerStatus.UNKNOWN,
                note("address-unknown", f"{display(name)} was not asked for"),
            )
            return Exchanger(name, preference, status, notes=(why,))
        notes = _notes_on_name(name)
        aliases = tuple(wirename.fold(alias) for alias in max((answers.a.chain, answers.aaaa.chain), key=len))
        if aliases:
            # RFC 2181 section 10.3 forbids it; RFC 5321 section 5.1 leaves it to senders, and nearly all follow.
            through = " → ".join(display(alias) for alias in aliases)
            text = f"{display(name)} is an alias of {through}; an MX must name the host itself"
            notes.append(note("exchanger-is-alias", text))
        found: tuple[Address, ...] = ()
        if len(aliases) > self._settings.cname_limit:
            text = f"the chain of CNAMEs from {display(name)} is longer than {self._settings.cname_limit}"
            notes.append(note("alias-chain", text))
            status = ExchangerStatus.UNKNOWN
        else:
            found = self._addresses(name, notes)
            status = _status(display(name), answers, found, notes)
        return Exchanger(
            name=name,
            preference=preference,
            status=status,
            addresses=found,
            provider=provider_of((name, *aliases)),
            aliases=aliases,
            notes=tuple(notes),
        )

    def literal(self, address: bytes) -> Exchanger:
        """The host that an address literal means (RFC 5321 section 4.1.3)."""
        found = self._classified(address)
        if found.problem:
            notes = (_not_public([found]),)
            return Exchanger(wirename.ROOT, 0, ExchangerStatus.NOT_PUBLIC, addresses=(found,), notes=notes)
        return Exchanger(wirename.ROOT, 0, ExchangerStatus.USABLE, addresses=(found,))

    def _classified(self, address: bytes) -> Address:
        return Address(address, addresses.special_purpose(address, self._public))

    def _addresses(self, name: bytes, notes: list[Note]) -> tuple[Address, ...]:
        """The addresses found for a host; where they are too many, those that can be reached first."""
        found = [self._classified(address) for address in self._findings.addresses_of(name)]
        limit = self._settings.address_limit
        if len(found) > limit:
            text = f"{display(name)} has {len(found)} addresses; {limit} are looked at"
            notes.append(note("too-many-addresses", text))
            found = sorted(found, key=lambda address: bool(address.problem))[:limit]
        return tuple(found)


def _fault_of_name(name: bytes) -> tuple[ExchangerStatus, Note] | None:
    """What makes a name one that no host can have; None where it may have one."""
    shown = display(name)
    if name == wirename.ROOT:
        return ExchangerStatus.NOT_A_NAME, note("exchanger-is-root", "the root is no host")
    if is_localhost(name):
        text = f"{shown} is each sender's own machine; no mail gets out of it"
        return ExchangerStatus.LOCALHOST, note("exchanger-is-localhost", text)
    if is_address(name):
        text = f"{shown} is an address where a host's name must stand; not all senders connect to it"
        return ExchangerStatus.NOT_A_NAME, note("exchanger-is-address", text)
    return None


def _notes_on_name(name: bytes) -> list[Note]:
    shown = display(name)
    parts = wirename.labels(name)
    if len(parts) == 1:
        return [note("exchanger-is-dotless", f"{shown} is a name of one label; a dot or a domain may be missing")]
    if not all(part.replace(b"-", b"").isalnum() and part.isascii() for part in parts):
        return [note("exchanger-not-a-hostname", f"{shown} has other characters than letters, digits and hyphens")]
    return []


def _status(shown: str, answers: HostAnswers, found: Sequence[Address], notes: list[Note]) -> ExchangerStatus:
    """What a host with these addresses is good for; the reasons are added to the notes."""
    unanswered = [answer for answer in answers if answer.status is Status.FAILURE]
    if not found:
        return _without_address(shown, answers, unanswered, notes)
    for answer in unanswered:
        family = "IPv4" if answer is answers.a else "IPv6"
        text = f"whether {shown} has {family} addresses too cannot be looked up now: {answer.reason}"
        notes.append(note("family-unknown", text))
    if any(address.problem for address in found):
        notes.append(_not_public(found))
    if all(address.problem for address in found):
        # The addresses that are not known may be public ones.
        return ExchangerStatus.UNKNOWN if unanswered else ExchangerStatus.NOT_PUBLIC
    return ExchangerStatus.USABLE


def _without_address(
    shown: str, answers: HostAnswers, unanswered: Sequence[Answer], notes: list[Note]
) -> ExchangerStatus:
    if unanswered:
        # Nobody said that there is none: the exchanger keeps its place (RFC 5321 section 5.1).
        text = f"the address of {shown} is unknown for now: {unanswered[0].reason}"
        notes.append(note("address-unknown", text))
        return ExchangerStatus.UNKNOWN
    if any(answer.status is Status.NXDOMAIN for answer in answers):
        notes.append(note("no-such-name", f"{shown} does not exist"))
        return ExchangerStatus.NO_SUCH_NAME
    notes.append(note("no-address", f"{shown} has no address"))
    return ExchangerStatus.NO_ADDRESS


def _not_public(found: Iterable[Address]) -> Note:
    reserved = ", ".join(f"{address.text} ({address.problem})" for address in found if address.problem)
    return note("not-public", f"no mail from the Internet gets to {reserved}")
