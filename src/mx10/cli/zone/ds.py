"""``mx10 zone ds``: what the parent is to be given."""

import argparse
import json

from mx10.cli import OK
from mx10.cli.context import Context
from mx10.cli.zone.opening import EXIT_CODES, NotDoneError, ended
from mx10.cli.zone.signing import keeping

SUMMARY = "the DS records for the parent, and the CDS and CDNSKEY records that ask it for them"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("zone", metavar="ZONE")
    parser.add_argument(
        "--digest",
        type=int,
        choices=(2, 4),
        action="append",
        help="2 (SHA-256, the default) or 4 (SHA-384); again for both",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.epilog = EXIT_CODES


def run(args: argparse.Namespace, context: Context) -> int:
    try:
        with keeping(context) as keeper:
            from mx10.dns import rdata
            from mx10.dns import rrtypes as rr
            from mx10.dns.wirename import to_text
            from mx10.zones.dnssec.keys import ds
            from mx10.zones.typed import zone_name

            apex = zone_name(args.zone)
            status = keeper.status(apex)
            zone, rows = status.kept.zone, status.kept.rows
            digests = sorted(set(args.digest or [2]))
            wanted = [rows[key.id].dnskey for key in zone.kept() if key.entry]
            found = {"DS": [rdata.to_text(rr.DS, ds(apex, dnskey, digest)) for dnskey in wanted for digest in digests]}
            for rrtype in (rr.CDS, rr.CDNSKEY):
                present = keeper.ledger.rrset(apex, apex, rrtype)
                datas = present[1] if present else ()
                found[rr.type_to_text(rrtype)] = [rdata.to_text(rrtype, data) for data in datas]
            if args.json:
                print(json.dumps({"zone": to_text(apex), **{name.lower(): texts for name, texts in found.items()}}))
                return OK
            for name, texts in found.items():
                for text in texts:
                    print(f"{to_text(apex)} {status.policy.dnskey_ttl} IN {name} {text}")
    except NotDoneError as error:
        return ended(error)
    return OK
