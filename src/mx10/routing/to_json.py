"""A route as JSON: the form other programs read. ``docs/route.md`` describes every key; none of them may change its
meaning.

Names are written in ASCII (A-labels) without the final dot; ``unicode`` beside them is for people. Shares run from 0 to
1.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from mx10.dns import rrtypes, wirename
from mx10.names import ascii_text, display
from mx10.resolver.answer import Answer
from mx10.routing.addresses import to_text
from mx10.routing.notes import Note
from mx10.routing.values import Address, Exchanger, Route, Verdict

if TYPE_CHECKING:
    from mx10.routing.whatif import AllDown

Json = dict[str, Any]


def to_json(route: Route, all_down: "AllDown | None" = None) -> Json:
    """One object for one destination; ``all_down`` adds the key of that name."""
    destination = route.destination
    shown: Json = {
        "destination": destination.text,
        "domain": None if destination.domain is None else ascii_text(destination.domain),
        "unicode": None if destination.domain is None else display(destination.domain),
        "literal": None if destination.literal is None else to_text(destination.literal),
        "kind": str(route.kind),
        **_verdict(route.verdict),
        "provider": route.provider,
        "aliases": _names(route.aliases),
        "groups": [
            {
                "preference": group.preference,
                "share": _share(group.share),
                "exchangers": [_exchanger(one) for one in group.exchangers],
            }
            for group in route.groups
        ],
        "if_all_fail": None if route.if_all_fail is None else _verdict(route.if_all_fail),
        "as": list(route.this_host),
        "down": list(route.down),
        "notes": _notes(route.notes),
        "questions": [_question(answer) for answer in route.evidence],
    }
    if all_down is not None:
        shown["all_down"] = _all_down(all_down)
    return shown


def _verdict(verdict: Verdict) -> Json:
    return {
        "result": str(verdict.result),
        "reply": verdict.reply,
        "code": verdict.code,
        "reason": verdict.reason,
        "source": verdict.source,
    }


def _exchanger(one: Exchanger) -> Json:
    return {
        "name": None if one.name == wirename.ROOT else ascii_text(one.name),
        "unicode": None if one.name == wirename.ROOT else display(one.name),
        "preference": one.preference,
        "status": str(one.status),
        "share": _share(one.share),
        "share_normally": _share(one.share_normally),
        "provider": one.provider,
        "aliases": _names(one.aliases),
        "addresses": [_address(address) for address in one.addresses],
        "notes": _notes(one.notes),
    }


def _address(address: Address) -> Json:
    return {"address": address.text, "family": address.family, "problem": address.problem or None}


def _notes(notes: Iterable[Note]) -> list[Json]:
    return [
        {"code": one.code, "severity": one.severity, "text": one.text, "source": one.source or None} for one in notes
    ]


def _question(answer: Answer) -> Json:
    return {
        "name": ascii_text(answer.name),
        "type": rrtypes.type_to_text(answer.rrtype),
        "status": str(answer.status),
        "ttl": answer.ttl,
        "server": answer.server,
        "authenticated": answer.authenticated,
        "reason": answer.reason or None,
        "elapsed_ms": round(answer.elapsed * 1000, 1),
    }


def _all_down(found: "AllDown") -> Json:
    return {
        "combinations": [
            [
                {"cause": str(failure.cause), "name": failure.name, "exchangers": _names(failure.exchangers)}
                for failure in combination
            ]
            for combination in found.combinations
        ],
        "truncated": found.truncated,
    }


def _names(names: Iterable[bytes]) -> list[str]:
    return [ascii_text(name) for name in names]


def _share(share: float) -> float:
    """Rounded to millionths, so that a third is no row of digits."""
    return round(share, 6)
