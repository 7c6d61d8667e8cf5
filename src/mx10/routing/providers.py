"""Who runs an exchanger, told from its name. The table is ``providers.txt``; it says what its patterns mean.

The table is plain lines and not TOML because reading it stands in the way of every cold ``mx10 route``: this way it
takes a fraction of a millisecond.
"""

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple

from mx10.dns import wirename

TABLE: Final = Path(__file__).with_name("providers.txt")


class Provider(NamedTuple):
    """One line of the table: ``patterns`` as they stand there, ``source``: where the provider documents them."""

    name: str
    patterns: tuple[str, ...]
    source: str


class _Matcher(NamedTuple):
    """The table, ready to be asked: pattern labels from the right, joined by dots, to the provider's name."""

    names: dict[str, str]
    longest: int


def providers(text: str | None = None) -> list[Provider]:
    """The lines of the table, or of another text in its form.

    Raises:
        ValueError: a line is not ``name | patterns | source``, with the number of the line.
    """
    if text is None:
        text = TABLE.read_text("utf-8")
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line or line[0] == "#":
            continue
        parts = line.split(" | ")
        if len(parts) != 3:
            raise ValueError(f"{TABLE.name}:{number}: a line is name | patterns | source")
        found.append(Provider(parts[0], tuple(parts[1].split()), parts[2]))
    return found


@lru_cache(maxsize=1)
def _matcher() -> _Matcher:
    names = {pattern: provider.name for provider in providers() for pattern in provider.patterns}
    return _Matcher(names, max(pattern.count(".") for pattern in names) + 1)


def provider_of(names: Iterable[bytes]) -> str | None:
    """The provider that runs an exchanger.

    Args:
        names: folded wire names of the exchanger: its own, then those its CNAMEs lead through. The first that is
            recognised counts.
    """
    for name in names:
        provider = _match(name)
        if provider is not None:
            return provider
    return None


def _match(name: bytes) -> str | None:
    """By whole labels from the right; the longest pattern first."""
    table = _matcher()
    parts = [label.decode("latin-1") for label in wirename.labels(name)]
    for length in range(min(len(parts), table.longest), 0, -1):
        ending = parts[-length:]
        found = table.names.get(".".join(ending))
        if found is None and length > 2:
            # A star stands for one label between others; only the table's own places are worth trying.
            for at in range(1, length - 1):
                found = table.names.get(".".join((*ending[:at], "*", *ending[at + 1 :])))
                if found is not None:
                    break
        if found is not None:
            return found
    return None
