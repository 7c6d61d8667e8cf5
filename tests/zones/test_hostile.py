"""Files made to harm: each ends soon, in little memory, with a problem that says what it is."""

import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from mx10.config import ZoneSettings
from mx10.zones.source import Source, SourceError
from tests.zones.reading import HEAD, load_from

SMALL = ZoneSettings(max_file_mb=4, max_line_bytes=4096, max_records=2000, max_generate=1000, max_problems=3)
PROGRAM = """
import resource, sys, time
from mx10.zones.folder import load_file
from mx10.config import ZoneSettings
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[3]) << 20,) * 2)
start = time.process_time()
loaded = load_file(sys.argv[1], sys.argv[2], ZoneSettings())
print(loaded.zone, time.process_time() - start, *[p.code for p in loaded.problems], sep="|")
"""


def write(path: Path, pieces: Iterable[str]) -> None:
    with path.open("w") as file:
        file.writelines(pieces)


def read_bounded(folder: Path, name: str, megabytes: int) -> list[str]:
    """Read a file with the usual limits, in a process that gets no more memory than that; the codes of its problems."""
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder), name, str(megabytes)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    _, seconds, *codes = run.stdout.strip().split("|")
    assert float(seconds) < 20, f"{seconds} s"
    return codes


@pytest.mark.parametrize(
    ("pieces", "codes"),
    [
        (lambda: ["x TXT " + "a" * 5000], ["line-too-long"]),
        (lambda: ["x TXT " + "a " * 400_000 + "\ny A 192.0.2.7\n"], ["line-too-long"]),
        (lambda: ["(\n" * 400_000], ["line-too-long"] * 3 + ["too-many-problems"]),
        (lambda: ["(" * 400_000], ["line-too-long"]),
        (lambda: [")" * 4000], ["unopened-parenthesis"] * 3 + ["too-many-problems"]),
        (lambda: ['"' * 4001], ["unclosed-quote"]),
        (lambda: ["\\" * 4001], ["lone-backslash"]),
        (lambda: ["x MX (" + "\n" * 4000 + "10 mail\n"], ["unclosed-parenthesis"]),
        (lambda: [f"h{number} A 192.0.2.7\n" for number in range(3000)], ["too-many-records"]),
        (lambda: ["$GENERATE 0-999 a$ A 192.0.2.7\n"] * 3, ["too-many-records"]),
        (lambda: ["$GENERATE 0-4294967295 a$ A 192.0.2.7\n"], ["bad-generate"]),
        (lambda: ["$GENERATE 0-1000 a$ A 192.0.2.7\n"], ["generate-too-many"]),
        (lambda: ["$GENERATE 0-999 a$ TXT " + '"${0,255}" ' * 32 + "\n"] * 5,
         ["generate-too-many"] * 3 + ["too-many-problems"]),
        (lambda: [f"{number}{'.x' * 110} A 192.0.2.7\n" for number in range(1)], []),
        (lambda: [f"{'x.' * 60}{number}.{'y.' * 55}z A 192.0.2.7\n" for number in range(40)], ["too-many-records"]),
        (lambda: ["\0" * 4000], ["bad-character"]),
        (lambda: ["\0\n" * 4000], ["bad-character"] * 3 + ["too-many-problems"]),
        (lambda: ["$INCLUDE x.zone\n"] * 300, ["include-loop"] * 3 + ["too-many-problems"]),
    ],
)  # fmt: skip
def test_each_limit_is_kept(tmp_path: Path, pieces: Callable[[], Iterable[str]], codes: list[str]) -> None:
    write(tmp_path / "x.zone", [HEAD, *pieces()])
    assert [problem.code for problem in load_from(tmp_path, "x.zone", SMALL).problems] == codes


def test_long_lines_of_a_long_file_are_told_by_their_numbers(tmp_path: Path) -> None:
    """The file comes in pieces, so the long line begins in one and ends in another."""
    lines = [HEAD, "; " + "c" * 300 + "\n"] * 1000
    lines = (
        [HEAD] + ["; " + "c" * 300 + "\n"] * 1000 + ["x TXT " + "a" * 700_000 + "\n", "x A nonsense\n", "y A 192.0.2.7"]
    )
    write(tmp_path / "x.zone", lines)
    found = load_from(tmp_path, "x.zone", SMALL).problems
    assert [(problem.line, problem.code) for problem in found] == [(1006, "line-too-long"), (1007, "bad-data")]


def test_a_long_file_means_the_same_as_a_short_one(tmp_path: Path) -> None:
    comment = ["; " + "ä" * 300 + "\n"] * 1000
    write(tmp_path / "a.example.zone", [HEAD, "x MX (10 ; one\r\n", *comment, " mail )\r\n", "mail A 192.0.2.7"])
    short_text = ["$ORIGIN a.example.\n", HEAD, "x MX 10 mail\n", "mail A 192.0.2.7"]
    write(tmp_path / "b.example.zone", short_text)
    settings = ZoneSettings(max_line_bytes=1 << 20)
    long, short = load_from(tmp_path, "a.example.zone", settings), load_from(tmp_path, "b.example.zone")
    assert long.problems == short.problems == ()
    assert long.zone == short.zone


def test_places_in_a_long_file_are_found_again(tmp_path: Path) -> None:
    comment = ["; " + "c" * 300 + "\n"] * 1000
    write(tmp_path / "x.zone", [HEAD, *comment, "a CNAME b\n", *comment, "a (\n TXT c )\n"])
    (problem,) = load_from(tmp_path, "x.zone").problems
    assert (problem.code, problem.line, problem.column) == ("cname-not-alone", 1006, 3)


def test_ten_megabytes_of_a_line(tmp_path: Path) -> None:
    write(tmp_path / "x.zone", [HEAD, "x TXT ", *["abc " * 1000] * 2500, "\ny A nonsense\n"])
    assert read_bounded(tmp_path, "x.zone", 200) == ["line-too-long", "bad-data"]


def test_a_hundred_megabytes_without_a_line_end(tmp_path: Path) -> None:
    with (tmp_path / "x.zone").open("wb") as file:
        file.truncate(100 << 20)
    assert read_bounded(tmp_path, "x.zone", 200) == ["line-too-long"]


def test_a_megabyte_of_the_worst_words(tmp_path: Path) -> None:
    write(tmp_path / "x.zone", ["a b\\\n" * 100 + "((" * 500_000])
    assert read_bounded(tmp_path, "x.zone", 400)[-1] == "too-many-problems"


def test_a_file_that_vanishes_or_grows_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.zone"
    write(path, ["; comment\n"] * 100_000)
    source = Source.open(str(path), 1 << 22)
    lines = source.lines(1 << 22, 4096, lambda _: None)
    assert next(lines) == "; comment"
    path.unlink()
    assert sum(1 for _ in lines) == 99_999
    write(path, ["; comment\n"] * 100_000)
    source = Source.open(str(path), 1 << 20)
    with path.open("a") as file:
        file.write("; more\n" * 100_000)
    with pytest.raises(SourceError, match="grew"):
        list(source.lines(1 << 20, 4096, lambda _: None))
