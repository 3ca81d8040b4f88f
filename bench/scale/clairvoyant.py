"""The least that anybody can pay in the simulator who knows all that will come: `python -m bench.scale.clairvoyant`

`bough.scaling.clairvoyant.least_cost` lets replicas come and go for nothing: it comes to the work itself, which nobody
can reach who pays for each replica while it starts. Here that is counted, as it is for every policy:

    least  Σ n(t) + start·Σ s(t),   n whole,   s(t) ≥ n(t) - n(t-1),   W(t) - W(t-1) ≤ slots·n(t),   L(t) ≤ W(t) ≤ U(t)

W is the work done by the end of second t, U all that can be done by then, L what must be done if everybody is begun
within the objective: of each request the time since it came, and the time since it had to be begun. Nothing else is
asked of their order, so the true least is dearer. A mixed-integer program for HiGHS; what counts is the lower bound
that it proves, not the best curve that it finds.
"""

from __future__ import annotations

import argparse
from functools import partial
from multiprocessing import Pool

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp

from bench.scale import workloads
from bench.scale.run import first_of
from bough.scaling.clairvoyant import least_cost
from bough.scaling.simulating import Terms, Trace

Seconds = NDArray[np.float64]


class Bound(msgspec.Struct, frozen=True):
    """Replica-seconds: nobody pays less than `least`, and whoever knows all need not pay more than `found`, if requests
    are a fluid."""

    least: float
    found: float


def bound(trace: Trace, terms: Terms, limit_s: float) -> Bound:
    """`limit_s`: after which the solver gives what it has proved so far."""
    seconds, slots = trace.seconds, float(trace.slots)
    possible, due = worked(trace, 0.0), worked(trace, terms.objective_s)
    ones, nothing = sparse.eye(seconds), sparse.csr_matrix((seconds, seconds))
    change = ones - sparse.eye(seconds, k=-1)
    there = np.zeros(seconds)
    there[0] = terms.first
    rules = sparse.vstack([
        sparse.hstack([change, -ones, nothing]),  # what is more than before was started
        sparse.hstack([-slots * ones, nothing, change]),  # no more is done than replicas can
        sparse.hstack([nothing, nothing, -change]),  # what is done stays done
    ])  # fmt: skip
    solved = milp(
        np.concatenate([np.ones(seconds), np.full(seconds, terms.start_s), np.zeros(seconds)]),
        constraints=LinearConstraint(rules.tocsr(), -np.inf, np.concatenate([there, np.zeros(2 * seconds)])),
        bounds=Bounds(
            np.concatenate([np.ones(seconds), np.zeros(seconds), due]),
            np.concatenate([np.full(2 * seconds, np.inf), possible]),
        ),
        integrality=np.concatenate([np.ones(seconds), np.zeros(2 * seconds)]),
        options={"time_limit": limit_s},
    )
    return Bound(least=solved.mip_dual_bound, found=np.inf if solved.fun is None else solved.fun)


def worked(trace: Trace, begun_s: float) -> Seconds:
    """Seconds of work done by the end of each second, if each request is begun so long after it came."""
    begun = np.array([each.at for each in trace.arrivals]) + begun_s
    ended = begun + np.array([each.service_s for each in trace.arrivals])
    ends = np.arange(1.0, trace.seconds + 1)
    return _passed(begun, ends) - _passed(np.sort(ended), ends)


def _passed(moments: Seconds, ends: Seconds) -> Seconds:
    """The sum of what has passed since each moment, at each end."""
    before = np.searchsorted(moments, ends)
    sums = np.concatenate([[0.0], np.cumsum(moments)])
    return np.asarray(ends * before - sums[before])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="*", default=[7])
    parser.add_argument("--only", nargs="*", default=[], help="names of workloads")
    parser.add_argument("--limit", type=float, default=120.0, help="seconds for the solver, each")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    traces = [
        (seed, trace)
        for seed in options.seeds
        for trace in workloads.smooth(seed)
        if not options.only or trace.name in options.only
    ]
    with Pool(options.processes) as pool:
        found = pool.imap(partial(_one, options.limit), [trace for _, trace in traces])
        for (seed, trace), each in zip(traces, found, strict=True):
            fluid = least_cost(trace)
            print(
                f"seed {seed}, {trace.name}: {each.least:.0f} to {each.found:.0f} replica-seconds, "
                f"{each.least / fluid:.4f} to {each.found / fluid:.4f} of {fluid:.0f}, where nothing is started",
                flush=True,
            )


def _one(limit_s: float, trace: Trace) -> Bound:
    return bound(trace, Terms(first=first_of(trace)), limit_s)


if __name__ == "__main__":
    main()
