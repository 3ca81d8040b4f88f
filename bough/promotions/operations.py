"""Verbs of promotions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Annotated

import msgspec

from bough.gates import rules as gate_rules
from bough.gates import store as gates
from bough.gates.operations import champion_of, named
from bough.kernel import catalog
from bough.kernel.context import Context, Role
from bough.kernel.errors import Conflict, Forbidden, NotFound, WorkloadFailed
from bough.kernel.names import new_id
from bough.kernel.operations import operation
from bough.kernel.policy import PromotionPolicy as Policy
from bough.kernel.project import PRODUCTION
from bough.promotions import rules, store, timeline
from bough.promotions.models import (
    DONE,
    ENDED,
    GATING,
    WAITING,
    Approval,
    Promotion,
    PromotionDetail,
    PromotionProgress,
)
from bough.promotions.steps import Steps
from bough.promotions.timeline import Timeline
from bough.registry import store as registry

HOUR_S = 3600.0
FOLLOW_S = 0.5  # between two looks of somebody who follows


class Promote(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    model: Annotated[str, msgspec.Meta(description="NAME@ALIAS or NAME/NUMBER")]
    to: Annotated[str, msgspec.Meta(description="environment whose champion it becomes")] = PRODUCTION
    source: Annotated[
        str,
        msgspec.Meta(
            description="environment in which the version is looked up; that of --to without it",
            extra_json_schema={"flag": "from"},
        ),
    ] = ""
    why: Annotated[str, msgspec.Meta(description="kept in the ledger")] = ""
    shadow: Annotated[float, msgspec.Meta(ge=0, le=30 * 86_400, description="seconds of copies before the steps")] = 0.0


class ListPromotions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    environment: Annotated[str, msgspec.Meta(description="one environment; all without it")] = ""
    model: Annotated[
        str, msgspec.Meta(description="one model", extra_json_schema={"x-argument": True, "x-metavar": "MODEL"})
    ] = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 20


class OnePromotion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    id: str


class AbortPromotion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    id: str
    why: Annotated[str, msgspec.Meta(description="kept in the ledger")] = ""


class Approve(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    id: Annotated[str, msgspec.Meta(description="promotion")]
    why: Annotated[str, msgspec.Meta(description="kept in the ledger")] = ""
    digest: Annotated[str, msgspec.Meta(description="digest of the version that was looked at")] = ""


@operation("promotions.start", role=Role.DEVELOPER, writes=True, command="promote")
def promote(context: Context, request: Promote) -> Promotion:
    """Makes a version the champion of an environment: gates, approvals, signature, then traffic step by step."""
    place = request.project, named(request.to)
    source = named(request.source) or place[1]
    version = registry.resolve(context.tx, (request.project, source), request.model)
    policy = gates.policy_of(context.tx, place, version.name)
    champion = champion_of(context, place, version.name)
    if champion is not None and champion.id == version.id:
        raise Conflict(
            f"{version.reference} is the champion of {'/'.join(place)} already", code="CHAMPION_ALREADY",
            hint=f"bough models show {version.name} -e {place[1]}",
        )  # fmt: skip
    now, by = context.clock.now(), context.principal.name
    run = "" if policy.gates.empty else gates.add(
        context.tx, place, version, champion, policy.gates, by=by, now=now
    ).id  # fmt: skip
    settings = msgspec.structs.replace(policy.promotion, shadow_s=request.shadow or policy.promotion.shadow_s)
    made = Promotion(
        id=new_id("pro"), project=place[0], environment=place[1], source=source, name=version.name,
        number=version.number, version=version.id, digest=version.digest, registered_by=version.by,
        state=GATING if run else WAITING, policy=settings, needed=_needed(context, place, settings), by=by,
        why=request.why, created_at=now, changed_at=now, gate_run=run, evidence="" if run else gate_rules.summary([]),
        before=champion.number if champion is not None else 0,
    )  # fmt: skip
    store.add(context.tx, made)
    context.emit(
        "promotion.started", made.id, project=place[0], environment=place[1], by=by, why=request.why,
        name=made.name, version=made.number, digest=made.digest, source=source, before=made.before, needed=made.needed,
    )  # fmt: skip
    return made


@operation("promotions.list", role=Role.VIEWER)
def list_(context: Context, request: ListPromotions) -> list[Promotion]:
    """Lists promotions of a project, newest first."""
    return store.listed(context.tx, request.project, named(request.environment), request.model, request.limit)


@operation("promotions.show", role=Role.VIEWER)
def show(context: Context, request: OnePromotion) -> PromotionDetail:
    """Shows a promotion: where it stands, who approved it, what its present step has seen."""
    return _detail(context, store.get(context.tx, request.id))


@operation("promotions.timeline", role=Role.VIEWER)
def show_timeline(context: Context, request: OnePromotion) -> Timeline:
    """Shows how a promotion went: its stages, each version's share, errors, latency and metrics, and its gates."""
    found = store.get(context.tx, request.id)
    metrics = {found.number: registry.by_id(context.tx, found.version).facts.metrics}
    if found.before:
        with suppress(NotFound):  # it may have been deleted since
            metrics[found.before] = registry.version(context.tx, found.place, found.name, found.before).facts.metrics
    run = gates.get(context.tx, found.gate_run) if found.gate_run else None
    stages = store.stages(context.tx, found.id)
    return timeline.of(found, stages, metrics, run.results if run is not None else [], context.clock.now())


@operation("promotions.follow", role=Role.VIEWER)
def follow(context: Context, request: OnePromotion) -> Iterator[PromotionProgress]:
    """Streams where a promotion stands until it has ended; raises `WorkloadFailed` when it was aborted."""
    last: PromotionProgress | None = None
    while True:
        with context.read() as tx:
            found = store.get(tx, request.id)
            counting = len(rules.counting(found, store.approvals(tx, found.id), context.clock.now()))
        now = rules.progress(found, counting)
        if now != last:
            yield now
        last = now
        if found.state in ENDED:
            break
        context.pause(FOLLOW_S)
    if found.state != DONE:
        why = str(found.failure.get("message") or "it was ended")
        raise WorkloadFailed(
            f"{found.name}/{found.number} was not promoted; {why}", code="PROMOTION_ABORTED",
            hint=f"bough promotions show {found.id}",
        )  # fmt: skip


@operation("promotions.abort", role=Role.DEVELOPER, writes=True)
def abort(context: Context, request: AbortPromotion) -> Promotion:
    """Ends a promotion: what served before serves all requests again. A developer ends their own only."""
    found = _open(context, request.id)
    if context.principal.role < Role.APPROVER and context.principal.name != found.by:
        raise Forbidden(
            f"{found.by} began this promotion, and {context.principal.name} is no approver",
            code="PROMOTION_OF_ANOTHER", hint="ask an approver",
        )  # fmt: skip
    failure = {"code": "ABORTED_BY_HAND", "message": request.why or f"{context.principal.name} ended it"}
    context.part(Steps).abort(context.tx, found, failure, by=context.principal.name)
    return store.get(context.tx, found.id)


@operation("promotions.approve", role=Role.APPROVER, writes=True, command="approve")
def approve(context: Context, request: Approve) -> PromotionDetail:
    """Approves a promotion: this version with this evidence, and for a time only."""
    found, by, now = _open(context, request.id), context.principal.name, context.clock.now()
    if found.state == GATING:
        raise Conflict(
            f"the gates of {found.name}/{found.number} are still running; there is no evidence to approve yet",
            code="EVIDENCE_MISSING", hint=f"bough gates show {found.gate_run}",
        )  # fmt: skip
    if request.digest and request.digest != found.digest:
        raise Conflict(
            f"{request.id} promotes the digest {found.digest[:12]}, not {request.digest[:12]}",
            code="APPROVAL_OF_ANOTHER", hint=f"bough promotions show {found.id}",
        )  # fmt: skip
    if why_not := rules.refusal(found, by):
        raise Forbidden(f"this approval does not count: {why_not}", code="APPROVAL_REFUSED",
                        hint="ask somebody else: bough principals list")  # fmt: skip
    expires = now + found.policy.expire_h * HOUR_S
    made = Approval(
        promotion=found.id, by=by, at=now, digest=found.digest, evidence=found.evidence, expires_at=expires,
        why=request.why,
    )  # fmt: skip
    store.approve(context.tx, made)
    context.emit(
        "promotion.approved", found.id, project=found.project, environment=found.environment, by=by, why=request.why,
        name=found.name, version=found.number, digest=found.digest, evidence=found.evidence, expires_at=expires,
    )  # fmt: skip
    return _detail(context, found)


def _open(context: Context, id: str) -> Promotion:
    found = store.get(context.tx, id)
    if found.state in ENDED:
        raise Conflict(f"the promotion {id} is {found.state}", code="PROMOTION_ENDED", hint="bough promotions list")
    return found


def _detail(context: Context, found: Promotion) -> PromotionDetail:
    given = store.approvals(context.tx, found.id)
    holding = rules.counting(found, given, context.clock.now())
    return PromotionDetail(promotion=found, approvals=given, counting=len(holding))


def _needed(context: Context, place: tuple[str, str], policy: Policy) -> int:
    if policy.approvals >= 0:
        return policy.approvals
    return 1 if catalog.is_protected(context.tx, *place) else 0
