"""Reading master files: RFC 1035 section 5, $TTL (RFC 2308 section 4), $INCLUDE, $GENERATE, and types without a name
(RFC 3597), as BIND reads and writes them.

``read`` gives the records of a zone in the order of the file, each with the place it stands at, and the problems. An
error does not stop it: reading goes on with the next record, so that one run finds them all, up to a limit. Nothing
that a file holds raises anything out of here, and every quantity it could blow up has a limit in ``ZoneSettings``. What
the records mean together is the business of ``build`` and ``rules``.
"""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from mx10.config import ZoneSettings
from mx10.dns import rdata, wirename
from mx10.dns import rrtypes as rr
from mx10.dns.rdata import RdataSyntaxError, Token
from mx10.dns.wirename import NameSyntaxError
from mx10.zones import problems as p
from mx10.zones.generate import GenerateError, Template, numbers
from mx10.zones.plain import Context, Record, join_plain, read_plain
from mx10.zones.problems import Kind, Problems, TooManyProblemsError
from mx10.zones.source import IsLinkError, Source, SourceError, Stamp, current_stamp, resolve
from mx10.zones.tokens import Entry, scan

_SOME_ORIGIN: Final = b"\1x\0"
"""What a relative name is told by, where there is no origin: it comes out different with this one."""
_PLAIN_TTL: Final = re.compile(r"\$TTL[ \t]+([0-9]{1,9})[ \t\r]*").fullmatch
"""The directive nearly every file begins with."""
_OTHER_CLASSES: Final = frozenset({"CH", "CHAOS", "HS", "HESIOD", "NONE", "ANY"})


@dataclass(slots=True)
class Master:
    """What reading gave: ``files`` in the order of their index in places, ``stamps`` of every file the result depends
    on, missing ones included."""

    records: list[Record]
    problems: Problems
    files: list[str] = field(default_factory=list)
    stamps: dict[str, Stamp] = field(default_factory=dict)
    texts: dict[int, list[str]] = field(default_factory=dict)
    """Lines of the small files, by index, for ``places``."""


def read(
    path: str,
    origin: bytes | None,
    settings: ZoneSettings,
    *,
    folder: str | None = None,
    absolute: dict[str, bytes] | None = None,
) -> Master:
    """Read a zone file.

    Args:
        path: the file.
        origin: what relative names are completed with until the file says $ORIGIN.
        folder: where $INCLUDE is allowed; the file's own folder if not given.
        absolute: names remembered from zone to zone; see ``Context``.
    """
    reader = _Reader(settings, os.path.dirname(path) if folder is None else folder, origin, absolute)
    reader.run(path, None)
    return reader.master


def read_text(text: str, origin: bytes | None, settings: ZoneSettings, *, path: str = "<text>") -> Master:
    """Read a zone from a text; $INCLUDE is not allowed in it."""
    reader = _Reader(settings, None, origin, None)
    reader.run(path, Source.from_text(text, path))
    return reader.master


class _AbandonError(Exception):
    """A limit was passed: the rest of the zone is not read."""


class _EntryError(Exception):
    """An entry that says nothing: the problem with it, and the word at fault."""

    def __init__(self, kind: Kind, token: Token | None, what: str, mend: str = "") -> None:
        super().__init__(what)
        self.kind = kind
        self.token = token
        self.what = what
        self.mend = mend


class _Reader:
    """One run over a zone's files."""

    def __init__(
        self, settings: ZoneSettings, folder: str | None, origin: bytes | None, absolute: dict[str, bytes] | None
    ) -> None:
        self.settings = settings
        self.folder = folder
        self.master = Master([], Problems(settings.max_problems))
        self.context = Context(origin, self.master.records, absolute)
        self.path = ""
        self.open_files: list[str] = []
        self.octets_left = settings.max_file_mb << 20
        """What may still be read and generated for this zone."""

    def run(self, path: str, source: Source | None) -> None:
        self.path = path
        with suppress(_AbandonError, TooManyProblemsError):
            try:
                self.read_source(source or self.open_first(path))
            except SourceError as error:
                self.report(error.kind, 0, 0, error.what, error.mend)

    # ------------------------------------------------------------ files

    def open_first(self, path: str) -> Source:
        """Open the zone's own file, which may be a link to another one in the folder."""
        try:
            return self.open(path, path)
        except IsLinkError:
            source = self.open(resolve(self.folder or "/", path), path)
            self.master.stamps[path] = source.stamp
            return source

    def open(self, path: str, shown: str) -> Source:
        try:
            source = Source.open(path, self.octets_left)
        except SourceError:
            self.master.stamps[path] = current_stamp(path)
            raise
        self.master.stamps[path] = source.stamp
        self.octets_left -= source.size
        source.path = shown
        return source

    def read_source(self, source: Source) -> None:
        """Read a file, and what it includes."""
        master = self.master
        index = len(master.files)
        master.files.append(source.path)
        if source.text is not None:
            master.texts[index] = source.text
        outer_path, self.path = self.path, source.path
        outer_file, self.context.file = self.context.file, index << 32
        self.open_files.append(source.path)
        try:
            allowed = self.octets_left + source.size
            self.read_lines(source.lines(allowed, self.settings.max_line_bytes, self.line_too_long), source.simple)
        finally:
            source.close()
            self.open_files.pop()
            self.path = outer_path
            self.context.file = outer_file

    def read_lines(self, lines: Iterator[str], simple: bool) -> None:
        context = self.context
        records = context.records
        most = self.settings.max_records
        number = 0
        for line in lines:
            number += 1
            words = line.split()
            if not words:
                # What Python takes for white space is more than a master file does.
                if line.strip(" \t\r"):
                    number = self.read_entry(line, number, lines, False)
                continue
            if words[0][0] == ";":
                continue
            if (simple or _is_simple(line)) and read_plain(context, words, line, number):
                if len(records) > most:
                    self.too_many_records(number)
            else:
                number = self.read_entry(line, number, lines, simple)

    def read_entry(self, line: str, number: int, lines: Iterator[str], simple: bool) -> int:
        """Read the entry that begins with a line; the number of its last line."""
        taken = [line]
        if line[0] == "$":
            if simple and (ttl := _PLAIN_TTL(line)):
                self.context.default_ttl = int(ttl[1])
                return number
        else:
            taken, words = join_plain(line, lines)
            if words and (simple or all(map(_is_simple, taken))) and read_plain(self.context, words, line, number):
                if len(self.context.records) > self.settings.max_records:
                    self.too_many_records(number)
                return number + len(taken) - 1
        entry = scan(taken, number, lines, self.settings.max_line_bytes, self.report)
        if entry.good and entry.tokens:
            try:
                if not entry.indented and entry.tokens[0].text[0:1] == "$" and not entry.tokens[0].quoted:
                    self.read_directive(entry.tokens)
                else:
                    self.read_record(entry)
            except _EntryError as error:
                token = error.token or entry.tokens[-1]
                self.report(error.kind, token.line, token.column, error.what, error.mend)
            if len(self.context.records) > self.settings.max_records:
                self.too_many_records(number)
        return entry.last_line

    # ------------------------------------------------------------ records

    def read_record(self, entry: Entry) -> None:
        context = self.context
        tokens = entry.tokens
        at = 0
        if entry.indented:
            owner = context.owner
            if owner is None:
                raise _EntryError(p.NO_OWNER, tokens[0], "the first record has no owner name")
        else:
            owner = self.name(tokens[0]).lower()
            at = 1
        # As BIND does, the owner counts for the next line even if the rest of this one is wrong.
        context.owner = owner
        ttl, rrtype, at = self.read_head(tokens, at)
        data = self.data(rrtype, tokens[at:], tokens[at - 1])
        place = context.file | entry.line
        context.records.append((owner, rrtype, self.ttl(ttl, rrtype, data, tokens[at - 1]), data, place))

    def read_head(self, tokens: list[Token], at: int) -> tuple[int | None, int, int]:
        """TTL (None where there is none) and type, and where the data begins."""
        ttl: int | None = None
        class_seen = False
        while at < len(tokens):
            token = tokens[at]
            word = token.text.upper()
            at += 1
            if token.quoted:
                break
            if not class_seen and (word == "IN" or word == "CLASS1"):
                class_seen = True
            elif not class_seen and (word in _OTHER_CLASSES or (word.startswith("CLASS") and word[5:].isdigit())):
                raise _EntryError(p.CLASS_NOT_IN, token, f"the class {token.text} is not served")
            elif ttl is None and word[:1].isdigit():
                ttl = self.ttl_from(token)
            else:
                return ttl, self.type_from(token, tokens), at
        if at < len(tokens):
            raise _EntryError(p.NO_TYPE, tokens[at - 1], "a string stands where the type should")
        raise _EntryError(p.NO_TYPE, tokens[-1], "the record ends before its type")

    def type_from(self, token: Token, tokens: list[Token]) -> int:
        try:
            number = rr.type_from_text(token.text)
        except ValueError:
            mend = ""
            if token is not tokens[0] and _is_type(tokens[0].text):
                mend = f"begin the line with the owner name, or with white space; now {tokens[0].text} is the owner"
            raise _EntryError(p.UNKNOWN_TYPE, token, f"{token.text[:60]!a} is not a record type", mend) from None
        if number == 0 or number == rr.OPT or 128 <= number <= 255:
            raise _EntryError(p.META_TYPE, token, f"{token.text} records cannot be in a zone")
        return number

    def ttl_from(self, token: Token) -> int:
        seconds = None if token.quoted else rdata.seconds_from_text(token.text)
        if seconds is None or seconds > rdata.MAX_TTL:
            problem = "is not a TTL" if seconds is None else f"is a TTL above {rdata.MAX_TTL} seconds"
            raise _EntryError(p.BAD_TTL, token, f"{token.text[:60]!a} {problem}")
        return seconds

    def ttl(self, explicit: int | None, rrtype: int, data: bytes, token: Token) -> int:
        """The TTL of a record: its own, that of $TTL, the last one (RFC 1035 section 5.1), or for want of all of them
        the SOA's minimum."""
        context = self.context
        if explicit is not None:
            context.last_ttl = explicit
            return explicit
        if context.default_ttl is not None:
            return context.default_ttl
        if context.last_ttl is not None:
            what = f"there is no $TTL, so this record and those below take the TTL before them, {context.last_ttl} s"
            if not any(problem.code == p.TTL_FROM_LAST.code for problem in self.master.problems):
                self.report(p.TTL_FROM_LAST, token.line, token.column, what, "")
            return context.last_ttl
        if rrtype != rr.SOA:
            raise _EntryError(p.NO_TTL, token, "the record has no TTL, and nothing above says one")
        context.default_ttl = min(int.from_bytes(data[-4:], "big"), rdata.MAX_TTL)
        what = f"there is no $TTL, so the SOA's last field, {context.default_ttl} s, is taken for it"
        self.report(p.TTL_FROM_SOA, token.line, token.column, what, "")
        return context.default_ttl

    def name(self, token: Token) -> bytes:
        if token.quoted:
            raise _EntryError(p.BAD_NAME, token, "a name stands in quotes", "write it without quotes")
        origin = self.context.origin
        try:
            wire = wirename.from_text(token.text, origin)
            if origin is None and wire != wirename.from_text(token.text, _SOME_ORIGIN):
                raise _EntryError(p.NO_ORIGIN, token, f"{token.text[:60]} is relative, and there is no origin")
        except NameSyntaxError as error:
            raise _EntryError(p.BAD_NAME, token, f"{token.text[:60]!a} is not a name: {error}") from None
        return wire

    def data(self, rrtype: int, tokens: list[Token], before: Token) -> bytes:
        origin = self.context.origin
        try:
            data = rdata.from_text(rrtype, tokens, origin)
            if origin is None and data != rdata.from_text(rrtype, tokens, _SOME_ORIGIN):
                raise _EntryError(p.NO_ORIGIN, tokens[0], "the data has a relative name, and there is no origin")
            return data
        except RdataSyntaxError as error:
            raise _EntryError(p.BAD_DATA, error.token or before, error.what, error.mend) from None

    # ------------------------------------------------------------ directives

    def read_directive(self, tokens: list[Token]) -> None:
        name = tokens[0].text.upper()
        arguments = tokens[1:]
        if name == "$ORIGIN":
            self.expect(tokens, 1, 1, "$ORIGIN example.com.")
            self.context.set_origin(self.name(arguments[0]))
        elif name == "$TTL":
            self.expect(tokens, 1, 1, "$TTL 1h")
            self.context.default_ttl = self.ttl_from(arguments[0])
        elif name == "$INCLUDE":
            self.expect(tokens, 1, 2, "$INCLUDE file [origin]")
            self.include(arguments[0], self.name(arguments[1]) if len(arguments) > 1 else self.context.origin)
        elif name == "$GENERATE":
            self.expect(tokens, 4, len(tokens), "$GENERATE 1-10 host$ A 192.0.2.$")
            self.generate(arguments)
        else:
            raise _EntryError(p.UNKNOWN_DIRECTIVE, tokens[0], f"{tokens[0].text[:60]!a} is not a directive")

    def expect(self, tokens: list[Token], least: int, most: int, form: str) -> None:
        count = len(tokens) - 1
        if not least <= count <= most:
            token = tokens[most + 1] if count > most else tokens[0]
            what = f"{tokens[0].text} has {'more' if count > most else 'fewer'} words than it takes"
            raise _EntryError(p.BAD_DIRECTIVE, token, what, f"write: {form}")

    def include(self, token: Token, origin: bytes | None) -> None:
        """Read another file here. Origin and owner are afterwards what they were (RFC 1035 section 5.1); $TTL stays, as
        in BIND."""
        settings = self.settings
        if self.folder is None:
            raise _EntryError(p.OUTSIDE_FOLDER, token, "this text is in no folder that it could include files from")
        if len(self.open_files) > settings.max_include_depth:
            raise _EntryError(
                p.INCLUDE_TOO_DEEP, token, f"files include each other more than {settings.max_include_depth} deep"
            )
        if len(self.master.files) > settings.max_includes:
            raise _EntryError(p.TOO_MANY_INCLUDES, token, f"the zone includes more than {settings.max_includes} files")
        try:
            asked = os.fsdecode(rdata.octets_from_text(token.text))
            shown = os.path.join(self.folder, asked)
            # By the name it is asked by too: a link there may lead elsewhere tomorrow.
            self.master.stamps[os.path.normpath(shown)] = current_stamp(shown)
            real = resolve(self.folder, asked)
            shown = real if os.path.isabs(asked) else shown
            if real in map(os.path.realpath, self.open_files):
                raise _EntryError(p.INCLUDE_LOOP, token, f"{asked} is being read already: the files include each other")
            source = self.open(real, shown)
        except SourceError as error:
            raise _EntryError(error.kind, token, f"{token.text[:100]}: {error.what}", error.mend) from None
        except ValueError as error:
            raise _EntryError(p.UNREADABLE, token, f"{token.text[:60]!a} is not a file name: {error}") from None
        context = self.context
        outer_origin, outer_owner = context.origin, context.owner
        context.set_origin(origin)
        try:
            self.read_source(source)
        except SourceError as error:
            raise _EntryError(error.kind, token, f"{token.text[:100]}: {error.what}", error.mend) from None
        finally:
            context.set_origin(outer_origin)
            context.owner = outer_owner

    def generate(self, arguments: list[Token]) -> None:
        """Write the records of $GENERATE; the owner of the line before stays what it was."""
        fault = arguments[0]
        try:
            turns = numbers(fault.text)
            if len(turns) > self.settings.max_generate:
                what = f"this range makes {len(turns)} records, and {self.settings.max_generate} are allowed"
                raise _EntryError(p.GENERATE_TOO_MANY, fault, what)
            fault = arguments[1]
            owners = Template(fault.text)
            ttl, rrtype, at = self.read_head(arguments, 2)
            if at == len(arguments):
                raise _EntryError(p.BAD_GENERATE, arguments[-1], "the line ends where the data should stand")
            fault = arguments[at]
            datas = Template(_data_of_generate(arguments[at:]))
            for turn in turns:
                fault = arguments[1]
                owner = self.name(fault._replace(text=owners.text(turn))).lower()
                fault = arguments[at]
                text = datas.text(turn)
                self.octets_left -= len(text) + len(owner)
                if self.octets_left < 0:
                    what = f"the zone has more than {self.settings.max_file_mb} MB with what this line makes"
                    raise _EntryError(p.GENERATE_TOO_MANY, arguments[0], what, "raise zones.max_file_mb")
                entry = scan([text], fault.line, iter(()), len(text), self.report)
                words = [word._replace(line=fault.line, column=fault.column) for word in entry.tokens]
                data = self.data(rrtype, words, fault)
                place = self.context.file | arguments[0].line
                self.context.records.append((owner, rrtype, self.ttl(ttl, rrtype, data, fault), data, place))
                if len(self.context.records) > self.settings.max_records:
                    return
        except GenerateError as error:
            raise _EntryError(p.BAD_GENERATE, fault, str(error)) from None

    # ------------------------------------------------------------ problems

    def report(self, kind: Kind, line: int, column: int, what: str, mend: str) -> None:
        self.master.problems.add(kind, self.path, line, column, what, mend)

    def line_too_long(self, number: int) -> None:
        most = self.settings.max_line_bytes
        self.report(p.LINE_TOO_LONG, number, 1, f"the line has more than {most} octets", "")

    def too_many_records(self, number: int) -> None:
        most = self.settings.max_records
        self.report(p.TOO_MANY_RECORDS, number, 1, f"the zone has more than {most} records", "")
        raise _AbandonError


def _data_of_generate(tokens: list[Token]) -> str:
    """The data as text. As in BIND, a single string in quotes stands for its content, its escaped quotes for quotes."""
    if len(tokens) > 1 or not tokens[0].quoted:
        return rdata.as_written(tokens)
    return _ESCAPED.sub(lambda match: '"' if match[0] == '\\"' else match[0], tokens[0].text)


_ESCAPED: Final = re.compile(r"\\.", re.DOTALL)


def _is_simple(line: str) -> bool:
    return line.isascii() and line.replace("\t", "").rstrip("\r").isprintable()


def _is_type(text: str) -> bool:
    try:
        rr.type_from_text(text)
    except ValueError:
        return False
    return True
