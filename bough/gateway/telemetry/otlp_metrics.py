"""Counters of the gateway for an OTLP collector, under the names of OpenTelemetry's semantic conventions: HTTP servers,
and generative AI for services that speak OpenAI's protocols.

The gateway counts in buckets of its own while it answers; here they become histogram points as they are. An instrument
of the SDK would have to see every request, and would cost the event loop more than all of its own counting.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import add
from typing import TYPE_CHECKING, Any

from bough.gateway.models import WEB
from bough.gateway.telemetry.metrics import LATENCY_S, ROUTE_LABELS, RouteStats
from bough.gateway.telemetry.semantics import gen_ai, http_route

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import Metric

EVERY_S = 15.0
SCOPE = "bough.gateway"
log = logging.getLogger("bough.gateway")


class Meters:
    """A thread that sends what has been counted; starts with its construction."""

    def __init__(self, routes: Callable[[], Iterable[RouteStats]], resource: Callable[[], Any]) -> None:
        self._routes, self._resource = routes, resource
        self._began_ns = time.time_ns()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="otlp-metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Sends once more; waits at most five seconds for the collector."""
        self._ended.set()
        self._thread.join(5.0)

    def _run(self) -> None:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

        exporter, resource = OTLPMetricExporter(), self._resource()
        while True:
            over = self._ended.wait(EVERY_S)
            try:
                exporter.export(data(list(self._routes()), resource, self._began_ns, time.time_ns()))
            except Exception:  # third-party code over a network: the next turn sends the same and more
                log.exception("metrics could not be sent")
            if over:
                break
        with contextlib.suppress(Exception):  # third-party code at the very end: nothing is left to protect
            exporter.shutdown()


def data(routes: Sequence[RouteStats], resource: Any, began_ns: int, now_ns: int) -> Any:
    """All of it as the SDK's exporters take it. Sums and buckets have grown since `began_ns`."""
    from opentelemetry.sdk.metrics.export import MetricsData, ResourceMetrics, ScopeMetrics
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    metrics = list(_metrics(routes, began_ns, now_ns))
    scope = ScopeMetrics(scope=InstrumentationScope(SCOPE), metrics=metrics, schema_url="")
    return MetricsData(resource_metrics=[ResourceMetrics(resource=resource, scope_metrics=[scope], schema_url="")])


def _metrics(routes: Sequence[RouteStats], began_ns: int, now_ns: int) -> Iterator[Metric]:
    from opentelemetry.sdk.metrics.export import (
        AggregationTemporality,
        Histogram,
        HistogramDataPoint,
        Metric,
        NumberDataPoint,
        Sum,
    )

    def histogram(name: str, text: str, points: list[tuple[dict[str, Any], list[int], float]]) -> Metric:
        found = [
            HistogramDataPoint(
                attributes=attributes, start_time_unix_nano=began_ns, time_unix_nano=now_ns, count=sum(buckets),
                sum=seconds, bucket_counts=list(buckets), explicit_bounds=LATENCY_S, min=0.0, max=0.0,
            )
            for attributes, buckets, seconds in points
        ]  # fmt: skip
        kept = Histogram(data_points=found, aggregation_temporality=AggregationTemporality.CUMULATIVE)
        return Metric(name=name, description=text, unit="s", data=kept)

    counted = [
        NumberDataPoint(
            attributes=_labels(stats) | _status(status), start_time_unix_nano=began_ns, time_unix_nano=now_ns,
            value=count,
        )
        for stats in routes
        for status, count in list(stats.statuses.items())
    ]  # fmt: skip
    sums = Sum(data_points=counted, aggregation_temporality=AggregationTemporality.CUMULATIVE, is_monotonic=True)
    yield Metric(name="bough.requests", description="Requests answered", unit="{request}", data=sums)
    yield histogram(
        "http.server.request.duration", "Duration of HTTP server requests",
        [
            (_labels(each) | _http(each), list(map(add, each.buckets, each.refused)), each.seconds + each.refused_s)
            for each in routes
        ],
    )  # fmt: skip
    models = [(_labels(each) | gen_ai(each.operation, each.labels[2]), each) for each in routes if each.operation]
    yield histogram(
        "gen_ai.server.request.duration", "From the whole request to the whole answer",
        [(labels, each.buckets, each.seconds) for labels, each in models],
    )  # fmt: skip
    yield histogram(
        "gen_ai.server.time_to_first_token", "From the whole request to the first part of a streamed answer",
        [(labels, each.first, each.first_s) for labels, each in models if any(each.first)],
    )  # fmt: skip


def _labels(stats: RouteStats) -> dict[str, Any]:
    return {f"bough.{name}": value for name, value in zip(ROUTE_LABELS, stats.labels, strict=True) if value}


def _http(stats: RouteStats) -> dict[str, Any]:
    """Methods of web services are not told apart, which the conventions call _OTHER."""
    _, _, service, api, _ = stats.labels
    known = stats.kind not in ("", WEB)
    route = {"http.route": http_route(stats.kind, api, service)} if stats.kind else {}
    return {"http.request.method": "POST" if known else "_OTHER", "url.scheme": "http", **route}


def _status(status: int) -> dict[str, Any]:
    failed = {"error.type": str(status)} if status >= 500 else {}
    return {"http.response.status_code": status, **failed}
