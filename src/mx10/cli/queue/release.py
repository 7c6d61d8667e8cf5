"""``mx10 queue release``: let mail go that was held."""

import argparse

from mx10.cli.context import Context
from mx10.cli.queue.choosing import EXIT_CODES, add_choice, steer

SUMMARY = "let mail go that was held, by somebody or by a filter"


def configure(parser: argparse.ArgumentParser) -> None:
    add_choice(parser, everything=True)
    parser.epilog = f"It is tried at once. {EXIT_CODES}"


def run(args: argparse.Namespace, context: Context) -> int:
    from mx10.relay.spool.steering import release

    return steer(args, context, release, "released", "no such mail is held")
