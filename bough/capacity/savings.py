"""What jobs have cost, beside what their work would have cost on-demand. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

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


class _Done(NamedTuple):
    """What a lease has brought: work in hours of its market, and what that costs on-demand."""

    lease: GivenBack
    work_h: float
    instead: float


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
    done = [each for of_run in runs.values() for each in _done(of_run)]
    cost, instead = sum(each.cost for each in leases), sum(each.instead for each in done)
    held = {kind: sum(_hours(each) for each in leases if (each.kind == "spot") == kind) for kind in (True, False)}
    wasted = sum(held.values()) - sum(each.work_h for each in done)
    return JobSaving(
        job=job, runs=len(runs), leases=len(leases), spot_h=round(held[True], 4), on_demand_h=round(held[False], 4),
        wasted_h=round(max(wasted, 0.0), 4), cost=round(cost, 4), on_demand_cost=round(instead, 4),
        saving=_part(cost, instead), pools=_of_pools(done),
    )  # fmt: skip


def _of_pools(done: list[_Done]) -> list[PoolSaving]:
    found: dict[tuple[str, str], list[_Done]] = {}
    for each in done:
        found.setdefault((each.lease.pool, each.lease.kind), []).append(each)
    return [_of_pool(pool, kind, given) for (pool, kind), given in sorted(found.items())]


def _of_pool(pool: str, kind: str, given: list[_Done]) -> PoolSaving:
    cost, instead = sum(each.lease.cost for each in given), sum(each.instead for each in given)
    return PoolSaving(
        pool=pool, kind=kind, leases=len(given), hours=round(sum(_hours(each.lease) for each in given), 4),
        cost=round(cost, 4), on_demand_cost=round(instead, 4), saving=_part(cost, instead),
    )  # fmt: skip


def _done(leases: list[GivenBack]) -> list[_Done]:
    """By lease of a run: by how much it brought on what is saved. Where the program does not say, all of its time
    counts as work. Pools may go at several speeds, so both the work and its price are taken by our own hour first."""
    price = max(each.on_demand_per_h * each.speed for each in leases)
    told = any(each.work_s for each in leases)
    found, before_s = list[_Done](), 0.0
    for each in leases:
        now_s = max(each.work_s, before_s)
        work_h = (now_s - before_s if told else each.seconds) / 3600.0
        found.append(_Done(each, work_h * each.speed, work_h * price))
        before_s = now_s
    return found


def _part(cost: float, instead: float) -> float:
    return round(1.0 - cost / instead, 4) if instead else 0.0


def _hours(each: GivenBack) -> float:
    return each.seconds * each.speed / 3600.0
