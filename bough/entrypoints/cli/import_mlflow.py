"""`bough import mlflow URL`."""

from __future__ import annotations

import os

import click

from bough.entrypoints.cli.options import command as make
from bough.entrypoints.cli.session import Session, project_name
from bough.entrypoints.mlflow.importing import Importing
from bough.entrypoints.mlflow.source import Source


def run(session: Session, server: str, environment: str, project: str | None) -> None:
    source = Source(server, os.environ.get("MLFLOW_TRACKING_TOKEN", ""))
    importing = Importing(source, session.client(), project or project_name(), environment, session.note)
    counts = importing.bring()
    lines = [f"{count:>8}  {name.replace('_', ' ')}" for name, count in counts.items() if count]
    session.answer(counts, text="\n".join(lines) or "nothing is there")


command = make(
    "mlflow",
    "Brings over what an MLflow server keeps: experiments, runs, metrics with their history, artifacts, logged models, "
    "traces with their files, registered models, versions, aliases, prompts.\n\nIt may be interrupted and run again: "
    "nothing is doubled, and what has arrived is not fetched again. What lies in a store that the server only points "
    "to is counted as elsewhere, and versions made of it are left out. MLFLOW_TRACKING_TOKEN is sent if it is set.",
    [
        click.Argument(["server"], metavar="URL", help="Of the MLflow server."),
        click.Option(["--environment", "-e"], default="main", show_default=True, metavar="NAME",
                     help="Environment that gets the models; main is production."),
        click.Option(["--project"], metavar="NAME", help="Project; that of the nearest bough.toml."),
    ],
    run,
    examples="Example:\n  bough import mlflow http://127.0.0.1:5000 --project shop",
)  # fmt: skip
