"""Artifacts: which file of a run or a logged model is which blob."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from bough.adapters.blobs import Blobs
from bough.kernel.errors import Conflict, Invalid, NotFound
from bough.kernel.paths import check_path, folders_of
from bough.tracking import experiments
from bough.tracking.models import ACTIVE, Artifact

_HINT = "a path is relative to the artifacts, with / between folders"
_OWNERS = (  # of artifacts: where their ids stand
    ("run", "SELECT r.state FROM run r JOIN experiment e ON e.id = r.experiment WHERE r.run_id = ? AND e.project = ?"),
    ("logged model", "SELECT m.state FROM logged_model m JOIN experiment e ON e.id = m.experiment"
                     " WHERE m.model_id = ? AND e.project = ?"),
    ("trace", "SELECT e.state FROM trace t JOIN experiment e ON e.id = t.experiment"
              " WHERE t.trace_id = ? AND t.project = ?"),
)  # fmt: skip


def place_of(tx: sa.Connection, project: str, owner: str, *, writing: bool = False) -> str:
    """Under which name the artifacts of a run, a logged model or a trace are kept; raises `NotFound` unless one of the
    project has this id."""
    for noun, sql in _OWNERS:
        state = tx.exec_driver_sql(sql, (owner, project)).scalar()
        if state is None:
            continue
        if writing and state != ACTIVE:
            raise experiments.deleted(noun, owner, "restore it first")
        return of_trace(project, owner) if noun == "trace" else owner
    raise NotFound(
        f"{project} has no run, logged model or trace {owner[:300]!r}", code="RUN_NOT_FOUND", hint="bough runs list"
    )


def of_trace(project: str, trace: str) -> str:
    """The id of a trace is its program's choice: another project, or a run, may have the same one."""
    return f"{project}/{trace}"


def put(tx: sa.Connection, blobs: Blobs, owner: str, path: str, digest: str, at_ms: int) -> Artifact:
    """The blob has come before. A file at this path is replaced."""
    check_place(tx, owner, path)
    if blobs.missing([digest]):
        raise Invalid(f"the blob {digest} has not been sent", code="BLOB_MISSING", hint="send it, then say so")
    size = blobs.size(digest)
    tx.exec_driver_sql("INSERT OR REPLACE INTO artifact VALUES (?, ?, ?, ?, ?)", (owner, path, digest, size, at_ms))
    return Artifact(path=path, size=size, digest=digest)


def check_place(tx: sa.Connection, owner: str, path: str) -> None:
    """A folder at this path, or a file above it, is refused (code PATH_TAKEN)."""
    check_path(path, hint=_HINT)
    low, high = f"{path}/", f"{path}0"  # '0' follows '/'
    inside = tx.exec_driver_sql(
        "SELECT path FROM artifact WHERE owner = ? AND path > ? AND path < ? LIMIT 1", (owner, low, high)
    ).scalar()
    above = next((each for each in folders_of(path) if _row(tx, owner, each) is not None), None)
    if inside is not None or above is not None:
        raise Conflict(
            f"{path!r} would be a file and a folder at once, because of {inside or above!r}",
            code="PATH_TAKEN", hint="choose another path",
        )  # fmt: skip


def get(tx: sa.Connection, owner: str, path: str) -> Artifact:
    check_path(path, hint=_HINT)
    row = _row(tx, owner, path)
    if row is None:
        raise NotFound(
            f"{owner} has no artifact {path!r}",
            code="ARTIFACT_NOT_FOUND",
            hint=f"bough artifacts list {owner.rpartition('/')[2]}",
        )
    return Artifact(path=path, size=row.size, digest=row.digest)


def inside(tx: sa.Connection, owner: str, folder: str, *, deep: bool = False) -> list[Artifact]:
    """Files and folders directly in a folder, or with `deep` every file below it; empty for a file or for nothing."""
    if folder:
        check_path(folder, hint=_HINT)
    low, high = (f"{folder}/", f"{folder}0") if folder else ("", "\U0010ffff")
    sql = "SELECT path, digest, size FROM artifact WHERE owner = ? AND path >= ? AND path < ? ORDER BY path"
    found: dict[str, Artifact] = {}
    for path, digest, size in tx.exec_driver_sql(sql, (owner, low, high)):
        name, slash, _ = path[len(low) :].partition("/")
        if slash and not deep:
            found[low + name] = Artifact(path=low + name, folder=True)
        else:
            found[path] = Artifact(path=path, size=size, digest=digest)
    return list(found.values())


def remove(tx: sa.Connection, owner: str, path: str) -> int:
    """A file, or a folder with all in it, or everything; says how many files."""
    if path:
        check_path(path, hint=_HINT)
    sql = "DELETE FROM artifact WHERE owner = ? AND (? = '' OR path = ? OR (path > ? AND path < ?))"
    return tx.exec_driver_sql(sql, (owner, path, path, f"{path}/", f"{path}0")).rowcount


def references(tx: sa.Connection) -> Iterator[str]:
    """Every blob that an artifact is."""
    for row in tx.exec_driver_sql("SELECT DISTINCT digest FROM artifact"):
        yield row[0]


def _row(tx: sa.Connection, owner: str, path: str) -> Any:
    sql = "SELECT digest, size FROM artifact WHERE owner = ? AND path = ?"
    return tx.exec_driver_sql(sql, (owner, path)).first()
