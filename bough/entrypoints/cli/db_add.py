"""`bough db add`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from bough.entrypoints.cli import data_store, db_files
from bough.entrypoints.cli.options import command as make
from bough.entrypoints.cli.session import Session


def run(
    session: Session, name: str, engine: str, how: str, source: Path | None, server: str, project: str, environment: str
) -> None:
    if server == "-":
        server = sys.stdin.readline().strip()
    made = session.client().databases.add(
        project=data_store.project_of(project), name=name, engine=engine, how=how, environment=environment,
        content=db_files.sent(session, source), server=server,
    )  # fmt: skip
    if session.json:
        session.answer(made)
        return
    session.answer(made, text=f"{made.environment} has the database {made.name} ({made.engine}, {made.way})\n"
                              f"  {made.variable}={made.url}")  # fmt: skip


command = make(
    "add",
    "Gives an environment a database, and with it every branch that is made from then on.\n\nServices, jobs and "
    "`bough data run` find its URL in NAME_URL, different in every environment; in DATABASE_URL too, where it is the "
    "only one.",
    [
        click.Argument(["name"], metavar="NAME", help="What it is called."),
        click.Option(["--engine"], default="sqlite", show_default=True, metavar="ENGINE",
                     help="sqlite, postgres or redis."),
        click.Option(["--how"], default="", metavar="WAY", help="How it branches (bough db ways); else the best."),
        click.Option(["--from", "source"], default=None, metavar="FILE", type=click.Path(path_type=Path),
                     help="What it begins with: a SQLite file, a dump of Postgres, a snapshot (.rdb) or log of Redis."),
        click.Option(["--server"], default="", metavar="URL",
                     help="A database on a PostgreSQL server of your own; - reads the URL from standard input. Its "
                     "password is kept as a secret, its branches are databases of that server."),
        *data_store.common(),
    ],
    run,
    examples="Examples:\n  bough db add orders\n  bough db add orders --from orders.sqlite\n"
    "  bough db add events --engine postgres\n"
    "  bough db add cache --engine redis\n"
    "  bough db add events --engine postgres --server - <<< postgresql://app:secret@db.internal/events",
)  # fmt: skip
