"""Columns, trees and colours."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mx10.cli.text import Branch, Style, pad, plain, table, tree, width


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_columns_are_aligned_whatever_their_characters_take() -> None:
    text = table(("name", "n"), [("日本.example", "1"), ("cafe\u0301.example", "20"), ("x",)], right=[1])
    assert text.split("\n") == [
        "name           n",
        "日本.example   1",
        "cafe\u0301.example  20",
        "x",
    ]


def test_no_headers_no_rows() -> None:
    assert table((), []) == ""
    assert table((), [("a", "b")]) == "a  b"
    assert table(("a", "b"), []) == "a  b"


def test_colours_take_no_columns() -> None:
    painted = Style(True).paint("ok", "green", "bold")
    assert painted == "\x1b[32;1mok\x1b[0m"
    assert width(painted) == 2
    assert pad(painted, 4) == painted + "  "
    assert Style(False).paint("ok", "green") == "ok"


@pytest.mark.parametrize(
    ("environ", "wanted", "colour"),
    [({}, True, True), ({"NO_COLOR": "1"}, True, False), ({"NO_COLOR": ""}, True, True), ({}, False, False)],
)
def test_when_there_are_colours(environ: dict[str, str], wanted: bool, colour: bool) -> None:
    assert Style.of(Terminal(), environ, wanted=wanted).colour is colour
    assert not Style.of(io.StringIO(), environ, wanted=wanted).colour
    assert not Style.of(Terminal(), environ | {"TERM": "dumb"}, wanted=wanted).colour


def test_a_tree() -> None:
    root = Branch("route")
    first = root.add("10")
    first.add("mx1\nand more")
    first.add("mx2").add("192.0.2.1")
    root.add("20\nlast")
    assert tree(root) == (
        "route\n├─ 10\n│  ├─ mx1\n│  │     and more\n│  └─ mx2\n│     └─ 192.0.2.1\n└─ 20\n      last"
    )


@given(st.text())
def test_plain_is_printable(text: str) -> None:
    assert plain(text).isprintable()
    assert plain(plain(text)) == plain(text)
    assert width(plain(text)) >= 0
