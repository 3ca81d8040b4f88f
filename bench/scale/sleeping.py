"""Scale to zero on the functions' day: cold starts and idle minutes of our rule beside a fixed keep-alive."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable, Iterator
from itertools import pairwise

from bench.scale.workloads import TRACES
from bough.scaling.keeping import LONGEST_MIN, Habits

DAY_MIN = 1440
Day = list[int]  # minutes with a call


def days() -> list[Day]:
    path = TRACES / "azure_functions_2019_sample500_per_minute.csv.gz"
    if not path.exists():
        return []
    with gzip.open(path, "rt") as file:
        found = [[int(each.split(":")[0]) for each in row["minutes"].split()] for row in csv.DictReader(file)]
    return [each for each in found if each]


def fixed(keep_min: int) -> Callable[[], Callable[[int], list[bool]]]:
    return lambda: lambda until: [minute < keep_min for minute in range(until)]


class Learnt:
    """As the service does it: plans with what it knows, then learns."""

    def __init__(self) -> None:
        self.habits = Habits()

    def __call__(self, until: int) -> list[bool]:
        return self.habits.awake(min(until, LONGEST_MIN)) + [False] * max(0, until - LONGEST_MIN)


def measure(make: Callable[[], Callable[[int], list[bool]]]) -> tuple[int, float, float, float, float]:
    """Idle minutes awake; of minutes with calls the share that began cold, and of functions the 75th percentile of
    theirs: with each function's first call, which nobody can foresee, and without."""
    idle = cold = calls = 0
    shares: list[tuple[float, float]] = []
    for day in days():
        rule, missed = make(), 0
        for before, now in pairwise(day):
            gap = now - before - 1
            plan = rule(gap + 1)
            idle += sum(plan[:gap])
            missed += not plan[gap]
            if isinstance(rule, Learnt):
                rule.habits.ended(gap)
        idle += sum(rule(DAY_MIN - day[-1] - 1))
        cold, calls = cold + missed, calls + len(day)
        shares.append(((missed + 1) / len(day), missed / len(day)))
    if not shares:
        return 0, 0.0, 0.0, 0.0, 0.0
    first, later = (sorted(each[at] for each in shares)[int(0.75 * len(shares))] for at in (0, 1))
    return idle, (cold + len(shares)) / calls, cold / calls, first, later


def report() -> Iterator[str]:
    yield "\nscale to zero, 500 functions, one day: idle minutes, cold of all, cold of the 75th percentile"
    yield "(in brackets without each function's first call, which nobody can foresee)"
    rules = {"fixed 10 min": fixed(10), "fixed 20 min": fixed(20), "fixed 60 min": fixed(60), "ours": Learnt}
    for name, make in rules.items():
        idle, every, later, first_q, later_q = measure(make)
        everybody = f"{100 * every:5.2f} % ({100 * later:.2f})"
        yield f"  {name:14} {idle:8d}  {everybody}  {100 * first_q:5.1f} % ({100 * later_q:.1f})"
