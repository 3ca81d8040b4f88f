"""Databases as data."""

from __future__ import annotations

from typing import Any

import msgspec

Place = tuple[str, str]  # project, environment
READY, MAKING, FAILED = "ready", "making", "failed"


class MigrationPin(msgspec.Struct, frozen=True, kw_only=True):
    """A migration in the catalog: its name, and the blob that holds its SQL."""

    name: str
    digest: str


class Declared(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A database as it stands in the catalog, and as branches inherit and merge it. `policies`: by name, how each
    `table.column` is masked."""

    engine: str
    way: str
    migrations: list[MigrationPin] = []
    policies: dict[str, dict[str, str]] = {}


class Instance(msgspec.Struct, frozen=True, kw_only=True):
    """The database of one environment. `source` is what a masked one is still to be made from."""

    project: str
    environment: str
    name: str
    engine: str
    handle: str
    state: str
    made_at: float
    held_s: float = 0.0
    mask: str = ""
    source: str = ""
    remake: dict[str, Any] = {}
    failure: dict[str, Any] = {}


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """`layer` and `seq` are the point of the catalog that it belongs to; `tag` when it was taken for one."""

    id: str
    project: str
    environment: str
    name: str
    engine: str
    handle: str
    at: float
    by: str
    why: str
    layer: int
    seq: int
    tag: str = ""
    remake: dict[str, Any] = {}


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """Variables of programs: `secrets` as texts and sealed envelopes in turn, a text first and last. `mark` is another
    one when a database was replaced, added or removed since."""

    plain: dict[str, str]
    secrets: dict[str, list[str]]
    mark: str = ""


class DatabaseView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`held_ms`: how long writers of the parent waited when it was cut. `bytes` are on the disk for it alone."""

    project: str
    environment: str
    name: str
    engine: str
    way: str
    state: str
    url: str
    variable: str
    bytes: int
    made_at: float
    held_ms: float = 0.0
    mask: str = ""
    migrations: list[str] = []
    policies: dict[str, dict[str, str]] = {}
    failure: dict[str, Any] = {}


class DatabaseUrl(msgspec.Struct, frozen=True, kw_only=True):
    """What a program of the environment is given."""

    name: str
    variable: str
    url: str


class DatabasePlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a branch of this database would be, said before it is made. `first_read_…` and `first_write_…`: what it
    takes in all, later, when the branch first reads, or writes into, all tables whose files it shares until then."""

    name: str
    engine: str
    way: str
    about: str
    size: int
    seconds: float
    bytes: int
    held_ms: float
    first_read_bytes: int = 0
    first_read_seconds: float = 0.0
    first_write_bytes: int = 0
    first_write_seconds: float = 0.0


class SnapshotView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    id: str
    name: str
    environment: str
    at: float
    by: str
    why: str
    tag: str = ""


class DatabaseBackup(msgspec.Struct, frozen=True, kw_only=True):
    """A database as one file, kept as a blob for a day."""

    name: str
    engine: str
    digest: str
    size: int


class Migrated(msgspec.Struct, frozen=True, kw_only=True):
    """`ran` were new to the database; `tried_on` says where they were tried first."""

    name: str
    environment: str
    ran: list[str]


class DatabaseRemoved(msgspec.Struct, frozen=True, kw_only=True):
    """`snapshot` keeps what it held."""

    name: str
    environment: str
    snapshot: str
