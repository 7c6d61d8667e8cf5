"""What the steward's services count, gathered for metrics and status: each says what its numbers are and how to read
them, and nobody is asked until somebody looks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

Read = Callable[[], Mapping[str, float]]
"""Gives the numbers, by the value of the label; must not wait for anything."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One metric and its values.

    Attributes:
        label: what the values are told apart by; empty: there is one value, under the empty text.
        level: it goes up and down; otherwise it is a sum since the start.
    """

    name: str
    text: str
    label: str
    level: bool
    values: Mapping[str, float]


class Tally:
    """The numbers of the steward."""

    def __init__(self) -> None:
        self._sources: dict[str, tuple[str, str, bool, Read]] = {}

    def sums(self, name: str, text: str, label: str, read: Read) -> None:
        """Numbers that only grow, told apart by a label."""
        self._sources[name] = text, label, False, read

    def levels(self, name: str, text: str, label: str, read: Read) -> None:
        """Numbers that go up and down, told apart by a label."""
        self._sources[name] = text, label, True, read

    def sum(self, name: str, text: str, read: Callable[[], float]) -> None:
        """One number that only grows."""
        self._sources[name] = text, "", False, lambda: {"": read()}

    def level(self, name: str, text: str, read: Callable[[], float]) -> None:
        """One number that goes up and down."""
        self._sources[name] = text, "", True, lambda: {"": read()}

    def figures(self) -> list[Figure]:
        """Everything, as it is now."""
        return [
            Figure(name, text, label, level, dict(read())) for name, (text, label, level, read) in self._sources.items()
        ]
