"""Rules, patterns and lists: who is a recipient, and what is wrong in what somebody wrote."""

import contextlib
import fnmatch
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mx10.relay.door.recipients.lists import LOOK_MS, AddressList, read_list
from mx10.relay.door.recipients.query import Query
from mx10.relay.door.recipients.rules import MAX_PATTERN, Pattern, RuleError, parse_rules


def test_the_closest_rule_counts() -> None:
    rules = parse_rules(
        (
            "example.org list:/etc/a list:'/etc/b c' pattern:sales-*",
            ".example.org any",
            "bücher.example sql:/etc/q",
            "* ask",
        )
    )
    of_domain = rules.of("example.org")
    assert [str(path) for path in of_domain.lists] == ["/etc/a", "/etc/b c"]
    assert [pattern.text for pattern in of_domain.patterns] == ["sales-*"]
    assert not of_domain.ask
    assert rules.of("a.b.example.org").any
    assert rules.of("xn--bcher-kva.example").queries == (Path("/etc/q"),)
    assert rules.of("example.net").ask
    assert rules.of("[192.0.2.1]").ask
    assert rules.lists == {Path("/etc/a"), Path("/etc/b c")}
    assert rules.queries == {Path("/etc/q")}


def test_without_a_rule_all_are_known() -> None:
    assert parse_rules(()).of("example.org").any
    assert parse_rules(("example.org ask",)).of("example.net").any


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "belong together"),
        ("example.org", "belong together"),
        ("example.org file:/x", "'file:/x' is no source; there are list:FILE"),
        ("example.org list:x", "write the whole path"),
        ("example.org sql:", "write the whole path"),
        ("example.org ask list:/x", "ask stands alone"),
        ("example.org any ask", "any stands alone"),
        ("exa mple.org ask", "'mple.org' is no source"),
        ("ex..org ask", "ex..org"),
        ("example.org 'list:/x", "No closing quotation"),
        ("example.org pattern:", "write what stands before the @"),
        ("example.org pattern:a@b", "write what stands before the @"),
        (f"example.org pattern:{'a' * (MAX_PATTERN + 1)}", "up to 200 characters"),
    ],
)
def test_wrong_rules(text: str, says: str) -> None:
    with pytest.raises(RuleError) as caught:
        parse_rules((text,))
    assert says in str(caught.value)
    assert str(caught.value).startswith("recipients.rules: ")


def test_two_rules_for_one_domain() -> None:
    with pytest.raises(RuleError, match="there is another rule for EXAMPLE"):
        parse_rules(("example.org ask", "EXAMPLE.org any"))


@pytest.mark.parametrize(
    ("pattern", "local", "fits"),
    [
        ("sales", "sales", True),
        ("sales", "Sales", True),
        ("sales", "sales2", False),
        ("sales-*", "sales-eu", True),
        ("sales-*", "sales-", True),
        ("sales-*", "presales-eu", False),
        ("*", "", True),
        ("*.*", "ada.lovelace", True),
        ("*.*", "ada", False),
        ("a*a", "a", False),
        ("a*a", "aa", True),
        ("a*b*b", "ab", False),
        ("a*b*b", "abb", True),
        ("??", "ab", True),
        ("??", "abc", False),
        ("*?b", "ab", True),
        ("*?b", "b", False),
        ("a+[b]", "a+[b]", True),
        ("STRASSE", "strasse", True),
    ],
)
def test_patterns(pattern: str, local: str, fits: bool) -> None:
    assert Pattern(pattern).matches(local) is fits


@given(st.text("ab?*", min_size=1, max_size=12), st.text("ab", max_size=12))
def test_patterns_are_those_of_a_shell(pattern: str, local: str) -> None:
    assert Pattern(pattern).matches(local) is fnmatch.fnmatchcase(local, pattern)


def test_no_pattern_takes_long() -> None:
    # A regular expression for this would be at it for years.
    assert not Pattern("*a" * 100).matches("a" * 63 + "b")


# ---------------------------------------------------------------- lists


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_list(tmp_path: Path) -> None:
    file = write(
        tmp_path / "list",
        "# people\nAda@Example.org\n\n  bob@example.org  # the second\n@whole.example\n"
        'müller@bücher.example\n"a b"@example.org\nx@[192.0.2.1]\n',
    )
    found = AddressList(file)
    assert found.has("ada", "example.org") is None
    found.read()
    assert len(found) == 6
    assert found.has("ada", "example.org")
    assert found.has("ADA", "example.org")
    assert found.has("anybody", "whole.example")
    assert found.has("MÜLLER", "xn--bcher-kva.example")
    assert found.has('"a b"', "example.org")
    assert found.has("x", "[192.0.2.1]")
    assert not found.has("carol", "example.org")
    assert not found.has("ada", "sub.example.org")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"ada@example.org\nbob\n", r":2: .*the @ and the domain are missing"),
        (b"\n\nada@@example.org", ":3: "),
        (b"@\n", ":1: "),
        (b"ada@example.org\n\xff@example.org\n", ":2: this is not UTF-8; write ada@example.org"),
        (b"a" * 1000 + b"@example.org", ":1: "),
    ],
)
def test_a_mistake_in_a_list_is_told_with_its_line(tmp_path: Path, content: bytes, says: str) -> None:
    file = tmp_path / "list"
    file.write_bytes(content)
    with pytest.raises(RuleError, match=says) as caught:
        read_list(file)
    assert len(str(caught.value)) < 500


def test_a_list_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RuleError, match="cannot be read: No such file or directory; let the relay's user read it"):
        read_list(tmp_path / "none")


def test_too_long_a_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path / "list", "".join(f"u{number}@example.org\n" for number in range(20)))
    monkeypatch.setattr("mx10.relay.door.recipients.lists.MAX_ENTRIES", 10)
    with pytest.raises(RuleError, match=":11: more than 10 addresses; use sql:"):
        read_list(file)
    monkeypatch.setattr("mx10.relay.door.recipients.lists.MAX_FILE", 10)
    with pytest.raises(RuleError, match="larger than"):
        read_list(file)


def test_a_list_that_changes_is_read_again(tmp_path: Path) -> None:
    file = write(tmp_path / "list", "ada@example.org\n")
    found = AddressList(file)
    assert found.has("ada", "example.org") is None
    found.read()
    now = 1_800_000_000_000
    assert not found.changed(now)
    write(file, "bob@example.org\ncarol@example.org\n")
    assert not found.changed(now + LOOK_MS - 1)
    assert found.changed(now + LOOK_MS)
    assert not found.changed(now + 2 * LOOK_MS)
    found.read()
    assert found.has("bob", "example.org")
    assert not found.has("ada", "example.org")
    # A slip does not turn everybody away.
    other = write(tmp_path / "other", "nonsense\n")
    os.replace(other, file)  # noqa: PTH105  # as editors do
    assert found.changed(now + 10 * LOOK_MS)
    with pytest.raises(RuleError):
        found.read()
    assert found.has("bob", "example.org")


# ---------------------------------------------------------------- whatever somebody writes


@given(st.lists(st.text(max_size=60), max_size=3))
def test_whatever_stands_in_a_rule(texts: list[str]) -> None:
    try:
        rules = parse_rules(texts)
    except RuleError as error:
        assert str(error).startswith("recipients.rules: ")
    else:
        assert rules.of("example.org") is not None


_WORDS = st.sampled_from(["*", "example.org", ".example.org", "ask", "any", "list:/x", "sql:/x", "pattern:a*", "'", ""])


@given(st.lists(st.lists(_WORDS, max_size=4).map(" ".join), max_size=3))
def test_rules_of_words_that_there_are(texts: list[str]) -> None:
    with contextlib.suppress(RuleError):
        parse_rules(texts).of("a.example.org")


@given(st.binary(max_size=200))
def test_whatever_stands_in_a_list(content: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        try:
            entries = read_list(Path(file.name))
        except RuleError as error:
            assert str(error).startswith(file.name)
        else:
            assert all("@" in each for each in entries)


@given(
    st.one_of(st.binary(max_size=200), st.text("sqlite:/postgre@%[]x\nSELECT :address", max_size=60).map(str.encode))
)
def test_whatever_stands_in_a_query(content: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        with contextlib.suppress(RuleError):
            Query(Path(file.name)).close()
