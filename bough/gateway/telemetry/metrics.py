"""Counters of the data plane. Hot code touches plain attributes; the Prometheus text is made at scrape."""

from __future__ import annotations

from bisect import bisect_left
from time import monotonic
from typing import TYPE_CHECKING, Any

from bough.gateway import rules
from bough.gateway.call import Call
from bough.gateway.models import Route
from bough.gateway.telemetry.distributions import ModelStats, cumulative, families
from bough.gateway.telemetry.semantics import gen_ai
from bough.queues.models import QueueState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from prometheus_client.core import Metric

# Seconds, upper bounds: from a no-op (0.1 ms) to a slow generation.
LATENCY_S = (
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
)
ROUTE_LABELS = ("project", "environment", "service", "api", "release")
STARTS = ("pool", "zygote", "cold")  # from the warm pool, forked, or after its model had to be loaded
BATCH = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


def quantile_s(buckets: Sequence[int], share: float) -> float:
    """An estimate of a quantile of latencies, in seconds: answers lie evenly within their bucket. 0 of nothing."""
    wanted, below, lower = share * sum(buckets), 0.0, 0.0
    for upper, count in zip((*LATENCY_S, 2 * LATENCY_S[-1]), buckets, strict=False):
        if count and below + count >= wanted:
            return lower + (upper - lower) * (wanted - below) / count
        below, lower = below + count, upper
    return 0.0


def share_within(buckets: Sequence[int], seconds: float) -> float:
    """An estimate of the share of answers that took no longer; 1 of nothing."""
    total, found, lower = sum(buckets), 0.0, 0.0
    for upper, count in zip((*LATENCY_S, 2 * LATENCY_S[-1]), buckets, strict=False):
        found += count * min(1.0, max(0.0, (seconds - lower) / (upper - lower)))
        lower = upper
    return found / total if total else 1.0


class RouteStats:
    """Of one release of one service under one api in one environment (`ROUTE_LABELS`)."""

    __slots__ = (
        "buckets", "bytes_in", "bytes_out", "cache_hits", "cache_misses", "first", "first_s", "kind", "labels", "last",
        "left_out", "model", "operation", "refused", "refused_s", "seconds", "statuses",
    )  # fmt: skip

    def __init__(self, *labels: str) -> None:
        self.labels = labels
        self.model = ModelStats()
        self.statuses: dict[int, int] = {}
        self.buckets = [0] * (len(LATENCY_S) + 1)
        self.seconds = 0.0
        self.refused = [0] * (len(LATENCY_S) + 1)  # of requests that were turned away, which are not in `buckets`
        self.refused_s = 0.0
        self.first = [0] * (len(LATENCY_S) + 1)  # of streamed answers, until their first part
        self.first_s = 0.0
        self.kind = ""  # as the route says: model, web, mock
        self.operation = ""  # chat, embeddings: of a service that speaks OpenAI's protocols
        self.bytes_in = 0
        self.bytes_out = 0
        self.cache_hits = self.cache_misses = 0
        self.left_out = 0  # copies that it was to get and that were not made
        self.last = 0.0  # when the last answer was given, epoch seconds

    def count(self, status: int, seconds: float, *, refused: bool = False) -> None:
        """One answer, or `refused`: the request was turned away."""
        self.statuses[status] = self.statuses.get(status, 0) + 1
        if refused:
            self.refuse(seconds)
        else:
            self.buckets[bisect_left(LATENCY_S, seconds)] += 1
            self.seconds += seconds

    def refuse(self, seconds: float) -> None:
        self.refused[bisect_left(LATENCY_S, seconds)] += 1
        self.refused_s += seconds

    def begun(self, seconds: float) -> None:
        """The first part of a streamed answer."""
        self.first[bisect_left(LATENCY_S, seconds)] += 1
        self.first_s += seconds

    @property
    def succeeded(self) -> int:
        return sum(count for status, count in self.statuses.items() if status < 400)

    @property
    def failed(self) -> int:
        return sum(count for status, count in self.statuses.items() if status >= 400)


class LaneStats:
    """Of one deployment."""

    __slots__ = (
        "_sent_before", "_ticked_at", "answered", "arrived", "batches", "busy_s", "labels", "late", "per_second",
        "queue_s", "reasons", "replica_s", "retried", "sent", "sizes", "starts", "wait_s",
    )  # fmt: skip

    def __init__(self, route: Route) -> None:
        self.labels = (route.project, route.environment, route.service, route.deployment)
        self.reasons = {rules.FULL: 0, rules.DEADLINE: 0, rules.IDLE: 0}
        self.sizes = [0] * (len(BATCH) + 1)
        self.batches = 0
        self.arrived = 0
        self.answered = 0
        self.busy_s = 0.0  # for how long calls kept a slot of a replica busy, summed
        self.late = 0  # calls that waited longer than `wait_s`
        self.wait_s = route.wait_s
        self.sent = 0  # calls, retries included
        self.queue_s = 0.0  # summed over calls
        self.retried = 0
        self.starts = {kind: ([0] * (len(LATENCY_S) + 1), [0.0]) for kind in STARTS}
        self.per_second = 0.0  # calls that leave the queue, running mean
        self.replica_s = 0.0  # for how long replicas were there to answer, summed
        self._sent_before = 0
        self._ticked_at = monotonic()

    def released(self, reason: str, batch: list[Call], now: float) -> None:
        size = len(batch)
        self.reasons[reason] += 1
        self.batches += 1
        self.sizes[bisect_left(BATCH, size)] += 1
        self.sent += size
        waited = now * size
        for call in batch:
            waited -= call.arrived
        self.queue_s += waited
        if now - batch[0].arrived > self.wait_s:
            self.late += sum(now - call.arrived > self.wait_s for call in batch)

    def started(self, kind: str, seconds: float) -> None:
        """A replica came up for requests that waited for it."""
        counts, total = self.starts[kind]
        counts[bisect_left(LATENCY_S, seconds)] += 1
        total[0] += seconds

    def mean_start_s(self, kind: str) -> float:
        counts, total = self.starts[kind]
        return round(total[0] / sum(counts), 6) if any(counts) else 0.0

    def tick(self, replicas: int) -> None:
        """Once a second, with how many are there to answer."""
        now = monotonic()
        self.replica_s += replicas * (now - self._ticked_at)
        self._ticked_at = now
        self.per_second = rules.smooth(self.per_second, float(self.sent - self._sent_before))
        self._sent_before = self.sent


class Snapshot:
    """What one scrape shows; collected in the event loop, rendered wherever."""

    def __init__(self) -> None:
        self.routes: list[RouteStats] = []
        self.live: list[tuple[tuple[str, ...], str]] = []  # a route's labels, and the deployment that answers
        self.lanes: list[tuple[LaneStats, int, int, int]] = []  # stats, queued, in flight, links
        self.queues: list[QueueState] = []
        self.connections = 0
        self.generation = 0
        self.log_dropped = 0
        self.started_at = 0.0


def render(snapshot: Snapshot) -> bytes:
    """The exposition format. Imports prometheus_client on the first scrape: call it off the event loop."""
    from prometheus_client import CollectorRegistry, generate_latest, process_collector

    class Once:
        def collect(self) -> Iterable[Metric]:
            return _families(snapshot)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Once())
    process_collector.ProcessCollector(registry=registry)
    return generate_latest(registry)


def _families(snapshot: Snapshot) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    route = list(ROUTE_LABELS)
    yield from _of_routes(route, snapshot.routes)
    yield from _of_streams(route, snapshot.routes)
    info = GaugeMetricFamily("bough_release_info", "The deployment that answers now", labels=[*route, "deployment"])
    for labels, deployment in snapshot.live:
        info.add_metric([*labels, deployment], 1)
    yield info
    yield from families(route, [(stats.labels, stats.model) for stats in snapshot.routes])
    yield from _of_lanes(snapshot.lanes)
    yield from _of_queues(snapshot.queues)
    yield GaugeMetricFamily("bough_connections", "Client connections that are open", value=snapshot.connections)
    yield GaugeMetricFamily(
        "bough_table_generation", "Generation of the routing table in use", value=snapshot.generation
    )
    yield CounterMetricFamily(
        "bough_access_log_dropped", "Log lines that could not be written", value=snapshot.log_dropped
    )


def _of_routes(route: list[str], routes: list[RouteStats]) -> Iterator[Metric]:
    """What has been answered."""
    from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

    requests = CounterMetricFamily("bough_requests", "Requests answered", labels=[*route, "status"])
    latency = HistogramMetricFamily(
        "bough_request_seconds", "From the whole request to the whole answer, of those not turned away", labels=route
    )
    refused = CounterMetricFamily("bough_refusals", "Requests that were turned away", labels=route)
    bytes_in = CounterMetricFamily("bough_request_bytes", "Bytes of request bodies", labels=route)
    bytes_out = CounterMetricFamily("bough_response_bytes", "Bytes of answers' bodies", labels=route)
    items = CounterMetricFamily("bough_items", "Items of requests that were answered well", labels=route)
    cached = CounterMetricFamily("bough_cache", "Requests that an answer was looked up for", labels=[*route, "result"])
    left_out = CounterMetricFamily("bough_copies_left_out", "Copies that were not made, for want of room", labels=route)
    for stats in routes:
        for result, count in (("hit", stats.cache_hits), ("miss", stats.cache_misses)):
            if stats.cache_hits or stats.cache_misses:
                cached.add_metric([*stats.labels, result], count)
        if stats.left_out:
            left_out.add_metric(stats.labels, stats.left_out)
        for status, count in sorted(stats.statuses.items()):
            requests.add_metric([*stats.labels, str(status)], count)
        latency.add_metric(stats.labels, cumulative(LATENCY_S, stats.buckets), stats.seconds)
        refused.add_metric(stats.labels, sum(stats.refused))
        items.add_metric(stats.labels, stats.succeeded + stats.model.further)
        bytes_in.add_metric(stats.labels, stats.bytes_in)
        bytes_out.add_metric(stats.labels, stats.bytes_out)
    yield from (requests, latency, refused, items, bytes_in, bytes_out, cached, left_out)


def _of_lanes(lanes: list[tuple[LaneStats, int, int, int]]) -> Iterator[Metric]:
    """Batches, waits and starts of each deployment, and what it has now: requests that wait, requests at a replica,
    links."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    lane = ["project", "environment", "service", "deployment"]
    batches = CounterMetricFamily("bough_batches", "Batches sent, by why they were released", labels=[*lane, "reason"])
    sizes = HistogramMetricFamily("bough_batch_size", "Requests per batch", labels=lane)
    waited = CounterMetricFamily("bough_queue_seconds", "Time that requests waited in the queue", labels=lane)
    replica_s = CounterMetricFamily("bough_replica_seconds", "Time that replicas were there to answer", labels=lane)
    retried = CounterMetricFamily("bough_retries", "Requests sent again after a replica died", labels=lane)
    gauges: dict[str, Any] = {
        name: GaugeMetricFamily(f"bough_{name}", text, labels=lane)
        for name, text in (
            ("queued", "Requests that wait for a replica"),
            ("in_flight", "Requests at a replica"),
            ("links", "Replicas that are connected"),
        )
    }
    starts = HistogramMetricFamily(
        "bough_start_seconds", "Until a replica answered requests that waited for it", labels=[*lane, "kind"]
    )
    for of, *values in lanes:
        for kind, (counts, total) in of.starts.items():
            if any(counts):
                starts.add_metric([*of.labels, kind], cumulative(LATENCY_S, counts), total[0])
        for reason, count in of.reasons.items():
            batches.add_metric([*of.labels, reason], count)
        sizes.add_metric(of.labels, cumulative(BATCH, of.sizes), float(of.sent))
        waited.add_metric(of.labels, of.queue_s)
        retried.add_metric(of.labels, of.retried)
        replica_s.add_metric(of.labels, of.replica_s)
        for gauge, value in zip(gauges.values(), values, strict=True):
            gauge.add_metric(of.labels, value)
    yield from (batches, sizes, waited, retried, replica_s, starts, *gauges.values())


def _of_streams(route: list[str], routes: list[RouteStats]) -> Iterator[Metric]:
    """The first parts of streamed answers, and what OpenTelemetry's conventions for generative AI call by names of
    their own."""
    from prometheus_client.core import HistogramMetricFamily

    first = HistogramMetricFamily("bough_first_part_seconds", "Until a streamed answer began", labels=route)
    names = ["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model"]
    spent = HistogramMetricFamily(
        "gen_ai_server_request_duration_seconds", "Duration of requests to generative models", labels=[*route, *names]
    )
    token = HistogramMetricFamily(
        "gen_ai_server_time_to_first_token_seconds", "Until the first token of a streamed answer",
        labels=[*route, *names],
    )  # fmt: skip
    for each in routes:
        begun = cumulative(LATENCY_S, each.first) if any(each.first) else []
        if begun:
            first.add_metric(each.labels, begun, each.first_s)
        if each.operation:
            labels = [*each.labels, *gen_ai(each.operation, each.labels[2]).values()]
            spent.add_metric(labels, cumulative(LATENCY_S, each.buckets), each.seconds)
            if begun:
                token.add_metric(labels, begun, each.first_s)
    yield from (first, spent, token)


def _of_queues(queues: list[QueueState]) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    labels = ["project", "environment", "queue"]
    for name, text, field in (
        ("queue_depth", "Items that wait", "depth"),
        ("queue_age_seconds", "How long the oldest of them has waited", "age_s"),
        ("queue_in_flight", "Items at the handler", "in_flight"),
    ):
        gauge = GaugeMetricFamily(f"bough_{name}", text, labels=labels)
        for each in queues:
            gauge.add_metric([each.project, each.environment, each.queue], getattr(each, field))
        yield gauge
    items = CounterMetricFamily("bough_queue_items", "Items, by what became of them", labels=[*labels, "state"])
    for each in queues:
        for state in ("accepted", "done", "dead"):
            items.add_metric([each.project, each.environment, each.queue, state], getattr(each, state))
    yield items
