"""What ``set``, ``add`` and ``remove`` share: they read a record set, say what it shall be, and change it, all on the
serial they read."""

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from mx10.cli import OK
from mx10.cli.context import Context
from mx10.cli.zone.opening import NotDoneError, author, ended, opened, tell, warn

if TYPE_CHECKING:
    from mx10.zones.ledger import Edit, Ledger
    from mx10.zones.zone import RRset

_TRIES: Final = 5
"""How often to start anew where somebody changed the zone between our reading and our writing."""


def add_record(parser: argparse.ArgumentParser, data: str, data_help: str) -> None:
    """The arguments that name a record set, and data."""
    parser.add_argument("zone", metavar="ZONE")
    parser.add_argument("owner", metavar="OWNER", help="@ for the zone itself, or a name in it: www")
    parser.add_argument("type", metavar="TYPE", help="MX, A, AAAA, TXT, …", nargs="?" if data == "*" else None)
    parser.add_argument("data", metavar="DATA", nargs=data, help=data_help)


def change(
    args: argparse.Namespace,
    context: Context,
    edits: "Callable[[Ledger, bytes, bytes], list[Edit]]",
) -> int:
    """Make a change of what ``edits`` says, for a zone and an owner.

    Returns:
        The exit code.
    """
    try:
        with opened(context) as ledger:
            from mx10.zones.ledger import ConflictError
            from mx10.zones.typed import owner_name, zone_name

            apex = zone_name(args.zone)
            owner = owner_name(args.owner, apex)
            who = author(args)
            for left in reversed(range(_TRIES)):
                serial = ledger.info(apex).serial if args.if_serial is None else args.if_serial
                try:
                    outcome = ledger.change(
                        apex, edits(ledger, apex, owner), who, expected_serial=serial, force=args.force
                    )
                    break
                except ConflictError:
                    if args.if_serial is not None or not left:
                        raise
            warn(ledger.problems)
            tell(outcome, context)
    except NotDoneError as error:
        return ended(error)
    return OK


def wished_ttl(args: argparse.Namespace, present: "RRset | None", ledger: "Ledger", apex: bytes) -> int:
    """The TTL of a record set: as wished, else as it has been, else as that of the SOA record."""
    from mx10.dns import rrtypes as rr
    from mx10.zones.typed import ttl

    if args.ttl is not None:
        return ttl(args.ttl)
    if present is not None:
        return present[0]
    soa = ledger.rrset(apex, apex, rr.SOA)
    return soa[0] if soa is not None else 3600
