"""No request of MLflow's API makes the server fail, and half an artifact is none."""

from __future__ import annotations

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
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from bough.access import operations as access
from bough.entrypoints.http.app import build
from bough.entrypoints.mlflow import experiments, logged_models, registry, runs
from bough.entrypoints.mlflow.calls import Endpoint, Table
from tests.mlflow.servers import bough_server
from tests.plane import Plane

ENDPOINTS = Table(experiments, runs, logged_models, registry).endpoints
API = "/api/2.0"


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
    known = {
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

    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), database=None)
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
        deadline = time.monotonic() + 10
        while list((tmp_path / "home" / "blobs").rglob("incoming/*")):
            assert time.monotonic() < deadline, "what came of it is still there"
            time.sleep(0.05)


def _ask(url: str, token: str, body: bytes | None = None) -> Any:
    request = urllib.request.Request(url, body, {"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.loads(answer.read())
