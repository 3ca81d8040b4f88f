"""`bough tables append`: the rows of a file, added."""

from __future__ import annotations

from pathlib import Path

import click

from bough.entrypoints.cli import tables_files as files
from bough.entrypoints.cli.options import command as make
from bough.entrypoints.cli.session import Session


def run(session: Session, name: str, file: str, message: str, environment: str, project: str | None) -> None:
    client = session.client()
    fields = files.located(project, environment) | files.send(client, Path(file))
    session.answer(client.tables.append(**fields, name=name, message=message))


command = make(
    "append",
    "Adds the rows of a file to a table.\n\nColumns go by name, in any order. With a key, a row "
    "whose key is there already is refused.",
    [
        click.Argument(["name"], metavar="NAME", help="Name of the table."),
        files.source(),
        files.message(),
        *files.place(),
    ],
    run,
    examples="Example:\n  bough tables append orders today.csv",
)
