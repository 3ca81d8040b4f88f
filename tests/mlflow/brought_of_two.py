"""Run with the Python of MLflow 2: fills a server of its own with traces, and says what it has."""

import contextlib
import json
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

mlflow.set_experiment("of version 2")


@mlflow.trace(name="look up", span_type="TOOL")
def look_up(question):
    if question == "leaf":
        raise ValueError("no leaf")
    return {"found": [question, 1]}


@mlflow.trace(name="answer")
def answer(question):
    mlflow.update_current_trace(tags={"team": "blue"})
    return look_up(question)


with mlflow.start_run() as run:
    answer("tree")
answer("über")
with contextlib.suppress(ValueError):
    answer("leaf")
client = MlflowClient()
experiment = client.get_experiment_by_name("of version 2").experiment_id
found = {}
Path("picture of it.txt").write_text("über")
for trace in client.search_traces([experiment]):
    found[trace.info.request_id] = {
        "status": trace.info.status.value, "started": trace.info.timestamp_ms, "took": trace.info.execution_time_ms,
        "team": trace.info.tags.get("team", ""), "run": trace.info.request_metadata.get("mlflow.sourceRun", ""),
        "spans": [[span.name, span.span_type, span.start_time_ns, span.end_time_ns, span.parent_id is None,
                   span.inputs, span.outputs] for span in trace.data.spans],
    }  # fmt: skip
    beside = get_artifact_repository(trace.info.tags["mlflow.artifactLocation"])
    for folder in ("", "more") if trace.info.status.value == "OK" else ():
        beside.log_artifact("picture of it.txt", folder or None)
print(json.dumps({"run": run.info.run_id, "traces": found}))
