"""Spans and counters reach a collector, and cost nothing when none is named."""

from __future__ import annotations

import http.server
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bough.gateway.telemetry import otlp, otlp_logs
from bough.gateway.telemetry.metrics import LATENCY_S
from bough.runtime.frames import CHUNK, END, Reply, Request, Signature

from ..conftest import Replica, Running, route

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
    thread.join(60)


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
    assert {each.key: each.value.string_value for each in spans[0].attributes}["http.route"] == "/v1/churn/predict"
    metrics = metrics_of(ExportMetricsServiceRequest.FromString(got["/v1/metrics"][-1]))
    assert {"bough.requests", "http.server.request.duration"} == {
        name for name, each in metrics.items() if points_of(each)
    }
    durations = points_of(metrics["http.server.request.duration"])
    duration = next(each for each in durations if "bough.service" in labels(each))
    assert labels(duration)["http.route"] == "/v1/churn/predict" and labels(duration)["bough.release"] == "1"
    assert duration.count == sum(duration.bucket_counts) == 3 and duration.sum > 0
    assert list(duration.explicit_bounds) == list(LATENCY_S)


def test_generative_models_have_the_names_of_the_conventions(
    gateway: Running, replicas: Callable[..., Replica], collector: tuple[str, dict[str, list[bytes]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    url, got = collector
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "1")

    def speak(request: Request) -> list[Reply]:
        return [Reply(request.id, 200, b"data: a\n\n", CHUNK), Reply(request.id, 200, b"data: [DONE]\n\n", END)]

    signature = Signature(mode="concurrent", streams=True, openai="chat")
    gateway.start(routes=[route("writer", replicas(handle=speak), signature=signature)])
    body = b'{"model": "writer", "stream": true, "messages": []}'
    assert gateway.request("POST", "/v1/chat/completions", body)[0] == 200
    text = gateway.request("GET", "/metrics")[2].decode()
    gateway.stop()
    sent = [ExportTraceServiceRequest.FromString(each) for each in got["/v1/traces"]]
    spans = [span for one in sent for of in one.resource_spans for scope in of.scope_spans for span in scope.spans]
    chat = next(span for span in spans if span.name == "chat writer")
    said = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "bough", "gen_ai.request.model": "writer"}
    assert said.items() <= {each.key: each.value.string_value for each in chat.attributes}.items()
    metrics = metrics_of(ExportMetricsServiceRequest.FromString(got["/v1/metrics"][-1]))
    for name in ("gen_ai.server.request.duration", "gen_ai.server.time_to_first_token"):
        (point,) = points_of(metrics[name])
        assert said.items() <= labels(point).items() and point.count == 1
        assert f"{name.replace('.', '_')}_seconds_count{{" in text
    assert 'gen_ai_request_model="writer"' in text and "bough_first_part_seconds_count{" in text


def test_log_records_name_their_span_and_failures_are_never_sampled_away(
    gateway: Running, replicas: Callable[..., Replica], collector: tuple[str, dict[str, list[bytes]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    url, got = collector
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0")

    def answer(request: Request) -> list[Reply]:
        return [Reply(request.id, 500 if b"bad" in request.body else 200, b"{}")]

    gateway.start(routes=[route("churn", replicas(handle=answer))])
    assert gateway.post("churn", {"x": "good"}, traceparent=f"00-{TRACE}-{PARENT}-01")[0] == 200
    assert gateway.post("churn", {"x": "good"})[0] == 200
    assert gateway.post("churn", {"x": "bad"})[0] == 500
    gateway.stop()
    sent = [ExportLogsServiceRequest.FromString(body) for body in got["/v1/logs"]]
    records = [
        each for one in sent for of in one.resource_logs for scope in of.scope_logs for each in scope.log_records
    ]
    said = {each.body.string_value: each for each in records if "/v1/churn" in each.body.string_value}
    assert list(said) == ["POST /v1/churn/predict 200", "POST /v1/churn/predict 500"], "of two that went well, one"
    good, bad = said.values()
    (span,) = [
        span
        for one in map(ExportTraceServiceRequest.FromString, got["/v1/traces"])
        for of in one.resource_spans
        for scope in of.scope_spans
        for span in scope.spans
    ]
    assert (good.trace_id.hex(), good.span_id, good.severity_text) == (TRACE, span.span_id, "INFO")
    assert (bad.trace_id, bad.severity_text, labels(bad)["error.type"]) == (b"", "ERROR", "500")
    assert labels(bad)["bough.service"] == "churn" and bad.time_unix_nano > 1_700_000_000 * 10**9


def test_the_gateways_own_messages_become_log_records_and_none_do_where_nobody_wants_them(
    collector: tuple[str, dict[str, list[bytes]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

    url, got = collector
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
    made = otlp_logs.lines(otlp._resource())
    assert made is not None
    logging.getLogger("bough.gateway").warning("the table is %s", "torn")
    made.close()
    logging.getLogger("bough.gateway").warning("nobody hears this")
    (sent,) = [ExportLogsServiceRequest.FromString(body) for body in got["/v1/logs"]]
    (record,) = sent.resource_logs[0].scope_logs[0].log_records
    assert (record.body.string_value, record.severity_text) == ("the table is torn", "WARNING")
    monkeypatch.setenv("OTEL_LOGS_EXPORTER", "none")
    assert otlp_logs.lines(otlp._resource()) is None


def metrics_of(sent: Any) -> dict[str, Any]:
    return {each.name: each for of in sent.resource_metrics for scope in of.scope_metrics for each in scope.metrics}


def points_of(metric: Any) -> list[Any]:
    return list(metric.histogram.data_points or metric.sum.data_points)


def labels(point: Any) -> dict[str, str]:
    return {each.key: each.value.string_value for each in point.attributes}


def test_without_an_endpoint_there_is_no_exporter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    assert otlp.exporter(list) is None
