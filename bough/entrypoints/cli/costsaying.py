"""What `bough costs` says on a terminal, where a plain record would not do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bough.entrypoints.cli import drawing
from bough.entrypoints.cli.session import Session

Answer = Mapping[str, Any]
_BAR = 30  # columns of the dearest group
_FREE = "nothing has a price: no pool of settings.toml says what a core costs (docs/capacity.md)"


def report(session: Session, answer: Answer) -> str:
    if not answer["lines"]:
        return "nothing has been used"
    by = answer["by"].replace(":", " ")
    most = max(each["cost"] for each in answer["groups"])
    groups = [
        {by: each["name"] or "-", **_sums(each), "share": f"{each['share']:.0%}", "workloads": each["workloads"],
         "": "█" * round(_BAR * each["cost"] / most) if most else ""}
        for each in answer["groups"]
    ]  # fmt: skip
    whole = {by: "all", **_sums(answer), "share": "", "workloads": "", "": ""}
    several = len({each["project"] for each in answer["lines"]}) > 1
    named = (*(["project"] if several else []), "cost_center", "environment", "kind", "workload")
    lines = [{key: each[key] for key in named} | _sums(each) for each in answer["lines"]]
    said = [drawing.table([*groups, whole]), drawing.table(lines)]
    return "\n\n".join([*said, *([_FREE] if not answer["cost"] else [])])


def budgets(session: Session, answer: Sequence[Answer]) -> str:
    if not answer:
        return "no environment has a budget: bough branch change ENV --budget AMOUNT"
    return drawing.table(
        [
            {"environment": each["environment"], "month": each["month"], "budget": f"{each['budget']:g}",
             "spent": f"{each['spent']:.4f}", "share": f"{each['spent'] / each['budget']:.0%}", "state": each["state"]}
            for each in answer
        ]
    )  # fmt: skip


def _sums(of: Answer) -> dict[str, str]:
    hours = {"hours": "seconds", "cpu_h": "cpu_s", "gpu_h": "gpu_s"}
    return {name: f"{of[key] / 3600:.4f}" for name, key in hours.items()} | {"cost": f"{of['cost']:.6f}"}


SAYS: dict[str, Callable[[Session, Any], str]] = {"costs.show": report, "costs.budgets": budgets}
