"""What is set for one zone alone: a value, and its JSON in the database."""

import json
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, Literal, Self, get_args, get_type_hints

from mx10.store.errors import DamagedStoreError

SerialStyle = Literal["date", "counter", "unixtime"]


@dataclass(frozen=True, slots=True)
class ZoneOptions:
    """Options of a zone. A field is a text, a flag, a number, or a tuple of texts; only what differs from its default
    is written to the database."""

    serial_style: SerialStyle = "date"
    """How serials go on: YYYYMMDDnn, one by one, or seconds since 1970."""

    notify: tuple[str, ...] = ()
    """Who is told of changes beside those of the configuration: address, or address and port."""

    allow_transfer: tuple[str, ...] = ()
    """Who may fetch the zone beside those of the configuration: networks, ``key:NAME``, or both joined by ``+``."""

    primaries: tuple[str, ...] = ()
    """Of a secondary: whom it follows, as ``nameserver.primaries`` reads it."""

    allow_notify: tuple[str, ...] = ()
    """Of a secondary: who may say that it changed, beside its primaries: networks, ``key:NAME``, or both."""

    consume_catalog: bool = False
    """Of a secondary: it is a catalog (RFC 9432), whose members are followed too."""

    member_of: str = ""
    """Of a secondary: the catalog that lists it, and that it goes with."""

    member_as: str = ""
    """The name in the catalog that lists it."""

    update_policy: tuple[str, ...] = ()
    """Who may change what by dynamic update (RFC 2136), as ``nameserver.update_policy`` reads it."""

    catalog: bool = True
    """Whether the zone is a member of the server's catalog zone (RFC 9432)."""

    def to_dict(self) -> dict[str, Any]:
        """What differs from the defaults."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        default = type(self)()
        return {name: value for name, value in values.items() if value != getattr(default, name)}

    def to_json(self) -> str:
        """The same, as the database holds it."""
        return json.dumps(self.to_dict())

    @classmethod
    @lru_cache(maxsize=4096)
    def from_json(cls, text: str) -> Self:
        """The options a text of the database holds; keys nobody knows are left out.

        Raises:
            DamagedStoreError: it is not what ``to_json`` writes.
        """
        try:
            return cls.from_dict(json.loads(text))
        except ValueError as error:
            raise DamagedStoreError(f"the options of a zone are damaged ({error}); set them anew") from None

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> Self:
        """The options that ``to_dict`` gave; keys nobody knows are left out.

        Raises:
            DamagedStoreError: it is not what that gives.
        """
        try:
            kinds = get_type_hints(cls)
            values = {name: _value(kinds[name], value) for name, value in found.items() if name in kinds}
        except (ValueError, AttributeError, TypeError) as error:
            raise DamagedStoreError(f"the options of a zone are damaged ({error}); set them anew") from None
        return cls(**values)


def _value(kind: Any, value: Any) -> Any:
    if kind in (bool, int, str):
        if type(value) is not kind:
            raise ValueError(f"{value!r} is no {kind.__name__}")
        return value
    choices = get_args(kind)
    if Ellipsis in choices:
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise ValueError(f"{value!r} is no list of texts")
        return tuple(value)
    if value not in choices:
        raise ValueError(f"{value!r} is none of {', '.join(choices)}")
    return value
