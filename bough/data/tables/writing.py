"""What a change makes of a version: new files are written and stored, the catalog is not touched.

append   one more data file: the one that came, as it is, when its columns fit
delete   a longer delete list for each file that holds a row concerned
update   the same, and one data file with the new rows, which carry their row ids
upsert   an update of the rows whose key is there, an append of the others
compact  some files into one; rows keep their ids, so nothing is lost to a later merge
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec
from msgspec.structs import replace

from bough.adapters.tables import (
    PARQUET,
    POSITION,
    ROW,
    Column,
    Input,
    Limits,
    Session,
    Tables,
    literal,
    quoted,
)
from bough.data.tables import pruning, rules
from bough.data.tables.incoming import (
    TABLE,
    Incoming,
    cast,
    check_keys,
    check_moved_keys,
    check_nulls,
    fits,
    kept,
    match,
)
from bough.data.tables.models import DataFile, DeleteList, Field, Layout, Statistics, Version
from bough.data.tables.store import TableFiles
from bough.kernel.errors import Invalid

LIMITS = Limits(seconds=600.0)  # of changes, whose SQL is mostly ours
LONGEST_STATISTIC = 64  # characters: a longer text is not kept, and its file is then always read


class Changed(msgspec.Struct, frozen=True, kw_only=True):
    """A version that may be committed, and how many rows that touches."""

    version: Version
    rows: int


class Fresh(msgspec.Struct, frozen=True, kw_only=True):
    """A data file that no version holds yet."""

    file: DataFile
    layout: Layout


class Workshop:
    def __init__(self, files: TableFiles, tables: Tables) -> None:
        self.files, self.tables = files, tables

    # --- rows that come from outside

    def columns_of(self, incoming: Incoming) -> list[Column]:
        """Names and types in a file; enumerations count as texts."""
        with self.tables.session({}, input=self._input(incoming), limits=LIMITS) as session:
            found = session.describe("SELECT * FROM incoming")
        return [Column(each.name, kept(each.type)) for each in found]

    def columns_in(self, schema: str) -> list[Column]:
        """`id BIGINT, "full name" VARCHAR`, with the types' own names."""
        members = [rules.name_and_type(each) for each in rules.split(schema)]
        for _, kind in members:
            self.tables.check_expression(f"CAST(NULL AS {kind})")
        asked = ", ".join(f"CAST(NULL AS {kind}) AS {quoted(name)}" for name, kind in members)
        with self.tables.session({}, limits=LIMITS) as session:
            return [Column(each.name, kept(each.type)) for each in session.describe(f"SELECT {asked}")]

    def take(self, version: Version, incoming: Incoming) -> Fresh:
        """Checks a file against the schema and makes a data file of it. Raises `Invalid` or `Conflict`."""
        relations = {TABLE: self.files.relation(version)} if version.key else {}
        with self.tables.session(relations, input=self._input(incoming), limits=LIMITS) as session:
            held = match(version, session.describe("SELECT * FROM incoming"))
            if version.key:
                check_keys(session, version, held, against_table=True)
            if incoming.format == PARQUET and fits(version, held):
                source = "incoming"
                blob, layout = incoming.blob, Layout(columns={id: (each.name, each.type) for id, each in held.items()})
            else:
                path = session.write(cast(version, held), ids={each.name: each.id for each in version.fields})
                source, blob = parquet(path), self.files.keep(path)
                layout = own_layout(version)
            file = self.measured(session, source, blob, version.fields, layout)
        check_nulls(version, file)
        return Fresh(file=replace(file, first_row=0), layout=layout)

    def append(self, version: Version, fresh: Fresh) -> Changed:
        return Changed(version=rules.with_file(version, fresh.file, fresh.layout), rows=fresh.file.rows)

    def upsert(self, version: Version, incoming: Incoming) -> Changed:
        """Rows that are there already, just so, are not touched."""
        if not version.key:
            raise Invalid("the table has no key to tell rows apart by", code="TABLE_WITHOUT_KEY",
                          hint="bough tables append; or make the table with --key")  # fmt: skip
        relation = self.files.relation(version)
        with self.tables.session({TABLE: relation}, input=self._input(incoming), limits=LIMITS) as session:
            held = match(version, session.describe("SELECT * FROM incoming"))
            check_keys(session, version, held, against_table=False)
            names = [quoted(each.name) for each in version.fields]
            same = " AND ".join(f"old.{name} IS NOT DISTINCT FROM fresh.{name}" for name in names)
            keys = ", ".join(map(quoted, version.key_names))
            session.keep(
                "met",
                f"SELECT {', '.join(f'fresh.{name}' for name in names)}, old.__file, old.__pos, old.{ROW}, "
                f"coalesce({same}, false) AS __same FROM ({cast(version, held)}) AS fresh "
                f"LEFT JOIN rows.{TABLE} AS old USING ({keys})",
            )
            session.keep("hit", f"SELECT * FROM met WHERE NOT (__same AND {ROW} IS NOT NULL)")
            return self.replaced(session, version)

    # --- rows that are there

    def delete(self, version: Version, where: str) -> Changed:
        self.tables.check_expression(where)
        with self._finding(version, where) as session:
            rows = session.keep("hit", f"SELECT __file, __pos FROM rows.{TABLE} WHERE (\n{where}\n)")
            return Changed(version=self._without(session, version, "hit"), rows=rows)

    def update(self, version: Version, where: str, set: Mapping[str, str]) -> Changed:
        if not set:
            raise Invalid("nothing to set", code="SET_MISSING", hint='--set "price=price * 2"')
        for text in (where, *set.values()):
            self.tables.check_expression(text)
        fields = {rules.needed(version, name).id: text for name, text in set.items()}
        values = ", ".join(
            f"CAST((\n{fields[each.id]}\n) AS {each.type}) AS {quoted(each.name)}" if each.id in fields
            else quoted(each.name)
            for each in version.fields
        )  # fmt: skip
        moves_keys = any(id in version.key for id in fields)
        with self._finding(version, where, all=moves_keys) as session:
            session.keep("hit", f"SELECT {values}, __file, __pos, {ROW} FROM rows.{TABLE} WHERE (\n{where}\n)")
            if moves_keys:
                check_moved_keys(session, version)
            return self.replaced(session, version)

    def compact(self, version: Version, *, all: bool = False, most: int | None = None) -> Changed:
        """`rows` counts those that were written anew; `most`: groups of files that become one."""
        rows, changed, added = 0, dict[int, DataFile | None](), list[Fresh]()
        for places in rules.to_compact(version, all=all)[:most]:
            with self.tables.session({TABLE: self.files.relation(version, places)}, limits=LIMITS) as session:
                names = ", ".join(quoted(each.name) for each in version.fields)
                path = session.write(f"SELECT {names}, {ROW} FROM rows.{TABLE}", ids=_ids(version))
                layout = own_layout(version)
                file = self.measured(session, parquet(path), self.files.keep(path), version.fields, layout)
            rows += file.rows
            changed |= dict.fromkeys(places)
            added.append(Fresh(file=file, layout=layout))
        return Changed(version=self._with(rules.with_files(version, changed), added), rows=rows)

    # --- parts of the above

    def _with(self, version: Version, added: Iterable[Fresh]) -> Version:
        for each in added:
            version = rules.with_file(version, each.file, each.layout)
        return version

    def _finding(self, version: Version, where: str, *, all: bool = False) -> AbstractContextManager[Session]:
        """A session over the files that may hold rows that `where` wants."""
        places = None if all else pruning.candidates(version, self.tables.bounds(where))
        return self.tables.session({TABLE: self.files.relation(version, places)}, limits=LIMITS)

    def replaced(self, session: Session, version: Version, *, only: str = "true") -> Changed:
        """The rows of `hit` for which `only` holds instead of those that stand at the places of all of them. Rows that
        come from no place are new."""
        names = ", ".join(quoted(each.name) for each in version.fields)
        number = f"{version.next_row} - 1 + row_number() OVER (ORDER BY {ROW} IS NOT NULL)"
        fresh = f"SELECT {names}, coalesce({ROW}, {number}) AS {ROW} FROM hit WHERE {only}"
        new = int(session.rows(f"SELECT count(*) FROM hit WHERE {only} AND {ROW} IS NULL").rows[0][0])
        path = session.write(fresh, ids=_ids(version))
        layout = own_layout(version)
        counted = self.measured(session, parquet(path), "", version.fields, layout, size=path.stat().st_size)
        check_nulls(version, counted)
        left = self._without(session, version, "hit")
        left = replace(left, next_row=version.next_row + new)
        if not counted.rows:
            return Changed(version=left, rows=0)
        file = replace(counted, blob=self.files.keep(path))
        return Changed(version=rules.with_file(left, file, layout), rows=counted.rows)

    def _without(self, session: Session, version: Version, hits: str) -> Version:
        """The version when the rows at (`__file`, `__pos`) of the table `hits` are gone."""
        changed: dict[int, DataFile | None] = {}
        counts = session.rows(f"SELECT __file, count(*) FROM {hits} WHERE __file IS NOT NULL GROUP BY 1 ORDER BY 1")
        for place, count in counts.rows:
            file = version.files[place]
            if count == file.live:
                changed[place] = None
                continue
            found = f"SELECT __pos AS {POSITION} FROM {hits} WHERE __file = {place}"
            if file.deleted:
                found += f" UNION ALL SELECT {POSITION} FROM {parquet(self.files.path(file.deleted.blob))}"
            path = session.write(f"{found} ORDER BY 1")
            size = path.stat().st_size
            gone = DeleteList(blob=self.files.keep(path), rows=file.rows - file.live + count, bytes=size)
            changed[place] = replace(file, deleted=gone)
        return rules.with_files(version, changed)

    def measured(
        self, session: Session, source: str, blob: str, fields: Sequence[Field], layout: Layout, *, size: int = -1
    ) -> DataFile:
        """A data file with its statistics, read once."""
        known = [(each, layout.columns[each.id][0]) for each in fields if each.id in layout.columns]
        asked = [
            f"count({quoted(name)}), "
            + (
                f"min({quoted(name)})::VARCHAR, max({quoted(name)})::VARCHAR"
                if rules.is_ordered(each.type)
                else "NULL, NULL"
            )
            for each, name in known
        ]
        row = session.rows(f"SELECT count(*), {', '.join(asked)} FROM {source}").rows[0]
        statistics = {
            each.id: Statistics(_short(row[2 + 3 * at]), _short(row[3 + 3 * at]), row[0] - row[1 + 3 * at])
            for at, (each, _) in enumerate(known)
        }
        size = self.files.blobs.size(blob) if size < 0 else size
        return DataFile(blob=blob, rows=row[0], bytes=size, layout=0, statistics=statistics)

    def _input(self, incoming: Incoming) -> Input:
        return Input(path=str(self.files.path(incoming.blob)), format=incoming.format)


def parquet(path: Path) -> str:
    """A file of the session as a source in SQL."""
    return f"read_parquet({literal(path)}, hive_partitioning=false)"


def own_layout(version: Version) -> Layout:
    """Of files that Bough writes: columns have the names and types that the fields have now."""
    return Layout(columns={each.id: (each.name, each.type) for each in version.fields})


def _ids(version: Version) -> dict[str, int]:
    return {each.name: each.id for each in version.fields}


def _short(text: str | None) -> str | None:
    return text if text is not None and len(text) <= LONGEST_STATISTIC else None
