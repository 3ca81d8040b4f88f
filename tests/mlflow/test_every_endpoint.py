"""Every call that the installed client knows is answered, or refused with what there is instead."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from bough.access import operations as access
from bough.entrypoints.http.app import build
from bough.entrypoints.mlflow import experiments, logged_models, registry, runs, traces, traces_v2
from bough.entrypoints.mlflow.calls import Table
from tests.mlflow.servers import python
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
    done = subprocess.run([python(), "-c", LISTING], capture_output=True, text=True, check=True, timeout=60)
    calls = [tuple(each) for each in json.loads(done.stdout.splitlines()[-1])]
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


QUICK = {
    "/mlflow/registered-models/alias": {"name": "p", "alias": "best"},
    "/mlflow/model-versions/get": {"name": "p", "version": "1"},
    "/mlflow/experiments/get": {"experiment_id": "0"},
    "/mlflow/experiments/get-by-name": {"experiment_name": "Default"},
}


@pytest.mark.timeout(60)
def test_what_is_read_in_the_event_loop_waits_for_no_writer(plane: Plane, client: TestClient) -> None:
    api, prompt = "/api/2.0/mlflow", [{"key": "mlflow.prompt.is_prompt", "value": "true"}]
    client.post(f"{api}/registered-models/create", json={"name": "p", "tags": prompt})
    client.post(f"{api}/model-versions/create", json={"name": "p", "source": "prompt-template", "tags": prompt})
    client.post(f"{api}/registered-models/alias", json={"name": "p", "alias": "best", "version": "1"})
    modules = (experiments, logged_models, registry, runs, traces, traces_v2)
    quick = [each for each in Table(*modules).endpoints if each.quick]
    assert {(each.method, each.path) for each in quick} == {("GET", path) for path in QUICK}
    with plane.bough.database.write(), plane.bough._tracking.write():
        for path, asked in QUICK.items():
            assert client.get(f"/api/2.0{path}", params=asked).status_code == 200
