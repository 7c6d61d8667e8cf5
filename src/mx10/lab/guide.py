"""What there is in the lab, for people: the domains with what each shows, read from the zone files, and a folder of
one's own to edit.

A line ``;; KIND: DOMAIN: what it shows`` in a zone file puts a domain on the list. So the list is true of edited and
added files too.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mx10.zones.folder import is_zone_file_name

KINDS: Final = {
    "usual": "as most domains have it",
    "none": "without MX",
    "aliases": "behind an alias",
    "names": "names and numbers out of the ordinary",
    "broken": "wrong on purpose",
    "unreachable": "the DNS itself fails",
}
"""Kind of domain to what it is called on the list, in the list's order; a kind that a user invents comes last."""

_MARK: Final = ";;"


@dataclass(frozen=True, slots=True)
class Example:
    """A domain of the lab: its kind, its name as one types it, what it shows, and the file that says so."""

    kind: str
    domain: str
    shows: str
    file: str


class CopyError(Exception):
    """The zones cannot be copied there: why, and what to do."""


def examples(folder: Path) -> list[Example]:
    """Every domain that the zone files of a folder tell of, by kind and then by file."""
    order = {kind: at for at, kind in enumerate(KINDS)}
    found = [
        example
        for path in sorted(folder.iterdir())
        if path.is_file() and is_zone_file_name(path.name)
        for example in _read(path)
    ]
    return sorted(found, key=lambda example: order.get(example.kind, len(order)))


def _read(path: Path) -> Iterator[Example]:
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if not line.startswith(_MARK):
                continue
            kind, _, rest = line.removeprefix(_MARK).strip().partition(": ")
            domain, _, shows = rest.partition(": ")
            if domain and shows:
                yield Example(kind, domain, shows, path.name)


def copy_zones(source: Path, target: Path) -> int:
    """Copy zone files to a folder, made if need be; nothing that is there is written over.

    Returns:
        How many files were copied.

    Raises:
        CopyError: the target is no folder, has one of the files already, or cannot be written.
    """
    paths = sorted(path for path in source.iterdir() if path.is_file() and is_zone_file_name(path.name))
    try:
        target.mkdir(parents=True, exist_ok=True)
        present = [path.name for path in paths if (target / path.name).exists()]
        if present:
            raise CopyError(f"{target} has {present[0]} already: name a new folder, or remove the files first")
        for path in paths:
            shutil.copyfile(path, target / path.name)
    except OSError as error:
        raise CopyError(f"cannot write to {error.filename or target}: {error.strerror}; name another folder") from error
    return len(paths)
