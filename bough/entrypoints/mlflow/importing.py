"""Brings what an MLflow server keeps over to Bough, over HTTP on both sides.

It may be cut off and run again: ids of runs and logged models stay what they were, points and parameters are there once
however often they come, files that have arrived are not fetched again, and a version remembers which it was."""

from __future__ import annotations

import hashlib
import json
import tempfile
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any
from urllib.parse import quote, urlencode

from bough.client import Client
from bough.kernel.errors import Conflict, Invalid, NotFound, Problem, Unavailable

FROM = "imported.from"  # tags of versions: where they come from, and what their number was there
NUMBER = "imported.version"
TIMEOUT_S = 60.0
PAGE, MOST_POINTS, MOST_TEXTS = 1000, 1000, 100
_IN_MEMORY_BYTES = 8 << 20
_STATUS = {"LOGGED_MODEL_READY": "ready", "LOGGED_MODEL_UPLOAD_FAILED": "failed"}

Say = Callable[[str], None]


class Source:
    """An MLflow server. Raises `Unavailable` when it does not answer, `Invalid` when it refuses."""

    def __init__(self, url: str, token: str = "") -> None:
        self.url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def get(self, path: str, /, **query: Any) -> Any:
        return self._json("GET", f"{path}?{urlencode(query, doseq=True)}", None)

    def post(self, path: str, /, **body: Any) -> Any:
        return self._json("POST", path, json.dumps(body).encode())

    def pages(self, path: str, field: str, /, **body: Any) -> Iterator[Any]:
        token = ""
        while True:
            found = self.post(path, **body, **({"page_token": token} if token else {}))
            yield from found.get(field, [])
            if not (token := found.get("next_page_token", "")):
                return

    def files(self, place: str) -> Iterator[str]:
        """Every file below a place such as `0/RUN/artifacts`, relative to it."""
        folders = [""]
        while folders:
            folder = folders.pop()
            where = f"{place}/{folder}".rstrip("/")
            for each in self.get("/api/2.0/mlflow-artifacts/artifacts", path=where).get("files", []):
                path = f"{folder}/{each['path']}".lstrip("/")
                if each.get("is_dir"):
                    folders.append(path)
                else:
                    yield path

    def download(self, place: str, path: str) -> IO[bytes]:
        """A temporary file with the whole of it; the caller closes it."""
        kept: IO[bytes] = tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES)  # noqa: SIM115 - it is handed on
        with self._open("GET", f"/api/2.0/mlflow-artifacts/artifacts/{quote(f'{place}/{path}')}", None) as answer:
            announced = answer.headers.get("Content-Length")
            while piece := answer.read(1 << 20):
                kept.write(piece)
        if announced is not None and kept.tell() != int(announced):
            raise Unavailable(f"{self.url} broke off while it sent {path}", code="SOURCE_BROKEN", hint="run it again")
        return kept

    def _json(self, method: str, path: str, body: bytes | None) -> Any:
        with self._open(method, path, body) as answer:
            try:
                return json.loads(answer.read() or b"{}")
            except ValueError as error:
                raise self._foreign(path) from error

    def _open(self, method: str, path: str, body: bytes | None) -> Any:
        headers = self._headers | ({"Content-Type": "application/json"} if body else {})
        request = urllib.request.Request(self.url + path, body, headers, method=method)  # noqa: S310 - checked by `bring`
        try:
            return urllib.request.urlopen(request, timeout=TIMEOUT_S)  # noqa: S310 - as above
        except urllib.error.HTTPError as error:
            with error:
                said = error.read()[:300].decode("utf-8", "replace")
            if error.code == 404 and "RESOURCE_DOES_NOT_EXIST" in said:
                raise NotFound(f"{self.url}: {said}", code="SOURCE_MISSING") from error
            raise Invalid(
                f"{self.url} refuses {path.partition('?')[0]} with {error.code}; {said}",
                code="SOURCE_REFUSED", hint="is it an MLflow server, and does it need MLFLOW_TRACKING_TOKEN?",
            ) from error  # fmt: skip
        except OSError as error:
            raise Unavailable(
                f"no MLflow server answers at {self.url}; {error}", code="SOURCE_UNREACHABLE", hint="check the URL"
            ) from error

    def _foreign(self, path: str) -> Invalid:
        return Invalid(f"{self.url}{path} answers no JSON", code="SOURCE_REFUSED", hint="is it an MLflow server?")


class Importing:
    """Counts what is there in the end, whether it came now or before; `sent` are the files that were fetched now."""

    def __init__(self, source: Source, client: Client, project: str, environment: str, say: Say) -> None:
        self._source, self._client, self._say = source, client, say
        self._project, self._environment = project, environment
        self.counts: Counter[str] = Counter()

    def bring(self) -> dict[str, int]:
        if not self._source.url.startswith(("http://", "https://")):
            raise Invalid(
                f"{self._source.url!r} is not the URL of an MLflow server", code="URL_INVALID", hint="http://…"
            )
        for each in self._source.pages(
            "/api/2.0/mlflow/experiments/search", "experiments", max_results=PAGE, view_type="ALL"
        ):
            self._experiment(each)
        for each in self._source_models():
            self._model(each)
        names = ("experiments", "runs", "metrics", "params", "tags", "inputs", "artifacts", "logged_models", "models",
                 "versions", "aliases", "sent", "elsewhere")  # fmt: skip
        return {name: self.counts[name] for name in names}

    def _experiment(self, theirs: Mapping[str, Any]) -> None:
        name, tags = theirs["name"], _pairs(theirs.get("tags", []))
        self._call("experiments.begin")  # one that is called Default is that one
        try:
            ours = self._client.experiments.named(project=self._project, name=name)
        except NotFound:
            ours = self._client.experiments.create(project=self._project, name=name, tags=tags)
        self.counts["experiments"] += 1
        if ours.state == "deleted":
            return
        query = {"experiment_ids": [theirs["experiment_id"]], "max_results": PAGE}
        count = 0
        for run in self._source.pages("/api/2.0/mlflow/runs/search", "runs", run_view_type="ALL", **query):
            self._run(run, ours.id, theirs["experiment_id"])
            count += 1
        self._logged_models(theirs["experiment_id"], ours.id)
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
        self._files(id, f"{number}/{id}/artifacts", info.get("artifact_uri", ""))
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
            self._files(id, f"{number}/models/{id}/artifacts", info.get("artifact_uri", ""))
            if made.status == "pending" and (status := _STATUS.get(info.get("status", ""))):
                self._call("logged_models.finish", id=id, status=status)

    def _files(self, owner: str, place: str, uri: str) -> None:
        """`uri` says whether the server itself keeps them; others it only knows of."""
        if not uri.startswith("mlflow-artifacts:"):
            self.counts["elsewhere"] += 1
            return
        there = {each.path for each in self._call("artifacts.list", owner=owner, all=True)}
        for path in self._source.files(place):
            self.counts["artifacts"] += 1
            if path in there:
                continue
            with self._source.download(place, path) as content:
                size = content.tell()
                content.seek(0)
                digest = hashlib.file_digest(content, "sha256").hexdigest()  # type: ignore[arg-type] # a file in all but name
                content.seek(0)
                self._client.upload(digest, content, size)  # type: ignore[arg-type] # as above
            self._call("artifacts.put", owner=owner, path=path, digest=digest)
            self.counts["sent"] += 1

    def _source_models(self) -> Iterator[Any]:
        token = ""
        while True:
            query = {"max_results": 100} | ({"page_token": token} if token else {})
            found = self._source.get("/api/2.0/mlflow/registered-models/search", **query)
            yield from found.get("registered_models", [])
            if not (token := found.get("next_page_token", "")):
                return

    def _model(self, theirs: Mapping[str, Any]) -> None:
        name, place = theirs["name"], {"environment": self._environment}
        try:
            self._call(
                "models.create", name=name, description=theirs.get("description", ""),
                tags=_pairs(theirs.get("tags", [])), **place,
            )  # fmt: skip
        except Conflict as problem:
            if problem.own_code != "MODEL_EXISTS":
                raise
        self.counts["models"] += 1
        known = {
            each.tags[NUMBER]: each.number
            for each in self._call("models.versions", name=name, limit=1000, **place)
            if each.get("tags", {}).get(FROM) == self._source.url
        }
        query: dict[str, Any] = {"filter": f"name = '{name}'", "max_results": 10_000}
        found = self._source.get("/api/2.0/mlflow/model-versions/search", **query).get("model_versions", [])
        for each in sorted(found, key=lambda version: int(version["version"])):
            if each["version"] not in known and (made := self._version(name, each)):
                known[each["version"]] = made
        self.counts["versions"] += len(known)
        for alias in theirs.get("aliases", []):
            if number := known.get(alias["version"]):
                why = f"imported from {self._source.url}"
                self._call("models.alias", name=name, alias=alias["alias"], version=number, why=why, **place)
                self.counts["aliases"] += 1
        self._say(f"{name}: {len(known)} versions")

    def _version(self, name: str, theirs: Mapping[str, Any]) -> int:
        """The number that it gets; 0 when its files are not on the server, so that there is nothing to keep."""
        owner, folder = _owner(theirs)
        files: list[Any] = []
        if owner:
            try:
                files = self._call("artifacts.list", owner=owner, path=folder, all=True)
            except Problem:  # its run is gone
                files = []
        if not files:
            self.counts["elsewhere"] += 1
            return 0
        cut = len(folder) + 1 if folder else 0
        more = {"model_id": theirs["model_id"]} if theirs.get("model_id") else {}
        made = self._call(
            "models.register", name=name, environment=self._environment, source=theirs.get("source", ""),
            description=theirs.get("description", ""),
            files=[{"path": each.path[cut:], "digest": each.digest, "size": each.size} for each in files],
            tags=_pairs(theirs.get("tags", [])) | {FROM: self._source.url, NUMBER: theirs["version"]},
            facts={"run": theirs.get("run_id", ""), "more": more},
        )  # fmt: skip
        return int(made.number)

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
