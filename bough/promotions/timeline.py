"""How a promotion went: its stages one after the other, and what each version did in all of them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from bough.gates.models import GateResult
from bough.promotions.models import DONE, ENDED, ROLLING, Promotion, Stage, Tally
from bough.promotions.rules import percent, quantile

CANDIDATE_SIDE, CHAMPION_SIDE = "candidate", "champion"


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What a version answered. `errors`: 5xx; latencies are upper ends of the gateway's classes, 0 of no requests;
    `cpu_ms` of a request, where the policy asks for it."""

    requests: int
    errors: int
    error_rate: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    cpu_ms: float


class StageView(msgspec.Struct, frozen=True, kw_only=True):
    """`percent`: what the candidate had of the requests; `ended_at`: 0 while it lasts; `watched_s`: of that time."""

    state: str
    percent: float
    began_at: float
    ended_at: float
    watched_s: float
    candidate: Figures
    champion: Figures


class VersionView(msgspec.Struct, frozen=True, kw_only=True):
    """`percent`: of the requests, now; `metrics`: what it was registered with; `answered`: in all stages."""

    side: str
    number: int
    percent: float
    metrics: dict[str, float]
    answered: Figures


class Timeline(msgspec.Struct, frozen=True, kw_only=True):
    """`now`: when this was said, until which a stage that lasts has lasted."""

    promotion: str
    project: str
    environment: str
    name: str
    state: str
    why: str
    now: float
    versions: list[VersionView]
    stages: list[StageView]
    gates: list[GateResult]


def of(
    promotion: Promotion,
    stages: Sequence[Stage],
    metrics: Mapping[int, Mapping[str, float]],
    gates: Sequence[GateResult],
    now: float,
) -> Timeline:
    """`metrics`: by number of the version."""
    if stages and not stages[-1].ended_at:  # what it has seen stands in the promotion until it ends
        watch = promotion.watch
        last = msgspec.structs.replace(
            stages[-1], watched_s=watch.watched_s, candidate=watch.candidate, champion=watch.champion
        )
        stages = [*stages[:-1], last]
    has = share(promotion)
    sides = [(CANDIDATE_SIDE, promotion.number, has), (CHAMPION_SIDE, promotion.before, 100.0 - has)]
    versions = [
        VersionView(
            side=side, number=number, percent=part, metrics=dict(metrics.get(number, {})),
            answered=figures(together(getattr(each, side) for each in stages)),
        )
        for side, number, part in sides
        if number
    ]  # fmt: skip
    return Timeline(
        promotion=promotion.id, project=promotion.project, environment=promotion.environment, name=promotion.name,
        state=promotion.state, why=str(promotion.failure.get("message", "")), now=now, versions=versions,
        stages=[_view(each) for each in stages], gates=list(gates),
    )  # fmt: skip


def share(promotion: Promotion) -> float:
    """What the candidate has of the requests now, in percent."""
    return 100.0 if promotion.state == DONE else percent(promotion)


def differs(before: Promotion, after: Promotion) -> bool:
    """Whether it has come to another stage."""
    return before.state != after.state or (after.state == ROLLING and before.step != after.step)


def entered(promotion: Promotion, number: int) -> Stage:
    """The stage that begins with what the promotion is now; one that is an end lasts no time."""
    at = promotion.changed_at
    return Stage(
        promotion=promotion.id, number=number, state=promotion.state, percent=share(promotion), began_at=at,
        ended_at=at if promotion.state in ENDED else 0.0,
    )  # fmt: skip


def figures(tally: Tally) -> Figures:
    p50, p95, p99 = (round(quantile(tally.buckets, part) * 1000, 3) for part in (0.5, 0.95, 0.99))
    each = 1.0 / tally.requests if tally.requests else 0.0
    return Figures(
        requests=tally.requests, errors=tally.errors, error_rate=round(tally.errors * each, 6),
        p50_ms=p50, p95_ms=p95, p99_ms=p99, cpu_ms=round(1000 * tally.cpu_s * each, 3),
    )  # fmt: skip


def together(tallies: Iterable[Tally]) -> Tally:
    total = Tally()
    for each in tallies:
        width = max(len(total.buckets), len(each.buckets))
        left, right = (buckets + [0] * (width - len(buckets)) for buckets in (total.buckets, each.buckets))
        total = Tally(
            requests=total.requests + each.requests, errors=total.errors + each.errors,
            buckets=[one + other for one, other in zip(left, right, strict=True)], cpu_s=total.cpu_s + each.cpu_s,
        )  # fmt: skip
    return total


def _view(of: Stage) -> StageView:
    return StageView(
        state=of.state, percent=of.percent, began_at=of.began_at, ended_at=of.ended_at,
        watched_s=round(of.watched_s, 3), candidate=figures(of.candidate), champion=figures(of.champion),
    )  # fmt: skip
