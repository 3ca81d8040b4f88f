"""What nobody can undercut: the cheapest replica curve of somebody who knows the traffic."""

from __future__ import annotations

import math

from bough.scaling.simulating import Trace


def least_cost(trace: Trace, wait_s: float = 1.0) -> float:
    """Replica-seconds, whole replicas, changed every second and started ahead, such that all work is begun within
    `wait_s`: in each second just as many as what is due by its end, and what was begun before, need. Work is taken as a
    fluid, which only makes it cheaper."""
    begin = [0.0] * (trace.seconds + 2)  # work that comes, by second
    for each in trace.arrivals:
        begin[min(int(each.at), trace.seconds)] += each.service_s
    horizon, waiting, cost, slack = max(1, math.ceil(wait_s)), 0.0, 0.0, float(trace.slots)
    for second in range(trace.seconds):
        waiting += begin[second]
        recent = sum(begin[max(0, second - horizon + 1) : second + 1])
        due = max(0.0, waiting - recent)  # may wait no longer
        rest = math.floor((waiting - due) / slack + due / slack)  # whole replicas that have enough to do
        count = max(math.ceil(due / slack), rest, 1)
        cost += count
        waiting = max(0.0, waiting - count * slack)
    return cost
