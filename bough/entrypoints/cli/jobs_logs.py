"""`bough jobs logs`: what a job run has printed, over restarts of the server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from bough.entrypoints.cli import unbroken
from bough.entrypoints.cli.options import command as make
from bough.entrypoints.cli.session import Session

_HELP = """Streams what a job run has printed, attempt by attempt."""


def run(session: Session, id: str, follow: bool, lines: int, cursor: str) -> None:
    def begin(cursor: str) -> Iterator[Any]:
        yield from session.client().jobs.logs(id=id, follow=follow, lines=lines, cursor=cursor)

    for item in unbroken.stream(begin, cursor) if follow else begin(cursor):
        session.answer(item, text=item.text)


command = make(
    "logs",
    _HELP,
    [
        click.Argument(["id"], metavar="ID", help="The job run's id."),
        click.Option(["--follow", "-f"], is_flag=True, help="Go on as lines come, to its end."),
        click.Option(["--lines", "-n"], type=click.IntRange(0, 1_000_000), default=1000, show_default=True,
                     help="How many of the last lines."),
        click.Option(["--cursor"], default="", metavar="TEXT", help="Go on after the line that carried it (--json)."),
    ],
    run,
    examples="Examples:\n  bough jobs logs jr_01jd8x5m3k8v2n4q6r\n  bough jobs logs ID --follow",
)  # fmt: skip
