"""``mx10 lab down|back|mail``: switch the exchangers of a running lab off and on, and see what they took."""

import argparse
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from mx10.cli import ABSENT, NO_ANSWER, OK
from mx10.cli.context import Context
from mx10.cli.text import plain, table

if TYPE_CHECKING:
    from mx10.lab.control import Answer

_HOW: Final = {
    "down": "connections are refused, as by a host whose mail server is off",
    "silent": "connections are taken, and nothing is ever said",
    "busy": "every client is turned away with 421",
}
_LOOKS: Final = {"up": "green", "down": "red", "silent": "yellow", "busy": "yellow"}
_EXIT_CODES: Final = "Exit codes: 0 done, 1 there is no such exchanger or message, 3 the lab is not running."


def configure(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the three actions to those of ``mx10 lab``."""
    what = "Switch exchangers of the running lab off; `mx10 lab back` switches them on again."
    down = actions.add_parser("down", help="switch exchangers off", description=what, epilog=_EXIT_CODES)
    down.add_argument("host", nargs="+", metavar="HOST", help="as primary.backup.example; `mx10 lab list` shows all")
    down.add_argument(
        "--how",
        choices=tuple(_HOW),
        default="down",
        help="down: connections are refused (this unless told); silent: taken, and nothing is said;"
        " busy: clients are turned away with 421",
    )
    what = "Switch exchangers of the running lab on again."
    back = actions.add_parser("back", help="switch them on again", description=what, epilog=_EXIT_CODES)
    back.add_argument("host", nargs="*", metavar="HOST", help="none: all that are not up")
    what = "Show what the exchangers of the running lab took: the last hundred messages, or one of them."
    mail = actions.add_parser("mail", help="what the exchangers took", description=what, epilog=_EXIT_CODES)
    mail.add_argument("which", nargs="?", metavar="NUMBER|HOST", help="this message; or those that this exchanger took")
    for each in (down, back, mail):
        each.add_argument("--json", action="store_true", help="JSON in place of text")


def ask(context: Context, order: Mapping[str, Any]) -> "Answer":
    """Order something of the running lab.

    Raises:
        SystemExit: 3, it does not run; 1, it cannot do that.
    """
    from mx10.lab.control import NotRunningError, OrderError
    from mx10.lab.control import ask as ask_lab

    lab = context.config.lab
    try:
        return ask_lab(lab.address, lab.port, order)
    except NotRunningError as error:
        print(
            f"mx10 lab: {error}: start one with `mx10 lab up`; one at another port is found with MX10_LAB__PORT",
            file=sys.stderr,
        )
        raise SystemExit(NO_ANSWER) from None
    except OrderError as error:
        print(f"mx10 lab: {plain(str(error))}", file=sys.stderr)
        raise SystemExit(ABSENT) from None


def exchangers(context: Context, word: str) -> list[str]:
    """Lines about each exchanger of the running lab; none if it does not run.

    Args:
        word: only of those with this, in lower case, in their name, state or domains.
    """
    from mx10.lab.control import NotRunningError, OrderError
    from mx10.lab.control import ask as ask_lab

    lab = context.config.lab
    try:
        hosts = ask_lab(lab.address, lab.port, {"do": "hosts"}).told["hosts"]
    except (NotRunningError, OrderError):
        return []
    rows = [
        (
            f"  {plain(_shown(host['host']))}",
            context.style.paint(host["health"], _LOOKS.get(host["health"], "bold")),
            f"{host['taken']} taken" + (f", {host['waiting']} waiting" if host["relay"] else ""),
            plain(host["fault"] or ", ".join(map(_shown, host["domains"]))),
        )
        for host in hosts
        if word in f"{host['host']} {host['health']} {' '.join(host['domains'])}".casefold()
    ]
    return table((), rows).split("\n") if rows else []


def _shown(name: str) -> str:
    from mx10.names import DomainError, display, domain_from_text

    try:
        return display(domain_from_text(name)).removesuffix(".")
    except DomainError:
        return name


def _print_json(shown: Mapping[str, Any]) -> None:
    import json

    print(json.dumps(shown, ensure_ascii=False, indent=2))


# -- down, back ------------------------------------------------------------------------------------------------------


def _down(args: argparse.Namespace, context: Context) -> int:
    changed = [ask(context, {"do": "change", "host": host, "health": args.how}).told for host in args.host]
    if args.json:
        _print_json({"hosts": changed})
        return OK
    for told in changed:
        host = plain(_shown(told["host"]))
        print(f"{host} is {told['health']}: {_HOW[args.how]}; `mx10 lab back {host}` ends that")
    return OK


def _back(args: argparse.Namespace, context: Context) -> int:
    hosts = args.host or [
        host["host"] for host in ask(context, {"do": "hosts"}).told["hosts"] if host["health"] != "up" or host["fault"]
    ]
    changed = [ask(context, {"do": "change", "host": host, "health": "up"}).told for host in hosts]
    if args.json:
        _print_json({"hosts": changed})
    elif not changed:
        print("all exchangers are up")
    else:
        for told in changed:
            host = plain(_shown(told["host"]))
            if told["fault"]:
                print(f"{host} should be up, but {plain(told['fault'])}")
            else:
                was = "was up already" if told["before"] == "up" else "is up again"
                print(f"{host} {was}, at port {told['port']}")
    return NO_ANSWER if any(told["fault"] for told in changed) else OK


# -- mail ------------------------------------------------------------------------------------------------------------


def _mail(args: argparse.Namespace, context: Context) -> int:
    which = args.which
    if which is not None and which.isascii() and which.isdigit():
        return _one(int(which[:15]), args, context)
    order: dict[str, Any] = {"do": "messages"}
    if which is not None:
        order["host"] = which
    told = ask(context, order).told
    messages = told["messages"]
    if args.json:
        _print_json({"taken": told["taken"], "messages": messages})
        return OK
    if not messages:
        print("no exchanger has a message" if which is None else f"{plain(which)} has no message")
        return OK
    rows = [
        (
            str(each["number"]),
            _time(each["at"]),
            plain(_shown(each["host"])),
            plain(each["sender"] or "<>"),
            plain(_recipients(each["recipients"])),
            plain(each["subject"]),
        )
        for each in messages
    ]
    print(table(("", "at", "taken by", "from", "to", "subject"), rows, style=context.style, right=(0,)))
    return OK


def _one(number: int, args: argparse.Namespace, context: Context) -> int:
    answer = ask(context, {"do": "message", "number": number})
    text, told = answer.content.decode("utf-8", "replace"), answer.told
    if args.json:
        _print_json({**told, "text": text})
        return OK
    print(context.style.paint(f"{plain(_shown(told['host']))} took it at {_time(told['at'])}", "bold"))
    print(f"  from {plain(told['sender'] or '<>')}")
    for each in told["recipients"]:
        print(f"  to   {plain(each)}")
    print()
    for line in text.removesuffix("\r\n").split("\r\n"):
        # Tabs begin lines that go on.
        print(plain(line.replace("\t", "    ")))
    return OK


def _time(milliseconds: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(milliseconds / 1000, UTC).astimezone().strftime("%H:%M:%S")


def _recipients(addresses: list[str]) -> str:
    more = f" and {len(addresses) - 1} more" if len(addresses) > 1 else ""
    return f"{addresses[0]}{more}"


ACTIONS: Final[dict[str, Callable[[argparse.Namespace, Context], int]]] = {"down": _down, "back": _back, "mail": _mail}
