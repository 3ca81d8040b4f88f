"""What jobs cost under Bough's planner and under others, beside the optimum of somebody who knows everything.

    python -m bench.spot.run [--traces FILE] [--starts N] [--zones 1|3|6]

Twelve settings: 48 h of work, deadlines 52, 60, 70, 92 h, changeovers 0.05, 0.2, 0.4 h, $0.97 against $3.06 an hour,
decisions every three minutes. FILE has the form that docs/capacity.md describes; without one, zones are made up. Jobs
begin at N places of every trace, evenly spread. No policy is told anything of a zone before the job begins.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from bench.spot import judge, omniscient, traces
from bench.spot.opponents import Greedy, OnDemand, TimeSliced, UniformProgress
from bench.spot.ours import Planned

OURS, BEST = "Bough", "optimum"
OPPONENTS = {
    "on-demand": OnDemand,
    "greedy": Greedy,
    "time-sliced": TimeSliced,
    "Uniform Progress": lambda: UniformProgress(eager=False),
    "Uniform Progress, leaving on-demand at once": lambda: UniformProgress(eager=True),
}
MADE_UP = 8


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--traces", type=Path)
    arguments.add_argument("--starts", type=int, default=2)
    arguments.add_argument("--zones", type=int, choices=(1, 3, 6), default=1)
    given = arguments.parse_args()
    found = traces.read(given.traces) if given.traces else traces.made_up(MADE_UP)
    began = time.process_time()
    print(json.dumps(measure(list(markets(found, given.zones)), given.starts), indent=1))
    print(f"# {time.process_time() - began:.0f} s of CPU")


def markets(found: dict[str, traces.Trace], zones: int) -> Iterator[list[traces.Trace]]:
    """One zone: each trace alone. Six: the six of the longest list of equal length. Three: its three scarcest."""
    if zones == 1:
        yield from ([trace] for trace in found.values())
        return
    lengths = Counter(len(trace) for trace in found.values())
    alike = [trace for trace in found.values() if len(trace) == lengths.most_common(1)[0][0]]
    yield sorted(alike, key=sum)[:3] if zones == 3 else alike[:6]


def measure(found: list[list[traces.Trace]], starts: int) -> dict[str, object]:
    costs: dict[str, list[float]] = defaultdict(list)
    settings: dict[str, dict[str, float]] = {}
    late: Counter[str] = Counter()
    plan_s: list[float] = []
    decide_s: list[float] = []
    look_s: list[float] = []
    for setting in judge.SETTINGS:
        before = len(costs[BEST])
        for zones in found:
            for number in range(starts):
                start = (len(zones[0]) - setting.deadline) * number // starts
                costs[BEST].append(omniscient.best(zones, start, setting))
                ours = Planned()
                for name, policy in ((OURS, ours), *((name, make()) for name, make in OPPONENTS.items())):
                    outcome = judge.run(policy, zones, start, setting)
                    costs[name].append(outcome.cost)
                    late[name] += outcome.late
                plan_s += ours.plan_s
                decide_s += ours.decide_s
                look_s += ours.look_s
        optimum = sum(costs[BEST][before:])
        settings[setting.name] = {name: round(sum(each[before:]) / optimum, 3) for name, each in costs.items()}
    optimum = sum(costs[BEST])
    return {
        "jobs": len(costs[BEST]),
        "cost over the optimum": {name: round(sum(each) / optimum, 4) for name, each in costs.items()},
        "p99 of a job": {
            name: round(percentile([a / b for a, b in zip(each, costs[BEST], strict=True)], 99), 3)
            for name, each in costs.items()
        },
        "late": {name: late[name] for name in costs},
        "cheaper than Uniform Progress, %": round(
            100 * (1 - sum(costs[OURS]) / min(sum(each) for name, each in costs.items() if name.startswith("Uniform"))),
            2,
        ),
        "plan ms, median and p99": [round(statistics.median(plan_s) * 1e3, 1), round(percentile(plan_s, 99) * 1e3, 1)],
        "plans a job": round(len(plan_s) / len(costs[BEST]), 1),
        "decide ms, plans included: median, p99, most": [
            round(value * 1e3, 3) for value in (statistics.median(decide_s), percentile(decide_s, 99), max(decide_s))
        ],
        "decide ms without a plan, median and p99": [
            round(statistics.median(look_s) * 1e3, 3), round(percentile(look_s, 99) * 1e3, 3),
        ],
        "settings": settings,
    }  # fmt: skip


def percentile(values: list[float], percent: int) -> float:
    return sorted(values)[min(len(values) * percent // 100, len(values) - 1)]


if __name__ == "__main__":
    main()
