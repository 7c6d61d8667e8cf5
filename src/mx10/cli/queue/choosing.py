"""Arguments that say which mail is meant, and how the spool is opened: what all verbs of ``mx10 queue`` share."""

import argparse
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from mx10.cli import ABSENT, NO_ANSWER, OK, UsageError
from mx10.cli.context import Context, login
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
        UsageError: a domain or an address cannot be one.
    """
    from mx10.relay.spool.selection import Selection

    # A variable that a script forgot to set must not mean more than it said.
    for option, value in (("--domain", args.domain), ("--sender", args.sender), ("--recipient", args.recipient)):
        if value is not None and not value.strip():
            reports = "; reports, which have no sender, are --sender '<>'" if option == "--sender" else ""
            raise UsageError(f"queue: {option} is empty{reports}")
    sender = args.sender
    if sender is not None:
        at = sender.startswith("@")
        sender = "@" + _domain(sender[1:], "--sender") if at else _address(sender.strip("<>"), "--sender")
    return Selection(
        tuple(args.ids),
        "" if args.domain is None else _domain(args.domain, "--domain"),
        sender,
        "" if args.recipient is None else _address(args.recipient.strip("<>"), "--recipient"),
        (args.state,) if args.state else (),
        None if args.older_than is None else now() - args.older_than * 1000,
        args.deferred,
    )


def _domain(text: str, option: str) -> str:
    """A domain as it is in the spool; a dot before it stays."""
    from mx10.names import DomainError, ascii_text, domain_from_text

    if text.startswith("["):
        return text
    dot = "." if text.startswith(".") else ""
    try:
        return dot + ascii_text(domain_from_text(text.removeprefix(".")))
    except DomainError as error:
        raise UsageError(f"queue: {option} {text[:100]!r}: {error}") from None


def _address(text: str, option: str) -> str:
    """An address as it is in the spool: its domain with A-labels. What the door takes is not judged again here."""
    local, at, domain = text.rpartition("@")
    return f"{local}@{_domain(domain, option)}" if at else text


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
    from mx10.store.errors import NoStoreError

    try:
        opened = open_spool(context.config)
    except NoStoreError as error:
        where = str(error).partition(";")[0].replace("there is no store", "there is no spool")
        raise NoStoreError(f"{where}; `mx10 serve` makes it when it runs a relay (relay.listen)") from None
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
    act: "Callable[[Opened, Selection, int, str], int]",
    done: str,
    nothing: str = "there is no such mail",
) -> int:
    """Do something to the mail that is meant, and say to how much.

    Args:
        done: what was done, as in ``3 recipients held``.
        nothing: what is said where it was done to none.
    """
    from mx10.store.errors import StoreError

    selection = chosen(args)
    if selection.is_everything and not args.all:
        raise UsageError("queue: which mail? name messages, or say --domain, --sender, …; --all means all of it")
    try:
        with spool(context) as opened:
            count = act(opened, selection, now(), login())
    except StoreError as error:
        return fail(error)
    if args.json:
        print(json.dumps({"recipients": count, "done": done}))
    else:
        print(f"{count} recipient{'' if count == 1 else 's'} {done}" if count else nothing)
    return OK if count else ABSENT
