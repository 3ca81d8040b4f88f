"""Spans and counters reach a collector, and cost nothing when none is named."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator

import pytest

from bough.gateway import otlp

from .conftest import Replica, Running, route

pytest.importorskip("opentelemetry.exporter.otlp.proto.http")

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
def collector() -> Iterator[tuple[str, dict[str, list[bytes]]]]:
    got: dict[str, list[bytes]] = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            got.setdefault(self.path, []).append(body)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", got
    server.shutdown()
    server.server_close()
    thread.join(5)


def test_a_sampled_request_becomes_a_span_below_its_caller(
    gateway: Running, replicas: Callable[..., Replica], collector: tuple[str, dict[str, list[bytes]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    url, got = collector
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0")
    gateway.start(routes=[route("churn", replicas())])
    assert gateway.post("churn", {}, traceparent=f"00-{TRACE}-{PARENT}-01")[0] == 200
    assert gateway.post("churn", {}, traceparent=f"00-{TRACE}-{PARENT}-00")[0] == 200  # not sampled
    assert gateway.post("churn", {})[0] == 200
    gateway.stop()
    sent = [ExportTraceServiceRequest.FromString(body) for body in got["/v1/traces"]]
    spans = [span for one in sent for of in one.resource_spans for scope in of.scope_spans for span in scope.spans]
    assert [(span.name, span.trace_id.hex(), span.parent_span_id.hex()) for span in spans] == [
        ("POST churn", TRACE, PARENT)
    ]
    assert spans[0].end_time_unix_nano > spans[0].start_time_unix_nano > 1_700_000_000 * 10**9
    metrics = b"".join(got["/v1/metrics"])
    assert b"bough.requests" in metrics
    assert ExportMetricsServiceRequest.FromString(got["/v1/metrics"][-1]).resource_metrics


def test_without_an_endpoint_there_is_no_exporter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    assert otlp.exporter(list) is None
