"""``mx10 zone add``: add records to a set."""

import argparse
from typing import TYPE_CHECKING

from mx10.cli.context import Context
from mx10.cli.zone.editing import add_record, change, wished_ttl
from mx10.cli.zone.opening import add_author, add_if_serial

if TYPE_CHECKING:
    from mx10.zones.ledger import Edit, Ledger

SUMMARY = "add records to those there are"


def configure(parser: argparse.ArgumentParser) -> None:
    add_record(parser, "+", "one for each record, as in a master file: '20 backup.example.net.'")
    parser.add_argument(
        "--ttl", help="time to live of the whole set; otherwise as it was, or as that of the zone's SOA"
    )
    add_if_serial(parser)
    add_author(parser)


def run(args: argparse.Namespace, context: Context) -> int:
    def edits(ledger: "Ledger", apex: bytes, owner: bytes) -> "list[Edit]":
        from mx10.zones.ledger import Edit
        from mx10.zones.typed import record_data, record_type

        rrtype = record_type(args.type)
        present = ledger.rrset(apex, owner, rrtype)
        added = [record_data(text, rrtype, apex) for text in args.data]
        datas = tuple(dict.fromkeys((*(present[1] if present else ()), *added)))
        return [Edit(owner, rrtype, (wished_ttl(args, present, ledger, apex), datas))]

    return change(args, context, edits)
