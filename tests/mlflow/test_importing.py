"""`bough import mlflow` brings everything over, once, however often it is run. The source speaks MLflow's API: here it
is another project of the same Bough, which the comparison with MLflow shows to answer alike."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import IO, Any

import pytest

from bough.client import Client
from bough.entrypoints.mlflow.importing import Importing
from bough.entrypoints.mlflow.source import Source
from bough.kernel.errors import Unavailable
from tests.mlflow.servers import bough_server, client_says, mlflow_2, mlflow_2_server, mlflow_server


def test_everything_comes_once(tmp_path: Path) -> None:
    with (
        bough_server(tmp_path / "theirs") as (theirs, their_token),
        bough_server(tmp_path / "ours") as (url, token),
        Client(theirs, their_token) as old,
        Client(url, token) as client,
    ):
        _fill(old, f"{theirs}/mlflow/old", their_token)
        source = Source(f"{theirs}/mlflow/old", their_token)
        first = Importing(source, client, "new", "main", lambda text: None).bring()
        again = Importing(source, client, "new", "main", lambda text: None).bring()
        assert first["sent"] == 3 and again["sent"] == 0
        assert {**first, "sent": 0} == again
        expected = {"experiments": 2, "metrics": 30, "params": 1, "artifacts": 3, "logged_models": 0}
        expected |= {"models": 1, "versions": 2, "aliases": 1, "inputs": 1}
        assert {key: first[key] for key in expected} == expected
        before, after = _state(old, "old"), _state(client, "new")
        assert before == after

        done = subprocess.run(
            [sys.executable, "-m", "bough.entrypoints.cli.main", "import", "mlflow", source.url,
             "--project", "new", "--url", url, "--token", token, "--json"],
            env=os.environ | {"MLFLOW_TRACKING_TOKEN": their_token}, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert json.loads(done.stdout) == again, done.stderr


@pytest.mark.timeout(900)  # the first time, MLflow is installed
def test_traces_and_prompts_of_a_server_of_mlflow_come_once(tmp_path: Path) -> None:
    """MLflow's own client reads the same from both; cut off in the middle, the rest comes the next time."""
    with (
        mlflow_server(tmp_path / "theirs") as theirs,
        bough_server(tmp_path / "ours") as (url, token),
        Client(url, token) as client,
    ):
        filled = _read("fill", theirs)
        assert len(filled["traces"]) == 5 and len(filled["prompts"]) == 4
        with pytest.raises(Unavailable):
            Importing(CutOff(theirs), client, "new", "main", lambda text: None).bring()
        assert 0 < len(client.traces.list(project="new").traces) < 5
        first = Importing(Source(theirs), client, "new", "main", lambda text: None).bring()
        again = Importing(Source(theirs), client, "new", "main", lambda text: None).bring()
        assert first == again
        expected = {"traces": 5, "assessments": 4, "prompts": 2, "prompt_versions": 3, "models": 0, "aliases": 1}
        assert {key: first[key] for key in expected} == expected
        assert _read("read", f"{url}/mlflow/new", token) == filled
        assert [file.path for file in client.models.files(project="new", model="chat/1")] == ["prompt.json"]


@pytest.mark.timeout(900)  # the first time, MLflow is installed
def test_traces_of_a_server_of_mlflow_2_come_once(tmp_path: Path) -> None:
    with (
        mlflow_2_server(tmp_path / "theirs") as theirs,
        bough_server(tmp_path / "ours") as (url, token),
        Client(url, token) as client,
    ):
        told = _brought_of_two(theirs)
        broken = Importing(CutOffFiles(theirs), client, "new", "main", lambda text: None)
        with pytest.raises(Unavailable):
            broken.bring()
        assert broken.counts["sent"] == 2
        first = Importing(Source(theirs), client, "new", "main", lambda text: None).bring()
        assert (first["traces"], first["runs"], first["elsewhere"]) == (3, 1, 0)
        assert (first["artifacts"], first["sent"]) == (4, 2)
        assert Importing(Source(theirs), client, "new", "main", lambda text: None).bring() == {**first, "sent": 0}
        assert {id: _traced(client, id) for id in told["traces"]} == told["traces"]
        beside = {id: _beside(client, id) for id in told["traces"]}
        digest = hashlib.sha256("über".encode()).hexdigest()
        whole = dict.fromkeys(("more/picture of it.txt", "picture of it.txt"), digest)
        assert beside == {id: whole if each["status"] == "OK" else {} for id, each in told["traces"].items()}
        assert sorted(each["team"] for each in told["traces"].values()) == ["blue"] * 3
        assert [each["status"] for each in told["traces"].values()].count("ERROR") == 1
        assert [each["run"] for each in told["traces"].values()].count(told["run"]) == 1


def _traced(client: Client, id: str) -> Any:
    trace = client.traces.show(project="new", id=id)
    return {
        "status": trace.state.upper(), "started": round(trace.started_at * 1000), "took": round(trace.seconds * 1000),
        "team": trace.tags["team"], "run": trace.metadata.get("mlflow.sourceRun", ""),
        "spans": [
            [span.name, span.type, span.started_ns, span.ended_ns, not span.get("parent"),
             span.attributes.get("mlflow.spanInputs"), span.attributes.get("mlflow.spanOutputs")]
            for span in trace.spans
        ],
    }  # fmt: skip


def _beside(client: Client, id: str) -> dict[str, str]:
    return {each.path: each.digest for each in client.artifacts.list(project="new", owner=id, all=True)}


class CutOffFiles(Source):
    """Breaks off with the third file that is beside the spans of a trace."""

    asked = 0

    def download(self, place: str, path: str) -> IO[bytes]:
        self.asked += path != "traces.json"
        if self.asked == 3:
            raise Unavailable("gone", code="SOURCE_UNREACHABLE")
        return super().download(place, path)


class CutOff(Source):
    """Breaks off when the third trace's spans are asked for."""

    asked = 0

    def get(self, path: str, /, **query: Any) -> Any:
        self.asked += path.endswith("/traces/get")
        if self.asked == 3:
            raise Unavailable("gone", code="SOURCE_UNREACHABLE")
        return super().get(path, **query)


def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    client = Client("http://127.0.0.1:9", "x")
    with pytest.raises(Unavailable) as caught:
        Importing(Source("http://127.0.0.1:9"), client, "new", "main", print).bring()
    assert caught.value.own_code == "SOURCE_UNREACHABLE"


def _read(what: str, url: str, token: str = "") -> Any:
    settings = {"MLFLOW_TRACKING_URI": url, "MLFLOW_ENABLE_ASYNC_TRACE_LOGGING": "false"}
    settings |= {"MLFLOW_TRACKING_TOKEN": token} if token else {}
    return json.loads(client_says("brought.py", what, **settings).splitlines()[-1])


def _brought_of_two(url: str) -> Any:
    settings = {"MLFLOW_TRACKING_URI": url, "MLFLOW_ENABLE_ASYNC_TRACE_LOGGING": "false"}
    return json.loads(client_says("brought_of_two.py", of=mlflow_2(), **settings).splitlines()[-1])


def _fill(client: Client, mlflow: str, token: str) -> None:
    made = client.experiments.create(project="old", name="Übung/1", tags={"team": "blue"})
    for at in range(3):
        run = client.runs.create(
            project="old", experiment_id=made.id, id=f"theirs{at}", started_at=5.0 + at, name=f"r{at}"
        )
        points = [{"key": "loss", "value": 1 / (step + 1), "step": step, "timestamp_ms": step} for step in range(10)]
        client.runs.log(project="old", id=run.id, metrics=points, tags={"at": str(at)})
        content = f"model {at}".encode()
        request = urllib.request.Request(
            f"{mlflow}/api/2.0/mlflow-artifacts/artifacts/{made.id}/{run.id}/artifacts/model/a%20b.txt", content,
            {"Authorization": f"Bearer {token}"}, method="PUT",
        )  # fmt: skip
        urllib.request.urlopen(request, timeout=20).close()
        client.runs.update(project="old", id=run.id, status="finished", ended_at=10.0)
    client.runs.log(project="old", id="theirs0", params={"depth": "3"})
    client.runs.inputs(project="old", id="theirs0", inputs=[{"kind": "dataset", "name": "d", "version": "v"}])
    for at in range(2):
        _post(mlflow, token, "registered-models/create" if not at else "", {"name": "m"})
        _post(mlflow, token, "model-versions/create", {"name": "m", "source": f"runs:/theirs{at}/model"})
    _post(mlflow, token, "registered-models/alias", {"name": "m", "alias": "champion", "version": "2"})


def _post(mlflow: str, token: str, path: str, body: dict[str, Any]) -> None:
    if path:
        request = urllib.request.Request(
            f"{mlflow}/api/2.0/mlflow/{path}", json.dumps(body).encode(), {"Authorization": f"Bearer {token}"}
        )
        urllib.request.urlopen(request, timeout=20).close()


def _state(client: Client, project: str) -> Any:
    runs = client.runs.list(project=project, order=["start_time ASC"]).runs
    return [
        [(each.id, each.name, each.status, each.started_at, each.ended_at, each.get("params"), each.metrics, each.tags)
         for each in runs],
        [client.runs.metrics(project=project, id=each.id, key="loss").metrics for each in runs],
        [[(file.path, file.digest) for file in client.artifacts.list(project=project, owner=each.id, all=True)]
         for each in runs],
        [(each.number, each.digest, each.get("aliases")) for each in client.models.versions(project=project, name="m")],
    ]  # fmt: skip
