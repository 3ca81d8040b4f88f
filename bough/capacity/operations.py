"""Verbs of capacity."""

from __future__ import annotations

from typing import Annotated

import msgspec
import sqlalchemy as sa

from bough.adapters.capacity import SPOT
from bough.capacity import rules, store
from bough.capacity.changeovers import Changeover
from bough.capacity.deciding import again_s, time_said
from bough.capacity.market import Usable, price_of_work
from bough.capacity.pools import Pools
from bough.capacity.rates import step_of
from bough.capacity.savings import GivenBack, JobSaving, savings
from bough.capacity.zones import MarketSeen, expected_life
from bough.kernel.context import Context, Role
from bough.kernel.errors import Conflict, Invalid, NotFound
from bough.kernel.operations import Nothing, operation
from bough.kernel.tables import event

Hours = Annotated[float, msgspec.Meta(gt=0, le=100_000)]
GAVE_BACK = "job.gave_back"
NOTICE_S = 120.0  # what clouds give
LOOKS_AHEAD_H = 24.0
# Time beyond its work that a job's plan is drawn for: with more, waiting costs no more and the grid of the plan, which
# has so many steps however long they are, becomes coarser than the work. By hours, and by the work as a multiple.
DRAWN_SLACK_H, DRAWN_SLACK_LEAST, DRAWN_SLACK_MOST = 48.0, 4.0, 48.0


class PoolPrice(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the price book."""

    pool: str
    zone: str
    kind: str
    accelerator: str
    price_per_h: float
    on_demand_per_h: float
    saving: float  # part of the on-demand price that it spares, as long as nothing is lost
    available: bool
    for_h: float = 0.0  # how long it has been so, as far as anybody saw; of spot
    stays_h: float = 0.0  # how much longer it is expected to stay available, a day at most
    seen_h: float = 0.0  # hours in which it was watched
    seen_available: float = 0.0  # the part of them in which it was available


class PlanJob(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be done, in the job's own hours: a replayed market goes `speed` times as fast."""

    work_h: Annotated[Hours, msgspec.Meta(description="hours of work when nothing interrupts it")]
    deadline_h: Annotated[Hours, msgspec.Meta(description="hours from now until it must be done")]
    changeover_s: Annotated[
        float, msgspec.Meta(ge=-1, description="seconds from a lease to the first new step; -1: as learnt of the job")
    ] = -1.0
    interval_s: Annotated[float, msgspec.Meta(ge=0, description="seconds between two saves")] = 0.0
    accelerators: Annotated[list[str], msgspec.Meta(description="any of these, such as h100:2")] = []
    project: str = ""
    job: Annotated[str, msgspec.Meta(description="a job of the project, of which is known what a start takes")] = ""


class JobPlan(msgspec.Struct, frozen=True, kw_only=True):
    """`cost` is expected; of ten courses one costs less than `low` and one more than `high`. Chances are from 0 to 1.
    The pictures show what the plan does from nothing running, while a zone is available (for `age_h` so far, which
    matters much) and while none is: time goes to the right over `across_h`, work that is left upwards to `up_h`, of
    which the job has `work_h`; s spot, . waits, o on-demand. `across_h` ends before a deadline that leaves far more
    time than the work needs: with that the job costs no more than is said here."""

    cost: float
    low: float
    high: float
    on_demand_cost: float
    saving: float  # part of the on-demand cost that is expected to be saved
    done_after_h: float
    losses: float  # expected number of times that spot is taken away
    only_spot: float
    some_on_demand: float
    only_on_demand: float
    missed: float
    zones: list[str]
    left_out: list[str] = []  # zones that could do it, but go at another speed than those
    first: str  # what it would do now
    changeover: Changeover  # what it counts a start with
    speed: float = 1.0  # of the pools: prices are per hour of theirs, of which one of the job has so many
    across_h: float = 0.0
    up_h: float = 0.0
    work_h: float = 0.0
    age_h: float = 0.0
    available: list[str] = []
    away: list[str] = []


class Savings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    job: Annotated[
        str, msgspec.Meta(description="one job", extra_json_schema={"x-argument": True, "x-metavar": "JOB"})
    ] = ""
    environment: Annotated[str, msgspec.Meta(description="environment that is meant; main is production")] = "main"


class Preempt(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    run: Annotated[str, msgspec.Meta(description="the job run's id")]
    notice_s: Annotated[float, msgspec.Meta(ge=0, le=86_400, description="seconds of notice; 0: none")] = NOTICE_S


class Preempted(msgspec.Struct, frozen=True, kw_only=True):
    run: str
    pool: str
    zone: str
    kind: str
    ends_at: float


@operation("capacity.pools", role=Role.VIEWER)
def pools(context: Context, request: Nothing) -> list[PoolPrice]:
    """Lists the price book: every pool and zone, what it costs, whether it is available, and what was seen of it."""
    every = context.part(Pools)
    offered = {offer.key for offer in every.offers()}
    book = []
    for offer in every.catalogue():
        line = PoolPrice(
            pool=offer.pool, zone=offer.zone, kind=offer.kind, accelerator=offer.accelerator,
            price_per_h=offer.price_per_h, on_demand_per_h=offer.on_demand_per_h, available=offer.key in offered,
            saving=round(1.0 - offer.price_per_h / offer.on_demand_per_h, 3) if offer.on_demand_per_h else 0.0,
        )  # fmt: skip
        if offer.kind == SPOT:
            line = _seen(line, every.seen([offer.accelerator] if offer.accelerator else [])[1])
        book.append(line)
    return book


@operation("capacity.plan", role=Role.VIEWER, slow=True)
def plan(context: Context, request: PlanJob) -> JobPlan:
    """Plans a job before it is started: what it would cost on the pools as they are now, and how likely what is."""
    every = context.part(Pools)
    usable, seen = every.seen(request.accelerators)
    if not usable.spot or not usable.on_demand or usable.on_demand[0].price_per_h <= 0:
        raise Invalid(
            "there is nothing to plan; it takes a pool with spot and one with on-demand, with prices, for the same job",
            code="NOTHING_TO_PLAN", hint="add [pools.NAME] to settings.toml in Bough's home, see docs/capacity.md",
        )  # fmt: skip
    changeover = _changeover(context, request)
    hours = usable.speed / 3600.0
    ask = rules.Ask(
        time_left=request.deadline_h * usable.speed, work_left=request.work_h * usable.speed,
        changeover=changeover.usual_s * hours, reserve=(changeover.most_s - changeover.usual_s) * hours,
        on_demand=price_of_work(usable.on_demand[0], usable.speed),
        spot={name: price_of_work(offer, usable.speed) for name, offer in usable.spot.items()},
        tick=again_s(usable.speed) * hours, loss=request.interval_s * hours,
    )  # fmt: skip
    if rules.is_late(ask):
        raise Invalid(
            f"{time_said(request.work_h)} of work and a start of {changeover.usual_s:.3g} s take longer than"
            f" {time_said(request.deadline_h)}",
            code="DEADLINE_IMPOSSIBLE", hint="a later deadline, or less work",
        )  # fmt: skip
    return _plan(every, _drawn(rules.sooner(ask)), seen, usable, changeover)


@operation("capacity.savings", role=Role.VIEWER)
def saved(context: Context, request: Savings) -> list[JobSaving]:
    """Lists what jobs have cost beside what their work would have cost on-demand, wasted work included."""
    with_place = sa.select(event.c.subject, event.c.data).where(event.c.name == GAVE_BACK).order_by(event.c.seq)
    given = (
        msgspec.structs.replace(msgspec.json.decode(row.data, type=GivenBack), run=row.subject)
        for row in context.tx.execute(with_place)
    )
    return savings(
        each
        for each in given
        if each.project == request.project and each.environment == request.environment and request.job in ("", each.job)
    )


@operation("chaos.preempt", role=Role.DEVELOPER, writes=True)
def preempt(context: Context, request: Preempt) -> Preempted:
    """Takes a job run's machine away as the market would: a drill on a real job, which has to go on elsewhere.

    A second one that ends sooner counts."""
    every = context.part(Pools)
    lease = next((each for each in every.leases() if each.holder == request.run), None)
    if lease is None:
        raise NotFound(f"{request.run} has nothing that could be taken away", code="NO_LEASE", hint="bough jobs list")
    now = context.clock.now()
    ends_at = now + request.notice_s
    if lease.ends_at and lease.ends_at <= ends_at:
        raise Conflict(
            f"what {request.run} runs on is being taken away already, in {max(lease.ends_at - now, 0.0):.0f} s",
            code="ALREADY_PREEMPTED", hint=f"bough chaos preempt {request.run} --notice none takes it away now",
        )  # fmt: skip
    every.interrupt(lease, request.notice_s, f"drill by {context.principal.name}")
    offer = lease.offer
    return Preempted(run=request.run, pool=offer.pool, zone=offer.zone, kind=offer.kind, ends_at=ends_at)


def _changeover(context: Context, request: PlanJob) -> Changeover:
    """What was asked for, else what the job has shown, else the prior."""
    if request.changeover_s >= 0:
        return Changeover(usual_s=request.changeover_s, most_s=request.changeover_s)
    place = request.project, request.job
    with context.read() as tx:
        return store.changeovers(tx, [place])[place]


def _drawn(ask: rules.Ask) -> rules.Ask:
    """With a deadline so near that the plan shows what it does: what it costs then it costs at most."""
    work = ask.work_left
    most = min(max(DRAWN_SLACK_H, DRAWN_SLACK_LEAST * work), DRAWN_SLACK_MOST * work)
    return ask._replace(time_left=min(ask.time_left, work + max(most, 2.0 * (ask.changeover + ask.loss + ask.tick))))


def _plan(every: Pools, ask: rules.Ask, seen: MarketSeen, usable: Usable, changeover: Changeover) -> JobPlan:
    made = every.planning(rules.market(ask, seen), ask.time_left, ask.time_left - ask.work_left)
    best = rules.best_zone(ask, seen)
    state = seen.zones[best] if best else seen.any
    assert state is not None  # noqa: S101 - it was just looked at
    slack, age = ask.time_left - ask.work_left, step_of(state.age_h)
    found = made.forecast(ask.time_left, slack, up=bool(best), age_step=age)
    choice = rules.Planner(lambda *_: rules.ready(made)).choose(ask, seen)
    bought = (ask.work_left + ask.changeover) * ask.on_demand
    return JobPlan(
        cost=round(found.cost, 4), low=round(found.low, 4), high=round(found.high, 4),
        on_demand_cost=round(bought, 4), saving=round(1.0 - found.cost / bought, 4),
        done_after_h=round(found.hours / usable.speed, 4), losses=round(found.losses, 2),
        only_spot=round(found.only_spot, 3), some_on_demand=round(found.some_on_demand, 3),
        only_on_demand=round(found.only_on_demand, 3), missed=0.0, zones=sorted(ask.spot),
        left_out=list(usable.left_out), changeover=changeover,
        first={rules.NONE: "wait", SPOT: f"spot in {choice.zone}"}.get(choice.kind, choice.kind), speed=usable.speed,
        work_h=round(ask.work_left / usable.speed, 4), age_h=round(state.age_h / usable.speed, 4) if best else 0.0,
        across_h=round(ask.time_left / usable.speed, 4), up_h=round((ask.time_left - made.least) / usable.speed, 4),
        available=made.picture(up=True, age_step=age if best else 0), away=made.picture(up=False, age_step=0),
    )  # fmt: skip


def _seen(line: PoolPrice, seen: MarketSeen) -> PoolPrice:
    zone = seen.zones.get(f"{line.pool}/{line.zone}")
    if zone is None:
        return line
    there = sum((zone.until_now(zone.available) if zone.up else zone.available).hours)
    away = sum((zone.away if zone.up else zone.until_now(zone.away)).hours)
    stays = expected_life(zone.leaving(), zone.age_h, LOOKS_AHEAD_H) if zone.up else 0.0
    return msgspec.structs.replace(
        line, available=zone.up, for_h=round(zone.age_h, 2), stays_h=round(stays, 1), seen_h=round(there + away, 1),
        seen_available=round(there / (there + away), 3) if there + away else 0.0,
    )  # fmt: skip
