"""Rules of ``recipients.rules``: who says whether a recipient of a domain exists.

A rule is a domain and one or more sources, as words are written in a shell::

    example.org   list:/etc/mx10/example.org.txt  pattern:sales-*
    example.net   sql:/etc/mx10/recipients.sql
    .example.com  any
    *             ask

``.example.com`` means every name below it, ``*`` all others. A recipient is known when one of the sources of its
domain knows it.
"""

import re
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from mx10.names import DomainError, ascii_text, domain_from_text
from mx10.values import value_class

MAX_PATTERN: Final = 200
"""Characters of a pattern."""

_KINDS: Final = "list:FILE, pattern:TEXT, sql:FILE, ask or any"


class RuleError(ValueError):
    """A rule, or a file it names, that cannot be used: what is wrong, and the mend."""


class Pattern:
    """A pattern for local parts: ``*`` stands for any characters, ``?`` for one; capitals make no difference.

    No regular expression: those have forms that take years for 64 characters that somebody chose to that end. This
    takes time in proportion to the length, whatever is written.
    """

    def __init__(self, text: str) -> None:
        if not text or len(text) > MAX_PATTERN or "@" in text:
            raise RuleError(
                f"pattern:{text[:40]}: write what stands before the @, up to {MAX_PATTERN} characters: pattern:sales-*"
            )
        self.text = text
        first, *rest = (
            re.compile("".join("." if char == "?" else re.escape(char) for char in piece), re.DOTALL)
            for piece in re.sub(r"\*+", "*", text.lower()).split("*")
        )
        self._first, self._rest = first, rest
        self._last = len(text.lower().rpartition("*")[2])

    def matches(self, local: str) -> bool:
        """Whether a local part is of this form."""
        local = local.lower()
        if not self._rest:
            return self._first.fullmatch(local) is not None
        found = self._first.match(local)
        for piece in self._rest[:-1]:
            if found is None:
                return False
            # The leftmost place is as good as any further one: what comes after has the most room then.
            found = piece.search(local, found.end())
        if found is None:
            return False
        at = len(local) - self._last
        return at >= found.end() and self._rest[-1].fullmatch(local, at) is not None


@value_class
class Rule:
    """Who knows the recipients of a domain. ``ask``: its primary; ``any``: all are known."""

    lists: tuple[Path, ...] = ()
    patterns: tuple[Pattern, ...] = ()
    queries: tuple[Path, ...] = ()
    ask: bool = False
    any: bool = False


_NOBODY: Final = Rule(any=True)


class Rules:
    """All rules. Make them with ``parse_rules``."""

    def __init__(self, rules: dict[str, Rule]) -> None:
        self._rules = rules

    def of(self, domain: str) -> Rule:
        """The rule of a domain (A-labels in lower case, or an address literal). Without one, all are known."""
        rule = self._rules.get(domain)
        rest = domain
        while rule is None and not domain.startswith("["):
            _, dot, rest = rest.partition(".")
            if not dot:
                break
            rule = self._rules.get(f".{rest}")
        return rule or self._rules.get("*") or _NOBODY

    @property
    def lists(self) -> frozenset[Path]:
        """All lists that rules name."""
        return frozenset(path for rule in self._rules.values() for path in rule.lists)

    @property
    def queries(self) -> frozenset[Path]:
        """All files with queries that rules name."""
        return frozenset(path for rule in self._rules.values() for path in rule.queries)


def parse_rules(texts: Iterable[str]) -> Rules:
    """The rules of a configuration. Opens no file.

    Raises:
        RuleError: one of them is wrong; the message names it and says what to write.
    """
    rules: dict[str, Rule] = {}
    for text in texts:
        try:
            domain, *words = shlex.split(text) or ("",)
            if not words:
                raise RuleError(f"a domain and a source belong together: {_KINDS}")
            pattern = _domain(domain)
            if pattern in rules:
                raise RuleError(f"there is another rule for {domain} already; put all sources into one")
            rules[pattern] = _rule(words)
        except (ValueError, DomainError) as error:
            raise RuleError(f"recipients.rules: {text!r}: {error}") from None
    return Rules(rules)


def _domain(text: str) -> str:
    if text == "*":
        return text
    if text.startswith("."):
        return f".{ascii_text(domain_from_text(text[1:]))}"
    return ascii_text(domain_from_text(text))


def _rule(words: list[str]) -> Rule:
    lists: list[Path] = []
    queries: list[Path] = []
    patterns: list[Pattern] = []
    ask = known = False
    for word in words:
        kind, colon, rest = word.partition(":")
        if kind == "pattern" and colon:
            patterns.append(Pattern(rest))
        elif kind in ("list", "sql") and colon:
            if not rest.startswith("/"):
                raise RuleError(f"{word}: write the whole path, from / on")
            (lists if kind == "list" else queries).append(Path(rest))
        elif word == "ask":
            ask = True
        elif word == "any":
            known = True
        else:
            raise RuleError(f"{word!r} is no source; there are {_KINDS}")
    if (known or ask) and len(words) > 1:
        word = "any" if known else "ask"
        raise RuleError(
            f"{word} stands alone: a list, pattern or query beside it would change nothing, or be overruled"
        )
    return Rule(tuple(lists), tuple(patterns), tuple(queries), ask, known)
