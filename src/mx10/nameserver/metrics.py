"""Metrics as Prometheus reads them: what the workers reported, and what the steward's services count.

The one module that knows prometheus-client. It makes text; ``metrics_page`` serves it.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from mx10 import __version__
from mx10.dns import rrtypes as rr
from mx10.nameserver.tally import Figure

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

# What a worker reports as one number: its name there, ours, what it is.
_SUMS: Final = (
    ("udp", "udp_requests", "Datagrams that came in."),
    ("tcp", "tcp_requests", "Messages that came in over TCP and TLS."),
    ("misses", "cache_misses", "Questions whose whole response was not in the table of compiled answers."),
    ("truncated", "truncated_responses", "Responses with the TC bit (estimated under load, as responses are)."),
    ("operations", "operations", "Messages for the steward: NOTIFY, updates, transfers, signed ones."),
    ("operations_refused", "operations_refused", "Of these, those beyond operations_per_second."),
    ("dropped", "rate_limit_dropped", "Responses the rate limit held back."),
    ("slipped", "rate_limit_slipped", "Responses the rate limit replaced by a short one."),
    ("bad_cookies", "bad_cookies", "Clients sent for a cookie (BADCOOKIE)."),
    ("proven", "good_cookies", "Questions with a good cookie."),
    ("connections_refused", "tcp_connections_refused", "Connections of clients that had too many."),
    ("connections_ended", "tcp_connections_ended", "Connections closed for being idle, or to make room."),
    ("logged", "query_log_lines", "Lines of the query log."),
    ("log_lost", "query_log_lost", "Lines of the query log that nobody took."),
)
_LEVELS: Final = (
    ("memory", "worker_memory_bytes", "Memory of the worker, what it shares with others included."),
    ("cache_entries", "cache_entries", "Compiled answers."),
    ("cache_octets", "cache_bytes", "What they take."),
    ("connections", "tcp_connections", "Connections open now."),
    ("started", "worker_start_time_seconds", "When the worker started, in seconds since 1970."),
)
_FIRST_TIME: Final = 10
"""Batches faster than 2**10 nanoseconds there are none."""
_LAST_TIME: Final = 32


class _Source(Collector):
    """What the registry asks."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def exposition(reports: Iterable[Mapping[str, Any]], figures: Iterable[Figure]) -> bytes:
    """The text.

    Args:
        reports: the latest of each worker (``counters.Counters.report``).
        figures: of the steward's services.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Source([*_of_workers(list(reports)), *_of_steward(figures)]))
    return generate_latest(registry)


def _of_workers(reports: list[Mapping[str, Any]]) -> Iterator[Metric]:
    yield InfoMetricFamily("mx10_build", "The version.", {"version": __version__})
    for field, name, text in _SUMS:
        counter = CounterMetricFamily(f"mx10_{name}", text, labels=["worker"])
        for report in reports:
            counter.add_metric([str(report["worker"])], report[field])
        yield counter
    for field, name, text in _LEVELS:
        gauge = GaugeMetricFamily(f"mx10_{name}", text, labels=["worker"])
        for report in reports:
            gauge.add_metric([str(report["worker"])], report[field])
        yield gauge
    responses = CounterMetricFamily(
        "mx10_responses",
        "Responses by type asked for and response code; where batches are full, one in 32 is looked at.",
        labels=["worker", "type", "rcode"],
    )
    times = HistogramMetricFamily(
        "mx10_answer_seconds",
        "From a batch of datagrams' arrival until its responses were sent, for each datagram in it.",
        labels=["worker"],
    )
    for report in reports:
        worker = str(report["worker"])
        for rrtype, rcode, number in report["answers"]:
            responses.add_metric([worker, rrtype, _rcode_text(rcode)], number)
        times.add_metric([worker], _buckets(report["times"]), report["seconds"])
    yield responses
    yield times


def _buckets(times: list[int]) -> list[tuple[str, float]]:
    """Class to how many took no longer."""
    below = sum(times[:_FIRST_TIME])
    buckets: list[tuple[str, float]] = []
    for power in range(_FIRST_TIME, _LAST_TIME + 1):
        below += times[power]
        buckets.append((repr(2**power / 1e9), below))
    return [*buckets, ("+Inf", sum(times))]


def _rcode_text(code: int) -> str:
    return rr.Rcode(code).name if code in rr.Rcode.__members__.values() else str(code)


def _of_steward(figures: Iterable[Figure]) -> Iterator[Metric]:
    for each in figures:
        family = GaugeMetricFamily if each.level else CounterMetricFamily
        metric = family(f"mx10_{each.name}", each.text, labels=[each.label] if each.label else [])
        for label, value in each.values.items():
            metric.add_metric([label] if each.label else [], value)
        yield metric
