"""Optional export of spans, of counters (`otlp_metrics`) and of log records (`otlp_logs`), over OTLP (extra `otlp`),
when OTEL_EXPORTER_OTLP_ENDPOINT says where to.

A request whose `traceparent` is marked as sampled becomes a span below the caller's; of the others a share does
(OTEL_TRACES_SAMPLER_ARG, default 0.01). Those and what failed become log records. The event loop only picks records; a
thread imports the SDK, makes the spans and sends them, so neither the start nor a request waits for it. What the
collector does not take is dropped.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import queue
import random
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from bough.gateway.telemetry import otlp_logs
from bough.gateway.telemetry.metrics import RouteStats
from bough.gateway.telemetry.otlp_metrics import Meters
from bough.gateway.telemetry.semantics import CHAT, EMBEDDINGS, gen_ai, http_route
from bough.runtime import frames

if TYPE_CHECKING:
    from bough.gateway.telemetry.access_log import Record

DEFAULT_SHARE = 0.01
WAITING_BATCHES = 256  # beyond it the exporter is behind, and spans are dropped
_SDK = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")

log = logging.getLogger("bough.gateway")
_decode = msgspec.json.Decoder(dict[str, str]).decode
_OPERATIONS = {frames.CHAT: CHAT, frames.EMBED: EMBEDDINGS}
Batch = tuple[list[tuple["Record", bool]], float]  # each with whether it becomes a span
FAILED_AT_ONCE = 32  # of some hundred records: where everything fails, the first ones say why


def exporter(routes: Callable[[], Iterable[RouteStats]]) -> Exporter | None:
    """None unless an endpoint is set and the extra is installed."""
    if not os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        return None
    if not all(_installed(name) for name in _SDK):
        log.warning("OTEL_EXPORTER_OTLP_ENDPOINT is set but the exporter is missing: pip install 'bough[otlp]'")
        return None
    try:
        share = float(os.environ.get("OTEL_TRACES_SAMPLER_ARG") or DEFAULT_SHARE)
    except ValueError:
        share = DEFAULT_SHARE
    return Exporter(routes, share)


class Exporter:
    def __init__(self, routes: Callable[[], Iterable[RouteStats]], share: float) -> None:
        self._share = share
        self._meters = Meters(routes, _resource)
        self._queue: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="otlp", daemon=True)
        self._thread.start()

    def offer(self, records: list[Record], wall: float) -> None:
        """Takes the sampled ones, and some that failed. `wall` turns their times into seconds since the epoch."""
        chosen: list[tuple[Record, bool]] = []
        failed = 0
        for record in records:
            if _sampled(record, self._share):
                chosen.append((record, True))
            elif record[2] >= 500 and failed < FAILED_AT_ONCE:
                chosen.append((record, False))
                failed += 1
        if chosen and self._queue.qsize() < WAITING_BATCHES:
            self._queue.put((chosen, wall))

    def close(self) -> None:
        """Sends what is left; waits at most five seconds for the collector."""
        self._queue.put(None)
        self._meters.close()
        self._thread.join(5.0)

    def _run(self) -> None:
        spans, said = _traces(), otlp_logs.lines(_resource())
        tracer = spans.get_tracer("bough.gateway")
        while (batch := self._queue.get()) is not None:
            records, wall = batch
            for record, sampled in records:
                name, attributes = _described(record)
                context = _context(record)
                if sampled:
                    context = _span(tracer, record, wall, name, attributes, context)
                if said is not None:
                    about = attributes | {"http.server.request.duration": round(record[4] - record[3], 6)}
                    text = f"{attributes['http.request.method']} {attributes['url.path']}"
                    said.answered(text, about, int((record[4] + wall) * 1e9), context)
        if said is not None:
            said.close()
        with contextlib.suppress(Exception):  # third-party code at the very end: nothing is left to protect
            spans.shutdown()


def _sampled(record: Record, share: float) -> bool:
    trace = record[8]
    return trace[2] if trace is not None else random.random() < share  # noqa: S311 - a sample, not a secret


def _installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _resource() -> Any:
    from opentelemetry.sdk.resources import Resource

    return Resource.create({"service.name": os.environ.get("OTEL_SERVICE_NAME") or "bough-gateway"})


def _traces() -> Any:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON

    provider = TracerProvider(resource=_resource(), sampler=ALWAYS_ON, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


def _context(record: Record) -> Any:
    """With the caller's span; None where it named none."""
    from opentelemetry import trace as api

    trace = record[8]
    if trace is None:
        return None
    flags = api.TraceFlags(api.TraceFlags.SAMPLED if trace[2] else api.TraceFlags.DEFAULT)
    parent = api.SpanContext(int(trace[0], 16), int(trace[1], 16), is_remote=True, trace_flags=flags)
    return api.set_span_in_context(api.NonRecordingSpan(parent))


def _described(record: Record) -> tuple[str, dict[str, Any]]:
    """The name of a request, and what is known of it."""
    plan, rid, status, _, _, size, sent, peer, _, _ = record
    said = _decode(b"{%b}" % plan.log)
    attributes: dict[str, Any] = {
        "http.request.method": said["method"],
        "url.path": said["path"],
        "http.response.status_code": status,
        "http.request.body.size": size,
        "http.response.body.size": sent,
        "client.address": peer.decode("latin-1"),
        "bough.request_id": rid.decode("latin-1"),
    }
    names = ("project", "environment", "service", "api", "caller")
    attributes |= {f"bough.{name}": said[name] for name in names if name in said}
    name = f"{said['method']} {said.get('service', 'gateway')}"
    if plan.entry is not None:
        route = plan.entry.route
        attributes |= {"bough.release": plan.stats.labels[-1], "bough.deployment": route.deployment}
        if operation := _OPERATIONS.get(plan.verb):
            attributes |= gen_ai(operation, route.service)
            name = f"{operation} {route.service}"
        else:
            attributes["http.route"] = http_route(route.kind, route.api, route.service)
    if status >= 500:
        attributes["error.type"] = str(status)
    return name, attributes


def _span(
    tracer: Any, record: Record, wall: float, name: str, attributes: dict[str, Any], context: Any
) -> Any:  # fmt: skip
    """The context of the span that it has made."""
    from opentelemetry import trace as api

    span = tracer.start_span(
        name,
        context=context,
        kind=api.SpanKind.SERVER,
        attributes=attributes,
        start_time=int((record[3] + wall) * 1e9),
    )
    if record[2] >= 500:
        span.set_status(api.StatusCode.ERROR)
    span.end(int((record[4] + wall) * 1e9))
    return api.set_span_in_context(span)
