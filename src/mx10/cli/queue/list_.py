"""``mx10 queue list``: what waits, a line each, or by domain."""

import argparse
import json
from typing import TYPE_CHECKING, Final

from mx10.cli import ABSENT, NO_ANSWER, OK
from mx10.cli.context import Context
from mx10.cli.queue.choosing import EXIT_CODES, add_choice, chosen, fail, now, spool
from mx10.cli.queue.words import ago, in_time, size_text
from mx10.cli.text import plain, table

if TYPE_CHECKING:
    from mx10.relay.spool.opening import Opened
    from mx10.relay.spool.reading import Entry
    from mx10.relay.spool.selection import Selection

ALL_DOMAINS: Final = 10_000_000
"""Domains that ``--most 0`` shows."""
SUMMARY = "what waits, a line a recipient, the oldest first"


def configure(parser: argparse.ArgumentParser) -> None:
    add_choice(parser, everything=False)
    parser.add_argument("--by-domain", action="store_true", help="a line a domain, those with the most mail first")
    parser.add_argument("--most", metavar="N", type=_most, default=1000, help="lines at most (1000; 0: all)")
    parser.epilog = f"With --json a line is an object. {EXIT_CODES}"


def _most(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of lines; write one from 0 (all)")
    return int(text)


def run(args: argparse.Namespace, context: Context) -> int:
    from mx10.store.errors import StoreError

    selection = chosen(args)
    try:
        with spool(context) as opened:
            if args.by_domain:
                return _by_domain(opened, selection, args)
            return _list(opened, selection, args)
    except StoreError as error:
        return fail(error, NO_ANSWER)


def _list(opened: "Opened", selection: "Selection", args: argparse.Namespace) -> int:
    from mx10.relay.spool.reading import entries

    moment, more = now(), False
    rows: list[tuple[str, ...]] = []
    for count, each in enumerate(entries(opened.store, selection)):
        if args.most and count >= args.most:
            more = True
            break
        waiting = each.waiting
        if args.json:
            print(json.dumps(as_json(each)))
            rows.append(())
            continue
        when: str = waiting.state
        if waiting.state in ("queued", "apart"):
            when = ("apart, " if waiting.state == "apart" else "") + in_time(waiting.due_at, moment)
        rows.append(
            (
                each.name,
                ago(each.arrived_at, moment),
                size_text(each.size),
                plain(each.envelope.reverse_path or "<>"),
                plain(waiting.address),
                str(waiting.attempts),
                when,
                plain(each.last.get("reason", ""))[:100],
            )
        )
    if not args.json:
        if rows:
            print(table(("message", "came", "size", "from", "to", "tries", "next", "last"), rows))
        if more:
            print(f"and more: --most 0 shows all, --by-domain how much there is (shown: {args.most})")
        if not rows:
            print("nothing waits")
    return OK if rows else ABSENT


def _by_domain(opened: "Opened", selection: "Selection", args: argparse.Namespace) -> int:
    from mx10.relay.spool.reading import totals

    moment = now()
    found = totals(opened.store, selection, args.most or ALL_DOMAINS)
    for each in found if args.json else ():
        print(
            json.dumps(
                {
                    "domain": each.domain,
                    "recipients": each.recipients,
                    "held": each.held,
                    "apart": each.apart,
                    "oldest": each.oldest,
                    "next_at": each.next_at,
                }
            )
        )
    if not args.json:
        rows = [
            (
                plain(each.domain) or "(none)",
                str(each.recipients),
                str(each.held),
                str(each.apart),
                ago(each.oldest, moment),
                "" if each.next_at is None else in_time(each.next_at, moment),
            )
            for each in found
        ]
        print(table(("domain", "waiting", "held", "apart", "oldest", "next"), rows) if rows else "nothing waits")
    return OK if found else ABSENT


def as_json(each: "Entry") -> dict[str, object]:
    """An entry for programs; times are milliseconds since 1970."""
    waiting, envelope = each.waiting, each.envelope
    return {
        "message": each.name,
        "recipient": waiting.address,
        "sender": envelope.reverse_path,
        "state": waiting.state,
        "size": each.size,
        "arrived_at": each.arrived_at,
        "expires_at": each.expires_at,
        "due_at": waiting.due_at,
        "attempts": waiting.attempts,
        "client": envelope.client,
        "user": envelope.user,
        "requiretls": envelope.requiretls,
        "tls_optional": envelope.tls_optional,
        "last": each.last or None,
    }
