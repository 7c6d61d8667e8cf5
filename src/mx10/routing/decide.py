"""From what the DNS said to a route: one pure function, ``decide``. No question, no clock and no chance but what comes
in as an argument.

The rules are those of RFC 5321 section 5.1; each is cited where it is obeyed, and each has a test named by its section.
The steps: which hosts does the domain name (``_named``), what are they worth (``_examined``), which may this host not
use (``_without_this_host``), which are down (``_with_down``), who gets what (``_shared``), and what does it come to
(``_verdict``). Numbers are never tested for truth: preference 0 is a preference like any other.
"""

from collections import Counter
from collections.abc import Iterable, MutableSequence, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any, Final, Protocol

from mx10.config.settings import RoutingSettings
from mx10.dns import wirename
from mx10.names import display
from mx10.resolver.answer import Answer, Status
from mx10.routing import addresses
from mx10.routing.addresses import Network
from mx10.routing.findings import (
    Findings,
    HostAnswers,
    considered,
    has_addresses_to_ask,
    is_address,
    is_localhost,
    listed,
    target,
)
from mx10.routing.hosts import NOBODY, Hosts
from mx10.routing.notes import Note, note
from mx10.routing.providers import provider_of
from mx10.routing.values import Address, Exchanger, ExchangerStatus, Group, Kind, Result, Route, Verdict


class Chance(Protocol):
    """What shuffles: ``random.Random`` does."""

    def shuffle(self, x: MutableSequence[Any], /) -> None: ...


WAITS: Final = Verdict(
    Result.TEMPORARY,
    451,
    "4.4.1",
    "mail waits in the senders' queues, which try again for 4 to 5 days and then return it",
    "RFC 5321 section 4.5.4.1",
)
"""What becomes of mail while no exchanger takes it."""

DEFAULTS: Final = RoutingSettings()


def decide(
    findings: Findings,
    *,
    settings: RoutingSettings = DEFAULTS,
    this_host: Hosts = NOBODY,
    down: Hosts = NOBODY,
    chance: Chance | None = None,
) -> Route:
    """The route that follows from the findings.

    Args:
        findings: what the DNS said; see ``gather``.
        settings: limits, and networks to take for public.
        this_host: the host that sends; it and every exchanger not better than it are left out (RFC 5321 section 5.1).
        down: hosts, addresses and networks to suppose out of order.
        chance: shuffles the exchangers of one preference, as every sender must (RFC 5321 section 5.1); None leaves them
            sorted by name, for people and comparisons.
    """
    notes: list[Note] = []
    kind, exchangers, verdict = _named(findings, settings, notes)
    this_host = this_host.also_at(_addresses_of(this_host, findings))
    down = down.also_at(_addresses_of(down, findings))
    exchangers = _without_this_host(exchangers, this_host, notes)
    normal_shares = _shares(exchangers)
    exchangers = _with_down(exchangers, down, notes)
    exchangers = _shared(exchangers, normal_shares)
    if verdict is None:
        verdict = _verdict(exchangers)
    notes += _common_notes(exchangers)
    return Route(
        destination=findings.destination,
        kind=kind,
        verdict=verdict,
        if_all_fail=WAITS if verdict.result is Result.ROUTABLE else None,
        groups=_grouped(exchangers, chance),
        aliases=tuple(map(wirename.fold, findings.mx.chain)) if findings.mx is not None else (),
        provider=_provider(exchangers),
        notes=tuple(notes),
        evidence=tuple(findings.answers()),
        this_host=this_host.texts,
        down=down.texts,
    )


# ---------------------------------------------------------------- which hosts

Named = tuple[Kind, list[Exchanger], Verdict | None]
"""How the hosts were found, the hosts, and the verdict where there is nothing more to weigh."""


def _named(findings: Findings, settings: RoutingSettings, notes: list[Note]) -> Named:
    """The hosts a destination names, before anybody asks what they are worth."""
    destination, mx = findings.destination, findings.mx
    public = _public(settings)
    if destination.literal is not None:
        # RFC 5321 section 4.1.3: the literal stands for the host itself; there is nothing to look up.
        return Kind.ADDRESS_LITERAL, [_literal(destination.literal, public)], None
    if mx is None or destination.domain is None:
        raise ValueError("findings about a domain hold the answer about its MX records")
    domain = display(destination.domain)
    if len(wirename.labels(destination.domain)) == 1:
        notes.append(note("dotless-domain", f"{domain} is a name of one label; many senders refuse or complete it"))
    if mx.chain:
        through = " → ".join(display(name) for name in mx.chain)
        notes.append(note("domain-is-alias", f"{domain} is an alias; mail goes where {through} says"))
    if len(mx.chain) > settings.cname_limit:
        notes.append(note("alias-chain", f"more than {settings.cname_limit} CNAMEs follow one another from {domain}"))
        return Kind.NONE, [], _unknown(f"the chain of CNAMEs from {domain} is longer than {settings.cname_limit}")
    if mx.status is Status.FAILURE:
        # RFC 5321 section 5.1: a temporary error leads to a retry. That there is no MX would be a guess.
        return Kind.NONE, [], _unknown(f"the MX records of {domain} cannot be looked up now: {mx.reason}")
    if mx.status is Status.NXDOMAIN:
        what = f"{display(target(mx))}, for which {domain} stands," if mx.chain else domain
        reason = f"{what} does not exist"
        return Kind.NONE, [], Verdict(Result.PERMANENT, 550, "5.1.2", reason, "RFC 5321 section 5.1")
    if mx.status is Status.NODATA:
        return _implicit(findings, mx, public, settings, notes)
    return _published(findings, mx, public, settings, notes)


def _published(
    findings: Findings, mx: Answer, public: Sequence[Network], settings: RoutingSettings, notes: list[Note]
) -> Named:
    """The hosts in the domain's MX records."""
    everyone = listed(mx)
    null = [one for one in everyone if one.name == wirename.ROOT]
    if not everyone:
        return Kind.NONE, [], _unknown("the answer about the MX records holds none that can be read")
    if len(null) == len(everyone):
        # RFC 7505 section 3; the codes are those of section 4.
        if any(one.preference != 0 for one in null):
            notes.append(note("null-mx-preference", "a null MX has preference 0"))
        reason = "the domain takes no mail (null MX)"
        return Kind.NULL_MX, [], Verdict(Result.PERMANENT, 556, "5.1.10", reason, "RFC 7505 section 4")
    if null:
        notes.append(
            note(
                "null-mx-not-alone",
                "a null MX stands beside others; here those count, but some senders return the mail",
            )
        )
    chosen = considered(mx, settings.exchanger_limit)
    for name, count in Counter(one.name for one in everyone if one.name != wirename.ROOT).items():
        if count > 1:
            kept = min(one.preference for one in everyone if one.name == name)
            text = f"{display(name)} is listed {count} times; its best preference, {kept}, counts"
            notes.append(note("duplicate-exchanger", text))
    total = len({one.name for one in everyone if one.name != wirename.ROOT})
    if total > len(chosen):
        notes.append(
            note("too-many-exchangers", f"{total} exchangers are listed; the best {len(chosen)} are looked at")
        )
    exchangers = [
        _examined(one.name, one.preference, findings.hosts.get(one.name), findings, public, settings) for one in chosen
    ]
    return Kind.MX, exchangers, None


def _implicit(
    findings: Findings, mx: Answer, public: Sequence[Network], settings: RoutingSettings, notes: list[Note]
) -> Named:
    """The domain as its own exchanger, with preference 0: only where there is no MX and an address (RFC 5321 section
    5.1)."""
    name = target(mx)
    host = _examined(name, 0, findings.hosts.get(name), findings, public, settings)
    if host.status is ExchangerStatus.UNKNOWN:
        return Kind.NONE, [], _unknown(f"{display(name)} has no MX, and {host.notes[-1].text}")
    if not host.addresses:
        reason = f"{display(name)} exists, but has neither MX nor address"
        return Kind.NONE, [], Verdict(Result.PERMANENT, 550, "5.4.4", reason, "RFC 5321 section 5.1")
    notes.append(note("implicit-mx", f"{display(name)} has no MX; it takes its mail itself"))
    return Kind.IMPLICIT_MX, [host], None


def _literal(address: bytes, public: Sequence[Network]) -> Exchanger:
    problem = addresses.special_purpose(address, public)
    return Exchanger(
        name=wirename.ROOT,
        preference=0,
        status=ExchangerStatus.NOT_PUBLIC if problem else ExchangerStatus.USABLE,
        addresses=(Address(address, problem),),
        notes=(_not_public([Address(address, problem)]),) if problem else (),
    )


# ---------------------------------------------------------------- what one host is worth


def _examined(
    name: bytes,
    preference: int,
    answers: HostAnswers | None,
    findings: Findings,
    public: Sequence[Network],
    settings: RoutingSettings,
) -> Exchanger:
    """An exchanger with its addresses, and what is wrong with it."""
    status, notes, found, aliases = _addresses_or_fault(name, answers, findings, public, settings)
    return Exchanger(
        name=name,
        preference=preference,
        status=status,
        addresses=tuple(found),
        provider=provider_of((name, *aliases)),
        aliases=aliases,
        notes=tuple(notes),
    )


def _addresses_or_fault(
    name: bytes, answers: HostAnswers | None, findings: Findings, public: Sequence[Network], settings: RoutingSettings
) -> tuple[ExchangerStatus, list[Note], list[Address], tuple[bytes, ...]]:
    shown = display(name)
    if is_localhost(name):
        text = f"{shown} is each sender's own machine; no mail gets out of it"
        return ExchangerStatus.LOCALHOST, [note("exchanger-is-localhost", text)], [], ()
    if is_address(name):
        text = f"{shown} is an address where a host's name must stand; not all senders connect to it"
        return ExchangerStatus.NOT_A_NAME, [note("exchanger-is-address", text)], [], ()
    if not has_addresses_to_ask(name) or answers is None:
        return ExchangerStatus.NOT_A_NAME, [note("exchanger-is-root", "the root is no host")], [], ()
    notes = _name_notes(name)
    aliases = tuple(wirename.fold(alias) for alias in max((answers.a.chain, answers.aaaa.chain), key=len))
    if aliases:
        # RFC 2181 section 10.3 forbids it; RFC 5321 section 5.1 leaves it to senders, and nearly all follow.
        through = " → ".join(display(alias) for alias in aliases)
        notes.append(note("exchanger-is-alias", f"{shown} is an alias of {through}; an MX must name the host itself"))
    if len(aliases) > settings.cname_limit:
        notes.append(note("alias-chain", f"the chain of CNAMEs from {shown} is longer than {settings.cname_limit}"))
        return ExchangerStatus.UNKNOWN, notes, [], aliases
    packed = findings.addresses_of(name)
    if len(packed) > settings.address_limit:
        text = f"{shown} has {len(packed)} addresses; {settings.address_limit} are tried"
        notes.append(note("too-many-addresses", text))
    found = [Address(one, addresses.special_purpose(one, public)) for one in packed[: settings.address_limit]]
    unanswered = [answer for answer in answers if answer.status is Status.FAILURE]
    if not found:
        return _without_address(shown, answers, unanswered, notes), notes, [], aliases
    for answer in unanswered:
        family = "IPv4" if answer is answers.a else "IPv6"
        text = f"whether {shown} has {family} addresses too cannot be looked up now: {answer.reason}"
        notes.append(note("family-unknown", text))
    if any(address.problem for address in found):
        notes.append(_not_public(found))
    if all(address.problem for address in found):
        # The addresses that are not known may be public ones.
        return ExchangerStatus.UNKNOWN if unanswered else ExchangerStatus.NOT_PUBLIC, notes, found, aliases
    return ExchangerStatus.USABLE, notes, found, aliases


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


def _name_notes(name: bytes) -> list[Note]:
    shown = display(name)
    parts = wirename.labels(name)
    if len(parts) == 1:
        return [note("exchanger-is-dotless", f"{shown} is a name of one label; a dot or a domain may be missing")]
    if not all(part.replace(b"-", b"").isalnum() and part.isascii() for part in parts):
        return [note("exchanger-not-a-hostname", f"{shown} has other characters than letters, digits and hyphens")]
    return []


def _not_public(found: Iterable[Address]) -> Note:
    reserved = ", ".join(f"{address.text} ({address.problem})" for address in found if address.problem)
    return note("not-public", f"no mail from the Internet gets to {reserved}")


# ---------------------------------------------------------------- which are not for this host, which are down


def _without_this_host(exchangers: list[Exchanger], this_host: Hosts, notes: list[Note]) -> list[Exchanger]:
    """RFC 5321 section 5.1: a relay that finds itself among the exchangers leaves out itself and all that are not
    better.

    Whether the better ones can be reached today does not matter: sending mail to an equal or worse one could only bring
    it back.
    """
    if not this_host:
        return exchangers
    mine = [one for one in exchangers if _is_among(one, this_host)]
    if not mine:
        notes.append(note("this-host-not-an-exchanger", f"{_listing(this_host)} is none of the exchangers"))
        return exchangers
    best = min(one.preference for one in mine)
    kept: list[Exchanger] = []
    for one in exchangers:
        if one.preference < best:
            kept.append(one)
            continue
        if one in mine:
            why = note("this-host", f"{_shown(one)} is this host")
        else:
            why = note(
                "not-better-than-this-host", f"preference {one.preference} is not better than this host's, {best}"
            )
        kept.append(replace(one, status=ExchangerStatus.ELIMINATED, notes=(*one.notes, why)))
    return kept


def _is_among(one: Exchanger, hosts: Hosts) -> bool:
    return hosts.named((one.name, *one.aliases)) or any(hosts.at(address.packed) for address in one.addresses)


def _with_down(exchangers: list[Exchanger], down: Hosts, notes: list[Note]) -> list[Exchanger]:
    """The exchangers when the hosts of ``down`` do not answer.

    A host falls with all its addresses, and an address with every exchanger that has it. An exchanger of which one
    address is left keeps its mail: senders try them all.
    """
    if not down:
        return exchangers
    # A host that is down takes its addresses with it, whichever other exchanger has them too.
    down = down.also_at(
        address.packed for one in exchangers if down.named((one.name, *one.aliases)) for address in one.addresses
    )
    if not any(_is_among(one, down) for one in exchangers):
        notes.append(note("down-not-an-exchanger", f"{_listing(down)}: none of the exchangers, so nothing changes"))
    return [_fallen(one, down) for one in exchangers]


def _fallen(one: Exchanger, down: Hosts) -> Exchanger:
    named = down.named((one.name, *one.aliases))
    if one.status is ExchangerStatus.UNKNOWN and named:
        return replace(one, status=ExchangerStatus.DOWN, notes=(*one.notes, note("down", f"{_shown(one)} is down")))
    if one.status is not ExchangerStatus.USABLE:
        return one
    after = tuple(
        replace(address, problem="down") if not address.problem and (named or down.at(address.packed)) else address
        for address in one.addresses
    )
    if after == one.addresses:
        return one
    if all(address.problem for address in after):
        why = note("down", f"{_shown(one)} is down")
        return replace(one, status=ExchangerStatus.DOWN, addresses=after, notes=(*one.notes, why))
    left = ", ".join(address.text for address in after if not address.problem)
    why = note("down-in-part", f"{_shown(one)} still answers at {left} and keeps its share")
    return replace(one, addresses=after, notes=(*one.notes, why))


def _addresses_of(hosts: Hosts, findings: Findings) -> list[bytes]:
    return [address for name in sorted(hosts.names) for address in findings.addresses_of(name)]


# ---------------------------------------------------------------- who gets what


def _shares(exchangers: Sequence[Exchanger]) -> list[float]:
    """Each exchanger's part of the mail: senders pick evenly among the usable ones of the best preference that has any.

    An exchanger that cannot be used costs a sender one attempt; the next is as likely any of its equals. So its part
    falls evenly to those, and when none is left, to the next preference.
    """
    usable = [one.preference for one in exchangers if one.status is ExchangerStatus.USABLE]
    if not usable:
        return [0.0] * len(exchangers)
    best = min(usable)
    part = 1 / usable.count(best)
    return [part if one.status is ExchangerStatus.USABLE and one.preference == best else 0.0 for one in exchangers]


def _shared(exchangers: list[Exchanger], normally: Sequence[float]) -> list[Exchanger]:
    return [
        replace(one, share=share, share_normally=normal)
        for one, share, normal in zip(exchangers, _shares(exchangers), normally, strict=True)
    ]


def _grouped(exchangers: Sequence[Exchanger], chance: Chance | None) -> tuple[Group, ...]:
    """RFC 5321 section 5.1: the lowest number first, and equal ones in an order drawn anew by every sender."""
    groups = []
    for preference, members in groupby(exchangers, key=lambda one: one.preference):
        drawn = list(members)
        if chance is not None:
            chance.shuffle(drawn)
        groups.append(Group(preference, tuple(drawn)))
    return tuple(groups)


# ---------------------------------------------------------------- what it comes to


def _verdict(exchangers: Sequence[Exchanger]) -> Verdict:
    """Routable, for ever impossible, or not now; the more hopeful where both are so."""
    statuses = {one.status for one in exchangers}
    usable = sum(one.status is ExchangerStatus.USABLE for one in exchangers)
    if usable:
        hosts = "1 host" if usable == 1 else f"{usable} hosts"
        return Verdict(Result.ROUTABLE, None, None, f"{hosts} to try", "RFC 5321 section 5.1")
    if ExchangerStatus.UNKNOWN in statuses:
        return _unknown("of no exchanger that could be used is the address known now")
    if ExchangerStatus.DOWN in statuses:
        return replace(WAITS, reason=f"every exchanger is down; {WAITS.reason}")
    if ExchangerStatus.ELIMINATED in statuses:
        if all(one.status is ExchangerStatus.ELIMINATED for one in exchangers):
            reason = "mail for the domain loops back to this host: no exchanger is better than it"
            return Verdict(Result.PERMANENT, 554, "5.4.6", reason, "RFC 5321 section 5.1")
        reason = "no exchanger that is better than this host can be used"
        return Verdict(Result.PERMANENT, 550, "5.4.4", reason, "RFC 5321 section 5.1")
    # RFC 5321 section 5.1: MX records none of which is usable MUST be reported as an error; the domain's own address
    # does not help then.
    return Verdict(Result.PERMANENT, 550, "5.4.4", "no exchanger can be used", "RFC 5321 section 5.1")


def _unknown(reason: str) -> Verdict:
    return Verdict(Result.TEMPORARY, 451, "4.4.3", reason, "RFC 5321 section 5.1")


def _common_notes(exchangers: Sequence[Exchanger]) -> list[Note]:
    """What can only be seen when all exchangers are looked at together."""
    notes = []
    holders: dict[bytes, list[str]] = {}
    for one in exchangers:
        for address in one.addresses:
            holders.setdefault(address.packed, []).append(display(one.name))
    for packed, names in holders.items():
        if len(names) > 1:
            text = f"{' and '.join(names)} share {addresses.to_text(packed)}: they fail together"
            notes.append(note("shared-address", text))
    tried = [address for one in exchangers for address in one.usable]
    certain = not any(each.code == "family-unknown" for one in exchangers for each in one.notes)
    if tried and certain and all(address.family == 6 for address in tried):
        notes.append(note("no-ipv4", "there are only IPv6 addresses; senders without IPv6 cannot deliver"))
    return notes


def _provider(exchangers: Sequence[Exchanger]) -> str | None:
    """Who runs the exchangers that get the mail; where nobody is recognised there, None."""
    getting = [one for one in exchangers if one.share > 0] or exchangers
    return " and ".join(dict.fromkeys(one.provider for one in getting if one.provider is not None)) or None


# ---------------------------------------------------------------- words


def _shown(one: Exchanger) -> str:
    """The name of an exchanger for people; that of an address literal is its address."""
    return display(one.name) if one.name != wirename.ROOT else f"[{one.addresses[0].text}]"


def _listing(hosts: Hosts) -> str:
    return ", ".join(hosts.texts)


def _public(settings: RoutingSettings) -> list[Network]:
    return [addresses.network_from_text(text) for text in settings.public_networks]
