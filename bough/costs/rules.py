"""From meters to usage, and from usage to a report. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from bough.adapters.engine import EXITED, Attempt
from bough.costs.models import CenterTotal, CostLine, CostReport, Payer, Reading, Usage
from bough.runtime import spec

HOUR_S = 3600.0


def read(attempt: Attempt, used: spec.Usage, now: float) -> Reading:
    """What the meter of an attempt shows; one that has not started shows nothing."""
    if not attempt.started_at:
        return Reading()
    until = attempt.exit.at if attempt.state == EXITED and attempt.exit is not None else now
    return Reading(seconds=max(until - attempt.started_at, 0.0), cpu_s=used.cpu_s, gpu_s=used.gpu_s)


def grown(before: Reading, after: Reading) -> Reading:
    """What is new. A meter that shows less than before has lost its memory, and adds nothing."""
    return Reading(
        seconds=max(after.seconds - before.seconds, 0.0), cpu_s=max(after.cpu_s - before.cpu_s, 0.0),
        gpu_s=max(after.gpu_s - before.gpu_s, 0.0),
    )  # fmt: skip


def together(before: Reading, after: Reading) -> Reading:
    """The meter from now on."""
    return Reading(
        seconds=max(before.seconds, after.seconds), cpu_s=max(before.cpu_s, after.cpu_s),
        gpu_s=max(before.gpu_s, after.gpu_s),
    )  # fmt: skip


def usage(payer: Payer, new: Reading, core_hour: float) -> Usage:
    """What it comes to: cores are paid for while they are there to be used."""
    cost = new.seconds / HOUR_S * payer.cores * core_hour
    return Usage(seconds=new.seconds, cpu_s=new.cpu_s, gpu_s=new.gpu_s, cost=cost)


def added(found: Iterable[tuple[Payer, Usage]]) -> dict[tuple[str, ...], tuple[Payer, Usage]]:
    """By workload and centre."""
    sums: dict[tuple[str, ...], tuple[Payer, Usage]] = {}
    for payer, each in found:
        key = payer.project, payer.environment, payer.cost_center, payer.kind, payer.workload
        known = sums[key][1] if key in sums else Usage()
        sums[key] = payer, Usage(
            seconds=known.seconds + each.seconds, cpu_s=known.cpu_s + each.cpu_s, gpu_s=known.gpu_s + each.gpu_s,
            cost=known.cost + each.cost,
        )  # fmt: skip
    return sums


def report(lines: Iterable[CostLine], since: float) -> CostReport:
    """The dearest centre first."""
    found = sorted(lines, key=lambda each: (each.cost_center, each.environment, each.kind, each.workload))
    by_center: dict[str, list[CostLine]] = {}
    for each in found:
        by_center.setdefault(each.cost_center, []).append(each)
    cost = math.fsum(each.cost for each in found)
    centers = [_total(name, of, cost) for name, of in by_center.items()]
    return CostReport(
        since=since, seconds=math.fsum(each.seconds for each in found), cost=cost, lines=found,
        centers=sorted(centers, key=lambda each: (-each.cost, each.cost_center)),
    )  # fmt: skip


def _total(name: str, lines: list[CostLine], whole: float) -> CenterTotal:
    cost = math.fsum(each.cost for each in lines)
    return CenterTotal(
        cost_center=name, workloads=len({(each.environment, each.kind, each.workload) for each in lines}),
        seconds=math.fsum(each.seconds for each in lines), cost=cost, share=cost / whole if whole else 0.0,
    )  # fmt: skip


def gone(meters: Mapping[str, Reading], there: Iterable[str]) -> list[str]:
    """Meters of attempts that nobody knows any more."""
    return sorted(meters.keys() - set(there))
