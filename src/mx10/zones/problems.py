"""What can be wrong with a zone file: every kind of problem, and one problem at its place.

An *error* keeps the zone from being served (or from replacing the one served before); a *warning* does not. A kind has
a stable code; ``docs/zone-files.md`` explains each, and a test holds both lists equal. The kinds a rule finds are
declared beside the rule, those of reading a file here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of problem.

    ``mend`` is what to do about it, where the place itself does not suggest something better; ``source`` the text that
    says so.
    """

    code: str
    severity: Severity
    mend: str
    source: str


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem at its place; ``line`` and ``column`` count from 1, and are 0 where the whole file is meant."""

    severity: Severity
    code: str
    path: str
    line: int
    column: int
    what: str
    mend: str
    source: str

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}:{self.column}" if self.line else self.path
        reference = f"{self.code}, {self.source}" if self.source else self.code
        return f"{place}: {self.severity}: {self.what}; {self.mend} [{reference}]"


KINDS: Final[dict[str, Kind]] = {}
"""Every kind by its code."""


def kind(code: str, severity: Severity, mend: str, source: str = "") -> Kind:
    """Declare a kind of problem."""
    if code in KINDS:
        raise ValueError(f"the problem code {code} is declared twice")
    KINDS[code] = Kind(code, severity, mend, source)
    return KINDS[code]


_RFC1035: Final = "RFC 1035 section 5.1"

# Files
NOT_A_FILE = kind("not-a-file", "error", "put a regular file there, or give it a name that is not a zone's")
UNREADABLE = kind("unreadable", "error", "see that the file exists and that the nameserver's user may read it")
OUTSIDE_FOLDER = kind("outside-folder", "error", "keep zone files and what they include inside the zone folder")
FILE_TOO_BIG = kind("file-too-big", "error", "split the zone, or raise zones.max_file_mb")
SAME_APEX = kind("same-apex", "error", "remove one of the two files")
UNKNOWN_RULE = kind("unknown-rule", "warning", "write a code of docs/zone-files.md, section Rules of a zone")
READER_DIED = kind("reader-died", "error", "look in the system's log whether memory ran out, and reload")

# Octets and words
LINE_TOO_LONG = kind("line-too-long", "error", "break the line inside parentheses, or raise zones.max_line_bytes")
BAD_CHARACTER = kind("bad-character", "error", "remove it; inside a string write an octet as \\DDD", _RFC1035)
NOT_ASCII = kind("not-ascii", "error", "write a name as its A-label (xn--…), and octets of a string as \\DDD", _RFC1035)
UNCLOSED_QUOTE = kind("unclosed-quote", "error", "close the quote on the line it starts on", _RFC1035)
LONE_BACKSLASH = kind("lone-backslash", "error", "write a backslash as \\\\", _RFC1035)
UNCLOSED_PARENTHESIS = kind("unclosed-parenthesis", "error", "write the ) where the record ends", _RFC1035)
UNOPENED_PARENTHESIS = kind("unopened-parenthesis", "error", "remove the )", _RFC1035)

# Records
BAD_NAME = kind(
    "bad-name", "error", "write a domain name: labels of at most 63 octets, 255 in all", "RFC 1035 section 2.3.4"
)
NO_ORIGIN = kind("no-origin", "error", "write $ORIGIN and the zone's name with a final dot above it", _RFC1035)
NO_OWNER = kind("no-owner", "error", "write the owner name at the start of the line", _RFC1035)
NO_TYPE = kind("no-type", "error", "write: owner TTL IN TYPE data", _RFC1035)
UNKNOWN_TYPE = kind("unknown-type", "error", "write a record type, or TYPE and its number", "RFC 3597 section 5")
META_TYPE = kind("meta-type", "error", "remove the record: the type is for questions only", "RFC 6895 section 3.1")
CLASS_NOT_IN = kind("class-not-in", "error", "write IN, or nothing", "RFC 1035 section 5.2")
BAD_TTL = kind("bad-ttl", "error", "write seconds, or units as 1h30m, up to 2147483647 s", "RFC 2181 section 8")
NO_TTL = kind("no-ttl", "error", "write $TTL 1h at the top of the file", "RFC 2308 section 4")
TTL_FROM_SOA = kind("ttl-from-soa", "warning", "write $TTL 1h at the top of the file", "RFC 2308 section 4")
TTL_FROM_LAST = kind("ttl-from-last", "warning", "write $TTL 1h at the top of the file", "RFC 2308 section 4")
BAD_DATA = kind("bad-data", "error", "write the data in the form of its type", _RFC1035)

# Directives
UNKNOWN_DIRECTIVE = kind("unknown-directive", "error", "write $ORIGIN, $TTL, $INCLUDE or $GENERATE", _RFC1035)
BAD_DIRECTIVE = kind("bad-directive", "error", "write the directive as the documentation shows", _RFC1035)
INCLUDE_LOOP = kind("include-loop", "error", "remove one of the $INCLUDE lines", _RFC1035)
INCLUDE_TOO_DEEP = kind("include-too-deep", "error", "include the file further up, or raise zones.max_include_depth")
TOO_MANY_INCLUDES = kind("too-many-includes", "error", "join some of the files, or raise zones.max_includes")
BAD_GENERATE = kind("bad-generate", "error", "write: $GENERATE 1-10 host$ A 192.0.2.$")
GENERATE_TOO_MANY = kind("generate-too-many", "error", "make the range smaller, or raise zones.max_generate")

# Limits
TOO_MANY_RECORDS = kind("too-many-records", "error", "split the zone, or raise zones.max_records")
TOO_MANY_PROBLEMS = kind(
    "too-many-problems", "error", "mend those above and read the file again, or raise zones.max_problems"
)
MORE_WARNINGS = kind("more-warnings", "warning", "mend those above, or raise zones.max_problems")


class TooManyProblemsError(Exception):
    """Reading on makes no sense: as many errors were found as are told."""


class Problems:
    """The problems of one zone, as they are found.

    Args:
        limit: how many errors, and how many warnings, are told (``zones.max_problems``).
    """

    __slots__ = ("_limit", "errors", "found", "warnings")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.found: list[Problem] = []
        self.errors = 0
        self.warnings = 0
        """Warnings found, told or not."""

    def __iter__(self) -> Iterator[Problem]:
        return iter(self.found)

    def add(self, kind: Kind, path: str, line: int, column: int, what: str, mend: str = "") -> None:
        """Note a problem.

        Raises:
            TooManyProblemsError: it was the last error to be told.
        """
        if kind.severity == "warning":
            self.warnings += 1
            if self.warnings > self._limit:
                return
        self.found.append(Problem(kind.severity, kind.code, path, line, column, what, mend or kind.mend, kind.source))
        if kind.severity == "warning":
            return
        self.errors += 1
        if self.errors >= self._limit:
            what = f"{self._limit} errors were found; the rest of the zone was not read"
            self.found.append(Problem("error", TOO_MANY_PROBLEMS.code, path, 0, 0, what, TOO_MANY_PROBLEMS.mend, ""))
            raise TooManyProblemsError

    def conclude(self, path: str, dropped: int) -> None:
        """Say how many warnings were not told.

        Args:
            dropped: how many there are that were never added.
        """
        more = max(self.warnings - self._limit, 0) + dropped
        if more:
            what = f"{more} more warnings were found"
            self.found.append(Problem("warning", MORE_WARNINGS.code, path, 0, 0, what, MORE_WARNINGS.mend, ""))
