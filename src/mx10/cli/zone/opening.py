"""What the verbs of ``mx10 zone`` share: opening the ledger, who the author is, and errors as words."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from mx10.cli import ABSENT, NO_ANSWER, UsageError
from mx10.cli.context import Context, login

if TYPE_CHECKING:
    from mx10.zones.ledger import Author, ChangeSet, Ledger
    from mx10.zones.problems import Problem

EXIT_CODES: Final = (
    "Exit codes: 0 done, or nothing to do; 1 not done: no such zone, record or change, a rule against it, or changed"
    " by somebody else meanwhile; 2 the command or a name is wrong; 3 the store cannot be opened or is busy."
)


class NotDoneError(Exception):
    """A command that is right and cannot be done; the message says why, ``code`` how the process ends."""

    def __init__(self, message: str, code: int = ABSENT) -> None:
        super().__init__(message)
        self.code = code


def add_author(parser: argparse.ArgumentParser) -> None:
    """Options of every verb that changes something."""
    parser.add_argument("-m", "--message", default="", metavar="TEXT", help="why; kept with the change")
    parser.add_argument(
        "--force",
        action="store_true",
        help="do it although a rule that can be overridden says no; needs a message",
    )
    parser.epilog = EXIT_CODES


def add_if_serial(parser: argparse.ArgumentParser) -> None:
    """The option by which two people do not overwrite each other's changes."""
    parser.add_argument(
        "--if-serial", type=serial, metavar="N", help="only if the zone still has this serial; else say what changed"
    )


def serial(text: str) -> int:
    """A serial number from the command line."""
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) < 1 << 32):
        raise argparse.ArgumentTypeError(f"{text!r} is not a serial number; write one from 0 to {(1 << 32) - 1}")
    return int(text)


def author(args: argparse.Namespace) -> "Author":
    """Who makes the change: the user who is logged in, also behind sudo.

    Raises:
        UsageError: ``--force`` without a message.
    """
    from mx10.zones.ledger import Author

    if args.force and not args.message.strip():
        raise UsageError("zone: --force needs --message: say why the rule is overridden")
    return Author(login(), args.message)


@contextmanager
def opened(context: Context, *, create: bool = False) -> "Iterator[Ledger]":
    """The ledger that the configuration names; what goes wrong with it, or in it, becomes a ``NotDoneError``.

    Args:
        create: make the store where there is none.
    """
    from mx10.store.errors import StoreError
    from mx10.zones.dnssec.opening import open_ledger
    from mx10.zones.ledger import LedgerError
    from mx10.zones.typed import TypedError

    try:
        with open_ledger(context.config, create=create) as ledger:
            yield ledger
    except StoreError as error:
        raise NotDoneError(str(error), NO_ANSWER) from error
    except LedgerError as error:
        raise NotDoneError(str(error)) from error
    except TypedError as error:
        raise UsageError(f"zone: {error}") from error


def ended(error: NotDoneError) -> int:
    """Say why a command was not done; its exit code."""
    print(f"mx10 zone: {error}", file=sys.stderr)
    return error.code


def warn(problems: "Sequence[Problem]") -> None:
    """Tell what the rules found and allowed."""
    for problem in problems:
        print(f"mx10 zone: {problem.severity}: {problem.what}; {problem.mend} [{problem.code}]", file=sys.stderr)


def tell(outcome: "ChangeSet | None", context: Context) -> None:
    """Show what was changed, as a difference, with the serial that has it."""
    from mx10.cli.zone.difference import lines
    from mx10.names import display

    if outcome is None:
        print("nothing to change")
        return
    for line in lines(outcome.apex, outcome.changes or (), context.style):
        print(line)
    print(f"{display(outcome.apex)} has serial {outcome.serial_after} (change {outcome.id})")
