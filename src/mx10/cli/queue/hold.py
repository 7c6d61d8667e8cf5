"""``mx10 queue hold``: keep mail back until it is released."""

import argparse

from mx10.cli.context import Context
from mx10.cli.queue.choosing import EXIT_CODES, add_choice, steer

SUMMARY = "keep mail back until it is released"


def configure(parser: argparse.ArgumentParser) -> None:
    add_choice(parser, everything=True)
    parser.epilog = f"Mail that is on its way just now may still arrive. {EXIT_CODES}"


def run(args: argparse.Namespace, context: Context) -> int:
    from mx10.relay.spool.steering import hold

    return steer(args, context, hold, "held", "there is no such mail, or it is held already")
