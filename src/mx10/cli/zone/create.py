"""``mx10 zone create``: a new zone."""

import argparse
from typing import TYPE_CHECKING

from mx10.cli import OK, UsageError
from mx10.cli.context import Context
from mx10.cli.zone.opening import NotDoneError, add_author, author, ended, opened, tell, warn

if TYPE_CHECKING:
    from mx10.zones.zone import Zone

SUMMARY = "make a new zone: its nameservers, and if you like where its mail goes"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("zone", metavar="ZONE")
    parser.add_argument(
        "--ns", metavar="HOST", action="append", required=True, help="a nameserver of the zone; give it for each one"
    )
    parser.add_argument(
        "--mx", metavar="'PREFERENCE HOST'", action="append", default=[], help="an exchanger, as '10 mail.example.net.'"
    )
    parser.add_argument("--mailbox", metavar="ADDRESS", help="who looks after the zone; otherwise hostmaster@ZONE")
    parser.add_argument("--ttl", default="1h", help="time to live of these records: 3600, 1h30m (1h)")
    add_author(parser)


def run(args: argparse.Namespace, context: Context) -> int:
    try:
        with opened(context, create=True) as ledger:
            outcome = ledger.create(_zone(args), author(args), force=args.force)
            warn(ledger.problems)
            tell(outcome, context)
    except NotDoneError as error:
        return ended(error)
    return OK


def _zone(args: argparse.Namespace) -> "Zone":
    from mx10.dns import rrtypes as rr
    from mx10.names import AddressError, parse_address
    from mx10.zones.typed import TypedError, record_data, ttl, zone_name
    from mx10.zones.zone import Zone

    apex = zone_name(args.zone)
    seconds = ttl(args.ttl)
    servers = tuple(dict.fromkeys(record_data(host, rr.NS, apex) for host in args.ns))
    if args.mailbox is None:
        mailbox = b"\x0ahostmaster" + apex
    else:
        try:
            address = parse_address(args.mailbox)
        except AddressError as error:
            raise UsageError(f"zone create: --mailbox: {error}") from None
        local = address.local.encode()
        # RFC 1035 section 3.3.13: the local part is one label, whatever stands in it.
        if address.domain is None or not 0 < len(local) < 64:
            raise TypedError(f"{args.mailbox} cannot stand in an SOA record: write an address at a domain")
        mailbox = bytes((len(local),)) + local + address.domain
    # Refresh, retry and expire as RIPE-203 advises for small zones; an hour for negative answers (RFC 2308 section 4).
    times = b"".join(each.to_bytes(4, "big") for each in (0, 86400, 7200, 3600000, 3600))
    node = {rr.SOA: (seconds, (servers[0] + mailbox + times,)), rr.NS: (seconds, servers)}
    if args.mx:
        node[rr.MX] = (seconds, tuple(dict.fromkeys(record_data(each, rr.MX, apex) for each in args.mx)))
    return Zone(apex, {apex: node})
