"""``mx10 queue bounce``: return mail to its senders."""

import argparse

from mx10.cli.context import Context
from mx10.cli.queue.choosing import EXIT_CODES, add_choice, steer

SUMMARY = "return mail to its senders"


def configure(parser: argparse.ArgumentParser) -> None:
    add_choice(parser, everything=True)
    parser.epilog = f"The relay does it, within seconds; when it does not run, at its next start. {EXIT_CODES}"


def run(args: argparse.Namespace, context: Context) -> int:
    from mx10.relay.spool.steering import bounce

    return steer(args, context, bounce, "will be returned")
