"""The command line: one file a verb; this one finds the verb, reads the global options, and turns errors into words
and exit codes.

A verb is a module with ``SUMMARY``, ``configure(parser)`` and ``run(args, context)``; it is imported when it is used,
and imports what it needs when it runs, so that every command starts quickly. A verb of several words, as ``mx10 zone
add``, is a package with ``SUMMARY`` and ``SUBVERBS``. No rule of mail or DNS lives here.
"""

import errno
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, NoReturn

from mx10 import __version__

if TYPE_CHECKING:
    from mx10.cli.context import Context

VERBS: Final = {
    "serve": "mx10.cli.serve",
    "lookup": "mx10.cli.lookup",
    "route": "mx10.cli.route",
    "send": "mx10.cli.send",
    "backup": "mx10.cli.backup",
    "queue": "mx10.cli.queue",
    "relay-user": "mx10.cli.relay_user",
    "zone": "mx10.cli.zone",
    "store": "mx10.cli.store",
    "nameserver": "mx10.cli.nameserver",
    "tsig": "mx10.cli.tsig",
    "lab": "mx10.cli.lab",
    "config": "mx10.cli.config",
}
"""Verb to its module, in the order of ``mx10 --help``."""

ASKING: Final = frozenset({"lookup", "route", "send", "backup"})
"""Verbs that ask nameservers: with ``--lab`` these need the lab to be running."""
SENDING: Final = frozenset({"send", "backup"})
"""Verbs that connect to exchangers: with ``--lab`` they verify them with the lab's authority."""

OF_THE_RELAY: Final = frozenset({"queue", "backup"})
"""Verbs that look into the relay's spool: with ``--lab`` this is that of the lab's relay."""

OK: Final = 0
ABSENT: Final = 1
USAGE: Final = 2
NO_ANSWER: Final = 3
NOT_WRITTEN: Final = 74
INTERRUPTED: Final = 130
PIPE_CLOSED: Final = 141

GLOBAL_OPTIONS: Final = (
    ("--config FILE", "read this file instead of mx10.toml"),
    ("--lab", "ask the lab (`mx10 lab up`) instead of the internet"),
    ("--no-color", "no colours; neither are there any with NO_COLOR set, or where no terminal is"),
)

EXIT_CODES: Final = """\
exit codes:
  0    done; there is an answer
  1    done; there is no such data, name or route, or a check found an error
  2    the command, the configuration or a name is wrong, or a service could not start
  3    no server answered: try again later
  74   the output could not be written
  130  interrupted with Ctrl-C
  141  the program reading the output stopped reading it"""


_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
"""What a file or a disk says that takes no more."""


class UsageError(Exception):
    """A command line that means nothing; the message says what and the mend."""


class GlobalOptions:
    """The options that may stand before or after the verb."""

    __slots__ = ("color", "config", "lab")

    def __init__(self) -> None:
        self.config: str | None = None
        self.lab = False
        self.color = True


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the arguments without the program's name; the process's own by default.

    Returns:
        The exit code, see ``EXIT_CODES``.
    """
    _open_missing_streams()
    try:
        code = _run(list(sys.argv[1:] if argv is None else argv))
        # Here rather than at exit, where a reader who is gone would be a message.
        sys.stdout.flush()
    except UsageError as error:
        print(f"mx10: {error}", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _drop_output()
        return PIPE_CLOSED
    except OSError as error:
        # One with a file's name is not about the output.
        if error.errno not in _NO_ROOM or error.filename is not None:
            raise
        _drop_output()
        print(f"mx10: the output could not be written: {error.strerror}", file=sys.stderr)
        return NOT_WRITTEN
    return code


def _open_missing_streams() -> None:
    """Standard streams that whoever started us closed lead nowhere; otherwise the next socket would get their
    number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8", closefd=False))


def _drop_output() -> None:
    """What is still buffered has nowhere to go."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(argv: list[str]) -> int:
    for stream in (sys.stdout, sys.stderr):
        # Names from the DNS and arguments may hold what the terminal's encoding cannot show.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    options, rest = split_options(argv)
    if not rest or rest[0] in ("--help", "-h", "help"):
        if len(rest) > 1 and rest[0] == "help":
            return _verb(rest[1], [*rest[2:], "--help"], options)
        print(_help())
        return OK if rest else USAGE
    if rest[0] in ("--version", "-V", "version"):
        print(f"mx10 {__version__}")
        return OK
    if rest[0].startswith("-"):
        raise UsageError(f"no such option: {rest[0]}; `mx10 --help` lists all")
    return _verb(rest[0], rest[1:], options)


def split_options(argv: Sequence[str]) -> tuple[GlobalOptions, list[str]]:
    """The global options, wherever they stand before a ``--``, and all other arguments.

    Raises:
        UsageError: ``--config`` without a file.
    """
    options = GlobalOptions()
    rest: list[str] = []
    arguments = iter(argv)
    for argument in arguments:
        if argument == "--":
            rest += ["--", *arguments]
        elif argument == "--lab":
            options.lab = True
        elif argument in ("--no-color", "--no-colour"):
            options.color = False
        elif argument == "--config" or argument.startswith("--config="):
            options.config = argument[9:] if "=" in argument else next(arguments, "")
            if not options.config:
                raise UsageError("--config needs a file, as in --config mx10.toml")
        else:
            rest.append(argument)
    return options, rest


def _verb(name: str, argv: list[str], options: GlobalOptions) -> int:
    from importlib import import_module

    from mx10.cli.arguments import Parser

    words = name
    module = import_module(_choose(name, VERBS, "verb", "mx10"))
    while subverbs := getattr(module, "SUBVERBS", None):
        if not argv or argv[0] in ("--help", "-h", "help"):
            print(_help_of_several(words, module.SUMMARY, subverbs))
            return OK if argv else USAGE
        module = import_module(_choose(argv[0], subverbs, f"{words} verb", f"mx10 {words}"))
        words, argv = f"{words} {argv[0]}", argv[1:]
    parser = Parser(prog=f"mx10 {words}", description=f"{module.SUMMARY[:1].upper()}{module.SUMMARY[1:]}.")
    module.configure(parser)
    args = parser.parse(argv)
    code: int = module.run(args, _context(name, options))
    return code


def _choose(name: str, verbs: Mapping[str, str], kind: str, prog: str) -> str:
    """The module of a verb.

    Raises:
        UsageError: there is no such verb; with the nearest one.
    """
    if name in verbs:
        return verbs[name]
    from mx10.config.errors import nearest

    meant = nearest(name, verbs)
    mend = f"did you mean {meant}?" if meant else f"`{prog} --help` lists all"
    raise UsageError(f"no such {kind}: {name}; {mend}")


def _help_of_several(words: str, summary: str, subverbs: Mapping[str, str]) -> str:
    from importlib import import_module

    from mx10.cli.text import table

    rows = [(f"  {name}", import_module(module).SUMMARY) for name, module in subverbs.items()]
    return "\n".join(
        (
            f"usage: mx10 {words} VERB [ARGUMENT …]",
            "",
            f"{summary[:1].upper()}{summary[1:]}.",
            "",
            table((), rows),
            "",
            f"`mx10 {words} VERB --help` tells all about one.",
            "",
            "global options:",
            table((), [(f"  {option}", text) for option, text in GLOBAL_OPTIONS]),
        )
    )


def _context(verb: str, options: GlobalOptions) -> "Context":
    from pathlib import Path

    from mx10.cli.context import Context
    from mx10.cli.lab_target import authority, require_lab, settings_of_relay
    from mx10.cli.text import Style
    from mx10.config import ConfigError, load
    from mx10.lab import LAB_NETWORKS

    try:
        loaded = load(Path(options.config) if options.config else None, os.environ)
    except ConfigError as error:
        _stop(*str(error).split("\n"))
    if options.lab:
        lab = loaded.config.lab
        values = {
            "resolver.servers": (f"{lab.address}:{lab.port}",),
            "routing.public_networks": LAB_NETWORKS,
            "relay.port": lab.mail_port,
        }
        if verb in SENDING:
            values["relay.ca_file"] = authority(lab.address, lab.port)
        if verb in OF_THE_RELAY:
            values |= settings_of_relay(lab.address, lab.port)
        loaded = loaded.override(values, "--lab")
        if verb in ASKING:
            require_lab(lab.address, lab.port)
    style = Style.of(sys.stdout, os.environ, wanted=options.color)
    return Context(loaded.config, loaded.origins, loaded.file, options.lab, style)


def _stop(*lines: str) -> NoReturn:
    raise UsageError("\nmx10: ".join(lines))


def _help() -> str:
    from importlib import import_module

    from mx10.cli.text import table

    verbs = [(f"  {name}", import_module(module).SUMMARY) for name, module in VERBS.items()]
    options = [(f"  {option}", text) for option, text in GLOBAL_OPTIONS]
    return "\n".join(
        (
            "mx10 publishes MX records, looks them up, and says where mail goes.",
            "",
            "usage: mx10 VERB [ARGUMENT …]",
            "",
            table((), verbs),
            "",
            "options, before or after the verb:",
            table((), [*options, ("  --version", "print the version"), ("  --help", "after a verb: all about it")]),
            "",
            EXIT_CODES,
        )
    )
