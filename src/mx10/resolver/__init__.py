"""Asking others: what the DNS says about a name.

``answer`` is the value that comes back, ``transports`` how a question travels, ``reading`` what of a response is
believed. ``forwarder`` asks nameservers that ask the world for us, ``iterate`` walks down from the root itself;
``lookup`` is the library behind ``mx10 lookup``.

Names are imported when they are used: ``mx10 route`` must start quickly.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mx10.resolver.answer import Answer as Answer
    from mx10.resolver.answer import Resolver as Resolver
    from mx10.resolver.answer import Status as Status
    from mx10.resolver.forwarder import Forwarder as Forwarder
    from mx10.resolver.iterate import Iterator as Iterator

_HOME = {
    "Answer": "answer",
    "Resolver": "answer",
    "Status": "answer",
    "Forwarder": "forwarder",
    "Iterator": "iterate",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = found
    return found
