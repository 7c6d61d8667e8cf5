"""``mx10 zone remove``: take records away: some of a set, a whole set, or all of a name."""

import argparse
from typing import TYPE_CHECKING

from mx10.cli.context import Context
from mx10.cli.zone.editing import add_record, change
from mx10.cli.zone.opening import NotDoneError, add_author, add_if_serial

if TYPE_CHECKING:
    from mx10.zones.ledger import Edit, Ledger

SUMMARY = "remove records: those named, a whole set, or everything a name has"


def configure(parser: argparse.ArgumentParser) -> None:
    add_record(parser, "*", "these records only; without any, the whole set; without a type, all sets of the name")
    add_if_serial(parser)
    add_author(parser)


def run(args: argparse.Namespace, context: Context) -> int:
    def edits(ledger: "Ledger", apex: bytes, owner: bytes) -> "list[Edit]":
        from mx10.zones.ledger import GENERATED, Edit
        from mx10.zones.typed import record_data, record_type

        if args.type is None:
            node = ledger.node(apex, owner) or {}
            found = [Edit(owner, rrtype, None) for rrtype in sorted(node) if rrtype not in GENERATED]
            if not found:
                raise NotDoneError(f"{args.owner} has no records")
            return found
        rrtype = record_type(args.type)
        present = ledger.rrset(apex, owner, rrtype)
        if present is None:
            raise NotDoneError(f"{args.owner} has no {args.type.upper()} records")
        gone = {record_data(text, rrtype, apex): text for text in args.data}
        for data, text in gone.items():
            if data not in present[1]:
                raise NotDoneError(f"{args.owner} has no record {args.type.upper()} {text}")
        left = tuple(data for data in present[1] if data not in gone) if gone else ()
        return [Edit(owner, rrtype, (present[0], left) if left else None)]

    return change(args, context, edits)
