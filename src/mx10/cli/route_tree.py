"""A route drawn as a tree for people. Everything it says is in the ``Route``; here are only words and colours."""

from typing import TYPE_CHECKING, Final

from mx10.cli.text import Branch, Style, pad, plain, tree, width
from mx10.dns import wirename
from mx10.dns.rrtypes import type_to_text
from mx10.names import display
from mx10.resolver.answer import Answer
from mx10.routing.notes import Note
from mx10.routing.values import Exchanger, ExchangerStatus, Group, Kind, Result, Route

if TYPE_CHECKING:
    from mx10.routing.whatif import AllDown, Failure

_SHORT: Final = {
    ExchangerStatus.UNKNOWN: "address unknown for now",
    ExchangerStatus.NO_ADDRESS: "no address",
    ExchangerStatus.NO_SUCH_NAME: "no such name",
    ExchangerStatus.NOT_A_NAME: "not a host's name",
    ExchangerStatus.LOCALHOST: "localhost",
    ExchangerStatus.NOT_PUBLIC: "not reachable",
    ExchangerStatus.ELIMINATED: "not for this host",
    ExchangerStatus.DOWN: "down",
}
_SAID: Final = frozenset({"down", "no-address", "no-such-name", "not-better-than-this-host"})
"""Notes that only repeat the words above."""


def route_tree(route: Route, all_down: "AllDown | None", style: Style, *, questions: bool = False) -> str:
    """A tree of some lines, no line feed at the end.

    Args:
        all_down: what stops all mail, where that was asked for.
        questions: list the questions asked, and who answered.
    """
    root = Branch(_title(route, style))
    for note in route.notes:
        root.add(_note(note, style))
    columns = max((width(_name(one)) for one in route.exchangers()), default=0)
    for group in route.groups:
        branch = root.add(_group_title(group, route, style))
        for one in group.exchangers:
            leaf = branch.add(_exchanger(one, columns, bool(route.down), style))
            for note in one.notes:
                if note.code not in _SAID:
                    leaf.add(_note(note, style))
    if route.result is not Result.ROUTABLE:
        root.add(_refusal(route, style))
    elif route.if_all_fail is not None:
        root.add(style.paint(f"if all fail: {route.if_all_fail.reason} ({route.if_all_fail.code})", "dim"))
    if all_down is not None:
        _add_all_down(root, all_down, style)
    if questions:
        branch = root.add(style.paint("questions asked", "bold"))
        for answer in route.evidence:
            branch.add(_question(answer))
    return tree(root)


def _title(route: Route, style: Style) -> str:
    destination = route.destination
    title = style.paint(plain(destination.text), "bold")
    if destination.domain is not None and destination.text.casefold().rstrip(".") != display(destination.domain):
        title += f" → {plain(display(destination.domain))}"
    if route.provider is not None:
        title += f"  {style.paint(route.provider, 'cyan')}"
    if route.this_host:
        title += f"\nas {', '.join(route.this_host)}"
    if route.down:
        title += f"\nsupposed down: {', '.join(route.down)}"
    return title


def _group_title(group: Group, route: Route, style: Style) -> str:
    if route.kind is Kind.ADDRESS_LITERAL:
        return "address literal"
    title = f"preference {group.preference}"
    if route.kind is Kind.IMPLICIT_MX:
        title = "the domain itself (no MX)"
    if group.share > 0:
        return style.paint(f"{title}: gets the mail" + (", drawn evenly" if _drawn(group) else ""), "bold")
    if not any(one.status is ExchangerStatus.USABLE for one in group.exchangers):
        return f"{title}: gets none"
    return f"{title}: when all above fail"


def _drawn(group: Group) -> bool:
    return sum(one.share > 0 for one in group.exchangers) > 1


def _exchanger(one: Exchanger, columns: int, supposed: bool, style: Style) -> str:
    share = pad(percent(one.share), 5, right=True)
    if one.share > 0:
        share = style.paint(share, "green", "bold")
    if supposed and one.share != one.share_normally:
        share += style.paint(f" (else {percent(one.share_normally)})", "yellow")
    parts = [pad(_name(one), columns), share]
    listed = ", ".join(
        style.paint(address.text, "dim") if address.problem else address.text for address in one.addresses
    )
    if listed:
        parts.append(listed)
    if one.status in _SHORT:
        parts.append(style.paint(_SHORT[one.status], "red"))
    return "  ".join(parts)


def _name(one: Exchanger) -> str:
    return plain(display(one.name)) if one.name != wirename.ROOT else "the host"


def _refusal(route: Route, style: Style) -> str:
    verdict = route.verdict
    word, look = ("returned", "red") if verdict.result is Result.PERMANENT else ("waits", "yellow")
    codes = style.paint(f"{word}: {verdict.reply} {verdict.code}", look, "bold")
    return f"{codes}  {plain(verdict.reason)}  {style.paint(f'[{verdict.source}]', 'dim')}"


def _note(note: Note, style: Style) -> str:
    text = plain(note.text)
    if note.severity == "warning":
        text = style.paint("warning: ", "yellow") + text
    return text + (style.paint(f"  [{note.source}]", "dim") if note.source else "")


def _question(answer: Answer) -> str:
    """One question: what was said, by whom, and for how long it holds."""
    parts = [f"{plain(display(answer.name))} {type_to_text(answer.rrtype)}: {answer.reason or answer.status}"]
    if answer.server is not None and answer.server not in answer.reason:
        parts.append(f"from {answer.server}")
    parts.append(f"{answer.elapsed * 1000:.0f} ms" if answer.elapsed else "remembered")
    if answer.ttl:
        parts.append(f"holds {answer.ttl} s")
    if answer.authenticated:
        parts.append("secure (DNSSEC)")
    return ", ".join(parts)


def percent(share: float) -> str:
    """``50%``, ``33.3%``."""
    return f"{share * 100:.1f}".removesuffix(".0") + "%"


def _add_all_down(root: Branch, found: "AllDown", style: Style) -> None:
    if not found.combinations:
        root.add("what stops all mail: there is none to stop")
        return
    branch = root.add(style.paint("what stops all mail, the fewest failures first", "bold"))
    for combination in found.combinations:
        count = "1 failure" if len(combination) == 1 else f"{len(combination)} failures"
        branch.add(f"{count}: " + " + ".join(map(_cause, combination)))
    if found.truncated:
        branch.add("there are more; these are the first")


def _cause(failure: "Failure") -> str:
    word = "" if failure.cause == "host" else f"{failure.cause} "
    return word + plain(failure.name)
