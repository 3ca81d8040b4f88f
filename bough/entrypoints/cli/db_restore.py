"""`bough db restore`."""

from __future__ import annotations

from pathlib import Path

import click

from bough.entrypoints.cli import data_store, db_files
from bough.entrypoints.cli.options import command as make
from bough.entrypoints.cli.session import Session


def run(session: Session, name: str, snapshot: str, file: Path | None, project: str, environment: str) -> None:
    done = session.client().databases.restore(
        project=data_store.project_of(project), name=name, environment=environment, snapshot=snapshot,
        content=db_files.sent(session, file),
    )  # fmt: skip
    what = str(file) if file else snapshot or "its newest snapshot"
    session.answer(done, text=None if session.json else f"{name} of {done.environment} is what {what} holds")


command = make(
    "restore",
    "Makes a database what a snapshot or a backup holds; what it was stays as a snapshot.\n\nPrograms that have it "
    "open get errors, and find the restored one when they open it again.",
    [
        click.Argument(["name"], metavar="NAME", help="The database."),
        click.Option(["--snapshot"], default="", metavar="ID", help="A snapshot or a tag; the newest one without it."),
        click.Option(["--file"], default=None, metavar="FILE", type=click.Path(path_type=Path),
                     help="A backup instead."),
        *data_store.common(),
    ],
    run,
    examples="Examples:\n  bough db restore orders\n  bough db restore orders --file orders.sqlite",
)  # fmt: skip
