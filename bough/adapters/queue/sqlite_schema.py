"""The tables of `queues.db`. Forward only: a script per version, run in one transaction.

An item's row is small and written three times: when it comes, is taken, has ended. Bodies and results that would make
it large lie beside it, so that a state changes without their being written again. Every index is partial and holds
only what is looked for through it: an item that waits is in one, one that has ended in another.
"""

from __future__ import annotations

import sqlite3

# States as they are kept; the order is part of the file's format.
WAITING, BEHIND, DELAYED, RUNNING, DONE, DEAD = range(6)

_FIRST = """
CREATE TABLE queue (
    id INTEGER PRIMARY KEY, project TEXT NOT NULL, environment TEXT NOT NULL, name TEXT NOT NULL,
    UNIQUE (project, environment, name));
CREATE TABLE item (
    seq INTEGER PRIMARY KEY, queue INTEGER NOT NULL, state INTEGER NOT NULL, rank INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, due REAL, owner TEXT, key TEXT, dedup TEXT, kind TEXT, body BLOB,
    ended REAL, status INTEGER, error TEXT, result_kind TEXT, result BLOB);
CREATE INDEX item_live ON item (queue, state, rank, seq) WHERE state <> 4;
CREATE INDEX item_delayed ON item (due) WHERE state = 2;
CREATE INDEX item_ended ON item (due) WHERE state IN (4, 5);
CREATE UNIQUE INDEX item_dedup ON item (queue, dedup) WHERE dedup IS NOT NULL;
CREATE INDEX item_key ON item (queue, key, seq) WHERE key IS NOT NULL AND state IN (0, 1, 2, 3);
CREATE TABLE large (seq INTEGER NOT NULL, part INTEGER NOT NULL, content BLOB NOT NULL, PRIMARY KEY (seq, part));
CREATE TABLE delivery (
    id INTEGER PRIMARY KEY, seq INTEGER NOT NULL, target TEXT NOT NULL, due REAL NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0);
CREATE INDEX delivery_due ON delivery (due);
CREATE INDEX delivery_of ON delivery (seq);
CREATE TABLE mark (name TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;
"""
_SCRIPTS = (_FIRST,)


def prepare(db: sqlite3.Connection) -> None:
    """Brings a file to the newest version; several processes may do so at once."""
    if _version(db) == len(_SCRIPTS):
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        for number in range(_version(db), len(_SCRIPTS)):
            for statement in _SCRIPTS[number].split(";"):
                if statement.strip():
                    db.execute(statement)
            db.execute(f"PRAGMA user_version = {number + 1}")
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])
