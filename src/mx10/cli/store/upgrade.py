"""``mx10 store upgrade``: set up the store, or bring it, and the relay's spool, to the version of this program."""

import argparse
import os
import sys
from pathlib import Path

from mx10.cli import NO_ANSWER, OK
from mx10.cli.context import Context

SUMMARY = "set the store up, or bring it to the version of this program; in one transaction; the spool, too"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Stop `mx10 serve` and make a backup first (docs/store.md)."
        " Exit codes: 0 done, or nothing to do; 2 the command is wrong; 3 the store cannot be opened or upgraded."
    )


def run(args: argparse.Namespace, context: Context) -> int:
    from mx10.relay.spool.opening import place_of
    from mx10.store.connect import default_url, open_store
    from mx10.store.errors import StoreError
    from mx10.store.upgrade import upgrade

    urls = [context.config.store.url or default_url(os.environ, os.geteuid())]
    spool, folder = place_of(context.config)
    if folder is not None and _is_there(Path(spool.removeprefix("sqlite:///"))):
        # With SQLite mail has a database of its own, which the relay makes.
        urls.append(spool)
    try:
        for url in urls:
            store = open_store(url, create=True, check=False, progress=print)
            try:
                upgrade(store, print)
                print(f"{store.place} is as this program needs it")
            finally:
                store.close()
    except StoreError as error:
        print(f"mx10 store: {error}", file=sys.stderr)
        return NO_ANSWER
    return OK


def _is_there(path: Path) -> bool:
    """Whether there is such a file; where nobody lets us look, it is for whoever opens it to say what is wrong."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        pass
    return True
