"""The zones of a folder: one master file a zone, all loaded at the start, each alone again when its file changes.

A zone whose file turns bad stays as it was; the problems say so. The folder is listed, and files are read, only when
somebody calls: nothing here watches or waits.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Final, NamedTuple

from mx10.config import ZoneSettings
from mx10.dns import wirename
from mx10.zones import problems as p
from mx10.zones.build import TOLERABLE, Loaded, build
from mx10.zones.master import read
from mx10.zones.problems import Problem, Problems
from mx10.zones.source import Stamp, current_stamp

SKIPPED_ENDINGS: Final = (
    "~", ".swp", ".swo", ".swx", ".tmp", ".jnl", ".jbk", ".inc", ".bak", ".orig", ".rej",
    ".dpkg-old", ".dpkg-dist", ".rpmsave", ".rpmnew",
)  # fmt: skip
"""What a file ends in that is no zone file: left by editors, patches, package managers and other nameservers; and .inc,
for files to be included."""

_ENDINGS: Final = (".zone", ".db", ".txt")
_CHUNK: Final = 250
"""Files a process reads at a time: enough that handing them over costs nothing, few enough to share the work evenly."""


class _Entry(NamedTuple):
    """What is remembered of a zone file: the apex it gave (None: never good), and the stamps of the files it depends
    on."""

    apex: bytes | None
    stamps: dict[str, Stamp] | Stamp
    """Of a file that includes none, its own stamp alone: that is nearly every file, and the memory of it counts."""


class _Result(NamedTuple):
    """One file read: its name, the apex and packed zone if it is good."""

    name: str
    apex: bytes | None
    packed: bytes | None
    problems: tuple[Problem, ...]
    stamps: dict[str, Stamp] | Stamp
    """As in ``_Entry``."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What a reload changed: apex to packed zone, None where the zone is gone; and the problems of the files read."""

    changed: dict[bytes, bytes | None] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def is_zone_file_name(name: str) -> bool:
    """Whether a file of that name should hold a zone.

    A name without any dot, such as ``sedh4k72a`` or ``4913``, is what editors and scripts write for a moment.
    """
    return "." in name and not (
        name.startswith(".") or name.endswith(SKIPPED_ENDINGS) or name.upper().startswith("README")
    )


def _is_zone_file(entry: os.DirEntry[str]) -> bool:
    """The same, with a look at what it is: a folder with an ordinary name is for files to be included, and one with a
    zone's name is a mistake to tell."""
    return is_zone_file_name(entry.name) and (entry.name.endswith(_ENDINGS) or not entry.is_dir())


def origin_from_file_name(name: str) -> bytes | None:
    """The zone a file is named for: ``example.com.zone``, ``example.com.db``, ``db.example.com`` and ``example.com``
    are all example.com; ``root.zone`` is the root.

    Returns:
        A folded wire name; None where the name is no domain name, and the file has to say $ORIGIN.
    """
    stem = name
    for ending in _ENDINGS:
        if name.endswith(ending):
            stem = name.removesuffix(ending)
            break
    else:
        stem = name.removeprefix("db.")
    if stem in ("root", "_root", "@"):
        return wirename.ROOT
    try:
        if stem.isascii():
            return wirename.fold(wirename.from_text(stem))
        from mx10.names import domain_from_text

        return domain_from_text(stem)
    except ValueError:
        return None


def load_file(folder: str, name: str, settings: ZoneSettings, absolute: dict[str, bytes] | None = None) -> Loaded:
    """Read one zone file of a folder.

    Args:
        folder: the zone folder: what is included must be in it.
        name: the file's name in it.
        absolute: names remembered from zone to zone; see ``plain.Context``.
    """
    path = os.path.join(folder, name)
    return build(read(path, origin_from_file_name(name), settings, folder=folder, absolute=absolute), settings)


class ZoneFolder:
    """The zones of one folder.

    Args:
        folder: where the master files are; those in folders below it are only read when they are included.
        settings: the limits.
    """

    def __init__(self, folder: Path, settings: ZoneSettings) -> None:
        self.folder = folder
        self.settings = settings
        self.zones: dict[bytes, bytes] = {}
        """Apex to packed zone: the good ones."""
        self._files: dict[str, _Entry] = {}
        self._owner: dict[bytes, str] = {}
        """Apex to the name of the file that gave it."""
        self._included: dict[str, set[str]] = {}
        """Path of an included file (or of one that was looked for) to the names of the files that depend on it."""

    # ------------------------------------------------------------ loading

    def load(self, jobs: int = 1, progress: Callable[[int, int], None] | None = None) -> list[Problem]:
        """Read every zone file.

        Args:
            jobs: processes that read at the same time.
            progress: called now and then with the number of files done and of all.

        Returns:
            The problems, in the order of the file names.
        """
        names, problems = self._list()
        problems.extend(_unknown_rules(self.settings))
        changes = Changes(problems=problems)
        done = 0
        # In the order of names, so that which of two files gets an apex does not depend on which was read faster.
        for results in self._read_all(names, jobs):
            for result in results:
                self._take(result, changes)
            done += len(results)
            if progress:
                progress(done, len(names))
        return problems

    def _list(self) -> tuple[list[str], list[Problem]]:
        """The names of the zone files, sorted; and what cannot be one although it is named so."""
        names: list[str] = []
        problems = Problems(1 << 30)
        try:
            with os.scandir(self.folder) as entries:
                names.extend(entry.name for entry in entries if _is_zone_file(entry))
        except OSError as error:
            mend = "make the folder, or name another one with nameserver.zone_dir"
            problems.add(
                p.UNREADABLE, str(self.folder), 0, 0, f"the zone folder cannot be read: {error.strerror}", mend
            )
        names.sort()
        return names, problems.found

    def _read_all(self, names: list[str], jobs: int) -> Iterator[list[_Result]]:
        folder = str(self.folder)
        chunks = [names[at : at + _CHUNK] for at in range(0, len(names), _CHUNK)]
        if jobs <= 1 or len(chunks) < 2:
            for chunk in chunks:
                yield _read_chunk(folder, chunk, self.settings)
            return
        lost = chunks
        with ProcessPoolExecutor(min(jobs, len(chunks)), get_context("fork")) as pool, suppress(BrokenProcessPool):
            waiting = deque((pool.submit(_read_chunk, folder, chunk, self.settings), chunk) for chunk in chunks)
            lost = []
            while waiting:
                future, chunk = waiting.popleft()
                try:
                    yield future.result()
                except BrokenProcessPool:
                    lost.append(chunk)
        for chunk in lost:
            yield from self._read_apart(chunk)

    def _read_apart(self, names: list[str]) -> Iterator[list[_Result]]:
        """Read files after something killed a reader, most likely for want of memory: halving tells which file it
        was."""
        try:
            with ProcessPoolExecutor(1, get_context("fork")) as pool:
                yield pool.submit(_read_chunk, str(self.folder), names, self.settings).result()
        except BrokenProcessPool:
            if len(names) > 1:
                middle = len(names) // 2
                yield from self._read_apart(names[:middle])
                yield from self._read_apart(names[middle:])
                return
            path = os.path.join(self.folder, names[0])
            what = "the process that read this file died"
            problem = Problem("error", p.READER_DIED.code, path, 0, 0, what, p.READER_DIED.mend, "")
            yield [_Result(names[0], None, None, (problem,), current_stamp(path))]

    def _take(self, result: _Result, changes: Changes) -> None:
        """Make a result part of what is served."""
        name, apex, packed, problems, stamps = result
        changes.problems.extend(problems)
        before = self._files.get(name)
        if apex is not None and packed is not None:
            owner = self._owner.get(apex)
            if owner is not None and owner != name:
                path = os.path.join(self.folder, name)
                what = f"the zone {wirename.to_text(apex)} is in {owner} already"
                changes.problems.append(Problem("error", p.SAME_APEX.code, path, 0, 0, what, p.SAME_APEX.mend, ""))
                apex = None
        self._remember(name, before.apex if apex is None and before else apex, stamps)
        if apex is None or packed is None:
            return
        self._owner[apex] = name
        if self.zones.get(apex) != packed:
            self.zones[apex] = packed
            changes.changed[apex] = packed

    def _remember(self, name: str, apex: bytes | None, stamps: dict[str, Stamp] | Stamp) -> None:
        self._forget_includes(name)
        self._files[name] = _Entry(apex, stamps)
        if isinstance(stamps, dict):
            own = os.path.join(self.folder, name)
            for path in stamps:
                if path != own:
                    self._included.setdefault(path, set()).add(name)

    def _forget_includes(self, name: str) -> None:
        before = self._files.get(name)
        if before and isinstance(before.stamps, dict):
            for path in before.stamps:
                dependants = self._included.get(path, set())
                dependants.discard(name)
                if not dependants:
                    self._included.pop(path, None)

    def _drop(self, apex: bytes, changes: Changes) -> None:
        del self._owner[apex]
        del self.zones[apex]
        changes.changed[apex] = None

    # ------------------------------------------------------------ reloading

    def reload(self, paths: Iterable[Path] | None = None) -> Changes:
        """Read again what changed.

        Args:
            paths: the files that changed, zone files or included ones, as a watcher names them; None to look at all
                files.

        Returns:
            The zones that are different now.
        """
        changes = Changes()
        if paths is None:
            names, changes.problems[:] = self._list()
            if changes.problems:
                # The folder is away for the moment: no reason to stop answering.
                return changes
            wanted = set(names)
            touched = {name for name in wanted if self._has_changed(name)} | (self._files.keys() - wanted)
        else:
            touched = {name for path in paths for name in self._names_for(path)}
        gone = {name for name in touched if not os.path.lexists(os.path.join(self.folder, name))}
        for name in gone:
            self._forget_includes(name)
            entry = self._files.pop(name, None)
            if entry and entry.apex is not None:
                self._drop(entry.apex, changes)
        self._read_into(sorted(touched - gone), changes)
        if None in changes.changed.values():
            # A file that was refused because another had its apex may now have it.
            refused = [name for name, entry in self._files.items() if entry.apex is None and name not in touched]
            self._read_into(sorted(refused), changes)
        return changes

    def _read_into(self, names: list[str], changes: Changes) -> None:
        results = _read_chunk(str(self.folder), names, self.settings)
        # Apexes that files give up come free before others take them, so that two files may swap theirs.
        moving = {
            name: before.apex
            for name, apex, *_ in results
            if apex is not None and (before := self._files.get(name)) and before.apex not in (None, apex)
        }
        for name, apex, *_ in results:
            old = moving.get(name)
            holder = self._owner.get(apex) if apex else None
            # One that would move to an apex another file keeps is refused below, and keeps what it had.
            if old is not None and (holder is None or holder in moving):
                self._drop(old, changes)
                self._files[name] = self._files[name]._replace(apex=None)
        for result in results:
            self._take(result, changes)

    def _names_for(self, path: Path) -> set[str]:
        """The zone files to read again when a path changed."""
        text = os.path.normpath(path)
        names = set(self._included.get(text, ())) | set(self._included.get(os.path.realpath(text), ()))
        folder, name = os.path.split(text)
        here = is_zone_file_name(name) and os.path.realpath(folder) == os.path.realpath(self.folder)
        # A folder that is not named like a zone is for included files.
        if here and (name.endswith(_ENDINGS) or not os.path.isdir(text)):
            names.add(name)
        return names

    def _has_changed(self, name: str) -> bool:
        entry = self._files.get(name)
        if entry is None:
            return True
        if isinstance(entry.stamps, dict):
            return any(current_stamp(path) != stamp for path, stamp in entry.stamps.items())
        return current_stamp(os.path.join(self.folder, name)) != entry.stamps


def _unknown_rules(settings: ZoneSettings) -> Iterator[Problem]:
    """A mistyped code would tolerate nothing, and nobody would know why."""
    for code in settings.tolerate:
        if code not in TOLERABLE:
            what = f"{code!r} is no rule that could be tolerated"
            yield Problem("warning", p.UNKNOWN_RULE.code, "zones.tolerate", 0, 0, what, p.UNKNOWN_RULE.mend, "")


def _read_chunk(folder: str, names: list[str], settings: ZoneSettings) -> list[_Result]:
    absolute: dict[str, bytes] = {}
    results = []
    for name in names:
        loaded = load_file(folder, name, settings, absolute)
        zone, stamps = loaded.zone, loaded.stamps
        alone = stamps.get(os.path.join(folder, name)) if len(stamps) == 1 else None
        results.append(
            _Result(
                name,
                zone.apex if zone else None,
                zone.pack() if zone else None,
                loaded.problems,
                stamps if alone is None else alone,
            )
        )
    return results
