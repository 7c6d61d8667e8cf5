"""Whatever a file or a variable says: a configuration or a ConfigError, never anything else."""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mx10.config import Config, ConfigError, load
from mx10.config.quick import plainly_right
from mx10.config.settings import SECTIONS, keys
from mx10.config.sources import Document, statement_lines
from mx10.config.validate import validate

KEYS = list(keys())
NAMES = st.one_of(st.sampled_from([key.partition(".")[2] for key in KEYS]), st.text(max_size=8))
VALUES = st.recursive(
    st.one_of(
        st.booleans(),
        st.integers(-(2**70), 2**70),
        st.integers(0, 5000),
        st.floats(),
        st.text(max_size=20),
        st.dates(),
        st.sampled_from(["debug", "json", "127.0.0.1:53", "[::1]:53", "192.0.2.0/24", "2001:db8::1", "zones"]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=5,
)
DOCUMENTS = st.dictionaries(
    st.one_of(st.sampled_from(list(SECTIONS)), NAMES), st.one_of(st.dictionaries(NAMES, VALUES, max_size=3), VALUES)
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


def outcome(octets: bytes, folder: Path) -> Config | ConfigError:
    path = folder / "mx10.toml"
    path.write_bytes(octets)
    try:
        return load(path, {}).config
    except ConfigError as error:
        assert all(line.isprintable() for line in str(error).split("\n"))
        return error


@given(st.binary(max_size=200))
@example(b"\xff")
@example(b"\xef\xbb\xbf")
def test_any_octets(folder: Path, octets: bytes) -> None:
    outcome(octets, folder)


@given(st.lists(st.sampled_from([*"[]{}=\"\n\r\\#,. '", "[nameserver]", "workers", "'''", '"""', "2", "true", "-"])))
def test_any_text_much_like_toml(folder: Path, parts: list[str]) -> None:
    outcome("".join(parts).encode(), folder)


@given(DOCUMENTS)
def test_quick_takes_nothing_that_the_validation_does_not_take_alike(values: dict[str, Any]) -> None:
    quick = plainly_right(values)
    try:
        slow = validate(Document(Path("mx10.toml"), values), {})
    except ConfigError:
        assert quick is None
        return
    if quick is not None:
        assert {section: table for section, table in quick.items() if table} == {
            section: table for section, table in slow.items() if table
        }


def test_quick_takes_every_default() -> None:
    values: dict[str, dict[str, object]] = {}
    for key, default in keys().items():
        section, _, name = key.partition(".")
        if default is not None:
            values.setdefault(section, {})[name] = list(default) if isinstance(default, tuple) else default
    quick = plainly_right(values)
    assert quick is not None
    assert Config(**{section: SECTIONS[section](**table) for section, table in quick.items()}) == Config()
    assert validate(Document(Path("mx10.toml"), values), {}) == quick


@given(st.sampled_from(KEYS), st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30))
def test_any_text_in_a_variable(key: str, text: str) -> None:
    variable = "MX10_" + key.upper().replace(".", "__")
    try:
        loaded = load(None, {variable: text})
    except ConfigError as error:
        assert str(error).startswith(f"{variable}: {key}: ")
    else:
        assert loaded.origins[key] == variable


def paths(table: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in table.items():
        yield (*above, key)
        if isinstance(value, dict):
            yield from paths(value, (*above, key))


def test_every_key_has_a_line() -> None:
    text = '[a]\nb = 1\nc.d = [\n 1,\n 2]\n[a.e]\nf = """\n[x]\n"""\n[[g]]\nh = {i = 1}\n["j.k"]\n\'l\' = 2'
    lines = statement_lines(text)
    assert lines["a", "b"] == 2
    assert lines["a", "c", "d"] == 3
    assert lines["a", "e", "f"] == 7
    assert lines["g",] == 10
    assert lines["j.k", "l"] == 13
    assert set(paths(tomllib.loads(text))) <= set(lines)


def test_a_statement_longer_than_any_ends_the_search_for_lines() -> None:
    text = "a = 1\nb = [\n" + "1,\n" * 5000 + "]\nc = 2"
    assert statement_lines(text) == {("a",): 1}
