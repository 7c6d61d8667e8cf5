"""``mx10 zone unsign``: sign a zone no more."""

import argparse
import sys

from mx10.cli import OK
from mx10.cli.context import Context
from mx10.cli.zone.opening import NotDoneError, author, ended
from mx10.cli.zone.signing import add_message, keeping, tell_steps

SUMMARY = "sign a zone no more, without an outage"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("zone", metavar="ZONE")
    parser.add_argument(
        "--now",
        action="store_true",
        help="at once: while the parent or a resolver still has a DS record, validating resolvers fail for the zone",
    )
    add_message(parser)
    parser.description = (
        "Sign a zone no more. The parent is asked by CDS and CDNSKEY to remove its DS records (RFC 8078); once they are"
        " gone, and forgotten by resolvers, keys and signatures are taken out. `mx10 zone keys ZONE` says how far it"
        " is, and `mx10 zone sign ZONE` takes it back."
    )


def run(args: argparse.Namespace, context: Context) -> int:
    try:
        with keeping(context) as keeper:
            from mx10.names import display
            from mx10.zones.typed import zone_name

            apex = zone_name(args.zone)
            who = author(args)
            if args.now:
                held = [one for one in keeper.status(apex).kept.zone.caches.ds if one.keys]
                if held:
                    print(
                        f"mx10 zone: warning: the parent or resolvers may still have DS records of {display(apex)}:"
                        " until these are removed and forgotten, validating resolvers answer nothing of it",
                        file=sys.stderr,
                    )
            tell_steps(apex, keeper.unsign(apex, who, at_once=args.now))
    except NotDoneError as error:
        return ended(error)
    return OK
