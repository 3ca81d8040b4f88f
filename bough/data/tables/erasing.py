"""Erasure of rows: they go from every version of a table in every layer of a project, for good.

Data files that hold such rows, also ones that were deleted long ago, are written anew without them, in every version;
the rows that stay keep their ids, and delete lists follow them to their new positions. Runs in one transaction: nobody
can meanwhile base a change on a version that still has the rows. The database's log may hold the old statistics until
its next checkpoint, which closing the database makes.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Annotated

import msgspec
import sqlalchemy as sa
from msgspec.structs import replace

from bough.adapters.blobs import Blobs
from bough.adapters.tables import POSITION, ROW, Column, Part, Relation, Session, Tables
from bough.data.erasure import ERASED, Elsewhere, ErasedEntry, Proof, layers_of
from bough.data.garbage import Collector
from bough.data.tables import rules
from bough.data.tables.models import DataFile, DeleteList, Version, decode, encode
from bough.data.tables.store import TableFiles
from bough.data.tables.writing import LIMITS, Workshop, parquet
from bough.kernel.catalog import TABLE, change, entry
from bough.kernel.context import Context, Role
from bough.kernel.errors import NotFound
from bough.kernel.operations import operation
from bough.kernel.subjects import ERASED_TEXT, Reached, Subject

_LITERAL = re.compile(r"'((?:[^']|'')+)'|\b\d+(?:\.\d+)?\b")
_FILE = "t"


class EraseRows(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    name: Annotated[str, msgspec.Meta(description="name of the table")]
    where: Annotated[str, msgspec.Meta(description="condition in SQL that tells the rows, such as \"email = 'a@b.c'\"")]


@operation("tables.erase", role=Role.ADMIN, writes=True, private=True)
def erase(context: Context, request: EraseRows) -> Proof:
    """Erases rows from every environment, tag and all history of a project, for good, and returns the proof."""
    tables, blobs = context.part(Tables), context.part(Blobs)
    tables.check_expression(request.where)
    layers = layers_of(context.tx, request.project)
    rows = context.tx.execute(
        entry.select().where(entry.c.layer.in_(list(layers)), entry.c.kind == TABLE, entry.c.key == request.name,
                             entry.c.value.is_not(None)).order_by(entry.c.layer, entry.c.seq)
    ).all()  # fmt: skip
    if not rows:
        raise NotFound(f"no table {request.name!r} was ever here", code="TABLE_NOT_FOUND", hint="bough tables list")
    versions = [decode(msgspec.json.decode(row.value)) for row in rows]
    work = Erasing(context.part(TableFiles), tables, versions, request.where)
    entries: list[ErasedEntry] = []
    for row, before in zip(rows, versions, strict=True):
        after = work.without(before)
        if after == before:
            continue
        value = msgspec.json.encode(encode(after), order="sorted").decode()
        same = entry.c.layer == row.layer, entry.c.kind == TABLE, entry.c.key == row.key, entry.c.seq == row.seq
        context.tx.execute(entry.update().where(*same).values(value=value))
        gone = sorted(before.blobs - after.blobs)
        entries.append(
            ErasedEntry(kind=TABLE, key=row.key, layer=row.layer, change=row.seq, seen_in=layers[row.layer],
                        digests=gone)
        )  # fmt: skip
    _forget_why(context.tx, {row.seq for row in rows}, request.where)
    digests = sorted({digest for each in entries for digest in each.digests})
    subject = Subject(project=request.project, digests=frozenset(digests), sources=frozenset([request.name]))
    elsewhere = context.part(Elsewhere).reach(context.tx, subject) if entries else Reached()
    used = context.part(Collector).used(context.tx)
    deleted = [each for each in digests if each not in used]
    for digest in deleted:
        context.part(TableFiles).forget(digest)
        blobs.delete(digest)
    remains = [f"blob {each}: another table, file or release has the same content" for each in digests if each in used]
    if loose := sum(each.digest not in used for each in blobs.held()):
        remains.append(f"{loose} blobs that nothing uses, such as uploads and answers of queries, were not looked "
                       "into; bough gc takes them a day after their last use")  # fmt: skip
    remains += elsewhere.remains
    proof = Proof(
        project=request.project, dataset=f"table {request.name}", path="", erased_at=context.clock.now(),
        by=context.principal.name, entries=entries, deleted_blobs=deleted, remains=remains, elsewhere=elsewhere.done,
    )  # fmt: skip
    context.emit(ERASED, request.project, **msgspec.to_builtins(proof))
    return proof


class Erasing:
    """One erasure in all versions of a table. A file that many versions have is read and written once."""

    def __init__(self, files: TableFiles, tables: Tables, versions: list[Version], where: str) -> None:
        self._files, self._tables, self._where = files, tables, where
        self._workshop = Workshop(files, tables)
        self._names = _names(versions)
        self._hits: dict[str, set[int]] = defaultdict(set)
        looked = set()
        for version in versions:
            for each in version.files:
                relation = self._relation(version, each)
                if (seen := msgspec.json.encode(relation)) not in looked:
                    looked.add(seen)
                    with tables.session({_FILE: relation}, limits=LIMITS) as session:
                        found = session.rows(f"SELECT __pos FROM rows.{_FILE} WHERE (\n{where}\n)")
                    self._hits[each.blob].update(int(row[0]) for row in found.rows)

    def without(self, version: Version) -> Version:
        changed = {at: self._file(version, each) for at, each in enumerate(version.files) if self._hits[each.blob]}
        return rules.with_files(version, changed) if changed else version

    def _relation(self, version: Version, file: DataFile) -> Relation:
        """The bare file, deleted rows and dropped columns too, under every name that its columns ever had."""
        held = version.layouts[file.layout].columns
        columns, parts = dict[str, Column](), dict[str, tuple[str, str]]()
        own = {each.name.lower(): each.id for each in version.fields}
        for lower, (name, ids, kind) in self._names.items():
            id = own.get(lower) or next((each for each in sorted(ids) if each in held), None)
            columns[name] = Column(name, held[id][1] if id in held else kind)
            if id in held:
                parts[name] = held[id]
        part = Part(number=0, path=str(self._files.path(file.blob)), columns=parts, first_row=file.first_row)
        return Relation(columns=list(columns.values()), parts=[part])

    def _file(self, version: Version, file: DataFile) -> DataFile | None:
        hits, source = self._hits[file.blob], parquet(self._files.path(file.blob))
        if len(hits) == file.rows:
            return None
        relations = {_FILE: self._relation(version, file)}
        gone = ", ".join(map(str, sorted(hits)))
        with self._tables.session(relations, limits=LIMITS) as session:
            carried = f", {file.first_row} + file_row_number AS {ROW}" if file.first_row is not None else ""
            made = session.write(f"SELECT *{carried} FROM {source} WHERE file_row_number NOT IN ({gone})")
            fields = [each for each in version.fields if each.id in version.layouts[file.layout].columns]
            layout = version.layouts[file.layout]
            blob = self._files.keep(made)
            measured = self._workshop.measured(session, parquet(made), blob, fields, layout)
        deleted = self._deleted(file, hits) if file.deleted else None
        if deleted and deleted.rows == measured.rows:
            return None
        return replace(measured, layout=file.layout, first_row=None, deleted=deleted)

    def _deleted(self, file: DataFile, hits: set[int]) -> DeleteList | None:
        """The delete list, at the positions that its rows have now."""
        assert file.deleted  # noqa: S101 - asked before
        part = Part(number=0, path=str(self._files.path(file.deleted.blob)), columns={POSITION: (POSITION, "BIGINT")},
                    first_row=0)  # fmt: skip
        relation = Relation(columns=[Column(POSITION, "BIGINT")], parts=[part])
        with self._tables.session({_FILE: relation}, limits=LIMITS) as session:
            return self._moved(session, hits)

    def _moved(self, session: Session, hits: set[int]) -> DeleteList | None:
        places = f"[{', '.join(map(str, sorted(hits)))}]"
        query = (
            f"SELECT {POSITION} - len(list_filter({places}, lambda x: x < {POSITION})) AS {POSITION} FROM {_FILE} "
            f"WHERE NOT list_contains({places}, {POSITION}) ORDER BY 1"
        )
        path = session.write(query)
        rows = int(session.rows(f"SELECT count(*) FROM {parquet(path)}").rows[0][0])
        size = path.stat().st_size
        return DeleteList(blob=self._files.keep(path), rows=rows, bytes=size) if rows else None


def _names(versions: list[Version]) -> dict[str, tuple[str, set[int], str]]:
    """Every name that a column ever had -> as it is written, ids, a type."""
    found: dict[str, tuple[str, set[int], str]] = {}
    for version in versions:
        for each in version.fields:
            found.setdefault(each.name.lower(), (each.name, set(), each.type))[1].add(each.id)
    return found


def _forget_why(tx: sa.Connection, seqs: set[int], where: str) -> None:
    """Reasons of changes often quote the condition: those that name a value of it go too."""
    found = [each[1] or each[0] for each in _LITERAL.finditer(where)]
    values = [each.strip("%_") for each in found if each.strip("%_")]  # of LIKE
    for row in tx.execute(change.select().where(change.c.seq.in_(sorted(seqs)))).all():
        if any(re.search(rf"(?<!\w){re.escape(each)}(?!\w)", row.why) for each in values):
            tx.execute(change.update().where(change.c.seq == row.seq).values(why=ERASED_TEXT))
