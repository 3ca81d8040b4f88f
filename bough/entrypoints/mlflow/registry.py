"""Registered models and their versions, in MLflow's words. A version's files are those of the run or logged model that
it is made from; they are downloaded from the registry, so that nothing that happens to the run can change a version."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

import msgspec

from bough.entrypoints.mlflow import finding, prompts
from bough.entrypoints.mlflow.calls import Call, Empty, Pair, endpoint, mapping, milliseconds, pairs
from bough.entrypoints.mlflow.contents import file
from bough.entrypoints.mlflow.sources import CreateVersion, facts_of, files_at, place_of
from bough.kernel.errors import Invalid, NotFound, Problem
from bough.tracking import rules

REGISTERED = "registered"  # the first part of where a version's files are
_PAGE = 1000  # models or versions in one call of an operation


class Create(msgspec.Struct, frozen=True):
    name: str
    description: str = ""
    tags: list[Pair] = []


class Model(msgspec.Struct, frozen=True):
    name: str


class Rename(msgspec.Struct, frozen=True):
    name: str
    new_name: str = ""


class Update(msgspec.Struct, frozen=True):
    name: str
    description: str = ""


class Search(msgspec.Struct, frozen=True):
    filter: str = ""
    max_results: int = 100
    order_by: list[str] = []
    page_token: str = ""


class Latest(msgspec.Struct, frozen=True):
    name: str
    stages: list[str] = []


class ModelTag(msgspec.Struct, frozen=True):
    name: str
    key: str
    value: str = ""


class Alias(msgspec.Struct, frozen=True):
    name: str
    alias: str
    version: str = ""


class Version(msgspec.Struct, frozen=True):
    name: str
    version: str


class UpdateVersion(msgspec.Struct, frozen=True):
    name: str
    version: str
    description: str = ""


class Stage(msgspec.Struct, frozen=True):
    name: str
    version: str
    stage: str
    archive_existing_versions: bool = False


class VersionTag(msgspec.Struct, frozen=True):
    name: str
    version: str
    key: str
    value: str = ""


@endpoint("POST", "/mlflow/registered-models/create")
def create(call: Call, request: Create) -> Any:
    made = call.op(
        "models.create", environment=call.environment, name=request.name, description=request.description,
        tags=mapping(request.tags),
    )  # fmt: skip
    return {"registered_model": _model(call, made)}


@endpoint("GET", "/mlflow/registered-models/get")
def get(call: Call, request: Model) -> Any:
    return {"registered_model": _model(call, _show(call, request.name))}


@endpoint("POST", "/mlflow/registered-models/rename")
def rename(call: Call, request: Rename) -> Any:
    if not request.new_name.strip():
        raise Invalid("Missing value for required parameter 'new_name'", code="REQUEST_INVALID")
    made = call.op("models.rename", environment=call.environment, name=request.name, to=request.new_name)
    return {"registered_model": _model(call, made)}


@endpoint("PATCH", "/mlflow/registered-models/update")
def update(call: Call, request: Update) -> Any:
    _tag(call, request.name, description=request.description)
    return {"registered_model": _model(call, _show(call, request.name))}


@endpoint("DELETE", "/mlflow/registered-models/delete")
def delete(call: Call, request: Model) -> Any:
    call.op("models.delete", environment=call.environment, model=_show(call, request.name).name)
    return Empty()


@endpoint("GET POST", "/mlflow/registered-models/search")
def search(call: Call, request: Search) -> Any:
    found = finding.models(_every_model(call), request.filter, request.order_by)
    page, token = finding.page(found, request.max_results, request.page_token)
    answer: dict[str, Any] = {"registered_models": [_model(call, each) for each in page]}
    return answer | ({"next_page_token": token} if token else {})


@endpoint("GET POST", "/mlflow/registered-models/get-latest-versions")
def latest(call: Call, request: Latest) -> Any:
    _show(call, request.name)
    wanted = {each.lower() for each in request.stages}
    found = call.op("models.latest", environment=call.environment, name=request.name)
    return {"model_versions": [version(each) for each in found if not wanted or each.stage.lower() in wanted]}


@endpoint("POST", "/mlflow/registered-models/set-tag")
def set_tag(call: Call, request: ModelTag) -> Any:
    _tag(call, request.name, tags={request.key: request.value})
    return Empty()


@endpoint("DELETE", "/mlflow/registered-models/delete-tag")
def delete_tag(call: Call, request: ModelTag) -> Any:
    _tag(call, request.name, remove=[request.key])
    return Empty()


@endpoint("POST", "/mlflow/registered-models/alias")
def set_alias(call: Call, request: Alias) -> Any:
    number = _number(request.version)
    call.op("models.alias", environment=call.environment, name=request.name, alias=request.alias, version=number)
    return Empty()


@endpoint("DELETE", "/mlflow/registered-models/alias")
def delete_alias(call: Call, request: Alias) -> Any:
    """Also when there is none, as MLflow does."""
    if request.alias in _show(call, request.name).aliases:
        call.op("models.unalias", environment=call.environment, name=request.name, alias=request.alias)
    return Empty()


@endpoint("GET", "/mlflow/registered-models/alias", quick=True)
def by_alias(call: Call, request: Alias) -> Any:
    if request.alias.lower() == "latest":  # no alias, and never set: the newest, as MLflow has it
        for each in call.op("models.versions", environment=call.environment, name=request.name, limit=1):
            return {"model_version": version(each)}
    try:
        found = call.op("models.resolve", environment=call.environment, model=f"{request.name}@{request.alias}")
    except NotFound as problem:
        _show(call, request.name)
        what = f"Registered model alias {request.alias} not found."
        raise Invalid(what, code="ALIAS_UNKNOWN", hint=problem.hint) from problem
    return {"model_version": version(found)}


@endpoint("POST", "/mlflow/model-versions/create")
def create_version(call: Call, request: CreateVersion) -> Any:
    """Metrics and parameters, inputs and commit are taken from the run and the logged model."""
    _show(call, request.name)
    model_id, files, tags = request.model_id, list[dict[str, Any]](), mapping(request.tags)
    if prompts.is_prompt(tags):
        name, content = prompts.file_of(tags)
        files = [file(name, call.blobs.put(content), len(content))]
    elif request.source.startswith("models:/") and ("@" in request.source or "/" in request.source[len("models:/") :]):
        reference = request.source[len("models:/") :]
        kept = call.op("models.files", environment=call.environment, model=reference)
        files = [{"path": each.path, "digest": each.digest, "size": each.size} for each in kept]
    else:
        place = place_of(request.source)
        files = files_at(call, place)
        if not model_id and place.owner.startswith("m-"):
            model_id = place.owner
    made = call.op(
        "models.register", environment=call.environment, name=request.name, files=files, source=request.source,
        description=request.description, tags=tags, facts=facts_of(call, request, model_id),
    )  # fmt: skip
    return {"model_version": version(made)}


@endpoint("GET", "/mlflow/model-versions/get", quick=True)
def get_version(call: Call, request: Version) -> Any:
    return {"model_version": version(_version(call, request.name, request.version))}


@endpoint("PATCH", "/mlflow/model-versions/update")
def update_version(call: Call, request: UpdateVersion) -> Any:
    found = _version(call, request.name, request.version)
    _tag(call, f"{found.name}/{found.number}", description=request.description)
    return get_version(call, Version(request.name, request.version))


@endpoint("DELETE", "/mlflow/model-versions/delete")
def delete_version(call: Call, request: Version) -> Any:
    """Its aliases go with it, as MLflow does; Bough itself would ask for that first."""
    found = _version(call, request.name, request.version)
    for alias in found.aliases:
        call.op("models.unalias", environment=call.environment, name=found.name, alias=alias)
    call.op("models.delete", environment=call.environment, model=f"{found.name}/{found.number}")
    return Empty()


@endpoint("GET POST", "/mlflow/model-versions/search")
def search_versions(call: Call, request: Search) -> Any:
    if (name := finding.only_name(request)) is not None:
        page, token = _by_change(call, name, request)
    else:
        names = finding.names(request.filter)
        every = _every_model(call) if names is None else [each for name in names for each in _maybe(call, name)]
        found = finding.versions([each for model in every for each in _versions(call, model.name)], request)
        page, token = finding.page(found, min(request.max_results, 200_000), request.page_token)
    answer: dict[str, Any] = {"model_versions": [version(each) for each in page]}
    return answer | ({"next_page_token": token} if token else {})


@endpoint("POST", "/mlflow/model-versions/transition-stage")
def transition(call: Call, request: Stage) -> Any:
    found = _version(call, request.name, request.version)
    done = call.op(
        "models.stage", environment=call.environment, model=f"{found.name}/{found.number}", stage=request.stage,
        archive_others=request.archive_existing_versions,
    )  # fmt: skip
    return {"model_version": version(done)}


@endpoint("GET", "/mlflow/model-versions/get-download-uri")
def download_uri(call: Call, request: Version) -> Any:
    found = _version(call, request.name, request.version)
    name = base64.urlsafe_b64encode(found.name.encode()).decode().rstrip("=")
    return {"artifact_uri": f"mlflow-artifacts:/{REGISTERED}/{name}/{found.number}/artifacts"}


@endpoint("POST", "/mlflow/model-versions/set-tag")
def set_version_tag(call: Call, request: VersionTag) -> Any:
    found = _version(call, request.name, request.version)
    _tag(call, f"{found.name}/{found.number}", tags={request.key: request.value})
    return Empty()


@endpoint("DELETE", "/mlflow/model-versions/delete-tag")
def delete_version_tag(call: Call, request: VersionTag) -> Any:
    found = _version(call, request.name, request.version)
    _tag(call, f"{found.name}/{found.number}", remove=[request.key])
    return Empty()


def registered_files(call: Call, name: str, number: str) -> dict[str, Any]:
    """The files of a version by path; `name` as `download_uri` has written it."""
    try:
        plain = base64.urlsafe_b64decode(name + "=" * (-len(name) % 4)).decode()
    except (binascii.Error, ValueError):
        raise Invalid(f"{name[:100]!r} names no model", code="REQUEST_INVALID") from None
    found = call.op("models.files", environment=call.environment, model=f"{plain}/{_number(number)}")
    return {each.path: each for each in found}


def version(found: Any) -> dict[str, Any]:
    more = found.facts.more
    shape = {
        "name": found.name, "version": str(found.number), "creation_timestamp": milliseconds(found.created_at),
        "last_updated_timestamp": milliseconds(found.updated_at), "user_id": found.by, "current_stage": found.stage,
        "description": found.description, "source": found.source, "run_id": found.facts.run, "status": "READY",
        "run_link": more.get("run_link", ""), "model_id": more.get("model_id", ""),
    }  # fmt: skip
    said = {key: value for key, value in shape.items() if value != ""}
    if prompts.is_prompt(found.tags):  # their clients tell an empty text from none
        said["description"] = found.description
    return said | {"tags": pairs(found.tags), "aliases": list(found.aliases)}


def _model(call: Call, found: Any) -> dict[str, Any]:
    shape: dict[str, Any] = {
        "name": found.name, "creation_timestamp": milliseconds(found.created_at),
        "last_updated_timestamp": milliseconds(found.updated_at), "user_id": found.by, "tags": pairs(found.tags),
        "aliases": [{"alias": alias, "version": str(number)} for alias, number in found.aliases.items()],
    }  # fmt: skip
    if found.description:
        shape["description"] = found.description
    if found.newest:
        latest = call.op("models.latest", environment=call.environment, name=found.name)
        shape["latest_versions"] = [version(each) for each in latest]
    return shape


def _show(call: Call, name: str) -> Any:
    return call.op("models.show", environment=call.environment, name=name)


def _maybe(call: Call, name: str) -> list[Any]:
    try:
        return [_show(call, name)]
    except Problem:  # a name that none has finds nothing
        return []


def _every_model(call: Call) -> list[Any]:
    found: list[Any] = []
    while True:
        after = found[-1].name if found else ""
        try:
            page = call.op("models.list", environment=call.environment, limit=_PAGE, after=after)
        except NotFound:  # a project that has no environment yet has no models
            return found
        found += page
        if len(page) < _PAGE:
            return found


def _versions(call: Call, name: str) -> list[Any]:
    found: list[Any] = []
    while True:
        before = found[-1].number if found else 0
        if found and before <= 1:
            return found
        page = call.op("models.versions", environment=call.environment, name=name, limit=_PAGE, before=before)
        found += page
        if len(page) < _PAGE:
            return found


def _by_change(call: Call, name: str, request: Search) -> tuple[Sequence[Any], str]:
    """A page of a model's versions as they are asked for most often: no more of them are read than are shown."""
    start, found = finding.start_of(request), list[Any]()
    if not _maybe(call, name) or prompts.is_prompt(_show(call, name).tags):
        return [], ""
    while len(found) <= request.max_results:
        limit = min(_PAGE, request.max_results + 1 - len(found))
        page = call.op(
            "models.versions", environment=call.environment, name=name, limit=limit, order="changed",
            skip=start + len(found),
        )  # fmt: skip
        found += page
        if len(page) < limit:
            break
    return found[: request.max_results], rules.next_page(found, request.max_results, start)


def _version(call: Call, name: str, number: str) -> Any:
    return call.op("models.resolve", environment=call.environment, model=f"{name}/{_number(number)}")


def _number(text: str) -> int:
    if text.isascii() and text.isdigit() and 0 < int(text[:16]) <= 2**53:
        return int(text)
    raise Invalid(f"{text[:100]!r} is not the number of a version", code="REQUEST_INVALID", hint="1, 2, 3, …")


def _tag(call: Call, what: str, **fields: Any) -> None:
    if not what.rpartition("/")[2].isdigit():
        _show(call, what)
    call.op("models.tag", environment=call.environment, model=what, **fields)
