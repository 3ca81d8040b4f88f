"""`bough models get`: the files of a version, in a folder of this machine."""

from __future__ import annotations

from pathlib import Path

import click

from bough.data.models import File
from bough.data.transfer import get
from bough.entrypoints.cli import data_store
from bough.entrypoints.cli.options import command as make
from bough.entrypoints.cli.session import Session, project_name


def run(session: Session, model: str, local: Path, project: str, environment: str) -> None:
    found = session.client().models.files(project=project or project_name(), model=model, environment=environment)
    files = [File(**each) for each in found]
    progress = data_store.progress(session, "fetching", len(files), sum(each.size for each in files))
    local.mkdir(parents=True, exist_ok=True)
    get([(each, local / each.path) for each in files], local, data_store.store(session), progress)
    data_store.answer(session, progress.end(), f"{model} in {local}", model=model, folder=str(local))


command = make(
    "get",
    "Fetches the files of a version into a folder.\n\nWhat lies there already is not fetched again; every file is "
    "checked against its digest.",
    [
        click.Argument(["model"], metavar="MODEL", help="NAME@ALIAS or NAME/NUMBER."),
        data_store.local("local", "Folder to write into."),
        *data_store.common(),
    ],
    run,
    examples="Example:\n  bough models get churn@champion churn",
)
