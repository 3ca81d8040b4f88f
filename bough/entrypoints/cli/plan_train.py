"""`bough plan train`: what a job would cost on the pools as they are now, and what the plan looks like."""

from __future__ import annotations

from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

import click

from bough.builds import resumable
from bough.entrypoints.cli import choosing, sending
from bough.entrypoints.cli.drawing import GREEN, RED, YELLOW, paint
from bough.entrypoints.cli.options import NumberRange, Picture, environment_here
from bough.entrypoints.cli.options import command as make
from bough.entrypoints.cli.session import Session, find_project, load_project
from bough.kernel.errors import Invalid
from bough.kernel.files import save

_HELP = """Says what a job would cost before it is started.

Reads deadline_s, work_s and the accelerators of the job in bough.toml. Shows the expected cost and its range, what
on-demand would cost, how likely each outcome is, and the plan as a picture; starts nothing."""
_MARKS = {"s": ("█", GREEN), ".": ("·", YELLOW), "o": ("▒", RED), " ": (" ", 0)}
_CLASSES = {"s": "spot", ".": "waits", "o": "bought"}
# Bluish green and vermilion: who does not tell green from red tells these (Okabe and Ito).
_STYLE = """
svg { font: 12px system-ui, sans-serif; background: #fff; color: #1d2430 } text { fill: currentColor }
.title { font-weight: 600 } .axis { fill: none; stroke: currentColor; opacity: .5 }
.cells { shape-rendering: crispEdges } .spot { fill: #009e73 } .waits { fill: #f0e3ba } .bought { fill: #d55e00 }
@media (prefers-color-scheme: dark) { svg { background: #14181f; color: #e6eaf0 } .waits { fill: #57512f } }
"""
_CELL, _SIDE, _MARGIN = 8, 70, 12  # pixels


def run(
    session: Session, job: str, folder: str, environment: str, work_h: float, deadline_h: float,
    changeover_s: float | None, svg: Path | None,
) -> None:  # fmt: skip
    root = find_project(Path(folder))
    environment = sending.environment_of(session, root, environment)
    project = load_project(root, environment)
    job = choosing.job_meant(project, job, "bough plan train")
    prepared = sending.prepare(root, environment, job=job)
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
        save(svg, picture(job, plan))
    checked = resumable.found(session.home.path, resumable.key(prepared.scans[settings.path].digest, settings))
    resumes = "untried" if checked is None else "passed" if checked.passed else "broken"
    answer = {**plan, "resume": resumes}
    start = _start(plan.changeover, given=changeover_s is not None)
    resumed = _resumes(job, settings.capacity, resumes)
    lines = [_text(session, job, plan), *_drawn(plan, deadline), start, *_speed(plan.speed)]
    lines += [*_left_out(plan.left_out), resumed]
    session.answer(answer, text="\n  ".join(lines))


def _resumes(job: str, capacity: str, found: str) -> str:
    """Whether the job may use spot, which the plan takes for granted."""
    if capacity == "on-demand":
        return f'{job} runs on-demand: capacity = "auto" in bough.toml would make it follow the plan'
    if found == "passed":
        return f"{job} has passed check resume, so it may use spot"
    why = "has not passed check resume" if found == "untried" else "did not pass check resume"
    return f"{job} {why}, so it will run on-demand: bough check resume {job}"


def _drawn(plan: Any, deadline_h: float) -> list[str]:
    """Where the deadline is further away than the plan is drawn for."""
    if plan.across_h > 0.9 * deadline_h:  # less by what a start may take
        return []
    said = f"planned as if it were due in {_time(plan.across_h)}"
    return [f"{said}: with {_time(deadline_h)} it costs no more, and may take longer"]


def _speed(speed: float) -> list[str]:
    if speed == 1.0:
        return []
    return [f"its pools are replayed {speed:g} times as fast, so an hour of the job costs {speed:g} hours of theirs"]


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
        f" {_money(plan.on_demand_cost)}, so {abs(plan.saving):.0%} {'less' if plan.saving > -0.005 else 'more'}",
        f"  now: {plan.first}; done after {_time(plan.done_after_h)}, {plan.losses:g} losses expected",
        f"  chances: spot alone {plan.only_spot:.0%}, some on-demand {plan.some_on_demand:.0%}, on-demand alone"
        f" {plan.only_on_demand:.0%}, deadline missed {plan.missed:.0%}",
        "  the plan, by the time that has passed and the work that is left: █ spot, · waits, ▒ on-demand",
    ]
    for title, cells in _maps(plan):
        lines += [f"  {title}", *_map(session, plan, cells)]
    return "\n".join(lines)


def _maps(plan: Any) -> list[tuple[str, list[str]]]:
    """Both, with their titles: a zone that has come just now is treated otherwise than one that has stayed."""
    age = plan.get("age_h", 0.0)
    since = f", for {_time(age)} so far" if age else ", just now"
    return [(f"while a zone is available{since}", plan.available), ("while none is", plan.away)]


def _row_now(plan: Any, rows: int, apart: int) -> int:
    """In which row of a map the job is before it starts; so many from the ends at least, whose labels stay legible."""
    return max(min(int((1.0 - plan.work_h / plan.up_h) * rows), rows - 1 - apart), apart)


def _map(session: Session, plan: Any, cells: list[str]) -> list[str]:
    """With its scales: work that is left at the side, where the job has it now marked; time below."""
    most, end, now = _time(plan.up_h), _time(plan.across_h), f"{_time(plan.work_h)} →"
    edge = max(len(most), len(now))
    sides = [most, *[""] * (len(cells) - 2), "0"]
    sides[_row_now(plan, len(cells), 1)] = now
    rows = [f"    {side:>{edge}} ▏{_row(session, row)}" for side, row in zip(sides, cells, strict=True)]
    width = max((len(row) for row in cells), default=0)
    return [*rows, f"    {'':{edge}}  now{end:>{max(width - 3, 0)}}"]


def _time(hours: float) -> str:
    if hours * 60.0 < 1.0:
        return f"{hours * 3600.0:.3g} s"
    if hours >= 100.0:
        return f"{hours:,.0f} h"
    return f"{hours:.3g} h" if hours >= 1.0 else f"{hours * 60.0:.3g} min"


def _money(amount: float) -> str:
    return f"{amount:.2f}" if amount >= 1 else f"{amount:.4f}"


def _row(session: Session, cells: str) -> str:
    found = ""
    for cell in cells:
        mark, colour = _MARKS[cell]
        found += paint(mark, colour, session.colour and bool(colour))
    return found


def picture(job: str, plan: Any) -> str:
    """Both maps as one SVG, with their scales, for light and for dark ground."""
    most, end = _time(plan.up_h), _time(plan.across_h)
    across = max((len(row) for row in plan.away), default=0) * _CELL
    said = f"{job}: {_money(plan.cost)} expected, on-demand {_money(plan.on_demand_cost)}"
    shapes, top = [_words(_SIDE, _MARGIN + 12, said, title=True)], _MARGIN + 26
    for title, rows in _maps(plan):
        up = len(rows) * _CELL
        shapes += [
            _words(_SIDE, top + 12, title),
            _words(_SIDE - 6, top + 30, most, anchor="end"), _words(_SIDE - 6, top + 20 + up, "0", anchor="end"),
            _words(_SIDE - 6, top + 12, "work left", anchor="end"),
            _words(_SIDE - 6, top + 28 + _row_now(plan, len(rows), 2) * _CELL, f"{_time(plan.work_h)} →", anchor="end"),
            *_cells(rows, top + 20),
            f'<path class="axis" d="M{_SIDE} {top + 20}v{up}h{across}"/>',
        ]  # fmt: skip
        top += up + 34
        shapes += [_words(_SIDE, top, "now"), _words(_SIDE + across // 2, top, "time from now", anchor="middle"),
                   _words(_SIDE + across, top, end, anchor="end")]  # fmt: skip
        top += 12
    for number, (mark, meaning) in enumerate((("s", "spot"), (".", "waits"), ("o", "on-demand"))):
        at = _SIDE + number * 90
        shapes += [f'<rect class="{_CLASSES[mark]}" x="{at}" y="{top}" width="10" height="10"/>',
                   _words(at + 16, top + 10, meaning)]  # fmt: skip
    shapes.append(_words(_SIDE + 3 * 90 + 16, top + 10, "blank: too late"))
    width, height = _SIDE + across + _MARGIN, top + 10 + _MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
        f' role="img" aria-label="{escape(said)}"><style>{_STYLE}</style>{"".join(shapes)}</svg>\n'
    )


def _cells(rows: list[str], top: int) -> list[str]:
    """Equal ones beside each other as one shape."""
    found = ['<g class="cells">']
    for number, row in enumerate(rows):
        at = _SIDE
        for mark, cells in groupby(row):
            width = len(list(cells)) * _CELL
            if mark in _CLASSES:
                place = f'x="{at}" y="{top + number * _CELL}" width="{width}" height="{_CELL}"'
                found.append(f'<rect class="{_CLASSES[mark]}" {place}/>')
            at += width
    return [*found, "</g>"]


def _words(x: int, y: int, text: str, *, anchor: str = "start", title: bool = False) -> str:
    kind = ' class="title"' if title else ""
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}"{kind}>{escape(text)}</text>'


command = make(
    "train",
    _HELP,
    [
        click.Argument(["job"], default="", required=False, metavar="[JOB]", help="A job of bough.toml; the only one."),
        click.Option(["--folder"], default=".", metavar="FOLDER", help="The project's folder, or one inside it."),
        environment_here(),
        click.Option(["--work-h"], type=NumberRange(0), default=0.0, help="Hours of work, instead of work_s."),
        click.Option(
            ["--deadline-h"], type=NumberRange(0), default=0.0, help="Hours until it must be done."
        ),
        click.Option(
            ["--changeover-s"], type=NumberRange(0), default=None,
            help="Seconds from a machine to the first new step, instead of what its attempts have shown.",
        ),
        click.Option(["--svg"], type=Picture(), metavar="FILE.svg", help="Write the picture there, too."),
    ],
    run,
    examples="Example:\n  bough plan train fit --svg plan.svg",
)  # fmt: skip
