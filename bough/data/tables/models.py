"""A table version, as the catalog keeps it. Everything is plain data; equal versions are equal values."""

from __future__ import annotations

import msgspec


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """A column. `id` is never given twice in a table; `type` is DuckDB's name of it."""

    id: int
    name: str
    type: str
    nullable: bool = True


class Statistics(msgspec.Struct, frozen=True, array_like=True):
    """Of one field in one data file, as text; None where there is no order, no value, or a text too long to keep."""

    least: str | None
    greatest: str | None
    nulls: int


class DeleteList(msgspec.Struct, frozen=True, kw_only=True):
    blob: str
    rows: int
    bytes: int


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """How data files hold fields: field id -> (column in the file, type there). A field that is absent is null."""

    columns: dict[int, tuple[str, str]]


class DataFile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`rows` counts those in the file, also the deleted ones. `layout` is a place in the version's layouts. Rows have
    the ids `first_row`, `first_row` + 1, …; None: the file carries them itself."""

    blob: str
    rows: int
    bytes: int
    layout: int
    first_row: int | None = None
    statistics: dict[int, Statistics] = {}
    deleted: DeleteList | None = None

    @property
    def live(self) -> int:
        return self.rows - (self.deleted.rows if self.deleted else 0)


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """`key` holds field ids. Ids below `next_field` and `next_row` have been given."""

    fields: list[Field]
    key: list[int] = []
    next_field: int = 1
    next_row: int = 0
    layouts: list[Layout] = []
    files: list[DataFile] = []

    @property
    def rows(self) -> int:
        return sum(each.live for each in self.files)

    @property
    def bytes(self) -> int:
        return sum(each.bytes + (each.deleted.bytes if each.deleted else 0) for each in self.files)

    @property
    def blobs(self) -> set[str]:
        """Every blob that the version needs."""
        return {each.blob for each in self.files} | {each.deleted.blob for each in self.files if each.deleted}

    def field(self, name: str) -> Field | None:
        """By name, without regard to case, as SQL has it."""
        return next((each for each in self.fields if each.name.lower() == name.lower()), None)

    @property
    def key_names(self) -> list[str]:
        names = {each.id: each.name for each in self.fields}
        return [names[id] for id in self.key]


def decode(value: object) -> Version:
    """From a catalog entry's value."""
    return msgspec.convert(value, Version, str_keys=True)  # JSON has texts as keys of objects


def encode(version: Version) -> dict[str, object]:
    """To a catalog entry's value."""
    found: dict[str, object] = msgspec.json.decode(msgspec.json.encode(version))
    return found


class ColumnView(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    name: str
    type: str
    nullable: bool
    key: bool = False


class TableView(msgspec.Struct, frozen=True, kw_only=True):
    """A table as people see it."""

    project: str
    environment: str
    name: str
    rows: int
    bytes: int
    files: int
    deleted: int  # rows that are gone but still in data files
    columns: list[ColumnView]
    changed: int = 0  # rows that the change touched
    compact: bool = False  # scans would gain from `bough tables compact`


class TableCommit(msgspec.Struct, frozen=True, kw_only=True):
    """One change of a table."""

    seq: int
    at: float
    by: str
    why: str
    rows: int
    files: int
    bytes: int
    gone: bool = False
