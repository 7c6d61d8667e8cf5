"""``mx10 zone set``: say what a record set shall be."""

import argparse
from typing import TYPE_CHECKING

from mx10.cli.context import Context
from mx10.cli.zone.editing import add_record, change, wished_ttl
from mx10.cli.zone.opening import add_author, add_if_serial

if TYPE_CHECKING:
    from mx10.zones.ledger import Edit, Ledger

SUMMARY = "set a record set: exactly these records, in place of those there are"


def configure(parser: argparse.ArgumentParser) -> None:
    add_record(parser, "+", "one for each record, as in a master file: '10 mail.example.net.'")
    parser.add_argument("--ttl", help="time to live: 3600, 1h30m; otherwise as it was, or as that of the zone's SOA")
    add_if_serial(parser)
    add_author(parser)


def run(args: argparse.Namespace, context: Context) -> int:
    def edits(ledger: "Ledger", apex: bytes, owner: bytes) -> "list[Edit]":
        from mx10.zones.ledger import Edit
        from mx10.zones.typed import record_data, record_type

        rrtype = record_type(args.type)
        datas = tuple(dict.fromkeys(record_data(text, rrtype, apex) for text in args.data))
        ttl = wished_ttl(args, ledger.rrset(apex, owner, rrtype), ledger, apex)
        return [Edit(owner, rrtype, (ttl, datas))]

    return change(args, context, edits)
