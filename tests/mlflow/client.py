"""What a client of MLflow does, section by section, and what it is answered: run by `test_same_as_mlflow.py` in a
process of its own, against MLflow's server and against Bough. Ids become names in the order in which they appear, times
are dropped; everything else has to be the same."""

from __future__ import annotations

import contextlib
import json
import math
import pathlib
import re
import sys
import tempfile
import time

import mlflow
from mlflow import MlflowClient
from mlflow.entities import (
    AssessmentSource,
    Dataset,
    DatasetInput,
    Expectation,
    Feedback,
    InputTag,
    LoggedModelParameter,
    Metric,
    Param,
    RunTag,
    SpanEvent,
    ViewType,
)
from mlflow.exceptions import MlflowException
from requests import HTTPError

SAID: dict[str, list] = {}
_section: list = []
_ids: dict[str, str] = {}
_names = re.compile(r"\b[a-z]+-[a-z]+-\d+\b")
_TIMES = ("time", "timestamp", "duration", "_ms", "start_", "end_")


def section(name):
    global _section
    _section = SAID.setdefault(name, [])


def id_of(value, kind):
    return _ids.setdefault(value, f"<{kind} {sum(each.startswith(f'<{kind} ') for each in _ids.values()) + 1}>")


def plain(value):
    """Entities as data without what differs from server to server."""
    if isinstance(value, str):
        for id, name in sorted(_ids.items(), key=lambda pair: -len(pair[0])):
            if len(id) > 6:
                value = value.replace(id, name)
        return value
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in sorted(value.items(), key=str)}
    if isinstance(value, list | tuple | set):
        return [plain(each) for each in value]
    if hasattr(value, "name") and hasattr(value, "value") and type(value).__module__.startswith("mlflow"):
        return value.name
    fields = {}
    for key in dir(type(value)):
        if key.startswith("_") or not isinstance(getattr(type(value), key, None), property):
            continue
        if any(part in key for part in _TIMES) or key in ("user_id", "artifact_uri", "workspace", "model_uri"):
            continue
        fields[key] = plain(getattr(value, key))
    return fields or str(value)


def say(what, value):
    _section.append([what, plain(value)])


def refused(what, work):
    try:
        _section.append([what, "done", plain(work())])
    except MlflowException as error:
        _section.append([what, "refused", error.error_code])
    except HTTPError as error:
        _section.append([what, "refused", error.response.status_code])


def fields(run):
    """A run without the tags that say where the client ran."""
    found = plain(run)
    tags = found["data"]["tags"]
    for key in [key for key in tags if key.startswith("mlflow.source") or key == "mlflow.user"]:
        del tags[key]
    return found


def experiments(client):
    section("experiments")
    first = client.create_experiment("alpha/Übung", tags={"team": "blue"})
    second = client.create_experiment("beta")
    id_of(first, "experiment"), id_of(second, "experiment")
    say("get", [client.get_experiment(first).name, client.get_experiment(first).tags])
    say("by name", client.get_experiment_by_name("alpha/Übung").lifecycle_stage)
    say("absent name", client.get_experiment_by_name("nothing"))
    refused("absent id", lambda: client.get_experiment("99999"))
    refused("no id", lambda: client.get_experiment("x y"))
    refused("same name", lambda: client.create_experiment("beta"))
    refused("no name", lambda: client.create_experiment(""))
    client.set_experiment_tag(first, "k/e", "ü ☃")
    client.delete_experiment_tag(first, "team")
    say("tags", client.get_experiment(first).tags)
    refused("no such tag", lambda: client.delete_experiment_tag(first, "team"))
    client.rename_experiment(second, "beta two")
    say("renamed", client.get_experiment(second).name)
    client.delete_experiment(second)
    say("deleted", client.get_experiment(second).lifecycle_stage)
    refused("name of a deleted", lambda: client.create_experiment("beta two"))
    refused("deleted twice", lambda: client.delete_experiment(second))
    refused("run in a deleted", lambda: client.create_run(second))
    client.restore_experiment(second)
    say("restored", client.get_experiment(second).lifecycle_stage)

    def names(**kw):
        return [each.name for each in client.search_experiments(**kw)]

    say("search name", names(filter_string="name LIKE 'al%'"))
    say("search case", names(filter_string="name LIKE 'AL%'"))
    say("search ilike", names(filter_string="name ILIKE 'AL%'"))
    say("search tag", names(filter_string="tags.`k/e` = 'ü ☃'"))
    say("search order", names(order_by=["name ASC"]))
    say("search none", names(filter_string="name = 'x'"))
    refused("search wrong", lambda: names(filter_string="nme = 'x'"))
    refused("search wrong order", lambda: names(order_by=["colour"]))
    page = client.search_experiments(max_results=2, order_by=["name ASC"])
    rest = client.search_experiments(max_results=2, order_by=["name ASC"], page_token=page.token)
    say("pages", [[each.name for each in page], [each.name for each in rest], rest.token])


def runs(client):
    section("runs")
    experiment = client.create_experiment("runs")
    id_of(experiment, "experiment")
    run = client.create_run(experiment, run_name="one", tags={"a": "1"}, start_time=1000)
    id = run.info.run_id
    id_of(id, "run")
    say("created", fields(run))
    client.log_metric(id, "loss", 0.5, timestamp=10, step=0)
    client.log_metric(id, "loss", 0.25, timestamp=20, step=1)
    client.log_metric(id, "loss", 0.75, timestamp=30, step=0)
    client.log_metric(id, "odd", float("nan"), timestamp=1, step=0)
    client.log_metric(id, "a/b c.d-e", -1e-300, timestamp=1, step=-5)
    client.log_param(id, "depth", 3)
    client.log_param(id, "depth", 3)
    refused("param changed", lambda: client.log_param(id, "depth", 4))
    refused("param key", lambda: client.log_param(id, "../x", 4))
    refused("metric key", lambda: client.log_metric(id, "a//b", 4))
    refused("empty key", lambda: client.set_tag(id, "", "x"))
    refused("long param", lambda: client.log_batch(id, params=[Param("x" * 251, "1")]))
    client.set_tag(id, "a", "2")
    client.set_tag(id, "u", "ü☃")
    client.delete_tag(id, "u")
    refused("no such tag", lambda: client.delete_tag(id, "u"))
    client.log_batch(id, metrics=[Metric("m", at / 10, at, at) for at in range(1000)], params=[], tags=[])
    client.log_batch(id, params=[Param(f"p{at}", str(at)) for at in range(100)], tags=[RunTag("t", "")])
    refused("too many", lambda: client.log_batch(id, metrics=[Metric("m", 1, 1, 1)] * 1001))
    refused("twice", lambda: client.log_batch(id, params=[Param("q", "1"), Param("q", "2")]))
    say("run", fields(client.get_run(id)))

    def history(key):
        return [(each.value, each.timestamp, each.step) for each in client.get_metric_history(id, key)]

    say("history", history("loss"))
    say("history nan", history("odd"))
    say("history long", [len(history("m")), history("m")[-1]])
    say("history none", history("nothing"))
    refused("no run", lambda: client.get_run("0123456789abcdef0123456789abcdef"))
    refused("log to no run", lambda: client.log_metric("0123456789abcdef0123456789abcdef", "a", 1))
    client.set_terminated(id, "FAILED", end_time=5000)
    say("ended", [client.get_run(id).info.status, client.get_run(id).info.end_time])
    client.update_run(id, status="FINISHED", name="two")
    say("renamed", [client.get_run(id).info.run_name, client.get_run(id).data.tags["mlflow.runName"]])
    client.set_tag(id, "mlflow.runName", "three")
    say("renamed by tag", client.get_run(id).info.run_name)
    client.delete_run(id)
    say("deleted", client.get_run(id).info.lifecycle_stage)
    refused("log to deleted", lambda: client.log_metric(id, "a", 1))
    client.restore_run(id)
    data = [
        DatasetInput(
            Dataset("d", "abc", "local", "here", schema="s", profile="p"), [InputTag("mlflow.data.context", "training")]
        )
    ]
    client.log_inputs(id, data)
    client.log_inputs(id, data)
    say("inputs", client.get_run(id).inputs)
    child = client.create_run(experiment, tags={"mlflow.parentRunId": id}, start_time=2000)
    id_of(child.info.run_id, "run")
    say("child", client.get_run(child.info.run_id).data.tags["mlflow.parentRunId"])


def search(client):
    section("search")
    experiment = client.create_experiment("search")
    id_of(experiment, "experiment")
    for at in range(12):
        run = client.create_run(experiment, run_name=f"run {at}", start_time=1000 + at, tags={"odd": str(at % 2)})
        id_of(run.info.run_id, "run")
        client.log_param(run.info.run_id, "depth", at % 4)
        if at != 5:
            client.log_metric(run.info.run_id, "loss", float("nan") if at == 7 else at / 10, timestamp=1)
        client.log_metric(run.info.run_id, "same", 1.0, timestamp=1)
        if at < 3:
            client.log_inputs(
                run.info.run_id,
                [DatasetInput(Dataset("d", f"v{at}", "local", "x"), [InputTag("mlflow.data.context", "eval")])],
            )
        if at % 3 == 0:
            client.set_terminated(run.info.run_id, end_time=9000 + at)

    def names(filter="", order=(), view=ViewType.ACTIVE_ONLY, most=100):
        return [each.info.run_name for each in client.search_runs([experiment], filter, view, most, list(order))]

    for filter in (
        "",
        "metrics.loss > 0.6",
        "metrics.loss != 0.1",
        "metric.loss = 0.2",
        "metrics.`loss` <= .3",
        'metrics."loss" < 2e-1',
        "params.depth = '2'",
        "params.depth != '2'",
        "param.depth LIKE '%'",
        "params.depth IS NULL",
        "params.x IS NULL",
        "tags.odd = '1' and metrics.loss < 0.6",
        "tags.odd = \"0\" AND params.depth = '0'",
        "tag.none != 'x'",
        "attributes.status = 'FINISHED'",
        "status != 'FINISHED'",
        "attribute.start_time > 1005",
        "run_name = 'run 3'",
        "attributes.run_name LIKE 'run 1%'",
        "run_name ILIKE 'RUN 1%'",
        "attributes.run_name LIKE 'RUN 1%'",
        "end_time > 9003",
        "attributes.`run name` = 'run 4'",
        "datasets.name = 'd'",
        "dataset.digest = 'v1'",
        "dataset.context = 'eval' and metrics.loss > 0.1",
        "dataset.digest IN ('v0', 'v2')",
        "tags.`mlflow.runName` = 'run 2'",
        "metrics.same = 1 and params.depth = '3'",
    ):
        refused(f"filter {filter}", lambda filter=filter: names(filter))
    for filter in (
        "metrics.loss > 'a'",
        "params.depth > 1",
        "metrics.loss LIKE 'x'",
        "x.y = 'a'",
        "metrics.loss >",
        "colour = 'a'",
        "params.depth = 'a' OR params.depth = 'b'",
        "metrics.loss = 1 metrics.loss = 2",
        "attributes.start_time = 'x'",
    ):
        refused(f"wrong {filter}", lambda filter=filter: names(filter))
    for order in (
        ("metrics.loss ASC",),
        ("metrics.loss DESC",),
        ("params.depth DESC", "metrics.loss"),
        ("attributes.start_time ASC",),
        ("start_time",),
        ("tags.odd DESC", "attributes.start_time DESC"),
        ("metrics.same",),
        ("attributes.end_time DESC",),
        ("run_name",),
    ):
        refused(f"order {order}", lambda order=order: names(order=order))
    refused("wrong order", lambda: names(order=["colour.x"]))
    refused("wrong order word", lambda: names(order=["metrics.loss SIDEWAYS"]))
    page = client.search_runs([experiment], max_results=5, order_by=["metrics.loss DESC"])
    rest = client.search_runs([experiment], max_results=50, order_by=["metrics.loss DESC"], page_token=page.token)
    say("pages", [[each.info.run_name for each in page], [each.info.run_name for each in rest], rest.token])
    refused("wrong page", lambda: client.search_runs([experiment], page_token="?"))
    say("no experiment", len(client.search_runs([])))
    client.delete_run(page[0].info.run_id)
    say("deleted only", names(view=ViewType.DELETED_ONLY))
    say("all", len(names(view=ViewType.ALL)))


def artifacts(client):
    section("artifacts")
    experiment = client.create_experiment("artifacts")
    id_of(experiment, "experiment")
    id = client.create_run(experiment).info.run_id
    id_of(id, "run")
    here = pathlib.Path(tempfile.mkdtemp())
    (here / "deep" / "er").mkdir(parents=True)
    (here / "a ü.txt").write_text("hello")
    (here / "deep" / "b").write_bytes(b"")
    (here / "deep" / "er" / "c%20#?.bin").write_bytes(bytes(range(256)) * 5000)
    client.log_artifacts(id, here)
    client.log_artifact(id, here / "a ü.txt", "x/y")
    client.log_text(id, "ü☃", "texts/t.txt")
    client.log_dict(id, {"a": [1, 2]}, "texts/d.json")

    def listed(path=None):
        return [(each.path, each.is_dir, each.file_size or 0) for each in client.list_artifacts(id, path)]

    say("root", listed())
    say("folder", listed("deep"))
    say("deeper", listed("deep/er"))
    say("file", listed("deep/b"))
    say("nothing", listed("nowhere"))
    place = pathlib.Path(client.download_artifacts(id, ""))
    say(
        "all",
        sorted((str(each.relative_to(place)), each.stat().st_size) for each in place.rglob("*") if each.is_file()),
    )
    say("one", mlflow.artifacts.load_text(f"runs:/{id}/texts/t.txt"))
    say("dict", mlflow.artifacts.load_dict(f"runs:/{id}/texts/d.json"))
    refused("up", lambda: client.list_artifacts(id, "../x"))
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    repository = get_artifact_repository(client.get_run(id).info.artifact_uri)
    repository.delete_artifacts("deep")
    say("removed", listed())


def logged_models(client):
    section("logged models")
    experiment = client.create_experiment("logged models")
    id_of(experiment, "experiment")
    mlflow.set_experiment(experiment_id=experiment)
    run = client.create_run(experiment)
    id_of(run.info.run_id, "run")
    first = client.create_logged_model(experiment, "first", run.info.run_id, {"t": "1"}, {"p": "1"}, "agent")
    second = client.create_logged_model(experiment, "second")
    id_of(first.model_id, "model"), id_of(second.model_id, "model")
    say("created", first)
    client.finalize_logged_model(first.model_id, "READY")
    client.set_logged_model_tags(first.model_id, {"u": "ü"})
    client.delete_logged_model_tag(first.model_id, "t")
    measured = Metric("acc", 0.5, 1, 1, first.model_id, "d", "v", run.info.run_id)
    client.log_batch(run.info.run_id, metrics=[measured])
    client.log_metric(run.info.run_id, "acc", 0.75, timestamp=2, step=2, model_id=second.model_id)
    client._tracking_client.store.log_logged_model_params(second.model_id, [LoggedModelParameter("q", "2")])
    say("first", client.get_logged_model(first.model_id))
    say("second", client.get_logged_model(second.model_id))

    def names(**kw):
        return [each.name for each in client.search_logged_models([experiment], **kw)]

    for filter in (
        "name = 'first'",
        "metrics.acc > 0.6",
        "params.p = '1'",
        "tags.u = 'ü'",
        "status = 'READY'",
        "name LIKE 's%'",
        "model_type = 'agent'",
    ):
        refused(f"filter {filter}", lambda filter=filter: names(filter_string=filter))
    refused("wrong filter", lambda: names(filter_string="colours.x = 1"))
    say("order", names(order_by=[{"field_name": "metrics.acc", "ascending": False}]))
    say("order name", names(order_by=[{"field_name": "name", "ascending": True}]))
    page = client.search_logged_models([experiment], max_results=1, order_by=[{"field_name": "name"}])
    rest = client.search_logged_models(
        [experiment], max_results=1, order_by=[{"field_name": "name"}], page_token=page.token
    )
    say("pages", [[each.name for each in page], [each.name for each in rest], rest.token])
    refused("no model", lambda: client.get_logged_model("m-0123456789abcdef0123456789abcdef"))
    client.delete_logged_model(second.model_id)
    refused("deleted", lambda: client.get_logged_model(second.model_id))


def registry(client):
    section("registry")
    experiment = client.create_experiment("registry")
    id_of(experiment, "experiment")
    run = client.create_run(experiment)
    id_of(run.info.run_id, "run")
    client.log_text(run.info.run_id, "x", "model/data.txt")
    client.log_text(run.info.run_id, "y", "other/data.txt")
    source = f"runs:/{run.info.run_id}/model"
    say("created", client.create_registered_model("clf ü", {"team": "blue"}, "what it does"))
    refused("twice", lambda: client.create_registered_model("clf ü"))
    refused("no name", lambda: client.create_registered_model(""))
    refused("no model", lambda: client.get_registered_model("nothing"))
    refused("version of none", lambda: client.create_model_version("nothing", source, run.info.run_id))
    place = run.info.artifact_uri
    first = client.create_model_version("clf ü", f"{place}/model", run.info.run_id, {"v": "1"})
    second = client.create_model_version(
        "clf ü", f"{run.info.artifact_uri}/other", run.info.run_id, description="second"
    )
    say("versions", [first.version, second.version, second.status, second.run_id, second.description])
    client.set_registered_model_alias("clf ü", "champion", 1)
    client.set_registered_model_alias("clf ü", "candidate", "2")
    say("by alias", client.get_model_version_by_alias("clf ü", "champion").version)
    refused("no alias", lambda: client.get_model_version_by_alias("clf ü", "nobody"))
    refused("alias of no model", lambda: client.get_model_version_by_alias("nothing", "champion"))
    refused("alias to no version", lambda: client.set_registered_model_alias("clf ü", "x", 99))
    client.set_registered_model_alias("clf ü", "champion", 2)
    say(
        "moved",
        [client.get_model_version_by_alias("clf ü", "champion").version, client.get_registered_model("clf ü").aliases],
    )
    client.delete_registered_model_alias("clf ü", "candidate")
    client.delete_registered_model_alias("clf ü", "candidate")
    say("aliases", client.get_model_version("clf ü", 2).aliases)
    client.set_registered_model_tag("clf ü", "k", "v")
    client.delete_registered_model_tag("clf ü", "team")
    client.set_model_version_tag("clf ü", "1", "k", "v")
    client.delete_model_version_tag("clf ü", "1", "v")
    client.update_registered_model("clf ü", "another text")
    client.update_model_version("clf ü", "1", "first")
    model = client.get_registered_model("clf ü")
    say("model", [model.name, model.description, model.tags, [each.version for each in model.latest_versions]])
    one = client.get_model_version("clf ü", "1")
    say("version", [one.name, one.version, one.description, one.tags, one.current_stage, one.status, one.aliases])
    refused("no version", lambda: client.get_model_version("clf ü", "77"))
    refused("odd version", lambda: client.get_model_version("clf ü", "x"))
    client.create_registered_model("zeta")
    client.create_registered_model("alpha", {"team": "red"})

    def names(**kw):
        return [each.name for each in client.search_registered_models(**kw)]

    for filter in ("", "name = 'alpha'", "name LIKE '%a'", "name ILIKE 'AL%'", "tags.team = 'red'", "tags.k != 'x'"):
        refused(f"models {filter}", lambda filter=filter: names(filter_string=filter))
    refused("models wrong", lambda: names(filter_string="colour = 'x'"))
    refused("models order", lambda: names(order_by=["name DESC"]))
    refused("models wrong order", lambda: names(order_by=["colour"]))
    page = client.search_registered_models(max_results=2)
    rest = client.search_registered_models(max_results=2, page_token=page.token)
    say("models pages", [[each.name for each in page], [each.name for each in rest], rest.token])

    def numbers(filter=None, order=None):
        return [each.version for each in client.search_model_versions(filter, order_by=order)]

    for filter in (
        "name = 'clf ü'",
        "version_number > 1",
        f"run_id = '{run.info.run_id}'",
        "tags.k = 'v'",
        "name = 'none'",
    ):
        refused(f"versions {plain(filter)}", lambda filter=filter: numbers(filter, ["version_number ASC"]))
    refused("versions wrong", lambda: numbers("colour = 'x'"))
    client.transition_model_version_stage("clf ü", "1", "Production")
    say("stage", client.get_model_version("clf ü", "1").current_stage)
    say("latest", sorted((each.current_stage, each.version) for each in client.get_latest_versions("clf ü")))
    refused("odd stage", lambda: client.transition_model_version_stage("clf ü", "1", "Nowhere"))
    client.transition_model_version_stage("clf ü", "2", "Production", archive_existing_versions=True)
    say("archived", client.get_model_version("clf ü", "1").current_stage)
    say("files", pathlib.Path(mlflow.artifacts.download_artifacts("models:/clf ü@champion"), "data.txt").read_text())
    say("files by number", pathlib.Path(mlflow.artifacts.download_artifacts("models:/clf ü/1"), "data.txt").read_text())
    copied = client.copy_model_version("models:/clf ü/1", "zeta")
    say("copied", [copied.name, copied.version])
    client.delete_model_version("clf ü", "1")
    refused("deleted", lambda: client.get_model_version("clf ü", "1"))
    client.delete_model_version("clf ü", "2")
    refused("deleted alias", lambda: client.get_model_version_by_alias("clf ü", "champion"))
    client.rename_registered_model("alpha", "beta")
    refused("old name", lambda: client.get_registered_model("alpha"))
    refused("renamed to another", lambda: client.rename_registered_model("beta", "zeta"))
    client.delete_registered_model("beta")
    refused("gone", lambda: client.get_registered_model("beta"))


def prompts(client):
    section("prompts")
    chat = [{"role": "system", "content": "Answer as {{who}}."}, {"role": "user", "content": "{{what}} ü"}]
    made = client.register_prompt("greet-1", "Hello {{who}}", commit_message="first", tags={"team": "blue"})
    say("registered", prompt(made))
    say("again", prompt(client.register_prompt("greet-1", "Hi {{who}} " + "x" * 90_000, tags={"author": "b"})))
    say("chat", prompt(client.register_prompt("chat", chat)))
    client.create_registered_model("no prompt")
    refused("a model's name", lambda: client.register_prompt("no prompt", "x"))
    refused("as a model", lambda: client.get_registered_model("chat"))
    client.set_prompt_alias("greet-1", "best", 1)
    for uri in ("prompts:/greet-1@best", "prompts:/greet-1/2", "prompts:/chat/1", "prompts:/greet-1@latest"):
        say(uri, prompt(client.load_prompt(uri)))
    say("not there", client.load_prompt("prompts:/greet-1/9", allow_missing=True))
    say("filled in", client.load_prompt("prompts:/greet-1@best").format(who="Ann"))
    client.set_prompt_version_tag("greet-1", 1, "good", "yes")
    say("tag", client.load_prompt("prompts:/greet-1/1").tags)
    say("found", sorted(each.name for each in client.search_prompts()))
    say("found by tag", [each.name for each in client.search_prompts("tags.team = 'blue'")])
    say("no models", [each.name for each in client.search_registered_models("name LIKE '%r%'")])
    say("versions", [each.version for each in client.search_prompt_versions("greet-1")])
    run = client.create_run(client.create_experiment("prompts"))
    client.link_prompt_version_to_run(run.info.run_id, "prompts:/greet-1/2")
    say("of a run", client.get_run(run.info.run_id).data.tags["mlflow.linkedPrompts"])
    client.delete_prompt_version("greet-1", "2")
    say("deleted", client.load_prompt("prompts:/greet-1/2", allow_missing=True))
    client.delete_prompt_alias("greet-1", "best")
    say("no alias", client.load_prompt("prompts:/greet-1@best", allow_missing=True))


def prompt(found):
    return [found.name, found.version, found.template, found.commit_message, found.tags, found.aliases]


def flavors(client):
    section("flavors")
    import numpy
    import onnx
    import torch
    from onnx import TensorProto, helper
    from sklearn.linear_model import LogisticRegression

    mlflow.set_experiment("flavors")
    rows = numpy.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0]], dtype=numpy.float32)
    classes = LogisticRegression().fit(rows, [0, 1, 1, 0])
    torch.manual_seed(0)
    net = torch.nn.Linear(2, 1)
    inner = [helper.make_node("Mul", ["x", "two"], ["y"])]
    two = helper.make_tensor("two", TensorProto.FLOAT, [1], [2.0])
    taken, given = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 2]) for name in "xy")
    graph = helper.make_model(
        helper.make_graph(inner, "g", [taken], [given], [two]),
        ir_version=9,
        opset_imports=[helper.make_opsetid("", 17)],
    )

    class Adder(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):
            return [float(sum(row)) for row in model_input]

    with mlflow.start_run():
        logged = {
            "sk": mlflow.sklearn.log_model(
                classes, name="sk", registered_model_name="sk", pip_requirements=["scikit-learn"]
            ),
            "net": mlflow.pytorch.log_model(
                net, name="net", registered_model_name="net", pip_requirements=["torch"], serialization_format="pickle"
            ),
            "onnx": mlflow.onnx.log_model(
                graph, name="graph", registered_model_name="onnx", pip_requirements=["onnxruntime"]
            ),
            "py": mlflow.pyfunc.log_model(
                name="py", python_model=Adder(), registered_model_name="py", pip_requirements=["mlflow"]
            ),
        }
    for name, info in logged.items():
        client.set_registered_model_alias(name, "champion", info.registered_model_version)
        say(f"{name} version", [info.registered_model_version, client.get_model_version(name, 1).status])
    say("sk", mlflow.sklearn.load_model("models:/sk@champion").predict(rows).tolist())
    say("sk as pyfunc", mlflow.pyfunc.load_model("models:/sk@champion").predict(rows).tolist())
    say("net", mlflow.pytorch.load_model("models:/net@champion")(torch.tensor(rows)).detach().numpy().round(5).tolist())
    loaded = mlflow.onnx.load_model("models:/onnx@champion")
    say("onnx", onnx.checker.check_model(loaded) or [each.op_type for each in loaded.graph.node])
    say("onnx as pyfunc", mlflow.pyfunc.load_model("models:/onnx/1").predict(rows)["y"].tolist())
    say("py", mlflow.pyfunc.load_model("models:/py@champion").predict(rows.tolist()))
    say("by id", mlflow.sklearn.load_model(logged["sk"].model_uri).predict(rows).tolist())


@mlflow.trace(span_type="TOOL", attributes={"model": "gpt-x", "temperature": 0.5})
def look_up(word):
    return {"found": [word, "☃", 1, 1.5, None, True]}


def traces(client):
    section("traces")
    experiment = client.create_experiment("traces")
    id_of(experiment, "experiment")
    mlflow.set_experiment(experiment_id=experiment)

    @mlflow.trace(name="answer")
    def answer(question):
        with mlflow.start_span("think", span_type="LLM") as span:
            span.set_inputs({"messages": [{"role": "user", "content": question}]})
            span.add_event(SpanEvent("began", attributes={"a": 1}))
            span.set_attribute("mlflow.chat.tokenUsage", {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7})
        mlflow.update_current_trace(tags={"team": "blue"}, metadata={"mlflow.trace.session": f"session of {question}"})
        return look_up(question)

    @mlflow.trace(name="failing")
    def failing():
        raise ValueError("no")

    ids = []
    for question in ("tree", "bough", "leaf"):
        answer(question)
        ids.append(mlflow.get_last_active_trace_id())
        time.sleep(0.005)
    with contextlib.suppress(ValueError):
        failing()
    ids.append(mlflow.get_last_active_trace_id())
    with mlflow.start_run() as run:
        id_of(run.info.run_id, "run")
        with mlflow.start_span("in a run"):
            pass
        ids.append(mlflow.get_last_active_trace_id())
    for each in ids:
        id_of(each, "trace")
    for each in ids:
        say("trace", told(mlflow.get_trace(each)))
    say("not there", mlflow.get_trace("tr-" + "0" * 32, silent=True))

    def found(filter=None, **more):
        said = client.search_traces(locations=[experiment], filter_string=filter, **more)
        return [each.info.trace_id for each in said]

    say("search", found())
    say("search with spans", [told(each) for each in client.search_traces(locations=[experiment], max_results=2)])
    first = client.search_traces(locations=[experiment], max_results=2)
    say("pages", [[each.info.trace_id for each in first], found(max_results=2, page_token=first.token)])
    for order in (["timestamp_ms ASC"], ["name ASC", "timestamp_ms DESC"], ["status DESC"], ["tags.team DESC"]):
        say(f"order {order}", found(order_by=order))
    for filter in TRACE_FILTERS:
        refused(f"filter {filter}", lambda filter=filter: found(filter))
    refused("of a run", lambda: found(f"run_id = '{run.info.run_id}'"))
    MlflowClient().link_traces_to_run(ids[:2], run.info.run_id)
    say("linked", found(f"run_id = '{run.info.run_id}'"))
    refused("linked to no run", lambda: client.link_traces_to_run(ids[:2], "0" * 32))
    client.set_trace_tag(ids[0], "note", "ü")
    say("tag", told(mlflow.get_trace(ids[0]))["tags"])
    say("by tag", found("tags.note = 'ü'"))
    client.delete_trace_tag(ids[0], "note")
    refused("no such tag", lambda: client.delete_trace_tag(ids[0], "note"))
    refused("tag of nothing", lambda: client.set_trace_tag("tr-" + "0" * 32, "a", "b"))
    assessments(client, ids, found)
    say("deleted", client.delete_traces(experiment, trace_ids=ids[:1]))
    refused("deleted twice", lambda: client.delete_traces(experiment, trace_ids=ids[:1]))
    say("is gone", mlflow.get_trace(ids[0], silent=True))
    say("all deleted", client.delete_traces(experiment, max_timestamp_millis=2**42, max_traces=2))
    say("left", found())


TRACE_FILTERS = (
    *("name = 'answer'", "name != 'answer'", "name LIKE 'f%'", "name IN ('failing', 'in a run')", "status = 'ERROR'"),
    *("trace.status = 'OK'", "tags.team = 'blue'", "tag.team IS NULL", "tags.team IS NOT NULL", "timestamp_ms > 5"),
    *("execution_time_ms < 0", "end_time >= 5", "metadata.`mlflow.trace.session` = 'session of leaf'"),
    *("span.name = 'think'", "span.type = 'TOOL'", "span.status = 'ERROR'", "text LIKE '%bough%'"),
    *("trace.text ILIKE '%BOUGH%'", "span.attributes.model LIKE '%gpt%'", "span.name = 'think' AND span.type = 'TOOL'"),
    *(
        "span.colour = 'x'",
        "colour = 'x'",
        "status ~ 'x'",
        "timestamp_ms = 'x'",
        "name > 'x'",
        "feedback.good = 'true'",
    ),
)


def told(trace):
    """A trace without times, sizes and what says where the client ran."""
    info = trace.info
    inner = {span.span_id: span.name for span in trace.data.spans}
    skipped = ("mlflow.source", "mlflow.user", "mlflow.trace.sizeStats", "mlflow.trace.sizeBytes", "mlflow.artifactLoc")
    return {
        "id": info.trace_id, "experiment": info.experiment_id, "state": info.state.value,
        "previews": [info.request_preview, info.response_preview], "timed": info.execution_duration >= 0,
        "metadata": {key: each for key, each in info.trace_metadata.items() if not key.startswith(skipped)},
        "tags": {key: each for key, each in info.tags.items() if not key.startswith(skipped)},
        "assessments": [thought(each) for each in info.assessments],
        "spans": [
            {"name": span.name, "parent": inner.get(span.parent_id), "type": span.span_type, "inputs": span.inputs,
             "outputs": span.outputs, "status": span.status.status_code.value, "said": span.status.description,
             "attributes": span.attributes, "timed": span.end_time_ns >= span.start_time_ns,
             "events": [[event.name, sorted(event.attributes)] for event in span.events]}
            for span in trace.data.spans
        ],
    }  # fmt: skip


def thought(assessment):
    kind = "feedback" if assessment.feedback else "expectation"
    error = assessment.feedback.error if assessment.feedback else None
    return [
        kind, assessment.name, assessment.value, assessment.source.source_type, assessment.source.source_id,
        assessment.rationale, assessment.metadata, assessment.valid, assessment.trace_id, assessment.span_id,
        [error.error_code, error.error_message] if error else None, bool(assessment.overrides),
    ]  # fmt: skip


def assessments(client, ids, found):
    human = AssessmentSource(source_type="HUMAN", source_id="ada")
    good = mlflow.log_feedback(trace_id=ids[0], name="good", value=True, source=human, rationale="it is")
    score = mlflow.log_feedback(trace_id=ids[1], name="score", value=0.75, metadata={"a": "b"})
    mlflow.log_feedback(trace_id=ids[1], name="parts", value={"a": [1, "x"]})
    mlflow.log_feedback(trace_id=ids[2], name="score", error=ValueError("no"))
    wanted = mlflow.log_expectation(trace_id=ids[0], name="wanted", value=["a", 1], source=human)
    mlflow.log_expectation(trace_id=ids[1], name="wanted", value="tree", source=human)
    for each in ids[:3]:
        say("thought", [thought(one) for one in mlflow.get_trace(each).info.assessments])
    say("one", thought(mlflow.get_assessment(ids[0], good.assessment_id)))
    for filter in ("feedback.score > 0.5", "feedback.score > 0.9", "feedback.good = 'true'", "feedback.good IS NULL",
                   "expectation.wanted = 'tree'", "expectation.wanted IS NOT NULL"):  # fmt: skip
        say(f"by {filter}", found(filter))
    changed = Feedback(name="better", value=0.5, rationale="after all", metadata={"c": "d"}, source=human)
    say("changed", thought(mlflow.update_assessment(ids[1], score.assessment_id, changed)))
    other = Expectation(name="wanted", value="x", source=human)
    refused("of another kind", lambda: thought(mlflow.update_assessment(ids[1], score.assessment_id, other)))
    over = mlflow.override_feedback(trace_id=ids[0], assessment_id=good.assessment_id, value=False, source=human)
    say("overridden", [thought(one) for one in mlflow.get_trace(ids[0]).info.assessments])
    mlflow.delete_assessment(ids[0], over.assessment_id)
    mlflow.delete_assessment(ids[0], wanted.assessment_id)
    say("valid again", [thought(one) for one in mlflow.get_trace(ids[0]).info.assessments])
    refused("no such", lambda: mlflow.get_assessment(ids[0], over.assessment_id))
    refused("of nothing", lambda: mlflow.log_feedback(trace_id="tr-" + "0" * 32, name="a", value=1))


SECTIONS = {
    "experiments": experiments,
    "runs": runs,
    "search": search,
    "artifacts": artifacts,
    "logged models": logged_models,
    "traces": traces,
    "registry": registry,
    "prompts": prompts,
    "flavors": flavors,
}

if __name__ == "__main__":
    client = MlflowClient()
    for name in sys.argv[2:] or SECTIONS:
        SECTIONS[name](client)
    pathlib.Path(sys.argv[1]).write_text(json.dumps(SAID, ensure_ascii=False, indent=1))
