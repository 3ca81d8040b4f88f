"""What jobs have cost, beside what their work would have cost on-demand. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec


class GivenBack(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a lease, as jobs report it. `work_s` is all that the job run has done and saved by then; 0: its
    program does not say."""

    project: str
    environment: str
    job: str
    run: str = ""
    pool: str = ""
    kind: str = ""
    seconds: float = 0.0
    cost: float = 0.0
    on_demand_per_h: float = 0.0
    work_s: float = 0.0
    work_rate: float = 1.0
    speed: float = 1.0


class PoolSaving(msgspec.Struct, frozen=True, kw_only=True):
    """What a job has cost in one pool, beside what the work that was saved there would have cost on-demand. Work that
    was lost counts where it was paid for; of all pools together, everything is the job's."""

    pool: str
    kind: str
    leases: int
    hours: float  # of the market
    cost: float
    on_demand_cost: float
    saving: float


class JobSaving(msgspec.Struct, frozen=True, kw_only=True):
    """Of all runs of a job. `saving` is a part of the on-demand cost; negative: it would have been cheaper there."""

    job: str
    runs: int
    leases: int
    spot_h: float  # of leases, in hours of the market
    on_demand_h: float
    wasted_h: float  # paid for, and not part of what is saved: starts, and work that was lost
    cost: float
    on_demand_cost: float  # of the same work
    saving: float
    pools: list[PoolSaving] = []


def savings(given: Iterable[GivenBack]) -> list[JobSaving]:
    """By job, in order of name."""
    jobs: dict[str, list[GivenBack]] = {}
    for each in given:
        jobs.setdefault(each.job, []).append(each)
    return [_of_job(job, leases) for job, leases in sorted(jobs.items())]


def _of_job(job: str, leases: list[GivenBack]) -> JobSaving:
    runs: dict[str, list[GivenBack]] = {}
    for each in leases:
        runs.setdefault(each.run, []).append(each)
    cost = sum(each.cost for each in leases)
    work = {run: _work_h(of_run) for run, of_run in runs.items()}
    instead = sum(work[run] * max(each.on_demand_per_h for each in of_run) for run, of_run in runs.items())
    held = {kind: sum(_hours(each) for each in leases if (each.kind == "spot") == kind) for kind in (True, False)}
    return JobSaving(
        job=job, runs=len(runs), leases=len(leases), spot_h=round(held[True], 4), on_demand_h=round(held[False], 4),
        wasted_h=round(max(sum(held.values()) - sum(work.values()), 0.0), 4), cost=round(cost, 4),
        on_demand_cost=round(instead, 4), saving=_part(cost, instead), pools=_of_pools(runs.values()),
    )  # fmt: skip


def _of_pools(runs: Iterable[list[GivenBack]]) -> list[PoolSaving]:
    found: dict[tuple[str, str], list[tuple[GivenBack, float]]] = {}
    for leases in runs:
        price = max(each.on_demand_per_h for each in leases)
        for each, work in zip(leases, _work_of_each_h(leases), strict=True):
            found.setdefault((each.pool, each.kind), []).append((each, work * price))
    return [_of_pool(pool, kind, given) for (pool, kind), given in sorted(found.items())]


def _of_pool(pool: str, kind: str, given: list[tuple[GivenBack, float]]) -> PoolSaving:
    cost, instead = sum(each.cost for each, _ in given), sum(price for _, price in given)
    return PoolSaving(
        pool=pool, kind=kind, leases=len(given), hours=round(sum(_hours(each) for each, _ in given), 4),
        cost=round(cost, 4), on_demand_cost=round(instead, 4), saving=_part(cost, instead),
    )  # fmt: skip


def _work_of_each_h(leases: list[GivenBack]) -> list[float]:
    """By lease: by how much it brought on what is saved."""
    if not any(each.work_s for each in leases):
        return [_hours(each) for each in leases]
    found, done = list[float](), 0.0
    for each in leases:
        now = max(each.work_s * each.speed / 3600.0, done)
        found.append(now - done)
        done = now
    return found


def _part(cost: float, instead: float) -> float:
    return round(1.0 - cost / instead, 4) if instead else 0.0


def _work_h(leases: list[GivenBack]) -> float:
    """What a run has done; where it does not say, all of its time counts as work."""
    said = max(each.work_s * each.speed for each in leases) / 3600.0
    return said or sum(_hours(each) for each in leases)


def _hours(each: GivenBack) -> float:
    return each.seconds * each.speed / 3600.0
