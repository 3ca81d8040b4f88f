"""Who makes which kind of thing true: the handlers of the reconcile loop, and whose units are whose."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import sqlalchemy as sa

from bough.adapters.engine import Engine
from bough.capacity import loop as capacity_loop
from bough.composition.workings import Workings
from bough.costs import loop as costs_loop
from bough.data.tables import loop as tables_loop
from bough.databases import loop as databases_loop
from bough.environments import branching
from bough.environments import loop as environments_loop
from bough.environments import operations as environments
from bough.forges import loop as previews_loop
from bough.forges.bringing import Bringing
from bough.gates import loop as gates_loop
from bough.gates import store as gates
from bough.gates.checks import Checks
from bough.gates.needs import Probes
from bough.gates.units import GateUnits
from bough.gateway import loop as gateway
from bough.gateway import sleeping
from bough.gateway.models import GatewayState
from bough.jobs import assembly as jobs
from bough.kernel.paying import Payer
from bough.kernel.reconcile import Handler
from bough.lineage import loop as lineage_loop
from bough.mirrors import loop as mirrors_loop
from bough.mirrors import operations as mirror_operations
from bough.mirrors import store as replays
from bough.optimizing import loop as optimizing_loop
from bough.optimizing import store as optimizations
from bough.optimizing.units import OptimizingUnits
from bough.promotions import loop as promotions_loop
from bough.promotions import store as promotions
from bough.queues import leaving
from bough.scaling import idleness
from bough.scaling import loop as scaling_loop
from bough.scaling.listening import Listening
from bough.secrets.opening import open_with
from bough.serving import replicas, rollout
from bough.serving import store as deployments
from bough.training import loop as training_loop
from bough.webhooks import loop as webhooks_loop
from bough.webhooks import models as webhooks

# Whose units these are, by the beginning of their names; all others are replicas.
OWNERS = {"gat": gates.KIND, "opt": optimizations.KIND, "rep": replays.KIND}

# Deployments that have, or will have again, something that runs.
LIVING = ("building", "starting", "ready", "asleep", "failed", "draining")


def handlers(
    works: Workings, ask_gateway: Callable[[], GatewayState | None], listening: Listening, bringing: Bringing
) -> dict[str, Handler]:
    """By kind."""
    home, events, platform, technologies = works.home, works.events, works.platform, works.technologies
    blobs, database, clock = technologies.blobs, technologies.database, technologies.clock
    engine = cast(Engine, works.read_to_the_end)
    keeper = replicas.Replicas(home, platform, engine, events, works.views, works.models, works.databases)
    return {
        branching.KIND: environments_loop.handler(database, events, clock),
        environments.RELEASE: rollout.handler(events, platform),
        deployments.KIND: keeper.handle,
        gateway.KIND: gateway.handler(home, platform, engine, events),
        scaling_loop.KIND: scaling_loop.handler(ask_gateway, engine, listening, works.budgets.reached),
        idleness.KIND: idleness.handler(ask_gateway, events),
        sleeping.KIND: sleeping.handler(ask_gateway, engine, events),
        gates.KIND: gates_loop.handler(
            *(blobs, events, GateUnits(home, engine)), *(Probes(keeper, engine), Checks(home, engine, works.models))
        ),
        training_loop.KIND: training_loop.handler(
            blobs, events, works.candidates, technologies.tracking.read, platform.core_hour
        ),
        optimizations.KIND: optimizing_loop.handler(blobs, events, OptimizingUnits(home, engine), works.candidates),
        promotions.KIND: promotions_loop.handler(blobs, engine, works.steps, ask_gateway),
        mirror_operations.MIRROR: mirrors_loop.mirror_handler(engine),
        mirrors_loop.KEPT: mirrors_loop.kept_handler(home),
        replays.KIND: mirrors_loop.replay_handler(home, engine, events),
        previews_loop.KIND: previews_loop.handler(bringing, events),
        capacity_loop.KIND: capacity_loop.handler(works.pools),
        costs_loop.KIND: costs_loop.handler(
            works.read_to_the_end, _payers, works.database_meters, works.prices(), works.budgets
        ),
        lineage_loop.KIND: lineage_loop.handler(technologies.receiver, works.tracked),
        leaving.KIND: leaving.handler(technologies.queues),
        webhooks.KIND: webhooks_loop.handler(technologies.connectors, open_with(works.vault)),
        **databases_loop.handlers(works.databases, events),
        tables_loop.KIND: tables_loop.handler(works.table_files, technologies.tables, events),
        **jobs.handlers(_around_jobs(works)),
    }


def _around_jobs(works: Workings) -> jobs.Outside:
    technologies = works.technologies
    return jobs.Outside(
        home=works.home,
        platform=works.platform,
        engine=technologies.engine,
        events=works.events,
        capacity=works.pools,
        accelerators=technologies.accelerators,
        blobs=technologies.blobs,
        views=works.views,
        vault=works.vault,
        private_digest=works.secrets.private_digest,
        read_runs=technologies.tracking.read,
        write_runs=technologies.tracking.write,
        machine=jobs.this_machine(),
        weights=works.platform.job_queues,
        databases=works.databases,
        objects=technologies.objects,
        holding=lambda tx, now: {place: each.said for place, each in works.budgets.reached(tx, now).items()},
    )


def _payers(tx: sa.Connection) -> dict[str, Payer]:
    """Of deployments: what their settings say now."""
    return {each.id: each.payer for each in deployments.in_state(tx, *LIVING)}
