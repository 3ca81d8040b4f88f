"""`bough db migrate`."""

from __future__ import annotations

from pathlib import Path

import click

from bough.entrypoints.cli import data_store
from bough.entrypoints.cli.options import command as make
from bough.entrypoints.cli.session import Session
from bough.kernel.errors import Invalid


def run(session: Session, name: str, files: tuple[Path, ...], dry_run: bool, project: str, environment: str) -> None:
    scripts = {path.name: path.read_text("utf-8") for path in _sql_files(files)}
    done = session.client().databases.migrate(
        project=data_store.project_of(project), name=name, scripts=scripts, environment=environment, dry_run=dry_run
    )
    how = "would run" if dry_run else "ran"
    said = f"{how} on {name} of {environment}: {', '.join(done.ran)}" if done.ran else f"{name} has run all of them"
    session.answer(done, text=None if session.json else said)


def _sql_files(given: tuple[Path, ...]) -> list[Path]:
    """A folder means all `.sql` files in it."""
    found = [path for each in given for path in (sorted(each.glob("*.sql")) if each.is_dir() else [each])]
    if missing := [path for path in found if not path.is_file()] or ([] if found else list(given)):
        raise Invalid(
            f"there is no migration {missing[0]}", code="MIGRATION_MISSING", hint="name .sql files, or a folder"
        )
    return found


command = make(
    "migrate",
    "Runs migrations (files of SQL) that a database has not run yet.\n\nThey are tried on a fresh branch of it first, "
    "then run in one transaction. In a branch, `bough branch merge` tries them on a fresh branch of the parent and runs"
    " them there.",
    [
        click.Argument(["name"], metavar="NAME", help="The database."),
        click.Argument(["files"], nargs=-1, required=True, metavar="FILE…", type=click.Path(path_type=Path),
                       help="Files of SQL, or a folder of them."),
        click.Option(["--dry-run"], is_flag=True, help="Only try them."),
        *data_store.common(),
    ],
    run,
    examples="Examples:\n  bough db migrate orders migrations/ -e checkout-v2\n"
    "  bough branch merge checkout-v2 --dry-run",
)  # fmt: skip
