"""`bough chaos preempt`: a drill. What a job runs on is taken away as the market would."""

from __future__ import annotations

import re

import click

from bough.entrypoints.cli.options import command as make
from bough.entrypoints.cli.options import environment
from bough.entrypoints.cli.session import Session, project_name
from bough.kernel.errors import NotFound

_HELP = """Takes a job run's machine away as the market would: a drill on a real job.

Every running run of the job gets the notice (SIGTERM) now and is killed at its end; it goes on elsewhere from what it
has saved. JOB is a name or the id of one job run."""
MOST = 10_000
_NOTICE = re.compile(r"^(\d+(?:\.\d+)?)(s|m|)\Z")


def run(session: Session, job: str, environment: str, notice: str) -> None:
    client = session.client()
    runs = [job]
    if not job.startswith("jr_"):
        runs = [
            each.id
            for state in ("running", "stopping")  # the second of two drills is told of the first
            for each in client.jobs.list(
                project=project_name(), job=job, environment=environment, state=state, all=True, limit=MOST
            )
            if each.get("capacity")  # a group holds nothing itself
        ]
    if not runs:
        raise NotFound(f"no run of the job {job!r} is running", code="NO_LEASE", hint=f"bough jobs list {job}")
    taken = [client.chaos.preempt(run=each, notice_s=seconds(notice)) for each in runs]
    how = f"in {seconds(notice):g} s" if seconds(notice) else "now, without notice"
    said = [f"{each.run}: {each.kind} in {each.pool}/{each.zone} is taken away {how}" for each in taken]
    session.answer(taken, text="\n".join([*said, f"watch it: bough jobs show {runs[0]}"]))


def seconds(notice: str) -> float:
    if notice == "none":
        return 0.0
    found = _NOTICE.match(notice)
    if found is None:
        raise click.BadParameter(f"{notice!r} is no time; write 120s, 2m or none", param_hint="--notice")
    return float(found[1]) * (60.0 if found[2] == "m" else 1.0)


command = make(
    "preempt",
    _HELP,
    [
        click.Argument(["job"]),
        environment(),
        click.Option(["--notice"], default="120s", show_default=True, metavar="TIME", help="120s, 2m, or none."),
    ],
    run,
    examples="Examples:\n  bough chaos preempt fit\n  bough chaos preempt fit --notice none",
)
