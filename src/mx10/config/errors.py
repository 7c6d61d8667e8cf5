"""What is wrong with a configuration, as values: where, which key, what, and the mend."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

_KEY: Final = 80
"""Characters of a key that a message repeats."""


@dataclass(frozen=True, slots=True)
class ConfigProblem:
    """One thing that is wrong.

    Attributes:
        where: ``file:line``, ``file:line:column``, a file, or the name of an environment variable.
        key: ``section.name``, or empty where the trouble is not with one key.
        what: what is wrong, for people.
        mend: what to do about it; may be empty.
    """

    where: str
    key: str
    what: str
    mend: str = ""

    def __str__(self) -> str:
        text = ": ".join(part for part in (printable(self.where), printable(self.key, _KEY), self.what) if part)
        return f"{text}; {self.mend}" if self.mend else text


class ConfigError(ValueError):
    """A configuration that cannot be used; ``problems`` tells everything that is wrong with it at once."""

    def __init__(self, problems: Sequence[ConfigProblem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


def printable(text: str, limit: int | None = None) -> str:
    """A text from outside on one line of a message, with no more than ``limit`` of its characters."""
    if limit is not None and len(text) > limit:
        text = text[:limit] + "…"
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was most likely meant, or None where none is near."""
    from difflib import get_close_matches

    # The time difflib takes grows with the square of a word's length, and no key is anywhere near this long.
    found = get_close_matches(word[:64], list(known), n=1, cutoff=0.6)
    return found[0] if found else None
