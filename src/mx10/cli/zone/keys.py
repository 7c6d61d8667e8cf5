"""``mx10 zone keys``: what a zone's keys do and wait for; replacing them."""

import argparse
import json

from mx10.cli import OK, UsageError
from mx10.cli.context import Context
from mx10.cli.zone.opening import NotDoneError, author, ended
from mx10.cli.zone.signing import add_message, keeping, show, tell_steps

SUMMARY = "what the keys of a signed zone do, what they wait for, and until when; replace them"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("zone", metavar="ZONE")
    parser.add_argument("--roll", choices=("zsk", "ksk", "csk"), help="replace the keys of this role")
    parser.add_argument(
        "--emergency",
        action="store_true",
        help="with --roll: others may have the key; it goes without waiting for caches, which breaks the zone for"
        " resolvers that hold old records until these expire",
    )
    parser.add_argument("--pause", action="store_true", help="take no step until --resume; signatures stay fresh")
    parser.add_argument("--resume", action="store_true", help="go on after --pause")
    parser.add_argument(
        "--ds-seen",
        nargs="+",
        metavar="TAG",
        help="take it that all of the parent's nameservers have the DS records of these keys and no other (none: have"
        " no DS record), where mx10 cannot ask them itself",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    add_message(parser)


def _tags(texts: list[str]) -> list[int]:
    if texts == ["none"]:
        return []
    for text in texts:
        if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) < 1 << 16):
            raise UsageError(
                f"zone keys: {text!r} is no key tag; write numbers as `mx10 zone keys` shows them, or none"
            )
    return [int(text) for text in texts]


def run(args: argparse.Namespace, context: Context) -> int:
    asked = [bool(args.roll), args.pause, args.resume, args.ds_seen is not None]
    if sum(asked) > 1:
        raise UsageError("zone keys: --roll, --pause, --resume and --ds-seen are not for one command")
    if args.emergency and not args.roll:
        raise UsageError("zone keys: --emergency needs --roll: say which key others may have")
    tags = None if args.ds_seen is None else _tags(args.ds_seen)
    try:
        with keeping(context) as keeper:
            from mx10.zones.dnssec.explain import to_json
            from mx10.zones.typed import zone_name

            apex = zone_name(args.zone)
            if any(asked):
                who = author(args)
                if args.roll:
                    outcome = keeper.roll(apex, args.roll, who, compromised=args.emergency)
                elif tags is not None:
                    outcome = keeper.ds_seen(apex, who, tags)
                else:
                    outcome = keeper.pause(apex, who, args.pause)
                if not args.json:
                    tell_steps(apex, outcome)
                    return OK
            status = keeper.status(apex)
            if args.json:
                print(json.dumps(to_json(status.kept.zone, status.policy, status.plan, status.now)))
            else:
                print("\n".join(show(apex, status, context.style)))
    except NotDoneError as error:
        return ended(error)
    return OK
