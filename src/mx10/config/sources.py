"""Reading ``mx10.toml``: its values, and the line where each stands."""

import os
import re
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mx10.config.errors import ConfigError, ConfigProblem

MAX_OCTETS: Final = 256 * 1024
"""Largest configuration file. tomllib's time grows with the length of one value times its depth; this bounds it to
seconds at worst.
"""
_MAX_STATEMENT: Final = 200
"""Lines of one statement up to which the places of keys are told; finding its end takes time with the square of them.
"""

_PLACE: Final = re.compile(
    r"^(?P<what>.*) \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)$", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Document:
    """A configuration file as it was read.

    Attributes:
        values: what the TOML says.
        lines: the path of each key and table, ``("nameserver", "workers")``, to its line, counted from 1.
    """

    path: Path | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    lines: Mapping[tuple[str, ...], int] = field(default_factory=dict)

    def where(self, key: tuple[str, ...]) -> str:
        """``file:line`` of a key, or of the nearest table around it whose place is known."""
        for end in range(len(key), 0, -1):
            if line := self.lines.get(key[:end]):
                return f"{self.path}:{line}"
        return str(self.path)


def read_document(path: Path) -> Document:
    """Read a TOML file.

    Raises:
        ConfigError: it cannot be read, is too large, or is not TOML in UTF-8; with line and column where they are
            known.
    """
    octets = _read(path)
    try:
        # A byte order mark is allowed: some editors write it unasked.
        text = octets.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = octets.count(b"\n", 0, error.start) + 1
        raise _problem(f"{path}:{line}", "not UTF-8", "save the file in UTF-8, as TOML demands") from None
    try:
        values = tomllib.loads(text)
    except RecursionError:
        raise _problem(str(path), "values nested too deeply", "no setting needs that; take it out") from None
    except ValueError as error:
        # TOMLDecodeError, or Python's own for a number with thousands of digits.
        raise _problem(*_place(path, text, str(error)), "see https://toml.io for the form") from None
    return Document(path, values, statement_lines(text))


def _read(path: Path) -> bytes:
    """The octets of a regular file. A pipe or a device could block for ever, or never end."""
    try:
        # O_NONBLOCK: opening a named pipe must not wait for a writer.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise _problem(str(path), "not a regular file", "name a file of settings in TOML")
            octets = file.read(MAX_OCTETS + 1)
    except OSError as error:
        mend = "check the name given with --config or MX10_CONFIG" if isinstance(error, FileNotFoundError) else ""
        raise _problem(str(path), f"cannot be read: {error.strerror or error}", mend) from None
    except ConfigError:
        # A ValueError too.
        raise
    except ValueError as error:
        raise _problem(repr(str(path)), f"cannot be a file's name: {error}") from None
    if len(octets) > MAX_OCTETS:
        raise _problem(str(path), f"larger than {MAX_OCTETS // 1024} KiB", "is it a file of settings?")
    return octets


def _problem(where: str, what: str, mend: str = "") -> ConfigError:
    return ConfigError([ConfigProblem(where, "", what, mend)])


def _place(path: Path, text: str, message: str) -> tuple[str, str]:
    """The place and the text of a message such as ``Invalid value (at line 3, column 5)``."""
    match = _PLACE.match(message)
    if not match:
        return str(path), f"not TOML: {message}"
    line, column = match["line"], match["column"]
    if line is None:
        line, column = str(text.count("\n") + 1), str(len(text) - text.rfind("\n"))
    return f"{path}:{line}:{column}", f"not TOML: {match['what']}"


def statement_lines(text: str) -> dict[tuple[str, ...], int]:
    """Where the keys and tables of a valid TOML text stand: path to line.

    tomllib does not tell. But a statement ends with its line unless a bracket or a string is open, and then it is not
    valid TOML by itself. So the shortest run of lines that tomllib takes is one statement, and what it takes it for
    is its path.
    """
    found: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    lines = text.replace("\r\n", "\n").split("\n")
    start = 0
    while start < len(lines):
        for end in range(start + 1, min(start + _MAX_STATEMENT, len(lines)) + 1):
            statement = "\n".join(lines[start:end])
            try:
                values = tomllib.loads(statement)
            except ValueError:
                continue
            break
        else:
            return found
        header = statement.lstrip().startswith("[")
        paths = _paths(values)
        if header:
            table = paths[-1] if paths else ()
            found.setdefault(table, start + 1)
        else:
            for path in paths:
                found.setdefault(table + path, start + 1)
        start = end
    return found


def _paths(values: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The paths in one statement's values, a table before what is in it; a list of tables ends its path."""
    found: list[tuple[str, ...]] = []
    waiting: list[tuple[tuple[str, ...], Mapping[str, Any]]] = [((), values)]
    while waiting:
        path, table = waiting.pop()
        for key, value in table.items():
            found.append((*path, key))
            if isinstance(value, dict):
                waiting.append(((*path, key), value))
    return found
