"""`bough data put`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec

from bough.data.local import scan
from bough.data.models import File
from bough.data.transfer import put
from bough.entrypoints.cli import data_store
from bough.entrypoints.cli.options import command as make
from bough.entrypoints.cli.session import Session
from bough.kernel.errors import NotFound
from bough.kernel.names import suggest_name
from bough.kernel.project import PRODUCTION


def run(
    session: Session, local: Path, target: str, project: str, environment: str, message: str, replace: bool
) -> None:
    project = data_store.project_of(project)
    dataset, prefix = data_store.target(target or suggest_name(local.resolve().stem))
    files = scan(local, f"{prefix}/" if target.endswith("/") else prefix)
    store = data_store.store(session)
    known = _known(session, project, dataset, environment)
    progress = data_store.progress(session, "reading and storing", len(files), sum(each.size for each in files))
    made = put(files, known, store, progress)
    gone = sorted(_below(known, prefix) - {each.path for each in made}) if replace else []
    changed = [each for each in made if known.get(each.path) != each]
    fields: dict[str, Any] = {"project": project, "dataset": dataset, "environment": environment, "message": message}
    fields |= {"remove": gone, **data_store.content(session, changed)}
    done = session.client().files.commit(**fields)
    what = f"{dataset}/{prefix}".rstrip("/")
    why = f"change {done.change}" if done.change else "no change"
    more = {"dataset": dataset, "change": done.change, "written": done.written, "removed": done.removed}
    data_store.answer(session, progress.end(), f"{what} ({why})", **more)


def _known(session: Session, project: str, dataset: str, environment: str) -> dict[str, File]:
    """What the dataset has now; production of a project that was never deployed is made."""
    try:
        found, _ = data_store.tree(session, project, dataset, environment, "")
    except NotFound as error:
        if error.own_code == "ENVIRONMENT_NOT_FOUND" and environment == PRODUCTION:
            session.client().projects.create(name=project)
        elif error.own_code != "DATA_FILE_NOT_FOUND":
            raise
        return {}
    start = len(dataset) + 1
    return {each.path[start:]: msgspec.structs.replace(each, path=each.path[start:]) for each in found}


def _below(known: dict[str, File], prefix: str) -> set[str]:
    return {path for path in known if not prefix or path == prefix or path.startswith(f"{prefix}/")}


command = make(
    "put",
    "Stores a file or a folder in a dataset.\n\nAll files become one change. What is there already is not sent again, "
    "and an upload that was cut goes on where it stopped. Symbolic links to files inside the folder are followed; all "
    "others, and special files, are refused.",
    [
        data_store.local("local", "A file or a folder."),
        click.Argument(["target"], default="", required=False, metavar="[DATASET[/PATH]]",
                       help="Where to; the dataset of the same name without it."),
        *data_store.common(),
        click.Option(["--message", "-m"], default="", metavar="TEXT", help="Why; kept with the change."),
        click.Option(["--replace"], is_flag=True, help="Remove files of the target that LOCAL does not have."),
    ],
    run,
    examples="Examples:\n  bough data put photos images\n  bough data put labels.csv images/labels.csv -m 'relabelled'",
)  # fmt: skip
