"""Brings what an MLflow server keeps over to Bough, over HTTP on both sides.

It may be cut off and run again: ids of runs and logged models stay what they were, points and parameters are there once
however often they come, files that have arrived are not fetched again, and a version remembers which it was."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from bough.client import Client
from bough.entrypoints.mlflow import importing_traces, prompts
from bough.entrypoints.mlflow.contents import below, file
from bough.entrypoints.mlflow.importing_files import Files, place_of
from bough.entrypoints.mlflow.source import FROM, Source
from bough.kernel.errors import Conflict, Invalid, NotFound, Problem

NUMBER = "imported.version"  # tag of a version: what its number was there
PAGE, MOST_POINTS, MOST_TEXTS = 1000, 1000, 100
_STATUS = {"LOGGED_MODEL_READY": "ready", "LOGGED_MODEL_UPLOAD_FAILED": "failed"}

_PROMPTS = f"tags.`{prompts.IS_PROMPT}` = 'true'"

Say = Callable[[str], None]


class Importing:
    """Counts what is there in the end, whether it came now or before; `sent` are the files that were fetched now."""

    def __init__(self, source: Source, client: Client, project: str, environment: str, say: Say) -> None:
        self._source, self._client, self._say = source, client, say
        self._project, self._environment = project, environment
        self.counts: Counter[str] = Counter()
        self._files = Files(source, client, self._call, self.counts)
        self._experiments: dict[str, str] = {}  # ours by their number
        self._runs: list[str] = []
        self._traced: list[str] = []  # numbers of their experiments that have traces

    def bring(self) -> dict[str, int]:
        if not self._source.url.startswith(("http://", "https://")):
            raise Invalid(
                f"{self._source.url!r} is not the URL of an MLflow server", code="URL_INVALID", hint="http://…"
            )
        for each in self._source.pages(
            "/api/2.0/mlflow/experiments/search", "experiments", max_results=PAGE, view_type="ALL"
        ):
            self._experiment(each)
        importing_traces.link(self._source, self._call, self._runs, self._traced)
        for each in self._source_models():
            self._model(each, "models", "versions")
        for each in self._source_models(_PROMPTS):
            self._model(each, "prompts", "prompt_versions", f" AND {_PROMPTS}")
        names = ("experiments", "runs", "metrics", "params", "tags", "inputs", "artifacts", "logged_models", "traces",
                 "assessments", "models", "versions", "aliases", "prompts", "prompt_versions", "sent",
                 "elsewhere")  # fmt: skip
        return {name: self.counts[name] for name in names}

    def _experiment(self, theirs: Mapping[str, Any]) -> None:
        name, tags = theirs["name"], _pairs(theirs.get("tags", []))
        self._call("experiments.begin")  # one that is called Default is that one
        try:
            ours = self._client.experiments.named(project=self._project, name=name)
        except NotFound:
            ours = self._client.experiments.create(project=self._project, name=name, tags=tags)
        self.counts["experiments"] += 1
        self._experiments[theirs["experiment_id"]] = ours.id
        if ours.state == "deleted":
            return
        query = {"experiment_ids": [theirs["experiment_id"]], "max_results": PAGE}
        count = 0
        for run in self._source.pages("/api/2.0/mlflow/runs/search", "runs", run_view_type="ALL", **query):
            self._run(run, ours.id, theirs["experiment_id"])
            count += 1
        self._logged_models(theirs["experiment_id"], ours.id)
        if importing_traces.bring(self._source, self._call, theirs["experiment_id"], ours.id, self.counts, self._files):
            self._traced.append(theirs["experiment_id"])
        self._say(f"{name}: {count} runs")
        if theirs.get("lifecycle_stage") == "deleted":
            self._client.experiments.delete(project=self._project, id=ours.id)

    def _run(self, theirs: Mapping[str, Any], experiment: str, number: str) -> None:
        info, data = theirs["info"], theirs.get("data", {})
        id = info["run_id"]
        made = self._call(
            "runs.create", experiment_id=experiment, id=id, name=info.get("run_name", ""),
            started_at=int(info.get("start_time", 0)) / 1000, by=info.get("user_id", ""), environment=self._environment,
        )  # fmt: skip
        self.counts["runs"] += 1
        self._runs.append(id)
        params, tags = _pairs(data.get("params", [])), _pairs(data.get("tags", []))
        self.counts.update({"params": len(params), "tags": len(tags)})
        if made.state == "deleted":
            self.counts["metrics"] += sum(len(self._points(id, each["key"])) for each in data.get("metrics", []))
            return
        for start in range(0, len(params), MOST_TEXTS):
            self._call("runs.log", id=id, params=dict(list(params.items())[start : start + MOST_TEXTS]))
        for start in range(0, len(tags), MOST_TEXTS):
            self._call("runs.log", id=id, tags=dict(list(tags.items())[start : start + MOST_TEXTS]))
        for each in data.get("metrics", []):
            points = self._points(id, each["key"])
            self.counts["metrics"] += len(points)
            for start in range(0, len(points), MOST_POINTS):
                self._call("runs.log", id=id, metrics=points[start : start + MOST_POINTS])
        self._inputs(id, theirs)
        self._files_of(id, f"{number}/{id}/artifacts", info.get("artifact_uri", ""))
        ended = {"ended_at": int(info["end_time"]) / 1000} if info.get("end_time") else {}
        self._call("runs.update", id=id, status=info.get("status", "RUNNING").lower(), **ended)
        if info.get("lifecycle_stage") == "deleted":
            self._call("runs.delete", id=id)

    def _points(self, id: str, key: str) -> list[dict[str, Any]]:
        found = self._source.get("/api/2.0/mlflow/metrics/get-history", run_id=id, metric_key=key)
        return [
            {"key": each["key"], "value": each["value"], "timestamp_ms": int(each.get("timestamp", 0)),
             "step": int(each.get("step", 0))}
            for each in found.get("metrics", [])
        ]  # fmt: skip

    def _inputs(self, id: str, theirs: Mapping[str, Any]) -> None:
        inputs = []
        for each in theirs.get("inputs", {}).get("dataset_inputs", []):
            tags, data = _pairs(each.get("tags", [])), each["dataset"]
            context = tags.pop("mlflow.data.context", "")
            known = {key: data[key] for key in ("source_type", "source", "schema", "profile") if data.get(key)}
            inputs.append({"kind": "dataset", "name": data["name"], "version": data.get("digest", ""),
                           "context": context, "tags": tags, **known})  # fmt: skip
        outputs = [
            {"model": each["model_id"], "step": int(each.get("step", 0))}
            for each in theirs.get("outputs", {}).get("model_outputs", [])
        ]
        self.counts["inputs"] += len(inputs)
        if inputs or outputs:
            self._call("runs.inputs", id=id, inputs=inputs, outputs=outputs)

    def _logged_models(self, number: str, experiment: str) -> None:
        try:
            query = {"experiment_ids": [number], "max_results": 50}
            found = list(self._source.pages("/api/2.0/mlflow/logged-models/search", "models", **query))
        except (Invalid, NotFound):  # a server of before there were any
            return
        for each in found:
            info, data = each["info"], each.get("data", {})
            id = info["model_id"]
            made = self._call(
                "logged_models.create", id=id, experiment_id=experiment, name=info.get("name", ""),
                kind=info.get("model_type", ""), run=info.get("source_run_id", ""),
                params=_pairs(data.get("params", [])), tags=_pairs(info.get("tags", [])),
            )  # fmt: skip
            self.counts["logged_models"] += 1
            self._files_of(id, f"{number}/models/{id}/artifacts", info.get("artifact_uri", ""))
            if made.status == "pending" and (status := _STATUS.get(info.get("status", ""))):
                self._call("logged_models.finish", id=id, status=status)

    def _files_of(self, owner: str, place: str, uri: str) -> None:
        """`uri` says whether the server itself keeps them; others it only knows of."""
        if place_of(uri):
            self._files.bring(owner, place)
        else:
            self.counts["elsewhere"] += 1

    def _source_models(self, filter: str = "") -> Iterator[Any]:
        token = ""
        while True:
            query: dict[str, Any] = {"max_results": 100} | ({"filter": filter} if filter else {})
            query |= {"page_token": token} if token else {}
            found = self._source.get("/api/2.0/mlflow/registered-models/search", **query)
            yield from found.get("registered_models", [])
            if not (token := found.get("next_page_token", "")):
                return

    def _model(self, theirs: Mapping[str, Any], models: str, versions: str, filter: str = "") -> None:
        """`models`, `versions`: as what they are counted. `filter`: of the versions, besides the name."""
        name, place = theirs["name"], {"environment": self._environment}
        try:
            self._call(
                "models.create", name=name, description=theirs.get("description", ""),
                tags=self._tags(theirs), **place,
            )  # fmt: skip
        except Conflict as problem:
            if problem.own_code != "MODEL_EXISTS":
                raise
        self.counts[models] += 1
        known = {
            each.tags[NUMBER]: each.number
            for each in self._call("models.versions", name=name, limit=1000, **place)
            if each.get("tags", {}).get(FROM) == self._source.url
        }
        query: dict[str, Any] = {"filter": f"name = '{name}'{filter}", "max_results": 10_000}
        found = self._source.get("/api/2.0/mlflow/model-versions/search", **query).get("model_versions", [])
        for each in sorted(found, key=lambda version: int(version["version"])):
            if each["version"] not in known and (made := self._version(name, each)):
                known[each["version"]] = made
        self.counts[versions] += len(known)
        for alias in theirs.get("aliases", []):
            if number := known.get(alias["version"]):
                why = f"imported from {self._source.url}"
                self._call("models.alias", name=name, alias=alias["alias"], version=number, why=why, **place)
                self.counts["aliases"] += 1
        self._say(f"{name}: {len(known)} versions")

    def _version(self, name: str, theirs: Mapping[str, Any]) -> int:
        """The number that it gets; 0 when its files are not on the server, so that there is nothing to keep."""
        tags = _pairs(theirs.get("tags", []))
        files = [self._prompt(tags)] if prompts.is_prompt(tags) else self._version_files(theirs)
        if not files:
            self.counts["elsewhere"] += 1
            return 0
        more = {"model_id": theirs["model_id"]} if theirs.get("model_id") else {}
        made = self._call(
            "models.register", name=name, environment=self._environment, source=theirs.get("source", ""),
            description=theirs.get("description", ""),
            files=files, tags=tags | {FROM: self._source.url, NUMBER: theirs["version"]},
            facts={"run": theirs.get("run_id", ""), "more": more},
        )  # fmt: skip
        return int(made.number)

    def _version_files(self, theirs: Mapping[str, Any]) -> list[dict[str, Any]]:
        owner, folder = _owner(theirs)
        try:
            found = self._call("artifacts.list", owner=owner, path=folder, all=True) if owner else []
        except Problem:  # its run is gone
            found = []
        return below(folder, found)

    def _prompt(self, tags: Mapping[str, str]) -> dict[str, Any]:
        name, content = prompts.file_of(tags)
        digest = hashlib.sha256(content).hexdigest()
        self._client.upload(digest, io.BytesIO(content), len(content))
        return file(name, digest, len(content))

    def _tags(self, theirs: Mapping[str, Any]) -> dict[str, str]:
        """Of a model. A prompt's say which experiments it belongs to: those have numbers of their own here."""
        tags = _pairs(theirs.get("tags", []))
        if numbers := tags.get(prompts.EXPERIMENTS, "").strip(","):
            ours = [self._experiments[each] for each in numbers.split(",") if each in self._experiments]
            tags[prompts.EXPERIMENTS] = f",{','.join(ours)},"
        return tags

    def _call(self, operation: str, /, **fields: Any) -> Any:
        return self._client.call(operation, project=self._project, **fields)


def _owner(version: Mapping[str, Any]) -> tuple[str, str]:
    """Whose artifacts a version is, and the folder among them."""
    source = str(version.get("source", ""))
    if source.startswith("models:/m-"):
        return source.removeprefix("models:/"), ""
    parts = source.partition(":/")[2].strip("/").split("/")
    if source.startswith("runs:/"):
        return parts[0], "/".join(parts[1:])
    if "artifacts" in parts[1:]:
        at = parts.index("artifacts", 1)
        return parts[at - 1], "/".join(parts[at + 1 :])
    return "", ""


def _pairs(given: list[Mapping[str, str]]) -> dict[str, str]:
    return {each["key"]: each.get("value", "") for each in given}
