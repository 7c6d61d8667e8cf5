"""``mx10 lab``: start the lab, an internet in a box; list its domains; copy its zones to edit them; switch its
exchangers off and on, and see what they took."""

import argparse
import shlex
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mx10.cli import ABSENT, NO_ANSWER, OK, USAGE, UsageError, lab_mail
from mx10.cli.context import Context
from mx10.cli.text import plain, width
from mx10.config import LabSettings

if TYPE_CHECKING:
    from mx10.lab.guide import Example
    from mx10.lab.server import Lab

SUMMARY = "an internet in a box, to try everything without a network"

_WIDE: Final = 32
"""Columns of the widest domain name that others are lined up with."""
_SEND: Final = (
    "printf 'Subject: hello\\n\\nHello.\\n' | {mx10} --lab send --from ann@single.example --to sales@backup.example"
)
_BETTER: Final = "primary.backup.example secondary.backup.example"
_TOUR: Final = (
    ("a primary, a secondary, and a backup at another provider", "{mx10} --lab route sales@backup.example"),
    ("who gets the mail when the primary is down", "{mx10} --lab route backup.example --down primary.backup.example"),
    ("which failures together stop all mail", "{mx10} --lab route equal.example --all-down"),
    ("no mail; nobody can tell; private addresses", "{mx10} --lab route null.example lame.test mx-private.test"),
    ("MX records, with the addresses of their hosts", "{mx10} --lab lookup startup.example 例え.テスト"),
    ("primary and secondary off", f"{{mx10}} lab down {_BETTER}"),
    ("so a message goes to the backup: each step of it", _SEND),
    ("it waits there", "{mx10} --lab queue list"),
    ("and arrives, when they are on again", "{mx10} lab back"),
    ("what they took", "{mx10} lab mail"),
)


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    up = actions.add_parser("up", help="start the lab; Ctrl-C ends it", description="Start the lab; Ctrl-C ends it.")
    up.add_argument("--port", type=_port, help="port of every server in the lab (lab.port)")
    up.epilog = "Exit codes: 0 ended by Ctrl-C or SIGTERM, 2 could not start, 3 runs already."
    listing = actions.add_parser(
        "list", help="the lab's domains, and what each shows", description="The lab's domains, and what each shows."
    )
    listing.add_argument("word", nargs="?", default="", help="only domains of this kind, or with this in name or text")
    zones = actions.add_parser(
        "zones", help="where the lab's zone files are", description="Print the folder of the lab's zone files."
    )
    copy = actions.add_parser(
        "copy",
        help="copy the zone files to a folder of your own, to edit them",
        description="Copy the lab's zone files to a folder, to edit them there: `mx10 lab up --zone-dir DIR` runs"
        " the lab on them, and answers with each change as soon as it is saved.",
    )
    copy.add_argument("dir", metavar="DIR", type=_new_folder, help="a new folder")
    lab_mail.configure(actions)
    for each in (up, listing, zones):
        each.add_argument("--zone-dir", metavar="DIR", type=Path, help="folder of the lab's zone files (lab.zone_dir)")


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= 0xFFFF):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; write a number from 1 to 65535")
    return int(text)


def _new_folder(text: str) -> Path:
    # Path("") is the folder we are in, which is nobody's wish who writes "$UNSET".
    if not text:
        raise argparse.ArgumentTypeError("the folder's name is empty; write one, as my-lab")
    return Path(text)


def run(args: argparse.Namespace, context: Context) -> int:
    lab = context.config.lab
    if getattr(args, "zone_dir", None) is not None:
        lab = replace(lab, zone_dir=args.zone_dir)
    if getattr(args, "port", None) is not None:
        lab = replace(lab, port=args.port)
    context = replace(context, config=replace(context.config, lab=lab))
    actions = {"up": _up, "list": _list, "zones": _zones, "copy": _copy, **lab_mail.ACTIONS}
    return actions[args.action](args, context)


# -- up --------------------------------------------------------------------------------------------------------------


def _up(args: argparse.Namespace, context: Context) -> int:
    import asyncio

    from mx10 import logs
    from mx10.lab.server import LabError, RunningAlreadyError

    logs.configure(context.config.log.level, context.config.log.format)
    try:
        asyncio.run(_serve(context))
    except RunningAlreadyError as error:
        print(f"mx10 lab: {error}", file=sys.stderr)
        return NO_ANSWER
    except LabError as error:
        print(f"mx10 lab: {error}", file=sys.stderr)
        return USAGE
    return OK


async def _serve(context: Context) -> None:
    import asyncio
    import signal

    from mx10.lab.server import Lab

    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, over.set)
    lab = Lab(context.config)
    await lab.start()
    try:
        print(_greeting(lab, context), flush=True)
        await over.wait()
    finally:
        await lab.close()
    print("\nThe lab has ended.", flush=True)


def _greeting(running: "Lab", context: Context) -> str:
    """What there is and what to try, in commands that work as they stand from another terminal in the same folder."""
    lab, exchangers = context.config.lab, running.exchangers
    mx10 = _command()
    # Another terminal knows neither the options nor the environment of this one.
    usual = LabSettings()
    variable = f"MX10_LAB__PORT={lab.port} " if lab.port != usual.port else ""
    variable += f"MX10_LAB__ADDRESS={lab.address} " if lab.address != usual.address else ""
    variable += f"MX10_LAB__MAIL_PORT={lab.mail_port} " if lab.mail_port != usual.mail_port else ""
    tour = [(what, command.replace("{mx10}", f"{variable}{mx10}")) for what, command in _TOUR]
    if shutil.which("dig"):
        tour.append(("any other program can ask too", f"dig @{lab.address} -p {lab.port} backup.example MX"))
    tour.append(("all domains, and what each shows", f"{variable}{mx10} lab list"))
    if lab.zone_dir is None:
        own = f"To change them: `{mx10} lab copy my-lab`, then `{mx10} lab up --zone-dir my-lab`."
    else:
        own = "Edit them: what you save is in the next answer."
    return "\n".join(
        (
            context.style.paint(
                f"The lab is up: {running.zones} zones on {running.servers} nameservers of 127.53.0.0/16.", "bold"
            ),
            f"Ask {lab.address}, port {lab.port}. {exchangers.running} exchangers take mail at port {lab.mail_port}.",
            f"The zones are in {plain(str(running.folder))}.",
            own,
            "",
            "To try from another terminal, in this folder:",
            *(f"  # {what}\n  {command}" for what, command in tour),
            "",
            "Ctrl-C ends the lab.",
        )
    )


def _command() -> str:
    """How to call this program from the folder we are in."""
    program = Path(sys.argv[0])
    found = shutil.which("mx10")
    if found and program.name == "mx10" and Path(found).resolve() == program.resolve():
        return "mx10"
    if program.name == "mx10":
        return shlex.quote(_from_here(program))
    return f"{shlex.quote(_from_here(Path(sys.executable)))} -m mx10"


def _from_here(path: Path) -> str:
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path.absolute())


# -- list, zones, copy -----------------------------------------------------------------------------------------------


def _folder(context: Context) -> Path:
    from mx10.lab import ZONES

    folder = context.config.lab.zone_dir or ZONES
    if not folder.is_dir():
        raise UsageError(f"lab: {folder} is not a folder; `mx10 lab copy DIR` makes one")
    return folder


def _list(args: argparse.Namespace, context: Context) -> int:
    from mx10.lab.guide import KINDS, examples

    word = args.word.casefold()
    found = [each for each in examples(_folder(context)) if _is_about(each, word)]
    hosts = lab_mail.exchangers(context, word)
    if not found and not hosts:
        print(
            f"mx10 lab: no domain of the lab is about {plain(args.word)!r}; `mx10 lab list` shows all", file=sys.stderr
        )
        return ABSENT
    paint = context.style.paint
    widest = max((width(each.domain) for each in found if width(each.domain) <= _WIDE), default=0)
    kind = ""
    for each in found:
        if each.kind != kind:
            print(("\n" if kind else "") + paint(plain(KINDS.get(each.kind, each.kind)), "bold"))
            kind = each.kind
        # A name too long for the column has a line of its own.
        name = plain(each.domain)
        gap = "\n  " + " " * widest if width(name) > widest else " " * (widest - width(name))
        print(f"  {name}{gap}  {plain(each.shows)}")
    if hosts:
        title = f"exchangers that take mail at port {context.config.lab.mail_port}"
        print(("\n" if found else "") + paint(title, "bold"), *hosts, sep="\n")
    return OK


def _is_about(example: "Example", word: str) -> bool:
    return word in f"{example.kind} {example.domain} {example.shows}".casefold()


def _zones(args: argparse.Namespace, context: Context) -> int:
    print(_folder(context))
    return OK


def _copy(args: argparse.Namespace, context: Context) -> int:
    from mx10.lab import ZONES
    from mx10.lab.guide import CopyError, copy_zones

    try:
        count = copy_zones(ZONES, args.dir)
    except CopyError as error:
        raise UsageError(f"lab copy: {error}") from None
    print(f"{count} zone files are in {args.dir}; to run the lab on them:")
    print(f"  {_command()} lab up --zone-dir {shlex.quote(str(args.dir))}")
    return OK
