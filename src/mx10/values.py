"""How classes of values are made where many of them are needed for each message."""

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

_T = TypeVar("_T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value_class(cls: type[_T]) -> type[_T]:
    """A class of values that never change, as ``dataclass(frozen=True, slots=True)``.

    It is the type checker that sees to it. What a frozen dataclass does for that at run time makes each one three to
    four times as dear: it sets every attribute by ``object.__setattr__``.
    """
    return dataclass(slots=True, unsafe_hash=cls.__dict__.get("__hash__") is None)(cls)
