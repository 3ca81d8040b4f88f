"""`bough logs`: what services print, over restarts of the server without a line lost or said twice."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import click

from bough.entrypoints.cli import unbroken
from bough.entrypoints.cli.drawing import DIM, paint
from bough.entrypoints.cli.options import command as make
from bough.entrypoints.cli.options import environment
from bough.entrypoints.cli.session import Session, project_name
from bough.entrypoints.processes import KEEPER, PARTS
from bough.kernel.errors import NotFound

ALL_LINES = 1_000_000
PAUSE_S = 0.3

_HELP = """Prints the output of services.

Without SERVICE: of all services of the project, each line behind its service's name. Output lives as long as its
replica's records do. SERVICE may also be server, gateway, node or keeper: Bough's own processes on this machine."""


def run(
    session: Session,
    service: str,
    project: str,
    environment: str,
    follow: bool,
    lines: int,
    cursor: str,
    build: bool,
) -> None:
    if service in (*PARTS, KEEPER) and not project:
        _own(session, service, lines, follow)
        return
    request: dict[str, Any] = {
        "project": project or project_name(),
        "service": service,
        "environment": environment,
        "follow": follow,
        "build": build,
        "cursor": cursor,
    }
    printed = False
    for item in items(session.client(), request, lines):
        printed = True
        if session.json:
            session.answer(item)
        else:
            head = "" if service else paint(f"{item.service} |", DIM, session.colour) + " "
            session.out(head + item.text)
    if not printed and not follow:
        session.note(f"{service or 'no service'} has printed {'nothing' if service else 'anything'} since it started")


def items(client: Any, request: dict[str, Any], lines: int) -> Iterator[Any]:
    """Lines; when the connection is cut while following, asked for again from where they ended."""

    def begin(cursor: str) -> Iterator[Any]:
        yield from client.services.logs(**request | {"cursor": cursor}, lines=lines)

    cursor = request.get("cursor", "")
    return unbroken.stream(begin, cursor) if request["follow"] else begin(cursor)


def _own(session: Session, name: str, lines: int, follow: bool) -> None:
    path = session.home.logs / f"{name}.log"
    try:
        file = path.open("r", encoding="utf-8", errors="replace")
    except FileNotFoundError:
        raise NotFound(f"there is no {path}", code="LOG_NOT_FOUND", hint="bough up") from None
    with file:
        for text in deque(file, maxlen=lines):
            session.answer({"service": name, "text": text.rstrip("\n")}, text=text.rstrip("\n"))
        while follow:
            if text := file.readline():
                session.answer({"service": name, "text": text.rstrip("\n")}, text=text.rstrip("\n"))
            else:
                time.sleep(PAUSE_S)


command = make(
    "logs",
    _HELP,
    [
        click.Argument(["service"], default="", required=False, metavar="[SERVICE]", help="One; all without it."),
        click.Option(["--project"], default="", metavar="NAME", help="Project; that of the nearest bough.toml."),
        environment(),
        click.Option(["--follow", "-f"], is_flag=True, help="Go on as lines come."),
        click.Option(["--lines", "-n"], type=click.IntRange(0, ALL_LINES), default=100, show_default=True,
                     help="How many of the last lines of each replica, restarts included."),
        click.Option(["--cursor"], default="", metavar="TEXT", help="Go on after the line that carried it (--json)."),
        click.Option(["--build"], is_flag=True, help="The build's output instead of the replicas'."),
    ],
    run,
    examples="Examples:\n  bough logs --follow\n  bough logs churn --lines 20\n  bough logs gateway",
)  # fmt: skip
