"""`bough check resume`: whether a job goes on after an interruption as if there had been none."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click
import msgspec

from bough.adapters.engine.local_runtime import stage_runtime
from bough.builds import contract, reading, resumable, resuming
from bough.builds.models import BuildResult
from bough.entrypoints.cli import check_building, choosing, sending
from bough.entrypoints.cli.drawing import DIM, GREEN, RED, YELLOW, columns_of, paint
from bough.entrypoints.cli.options import NumberRange, environment
from bough.entrypoints.cli.options import command as make
from bough.entrypoints.cli.session import Session, find_project, load_project
from bough.kernel.errors import Invalid, WorkloadFailed
from bough.kernel.workloads import Job

_COLOURS = {contract.KEPT: GREEN, contract.BROKEN: RED, contract.UNPROVEN: YELLOW}

_HELP = """Proves that a job goes on after interruptions as if there had been none.

Builds the job as a deploy would, without a running Bough, reads its files against a checklist, and runs its command
once undisturbed and once with interruptions: killed at random steps, killed in the middle of saving, told to end. At
the end both must have made their last step with the same samples in the same order and have saved the same weights, bit
by bit. Only so many steps are made (--steps); the places of the interruptions follow from --seed. What the job reports
to a run is not kept. A broken promise ends the command with status 8; a job that passes may use capacity that can be
taken away, until its files or its command change."""


def run(session: Session, job: str, folder: str, environment: str, **asked: Any) -> None:
    root = find_project(Path(folder))
    job = choosing.job_meant(load_project(root, environment), job, "bough check resume")
    prepared = sending.prepare(root, environment, job=job)
    settings = prepared.project.jobs[job]
    if not settings.command and not settings.dockerfile:
        raise Invalid(f"{job} has no command to run", code="NO_COMMAND", hint="write command in bough.toml")
    scanned = prepared.scans[settings.path]
    python = [scanned.folder / each.path for each in scanned.bundle.entries if each.path.endswith(".py")]
    promises = reading.read(python)
    session.out(f"{job}:")
    _show(session, promises)
    if not _broken(promises):
        build = check_building.build(session, job, settings, scanned)
        tried = resuming.check(_trial(session, settings, build, asked), lambda text: _tell(session, job, text))
        _show(session, tried)
        promises += tried
    broken = _broken(promises)
    resumable.record(session.home.path, resumable.key(scanned.digest, settings), promises, passed=not broken)
    found = {"job": job, "passed": not broken, "promises": msgspec.to_builtins(promises)}
    if broken:
        raise WorkloadFailed(
            f"{job} does not go on as if nothing had been; {', '.join(broken)}", code="RESUME_BROKEN",
            hint=f"correct what is marked broken, then: bough check resume {job}", **found,
        )  # fmt: skip
    text = f"{job} goes on as if nothing had been: with these files and this command it may use spot"
    session.answer(found, text=text)


def _trial(session: Session, settings: Job, build: BuildResult, asked: dict[str, Any]) -> resuming.Trial:
    own = {name: os.environ[name] for name in check_building.PASSED_ON if name in os.environ}
    given = {
        "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(stage_runtime(session.home.path)),
        "BOUGH_PARAMS": msgspec.json.encode(settings.params).decode(), "BOUGH_INDEX": "0", "BOUGH_AFTER": "{}",
    }  # fmt: skip
    return resuming.Trial(
        argv=build.argv or ["/bin/sh", "-c", build.shell or settings.command], cwd=build.workdir,
        environment=own | given | build.environment | settings.env, **asked,
    )  # fmt: skip


def _broken(promises: list[contract.Promise]) -> list[str]:
    return [each.name for each in promises if each.state == contract.BROKEN]


def _show(session: Session, promises: list[contract.Promise]) -> None:
    rows = columns_of([[each.name, each.state, each.detail] for each in promises]).splitlines()
    for row, each in zip(rows, promises, strict=True):
        painted = paint(each.state, _COLOURS[each.state], session.colour)
        session.out("  " + row.replace(f"  {each.state}", f"  {painted}", 1))
        if each.hint:
            session.out(f"      try: {each.hint}")


def _tell(session: Session, job: str, text: str) -> None:
    session.note(f"  {paint(f'{job} |', DIM, session.colour)} {text}")


command = make(
    "resume",
    _HELP,
    [
        click.Argument(["job"], default="", required=False, metavar="[JOB]", help="A job of bough.toml; the only one."),
        click.Option(["--folder"], default=".", metavar="DIR", help="The project's folder, if not the present one."),
        environment(),
        click.Option(["--steps"], type=click.IntRange(2, 1_000_000), default=20, show_default=True,
                     help="Steps of the loop after which it is enough."),
        click.Option(["--interruptions"], type=click.IntRange(1, 1000), default=5, show_default=True,
                     help="How often it is interrupted."),
        click.Option(["--seed"], type=click.INT, default=0, show_default=True, help="Of where it is interrupted."),
        click.Option(["--timeout-s"], type=NumberRange(1, 86_400), default=600.0, show_default=True,
                     help="Seconds that one start may take."),
    ],
    run,
    examples="Examples:\n  bough check resume train\n  bough check resume train --steps 200 --interruptions 20",
)  # fmt: skip
