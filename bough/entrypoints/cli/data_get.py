"""`bough data get`."""

from __future__ import annotations

from pathlib import Path

import click

from bough.data.models import File
from bough.data.transfer import get
from bough.entrypoints.cli import data_store
from bough.entrypoints.cli.options import command as make
from bough.entrypoints.cli.session import Session


def run(session: Session, target: str, local: Path | None, project: str, environment: str, at: str) -> None:
    project = data_store.project_of(project)
    dataset, path = data_store.target(target)
    files, change = data_store.tree(session, project, target.strip("/"), environment, at)
    key = f"{dataset}/{path}".rstrip("/")
    places, root = _places(files, key, local or Path(key.rpartition("/")[2]))
    progress = data_store.progress(session, "fetching", len(files), sum(each.size for each in files))
    get(places, root, data_store.store(session), progress)
    data_store.answer(session, progress.end(), f"{key} -> {local or root}", dataset=dataset, change=change)


def _places(files: list[File], key: str, local: Path) -> tuple[list[tuple[File, Path]], Path]:
    """Where each file goes, and the folder that none may leave. One file goes to LOCAL itself, or into it."""
    if len(files) == 1 and files[0].path == key:
        place = (local / key.rpartition("/")[2] if local.is_dir() else local).absolute()
        return [(files[0], place)], place.parent
    return [(each, local / each.path[len(key) + 1 :]) for each in files], local


command = make(
    "get",
    "Fetches a file, a folder or a dataset.\n\nWhat lies there already with the right content is left alone, so an "
    "interrupted get goes on where it stopped; files beside are not touched. Everything is checked against its digest.",
    [
        click.Argument(["target"], metavar="DATASET[/PATH]", help="What to fetch."),
        click.Argument(["local"], default=None, required=False, metavar="[LOCAL]",
                       type=click.Path(path_type=Path), help="Where to; here, under its own name, without it."),
        *data_store.common(at=True),
    ],
    run,
    examples="Examples:\n  bough data get images photos\n  bough data get images/labels.csv --at v1 -e staging",
)  # fmt: skip
