"""``mx10 zone revert``: undo a change, by a new one."""

import argparse

from mx10.cli import OK
from mx10.cli.context import Context
from mx10.cli.zone.opening import NotDoneError, add_author, author, ended, opened, tell, warn

SUMMARY = "undo a change; that is a change of its own"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("zone", metavar="ZONE")
    parser.add_argument("change", metavar="CHANGE", type=_number, help="its number in `mx10 zone log`")
    add_author(parser)


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise argparse.ArgumentTypeError(f"{text!r} is not the number of a change; `mx10 zone log` shows them")
    return int(text)


def run(args: argparse.Namespace, context: Context) -> int:
    try:
        with opened(context) as ledger:
            from mx10.zones.typed import zone_name

            outcome = ledger.revert(zone_name(args.zone), args.change, author(args), force=args.force)
            warn(ledger.problems)
            tell(outcome, context)
    except NotDoneError as error:
        return ended(error)
    return OK
