"""`bough down`."""

from __future__ import annotations

import click

from bough.adapters.sql import POSTGRES, REDIS
from bough.adapters.sql.postgres import Postgres
from bough.adapters.sql.redis import Redis
from bough.entrypoints import supervision
from bough.entrypoints.cli.options import command as make
from bough.entrypoints.cli.session import Session

_HELP = """Stops Bough on this machine.

Server, gateway and node end after the requests under way. Replicas keep running, so the next `bough up` serves at
once; with --all they are stopped too, and the next `bough up` starts them again. Doing it twice does no harm."""


def run(session: Session, all: bool) -> None:
    stopped = supervision.take_down(session.home, units=all, say=session.note)
    if all:
        Postgres(session.home.databases / POSTGRES).stop()
        Redis(session.home.databases / REDIS).stop()
    session.answer({"stopped": stopped}, text="Bough is down" if stopped else "Bough was not running")


command = make(
    "down",
    _HELP,
    [click.Option(["--all"], is_flag=True, help="Also stop replicas, web services, builds, jobs and databases.")],
    run,
)
