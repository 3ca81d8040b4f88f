"""Pure decisions of promotions: which approvals count, and what a step's figures say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from bough.gateway.models import GatewayState
from bough.gateway.telemetry.metrics import LATENCY_S
from bough.kernel.policy import PromotionPolicy as Policy
from bough.promotions.models import ROLLING, WAITING, Approval, Promotion, PromotionProgress, Tally, Watch

CRASHES = 3  # of a candidate's replicas, and it is taken for broken
LOOK_S = 1.0  # between two looks at a step; what passes beyond twice that counts as a jump of the clock


def counting(promotion: Promotion, given: Iterable[Approval], now: float) -> list[Approval]:
    """The approvals that hold for what would be promoted now."""
    return [
        each
        for each in given
        if (each.digest, each.evidence) == (promotion.digest, promotion.evidence)
        and each.expires_at > now
        and not refusal(promotion, each.by)
    ]


def progress(promotion: Promotion, counting: int) -> PromotionProgress:
    """Where it stands, `counting` approvals given."""
    candidate, champion = promotion.watch.candidate, promotion.watch.champion
    return PromotionProgress(
        at=promotion.changed_at, id=promotion.id, state=promotion.state, percent=percent(promotion),
        watched_s=round(promotion.watch.watched_s, 1),
        candidate_requests=candidate.requests, candidate_errors=candidate.errors,
        champion_requests=champion.requests, champion_errors=champion.errors,
        missing=max(0, promotion.needed - counting) if promotion.state == WAITING else 0,
    )  # fmt: skip


def percent(promotion: Promotion) -> float:
    """What the candidate has of the requests while it is rolled out."""
    steps = promotion.policy.steps
    return steps[min(promotion.step, len(steps) - 1)] if promotion.state == ROLLING else 0.0


def refusal(promotion: Promotion, by: str) -> str:
    """Why somebody may not approve; empty: they may."""
    if promotion.policy.four_eyes and by == promotion.by:
        return f"{by} asked for the promotion, and four eyes are wanted"
    if promotion.policy.four_eyes and by == promotion.registered_by:
        return f"{by} registered the version, and four eyes are wanted"
    if promotion.policy.approvers and by not in promotion.policy.approvers:
        return f"{by} is none of the approvers {', '.join(promotion.policy.approvers)}"
    return ""


def looked(
    watch: Watch, state: GatewayState | None, candidates: set[str], champions: set[str], cpu_s: dict[str, float],
    now: float,
) -> Watch:  # fmt: skip
    """The watch after one more look. While the gateway says nothing, no time is counted either. `cpu_s`: processor
    seconds of deployments so far."""
    begins = watch.looked_at == 0.0
    passed = 0.0 if begins or state is None else min(max(now - watch.looked_at, 0.0), 2 * LOOK_S)
    candidate, champion = watch.candidate, watch.champion
    if state is not None:
        candidate = _added(candidate, state, candidates, cpu_s, fresh=True)
        champion = _added(champion, state, champions, cpu_s, fresh=False)
    return Watch(watched_s=watch.watched_s + passed, looked_at=now, candidate=candidate, champion=champion)


def begun(before: Watch) -> Watch:
    """A step that begins: counters go on, and what they have counted is behind it."""
    return Watch(candidate=Tally(raw=before.candidate.raw), champion=Tally(raw=before.champion.raw))


def beyond(policy: Policy, watch: Watch) -> dict[str, Any]:
    """Which bound a step has broken, and its figures; empty while it has broken none."""
    mine, theirs = watch.candidate, watch.champion
    if mine.requests < max(policy.min_requests, 1):
        return {}
    rate = mine.errors / mine.requests
    if rate > policy.max_error_rate and (theirs.requests == 0 or rate > theirs.errors / theirs.requests):
        return _why(
            "errors",
            f"{rate:.1%} of {mine.requests} requests failed",
            f"max_error_rate = {policy.max_error_rate:g}",
            watch,
        )
    slow, usual = quantile(mine.buckets, 0.95), quantile(theirs.buckets, 0.95)
    if policy.max_p95_ms and slow * 1000 > policy.max_p95_ms:
        return _why("latency", f"p95 is {slow * 1000:g} ms", f"max_p95_ms = {policy.max_p95_ms:g}", watch)
    if theirs.requests < max(policy.min_requests, 1):
        return {}
    if policy.max_p95_ratio and slow > policy.max_p95_ratio * usual:
        said = f"p95 is {slow * 1000:g} ms, the champion's {usual * 1000:g} ms"
        return _why("latency", said, f"max_p95_ratio = {policy.max_p95_ratio:g}", watch)
    if policy.max_cost_ratio and theirs.cpu_s > 0:
        ratio = (mine.cpu_s / mine.requests) / (theirs.cpu_s / theirs.requests)
        if ratio > policy.max_cost_ratio:
            said = f"a request costs {ratio:.1f} times the champion's processor time"
            return _why("cost", said, f"max_cost_ratio = {policy.max_cost_ratio:g}", watch)
    return {}


def figures(watch: Watch) -> dict[str, Any]:
    """What is kept of a step."""

    def of(each: Tally) -> dict[str, Any]:
        p95_ms = round(quantile(each.buckets, 0.95) * 1000, 3)
        return {"requests": each.requests, "errors": each.errors, "p95_ms": p95_ms, "cpu_s": round(each.cpu_s, 3)}

    return {"candidate": of(watch.candidate), "champion": of(watch.champion), "watched_s": round(watch.watched_s, 3)}


def quantile(buckets: Sequence[int], share: float) -> float:
    """The upper bound of the bucket in which a quantile lies, in seconds; 0 of nothing."""
    total, seen = sum(buckets), 0
    for bound, count in zip((*LATENCY_S, 2 * LATENCY_S[-1]), buckets, strict=False):
        seen += count
        if total and seen >= share * total:
            return bound
    return 0.0


def _added(tally: Tally, state: GatewayState, deployments: set[str], cpu_s: dict[str, float], *, fresh: bool) -> Tally:
    """With what was answered since the last look. What a deployment had answered before it was first seen counts if it
    is `fresh`: the champion had a life before this promotion."""
    requests, errors, cpu, raw = tally.requests, tally.errors, tally.cpu_s, dict(tally.raw)
    buckets = list(tally.buckets) or [0] * (len(LATENCY_S) + 1)
    for share in state.shares:
        if share.deployment not in deployments:
            continue
        now: dict[str, Any] = {
            "requests": share.requests, "errors": share.errors, "buckets": share.buckets, "since": state.started_at,
            "cpu_s": cpu_s.get(share.deployment, 0.0),
        }  # fmt: skip
        last = raw.get(share.deployment) or ({} if fresh else now)
        before = last if last.get("since") == state.started_at else {}
        requests += max(share.requests - before.get("requests", 0), 0)
        errors += max(share.errors - before.get("errors", 0), 0)
        old = before.get("buckets", [0] * len(buckets))
        buckets = [kept + max(new - was, 0) for kept, new, was in zip(buckets, share.buckets, old, strict=True)]
        cpu += max(now["cpu_s"] - last.get("cpu_s", now["cpu_s"]), 0.0)
        raw[share.deployment] = now
    return Tally(requests=requests, errors=errors, buckets=buckets, cpu_s=cpu, raw=raw)


def _why(bound: str, said: str, setting: str, watch: Watch) -> dict[str, Any]:
    return {"code": f"BEYOND_{bound.upper()}", "message": f"{said}, beyond {setting}", **figures(watch)}
