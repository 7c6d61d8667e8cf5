"""``mx10 zone follow``: be a secondary of a zone, fetched from primaries and kept as they have it."""

import argparse
from dataclasses import replace

from mx10.cli import OK, UsageError
from mx10.cli.context import Context
from mx10.cli.zone.opening import NotDoneError, add_author, author, ended, opened

SUMMARY = "be a secondary of a zone: fetch it from primaries, and follow their changes"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("zone", metavar="ZONE", nargs="+", help="one or more, all from the same primaries")
    parser.add_argument(
        "--from",
        dest="primaries",
        metavar="PRIMARY",
        action="append",
        required=True,
        help="ADDRESS[:PORT][#KEY][+tls[=NAME|=sha256/PIN]]; give it again for others, which are asked in turn",
    )
    parser.add_argument(
        "--notify-from",
        metavar="WHO",
        action="append",
        default=[],
        help="who may say that the zone changed, beside the primaries: a network, key:NAME, or both joined by +",
    )
    parser.add_argument(
        "--catalog", action="store_true", help="it is a catalog (RFC 9432): the zones it lists are followed too"
    )
    add_author(parser)


def run(args: argparse.Namespace, context: Context) -> int:
    from mx10.nameserver.access import AccessError, entry_from_text
    from mx10.nameserver.primaries import PrimaryError, primary_from_text

    try:
        primaries = tuple(str(primary_from_text(text)) for text in args.primaries)
        for text in args.notify_from:
            entry_from_text(text)
    except (PrimaryError, AccessError) as error:
        raise UsageError(f"zone follow: {error}") from None
    try:
        with opened(context, create=True) as ledger:
            from mx10.names import display
            from mx10.zones.ledger import NoSuchZoneError, ZoneOptions
            from mx10.zones.typed import zone_name

            who = author(args)
            for apex in dict.fromkeys(zone_name(text) for text in args.zone):
                shown = display(apex)
                try:
                    info = ledger.info(apex)
                except NoSuchZoneError:
                    options = ZoneOptions(
                        primaries=primaries, allow_notify=tuple(args.notify_from), consume_catalog=args.catalog
                    )
                    ledger.follow(apex, who, options)
                    print(f"{shown} follows {', '.join(primaries)}; it is served once it is fetched")
                    continue
                if info.kind != "secondary":
                    raise NotDoneError(f"{shown} is a {info.kind} zone here; delete it first to follow it")
                options = replace(
                    info.options,
                    primaries=primaries,
                    allow_notify=tuple(args.notify_from),
                    consume_catalog=args.catalog,
                )
                changed = ledger.set_options(apex, options, who)
                print(f"{shown} follows {', '.join(primaries)}{'' if changed else ' already'}")
    except NotDoneError as error:
        return ended(error)
    return OK
