"""The query log: one question in so many, as a line of JSON.

A line goes to standard output if whoever reads there has room for it; a worker waits for nobody. What was left out so
is counted.
"""

import json
import os
import select
import time
from collections.abc import Callable
from ipaddress import ip_address
from typing import Final, Literal

from mx10.dns import rrtypes as rr
from mx10.dns.message import AA, AD, CD, RD, TC
from mx10.dns.question import Query, read_question
from mx10.dns.wirename import to_text
from mx10.nameserver.counters import Counters
from mx10.nameserver.responder import EDNS_COOKIE

Transport = Literal["udp", "tcp", "tls", "quic"]

_LONGEST: Final = 2048
"""Octets of a line; below PIPE_BUF (pipe(7)), so lines of several workers stay whole."""
_FLAGS: Final = (("aa", AA), ("tc", TC), ("rd", RD), ("ad", AD), ("cd", CD))


class QueryLog:
    """Writes some of a worker's questions down.

    Args:
        every: one question in so many.
        worker: its number, for the lines.
        counters: are told of lines.
        file: descriptor to write to.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        every: int,
        worker: int,
        counters: Counters,
        file: int = 1,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._every = every
        self._next = every - 1
        self._worker = worker
        self._counters = counters
        self._file = file
        self._clock = clock
        self._poll = select.poll()
        self._poll.register(file, select.POLLOUT)

    def chosen(self, count: int) -> range:
        """Which of the next so many questions are to be written down."""
        chosen = range(self._next, count, self._every)
        self._next = (chosen[-1] + self._every if chosen else self._next) - count
        return chosen

    def write(self, request: bytes, response: bytes | None, address: bytes, transport: Transport) -> None:
        """Write one down.

        Args:
            response: None: there was none.
            address: the client's, 4 or 16 octets; empty: not known.
        """
        line = json.dumps(self._line(request, response, address, transport)).encode() + b"\n"
        try:
            # A pipe that says so has room for a whole line of this length.
            if len(line) <= _LONGEST and any(events & select.POLLOUT for _, events in self._poll.poll(0)):
                os.write(self._file, line)
                self._counters.logged += 1
                return
        except OSError:
            pass  # nobody reads any more
        self._counters.log_lost += 1

    def _line(self, request: bytes, response: bytes | None, address: bytes, transport: Transport) -> dict[str, object]:
        line: dict[str, object] = {
            "time": round(self._clock(), 6),
            "worker": self._worker,
            "client": str(ip_address(address)) if address else "",
            "transport": transport,
        }
        query = read_question(request)
        if isinstance(query, Query):
            line |= {"name": to_text(query.question[:-4]), "type": rr.type_to_text(query.type)}
            line |= {
                "edns": query.edns,
                "do": query.do,
                "cookie": any(code == EDNS_COOKIE for code, _ in query.options),
            }
        line["request_octets"] = len(request)
        if response is None:
            return line | {"rcode": None, "octets": 0, "flags": []}
        flags = int.from_bytes(response[2:4], "big")
        code = flags & 0xF
        rcode = rr.Rcode(code).name if code in rr.Rcode.__members__.values() else str(code)
        return line | {
            "rcode": rcode,
            "octets": len(response),
            "flags": [name for name, bit in _FLAGS if flags & bit],
        }
