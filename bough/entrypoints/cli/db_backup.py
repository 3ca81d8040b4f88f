"""`bough db backup`."""

from __future__ import annotations

from pathlib import Path

import click

from bough.entrypoints.cli import data_store, db_files
from bough.entrypoints.cli.drawing import size
from bough.entrypoints.cli.options import command as make
from bough.entrypoints.cli.session import Session


def run(session: Session, name: str, file: Path, project: str, environment: str) -> None:
    done = session.client().databases.backup(project=data_store.project_of(project), name=name, environment=environment)
    db_files.fetched(session, done.digest, done.size, file)
    session.answer(
        {"name": name, "file": str(file), "bytes": done.size},
        text=None if session.json else f"{file}: {size(done.size)}",
    )


command = make(
    "backup",
    "Writes all of a database into one file: a SQLite file that any program opens, a dump of Postgres, a snapshot of "
    "Redis.",
    [
        click.Argument(["name"], metavar="NAME", help="The database."),
        click.Argument(["file"], metavar="FILE", type=click.Path(path_type=Path), help="Where to; must not exist."),
        *data_store.common(),
    ],
    run,
    examples="Examples:\n  bough db backup orders orders.sqlite\n  bough db backup orders test.sqlite -e checkout-v2",
)  # fmt: skip
