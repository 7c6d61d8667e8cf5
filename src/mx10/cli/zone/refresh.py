"""``mx10 zone refresh``: have the server that runs ask a zone's primaries now."""

import argparse
import sys

from mx10.cli import ABSENT, NO_ANSWER, OK
from mx10.cli.context import Context

SUMMARY = "ask a followed zone's primaries now, and say what came of it"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("zone", metavar="ZONE")
    parser.epilog = (
        "Exit codes: 0 a primary was of help; 1 none was, or the zone is not followed; 2 the command is wrong;"
        " 3 no server runs."
    )


def run(args: argparse.Namespace, context: Context) -> int:
    from mx10.cli import UsageError
    from mx10.dns.wirename import to_text
    from mx10.names import display
    from mx10.nameserver.desk import AbsentError, DeskError, order
    from mx10.nameserver.stewardship import find_desk
    from mx10.zones.typed import TypedError, zone_name

    try:
        apex = zone_name(args.zone)
        found = order(find_desk(context.config), "refresh", zone=to_text(apex))
    except TypedError as error:
        raise UsageError(f"zone refresh: {error}") from None
    except AbsentError as error:
        print(f"mx10 zone: {error}", file=sys.stderr)
        return NO_ANSWER
    except DeskError as error:
        print(f"mx10 zone: {error}", file=sys.stderr)
        return ABSENT
    print(f"{display(apex)}: {found['said']}")
    return OK if found["helped"] else ABSENT
