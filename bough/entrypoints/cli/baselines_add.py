"""`bough baselines add`."""

from __future__ import annotations

from pathlib import Path

import click

from bough.entrypoints.cli import data_store, db_files, drawing
from bough.entrypoints.cli.options import command as make
from bough.entrypoints.cli.session import Session


def run(session: Session, name: str, file: Path, project: str) -> None:
    made = session.client().baselines.add(
        project=data_store.project_of(project), name=name, content=db_files.sent(session, file)
    )
    rows = [{"name": each, **metrics} for each, metrics in made.measured.items()]
    session.answer(made, text=None if session.json else drawing.table(rows))


command = make(
    "add",
    "Keeps what a file says of requests, to compare with.\n\nRead are HAR (what browsers save), CSV with a column of "
    "latencies (JMeter, hey), and the JSON of k6, vegeta and oha.",
    [
        click.Argument(["name"], metavar="NAME", help="What it is called."),
        click.Argument(["file"], metavar="FILE", type=click.Path(path_type=Path), help="What a tool has measured."),
        *data_store.common()[:1],
    ],
    run,
    examples="Examples:\n  bough baselines add before old-host.har\n  bough baselines diff before mir_1a2b",
)  # fmt: skip
