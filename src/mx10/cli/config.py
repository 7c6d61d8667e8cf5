"""``mx10 config``: the configuration in force and where each value came from."""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Final

from mx10.cli.context import Context
from mx10.cli.text import plain, table

_PASSWORD: Final = re.compile(r"(^[a-z]+://[^:/@]*:|[?&]password=)[^@&]*(?=@|&|$)")
"""What a URL says before a password, and the password: before the host, or behind it as libpq takes it."""

SUMMARY = "show or check the configuration"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "action",
        choices=("show", "check"),
        help="show: every key, its value, and where it comes from; check: only whether file and environment are right",
    )
    parser.add_argument(
        "key", nargs="?", default="", help="show this section or key alone, as in nameserver or nameserver.workers"
    )
    parser.add_argument("--json", action="store_true", help="show one JSON object: key to {value, origin}")
    parser.epilog = "Exit codes: 0 the configuration is right, 2 it is not; the messages name file, line and key."


def run(args: argparse.Namespace, context: Context) -> int:
    # A wrong configuration did not come as far as this.
    if args.action == "check":
        if wrong := _wrong_of_relay(context):
            print(f"mx10 config: {plain(wrong)}", file=sys.stderr)
            return 2
        print(f"right: {plain(str(context.file)) if context.file else 'no configuration file; the defaults hold'}")
        return 0
    shown = {key: _value(context.config, key) for key in context.origins if _within(key, args.key)}
    if not shown:
        from mx10.cli import UsageError
        from mx10.config.errors import nearest
        from mx10.config.settings import SECTIONS

        meant = nearest(args.key, [*SECTIONS, *context.origins])
        raise UsageError(
            f"config: no such key: {args.key}; " + (f"did you mean {meant}?" if meant else "see `mx10 config show`")
        )
    if args.json:
        values = {key: {"value": _as_json(value), "origin": context.origins[key]} for key, value in shown.items()}
        print(json.dumps(values, indent=2, ensure_ascii=False))
        return 0
    paint = context.style.paint
    rows = []
    for key, value in shown.items():
        origin = context.origins[key]
        looks = ("dim",) if origin == "default" else ("bold",)
        rows.append((key, plain(json.dumps(_as_json(value), ensure_ascii=False)), paint(plain(origin), *looks)))
    print(table(("key", "value", "from"), rows, style=context.style))
    return 0


def _wrong_of_relay(context: Context) -> str:
    """What `mx10 serve` would not start a relay with: texts with a syntax of their own, and files that it reads. Empty:
    nothing, or there is to be no relay."""
    from mx10.node import listens

    if not listens(context.config.relay):
        return ""
    # Only where there is one: it takes a quarter of a second to import.
    from mx10.relay.basics import RelayError, check

    try:
        check(context.config)
    except RelayError as error:
        return str(error)
    return ""


def _within(key: str, wanted: str) -> bool:
    """Whether a key is the wanted one, or of the wanted section; all are where none is named."""
    return not wanted or f"{key}.".startswith(f"{wanted}.")


def _value(config: object, key: str) -> object:
    section, _, name = key.partition(".")
    value: object = getattr(getattr(config, section), name)
    return value


def _as_json(value: object) -> object:
    """A value as JSON has it: a path is a text, a tuple a list, nothing null; a password in a URL is not shown."""
    if isinstance(value, str) and "://" in value:
        return _PASSWORD.sub(r"\1***", value)
    return str(value) if isinstance(value, Path) else value
