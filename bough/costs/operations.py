"""Verbs of costs."""

from __future__ import annotations

from typing import Annotated

import msgspec

from bough.costs import rules, store
from bough.costs.models import DAY_S, CostReport
from bough.kernel.context import Context, Role
from bough.kernel.operations import operation


class ShowCosts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    environment: Annotated[str, msgspec.Meta(description="only this environment; else all of them")] = ""
    days: Annotated[int, msgspec.Meta(ge=1, le=3650, description="so many days, today included, in UTC")] = 30
    center: Annotated[str, msgspec.Meta(description="only this cost centre")] = ""


@operation("costs.show", role=Role.VIEWER)
def show(context: Context, request: ShowCosts) -> CostReport:
    """Says what services and jobs have used and what that came to, by cost centre; the centres sum to the whole."""
    first_day = int(context.clock.now() // DAY_S) - request.days + 1
    found = store.lines(context.tx, request.project, first_day, request.environment)
    lines = [each for each in found if request.center in ("", each.cost_center)]
    return rules.report(lines, first_day * DAY_S)
