"""Run with MLflow's own Python: fills a server with traces and prompts, and says what its client reads of them.

python brought.py fill|read
"""

import contextlib
import json
import sys

import mlflow
from client import look_up, thought, told
from mlflow import MlflowClient
from mlflow.entities import AssessmentSource, TraceInfo, TraceLocation, TraceState
from mlflow.utils.rest_utils import http_request

NAME = "brought über"
IN_A_FILE = "tr-" + "f" * 32


def fill(client):
    experiment = client.create_experiment(NAME)
    mlflow.set_experiment(experiment_id=experiment)

    @mlflow.trace(name="answer")
    def answer(question):
        mlflow.update_current_trace(tags={"team": "blue"}, metadata={"mlflow.trace.session": f"session of {question}"})
        if question == "leaf":
            raise ValueError("no")
        return look_up(question)

    ids = []
    for question in ("tree", "bough", "leaf"):
        with contextlib.suppress(ValueError):
            answer(question)
        ids.append(mlflow.get_last_active_trace_id())
    with mlflow.start_run(), mlflow.start_span("in a run"):
        pass
    run = client.create_run(experiment).info.run_id
    client.link_traces_to_run(ids[:2], run)
    human = AssessmentSource(source_type="HUMAN", source_id="ann")
    good = mlflow.log_feedback(trace_id=ids[0], name="good", value=True, source=human, rationale="it is")
    mlflow.override_feedback(trace_id=ids[0], assessment_id=good.assessment_id, value=False, source=human)
    mlflow.log_feedback(trace_id=ids[1], name="score", error=ValueError("no"), metadata={"a": "b"})
    mlflow.log_expectation(trace_id=ids[1], name="wanted", value=["a", 1], source=human)
    in_a_file(experiment, mlflow.get_trace(ids[0]))
    client.register_prompt("greet", "Hello {{who}} ü", commit_message="first", tags={"team": "blue"})
    client.register_prompt("greet", "Hi {{who}} " + "x" * 20_000)
    client.register_prompt("chat", [{"role": "user", "content": "{{what}}"}])
    client.set_prompt_alias("greet", "best", 1)


def in_a_file(experiment, like):
    """As clients before 3.6 left them: spans beside the trace."""
    store = MlflowClient()._tracing_client.store
    info = TraceInfo(
        trace_id=IN_A_FILE, trace_location=TraceLocation.from_experiment_id(experiment), request_time=1_700_000_000_000,
        execution_duration=7, state=TraceState.OK, request_preview="in", response_preview="out",
    )  # fmt: skip
    store.start_trace(info)
    spans = [span.to_dict() for span in like.data.spans]
    for span in spans:
        span["attributes"]["mlflow.traceRequestId"] = json.dumps(IN_A_FILE)
    path = f"/api/2.0/mlflow-artifacts/artifacts/{experiment}/traces/{IN_A_FILE}/artifacts/traces.json"
    answer = http_request(store.get_host_creds(), path, "PUT", data=json.dumps({"spans": spans}).encode())
    assert answer.status_code == 200, answer.text


def read(client):
    experiment = client.get_experiment_by_name(NAME).experiment_id
    found = client.search_traces(locations=[experiment], include_spans=False, order_by=["timestamp_ms ASC"])
    ids = sorted(each.info.trace_id for each in found)
    runs = sorted(run.info.run_id for run in client.search_runs([experiment]))
    return {
        "traces": [traced(mlflow.get_trace(id)) for id in ids],
        "runs": {
            run: sorted(each.info.trace_id for each in client.search_traces(
                locations=[experiment], filter_string=f"run_id = '{run}'", include_spans=False
            )) for run in runs
        },
        "prompts": [
            prompt(client.load_prompt(f"prompts:/{uri}")) for uri in ("greet/1", "greet/2", "greet@best", "chat/1")
        ],
        "found": [each.name for each in client.search_prompts()],
    }  # fmt: skip


def traced(trace):
    said = told(trace)
    info, spans = trace.info, trace.data.spans
    return {
        **said, "experiment": "", "tags": own(said["tags"]), "times": [info.request_time, info.execution_duration],
        "spans": [[span.span_id, span.parent_id, span.start_time_ns, span.end_time_ns] for span in spans],
        "assessments": [[one.assessment_id, one.create_time_ms, one.overrides, *thought(one)]
                        for one in info.assessments],
        "inside": said["spans"],
    }  # fmt: skip


def prompt(found):
    return [found.name, found.version, found.template, found.commit_message, own(found.tags), found.aliases]


def own(tags):
    """Without what an import adds, and where a server keeps spans."""
    return {key: each for key, each in tags.items() if not key.startswith(("imported.", "mlflow.trace.spansLocation"))}


if __name__ == "__main__":
    if sys.argv[1] == "fill":
        fill(MlflowClient())
    print(json.dumps(read(MlflowClient()), default=str))
