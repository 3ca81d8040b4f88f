"""Erasure: what belonged to somebody goes from every environment, branch, tag and the whole history of a project.

Everywhere else a removal is one more entry and the past stays readable; here the entries themselves are deleted, and
blobs that nothing else uses at once, without a grace period. What was erased, where it stood and what remains is kept
as a proof. Running it again finishes what a kill has left, and proves that nothing is left.

Rows of tables are told by a condition and have a verb of their own (`tables/erasing.py`), and what other capabilities
keep of somebody is told by words (`forgetting.py`); both write the same proof.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import sqlalchemy as sa

from bough.adapters.blobs import Blobs
from bough.data import rules
from bough.data.garbage import Collector, digests_in
from bough.kernel.catalog import FILE, entry, head, layer, tag
from bough.kernel.context import Context, Role
from bough.kernel.operations import operation
from bough.kernel.platform import Home
from bough.kernel.subjects import Named, Reach, Reached, Subject
from bough.kernel.tables import event

ERASED = "data.erased"


class Elsewhere:
    """What other capabilities keep beside the catalog, put together in `composition/keeping.py`."""

    def __init__(self, reaches: Sequence[Reach]) -> None:
        self._reaches = reaches

    def reach(self, tx: sa.Connection, subject: Subject) -> Reached:
        found = [reach(tx, subject) for reach in self._reaches]
        return Reached(
            done=[named for each in found for named in each.done],
            remains=[text for each in found for text in each.remains],
        )


class ErasedEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One entry that is gone: where it stood, since which change, and the blobs that it used."""

    kind: str
    key: str
    layer: int
    change: int
    seen_in: list[str]  # environments and tags that showed the layer
    digests: list[str]


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """`remains` names what could not go and why; empty: nothing is left in what Bough keeps."""

    project: str
    dataset: str
    path: str
    erased_at: float
    by: str
    entries: list[ErasedEntry]
    deleted_blobs: list[str]
    remains: list[str]
    elsewhere: list[Named] = []  # what other capabilities kept of it: artifacts, traces, items of queues, …


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """What is to go, and the layers in which it may stand, each with the environments and tags that show it."""

    project: str
    dataset: str
    path: str
    layers: dict[int, list[str]]


Eraser = Callable[[sa.Connection, Scope], list[ErasedEntry]]
"""Deletes or rewrites the entries of one kind in all layers of the scope. Idempotent; writes nothing but entries of its
kind (and blobs that replace those it returns)."""


class EraseFiles(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    dataset: Annotated[str, msgspec.Meta(description="dataset")]
    path: Annotated[str, msgspec.Meta(description="file or folder in it; empty: all of it")] = ""


class ListErasures(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str


@operation("data.erase", role=Role.ADMIN, writes=True)
def erase(context: Context, request: EraseFiles) -> Proof:
    """Erases files from every environment, tag and all history of a project, for good, and returns the proof."""
    key = f"{request.dataset}/{request.path}".rstrip("/")
    dataset, path = rules.split(key)
    scope = Scope(project=request.project, dataset=dataset, path=path, layers=layers_of(context.tx, request.project))
    entries = erase_files(context.tx, scope)
    digests = sorted({digest for each in entries for digest in each.digests})
    subject = Subject(project=request.project, digests=frozenset(digests), sources=frozenset([dataset]))
    elsewhere = context.part(Elsewhere).reach(context.tx, subject) if entries else Reached()
    still_used = context.part(Collector).used(context.tx) & set(digests)
    blobs = context.part(Blobs)
    gone = [digest for digest in digests if digest not in still_used]
    remains = unlink_views(context.part(Home).views, key)
    remains += [f"blob {each}: another file or release has the same content" for each in sorted(still_used)]
    remains += [f"blob {each}: linked from a mount outside Bough's home" for each in gone if _linked(blobs, each)]
    remains += elsewhere.remains
    for digest in gone:
        blobs.delete(digest)
    proof = Proof(
        project=request.project, dataset=dataset, path=path, erased_at=context.clock.now(), by=context.principal.name,
        entries=entries, deleted_blobs=gone, remains=remains, elsewhere=elsewhere.done,
    )  # fmt: skip
    context.emit(ERASED, request.project, **msgspec.to_builtins(proof))
    return proof


@operation("data.erasures", role=Role.ADMIN)
def erasures(context: Context, request: ListErasures) -> list[Proof]:
    """Lists the proofs of everything that was erased in a project, newest first."""
    query = event.select().where(event.c.name == ERASED, event.c.subject == request.project)
    rows = context.tx.execute(query.order_by(event.c.seq.desc()))
    return [msgspec.json.decode(row.data, type=Proof) for row in rows]


def layers_of(tx: sa.Connection, project: str) -> dict[int, list[str]]:
    """Every layer that an environment or a tag of a project shows, and those above and below it, also let go ones."""
    parents = {row.id: row.parent for row in tx.execute(layer.select())}
    starts = [(row.layer, row.environment) for row in tx.execute(head.select().where(head.c.project == project))]
    starts += [(row.layer, f"tag {row.name}") for row in tx.execute(tag.select().where(tag.c.project == project))]
    found: dict[int, set[str]] = defaultdict(set)
    for start, name in starts:
        at: int | None = start
        while at is not None:
            found[at].add(name)
            at = parents.get(at)
    for each in sorted(parents):  # a child is younger than its parent
        if each not in found and parents[each] in found:
            found[each] = set()
    return {each: sorted(names) for each, names in found.items()}


def erase_files(tx: sa.Connection, scope: Scope) -> list[ErasedEntry]:
    """The eraser of files."""
    key = f"{scope.dataset}/{scope.path}".rstrip("/")
    below = sa.and_(entry.c.key >= f"{key}/", entry.c.key < f"{key}/\U0010ffff")
    found = []
    for each, names in sorted(scope.layers.items()):
        here = entry.c.layer == each, entry.c.kind == FILE, sa.or_(entry.c.key == key, below)
        for row in tx.execute(entry.select().where(*here).order_by(entry.c.key, entry.c.seq)):
            found.append(
                ErasedEntry(kind=FILE, key=row.key, layer=each, change=row.seq, seen_in=names,
                            digests=digests_in(row.value or ""))
            )  # fmt: skip
        tx.execute(entry.delete().where(*here))
    return found


def unlink_views(views: Path, key: str) -> list[str]:
    """Takes the files out of what running units see; they may still hold them open."""
    left = []
    for place in views.glob(f"*/*/{_literal(key)}"):
        for path in [place, *place.rglob("*")] if place.is_dir() else [place]:
            if path.is_dir():
                continue
            try:
                path.parent.chmod(0o755)
                path.unlink()
                path.parent.chmod(0o555)
            except OSError as error:
                left.append(f"{path}: {error.strerror}")
    return left


def _literal(key: str) -> str:
    return "".join(f"[{char}]" if char in "*?[" else char for char in key)


def _linked(blobs: Blobs, digest: str) -> bool:
    if not blobs.has(digest):
        return False
    path = blobs.local_path(digest)
    return path is not None and path.stat().st_nlink > 1
