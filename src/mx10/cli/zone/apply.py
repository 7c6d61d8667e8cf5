"""``mx10 zone apply``: make a zone what a master file says, after a look at what that changes."""

import argparse

from mx10.cli import OK, UsageError
from mx10.cli.context import Context
from mx10.cli.progress import Bar
from mx10.cli.zone.asking import confirmed
from mx10.cli.zone.opening import NotDoneError, add_author, add_if_serial, author, ended, opened, warn
from mx10.cli.zone.reading import STANDARD_INPUT, read_zone, settings_for

SUMMARY = "make a zone what a master file says: shows what would change, asks, and does it"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", metavar="FILE", help="a master file, as `mx10 zone export` writes it; - is standard input"
    )
    parser.add_argument(
        "--zone", metavar="ZONE", help="which zone the file is, if neither its name nor its $ORIGIN says so"
    )
    parser.add_argument("--dry-run", action="store_true", help="only show what would change")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    add_if_serial(parser)
    add_author(parser)


def run(args: argparse.Namespace, context: Context) -> int:
    from mx10.zones.typed import TypedError, zone_name

    if args.file == STANDARD_INPUT and not (args.yes or args.dry_run):
        raise UsageError("zone apply: the file comes from standard input, so nobody can be asked there: say --yes")
    try:
        wanted = None if args.zone is None else zone_name(args.zone)
        # Read before the store is opened: a wrong file needs no store.
        zone = read_zone(args.file, settings_for(context, force=args.force), wanted)
        with opened(context, create=not args.dry_run) as ledger:
            from mx10.cli.zone.difference import lines
            from mx10.names import display
            from mx10.zones.ledger import NoSuchZoneError

            who = author(args)
            apex = zone.apex
            shown = display(apex)
            try:
                info = ledger.info(apex)
            except NoSuchZoneError:
                raise NotDoneError(f"there is no zone {shown} yet; `mx10 zone import` brings it in") from None
            base = info.serial if args.if_serial is None else args.if_serial
            planned = ledger.replace(apex, zone, who, expected_serial=base, force=args.force, dry_run=True)
            warn(ledger.problems)
            if planned is None:
                print(f"{shown}: nothing to change")
                return OK
            if planned.changes is None:
                print(f"{shown}: too many record sets change to show them")
            for line in lines(apex, planned.changes or (), context.style):
                print(line)
            if args.dry_run:
                print(f"{shown} would go from serial {base} to {planned.serial_after}; nothing was changed")
                return OK
            if not args.yes and not confirmed(f"Change {shown}?"):
                raise NotDoneError("nothing changed")
            # On the serial that was looked at: what somebody else does meanwhile is not overwritten.
            bar = Bar(f"writing {shown}", len(planned.changes or ()), "record sets")
            outcome = ledger.replace(apex, zone, who, expected_serial=base, force=args.force, progress=bar.reach)
            bar.clear()
            if outcome is not None:
                print(f"{shown} has serial {outcome.serial_after} (change {outcome.id})")
    except TypedError as error:
        raise UsageError(f"zone apply: {error}") from None
    except NotDoneError as error:
        return ended(error)
    return OK
