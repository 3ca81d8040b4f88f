"""The clients that people already have: tritonclient, openai, a Prometheus scraper."""

from __future__ import annotations

import gzip
import json
import os
import socket
import time
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bough.gateway.models import Route
from bough.runtime.frames import CHAT, CHUNK, EMBED, END, INFER, Reply, Request, Signature, Tensor
from tests.lazily import Lazily

from .conftest import Replica, Running, route

openai, triton = Lazily("openai"), Lazily("tritonclient.http")

Make = Callable[..., Replica]
SIGNATURE = Signature(
    mode="batch", inputs=[Tensor(name="x", datatype="FP32", shape=[-1, 3])],
    outputs=[Tensor(name="y", datatype="FP32", shape=[-1, 3])],
)  # fmt: skip


def doubles(request: Request) -> list[Reply]:
    """The binary extension as tritonclient uses it by default: one FP32 tensor in, one out."""
    assert request.verb == INFER
    size = int(request.meta)
    head = json.loads(request.body[:size])
    data = (np.frombuffer(request.body[size:], np.float32) * 2).tobytes()
    output = {
        "name": "y",
        "datatype": "FP32",
        "shape": head["inputs"][0]["shape"],
        "parameters": {"binary_data_size": len(data)},
    }
    answer = json.dumps({"model_name": "m", "outputs": [output]}).encode()
    lines = b"Content-Type: application/octet-stream\r\nInference-Header-Content-Length: %d\r\n" % len(answer)
    return [Reply(request.id, 200, answer + data, 0, lines)]


@pytest.fixture
def client(gateway: Running, replicas: Make) -> Any:
    gateway.start(
        routes=[
            route("double", replicas("u1", doubles), signature=SIGNATURE),
            route("double", replicas("u2", doubles), signature=SIGNATURE, api="v2", deployment="d2"),
        ]
    )
    gateway.until_up("dep-double")
    gateway.until_up("d2")
    made = triton.InferenceServerClient(f"127.0.0.1:{gateway.port}")
    yield made
    made.close()


def test_tritonclient_infers_with_its_defaults(client: Any) -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    given = triton.InferInput("x", [2, 3], "FP32")
    given.set_data_from_numpy(values)
    for compression in (None, "gzip", "deflate"):
        got = client.infer("double", [given], request_compression_algorithm=compression)
        assert (got.as_numpy("y") == values * 2).all()
    assert (client.infer("double", [given], model_version="1").as_numpy("y") == values * 2).all()
    with pytest.raises(triton.InferenceServerException, match="there is no service nope"):
        client.infer("nope", [given])


def test_tritonclient_finds_health_metadata_statistics_and_the_index(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("double")
    assert client.is_model_ready("double", "1")
    assert not client.is_model_ready("nope")
    assert client.get_server_metadata()["name"] == "bough"
    found = client.get_model_metadata("double")
    assert (found["name"], found["versions"], found["inputs"]) == (
        "double", ["1", "2"], [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}],
    )  # fmt: skip
    assert client.get_model_config("double")["input"][0]["data_type"] == "TYPE_FP32"
    assert {entry["name"] for entry in client.get_model_repository_index()} == {"double"}
    given = triton.InferInput("x", [1, 3], "FP32")
    given.set_data_from_numpy(np.ones((1, 3), np.float32))
    client.infer("double", [given], model_version="1")
    client.get_model_metadata("double")
    [stats] = client.get_inference_statistics("double", "1")["model_stats"]
    assert stats["inference_stats"]["success"]["count"] == 1
    assert len(client.get_inference_statistics()["model_stats"]) == 2
    with pytest.raises(triton.InferenceServerException):
        client.load_model("double")


def test_an_api_called_v2_lives_beside_the_inference_protocol(gateway: Running, client: Any, replicas: Make) -> None:
    gateway.apply([route("models", replicas("u9"), api="v2", deployment="d9")])
    assert gateway.request("POST", "/v2/models/predict", b"[1]")[2] == b"[1]"
    assert gateway.request("GET", "/v2/models/models")[0] == 200


def test_compressed_bodies_are_unpacked_within_the_limit(gateway: Running, replicas: Make) -> None:
    gateway.start(routes=[route("churn", replicas(), max_body_bytes=10_000)])

    def post(body: bytes, encoding: str) -> tuple[int, bytes]:
        status, _, answer = gateway.request("POST", "/v1/churn/predict", body, Content_Encoding=encoding)
        return status, answer

    text = b'"' + b"a" * 5000 + b'"'
    assert post(gzip.compress(text), "gzip") == (200, text)
    assert post(zlib.compress(text), "deflate") == (200, text)
    assert post(zlib.compress(text)[2:-4], "deflate") == (200, text)  # raw, as some clients send it
    assert post(gzip.compress(b"a" * 10_000_000), "gzip")[0] == 413
    assert post(gzip.compress(text)[:-10], "gzip")[0] == 422
    assert post(b"not gzip", "gzip")[0] == 422
    assert post(text, "br")[0] == 415


def writes(request: Request) -> list[Reply]:
    asked = json.loads(request.body)
    if request.verb == EMBED:
        data = [{"object": "embedding", "index": n, "embedding": [float(n), 1.0]} for n, _ in enumerate(asked["input"])]
        body = {
            "object": "list",
            "model": asked["model"],
            "data": data,
            "usage": {"prompt_tokens": 1, "total_tokens": 1},
        }
        return [Reply(request.id, 200, json.dumps(body).encode())]
    assert request.verb == CHAT
    base = {"id": request.meta, "created": 1, "model": asked["model"]}
    if not asked.get("stream"):
        choice = {"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}
        return [Reply(request.id, 200, json.dumps(base | {"object": "chat.completion", "choices": [choice]}).encode())]
    parts = []
    for word in ("hel", "lo"):
        choice = {"index": 0, "delta": {"content": word}, "finish_reason": None}
        event = json.dumps(base | {"object": "chat.completion.chunk", "choices": [choice]}).encode()
        parts.append(Reply(request.id, 200, b"data: " + event + b"\n\n", CHUNK, b"Content-Type: text/event-stream\r\n"))
    return [*parts, Reply(request.id, 200, b"data: [DONE]\n\n", END)]


def chat_routes(replicas: Make) -> list[Route]:
    def signature(kind: str) -> Signature:
        return Signature(mode="concurrent", openai=kind)

    return [
        route("writer", replicas("u1", writes, mode="concurrent"), signature=signature("chat")),
        route("vectors", replicas("u2", writes), signature=signature("embeddings")),
        route("plain", replicas("u3")),
    ]


def test_the_openai_client_chats_streams_embeds_and_lists(gateway: Running, replicas: Make) -> None:
    gateway.start(routes=chat_routes(replicas))
    with openai.OpenAI(base_url=f"http://127.0.0.1:{gateway.port}/v1", api_key="none", max_retries=0) as client:
        said: list[Any] = [{"role": "user", "content": "hi"}]
        answer = client.chat.completions.create(model="writer", messages=said)
        assert answer.choices[0].message.content == "hello"
        assert answer.id.startswith("chatcmpl-")
        with client.chat.completions.create(model="shop/writer", messages=said, stream=True) as stream:
            assert "".join(event.choices[0].delta.content or "" for event in stream) == "hello"
        found = client.embeddings.create(model="vectors", input=["a", "b"], encoding_format="float")
        assert [item.embedding for item in found.data] == [[0.0, 1.0], [1.0, 1.0]]
        assert sorted(model.id for model in client.models.list()) == ["vectors", "writer"]
        assert client.models.retrieve("writer").owned_by == "shop"
        for wrong in ("nope", "vectors", "plain"):
            with pytest.raises(openai.NotFoundError) as refused:
                client.chat.completions.create(model=wrong, messages=said)
            assert refused.value.code == "model_not_found"
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("nope")
    status, _, body = gateway.request("POST", "/v1/embeddings", b"{}")
    assert (status, json.loads(body)["error"]["type"]) == (400, "invalid_request_error")


def test_metrics_are_prometheus_text_and_count_everything(gateway: Running, replicas: Make) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    gateway.start(routes=[route("churn", replicas())])
    for _ in range(3):
        gateway.post("churn", {})
    gateway.request("GET", "/nothing")
    status, headers, body = gateway.request("GET", "/metrics")
    assert status == 200
    assert headers["content-type"].startswith("text/plain; version=0.0.4")
    families = {family.name: family for family in text_string_to_metric_families(body.decode())}
    counted = {(s.labels["service"], s.labels["status"]): s.value for s in families["bough_requests"].samples}
    assert counted[("churn", "200")] == 3
    assert counted[("", "404")] == 1
    latency = families["bough_request_seconds"].samples
    assert next(s.value for s in latency if s.name.endswith("_count") and s.labels["service"] == "churn") == 3
    assert families["bough_links"].samples[0].value == 1


def test_health_says_whether_there_is_a_table(gateway: Running) -> None:
    gateway.start()
    assert gateway.request("GET", "/healthz")[0] == 200
    assert gateway.request("GET", "/readyz")[0] == 503
    assert gateway.request("GET", "/v2/health/ready")[0] == 503
    gateway.apply([])
    assert gateway.request("GET", "/readyz")[0] == 200


def test_every_answer_is_one_line_in_the_access_log(gateway: Running, replicas: Make) -> None:
    gateway.start(routes=[route("churn", replicas())])
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    gateway.post("churn", {}, traceparent=f"00-{trace}-00f067aa0ba902b7-01", x_request_id="first")
    gateway.post("churn", {})
    gateway.request("GET", '/no"thing')
    gateway.stop()
    first, second, third = (
        json.loads(line) for line in (gateway.home / "logs" / "access.log").read_text().splitlines()
    )
    assert (first["id"], first["trace"], first["status"], first["service"]) == ("first", trace, 200, "churn")
    assert (second["path"], second["in"], second["out"]) == ("/v1/churn/predict", 2, 2)
    assert (third["path"], third["status"]) == ('/no"thing', 404)


MOCKED = Signature(
    mode="item", inputs=SIGNATURE.inputs, outputs=SIGNATURE.outputs,
    output={
        "type": "object",
        "properties": {"label": {"enum": ["yes", "no"]}, "score": {"type": "number", "minimum": 0, "maximum": 1},
                       "parts": {"type": "array", "items": {"$ref": "#/$defs/Part"}, "minItems": 1, "maxItems": 3}},
        "$defs": {"Part": {"type": "object", "properties": {"n": {"type": "integer", "minimum": 3, "maximum": 4}}}},
    },
)  # fmt: skip


def test_mocks_answer_from_types_and_the_same_to_the_same(gateway: Running) -> None:
    def mocked(name: str, **fields: Any) -> Route:
        return route(name, kind="mock", **fields)

    gateway.start(
        routes=[
            mocked("churn", signature=MOCKED), mocked("slow", signature=MOCKED, mock_latency_ms=60.0),
            mocked("writer", signature=Signature(mode="item", openai="chat")),
            mocked("vectors", signature=Signature(mode="item", openai="embeddings")),
        ]
    )  # fmt: skip
    first = json.loads(gateway.post("churn", {"a": 1})[2])
    assert first == json.loads(gateway.post("churn", {"a": 1})[2])
    assert any(first != json.loads(gateway.post("churn", {"a": n})[2]) for n in range(2, 6))
    assert first["label"] in ("yes", "no")
    assert 0 <= first["score"] <= 1
    assert {part["n"] for part in first["parts"]} <= {3, 4}
    began = time.monotonic()
    assert gateway.post("slow", {})[0] == 200
    assert time.monotonic() - began >= 0.059
    client = triton.InferenceServerClient(f"127.0.0.1:{gateway.port}")
    given = triton.InferInput("x", [2, 3], "FP32")
    given.set_data_from_numpy(np.zeros((2, 3), np.float32))
    assert client.infer("churn", [given]).as_numpy("y").shape == (2, 3)
    client.close()
    with openai.OpenAI(base_url=f"http://127.0.0.1:{gateway.port}/v1", api_key="none", max_retries=0) as talk:
        said: list[Any] = [{"role": "user", "content": "hi"}]
        whole = talk.chat.completions.create(model="writer", messages=said).choices[0].message.content
        assert whole
        with talk.chat.completions.create(model="writer", messages=said, stream=True) as stream:
            assert "".join(event.choices[0].delta.content or "" for event in stream)
        assert len(talk.embeddings.create(model="vectors", input=["a"]).data[0].embedding) == 16


def test_a_port_in_use_names_who_holds_it_and_what_to_change(gateway: Running) -> None:
    from bough.kernel.errors import Unavailable

    with socket.create_server(("127.0.0.1", 0)) as taken:
        gateway.port = taken.getsockname()[1]
        with pytest.raises(Unavailable) as refused:
            gateway.start(routes=[])
    assert refused.value.own_code == "PORT_IN_USE"
    assert str(gateway.port) in refused.value.message
    assert f"(pid {os.getpid()})" in refused.value.message
    assert "--gateway-port" in refused.value.hint


def test_a_service_whose_own_port_is_in_use_answers_elsewhere_and_that_is_known(
    gateway: Running, replicas: Make
) -> None:
    replica = replicas()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        gateway.start(routes=[route("churn", replica, port=port)])
        gateway.until_up("dep-churn")
        assert gateway.post("churn", 1)[0] == 200
        (said,) = gateway.control("GET", "/state")["silent_ports"].items()
        assert said[0] == str(port) and f"(pid {os.getpid()})" in said[1]
    assert "silent_ports" not in gateway.apply([route("churn", replica, port=port)])
    assert gateway.request("GET", "/metrics")[0] == 200
