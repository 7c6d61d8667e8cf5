"""What the house promises about its packages and its set-up."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ["runtime", "dev"]


def locked(name: str) -> dict[str, str]:
    """Package to version; every one of them with hashes."""
    found: dict[str, str] = {}
    for entry in (ROOT / f"requirements/{name}.txt").read_text().replace("\\\n", " ").splitlines():
        if entry.startswith("#"):
            continue
        match = re.match(r"([a-z0-9-]+)==(\S+?)(?: ;.*?)?( +--hash=sha256:[0-9a-f]{64})+ *$", entry)
        assert match, entry
        found[match[1]] = match[2]
    return found


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_names_no_host(name: str) -> None:
    text = (ROOT / f"requirements/{name}.txt").read_text()
    assert not re.search(r"://|--[a-z-]*(index|links|host)|@ ", text)


def test_the_locks_hold_what_the_project_asks_for_and_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = project["dependency-groups"]

    def names(wanted: list[object]) -> set[str]:
        return {match[0] for each in wanted if isinstance(each, str) and (match := re.match(r"[a-z0-9-]+", each))}

    runtime, dev = locked("runtime"), locked("dev")
    assert names([*project["project"]["dependencies"], *groups["build"]]) <= set(runtime)
    assert names(groups["dev"]) <= set(dev)
    assert runtime.items() <= dev.items()


def test_the_readme_sets_up_with_two_commands() -> None:
    commands = re.findall(r"^    (make .*?) *(?:#.*)?$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert commands[:2] == ["make run", "make test"]


def test_tests_with_peers_are_in_their_folder_and_no_others_are() -> None:
    """Else some would be in neither part of ``make test``, which reads that folder, or all others."""
    folder = ROOT / "tests/peers"
    for path in (ROOT / "tests").rglob("test_*.py"):
        bears = r"^pytestmark = .*mark\.peers\b" if folder in path.parents else r"mark\.peers\b"
        assert bool(re.search(bears, path.read_text(), re.MULTILINE)) == (folder in path.parents), path
