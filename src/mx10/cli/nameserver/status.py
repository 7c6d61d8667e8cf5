"""``mx10 nameserver status``: how the server that runs here is."""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from mx10.cli import ABSENT, NO_ANSWER, OK
from mx10.cli.context import Context

SUMMARY = "say how the nameserver that runs here is: workers, zones, transfers, signing"
_SECONDS = 10.0


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one object, for programs")
    parser.epilog = (
        "It is asked at its socket (nameserver.run_dir), as its user or root. Exit codes: 0 it runs and all its workers"
        " answer; 1 a worker is missing; 2 the command is wrong; 3 no server runs."
    )


def run(args: argparse.Namespace, context: Context) -> int:
    from mx10.nameserver.desk import AbsentError, DeskError, order
    from mx10.nameserver.stewardship import find_desk

    try:
        found = order(find_desk(context.config), "status", seconds=_SECONDS)
    except AbsentError as error:
        print(f"mx10 nameserver: {error}", file=sys.stderr)
        return NO_ANSWER
    except DeskError as error:
        print(f"mx10 nameserver: {error}", file=sys.stderr)
        return ABSENT
    print(json.dumps(found, indent=2) if args.json else "\n".join(_lines(found)))
    return OK if len(found["workers"]) >= found["workers_configured"] else ABSENT


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    from mx10.cli.text import table

    yield f"mx10 {found['version']}, up {_time(found['uptime_seconds'])}"
    missing = found["workers_configured"] - len(found["workers"])
    if missing > 0:
        yield f"{missing} of {found['workers_configured']} workers did not report yet, or not lately"
    yield ""
    heads = ("worker", "pid", "up", "questions", "a second", "memory", "TCP", "answers kept", "limited")
    rows = [
        (
            str(each["worker"]),
            str(each["pid"]),
            _time(each["uptime_seconds"]),
            f"{each['questions']:,}",
            f"{each['questions_per_second']:,.0f}",
            _octets(each["memory_octets"]),
            str(each["tcp_connections"]),
            f"{each['cache_entries']:,}",
            f"{each['rate_limited']:,}",
        )
        for each in found["workers"]
    ]
    steward = found["steward"]
    aside = (_time(steward["uptime_seconds"]), "", "", _octets(steward["memory_octets"]), "", "", "")
    yield table(heads, [*rows, ("steward", str(steward["pid"]), *aside)])
    yield ""
    yield f"zones from files: {found['zones_from_files']:,}"
    if found["zones_in_store"] is None:
        yield "no store"
        return
    yield f"zones in the store: {found['zones_in_store']:,}"
    signing = found["signing"]
    coming = signing["next_in_seconds"]
    when = "no zone is signed" if coming is None else f"the next is due in {_time(coming)}"
    yield f"signatures due now: {signing['due_now']:,} zones; {when}"
    for name, values in found["services"].items():
        said = ", ".join(f"{label} {value:,.0f}".strip() for label, value in values.items() if value or not label)
        yield f"{name.replace('_', ' ')}: {said or 'none'}"


def _time(seconds: float) -> str:
    """``3 d 4 h``, ``5 min 6 s``: the two largest units."""
    left = int(seconds)
    parts: list[str] = []
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        number, left = divmod(left, length)
        if number or (unit == "s" and not parts):
            parts.append(f"{number} {unit}")
    return " ".join(parts[:2])


def _octets(number: int) -> str:
    return f"{number / (1 << 20):,.0f} MiB"
