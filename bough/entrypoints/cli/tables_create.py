"""`bough tables create`: a table from a file of this machine, or an empty one."""

from __future__ import annotations

from pathlib import Path

import click

from bough.entrypoints.cli import tables_files as files
from bough.entrypoints.cli.options import command as make
from bough.entrypoints.cli.session import Session


def run(
    session: Session, name: str, file: str | None, schema: str, key: tuple[str, ...], message: str,
    environment: str, project: str | None,
) -> None:  # fmt: skip
    client = session.client()
    fields = files.located(project, environment) | {"name": name, "key": list(key), "message": message}
    if file is not None:
        fields |= files.send(client, Path(file))
    session.answer(client.tables.create(**fields, schema=schema))


command = make(
    "create",
    "Makes a table from a file, or an empty one with a schema. A key tells rows apart.\n\nColumns and types are those "
    "of the file. A key is unique and never null; with one, rows can be upserted, and branches merge row by row.",
    [
        click.Argument(["name"], metavar="NAME", help="Name of the table."),
        files.source(required=False),
        click.Option(["--schema"], default="", metavar="COLUMNS", help="Instead of a file: 'id BIGINT, name VARCHAR'."),
        click.Option(["--key"], multiple=True, metavar="COLUMN", help="Column of the key. Repeatable."),
        files.message(),
        *files.place(),
    ],
    run,
    examples="Example:\n  bough tables create orders orders.parquet --key id",
)  # fmt: skip
