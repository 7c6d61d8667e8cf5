"""Routing, the heart of mx10: from an address to a route, the exchangers in order with their addresses and shares, and
why.

``gather`` asks the DNS, ``decide`` makes a ``Route`` (``values``) of what it said: a pure function, so that a route can
be replayed, tested and supposed otherwise (``--down``). ``whatif`` tells what loses the mail altogether. Only
``gather`` waits for anything, and nothing here opens a socket.
"""

from mx10.routing.api import route, route_sync
from mx10.routing.values import Exchanger, ExchangerStatus, Group, Kind, Result, Route, Verdict

__all__ = [
    "Exchanger",
    "ExchangerStatus",
    "Group",
    "Kind",
    "Result",
    "Route",
    "Verdict",
    "route",
    "route_sync",
]
