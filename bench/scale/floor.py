"""What smooth traffic costs whoever knows its true rate, but not when requests come: `python -m bench.scale.floor`

Replicas are whole and take 30 s to start, as in `run.py`; of n(t) = ⌈R(t) + x·√R(t)⌉, R the true load, that x is taken
which costs least with at most 1 % late. Beside it our rule without a pool, as it is and with the truth in place of what
it estimates, one thing after the other: the rate, then nothing kept beyond it, then no replicas for a backlog. `ours`
has its rule for smooth traffic beside it (`bough/scaling/smooth.py`), the others have not.

The benchmark's days last two hours and its steady traffic one. `--real` has days of a day and six hours of the other
one, millions of requests: whoever knows the rate, and ours. It takes some ten minutes.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator

import msgspec

from bench.scale import workloads
from bench.scale.run import MOST, first_of
from bough.kernel.scale import USUAL, Scale
from bough.scaling.clairvoyant import least_cost
from bough.scaling.models import QUEUE, Observation, Outlook, Wish
from bough.scaling.past import Past
from bough.scaling.policy import Autoscaler
from bough.scaling.simulating import Outcome, Policy, Terms, Trace, simulate

LATE = 0.01
SPARE = [0.02 * step for step in range(40)]  # x
Load = Callable[[float], float]


def true_load(name: str, lengths: workloads.Lengths) -> Load:
    _, rate, mean_s = workloads.shapes(lengths)[name]
    return lambda at: rate(at) * mean_s


class Knowing:
    """Has what the true load needs, `start_s` before it does."""

    def __init__(self, load: Load, spare: float, start_s: float) -> None:
        self._load, self._spare, self._start_s = load, spare, start_s

    def wish(self, seen: Observation) -> Wish:
        load = max(self._load(seen.at), self._load(seen.at + self._start_s))
        return Wish(active=math.ceil(load + self._spare * math.sqrt(load)))


class Told(Past):
    """A past that is told the true load, and then, where it is not to keep, of nothing else."""

    def __init__(self, load: Load, *, keeps: bool) -> None:
        super().__init__()
        self._load, self._keeps = load, keeps

    def outlook(self, seen: Observation, start_s: float, again_s: float, worth: float, least: int) -> Outlook:
        found, load = super().outlook(seen, start_s, again_s, worth, least), self._load(seen.at)
        kept, jump = (max(load, found.kept), found.jump) if self._keeps else (load, 0.0)
        ahead = max(load, self._load(seen.at + start_s))
        return msgspec.structs.replace(found, load=load, ahead=ahead, kept=kept, jump=jump, peak=1.0)


def told(load: Load, *, keeps: bool, queue: bool = True) -> Policy:
    signals = tuple(each for each in Scale().signals if queue or each != QUEUE)
    found = Autoscaler(Scale(max=MOST, warm=0, signals=signals, late_cost=USUAL))
    found.past = Told(load, keeps=keeps)
    return found


def measure(trace: Trace, load: Load, *, parts: bool) -> Iterator[tuple[str, Outcome]]:
    """`parts`: with the truth in place of one thing after the other, too."""
    terms = Terms(first=first_of(trace))
    best: Outcome | None = None
    for spare in SPARE:
        found = simulate(trace, Knowing(load, spare, terms.start_s), terms)
        if best is not None and found.cost > best.cost:
            break  # more to spare only costs more
        if found.violations <= LATE:
            best = found
    if best is not None:
        yield "knows the rate", best
    yield "ours", simulate(trace, Autoscaler(Scale(max=MOST, warm=0)), terms)
    if not parts:
        return
    yield "told the rate", simulate(trace, told(load, keeps=True), terms)
    yield "and keeps nothing", simulate(trace, told(load, keeps=False), terms)
    yield "and no backlog", simulate(trace, told(load, keeps=False, queue=False), terms)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--only", nargs="*", default=[], help="names of workloads")
    parser.add_argument("--real", action="store_true", help="at lengths that are real")
    options = parser.parse_args()
    lengths = workloads.REAL if options.real else workloads.BRIEF
    for trace in workloads.smooth(options.seed, lengths):
        if options.only and trace.name not in options.only:
            continue
        least = least_cost(trace, wait_s=1.0)
        print(f"\n{trace.name}: of the clairvoyant cost, and late")
        for name, found in measure(trace, true_load(trace.name, lengths), parts=not options.real):
            print(f"  {name:18} {found.cost / least:.3f}  {100 * found.violations:.2f} %", flush=True)


if __name__ == "__main__":
    main()
