"""``mx10 zone export``: zones as master files, the same octets for the same records."""

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

from mx10.cli import OK, UsageError
from mx10.cli.context import Context
from mx10.cli.zone.opening import EXIT_CODES, NotDoneError, ended, opened, serial

if TYPE_CHECKING:
    from mx10.zones.ledger import Ledger

SUMMARY = "write zones as master files; the same records give the same octets, so they live well in git"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("zone", metavar="ZONE", nargs="*", help="to standard output, one after the other")
    parser.add_argument("--all", action="store_true", help="all zones; needs --to")
    parser.add_argument("--to", metavar="FOLDER", type=Path, help="a file for each zone, as example.com.zone")
    parser.add_argument("--at", type=serial, metavar="SERIAL", help="as it was when it had this serial")
    parser.add_argument("--generated", action="store_true", help="also what signing made: RRSIG, NSEC, DNSKEY, …")
    parser.epilog = f"{EXIT_CODES} A file that would stay the same is not touched; others are put in place whole."


def run(args: argparse.Namespace, context: Context) -> int:
    from mx10.zones.typed import zone_name

    if bool(args.zone) == args.all:
        raise UsageError("zone export: name zones, or say --all")
    if args.all and args.to is None:
        raise UsageError("zone export: --all needs --to FOLDER: one file cannot hold several zones")
    if args.at is not None and len(args.zone) != 1:
        raise UsageError("zone export: --at is for one zone")
    try:
        with opened(context) as ledger:
            apexes = (info.apex for info in ledger.infos()) if args.all else map(zone_name, args.zone)
            count = written = 0
            for apex in apexes:
                lines = _lines(ledger, apex, args)
                if args.to is None:
                    sys.stdout.writelines(lines)
                else:
                    count += 1
                    written += _write(args.to, apex, lines)
            if args.to is not None:
                print(f"{args.to}: {count} zone{'s' * (count != 1)}, {written} file{'s' * (written != 1)} changed")
    except NotDoneError as error:
        return ended(error)
    return OK


def _lines(ledger: "Ledger", apex: bytes, args: argparse.Namespace) -> Iterator[str]:
    from mx10.zones.text import in_order, stable_lines

    if args.at is None:
        rrsets = ledger.iterate(apex, generated=args.generated)
    else:
        rrsets = in_order(ledger.zone(apex, at=args.at, generated=args.generated))
    return (f"{line}\n" for line in stable_lines(apex, rrsets))


def _write(folder: Path, apex: bytes, lines: Iterator[str]) -> bool:
    """Write a file, whole or not at all; whether it is different now."""
    from mx10.dns import wirename

    # A slash may stand in a label, but not in the name of a file; readers of file names know the escape.
    stem = "root" if apex == wirename.ROOT else wirename.to_text(apex, final_dot=False).replace("/", "\\047")
    path = folder / f"{stem}.zone"
    partial = folder / f".{stem}.zone.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("w", encoding="ascii") as file:
                file.writelines(lines)
                file.flush()
                os.fsync(file.fileno())
            with partial.open("rb") as new:
                if _same(new, path):
                    return False
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise NotDoneError(f"{path} cannot be written: {error.strerror}; mend that, or name another folder") from None
    return True


def _same(new: IO[bytes], path: Path) -> bool:
    try:
        with path.open("rb") as old:
            while (block := new.read(1 << 16)) == old.read(1 << 16):
                if not block:
                    return True
    except FileNotFoundError:
        pass
    return False
