"""`bough plan train`: what a job would cost on the pools as they are now, and what the plan looks like."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bough.builds import resumable
from bough.entrypoints.cli import sending
from bough.entrypoints.cli.drawing import GREEN, RED, YELLOW, paint
from bough.entrypoints.cli.options import command as make
from bough.entrypoints.cli.options import environment_here
from bough.entrypoints.cli.session import Session, find_project
from bough.kernel.errors import Invalid, NotFound

_HELP = """Says what a job would cost before it is started.

Reads deadline_s, work_s and the accelerators of the job in bough.toml. Shows the expected cost and its range, what
on-demand would cost, how likely each outcome is, and the plan as a picture; starts nothing."""
_MARKS = {"s": ("█", GREEN), ".": ("·", YELLOW), "o": ("▒", RED), " ": (" ", 0)}
_COLOURS = {"s": "#2e7d32", ".": "#f2e8c4", "o": "#c62828"}
_CELL = 8  # pixels


def run(
    session: Session, job: str, folder: str, environment: str, work_h: float, deadline_h: float,
    changeover_s: float | None, svg: str,
) -> None:  # fmt: skip
    root = find_project(Path(folder))
    prepared = sending.prepare(root, sending.environment_of(session, root, environment), jobs_only=True)
    project = prepared.project
    if job not in project.jobs:
        known = ", ".join(project.jobs) or "none"
        raise NotFound(
            f"{project.name} has no job {job!r}; it has {known}", code="JOB_NOT_FOUND",
            hint=f"add [jobs.{job}] to bough.toml",
        )  # fmt: skip
    settings = project.jobs[job]
    work, deadline = work_h or settings.work_s / 3600.0, deadline_h or settings.deadline_s / 3600.0
    if not work or not deadline:
        raise Invalid(
            f"the job {job!r} says neither how long it works nor by when it must be done; both are needed for a plan",
            code="NOTHING_TO_PLAN", hint=f"bough plan train {job} --work-h 10 --deadline-h 24",
        )  # fmt: skip
    plan = session.client().capacity.plan(
        work_h=work, deadline_h=deadline, changeover_s=-1.0 if changeover_s is None else changeover_s,
        accelerators=settings.resources.accelerators, project=project.name, job=job,
    )  # fmt: skip
    if svg:
        Path(svg).write_text(picture(plan), "utf-8")
    checked = resumable.found(session.home.path, resumable.key(prepared.scans[settings.path].digest, settings))
    resumes = "untried" if checked is None else "passed" if checked.passed else "broken"
    answer = {**plan, "resume": resumes}
    start = _start(plan.changeover, given=changeover_s is not None)
    lines = [_text(session, job, plan), start, *_left_out(plan.left_out), _resumes(job, settings.capacity, resumes)]
    session.answer(answer, text="\n  ".join(lines))


def _resumes(job: str, capacity: str, found: str) -> str:
    """Whether the job may use spot, which the plan takes for granted."""
    if capacity == "on-demand":
        return f'{job} runs on-demand: capacity = "auto" in bough.toml would make it follow the plan'
    if found == "passed":
        return f"{job} has passed check resume, so it may use spot"
    why = "has not passed check resume" if found == "untried" else "did not pass check resume"
    return f"{job} {why}, so it will run on-demand: bough check resume {job}"


def _left_out(zones: list[str]) -> list[str]:
    if not zones:
        return []
    said = "of another speed than the zones where its work costs least, so never used"
    return [f"{', '.join(zones)}: {said}; settings.toml gives pools for one job one speed"]


def _start(changeover: Any, *, given: bool) -> str:
    """What a start is counted with, and on what that rests."""
    if given:
        return f"a start is taken as {changeover.usual_s:.3g} s, as asked for"
    usual, most = f"{changeover.usual_s:.3g} s", f"{changeover.most_s:.3g} s"
    if not changeover.measured:
        return f"a start is taken as {usual}: none of its attempts has made a step yet"
    times = f"{changeover.measured} attempts" if changeover.measured > 1 else "one attempt"
    return f"a start is taken as {usual}, {most} where the deadline is at stake; measured in {times}"


def _text(session: Session, job: str, plan: Any) -> str:
    lines = [
        f"{job}: {_money(plan.cost)} expected, {_money(plan.low)} to {_money(plan.high)} in eight of ten; on-demand"
        f" {_money(plan.on_demand_cost)}, so {plan.saving:.0%} less",
        f"  now: {plan.first}; done after {plan.done_after_h:g} h, {plan.losses:g} losses expected",
        f"  chances: spot alone {plan.only_spot:.0%}, some on-demand {plan.some_on_demand:.0%}, on-demand alone"
        f" {plan.only_on_demand:.0%}, deadline missed {plan.missed:.0%}",
        "  time goes to the right, the work that is left upwards: █ spot, · waits, ▒ on-demand",
    ]
    for title, cells in (("while a zone is available", plan.available), ("while none is", plan.away)):
        lines += [f"  {title}", *("    " + _row(session, row) for row in cells)]
    return "\n".join(lines)


def _money(amount: float) -> str:
    return f"{amount:.2f}" if amount >= 1 else f"{amount:.4f}"


def _row(session: Session, cells: str) -> str:
    found = ""
    for cell in cells:
        mark, colour = _MARKS[cell]
        found += paint(mark, colour, session.colour and bool(colour))
    return found


def picture(plan: Any) -> str:
    """Both maps as one SVG."""
    shapes, top = [], 0
    for title, rows in (("a zone is available", plan.available), ("no zone is", plan.away)):
        shapes.append(f'<text x="0" y="{top + 12}" font-size="12">{title}: time &#8594;, work left &#8593;</text>')
        top += 18
        for number, row in enumerate(rows):
            shapes += [
                f'<rect x="{column * _CELL}" y="{top + number * _CELL}" width="{_CELL}" height="{_CELL}"'
                f' fill="{_COLOURS[cell]}"/>'
                for column, cell in enumerate(row)
                if cell in _COLOURS
            ]
        top += len(rows) * _CELL + 12
    width = max((len(row) for row in plan.away), default=0) * _CELL
    legend = f'<text x="0" y="{top + 12}" font-size="12">green: spot; pale: waits; red: on-demand</text>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" font-family="sans-serif" viewBox="0 0 {width} {top + 20}">'
        f"{''.join(shapes)}{legend}</svg>\n"
    )


command = make(
    "train",
    _HELP,
    [
        click.Argument(["job"]),
        click.Option(["--folder"], default=".", metavar="FOLDER", help="The project's folder, or one inside it."),
        environment_here(),
        click.Option(["--work-h"], type=click.FloatRange(0), default=0.0, help="Hours of work, instead of work_s."),
        click.Option(
            ["--deadline-h"], type=click.FloatRange(0), default=0.0, help="Hours until it must be done."
        ),
        click.Option(
            ["--changeover-s"], type=click.FloatRange(0), default=None,
            help="Seconds from a machine to the first new step, instead of what its attempts have shown.",
        ),
        click.Option(["--svg"], default="", metavar="FILE", help="Write the picture there, too."),
    ],
    run,
    examples="Example:\n  bough plan train fit --svg plan.svg",
)  # fmt: skip
