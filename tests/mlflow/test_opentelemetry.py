"""OpenTelemetry's own exporter sends spans to Bough, and they are there as MLflow's clients read them."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import Link, Status, StatusCode

from tests.mlflow.servers import bough_server

API = "/mlflow/shop/api/3.0/mlflow"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    with bough_server(tmp_path_factory.mktemp("home")) as found:
        yield found


def ask(server: tuple[str, str], path: str, body: Any = None) -> Any:
    url, token = server
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data, {"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.loads(answer.read())


@pytest.mark.parametrize("compression", [Compression.NoCompression, Compression.Gzip, Compression.Deflate])
def test_spans_of_the_exporter(server: tuple[str, str], compression: Compression) -> None:
    url, token = server
    head = {"Authorization": f"Bearer {token}", "x-mlflow-experiment-id": "0"}
    ask(server, f"{API}/runs/create".replace("3.0", "2.0"), {"experiment_id": "0"})
    exporter = OTLPSpanExporter(f"{url}/mlflow/shop/v1/traces", headers=head, compression=compression)
    provider = TracerProvider(resource=Resource({"service.name": "shop ☃", "odd key/../": "x" * 9000}))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")
    with tracer.start_as_current_span("root", attributes={"session.id": "s1", "mlflow.traceTag.team": "blue"}) as root:
        root.set_attribute("mlflow.spanInputs", '{"question": "tree"}')
        with tracer.start_as_current_span("inner", links=[Link(root.get_span_context(), {"why": "test"})]) as inner:
            inner.set_attributes({"int": 2**62, "float": 1e-300, "list": ["a", "ü"], "flag": True})
            inner.add_event("began", {"at": 1})
            inner.set_status(Status(StatusCode.ERROR, "it broke"))
    provider.shutdown()
    trace = f"tr-{root.get_span_context().trace_id:032x}"
    found = ask(server, f"{API}/traces/get?trace_id={trace}")["trace"]
    info, spans = found["trace_info"], {each["name"]: each for each in found["spans"]}
    assert (info["state"], info["tags"]["service.name"], info["tags"]["team"]) == ("OK", "shop ☃", "blue")
    assert info["trace_metadata"] == {"mlflow.trace.session": "s1"} and "tree" in info["request_preview"]
    assert spans["inner"]["parent_span_id"] == spans["root"]["span_id"]
    assert spans["inner"]["status"] == {"code": "STATUS_CODE_ERROR", "message": "it broke"}
    assert {each["key"]: each["value"] for each in spans["inner"]["attributes"]} == {
        "int": {"int_value": str(2**62)}, "float": {"double_value": 1e-300}, "flag": {"bool_value": True},
        "list": {"array_value": {"values": [{"string_value": "a"}, {"string_value": "ü"}]}},
        "mlflow.traceRequestId": {"string_value": trace},
    }  # fmt: skip
    assert spans["inner"]["events"][0]["name"] == "began" and spans["inner"]["links"][0]["attributes"]
    body = {"locations": [{"mlflow_experiment": {"experiment_id": "0"}}], "filter": "span.attributes.int > 5"}
    assert trace in [each["trace_id"] for each in ask(server, f"{API}/traces/search", body)["traces"]]


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ({"Content-Type": "text/plain"}, 400),
        ({"Content-Type": "application/x-protobuf"}, 400),
        ({"Content-Type": "application/x-protobuf", "x-mlflow-experiment-id": "99"}, 404),
        ({"Content-Type": "application/x-protobuf", "x-mlflow-experiment-id": "0", "x-mlflow-run-id": "no"}, 404),
        ({"Content-Type": "application/x-protobuf", "x-mlflow-experiment-id": "0", "Authorization": "Bearer x"}, 401),
    ],
)
def test_refusals_have_the_shape_that_clients_know(server: tuple[str, str], head: dict[str, str], status: int) -> None:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    message = ExportTraceServiceRequest()
    message.resource_spans.add().scope_spans.add().spans.add(trace_id=b"1" * 16, span_id=b"1" * 8, name="a")
    url, token = server
    ask(server, f"{API}/runs/create".replace("3.0", "2.0"), {"experiment_id": "0"})
    head = {"Authorization": f"Bearer {token}", **head}
    request = urllib.request.Request(f"{url}/mlflow/shop/v1/traces", message.SerializeToString(), head)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=20)
    with caught.value as answer:
        assert answer.status == status and json.loads(answer.read())["error_code"]


def test_protocol_buffers_are_not_loaded_with_the_server() -> None:
    code = "import sys, bough.app, bough.entrypoints.http.app; print([each for each in sys.modules if 'proto' in each])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert "google.protobuf" not in done.stdout and "opentelemetry" not in done.stdout, done.stderr
    assert done.returncode == 0
