"""What scaling did to a service, and what other settings would have done: verbs over what was kept."""

from __future__ import annotations

from collections import deque
from typing import Annotated

import msgspec
import sqlalchemy as sa

from bough.environments import store as environments
from bough.kernel.context import Context, Role
from bough.kernel.errors import NotFound
from bough.kernel.operations import operation
from bough.kernel.project import PRODUCTION
from bough.kernel.scale import Scale
from bough.scaling import store, traces
from bough.scaling.models import Costs, Decision, Minute
from bough.scaling.policy import Autoscaler
from bough.scaling.replaying import CurvePoint, first_of
from bough.scaling.simulating import Outcome, Terms, Trace, simulate
from bough.serving import store as serving
from bough.serving.models import ASLEEP, Deployment

POINTS = 400
LATE = 0.01  # of requests may be late; proposals that do not reach it are not made where one does
DOUBLED = 3  # times that a `max` is doubled which leaves too many waiting
MOST_SECONDS = 6 * 3600  # of traffic that advice simulates, the busiest


class OfScaledService(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    service: str
    environment: Annotated[str, msgspec.Meta(description="environment; main is production")] = PRODUCTION
    hours: Annotated[float, msgspec.Meta(gt=0, le=168, description="how far to look back")] = 24.0


class ScalingView(msgspec.Struct, frozen=True, kw_only=True):
    """`active` and `pool` are 0 while it is asleep. `awake_s`: how long it is kept without a request, where that is
    learnt."""

    service: str
    active: int
    pool: int
    least: int
    most: int
    awake_s: float
    decisions: list[Decision]
    curve: list[CurvePoint]


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """Some settings, and what they would have meant: `cost` in replica-hours of the traffic that was looked at, `late`
    the share of requests, `replicas` at most. What may sleep goes on to, and is simulated awake."""

    min: int
    max: int
    warm: int
    late_cost: float
    cost: float
    late: float
    replicas: int
    chosen: bool = False


class Advice(msgspec.Struct, frozen=True, kw_only=True):
    """`hours` simulated: the busiest of those `looked_at`, between the first and the last request that was kept."""

    service: str
    requests: int
    hours: float
    looked_at: float
    tolerated: float  # share of requests that may be late
    service_s: float
    proposals: list[Proposal]
    setting: str


@operation("scale.show", role=Role.VIEWER)
def show(context: Context, request: OfScaledService) -> ScalingView:
    """Shows how many replicas a service had, when that changed, and why."""
    found = _deployment(context.tx, request)
    place, since = (request.project, request.environment, request.service), context.clock.now() - request.hours * 3600
    decisions = store.decisions(context.tx, place, since)
    minutes = store.minutes(context.tx, place, int(since // 60))
    scale = found.settings.scale
    return ScalingView(
        service=request.service, active=_now(found)[0], pool=_now(found)[1], least=scale.min,
        most=scale.most if scale.max else found.settings.replicas, awake_s=found.awake_s, decisions=decisions,
        curve=_curve(found, decisions, minutes, since, context.clock.now()),
    )  # fmt: skip


@operation("scale.advise", role=Role.VIEWER, slow=True)
def advise(context: Context, request: OfScaledService) -> Advice:
    """Proposes settings for a service: what each would have cost, and whom it would have made wait, in its traffic."""
    with context.read() as tx:
        found = _deployment(tx, request)
        place, now = (request.project, request.environment, request.service), context.clock.now()
        minutes = store.minutes(tx, place, int((now - request.hours * 3600) // 60))
    if not minutes:
        raise NotFound(
            f"{request.service} has had no traffic in {request.hours:g} hours", code="TRAFFIC_UNKNOWN",
            hint="it is written down once a minute, of services with scale.max; or bough scale simulate TRACE",
        )  # fmt: skip
    trace = traffic_of(request.service, minutes)
    present = found.settings.scale
    tried = _tried(trace, present)
    good = [each for each in tried if each.late <= LATE] or [min(tried, key=lambda each: each.late)]
    best = min(good, key=lambda each: each.cost)
    chosen = {name: getattr(best, name) for name in ("min", "max", "warm", "late_cost")}
    proposals = [msgspec.structs.replace(each, chosen=each is best) for each in tried]
    scale = msgspec.to_builtins(msgspec.structs.replace(present, **chosen))
    usual = msgspec.to_builtins(Scale())
    changed = {name: value for name, value in scale.items() if value != usual[name]}
    inside = ", ".join(f"{name} = {msgspec.json.encode(value).decode()}" for name, value in changed.items())
    return Advice(
        service=request.service, requests=len(trace.arrivals), hours=round(trace.seconds / 3600, 3),
        tolerated=LATE, looked_at=round((minutes[-1].minute - minutes[0].minute + 1) / 60, 3),
        service_s=round(sum(each.service_s for each in minutes) / len(minutes), 6), proposals=proposals,
        setting=f"scale = {{ {inside} }}",
    )  # fmt: skip


def traffic_of(service: str, minutes: list[Minute]) -> Trace:
    """Kept traffic as a trace, minutes without requests included; the busiest part of it where it is long."""
    by_minute = {each.minute: each for each in minutes}
    first, last = _busiest(minutes, MOST_SECONDS // 60)
    counts: list[int] = []
    for minute in range(first, last + 1):
        found = by_minute.get(minute)
        counts += found.counts if found else [0] * 60
    measured = [each.service_s for each in minutes if each.service_s > 0]
    mean_s = sum(measured) / len(measured) if measured else 0.1
    return traces.of_counts(service, counts, service_s=mean_s, slots=max(each.slots for each in minutes))


def _busiest(minutes: list[Minute], most: int) -> tuple[int, int]:
    """The first and the last of `most` minutes with more requests than any others; the latest where several have."""
    first, last = minutes[0].minute, minutes[-1].minute
    if last - first < most:
        return first, last
    inside, asked, best = deque[tuple[int, int]](), 0, (0, last)
    for each in minutes:
        asked += sum(each.counts)
        inside.append((each.minute, sum(each.counts)))
        while inside[0][0] <= each.minute - most:
            asked -= inside.popleft()[1]
        best = max(best, (asked, max(each.minute, first + most - 1)))
    return best[1] - most + 1, best[1]


def _tried(trace: Trace, present: Scale) -> list[Proposal]:
    """What each would have meant. Where `max` leaves too many waiting, whatever else is set, larger ones as well."""
    candidates = _candidates(present)
    tried = [_try(trace, each, may_sleep=not present.min) for each in candidates]
    nearest = min(range(len(tried)), key=lambda each: tried[each].late)
    scale = candidates[nearest]
    while all(each.late > LATE for each in tried) and len(tried) < len(candidates) + DOUBLED:
        scale = msgspec.structs.replace(scale, max=2 * scale.max)
        tried.append(_try(trace, scale, may_sleep=not present.min))
    return tried


def _candidates(present: Scale) -> list[Scale]:
    most = max(present.max, present.min, 1)
    return [
        msgspec.structs.replace(present, max=most, warm=warm, late_cost=cost, min=max(1, least))
        for warm in (0, -1)
        for cost in dict.fromkeys((present.late_cost, 3.0, 10.0, 100.0))
        for least in dict.fromkeys((1, max(1, present.min)))
    ]


def _try(trace: Trace, scale: Scale, *, may_sleep: bool) -> Proposal:
    start_s = Costs(start_s=1.0)
    terms = Terms(start_s=start_s.start_s, objective_s=scale.target, first=min(first_of(trace), scale.most))
    outcome: Outcome = simulate(trace, Autoscaler(scale, start_s), terms)
    most = max((each[0] for each in outcome.curve), default=0)
    return Proposal(
        min=0 if may_sleep else scale.min, max=scale.max, warm=scale.warm, late_cost=scale.late_cost,
        cost=round(outcome.cost / 3600, 4),
        late=round(outcome.violations, 5), replicas=most,
    )  # fmt: skip


def _now(found: Deployment) -> tuple[int, int]:
    """Replicas that answer, and that wait warm."""
    return (0, 0) if found.state == ASLEEP else (found.answering, found.waiting)


def _curve(
    found: Deployment, decisions: list[Decision], minutes: list[Minute], since: float, now: float
) -> list[CurvePoint]:
    """Replicas over time, from decision to decision, and requests a second."""
    if not decisions and not minutes:
        return []
    begin = max(since, min([each.at for each in decisions[:1]] + [each.minute * 60.0 for each in minutes[:1]]))
    step = max(1.0, (now - begin) / POINTS)
    counts = {each.minute: sum(each.counts) for each in minutes}
    points, at, upcoming = list[CurvePoint](), begin, list(decisions)
    active, pool = (decisions[0].active, 0) if decisions else _now(found)
    late_cost = decisions[0].late_cost if decisions else 0.0
    while at < now:
        while upcoming and upcoming[0].at <= at:
            followed = upcoming.pop(0)
            active, pool, late_cost = followed.active, followed.pool, followed.late_cost
        requests = round(counts.get(int(at // 60), 0) / 60 * step)
        points.append(CurvePoint(at=at, requests=requests, active=active, starting=0, pool=pool, late_cost=late_cost))
        at += step
    return points


def _deployment(tx: sa.Connection, request: OfScaledService) -> Deployment:
    place = request.project, request.environment
    live = environments.live(tx, place)
    manifest = live[1].services.get(request.service) if live is not None else None
    if manifest is None:
        raise NotFound(
            f"{'/'.join(place)} has no service {request.service!r}", code="SERVICE_NOT_FOUND", hint="bough status"
        )
    return serving.serving(tx, place, request.service, manifest)
