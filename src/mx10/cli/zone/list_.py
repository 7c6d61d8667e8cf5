"""``mx10 zone list``: the zones of the store."""

import argparse
import json
from fnmatch import fnmatchcase

from mx10.cli import ABSENT, OK
from mx10.cli.context import Context
from mx10.cli.text import table
from mx10.cli.zone.opening import EXIT_CODES, NotDoneError, ended, opened

SUMMARY = "the zones of the store"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pattern", nargs="?", default="*", help="only zones of this name: example.*, *.org")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.epilog = EXIT_CODES


def run(args: argparse.Namespace, context: Context) -> int:
    from mx10.names import ascii_text, display

    found = False
    try:
        with opened(context) as ledger:
            rows = []
            for info in ledger.infos():
                name = ascii_text(info.apex)
                if not fnmatchcase(name, args.pattern.lower()) and not fnmatchcase(display(info.apex), args.pattern):
                    continue
                found = True
                state = info.kind if info.served else f"{info.kind}, expired"
                if args.json:
                    row = {"zone": name, "kind": info.kind, "serial": info.serial, "record_sets": info.rrsets}
                    print(json.dumps(row | {"signed": info.signed, "served": info.served}))
                else:
                    signed = "signed" if info.signed else ""
                    rows.append((display(info.apex), str(info.serial), str(info.rrsets), state, signed))
            if rows:
                print(table(("zone", "serial", "record sets", "kind", ""), rows, style=context.style))
            elif not found and not args.json:
                print("no such zone" if args.pattern != "*" else "no zone yet: `mx10 zone create` makes one")
    except NotDoneError as error:
        return ended(error)
    return OK if found else ABSENT
