"""`bough tables upsert`: the rows of a file, changed where their key is there and added elsewhere."""

from __future__ import annotations

from pathlib import Path

import click

from bough.entrypoints.cli import tables_files as files
from bough.entrypoints.cli.options import command as make
from bough.entrypoints.cli.session import Session


def run(session: Session, name: str, file: str, message: str, environment: str, project: str | None) -> None:
    client = session.client()
    fields = files.located(project, environment) | files.send(client, Path(file))
    session.answer(client.tables.upsert(**fields, name=name, message=message))


command = make(
    "upsert",
    "Changes the rows whose key is in a file, and adds the others of it.\n\nRows that are there already, just so, are "
    "not touched.",
    [
        click.Argument(["name"], metavar="NAME", help="Name of the table."),
        files.source(),
        files.message(),
        *files.place(),
    ],
    run,
    examples="Example:\n  bough tables upsert orders today.csv",
)
