"""From meters to usage, and from usage to a report. Pure."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TypeVar

from bough.adapters.engine import EXITED, Attempt
from bough.costs.models import (
    CENTER,
    DAY,
    DAY_S,
    ENVIRONMENT,
    KIND,
    PROJECT,
    TAG,
    WORKLOAD,
    CostGroup,
    CostLine,
    CostReport,
    Prices,
    Reading,
    Usage,
)
from bough.kernel.jobs import accelerator
from bough.kernel.paying import Meter, Payer
from bough.kernel.platform import PoolSettings
from bough.runtime import spec

HOUR_S = 3600.0
Key = TypeVar("Key", str, tuple[str, ...])
Dated = tuple[int, CostLine]
"""The day since the epoch (UTC), and what a workload used in it."""

_NAMED: dict[str, Callable[[int, CostLine], str]] = {
    CENTER: lambda day, line: line.cost_center,
    KIND: lambda day, line: line.kind,
    ENVIRONMENT: lambda day, line: f"{line.project}/{line.environment}",
    PROJECT: lambda day, line: line.project,
    WORKLOAD: lambda day, line: f"{line.kind} {line.project}/{line.environment}/{line.workload}",
    DAY: lambda day, line: datetime.datetime.fromtimestamp(day * DAY_S, datetime.UTC).date().isoformat(),
}


def device_hour(pools: Iterable[PoolSettings], kinds: Collection[str]) -> float:
    """What one accelerator costs for an hour where nobody takes it away, of one of these kinds where the price book has
    any of them; 0: it has none."""
    each = [
        (device.kind, price / device.count)
        for pool in pools if pool.kind == "on-demand"
        for device in map(accelerator, pool.accelerators)
        for price in pool.zones.values()
    ]  # fmt: skip
    here = [price for kind, price in each if kind in kinds]
    return min(here or [price for _, price in each], default=0.0)


def meter(payer: Payer, attempt: Attempt, used: spec.Usage, now: float) -> Meter:
    """What an attempt shows; one that has not started shows nothing."""
    key, ended = f"{attempt.unit}/{attempt.attempt}", attempt.state == EXITED
    if not attempt.started_at:
        return Meter(key=key, payer=payer, ended=ended)
    until = attempt.exit.at if ended and attempt.exit is not None else now
    return Meter(
        key=key, payer=payer, seconds=max(until - attempt.started_at, 0.0), cpu_s=used.cpu_s, gpu_s=used.gpu_s,
        devices=attempt.gpus, ended=ended,
    )  # fmt: skip


def grown(before: Reading, shown: Meter) -> Reading:
    """What is new. A meter that shows less than before has lost its memory, and adds nothing."""
    return Reading(
        seconds=max(shown.seconds - before.seconds, 0.0), cpu_s=max(shown.cpu_s - before.cpu_s, 0.0),
        gpu_s=max(shown.gpu_s - before.gpu_s, 0.0),
    )  # fmt: skip


def together(before: Reading, shown: Meter) -> Reading:
    """What is known of the meter from now on."""
    return Reading(
        seconds=max(before.seconds, shown.seconds), cpu_s=max(before.cpu_s, shown.cpu_s),
        gpu_s=max(before.gpu_s, shown.gpu_s),
    )  # fmt: skip


def usage(shown: Meter, new: Reading, prices: Prices) -> Usage:
    """What it comes to: cores that are kept for it, and devices, are paid for while it is there, used or not;
    where no cores are kept, those seconds that processors worked."""
    core_s = new.seconds * shown.payer.cores if shown.payer.cores else new.cpu_s
    cost = core_s / HOUR_S * prices.core_hour
    if shown.devices:
        cost += new.seconds * shown.devices / HOUR_S * prices.device_hour()
    return Usage(seconds=new.seconds, cpu_s=new.cpu_s, gpu_s=new.gpu_s, cost=cost)


def report(found: Iterable[Dated], since: float, by: str = CENTER) -> CostReport:
    """The dearest group first, days in their order; a line for each workload, all days together."""
    dated = list(found)
    lines = [_line(of) for of in _by(dated, lambda day, line: _key(line)).values()]
    name = _NAMED.get(by) or (lambda day, line: line.tags.get(by.removeprefix(TAG), ""))
    whole = _sums(line for _, line in dated)
    groups = [
        CostGroup(
            name=each, workloads=len({_key(line) for line in of}), share=sums.cost / whole.cost if whole.cost else 0.0,
            seconds=sums.seconds, cpu_s=sums.cpu_s, gpu_s=sums.gpu_s, cost=sums.cost,
        )
        for each, of in _by(dated, name).items() for sums in [_sums(of)]
    ]  # fmt: skip
    return CostReport(
        since=since, by=by, seconds=whole.seconds, cpu_s=whole.cpu_s, gpu_s=whole.gpu_s, cost=whole.cost,
        lines=sorted(lines, key=lambda each: (each.cost_center, *_key(each))),
        groups=sorted(groups, key=lambda each: (0.0 if by == DAY else -each.cost, each.name)),
    )  # fmt: skip


def gone(meters: Mapping[str, Reading], there: Iterable[str]) -> list[str]:
    """Meters of what nobody knows any more."""
    return sorted(meters.keys() - set(there))


def _key(line: CostLine) -> tuple[str, ...]:
    return line.project, line.environment, line.kind, line.workload, line.cost_center, str(sorted(line.tags.items()))


def _by(dated: Iterable[Dated], key: Callable[[int, CostLine], Key]) -> dict[Key, list[CostLine]]:
    found: dict[Key, list[CostLine]] = {}
    for day, line in dated:
        found.setdefault(key(day, line), []).append(line)
    return found


def _line(of: list[CostLine]) -> CostLine:
    first, sums = of[0], _sums(of)
    return CostLine(
        project=first.project, cost_center=first.cost_center, environment=first.environment, kind=first.kind,
        workload=first.workload, tags=first.tags, seconds=sums.seconds, cpu_s=sums.cpu_s, gpu_s=sums.gpu_s,
        cost=sums.cost,
    )  # fmt: skip


def _sums(lines: Iterable[CostLine]) -> Usage:
    of = list(lines)
    return Usage(
        seconds=math.fsum(each.seconds for each in of), cpu_s=math.fsum(each.cpu_s for each in of),
        gpu_s=math.fsum(each.gpu_s for each in of), cost=math.fsum(each.cost for each in of),
    )  # fmt: skip
