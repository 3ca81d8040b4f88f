"""No request of MLflow's API makes the server fail, and half an artifact is none."""

from __future__ import annotations

import gzip
import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from bough.access import operations as access
from bough.entrypoints.http.app import build
from bough.entrypoints.mlflow import experiments, logged_models, otlp, registry, runs, traces, traces_v2
from bough.entrypoints.mlflow.calls import Endpoint, Table
from tests.depth import times
from tests.mlflow.servers import bough_server
from tests.plane import Plane

ENDPOINTS = Table(experiments, runs, logged_models, registry, traces, traces_v2).endpoints
API = "/api/2.0"
EXAMPLES = times("API_EXAMPLES", quick=2, deep=12)  # of each endpoint
SPANS = times("BOUGH_EXAMPLES", quick=50, deep=300)
TRACE_FILTERS = (
    *("span.attributes.a.b > 1", "span.attributes.`x` LIKE '%*%'", "feedback.good >= 1 AND expectation.x IS NULL"),
    *("run_id = 'x'", "run_id IN ('x')", "text LIKE '%'", "span.name IS NULL", "end_time > 1e300", "name > 1"),
)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TestClient, dict[str, list[str]]]]:
    """With something of each kind there, so that requests get beyond the first question."""
    plane = Plane(tmp_path_factory.mktemp("plane"))
    with plane.bough.database.write() as tx:
        access.bootstrap(tx, plane.bough.home.token, plane.clock.now())
    token = plane.bough.home.token.read_text().strip()
    client = TestClient(build(plane.bough), headers={"Authorization": f"Bearer {token}"}, raise_server_exceptions=False)
    run = client.post(f"{API}/mlflow/runs/create", json={"experiment_id": "0"}).json()["run"]["info"]["run_id"]
    model = client.post(f"{API}/mlflow/logged-models", json={"experiment_id": "0", "name": "m"}).json()["model"]
    client.post(f"{API}/mlflow/registered-models/create", json={"name": "m"})
    client.put(f"{API}/mlflow-artifacts/artifacts/0/{run}/artifacts/model/a", content=b"x")
    client.post(f"{API}/mlflow/model-versions/create", json={"name": "m", "source": f"runs:/{run}/model"})
    info = {"trace_id": "tr-1", "request_time": "2026-01-31T12:00:00Z", "state": "OK", "execution_duration": "1.5s"}
    trace = {"trace_info": {**info, "trace_location": {"mlflow_experiment": {"experiment_id": "0"}}}}
    client.post(f"{API}/mlflow/traces", json={"trace": trace})
    said = {"assessment_name": "good", "source": {"source_type": "HUMAN"}, "feedback": {"value": 1.5}}
    made = client.post(f"{API}/mlflow/traces/tr-1/assessments", json={"assessment": said}).json()["assessment"]
    known = {
        **{
            "request_id": ["tr-1"],
            "trace_id": ["tr-1"],
            "trace_ids": [["tr-1"]],
            "trace": [trace],
            "assessment": [said],
        },
        **{"assessment_id": [made["assessment_id"]], "locations": [[{"mlflow_experiment": {"experiment_id": "0"}}]]},
        **{"update_mask": ["feedback,rationale,metadata,assessmentName"], "filter": list(TRACE_FILTERS)},
        **{"run_id": [run], "model_id": [model["info"]["model_id"]], "name": ["m"], "experiment_id": ["0", "1"]},
        **{"version": ["1", "2"], "experiment_ids": ["0"], "alias": ["a"], "source": [f"runs:/{run}/model"]},
    }
    yield client, known
    plane.bough.stop()


def anything() -> st.SearchStrategy[Any]:
    odd = ["../x", "a/b", "NaN", "1e999", "\ud800", "metrics.a > 1", "x" * 300]
    texts = st.text(max_size=12) | st.sampled_from(odd)
    plain = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | texts
    inner = st.recursive(
        plain,
        lambda each: st.lists(each, max_size=3) | st.dictionaries(st.sampled_from(["key", "value", "x"]), each),
        max_leaves=8,
    )
    pair = st.fixed_dictionaries({"key": texts | st.just("a"), "value": plain})
    return inner | st.lists(pair, max_size=3)


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda each: f"{each.method} {each.path}")
def test_no_request_makes_the_server_fail(api: tuple[TestClient, dict[str, list[str]]], endpoint: Endpoint) -> None:
    client, known = api
    names = [each.encode_name for each in msgspec.structs.fields(endpoint.request)]

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        fields: dict[str, Any] = {}
        for name in names:
            if data.draw(st.integers(0, 3)):
                values = st.sampled_from(known[name]) if name in known and data.draw(st.booleans()) else anything()
                fields[name] = data.draw(values)
        path = API + endpoint.path
        for name in [each for each in names if f"{{{each}}}" in path]:
            path = path.replace(f"{{{name}}}", data.draw(st.sampled_from([*known.get(name, []), "x", "..%2f", "%00"])))
        if endpoint.method == "GET":
            query = {key: value for key, value in fields.items() if isinstance(value, str | int | float)}
            answer = client.get(path, params={key: _sendable(value) for key, value in query.items()})
        else:
            body = data.draw(st.just(_json(fields)) | st.binary(max_size=20))
            answer = client.request(endpoint.method, path, content=body)
        assert answer.status_code < 500, (path, fields, answer.text)
        if answer.status_code >= 400:
            assert answer.json()["error_code"]

    check()


RIGHT_SPAN = {"traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331", "name": "a"}


def odd_spans() -> st.SearchStrategy[dict[str, Any]]:
    ids = st.sampled_from(["00" * 16, "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "", "0", "xyz"])
    plain = st.integers(-(2**65), 2**65) | st.text(max_size=5) | st.booleans() | st.none() | st.floats()
    names = ["stringValue", "intValue", "doubleValue", "boolValue", "bytesValue", "arrayValue", "kvlistValue"]
    values = st.dictionaries(st.sampled_from(names), plain | st.just({"values": [{"stringValue": "x"}]}), max_size=2)
    keys = st.sampled_from(["mlflow.spanInputs", "mlflow.traceTag.a", "mlflow.traceTag.../b", "session.id", "", "\0"])
    pairs = st.lists(st.fixed_dictionaries({"key": keys | plain, "value": values | plain}), max_size=3)
    fields = {"traceId": ids, "spanId": ids, "parentSpanId": ids, "name": st.text(max_size=5) | plain}
    fields |= {"startTimeUnixNano": plain, "endTimeUnixNano": plain, "attributes": pairs | plain, "kind": plain}
    fields |= {"status": st.fixed_dictionaries({"code": plain}) | plain}
    fields |= {"events": st.lists(st.fixed_dictionaries({"name": plain, "attributes": pairs}), max_size=2)}
    fields |= {"links": st.lists(st.fixed_dictionaries({"traceId": ids, "spanId": ids}), max_size=2) | plain}
    span = st.fixed_dictionaries({}, optional=fields).map(lambda odd: RIGHT_SPAN | odd)
    spans = st.lists(span | plain, max_size=3) | plain
    scopes = st.fixed_dictionaries(
        {"scopeSpans": st.lists(st.fixed_dictionaries({"spans": spans}), max_size=2) | plain}
    )
    resource = st.fixed_dictionaries({"resource": st.fixed_dictionaries({"attributes": pairs})})
    whole = st.tuples(scopes, resource).map(lambda two: two[0] | two[1])
    return st.fixed_dictionaries({"resourceSpans": st.lists(whole, max_size=2) | plain})


def test_no_spans_make_the_server_fail(api: tuple[TestClient, dict[str, list[str]]]) -> None:
    client, known = api
    heads = st.fixed_dictionaries(
        {otlp.EXPERIMENT: st.sampled_from(["0", "0", "0", "1", "x", ""])},
        optional={
            otlp.RUN: st.sampled_from([*known["run_id"], "x"]),
            "Content-Encoding": st.sampled_from(["gzip", "deflate", "br", "identity"]),
        },
    )
    taken = 0
    right = _json({"resourceSpans": [{"scopeSpans": [{"spans": [RIGHT_SPAN]}]}]})

    @settings(max_examples=SPANS, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @example(right, {otlp.EXPERIMENT: "0"}, False, False)  # so rarely is a drawn one right that some runs have none
    @given(odd_spans().map(_json) | st.binary(max_size=40), heads, st.booleans(), st.booleans())
    def check(body: bytes, head: dict[str, str], packed: bool, binary: bool) -> None:
        nonlocal taken
        kind = otlp.PROTOBUF if binary and not body.startswith(b"{") else otlp.JSON
        if packed:
            head, body = head | {"Content-Encoding": "gzip"}, gzip.compress(body)
        answer = client.post("/v1/traces", content=body, headers=head | {"Content-Type": kind})
        assert answer.status_code < 500, (body, answer.text)
        taken += answer.status_code == 200
        if answer.status_code >= 400:
            assert answer.json()["error_code"]

    check()
    assert taken, "nothing was ever taken"
    found = client.post(f"{API}/mlflow/traces/search", json={"locations": known["locations"][0]})
    assert found.status_code == 200
    assert found.json()["traces"]
    for each in found.json()["traces"]:
        assert client.get(f"{API}/mlflow/traces/get", params={"trace_id": each["trace_id"]}).status_code == 200


@pytest.mark.parametrize("depth", [100, 5000, 100_000])
def test_deep_attributes_are_refused(api: tuple[TestClient, dict[str, list[str]]], depth: int) -> None:
    client, _ = api
    value = '{"arrayValue": {"values": [' * depth + '{"intValue": 1}' + "]}}" * depth
    span = f'{{"traceId": "{"1" * 32}", "spanId": "{"1" * 16}", "attributes": [{{"key": "a", "value": {value}}}]}}'
    body = f'{{"resourceSpans": [{{"scopeSpans": [{{"spans": [{span}]}}]}}]}}'
    head = {otlp.EXPERIMENT: "0", "Content-Type": otlp.JSON}
    assert client.post("/v1/traces", content=body.encode(), headers=head).status_code == 400


def test_a_small_body_cannot_unpack_into_a_large_one(api: tuple[TestClient, dict[str, list[str]]]) -> None:
    client, _ = api
    head = {otlp.EXPERIMENT: "0", "Content-Type": otlp.PROTOBUF, "Content-Encoding": "gzip"}
    answer = client.post("/v1/traces", content=gzip.compress(bytes(otlp.MAX_BYTES + 1)), headers=head)
    assert answer.status_code == 413


def _sendable(value: Any) -> str:
    return str(value).encode("utf-8", "replace").decode()


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    "path",
    [
        *("../../x", "0/{run}/artifacts/../../../etc/passwd", "0/{run}/artifacts/%2e%2e/x", "x"),
        *("0/{run}/artifacts/a%5cb", "0/{run}/artifacts/a%00b", "0/nobody/artifacts/x", "0/{run}/artifacts/"),
        "0/{run}/artifacts//x",
    ],
)
def test_no_artifact_leads_out_of_its_folder(api: tuple[TestClient, dict[str, list[str]]], path: str) -> None:
    client, known = api
    where = f"{API}/mlflow-artifacts/artifacts/{path.format(run=known['run_id'][0])}"
    assert client.put(where, content=b"x").status_code in (400, 404)
    assert client.get(where).status_code in (400, 404)


def test_a_viewer_may_not_write_and_nobody_may_read(api: tuple[TestClient, dict[str, list[str]]]) -> None:
    client, _ = api
    for token in ("", "Bearer wrong", "Basic !!", "Basic eDp4"):
        answer = client.get(f"{API}/mlflow/experiments/get?experiment_id=0", headers={"Authorization": token})
        assert (answer.status_code, answer.json()["error_code"]) == (401, "UNAUTHENTICATED")


def test_the_token_may_be_a_password(api: tuple[TestClient, dict[str, list[str]]]) -> None:
    client, _ = api
    token = client.headers["Authorization"].removeprefix("Bearer ")
    client_with_password = client.get(f"{API}/mlflow/experiments/get?experiment_id=0", auth=("anyone", token))
    assert client_with_password.status_code == 200


def test_half_an_artifact_is_none(tmp_path: Path) -> None:
    with bough_server(tmp_path / "home") as (url, token):
        host, port = url.removeprefix("http://").split(":")
        made = _ask(f"{url}{API}/mlflow/runs/create", token, b'{"experiment_id": "0"}')
        place = f"0/{made['run']['info']['run_id']}/artifacts"
        with socket.create_connection((host, int(port))) as line:
            head = f"PUT {API}/mlflow-artifacts/artifacts/{place}/big HTTP/1.1\r\n"
            head += "Host: x\r\nContent-Length: 5000000\r\n"
            line.sendall(f"{head}Authorization: Bearer {token}\r\n\r\n".encode() + b"x" * 2_000_000)
        with pytest.raises(urllib.error.HTTPError) as caught:
            _ask(f"{url}{API}/mlflow-artifacts/artifacts/{place}/big", token)
        caught.value.close()
        assert caught.value.code == 404
        assert _ask(f"{url}{API}/mlflow-artifacts/artifacts?path={place}", token) == {"files": []}
        deadline = time.monotonic() + 60
        while list((tmp_path / "home" / "blobs").rglob("incoming/*")):
            assert time.monotonic() < deadline, "what came of it is still there"
            time.sleep(0.05)


def _ask(url: str, token: str, body: bytes | None = None) -> Any:
    request = urllib.request.Request(url, body, {"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.loads(answer.read())
