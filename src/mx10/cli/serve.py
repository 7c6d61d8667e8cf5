"""``mx10 serve``: publish the zones of a folder."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from mx10.cli.context import Context

MAX_WORKERS = 256
SUMMARY = "publish MX and all other records: serve the master files of a folder"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--zone-dir", metavar="DIR", help="folder of master files, one a zone (nameserver.zone_dir)")
    parser.add_argument(
        "--listen",
        metavar="ADDRESS:PORT",
        action="append",
        help="answer here over UDP and TCP; may be given more than once (nameserver.listen)",
    )
    parser.add_argument(
        "--workers", metavar="N", type=_workers, help="processes that answer, one a core at most (nameserver.workers)"
    )
    parser.epilog = (
        "Signals: HUP reads changed files again (they are also noticed by themselves); TERM or INT ends."
        " Exit codes: 0 ended, 2 could not start."
    )


def _workers(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:4]) <= MAX_WORKERS):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of workers; write one from 1 to {MAX_WORKERS}")
    return int(text)


def run(args: argparse.Namespace, context: Context) -> int:
    from mx10.nameserver.starting import StartError
    from mx10.node import serve

    settings = context.config.nameserver
    if args.zone_dir is not None:
        settings = replace(settings, zone_dir=Path(args.zone_dir))
    if args.listen:
        settings = replace(settings, listen=tuple(args.listen))
    if args.workers is not None:
        settings = replace(settings, workers=args.workers)
    try:
        serve(replace(context.config, nameserver=settings))
    except StartError as error:
        print(f"mx10 serve: {error}", file=sys.stderr)
        return 2
    return 0
