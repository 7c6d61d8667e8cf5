"""``mx10 store show``: where the store is, and what it holds."""

import argparse
import json
import os
import sys

from mx10.cli import NO_ANSWER, OK
from mx10.cli.context import Context
from mx10.cli.text import plain, table

SUMMARY = "where the store is, its version, and how much is in it"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.epilog = "Exit codes: 0 shown, 2 the command is wrong, 3 the store cannot be opened."


def run(args: argparse.Namespace, context: Context) -> int:
    from sqlalchemy import func, select

    from mx10.store.connect import default_url, open_store
    from mx10.store.errors import StoreError
    from mx10.store.tables import change_sets, zones
    from mx10.store.versions import CURRENT

    try:
        store = open_store(context.config.store.url or default_url(os.environ, os.geteuid()))
        try:
            with store.read() as connection:
                row = select(func.count(), func.coalesce(func.sum(zones.c.rrsets), 0)).select_from(zones)
                count, sets = connection.execute(row).one()
                changes = connection.execute(select(func.count()).select_from(change_sets)).scalar()
        finally:
            store.close()
    except StoreError as error:
        print(f"mx10 store: {error}", file=sys.stderr)
        return NO_ANSWER
    found = {"store": store.place, "version": CURRENT, "zones": count, "record_sets": int(sets), "change_sets": changes}
    if store.path is not None:
        found["mib"] = round(store.path.stat().st_size / (1 << 20), 1)
    if args.json:
        print(json.dumps(found))
    else:
        print(table((), [(key.replace("_", " "), plain(str(value))) for key, value in found.items()]))
    return OK
