"""Values of a file that are plainly right, without pydantic: loading it takes longer than all else that a command does.

This may only be stricter than ``validate``: whatever it does not take goes there, to be taken after all, or to have its
error told. A test holds the two together.
"""

from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Final, Literal, get_args, get_origin

from mx10.config.settings import SECTIONS, Rule

_UNSURE: Final = object()


def plainly_right(values: Mapping[str, Any]) -> dict[str, dict[str, Any]] | None:
    """The values of every section, each of its setting's type; None where any of them needs a closer look.

    Args:
        values: a file's content: section to key to value.
    """
    sections: dict[str, dict[str, Any]] = {}
    for section, table in values.items():
        kind = SECTIONS.get(section)
        if kind is None or not isinstance(table, dict):
            return None
        fields = kind.__dataclass_fields__  # type: ignore[attr-defined]  # SECTIONS holds dataclasses only
        sections[section] = {}
        for name, value in table.items():
            taken = _take(fields[name].type, value) if name in fields else _UNSURE
            if taken is _UNSURE:
                return None
            sections[section][name] = taken
    return sections


def _take(hint: Any, value: object) -> object:
    """A value as its type has it, or _UNSURE. A bool is never a number here, although Python has it so."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        taken = _take(parts[0], value)
        return taken if taken is not _UNSURE and _keeps(parts[1:], taken) else _UNSURE
    if origin is tuple and isinstance(value, list):
        items = tuple(_take(parts[0], item) for item in value)
        return _UNSURE if _UNSURE in items else items
    if origin is Literal and isinstance(value, str):
        return value if value in parts else _UNSURE
    if origin is UnionType and Path in parts and isinstance(value, str):
        return Path(value)
    if hint is float and type(value) is int:
        return float(value) if abs(value) < 1 << 53 else _UNSURE
    return value if type(value) is hint else _UNSURE


def _keeps(rules: tuple[Any, ...], value: object) -> bool:
    try:
        for rule in rules:
            if not isinstance(rule, Rule):
                return False
            rule.check(value)
    except ValueError:
        return False
    return True
