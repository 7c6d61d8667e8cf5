"""What the server looks like from outside: the workers' reports are gathered here, and shown as metrics and as the
answer to ``mx10 nameserver status``."""

import asyncio
import json
import os
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from mx10 import __version__
from mx10.logs import get_logger
from mx10.nameserver.counters import memory
from mx10.nameserver.metrics import exposition
from mx10.nameserver.metrics_page import MetricsPage
from mx10.nameserver.steward import Household, Steward
from mx10.zones.dnssec.stored import due_zones, next_due

_RATE_REPORTS: Final = 11
"""Reports over which a worker's rate is taken: ten seconds."""
_SILENT_SECONDS: Final = 15.0
"""A worker that reported nothing for so long is gone, or hangs."""
_COUNT_SECONDS: Final = 10.0
"""How often the store is asked how many zones there are, for the metrics."""
_MOST_DUE: Final = 10_000

log = get_logger("steward")


@dataclass(slots=True)
class _Reports:
    """The latest reports of one worker, and when they came."""

    latest: deque[tuple[float, Mapping[str, Any]]] = field(default_factory=lambda: deque(maxlen=_RATE_REPORTS))

    def rate(self) -> float:
        """Questions a second."""
        (since, first), (until, last) = self.latest[0], self.latest[-1]
        return (questions(last) - questions(first)) / (until - since) if until > since else 0.0


def questions(report: Mapping[str, Any]) -> int:
    """All that a worker was asked."""
    return int(report["udp"]) + int(report["tcp"])


class Overview:
    """Gathers and shows.

    Args:
        household: whose desk takes the reports, and whose services are asked.
        clock: seconds on a clock that does not go back.
    """

    def __init__(self, household: Household, clock: Callable[[], float] = time.monotonic) -> None:
        self._household = household
        self._clock = clock
        self._began = clock()
        self._workers: dict[int, _Reports] = {}
        self._zones_in_store = 0

    def take(self, body: bytes) -> None:
        """A worker's report. Where a worker was replaced, its successor's count for it."""
        report = json.loads(body)
        reports = self._workers.setdefault(report["worker"], _Reports())
        if reports.latest and reports.latest[-1][1]["pid"] != report["pid"]:
            reports.latest.clear()
        reports.latest.append((self._clock(), report))

    def _current(self) -> list[_Reports]:
        oldest = self._clock() - _SILENT_SECONDS
        return [reports for _, reports in sorted(self._workers.items()) if reports.latest[-1][0] > oldest]

    # ---------------------------------------------------------------- metrics

    def metrics(self) -> bytes:
        """The text for Prometheus."""
        return exposition([each.latest[-1][1] for each in self._current()], self._household.tally.figures())

    async def run(self) -> None:
        """Keep the numbers that only the store knows."""
        household = self._household
        household.tally.levels("zones", "Zones, by where they come from.", "source", self._zones)
        while isinstance(household, Steward):
            self._zones_in_store = await household.in_store(household.ledger.count)
            await asyncio.sleep(_COUNT_SECONDS)

    def _zones(self) -> Mapping[str, float]:
        return {"files": len(self._household.files), "store": self._zones_in_store}

    # ---------------------------------------------------------------- status

    async def status(self, order: Mapping[str, Any]) -> Mapping[str, Any]:
        """How the server is, as JSON."""
        household = self._household
        now = time.time()
        workers = [
            {
                "worker": report["worker"],
                "pid": report["pid"],
                "uptime_seconds": round(now - report["started"]),
                "questions": questions(report),
                "questions_per_second": round(each.rate(), 1),
                "memory_octets": report["memory"],
                "tcp_connections": report["connections"],
                "cache_entries": report["cache_entries"],
                "rate_limited": report["dropped"] + report["slipped"],
            }
            for each in self._current()
            for report in (each.latest[-1][1],)
        ]
        services: dict[str, dict[str, float]] = {}
        for figure in household.tally.figures():
            if figure.name != "zones":
                services[figure.name] = dict(figure.values)
        return {
            "version": __version__,
            "uptime_seconds": max(
                [each["uptime_seconds"] for each in workers], default=round(self._clock() - self._began)
            ),
            "workers": workers,
            "workers_configured": household.config.nameserver.workers,
            "zones_from_files": len(household.files),
            "zones_in_store": await self._in_store(),
            "steward": {
                "pid": os.getpid(),
                "uptime_seconds": round(self._clock() - self._began),
                "memory_octets": memory("self"),
            },
            "signing": await self._signing(int(now)),
            "services": services,
        }

    async def _in_store(self) -> int | None:
        household = self._household
        return await household.in_store(household.ledger.count) if isinstance(household, Steward) else None

    async def _signing(self, now: int) -> Mapping[str, Any] | None:
        household = self._household
        if not isinstance(household, Steward):
            return None
        store = household.ledger.store

        def look() -> Mapping[str, Any]:
            with store.read() as connection:
                due = len(due_zones(connection, now, _MOST_DUE))
                coming = next_due(connection)
            return {"due_now": due, "next_in_seconds": None if coming is None else max(0, coming - now)}

        return await household.in_store(look)


def plug_in(household: Household) -> Overview:
    """Have the household look after what is seen of the server."""
    made = Overview(household)
    household.desk.on_counters = made.take
    household.desk.for_order("status", made.status)
    household.services.append(made)
    listen = household.config.nameserver.metrics_listen
    if listen:
        household.services.append(MetricsPage(listen, made.metrics))
    return made
