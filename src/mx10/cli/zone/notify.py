"""``mx10 zone notify``: have the server that runs tell secondaries of a zone now."""

import argparse
import sys

from mx10.cli import ABSENT, NO_ANSWER, OK
from mx10.cli.context import Context

SUMMARY = "tell the secondaries of a zone now that it changed (NOTIFY)"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("zone", metavar="ZONE")
    parser.epilog = (
        "Exit codes: 0 they are being told, what they answer is in the server's log; 1 there is no such zone, or nobody"
        " to tell; 2 the command is wrong; 3 no server runs."
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
        found = order(find_desk(context.config), "notify", zone=to_text(apex))
    except TypedError as error:
        raise UsageError(f"zone refresh: {error}") from None
    except AbsentError as error:
        print(f"mx10 zone: {error}", file=sys.stderr)
        return NO_ANSWER
    except DeskError as error:
        print(f"mx10 zone: {error}", file=sys.stderr)
        return ABSENT
    print(f"{display(apex)}: serial {found['serial']} is told to {', '.join(found['told'])}")
    return OK
