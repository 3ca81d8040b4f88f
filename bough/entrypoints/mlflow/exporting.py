"""Takes what a project keeps to an MLflow server. Both sides are spoken to as MLflow's clients do, so what any of them
can read of Bough arrives.

It may be cut off and run again: everything there has the tag `bough.from` with its id here, a run gets the tag
`bough.ended` when all of it has arrived, and is passed over from then on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from bough.entrypoints.mlflow import importing_traces, prompts, traces_said
from bough.entrypoints.mlflow.source import Source
from bough.entrypoints.mlflow.target import Target, pairs, place_of
from bough.kernel.errors import Invalid

FROM, ENDED = "bough.from", "bough.ended"  # tags of what arrived: its id here, and that a run is complete
PAGE, MODELS_PAGE, MOST_POINTS, MOST_TEXTS, MOST_SPANS = 1000, 50, 1000, 100, 1000
DEFAULT, DIGEST_CHARS = "0", 36  # the experiment that every server has; as much of a digest as it keeps
_API = "/api/2.0/mlflow"
_PROMPTS = f"tags.`{prompts.IS_PROMPT}` = 'true'"
_COUNTED = ("experiments", "runs", "metrics", "params", "tags", "inputs", "artifacts", "logged_models", "models",
            "versions", "aliases", "prompts", "prompt_versions", "traces", "assessments", "sent")  # fmt: skip


class Exporting:
    """Counts what is there in the end, whether it went now or before; `sent` are the files that went now."""

    def __init__(self, source: Source, target: Target, say: Callable[[str], None]) -> None:
        self._source, self._target, self._say = source, target, say
        self.counts: Counter[str] = Counter()
        self._runs: dict[str, Mapping[str, Any]] = {}  # theirs, `info`, by our id
        self._logged: dict[str, str] = {}  # ids of their logged models by ours
        self._traced: list[str] = []  # our experiments that have traces

    def take(self) -> dict[str, int]:
        if not self._target.url.startswith(("http://", "https://")):
            raise Invalid(
                f"{self._target.url!r} is not the URL of an MLflow server", code="URL_INVALID", hint="http://…"
            )
        for each in self._source.pages(f"{_API}/experiments/search", "experiments", max_results=PAGE):
            self._experiment(each)
        importing_traces.link(self._source, self._link, self._runs, self._traced)
        for each in self._registered():
            self._model(each, "models", "versions")
        for each in self._registered(_PROMPTS):
            self._model(each, "prompts", "prompt_versions", f" AND {_PROMPTS}")
        return {name: self.counts[name] for name in _COUNTED}

    # -- runs

    def _experiment(self, ours: Mapping[str, Any]) -> None:
        name = ours["name"]
        found = self._target.maybe(f"{_API}/experiments/get-by-name", experiment_name=name)
        theirs = found["experiment"]["experiment_id"] if found else self._target.post(
            f"{_API}/experiments/create", name=name, tags=ours.get("tags", [])
        )["experiment_id"]  # fmt: skip
        self.counts["experiments"] += 1
        there = {_tags(run["data"])[FROM]: run for run in self._found(self._target, theirs, f"tags.`{FROM}` != ''")}
        count = 0
        for run in self._found(self._source, ours["experiment_id"]):
            self._run(run, theirs, there.get(run["info"]["run_id"]))
            count += 1
        self._logged_models(ours["experiment_id"], theirs)
        self._traces(ours["experiment_id"], theirs)
        self._say(f"{name}: {count} runs")

    def _found(self, server: Source, experiment: str, filter: str = "") -> Iterator[Any]:
        query = {"experiment_ids": [experiment], "max_results": PAGE, "filter": filter}
        return server.pages(f"{_API}/runs/search", "runs", **query)

    def _run(self, ours: Mapping[str, Any], experiment: str, there: Mapping[str, Any] | None) -> None:
        info, data = ours["info"], ours.get("data", {})
        id, tags = info["run_id"], _tags(data) | {FROM: info["run_id"]}
        there = there or self._target.post(
            f"{_API}/runs/create", experiment_id=experiment, run_name=info.get("run_name", ""),
            start_time=info.get("start_time", 0), user_id=info.get("user_id", ""), tags=pairs({FROM: id}),
        )["run"]  # fmt: skip
        self._runs[id] = there["info"]
        inputs, points = ours.get("inputs", {}).get("dataset_inputs", []), list(self._points(id, data))
        files = list(self._source.files(place_of(info["artifact_uri"])))
        self.counts.update({"runs": 1, "tags": len(tags) - 1, "params": len(data.get("params", [])),
                            "metrics": len(points), "inputs": len(inputs), "artifacts": len(files)})  # fmt: skip
        if _tags(there["data"]).get(ENDED) == str(info.get("end_time", "")):
            return
        self._log(there["info"]["run_id"], points, data.get("params", []), pairs(tags))
        if inputs:
            self._target.post(
                f"{_API}/runs/log-inputs", run_id=there["info"]["run_id"], datasets=[_input(each) for each in inputs]
            )
        self._send(place_of(info["artifact_uri"]), files, there["info"]["artifact_uri"])
        ended = {"end_time": info["end_time"]} if info.get("end_time") else {}
        self._target.post(f"{_API}/runs/update", run_id=there["info"]["run_id"], status=info["status"], **ended)
        if ended:
            self._log(there["info"]["run_id"], [], [], pairs({ENDED: str(info["end_time"])}))

    def _points(self, run: str, data: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        for metric in data.get("metrics", []):
            path = f"{_API}/metrics/get-history"
            for each in self._source.get(path, run_id=run, metric_key=metric["key"]).get("metrics", []):
                yield {key: each[key] for key in ("key", "value", "timestamp", "step") if key in each}

    def _log(self, run: str, points: list[Any], params: list[Any], tags: list[Any]) -> None:
        for name, given, most in (
            ("metrics", points, MOST_POINTS), ("params", params, MOST_TEXTS), ("tags", tags, MOST_TEXTS)
        ):  # fmt: skip
            for start in range(0, len(given), most):
                self._target.post(f"{_API}/runs/log-batch", run_id=run, **{name: given[start : start + most]})

    # -- files

    def _send(self, place: str, files: list[str], uri: str) -> None:
        """Those that are not there yet."""
        there = set(self._target.files(place_of(uri))) if files else set[str]()
        for path in files:
            if path in there:
                continue
            with self._source.download(place, path) as content:
                size = content.tell()
                content.seek(0)
                self._target.upload(uri, path, content, size)
            self.counts["sent"] += 1

    # -- logged models

    def _logged_models(self, ours: str, theirs: str) -> None:
        there = {_tags(each["info"]).get(FROM, ""): each for each in self._logged_in(self._target, theirs)}
        for each in self._logged_in(self._source, ours):
            info = each["info"]
            self.counts["logged_models"] += 1
            made = self._logged_model(
                info["model_id"], theirs, place_of(info["artifact_uri"]), there.get(info["model_id"]),
                name=info.get("name", ""), model_type=info.get("model_type", ""),
                run=info.get("source_run_id", ""), params=each.get("data", {}).get("params", []),
                tags=_tags(info), status=info.get("status", ""),
            )  # fmt: skip
            self._logged[info["model_id"]] = made

    def _logged_in(self, server: Source, experiment: str) -> Iterator[Any]:
        query = {"experiment_ids": [experiment], "max_results": MODELS_PAGE}
        return server.pages(f"{_API}/logged-models/search", "models", **query)

    def _logged_model(
        self, id: str, experiment: str, place: str, there: Mapping[str, Any] | None, *, tags: Mapping[str, str],
        run: str = "", status: str = "LOGGED_MODEL_READY", **more: Any,
    ) -> str:  # fmt: skip
        """The id of one with these files."""
        run_id = {"source_run_id": self._runs[run]["run_id"]} if run in self._runs else {}
        made = (
            there
            or self._target.post(
                f"{_API}/logged-models", experiment_id=experiment, tags=pairs({**tags, FROM: id}), **run_id, **more
            )["model"]
        )
        info = made["info"]
        self._send(place, list(self._source.files(place)), info["artifact_uri"])
        if status and status != info.get("status"):
            self._target.finish(f"{_API}/logged-models/{info['model_id']}", model_id=info["model_id"], status=status)
        return str(info["model_id"])

    # -- traces

    def _traces(self, ours: str, theirs: str) -> None:
        there = {each["trace_id"] for each in importing_traces.search(self._target, [theirs])
                 if ENDED in each.get("tags", {})}  # fmt: skip
        for each in importing_traces.search(self._source, [ours]):
            if ours not in self._traced:
                self._traced.append(ours)
            self.counts.update({"traces": 1, "assessments": len(each.get("assessments", []))})
            if each["trace_id"] not in there:
                self._trace(each, theirs)

    def _trace(self, ours: dict[str, Any], experiment: str) -> None:
        """Its id stays. Spans go first: they make the trace, and what is said of it as a whole has the last word."""
        id, tags, metadata = ours["trace_id"], dict(ours.get("tags", {})), dict(ours.get("trace_metadata", {}))
        place, own = tags.pop(traces_said.LOCATION, ""), traces_said.STORED.keys()
        spans = self._source.get("/api/3.0/mlflow/traces/get", trace_id=id, allow_partial="true")["trace"]["spans"]
        for start in range(0, len(spans), MOST_SPANS):
            self._target.trace(experiment, spans[start : start + MOST_SPANS])
        if (run := metadata.get(traces_said.RUN)) in self._runs:
            metadata[traces_said.RUN] = self._runs[run]["run_id"]
        if (model := metadata.get(traces_said.MODEL)) in self._logged:
            metadata[traces_said.MODEL] = self._logged[model]
        info = ours | {
            "trace_location": {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment}},
            "trace_metadata": metadata, "tags": {key: tags[key] for key in tags if key not in own},
        }  # fmt: skip
        made = self._target.post("/api/3.0/mlflow/traces", trace={"trace_info": info})["trace"]["trace_info"]
        if place.startswith("mlflow-artifacts:"):
            files = list(self._source.files(place_of(place)))
            self._send(place_of(place), files, made.get("tags", {}).get(traces_said.LOCATION, "") if files else "")
        if ours.get("state") != "IN_PROGRESS":  # more of it may come
            self._target.finish(f"/api/3.0/mlflow/traces/{id}/tags", key=ENDED, value="yes")

    def _link(self, _: str, *, ids: list[str], run: str) -> None:
        self._target.post("/api/2.0/mlflow/traces/link-to-run", trace_ids=ids, run_id=self._runs[run]["run_id"])

    # -- registry

    def _registered(self, filter: str = "") -> Iterator[Any]:
        token = ""
        while True:
            query: dict[str, Any] = {"max_results": 100} | ({"filter": filter} if filter else {})
            query |= {"page_token": token} if token else {}
            found = self._source.get(f"{_API}/registered-models/search", **query)
            yield from found.get("registered_models", [])
            if not (token := found.get("next_page_token", "")):
                return

    def _model(self, ours: Mapping[str, Any], models: str, versions: str, filter: str = "") -> None:
        """`models`, `versions`: as what they are counted. `filter`: of the versions, besides the name."""
        name, theirs = ours["name"], _plain(ours["name"])
        if self._target.maybe(f"{_API}/registered-models/get", name=theirs) is None:
            about = {"description": ours.get("description", ""), "tags": ours.get("tags", [])}
            self._target.post(f"{_API}/registered-models/create", name=theirs, **about)
        there = {_tags(each).get(FROM, ""): each["version"] for each in _versions(self._target, theirs, filter)}
        mine = _versions(self._source, name, filter)
        numbers = {
            each["version"]: there.get(_id(each)) or self._version(theirs, each) for each in mine
        }  # ours to theirs
        for alias in ours.get("aliases", []):
            self._target.post(
                f"{_API}/registered-models/alias", name=theirs, alias=alias["alias"], version=numbers[alias["version"]]
            )
        self.counts.update({models: 1, versions: len(mine), "aliases": len(ours.get("aliases", []))})
        self._say(f"{name}: {len(mine)} versions" + (f", as {theirs}" if theirs != name else ""))

    def _version(self, theirs: str, ours: Mapping[str, Any]) -> str:
        """The number that it gets in the model that is called `theirs`."""
        tags, run = _tags(ours), ours.get("run_id", "")
        more: dict[str, Any] = {"run_id": self._runs[run]["run_id"]} if run in self._runs else {}
        if prompts.is_prompt(tags):
            source = ours.get("source") or "prompt-template"
        else:
            model = self._logged.get(ours.get("model_id", "")) or self._files_of(ours, run)
            source, more = f"models:/{model}", more | {"model_id": model}
        made = self._target.post(
            f"{_API}/model-versions/create", name=theirs, source=source, description=ours.get("description", ""),
            tags=pairs(tags | {FROM: _id(ours)}), **more,
        )  # fmt: skip
        return str(made["model_version"]["version"])

    def _files_of(self, ours: Mapping[str, Any], run: str) -> str:
        """A logged model with the files of a version that was registered without one."""
        experiment = self._runs[run]["experiment_id"] if run in self._runs else DEFAULT
        at, id = {"name": ours["name"], "version": ours["version"]}, _id(ours)
        place = place_of(self._source.get(f"{_API}/model-versions/get-download-uri", **at)["artifact_uri"])
        logged = self._logged_in(self._target, experiment)
        there = next((each for each in logged if _tags(each["info"]).get(FROM) == id), None)
        return self._logged_model(id, experiment, place, there, tags={}, run=run, name=_plain(ours["name"]))


def _versions(server: Source, name: str, filter: str) -> list[Any]:
    """By number."""
    query: dict[str, Any] = {"filter": f"name = '{name}'{filter}", "max_results": 10_000}
    found = server.get(f"{_API}/model-versions/search", **query).get("model_versions", [])
    return sorted(found, key=lambda version: int(version["version"]))


def _tags(of: Mapping[str, Any]) -> dict[str, str]:
    return {each["key"]: each.get("value", "") for each in of.get("tags", [])}


def _input(given: Mapping[str, Any]) -> dict[str, Any]:
    """Their servers want to know where it lies, and keep the beginning of a digest."""
    data = given["dataset"]
    where = {"source_type": data.get("source_type") or "bough", "source": data.get("source") or f"bough:{data['name']}"}
    return {
        "tags": given.get("tags", []),
        "dataset": {**data, **where, "digest": data.get("digest", "")[:DIGEST_CHARS]},
    }


def _id(version: Mapping[str, Any]) -> str:
    return f"{version['name']}/{version['version']}"


def _plain(name: str) -> str:
    """As their servers take it: names of models have none of these there."""
    return "".join("-" if each in "/:.%\"'" else each for each in name)
