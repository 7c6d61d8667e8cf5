"""``mx10 zone diff``: what differs between two serials of a zone."""

import argparse
import json

from mx10.cli import ABSENT, OK
from mx10.cli.context import Context
from mx10.cli.zone.opening import EXIT_CODES, NotDoneError, ended, opened, serial

SUMMARY = "what differs between two serials of a zone"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("zone", metavar="ZONE")
    parser.add_argument("older", metavar="SERIAL", type=serial, help="the zone as it was with this serial")
    parser.add_argument("newer", metavar="SERIAL", type=serial, nargs="?", help="and with this one; otherwise now")
    parser.add_argument("--generated", action="store_true", help="also what signing made: RRSIG, NSEC, DNSKEY, …")
    parser.add_argument("--json", action="store_true", help="one JSON object a record set")
    parser.epilog = f"{EXIT_CODES} Here 1 also says that nothing differs."


def run(args: argparse.Namespace, context: Context) -> int:
    from mx10.cli.zone.difference import change_as_json, lines
    from mx10.zones.ledger import changes_between
    from mx10.zones.typed import zone_name

    try:
        with opened(context) as ledger:
            apex = zone_name(args.zone)
            older = ledger.zone(apex, at=args.older, generated=args.generated)
            newer = ledger.zone(apex, at=args.newer, generated=args.generated)
            changes = changes_between(older, newer)
    except NotDoneError as error:
        return ended(error)
    if args.json:
        for change in changes:
            print(json.dumps(change_as_json(change)))
    else:
        for line in lines(apex, changes, context.style, generated=args.generated):
            print(line)
    return OK if changes else ABSENT
