"""A trace through a policy: what is asked, what comes of it. Only calculates, so nothing has to run."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Annotated

import msgspec

from bough.kernel.errors import Invalid
from bough.kernel.scale import Scale, wrong
from bough.scaling import peers, traces
from bough.scaling.clairvoyant import least_cost
from bough.scaling.models import Costs
from bough.scaling.policy import Autoscaler
from bough.scaling.simulating import Outcome, Policy, ScaleChange, Terms, Trace, simulate

MOST = 10_000  # replicas in a simulation that names no bound
SHOWN = 400  # points of a curve, at most
FOLLOWED = ("min", "max", "target")  # keys of `scale` that every policy follows
_PEERS: dict[str, Callable[[int], Policy]] = {
    "kpa": peers.KnativeKpa,
    "hpa-cpu": lambda least: peers.KubernetesHpa(0.8, queue=False, least=least),
    "hpa-concurrency": lambda least: peers.KubernetesHpa(0.7, queue=True, least=least),
    "ray-serve": peers.RayServe,
    "target-tracking": peers.TargetTracking,
    "keep-alive": lambda least: peers.FixedKeepAlive(least=least),
}
POLICIES = ("bough", *_PEERS)


class Simulate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    trace: Annotated[str, msgspec.Meta(description="requests in each second, one number a line; or SECONDS,SERVICE_S")]
    name: str = "trace"
    policy: Annotated[str, msgspec.Meta(description=f"one of {', '.join(POLICIES)}")] = "bough"
    scale: Scale = Scale()
    service_s: Annotated[float, msgspec.Meta(gt=0, le=3600, description="that a request keeps a slot busy")] = 0.1
    slots: Annotated[int, msgspec.Meta(ge=1, le=10_000, description="requests that a replica works on at once")] = 1
    start_s: Annotated[float, msgspec.Meta(ge=0, le=3600, description="until a new replica answers")] = 30.0
    pool_price: Annotated[float, msgspec.Meta(ge=0, le=1, description="of a pool replica, in replicas")] = 0.1


class CurvePoint(msgspec.Struct, frozen=True, kw_only=True):
    """The most in the seconds that the point stands for. `late_cost`: what a late request weighed at their end; 0 where
    nobody said it."""

    at: float
    requests: int
    active: int
    starting: int
    pool: int
    late_cost: float = 0.0


class Simulation(msgspec.Struct, frozen=True, kw_only=True):
    """`cost` in replica-seconds, `least`: of somebody who knows the traffic; `late`: share that waited too long;
    `reasons`: how often the number of replicas changed for each; `changes`: the last of them."""

    name: str
    policy: str
    seconds: int
    requests: int
    cost: float
    least: float
    late: float
    mean_wait_s: float
    most: int
    curve: list[CurvePoint]
    reasons: dict[str, int] = {}
    changes: list[ScaleChange] = []


def replayed(request: Simulate) -> Simulation:
    """Raises `Invalid` for what is no trace, and for a `scale` that cannot be followed."""
    if found := wrong(request.scale):
        key, said, _ = found
        raise Invalid(f"{key}: {said}", code="SCALE_INVALID", hint="bough scale simulate --help")
    _check_known(request)
    trace = traces.read(request.name, request.trace, service_s=request.service_s, slots=request.slots)
    first = min(first_of(trace), _most(request.scale))
    terms = Terms(start_s=request.start_s, objective_s=request.scale.target, pool_price=request.pool_price, first=first)
    outcome = simulate(trace, policy_of(request), terms, name=request.policy)
    return Simulation(
        name=trace.name, policy=request.policy, seconds=trace.seconds, requests=outcome.requests, cost=outcome.cost,
        least=least_cost(trace, request.scale.target), late=outcome.violations,
        mean_wait_s=outcome.waited_s / max(1, outcome.requests),
        most=max((sum(each) for each in outcome.curve), default=0), curve=drawn(trace, outcome),
        reasons=dict(Counter(each.why for each in outcome.changes if each.why).most_common()),
        changes=outcome.changes[-SHOWN:],
    )  # fmt: skip


def policy_of(request: Simulate) -> Policy:
    scale = request.scale
    least = max(1, scale.min)
    if request.policy == "bough":
        wanted = scale if scale.max else msgspec.structs.replace(scale, max=MOST)
        return Autoscaler(wanted, Costs(start_s=request.start_s, pool_price=request.pool_price))
    make = _PEERS.get(request.policy)
    if make is None:
        known = ", ".join(POLICIES)
        raise Invalid(f"there is no policy {request.policy!r}", code="POLICY_UNKNOWN", hint=f"one of {known}")
    return peers.Bounded(make(least), least, _most(scale))


def _most(scale: Scale) -> int:
    return scale.most if scale.max else MOST


def _check_known(request: Simulate) -> None:
    """What another rule does not know would be passed over, and the comparison be with something else than was asked
    for."""
    if request.policy == "bough":
        return
    usual = Scale()
    others = [each for each in Scale.__struct_fields__ if each not in FOLLOWED]
    if given := [each for each in others if getattr(request.scale, each) != getattr(usual, each)]:
        raise Invalid(
            f"the policy {request.policy} follows {', '.join(FOLLOWED)} of a scale, and knows no {', '.join(given)}",
            code="POLICY_SETTINGS", hint="leave them out; or bough scale simulate TRACE --policy bough",
        )  # fmt: skip


def first_of(trace: Trace) -> int:
    """Replicas that are there at the start: what 70 % use of the first minute needs."""
    work_s = sum(each.service_s for each in trace.arrivals if each.at < 60) / 60
    return max(1, math.ceil(work_s / trace.slots / 0.7))


def drawn(trace: Trace, outcome: Outcome) -> list[CurvePoint]:
    step = max(1, math.ceil(trace.seconds / SHOWN))
    counts = [0] * (trace.seconds // step + 1)
    for each in trace.arrivals:
        counts[min(int(each.at), trace.seconds - 1) // step] += 1
    points = []
    for begin in range(0, trace.seconds, step):
        part = outcome.curve[begin : begin + step]
        active, starting, pool = (max(each[at] for each in part) for at in range(3))
        points.append(
            CurvePoint(
                at=float(begin),
                requests=counts[begin // step],
                active=active,
                starting=starting,
                pool=pool,
                late_cost=outcome.late_costs[min(begin + step, trace.seconds) - 1],
            )
        )
    return points
