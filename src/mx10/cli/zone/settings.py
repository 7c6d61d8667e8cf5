"""``mx10 zone settings``: what is set for one zone alone."""

import argparse
import json
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from mx10.cli import OK, UsageError
from mx10.cli.context import Context
from mx10.cli.text import plain, table
from mx10.cli.zone.opening import NotDoneError, add_author, author, ended, opened

if TYPE_CHECKING:
    from mx10.zones.ledger import ZoneOptions

SUMMARY = "show or set what holds for one zone alone: style of serials, NOTIFY, transfers, updates"

_ELSEWHERE = {"primaries": "follow", "consume_catalog": "follow", "member_of": "follow", "member_as": "follow"}
"""Settings that other verbs set."""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("zone", metavar="ZONE")
    parser.add_argument(
        "setting",
        metavar="KEY=VALUE",
        nargs="*",
        help="set this, as serial_style=counter or notify=192.0.2.1,192.0.2.2; nothing behind the = is the default",
    )
    parser.add_argument("--json", action="store_true", help="show one JSON object")
    add_author(parser)


def run(args: argparse.Namespace, context: Context) -> int:
    try:
        with opened(context) as ledger:
            from mx10.names import display
            from mx10.zones.typed import zone_name

            apex = zone_name(args.zone)
            info = ledger.info(apex)
            options = info.options
            for text in args.setting:
                options = _with(options, text, apex)
            if args.setting:
                outcome = ledger.set_options(apex, options, author(args))
                if outcome is None:
                    print("nothing to change")
                else:
                    print(f"{display(apex)}: set (change {outcome.id})")
                return OK
            values = {each.name: getattr(options, each.name) for each in fields(options)}
            if args.json:
                print(json.dumps(values))
                return OK
            default = type(options)()
            rows = [
                (name, plain(_shown(value)), "default" if value == getattr(default, name) else "set")
                for name, value in values.items()
            ]
            print(table(("key", "value", ""), rows, style=context.style))
    except NotDoneError as error:
        return ended(error)
    return OK


def _with(options: "ZoneOptions", text: str, apex: bytes) -> "ZoneOptions":
    """The options with one of them set.

    Raises:
        UsageError: no such setting, or no value for it.
    """
    from mx10.config.errors import nearest

    key, equals, value = text.partition("=")
    names = [each.name for each in fields(options) if each.name not in _ELSEWHERE]
    if key in _ELSEWHERE:
        raise UsageError(f"zone settings: {key} is set by `mx10 zone {_ELSEWHERE[key]}`")
    if key not in names:
        meant = nearest(key, names)
        mend = f"did you mean {meant}?" if meant else f"there are {', '.join(names)}"
        raise UsageError(f"zone settings: no such setting: {key}; {mend}")
    if not equals:
        raise UsageError(f"zone settings: {key} needs a value: {key}=…; nothing behind the = sets the default")
    default: Any = getattr(type(options)(), key)
    try:
        parsed = default if not value else _value(key, value, default, apex)
    except ValueError as error:
        raise UsageError(f"zone settings: {key}: {error}") from None
    return replace(options, **{key: parsed})


def _value(key: str, value: str, default: Any, apex: bytes) -> Any:
    """Raises ValueError, with the mend, where the text is no value of that setting."""
    from mx10.nameserver.access import entry_from_text
    from mx10.nameserver.primaries import primary_from_text
    from mx10.nameserver.update_policy import rule_from_text

    if isinstance(default, bool):
        if value.lower() not in ("yes", "no", "true", "false"):
            raise ValueError("write yes or no")
        return value.lower() in ("yes", "true")
    if key == "serial_style":
        if value not in ("date", "counter", "unixtime"):
            raise ValueError("write date, counter or unixtime")
        return value
    # Rules of updates have commas of their own.
    parts = tuple(part.strip() for part in value.split(";" if key == "update_policy" else ",") if part.strip())
    for part in parts:
        if key == "update_policy":
            rule_from_text(part, apex)
        elif key in ("allow_transfer", "allow_notify"):
            entry_from_text(part)
        elif key == "notify" and primary_from_text(part).tls:
            raise ValueError(f"{part!r}: NOTIFY is not sent over TLS; write the address alone")
    return parts


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value) or "none"
