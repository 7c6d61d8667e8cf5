"""``mx10 queue delete``: forget mail; nobody is told."""

import argparse

from mx10.cli.context import Context
from mx10.cli.queue.choosing import EXIT_CODES, add_choice, steer

SUMMARY = "forget mail; nobody is told"


def configure(parser: argparse.ArgumentParser) -> None:
    add_choice(parser, everything=True)
    parser.epilog = f"There is no way back. {EXIT_CODES}"


def run(args: argparse.Namespace, context: Context) -> int:
    from mx10.relay.spool.steering import delete

    return steer(args, context, delete, "deleted")
