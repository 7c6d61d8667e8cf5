"""mx10: everything an MX record does. Publish it, look it up, and say where mail goes.

For programs:

    from mx10 import lookup, route              # asynchronous
    from mx10 import lookup_sync, route_sync    # blocking

They are imported when they are first used, so that ``import mx10`` costs nothing.
"""

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mx10.resolver.lookup import lookup as lookup
    from mx10.resolver.lookup import lookup_sync as lookup_sync
    from mx10.routing import route as route
    from mx10.routing import route_sync as route_sync

__version__ = "0.1.0"

_ROOMS: Final = {
    "lookup": "mx10.resolver.lookup",
    "lookup_sync": "mx10.resolver.lookup",
    "route": "mx10.routing",
    "route_sync": "mx10.routing",
}

__all__ = ["__version__", "lookup", "lookup_sync", "route", "route_sync"]


def __getattr__(name: str) -> Any:
    """A public name, from its room, the first time it is asked for (PEP 562)."""
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_ROOMS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_ROOMS})
