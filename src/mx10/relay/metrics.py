"""What the relay counts, as Prometheus reads it (docs/metrics.md). The page itself is the nameserver's, put in by
``node``; prometheus-client makes the text."""

import asyncio
import os
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from sqlalchemy import text

from mx10.logs import get_logger
from mx10.relay.courier.values import Fate
from mx10.store.connect import Store
from mx10.store.errors import StoreError
from mx10.values import value_class

if TYPE_CHECKING:
    from mx10.relay.process import Relay

QUEUE_SECONDS: Final = 15.0
"""Between two looks at the queue in the database."""
DOMAINS: Final = 20
"""Destinations that are shown, those with the most mail."""
LATENCIES: Final = (0.1, 0.5, 1.0, 5.0, 30.0, 60.0, 300.0, 1800.0, 3600.0, 21600.0, 86400.0, 432000.0)
"""Bounds of the histogram, in seconds."""
AGES: Final = (60, 600, 3600, 21600, 86400, 432000)
"""Bounds of the ages of what waits, in seconds."""
_REPLIES: Final = 200
"""Kinds of replies that are told apart; more count as others."""

log = get_logger("relay")


@dataclass(slots=True)
class Tallies:
    """What the dispatcher counts of fates."""

    latencies: list[int] = field(default_factory=lambda: [0] * (len(LATENCIES) + 1))
    latency_sum: float = 0.0
    replies: Counter[str] = field(default_factory=Counter)

    def told(self, fate: Fate) -> None:
        """What a host said, or what happened instead."""
        what = str(fate.reply.code) if fate.reply is not None else fate.trouble.value if fate.trouble else "none"
        if what in self.replies or len(self.replies) < _REPLIES:
            self.replies[what] += 1
        else:
            self.replies["other"] += 1

    def delivered(self, seconds: float) -> None:
        """How long it took from the first "250" to the last."""
        self.latencies[bisect_left(LATENCIES, seconds)] += 1
        self.latency_sum += seconds


@value_class
class Queue:
    """What waits, as the database says."""

    states: Mapping[str, int]
    ages: tuple[int, ...]
    domains: tuple[tuple[str, int], ...]


def look(store: Store, node: int, now: int) -> Queue:
    """Count what waits. In a thread.

    Raises:
        StoreError: the spool cannot be read.
    """
    with store.read() as connection:
        values = {"node": node, "most": DOMAINS}
        states = connection.execute(
            text("SELECT state, COUNT(*) FROM recipients WHERE node = :node GROUP BY state"), values
        ).all()
        domains = connection.execute(
            text(
                "SELECT domain, COUNT(*) AS n FROM recipients WHERE node = :node GROUP BY domain"
                " ORDER BY n DESC, domain LIMIT :most"
            ),
            values,
        ).all()
        # The time is in the upper bits of a message's number (values.Ids), and that is the primary key.
        older = [
            int(
                connection.execute(
                    text("SELECT COUNT(*) FROM messages WHERE id < :before"), {"before": (now - age * 1000) << 21}
                ).scalar_one()
            )
            for age in AGES
        ]
    return Queue({row[0]: row[1] for row in states}, tuple(older), tuple((row[0], row[1]) for row in domains))


class _Source(Collector):
    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


class Meter:
    """Makes the page of a relay."""

    def __init__(self, relay: "Relay") -> None:
        self._relay = relay
        self._queue: Queue | None = None

    async def run(self) -> None:
        """Look at the queue now and then, until cancelled."""
        relay = self._relay
        while True:
            try:
                now = time.time_ns() // 1_000_000
                self._queue = await asyncio.to_thread(look, relay.spool.store, relay.spool.node, now)
            except StoreError as error:
                log.warning("the queue cannot be counted", cause=str(error))
            await asyncio.sleep(QUEUE_SECONDS)

    def page(self) -> bytes:
        """The text."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Source(list(self._metrics())))
        return generate_latest(registry)

    def _metrics(self) -> Iterable[Metric]:
        relay = self._relay
        accepted = CounterMetricFamily("mx10_relay_accepted", "Messages taken, by entrance.", labels=["entrance"])
        refused = CounterMetricFamily("mx10_relay_refused", "What was refused, by reason.", labels=["reason"])
        discarded = CounterMetricFamily("mx10_relay_discarded", "Messages discarded, by whom.", labels=["by"])
        families = {"accepted": accepted, "refused": refused, "discarded": discarded}
        counts = relay.counts
        for (what, why), count in sorted(counts.items()):
            if what in families:
                families[what].add_metric([why], count)
        yield from families.values()
        asked = CounterMetricFamily(
            "mx10_relay_recipients", "Whether recipients exist, and who said so.", labels=["verdict", "source"]
        )
        senders = CounterMetricFamily(
            "mx10_relay_senders", "Messages of which it was asked who vouches for the sender.", labels=["outcome"]
        )
        filters = CounterMetricFamily(
            "mx10_relay_filter_failures", "How often a filter was out of order.", labels=["filter"]
        )
        for (what, why), count in sorted(counts.items()):
            if what.startswith("recipient-"):
                asked.add_metric([what.removeprefix("recipient-"), why], count)
            elif what == "sender":
                senders.add_metric([why], count)
            elif what == "filter-failed":
                filters.add_metric([why], count)
        yield asked
        yield senders
        yield filters
        outcomes = CounterMetricFamily(
            "mx10_relay_deliveries", "Recipients after an attempt, by what came of it.", labels=["outcome"]
        )
        for name in ("delivered", "deferred", "failed"):
            outcomes.add_metric([name], relay.dispatcher.counts[name])
        yield outcomes
        tallies = relay.dispatcher.tallies
        replies = CounterMetricFamily(
            "mx10_relay_replies", "What decided attempts: the code of a reply, or what happened.", labels=["reply"]
        )
        for what, count in sorted(tallies.replies.items()):
            replies.add_metric([what], count)
        yield replies
        reports = CounterMetricFamily(
            "mx10_relay_reports", "Reports to senders, and failures nobody heard of.", labels=["what"]
        )
        for name in ("reports", "delay_warnings", "dropped"):
            reports.add_metric([name], relay.settler.counts[name])
        yield reports
        buckets, total = [], 0
        for bound, count in zip((*map(str, LATENCIES), "+Inf"), tallies.latencies, strict=True):
            total += count
            buckets.append((bound, float(total)))
        latency = HistogramMetricFamily("mx10_relay_delivery_seconds", "From taking a message to delivering it.")
        latency.add_metric([], buckets, tallies.latency_sum)
        yield latency
        for name, what, level in (
            ("connections", "Clients that are connected.", relay.connections),
            ("in_flight", "Messages on their way just now.", relay.dispatcher.in_flight),
            ("in_memory", "Recipients in memory.", relay.dispatcher.in_memory),
            ("hops_down", "Next hops that are down.", relay.dispatcher.hops_down),
            ("hosts_down", "Addresses that are down.", len(relay.hosts)),
            ("memory_bytes", "Memory of the relay's process.", _memory()),
            ("start_time_seconds", "When it started, in seconds since 1970.", relay.started),
        ):
            yield GaugeMetricFamily(f"mx10_relay_{name}", what, level)
        if self._queue is not None:
            yield from self._waiting(self._queue)

    @staticmethod
    def _waiting(queue: Queue) -> Iterable[Metric]:
        states = GaugeMetricFamily("mx10_relay_queue", "Recipients that wait, by state.", labels=["state"])
        for state in ("queued", "held", "apart", "return"):
            states.add_metric([state], queue.states.get(state, 0))
        yield states
        ages = GaugeMetricFamily("mx10_relay_queue_older", "Messages older than so many seconds.", labels=["seconds"])
        for bound, count in zip(AGES, queue.ages, strict=True):
            ages.add_metric([str(bound)], count)
        yield ages
        domains = GaugeMetricFamily(
            "mx10_relay_queue_domain", "Recipients that wait, for the domains with the most.", labels=["domain"]
        )
        for domain, count in queue.domains:
            domains.add_metric([domain], count)
        yield domains


def _memory() -> int:
    """Octets of this process in memory."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
