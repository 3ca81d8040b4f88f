"""Verbs of artifacts and logged models."""

from __future__ import annotations

from typing import Annotated

import msgspec

from bough.adapters.blobs import Blobs
from bough.kernel.context import Context, Role
from bough.kernel.operations import operation
from bough.tracking import artifacts, experiments, logged_models, rules
from bough.tracking.logged_models import OnDataset
from bough.tracking.models import Artifact, LoggedModel, LoggedModelPage
from bough.tracking.operations_experiments import Filter, Orders, Page, now_ms

Owner = Annotated[str, msgspec.Meta(description="id of a run or a logged model")]
Path = Annotated[str, msgspec.Meta(description="file or folder of the artifacts")]


class ListArtifacts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    owner: Owner
    path: Annotated[str, msgspec.Meta(description="one folder")] = ""
    all: Annotated[bool, msgspec.Meta(description="every file, not folder by folder")] = False


class OneArtifact(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    owner: Owner
    path: Path


class PutArtifact(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    owner: Owner
    path: Path
    digest: Annotated[str, msgspec.Meta(description="of a blob that was sent before")]


class RemoveArtifacts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    owner: Owner
    path: Annotated[str, msgspec.Meta(description="file or folder; all of them without it")] = ""


class Removed(msgspec.Struct, frozen=True, kw_only=True):
    files: int


class NewLoggedModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    name: str = ""
    experiment_id: str = experiments.DEFAULT
    kind: str = ""
    run: Annotated[str, msgspec.Meta(description="id of the run that made it")] = ""
    id: Annotated[str, msgspec.Meta(description="chosen by the caller, so that the call may come twice")] = ""
    params: dict[str, str] = {}
    tags: dict[str, str] = {}


class OneLoggedModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    id: str
    also_deleted: Annotated[bool, msgspec.Meta(description="show it even when it was deleted")] = False


class RemoveLoggedModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    id: str


class ListLoggedModels(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    experiment_ids: list[str]
    filter: Filter = ""
    order: Orders = []
    datasets: list[OnDataset] = []
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 50
    page: Page = ""


class FinishLoggedModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    id: str
    status: Annotated[str, msgspec.Meta(description="ready, or failed when its files did not arrive")]
    message: str = ""


class TagLoggedModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    id: str
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    remove: Annotated[list[str], msgspec.Meta(description="key of a tag that goes")] = []


@operation("artifacts.list", role=Role.VIEWER, telemetry=True)
def list_artifacts(context: Context, request: ListArtifacts) -> list[Artifact]:
    """Lists artifacts of a run or a logged model, folder by folder."""
    place = artifacts.place_of(context.tx, request.project, request.owner)
    return artifacts.inside(context.tx, place, request.path, deep=request.all)


@operation("artifacts.show", role=Role.VIEWER, telemetry=True)
def show_artifact(context: Context, request: OneArtifact) -> Artifact:
    """Shows size and digest of an artifact; its bytes are the blob of that digest."""
    place = artifacts.place_of(context.tx, request.project, request.owner)
    return artifacts.get(context.tx, place, request.path)


@operation("artifacts.check", role=Role.DEVELOPER, telemetry=True)
def check_artifact(context: Context, request: OneArtifact) -> Artifact:
    """Says whether an artifact may be put at a path, before its bytes are sent."""
    place = artifacts.place_of(context.tx, request.project, request.owner, writing=True)
    artifacts.check_place(context.tx, place, request.path)
    return Artifact(path=request.path)


@operation("artifacts.put", role=Role.DEVELOPER, writes=True, telemetry=True)
def put_artifact(context: Context, request: PutArtifact) -> Artifact:
    """Makes a blob that was sent before an artifact."""
    place = artifacts.place_of(context.tx, request.project, request.owner, writing=True)
    return artifacts.put(context.tx, context.part(Blobs), place, request.path, request.digest, now_ms(context))


@operation("artifacts.remove", role=Role.DEVELOPER, writes=True, telemetry=True, command="artifacts rm")
def remove_artifacts(context: Context, request: RemoveArtifacts) -> Removed:
    """Removes an artifact, a folder of them, or all."""
    place = artifacts.place_of(context.tx, request.project, request.owner, writing=True)
    return Removed(files=artifacts.remove(context.tx, place, request.path))


@operation("logged_models.create", role=Role.DEVELOPER, writes=True, telemetry=True)
def create(context: Context, request: NewLoggedModel) -> LoggedModel:
    """Announces a model that a run has made; its files follow as artifacts."""
    if request.experiment_id == experiments.DEFAULT:
        experiments.begin(context.tx, request.project, now_ms(context))
    fresh = logged_models.Fresh(
        experiment=request.experiment_id, by=context.principal.name, name=request.name, kind=request.kind,
        run=request.run, id=request.id, params=request.params, tags=request.tags,
    )  # fmt: skip
    return logged_models.create(context.tx, request.project, fresh, now_ms(context))


@operation("logged_models.show", role=Role.VIEWER, telemetry=True)
def show(context: Context, request: OneLoggedModel) -> LoggedModel:
    """Shows a logged model: its parameters, metrics, tags, and the run that made it."""
    return logged_models.get(context.tx, request.project, request.id, also_deleted=request.also_deleted)


@operation("logged_models.list", role=Role.VIEWER, telemetry=True)
def list_(context: Context, request: ListLoggedModels) -> LoggedModelPage:
    """Lists logged models of some experiments that a filter leaves."""
    offset = rules.offset_of(request.page)
    found = logged_models.find(
        context.tx, request.project, request.experiment_ids, request.filter, request.order, request.datasets,
        request.limit, offset,
    )  # fmt: skip
    return LoggedModelPage(models=found[: request.limit], next_page=rules.next_page(found, request.limit, offset))


@operation("logged_models.finish", role=Role.DEVELOPER, writes=True, telemetry=True)
def finish(context: Context, request: FinishLoggedModel) -> LoggedModel:
    """Says that the files of a logged model are all there, or that they did not arrive."""
    return logged_models.finish(
        context.tx, request.project, request.id, request.status, request.message, now_ms(context)
    )


@operation("logged_models.tag", role=Role.DEVELOPER, writes=True, telemetry=True)
def tag(context: Context, request: TagLoggedModel) -> LoggedModel:
    """Sets and removes tags of a logged model, and adds parameters."""
    return logged_models.change(
        context.tx, request.project, request.id, params=request.params, tags=request.tags, remove_tags=request.remove
    )


@operation("logged_models.delete", role=Role.DEVELOPER, writes=True, telemetry=True)
def delete(context: Context, request: RemoveLoggedModel) -> Removed:
    """Deletes a logged model."""
    logged_models.remove(context.tx, request.project, request.id, now_ms(context))
    return Removed(files=len(artifacts.inside(context.tx, request.id, "", deep=True)))
