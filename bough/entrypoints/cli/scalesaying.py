"""What `bough scale advise` says on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bough.entrypoints.cli import drawing
from bough.entrypoints.cli.session import Session

Answer = Mapping[str, Any]


def advised(session: Session, answer: Answer) -> str:
    hours, service_s = drawing.cell("", answer["hours"]), drawing.cell("", answer["service_s"])
    looked_at = drawing.cell("", answer["looked_at"])
    rows = [
        {
            "min": each["min"], "max": each["max"], "warm": "learnt" if each["warm"] < 0 else each["warm"],
            "late cost": each["late_cost"] or "the usual", "replica-hours": each["cost"],
            "late": f"{100 * each['late']:.2f} %", "at most": each["replicas"],
            "proposed": "yes" if each["chosen"] else "",
        }
        for each in answer["proposals"]
    ]  # fmt: skip
    of = f"the busiest {hours} of {looked_at}" if answer["looked_at"] > answer["hours"] else hours
    lines = [
        f"{answer['service']}: {answer['requests']} requests in {of} hours, {service_s} s each",
        f"  {answer['setting']}",
    ]
    if all(each["late"] > answer["tolerated"] for each in answer["proposals"]):
        lines.append(
            f"  more than {100 * answer['tolerated']:g} % are late with each of these, and with this one the fewest"
        )
    return "\n".join([*lines, "", drawing.table(rows)])


SAYS: dict[str, Callable[[Session, Any], str]] = {"scale.advise": advised}
