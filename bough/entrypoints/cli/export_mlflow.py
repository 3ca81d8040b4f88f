"""`bough export mlflow URL`."""

from __future__ import annotations

import os

import click

from bough.entrypoints.cli.options import command as make
from bough.entrypoints.cli.session import Session, project_name
from bough.entrypoints.mlflow.exporting import Exporting
from bough.entrypoints.mlflow.source import Source
from bough.entrypoints.mlflow.target import Target
from bough.kernel import platform


def run(session: Session, server: str, environment: str, project: str | None) -> None:
    session.client()  # says what is wrong with this side before anything goes
    base = (session.remote or platform.load(session.home.path).api_url).rstrip("/")
    source = Source(f"{base}/mlflow/{project or project_name()}/{environment}", session.token())
    counts = Exporting(source, Target(server, os.environ.get("MLFLOW_TRACKING_TOKEN", "")), session.note).take()
    lines = [f"{count:>8}  {name.replace('_', ' ')}" for name, count in counts.items() if count]
    session.answer(counts, text="\n".join(lines) or "nothing is there")


command = make(
    "mlflow",
    "Takes what a project keeps to an MLflow server of version 3: experiments, runs, metrics with their history, "
    "artifacts, logged models, registered models, versions, aliases, prompts.\n\nIt may be interrupted and run again: "
    "nothing is doubled, and files that are there are not sent again. Runs and versions get the tag bough.from with "
    "what they were called here; a model team/churn is called team-churn there. MLFLOW_TRACKING_TOKEN is sent if it is "
    "set.",
    [
        click.Argument(["server"], metavar="URL", help="Of the MLflow server."),
        click.Option(["--environment", "-e"], default="main", show_default=True, metavar="NAME",
                     help="Environment whose models go; main is production."),
        click.Option(["--project"], metavar="NAME", help="Project; that of the nearest bough.toml."),
    ],
    run,
    examples="Example:\n  bough export mlflow http://127.0.0.1:5000 --project shop",
)  # fmt: skip
