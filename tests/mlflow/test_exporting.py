"""`bough export mlflow` takes everything to a server of MLflow's own, once, and from there it comes back as it was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bough.client import Client
from bough.entrypoints.mlflow.exporting import FROM, Exporting
from bough.entrypoints.mlflow.importing import Importing
from bough.entrypoints.mlflow.source import Source
from bough.entrypoints.mlflow.target import Target
from bough.kernel.errors import Invalid, Unavailable
from tests.mlflow.servers import bough_server, client_says, mlflow_server

EXPECTED = {
    "experiments": 2, "runs": 3, "metrics": 30, "params": 1, "inputs": 1, "artifacts": 3, "logged_models": 1,
    "models": 2, "versions": 3, "aliases": 1, "prompts": 0, "traces": 3, "assessments": 2,
}  # fmt: skip


@pytest.mark.timeout(900)  # the first time, MLflow is installed
def test_what_went_to_a_server_of_mlflow_comes_back_as_it_was(tmp_path: Path) -> None:
    with (
        mlflow_server(tmp_path / "theirs") as theirs,
        bough_server(tmp_path / "ours") as (url, token),
        bough_server(tmp_path / "others") as (other_url, other_token),
        Client(url, token) as client,
        Client(other_url, other_token) as other,
    ):
        _fill(client, tmp_path)
        source = Source(f"{url}/mlflow/shop/main", token)
        with pytest.raises(Unavailable):
            Exporting(source, CutOff(theirs), lambda text: None).take()
        first = Exporting(source, Target(theirs), lambda text: None).take()
        assert {key: first[key] for key in EXPECTED} == EXPECTED
        done = subprocess.run(
            [sys.executable, "-m", "bough.entrypoints.cli.main", "export", "mlflow", theirs,
             "--project", "shop", "--url", url, "--token", token, "--json"],
            env={key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")},
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert json.loads(done.stdout) == {**first, "sent": 0}, done.stderr

        Importing(Source(theirs), other, "back", "main", lambda text: None).bring()
        assert _state(other, "back") == _state(client, "shop")
        assert _traced(other, "back") == _traced(client, "shop")
        there = Source(theirs).get(f"/api/3.0/mlflow/traces/tr-{1:032x}")["trace"]["trace_info"]["tags"]
        place = there["mlflow.artifactLocation"].removeprefix("mlflow-artifacts:/")
        assert list(Source(theirs).files(place)) == ["picture.png"]
        program = "import sys, mlflow; print(open(mlflow.artifacts.download_artifacts(sys.argv[1])).read())"
        assert client_says(program, "models:/churn/2/model.txt", MLFLOW_TRACKING_URI=theirs).strip() == "version 2"


class CutOff(Target):
    """Breaks off when the second file is sent."""

    sent = 0

    def upload(self, uri: str, path: str, content: Any, size: int) -> None:
        self.sent += 1
        if self.sent == 2:
            raise Unavailable("gone", code="SOURCE_UNREACHABLE")
        super().upload(uri, path, content, size)


def test_what_is_no_server_is_said(tmp_path: Path) -> None:
    with pytest.raises(Invalid) as caught:
        Exporting(Source("http://127.0.0.1:9"), Target("127.0.0.1:9"), print).take()
    assert caught.value.own_code == "URL_INVALID"


def _fill(client: Client, folder: Path) -> None:
    made = client.experiments.create(project="shop", name="Übung/1", tags={"team": "blue"})
    for at in range(3):
        run = client.runs.create(
            project="shop", experiment_id=made.id, id=f"ours{at}", started_at=5.0 + at, name=f"r{at}"
        )
        points = [{"key": "loss", "value": 1 / (step + 1), "step": step, "timestamp_ms": step} for step in range(10)]
        client.runs.log(project="shop", id=run.id, metrics=points, tags={"at": str(at)})
        (folder / "a b.txt").write_text(f"artifact {at}")
        (sent,) = client.send_folder(folder / "a b.txt")
        client.artifacts.put(project="shop", owner=run.id, path="model/a b.txt", digest=sent["digest"])
        client.runs.update(project="shop", id=run.id, status="finished" if at else "failed", ended_at=10.0)
    client.runs.log(project="shop", id="ours0", params={"depth": "3"})
    client.runs.inputs(project="shop", id="ours0", inputs=[{"kind": "dataset", "name": "d", "version": "v" * 36}])
    logged = client.logged_models.create(
        project="shop", experiment_id=made.id, name="tree", run="ours1", params={"k": "1"}
    )
    client.artifacts.put(project="shop", owner=logged.id, path="tree.txt", digest=sent["digest"])
    client.logged_models.finish(project="shop", id=logged.id, status="ready")
    for number in (1, 2):
        (folder / "model.txt").write_text(f"version {number}\n")
        client.register_model(
            "churn", folder / "model.txt", project="shop", facts={"run": "ours1"}, tags={"n": str(number)}
        )
    client.models.alias(project="shop", name="churn", alias="champion", version=1)
    _fill_traces(client, made.id, sent["digest"])
    client.register_model("team/price", folder / "model.txt", project="shop")


def _fill_traces(client: Client, experiment: str, artifact: str) -> None:
    """One with everything, one of a run that traced it itself, and one that has failed without spans."""
    spans = [
        {"id": "a" * 16, "name": "answer", "type": "CHAIN", "status": "ok",
         "started_ns": 10**18, "ended_ns": 10**18 + 5,
         "attributes": {"question": "übung", "depth": 3, "list": [1, "a"], "sure": True},
         "events": [{"name": "seen", "at_ns": 10**18 + 1, "attributes": {"count": 2}}],
         "links": [{"trace": f"tr-{3:032x}", "span": "c" * 16}]},
        {"id": "b" * 16, "parent": "a" * 16, "name": "look up", "status": "error", "message": "gone",
         "started_ns": 10**18 + 1, "ended_ns": 10**18 + 4},
    ]  # fmt: skip
    whole = {"started_at": 1e9, "seconds": 0.25, "request": "in", "response": "out", "experiment_id": experiment}
    one, two, three = (f"tr-{number:032x}" for number in (1, 2, 3))
    for id, inner in ((one, spans), (two, spans[:1])):
        client.traces.add(project="shop", experiment_id=experiment, traces=[{"trace": id, "spans": inner}])
    place = client.experiments.show(project="shop", id=experiment).location.rstrip("/")
    tags = {"team": "blue", "mlflow.artifactLocation": f"{place}/traces/{one}/artifacts"}
    client.traces.put(project="shop", id=one, state="ok", request_id="req-1", tags=tags, **whole)
    client.traces.put(project="shop", id=two, state="ok", metadata={"mlflow.sourceRun": "ours1"}, **whole)
    client.traces.put(project="shop", id=three, state="error", **whole)
    client.artifacts.put(project="shop", owner=one, path="picture.png", digest=artifact)
    client.traces.link(project="shop", ids=[one], run="ours2")
    good = {"kind": "feedback", "name": "good", "value": True, "source": "human", "by": "ann", "rationale": "it is"}
    wanted = {"kind": "expectation", "name": "wanted", "value": ["a", 1], "source": "human", "by": "ann"}
    for said in (good, wanted):
        client.assessments.create(project="shop", trace=one, assessment=said)


def _traced(client: Client, project: str) -> Any:
    """What there is of each trace, and which run it belongs to, by the run's name."""
    names = {each.id: each.name for each in client.runs.list(project=project).runs}
    found = []
    for number in (1, 2, 3):
        trace = client.traces.show(project=project, id=f"tr-{number:032x}")
        said = [trace.get(field) for field in ("state", "started_at", "seconds", "request", "response", "request_id")]
        of_run = trace.get("metadata", {}).get("mlflow.sourceRun", "")
        assessments = [
            (each.kind, each.name, each.value, each.source, each.by, each.get("rationale", ""))
            for each in trace.get("assessments", [])
        ]
        found.append([
            *said, trace.get("tags", {}).get("team"),
            names.get(of_run, ""), [names[run] for run in trace.get("runs", [])],
            [_span(each) for each in trace.get("spans", [])], sorted(assessments),
            [(each.path, each.digest) for each in client.artifacts.list(project=project, owner=trace.id, all=True)],
        ])  # fmt: skip
    return found


def _span(span: Any) -> Any:
    attributes = {key: value for key, value in span.get("attributes", {}).items() if not key.startswith("mlflow.")}
    events = [(each.name, each.at_ns, each.get("attributes")) for each in span.get("events", [])]
    links = [(each.trace, each.span) for each in span.get("links", [])]
    times = span.started_ns, span.ended_ns
    return (
        span.id,
        span.get("parent"),
        span.name,
        span.get("status"),
        span.get("message"),
        times,
        attributes,
        events,
        links,
    )


def _state(client: Client, project: str) -> Any:
    runs = client.runs.list(project=project, order=["start_time ASC"]).runs
    versions = [
        each
        for name in ("churn", "team/price" if project == "shop" else "team-price")
        for each in client.models.versions(project=project, name=name)
    ]
    return [
        [_run(each) for each in runs],
        [client.runs.metrics(project=project, id=each.id, key="loss").metrics for each in runs],
        [[(file.path, file.digest) for file in client.artifacts.list(project=project, owner=each.id, all=True)]
         for each in runs],
        [(each.number, each.digest, each.get("aliases"), _own(each)) for each in versions],
        sorted(each.name for each in client.experiments.list(project=project).experiments),
    ]  # fmt: skip


def _run(run: Any) -> Any:
    inputs = [(each.name, each.version) for each in run.get("inputs", [])]
    times = run.started_at, run.ended_at
    return run.tags.get(FROM, run.id), run.name, run.status, times, run.get("params"), run.metrics, _own(run), inputs


def _own(of: Any) -> dict[str, str]:
    return {key: value for key, value in of.get("tags", {}).items() if key in ("at", "n")}
