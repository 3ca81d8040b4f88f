"""`bough tables query`: a SELECT, answered as a table, as JSON or into a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bough.entrypoints.cli import tables_files as files
from bough.entrypoints.cli.drawing import cell, columns_of, size
from bough.entrypoints.cli.options import command as make
from bough.entrypoints.cli.session import Session


def run(
    session: Session, sql: str, at: str, limit: int, output: str | None, environment: str, project: str | None
) -> None:
    client = session.client()
    fields = files.located(project, environment) | {"sql": sql, "at": at}
    if output is None:
        found = client.tables.query(**fields, limit=limit)
        session.answer(found, text=_drawn(found, limit))
        return
    path = Path(output)
    found = client.tables.query(**fields, output=files.format_of(path))
    files.fetch(client, found.blob, path)
    session.answer({"file": str(path), "bytes": found.bytes}, text=f"{path}: {size(found.bytes)}")


def _drawn(found: Any, limit: int) -> str:
    lines = [[each.name for each in found.columns]]
    lines += [["null" if value is None else cell("", value) for value in row] for row in found.get("rows", [])]
    text = columns_of(lines)
    return f"{text}\n… more than {limit} rows: --limit, or --output FILE for all" if found.get("more") else text


command = make(
    "query",
    "Answers a SELECT over the tables of an environment, as it is now or was.\n\nThe SQL is DuckDB's. It reads tables "
    "of the environment and nothing else.",
    [
        click.Argument(["sql"], metavar="SQL", help="One SELECT."),
        click.Option(["--at"], default="", metavar="TIME|TAG", help="As it was then; also an age, such as 2h."),
        click.Option(["--limit"], type=click.IntRange(1, 10_000), default=100, show_default=True, help="Rows shown."),
        click.Option(["--output", "-o"], metavar="FILE", help="Write all rows to a .parquet, .csv or .json file."),
        *files.place(),
    ],
    run,
    examples="Example:\n  bough tables query 'SELECT status, count(*) FROM orders GROUP BY ALL' -e staging",
)  # fmt: skip
