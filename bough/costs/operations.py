"""Verbs of costs."""

from __future__ import annotations

from typing import Annotated

import msgspec

from bough.costs import rules, store
from bough.costs.budgets import Budgets, BudgetState
from bough.costs.models import CENTER, DAY_S, GROUPINGS, TAG, CostReport
from bough.kernel.context import Context, Role
from bough.kernel.errors import Invalid
from bough.kernel.operations import operation


class ShowCosts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    environment: Annotated[str, msgspec.Meta(description="only this environment; else all of them")] = ""
    days: Annotated[int, msgspec.Meta(ge=1, le=3650, description="so many days, today included, in UTC")] = 30
    center: Annotated[str, msgspec.Meta(description="only this cost centre")] = ""
    by: Annotated[str, msgspec.Meta(description="center, kind, environment, project, workload, day, or tag:NAME")] = (
        CENTER
    )
    all_projects: Annotated[bool, msgspec.Meta(description="of this Bough, and not one project alone")] = False


class CostBudgets(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str


@operation("costs.show", role=Role.VIEWER)
def show(context: Context, request: ShowCosts) -> CostReport:
    """Says what services, jobs, databases, builds and gates have used and what that came to; all groups sum to the
    whole, whatever it is grouped by."""
    if request.by not in GROUPINGS and not request.by.startswith(TAG):
        known = ", ".join((*GROUPINGS, f"{TAG}NAME"))
        raise Invalid(f"costs are not grouped by {request.by!r}", code="GROUPING_UNKNOWN", hint=f"--by {known}")
    first_day = int(context.clock.now() // DAY_S) - request.days + 1
    project = "" if request.all_projects else request.project
    found = store.lines(context.tx, first_day, project, request.environment)
    lines = [(day, each) for day, each in found if request.center in ("", each.cost_center)]
    return rules.report(lines, first_day * DAY_S, request.by)


@operation("costs.budgets", role=Role.VIEWER)
def budgets(context: Context, request: CostBudgets) -> list[BudgetState]:
    """Says what this month's budgets of environments are and what has been spent of them; bough branch change ENV
    --budget AMOUNT sets one."""
    states = context.part(Budgets).states(context.tx, context.clock.now())
    return [each for place, each in sorted(states.items()) if place[0] == request.project]
