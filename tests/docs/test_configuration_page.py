"""docs/configuration.md says what the code does."""

import re
import tomllib
from pathlib import Path

import pytest

from mx10.cli import main
from mx10.config.settings import keys
from tools.configuration_page import PAGE, page

TEXT = PAGE.read_text(encoding="utf-8")


def test_the_list_of_keys_is_that_of_the_settings() -> None:
    assert page(TEXT) == TEXT, "run `make docs`"
    listed = re.findall(r"^### \[(\w+)\]|^\*\*`(\w+)`\*\*", TEXT, re.MULTILINE)
    section, found = "", []
    for name, key in listed:
        section = name or section
        if key:
            found.append(f"{section}.{key}")
    assert found == list(keys())


def test_the_example_is_a_right_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    example = re.search(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    assert example
    assert tomllib.loads(example[1])
    Path("mx10.toml").write_text(example[1], encoding="utf-8")
    assert main(["config", "check"]) == 0


def test_the_output_shown_is_that_of_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    example = re.search(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    assert example
    consoles = re.findall(r"```console\n\$ (.*?)\n(.*?)```", TEXT, re.DOTALL)
    Path("mx10.toml").write_text(example[1], encoding="utf-8")
    monkeypatch.setenv("MX10_LOG__LEVEL", "debug")
    assert main(["config", "show", "log"]) == 0
    assert capsys.readouterr().out == consoles[0][1]
    monkeypatch.delenv("MX10_LOG__LEVEL")
    wrong = example[1].replace("workers", "workrs").replace('"json"', '"xml"')
    Path("mx10.toml").write_text(wrong, encoding="utf-8")
    assert main(["config", "check"]) == 2
    assert capsys.readouterr().err == consoles[1][1]
