"""The users' page of zone files says what the code does."""

import re
from dataclasses import fields
from pathlib import Path

from mx10.config import ZoneSettings
from mx10.zones import build, folder, problems
from tests.zones.reading import load

PAGE = (Path(__file__).parents[2] / "docs" / "zone-files.md").read_text()


def test_every_code_is_explained_with_its_severity() -> None:
    explained = re.findall(r"^\| `([a-z-]+)` \| (error|warning) \| .+ \| .+ \|$", PAGE, re.MULTILINE)
    assert len(explained) == len(dict(explained))
    assert dict(explained) == {code: kind.severity for code, kind in problems.KINDS.items()}
    assert build.NO_SOA.code in dict(explained)


def test_every_limit_and_ending_is_named() -> None:
    for setting in fields(ZoneSettings):
        assert f"`{setting.name}`" in PAGE or f"zones.{setting.name}`" in PAGE
    for ending in folder.SKIPPED_ENDINGS:
        assert f"`{ending}`" in PAGE


def test_the_example_is_without_fault() -> None:
    example = PAGE.split("```")[1]
    loaded = load(example)
    assert loaded.zone is not None
    assert loaded.problems == ()


def test_the_example_of_a_problem_is_one() -> None:
    shown = PAGE.split("```")[3].strip()
    example = PAGE.split("```")[1].lstrip("\n").replace("mail    IN  A    192.0.2.25", "mail    IN  A    192.0.2")
    (problem,) = load(example).problems
    place = f"zones/example.com.zone:{problem.line}:{problem.column}"
    assert shown == str(problem).replace(f"test.zone:{problem.line}:{problem.column}", place)
