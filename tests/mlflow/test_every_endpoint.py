"""Every call that the installed client knows is answered, or refused with what there is instead."""

from __future__ import annotations

import http.client
import json
import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from bough.access import operations as access
from bough.adapters.database.sqlite import SqliteDatabase
from bough.entrypoints.http.app import build
from bough.entrypoints.mlflow import experiments, logged_models, registry, runs, traces, traces_v2
from bough.entrypoints.mlflow.calls import Table
from tests.entrypoints.http.toys import Served
from tests.mlflow.servers import client_says
from tests.plane import Plane

# Services of others (Databricks, Unity Catalog) live at other servers: their protocols are not listed.
LISTING = """
import importlib, json
from mlflow.protos.databricks_pb2 import rpc
found = []
for name in ("service_pb2", "model_registry_pb2", "mlflow_artifacts_pb2", "webhooks_pb2"):
    for service in importlib.import_module(f"mlflow.protos.{name}").DESCRIPTOR.services_by_name.values():
        for method in service.methods:
            for each in method.GetOptions().Extensions[rpc].endpoints:
                found.append((each.method, f"/api/{each.since.major}.{each.since.minor}/" + each.path.lstrip("/")))
print(json.dumps(found))
"""
FEWEST = 150  # calls in the client of 2026: fewer would mean that they are listed in another way


@pytest.fixture
def client(plane: Plane) -> Iterator[TestClient]:
    with plane.bough.database.write() as tx:
        access.bootstrap(tx, plane.bough.home.token, plane.clock.now())
    token = plane.bough.home.token.read_text().strip()
    yield TestClient(build(plane.bough), headers={"Authorization": f"Bearer {token}"}, raise_server_exceptions=False)
    plane.bough.stop()


@pytest.fixture
def plane(tmp_path_factory: pytest.TempPathFactory) -> Plane:
    return Plane(tmp_path_factory.mktemp("plane"))


def test_every_call_of_the_client_is_answered_or_refused_with_what_there_is_instead(client: TestClient) -> None:
    calls = [tuple(each) for each in json.loads(client_says(LISTING).splitlines()[-1])]
    assert len(calls) >= FEWEST
    unanswered = []
    for method, shaped in calls:
        path = re.sub(r"\{[^}]+\}|<[^>]+>", "x", shaped)
        answer = client.request(method, path, **({} if method == "GET" else {"json": {}}))
        if answer.status_code == 200:
            continue
        said = answer.json()
        known = set(said) == {"error_code", "message"} and answer.status_code < 500
        if not known or (said["error_code"] == "ENDPOINT_NOT_FOUND" and not said["message"].startswith("Bough has no")):
            unanswered.append((method, shaped, answer.status_code, said))
    assert not unanswered


def test_a_trace_of_a_client_of_mlflow_2_is_begun_and_ended_and_found(client: TestClient) -> None:
    api = "/api/2.0/mlflow/traces"
    began = {"experiment_id": "0", "timestamp_ms": 1_700_000_000_000, "tags": [{"key": "a", "value": "b"}]}
    begun = client.post(api, json=began).json()["trace_info"]
    assert begun["status"] == "IN_PROGRESS" and "execution_time_ms" not in begun
    said = {"timestamp_ms": 1_700_000_001_500, "status": "OK", "tags": [{"key": "c", "value": "d"}]}
    metadata = [{"key": "mlflow.traceInputs", "value": "in"}, {"key": "mlflow.traceOutputs", "value": "out"}]
    ended = client.patch(f"{api}/{begun['request_id']}", json=said | {"request_metadata": metadata}).json()
    assert (ended["trace_info"]["status"], ended["trace_info"]["execution_time_ms"]) == ("OK", 1500)
    tags = {each["key"]: each["value"] for each in ended["trace_info"]["tags"]}
    assert (tags["a"], tags["c"]) == ("b", "d")
    assert client.get(f"{api}/{begun['request_id']}/info").json() == ended
    found = client.get(api, params={"experiment_ids": ["0"], "filter": "tags.c = 'd'"}).json()
    assert found["traces"] == [ended["trace_info"]]
    newer = client.get(f"/api/3.0/mlflow/traces/{begun['request_id']}").json()["trace"]["trace_info"]
    assert (newer["request_preview"], newer["response_preview"], newer["state"]) == ("in", "out", "OK")


def test_prompts_of_a_trace_are_linked_once(client: TestClient) -> None:
    begun = client.post("/api/2.0/mlflow/traces", json={"timestamp_ms": 1}).json()["trace_info"]["request_id"]
    linked = {"trace_id": begun, "prompt_versions": [{"name": "p", "version": "1"}, {"name": "p", "version": "1"}]}
    for _ in range(2):
        assert client.post("/api/2.0/mlflow/traces/link-prompts", json=linked).status_code == 200
    tags = client.get(f"/api/3.0/mlflow/traces/{begun}").json()["trace"]["trace_info"]["tags"]
    assert json.loads(tags["mlflow.linkedPrompts"]) == [{"name": "p", "version": "1"}]


@pytest.mark.parametrize(
    ("logged", "linked", "expected"),
    [
        ([(0, 0.91), (1, 0.93), (2, 0.94)], (0, 0.91, -9), 0.94),  # log_model at the end, without a step
        ([(0, 0.91), (1, 0.93), (2, 0.94)], (1, 0.93, -8), 0.93),  # the model of epoch 1
        ([(0, 0.91), (1, 0.93), (2, 0.94)], (0, 0.88, +5), 0.88),  # measured of the model, once it was there
        ([(0, 0.91)], (0, 0.91, -9), 0.91),
    ],
)
def test_a_version_has_the_figures_that_its_run_had_when_the_model_was_logged(
    plane: Plane, client: TestClient, run: str, logged: list[Any], linked: tuple[int, float, int], expected: float
) -> None:
    """`linked`: step, value, seconds since the model was logged."""
    api, now = "/api/2.0/mlflow", round(plane.clock.now() * 1000)

    def log(step: int, value: float, at: int, **fields: str) -> None:
        point = {"run_id": run, "key": "acc", "value": value, "timestamp": at, "step": step, **fields}
        assert client.post(f"{api}/runs/log-metric", json=point).status_code == 200

    for step, value in logged:
        log(step, value, now - 9000 + 1000 * step)
    asked = {"experiment_id": "0", "name": "m", "source_run_id": run}
    model = client.post(f"{api}/logged-models", json=asked).json()["model"]["info"]
    step, value, seconds = linked
    log(step, value, now + 1000 * seconds, model_id=model["model_id"])
    plane.call("artifacts.put", owner=model["model_id"], project="default", path="model.bin",
               digest=plane.bough.blobs.put(b"weights"))  # fmt: skip
    client.post(f"{api}/registered-models/create", json={"name": "churn"})
    source = {"source": model["artifact_uri"], "run_id": run, "model_id": model["model_id"]}
    made = client.post(f"{api}/model-versions/create", json={"name": "churn", **source})
    assert made.status_code == 200, made.json()
    assert plane.call("models.resolve", project="default", model="churn/1").facts.metrics == {"acc": expected}


QUICK = {
    "/mlflow/registered-models/alias": {"name": "p", "alias": "best"},
    "/mlflow/model-versions/get": {"name": "p", "version": "1"},
    "/mlflow/experiments/get": {"experiment_id": "0"},
    "/mlflow/experiments/get-by-name": {"experiment_name": "Default"},
}
QUICK_WRITES = {
    "/mlflow/runs/create": {"experiment_id": "0"},
    "/mlflow/runs/log-metric": {"key": "m", "value": 1.5, "timestamp": 7, "step": 1},
    "/mlflow/runs/log-parameter": {"key": "p", "value": "v"},
    "/mlflow/runs/set-tag": {"key": "t", "value": "v"},
    "/mlflow/runs/delete-tag": {"key": "t"},
    "/mlflow/runs/log-batch": {"metrics": [{"key": "n", "value": 2, "timestamp": 7, "step": 1}]},
}


def test_what_is_read_in_the_event_loop_waits_for_no_writer(plane: Plane, client: TestClient) -> None:
    api, prompt = "/api/2.0/mlflow", [{"key": "mlflow.prompt.is_prompt", "value": "true"}]
    client.post(f"{api}/registered-models/create", json={"name": "p", "tags": prompt})
    client.post(f"{api}/model-versions/create", json={"name": "p", "source": "prompt-template", "tags": prompt})
    client.post(f"{api}/registered-models/alias", json={"name": "p", "alias": "best", "version": "1"})
    modules = (experiments, logged_models, registry, runs, traces, traces_v2)
    quick = {(each.method, each.path) for each in Table(*modules).endpoints if each.quick}
    assert quick == {("GET", path) for path in QUICK} | {("POST", path) for path in QUICK_WRITES}
    with plane.bough.database.write(), plane.bough.technologies.tracking.write():
        for path, asked in QUICK.items():
            assert client.get(f"/api/2.0{path}", params=asked).status_code == 200


@pytest.fixture
def run(client: TestClient) -> str:
    return str(client.post("/api/2.0/mlflow/runs/create", json={}).json()["run"]["info"]["run_id"])


def test_a_small_write_is_made_in_the_event_loop_and_a_large_one_in_a_thread(
    plane: Plane, client: TestClient, run: str
) -> None:
    in_threads: list[bool] = []
    plane.bough.technologies.tracking.on_commit(
        lambda: in_threads.append(threading.current_thread().name.startswith("api"))
    )
    for path, said in QUICK_WRITES.items():
        assert client.post(f"/api/2.0{path}", json={"run_id": run, **said}).status_code == 200
    assert in_threads == [False] * len(QUICK_WRITES)
    for count, in_thread in ((100, False), (1000, True)):
        points = [{"key": f"k{number}", "value": number, "timestamp": 7, "step": 1} for number in range(count)]
        client.post("/api/2.0/mlflow/runs/log-batch", json={"run_id": run, "metrics": points})
        assert in_threads.pop() == in_thread


@pytest.mark.parametrize("own", [True, False], ids=["of this process", "of another handle"])
def test_while_a_write_waits_for_another_one_everybody_else_is_answered(
    plane: Plane, client: TestClient, run: str, own: bool
) -> None:
    def logged() -> list[Any]:
        asked = {"run_id": run, "metric_key": "m"}
        return list(client.get("/api/2.0/mlflow/metrics/get-history", params=asked).json()["metrics"])

    def send() -> None:
        answers.append(ask("POST", "/mlflow/runs/log-metric", QUICK_WRITES["/mlflow/runs/log-metric"]))

    def ask(method: str, path: str, body: dict[str, Any]) -> int:
        line = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
        line.request(method, f"/api/2.0{path}", json.dumps({"run_id": run, **body}), dict(client.headers))
        answer = line.getresponse()
        answer.read()
        line.close()
        return answer.status

    answers: list[int] = []
    served = Served(plane.bough)  # type: ignore[arg-type] # it has all that is asked of a toy
    assert ask("POST", "/mlflow/runs/set-tag", QUICK_WRITES["/mlflow/runs/set-tag"]) == 200  # the project has begun
    holder = plane.bough.technologies.tracking if own else SqliteDatabase(plane.bough.home.tracking, durable=False)
    with holder.write():
        sending = threading.Thread(target=send)
        sending.start()
        for _ in range(20):
            assert ask("GET", "/mlflow/experiments/get?experiment_id=0", {}) == 200
        assert answers == [] and logged() == []
    sending.join(30)
    assert answers == [200] and [each["value"] for each in logged()] == [1.5]
    served.stop()
    if not own:
        holder.close()
