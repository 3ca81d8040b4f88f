"""What environments may cost in a month (UTC), and what becomes of it.

A budget is told of twice, when four fifths of it are spent and when all is. From then on nothing of that environment
grows: services keep the replicas that they have and give up those that are not needed, down to `min`; jobs that have
not begun wait. Nothing that answers or runs is ended. It is over as soon as the budget is raised, or the month is.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from bough.costs.store import usage
from bough.kernel.events import Events
from bough.kernel.tables import metadata

WITHIN, NEAR, REACHED = "within", "near", "reached"
EVENT = "budget."  # near, reached: once each month, and again under another budget
NEAR_SHARE = 0.8
Place = tuple[str, str]  # project, environment
Told = Callable[[sa.Connection], Mapping[Place, float]]
"""The budgets of environments that have one."""

told = sa.Table(
    "cost_budget_told",
    metadata,
    sa.Column("project", sa.Text, primary_key=True),
    sa.Column("environment", sa.Text, primary_key=True),
    sa.Column("month", sa.Text, nullable=False),
    sa.Column("budget", sa.Float, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
)


class BudgetState(msgspec.Struct, frozen=True, kw_only=True):
    """`state`: within, near (four fifths are spent), reached. `spent` since the month began; of jobs, what has been
    given back."""

    project: str
    environment: str
    month: str  # YYYY-MM
    budget: float
    spent: float
    state: str

    @property
    def is_reached(self) -> bool:
        return self.state == REACHED

    @property
    def said(self) -> str:
        """Why something waits, and what to type."""
        return (
            f"the budget of {self.environment} for {self.month} is spent ({self.spent:.4g} of {self.budget:g}): "
            f"bough branch change {self.environment} --budget AMOUNT"
        )


class Budgets:
    def __init__(self, budgets: Told, events: Events) -> None:
        self._budgets, self._events = budgets, events

    def states(self, tx: sa.Connection, now: float) -> dict[Place, BudgetState]:
        """Of the environments that have one."""
        budgets = self._budgets(tx)
        if not budgets:
            return {}
        month = datetime.datetime.fromtimestamp(now, datetime.UTC).replace(day=1).date()
        first_day = (month - datetime.date(1970, 1, 1)).days
        by = usage.c.project, usage.c.environment
        query = sa.select(*by, sa.func.sum(usage.c.cost)).where(usage.c.day >= first_day).group_by(*by)
        spent = {(project, environment): float(cost) for project, environment, cost in tx.execute(query)}
        return {
            place: BudgetState(
                project=place[0], environment=place[1], month=f"{month:%Y-%m}", budget=budget,
                spent=spent.get(place, 0.0), state=_state(spent.get(place, 0.0), budget),
            )
            for place, budget in budgets.items()
        }  # fmt: skip

    def reached(self, tx: sa.Connection, now: float) -> dict[Place, BudgetState]:
        """Those of which nothing may grow now."""
        return {place: each for place, each in self.states(tx, now).items() if each.is_reached}

    def tell(self, tx: sa.Connection, now: float) -> None:
        """Says what has not been said yet of this month and this budget."""
        before = {(row.project, row.environment): row for row in tx.execute(told.select())}
        for place, each in self.states(tx, now).items():
            known = before.get(place)
            same = known is not None and (known.month, known.budget) == (each.month, each.budget)
            if same and known is not None and known.state == each.state:
                continue
            values = {"month": each.month, "budget": each.budget, "state": each.state}
            new = insert(told).values(project=each.project, environment=each.environment, **values)
            tx.execute(new.on_conflict_do_update(index_elements=["project", "environment"], set_=values))
            if each.state != WITHIN:
                self._events.emit(tx, EVENT + each.state, "/".join(place), **msgspec.to_builtins(each))


def _state(spent: float, budget: float) -> str:
    if spent >= budget:
        return REACHED
    return NEAR if spent >= NEAR_SHARE * budget else WITHIN
