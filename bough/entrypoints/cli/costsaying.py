"""What `bough costs` says on a terminal, where a plain record would not do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bough.entrypoints.cli import drawing
from bough.entrypoints.cli.session import Session

Answer = Mapping[str, Any]


def report(session: Session, answer: Answer) -> str:
    if not answer["lines"]:
        return "nothing has been used"
    centers = [
        {"cost_center": each["cost_center"], "hours": f"{each['seconds'] / 3600:.3f}", "cost": f"{each['cost']:.4f}",
         "share": f"{each['share']:.0%}", "workloads": each["workloads"]}
        for each in answer["centers"]
    ]  # fmt: skip
    whole = {"cost_center": "all", "hours": f"{answer['seconds'] / 3600:.3f}", "cost": f"{answer['cost']:.4f}"}
    lines = [
        {**{key: each[key] for key in ("cost_center", "environment", "kind", "workload")},
         "hours": f"{each['seconds'] / 3600:.3f}", "cpu_h": f"{each['cpu_s'] / 3600:.3f}",
         "gpu_h": f"{each['gpu_s'] / 3600:.3f}", "cost": f"{each['cost']:.4f}"}
        for each in answer["lines"]
    ]  # fmt: skip
    return f"{drawing.table([*centers, whole | {'share': '', 'workloads': ''}])}\n\n{drawing.table(lines)}"


SAYS: dict[str, Callable[[Session, Any], str]] = {"costs.show": report}
