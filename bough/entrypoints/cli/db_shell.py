"""`bough db shell`."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import shlex
import shutil
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from bough.adapters.sql import redis_lines
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
    if found.url.startswith("unix:"):
        _redis(session, found.url, command)
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


def _redis(session: Session, url: str, command: str) -> None:
    named = urlsplit(url)
    password, program = named.password or "", shutil.which("redis-cli") or shutil.which("valkey-cli")
    if command:
        with redis_lines.opened(Path(named.path), "", password) as line:
            answer = line.ask(*shlex.split(command))
        lines = [_read(each) for each in answer] if isinstance(answer, list) else [_read(answer)]
        session.answer(lines, text="\n".join(map(str, lines)) or "none")
    elif program is None:
        raise Unavailable("there is no redis-cli here", code="SHELL_MISSING",
                          hint="bough db shell NAME --command 'GET KEY'")  # fmt: skip
    else:  # a program's words can be read by others, its environment cannot
        os.execve(program, [program, "-s", named.path], {**os.environ, "REDISCLI_AUTH": password})  # noqa: S606


def _read(answer: Any) -> Any:
    """What JSON has of an answer of Redis."""
    if isinstance(answer, list):
        return [_read(each) for each in answer]
    return answer.decode(errors="backslashreplace") if isinstance(answer, bytes) else answer


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
    "Opens a database with sqlite3, psql or redis-cli, or runs one statement, or one command of Redis.",
    [
        click.Argument(["name"], metavar="NAME", help="The database."),
        click.Option(["--command", "-c"], default="", metavar="SQL", help="Run this and print the answer."),
        *data_store.common(),
    ],
    run,
    examples="Examples:\n  bough db shell orders\n  bough db shell orders -c 'SELECT count(*) FROM orders'"
    "\n  bough db shell cache -c 'GET greeting'",
)  # fmt: skip
