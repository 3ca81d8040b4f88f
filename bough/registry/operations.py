"""Verbs of models and their versions."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from bough.adapters.blobs import Blobs
from bough.data.models import File
from bough.environments import store as environments
from bough.kernel import catalog
from bough.kernel.catalog import MODEL
from bough.kernel.context import Context, Role
from bough.kernel.errors import Conflict, Invalid
from bough.kernel.model_references import ModelReference, check_alias, check_name, parse
from bough.kernel.operations import Commit, operation
from bough.kernel.project import PRODUCTION
from bough.registry import registering, rules, store, trusting, writing
from bough.registry.keys import Keyring
from bough.registry.models import Draft, Facts, Found, Model, ModelSignature, Place, SignedBy, Version
from bough.registry.signing import check_brought, sign_files

PAGE = 200  # versions looked through at once by a search

Environment = Annotated[str, msgspec.Meta(description="environment; main is production")]
Name = Annotated[str, msgspec.Meta(description="name of the model")]
Reference = Annotated[str, msgspec.Meta(description="NAME@ALIAS or NAME/NUMBER")]
Limit = Annotated[int, msgspec.Meta(ge=1, le=1000)]


class CreateModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    name: Name
    environment: Environment = PRODUCTION
    description: str = ""
    tags: dict[str, str] = {}


class RegisterVersion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The blobs of `files` have been sent before."""

    project: str
    name: Name
    files: list[File] = []
    listed: Annotated[str, msgspec.Meta(description="digest of a blob with more files, as JSON")] = ""
    environment: Environment = PRODUCTION
    aliases: Annotated[list[str], msgspec.Meta(description="alias that the version gets")] = []
    description: str = ""
    tags: dict[str, str] = {}
    facts: Annotated[Facts, msgspec.Meta(description="run, metrics, parameters, inputs, commit, parent")] = Facts()
    signature: Annotated[
        ModelSignature | None, msgspec.Meta(description="inputs and outputs; without it, what the files say")
    ] = None
    card: Annotated[str, msgspec.Meta(description="text of the card; without it, that of README.md")] = ""
    source: Annotated[str, msgspec.Meta(description="where the files come from")] = ""
    signer: Annotated[str, msgspec.Meta(description="who signs it; empty: the project's automatic signer")] = ""
    sign: Annotated[bool, msgspec.Meta(description="let the automatic signer sign it")] = True
    signed: Annotated[str, msgspec.Meta(description="a Sigstore bundle that it comes with, as JSON")] = ""
    key: Annotated[str, msgspec.Meta(description="the public key (PEM) of that bundle; empty: a known signer's")] = ""


class ListModels(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    environment: Environment = PRODUCTION
    limit: Limit = 100
    after: Annotated[str, msgspec.Meta(description="go on after this name")] = ""


class OneModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    name: Name
    environment: Environment = PRODUCTION


class ListVersions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    name: Name
    environment: Environment = PRODUCTION
    limit: Limit = 50
    before: Annotated[int, msgspec.Meta(ge=0, description="only versions with a lower number")] = 0
    order: Annotated[
        Literal["number", "changed"], msgspec.Meta(description="what comes first: the highest number, or changed last")
    ] = "number"
    skip: Annotated[int, msgspec.Meta(ge=0, le=2**53, description="so many of those changed last are left out")] = 0


class OneVersion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    model: Reference
    environment: Environment = PRODUCTION


class SetAlias(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    name: Name
    alias: Annotated[str, msgspec.Meta(description="champion, candidate, or any other")]
    version: Annotated[int, msgspec.Meta(ge=1, le=2**53, description="number of the version")]
    environment: Environment = PRODUCTION
    why: Annotated[str, msgspec.Meta(description="kept with the change")] = ""


class RemoveAlias(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    name: Name
    alias: Annotated[str, msgspec.Meta(description="the alias that goes")]
    environment: Environment = PRODUCTION
    why: Annotated[str, msgspec.Meta(description="kept with the change")] = ""


class TagModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    model: Annotated[str, msgspec.Meta(description="NAME, NAME@ALIAS or NAME/NUMBER")]
    tags: dict[str, str] = {}
    remove: Annotated[list[str], msgspec.Meta(description="tag that goes")] = []
    description: Annotated[str | None, msgspec.Meta(description="a new description")] = None
    environment: Environment = PRODUCTION


class SetStage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    model: Reference
    stage: Annotated[str, msgspec.Meta(description="None, Staging, Production or Archived")]
    archive_others: Annotated[bool, msgspec.Meta(description="archive the versions in that stage")] = False
    environment: Environment = PRODUCTION


class RenameModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    name: Name
    to: Annotated[str, msgspec.Meta(description="its new name")]
    environment: Environment = PRODUCTION


class DeleteModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    model: Annotated[str, msgspec.Meta(description="NAME/NUMBER, or NAME: the model with all versions")]
    environment: Environment = PRODUCTION


class SearchVersions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    query: Annotated[
        str,
        msgspec.Meta(
            description="words and conditions: metric.auc>=0.9 tag.team=risk alias=champion run=ID input=NAME",
            extra_json_schema={"x-argument": True, "x-metavar": "QUERY"},
        ),
    ] = ""
    environment: Environment = PRODUCTION
    limit: Limit = 50
    after: Annotated[str, msgspec.Meta(description="where an earlier page stopped")] = ""


@operation("models.create", role=Role.DEVELOPER, writes=True)
def create(context: Context, request: CreateModel) -> Model:
    """Makes a model without versions; the first version makes it as well."""
    place, name = (request.project, request.environment), check_name(request.name)
    rules.check_tags(request.tags)
    begin(context, place)
    if not writing.ensure_model(context, place, name, description=request.description, tags=request.tags):
        raise Conflict(
            f"{'/'.join(place)} has a model {name!r} already",
            code="MODEL_EXISTS", hint=f"bough models show {name!r} -e {place[1]}",
        )  # fmt: skip
    return store.model(context.tx, place, name)


@operation("models.register", role=Role.DEVELOPER, writes=True, slow=True)
def register(context: Context, request: RegisterVersion) -> Commit[Version]:
    """Registers a file or a folder as the next version of a model; what was sent is not read again."""
    place, name, blobs = (request.project, request.environment), check_name(request.name), context.part(Blobs)
    for alias in request.aliases:
        check_alias(alias)
    files = registering.listed(blobs, request.files, request.listed)
    draft = registering.prepare(
        blobs, files, facts=request.facts, signature=request.signature, card=request.card, source=request.source,
        description=request.description, tags=request.tags, aliases=request.aliases,
    )  # fmt: skip
    with context.read() as tx:
        known = trusting.signers(tx, place[0])
        by = trusting.find(tx, place[0], request.signer) if request.signer else trusting.automatic(tx, place[0])
    signed: list[SignedBy] = []
    if request.signed:
        key, who = check_brought(request.signed, request.key, known, files, name)
        signed.append(SignedBy(key=key, signer=who, at=0.0, by="", bundle=blobs.put(request.signed.encode())))
    if by is not None and (request.signer or request.sign):
        bundle = sign_files(blobs, context.part(Keyring), by, name, files)
        signed.append(SignedBy(key=by.key, signer=by.name, at=0.0, by="", bundle=bundle))
    return lambda inside: add(inside, place, name, msgspec.structs.replace(draft, signed=signed), files)


@operation("models.list", role=Role.VIEWER)
def list_(context: Context, request: ListModels) -> list[Model]:
    """Lists models by name, with their aliases, as an environment sees them."""
    place = request.project, request.environment
    return store.models(context.tx, place, limit=request.limit, after=request.after)


@operation("models.show", role=Role.VIEWER)
def show(context: Context, request: OneModel) -> Model:
    """Shows a model: description, tags, aliases, newest version."""
    return store.model(context.tx, (request.project, request.environment), check_name(request.name))


@operation("models.versions", role=Role.VIEWER)
def versions(context: Context, request: ListVersions) -> list[Version]:
    """Lists the versions of a model, newest first, or by when they were changed."""
    place, name = (request.project, request.environment), check_name(request.name)
    if request.order == "changed":
        found = store.by_change(context.tx, place, name, limit=request.limit, skip=request.skip)
    else:
        found = store.versions(context.tx, place, name, limit=request.limit, before=request.before)
    if not found and not request.before:
        store.model(context.tx, place, name)  # says when there is no such model
    return found


@operation("models.latest", role=Role.VIEWER)
def latest(context: Context, request: OneModel) -> list[Version]:
    """Lists the newest version of each of MLflow's stages."""
    return store.latest(context.tx, (request.project, request.environment), check_name(request.name))


@operation("models.resolve", role=Role.VIEWER)
def resolve(context: Context, request: OneVersion) -> Version:
    """Shows the version that an alias or a number means, and all that is known of how it came to be."""
    return store.resolve(context.tx, (request.project, request.environment), request.model)


@operation("models.files", role=Role.VIEWER)
def files(context: Context, request: OneVersion) -> list[File]:
    """Lists the files of a version with their digests."""
    found = store.resolve(context.tx, (request.project, request.environment), request.model)
    return rules.files_in(context.part(Blobs).read(found.digest))


@operation("models.alias", role=Role.DEVELOPER, writes=True)
def alias(context: Context, request: SetAlias) -> Model:
    """Points an alias at a version; no service changes by that alone."""
    place, name = (request.project, request.environment), check_name(request.name)
    writing.set_alias(context, place, name, request.alias, request.version, request.why)
    return store.model(context.tx, place, name)


@operation("models.unalias", role=Role.DEVELOPER, writes=True)
def unalias(context: Context, request: RemoveAlias) -> Model:
    """Removes an alias; the version stays."""
    place, name = (request.project, request.environment), check_name(request.name)
    if request.alias not in store.aliases(context.tx, place, name):
        store.resolve(context.tx, place, ModelReference(name=name, alias=check_alias(request.alias)))
    writing.set_alias(context, place, name, request.alias, None, request.why)
    return store.model(context.tx, place, name)


@operation("models.tag", role=Role.DEVELOPER, writes=True)
def tag(context: Context, request: TagModel) -> bool:
    """Sets and removes tags of a model or a version, or describes it; says whether anything changed."""
    place = request.project, request.environment
    rules.check_tags(request.tags)
    key, tags, description = _described(context, place, request.model)
    kept = {name: value for name, value in (tags | request.tags).items() if name not in request.remove}
    text = description if request.description is None else request.description
    if (kept, text) == (tags, description):
        return False
    writing.change_entry(context, place, key, {"tags": kept, "description": text}, f"model {request.model} described")
    return True


@operation("models.stage", role=Role.DEVELOPER, writes=True)
def stage(context: Context, request: SetStage) -> Version:
    """Sets the stage that MLflow's clients see of a version; aliases say what serves."""
    place, wanted = (request.project, request.environment), rules.check_stage(request.stage)
    found = store.resolve(context.tx, place, request.model)
    why = f"model {found.reference} is in the stage {wanted}"
    if request.archive_others and wanted in ("Staging", "Production"):
        for each in store.versions(context.tx, place, found.name, limit=2**31):
            if each.stage == wanted and each.number != found.number:
                key = rules.version_key(each.name, each.number)
                writing.change_entry(context, place, key, {"stage": "Archived"}, why)
    writing.change_entry(context, place, rules.version_key(found.name, found.number), {"stage": wanted}, why)
    return store.version(context.tx, place, found.name, found.number)


@operation("models.rename", role=Role.DEVELOPER, writes=True)
def rename(context: Context, request: RenameModel) -> Model:
    """Gives a model another name in an environment; its versions stay the same ones, numbers and all."""
    place, name, to = (request.project, request.environment), check_name(request.name), check_name(request.to)
    store.model(context.tx, place, name)
    at = store.point_of(context.tx, place)
    if catalog.get(context.tx, at, MODEL, rules.key_of(to)) is not None or store.clashes(context.tx, place, name, to):
        raise Conflict(
            f"{place[0]} has, or had, versions of a model {to!r} that are others",
            code="MODEL_EXISTS", hint="choose another name",
        )  # fmt: skip
    writing.rename(context, place, name, to)
    return store.model(context.tx, place, to)


@operation("models.delete", role=Role.DEVELOPER, writes=True)
def delete(context: Context, request: DeleteModel) -> bool:
    """Removes a version, or a model with all of them, from an environment; others keep it, and so does its history."""
    place = request.project, request.environment
    name, number = _split(context, place, request.model)
    if not number:
        store.model(context.tx, place, name)
    elif used := store.version(context.tx, place, name, number).aliases:
        raise Conflict(
            f"{name}/{number} is {', '.join(f'{name}@{each}' for each in used)} in {'/'.join(place)}",
            code="MODEL_VERSION_IN_USE", hint=f"bough models unalias {name!r} {used[0]} -e {place[1]}",
        )  # fmt: skip
    writing.remove(context, place, name, number)
    return True


@operation("models.search", role=Role.VIEWER)
def search(context: Context, request: SearchVersions) -> Found:
    """Finds versions by words, metrics, tags, aliases, run, inputs; by model name, newest versions first."""
    place, wanted = (request.project, request.environment), rules.matcher(request.query)
    name, _, before = request.after.rpartition("/")
    facts = rules.facts_in(request.query)
    among = store.numbers_with(context.tx, request.project, facts) if facts else None
    found: list[Version] = []
    low = int(before) if before.isdecimal() else 0
    while among is None or among:
        if not low:
            names = [each.name for each in store.models(context.tx, place, limit=1, after=name)]
            if not names:
                return Found(versions=found)
            name = names[0]
        page = store.versions(context.tx, place, name, limit=PAGE, before=low, among=among)
        for each in page:
            if wanted(each):
                found.append(each)
                if len(found) == request.limit:
                    return Found(versions=found, more=each.reference)
        low = page[-1].number if len(page) == PAGE else 0
    return Found(versions=found)


def add(context: Context, place: Place, name: str, draft: Draft, files: list[File]) -> Version:
    """The part of registering that needs the transaction: from here on garbage collection sees the blobs."""
    registering.check_sent(context.part(Blobs), files, [draft.digest, *(each.bundle for each in draft.signed)])
    begin(context, place)
    return writing.register(context, place, name, draft)


def begin(context: Context, place: Place) -> None:
    """Production of a project that was never deployed is made, so that models can come first."""
    environments.begin_production(context.tx, place, context.clock.now(), context.principal.name)


def _described(context: Context, place: Place, text: str) -> tuple[str, dict[str, str], str]:
    """The key of what has tags, its tags and its description."""
    name, number = _split(context, place, text)
    if number:
        version = store.version(context.tx, place, name, number)
        return rules.version_key(name, number), version.tags, version.description
    model = store.model(context.tx, place, name)
    return rules.key_of(name), model.tags, model.description


def _split(context: Context, place: Place, text: str) -> tuple[str, int]:
    """NAME, NAME@ALIAS or NAME/NUMBER; 0 for the model itself."""
    try:
        meant = parse(text)
    except Invalid as problem:
        if problem.own_code != "MODEL_REFERENCE_INVALID":
            raise
        return check_name(text), 0
    if meant.alias:
        return meant.name, store.resolve(context.tx, place, meant).number
    return meant.name, meant.number
