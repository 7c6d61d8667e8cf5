"""``mx10 queue retry``: try now what waits for its next attempt."""

import argparse

from mx10.cli.context import Context
from mx10.cli.queue.choosing import EXIT_CODES, add_choice, steer

SUMMARY = "try now what waits for its next attempt"


def configure(parser: argparse.ArgumentParser) -> None:
    add_choice(parser, everything=True)
    parser.epilog = f"A next hop that is down is looked at, too. {EXIT_CODES}"


def run(args: argparse.Namespace, context: Context) -> int:
    from mx10.relay.spool.steering import retry

    return steer(
        args, context, retry, "will be tried now", "no such mail waits for an attempt; what is held is to be released"
    )
