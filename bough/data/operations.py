"""Verbs of files and tags."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import msgspec

from bough.adapters.blobs import Blobs
from bough.data import rules, store
from bough.data.models import Committed, File, FileChange, FileDifference, Listed, Page, Tag
from bough.kernel import catalog, merging, points
from bough.kernel.catalog import FILE, Point, Write
from bough.kernel.context import Context, Role
from bough.kernel.errors import Conflict, Invalid, NotFound
from bough.kernel.names import check_name
from bough.kernel.operations import operation
from bough.kernel.paths import folders_of, unsafe
from bough.kernel.project import PRODUCTION

CHANGED = "files.changed"
TAGGED, UNTAGGED = "tag.created", "tag.deleted"
PAGE_FILES = 2000
SHOWN = 100  # of what is missing, in an error

Environment = Annotated[str, msgspec.Meta(description="environment; main is production")]
At = Annotated[str, msgspec.Meta(description=f"{points.ABOUT}; empty: now")]
Target = Annotated[
    str,
    msgspec.Meta(
        description="DATASET or DATASET/PATH; empty: all of it",
        extra_json_schema={"x-argument": True, "x-metavar": "DATASET[/PATH]"},
    ),
]
Message = Annotated[str, msgspec.Meta(description="why; kept with the change")]


class ListFiles(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    path: Target = ""
    environment: Environment = PRODUCTION
    at: At = ""
    all: Annotated[bool, msgspec.Meta(description="every file, not folder by folder")] = False
    limit: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 1000


class Tree(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    path: Target = ""
    environment: Environment = PRODUCTION
    at: At = ""


class CommitFiles(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    dataset: str
    files: list[File] = []
    listed: Annotated[str, msgspec.Meta(description="digest of a blob with more files, as JSON")] = ""
    remove: Annotated[list[str], msgspec.Meta(description="path of a file that goes")] = []
    environment: Environment = PRODUCTION
    message: Message = ""
    since: Annotated[
        int,
        msgspec.Meta(description="refuse when one of these files was written after this change; 0: do not ask", ge=0),
    ] = 0


class RemoveFiles(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    path: Annotated[str, msgspec.Meta(description="DATASET or DATASET/PATH")]
    environment: Environment = PRODUCTION
    message: Message = ""


class FileHistory(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    path: Target = ""
    environment: Environment = PRODUCTION
    at: At = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 50


class DiffFiles(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    path: Target = ""
    environment: Environment = PRODUCTION
    at: At = ""
    against: Annotated[
        str, msgspec.Meta(description=f"the state before: {points.ABOUT}; empty: where the branch began")
    ] = ""


class MakeTag(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    name: str
    environment: Environment = PRODUCTION


class ListTags(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str


class OneTag(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    name: str


@operation("files.list", role=Role.VIEWER, command="data ls")
def list_files(context: Context, request: ListFiles) -> list[Listed]:
    """Lists datasets, or what a dataset holds, as an environment sees it."""
    at = points.resolve(context.tx, request.project, request.environment, request.at, context.clock.now())
    key = "/".join(filter(None, rules.split(request.path))) if request.path else ""
    found = store.files(context.tx, at, key)
    if key and not found:
        raise _absent(request.project, request.environment, key)
    if len(found) == 1 and found[0].path == key:
        return rules.listing(found, key, flat=True)
    return rules.listing(found, f"{key}/" if key else "", flat=request.all)[: request.limit]


@operation("files.tree", role=Role.VIEWER, command="data tree")
def tree(context: Context, request: Tree) -> Iterator[Page]:
    """Gives every file of a dataset (or all datasets) with its digest, from one point."""
    with context.read() as tx:
        at = points.resolve(tx, request.project, request.environment, request.at, context.clock.now())
        key = "/".join(filter(None, rules.split(request.path))) if request.path else ""
        found = store.files(tx, at, key)
        change = min(at.seq, catalog.newest(tx))
    if key and not found:
        raise _absent(request.project, request.environment, key)
    for start in range(0, max(len(found), 1), PAGE_FILES):
        yield Page(files=found[start : start + PAGE_FILES], change=change)


@operation("files.commit", role=Role.DEVELOPER, writes=True, command="data commit")
def commit(context: Context, request: CommitFiles) -> Committed:
    """Writes and removes files of a dataset as one change; their blobs have been sent before."""
    dataset = check_name(request.dataset, "dataset")
    into = catalog.writable_layer(context.tx, request.project, request.environment, context.principal)
    files = request.files + _listed(context.part(Blobs), request.listed)
    rules.check_files(files)
    for path in request.remove:
        rules.check_file_path(path)
    _check_sent(context.part(Blobs), files)
    paths = [each.path for each in files]
    if request.since:
        _check_unmoved(context, into, request, {*paths, *request.remove})
    there = store.existing(context.tx, Point(into), dataset, [*paths, *request.remove])
    writes = [each for each in files if there.get(each.path) != each]
    gone = sorted(set(request.remove).intersection(there) - set(paths))
    _check_places(context, Point(into), dataset, {each.path for each in writes} - there.keys(), set(gone))
    number = _write(context, into, request, dataset, writes, gone)
    size = sum(each.size for each in writes)
    same = len(files) - len(writes)
    return Committed(change=number, written=len(writes), removed=len(gone), same=same, bytes=size)


@operation("files.remove", role=Role.DEVELOPER, writes=True, command="data rm")
def remove(context: Context, request: RemoveFiles) -> Committed:
    """Removes a file, a folder or a dataset; earlier states, tags and other environments keep it."""
    dataset, path = rules.split(request.path)
    into = catalog.writable_layer(context.tx, request.project, request.environment, context.principal)
    found = store.files(context.tx, Point(into), f"{dataset}/{path}" if path else dataset)
    if not found:
        raise _absent(request.project, request.environment, request.path)
    gone = [each.path[len(dataset) + 1 :] for each in found]
    number = _write(context, into, request, dataset, [], gone)
    return Committed(change=number, written=0, removed=len(gone), same=0, bytes=0)


@operation("files.history", role=Role.VIEWER, command="data log")
def history(context: Context, request: FileHistory) -> list[FileChange]:
    """Lists the changes of files, newest first."""
    at = points.resolve(context.tx, request.project, request.environment, request.at, context.clock.now())
    key = "/".join(filter(None, rules.split(request.path))) if request.path else ""
    return store.history(context.tx, at, key, request.limit)


@operation("files.diff", role=Role.VIEWER, command="data diff")
def diff(context: Context, request: DiffFiles) -> list[FileDifference]:
    """Lists the files that differ between two states."""
    now = context.clock.now()
    after = points.resolve(context.tx, request.project, request.environment, request.at, now)
    if request.against:
        before = points.resolve(context.tx, request.project, request.environment, request.against, now)
    elif len(chain := catalog.chain(context.tx, after)) > 1:
        before = chain[1]
    else:
        raise Invalid(
            f"{request.environment} did not branch from anything: say what to compare it with",
            code="AGAINST_MISSING", hint="bough data diff --against 1d",
        )  # fmt: skip
    key = "/".join(filter(None, rules.split(request.path))) if request.path else ""
    found = merging.differences(context.tx, before, after, [FILE])
    return [rules.difference(each) for each in found if not key or f"{each.key}/".startswith(f"{key}/")]


@operation("tags.create", role=Role.DEVELOPER, writes=True)
def make_tag(context: Context, request: MakeTag) -> Tag:
    """Names what an environment shows now: files, tables and all else; a tag never moves."""
    points.check_tag(request.name)
    now, by = context.clock.now(), context.principal.name
    made = catalog.set_tag(context.tx, request.project, request.name, request.environment, now, by)
    context.emit(
        TAGGED, f"{request.project}/{request.environment}", project=request.project, environment=request.environment,
        tag=request.name, layer=made.layer, change=made.seq, by=by,
    )  # fmt: skip
    return Tag(name=request.name, environment=request.environment, change=made.seq, created_at=now, by=by)


@operation("tags.list", role=Role.VIEWER)
def list_tags(context: Context, request: ListTags) -> list[Tag]:
    """Lists tags, newest first."""
    return store.tags(context.tx, request.project)


@operation("tags.delete", role=Role.DEVELOPER, writes=True)
def delete_tag(context: Context, request: OneTag) -> bool:
    """Deletes a tag; what only it kept becomes garbage."""
    if not store.delete_tag(context.tx, request.project, request.name):
        raise NotFound(
            f"{request.project} has no tag {request.name!r}",
            code="TAG_NOT_FOUND", hint=f"bough tags list --project {request.project}",
        )  # fmt: skip
    context.emit(UNTAGGED, request.project, project=request.project, tag=request.name)
    return True


def _listed(blobs: Blobs, digest: str) -> list[File]:
    if not digest:
        return []
    try:
        return msgspec.json.decode(blobs.read(digest), type=list[File])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Invalid(f"the list of files cannot be read: {error}", code="FILE_INVALID") from error


def _check_sent(blobs: Blobs, files: list[File]) -> None:
    """Asking makes the blobs count as used: what is referred to from now on is not collected meanwhile."""
    if lacking := blobs.missing(each.digest for each in files):
        raise Invalid(
            f"{len(lacking)} blobs have not been sent",
            code="BLOBS_MISSING", hint="run the same bough data put again", digests=lacking[:SHOWN],
        )  # fmt: skip
    for each in files:
        if (size := blobs.size(each.digest)) != each.size:
            raise Invalid(f"{each.path!r} has {size} bytes, not {each.size}", code="FILE_INVALID", path=each.path)


def _check_unmoved(context: Context, into: int, request: CommitFiles, paths: set[str]) -> None:
    moved = store.written_since(context.tx, into, request.dataset, request.since)
    if moved is None or (moved := moved & paths):
        what = f"{request.dataset}/{min(moved)}" if moved else f"{request.project}/{request.environment}"
        raise Conflict(
            f"{what} has been changed after change {request.since}; nothing was written",
            code="DATASET_MOVED", hint=f"bough data log {request.dataset}; then begin again from what is there now",
            paths=sorted(moved or ())[:SHOWN],
        )  # fmt: skip


def _check_places(context: Context, at: Point, dataset: str, new: set[str], gone: set[str]) -> None:
    """No file where a folder is, and no folder where a file is."""
    folders = sorted({folder for path in new for folder in folders_of(path)})
    blocking = store.existing(context.tx, at, dataset, folders).keys() & set(folders) - gone
    if blocking:
        raise unsafe(min(blocking), "is a file, and would be a folder", f"bough data rm {dataset}/{min(blocking)}")
    if len(new) > store.MANY:
        keys = store.existing(context.tx, at, dataset, sorted(new)).keys() - gone
        below = {folder for key in keys for folder in folders_of(key)} & new
    else:
        below = {path for path in new if store.below(context.tx, at, dataset, path) - gone}
    if below:
        raise unsafe(min(below), "is a folder, and would be a file", f"bough data rm {dataset}/{min(below)}")


def _write(
    context: Context, into: int, request: CommitFiles | RemoveFiles, dataset: str, files: list[File], gone: list[str]
) -> int:
    if not files and not gone:
        return 0
    writes = [Write(FILE, f"{dataset}/{each.path}", rules.value_of(each)) for each in files]
    writes += [Write(FILE, f"{dataset}/{path}", None) for path in gone]
    why = request.message or _why(dataset, len(files), len(gone))
    by = context.principal.name
    number = catalog.commit(context.tx, into, writes, at=context.clock.now(), by=by, why=why)
    data = {"project": request.project, "environment": request.environment, "dataset": dataset, "change": number}
    context.emit(CHANGED, f"{request.project}/{request.environment}", **data)
    return number


def _why(dataset: str, written: int, removed: int) -> str:
    parts = [f"{count:,} files {what}" for count, what in ((written, "written"), (removed, "removed")) if count]
    return f"{dataset}: {', '.join(parts)}"


def _absent(project: str, environment: str, key: str) -> NotFound:
    return NotFound(
        f"{project}/{environment} has no {key}",
        code="DATA_FILE_NOT_FOUND", hint=f"bough data ls --project {project} -e {environment}",
    )  # fmt: skip
