"""argparse with messages that say what is wrong and the mend.

argparse is in the standard library and loads in a few milliseconds, where richer ones take longer than a whole
command may.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Final, NoReturn

from mx10.cli import GLOBAL_OPTIONS, UsageError
from mx10.config.errors import nearest

_HIDDEN: Final = "\0"
"""Stands before an argument that begins with a dash and is no option; no argument of a process can hold it."""


class _Help(argparse.RawDescriptionHelpFormatter):
    """Help as wide as the terminal. argparse makes one for every option it is told of, and would load shutil for it."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_columns() - 2)


def _columns() -> int:
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and 20 <= int(columns) <= 1000:
        return int(columns)
    try:
        return max(20, os.get_terminal_size(sys.stdout.fileno()).columns)
    except (AttributeError, ValueError, OSError):
        # No terminal, or no file at all.
        return 100


def _hide_dashes(argv: Sequence[str]) -> list[str]:
    """Arguments without ``--``, what stands behind it marked as no option: argparse forgets it where options and other
    arguments are mixed."""
    if "--" not in argv:
        return list(argv)
    end = argv.index("--")
    return [*argv[:end], *(_HIDDEN + word if word.startswith("-") else word for word in argv[end + 1 :])]


def _show_dashes(value: object) -> object:
    if isinstance(value, list):
        return [_show_dashes(one) for one in value]
    return value.removeprefix(_HIDDEN) if isinstance(value, str) else value


class Parser(argparse.ArgumentParser):
    """A verb's arguments. Options may stand between the other arguments, and are never guessed from their beginning."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        settings.setdefault("allow_abbrev", False)
        settings.setdefault("formatter_class", _Help)
        super().__init__(*args, **settings)

    def parse(self, argv: Sequence[str]) -> argparse.Namespace:
        """The arguments of one command.

        Raises:
            UsageError: they mean nothing; with the nearest option where one is unknown.
        """
        if any(action.nargs in (argparse.PARSER, argparse.REMAINDER) for action in self._actions):
            args, rest = self.parse_known_args(argv)
        else:
            args, rest = self.parse_known_intermixed_args(_hide_dashes(argv))
            for name, value in vars(args).items():
                setattr(args, name, _show_dashes(value))
        for word in rest:
            if word.startswith("-") and word != "-":
                meant = nearest(word.partition("=")[0], self._options())
                self.error(f"no such option: {word}" + (f"; did you mean {meant}?" if meant else ""))
        if rest:
            self.error(f"too many arguments: {' '.join(word.removeprefix(_HIDDEN) for word in rest)}")
        return args

    def error(self, message: str) -> NoReturn:
        mend = "" if message.endswith("?") else f"; `{self.prog} --help` tells how"
        raise UsageError(f"{self.prog.removeprefix('mx10 ')}: {message}{mend}")

    def format_help(self) -> str:
        options = "\n".join(f"  {option:<20}  {text}" for option, text in GLOBAL_OPTIONS)
        return f"{super().format_help()}\nglobal options:\n{options}\n"

    def _options(self) -> Iterator[str]:
        """Every option there is, those of sub-verbs too."""
        parsers: list[argparse.ArgumentParser] = [self]
        while parsers:
            for action in parsers.pop()._actions:
                yield from action.option_strings
                if isinstance(action, argparse._SubParsersAction):
                    parsers += action.choices.values()
        yield from (option.partition(" ")[0] for option, _ in GLOBAL_OPTIONS)
