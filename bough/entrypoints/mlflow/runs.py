"""Runs, in MLflow's words."""

from __future__ import annotations

from typing import Any

import msgspec

from bough.entrypoints.mlflow.calls import Call, Empty, Pair, endpoint, mapping, milliseconds, pairs, view
from bough.kernel.errors import Invalid

_CONTEXT = "mlflow.data.context"  # the tag of an input that says what it was used for
_HISTORY = "mlflow.log-model.history"
MOST_POINTS = 25_000  # of a metric in one call of the operation


class Create(msgspec.Struct, frozen=True):
    experiment_id: str = "0"
    user_id: str = ""
    run_name: str = ""
    start_time: int | None = None
    tags: list[Pair] = []


class OfRun(msgspec.Struct, frozen=True, kw_only=True):
    """`run_uuid` is what `run_id` was called once."""

    run_id: str = ""
    run_uuid: str = ""

    @property
    def id(self) -> str:
        if found := self.run_id or self.run_uuid:
            return found
        raise Invalid("Missing value for required parameter 'run_id'", code="REQUEST_INVALID")


class Update(OfRun, frozen=True, kw_only=True):
    status: str | int = ""
    end_time: int | None = None
    run_name: str = ""


class Search(msgspec.Struct, frozen=True):
    experiment_ids: list[str] = []
    filter: str = ""
    run_view_type: str | int = "ACTIVE_ONLY"
    max_results: int = 1000
    order_by: list[str] = []
    page_token: str = ""


class LogMetric(OfRun, frozen=True, kw_only=True):
    key: str
    value: float
    timestamp: int = 0
    step: int = 0
    model_id: str = ""
    dataset_name: str = ""
    dataset_digest: str = ""


class LogParam(OfRun, frozen=True, kw_only=True):
    key: str
    value: str = ""


class Tag(OfRun, frozen=True, kw_only=True):
    key: str
    value: str = ""


class Metric(msgspec.Struct, frozen=True):
    key: str
    value: float
    timestamp: int = 0
    step: int = 0
    model_id: str = ""
    dataset_name: str = ""
    dataset_digest: str = ""


class LogBatch(OfRun, frozen=True, kw_only=True):
    metrics: list[Metric] = []
    params: list[Pair] = []
    tags: list[Pair] = []


class LogModel(OfRun, frozen=True, kw_only=True):
    model_json: str


class Dataset(msgspec.Struct, frozen=True):
    name: str
    digest: str = ""
    source_type: str = ""
    source: str = ""
    schema: str = ""
    profile: str = ""


class DatasetInput(msgspec.Struct, frozen=True):
    dataset: Dataset
    tags: list[Pair] = []


class Model(msgspec.Struct, frozen=True):
    model_id: str
    step: int = 0


class LogInputs(OfRun, frozen=True, kw_only=True):
    datasets: list[DatasetInput] = []
    models: list[Model] = []


class LogOutputs(OfRun, frozen=True, kw_only=True):
    models: list[Model] = []


class History(OfRun, frozen=True, kw_only=True):
    metric_key: str
    page_token: str = ""
    max_results: int | None = None


class Histories(msgspec.Struct, frozen=True):
    run_ids: list[str]
    metric_key: str
    start_step: int | None = None
    end_step: int | None = None
    max_results: int = 320


class Artifacts(OfRun, frozen=True, kw_only=True):
    path: str = ""


class OfExperiments(msgspec.Struct, frozen=True):
    experiment_ids: list[str]


@endpoint("POST", "/mlflow/runs/create", quick=True)
def create(call: Call, request: Create) -> Any:
    fields: dict[str, Any] = {} if request.start_time is None else {"started_at": request.start_time / 1000}
    tags = mapping(request.tags)
    if request.run_name and tags.get("mlflow.runName", request.run_name) != request.run_name:
        raise Invalid(
            "Both 'run_name' argument and 'mlflow.runName' tag are specified, but with different values",
            code="REQUEST_INVALID",
        )
    made = call.op(
        "runs.create", experiment_id=request.experiment_id, name=request.run_name, by=request.user_id,
        environment=call.environment, tags=tags, **fields,
    )  # fmt: skip
    return {"run": shape(made)}


@endpoint("GET", "/mlflow/runs/get")
def get(call: Call, request: OfRun) -> Any:
    return {"run": shape(call.op("runs.show", id=request.id))}


@endpoint("POST", "/mlflow/runs/update")
def update(call: Call, request: Update) -> Any:
    numbers = {"1": "running", "2": "scheduled", "3": "finished", "4": "failed", "5": "killed"}
    status = numbers.get(str(request.status), str(request.status).lower())
    fields: dict[str, Any] = {} if request.end_time is None else {"ended_at": request.end_time / 1000}
    done = call.op("runs.update", id=request.id, status=status, name=request.run_name, **fields)
    return {"run_info": _info(done)}


@endpoint("POST", "/mlflow/runs/delete")
def delete(call: Call, request: OfRun) -> Any:
    call.op("runs.delete", id=request.id)
    return Empty()


@endpoint("POST", "/mlflow/runs/restore")
def restore(call: Call, request: OfRun) -> Any:
    call.op("runs.restore", id=request.id)
    return Empty()


@endpoint("POST", "/mlflow/runs/search")
def search(call: Call, request: Search) -> Any:
    found = call.op(
        "runs.list", experiment_ids=request.experiment_ids, filter=request.filter, order=request.order_by,
        state=view(request.run_view_type), limit=request.max_results, page=request.page_token,
    )  # fmt: skip
    answer: dict[str, Any] = {"runs": [shape(each) for each in found.runs]}
    return answer | ({"next_page_token": found.next_page} if found.next_page else {})


@endpoint("POST", "/mlflow/runs/log-metric", quick=True)
def log_metric(call: Call, request: LogMetric) -> Any:
    call.op("runs.log", id=request.id, metrics=[_point(request)])
    return Empty()


@endpoint("POST", "/mlflow/runs/log-parameter", quick=True)
def log_param(call: Call, request: LogParam) -> Any:
    call.op("runs.log", id=request.id, params={request.key: request.value})
    return Empty()


@endpoint("POST", "/mlflow/runs/set-tag", quick=True)
def set_tag(call: Call, request: Tag) -> Any:
    call.op("runs.log", id=request.id, tags={request.key: request.value})
    return Empty()


@endpoint("POST", "/mlflow/runs/delete-tag", quick=True)
def delete_tag(call: Call, request: Tag) -> Any:
    call.op("runs.log", id=request.id, remove_tags=[request.key])
    return Empty()


@endpoint("POST", "/mlflow/runs/log-batch", quick=True)
def log_batch(call: Call, request: LogBatch) -> Any:
    params: dict[str, str] = {}
    for each in request.params:
        if each.key in params:
            raise Invalid(f"Duplicate parameter keys have been submitted: {each.key!r}", code="REQUEST_INVALID")
        params[each.key] = each.value
    metrics = [_point(each) for each in request.metrics]
    call.op("runs.log", id=request.id, metrics=metrics, params=params, tags=mapping(request.tags))
    return Empty()


@endpoint("POST", "/mlflow/runs/log-model")
def log_model(call: Call, request: LogModel) -> Any:
    """What clients before logged models sent: a list of models in a tag."""
    try:
        made = msgspec.json.decode(request.model_json, type=dict[str, Any])
        before = call.op("runs.show", id=request.id).tags.get(_HISTORY, "[]")
        models = msgspec.json.decode(before, type=list[dict[str, Any]])
    except (msgspec.MsgspecError, RecursionError, UnicodeEncodeError) as error:
        raise Invalid(f"Malformed model info: {error}", code="REQUEST_INVALID") from error
    call.op("runs.log", id=request.id, tags={_HISTORY: msgspec.json.encode([*models, made]).decode()})
    return Empty()


@endpoint("POST", "/mlflow/runs/log-inputs")
def log_inputs(call: Call, request: LogInputs) -> Any:
    inputs: list[dict[str, Any]] = []
    for each in request.datasets:
        tags = mapping(each.tags)
        data = each.dataset
        inputs.append(
            {"kind": "dataset", "name": data.name, "version": data.digest, "source_type": data.source_type,
             "source": data.source, "schema": data.schema, "profile": data.profile,
             "context": tags.pop(_CONTEXT, ""), "tags": tags}
        )  # fmt: skip
    inputs += [{"kind": "model", "name": each.model_id} for each in request.models]
    call.op("runs.inputs", id=request.id, inputs=inputs)
    return Empty()


@endpoint("POST", "/mlflow/runs/outputs")
def log_outputs(call: Call, request: LogOutputs) -> Any:
    outputs = [{"model": each.model_id, "step": each.step} for each in request.models]
    call.op("runs.inputs", id=request.id, outputs=outputs)
    return Empty()


@endpoint("GET", "/mlflow/metrics/get-history")
def history(call: Call, request: History) -> Any:
    """All points, unless the caller asks for pages."""
    points: list[Any] = []
    page = request.page_token
    while True:
        limit = min(MOST_POINTS if request.max_results is None else request.max_results, MOST_POINTS)
        found = call.op("runs.metrics", id=request.id, key=request.metric_key, limit=limit, page=page)
        points += found.metrics
        page = found.next_page
        if request.max_results is not None or not page:
            break
    answer: dict[str, Any] = {"metrics": [_metric(each) for each in points]}
    return answer | ({"next_page_token": page} if page else {})


@endpoint("GET", "/mlflow/metrics/get-history-bulk-interval")
def histories(call: Call, request: Histories) -> Any:
    found = call.op(
        "runs.histories", ids=request.run_ids, key=request.metric_key, start_step=request.start_step,
        end_step=request.end_step, limit=request.max_results,
    )  # fmt: skip
    return {"metrics": [_metric(each) | {"run_id": each.run} for each in found]}


@endpoint("GET", "/mlflow/artifacts/list")
def list_artifacts(call: Call, request: Artifacts) -> Any:
    location = call.op("runs.show", id=request.id).location
    return {"root_uri": location, "files": listing(call, request.id, request.path)}


@endpoint("POST", "/mlflow/experiments/search-datasets")
def search_datasets(call: Call, request: OfExperiments) -> Any:
    found = call.op("runs.input_names", experiment_ids=request.experiment_ids)
    return {
        "dataset_summaries": [
            {"experiment_id": each.experiment_id, "name": each.name, "digest": each.version, "context": each.context}
            for each in found
        ]
    }


def listing(call: Call, owner: str, path: str, *, bare: bool = False) -> list[dict[str, Any]]:
    """Files and folders; `bare` gives names alone instead of paths."""
    found = []
    for each in call.op("artifacts.list", owner=owner, path=path.strip("/")):
        name = each.path.rpartition("/")[2] if bare else each.path
        size = {} if each.folder else {"file_size": each.size}
        found.append({"path": name, "is_dir": each.folder, **size})
    return found


def shape(run: Any) -> dict[str, Any]:
    datasets = [each for each in run.inputs if each.kind != "model"]
    models = [each for each in run.inputs if each.kind == "model"]
    inputs: dict[str, Any] = {"dataset_inputs": [_input(each) for each in datasets]}
    if models:
        inputs["model_inputs"] = [{"model_id": each.name} for each in models]
    answer: dict[str, Any] = {
        "info": _info(run),
        "data": {
            "metrics": [_metric(each) for each in run.metrics], "params": pairs(run.params), "tags": pairs(run.tags)
        },
        "inputs": inputs,
    }  # fmt: skip
    if run.outputs:
        outputs = [{"model_id": each.model, "step": each.step} for each in run.outputs]
        answer["outputs"] = {"model_outputs": outputs}
    return answer


def _info(run: Any) -> dict[str, Any]:
    info = {
        "run_uuid": run.id, "run_id": run.id, "run_name": run.name, "experiment_id": run.experiment_id,
        "user_id": run.by, "status": run.status.upper(), "start_time": milliseconds(run.started_at),
        "artifact_uri": run.location, "lifecycle_stage": run.state,
    }  # fmt: skip
    return info | ({"end_time": milliseconds(run.ended_at)} if run.ended_at else {})


def _metric(point: Any) -> dict[str, Any]:
    return {"key": point.key, "value": point.value, "timestamp": point.timestamp_ms, "step": point.step}


def _point(given: LogMetric | Metric) -> dict[str, Any]:
    point = {
        "key": given.key, "value": given.value, "timestamp_ms": given.timestamp, "step": given.step,
        "model": given.model_id,
    }  # fmt: skip
    if given.dataset_name:
        point |= {"dataset": given.dataset_name, "dataset_digest": given.dataset_digest}
    return point


def _input(found: Any) -> dict[str, Any]:
    tags = dict(found.tags) | ({_CONTEXT: found.context} if found.context else {})
    data = {"name": found.name, "digest": found.version, "source_type": found.source_type, "source": found.source}
    data |= {key: value for key, value in (("schema", found.schema), ("profile", found.profile)) if value}
    return {"tags": pairs(tags), "dataset": data}
