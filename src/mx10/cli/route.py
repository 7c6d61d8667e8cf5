"""``mx10 route``: which hosts get the mail for an address or a domain, in which order, with what share, and why."""

import argparse
import sys
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final, NamedTuple

from mx10.cli import ABSENT, NO_ANSWER, OK, USAGE, UsageError
from mx10.cli.context import Context

if TYPE_CHECKING:
    from mx10.routing.decide import Chance
    from mx10.routing.gather import Questions
    from mx10.routing.hosts import Hosts
    from mx10.routing.values import Destination, Route
    from mx10.routing.whatif import AllDown

SUMMARY = "say which hosts get the mail for an address or a domain, in which order, with what share, and why"

AT_ONCE: Final = 50
"""Destinations under way at one time."""

EPILOG: Final = """\
examples:
  mx10 route ada@example.org
  mx10 route example.org --down mx1.example.org      what if this host fails?
  mx10 route example.org --all-down                  what stops all mail?
  mx10 route example.org --as mx2.example.org        what does this relay do with it?
  mx10 route --json < addresses.txt                  one JSON object a line, in order

exit codes:
  0  every destination has a route
  1  at least one has none, for good: mail for it is returned
  2  the command, or one of the destinations, is wrong
  3  at least one is not known now, or its mail has to wait: try again later
With several destinations the highest of these counts."""


def configure(parser: argparse.ArgumentParser) -> None:
    # argparse puts options first, where --down would take the destinations for hosts.
    parser.usage = (
        "mx10 route [ADDRESS|DOMAIN ...] [--json] [--as HOST]\n"
        "                  [--down HOST|ADDRESS [HOST|ADDRESS ...]] [--all-down] [--draw SEED] [--questions]"
    )
    parser.add_argument(
        "destination",
        nargs="*",
        metavar="ADDRESS|DOMAIN",
        help="user@example.org, example.org or user@[192.0.2.1]; none, or -: lines from standard input",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line for each destination")
    parser.add_argument(
        "--as",
        dest="this_host",
        action="append",
        default=[],
        metavar="HOST",
        help="route as this host does, by name or address: without itself and what is not better; may be repeated",
    )
    parser.add_argument(
        "--down",
        action="extend",
        nargs="+",
        default=[],
        metavar="HOST|ADDRESS",
        help="suppose that these hosts, addresses or networks (192.0.2.0/24) are down",
    )
    parser.add_argument("--all-down", action="store_true", help="list which failures together stop all mail")
    parser.add_argument(
        "--draw",
        type=int,
        metavar="SEED",
        help="put equal exchangers in an order drawn with this number, as each sender draws one; else sorted by name",
    )
    parser.add_argument(
        "--questions", action="store_true", help="list the questions asked too, with what was said and by whom"
    )
    parser.epilog = EPILOG


def run(args: argparse.Namespace, context: Context) -> int:
    import asyncio

    return asyncio.run(_run(args, context))


class _Question(NamedTuple):
    """What is asked about every destination of one command."""

    this_host: "Hosts"
    down: "Hosts"
    all_down: bool
    draw: int | None


class _Result(NamedTuple):
    """A destination as it was given, and its route or what is wrong with it."""

    text: str
    route: "Route | None" = None
    all_down: "AllDown | None" = None
    error: str = ""


async def _run(args: argparse.Namespace, context: Context) -> int:
    from mx10.cli import stream
    from mx10.resolver import Forwarder
    from mx10.routing.gather import Questions
    from mx10.routing.hosts import HostSyntaxError, hosts_from_text

    try:
        question = _Question(hosts_from_text(args.this_host), hosts_from_text(args.down), args.all_down, args.draw)
    except HostSyntaxError as error:
        raise UsageError(f"route: {error}") from None
    texts = _texts(args)
    questions = Questions(Forwarder(context.config.resolver), context.config.routing.questions_at_once)

    async def work(text: str) -> _Result:
        return await _one(text, question, questions, context)

    worst = OK
    first = True
    async for result in stream.in_order(texts, work, AT_ONCE):
        if args.json:
            _print_json(result)
        elif result.route is None:
            print(f"mx10: route: {result.error}", file=sys.stderr)
        else:
            from mx10.cli.route_tree import route_tree

            print(
                ("" if first else "\n")
                + route_tree(result.route, result.all_down, context.style, questions=args.questions)
            )
            first = False
        # Whoever reads through a pipe gets each line when it is known.
        sys.stdout.flush()
        worst = max(worst, _exit_code(result))
    return worst


def _texts(args: argparse.Namespace) -> AsyncIterator[str]:
    """The destinations, from the command line or, line by line, from standard input.

    Raises:
        UsageError: one of those on the command line cannot be, or there is none and nobody to read one from.
    """
    from mx10.cli import stream
    from mx10.routing.destination import destination_from_text

    if args.destination == ["-"] or not (args.destination or args.down or sys.stdin.isatty()):
        return stream.standard_input()
    if not args.destination:
        mend = (
            "put it before --down, or write - to read standard input" if args.down else "as in mx10 route example.org"
        )
        raise UsageError(f"route: an address or a domain is missing; {mend}")
    if "-" in args.destination:
        raise UsageError("route: - stands for standard input; write it alone, or put the others there too")
    for text in args.destination:
        try:
            destination_from_text(text)
        except ValueError as error:
            raise UsageError(f"route: {error}") from None
    return stream.given(args.destination)


async def _one(text: str, question: _Question, questions: "Questions", context: Context) -> _Result:
    from mx10.routing.decide import decide
    from mx10.routing.destination import destination_from_text
    from mx10.routing.gather import gather

    try:
        destination: Destination = destination_from_text(text)
    except ValueError as error:
        return _Result(text, error=str(error))
    settings = context.config.routing
    also = question.this_host.names | question.down.names
    findings = await gather(destination, questions, settings, also)
    route = decide(
        findings, settings=settings, this_host=question.this_host, down=question.down, chance=_chance(question.draw)
    )
    if not question.all_down:
        return _Result(text, route)
    from mx10.routing.whatif import all_down

    return _Result(text, route, all_down(route))


def _chance(seed: int | None) -> "Chance | None":
    if seed is None:
        return None
    from random import Random

    return Random(seed)


def _exit_code(result: _Result) -> int:
    from mx10.routing.values import Result

    if result.route is None:
        return USAGE
    return {Result.ROUTABLE: OK, Result.PERMANENT: ABSENT, Result.TEMPORARY: NO_ANSWER}[result.route.result]


def _print_json(result: _Result) -> None:
    import json

    from mx10.routing.to_json import to_json

    if result.route is None:
        shown = {"destination": result.text, "error": result.error}
    else:
        shown = to_json(result.route, result.all_down)
    print(json.dumps(shown, ensure_ascii=False))
