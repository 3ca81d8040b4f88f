"""`bough db shell`."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import shutil
import sqlite3
from collections.abc import Sequence
from typing import Any

import click

from bough.entrypoints.cli import data_store, drawing
from bough.entrypoints.cli.options import command as make
from bough.entrypoints.cli.session import Session
from bough.kernel.errors import Invalid, Unavailable

CONNECT_S = 20


def run(session: Session, name: str, command: str, project: str, environment: str) -> None:
    if session.remote:
        raise Invalid("the database is on another machine", code="SHELL_REMOTE", hint=f"bough db backup {name} FILE")
    project = data_store.project_of(project)
    found = session.client().databases.url(project=project, name=name, environment=environment)
    if found.url.startswith("postgresql:"):
        _postgres(session, found.url, command)
        return
    from bough.runtime.pages import extension, opening

    path, library = opening.path_of(found.url), extension.find(session.home.databases / "sqlite" / "extension")
    program = shutil.which("sqlite3")
    if command:
        os.environ |= {extension.VARIABLE: str(library)} if library else {}
        _print(session, opening.connect(path), command)
    elif program and library:
        os.execv(program, ["sqlite3", "-cmd", f".load {library}", "-cmd", f".open {path}", ":memory:"])  # noqa: S606
    else:
        raise Unavailable(
            "there is no sqlite3 program here, or no C compiler for the extension",
            code="SHELL_MISSING", hint=f"bough db shell {name} --command 'SELECT …'",
        )  # fmt: skip


def _print(session: Session, connection: Any, command: str) -> None:
    try:
        cursor = connection.execute(command)
        rows = cursor.fetchall()
        names = [each[0] for each in cursor.description or ()] if rows else []
        if isinstance(connection, sqlite3.Connection):
            connection.commit()
    except Exception as error:  # of either library: the answer is what SQLite says
        raise Invalid(f"SQLite says: {error}", code="SQL_INVALID", hint="check the statement") from error
    finally:
        connection.close()
    _answer(session, names, rows)


def _postgres(session: Session, url: str, command: str) -> None:
    program = shutil.which("psql")
    if command and importlib.util.find_spec("psycopg") is not None:
        _ask(session, url, command)
    elif session.json and command:
        raise Unavailable("psycopg is missing", code="SHELL_MISSING", hint="pip install 'bough[postgres]'")
    elif program is None:
        raise Unavailable("there is no psql here", code="SHELL_MISSING", hint="install PostgreSQL's client")
    else:
        os.execv(program, ["psql", url, *(["-c", command] if command else [])])  # noqa: S606 - the user's own


def _ask(session: Session, url: str, command: str) -> None:
    psycopg = importlib.import_module("psycopg")
    try:
        with contextlib.closing(psycopg.connect(url, autocommit=True, connect_timeout=CONNECT_S)) as connection:
            cursor = connection.execute(command)
            while cursor.nextset():
                pass  # of several statements the last one's rows
            names = [each.name for each in cursor.description or ()]
            rows = cursor.fetchall() if names else []
    except psycopg.Error as error:
        said = str(error).strip().splitlines()[0]
        raise Invalid(f"PostgreSQL says: {said}", code="SQL_INVALID", hint="check the statement") from error
    _answer(session, names, rows)


def _answer(session: Session, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Values as they are, also those that look like digests."""
    plain = [[_plain(each) for each in row] for row in rows]
    lines = [names, *([str(each) if each is not None else "" for each in row] for row in plain)]
    text = drawing.columns_of(lines) if rows else "none"
    session.answer([dict(zip(names, row, strict=True)) for row in plain], text=text)


def _plain(value: Any) -> Any:
    """What JSON has; anything else as it reads."""
    if isinstance(value, bytes):
        return value.hex()
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


command = make(
    "shell",
    "Opens a database with sqlite3 or psql, or runs one statement.",
    [
        click.Argument(["name"], metavar="NAME", help="The database."),
        click.Option(["--command", "-c"], default="", metavar="SQL", help="Run this and print the answer."),
        *data_store.common(),
    ],
    run,
    examples="Examples:\n  bough db shell orders\n  bough db shell orders -c 'SELECT count(*) FROM orders'",
)  # fmt: skip
