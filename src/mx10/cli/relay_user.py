"""``mx10 relay-user``: a line for the file of who may log in at the relay."""

import argparse
import getpass
import json
import secrets
import sys

from mx10.cli import OK, USAGE
from mx10.cli.context import Context

SUMMARY = "make a line for `relay.users`: who may log in at the relay to send mail"
ITERATIONS = 10_000
"""Of PBKDF2: a third of a hundredth of a second for us, and as much for each guess of a thief (RFC 7677 wants 4096)."""
MAX_PASSWORD = 1024


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="what the user logs in as")
    parser.add_argument("--random", action="store_true", help="draw a password and print it as well")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.epilog = (
        "The password is asked for, or read from standard input, a line; it is never an argument, which everybody on"
        " the machine could see. Add the line that is printed to the file that relay.users names; the relay reads it"
        " again by itself. Exit codes: 0 made, 2 the name or the password will not do."
    )


def run(args: argparse.Namespace, context: Context) -> int:
    del context
    from mx10.relay.door.users import to_line
    from mx10.smtp.auth import ScramKeys

    if not args.name or any(char.isspace() or not char.isprintable() for char in args.name) or args.name[0] == "#":
        return _no("a name has no spaces or controls, and does not begin with #")
    password = secrets.token_urlsafe(18) if args.random else _asked()
    if password is None:
        return _no("the two passwords are not the same")
    if not password or len(password) > MAX_PASSWORD or not password.isprintable():
        return _no(f"a password has 1 to {MAX_PASSWORD} characters, none of them a control")
    line = to_line(args.name, ScramKeys.of(password, secrets.token_bytes(16), ITERATIONS))
    if args.json:
        print(json.dumps({"line": line, **({"password": password} if args.random else {})}))
        return OK
    if args.random:
        print(f"the password: {password}", file=sys.stderr)
    print(line)
    return OK


def _asked() -> str | None:
    """The password; None where it was typed in two ways."""
    if not sys.stdin.isatty():
        return sys.stdin.readline(MAX_PASSWORD + 2).rstrip("\r\n")
    first = getpass.getpass("password: ")
    return first if getpass.getpass("once more: ") == first else None


def _no(why: str) -> int:
    print(f"mx10 relay-user: {why}", file=sys.stderr)
    return USAGE
