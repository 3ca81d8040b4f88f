"""`bough check`: whether a program keeps what it promises, tried on this machine, without a running Bough."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import click
import msgspec

from bough.builds import contract
from bough.builds.dockerfile import read_dockerfile
from bough.builds.models import BuildResult
from bough.entrypoints.cli import check_building, check_resume, sending
from bough.entrypoints.cli.drawing import GREEN, RED, YELLOW, columns_of, paint
from bough.entrypoints.cli.options import NumberRange, common, environment
from bough.entrypoints.cli.options import command as make
from bough.entrypoints.cli.session import Session, find_project, load_project
from bough.kernel.errors import Invalid, NotFound, ProjectFileInvalid, WorkloadFailed
from bough.kernel.project import FILE_NAME
from bough.kernel.workloads import Service

_COLOURS = {contract.KEPT: GREEN, contract.BROKEN: RED, contract.UNPROVEN: YELLOW}

_HELP = """Checks that web services keep the container contract.

Builds each web service of the project as a deploy would and starts it on ports of this machine, without a running
Bough: it must listen on $PORT, else on 8080; answer its health path; after SIGTERM answer the request that is under way
(--slow names a path whose answer takes about a second) and end; and end with a status other than 0 when its port is
taken. A broken promise ends the command with status 8. What could not be shown here is unproven, which is no breach."""


def run(session: Session, folder: str, environment: str, service: str, slow: str, start_s: float) -> None:
    root, service = _meant(folder, service, environment)
    prepared = sending.prepare(root, environment)
    services = {name: each for name, each in prepared.project.services.items() if service in ("", name)}
    if service and not services:
        raise NotFound(f"the project has no service {service!r}", code="SERVICE_NOT_FOUND", hint="bough explain")
    web = {name: each for name, each in services.items() if each.is_web}
    if not web:
        raise Invalid(
            "there is no web service to check; a model service has no container, Bough keeps the contract for it",
            code="NO_WEB_SERVICE", hint="write command or dockerfile in bough.toml",
        )  # fmt: skip
    session.out(f"of the project in {root}:")
    found = []
    for name, settings in web.items():
        build = check_building.build(session, name, settings, prepared.scans[settings.path])
        promises = contract.check(_program(settings, build, slow, start_s))
        session.out(_text(session, name, promises))
        found.append({"service": name, "promises": msgspec.to_builtins(promises)})
    _conclude(session, found)


def _meant(word: str, service: str, environment: str) -> tuple[Path, str]:
    """The project's folder, and which of its services, all if empty. `word` is a folder, or the name of a service of
    the project here; where it is both, a folder with a project of its own is meant."""
    if service or Path(word, FILE_NAME).is_file():
        return find_project(Path(word)), service
    here = None
    with contextlib.suppress(ProjectFileInvalid):
        here = find_project(Path.cwd())
    if here is not None and word in load_project(here, environment).services:
        return here, word
    if not Path(word).is_dir():
        raise NotFound(
            f"there is neither a folder {word!r} nor a service of that name in the project here",
            code="SERVICE_NOT_FOUND", hint="bough explain",
        )  # fmt: skip
    return find_project(Path(word)), ""


def _program(settings: Service, build: BuildResult, slow: str, start_s: float) -> contract.Program:
    own = {name: os.environ[name] for name in check_building.PASSED_ON if name in os.environ}
    fixed = 0
    if settings.dockerfile and not settings.command and not build.container:
        text = Path(build.folder, settings.dockerfile).read_text("utf-8")
        fixed = contract.fixed_port(read_dockerfile(text, settings.dockerfile))
    return contract.Program(
        argv=build.argv or ["/bin/sh", "-c", build.shell], cwd=build.workdir, fixed_port=fixed,
        environment=own | {"PYTHONUNBUFFERED": "1"} | build.environment | settings.env,
        health_path=settings.health if settings.health != "/" else build.health_path or "/",
        slow_path=slow, start_s=start_s or settings.health_timeout_s, grace_s=settings.grace_s,
    )  # fmt: skip


def _text(session: Session, name: str, promises: list[contract.Promise]) -> str:
    rows = columns_of([[each.name, each.state, each.detail] for each in promises]).splitlines()
    lines = [f"{name}:"]
    for row, each in zip(rows, promises, strict=True):
        painted = paint(each.state, _COLOURS[each.state], session.colour)
        lines.append("  " + row.replace(f"  {each.state}", f"  {painted}", 1))
        lines += [f"      try: {each.hint}"] if each.hint else []
    return "\n".join(lines)


def _conclude(session: Session, found: list[dict[str, Any]]) -> None:
    broken = [f"{each['service']}: {one['name']}" for each in found for one in each["promises"]
              if one["state"] == contract.BROKEN]  # fmt: skip
    if broken:
        raise WorkloadFailed(
            f"the container contract is broken; {', '.join(broken)}", code="CONTRACT_BROKEN",
            hint="correct what is marked broken, then: bough check container", services=found,
        )  # fmt: skip
    if session.json:
        session.answer({"services": found})


_container = make(
    "container",
    _HELP,
    [
        click.Argument(["folder"], default=".", metavar="[FOLDER|SERVICE]", required=False,
                       help="The project's folder, or one inside it; or the name of one service of the project here."),
        environment(),
        click.Option(["--service"], default="", metavar="NAME", help="One service; all web services without it."),
        click.Option(["--slow"], default="", metavar="PATH", help="A path whose answer takes about a second."),
        click.Option(["--start-s"], type=NumberRange(0, 3600), default=0.0,
                     help="Seconds that a start may take; the service's health_timeout_s without it."),
    ],
    run,
    examples="Examples:\n  bough check container\n  bough check container web --slow '/count?to=300000'",
)  # fmt: skip
command = click.Group(
    "check",
    commands={"container": _container, "resume": check_resume.command},
    params=common(),
    help="Checks what a program promises, before it is deployed.",
)
