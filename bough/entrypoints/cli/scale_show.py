"""`bough scale show`: replicas of a service over time, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bough.entrypoints.cli.drawing import columns_of, moment
from bough.entrypoints.cli.options import Picture, environment
from bough.entrypoints.cli.options import command as make
from bough.entrypoints.cli.pictures import curve, svg
from bough.entrypoints.cli.session import Session, project_name
from bough.kernel.files import save

_LAST = 20  # decisions that are listed


def run(session: Session, service: str, environment: str, project: str, hours: float, picture: Path | None) -> None:
    place = {"project": project or project_name(), "environment": environment}
    found = session.client().scale.show(service=service, hours=hours, **place)
    if picture:
        marks = [(each.at, each.why) for each in found.decisions if ">=" in each.why]  # of steps
        save(picture, svg(service, found.curve, marks))
    session.answer(found, text=_text(found) + (f"\n\n{picture}" if picture else ""))


def _text(found: Any) -> str:
    now = f"{found.active} answer, {found.pool} wait warm" if found.active else "asleep, until it is asked or scheduled"
    lines = [f"{found.service}: {now}; {found.least} to {found.most} allowed"]
    if found.awake_s:
        lines.append(f"  stays awake for {found.awake_s:.0f} s without a request")
    if not found.decisions:
        return "\n".join([*lines, "nothing was decided in this time"])
    table = [["WHEN", "ANSWER", "WAIT", "WHY", "REQUESTS/S", "QUEUED", "LATE COST", "NEEDS"]]
    for each in found.decisions[-_LAST:]:
        needs = " ".join(f"{name}={value:.2f}" for name, value in each.needs.items())
        seen = each.seen
        table.append(
            [
                moment(each.at),
                str(each.active),
                str(each.pool),
                each.why,
                str(seen.arrived),
                str(seen.get("queued", 0)),
                f"{each.late_cost:.1f}" if each.late_cost else "",
                needs,
            ]
        )
    return "\n".join([*lines, "", curve(found.curve), "", columns_of(table)])


command = make(
    "show",
    "Shows how many replicas a service had, when that changed, and why.",
    [
        click.Argument(["service"], metavar="SERVICE", help="The service."),
        environment(),
        click.Option(["--project"], default="", metavar="NAME", help="Project; that of the nearest bough.toml."),
        click.Option(["--hours"], type=float, default=24.0, show_default=True, help="How far to look back."),
        click.Option(["--picture"], type=Picture(), metavar="FILE.svg", help="Draw the curve into a file."),
    ],
    run,
    examples="Example:\n  bough scale show churn --hours 2",
)
