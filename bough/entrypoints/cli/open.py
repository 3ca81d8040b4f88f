"""`bough open`."""

from __future__ import annotations

import os
import sys
import time
import webbrowser
from pathlib import Path
from typing import Any

import click

from bough.entrypoints.cli import first_answer
from bough.entrypoints.cli.options import command as make
from bough.entrypoints.cli.options import environment
from bough.entrypoints.cli.session import Session, find_project, project_name
from bough.kernel.errors import NotFound, ProjectFileInvalid, Unavailable

LOOK_S = 0.1


def run(session: Session, service: str, project: str, environment: str, wait: float) -> None:
    project = project or project_name()
    deadline = time.monotonic() + wait
    while True:
        found = _services(session, project, service, environment)
        waiting = [each for each in found if each.ready < each.wanted]
        if not wait or not waiting:
            break
        if time.monotonic() > deadline:
            raise Unavailable(
                f"{waiting[0].service} is not ready after {wait:g} s",
                code="TIMEOUT",
                hint=f"bough logs {waiting[0].service}",
            )
        time.sleep(LOOK_S)
    if wait:
        _record(found)
    answer = [
        {"service": each.service, "state": each.state, "url": each.url, "address": each.get("address", "")}
        for each in found
    ]
    session.answer(answer, text="\n".join(each["url"] for each in answer))
    if session.interactive and _has_display():
        webbrowser.open(answer[0]["url"])


def _services(session: Session, project: str, service: str, environment: str) -> list[Any]:
    found = session.client().services.list(project=project, environment=environment)
    if service:
        found = [each for each in found if each.service == service]
    if not found:
        what = f"has no service {service!r}" if service else "serves nothing yet"
        raise NotFound(f"{project}/{environment} {what}", code="SERVICE_NOT_FOUND", hint="bough deploy; bough status")
    return list(found)


def _record(found: list[Any]) -> None:
    try:
        first_answer.seconds_from_init(find_project(Path.cwd()), found)
    except ProjectFileInvalid:  # `--project` was given, from somewhere else
        return


def _has_display() -> bool:
    return sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


command = make(
    "open",
    "Prints the URLs of the services.\n\nOn a terminal with a display it also opens the first one in a browser.",
    [
        click.Argument(
            ["service"], default="", required=False, metavar="[SERVICE]", help="One service; all without it."
        ),
        click.Option(["--project"], default="", metavar="NAME", help="Project; that of the nearest bough.toml."),
        environment(),
        click.Option(["--wait"], type=float, default=0.0, metavar="SECONDS", help="Wait until all replicas are ready."),
    ],
    run,
)
