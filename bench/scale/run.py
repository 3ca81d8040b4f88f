"""Our rule beside others, on recorded and synthetic traffic: cost and late requests. `make bench-scale`

One setting for all workloads. A replica takes 30 s to start, the objective is to wait at most 1 s, a pool replica costs
a tenth. KPA is simulated twice: as it is (what waits counts as concurrency) and as it would be with the offered load as
its concurrency, which costs less and is the harder one to undercut.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterable
from functools import partial
from multiprocessing import Pool
from pathlib import Path

import msgspec

from bench.scale import sleeping, workloads
from bough.entrypoints.cli.pictures import svg
from bough.kernel.scale import Scale
from bough.scaling import peers
from bough.scaling.clairvoyant import least_cost
from bough.scaling.models import Observation, Wish
from bough.scaling.policy import Autoscaler
from bough.scaling.replaying import drawn
from bough.scaling.simulating import Outcome, Policy, Terms, Trace, simulate

MOST = 2000


class OnLoad:
    """A peer that sees the work that came in this second as its concurrency, and nothing of what waits."""

    def __init__(self, peer: Policy) -> None:
        self._peer, self._service_s = peer, 0.0

    def wish(self, seen: Observation) -> Wish:
        if seen.begun:
            self._service_s += (seen.service_s - self._service_s) * (0.02 if self._service_s else 1.0)
        load = seen.arrived * self._service_s
        return self._peer.wish(msgspec.structs.replace(seen, queued=0, in_flight=load))


POLICIES: dict[str, Callable[[], Policy]] = {
    "ours": lambda: Autoscaler(Scale(max=MOST, warm=0)),
    "ours, pool": lambda: Autoscaler(Scale(max=MOST)),
    "ours, thrifty pool": lambda: Autoscaler(Scale(max=MOST, late_cost=10.0)),
    "KPA": peers.KnativeKpa,
    "KPA on load": lambda: OnLoad(peers.KnativeKpa()),
    "HPA CPU 80 %": lambda: peers.KubernetesHpa(0.8, queue=False),
    "HPA concurrency 70 %": lambda: peers.KubernetesHpa(0.7, queue=True),
    "Ray Serve": peers.RayServe,
    "target tracking": peers.TargetTracking,
    "keep-alive 10 min": peers.FixedKeepAlive,
}
KINDS = ["recorded", "bursty", "smooth"]
SMOOTH = {"steady-50", "steady-20", "day-60", "day-25"}


def first_of(trace: Trace) -> int:
    """Replicas that are there at the start: what 70 % use of the first minute needs."""
    work_s = sum(each.service_s for each in trace.arrivals if each.at < 60) / 60
    return max(1, math.ceil(work_s / trace.slots / 0.7))


def one(job: tuple[str, Trace]) -> Outcome:
    name, trace = job
    found = simulate(trace, POLICIES[name](), Terms(first=first_of(trace)), name=name)
    return found if trace.name == "on-off" else msgspec.structs.replace(found, curve=[], late_costs=[])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=[], help="names of workloads")
    parser.add_argument("--kinds", nargs="*", choices=[*KINDS, "drawn"], default=KINDS, help="of workloads")
    parser.add_argument("--policies", nargs="*", default=list(POLICIES))
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--pictures", type=Path, help="a folder for the curves of `on-off`, as SVG")
    options = parser.parse_args()
    kinds = [getattr(workloads, kind) for kind in options.kinds]
    traces = [each for kind in kinds for each in kind(options.seed) if not options.only or each.name in options.only]
    jobs = [(name, trace) for trace in traces for name in options.policies]
    with Pool(options.processes) as pool:
        outcomes = pool.map(one, jobs, chunksize=1)
        least = pool.map(partial(least_cost, wait_s=1.0), traces)
    bounds = {trace.name: bound for trace, bound in zip(traces, least, strict=True)}
    found = {(each.trace, each.policy): each for each in outcomes}
    for trace in traces:
        report(trace, [found[trace.name, name] for name in options.policies], bounds[trace.name])
    if {"KPA", "KPA on load"} <= set(options.policies):
        targets(found, traces, bounds)
    for line in sleeping.report():
        print(line)
    if options.pictures:
        draw(options.pictures, {trace.name: trace for trace in traces}, outcomes)
    if options.json:
        rows = [msgspec.to_builtins(msgspec.structs.replace(each, curve=[], late_costs=[])) for each in outcomes]
        options.json.write_text(json.dumps({"outcomes": rows, "least": bounds}))


def draw(folder: Path, traces: dict[str, Trace], outcomes: Iterable[Outcome]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for each in outcomes:
        if each.curve:
            points = drawn(traces[each.trace], each)
            name = "-".join(each.policy.replace(",", "").replace("%", "").lower().split())
            title = f"{each.trace}, {each.policy}: {each.cost / traces[each.trace].seconds:.1f} replicas in the mean"
            (folder / f"{each.trace}-{name}.svg").write_text(
                svg(f"{title}, {100 * each.violations:.2f} % late", points)
            )


def report(trace: Trace, outcomes: Iterable[Outcome], least: float) -> None:
    load = trace.work_s / trace.seconds / trace.slots
    least_s = least / trace.seconds
    size = f"{trace.seconds} s, {len(trace.arrivals)} requests"
    print(f"\n{trace.name}: {size}, load {load:.2f}, clairvoyant {least_s:.2f}")
    for each in outcomes:
        print(f"  {each.policy:22} {each.cost / trace.seconds:8.2f} replicas  {100 * each.violations:7.3f} % late")
    sys.stdout.flush()


def targets(found: dict[tuple[str, str], Outcome], traces: list[Trace], least: dict[str, float]) -> None:
    print("\nratios to KPA (cost, late) | to KPA on load | to the clairvoyant cost")
    for trace in traces:
        row = []
        for name in ("ours", "ours, pool", "ours, thrifty pool"):
            if (trace.name, name) not in found:
                continue
            each, part = found[trace.name, name], []
            for peer in ("KPA", "KPA on load"):
                other = found[trace.name, peer]
                part.append(f"{each.cost / other.cost:.2f} {each.late / max(1, other.late):.2f}")
            part.append(f"{each.cost / least[trace.name]:.2f}" if trace.name in SMOOTH else "-")
            row.append(f"{name}: {' | '.join(part)}")
        print(f"  {trace.name:18} " + "    ".join(row))


if __name__ == "__main__":
    main()
