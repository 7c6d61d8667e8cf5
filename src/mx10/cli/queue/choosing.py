"""Arguments that say which mail is meant, and how the spool is opened: what all verbs of ``mx10 queue`` share."""

import argparse
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from mx10.cli import ABSENT, NO_ANSWER, OK, USAGE
from mx10.cli.context import Context
from mx10.relay.values import id_of

if TYPE_CHECKING:
    from mx10.relay.spool.opening import Opened
    from mx10.relay.spool.selection import Selection

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_STATES: Final = ("queued", "held", "apart", "return")
EXIT_CODES: Final = "Exit codes: 0 done, 1 there is no such mail, 2 the command is wrong, 3 the spool cannot be opened."


def add_choice(parser: argparse.ArgumentParser, *, everything: bool) -> None:
    """The arguments. ``everything``: a verb that changes something wants ``--all`` where nothing else is said."""
    parser.add_argument("ids", metavar="ID", nargs="*", type=message_id, help="messages by their names")
    parser.add_argument("--domain", metavar="D", help="recipients of a domain; .D: of all below it")
    parser.add_argument("--sender", metavar="A", help="mail of a sender; @D: of a domain; <>: reports")
    parser.add_argument("--recipient", metavar="A", help="mail to an address")
    parser.add_argument("--older-than", metavar="T", type=_seconds, help="that came so long ago: 90s, 30m, 12h, 3d")
    parser.add_argument("--state", choices=_STATES, help="recipients in a state")
    parser.add_argument("--deferred", action="store_true", help="that were tried and wait for the next attempt")
    if everything:
        parser.add_argument("--all", action="store_true", help="all mail")
    parser.add_argument("--json", action="store_true", help="for programs")


def message_id(text: str) -> int:
    try:
        return id_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _seconds(text: str) -> int:
    found = re.fullmatch(r"(\d{1,9})([smhd])", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; write 90s, 30m, 12h or 3d")
    return int(found[1]) * _UNITS[found[2]]


def chosen(args: argparse.Namespace) -> "Selection":
    """Which mail is meant.

    Raises:
        DomainError: a domain cannot be one.
    """
    from mx10.names import ascii_text, domain_from_text
    from mx10.relay.spool.selection import Selection

    domain = args.domain or ""
    if domain:
        dot = "." if domain.startswith(".") else ""
        domain = dot + ascii_text(domain_from_text(domain.removeprefix(".")))
    sender = args.sender
    if sender is not None:
        sender = sender.strip("<>")
    return Selection(
        tuple(args.ids),
        domain,
        sender,
        args.recipient or "",
        (args.state,) if args.state else (),
        None if args.older_than is None else now() - args.older_than * 1000,
        args.deferred,
    )


def now() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


@contextmanager
def spool(context: Context) -> "Iterator[Opened]":
    """The spool of the configuration.

    Raises:
        StoreError: it cannot be opened.
    """
    from mx10.relay.spool.opening import open_spool

    opened = open_spool(context.config)
    try:
        yield opened
    finally:
        opened.store.close()


def fail(error: Exception, code: int = NO_ANSWER) -> int:
    """Say why not."""
    print(f"mx10 queue: {error}", file=sys.stderr)
    return code


def steer(
    args: argparse.Namespace,
    context: Context,
    act: "Callable[[Opened, Selection, int], int]",
    done: str,
) -> int:
    """Do something to the mail that is meant, and say to how much.

    Args:
        done: what was done, as in ``3 recipients held``.
    """
    from mx10.names import DomainError
    from mx10.store.errors import StoreError

    try:
        selection = chosen(args)
    except DomainError as error:
        return fail(error, USAGE)
    if selection.is_everything and not args.all:
        return fail(ValueError("which mail? name messages, or say --domain, --sender, …; --all means all of it"), USAGE)
    try:
        with spool(context) as opened:
            count = act(opened, selection, now())
    except StoreError as error:
        return fail(error)
    if args.json:
        print(json.dumps({"recipients": count, "done": done}))
    else:
        print(f"{count} recipient{'' if count == 1 else 's'} {done}" if count else "there is no such mail")
    return OK if count else ABSENT
