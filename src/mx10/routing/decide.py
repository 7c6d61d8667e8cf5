"""From what the DNS said to a route: one pure function, ``decide``. No question, no clock and no chance but what comes
in as an argument.

The rules are those of RFC 5321 section 5.1; each is cited where it is obeyed, and each has a test named by its section.
The steps: which hosts does the domain name (``_named``, and what is each worth: ``examine``), which of them may this
host not use, which are down (``suppose``), who gets how much (``shares``), and what does it come to (``_verdict``).
Numbers are never tested for truth: preference 0 is a preference like any other.
"""

from collections import Counter
from collections.abc import MutableSequence, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any, Final, Protocol

from mx10.config.settings import RoutingSettings
from mx10.dns import wirename
from mx10.names import display
from mx10.resolver.answer import Answer, Status
from mx10.routing import addresses
from mx10.routing.examine import Examiner
from mx10.routing.findings import Findings, considered, listed, target
from mx10.routing.hosts import NOBODY, Hosts
from mx10.routing.notes import Note, note
from mx10.routing.shares import shared, shares
from mx10.routing.suppose import located, with_down, without_this_host
from mx10.routing.values import Exchanger, ExchangerStatus, Group, Kind, Result, Route, Verdict


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
_NOT_KNOWN: Final = frozenset({"address-unknown", "family-unknown", "alias-chain"})
"""Notes that say why an exchanger's status is unknown."""


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
    exchangers = without_this_host(exchangers, located(this_host, findings, notes), notes)
    normally = shares(exchangers)
    exchangers = with_down(exchangers, located(down, findings, notes), notes)
    exchangers = shared(exchangers, normally)
    if verdict is None:
        verdict = _verdict(exchangers, all_looked_at=all(each.code != "too-many-exchangers" for each in notes))
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
    examiner = Examiner(findings, settings)
    if destination.literal is not None:
        # RFC 5321 section 4.1.3: the literal stands for the host itself; there is nothing to look up.
        return Kind.ADDRESS_LITERAL, [examiner.literal(destination.literal)], None
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
        return _implicit(target(mx), examiner, notes)
    return _published(mx, examiner, settings.exchanger_limit, notes)


def _published(mx: Answer, examiner: Examiner, limit: int, notes: list[Note]) -> Named:
    """The hosts in the domain's MX records."""
    everyone = listed(mx)
    if not everyone:
        return Kind.NONE, [], _unknown("the answer about the MX records holds none that can be read")
    times = Counter(one.name for one in everyone)
    if len(everyone) == times[wirename.ROOT]:
        # RFC 7505 section 3; the codes are those of section 4.
        if any(one.preference != 0 for one in everyone):
            notes.append(note("null-mx-preference", "a null MX has preference 0"))
        reason = "the domain takes no mail (null MX)"
        return Kind.NULL_MX, [], Verdict(Result.PERMANENT, 556, "5.1.10", reason, "RFC 7505 section 4")
    if times.pop(wirename.ROOT, 0):
        text = "a null MX stands beside others; here those count, but some senders return the mail"
        notes.append(note("null-mx-not-alone", text))
    chosen = considered(mx, limit)
    for preference, name in chosen:
        if times[name] > 1:
            text = f"{display(name)} is listed {times[name]} times; its best preference, {preference}, counts"
            notes.append(note("duplicate-exchanger", text))
    if len(times) > len(chosen):
        text = f"{len(times)} exchangers are listed; the best {len(chosen)} are looked at"
        notes.append(note("too-many-exchangers", text))
    return Kind.MX, [examiner.exchanger(name, preference) for preference, name in chosen], None


def _implicit(name: bytes, examiner: Examiner, notes: list[Note]) -> Named:
    """The domain as its own exchanger, with preference 0: only where there is no MX, and an address.

    RFC 5321 section 5.1.
    """
    host = examiner.exchanger(name, 0)
    if host.status is ExchangerStatus.UNKNOWN:
        why = next(each.text for each in host.notes if each.code in _NOT_KNOWN)
        return Kind.NONE, [], _unknown(f"{display(name)} has no MX, and {why}")
    if not host.addresses:
        reason = f"{display(name)} exists, but has neither MX nor address"
        return Kind.NONE, [], Verdict(Result.PERMANENT, 550, "5.4.4", reason, "RFC 5321 section 5.1")
    notes.append(note("implicit-mx", f"{display(name)} has no MX; it takes its mail itself"))
    return Kind.IMPLICIT_MX, [host], None


# ---------------------------------------------------------------- what it comes to


def _grouped(exchangers: Sequence[Exchanger], chance: Chance | None) -> tuple[Group, ...]:
    """RFC 5321 section 5.1: the lowest number first, and equal ones in an order drawn anew by every sender."""
    groups = []
    for preference, members in groupby(exchangers, key=lambda one: one.preference):
        drawn = list(members)
        if chance is not None:
            chance.shuffle(drawn)
        groups.append(Group(preference, tuple(drawn)))
    return tuple(groups)


def _verdict(exchangers: Sequence[Exchanger], *, all_looked_at: bool) -> Verdict:
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
        # Those not looked at have no better preference, so they would be left out too.
        if all(one.status is ExchangerStatus.ELIMINATED for one in exchangers):
            reason = "mail for the domain loops back to this host: no exchanger is better than it"
            return Verdict(Result.PERMANENT, 554, "5.4.6", reason, "RFC 5321 section 5.1")
        reason = "no exchanger that is better than this host can be used"
        return Verdict(Result.PERMANENT, 550, "5.4.4", reason, "RFC 5321 section 5.1")
    if not all_looked_at:
        # Nothing is known of the others.
        return _unknown(f"none of the {len(exchangers)} exchangers looked at can be used, and there are more")
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
