"""``mx10 zone import``: zones out of master files into the store."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mx10.cli import ABSENT, OK, UsageError
from mx10.cli.context import Context
from mx10.cli.progress import Bar
from mx10.cli.zone.opening import NotDoneError, add_author, add_if_serial, author, ended, opened, warn
from mx10.cli.zone.reading import read_zone, settings_for

if TYPE_CHECKING:
    from mx10.config import ZoneSettings
    from mx10.zones.ledger import Author, Ledger, LedgerError
    from mx10.zones.zone import Zone

SUMMARY = "take zones out of master files into the store: new ones, or in place of those there are"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", metavar="FILE", nargs="+", help="a master file, a folder of them, or - for standard input"
    )
    parser.add_argument(
        "--zone", metavar="ZONE", help="which zone the file is, if neither its name nor its $ORIGIN says so"
    )
    add_if_serial(parser)
    add_author(parser)


def run(args: argparse.Namespace, context: Context) -> int:
    from mx10.zones.typed import TypedError, zone_name

    if len(args.file) > 1 and (args.zone is not None or args.if_serial is not None):
        raise UsageError("zone import: --zone and --if-serial are for one file")
    try:
        apex = None if args.zone is None else zone_name(args.zone)
    except TypedError as error:
        raise UsageError(f"zone import: {error}") from None
    settings = settings_for(context, force=args.force)
    code = OK
    try:
        with opened(context, create=True) as ledger:
            who = author(args)
            for name in args.file:
                try:
                    if Path(name).is_dir():
                        if not _import_folder(ledger, Path(name), who, settings, args):
                            code = ABSENT
                    else:
                        _import_one(ledger, read_zone(name, settings, apex), who, args)
                except NotDoneError as error:
                    code = ended(error)
    except NotDoneError as error:
        return ended(error)
    return code


def _import_one(ledger: "Ledger", zone: "Zone", who: "Author", args: argparse.Namespace) -> None:
    from mx10.names import display
    from mx10.zones.ledger import LedgerError, NoSuchZoneError

    shown = display(zone.apex)
    bar = Bar(f"writing {shown}", sum(map(len, zone.nodes.values())), "record sets")
    try:
        try:
            ledger.info(zone.apex)
        except NoSuchZoneError:
            made = ledger.create(zone, who, force=args.force, progress=bar.reach)
            bar.clear()
            sets = ledger.info(zone.apex).rrsets
            print(f"{shown} is new, with serial {made.serial_after} and {sets} record sets (change {made.id})")
        else:
            outcome = ledger.replace(
                zone.apex, zone, who, expected_serial=args.if_serial, force=args.force, progress=bar.reach
            )
            bar.clear()
            if outcome is None:
                print(f"{shown}: nothing to change")
            else:
                count = "many" if outcome.changes is None else str(len(outcome.changes))
                print(f"{shown} has serial {outcome.serial_after}: {count} record sets differ (change {outcome.id})")
    except LedgerError as error:
        raise NotDoneError(str(error)) from error
    finally:
        bar.clear()
    warn(ledger.problems)


def _import_folder(
    ledger: "Ledger", folder: Path, who: "Author", settings: "ZoneSettings", args: argparse.Namespace
) -> bool:
    """The zones of a folder; whether all went well. New ones are written many at a time; what the line counts is there
    for good, so a second run goes on where the first one ended."""
    from mx10.names import display
    from mx10.zones.folder import is_zone_file_name
    from mx10.zones.ledger import ZoneExistsError

    try:
        names = sorted(each.name for each in folder.iterdir() if is_zone_file_name(each.name) and each.is_file())
    except OSError as error:
        raise NotDoneError(f"{folder} cannot be read: {error.strerror}; mend its rights") from None
    failed = 0
    bar = Bar(f"importing {folder}", len(names), "zones")
    files: dict[bytes, str] = {}
    present: list[str] = []

    def fail(error: object) -> None:
        nonlocal failed
        failed += 1
        bar.clear()
        print(f"mx10 zone: {error}", file=sys.stderr)

    def refused(apex: bytes, error: "LedgerError") -> None:
        if isinstance(error, ZoneExistsError):
            present.append(files[apex])
        else:
            fail(error)

    def new() -> "Iterator[Zone]":
        for name in names:
            try:
                zone = read_zone(str(folder / name), settings)
            except NotDoneError as error:
                fail(error)
                continue
            if zone.apex in files:
                fail(f"{folder / name}: {display(zone.apex)} is in {files[zone.apex]} already; remove one of the two")
                continue
            files[zone.apex] = name
            yield zone

    count = ledger.create_many(new(), who, force=args.force, refused=refused, progress=bar.reach)
    for done, name in enumerate(present):
        bar.reach(count + done)
        try:
            _import_one(ledger, read_zone(str(folder / name), settings), who, args)
        except NotDoneError as error:
            fail(error)
    bar.clear()
    more = f", {failed} not taken" if failed else ""
    print(f"{folder}: {count} new zones, {len(present)} that were there{more}")
    return not failed
