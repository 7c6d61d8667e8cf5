"""``mx10 zone show``: what a zone holds, now or at an earlier serial."""

import argparse
import json

from mx10.cli import ABSENT, OK
from mx10.cli.context import Context
from mx10.cli.zone.opening import EXIT_CODES, NotDoneError, ended, opened, serial

SUMMARY = "what a zone holds, now or at an earlier serial"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("zone", metavar="ZONE")
    parser.add_argument("owner", metavar="OWNER", nargs="?", help="only this name: @, www")
    parser.add_argument("type", metavar="TYPE", nargs="?", help="only this type: MX")
    parser.add_argument("--at", type=serial, metavar="SERIAL", help="as it was when it had this serial")
    parser.add_argument("--generated", action="store_true", help="also what signing made: RRSIG, NSEC, DNSKEY, …")
    parser.add_argument("--json", action="store_true", help="one JSON object a record set")
    parser.epilog = EXIT_CODES


def run(args: argparse.Namespace, context: Context) -> int:
    from mx10.dns import rdata
    from mx10.dns import rrtypes as rr
    from mx10.names import ascii_text
    from mx10.zones.text import in_order, record_lines
    from mx10.zones.typed import owner_name, record_type, zone_name

    found = False
    try:
        with opened(context) as ledger:
            apex = zone_name(args.zone)
            owner = None if args.owner is None else owner_name(args.owner, apex)
            rrtype = None if args.type is None else record_type(args.type)
            if args.at is not None:
                rrsets = in_order(ledger.zone(apex, at=args.at, generated=args.generated))
            else:
                rrsets = ledger.iterate(apex, generated=args.generated)
            for name, kind, rrset in rrsets:
                if (owner is not None and name != owner) or (rrtype is not None and kind != rrtype):
                    continue
                found = True
                if args.json:
                    row = {"owner": ascii_text(name), "type": rr.type_to_text(kind), "ttl": rrset[0]}
                    print(json.dumps(row | {"data": [rdata.to_text(kind, data) for data in sorted(rrset[1])]}))
                    continue
                for line in record_lines(apex, name, kind, rrset):
                    print(line)
    except NotDoneError as error:
        return ended(error)
    return OK if found else ABSENT
