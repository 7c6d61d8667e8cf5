"""``mx10 queue show``: a message with its content."""

import argparse
import asyncio
import sys
from typing import TYPE_CHECKING, Final

from mx10.cli import ABSENT, NO_ANSWER, OK
from mx10.cli.context import Context
from mx10.cli.queue.choosing import EXIT_CODES, fail, message_id, spool
from mx10.cli.text import plain

if TYPE_CHECKING:
    from mx10.relay.courier.values import Content

MAX_HEADER: Final = 1 << 20
"""Octets of what is looked through for the end of a header."""
SUMMARY = "a message as it is, header and body"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", type=message_id, help="its name, as `mx10 queue list` shows it")
    parser.add_argument("--header", action="store_true", help="the header alone")
    parser.epilog = (
        f"It is written as it came, octet for octet; to a terminal, with controls shown as \\x1b. {EXIT_CODES}"
    )


def run(args: argparse.Namespace, context: Context) -> int:
    from mx10.relay.loading import content
    from mx10.store.errors import StoreError

    async def write(whole: "Content") -> None:
        rest = b""
        async for chunk in whole.chunks():
            rest += chunk
            if args.header:
                end = rest.find(b"\r\n\r\n")
                if end >= 0 or len(rest) > MAX_HEADER:
                    rest = rest[: end + 2] if end >= 0 else rest
                    break
                continue
            # Whole lines, unless there are none.
            upto = rest.rfind(b"\n") + 1 or len(rest)
            _write(rest[:upto])
            rest = rest[upto:]
        _write(rest)

    try:
        with spool(context) as opened:
            asyncio.run(write(content(opened, args.id)))
    except LookupError as error:
        return fail(error, ABSENT)
    except (StoreError, OSError) as error:
        return fail(error, NO_ANSWER)
    return OK


def _write(octets: bytes) -> None:
    """As they are; to a terminal, without what would steer it: the message is from somebody else."""
    if not sys.stdout.isatty():
        sys.stdout.buffer.write(octets)
        return
    lines = octets.decode("utf-8", "backslashreplace").replace("\r\n", "\n").split("\n")
    sys.stdout.write("\n".join("\t".join(plain(part) for part in line.split("\t")) for line in lines))
