"""The control plane of one home: `composition/` puts it together, this file starts it, stops it and keeps it awake."""

from __future__ import annotations

import logging
import threading
from functools import partial
from pathlib import Path
from typing import Unpack

import sqlalchemy as sa

from bough.access import operations as access
from bough.access.callers import Callers
from bough.adapters.blobs import Blobs
from bough.capacity import loop as capacity_loop
from bough.capacity.models import Capacity
from bough.composition import handlers, keeping
from bough.composition.technologies import Instead, Technologies, authority, forge_of
from bough.composition.verbs import OPERATION_MODULES
from bough.composition.workings import Workings
from bough.costs import loop as costs_loop
from bough.data import garbage
from bough.databases import loop as databases_loop
from bough.environments import store as environment_store
from bough.forges import loop as previews_loop
from bough.forges import store as previews
from bough.forges.bringing import Bringing
from bough.forges.linking import Keys
from bough.forges.receiving import Webhooks
from bough.gateway import control_client, sleeping
from bough.gateway import loop as gateway
from bough.gateway.renewal import Renewal
from bough.jobs import loop as jobs_loop
from bough.jobs.models import PREFIX as JOB_PREFIX
from bough.kernel.context import Principal
from bough.kernel.errors import Problem
from bough.kernel.learning import learn_all
from bough.kernel.operations import Operations
from bough.kernel.platform import Home, Platform
from bough.kernel.reconcile import Loop, wake
from bough.lineage import loop as lineage_loop
from bough.mirrors import loop as mirrors_loop
from bough.pushes.deploying import Deploying
from bough.pushes.receiving import Receiving
from bough.queues.outside import OutsideWork
from bough.scaling import idleness
from bough.scaling import loop as scaling_loop
from bough.scaling.listening import Listening
from bough.secrets.opening import open_with
from bough.serving import store as deployments
from bough.webhooks import loop as webhooks_loop

WATCH_S = 20.0  # how long one call to the engine waits for hints
RETRY_S = 0.5  # before asking an engine again that did not answer


class Bough:
    """`instead`: what tests put in the place of technologies. `durable`: what is committed outlives a power cut, not
    only a kill."""

    def __init__(self, home: Path, platform: Platform, *, durable: bool = True, **instead: Unpack[Instead]) -> None:
        learn_all()
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.home, self.platform = Home(home), platform
        self.technologies = Technologies(self.home, platform, instead, durable=durable)
        self.works = Workings(self.home, platform, self.technologies)
        self.clock, self.database = self.technologies.clock, self.technologies.database
        self.blobs: Blobs = self.technologies.blobs
        self.capacity: Capacity = self.works.pools
        self.events, self.ledger = self.works.events, self.works.ledger
        self._set_up_operations()
        self._set_up_receivers()
        self._set_up_loop(instead)
        self._stopping = threading.Event()

    def _set_up_operations(self) -> None:
        collector = keeping.collector(self.works)
        parts = self.works.parts(collector, keeping.reaches(self.works))
        self.operations = Operations(
            *(OPERATION_MODULES, self.database, self.events, self.clock, parts, self.works.secrets.private_digest),
            telemetry=self.technologies.tracking,
        )
        self._callers = Callers(self.database.read, self.clock)
        self._garbage = garbage.Schedule(collector, self.clock, logging.getLogger("bough.garbage").info)
        self._renewal = Renewal(
            *(self.home, self.platform.domains, partial(authority, self.home, self.platform), self.clock),
            say=logging.getLogger("bough.certificates").info,
        )

    def _set_up_receivers(self) -> None:
        """What comes by other ways than operations: pushes, webhooks of forges, items of queues."""
        repositories, keys = self.technologies.repositories, Keys(self.works.vault)
        deploying = Deploying(repositories, self.operations, self.blobs)
        self.pushes = Receiving(repositories, self.operations, deploying, self.database, self.events)
        self.webhooks = Webhooks(self.database, self.clock, keys, forge_of)
        self._bringing = Bringing(repositories, self.operations, deploying, self.database, keys, forge_of)
        self.outside = OutsideWork(
            *(self.technologies.queues, self.database.read, self.technologies.connectors),
            *(open_with(self.works.vault), self.clock),
            objects=self.technologies.objects,
        )

    def _set_up_loop(self, instead: Instead) -> None:
        ask = instead.get("ask_gateway") or partial(control_client.state_of, self.home.gateway_socket)
        hear = instead.get("hear_gateway") or partial(control_client.heard_at, self.home.gateway_socket)
        self.listening = Listening(hear, self._stirred)
        made = handlers.handlers(self.works, ask, self.listening, self._bringing)
        self.loop = Loop(self.database, self.clock, made)
        self.database.on_commit(self.loop.poke)
        self.database.on_commit(self._callers.forget, lasting=True)
        self.database.on_commit(partial(self.ledger.remember, self.database.read), lasting=True)
        self.database.on_commit(self.outside.poke, lasting=True)

    def authenticate(self, token: str) -> Principal:
        return self._callers.authenticate(token)

    def start(self) -> None:
        """Makes sure that there is an admin, looks at everything once, and starts the loops."""
        self.technologies.sweep()
        self.works.trees.sweep()
        with self.database.write() as tx:
            access.bootstrap(tx, self.home.token, self.clock.now())
            environment_store.give_heads(tx, self.clock.now())
            self.works.models.sweep(deployments.models(tx))
            self._look_at_everything(tx)
        self.loop.start()
        self._garbage.start()
        if self.platform.domains and not self.platform.tls_certificate:
            self._renewal.start()
        self.outside.start()
        self.listening.start()
        threading.Thread(target=self._watch, name="engine-hints", daemon=True).start()

    def stop(self) -> None:
        self._stopping.set()
        self.outside.stop()
        self.listening.stop()
        self._garbage.stop()
        self._renewal.stop()
        self._bringing.stop()
        self.loop.stop()
        self.works.pools.close()
        self.technologies.close()

    def wake_units(self, units: set[str]) -> None:
        """Something happened to these units: whoever owns them looks again."""
        jobs_too = False
        if all(unit.startswith(JOB_PREFIX) for unit in units):
            with self.database.read() as tx:
                if jobs_loop.expects_hints(tx, self.clock.now()):
                    return
        with self.database.write(lasting=False) as tx:  # a start looks at everything anyway
            for unit in units:
                owner = unit.rsplit("-", 1)[0]
                kind = handlers.OWNERS.get(owner.partition("_")[0])
                if owner == "build":
                    for deployment in deployments.in_state(tx, "building"):
                        wake(tx, deployments.KIND, deployment.id)
                    jobs_too = True
                elif owner.startswith(JOB_PREFIX):
                    jobs_too = True
                elif kind is not None:
                    wake(tx, kind, owner)
                elif deployments.get(tx, owner) is not None:
                    wake(tx, deployments.KIND, owner)
                    gateway.changed(tx)
            if not all(unit.startswith(JOB_PREFIX) for unit in units):
                costs_loop.happened(tx, self.clock)
            if jobs_too:  # once, however many of their units it was
                jobs_loop.hinted(tx, self.clock.now())

    def _look_at_everything(self, tx: sa.Connection) -> None:
        for deployment in deployments.in_state(tx, *handlers.LIVING):
            wake(tx, deployments.KIND, deployment.id)
        gateway.changed(tx)
        sleeping.changed(tx)
        scaling_loop.changed(tx)
        idleness.changed(tx)
        lineage_loop.begin(tx)
        wake(tx, mirrors_loop.KEPT, mirrors_loop.ALL)
        capacity_loop.begin(tx)
        costs_loop.changed(tx)
        for preview in previews.unfinished(tx):
            wake(tx, previews_loop.KIND, preview)
        jobs_loop.begin(tx)
        webhooks_loop.begin(tx)
        databases_loop.begin(tx)

    def _stirred(self) -> None:
        """Somebody asks again: for every second that this is late, the rule looks a second later."""
        with self.database.write(lasting=False) as tx:
            scaling_loop.changed(tx)

    def _watch(self) -> None:
        """Turns the engine's hints into wakes. A hint that is missed costs seconds, never truth: every object that is
        unfinished also asks to be called again."""
        cursor = 0
        while not self._stopping.is_set():
            try:
                hints = self.technologies.engine.watch(cursor, WATCH_S)
                cursor = max([cursor, *(hint.cursor for hint in hints)])
                if hints:
                    self.wake_units({hint.unit for hint in hints})
            except Problem:
                self._stopping.wait(RETRY_S)
                cursor = 0
