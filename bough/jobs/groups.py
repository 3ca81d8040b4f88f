"""Groups of job runs: a sweep or an array as one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from bough.jobs import rules, store
from bough.jobs.models import CANCELLED, FAILED, QUEUED, RUNNING, STOPPED, STOPPING, SUCCEEDED, WORSE, JobRun
from bough.jobs.tracked import Tracked, id_of
from bough.jobs.turning import Turnover
from bough.kernel.reconcile import Turn

COMPARE_S = 2.0  # between two looks at the metrics of a sweep
MOST_POINTS = 1_000_000  # of a run, among which the best is looked for


class Groups:
    def __init__(self, tracked: Tracked) -> None:
        self._tracked = tracked
        self._compared: dict[str, float] = {}

    def look(self, turn: Turn, turnover: Turnover) -> None:
        """Ends groups whose last member has ended, and members that are clearly worse than the others."""
        active: dict[str, list[JobRun]] = {}
        groups: list[JobRun] = []
        for run in turnover.world.runs.values():
            if run.group and not run.ended:
                active.setdefault(run.group, []).append(run)
            if run.children:
                groups.append(run)
        for group in groups:
            members = active.get(group.id, [])
            if not members:
                self._end(turn, turnover, group)
            elif group.state == QUEUED and any(each.started_at for each in members):
                turnover.change(group, state=RUNNING, said="its runs are under way", started_at=turnover.world.now)
            elif group.manifest.settings.sweep.stop_after:
                self._compare(turn, turnover, group)

    def _end(self, turn: Turn, turnover: Turnover, group: JobRun) -> None:
        members = self._members(turn, turnover, group)
        counts = Counter(each.state for each in members)
        state = next((each for each in (CANCELLED, FAILED) if counts[each]), SUCCEEDED)
        if counts[SUCCEEDED] + counts[STOPPED] < len(members) and state == SUCCEEDED:
            state = FAILED
        said = rules.totals(each.state for each in members)
        if state == CANCELLED and group.state == STOPPING:
            said = f"{group.said}: {said}"
        said += next((f"; {each.id}: {each.said}" for each in members if each.state == FAILED), "")
        best, value = best_of(self._tracked, group, members)
        if best is not None:
            given = "".join(f" {key}={chosen}" for key, chosen in best.params.items())
            said += f"; best is {best.id}, {group.manifest.settings.sweep.metric} {value:.6g} with{given}"
        turnover.change(
            group, state=state, said=said, finished_at=turnover.world.now, cost=sum(each.cost for each in members),
            seconds=sum(each.seconds for each in members), run=best.run if best is not None else "",
        )  # fmt: skip

    def _compare(self, turn: Turn, turnover: Turnover, group: JobRun) -> None:
        now, sweep = turnover.world.now, group.manifest.settings.sweep
        if now - self._compared.get(group.id, 0.0) < COMPARE_S:
            return
        self._compared = {id: at for id, at in self._compared.items() if id in turnover.world.runs} | {group.id: now}
        points = {
            each.id: (each, rules.counted_once(self._tracked.points(each.project, id_of(each), sweep.metric), each))
            for each in self._members(turn, turnover, group)
            if each.started_at
        }
        for run, mine in points.values():
            others = [found for id, (_, found) in points.items() if id != run.id]
            if run.state == RUNNING and rules.is_worse(mine, others, sweep.goal, sweep.stop_after):
                said = (
                    f"stopped early: its best {sweep.metric} after {len(mine)} points is worse than half of the others"
                )
                by = now + run.manifest.settings.grace_s
                turnover.change(run, state=STOPPING, stopping_for=WORSE, said=said, stop_by=by)

    def _members(self, turn: Turn, turnover: Turnover, group: JobRun) -> list[JobRun]:
        with turn.read() as tx:
            kept = store.members(tx, group.id)
        return [turnover.world.runs.get(each.id, each) for each in kept]


def best_of(tracked: Tracked, group: JobRun, members: Sequence[JobRun]) -> tuple[JobRun | None, float]:
    """The member with the best value of the sweep's metric, and that value; None where there is none."""
    sweep = group.manifest.settings.sweep
    if not sweep.metric:
        return None, 0.0
    pick = max if sweep.goal == "max" else min
    found = [
        (each, rules.counted_once(tracked.points(each.project, each.run, sweep.metric, most=MOST_POINTS), each))
        for each in members
    ]
    best = [(each, rules.best(points, sweep.goal)) for each, points in found if points]
    return pick(best, key=lambda each: each[1]) if best else (None, 0.0)
