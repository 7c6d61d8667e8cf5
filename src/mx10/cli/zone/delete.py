"""``mx10 zone delete``: take a zone away; its history stays, and a revert brings it back."""

import argparse

from mx10.cli import OK
from mx10.cli.context import Context
from mx10.cli.zone.asking import confirmed
from mx10.cli.zone.opening import NotDoneError, add_author, author, ended, opened

SUMMARY = "take a zone away; its history stays, and `revert` brings it back"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("zone", metavar="ZONE")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    add_author(parser)


def run(args: argparse.Namespace, context: Context) -> int:
    try:
        with opened(context) as ledger:
            from mx10.names import display
            from mx10.zones.typed import zone_name

            apex = zone_name(args.zone)
            info = ledger.info(apex)
            signed = ", which is signed: take its DS record out of the parent first" if info.signed else ""
            if not args.yes and not confirmed(f"Delete {display(apex)} with {info.rrsets} record sets{signed}?"):
                raise NotDoneError("nothing deleted")
            outcome = ledger.delete(apex, author(args))
            print(f"{display(apex)} is deleted; `mx10 zone revert {display(apex)} {outcome.id}` brings it back")
    except NotDoneError as error:
        return ended(error)
    return OK
