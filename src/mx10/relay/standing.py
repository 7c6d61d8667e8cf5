"""Where a host stands among the exchangers of a domain: whether it can be its backup, and which record is missing.

Pure: it looks at a route (``routing.route`` with ``this_host``), and asks nobody.
"""

from enum import StrEnum

from mx10.routing import Exchanger, ExchangerStatus, Kind, Result, Route
from mx10.values import value_class

_APART = 10
"""Between two preferences, so that another host fits in later."""
_WORST = 65535


class Place(StrEnum):
    """Where a host stands."""

    BEHIND = "behind"
    """There are better ones: it is a backup."""
    NOT_LISTED = "not-listed"
    FIRST = "first"
    """No other is better: mail would have nowhere to go from it."""
    NO_MAIL = "no-mail"
    """The domain takes no mail, does not exist, or none of its exchangers can be used."""
    UNKNOWN = "unknown"
    """The DNS could not be asked."""


@value_class
class Standing:
    """What a route says.

    Attributes:
        preference: of the host's own MX record; None: it has none.
        primaries: better exchangers, the best first.
        records: to publish, so that the host is a backup; empty: all is there.
        why: in words, where it cannot be one.
    """

    place: Place
    preference: int | None = None
    primaries: tuple[Exchanger, ...] = ()
    records: tuple[str, ...] = ()
    why: str = ""


def standing(route: Route, domain: str, hostname: str) -> Standing:
    """Where a host stands.

    Args:
        route: of the domain, with the host's names as ``this_host``.
        domain, hostname: in A-labels.
    """
    if route.result is Result.TEMPORARY and not any(True for _ in route.exchangers()):
        return Standing(Place.UNKNOWN, why=route.verdict.reason)
    listed = list(route.exchangers())
    ours = [one for one in listed if any(note.code == "this-host" for note in one.notes)]
    others = tuple(one for one in listed if one not in ours)
    if ours:
        preference = min(one.preference for one in ours)
        better = tuple(one for one in others if one.preference < preference)
        if not better:
            return Standing(
                Place.FIRST, preference, (), _behind(others, domain, hostname), _why_first(others, preference)
            )
        return Standing(Place.BEHIND, preference, better)
    if route.kind is Kind.NULL_MX or not listed:
        return Standing(Place.NO_MAIL, why=route.verdict.reason)
    if route.kind is Kind.IMPLICIT_MX:
        # One MX record alone, and the domain's own address would get no mail any more (RFC 5321 section 5.1).
        records = (_record(domain, _APART, listed[0].host), _record(domain, 2 * _APART, hostname))
        return Standing(Place.NOT_LISTED, None, others, records)
    if not any(one.status in (ExchangerStatus.USABLE, ExchangerStatus.UNKNOWN) for one in listed):
        return Standing(Place.NO_MAIL, why=route.verdict.reason)
    return Standing(Place.NOT_LISTED, None, others, _behind(others, domain, hostname))


def _why_first(others: tuple[Exchanger, ...], preference: int) -> str:
    if not others:
        return "it is the only exchanger of the domain; the primary needs an MX record, with a lower preference"
    return f"no exchanger is better than preference {preference}, which it has; give it a higher one than the primary"


def _behind(others: tuple[Exchanger, ...], domain: str, hostname: str) -> tuple[str, ...]:
    if not others:
        return ()
    worst = max(one.preference for one in others)
    return (_record(domain, min(worst + _APART, _WORST), hostname),)


def _record(domain: str, preference: int, host: str) -> str:
    return f"{domain}. MX {preference} {host}."
