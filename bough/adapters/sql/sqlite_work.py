"""What is done with a SQLite database through SQLite, in a process of its own (`sqlite.py` says why): reads one task as
JSON from standard input, answers with one line of JSON."""

from __future__ import annotations

import contextlib
import hmac
import json
import mmap
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bough.runtime.pages import opening

WAIT_MS = 10_000
SHORTEST = 6  # bytes of a value that is searched for: shorter ones occur by chance
SEARCHED = 500  # values of a column that are searched for
LEDGER = "bough_migration"


class Refused(Exception):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def check(path: str) -> list[str]:
    with _open(path) as db:
        found = [row[0] for row in db.execute("PRAGMA integrity_check")]
    return [] if found == ["ok"] else found


def columns(path: str) -> dict[str, list[str]]:
    with _open(path) as db:
        return {table: [each[0] for each in _columns(db, "main", table)] for table in _tables(db, "main")}


def dump(path: str, target: str) -> None:
    with _open(path) as db:
        db.execute("VACUUM INTO ?", (target,))


def recover(path: str) -> None:
    """Rolls back what a dead program left half done."""
    with _open(path) as db:
        db.execute("SELECT count(*) FROM sqlite_master").fetchall()


def checkpoint(path: str) -> None:
    with _open(path) as db:
        db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()


def migrate(path: str, scripts: list[dict[str, str]]) -> list[str]:
    done: list[str] = []
    with _open(path) as db:
        db.execute("BEGIN IMMEDIATE")
        try:
            db.execute(f"CREATE TABLE IF NOT EXISTS {LEDGER} (name TEXT PRIMARY KEY, digest TEXT, at TEXT)")
            known = dict(db.execute(f"SELECT name, digest FROM {LEDGER}").fetchall())  # noqa: S608 - a constant
            for each in scripts:
                if known.get(each["name"]) == each["digest"]:
                    continue
                if each["name"] in known:
                    raise Refused("MIGRATION_FAILED", f"{each['name']} has run here with another content")
                for statement in statements(each["sql"]):
                    _run_one(db, each["name"], statement)
                db.execute(f"INSERT INTO {LEDGER} VALUES (?, ?, datetime('now'))", (each["name"], each["digest"]))  # noqa: S608
                done.append(each["name"])
            db.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(Exception):
                db.execute("ROLLBACK")
            raise
    return done


def mask(path: str, target: str, policy: dict[str, str]) -> None:
    """Writes `target` anew, row by row: what is masked never passes through it in clear."""
    key = os.urandom(32)
    with _open(target) as db:
        _function(db, "bough_mask", 2, lambda value, how: masked(key, value, how))
        db.execute("ATTACH ? AS clear", (path,))
        if virtual := [
            row[0] for row in db.execute("SELECT name FROM clear.sqlite_master WHERE sql LIKE 'CREATE VIRTUAL%'")
        ]:
            raise Refused("MASK_INVALID", f"{virtual[0]} is a virtual table, whose content cannot be masked")
        _check_policy(db, policy)
        try:
            db.execute("BEGIN")
            for table in _tables(db, "clear"):
                _copy_masked(db, table, policy)
            _copy_rest(db)
            db.execute("COMMIT")
        except sqlite3.Error as error:
            raise Refused("MASK_INVALID", f"the policy does not fit the tables; {error}") from error
        if leak := _leak(db, Path(target), policy):
            raise Refused("MASK_LEAKS", leak)
        db.execute("DETACH clear")
        db.execute("PRAGMA journal_mode = WAL").fetchall()


def masked(key: bytes, value: Any, how: str) -> Any:
    if value is None or how == "null":
        return None
    digest = hmac.digest(key, repr(value).encode(), "sha256")
    if how == "hash":
        return digest.hex()
    if how == "token":
        return "tok_" + digest.hex()[:16]
    spread = int.from_bytes(digest[:4], "big") / 2**32 - 0.5  # of the value's own: equal ones stay equal
    return round(value * (1 + spread / 5)) if isinstance(value, int) else value * (1 + spread / 5)


def statements(sql: str) -> Iterator[str]:
    """The statements of a script."""
    begun = ""
    for piece in sql.split(";"):
        begun += piece + ";"
        if sqlite3.complete_statement(begun):
            if begun.strip(" \t\r\n;"):
                yield begun
            begun = ""
    if begun.strip(" \t\r\n;"):
        yield begun


def _run_one(db: Any, name: str, statement: str) -> None:
    try:
        db.execute(statement)
    except Exception as error:  # of either library; whatever SQLite says is the answer
        shown = " ".join(statement.split())[:120]
        raise Refused("MIGRATION_FAILED", f"{name}: {error}, in: {shown}") from error


def _check_policy(db: Any, policy: dict[str, str]) -> None:
    there = {table: dict(_columns(db, "clear", table)) for table in _tables(db, "clear")}
    for name, how in policy.items():
        table, _, column = name.partition(".")
        if column not in there.get(table, {}):
            raise Refused("MASK_INVALID", f"there is no column {name}")
        kind = there[table][column].upper()
        if how == "noise" and not any(word in kind for word in ("INT", "REAL", "FLOA", "DOUB", "NUM", "DEC")):
            raise Refused("MASK_INVALID", f"{name} is {kind or 'of no type'}; noise is for numbers")


def _copy_masked(db: Any, table: str, policy: dict[str, str]) -> None:
    sql = db.execute("SELECT sql FROM clear.sqlite_master WHERE type = 'table' AND name = ?", (table,)).fetchall()[0][0]
    db.execute(sql)
    kept, values = [], []
    for column, _ in _columns(db, "clear", table):
        how = policy.get(f"{table}.{column}", "")
        if how == "drop":
            db.execute(f"ALTER TABLE main.{_q(table)} DROP COLUMN {_q(column)}")
            continue
        kept.append(_q(column))
        values.append(f"bough_mask({_q(column)}, '{how}')" if how else _q(column))
    if _has_rowid(db, table):
        kept, values = ["rowid", *kept], ["rowid", *values]
    db.execute(f"INSERT INTO main.{_q(table)} ({', '.join(kept)}) SELECT {', '.join(values)} FROM clear.{_q(table)}")  # noqa: S608


def _copy_rest(db: Any) -> None:
    """Indexes, views, triggers, counters: what hangs on a column that was dropped stays away with it."""
    rest = "SELECT sql FROM clear.sqlite_master WHERE sql IS NOT NULL AND type IN ('index', 'view', 'trigger')"
    for (sql,) in db.execute(rest).fetchall():
        with contextlib.suppress(Exception):
            db.execute(sql)
    if db.execute("SELECT 1 FROM main.sqlite_master WHERE name = 'sqlite_sequence'").fetchall():
        db.execute("DELETE FROM main.sqlite_sequence")
        db.execute("INSERT INTO main.sqlite_sequence SELECT * FROM clear.sqlite_sequence")
    for pragma in ("user_version", "application_id"):
        value = db.execute(f"PRAGMA clear.{pragma}").fetchall()[0][0]
        db.execute(f"PRAGMA main.{pragma} = {int(value)}")


def _leak(db: Any, target: Path, policy: dict[str, str]) -> str:
    """Where a value of a masked column is found in the bytes of what was written; empty: nowhere."""
    with target.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for name in policy:
            table, _, column = name.partition(".")
            query = (
                f"SELECT DISTINCT {_q(column)} FROM clear.{_q(table)} WHERE typeof({_q(column)}) IN ('text', 'blob')"  # noqa: S608
            )
            for (value,) in db.execute(f"{query} ORDER BY random() LIMIT {SEARCHED}").fetchall():
                text = value.encode() if isinstance(value, str) else value
                if len(text) >= SHORTEST and content.find(text) >= 0:
                    return f"a value of {name} stands in clear elsewhere: mask the column that repeats it, or drop it"
    return ""


def _tables(db: Any, schema: str) -> list[str]:
    query = f"SELECT name FROM {schema}.sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"  # noqa: S608
    return [row[0] for row in db.execute(query + " ORDER BY rowid").fetchall()]


def _columns(db: Any, schema: str, table: str) -> list[tuple[str, str]]:
    """Those that are stored: name and type."""
    rows = db.execute(f"PRAGMA {schema}.table_xinfo({_q(table)})").fetchall()
    return [(row[1], row[2]) for row in rows if row[6] == 0]


def _has_rowid(db: Any, table: str) -> bool:
    names = {name.lower() for name, _ in _columns(db, "clear", table)}
    if "rowid" in names:
        return False
    try:
        db.execute(f"SELECT rowid FROM clear.{_q(table)} LIMIT 1").fetchall()  # noqa: S608
    except Exception:  # of either library: a table without row ids says so by an error
        return False
    return True


def _q(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _function(db: Any, name: str, arguments: int, function: Callable[..., Any]) -> None:
    if isinstance(db, sqlite3.Connection):
        db.create_function(name, arguments, function, deterministic=True)
    else:
        db.create_scalar_function(name, function, arguments, deterministic=True)


@contextlib.contextmanager
def _open(path: str) -> Iterator[Any]:
    db = opening.connect(Path(path))
    if isinstance(db, sqlite3.Connection):
        db.isolation_level = None
    db.execute(f"PRAGMA busy_timeout = {WAIT_MS}").fetchall()
    try:
        yield db
    finally:
        db.close()


TASKS: dict[str, Callable[..., Any]] = {
    each.__name__: each for each in (check, columns, dump, recover, checkpoint, migrate, mask)
}


def main() -> None:
    task = json.load(sys.stdin)
    try:
        answer: dict[str, Any] = {"answer": TASKS[task.pop("do")](**task)}
    except Refused as refused:
        answer = {"code": refused.code, "message": str(refused)}
    except Exception as error:  # of SQLite or the disk: the caller says it to a person
        answer = {"code": type(error).__name__, "message": str(error)}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
