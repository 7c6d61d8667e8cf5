"""``mx10 queue explain``: why a message is where it is, in plain words: each attempt, what was said, what is next."""

import argparse
import json
from typing import TYPE_CHECKING, Any, Final

from mx10.cli import ABSENT, NO_ANSWER, OK
from mx10.cli.context import Context
from mx10.cli.queue.choosing import EXIT_CODES, fail, message_id, now, spool
from mx10.cli.queue.list_ import as_json
from mx10.cli.queue.words import ago, clock_time, in_time, size_text, span
from mx10.cli.text import plain

if TYPE_CHECKING:
    from mx10.relay.spool.reading import Attempt, Entry

NOWHERE: Final = "none:"
"""How the key of a next hop begins where it could not be found out."""
SUMMARY = "why a message is where it is: each attempt, what was said, what is next and when"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", type=message_id, help="its name, as `mx10 queue list` shows it")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.epilog = EXIT_CODES


def run(args: argparse.Namespace, context: Context) -> int:
    from mx10.relay.spool.reading import attempts, entries, last_of_domain
    from mx10.relay.spool.selection import Selection
    from mx10.relay.values import name_of
    from mx10.store.errors import StoreError

    try:
        with spool(context) as opened:
            found = list(entries(opened.store, Selection(messages=(args.id,))))
            history = attempts(opened.store, args.id)
            untried = {each.waiting.domain for each in found if not each.waiting.attempts}
            others = {domain: last_of_domain(opened.store, domain) for domain in untried}
    except StoreError as error:
        return fail(error, NO_ANSWER)
    if not found:
        what = f"{name_of(args.id)} does not wait: it was delivered, returned or deleted, as the log tells"
        return fail(LookupError(what), ABSENT)
    if args.json:
        told = [{"recipient": each.number, "at": each.at, **each.outcome} for each in history]
        print(json.dumps({"recipients": [as_json(each) for each in found], "attempts": told}))
        return OK
    moment, first = now(), found[0]
    envelope = first.envelope
    origin = f"from {plain(envelope.client)}" if envelope.client else "made here"
    if envelope.helo:
        origin += f" ({plain(envelope.helo)})"
    if envelope.user:
        origin += f", user {plain(envelope.user)}"
    sender = plain(envelope.reverse_path) if envelope.reverse_path else "nobody (a report)"
    print(f"Message {first.name} of {sender}, {size_text(first.size)}")
    print(f"came {ago(first.arrived_at, moment)} ({clock_time(first.arrived_at)}) {origin}")
    print(f"and is kept until {clock_time(first.expires_at)}.")
    if envelope.requiretls:
        print("Its sender asks for TLS all the way (REQUIRETLS).")
    if envelope.tls_optional:
        print("Its header says TLS-Required: No; TLS is insisted on only where somebody chose that here.")
    by_number: dict[int, list[Attempt]] = {}
    for one in history:
        by_number.setdefault(one.number, []).append(one)
    longest = context.config.relay.probe_longest_seconds * 1000
    for each in found:
        print()
        print(f"To {plain(each.waiting.address)}: {_state(each, moment, longest)}")
        mine = by_number.get(each.waiting.number, [])
        for count, one in enumerate(mine, 1):
            for line in _attempt(count, one.at, one.outcome):
                print(f"  {line}")
        if not mine and each.waiting.state in ("queued", "apart"):
            print(f"  {_untried(others.get(each.waiting.domain, {}))}")
    return OK


def _state(each: "Entry", moment: int, longest: int) -> str:
    """What a recipient waits for. ``longest``: milliseconds between two looks at a next hop that is down."""
    waiting, last = each.waiting, each.last
    if waiting.state == "held":
        return "held, until `mx10 queue release`"
    if waiting.state == "return":
        return "is being returned to its sender"
    apart = "" if waiting.state == "queued" else "nobody could say whether this recipient exists; "
    if last and not last.get("reached"):
        looks = f"the relay looks every {span(longest)} or sooner, and it goes as soon as that helps"
        route = last.get("route", "")
        if not route or route.startswith(NOWHERE):
            return f"{apart}waits until it is known where mail for {plain(waiting.domain)} goes; {looks}"
        return f"{apart}waits for its next hop, {_hop(route)}, which could not be reached; {looks}"
    if waiting.attempts:
        tried = f"tried {waiting.attempts} time{'s' if waiting.attempts > 1 else ''}"
        return f"{apart}{tried}, next {in_time(waiting.due_at, moment)} ({clock_time(waiting.due_at)})"
    return f"{apart}waits for its first attempt"


def _hop(route: str) -> str:
    """The key of a next hop in words: ``mx1.example.org or mx2.example.org, then backup.example.net``."""
    if "://" not in route:
        route = route.replace(",", " or ").replace(";", ", then ")
    return plain(route)[:200]


def _untried(other: dict[str, Any]) -> str:
    if other and not other.get("reached"):
        what = "Where it goes is not known" if other.get("route", "").startswith(NOWHERE) else "Its next hop is down"
        return f"{what}, as other mail found out at {clock_time(other['at'])}: {plain(other['reason'])}."
    return "It was not tried yet: its next hop was not free, or the relay does not run."


def _attempt(count: int, at: int, outcome: dict[str, Any]) -> list[str]:
    from mx10.relay.courier.values import StepKind

    lines = [f"{count}. {clock_time(at)}: {plain(outcome['reason'])}."]
    for step in outcome.get("steps", ()):
        if step["kind"] == StepKind.ENDED or step["text"] == outcome["reason"]:
            continue  # said above
        lines.append(f"     {plain(_step(step))[:300]}")
    route = outcome.get("route", "")
    if route and not route.startswith(NOWHERE) and not outcome.get("steps"):
        lines.append(f"     route: {_hop(route)}")
    if reply := outcome.get("reply"):
        said = " ".join(reply[2])
        lines.append(f"     said: {reply[0]} {reply[1] or ''} {plain(said)}"[:400])
    if outcome.get("next_at"):
        lines.append(f"     so it was put off for {span(outcome['next_at'] - at)}")
    elif not outcome.get("reached"):
        what = "an answer of the DNS" if route.startswith(NOWHERE) else "the host"
        lines.append(f"     so it waits for {what}, and nothing was learned about the recipient")
    return lines


def _step(step: dict[str, Any]) -> str:
    """A step in the words of `mx10 send`."""
    from mx10.relay.courier.values import StepKind

    where = f"{step['host']} [{step['address']}]" if step.get("host") else ""
    match step["kind"]:
        case StepKind.ROUTE:
            return f"route: {step['text']}"
        case StepKind.CONNECTING:
            return f"connecting to {step['text']}"
        case StepKind.CONNECTED:
            return f"ready for mail, {step['text']}"
        case StepKind.TLS:
            return f"TLS: {step['text']}"
        case StepKind.COMMAND:
            return f"  → {step['text']}"
        case StepKind.REPLY:
            return f"  ← {step['text']}"
        case StepKind.FAILED:
            return f"failed: {step['text']}"
        case StepKind.PASSED_OVER:
            return f"{where} passed over: {step['text']}"
        case _:
            return f"{where}: {step['text']}" if where else str(step["text"])
