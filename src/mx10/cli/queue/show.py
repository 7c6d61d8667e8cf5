"""``mx10 queue show``: a message with its content."""

import argparse
import asyncio
import sys

from mx10.cli import ABSENT, NO_ANSWER, OK
from mx10.cli.context import Context
from mx10.cli.queue.choosing import EXIT_CODES, fail, message_id, spool

SUMMARY = "a message as it is, header and body"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", type=message_id, help="its name, as `mx10 queue list` shows it")
    parser.add_argument("--header", action="store_true", help="the header alone")
    parser.epilog = f"It is written as it came, octet for octet. {EXIT_CODES}"


def run(args: argparse.Namespace, context: Context) -> int:
    from mx10.relay.loading import content
    from mx10.store.errors import StoreError

    async def write(found: object) -> None:
        from mx10.relay.courier.values import Content

        whole: Content = found  # type: ignore[assignment]  # any of the three
        seen = b""
        async for chunk in whole.chunks():
            if args.header:
                seen += chunk
                end = seen.find(b"\r\n\r\n")
                if end >= 0 or len(seen) > 1 << 20:
                    sys.stdout.buffer.write(seen[: end + 2] if end >= 0 else seen)
                    return
            else:
                sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.write(seen)

    try:
        with spool(context) as opened:
            asyncio.run(write(content(opened, args.id)))
    except LookupError as error:
        return fail(error, ABSENT)
    except (StoreError, OSError) as error:
        return fail(error, NO_ANSWER)
    return OK
