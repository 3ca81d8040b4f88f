"""Who hears of what. The emitter of an event does not know who listens; this file does."""

from __future__ import annotations

from bough.access import operations as access
from bough.capacity import store as capacity_store
from bough.costs import loop as costs_loop
from bough.costs import store as costs_store
from bough.data import operations as data
from bough.data.tables import loop as tables_loop
from bough.databases import cutting
from bough.environments import branching
from bough.gateway import loop as gateway
from bough.gateway import sleeping
from bough.jobs import assembly as jobs
from bough.jobs.models import GAVE_BACK, UNDER_WAY, USED
from bough.kernel.clock import Clock
from bough.kernel.events import Events
from bough.ledger.recording import Recorder
from bough.queues import leaving
from bough.registry import operations_signing as model_signing
from bough.registry import using as model_use
from bough.scaling import idleness
from bough.scaling import loop as scaling_loop
from bough.serving import branching as inheriting
from bough.serving import data as served_data
from bough.serving import replicas
from bough.serving import store as deployments
from bough.training import loop as training_loop
from bough.webhooks import loop as webhooks_loop


def events(clock: Clock, recorder: Recorder) -> Events:
    made = Events(clock)
    recorder.listen(made)
    divided = deployments.DIVIDED
    for name in (access.KEYS_CHANGED, "release.live", branching.DISCARDED, replicas.CHANGED, divided):
        made.on(name, gateway.changed)
        made.on(name, sleeping.changed)
        made.on(name, scaling_loop.changed)
        made.on(name, costs_loop.changed)
        made.on(name, idleness.changed)
    made.on(branching.BRANCHED, gateway.changed)  # its services sleep already
    made.on(tables_loop.CHANGED, tables_loop.on_changed)
    made.on("environment.merged", model_use.on_merged(made))
    for name in (model_signing.REVOKED, model_signing.TRUSTED, model_signing.SIGNED):
        made.on(name, inheriting.on_trust_changed)
    for name in (data.CHANGED, tables_loop.CHANGED, "environment.merged", branching.RESET):
        made.on(name, served_data.on_changed)
    made.on(cutting.CHANGED, served_data.on_databases)
    jobs.listen(made)
    made.on(UNDER_WAY, capacity_store.on_under_way)
    made.on(GAVE_BACK, costs_store.on_gave_back)
    made.on(USED, costs_store.on_used)
    for name in (GAVE_BACK, cutting.CHANGED, branching.BUDGET):
        made.on(name, costs_loop.changed)
    made.on_all(webhooks_loop.on_event)
    training_loop.listen(made)
    made.on(branching.BRANCHED, inheriting.on_branched)
    made.on(branching.DISCARDED, inheriting.on_discarded)
    made.on(branching.DISCARDED, leaving.on_discarded)
    return made
