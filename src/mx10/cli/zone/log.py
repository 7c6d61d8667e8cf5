"""``mx10 zone log``: the changes of a zone, the newest first."""

import argparse
import json
import time

from mx10.cli import ABSENT, OK
from mx10.cli.context import Context
from mx10.cli.text import plain
from mx10.cli.zone.opening import EXIT_CODES, NotDoneError, ended, opened

SUMMARY = "who changed a zone, when and why, the newest first"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("zone", metavar="ZONE")
    parser.add_argument("-n", "--limit", type=_count, default=50, metavar="N", help="at most so many changes (50)")
    parser.add_argument("-p", "--changes", action="store_true", help="with the records that went and came")
    parser.add_argument("--signing", action="store_true", help="also the changes signing made by itself")
    parser.add_argument("--json", action="store_true", help="one JSON object a change")
    parser.epilog = EXIT_CODES


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text[:8]) >= 1):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of changes")
    return int(text[:8])


def run(args: argparse.Namespace, context: Context) -> int:
    from mx10.cli.zone.difference import as_json, lines
    from mx10.zones.typed import zone_name

    paint = context.style.paint
    shown = 0
    try:
        with opened(context) as ledger:
            apex = zone_name(args.zone)
            before = None
            while shown < args.limit:
                batch = ledger.history(apex, limit=min(args.limit, 100), before_id=before, with_changes=args.changes)
                if not batch:
                    break
                before = batch[-1].id
                for each in batch:
                    if (each.kind == "sign" and not args.signing) or shown == args.limit:
                        continue
                    shown += 1
                    if args.json:
                        print(json.dumps(as_json(each)))
                        continue
                    when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(each.at / 1000))
                    serials = f"{_text(each.serial_before)} → {_text(each.serial_after)}"
                    who = plain(each.author)
                    print(paint(f"change {each.id}", "yellow") + f"  {when} UTC  {each.kind}  {serials}  by {who}")
                    if each.message:
                        print(f"    {plain(each.message)}")
                    for line in lines(apex, each.changes or (), context.style):
                        print(f"    {line}")
            if not shown and before is None:
                raise NotDoneError(f"{args.zone} has no history: there never was such a zone in the store")
    except NotDoneError as error:
        return ended(error)
    return OK if shown else ABSENT


def _text(serial: int | None) -> str:
    return "none" if serial is None else str(serial)
