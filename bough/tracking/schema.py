"""The tables of `tracking.db`. A database of its own, because it is written a thousand times as often as the control
plane's and need not be synced at every commit. Forward only: a script per version, run in one transaction.

Rows of a run hang on its number, not on its id: half the bytes, and neighbours on disk. What is asked for by value
(metrics, parameters, tags) has an index that begins with the key.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

import sqlalchemy as sa

from bough.kernel.errors import Conflict

_FIRST = """
CREATE TABLE experiment (
    id INTEGER PRIMARY KEY, project TEXT NOT NULL, number INTEGER NOT NULL, name TEXT NOT NULL, location TEXT NOT NULL,
    state TEXT NOT NULL, created_ms INTEGER NOT NULL, updated_ms INTEGER NOT NULL,
    UNIQUE (project, number), UNIQUE (project, name));
CREATE TABLE experiment_tag (
    owner INTEGER NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (owner, key)) WITHOUT ROWID;
CREATE TABLE run (
    id INTEGER PRIMARY KEY, run_id TEXT NOT NULL UNIQUE, experiment INTEGER NOT NULL, environment TEXT NOT NULL,
    name TEXT NOT NULL, by TEXT NOT NULL, status TEXT NOT NULL, state TEXT NOT NULL, started_ms INTEGER NOT NULL,
    ended_ms INTEGER, location TEXT NOT NULL, source TEXT NOT NULL);
CREATE INDEX run_by_start ON run (experiment, state, started_ms DESC, run_id);
CREATE INDEX run_by_name ON run (name);
CREATE TABLE metric (
    owner INTEGER NOT NULL, key TEXT NOT NULL, timestamp_ms INTEGER NOT NULL, step INTEGER NOT NULL,
    value REAL NOT NULL, nan INTEGER NOT NULL,
    PRIMARY KEY (owner, key, timestamp_ms, step, value, nan)) WITHOUT ROWID;
CREATE TABLE latest (
    owner INTEGER NOT NULL, key TEXT NOT NULL, value REAL NOT NULL, nan INTEGER NOT NULL,
    timestamp_ms INTEGER NOT NULL, step INTEGER NOT NULL, PRIMARY KEY (owner, key)) WITHOUT ROWID;
CREATE INDEX latest_by_value ON latest (key, nan, value);
CREATE TABLE param (
    owner INTEGER NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (owner, key)) WITHOUT ROWID;
CREATE INDEX param_by_value ON param (key, value);
CREATE TABLE tag (
    owner INTEGER NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (owner, key)) WITHOUT ROWID;
CREATE INDEX tag_by_value ON tag (key, value);
CREATE TABLE input (
    owner INTEGER NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, version TEXT NOT NULL, context TEXT NOT NULL,
    source_type TEXT NOT NULL, source TEXT NOT NULL, schema TEXT NOT NULL, profile TEXT NOT NULL, tags TEXT NOT NULL,
    PRIMARY KEY (owner, kind, name, version)) WITHOUT ROWID;
CREATE INDEX input_by_name ON input (name, version);
CREATE TABLE output (
    owner INTEGER NOT NULL, model TEXT NOT NULL, step INTEGER NOT NULL, PRIMARY KEY (owner, model)) WITHOUT ROWID;
CREATE TABLE artifact (
    owner TEXT NOT NULL, path TEXT NOT NULL, digest TEXT NOT NULL, size INTEGER NOT NULL, at_ms INTEGER NOT NULL,
    PRIMARY KEY (owner, path)) WITHOUT ROWID;
CREATE TABLE logged_model (
    id INTEGER PRIMARY KEY, model_id TEXT NOT NULL UNIQUE, experiment INTEGER NOT NULL, name TEXT NOT NULL,
    kind TEXT NOT NULL, run TEXT NOT NULL, by TEXT NOT NULL, status TEXT NOT NULL, message TEXT NOT NULL,
    state TEXT NOT NULL, created_ms INTEGER NOT NULL, updated_ms INTEGER NOT NULL, location TEXT NOT NULL);
CREATE INDEX logged_model_by_time ON logged_model (experiment, state, created_ms DESC);
CREATE INDEX logged_model_by_run ON logged_model (run);
CREATE TABLE logged_model_param (
    owner INTEGER NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (owner, key)) WITHOUT ROWID;
CREATE TABLE logged_model_tag (
    owner INTEGER NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (owner, key)) WITHOUT ROWID;
CREATE TABLE logged_model_metric (
    owner INTEGER NOT NULL, key TEXT NOT NULL, timestamp_ms INTEGER NOT NULL, step INTEGER NOT NULL, run TEXT NOT NULL,
    value REAL NOT NULL, nan INTEGER NOT NULL, dataset TEXT NOT NULL, dataset_digest TEXT NOT NULL,
    PRIMARY KEY (owner, key, timestamp_ms, step, run)) WITHOUT ROWID;
CREATE VIEW logged_model_latest AS SELECT owner, key, value, nan FROM (
    SELECT *, row_number() OVER (PARTITION BY owner, key ORDER BY timestamp_ms DESC, step DESC) AS place
    FROM logged_model_metric) WHERE place = 1
"""
_TRACES = """
CREATE TABLE trace (
    id INTEGER PRIMARY KEY, project TEXT NOT NULL, trace_id TEXT NOT NULL, experiment INTEGER NOT NULL,
    state TEXT NOT NULL, started_ms INTEGER NOT NULL, duration_ms INTEGER, request_id TEXT, request TEXT, response TEXT,
    said INTEGER NOT NULL, UNIQUE (project, trace_id));
CREATE INDEX trace_by_start ON trace (experiment, started_ms DESC, trace_id);
CREATE TABLE trace_tag (
    owner INTEGER NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (owner, key)) WITHOUT ROWID;
CREATE INDEX trace_tag_by_value ON trace_tag (key, value);
CREATE TABLE trace_metadata (
    owner INTEGER NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (owner, key)) WITHOUT ROWID;
CREATE INDEX trace_metadata_by_value ON trace_metadata (key, value);
CREATE TABLE trace_run (
    owner INTEGER NOT NULL, run TEXT NOT NULL, PRIMARY KEY (owner, run)) WITHOUT ROWID;
CREATE INDEX trace_by_run ON trace_run (run);
CREATE TABLE span (
    owner INTEGER NOT NULL, span_id TEXT NOT NULL, parent TEXT NOT NULL, name TEXT NOT NULL, type TEXT NOT NULL,
    status TEXT NOT NULL, started_ns INTEGER NOT NULL, ended_ns INTEGER NOT NULL, content TEXT NOT NULL,
    PRIMARY KEY (owner, span_id));
CREATE TABLE assessment (
    owner INTEGER NOT NULL, assessment_id TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL,
    number REAL, valid INTEGER NOT NULL, overrides TEXT NOT NULL, created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL, content TEXT NOT NULL, PRIMARY KEY (owner, assessment_id))
"""
_PLACES = """
CREATE TEMP TABLE known AS SELECT run_id AS id FROM run UNION SELECT model_id FROM logged_model;
INSERT INTO artifact SELECT t.project || '/' || a.owner, a.path, a.digest, a.size, a.at_ms
    FROM artifact a JOIN trace t ON t.trace_id = a.owner WHERE a.owner NOT IN (SELECT id FROM known);
DELETE FROM artifact WHERE owner IN (SELECT trace_id FROM trace) AND owner NOT IN (SELECT id FROM known);
DROP TABLE known
"""
SCRIPTS = (_FIRST, _TRACES, _PLACES)


class Database(Protocol):
    def write(self) -> AbstractContextManager[sa.Connection]: ...

    def read(self) -> AbstractContextManager[sa.Connection]: ...


def prepare(database: Database) -> None:
    """Makes the tables, or brings them up to date; a database of a newer Bough is refused (code DATABASE_NEWER)."""
    with database.read() as tx:
        if _version(tx) == len(SCRIPTS):
            return
    with database.write() as tx:
        version = _version(tx)
        if version > len(SCRIPTS):
            raise Conflict(
                f"tracking.db was written by a newer Bough (version {version}, this one knows {len(SCRIPTS)})",
                code="DATABASE_NEWER", hint="pip install --upgrade bough",
            )  # fmt: skip
        for script in SCRIPTS[version:]:
            for statement in script.split(";\n"):
                tx.exec_driver_sql(statement)
        tx.exec_driver_sql(f"PRAGMA user_version = {len(SCRIPTS)}")


def _version(tx: sa.Connection) -> int:
    return int(tx.exec_driver_sql("PRAGMA user_version").scalar_one())
